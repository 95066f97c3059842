// Package dw slides a window over images in channel-blocked layout (NCHWc), every channel by
// itself: depthwise convolution, average and maximum.
//
// A tile is r pixels of one line by one block of Lanes channels:
//
//	Sum:  C[r] (+)= Σ over taps t:  A[t.A + r·RowStride] · W[t.W]    all of them vectors of Lanes floats
//	Max:  C[r] = max over taps t of A[t.A + r·RowStride], and Bias
//
// W is [block][tap][Lanes]: gemm's panel form with K = taps.
package dw

import (
	"unsafe"

	"coreml/internal/kernel/cpu"
)

// Tap is one place of the window: offsets in bytes, A from Args.A and W from Args.W.
type Tap = struct{ A, W int64 }

// Flags of Args.
const (
	Accumulate = 1 << iota // start from C instead of Bias
	AtLeast                // raise to Lo; NaN stays NaN
	AtMost                 // lower to Hi
)

// Args are the arguments of a tile. Strides and steps are in bytes. A kernel only changes
// Tiles, AOff and COff.
type Args struct {
	A            unsafe.Pointer // pixel 0
	Taps         unsafe.Pointer // []Tap
	N            int            // its length
	RowStride    int            // between pixels of A: those that follow one another in the output
	W            unsafe.Pointer
	C            unsafe.Pointer // pixel 0
	CRow, CVec   int            // between pixels of C; CVec is not used
	Bias         unsafe.Pointer // Lanes floats the result starts from; nil: zero
	Add          unsafe.Pointer // residual with the strides of C, added at the end; nil: none
	NMask        int            // lanes to store: Lanes
	Tiles        int            // tiles of r pixels to run; 0 after the call
	AStep, CStep int            // from one tile to the next, in A, and in C and Add
	AOff, COff   int            // of the current tile's pixel 0 from A, and from C and Add
	Lo, Hi       float32
	Flags        int
}

// Op is what the window computes.
type Op int

// The operations. Max ignores NaN in the input.
const (
	Sum Op = iota
	Max
)

// Kernel is the tile family of one CPU level.
type Kernel struct {
	Level cpu.Level
	Lanes int
	rows  int // pixels of the longest tile
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

// Tile runs a.Tiles tiles of r pixels, 1 <= r <= k.rows. It does not bound the time of the
// call: see Grid.
func (k Kernel) Tile(op Op, r int, a *Args) {
	if k.Level == cpu.Generic {
		reference(k.Lanes, op, r, a)
		return
	}
	tile(k.Level, op, r, a)
}

// These bound the time of one call, since the garbage collector cannot stop it: about 20 µs
// on a slow machine.
const (
	maxProducts = 1 << 15
	maxTaps     = 1 << 13
)

// Grid computes lines × m pixels of one channel block. Pixel i of line j is at j·AStep +
// i·RowStride of A and at j·CStep + i·CRow of C. a.NMask, Tiles, AOff and COff are set here, the other
// fields are as before when it returns. Splitting work over calls changes no bit.
func (k Kernel) Grid(op Op, lines, m int, a *Args) {
	if lines <= 0 || m <= 0 {
		return
	}
	a.NMask = k.Lanes
	if lines <= m || fill(lines, k.rows) <= fill(m, k.rows) {
		k.parts(op, lines, m, a)
		return
	}
	a.transpose()
	k.parts(op, m, lines, a)
	a.transpose()
}

// transpose exchanges what a row and what a tile is.
func (a *Args) transpose() {
	a.RowStride, a.AStep = a.AStep, a.RowStride
	a.CRow, a.CStep = a.CStep, a.CRow
}

// parts splits a list of taps that takes too long for one call.
func (k Kernel) parts(op Op, lines, m int, a *Args) {
	if a.N <= maxTaps {
		k.grid(op, lines, m, a)
		return
	}
	b := *a
	for ; b.N > maxTaps; b.N -= maxTaps {
		part := b
		part.N, part.Add = maxTaps, nil
		part.Flags &^= AtLeast | AtMost
		k.grid(op, lines, m, &part)
		b.Taps = unsafe.Add(b.Taps, maxTaps*int(unsafe.Sizeof(Tap{})))
		b.Flags |= Accumulate
	}
	k.grid(op, lines, m, &b)
}

// grid cuts the lines evenly into the fewest tiles.
func (k Kernel) grid(op Op, lines, m int, a *Args) {
	n := (m + k.rows - 1) / k.rows
	r := (m + n - 1) / n
	full := m - n*(r-1) // tiles of r pixels, the others have r-1
	per := lines
	if work := r * (a.N + 4); work*lines > maxProducts {
		per = max(1, maxProducts/work)
	}
	for i, at := 0, 0; i < n; i++ {
		if i == full {
			r--
		}
		a.AOff, a.COff = at*a.RowStride, at*a.CRow
		for left := lines; left > 0; left -= per {
			a.Tiles = min(left, per)
			k.Tile(op, r, a)
		}
		at += r
	}
}

// fill is the mean number of pixels when m are cut into tiles of at most r.
func fill(m, r int) float64 { return float64(m) / float64((m+r-1)/r) }
