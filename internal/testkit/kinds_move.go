package testkit

import (
	"coreml/internal/graph"
	"coreml/tensor"
)

// tensorOf takes any tensor of a rank from lo to hi.
func (g *random) tensorOf(lo, hi int) *pooled {
	p := g.pick(anyRank(lo, hi))
	if p == nil {
		p = g.float(lo, hi)
	}
	return p
}

// refactor is a random shape of n elements.
func (g *random) refactor(n int) []int {
	var s []int
	for range g.r.IntN(4) {
		var divisors []int
		for d := 1; d <= min(n, 64); d++ {
			if n%d == 0 {
				divisors = append(divisors, d)
			}
		}
		if n == 0 {
			break
		}
		d := divisors[g.r.IntN(len(divisors))]
		s = append(s, d)
		n /= d
	}
	return append(s, n)
}

func reshape(g *random) error {
	x := g.tensorOf(0, 5)
	s := g.refactor(x.t.Elements())
	if g.r.IntN(3) == 0 && x.t.Elements() > 0 {
		s[g.r.IntN(len(s))] = -1
	}
	_, err := g.op(x.exact, "reshape", Args{"x": x.v, "shape": s})
	return err
}

// reshapeLate takes the shape from an input, so that the plan ends there.
func reshapeLate(g *random) error {
	x := g.tensorOf(1, 5)
	if g.depth > 0 || len(g.known) >= 2 || x.t.Elements() == 0 {
		return nil
	}
	s := g.refactor(x.t.Elements())
	out, err := g.op(x.exact, "reshape", Args{"x": x.v, "shape": g.Known("shape"+string(rune('a'+len(g.known))), s...)})
	if err == nil {
		g.Open(out[0].v)
	}
	return err
}

func transpose(g *random) error {
	x := g.tensorOf(1, 5)
	_, err := g.op(x.exact, "transpose", Args{"x": x.v, "perm": g.r.Perm(x.rank())})
	return err
}

func expandDims(g *random) error {
	x := g.tensorOf(0, 4)
	_, err := g.op(x.exact, "expand_dims", Args{"x": x.v, "axes": []int{g.r.IntN(x.rank() + 1)}})
	return err
}

func squeeze(g *random) error {
	x := g.pick(func(p *pooled) bool {
		for _, d := range p.t.Shape {
			if d == 1 {
				return p.rank() > 1
			}
		}
		return false
	})
	if x == nil {
		return nil
	}
	var axes []int
	for i, d := range x.t.Shape {
		if d == 1 {
			axes = append(axes, i)
		}
	}
	_, err := g.op(x.exact, "squeeze", Args{"x": x.v, "axes": axes[:1+g.r.IntN(len(axes))]})
	return err
}

func concat(g *random) error {
	x := g.tensorOf(1, 5)
	a := g.r.IntN(x.rank())
	values := []*graph.Value{x.v}
	exact, total := x.exact, x.t.Elements()
	for range 1 + g.r.IntN(3) {
		y := g.pick(func(p *pooled) bool {
			if p.t.DType != x.t.DType || p.rank() != x.rank() {
				return false
			}
			for i, d := range p.t.Shape {
				if i != a && d != x.t.Shape[i] {
					return false
				}
			}
			return true
		})
		if total += y.t.Elements(); total > mostElements2 {
			return nil
		}
		values, exact = append(values, y.v), exact && y.exact
	}
	if g.flip() {
		values[0], values[len(values)-1] = values[len(values)-1], values[0]
	}
	_, err := g.op(exact, "concat", Args{"values": values, "axis": a})
	return err
}

func stack(g *random) error {
	x := g.tensorOf(0, 4)
	y := g.pick(func(p *pooled) bool { return p.t.DType == x.t.DType && equal(p.t.Shape, x.t.Shape) })
	if y == nil {
		y = x
	}
	_, err := g.op(x.exact && y.exact, "stack", Args{"values": []*graph.Value{x.v, y.v}, "axis": g.r.IntN(x.rank() + 1)})
	return err
}

