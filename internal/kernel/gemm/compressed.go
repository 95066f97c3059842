package gemm

import (
	"unsafe"

	"coreml/internal/kernel/cpu"
)

// Form is a way to store the weights of a panel so that kernels decode them in registers.
type Form int

// The forms. In each, step k of a panel has Lanes weights, one for each column.
const (
	Half Form = iota // float16
	Int8             // signed bytes
	Lut4             // indices into 16 values: word i of a column holds steps 8i … 8i+7, the lowest nibble first; K is a multiple of 8
)

// PanelBytes is the size of one panel of k steps.
func (f Form) PanelBytes(k, lanes int) int {
	switch f {
	case Half:
		return 2 * k * lanes
	case Int8:
		return k * lanes
	}
	return k / 2 * lanes
}

// Compressed is an [N][K] weight in panel form whose weights are value·scale + shift.
type Compressed struct {
	Form Form
	N, K int    // in blocked layout N is a multiple of the lanes
	Data []byte // PanelBytes for each panel

	Lut       []float32 // Lut4: [panel][block][16], or [16] for all of them
	Block     int       // steps of K that share scale, shift and table; the last block may be shorter. Lut4: a multiple of 8
	HalfScale bool      // Scale and Shift hold float16
	Scale     []byte    // [panel][block][Lanes]; nil: 1
	Shift     []byte    // likewise; nil: 0. Wants Scale
	Round     bool      // for more than FewRows rows, value·scale + shift is rounded to float16
}

// Blocks is the number of blocks of K.
func (w *Compressed) Blocks() int { return (w.K + w.Block - 1) / w.Block }

// FewRows is up to how many rows weights are decoded in registers; beyond, panels are expanded to
// float32 once for all rows.
const FewRows = 4

// chunkSteps is about how many steps of K one call covers: it bounds the time of a call and the size
// of the scratch, and depends on nothing but the weight, so that no split changes a bit.
const chunkSteps = 512

// expandVectors is how many panels are expanded side by side.
const expandVectors = 2

// ScratchSize is the number of floats of scratch that Compressed needs for m rows.
func (k Kernel) ScratchSize(w *Compressed, m int) int {
	if m <= FewRows {
		return 4 * w.Blocks()
	}
	return expandVectors * chunkSteps * k.Lanes
}

// Compressed computes m rows by the columns of panels lo … hi of w. a has A, whose rows are
// contiguous, RowStride, C, CRow, CVec, Bias, Add, limits and Accumulate as for Run, all for column 0 of w.
// scratch is ScratchSize floats that nobody else uses. Splitting panels over calls changes no bit; the number
// of rows may, since few rows scale sums and many rows scale weights.
func (k Kernel) Compressed(w *Compressed, lo, hi, m int, a *Args, scratch []float32) {
	w.check(k.Lanes)
	_ = scratch[:k.ScratchSize(w, m)]
	var lut tables
	b := *a
	b.Lut = unsafe.Pointer(&lut)
	most := expandVectors
	if m <= FewRows {
		most = k.few[m]
		if w.Shift != nil {
			w.sums(scratch, m, a)
		}
	}
	for p := lo; p < hi; {
		v := min(hi-p, most)
		b.NMask = min(k.Lanes, w.N-(p+v-1)*k.Lanes)
		b.C = unsafe.Add(a.C, p*a.CVec)
		if a.Bias != nil {
			b.Bias = unsafe.Add(a.Bias, p*k.Lanes*4)
		}
		add := a.Add
		if add != nil {
			add = unsafe.Add(add, p*a.CVec)
		}
		for q := range w.pieces {
			b.Flags, b.Add = a.Flags&^(AtLeast|AtMost), nil
			if q.first > 0 {
				b.Flags |= Accumulate
			}
			if q.first+q.blocks*q.steps == w.K {
				b.Flags, b.Add = b.Flags|a.Flags, add
			}
			b.A = unsafe.Add(a.A, 4*q.first)
			b.AOff, b.COff, b.Tiles = 0, 0, 1
			if m <= FewRows {
				k.decode(w, p, v, m, q, &b, &lut, scratch)
			} else {
				k.expand(w, p, v, m, q, &b, &lut, scratch)
			}
		}
		p += v
	}
}

// check panics where a slice is shorter than the kernels assume.
func (w *Compressed) check(lanes int) {
	panels := (w.N + lanes - 1) / lanes
	_ = w.Data[:panels*w.Form.PanelBytes(w.K, lanes)]
	size := 4 * panels * w.Blocks() * lanes
	if w.HalfScale {
		size /= 2
	}
	if w.Scale != nil {
		_ = w.Scale[:size]
	}
	if w.Shift != nil {
		_ = w.Shift[:size]
	}
	if w.Shift != nil && w.Scale == nil || w.Form == Lut4 && (w.K%8 != 0 || w.Block%8 != 0 && w.Block != w.K) {
		panic("BUG: gemm: compressed weight: shift without scale, or 4-bit steps that are no multiple of 8")
	}
}

