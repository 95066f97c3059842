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

// Weights computes G·w·Gᵀ of 3 × 3 taps, line by line, in float64. Element i of the result goes to dst[i·stride].
func Weights(dst []float32, stride int, w []float32) {
	var half [In][3]float64 // of vertical points by columns of w
	for i, g := range &taps {
		for x := range 3 {
			half[i][x] = g[0]*float64(w[x]) + g[1]*float64(w[3+x]) + g[2]*float64(w[6+x])
		}
	}
	for x, g := range &taps {
		for y, h := range &half {
			dst[(x*In+y)*stride] = float32(g[0]*h[0] + g[1]*h[1] + g[2]*h[2])
		}
	}
}

// taps is G: the powers of each point over the product of its distances to the others.
var taps = func() (g [In][3]float64) {
	points := [...]float64{0, a, -a, b, -b}
	for i, p := range points {
		d := 1.0
		for j, q := range points {
			if j != i {
				d *= p - q
			}
		}
		g[i] = [3]float64{1 / d, p / d, p * p / d}
	}
	g[In-1] = [3]float64{0, 0, 1}
	return g
}()

// NoLimit are the limits that change nothing.
func NoLimit() (lo, hi float32) { return float32(math.Inf(-1)), float32(math.Inf(1)) }
