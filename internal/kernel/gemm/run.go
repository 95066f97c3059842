package gemm

import "unsafe"

// A call of a tile function must stay well under 100 µs, since the garbage collector
// cannot stop it. Both bounds are about 20 to 50 µs on a slow machine.
const (
	maxProducts = 1 << 15 // vector products when compute binds
	maxPanels   = 1 << 13 // vectors of W when memory binds: 512 KiB at 16 lanes
)

// Run computes m rows by n columns from what a describes: taps, strides, bias, residual and
// limits. a.NMask, Tiles, AOff and COff are set here. In blocked layout n is a multiple of
// Lanes. a is left as it was but for those fields. The result does not depend on how m and n
// are split over calls.
func (k Kernel) Run(m, n int, a *Args) {
	b := *a
	panels := (n + k.Lanes - 1) / k.Lanes
	for p := 0; p < panels; {
		v := k.group(panels-p, m)
		b.NMask = min(k.Lanes, n-(p+v-1)*k.Lanes)
		b.W = unsafe.Add(a.W, p*a.WStride)
		b.C = unsafe.Add(a.C, p*a.CVec)
		if a.Bias != nil {
			b.Bias = unsafe.Add(a.Bias, p*k.Lanes*4)
		}
		if a.Add != nil {
			b.Add = unsafe.Add(a.Add, p*a.CVec)
		}
		k.rowsOf(m, v, &b)
		p += v
	}
}

// group chooses how many of the remaining panels the next tiles take.
func (k Kernel) group(panels, m int) int {
	switch {
	case panels <= 3:
		return panels
	case m <= k.rows[MaxVectors] || panels == 4:
		return MaxVectors
	}
	return 2
}

// rowsOf runs m rows of v vectors. K is split where a single tile would take too long; since sums are
// float32 in registers and in memory, this changes no bit.
func (k Kernel) rowsOf(m, v int, a *Args) {
	steps := a.NV*k.Lanes + a.N1
	if steps*v <= maxPanels {
		a.AOff, a.COff = 0, 0
		k.tiles(m, v, steps, a)
		return
	}
	limit := maxPanels / v
	whole := *a
	for v0, s0 := 0, 0; v0 < whole.NV || s0 < whole.N1; {
		a.NV = min(whole.NV-v0, limit/k.Lanes)
		a.N1 = 0
		if v0+a.NV == whole.NV {
			a.N1 = min(whole.N1-s0, limit-a.NV*k.Lanes)
		}
		a.TapsV = unsafe.Add(whole.TapsV, v0*int(unsafe.Sizeof(Tap{})))
		a.Taps1 = unsafe.Add(whole.Taps1, s0*int(unsafe.Sizeof(Tap{})))
		a.Flags, a.Add = whole.Flags&^Clamp, nil
		if v0+s0 > 0 {
			a.Flags |= Accumulate
		}
		v0, s0 = v0+a.NV, s0+a.N1
		if v0 == whole.NV && s0 == whole.N1 {
			a.Flags, a.Add = a.Flags|whole.Flags&Clamp, whole.Add
		}
		a.AOff, a.COff = 0, 0
		k.tiles(m, v, a.NV*k.Lanes+a.N1, a)
	}
	*a = whole
}

// tiles splits m rows evenly over the fewest tiles, so that no tile is short.
func (k Kernel) tiles(m, v, steps int, a *Args) {
	n := (m + k.rows[v] - 1) / k.rows[v]
	if n == 0 {
		return
	}
	r := (m + n - 1) / n
	tall := m - n*(r-1) // tiles of r rows, the others have r-1
	k.batch(tall, v, r, steps, a)
	k.batch(n-tall, v, r-1, steps, a)
}

func (k Kernel) batch(n, v, r, steps int, a *Args) {
	per := max(1, maxProducts/max(1, r*v*steps))
	for ; n > 0; n -= per {
		a.Tiles = min(n, per)
		k.Tile(v, r, a)
	}
}
