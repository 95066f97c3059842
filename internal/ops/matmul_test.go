package ops

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"coreml/internal/graph"
	"coreml/internal/kernel/cpu"
	"coreml/internal/kernel/gemm"
	"coreml/tensor"
)

// defineMatmul is the definition of matmul for shapes of equal rank >= 2.
func defineMatmul(x, y *graph.Const, tx, ty bool) (want []float32, shape []int) {
	xs, ys := x.Type.Shape, y.Type.Shape
	rank := len(xs)
	m, k, n := xs[rank-2], xs[rank-1], ys[rank-1]
	if tx {
		m, k = k, m
	}
	if ty {
		n = ys[rank-2]
	}
	batch, _ := broadcast(xs[:rank-2], ys[:rank-2])
	shape = append(append(shape, batch...), m, n)
	xv, yv := x.Floats(), y.Floats()
	for b := range graph.TensorOf(0, batch...).Elements() {
		xo, yo := 0, 0
		for d, rest, xst, yst := rank-3, b, 1, 1; d >= 0; d-- {
			i := rest % batch[d]
			rest /= batch[d]
			xo += i % xs[d] * xst
			yo += i % ys[d] * yst
			xst, yst = xst*xs[d], yst*ys[d]
		}
		for i := range m {
			for j := range n {
				sum := 0.0
				for s := range k {
					xi, yi := i*k+s, s*n+j
					if tx {
						xi = s*m + i
					}
					if ty {
						yi = j*k + s
					}
					sum += float64(xv[xo*m*k+xi]) * float64(yv[yo*k*n+yi])
				}
				want = append(want, float32(sum))
			}
		}
	}
	return want, shape
}

func TestMatmulMatchesDefinition(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for i := range 60 {
		m, n, k := 1+r.IntN(70), 1+r.IntN(70), 1+r.IntN(70)
		if i%8 == 0 {
			m, k = 1+r.IntN(3), 600+r.IntN(100)
		}
		tx, ty := r.IntN(2) == 0, r.IntN(2) == 0
		var xs, ys []int
		for range r.IntN(3) {
			d := 1 + r.IntN(4)
			xs, ys = append(xs, d), append(ys, d)
			if r.IntN(3) == 0 {
				xs[len(xs)-1] = 1
			} else if r.IntN(3) == 0 {
				ys[len(ys)-1] = 1
			}
		}
		pair := func(a, b int, swap bool) []int {
			if swap {
				return []int{b, a}
			}
			return []int{a, b}
		}
		x, y := random(r, append(xs, pair(m, k, tx)...)...), random(r, append(ys, pair(k, n, ty)...)...)
		want, shape := defineMatmul(x, y, tx, ty)
		for _, level := range cpu.Levels() {
			for _, known := range []bool{false, true} {
				a := args{"x": live{x}, "y": live{y}, "transpose_x": boolsOf(nil, tx), "transpose_y": boolsOf(nil, ty)}
				if known {
					a["y"] = y
				}
				t.Run(fmt.Sprint(i, level, " y known: ", known, x.Type, y.Type, tx, ty), func(t *testing.T) {
					sameAs(t, runForm(t, "matmul", a, level, graph.Plain), want, shape, 2e-6)
				})
			}
		}
	}
}

func TestMatmulOfVectors(t *testing.T) {
	v, m := floatsOf([]int{2}, 1, 2), floatsOf([]int{2, 3}, 1, 2, 3, 4, 5, 6)
	near(t, runOp(t, "matmul", args{"x": live{v}, "y": live{m}}, 1)[0], []int{3}, []float32{9, 12, 15}, 0)
	near(t, runOp(t, "matmul", args{"x": live{m}, "y": v, "transpose_x": boolsOf(nil, true)}, 1)[0], []int{3}, []float32{9, 12, 15}, 0)
	near(t, runOp(t, "matmul", args{"x": live{v}, "y": v}, 1)[0], []int{}, []float32{5}, 0)
}

