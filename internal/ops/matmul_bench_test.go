package ops

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"coreml/internal/graph"
	"coreml/internal/kernel/cpu"
)

// BenchmarkProduct runs whole steps serially on the best level: shapes of encoders, decoders and their attention.
func BenchmarkProduct(b *testing.B) {
	level := cpu.Best()
	peak := cpu.Peak(level)
	r := rand.New(rand.NewPCG(9, 9))
	for _, s := range []struct {
		name           string
		batch, m, k, n int
		ty, live       bool
	}{
		{"encoder", 1, 128, 384, 384, true, false}, {"encoder", 1, 128, 384, 1536, true, false}, {"encoder", 1, 128, 1536, 384, true, false},
		{"encoder", 1, 197, 768, 3072, true, false}, {"encoder", 1, 16, 384, 1536, true, false},
		{"decoder", 1, 1, 1024, 4096, true, false}, {"decoder", 1, 4, 1024, 4096, true, false},
		{"scores", 12, 128, 32, 128, true, true}, {"values", 12, 128, 128, 32, false, true},
		{"scores", 12, 197, 64, 197, true, true}, {"values", 12, 197, 197, 64, false, true},
		{"step scores", 16, 1, 64, 512, true, true}, {"step values", 16, 1, 512, 64, false, true},
		{"square", 1, 512, 512, 512, false, true}, {"square", 1, 1024, 1024, 1024, true, true},
	} {
		b.Run(fmt.Sprintf("%s %dx%dx%dx%d", s.name, s.batch, s.m, s.k, s.n), func(b *testing.B) {
			ys := []int{s.batch, s.k, s.n}
			if s.ty {
				ys = []int{s.batch, s.n, s.k}
			}
			a := args{"x": live{random(r, s.batch, s.m, s.k)}, "transpose_y": boolsOf(nil, s.ty)}
			if a["y"] = random(r, ys...); s.live {
				a["y"] = live{a["y"].(*graph.Const)}
			}
			run := prepared(b, "matmul", a, level, graph.Plain)
			best := math.Inf(1) // the machine is shared
			for b.Loop() {
				start := time.Now()
				run.all(b)
				best = min(best, float64(time.Since(start)))
			}
			g := run.step.Flops / best
			b.ReportMetric(best/1000, "µs")
			b.ReportMetric(g, "GFLOP/s")
			b.ReportMetric(100*g/peak, "%peak")
			b.ReportMetric(float64(run.step.Phases[0].Tasks), "tasks")
		})
	}
}
