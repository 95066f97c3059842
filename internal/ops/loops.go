package ops

// nest is a set of nested loops over a tensor's memory, outermost first.
type nest struct {
	size, stride []int
}

// add appends an inner loop; one that continues the innermost is merged with it.
func (n *nest) add(size, stride int) {
	if size == 1 {
		return
	}
	if k := len(n.size) - 1; k >= 0 && n.stride[k] == size*stride {
		n.size[k] *= size
		n.stride[k] = stride
		return
	}
	n.size, n.stride = append(n.size, size), append(n.stride, stride)
}

// count is the number of iterations.
func (n *nest) count() int { return volume(n.size) }

// at is the memory offset of iteration i.
func (n *nest) at(i int) int {
	p := 0
	for d := len(n.size) - 1; d >= 0; d-- {
		p += i % n.size[d] * n.stride[d]
		i /= n.size[d]
	}
	return p
}

// pop takes the innermost loop away if it has the given stride, and returns its size; else 1.
func (n *nest) pop(stride int) int {
	k := len(n.size) - 1
	if k < 0 || n.stride[k] != stride {
		return 1
	}
	size := n.size[k]
	n.size, n.stride = n.size[:k], n.stride[:k]
	return size
}

// loopsOn separates a dense tensor's dimensions into those on the given axes and the others.
func loopsOn(shape []int, on func(axis int) bool) (others, these nest) {
	stride := rowMajor(shape)
	for i, d := range shape {
		if on(i) {
			these.add(d, stride[i])
		} else {
			others.add(d, stride[i])
		}
	}
	return others, these
}

// group is the elements at x[off + …] that one result is made of.
type group[T any] struct {
	x    []T
	off  int
	over *nest
}

// each calls f for every element, in row-major order.
func (g group[T]) each(f func(v T)) {
	k := len(g.over.size) - 1
	if k < 0 {
		f(g.x[g.off])
		return
	}
	outer := nest{g.over.size[:k], g.over.stride[:k]}
	n, st := g.over.size[k], g.over.stride[k]
	for i := range outer.count() {
		p := g.off + outer.at(i)
		for range n {
			f(g.x[p])
			p += st
		}
	}
}