func TestIntegerProductsWrap(t *testing.T) {
	x, w := intsOf([]int{1, 2}, 1<<30, 3), intsOf([]int{2, 2}, 4, 5, 2, -1)
	got := runOp(t, "linear", args{"x": live{x}, "weight": w, "bias": intsOf([]int{2}, 1, 2)}, 1)[0].i32()
	if got[0] != 16 || got[1] != 1<<31-1 {
		t.Fatal(got)
	}
}

func TestMixedProducts(t *testing.T) {
	x, w, b := floatsOf([]int{1, 2}, 0.5, 3), intsOf([]int{2, 2}, 4, 5, 2, -1), intsOf([]int{2}, 1, 2)
	near(t, runOp(t, "linear", args{"x": live{x}, "weight": w, "bias": b}, 1)[0], []int{1, 2}, []float32{18, 0}, 0)
	y := floatsOf([]int{2, 1}, 0.75, -2)
	if got := runOp(t, "matmul", args{"x": live{w}, "y": y}, 1)[0].i32(); got[0] != -7 || got[1] != 3 {
		t.Errorf("an integer product with fractions: %v, want [-7 3]", got)
	}
	near(t, runOp(t, "matmul", args{"x": w, "y": live{y}}, 1)[0], []int{2, 1}, []float32{-7, 3.5}, 0)
}

func TestLinearMatchesMatmul(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for i := range 20 {
		m, n, k := 1+r.IntN(300), 1+r.IntN(80), 1+r.IntN(200)
		x, w, b := random(r, m, k), random(r, n, k), random(r, n)
		want, shape := defineMatmul(x, w, false, true)
		for i := range want {
			want[i] += b.Floats()[i%n]
		}
		a := args{"x": live{x}, "weight": w, "bias": b}
		for _, level := range cpu.Levels() {
			t.Run(fmt.Sprint(i, level), func(t *testing.T) {
				sameAs(t, runForm(t, "linear", a, level, graph.Plain), want, shape, 2e-6)
			})
		}
	}
}

