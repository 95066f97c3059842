package ops

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"coreml/internal/graph"
	"coreml/internal/kernel/cpu"
)

func random(r *rand.Rand, shape ...int) *graph.Const {
	v := make([]float32, graph.TensorOf(0, shape...).Elements())
	for i := range v {
		v[i] = float32(r.Float64()*2 - 1)
	}
	return floatsOf(shape, v...)
}

// convCase is a convolution or its transpose, as a definition needs it.
type convCase struct {
	name                         string
	in, kernel, stride, dilation []int
	pad                          []int
	batch, cin, cout, groups     int
	bias, transpose, liveWeight  bool
	outputShape                  []int
}

func (k convCase) String() string {
	return fmt.Sprintf("%s in=%v kernel=%v stride=%v dilation=%v pad=%v c=%d→%d groups=%d", k.name, k.in, k.kernel, k.stride, k.dilation, k.pad, k.cin, k.cout, k.groups)
}

func (k convCase) args(r *rand.Rand) args {
	x := random(r, append([]int{k.batch, k.cin}, k.in...)...)
	ws := append([]int{k.cout, k.cin / k.groups}, k.kernel...)
	if k.transpose {
		ws = append([]int{k.cin, k.cout / k.groups}, k.kernel...)
	}
	a := args{"x": live{x}, "weight": random(r, ws...), "groups": intsOf(nil, k.groups), "pad_type": stringOf("custom"),
		"strides": intsOf([]int{len(k.in)}, k.stride...), "dilations": intsOf([]int{len(k.in)}, k.dilation...),
		"pad": intsOf([]int{2 * len(k.in)}, k.pad...)}
	if k.bias {
		a["bias"] = random(r, k.cout)
	}
	if k.liveWeight {
		a["weight"] = live{a["weight"].(*graph.Const)}
	}
	if k.outputShape != nil {
		a["output_shape"] = intsOf([]int{len(k.in) + 2}, append([]int{k.batch, k.cout}, k.outputShape...)...)
	}
	return a
}

func values(a any) []float32 {
	if l, ok := a.(live); ok {
		return l.Floats()
	}
	return a.(*graph.Const).Floats()
}

// define computes the case by the definition: every input meets every tap, in float64.
func (k convCase) define(a args) (want []float32, shape []int) {
	rank := len(k.in)
	shape = []int{k.batch, k.cout}
	for d := range rank {
		ext := (k.kernel[d]-1)*k.dilation[d] + 1
		o := (k.in[d]+k.pad[2*d]+k.pad[2*d+1]-ext)/k.stride[d] + 1
		if k.transpose {
			o = (k.in[d]-1)*k.stride[d] + ext - k.pad[2*d] - k.pad[2*d+1]
		}
		if k.outputShape != nil {
			o = k.outputShape[d]
		}
		shape = append(shape, o)
	}
	x, w := values(a["x"]), values(a["weight"])
	size := graph.TensorOf(0, shape[2:]...).Elements()
	acc := make([]float64, k.batch*k.cout*size)
	if k.bias {
		for i := range acc {
			acc[i] = float64(values(a["bias"])[i/size%k.cout])
		}
	}
	ins, taps := graph.TensorOf(0, k.in...).Elements(), graph.TensorOf(0, k.kernel...).Elements()
	cig, cog := k.cin/k.groups, k.cout/k.groups
	small, big := shape[2:], k.in // positions that step by stride, and those that they and the taps give
	if k.transpose {
		small, big = k.in, shape[2:]
	}
	for p := range graph.TensorOf(0, small...).Elements() {
		for t := range taps {
			q := k.other(p, t, small, big)
			if q < 0 {
				continue
			}
			i, o := q, p
			if k.transpose {
				i, o = p, q
			}
			for n := range k.batch {
				for co := range k.cout {
					for c := range cig {
						g := co / cog
						wi := (co*cig+c)*taps + t
						if k.transpose {
							wi = ((g*cig+c)*cog+co%cog)*taps + t
						}
						acc[(n*k.cout+co)*size+o] += float64(x[(n*k.cin+g*cig+c)*ins+i]) * float64(w[wi])
					}
				}
			}
		}
	}
	want = make([]float32, len(acc))
	for i := range acc {
		want[i] = float32(acc[i])
	}
	return want, shape
}

