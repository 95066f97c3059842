package testkit

import (
	"coreml/internal/graph"
)

// window is a random window of a spatial operator on x: kernel, strides, dilations and padding that fit.
func (g *random) window(x *pooled, dilated bool) (kernel []int, args Args) {
	spatial := x.t.Shape[2:]
	args = Args{"pad_type": []string{"valid", "same", "custom", "same_lower"}[g.r.IntN(4)]}
	kernel = make([]int, len(spatial))
	strides := g.ints(len(spatial), 1, 2)
	dilations := make([]int, len(spatial))
	pads := make([]int, 2*len(spatial))
	for i, d := range spatial {
		kernel[i] = 1 + g.r.IntN(min(4, d))
		dilations[i] = 1
		if dilated && g.r.IntN(4) == 0 && 2*(kernel[i]-1)+1 <= d {
			dilations[i] = 2
		}
		pads[2*i], pads[2*i+1] = g.r.IntN(kernel[i]), g.r.IntN(kernel[i])
	}
	if g.flip() {
		args["strides"] = strides
	}
	if dilated {
		args["dilations"] = dilations
	}
	if args["pad_type"] == "custom" {
		args["pad"] = pads
	}
	return kernel, args
}

// image takes a value of rank 3 to 5, most often 4, with channels and pixels.
func (g *random) image() *pooled {
	if g.r.IntN(4) > 0 {
		return g.float(4, 4)
	}
	return g.float(3, 5)
}

func product(v []int) int {
	n := 1
	for _, d := range v {
		n *= d
	}
	return n
}

func conv(g *random) error {
	x := g.image()
	kernel, args := g.window(x, true)
	c, groups := x.t.Shape[1], 1
	if g.r.IntN(4) == 0 {
		for _, d := range []int{4, 3, 2} {
			if c%d == 0 {
				groups = d
			}
		}
	}
	out := groups * (1 + g.r.IntN(20))
	k := c / groups * product(kernel)
	if k*out > 16<<10 || product(x.t.Shape)*product(kernel)*out > 8<<20 {
		return nil
	}
	args["x"], args["groups"] = x.v, groups
	args["weight"] = g.typed(g.weights(k, append([]int{out, c / groups}, kernel...)...), x)
	if g.flip() {
		args["bias"] = g.typed(g.weights(4, out), x)
	}
	_, err := g.op(false, "conv", args)
	return err
}

func depthwise(g *random) error {
	x := g.image()
	kernel, args := g.window(x, true)
	c := x.t.Shape[1]
	args["x"], args["groups"] = x.v, c
	args["weight"] = g.typed(g.weights(product(kernel), append([]int{c, 1}, kernel...)...), x)
	if g.flip() {
		args["bias"] = g.typed(g.weights(4, c), x)
	}
	_, err := g.op(false, "conv", args)
	return err
}

func convTranspose(g *random) error {
	x := g.image()
	if x.rank() == 5 {
		return nil
	}
	kernel, args := g.window(x, true)
	delete(args, "dilations")
	if t := args["pad_type"]; t == "same_lower" || t == "same" {
		args["pad_type"] = "valid"
	}
	for _, p := range padsOf(args) {
		if p > 0 {
			delete(args, "pad")
			args["pad_type"] = "valid"
		}
	}
	c, out := x.t.Shape[1], 1+g.r.IntN(6)
	if product(x.t.Shape)*product(kernel)*out > 1<<20 {
		return nil
	}
	args["x"] = x.v
	args["weight"] = g.typed(g.weights(c*product(kernel), append([]int{c, out}, kernel...)...), x)
	_, err := g.op(false, "conv_transpose", args)
	return err
}

func padsOf(a Args) []int {
	p, _ := a["pad"].([]int)
	return p
}

func pool(g *random) error {
	x := g.image()
	kernel, args := g.window(x, false)
	args["x"], args["kernel_sizes"] = x.v, kernel
	name := []string{"max_pool", "avg_pool", "l2_pool"}[g.r.IntN(3)]
	if x.rank() == 5 && name == "l2_pool" {
		return nil
	}
	if args["pad_type"] == "same_lower" {
		args["pad_type"] = "same"
	}
	if args["pad_type"] == "custom" && name == "l2_pool" {
		delete(args, "pad")
		args["pad_type"] = "valid"
	}
	if name == "avg_pool" {
		args["exclude_padding_from_average"] = g.flip()
	}
	_, err := g.op(x.exact && name == "max_pool", name, args)
	return err
}

func batchNorm(g *random) error {
	x := g.float(3, 5)
	c := x.t.Shape[1]
	args := Args{"x": x.v, "mean": g.typed(g.weights(4, c), x), "variance": g.typed(g.positive(c), x)}
	if g.flip() {
		args["gamma"], args["beta"] = g.typed(g.positive(c), x), g.typed(g.weights(4, c), x)
	}
	_, err := g.op(false, "batch_norm", args)
	return err
}

// The epsilons of norms are large here: a norm of nearly equal values only magnifies rounding.
const norms = 0.1

func instanceNorm(g *random) error {
	x := g.float(3, 4)
	args := Args{"x": x.v, "epsilon": norms}
	if c := x.t.Shape[1]; g.flip() {
		args["gamma"], args["beta"] = g.typed(g.positive(c), x), g.typed(g.weights(4, c), x)
	}
	_, err := g.op(false, "instance_norm", args)
	return err
}

