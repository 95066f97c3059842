package ops

import (
	"unsafe"

	"coreml/internal/graph"
	"coreml/tensor"
)

// moveElems is the number of elements that one task of a move treats.
const moveElems = 64 << 10

// maxDims bounds the dimensions of a move after those of size 1 are dropped:
// a tensor has at most 2^40 elements.
const maxDims = 40

// move copies a box of elements from one strided tensor to another: slices,
// transpositions, tiles, concatenations are all moves. Strides are in elements
// and may be negative or zero on the source's side.
type move struct {
	size           []int
	dst, src       []int
	dstOff, srcOff int
	width          int // bytes of an element: 1, 2 or 4

	// A unit of work is a rectangle: up to tb elements in the last dimension by
	// up to ta in dimension col; col is -1 where there is only one dimension.
	kind   moveKind
	col    int
	ta, tb int
	steps  []int // the extent of a unit in each dimension
	units  int
	per    int // units of one task
	// turn, if not nil, transposes tiles of 4-byte elements instead of transposeTile.
	turn func(dst []float32, dstStride int, src []float32, srcStride, rows, cols int)
}

type moveKind uint8

const (
	moveRuns  moveKind = iota // both sides are contiguous in the last dimension
	moveTiles                 // the source is contiguous in another dimension: transposed in tiles
	moveSteps                 // element by element
)

// newMove normalises a move: dimensions of size 1 go, neighbours that move alike are merged.
func newMove(width int, size, dst []int, dstOff int, src []int, srcOff int) move {
	m := move{width: width, dstOff: dstOff, srcOff: srcOff}
	for i, n := range size {
		if n == 0 {
			m.size, m.dst, m.src = []int{0}, []int{1}, []int{1}
			return m
		}
		if n == 1 {
			continue
		}
		if k := len(m.size) - 1; k >= 0 && m.dst[k] == dst[i]*n && m.src[k] == src[i]*n {
			m.size[k] *= n
			m.dst[k], m.src[k] = dst[i], src[i]
			continue
		}
		m.size, m.dst, m.src = append(m.size, n), append(m.dst, dst[i]), append(m.src, src[i])
	}
	if len(m.size) == 0 {
		m.size, m.dst, m.src = []int{1}, []int{1}, []int{1}
	}
	m.choose()
	return m
}

// choose picks the inner loop and cuts the work.
func (m *move) choose() {
	last := len(m.size) - 1
	n := m.size[last]
	m.tb, m.ta, m.col = min(n, moveElems), 1, last-1
	if m.dst[last] != 1 || m.src[last] != 1 {
		m.kind = moveSteps
		for j := last - 1; j >= 0 && m.dst[last] == 1 && m.src[last] > 0; j-- {
			if m.src[j] == 1 {
				m.kind, m.col = moveTiles, j
				m.ta = min(m.size[j], max(64, 2048/n))
				m.tb = min(n, max(64, 4096/m.ta))
				break
			}
		}
	}
	if m.kind != moveTiles && last > 0 {
		m.ta = min(m.size[m.col], max(1, 4096/n))
	}
	m.steps = make([]int, last+1)
	fill(m.steps, 1)
	m.steps[last] = m.tb
	if m.col >= 0 {
		m.steps[m.col] = m.ta
	}
	m.units = 1
	for j, d := range m.size {
		m.units *= ceilDiv(d, m.steps[j])
	}
	m.per = max(1, moveElems/(m.ta*m.tb))
}

func (m *move) tasks() int {
	if m.size[0] == 0 {
		return 0
	}
	return ceilDiv(m.units, m.per)
}

// dense reports that the move copies one contiguous run.
func (m *move) dense() bool {
	return len(m.size) == 1 && m.dst[0] == 1 && m.src[0] == 1
}

// run does one task.
func (m *move) run(dst, src []byte, task int) {
	switch m.width {
	case 1:
		runMove(m, dst, src, task)
	case 2:
		runMove(m, tensor.View[uint16](dst), tensor.View[uint16](src), task)
	default:
		runMove(m, tensor.View[uint32](dst), tensor.View[uint32](src), task)
	}
}

// cursor is the place of a unit: its indices and its elements on both sides.
type cursor struct {
	at   [maxDims]int
	d, s int
}

