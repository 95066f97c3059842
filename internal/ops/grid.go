package ops

import (
	"fmt"
)

// grid relates the elements of a tensor to the cells of a coarser one of the
// same rank. A cell stands for the block of elements that share a parameter: a
// scale, an offset, a palette. Dimensions are merged where a cell's number
// stays a division of the element's.
type grid struct {
	size, block []int // outermost first; block divides size
}

// newGrid divides shape into cells blocks along each axis.
func newGrid(shape, cells []int) (grid, error) {
	if len(shape) != len(cells) {
		return grid{}, fmt.Errorf("rank %d, want %d", len(cells), len(shape))
	}
	g := grid{size: []int{1}, block: []int{1}}
	for d, n := range shape {
		if cells[d] < 1 || n%cells[d] != 0 {
			return grid{}, fmt.Errorf("shape %v, want a divisor of each of %v", cells, shape)
		}
		b := n / cells[d]
		last := len(g.size) - 1
		switch {
		case cells[d] == 1: // one block: longer blocks of the dimension outside
			g.size[last] *= n
			g.block[last] *= n
		case g.block[last] == 1:
			g.size[last] *= n
			g.block[last] = b
		default:
			g.size, g.block = append(g.size, n), append(g.block, b)
		}
	}
	return g, nil
}

// inner is the number of neighbouring elements in a cell.
func (g grid) inner() int { return g.block[len(g.block)-1] }

// cell is the number of the cell that element i lies in.
func (g grid) cell(i int) int {
	cell, stride := 0, 1
	for d := len(g.size) - 1; d >= 0; d-- {
		cell += i % g.size[d] / g.block[d] * stride
		stride *= g.size[d] / g.block[d]
		i /= g.size[d]
	}
	return cell
}

// rows covers the elements lo … lo+n with runs along the innermost dimension.
// f is told where in the range a run starts, its length, the cell of its first
// element and how many elements of that cell come before it; the cells of a run
// follow one another.
func (g grid) rows(lo, n int, f func(at, n, cell, phase int)) {
	last := len(g.size) - 1
	for at := 0; at < n; {
		i := lo + at
		j := i % g.size[last]
		run := min(g.size[last]-j, n-at)
		f(at, run, g.cell(i), j%g.block[last])
		at += run
	}
}