func layerNorm(g *random) error {
	x := g.float(1, 5)
	from := g.r.IntN(x.rank())
	axes := []int{}
	for a := from; a < x.rank(); a++ {
		axes = append(axes, a)
	}
	args := Args{"x": x.v, "axes": axes, "epsilon": norms}
	if s := x.t.Shape[from:]; g.flip() {
		args["gamma"], args["beta"] = g.typed(g.positive(s...), x), g.typed(g.weights(4, s...), x)
	}
	_, err := g.op(false, "layer_norm", args)
	return err
}

func otherNorm(g *random) error {
	x := g.float(3, 4)
	if g.flip() {
		_, err := g.op(false, "local_response_norm", Args{"x": x.v, "size": 1 + 2*g.r.IntN(3), "alpha": 0.25})
		return err
	}
	_, err := g.op(false, "l2_norm", Args{"x": x.v, "epsilon": norms})
	return err
}

func linear(g *random) error {
	x := g.float(1, 4)
	k, n := x.t.Shape[x.rank()-1], 1+g.r.IntN(48)
	if x.t.Elements()/max(k, 1)*n > mostElements2 {
		return nil
	}
	args := Args{"x": x.v, "weight": g.typed(g.weights(k, n, k), x)}
	if g.flip() {
		args["bias"] = g.typed(g.weights(4, n), x)
	}
	_, err := g.op(false, "linear", args)
	return err
}

func matmul(g *random) error {
	x := g.float(2, 4)
	r := x.rank()
	tx, ty := g.r.IntN(4) == 0, g.flip()
	k := x.t.Shape[r-1]
	if tx {
		k = x.t.Shape[r-2]
	}
	y := g.pick(func(p *pooled) bool {
		at := p.rank() - 2
		if ty {
			at++
		}
		return p.t.DType == x.t.DType && p.rank() == r && p.t.Shape[at] == k && broadcasts(p.t.Shape[:r-2], x.t.Shape[:r-2])
	})
	if y == nil || g.r.IntN(3) == 0 {
		n := 1 + g.r.IntN(24)
		shape := []int{k, n}
		if ty {
			shape = []int{n, k}
		}
		y = &pooled{v: g.typed(g.weights(k, shape...), x), t: graph.TensorOf(x.t.DType, shape...)}
	}
	if x.t.Elements()*y.t.Shape[y.rank()-1] > 4<<20 || x.t.Elements()/max(k, 1)*product(y.t.Shape) > 4<<20 {
		return nil
	}
	s, err := g.op(false, "mul", Args{"x": x.v, "y": g.typed(g.Floats([]float32{float32(1 / root(float64(max(k, 1))))}), x)})
	if err == nil {
		_, err = g.op(false, "matmul", Args{"x": s[0].v, "y": y.v, "transpose_x": tx, "transpose_y": ty})
	}
	return err
}

func attention(g *random) error {
	q := g.float(3, 4)
	if q.t.Shape[q.rank()-1] > 64 || q.t.Elements() > mostElements {
		return nil
	}
	s := append([]int(nil), q.t.Shape...)
	s[len(s)-2] = 1 + g.r.IntN(20)
	if product(s) > mostElements {
		return nil
	}
	args := Args{"query": q.v, "key": g.typed(g.weights(1, s...), q), "value": g.typed(g.weights(1, s...), q)}
	if g.flip() {
		m := g.pick(func(p *pooled) bool { return p.t.DType == q.t.DType && equal(p.t.Shape, s) })
		if m != nil {
			args["key"] = m.v
		}
	}
	if g.flip() {
		args["attn_mask"] = g.typed(g.weights(1, q.t.Shape[q.rank()-2], s[len(s)-2]), q)
	}
	_, err := g.op(false, "scaled_dot_product_attention", args)
	return err
}

func equal(a, b []int) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func softmax(g *random) error {
	x := g.float(1, 5)
	_, err := g.op(false, "softmax", Args{"x": x.v, "axis": g.axis(x)})
	return err
}

func reduce(g *random) error {
	x := g.float(1, 5)
	args := Args{"x": x.v, "keep_dims": g.flip()}
	if g.r.IntN(4) > 0 {
		args["axes"] = g.axes(x.rank())
	}
	name := []string{"reduce_mean", "reduce_mean", "reduce_sum", "reduce_max", "reduce_min", "reduce_l1_norm", "reduce_l2_norm", "reduce_sum_square", "reduce_log_sum_exp"}[g.r.IntN(9)]
	_, err := g.op(x.exact && (name == "reduce_max" || name == "reduce_min"), name, args)
	return err
}

func sorting(g *random) error {
	x := g.pick(func(p *pooled) bool { return p.float() && p.exact && p.rank() > 0 && p.t.Elements() > 0 })
	if x == nil {
		return nil
	}
	var err error
	switch g.r.IntN(3) {
	case 0:
		_, err = g.op(true, "reduce_argmax", Args{"x": x.v, "axis": g.axis(x), "keep_dims": g.flip()})
	case 1:
		_, err = g.op(true, "argsort", Args{"x": x.v, "axis": g.axis(x), "ascending": g.flip()})
	case 2:
		a := g.r.IntN(x.rank())
		_, err = g.op(true, "topk", Args{"x": x.v, "axis": a, "k": 1 + g.r.IntN(x.t.Shape[a]), "ascending": g.flip()})
	}
	return err
}

func cumsum(g *random) error {
	x := g.float(1, 4)
	_, err := g.op(false, "cumsum", Args{"x": x.v, "axis": g.r.IntN(x.rank()), "exclusive": g.flip(), "reverse": g.flip()})
	return err
}
