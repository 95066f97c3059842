package gemm

import "unsafe"

// A call of a tile function must stay well under 100 µs, since the garbage collector
// cannot stop it. Both bounds are about 20 to 50 µs on a slow machine.
const (
	maxProducts = 1 << 15 // vector products when compute binds
	maxVectorsW = 1 << 13 // vectors of W when memory binds: 512 KiB at 16 lanes
)

// Part is a grid of rows that share their taps: Lines × Rows, where row i of line j is at j·AStep +
// i·RowStride of A and at C + j·CStep + i·CRow of C and Add, in bytes.
type Part struct {
	Lines, Rows int
	TapsV       []Tap
	Taps1       []Tap
	C           int
}

// Run computes m rows by n columns with the taps of a: linear, matmul, pointwise.
func (k Kernel) Run(m, n int, a *Args) {
	part := [1]Part{{Lines: 1, Rows: m, TapsV: taps(a.TapsV, a.NV), Taps1: taps(a.Taps1, a.N1)}}
	k.Parts(part[:], 0, (n+k.Lanes-1)/k.Lanes, n, a)
}

func taps(p unsafe.Pointer, n int) []Tap { return unsafe.Slice((*Tap)(p), n) }

// Parts computes all parts for the columns of panels lo … hi, of n columns in all: the regions of a
// convolution. Each panel serves all parts before the next one is touched. a describes column 0; its
// taps, NMask, Tiles, AOff and COff are set here, and a is not changed. In blocked layout n is a multiple
// of Lanes. How an output is computed depends on nothing but its taps, so splitting work over calls changes
// no bit.
func (k Kernel) Parts(parts []Part, lo, hi, n int, a *Args) {
	rows := 0
	for i := range parts {
		rows += parts[i].Lines * parts[i].Rows
	}
	b := *a
	for p := lo; p < hi; {
		v := k.group(hi-p, rows)
		b.NMask = min(k.Lanes, n-(p+v-1)*k.Lanes)
		b.W = unsafe.Add(a.W, p*a.WStride)
		if a.Bias != nil {
			b.Bias = unsafe.Add(a.Bias, p*k.Lanes*4)
		}
		k.ahead(&b, parts, v, (n+k.Lanes-1)/k.Lanes-p-v)
		for i := range parts {
			q := &parts[i]
			if q.Lines <= 0 || q.Rows <= 0 {
				continue
			}
			b.TapsV, b.NV = unsafe.Pointer(unsafe.SliceData(q.TapsV)), len(q.TapsV)
			b.Taps1, b.N1 = unsafe.Pointer(unsafe.SliceData(q.Taps1)), len(q.Taps1)
			b.C = unsafe.Add(a.C, q.C+p*a.CVec)
			if a.Add != nil {
				b.Add = unsafe.Add(a.Add, q.C+p*a.CVec)
			}
			k.part(q.Lines, q.Rows, v, &b)
		}
		p += v
	}
}

// aheadMost is what a vector tap can prefetch: eight cache lines.
const aheadMost = 8 * 64

// ahead lets the tiles of v panels prefetch the next ones, of which there are left: memory is read while
// the multipliers work, not before they can.
func (k Kernel) ahead(a *Args, parts []Part, v, left int) {
	taps := 0
	for i := range parts {
		q := &parts[i]
		m, tall := max(q.Lines, q.Rows), k.rows[v]
		taps += (m + tall - 1) / tall * min(q.Lines, q.Rows) * len(q.TapsV)
	}
	a.Ahead, a.AheadStep = 0, 0
	if size := min(v, left) * a.WStride; size > 0 && taps > 0 {
		a.Ahead = uintptr(a.W) + uintptr(v*a.WStride)
		a.AheadStep = min(aheadMost, (size+taps-1)/taps)
	}
}

// group is how many of the remaining panels the next tiles take, for m rows in all. If one tile can
// hold all rows it does, so that W is read once; else tiles are wide, and read few rows of A at a time, which
// spares the cache where rows are a multiple of 4 KiB apart. No panel is left alone for the last tile.
func (k Kernel) group(panels, m int) int {
	v := MaxVectors
	for v > 2 && k.rows[v] < m {
		v--
	}
	if k.rows[v] < m {
		v = MaxVectors
	}
	if panels == v+1 && v > 2 {
		return v - 1
	}
	return min(panels, v)
}

// part computes v vectors of every row. K is split where a single tile would take too long; since
// sums are float32 in registers and in memory, this changes no bit.
func (k Kernel) part(lines, m, v int, a *Args) {
	limit := maxVectorsW / v
	if a.NV*k.Lanes+a.N1 <= limit {
		k.grid(lines, m, v, a)
		return
	}
	part := *a
	for doneV, done1 := 0, 0; doneV < a.NV || done1 < a.N1; {
		part.NV = min(a.NV-doneV, limit/k.Lanes)
		part.N1 = 0
		if doneV+part.NV == a.NV {
			part.N1 = min(a.N1-done1, limit-part.NV*k.Lanes)
		}
		part.Flags, part.Add = a.Flags&^(AtLeast|AtMost), nil
		if doneV+done1 > 0 {
			part.Flags |= Accumulate
		}
		part.TapsV, part.Taps1 = tapAt(a.TapsV, doneV, a.NV), tapAt(a.Taps1, done1, a.N1)
		doneV, done1 = doneV+part.NV, done1+part.N1
		if doneV == a.NV && done1 == a.N1 {
			part.Flags, part.Add = part.Flags|a.Flags, a.Add
		}
		k.grid(lines, m, v, &part)
	}
	a.Ahead = part.Ahead
}

// tapAt is the address of tap i of n; none beyond the end, where another object may begin.
func tapAt(taps unsafe.Pointer, i, n int) unsafe.Pointer {
	if i >= n {
		return nil
	}
	return unsafe.Add(taps, i*int(unsafe.Sizeof(Tap{})))
}

// grid cuts the lines, or the columns of a grid that is narrower than high, evenly into the
// fewest tiles, so that no tile is short.
func (k Kernel) grid(lines, m, v int, a *Args) {
	b := *a
	tall := k.rows[v]
	if lines > m && fill(lines, tall) > fill(m, tall) {
		lines, m = m, lines
		b.RowStride, b.AStep = a.AStep, a.RowStride
		b.CRow, b.CStep = a.CStep, a.CRow
	}
	n := (m + tall - 1) / tall
	r := (m + n - 1) / n
	full := m - n*(r-1) // tiles of r rows, the others have r-1
	if lines == 1 {
		b.AOff, b.COff = 0, 0
		b.AStep, b.CStep = r*b.RowStride, r*b.CRow
		k.batch(full, v, r, &b)
		b.AStep, b.CStep = (r-1)*b.RowStride, (r-1)*b.CRow
		k.batch(n-full, v, r-1, &b)
		a.Ahead = b.Ahead
		return
	}
	for i, at := 0, 0; i < n; i++ {
		if i == full {
			r--
		}
		b.AOff, b.COff = at*b.RowStride, at*b.CRow
		k.batch(lines, v, r, &b)
		at += r
	}
	a.Ahead = b.Ahead
}

// fill is the mean number of rows when m rows are cut into tiles of at most r.
func fill(m, r int) float64 { return float64(m) / float64((m+r-1)/r) }

// batch runs n tiles of r rows from the current offsets.
func (k Kernel) batch(n, v, r int, a *Args) {
	steps := a.NV*k.Lanes + a.N1
	per := max(1, maxProducts/max(1, r*v*(steps+4)))
	for ; n > 0; n -= per {
		a.Tiles = min(n, per)
		k.Tile(v, r, a)
	}
}
