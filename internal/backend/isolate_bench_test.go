//go:build unix

package backend_test

import (
	"context"
	"fmt"
	"testing"

	"coreml/guards"
	"coreml/internal/backend"
	"coreml/tensor"
)

// BenchmarkIsolatedRun is a run of a program that copies its input to the given
// result, in this process and in a child: the difference is the cost of isolation.
func BenchmarkIsolatedRun(b *testing.B) {
	m := openModel(b, anyModel)
	for _, size := range []int{1 << 10, 10 << 20} {
		direct, err := faulty{}.Load(context.Background(), m, backend.Config{})
		if err != nil {
			b.Fatal(err)
		}
		for name, p := range map[string]backend.Program{"direct": direct, "isolated": loadWith(b, faulty{}, m, guards.Isolation{}, backend.Config{})} {
			x, y := ramp(size/4), tensor.New(tensor.Float32, size/4)
			job := func() *backend.Job {
				return &backend.Job{In: []tensor.Features{{"x": x}}, Out: []tensor.Features{{"x": y}}}
			}
			b.Run(fmt.Sprintf("%d/%s", size, name), func(b *testing.B) {
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					if err := p.Run(context.Background(), job()); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		b.Run(fmt.Sprintf("%d/copy", size), func(b *testing.B) {
			x, y := ramp(size/4), ramp(size/4)
			b.SetBytes(int64(size))
			for b.Loop() {
				copy(y.Bytes(), x.Bytes())
			}
		})
	}
}
