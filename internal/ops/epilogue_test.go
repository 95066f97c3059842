package ops

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"coreml/internal/graph"
	"coreml/internal/kernel/cpu"
)

// TestPostOfConvolutions runs operators inside a convolution's step and
// compares with the same done afterwards.
func TestPostOfConvolutions(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	conv := func(cin, cout, groups, kernel int) convCase {
		return convCase{name: "conv", batch: 2, cin: cin, cout: cout, groups: groups, bias: true, in: []int{9, 11},
			kernel: []int{kernel, kernel}, stride: []int{1, 2}, dilation: []int{1, 1}, pad: []int{1, 1, 0, 1}}
	}
	transposed := conv(6, 20, 2, 3)
	transposed.name, transposed.transpose = "conv_transpose", true
	for _, k := range []convCase{conv(20, 37, 1, 3), conv(3, 20, 1, 3), conv(20, 20, 20, 3), conv(20, 40, 20, 3), conv(12, 24, 4, 2), conv(20, 37, 1, 1), transposed} {
		a := k.args(r)
		plain, shape := k.define(a)
		other := random(r, shape...)
		perChannel := random(r, 1, shape[1], 1, 1)
		others, scales := other.Floats(), perChannel.Floats()
		add := hosted{op: "add", other: "y", args: args{"y": live{other}}}
		for name, c := range map[string]struct {
			post []hosted
			f    func(v float64, i int) float64
		}{
			"residual and relu": {[]hosted{add, {op: "relu"}}, func(v float64, i int) float64 {
				return max(0, v+float64(others[i]))
			}},
			"clip and residual": {[]hosted{{op: "clip", args: args{"alpha": floatsOf(nil, -0.5), "beta": floatsOf(nil, 0.5)}}, add}, func(v float64, i int) float64 {
				return min(max(v, -0.5), 0.5) + float64(others[i])
			}},
			"clip away from zero": {[]hosted{{op: "clip", args: args{"alpha": floatsOf(nil, 0.25), "beta": floatsOf(nil, 0.5)}}}, func(v float64, i int) float64 {
				return min(max(v, 0.25), 0.5)
			}},
			"sigmoid": {[]hosted{{op: "sigmoid"}}, func(v float64, i int) float64 { return 1 / (1 + math.Exp(-v)) }},
			"scale by channel": {[]hosted{{op: "mul", other: "y", args: args{"y": perChannel}}}, func(v float64, i int) float64 {
				return v * float64(scales[i/(shape[2]*shape[3])%shape[1]])
			}},
		} {
			want := make([]float32, len(plain))
			for i, v := range plain {
				want[i] = float32(c.f(float64(v), i))
			}
			for _, level := range cpu.Levels() {
				for _, form := range []graph.Form{graph.Plain, graph.Blocked} {
					t.Run(fmt.Sprint(name, " ", level, " ", form, " ", k), func(t *testing.T) {
						sameAs(t, runForm(t, k.name, a, level, form, c.post...), want, shape, 1e-5)
					})
				}
			}
		}
	}
}

func TestPostOfProducts(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	for _, s := range [][3]int{{1, 300, 64}, {33, 37, 20}, {130, 600, 40}} {
		x, w, other := random(r, s[0], s[2]), random(r, s[1], s[2]), random(r, s[0], s[1])
		row := random(r, s[1])
		others, scales := other.Floats(), row.Floats()
		plain, shape := defineMatmul(x, w, false, true)
		post := []hosted{{op: "add", other: "y", args: args{"y": live{other}}}, {op: "relu"}, {op: "mul", other: "y", args: args{"y": row}}, {op: "silu"}}
		want := make([]float32, len(plain))
		for i, v := range plain {
			y := max(0, float64(v)+float64(others[i])) * float64(scales[i%s[1]])
			want[i] = float32(y / (1 + math.Exp(-y)))
		}
		for _, level := range cpu.Levels() {
			for name, weight := range map[string]any{"known": w, "live": live{w}} {
				t.Run(fmt.Sprint(s, level, name), func(t *testing.T) {
					a := args{"x": live{x}, "y": weight, "transpose_y": boolsOf(nil, true)}
					sameAs(t, runForm(t, "matmul", a, level, graph.Plain, post...), want, shape, 1e-5)
				})
			}
		}
	}
}