// piece is a run of steps of K within one call: whole blocks of equal length, or a part of one block.
type piece struct{ first, block, blocks, steps int }

// pieces cuts K. A table that changes from block to block makes each block a piece.
func (w *Compressed) pieces(yield func(piece) bool) {
	for at := 0; at < w.K; {
		q := piece{first: at, block: at / w.Block, blocks: 1}
		inside := at % w.Block
		whole := min(chunkSteps, w.K-at) / w.Block
		if inside == 0 && whole > 1 && len(w.Lut) <= 16 {
			q.blocks, q.steps = whole, w.Block
		} else {
			q.steps = min(w.Block-inside, w.K-at, chunkSteps)
		}
		if !yield(q) {
			return
		}
		at += q.blocks * q.steps
	}
}

// sums writes the sums of A over each block, four rows side by side.
func (w *Compressed) sums(dst []float32, m int, a *Args) {
	for b := range w.Blocks() {
		first := b * w.Block
		n := min(w.Block, w.K-first)
		for r := range m {
			var part [4]float32
			x := floats(a.A, r*a.RowStride+4*first, n)
			for ; len(x) >= 4; x = x[4:] {
				part[0] += x[0]
				part[1] += x[1]
				part[2] += x[2]
				part[3] += x[3]
			}
			for i, y := range x {
				part[i] += y
			}
			dst[4*b+r] = part[0] + part[1] + (part[2] + part[3])
		}
	}
}

// place points b at piece q of panel p of the weight.
func (w *Compressed) place(b *Args, lanes, p int, q piece) {
	panel, blocks := w.Form.PanelBytes(w.K, lanes), w.Blocks()
	b.W, b.WStride = unsafe.Pointer(&w.Data[p*panel+w.Form.PanelBytes(q.first, lanes)]), panel
	b.Blocks, b.BlockK = q.blocks, q.steps
	size := 4 * lanes
	if w.HalfScale {
		size, b.Flags = 2*lanes, b.Flags|halfScale
	}
	if w.Round {
		b.Flags |= roundHalf
	}
	b.ScaleBlock, b.ScalePanel, b.ScaleOff = size, size*blocks, 0
	at := (p*blocks + q.block) * size
	if w.Scale != nil {
		b.Scale = unsafe.Pointer(&w.Scale[at])
	}
	if w.Shift != nil {
		b.Shift = unsafe.Pointer(&w.Shift[at])
	}
}

// tables is what a tile looks up: a table for each vector.
type tables [MaxVectors * 16]float32

// tables sets those of v panels from p on.
func (w *Compressed) tables(lut *tables, p, v, block int) {
	if w.Form != Lut4 {
		return
	}
	for i := range v {
		from := 0
		if len(w.Lut) > 16 {
			from = ((p+i)*w.Blocks() + block) * 16
		}
		copy(lut[16*i:16*i+16], w.Lut[from:from+16])
	}
}

// decode runs one piece of v panels over at most FewRows rows.
func (k Kernel) decode(w *Compressed, p, v, m int, q piece, b *Args, lut *tables, sums []float32) {
	w.tables(lut, p, v, q.block)
	w.place(b, k.Lanes, p, q)
	b.ASumOff = 0
	switch end := q.first + q.blocks*q.steps; {
	case w.Shift == nil:
	case end%w.Block != 0 && end != w.K:
		b.Shift = nil // the last part of the block adds the sum of all of it
	default:
		b.ASum = unsafe.Pointer(&sums[4*q.block])
	}
	if k.Level == cpu.Generic {
		decodeReference(k.Lanes, w.Form, m, v, b)
		return
	}
	compressedTile(k.Level, w.Form, m, v, b)
}

// expand writes one piece of v panels to scratch and runs the float32 tiles over it.
func (k Kernel) expand(w *Compressed, p, v, m int, q piece, b *Args, lut *tables, scratch []float32) {
	steps := q.blocks * q.steps
	for i := range v {
		e := Args{C: unsafe.Pointer(&scratch[i*steps*k.Lanes]), Lut: b.Lut}
		w.tables(lut, p+i, 1, q.block)
		w.place(&e, k.Lanes, p+i, q)
		if k.Level == cpu.Generic {
			expandReference(k.Lanes, w.Form, &e)
		} else {
			expandPanel(k.Level, w.Form, &e)
		}
	}
	b.W, b.WStride = unsafe.Pointer(&scratch[0]), 4*steps*k.Lanes
	b.TapsV, b.NV, b.Taps1, b.N1 = nil, steps/k.Lanes, nil, steps%k.Lanes
	vector, single := chunkTaps(k.Lanes)
	if b.NV > 0 {
		b.TapsV = unsafe.Pointer(&vector[0])
	}
	if b.N1 > 0 {
		b.Taps1 = unsafe.Pointer(&single[steps-b.N1])
	}
	k.grid(1, m, v, b)
}
