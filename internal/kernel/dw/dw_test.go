package dw

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"
	"unsafe"

	"coreml/internal/kernel/cpu"
	"coreml/internal/kernel/cpu/guard"
)

func pointer(x []float32) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(x)) }

func random(rng *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	return x
}

func eachKernel(t *testing.T, f func(t *testing.T, k Kernel)) {
	for _, k := range kernels {
		t.Run(k.Level.String(), func(t *testing.T) {
			if !cpu.Has(k.Level) {
				t.Skipf("this machine has no %v", k.Level)
			}
			f(t, k)
		})
	}
}

// checkTile runs one random tile in guarded memory and compares all of C with the reference.
func checkTile(t *testing.T, rng *rand.Rand, k Kernel, op Op, r int, side guard.Where) {
	t.Helper()
	n, tiles := rng.IntN(12), 1+rng.IntN(3)
	taps := make([]Tap, n)
	reach := 0
	for i := range taps {
		at := rng.IntN(90)
		reach = max(reach, at+k.Lanes)
		taps[i] = Tap{A: int64(4 * at), W: int64(4 * k.Lanes * rng.IntN(n))}
	}
	row, astep := rng.IntN(50), rng.IntN(200)
	crow := k.Lanes + rng.IntN(5)
	cstep := r*crow + rng.IntN(5)
	size := (tiles-1)*cstep + (r-1)*crow + k.Lanes
	guarded := func(n int) unsafe.Pointer { return pointer(guard.Copy(random(rng, n), side, t)) }
	start := random(rng, size)
	c := guard.Copy(start, side, t)
	a := Args{A: guarded((tiles-1)*astep + (r-1)*row + reach), Taps: unsafe.Pointer(unsafe.SliceData(taps)), N: n,
		RowStride: 4 * row, W: guarded(n * k.Lanes), C: pointer(c), CRow: 4 * crow, NMask: k.Lanes, Tiles: tiles,
		AStep: 4 * astep, CStep: 4 * cstep, Lo: -0.5, Hi: 0.75, Flags: rng.IntN(8)}
	if rng.IntN(2) == 0 {
		a.Bias = guarded(k.Lanes)
	}
	if rng.IntN(2) == 0 {
		a.Add = guarded(size)
	}
	want := append([]float32(nil), start...)
	ref := a
	ref.C = pointer(want)
	Reference(k.Lanes).Tile(op, r, &ref)
	k.Tile(op, r, &a)
	if a.Tiles != 0 || a.AOff != ref.AOff || a.COff != ref.COff {
		t.Fatalf("after the call: tiles %d, offsets %d, %d; want 0, %d, %d", a.Tiles, a.AOff, a.COff, ref.AOff, ref.COff)
	}
	for i := range want {
		if d := math.Abs(float64(want[i] - c[i])); !(d <= 1e-5) {
			t.Fatalf("op %d flags %d taps %d: c[%d] = %g, want %g", op, a.Flags, n, i, c[i], want[i])
		}
	}
}

func TestEveryTileMatchesReference(t *testing.T) {
	eachKernel(t, func(t *testing.T, k Kernel) {
		rng := rand.New(rand.NewPCG(1, uint64(k.Level)))
		for _, op := range []Op{Sum, Max} {
			for r := 1; r <= k.rows; r++ {
				t.Run(fmt.Sprintf("op=%d/r=%d", op, r), func(t *testing.T) {
					for i := range 24 {
						checkTile(t, rng, k, op, r, guard.Where(i%2))
					}
				})
			}
		}
	})
}

// A window of more taps than one call may take, and a grid cut in two.
func TestSplitsChangeNoBit(t *testing.T) {
	eachKernel(t, func(t *testing.T, k Kernel) {
		rng := rand.New(rand.NewPCG(2, uint64(k.Level)))
		n := maxTaps + 100
		x, w, add := random(rng, 4000), random(rng, k.Lanes), random(rng, 40*k.Lanes)
		taps := make([]Tap, n)
		for i := range taps {
			taps[i].A = int64(4 * rng.IntN(4000-40*k.Lanes))
		}
		a := Args{A: pointer(x), Taps: unsafe.Pointer(unsafe.SliceData(taps)), N: n, RowStride: 4 * k.Lanes, W: pointer(w),
			CRow: 4 * k.Lanes, AStep: 20 * k.Lanes, CStep: 20 * k.Lanes, Add: pointer(add), Lo: -1, Hi: 1, Flags: AtLeast | AtMost}
		whole, cut := make([]float32, 30*k.Lanes), make([]float32, 30*k.Lanes)
		for _, op := range []Op{Sum, Max} {
			a.C, a.NMask = pointer(whole), k.Lanes
			for i := range 6 {
				one := a
				one.AOff, one.COff, one.Tiles = i*a.AStep, i*a.CStep, 1
				k.Tile(op, 5, &one)
			}
			a.C = pointer(cut)
			k.Grid(op, 6, 5, &a)
			for i := range whole {
				if whole[i] != cut[i] {
					t.Fatalf("op %d: c[%d] = %g in parts, %g in one", op, i, cut[i], whole[i])
				}
			}
		}
	})
}

func TestCollectorIsNotDelayed(t *testing.T) {
	eachKernel(t, func(t *testing.T, k Kernel) {
		if k.Level == cpu.Generic {
			t.Skip("plain Go can be stopped anywhere")
		}
		const size, window = 100, 1000
		x, w, c := make([]float32, (size*size+window)*k.Lanes), make([]float32, k.Lanes), make([]float32, size*size*k.Lanes)
		taps := make([]Tap, window)
		for i := range taps {
			taps[i].A = int64(4 * k.Lanes * i)
		}
		a := Args{A: pointer(x), Taps: unsafe.Pointer(unsafe.SliceData(taps)), N: len(taps), RowStride: 4 * k.Lanes, AStep: 4 * k.Lanes * size,
			W: pointer(w), C: pointer(c), CRow: 4 * k.Lanes, CStep: 4 * k.Lanes * size}
		if got := guard.StopTime(func() { k.Grid(Sum, size, size, &a) }); got > 50*time.Millisecond {
			t.Errorf("a collection beside it takes %v, want at most 50ms", got)
		}
	})
}
