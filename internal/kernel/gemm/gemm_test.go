package gemm

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"unsafe"

	"coreml/internal/kernel/cpu"
	"coreml/internal/kernel/cpu/guard"
)

// problem is one random call of a tile with all its memory guarded on one side.
type problem struct {
	k             Kernel
	v, r, tiles   int
	nmask         int
	steps         int
	args          Args
	taps          []Tap
	a, w, bias    []float32
	add, c, start []float32
	astep, cstep  int // in floats
	crow, cvec    int
}

func pointer(x []float32) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(x)) }

func random(rng *rand.Rand, x []float32) []float32 {
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	return x
}

// newProblem draws taps that overlap and run backwards, row strides of their own for A, C and W, and flags.
func newProblem(t testing.TB, rng *rand.Rand, k Kernel, v, r int, side guard.Where) *problem {
	p := &problem{k: k, v: v, r: r, tiles: 1 + rng.IntN(3), nmask: 1 + rng.IntN(k.Lanes)}
	if rng.IntN(3) == 0 {
		p.nmask = k.Lanes
	}
	nv, n1 := rng.IntN(4), rng.IntN(6)
	p.steps = nv*k.Lanes + n1
	rowStride := rng.IntN(70)
	reach := 0
	for i := range nv + n1 {
		at, size := rng.IntN(100), 1
		if i < nv {
			size = k.Lanes
		}
		reach = max(reach, at+size)
		p.taps = append(p.taps, Tap{A: int64(4 * at)})
	}
	for i, step := range rng.Perm(nv + n1) { // blocks of W in any order
		p.taps[i].W = int64(step)
	}
	p.placeW(nv)
	p.astep = rng.IntN(200)
	p.a = guard.Copy(random(rng, make([]float32, (p.tiles-1)*p.astep+(r-1)*rowStride+reach)), side, t)
	p.w = guard.Copy(random(rng, make([]float32, v*p.steps*k.Lanes)), side, t)
	p.cvec = k.Lanes * (1 + rng.IntN(2))
	p.crow = (v-1)*p.cvec + k.Lanes + rng.IntN(9)
	p.cstep = r*p.crow + rng.IntN(5)
	size := (p.tiles-1)*p.cstep + (r-1)*p.crow + (v-1)*p.cvec + p.nmask
	p.start = random(rng, make([]float32, size))
	p.c = guard.Copy(p.start, side, t)
	p.args = Args{A: pointer(p.a), TapsV: unsafe.Pointer(unsafe.SliceData(p.taps)), NV: nv, N1: n1,
		Taps1: unsafe.Pointer(unsafe.SliceData(p.taps[nv:])), RowStride: 4 * rowStride, W: pointer(p.w),
		WStride: 4 * p.steps * k.Lanes, C: pointer(p.c), CRow: 4 * p.crow, CVec: 4 * p.cvec,
		NMask: p.nmask, Tiles: p.tiles, AStep: 4 * p.astep, CStep: 4 * p.cstep, Lo: -0.5, Hi: 0.75, Flags: rng.IntN(8)}
	if rng.IntN(2) == 0 {
		p.bias = guard.Copy(random(rng, make([]float32, (v-1)*k.Lanes+p.nmask)), side, t)
		p.args.Bias = pointer(p.bias)
	}
	if rng.IntN(2) == 0 {
		p.add = guard.Copy(random(rng, make([]float32, size)), side, t)
		p.args.Add = pointer(p.add)
	}
	return p
}

// placeW turns the order of the taps in W into offsets.
func (p *problem) placeW(nv int) {
	size := make([]int, len(p.taps))
	for i, tap := range p.taps {
		size[tap.W] = 1
		if i < nv {
			size[tap.W] = p.k.Lanes
		}
	}
	start := make([]int, len(p.taps))
	for i := 1; i < len(start); i++ {
		start[i] = start[i-1] + size[i-1]
	}
	for i := range p.taps {
		p.taps[i].W = int64(4 * p.k.Lanes * start[p.taps[i].W])
	}
}

