// Package wino has the transforms of Winograd's convolution F(4×4, 3×3) on channel-blocked memory:
// a convolution by 3 × 3 taps with stride 1 becomes 36 products of matrices with 2¼ to 4 times fewer multiplications.
//
// A tile is 4 × 4 outputs, or the 6 × 6 inputs that they see. With x[6][6], w[3][3] and y[4][4],
//
//	y = Aᵀ·[ (G·w·Gᵀ) ⊙ (Bᵀ·x·B) ]·A
//
// where ⊙ multiplies element by element; summing over input channels makes each of the 36 elements a product
// [tiles × inputs]·[inputs × outputs]. Element x·6 + y is that of horizontal point x and vertical point y.
//
// The points of interpolation are 0, ±3/4, ±3/2 and ∞; all constants of A and B are exact. The error is relative to
// the largest output of a tile, not to each by itself: for random data 1e-6 on average and 4e-6 at most, twice that of
// summing directly in float32 (the usual points 0, ±1, ±2, ∞ give 2e-6 and 1e-5); for inputs of alternating signs, whose
// sums cancel, up to 2e-5. For the same reason an infinity or NaN in the input reaches all outputs of its tile.
package wino

import (
	"math"
	"unsafe"

	"coreml/internal/kernel/cpu"
)

const (
	Elements = In * In // of a transformed tile
	In       = 6       // lines and pixels that a tile reads
	Out      = 4       // lines and pixels that it writes

	a, b = 0.75, 1.5 // the points are ±a and ±b
)

// Args are the arguments of a transform of tiles that lie side by side. Strides are in bytes. Pixels are vectors
// of Lanes channels and follow one another, so do tiles in a matrix. A kernel only changes Tiles.
type Args struct {
	Image      unsafe.Pointer // the first tile's first pixel: read by Input, written by Output
	ImageLine  int            // between lines of the image
	Matrix     unsafe.Pointer // the first tile's element 0: written by Input, read by Output
	MatrixStep int            // between the elements of a tile
	Tmp        unsafe.Pointer // Elements vectors to work in
	Tiles      int            // 0 after the call

	// Of Output.
	Lines, Pixels int            // of each tile that are written: 1 … 4
	Bias          unsafe.Pointer // one vector; nil: zero
	Add           unsafe.Pointer // residual with the strides of the image; nil: none
	Lo, Hi        float32        // limits of the result, infinite where there are none; NaN stays NaN
}

// Kernel is the pair of transforms of one CPU level.
type Kernel struct {
	Level cpu.Level
	Lanes int
}

// For returns the kernel of a level, the generic one where this build has none.
func For(level cpu.Level) Kernel {
	for _, k := range kernels {
		if k.Level == level {
			return k
		}
	}
	return generic
}

// maxTiles bounds the time of one call, which the collector cannot stop, to about 20 µs.
const maxTiles = 64

// Input computes Bᵀ·x·B of each tile.
func (k Kernel) Input(a *Args) { k.run(a, false) }

// Output computes Aᵀ·m·A of each tile, adds Bias and Add and applies the limits.
func (k Kernel) Output(a *Args) { k.run(a, true) }

const maxLanes = 16

var zero [maxLanes]float32

// run transforms a few tiles at a time.
func (k Kernel) run(a *Args, back bool) {
	part := *a
	if part.Bias == nil {
		part.Bias = unsafe.Pointer(&zero)
	}
	for ; a.Tiles > 0; a.Tiles -= part.Tiles {
		n := min(maxTiles, a.Tiles)
		part.Tiles = n
		k.tiles(&part, back)
		part.Tiles = n
		if a.Tiles == n {
			continue
		}
		part.Image = unsafe.Add(part.Image, n*Out*k.Lanes*4)
		part.Matrix = unsafe.Add(part.Matrix, n*k.Lanes*4)
		if part.Add != nil {
			part.Add = unsafe.Add(part.Add, n*Out*k.Lanes*4)
		}
	}
}

func (k Kernel) tiles(a *Args, back bool) {
	switch {
	case k.Level != cpu.Generic:
		transform(k.Level, a, back)
	case back:
		referenceOutput(k.Lanes, a)
	default:
		referenceInput(k.Lanes, a)
	}
}

// Weights computes G·w·Gᵀ in float64 for n <= 16 lanes: the 3 × 3 taps of lane l, line by line, are at w[l·stride],
// and element e of its result goes to dst[e·step + l].
func Weights(dst []float32, step int, w []float32, stride, n int) {
	var taps [9][maxLanes]float64
	for l := range n {
		for i, v := range w[l*stride:][:9] {
			taps[i][l] = float64(v)
		}
	}
	var columns [3][In][maxLanes]float64 // of taps, by vertical points
	for x := range columns {
		tapsForward(&columns[x], taps[x][:n], taps[3+x][:n], taps[6+x][:n])
	}
	var line [In][maxLanes]float64
	for y := range In {
		tapsForward(&line, columns[0][y][:n], columns[1][y][:n], columns[2][y][:n])
		for x := range line {
			to := dst[(x*In+y)*step:][:n]
			for l, v := range line[x][:n] {
				to[l] = float32(v)
			}
		}
	}
}

// tapsForward is G·w, lane by lane: the value of the polynomial w at each point over the product of that point's
// distances to the others, which for ±a is 2a²·(a² - b²); at infinity it is the last coefficient.
func tapsForward(to *[In][maxLanes]float64, w0, w1, w2 []float64) {
	const scale0, scaleA, scaleB = 1 / (aa * bb), 1 / (2 * aa * (aa - bb)), 1 / (2 * bb * (bb - aa))
	w1, w2 = w1[:len(w0)], w2[:len(w0)]
	for l := range min(len(w0), maxLanes) {
		evenA, oddA := float64(scaleA*w0[l])+float64(scaleA*aa*w2[l]), float64(scaleA*a*w1[l])
		evenB, oddB := float64(scaleB*w0[l])+float64(scaleB*bb*w2[l]), float64(scaleB*b*w1[l])
		to[0][l] = scale0 * w0[l]
		to[1][l], to[2][l] = evenA+oddA, evenA-oddA
		to[3][l], to[4][l] = evenB+oddB, evenB-oddB
		to[5][l] = w2[l]
	}
}

// NoLimit are the limits that change nothing.
func NoLimit() (lo, hi float32) { return float32(math.Inf(-1)), float32(math.Inf(1)) }