// other is the element that tap t of the window at p falls on; -1 outside.
func (k convCase) other(p, t int, small, big []int) int {
	at, stride := 0, 1
	for d := len(small) - 1; d >= 0; d-- {
		i := p%small[d]*k.stride[d] + t%k.kernel[d]*k.dilation[d] - k.pad[2*d]
		if i < 0 || i >= big[d] {
			return -1
		}
		at += i * stride
		stride *= big[d]
		p, t = p/small[d], t/k.kernel[d]
	}
	return at
}

// wideConvs have more regions than are listed one by one.
var wideConvs = []convCase{
	{name: "conv", batch: 1, cin: 5, cout: 3, groups: 1, in: []int{24, 30}, kernel: []int{31, 21}, stride: []int{1, 2}, dilation: []int{1, 1}, pad: []int{15, 15, 10, 10}},
	{name: "conv", batch: 1, cin: 3, cout: 3, groups: 3, in: []int{24, 30}, kernel: []int{31, 31}, stride: []int{1, 1}, dilation: []int{1, 1}, pad: []int{15, 15, 15, 15}, bias: true},
}

func randomConv(r *rand.Rand, rank int, transpose bool) convCase {
	k := convCase{name: "conv", batch: 1 + r.IntN(2), groups: 1, bias: r.IntN(2) == 0, transpose: transpose, liveWeight: r.IntN(4) == 0}
	if transpose {
		k.name = "conv_transpose"
	}
	if r.IntN(2) == 0 {
		k.groups = 1 + r.IntN(4)
	}
	k.cin, k.cout = k.groups*(1+r.IntN(20)), k.groups*(1+r.IntN(20))
	if r.IntN(4) == 0 { // depthwise
		k.groups, k.cout = k.cin, k.cin*(1+r.IntN(2))
	}
	for d := range rank {
		k.kernel = append(k.kernel, 1+r.IntN(4))
		k.stride = append(k.stride, 1+r.IntN(3))
		k.dilation = append(k.dilation, 1+r.IntN(2))
		k.pad = append(k.pad, r.IntN(3), r.IntN(3))
		ext := (k.kernel[d]-1)*k.dilation[d] + 1
		k.in = append(k.in, ext+r.IntN(12))
		if transpose {
			k.in[d] = 5 + r.IntN(6)
		}
	}
	if transpose && r.IntN(3) == 0 {
		_, s := k.define(k.args(r))
		for _, o := range s[2:] {
			k.outputShape = append(k.outputShape, o+r.IntN(2))
		}
	}
	return k
}

// sameAs compares with the definition, relative to the largest magnitude.
func sameAs(t *testing.T, got result, want []float32, shape []int, tol float64) {
	t.Helper()
	top := 1.0
	for _, w := range want {
		top = max(top, math.Abs(float64(w)))
	}
	near(t, got, shape, want, tol*top)
}

func TestConvMatchesDefinition(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 120 {
		k := randomConv(r, 1+i%3, i%2 == 1)
		if i < len(wideConvs) {
			k = wideConvs[i]
		}
		a := k.args(r)
		want, shape := k.define(a)
		for _, level := range cpu.Levels() {
			for _, form := range []graph.Form{graph.Plain, graph.Blocked} {
				t.Run(fmt.Sprint(i, " ", level, " ", form, " ", k), func(t *testing.T) {
					sameAs(t, runForm(t, k.name, a, level, form), want, shape, 2e-6)
				})
			}
		}
	}
}