func split(g *random) error {
	x := g.pick(func(p *pooled) bool {
		for _, d := range p.t.Shape {
			if d > 1 {
				return true
			}
		}
		return false
	})
	if x == nil {
		return nil
	}
	a := g.r.IntN(x.rank())
	for x.t.Shape[a] < 2 {
		a = (a + 1) % x.rank()
	}
	d := x.t.Shape[a]
	first := 1 + g.r.IntN(d-1)
	args := Args{"x": x.v, "axis": a, "split_sizes": []int{first, d - first}}
	if d%2 == 0 && g.flip() {
		delete(args, "split_sizes")
		args["num_splits"] = 2
	}
	_, err := g.op(x.exact, "split", args)
	return err
}

func sliceByIndex(g *random) error {
	x := g.tensorOf(1, 5)
	r := x.rank()
	begin, end, stride := make([]int, r), make([]int, r), make([]int, r)
	beginMask, endMask, squeeze := make([]bool, r), make([]bool, r), make([]bool, r)
	for i, d := range x.t.Shape {
		if d == 0 {
			return nil
		}
		begin[i] = g.r.IntN(d)
		end[i] = begin[i] + 1 + g.r.IntN(d-begin[i])
		stride[i] = 1
		switch g.r.IntN(8) {
		case 0:
			stride[i] = 2
		case 1:
			stride[i], begin[i], end[i] = -1, end[i]-1, begin[i]-1
			endMask[i] = end[i] < 0
		case 2, 3, 4:
			beginMask[i], endMask[i] = true, true
		case 5:
			squeeze[i] = r > 1 && i == 0
		}
	}
	args := Args{"x": x.v, "begin": begin, "end": end, "stride": stride, "begin_mask": beginMask, "end_mask": endMask, "squeeze_mask": squeeze}
	_, err := g.op(x.exact, "slice_by_index", args)
	return err
}

func sliceBySize(g *random) error {
	x := g.tensorOf(1, 5)
	begin, size := make([]int, x.rank()), make([]int, x.rank())
	for i, d := range x.t.Shape {
		if d == 0 {
			return nil
		}
		begin[i] = g.r.IntN(d)
		if size[i] = 1 + g.r.IntN(d-begin[i]); g.flip() {
			begin[i], size[i] = 0, d
		}
	}
	_, err := g.op(x.exact, "slice_by_size", Args{"x": x.v, "begin": begin, "size": size})
	return err
}

func sliceUpdate(g *random) error {
	x := g.tensorOf(1, 4)
	begin, end, size := make([]int, x.rank()), make([]int, x.rank()), make([]int, x.rank())
	for i, d := range x.t.Shape {
		if d == 0 {
			return nil
		}
		begin[i] = g.r.IntN(d)
		end[i] = begin[i] + 1 + g.r.IntN(d-begin[i])
		size[i] = end[i] - begin[i]
	}
	u := g.pick(func(p *pooled) bool { return p.t.DType == x.t.DType && equal(p.t.Shape, size) })
	if u == nil {
		if !x.float() {
			return nil
		}
		u = &pooled{v: g.typed(g.weights(1, size...), x), exact: true}
	}
	_, err := g.op(x.exact && u.exact, "slice_update", Args{"x": x.v, "update": u.v, "begin": begin, "end": end})
	return err
}

func pad(g *random) error {
	x := g.float(1, 5)
	n := 1 + g.r.IntN(min(x.rank(), 2))
	p := make([]int, 2*n)
	mode := []string{"constant", "constant", "reflect", "replicate"}[g.r.IntN(4)]
	for i := range p {
		d := x.t.Shape[x.rank()-n+i/2]
		if p[i] = g.r.IntN(3); mode == "reflect" {
			p[i] = min(p[i], d-1)
		}
	}
	args := Args{"x": x.v, "pad": p, "mode": mode}
	if mode == "constant" {
		args["constant_val"] = g.typed(g.Floats([]float32{float32(g.r.IntN(2))}), x)
	}
	_, err := g.op(x.exact, "pad", args)
	return err
}

func gather(g *random) error {
	x := g.tensorOf(1, 4)
	a := g.r.IntN(x.rank())
	d := x.t.Shape[a]
	if d == 0 {
		return nil
	}
	var indices any = g.ints(1+g.r.IntN(4), 0, d-1)
	if y := g.pick(func(p *pooled) bool { return p.t.DType == tensor.Int32 && p.rank() < 3 }); y != nil && g.flip() && y.t.Elements()*x.t.Elements() < mostElements2 {
		m, err := g.op(true, "mod", Args{"x": y.v, "y": d})
		if err != nil {
			return err
		}
		indices = m[0].v
	}
	_, err := g.op(x.exact, "gather", Args{"x": x.v, "indices": indices, "axis": a})
	return err
}

