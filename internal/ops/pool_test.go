package ops

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"coreml/internal/graph"
	"coreml/internal/kernel/cpu"
)

// poolCase is a pool, as a definition needs it.
type poolCase struct {
	name                    string
	batch, channels         int
	in, kernel, stride, pad []int
	ceil, exclude           bool
}

func (k poolCase) args(x *graph.Const) args {
	a := args{"x": live{x}, "kernel_sizes": intsOf([]int{len(k.in)}, k.kernel...), "strides": intsOf([]int{len(k.in)}, k.stride...),
		"pad_type": stringOf("custom"), "pad": intsOf([]int{2 * len(k.in)}, k.pad...), "ceil_mode": boolsOf(nil, k.ceil)}
	if k.name == "avg_pool" {
		a["exclude_padding_from_average"] = boolsOf(nil, k.exclude)
	}
	return a
}

// define visits every position of every window of the padded image.
func (k poolCase) define(x []float32) (want []float32, shape []int) {
	shape = []int{k.batch, k.channels}
	taps := graph.TensorOf(0, k.kernel...).Elements()
	for d := range k.in {
		room := k.in[d] + k.pad[2*d] + k.pad[2*d+1] - k.kernel[d]
		o := room/k.stride[d] + 1
		if k.ceil {
			o = int(math.Ceil(float64(room)/float64(k.stride[d]))) + 1
			if (o-1)*k.stride[d] >= k.in[d]+k.pad[2*d] && k.pad[2*d] > 0 {
				o--
			}
		}
		shape = append(shape, o)
	}
	ins, outs := graph.TensorOf(0, k.in...).Elements(), graph.TensorOf(0, shape[2:]...).Elements()
	for i := range k.batch * k.channels * outs {
		var values []float64
		counted := 0
		for t := range taps {
			at, padded := k.position(i%outs, t, shape[2:])
			if at >= 0 {
				values = append(values, float64(x[i/outs*ins+at]))
			}
			if at >= 0 || padded && !k.exclude {
				counted++
			}
		}
		want = append(want, float32(k.reduce(values, counted)))
	}
	return want, shape
}

func (k poolCase) reduce(values []float64, counted int) float64 {
	sum, squares, top := 0.0, 0.0, math.Inf(-1)
	for _, v := range values {
		sum, squares, top = sum+v, squares+v*v, max(top, v)
	}
	switch k.name {
	case "max_pool":
		return top
	case "l2_pool":
		return math.Sqrt(squares)
	}
	return sum / float64(counted)
}

// position is the element that tap t of output o falls on; -1 outside, where padded tells padding from what lies beyond.
func (k poolCase) position(o, t int, out []int) (at int, padded bool) {
	stride, inside := 1, true
	padded = true
	for d := len(out) - 1; d >= 0; d-- {
		i := o%out[d]*k.stride[d] + t%k.kernel[d] - k.pad[2*d]
		inside = inside && i >= 0 && i < k.in[d]
		padded = padded && i < k.in[d]+k.pad[2*d+1]
		at += i * stride
		stride *= k.in[d]
		o, t = o/out[d], t/k.kernel[d]
	}
	if !inside {
		at = -1
	}
	return at, padded
}

func TestPoolMatchesDefinition(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for i := range 120 {
		k := poolCase{name: [...]string{"avg_pool", "max_pool", "l2_pool"}[i%3], batch: 1 + r.IntN(2), channels: 1 + r.IntN(40),
			exclude: r.IntN(2) == 0}
		rank := 1 + r.IntN(3)
		if k.name == "l2_pool" {
			rank = 1 + r.IntN(2)
		}
		k.ceil = rank < 3 && r.IntN(2) == 0
		for range rank {
			kernel := 1 + r.IntN(4)
			k.kernel = append(k.kernel, kernel)
			k.stride = append(k.stride, 1+r.IntN(kernel))
			p := r.IntN(kernel/2 + 1)
			q := r.IntN(kernel/2 + 1)
			if k.ceil {
				q = p
			}
			k.pad = append(k.pad, p, q)
			k.in = append(k.in, kernel+r.IntN(12))
		}
		x := random(r, append([]int{k.batch, k.channels}, k.in...)...)
		want, shape := k.define(x.Floats())
		for _, level := range cpu.Levels() {
			for _, form := range []graph.Form{graph.Plain, graph.Blocked} {
				t.Run(fmt.Sprintf("%d %v %v %+v", i, level, form, k), func(t *testing.T) {
					near(t, runForm(t, k.name, k.args(x), level, form), shape, want, 2e-6)
				})
			}
		}
	}
}
