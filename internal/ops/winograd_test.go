package ops

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"coreml/internal/graph"
	"coreml/internal/kernel/cpu"
)

// taps3 is a convolution by 3 × 3 taps.
func taps3(batch, cin, cout, height, width int, pad ...int) convCase {
	return convCase{name: "conv", batch: batch, cin: cin, cout: cout, groups: 1, bias: true, in: []int{height, width},
		kernel: []int{3, 3}, stride: []int{1, 1}, dilation: []int{1, 1}, pad: pad}
}

// winogradLevels are those of this machine that have the form.
func winogradLevels() (all []cpu.Level) {
	for _, l := range cpu.Levels() {
		if l == cpu.AVX2 || l == cpu.AVX512 {
			all = append(all, l)
		}
	}
	return all
}

func TestWinogradMatchesDefinition(t *testing.T) {
	r := rand.New(rand.NewPCG(21, 22))
	cases := []convCase{
		taps3(1, 64, 64, 16, 16, 1, 1, 1, 1),
		taps3(2, 40, 83, 13, 18, 1, 1, 1, 1), // partial blocks and tiles, two groups of panels
		taps3(1, 37, 150, 25, 11, 0, 0, 0, 0),
		taps3(1, 64, 48, 11, 23, 2, 0, 3, 1),
		taps3(1, 48, 32, 9, 60, 5, 7, 9, 0),  // tiles that see nothing but padding
		taps3(1, 72, 64, 36, 30, 1, 1, 1, 1), // several bands
	}
	for i, k := range cases {
		k.bias = i != 3
		a := k.args(r)
		plain, shape := k.define(a)
		other := random(r, shape...)
		add := hosted{op: "add", other: "y", args: args{"y": live{other}}}
		others, top := other.Floats(), 0.0
		for _, v := range plain {
			top = max(top, math.Abs(float64(v)))
		}
		for name, post := range map[string]struct {
			ops []hosted
			f   func(v float64, i int) float64
		}{
			"alone":             {nil, func(v float64, _ int) float64 { return v }},
			"residual and relu": {[]hosted{add, {op: "relu"}}, func(v float64, i int) float64 { return max(0, v+float64(others[i])) }},
			"clip": {[]hosted{{op: "clip", args: args{"alpha": floatsOf(nil, -2), "beta": floatsOf(nil, 1)}}},
				func(v float64, _ int) float64 { return min(max(v, -2), 1) }},
			"half, then residual": {[]hosted{{op: "mul", other: "y", args: args{"y": floatsOf(nil, 0.5)}}, add},
				func(v float64, i int) float64 { return v/2 + float64(others[i]) }},
		} {
			want := make([]float32, len(plain))
			for i, v := range plain {
				want[i] = float32(post.f(float64(v), i))
			}
			for _, level := range winogradLevels() {
				t.Run(fmt.Sprint(name, " ", level, " ", k), func(t *testing.T) {
					p := prepared(t, "conv", a, level, graph.Blocked, post.ops...)
					if !strings.HasPrefix(p.step.Kernel, "conv winograd") {
						t.Fatalf("kernel %q, want winograd", p.step.Kernel)
					}
					for i := range p.exec.Buf { // nothing may depend on what scratch held
						p.exec.Buf[i] = 0xff
					}
					near(t, p.result(t), shape, want, 3e-6*top)
				})
			}
		}
	}
}

// TestWinogradKeepsToItsTile: a value that is not finite reaches the outputs of the tiles that see it, no others.
func TestWinogradKeepsToItsTile(t *testing.T) {
	k := taps3(1, 32, 32, 32, 32, 1, 1, 1, 1)
	a := k.args(rand.New(rand.NewPCG(23, 24)))
	f32(a["x"].(live).Data)[5*32*32+13*32+13] = float32(math.Inf(1))
	for _, level := range winogradLevels() {
		for i, v := range runForm(t, "conv", a, level, graph.Blocked).f32() {
			y, x := i/32%32, i%32
			finite, tile := v-v == 0, y/4 == 3 && x/4 == 3
			sees := max(y, x) <= 14 && min(y, x) >= 12
			if finite && sees || !finite && !tile {
				t.Fatalf("%v: output %d, %d is %v", level, y, x, v)
			}
		}
	}
}

func TestWinogradRule(t *testing.T) {
	strided, grouped, dilated := taps3(1, 64, 64, 56, 56, 1, 1, 1, 1), taps3(1, 128, 128, 56, 56, 1, 1, 1, 1), taps3(1, 64, 64, 56, 56, 1, 1, 1, 1)
	strided.stride, grouped.groups, dilated.dilation = []int{1, 2}, 2, []int{2, 1}
	wide := taps3(1, 64, 64, 56, 56, 1, 1, 1, 1)
	wide.kernel = []int{3, 5}
	for _, tt := range []struct {
		k    convCase
		want bool
	}{
		{taps3(1, 64, 64, 56, 56, 1, 1, 1, 1), true},
		{taps3(1, 256, 256, 14, 14, 1, 1, 1, 1), true},
		{taps3(1, 512, 512, 28, 28, 1, 1, 1, 1), true},
		{taps3(1, 512, 512, 14, 14, 1, 1, 1, 1), false}, // the weights come from memory
		{taps3(1, 512, 512, 7, 7, 1, 1, 1, 1), false},
		{taps3(1, 640, 640, 32, 32, 1, 1, 1, 1), false},
		{taps3(1, 16, 64, 56, 56, 1, 1, 1, 1), false},
		{taps3(1, 64, 64, 1, 200, 1, 1, 1, 1), false}, // a line of tiles is mostly outside
		{taps3(1, 64, 64, 4, 8000, 1, 1, 1, 1), false},
		{strided, false}, {grouped, false}, {dilated, false}, {wide, false},
	} {
		v := convolution{spatial: spatial{rank: 2}, n: 1, groups: tt.k.groups, cin: tt.k.cin / tt.k.groups, cout: tt.k.cout / tt.k.groups}
		v.unused()
		for d := range 2 {
			x := &v.axis[1+d]
			x.In, x.Kernel, x.Stride, x.Dilation = tt.k.in[d], tt.k.kernel[d], tt.k.stride[d], tt.k.dilation[d]
			x.Out = (tt.k.in[d]+tt.k.pad[2*d]+tt.k.pad[2*d+1]-(x.Kernel-1)*x.Dilation-1)/x.Stride + 1
		}
		for _, level := range []cpu.Level{cpu.Generic, cpu.NEON, cpu.AVX2, cpu.AVX512} {
			if got := v.useWinograd(level); got != (tt.want && level >= cpu.AVX2) {
				t.Errorf("%v %v: %v, want %v", level, tt.k, got, !got)
			}
		}
	}
}
