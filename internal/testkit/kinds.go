package testkit

import (
	"coreml/internal/graph"
	"coreml/tensor"
)

// kind adds one sort of operation, or nothing where no value suits.
type kind struct {
	name string
	add  func(g *random) error
}

// kinds is the list that random graphs are made of. What is more likely in networks is there more than once.
var kinds = []kind{
	{"activation", activation}, {"activation", activation}, {"activation", activation},
	{"exact unary", exactUnary}, {"binary", binary}, {"binary", binary}, {"binary", binary}, {"gate", gate}, {"compare", compare}, {"select", choose},
	{"integer", integer}, {"cast", cast},
	{"conv", conv}, {"conv", conv}, {"conv", conv}, {"depthwise", depthwise}, {"conv_transpose", convTranspose}, {"pool", pool}, {"pool", pool},
	{"batch_norm", batchNorm}, {"instance_norm", instanceNorm}, {"layer_norm", layerNorm}, {"l2_norm", otherNorm},
	{"linear", linear}, {"linear", linear}, {"matmul", matmul}, {"attention", attention}, {"softmax", softmax},
	{"reduce", reduce}, {"reduce", reduce}, {"sort", sorting}, {"cumsum", cumsum},
	{"reshape", reshape}, {"reshape", reshape}, {"reshape at run time", reshapeLate}, {"transpose", transpose}, {"expand_dims", expandDims}, {"squeeze", squeeze},
	{"concat", concat}, {"concat", concat}, {"split", split}, {"split", split}, {"stack", stack},
	{"slice_by_index", sliceByIndex}, {"slice_by_index", sliceByIndex}, {"slice_by_size", sliceBySize}, {"slice_update", sliceUpdate},
	{"pad", pad}, {"pad", pad}, {"gather", gather}, {"scatter", scatter}, {"tile", tile}, {"reverse", reverse}, {"space", space}, {"upsample", upsample},
	{"band_part", bandPart}, {"identity", identity}, {"fill_like", fillLike}, {"one_hot", oneHot},
	{"cond", cond}, {"while_loop", whileLoop},
	{"read_state", useState}, {"read_state", useState},
}

func anyRank(lo, hi int) func(*pooled) bool {
	return func(p *pooled) bool { return p.rank() >= lo && p.rank() <= hi }
}

var smooth = []struct {
	name string
	args Args
}{
	{"sigmoid", nil}, {"tanh", nil}, {"silu", nil}, {"gelu", Args{"mode": "EXACT"}}, {"gelu", Args{"mode": "TANH_APPROXIMATION"}},
	{"gelu", Args{"mode": "SIGMOID_APPROXIMATION"}}, {"erf", nil}, {"softplus", nil}, {"softsign", nil}, {"cos", nil}, {"sin", nil}, {"atan", nil},
	{"elu", Args{"alpha": 0.7}}, {"scaled_tanh", Args{"alpha": 1.5, "beta": 0.5}}, {"sigmoid_hard", Args{"alpha": 0.2, "beta": 0.5}},
	{"linear_activation", Args{"alpha": 0.5, "beta": 0.25}}, {"leaky_relu", Args{"alpha": 0.1}}, {"square", nil},
}

var exactly = []struct {
	name string
	args Args
}{
	{"relu", nil}, {"relu6", nil}, {"abs", nil}, {"clip", Args{"alpha": -1.0, "beta": 0.75}}, {"clamped_relu", Args{"alpha": 0.5, "beta": 1.0}}, {"threshold", Args{"alpha": 0.125}},
}

// with copies arguments and adds one.
func with(a Args, name string, v any) Args {
	out := Args{name: v}
	for k, x := range a {
		out[k] = x
	}
	return out
}

func activation(g *random) error {
	x := g.float(0, 5)
	switch g.r.IntN(6) {
	case 0, 1:
		k := exactly[g.r.IntN(len(exactly))]
		_, err := g.op(x.exact, k.name, with(k.args, "x", x.v))
		return err
	case 2:
		return guarded(g, x)
	}
	k := smooth[g.r.IntN(len(smooth))]
	_, err := g.op(false, k.name, with(k.args, "x", x.v))
	return err
}

// guarded are functions that need an operand of a range.
func guarded(g *random, x *pooled) error {
	switch g.r.IntN(4) {
	case 0:
		y, err := g.op(x.exact, "clip", Args{"x": x.v, "alpha": -4.0, "beta": 3.0})
		if err == nil {
			_, err = g.op(false, "exp", Args{"x": y[0].v})
		}
		return err
	case 1:
		y, err := g.op(x.exact, "abs", Args{"x": x.v})
		if err == nil {
			_, err = g.op(false, []string{"rsqrt", "inverse", "log"}[g.r.IntN(3)], Args{"x": y[0].v, "epsilon": 0.25})
		}
		return err
	case 2:
		y, err := g.op(false, "sigmoid", Args{"x": x.v})
		if err == nil {
			_, err = g.op(false, "sqrt", Args{"x": y[0].v})
		}
		return err
	}
	if x.rank() < 3 {
		return nil
	}
	_, err := g.op(false, "prelu", Args{"x": x.v, "alpha": g.typed(g.weights(4, x.t.Shape[1]), x)})
	return err
}