func scatter(g *random) error {
	x := g.float(1, 3)
	d := x.t.Shape[0]
	if d == 0 {
		return nil
	}
	n := 1 + g.r.IntN(min(d, 4))
	shape := append([]int{n}, x.t.Shape[1:]...)
	u := g.typed(g.weights(1, shape...), x)
	mode := []string{"update", "add", "mul", "max"}[g.r.IntN(4)]
	_, err := g.op(x.exact, "scatter", Args{"data": x.v, "indices": g.r.Perm(d)[:n], "updates": u, "axis": 0, "mode": mode})
	return err
}

func tile(g *random) error {
	x := g.tensorOf(1, 4)
	reps := g.ints(x.rank(), 1, 2)
	if x.t.Elements()*product(reps) > mostElements2 {
		return nil
	}
	_, err := g.op(x.exact, "tile", Args{"x": x.v, "reps": reps})
	return err
}

func reverse(g *random) error {
	x := g.tensorOf(1, 4)
	_, err := g.op(x.exact, "reverse", Args{"x": x.v, "axes": g.axes(x.rank())})
	return err
}

func space(g *random) error {
	x := g.float(4, 4)
	s := x.t.Shape
	var err error
	switch {
	case s[1]%4 == 0 && g.flip():
		_, err = g.op(x.exact, "pixel_shuffle", Args{"x": x.v, "upscale_factor": 2})
	case s[1]%4 == 0:
		_, err = g.op(x.exact, "depth_to_space", Args{"x": x.v, "block_size": 2})
	case s[2]%2 == 0 && s[3]%2 == 0:
		_, err = g.op(x.exact, "space_to_depth", Args{"x": x.v, "block_size": 2})
	}
	return err
}

func upsample(g *random) error {
	x := g.float(4, 4)
	if x.t.Elements()*4 > mostElements2 {
		return nil
	}
	var err error
	if g.flip() {
		_, err = g.op(x.exact, "upsample_nearest_neighbor", Args{"x": x.v, "scale_factor_height": 2, "scale_factor_width": 2})
	} else {
		_, err = g.op(false, "upsample_bilinear", Args{"x": x.v, "scale_factor_height": 2, "scale_factor_width": 2, "align_corners": g.flip()})
	}
	return err
}

func bandPart(g *random) error {
	x := g.float(2, 4)
	_, err := g.op(x.exact, "band_part", Args{"x": x.v, "lower": g.r.IntN(4) - 1, "upper": g.r.IntN(4) - 1})
	return err
}

func identity(g *random) error {
	x := g.tensorOf(0, 5)
	_, err := g.op(x.exact, "identity", Args{"x": x.v})
	return err
}

func fillLike(g *random) error {
	x := g.tensorOf(1, 4)
	_, err := g.op(true, "fill_like", Args{"ref_tensor": x.v, "value": 0.5})
	return err
}

func oneHot(g *random) error {
	x := g.pick(func(p *pooled) bool { return p.t.DType == tensor.Int32 && p.rank() < 3 && p.t.Elements() < 500 })
	if x == nil {
		return nil
	}
	_, err := g.op(true, "one_hot", Args{"indices": x.v, "one_hot_vector_size": 1 + g.r.IntN(8), "on_value": 1.0, "off_value": 0.0})
	return err
}

func integer(g *random) error {
	x := g.pick(func(p *pooled) bool { return p.t.DType == tensor.Int32 })
	if x == nil {
		if g.depth > 0 {
			return nil
		}
		x = g.input(tensor.Int32, g.shape(g.r.IntN(3)))
	}
	name := []string{"add", "sub", "mul", "floor_div", "mod", "maximum", "minimum"}[g.r.IntN(7)]
	out, err := g.op(true, name, Args{"x": x.v, "y": 1 + g.r.IntN(7)})
	if err == nil && name == "mul" {
		_, err = g.op(true, "mod", Args{"x": out[0].v, "y": 1000})
	}
	return err
}

func cast(g *random) error {
	x := g.pick(func(p *pooled) bool { return !p.float() || p.exact })
	if x == nil {
		return nil
	}
	to := []string{"fp32", "fp32", "int32", "fp16", "bool"}[g.r.IntN(5)]
	_, err := g.op(true, "cast", Args{"x": x.v, "dtype": to})
	return err
}
