package main

import (
	"fmt"
	"io"
	"sync"

	"coreml/internal/kernel/cpu"
)

// machine are the limits of this machine.
type machine struct {
	Level   string       `json:"level"`
	Cores   int          `json:"cores"`
	Compute []levelPeak  `json:"compute"`
	Memory  []memorySize `json:"memory"`
}

type levelPeak struct {
	Level    string  `json:"level"`
	One      float64 `json:"gflop_per_s_1_thread"`
	All      float64 `json:"gflop_per_s_all_threads"`
	lanes    int
	measured cpu.Level
}

type memorySize struct {
	Bytes int     `json:"bytes"`
	One   float64 `json:"gb_per_s_1_thread"`
	All   float64 `json:"gb_per_s_all_threads"`
}

// peakThreads is the fastest multiply-add rate of so many threads at once, in GFLOP/s.
func peakThreads(l cpu.Level, threads int) float64 {
	best := 0.0
	for range 3 {
		best = max(best, together(threads, func(int) float64 { return cpu.Peak(l) }))
	}
	return best
}

// together adds what f returns on each of n threads at the same time.
func together(n int, f func(i int) float64) float64 {
	rates := make([]float64, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { rates[i] = f(i) })
	}
	wg.Wait()
	sum := 0.0
	for _, r := range rates {
		sum += r
	}
	return sum
}

func measureMachine() *machine {
	best := cpu.Best()
	n := cpu.Threads(0)
	m := &machine{Level: best.String(), Cores: n}
	for _, l := range cpu.Levels() {
		if p := peakThreads(l, 1); p > 0 {
			m.Compute = append(m.Compute, levelPeak{Level: l.String(), One: p, All: peakThreads(l, n), lanes: l.Lanes(), measured: l})
		}
	}
	for _, size := range []int{16 << 10, 256 << 10, 4 << 20, 128 << 20} {
		bufs := make([][]byte, n)
		for i := range bufs {
			bufs[i] = make([]byte, size)
			for k := 0; k < size; k += 4096 {
				bufs[i][k] = 1 // a page that was never written is shared, and always in the cache
			}
		}
		read := func(i int) float64 { return cpu.ReadBandwidth(best, bufs[i]) }
		if one := together(1, read); one > 0 {
			m.Memory = append(m.Memory, memorySize{size, one, together(n, read)})
		}
	}
	return m
}

func printPeak(w io.Writer, asJSON bool) error {
	m := measureMachine()
	if asJSON {
		return printJSON(w, m)
	}
	fmt.Fprintf(w, "instruction set %s, %d cores\n\nmultiply-adds of float32, GFLOP/s\n", m.Level, m.Cores)
	for _, c := range m.Compute {
		fmt.Fprintf(w, "  %-8s  1 thread %7.1f   %d threads %7.1f\n", c.Level, c.One, m.Cores, c.All)
	}
	fmt.Fprintln(w, "\nreading memory, GB/s")
	for _, s := range m.Memory {
		fmt.Fprintf(w, "  %-9s  1 thread %7.1f   %d threads %7.1f\n", formatBytes(int64(s.Bytes)), s.One, m.Cores, s.All)
	}
	return nil
}