// typed gives a constant the float dtype of p.
func (g *random) typed(k *graph.Value, p *pooled) *graph.Value {
	if p.t.DType == tensor.Float16 {
		f := k.Const.Floats()
		h := make([]uint16, len(f))
		tensor.F16Slice(h, f)
		k.Const.Data, k.Const.Type.DType = tensor.BytesOf(h), tensor.Float16
		k.Type = k.Const.Type
		g.types[k] = k.Type
	}
	return k
}

func exactUnary(g *random) error {
	x := g.pick(func(p *pooled) bool { return p.float() && p.exact })
	if x == nil {
		return nil
	}
	name := []string{"round", "floor", "ceil", "sign"}[g.r.IntN(4)]
	_, err := g.op(true, name, Args{"x": x.v})
	return err
}

// partner is an operand that broadcasts with x: of its shape, a part of it, or a constant.
func (g *random) partner(x *pooled) *pooled {
	p := g.pick(func(p *pooled) bool { return p.t.DType == x.t.DType && broadcasts(p.t.Shape, x.t.Shape) })
	if p != nil && p != x && g.r.IntN(3) > 0 {
		return p
	}
	shape := append([]int(nil), x.t.Shape[g.r.IntN(x.rank()+1):]...)
	for i := range shape {
		if g.r.IntN(3) == 0 {
			shape[i] = 1
		}
	}
	if g.r.IntN(4) == 0 && g.depth == 0 {
		return g.input(x.t.DType, shape)
	}
	return &pooled{g.typed(g.weights(1, shape...), x), graph.TensorOf(x.t.DType, shape...), true}
}

// broadcasts reports whether the shapes go together without a result of more than either's elements.
func broadcasts(a, b []int) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	b = b[len(b)-len(a):]
	for i := range a {
		if a[i] != b[i] && a[i] != 1 {
			return false
		}
	}
	return true
}

func binary(g *random) error {
	x := g.float(0, 5)
	y := g.partner(x)
	if g.r.IntN(6) == 0 {
		k := g.typed(g.positive(y.t.Shape...), x)
		_, err := g.op(false, "real_div", Args{"x": x.v, "y": k})
		return err
	}
	name := []string{"add", "add", "sub", "sub", "mul", "mul", "maximum", "minimum"}[g.r.IntN(8)]
	if g.flip() {
		x, y = y, x
	}
	_, err := g.op(x.exact && y.exact, name, Args{"x": x.v, "y": y.v})
	return err
}

// gate multiplies a value with a function of itself.
func gate(g *random) error {
	x := g.float(0, 5)
	k := []string{"sigmoid", "sigmoid_hard"}[g.r.IntN(2)]
	a := Args{"x": x.v}
	if k == "sigmoid_hard" {
		a["alpha"], a["beta"] = 0.25, 0.5
	}
	s, err := g.op(false, k, a)
	if err != nil {
		return err
	}
	a = Args{"x": x.v, "y": s[0].v}
	if g.flip() {
		a = Args{"x": s[0].v, "y": x.v}
	}
	_, err = g.op(false, "mul", a)
	return err
}

func compare(g *random) error {
	x := g.pick(func(p *pooled) bool { return p.float() && p.exact })
	if x == nil {
		return nil
	}
	y := g.partner(x)
	if !y.exact {
		return nil
	}
	name := []string{"equal", "not_equal", "less", "less_equal", "greater", "greater_equal"}[g.r.IntN(6)]
	_, err := g.op(true, name, Args{"x": x.v, "y": y.v})
	return err
}

func choose(g *random) error {
	c := g.pick(func(p *pooled) bool { return p.t.DType.String() == "bool" })
	if c == nil {
		return nil
	}
	if g.r.IntN(3) == 0 {
		_, err := g.op(true, "logical_not", Args{"x": c.v})
		return err
	}
	a := g.pick(func(p *pooled) bool { return p.float() && broadcasts(p.t.Shape, c.t.Shape) })
	if a == nil {
		return nil
	}
	b := g.partner(a)
	if !broadcasts(b.t.Shape, c.t.Shape) {
		return nil
	}
	_, err := g.op(a.exact && b.exact, "select", Args{"cond": c.v, "a": a.v, "b": b.v})
	return err
}
