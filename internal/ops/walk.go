package ops

import (
	"strconv"

	"coreml/internal/graph"
	"coreml/tensor"
)

// walk steps through an operand that is broadcast to a contiguous result.
// Neighbouring dimensions that move alike are merged.
type walk struct {
	size   []int // of the result, outermost first
	stride []int // of the operand, in elements; 0 where it is repeated
}

// newWalk relates an operand's memory shape to the result's, aligned at the last dimension.
func newWalk(out, in []int) walk {
	var w walk
	st := 1
	for i := range out {
		o := len(out) - 1 - i
		k := len(in) - 1 - i
		s := 0
		if k >= 0 && in[k] != 1 {
			s = st
			st *= in[k]
		}
		if out[o] == 1 {
			continue
		}
		last := len(w.size) - 1
		if last >= 0 && (s == 0 && w.stride[last] == 0 || s != 0 && w.stride[last] != 0 && s == w.stride[last]*w.size[last]) {
			w.size[last] *= out[o]
			continue
		}
		w.size, w.stride = append(w.size, out[o]), append(w.stride, s)
	}
	reverse(w.size)
	reverse(w.stride)
	return w
}

func reverse(s []int) {
	for i, j := 0, len(s)-1; i < j; i, j = i+1, j-1 {
		s[i], s[j] = s[j], s[i]
	}
}

// same reports that operand and result have the same elements in the same order.
func (w walk) same() bool { return len(w.size) == 0 || len(w.size) == 1 && w.stride[0] == 1 }

// at is the operand's element for element i of the result.
func (w walk) at(i int) int {
	p := 0
	for d := len(w.size) - 1; d >= 0; d-- {
		p += i % w.size[d] * w.stride[d]
		i /= w.size[d]
	}
	return p
}

// spread writes the operand's elements for the result elements from off on.
func spread[T any](w walk, dst, o []T, off int) {
	last := len(w.size) - 1
	if last < 0 {
		fill(dst, o[0])
		return
	}
	run, rows, step := w.size[last], 1, 0
	if last > 0 {
		rows, step = w.size[last-1], w.stride[last-1]
	}
	for len(dst) > 0 {
		i, row := off%run, off/run%rows
		p := w.at(off - i)
		n := min((rows-row)*run-i, len(dst)) // up to where the next dimension moves on
		switch d := dst[:n]; {
		case w.stride[last] == 0:
			repeatEach(d, o[p:], i, run, step)
		case step == 0:
			cycle(d, o[p:p+run], i)
		default:
			copyRuns(d, o[p:], i, run, step)
		}
		dst, off = dst[n:], off+n
	}
}

// repeatEach writes run copies of every step-th element; of the first only those from i on.
func repeatEach[T any](dst, o []T, i, run, step int) {
	for p := 0; len(dst) > 0; p += step {
		n := min(run-i, len(dst))
		fill(dst[:n], o[p])
		dst, i = dst[n:], 0
	}
}

// cycle writes v over and over, from its element i on.
func cycle[T any](dst, v []T, i int) {
	n := copy(dst, v[i:])
	n += copy(dst[n:], v[:i])
	for n < len(dst) {
		n += copy(dst[n:], dst[:n])
	}
}

// copyRuns writes runs that start step apart, the first from its element i on.
func copyRuns[T any](dst, o []T, i, run, step int) {
	for p := 0; len(dst) > 0; p += step {
		n := copy(dst[:min(run-i, len(dst))], o[p+i:])
		dst, i = dst[n:], 0
	}
}

// shortRun is the length below which repeated pieces are spread out in x.Tmp first.
const shortRun = 64

// each covers the n result elements from off on with runs in which the operand
// is either a vector (vec) or one number (num).
func (w walk) each(x *graph.Exec, n, off int, o []float32, vec func(at, n int, v []float32), num func(at, n int, v float32)) {
	last := len(w.size) - 1
	if last < 0 {
		num(0, n, o[0])
		return
	}
	run := w.size[last]
	if run < shortRun && last > 0 {
		w.short(x, n, off, o, vec)
		return
	}
	for at := 0; at < n; {
		i := (off + at) % run
		k := min(run-i, n-at)
		p := w.at(off + at)
		if w.stride[last] == 0 {
			num(at, k, o[p])
		} else {
			vec(at, k, o[p:p+k])
		}
		at += k
	}
}

// short spreads runs that are too short for a call each.
func (w walk) short(x *graph.Exec, n, off int, o []float32, vec func(at, n int, v []float32)) {
	last := len(w.size) - 1
	run := w.size[last]
	for at := 0; at < n; {
		k := min(len(x.Tmp), n-at)
		// A vector repeated over a long stretch (one per channel block) is spread once for the whole stretch.
		if w.stride[last] == 1 && w.stride[last-1] == 0 {
			stretch := run * w.size[last-1]
			k = min(stretch-(off+at)%stretch, n-at)
			phase := (off + at) % run
			p := w.at(off + at - phase)
			w.repeat(x, o[p:p+run], phase, at, k, vec)
		} else {
			spread(w, x.Tmp[:k], o, off+at)
			vec(at, k, x.Tmp[:k])
		}
		at += k
	}
}

// repeat covers n elements from at on with copies of v, the first one entered at phase.
func (w walk) repeat(x *graph.Exec, v []float32, phase, at, n int, vec func(at, n int, v []float32)) {
	t := x.Tmp[:min(len(x.Tmp)/len(v)*len(v), ceilDiv(n+phase, len(v))*len(v))]
	cycle(t, v, 0)
	for done := 0; done < n; {
		k := min(len(t)-phase, n-done)
		vec(at+done, k, t[phase:phase+k])
		done += k
		phase = 0
	}
}

func itoa(i int) string { return strconv.Itoa(i) }

func shapeKey(s []int) string {
	b := make([]byte, 0, 4*len(s))
	for _, d := range s {
		b = append(b, ',')
		b = strconv.AppendInt(b, int64(d), 10)
	}
	return string(b)
}

func f32(b []byte) []float32 { return tensor.View[float32](b) }

// toBlocked moves [n, c, sp] to [n, ⌈c/b⌉, sp, b]; pad lanes become zero.
func toBlocked(dst, src []float32, n, c, sp, b int) {
	blocks := (c + b - 1) / b
	for i := 0; i < n*blocks; i++ {
		in, cb := i/blocks, i%blocks
		used := min(b, c-cb*b)
		d := dst[i*sp*b : (i+1)*sp*b]
		s := src[(in*c+cb*b)*sp:]
		for p := 0; p < sp; p++ {
			row := d[p*b : p*b+b]
			for l := range row {
				if l < used {
					row[l] = s[l*sp+p]
				} else {
					row[l] = 0
				}
			}
		}
	}
}
