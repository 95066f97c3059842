package gemm

import (
	"sync"

	"coreml/internal/kernel/cpu"
)

// Panels is the number of floats of an [n][k] weight in panel form: for each vector of
// lanes columns, k rows of lanes floats; columns from n on are zero.
func Panels(n, k, lanes int) int { return (n + lanes - 1) / lanes * k * lanes }

// PackRows writes panels lo … hi of the panel form of a weight whose row(i) holds
// the k values of column i (linear [out, in], convolution [out, in·kh·kw], matmul with a
// transposed right side). order, where not nil, gives for each packed step the position in the row, -1 for
// a zero: it has k entries. A row is used only until the next one is asked for.
func PackRows(dst []float32, n, k, lanes int, row func(i int) []float32, order []int32, lo, hi int) {
	for p := lo; p < hi; p++ {
		panel := dst[p*k*lanes : (p+1)*k*lanes]
		for l := range lanes {
			i := p*lanes + l
			switch {
			case i >= n:
				for at := l; at < len(panel); at += lanes {
					panel[at] = 0
				}
			case order == nil:
				at := l
				for _, x := range row(i)[:k] {
					panel[at] = x
					at += lanes
				}
			default:
				permute(panel[l:], row(i), order[:k], lanes)
			}
		}
	}
}

func permute(dst, row []float32, order []int32, lanes int) {
	for s, from := range order {
		var x float32
		if from >= 0 {
			x = row[from]
		}
		dst[s*lanes] = x
	}
}

// PackCols writes panels lo … hi of the panel form of a weight stored [k][n] with
// stride floats between rows: the right side of a matmul.
func PackCols(dst []float32, n, k, lanes int, src []float32, stride, lo, hi int) {
	for p := lo; p < hi; p++ {
		panel := dst[p*k*lanes : (p+1)*k*lanes]
		width := min(lanes, n-p*lanes)
		for s := range k {
			from := s*stride + p*lanes
			c := copy(panel[s*lanes:(s+1)*lanes], src[from:from+width])
			clear(panel[s*lanes+c : (s+1)*lanes])
		}
	}
}

// packSteps bounds one assembly call of PackMatrix, which the collector cannot stop.
const packSteps = 4096

// PackMatrix writes panels lo … hi of the panel form of a matrix: what PackCols does for src of
// [depth][n], and, transposed, PackRows for src of [n][depth]; with stride floats between rows.
func (k Kernel) PackMatrix(dst []float32, n, depth int, src []float32, stride int, transposed bool, lo, hi int) {
	if depth == 0 {
		return
	}
	if k.Level == cpu.Generic {
		packMatrix(dst, n, depth, k.Lanes, src, stride, transposed, lo, hi)
		return
	}
	for p := lo; p < hi; p++ {
		panel := dst[p*depth*k.Lanes : (p+1)*depth*k.Lanes]
		columns := min(k.Lanes, n-p*k.Lanes)
		switch {
		case !transposed:
			_ = src[:(depth-1)*stride+p*k.Lanes+columns]
			packColumns(k.Level, panel, src[p*k.Lanes:], stride, depth, columns)
		case columns < k.Lanes:
			packMatrix(dst, n, depth, k.Lanes, src, stride, true, p, p+1)
		default:
			k.transpose(panel, depth, src[p*k.Lanes*stride:], stride)
		}
	}
}

// transpose is one whole panel; the last few steps, no multiple of four, are copied one by one.
func (k Kernel) transpose(panel []float32, depth int, src []float32, stride int) {
	_ = src[:(k.Lanes-1)*stride+depth]
	whole := depth &^ 3
	for s := 0; s < whole; s += packSteps {
		packTransposed(k.Level, panel[s*k.Lanes:], src[s:], stride, min(packSteps, whole-s)/4)
	}
	for s := whole; s < depth; s++ {
		for l := range k.Lanes {
			panel[s*k.Lanes+l] = src[l*stride+s]
		}
	}
}

func packMatrix(dst []float32, n, depth, lanes int, src []float32, stride int, transposed bool, lo, hi int) {
	if transposed {
		PackRows(dst, n, depth, lanes, func(i int) []float32 { return src[i*stride : i*stride+depth] }, nil, lo, hi)
		return
	}
	PackCols(dst, n, depth, lanes, src, stride, lo, hi)
}

// DenseTaps are the taps of a row-major A with contiguous rows of k floats: vector taps, then
// single taps for the rest.
func DenseTaps(k, lanes int) (vector, single []Tap) {
	for s := 0; s+lanes <= k; s += lanes {
		vector = append(vector, Tap{A: int64(4 * s), W: int64(4 * s * lanes)})
	}
	for s := k - k%lanes; s < k; s++ {
		single = append(single, Tap{A: int64(4 * s), W: int64(4 * s * lanes)})
	}
	return vector, single
}

// chunkTaps are the taps of a dense row of chunkSteps: all as vector taps and all as single taps.
func chunkTaps(lanes int) (vector, single []Tap) {
	if lanes == 16 {
		return taps16()
	}
	return taps8()
}

var taps8, taps16 = onceTaps(8), onceTaps(16)

func onceTaps(lanes int) func() (vector, single []Tap) {
	return sync.OnceValues(func() (vector, single []Tap) {
		vector, _ = DenseTaps(chunkSteps, lanes)
		for s := range chunkSteps {
			single = append(single, Tap{A: int64(4 * s), W: int64(4 * s * lanes)})
		}
		return vector, single
	})
}