// seek is the place of unit u.
func (m *move) seek(u int) cursor {
	c := cursor{d: m.dstOff, s: m.srcOff}
	for j := len(m.size) - 1; j >= 0; j-- {
		step := m.steps[j]
		pieces := ceilDiv(m.size[j], step)
		c.at[j] = u % pieces * step
		u /= pieces
		c.d += c.at[j] * m.dst[j]
		c.s += c.at[j] * m.src[j]
	}
	return c
}

// next goes on to the following unit; the last dimension's pieces turn fastest.
func (m *move) next(c *cursor) {
	for j := len(m.size) - 1; j >= 0; j-- {
		step := m.steps[j]
		c.at[j] += step
		c.d += step * m.dst[j]
		c.s += step * m.src[j]
		if c.at[j] < m.size[j] {
			return
		}
		c.d -= c.at[j] * m.dst[j]
		c.s -= c.at[j] * m.src[j]
		c.at[j] = 0
	}
}

func runMove[T uint8 | uint16 | uint32](m *move, dst, src []T, task int) {
	c := m.seek(task * m.per)
	for u := task * m.per; u < min((task+1)*m.per, m.units); u++ {
		movePiece(m, dst, src, &c)
		m.next(&c)
	}
}

// runToHalf does one task of a move out of dense memory, rounding float32 to float16.
func (m *move) runToHalf(dst []uint16, src []float32, task int) {
	last := len(m.size) - 1
	c := m.seek(task * m.per)
	for u := task * m.per; u < min((task+1)*m.per, m.units); u++ {
		rows, n := m.extent(&c)
		d, s := c.d, c.s
		for range rows {
			if m.dst[last] == 1 {
				tensor.F16Slice(dst[d:d+n], src[s:s+n])
			} else {
				for i, v := range src[s : s+n] {
					dst[d+i*m.dst[last]] = tensor.F16(v)
				}
			}
			if m.col >= 0 {
				d += m.dst[m.col]
				s += m.src[m.col]
			}
		}
		m.next(&c)
	}
}

// extent is the size of the unit at c in dimension col and in the last one.
func (m *move) extent(c *cursor) (rows, n int) {
	last := len(m.size) - 1
	rows = 1
	if m.col >= 0 {
		rows = min(m.ta, m.size[m.col]-c.at[m.col])
	}
	return rows, min(m.tb, m.size[last]-c.at[last])
}

func movePiece[T uint8 | uint16 | uint32](m *move, dst, src []T, c *cursor) {
	last := len(m.size) - 1
	rows, n := m.extent(c)
	dr, sr := 0, 0
	if m.col >= 0 {
		dr, sr = m.dst[m.col], m.src[m.col]
	}
	switch m.kind {
	case moveRuns:
		moveRows(dst, src, c.d, c.s, dr, sr, rows, n)
	case moveTiles:
		if n < 4 {
			interleave(dst[c.d:], dr, src[c.s:], m.src[last], n, rows)
			return
		}
		if m.turn != nil && n >= 8 {
			m.turn(float32s(dst[c.d:]), dr, float32s(src[c.s:]), m.src[last], n, rows)
			return
		}
		transposeTile(dst[c.d:], dr, src[c.s:], m.src[last], n, rows)
	default:
		ds, ss := m.dst[last], m.src[last]
		for r := range rows {
			d, s := c.d+r*dr, c.s+r*sr
			if ss == 0 && ds == 1 {
				fill(dst[d:d+n], src[s])
				continue
			}
			for range n {
				dst[d] = src[s]
				d += ds
				s += ss
			}
		}
	}
}

