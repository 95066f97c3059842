package ops

import (
	"coreml/internal/kernel/gemm"
)

// lattice is a set of outputs of a convolution, or of a transposed one, that lie a whole number of strides
// apart and see the same taps at input positions that move with them. In each task a box of them is computed
// from a copy of the inputs that it sees, in which neighbouring outputs see neighbouring elements: the copy is the
// right side of a product whose left side is the weight as the file has it.
type lattice struct {
	first, stride, grid [3]int // first output, distance and number along each axis
	box, boxes          [3]int // outputs of a task, and number of boxes, along each axis
	folds               [3]fold
	places              []int      // in the weight of one input channel: of each tap
	offsets             []int      // in the copy of one channel: of each tap, for the first output of the box
	size                int        // floats of the copy of one channel
	taps                []gemm.Tap // of a chunk of channels
	start               int        // number of its first task in an image
}

// fold is the inputs along one axis that a box sees, as strips: element i of a strip that starts at s is the input
// s + i·step. Strips are as long as the box, one for each tap, or longer and shared by the taps that lie a
// multiple of step apart, whichever is smaller.
type fold struct {
	step, length int
	starts       []int // of each strip, for the first output of the lattice
	strip, index []int // of each tap: where it sees the first output of the box
}

// newFold is that of outs outputs, step inputs apart, whose first sees the inputs shifts.
func newFold(step, outs int, shifts []int) fold {
	f := fold{step: step, length: outs}
	lo := shifts[0]
	for _, s := range shifts {
		lo = min(lo, s)
	}
	strips := map[int]int{} // by remainder
	shared := fold{step: step, length: outs}
	for _, s := range shifts {
		rest, i := (s-lo)%step, (s-lo)/step
		n, ok := strips[rest]
		if !ok {
			n = len(shared.starts)
			strips[rest] = n
			shared.starts = append(shared.starts, lo+rest)
		}
		shared.strip, shared.index = append(shared.strip, n), append(shared.index, i)
		shared.length = max(shared.length, outs+i)
	}
	if len(shared.starts)*shared.length < len(shifts)*outs {
		return shared
	}
	for k, s := range shifts {
		f.starts, f.strip, f.index = append(f.starts, s), append(f.strip, k), append(f.index, 0)
	}
	return f
}

// Sizes of a task of a row-major convolution, in floats.
const (
	latticeTile    = 64 << 10 // results of a box in all channels
	latticeCopy    = 64 << 10 // inputs copied at a time
	latticeColumns = 1024     // results of a box in one channel
)

// newLattice makes boxes for cout channels. shifts are, for each axis, the inputs that the first output sees, and
// numbers the taps that see them; kernel is the size of the window.
func newLattice(first, stride, grid, step, kernel [3]int, shifts, numbers [3][]int, cout int) lattice {
	l := lattice{first: first, stride: stride, grid: grid}
	most := max(64, min(latticeColumns, latticeTile/max(1, cout)))
	l.box = [3]int{1, 1, min(grid[2], most)}
	if l.box[2] == grid[2] {
		wide := newFold(step[2], l.box[2], shifts[2]).length
		l.box[1] = max(1, min(grid[1], most/wide))
	}
	for d := range l.box {
		l.boxes[d] = (grid[d] + l.box[d] - 1) / l.box[d]
		l.box[d] = (grid[d] + l.boxes[d] - 1) / l.boxes[d]
		l.folds[d] = newFold(step[d], l.box[d], shifts[d])
	}
	z, y, x := &l.folds[0], &l.folds[1], &l.folds[2]
	plane := y.length * x.length
	for i := range shifts[0] {
		for j := range shifts[1] {
			for k := range shifts[2] {
				l.places = append(l.places, (numbers[0][i]*kernel[1]+numbers[1][j])*kernel[2]+numbers[2][k])
				strip := ((z.strip[i]*z.length+z.index[i])*len(y.starts)+y.strip[j])*len(x.starts) + x.strip[k]
				l.offsets = append(l.offsets, strip*plane+y.index[j]*x.length+x.index[k])
			}
		}
	}
	l.size = len(z.starts) * z.length * len(y.starts) * len(x.starts) * plane
	return l
}

// setTaps lists the steps of a sum over a chunk of channels whose weights lie between floats apart.
func (l *lattice) setTaps(chunk, between int) {
	for c := range chunk {
		for t := range l.places {
			l.taps = append(l.taps, gemm.Tap{A: int64(4 * (c*between + l.places[t])), W: int64(4 * (c*l.size + l.offsets[t]))})
		}
	}
}

// tasks is the number of boxes.
func (l *lattice) tasks() int { return l.boxes[0] * l.boxes[1] * l.boxes[2] }

// task is the first output of box i, and the numbers of outputs.
func (l *lattice) task(i int) (at, n [3]int) {
	for d := 2; d >= 0; d-- {
		at[d] = i % l.boxes[d] * l.box[d]
		n[d] = min(l.box[d], l.grid[d]-at[d])
		i /= l.boxes[d]
	}
	return at, n
}

// columns is the number of columns of the product for n outputs: between lines lie results that nobody wants.
func (l *lattice) columns(n [3]int) int { return (n[1]-1)*l.folds[2].length + n[2] }

// gather copies what the box at sees of one channel, an image of size in.
func (l *lattice) gather(dst, src []float32, in, at [3]int) {
	z, plane := &l.folds[0], in[1]*in[2]
	for _, start := range z.starts {
		for i := range z.length {
			var image []float32
			if p := start + (at[0]+i)*z.step; p >= 0 && p < in[0] {
				image = src[p*plane:][:plane]
			}
			dst = l.gatherPlane(dst, image, in, at)
		}
	}
}

// gatherPlane is gather for one plane of the image, nil outside of it. It returns what dst has left.
func (l *lattice) gatherPlane(dst, image []float32, in, at [3]int) []float32 {
	y, x := &l.folds[1], &l.folds[2]
	for _, ys := range y.starts {
		for _, xs := range x.starts {
			for i := range y.length {
				line := dst[:x.length]
				dst = dst[x.length:]
				p := ys + (at[1]+i)*y.step
				if image == nil || p < 0 || p >= in[1] {
					clear(line)
					continue
				}
				x.line(line, image[p*in[2]:][:in[2]], xs+at[2]*x.step)
			}
		}
	}
	return dst
}

// line copies every step-th element of src from position at on, zeros outside.
func (f *fold) line(dst, src []float32, at int) {
	lo := 0 // elements before the image
	if at < 0 {
		lo = min((-at+f.step-1)/f.step, len(dst))
	}
	hi := lo
	if at+lo*f.step < len(src) {
		hi = min(len(dst), (len(src)-1-at)/f.step+1)
	}
	clear(dst[:lo])
	clear(dst[hi:])
	if hi <= lo {
		return
	}
	src = src[at+lo*f.step:]
	if dst = dst[lo:hi]; f.step == 1 {
		copy(dst, src)
		return
	}
	for i := range dst {
		dst[i] = src[i*f.step]
	}
}
