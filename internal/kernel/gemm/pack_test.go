package gemm

import (
	"math/rand/v2"
	"testing"
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