// moveRows copies rows of n elements that start at d and s and are dr and sr apart.
func moveRows[T uint8 | uint16 | uint32](dst, src []T, d, s, dr, sr, rows, n int) {
	for range rows {
		switch {
		case n == 16:
			*(*[16]T)(dst[d:]) = *(*[16]T)(src[s:])
		case n == 8:
			*(*[8]T)(dst[d:]) = *(*[8]T)(src[s:])
		case n == 4:
			*(*[4]T)(dst[d:]) = *(*[4]T)(src[s:])
		case n > 8 && n < 16: // two that overlap
			*(*[8]T)(dst[d:]) = *(*[8]T)(src[s:])
			*(*[8]T)(dst[d+n-8:]) = *(*[8]T)(src[s+n-8:])
		case n > 4 && n < 8:
			*(*[4]T)(dst[d:]) = *(*[4]T)(src[s:])
			*(*[4]T)(dst[d+n-4:]) = *(*[4]T)(src[s+n-4:])
		case n < 4:
			to, from := dst[d:d+n], src[s:s+n]
			for i := range to {
				to[i] = from[i]
			}
		default:
			copy(dst[d:d+n], src[s:s+n])
		}
		d += dr
		s += sr
	}
}

// interleave is transposeTile for one to three rows, whose elements take turns in dst.
func interleave[T uint8 | uint16 | uint32](dst []T, dstStride int, src []T, srcStride, rows, cols int) {
	a := src[:cols]
	if rows == 1 {
		for i, v := range a {
			dst[i*dstStride] = v
		}
		return
	}
	b := src[srcStride:][:cols]
	if rows == 2 {
		for i, v := range a {
			o := dst[i*dstStride:][:2]
			o[0], o[1] = v, b[i]
		}
		return
	}
	c := src[2*srcStride:][:cols]
	for i, v := range a {
		o := dst[i*dstStride:][:3]
		o[0], o[1], o[2] = v, b[i], c[i]
	}
}

// float32s views 4-byte elements as what kernels take.
func float32s[T uint8 | uint16 | uint32](v []T) []float32 {
	return tensor.View[float32](tensor.BytesOf(v))
}

// transposeTile stores dst[c·dstStride+r] = src[r·srcStride+c] for rows × cols.
func transposeTile[T uint8 | uint16 | uint32](dst []T, dstStride int, src []T, srcStride, rows, cols int) {
	r := 0
	for ; r+4 <= rows; r += 4 {
		a, b := src[r*srcStride:][:cols], src[(r+1)*srcStride:][:cols]
		c, e := src[(r+2)*srcStride:][:cols], src[(r+3)*srcStride:][:cols]
		for i := range a {
			o := dst[i*dstStride+r:][:4]
			o[0], o[1], o[2], o[3] = a[i], b[i], c[i], e[i]
		}
	}
	for ; r < rows; r++ {
		for i := 0; i < cols; i++ {
			dst[i*dstStride+r] = src[r*srcStride+i]
		}
	}
}

// moveStep is the step of one move from operand in to output 0.
func moveStep(kernel string, m move, in int) graph.Step {
	return graph.Parallel(kernel, m.tasks(), func(x *graph.Exec, task int) error {
		m.run(x.OutBytes(0), x.Bytes(in), task)
		return nil
	})
}

// viewStep is the step of an output that lies inside operand in: a copy unless the memory coincides.
func viewStep(kernel string, m move, in int) graph.Step {
	s := graph.Parallel(kernel, m.tasks(), func(x *graph.Exec, task int) error {
		dst, src := x.OutBytes(0), x.Bytes(in)
		if !sameMemory(dst, src[min(m.srcOff*m.width, len(src)):]) {
			m.run(dst, src, task)
		}
		return nil
	})
	s.NoOp = true
	return s
}

// sameMemory reports that two slices start at the same byte.
func sameMemory(a, b []byte) bool {
	return unsafe.SliceData(a) == unsafe.SliceData(b) && len(a) > 0 && len(b) > 0
}

// copyPhase copies n bytes in pieces, one for each task, unless both are the same memory.
func copyPhase(n int, dst, src func(x *graph.Exec) []byte) graph.Phase {
	const piece = 256 << 10
	return graph.Phase{Tasks: ceilDiv(n, piece), Run: func(x *graph.Exec, task int) error {
		d, s := dst(x), src(x)
		if !sameMemory(d, s) {
			lo, hi := task*piece, min((task+1)*piece, n)
			copy(d[lo:hi], s[lo:hi])
		}
		return nil
	}}
}

// widthOf is the size in bytes of an element as memory holds it.
func widthOf(o graph.Operand) int {
	if o.Form == graph.Half {
		return 2
	}
	return graph.StoreSize(o.Type.DType)
}
