package gemm

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"coreml/internal/kernel/cpu/guard"
)

func TestPackRowsAndColsAgree(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	for range 50 {
		n, k, lanes := 1+rng.IntN(40), rng.IntN(20), []int{4, 8, 16}[rng.IntN(3)]
		stride := n + rng.IntN(3)
		cols := random(rng, make([]float32, k*stride))
		panels := (n + lanes - 1) / lanes
		byCols, byRows := random(rng, make([]float32, Panels(n, k, lanes))), random(rng, make([]float32, Panels(n, k, lanes)))
		PackCols(byCols, n, k, lanes, cols, stride, 0, panels)
		row := make([]float32, k)
		PackRows(byRows, n, k, lanes, func(i int) []float32 {
			for s := range row {
				row[s] = cols[s*stride+i]
			}
			return row
		}, nil, 0, panels)
		for i := range byCols {
			if byCols[i] != byRows[i] {
				t.Fatalf("[%d][%d] lanes %d: panel form differs at %d: %g from columns, %g from rows", k, n, lanes, i, byCols[i], byRows[i])
			}
			p, s, l := i/(k*lanes), i/lanes%k, i%lanes
			want := float32(0)
			if col := p*lanes + l; col < n {
				want = cols[s*stride+col]
			}
			if byCols[i] != want {
				t.Fatalf("panel %d step %d lane %d = %g, want %g", p, s, l, byCols[i], want)
			}
		}
	}
}

func TestPackRowsOrder(t *testing.T) {
	got := make([]float32, Panels(1, 4, 4))
	PackRows(got, 1, 4, 4, func(int) []float32 { return []float32{10, 11, 12} }, []int32{2, -1, 0, 1}, 0, 1)
	for s, want := range []float32{12, 0, 10, 11} {
		if got[s*4] != want || got[s*4+1] != 0 {
			t.Errorf("step %d = %v, want %g and zeros", s, got[s*4:s*4+4], want)
		}
	}
}

func TestPackMatrix(t *testing.T) {
	eachKernel(t, func(t *testing.T, k Kernel) {
		rng := rand.New(rand.NewPCG(10, uint64(k.Level)))
		for i := range 120 {
			n, depth, side := 1+rng.IntN(70), rng.IntN(40), guard.Where(i%2)
			if i%30 == 0 {
				depth = packSteps + rng.IntN(9)
			}
			panels := (n + k.Lanes - 1) / k.Lanes
			for _, transposed := range []bool{false, true} {
				rows, columns := depth, n
				if transposed {
					rows, columns = n, depth
				}
				stride := columns + rng.IntN(5)
				src := guard.Copy(random(rng, make([]float32, max(0, (rows-1)*stride+columns))), side, t)
				got := guard.Floats(Panels(n, depth, k.Lanes), side, t)
				cut := rng.IntN(panels + 1)
				k.PackMatrix(got, n, depth, src, stride, transposed, 0, cut)
				k.PackMatrix(got, n, depth, src, stride, transposed, cut, panels)
				want := make([]float32, len(got))
				packMatrix(want, n, depth, k.Lanes, src, stride, transposed, 0, panels)
				for i := range want {
					if got[i] != want[i] {
						t.Fatalf("n %d depth %d stride %d transposed %t: [%d] = %g, want %g", n, depth, stride, transposed, i, got[i], want[i])
					}
				}
			}
		}
	})
}

func BenchmarkPackMatrix(b *testing.B) {
	k := kernels[len(kernels)-1]
	for _, s := range [][2]int{{197, 64}, {64, 197}, {1024, 1024}} {
		for _, transposed := range []bool{false, true} {
			b.Run(fmt.Sprintf("%v/%v/transposed=%t", k.Level, s, transposed), func(b *testing.B) {
				n, depth := s[0], s[1]
				src, dst, stride := make([]float32, n*depth), make([]float32, Panels(n, depth, k.Lanes)), n
				if transposed {
					stride = depth
				}
				b.SetBytes(int64(4 * n * depth))
				for b.Loop() {
					k.PackMatrix(dst, n, depth, src, stride, transposed, 0, (n+k.Lanes-1)/k.Lanes)
				}
			})
		}
	}
}