func TestProductsRefuse(t *testing.T) {
	f := func(s ...int) live { return live{floatsOf(s, make([]float32, graph.TensorOf(0, s...).Elements())...)} }
	for name, a := range map[string]args{
		"inner":  {"x": f(2, 3), "y": f(2, 3)},
		"batch":  {"x": f(2, 2, 3), "y": f(3, 3, 2)},
		"scalar": {"x": f(), "y": f(2, 3)},
	} {
		if _, err := tryOp("matmul", graph.IOS18, a, 1); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	for name, a := range map[string]args{
		"weight": {"x": f(2, 3), "weight": floatsOf([]int{1, 2}, 1, 2)},
		"bias":   {"x": f(2, 3), "weight": floatsOf([]int{1, 3}, 1, 2, 3), "bias": floatsOf([]int{2}, 1, 2)},
	} {
		if _, err := tryOp("linear", graph.IOS18, a, 1); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	huge := graph.Type{DType: tensor.Float32, Shape: []int{1 << 30, 0}}
	fn, _ := oneNode(Find("matmul", graph.IOS18), args{"x": f(0, 1), "y": f(1, 0)}, 1)
	c := graph.NewCall(fn.Body.Nodes[0], cpu.Generic, func(v *graph.Value) graph.Operand { return graph.Operand{Value: v, Type: huge} })
	c.In[1].Type.Shape = []int{0, 1 << 30}
	if _, err := c.Op.Infer(c); err == nil {
		t.Error("a result of 2^60 elements: no error")
	}
}

// halfOf is a float16 constant of these values.
func halfOf(k *graph.Const) *graph.Const {
	h := make([]uint16, k.Type.Elements())
	tensor.F16Slice(h, k.Floats())
	return &graph.Const{Type: graph.TensorOf(tensor.Float16, k.Type.Shape...), Data: tensor.BytesOf(h)}
}

// palettised makes an [n, k] weight of bits-wide indices into groups of palettes.
func palettised(t *testing.T, r *rand.Rand, n, k, bits int, groups [2]int) *graph.Const {
	d := map[int]tensor.DType{1: tensor.UInt1, 2: tensor.UInt2, 3: tensor.UInt3, 4: tensor.UInt4, 6: tensor.UInt6}[bits]
	index := make([]int, n*k)
	for i := range index {
		index[i] = r.IntN(1 << bits)
	}
	a := args{"indices": raw(d, []int{n, k}, index...), "lut": random(r, groups[0], groups[1], 1<<bits, 1)}
	return mustExpand(t, "constexpr_lut_to_dense", graph.IOS18, a, 1)[0]
}

// quantised makes an [n, k] weight of small integers with scales (and offsets) of the given number of blocks.
func quantised(t *testing.T, r *rand.Rand, d tensor.DType, n, k int, blocks [2]int, half bool, offsets ...int) *graph.Const {
	lo, hi := -(1 << (d.Bits() - 1)), 1<<(d.Bits()-1)
	if !d.IsSigned() {
		lo, hi = 0, 2*hi
	}
	data := make([]int, n*k)
	for i := range data {
		data[i] = lo + r.IntN(hi-lo)
	}
	a := args{"data": raw(d, []int{n, k}, data...), "scale": random(r, blocks[0], blocks[1])}
	if half {
		a["scale"] = halfOf(a["scale"].(*graph.Const))
	}
	if len(offsets) > 0 {
		all := make([]int, blocks[0]*blocks[1])
		for i := range all {
			all[i] = offsets[i%len(offsets)]
		}
		a["offset"] = raw(d, blocks[:], all...)
	}
	return mustExpand(t, "constexpr_blockwise_shift_scale", graph.IOS18, a, 1)[0]
}

// scaledPalettes is a palettised weight with scales.
func scaledPalettes(t *testing.T, r *rand.Rand, n, k int, groups, blocks [2]int) *graph.Const {
	a := args{"data": palettised(t, r, n, k, 4, groups), "scale": random(r, blocks[0], blocks[1])}
	return mustExpand(t, "constexpr_blockwise_shift_scale", graph.IOS18, a, 1)[0]
}

// TestCompressedProducts multiplies with weights in every form in which they are kept.
func TestCompressedProducts(t *testing.T) {
	r := rand.New(rand.NewPCG(15, 16))
	for name, c := range map[string]struct {
		w      *graph.Const
		ty     bool
		kernel string
	}{
		"half":                {halfOf(random(r, 70, 45)), true, "half"},
		"half columns":        {halfOf(random(r, 45, 70)), false, "half"},
		"one palette":         {palettised(t, r, 70, 48, 4, [2]int{1, 1}), true, "lut4"},
		"2 bits":              {palettised(t, r, 33, 48, 2, [2]int{1, 1}), true, "lut4"},
		"palettes by rows":    {palettised(t, r, 64, 48, 4, [2]int{4, 1}), true, "lut4"},
		"palettes by columns": {palettised(t, r, 40, 96, 3, [2]int{1, 4}), true, "lut4"},
		"palettes by both":    {palettised(t, r, 64, 64, 4, [2]int{2, 2}), true, "lut4"},
		"palettes of 3 rows":  {palettised(t, r, 48, 64, 4, [2]int{16, 1}), true, "gemm avx512"},
		"odd depth":           {palettised(t, r, 48, 63, 4, [2]int{1, 1}), true, "gemm avx512"},
		"6 bits":              {palettised(t, r, 48, 64, 6, [2]int{1, 1}), true, "gemm avx512"},
		"int4 blocks":         {quantised(t, r, tensor.Int4, 70, 96, [2]int{70, 3}, true), true, "lut4 block 32"},
		"int4 in float32":     {quantised(t, r, tensor.Int4, 70, 96, [2]int{70, 1}, false), true, "lut4 block 96"},
		"uint4, one offset":   {quantised(t, r, tensor.UInt4, 70, 96, [2]int{1, 1}, true, 8), true, "lut4 block 96"},
		"uint4, offsets":      {quantised(t, r, tensor.UInt4, 40, 64, [2]int{40, 4}, false, 3, 9, 12), true, "lut4 block 16"},
		"int8":                {quantised(t, r, tensor.Int8, 40, 61, [2]int{40, 1}, true), true, "int8 block 61"},
		"int8, offsets":       {quantised(t, r, tensor.Int8, 40, 60, [2]int{10, 3}, false, -100, 90), true, "int8 block 20"},
		"uint8":               {quantised(t, r, tensor.UInt8, 40, 60, [2]int{1, 1}, false, 128), true, "int8 block 60"},
		"uint8, no offset":    {quantised(t, r, tensor.UInt8, 40, 60, [2]int{1, 1}, false), true, "int8 block 60"},
		"scaled palette":      {scaledPalettes(t, r, 40, 64, [2]int{1, 1}, [2]int{40, 1}), true, "lut4 block 64"},
		"scaled palettes":     {scaledPalettes(t, r, 64, 64, [2]int{4, 4}, [2]int{64, 1}), true, "lut4 block 16"},
		"palette and blocks":  {scaledPalettes(t, r, 64, 64, [2]int{2, 1}, [2]int{32, 2}), true, "lut4 block 32"},
		"other blocks":        {scaledPalettes(t, r, 64, 64, [2]int{1, 4}, [2]int{1, 2}), true, "gemm avx512"},
	} {
		for _, m := range []int{1, 3, 4, 5, 37} {
			k := c.w.Type.Shape[0]
			if c.ty {
				k = c.w.Type.Shape[1]
			}
			x := random(r, m, k)
			want, shape := defineMatmul(x, c.w, false, c.ty)
			other := random(r, shape...)
			for i, v := range other.Floats() {
				want[i] = max(0, want[i]+v)
			}
			a := args{"x": live{x}, "y": c.w, "transpose_y": boolsOf(nil, c.ty)}
			post := []hosted{{op: "add", other: "y", args: args{"y": live{other}}}, {op: "relu"}}
			for _, level := range cpu.Levels() {
				t.Run(fmt.Sprint(name, m, level), func(t *testing.T) {
					p := prepared(t, "matmul", a, level, graph.Plain, post...)
					if level == cpu.AVX512 && !strings.Contains(p.step.Kernel, c.kernel) {
						t.Errorf("kernel %q, want %q", p.step.Kernel, c.kernel)
					}
					tol := 2e-6
					if c.w.Code != nil && c.w.Type.DType == tensor.Float16 && m <= gemm.FewRows {
						tol = 1e-3 // scaled weights are not rounded to float16 then
					}
					sameAs(t, p.result(t), want, shape, tol)
					if n := testing.AllocsPerRun(3, func() { p.all(t) }); n > 0 && level != cpu.Generic {
						t.Errorf("%v allocations for a run", n)
					}
				})
			}
		}
	}
}

func TestEmptyProducts(t *testing.T) {
	r := rand.New(rand.NewPCG(19, 20))
	for i := range 2 * 2 * 2 * 2 * 2 {
		m, n, k, b := i&1*3, i>>1&1*17, i>>2&1*5, i>>3&1*2
		ty := i>>4&1 == 1
		ys := []int{b, k, n}
		if ty {
			ys = []int{b, n, k}
		}
		x, y := random(r, b, m, k), random(r, ys...)
		want, shape := defineMatmul(x, y, false, ty)
		for _, level := range cpu.Levels() {
			for _, other := range []any{y, live{y}} {
				a := args{"x": live{x}, "y": other, "transpose_y": boolsOf(nil, ty)}
				sameAs(t, runForm(t, "matmul", a, level, graph.Plain), want, shape, 2e-6)
			}
		}
	}
}
