package gemm

import (
	"math/rand/v2"
	"testing"
	"time"

	"coreml/internal/kernel/cpu"
	"coreml/internal/kernel/cpu/guard"
)

// The shapes are those whose single calls are the longest: many rows, and a long K.
func TestCollectorIsNotDelayed(t *testing.T) {
	eachKernel(t, func(t *testing.T, k Kernel) {
		if k.Level == cpu.Generic {
			t.Skip("plain Go can be stopped anywhere")
		}
		for _, s := range [][3]int{{300, 64, 512}, {1, 64, 8 * maxVectorsW}} {
			d := newDense(rand.New(rand.NewPCG(8, 8)), s[0], s[1], s[2], k.Lanes)
			if got := guard.StopTime(func() { d.run(k, 0, d.m, d.c) }); got > 50*time.Millisecond {
				t.Errorf("%v: a collection beside it takes %v, want at most 50ms", s, got)
			}
		}
		rng := rand.New(rand.NewPCG(9, 9))
		w := newCoded(t, rng, Int8, 64, 4096, 4096, k.Lanes, true, false, true, 0, guard.After)
		x, c := random(rng, make([]float32, w.K)), make([]float32, w.N)
		a := Args{A: pointer(x), RowStride: 4 * w.K, C: pointer(c), CRow: 4 * w.N, CVec: 4 * k.Lanes}
		scratch := make([]float32, k.ScratchSize(&w.Compressed, 1))
		run := func() { k.Compressed(&w.Compressed, 0, w.N/k.Lanes, 1, &a, scratch) }
		if got := guard.StopTime(run); got > 50*time.Millisecond {
			t.Errorf("compressed: a collection beside it takes %v, want at most 50ms", got)
		}
	})
}
