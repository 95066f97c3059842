package vec

import (
	"runtime"
	"testing"
	"time"
)

// TestStop: a goroutine that does nothing but run a kernel lets the garbage collector stop it.
func TestStop(t *testing.T) {
	const n = 1 << 20
	a, b, dst := row(n, 0), row(n, 1), make([]float32, n)
	f := levels[len(levels)-1]
	for name, run := range map[string]func(){
		"Silu": func() { f.Silu(dst, a) },
		"Add":  func() { f.Add(dst, a, b) },
		"Log":  func() { f.Log(dst, b) },
		"Sum":  func() { f.Sum(a) },
		"Sin":  func() { f.Sin(dst, a) },
		"Wide": func() { f.Transpose(dst, 1<<10, a, 1<<10, 1<<10, 1<<10) },
		"Row":  func() { f.LayerNorm(dst, a, b, b, 1) },
	} {
		stop, done := make(chan bool), make(chan bool)
		go func() {
			defer close(done)
			for {
				select {
				case <-stop:
					return
				default:
					run()
				}
			}
		}()
		best := time.Hour // a loop that cannot be stopped delays every collection, a busy machine some
		for range 5 {
			start := time.Now()
			runtime.GC()
			best = min(best, time.Since(start))
		}
		close(stop)
		<-done
		if best > 100*time.Millisecond {
			t.Errorf("%s: the collector took %v", name, best)
		}
	}
}

// TestAllocations: kernels allocate nothing, whatever the length.
func TestAllocations(t *testing.T) {
	const n = chunk + 100
	a, b, dst := row(n, 0), row(n, 1), make([]float32, n)
	h := make([]uint16, n)
	for _, f := range levels {
		run := func() {
			for _, k := range []int{64, n} {
				x, y, d := a[:k], b[:k], dst[:k]
				f.Exp(d, x)
				f.Elu(d, x, 1)
				f.Clip(d, x, 0, 1)
				f.Add(d, x, y)
				f.MulS(d, x, 2)
				f.MaxS(d, x, 2)
				f.MulAdd(d, x, y, x)
				f.Axpy(d, x, 2)
				f.Sum(x)
				f.Dot(x, y)
				f.ReduceMax(x)
				f.ArgMax(x)
				f.Softmax(d, x)
				f.LayerNorm(d, x, y, y, 1)
				f.RMSNorm(d, x, y, 1)
				f.Sin(d, x)
				f.ToF16(h[:k], x)
				f.FromF16(d, h[:k])
				f.AddChan(d[:32], x, y[:f.Level.Lanes()])
				f.ToBlocked(d[:64], x, 16, 4, 16)
				f.PowS(d, y, 0.5)
			}
		}
		if got := testing.AllocsPerRun(5, run); got != 0 {
			t.Errorf("%v: %g allocations", f.Level, got)
		}
	}
}

// TestSinNearZeros takes the floats around multiples of π/2, where the reduction cancels most.
func TestSinNearZeros(t *testing.T) {
	sines := []accuracy{accuracies[4], accuracies[5]}
	var src []float32
	for n := 1; n < 63662; n++ {
		x := float32(float64(n) * halfPiHi)
		src = append(src, x, -x)
	}
	dst := make([]float32, len(src))
	for _, f := range levels {
		for _, c := range sines {
			f.unary(c.name)(dst, src)
			for i, x := range src {
				if e, _ := c.err(float64(x), float64(dst[i]), c.truth(float64(x))); e > c.ulp {
					t.Fatalf("%v %s(%g) = %g: %.2f ULP", f.Level, c.name, x, dst[i], e)
				}
			}
		}
	}
}
