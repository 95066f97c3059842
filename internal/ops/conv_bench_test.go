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

// layer is a convolution of a real network: square images and kernels, "same" padding.
type layer struct {
	name                                    string
	cin, cout, size, kernel, stride, groups int
}

var layers = []layer{
	{"fastvit stem", 3, 48, 256, 3, 2, 1},
	{"fastvit 1x1", 48, 144, 64, 1, 1, 1}, {"fastvit 1x1", 144, 48, 64, 1, 1, 1},
	{"fastvit 1x1", 96, 288, 32, 1, 1, 1}, {"fastvit 1x1", 288, 96, 32, 1, 1, 1},
	{"fastvit 1x1", 192, 576, 16, 1, 1, 1}, {"fastvit 1x1", 576, 192, 16, 1, 1, 1},
	{"fastvit 1x1", 384, 1152, 8, 1, 1, 1}, {"fastvit 1x1", 1152, 384, 8, 1, 1, 1},
	{"fastvit dw", 48, 48, 64, 3, 1, 48}, {"fastvit dw", 48, 48, 64, 7, 1, 48},
	{"fastvit dw", 192, 192, 16, 7, 1, 192}, {"fastvit dw", 384, 384, 8, 7, 1, 384},
	{"fastvit dw x2", 48, 96, 64, 7, 2, 48}, {"fastvit dw x2", 192, 384, 16, 7, 2, 192},
	{"resnet stem", 3, 64, 224, 7, 2, 1},
	{"resnet 3x3", 64, 64, 56, 3, 1, 1}, {"resnet 3x3", 128, 128, 28, 3, 1, 1},
	{"resnet 3x3", 256, 256, 14, 3, 1, 1}, {"resnet 3x3", 512, 512, 7, 3, 1, 1},
	{"resnet 3x3 s2", 128, 128, 56, 3, 2, 1}, {"resnet 3x3 s2", 512, 512, 14, 3, 2, 1},
	{"resnet 1x1", 64, 256, 56, 1, 1, 1}, {"resnet 1x1", 256, 64, 56, 1, 1, 1},
	{"resnet 1x1", 1024, 256, 14, 1, 1, 1}, {"resnet 1x1", 256, 1024, 14, 1, 1, 1},
	{"resnet 1x1", 512, 2048, 7, 1, 1, 1}, {"resnet 1x1", 2048, 512, 7, 1, 1, 1},
	{"resnet 1x1 s2", 512, 1024, 28, 1, 2, 1},
	{"mobilenet 1x1", 16, 72, 56, 1, 1, 1}, {"mobilenet 1x1", 72, 24, 28, 1, 1, 1},
	{"mobilenet 1x1", 96, 576, 7, 1, 1, 1}, {"mobilenet dw", 72, 72, 56, 3, 2, 72}, {"mobilenet dw", 240, 240, 14, 5, 1, 240},
	{"resnext 3x3", 128, 128, 56, 3, 1, 32},
}

// BenchmarkConv runs whole steps serially on the best level.
func BenchmarkConv(b *testing.B) {
	level := cpu.Best()
	peak := cpu.Peak(level)
	r := rand.New(rand.NewPCG(9, 9))
	for _, l := range layers {
		name := fmt.Sprintf("%s %d-%d@%d k%d s%d", l.name, l.cin, l.cout, l.size, l.kernel, l.stride)
		b.Run(name, func(b *testing.B) {
			k := convCase{name: "conv", batch: 1, cin: l.cin, cout: l.cout, groups: l.groups, bias: true}
			for range 2 {
				k.in, k.kernel, k.stride, k.dilation = append(k.in, l.size), append(k.kernel, l.kernel), append(k.stride, l.stride), append(k.dilation, 1)
				k.pad = append(k.pad, l.kernel/2, l.kernel/2)
			}
			run := prepared(b, "conv", k.args(r), level, graph.Blocked)
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
