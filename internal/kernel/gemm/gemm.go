// Package gemm computes tiles of sums of products in float32: the one dense kernel
// behind linear, matmul, pointwise and k × k convolution, row-major or channel-blocked.
//
// A tile is r rows (tokens, pixels) by v vectors of Lanes output columns:
//
//	C[r][v] (+)= Σ over taps t, lanes l:  A[t.A + r·RowStride + l] · W[t.W + v·WStride + l]
//
// A vector tap stands for Lanes consecutive floats of A, a single tap for one. W is in
// panel form (see Panels): for each vector of columns, K rows of Lanes floats.
package gemm

import (
	"unsafe"

	"coreml/internal/kernel/cpu"
)

// Tap is one place of the input that every row of a tile reads: offsets in bytes, A from
// Args.A, and W from Args.W: k·Lanes·4 for the step k of the first lane.
type Tap = struct{ A, W int64 }

// Flags of Args.
const (
	Accumulate = 1 << iota // start from C instead of Bias: a later part of K
	AtLeast                // raise to Lo; NaN stays NaN
	AtMost                 // lower to Hi
	halfScale              // Scale and Shift are float16
	roundHalf              // expanded weights are rounded to float16
)

// Args are the arguments of a tile. Strides and steps are in bytes. A kernel only changes
// Tiles, AOff, COff and Ahead.
type Args struct {
	A            unsafe.Pointer // row 0
	TapsV, Taps1 unsafe.Pointer // []Tap of Lanes floats each, then []Tap of one float each
	NV, N1       int            // their lengths
	RowStride    int            // between rows of A
	W            unsafe.Pointer // panel of vector 0
	WStride      int            // between panels: K·Lanes·4
	C            unsafe.Pointer // row 0, vector 0
	CRow         int            // between rows of C
	CVec         int            // between vectors of C: Lanes·4 in row-major, the block stride in blocked layout
	Bias         unsafe.Pointer // one float per stored column from vector 0 on; nil: none
	Add          unsafe.Pointer // residual with the strides of C, added after the sum; nil: none
	NMask        int            // columns of the last vector to store, 1 … Lanes; blocked layout stores all
	Tiles        int            // tiles of r rows to run; 0 after the call
	AStep, CStep int            // from one tile to the next, in A, and in C and Add
	AOff, COff   int            // of the current tile's row 0 from A, and from C and Add
	Lo, Hi       float32
	Flags        int

	// Each vector tap prefetches eight cache lines at Ahead and moves it by AheadStep: weights that
	// the next tiles read. An address that is never read from; 0: W, which costs nothing.
	Ahead     uintptr
	AheadStep int

	// Of the kernels for compressed weights, where A holds contiguous rows and Blocks blocks of BlockK
	// steps are summed. Scale and Shift have Lanes numbers for each panel and block.
	Lut                    unsafe.Pointer // 16 floats for each vector of the tile
	Scale, Shift           unsafe.Pointer // factor of the weight, and what is added then; nil: 1 and 0
	ASum                   unsafe.Pointer // with Shift: for each block four floats, the sums of A over its steps in rows 0 … 3
	Blocks, BlockK         int
	ScaleBlock, ScalePanel int // from block to block, and from panel to panel, of Scale and Shift
	ScaleOff, ASumOff      int // of the current block, advanced by the kernel
}

// MaxVectors is the largest number of output vectors of a tile.
const MaxVectors = 4

// Kernel is the tile family of one CPU level.
type Kernel struct {
	Level cpu.Level
	Lanes int
	rows  [MaxVectors + 1]int // rows of the tallest tile, by number of vectors
	few   [FewRows + 1]int    // vectors of the widest tile over compressed weights, by number of rows
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

// MaxRows is the number of rows of the tallest tile of v vectors.
func (k Kernel) MaxRows(v int) int { return k.rows[v] }

// Tile runs a.Tiles tiles of r rows by v vectors, 1 <= v <= MaxVectors, 1 <= r <= MaxRows(v).
// It does not bound the time of the call: see Run.
func (k Kernel) Tile(v, r int, a *Args) {
	if k.Level == cpu.Generic {
		reference(k.Lanes, v, r, a)
		return
	}
	if a.Ahead == 0 {
		a.Ahead = uintptr(a.W)
	}
	tile(k.Level, v, r, a)
}