// check compares with the reference; what is no output must be untouched.
func (p *problem) check(t *testing.T) {
	t.Helper()
	args := p.args
	p.k.Tile(p.v, p.r, &args)
	if args.Tiles != 0 {
		t.Fatalf("Tiles = %d after the call, want 0", args.Tiles)
	}
	want := append([]float32(nil), p.start...)
	ref := p.args
	ref.C = pointer(want)
	Reference(p.k.Lanes).Tile(p.v, p.r, &ref)
	if ref.AOff != args.AOff || ref.COff != args.COff {
		t.Fatalf("offsets %d, %d after the call, want %d, %d", args.AOff, args.COff, ref.AOff, ref.COff)
	}
	for i := range want {
		if d := math.Abs(float64(want[i] - p.c[i])); !(d <= 2e-5) {
			t.Fatalf("flags %d bias %t add %t nmask %d NV %d N1 %d: c[%d] = %g, want %g", p.args.Flags, p.bias != nil,
				p.add != nil, p.nmask, p.args.NV, p.args.N1, i, p.c[i], want[i])
		}
	}
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

func TestEveryTileMatchesReference(t *testing.T) {
	eachKernel(t, func(t *testing.T, k Kernel) {
		rng := rand.New(rand.NewPCG(1, uint64(k.Level)))
		for v := 1; v <= MaxVectors; v++ {
			for r := 1; r <= k.MaxRows(v); r++ {
				t.Run(fmt.Sprintf("%dx%d", r, v), func(t *testing.T) {
					for i := range 24 {
						newProblem(t, rng, k, v, r, guard.Where(i%2)).check(t)
					}
				})
			}
		}
	})
}

// dense is a row-major product with its arguments.
type dense struct {
	m, n, k       int
	x, w, c, bias []float32
	tv, t1        []Tap
}

func newDense(rng *rand.Rand, m, n, k, lanes int) *dense {
	d := &dense{m: m, n: n, k: k, x: random(rng, make([]float32, m*k)), c: make([]float32, m*n), bias: random(rng, make([]float32, n))}
	b := random(rng, make([]float32, n*k))
	d.w = make([]float32, Panels(n, k, lanes))
	PackRows(d.w, n, k, lanes, func(i int) []float32 { return b[i*k : (i+1)*k] }, nil, 0, (n+lanes-1)/lanes)
	d.tv, d.t1 = DenseTaps(k, lanes)
	return d
}

// run computes rows lo … hi into c.
func (d *dense) run(k Kernel, lo, hi int, c []float32) {
	a := Args{A: pointer(d.x[lo*d.k:]), TapsV: unsafe.Pointer(unsafe.SliceData(d.tv)), NV: len(d.tv),
		Taps1: unsafe.Pointer(unsafe.SliceData(d.t1)), N1: len(d.t1), RowStride: 4 * d.k, W: pointer(d.w),
		WStride: 4 * d.k * k.Lanes, C: pointer(c[lo*d.n:]), CRow: 4 * d.n, CVec: 4 * k.Lanes, Bias: pointer(d.bias),
		Add: pointer(d.x[lo*d.k:]), Lo: -3, Hi: 3, Flags: AtLeast | AtMost}
	if d.k != d.n {
		a.Add = nil
	}
	k.Run(hi-lo, d.n, &a)
}

func TestRunMatchesReference(t *testing.T) {
	eachKernel(t, func(t *testing.T, k Kernel) {
		rng := rand.New(rand.NewPCG(2, uint64(k.Level)))
		for range 150 {
			m, n, steps := 1+rng.IntN(70), 1+rng.IntN(150), rng.IntN(70)
			if rng.IntN(4) == 0 {
				steps = n
			}
			d := newDense(rng, m, n, steps, k.Lanes)
			d.run(k, 0, m, d.c)
			want := make([]float32, m*n)
			d.run(Reference(k.Lanes), 0, m, want)
			for i := range want {
				if x := math.Abs(float64(want[i] - d.c[i])); !(x <= 5e-5) {
					t.Fatalf("%dx%dx%d: c[%d] = %g, want %g", m, n, steps, i, d.c[i], want[i])
				}
			}
		}
	})
}

// The plain triple loop, apart from everything else here.
func TestReferenceIsAProduct(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	const m, n, k = 5, 19, 21
	b := random(rng, make([]float32, n*k))
	d := newDense(rng, m, n, k, 8)
	d.w = make([]float32, Panels(n, k, 8))
	PackRows(d.w, n, k, 8, func(i int) []float32 { return b[i*k : (i+1)*k] }, nil, 0, 3)
	d.run(generic, 0, m, d.c)
	for i := range m {
		for j := range n {
			sum := float64(d.bias[j])
			for s := range k {
				sum += float64(d.x[i*k+s]) * float64(b[j*k+s])
			}
			sum = min(max(sum, -3), 3)
			if x := math.Abs(sum - float64(d.c[i*n+j])); !(x <= 1e-5) {
				t.Errorf("c[%d][%d] = %g, want %g", i, j, d.c[i*n+j], sum)
			}
		}
	}
}

// A result must not depend on how rows are split over calls, nor on the parts of K.
func TestSplitsChangeNoBit(t *testing.T) {
	eachKernel(t, func(t *testing.T, k Kernel) {
		rng := rand.New(rand.NewPCG(4, uint64(k.Level)))
		shapes := [][3]int{{61, 77, 53}, {7, 40, 3 * maxVectorsW / 2}, {2, 17, maxVectorsW + 5}}
		if k.Level == cpu.Generic {
			shapes = shapes[:1]
		}
		for _, s := range shapes {
			d := newDense(rng, s[0], s[1], s[2], k.Lanes)
			d.run(k, 0, d.m, d.c)
			for cut := 1; cut < d.m; cut += 5 {
				c := make([]float32, len(d.c))
				d.run(k, 0, cut, c)
				d.run(k, cut, d.m, c)
				for i := range c {
					if c[i] != d.c[i] {
						t.Fatalf("%v cut at row %d: c[%d] = %g, want %g", s, cut, i, c[i], d.c[i])
					}
				}
			}
			one := Args{A: pointer(d.x), TapsV: unsafe.Pointer(unsafe.SliceData(d.tv)), NV: len(d.tv), Taps1: unsafe.Pointer(unsafe.SliceData(d.t1)),
				N1: len(d.t1), RowStride: 4 * d.k, W: pointer(d.w), C: pointer(make([]float32, k.Lanes)), Bias: pointer(d.bias),
				NMask: k.Lanes, Tiles: 1, Lo: -3, Hi: 3, Flags: AtLeast | AtMost}
			k.Tile(1, 1, &one)
			for i, x := range floats(one.C, 0, k.Lanes) {
				if x != d.c[i] {
					t.Fatalf("%v in one part of K: c[%d] = %g, want %g", s, i, d.c[i], x)
				}
			}
		}
	})
}

func TestClampKeepsNaN(t *testing.T) {
	eachKernel(t, func(t *testing.T, k Kernel) {
		nan := float32(math.NaN())
		bias := make([]float32, k.Lanes)
		bias[0], bias[1], bias[2] = nan, -9, 9
		c := make([]float32, k.Lanes)
		a := Args{A: pointer(c), W: pointer(c), C: pointer(c), Bias: pointer(bias), NMask: k.Lanes, Tiles: 1, Lo: 0, Hi: 6, Flags: AtLeast | AtMost}
		k.Tile(1, 1, &a)
		if c[0] == c[0] || c[1] != 0 || c[2] != 6 {
			t.Errorf("clamp(NaN, -9, 9) = %v, want NaN, 0, 6", c[:3])
		}
	})
}
