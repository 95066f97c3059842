package ops

import (
	"math"
	"slices"

	"coreml/internal/graph"
)

// resizeOps resample the last dimensions of x on a regular grid.
var resizeOps = []*graph.Op{
	resizer("upsample_nearest_neighbor", "The last two dimensions of x scaled, each element the one at or before its place.", upsampleNearest,
		graph.Def("scale_factor_height", graph.Numeric, 1), graph.Def("scale_factor_width", graph.Numeric, 1)),
	resizer("upsample_bilinear", "The last two dimensions of x scaled, interpolated linearly.", upsampleBilinear,
		graph.Def("scale_factor_height", graph.Numeric, 1), graph.Def("scale_factor_width", graph.Numeric, 1),
		graph.Def("align_corners", graph.Bool, true), graph.Opt("half_pixel_centers", graph.Bool)),
	resizer("resize_nearest_neighbor", "The last two dimensions of x brought to a size, each element the one that its centre falls on.", resizeNearest,
		graph.In("target_size_height", graph.Int), graph.In("target_size_width", graph.Int)),
	resizer("resize_bilinear", "The last two dimensions of x brought to a size, interpolated linearly on the grid of sampling_mode.", resizeBilinear,
		graph.Def("target_size_height", graph.Int, 1), graph.Def("target_size_width", graph.Int, 1), graph.Def("sampling_mode", graph.String, "DEFAULT")),
	since(graph.IOS17, resizer("resize", "The last resized_dims dimensions of x brought to those of shape, of which 0 keeps one, on the grid of sampling_mode.", resizeAny,
		graph.In("shape", graph.Int), graph.In("resized_dims", graph.Int), graph.Def("interpolation_mode", graph.String, "LINEAR"),
		graph.Def("sampling_mode", graph.String, "DEFAULT"))),
}

// tap says where an output element comes from along one axis: (1-f)·x[lo] + f·x[hi].
type tap struct {
	lo, hi int32
	f      float32
}

// sizing is what an operator's arguments say: sizes of the last dimensions, and the taps of an axis.
type sizing struct {
	sizes   []int
	nearest bool
	taps    func(n, m int) []tap
}

func resizer(name, doc string, read func(*graph.Call) (sizing, error), params ...graph.Input) *graph.Op {
	accept := graph.Float
	if name == "resize" {
		accept = graph.Numeric
	}
	return &graph.Op{
		Name: name, Doc: doc,
		Inputs: append([]graph.Input{graph.In("x", accept)}, params...),
		Infer: func(c *graph.Call) ([]graph.Type, error) {
			s, err := read(c)
			if err != nil {
				return nil, err
			}
			x := c.Shape(0)
			for i, m := range s.sizes {
				n := x[len(x)-len(s.sizes)+i]
				if m < 0 || m > math.MaxInt32 || n > math.MaxInt32 || n == 0 && m > 0 {
					return nil, c.Errorf(1, "size %d for a dimension of size %d", m, n)
				}
			}
			if !s.nearest && !c.Type(0).DType.IsFloat() {
				return nil, c.Errorf(0, "%v interpolated linearly, want floats", c.Type(0).DType)
			}
			return typed(c, 1, c.Type(0).DType, append(slices.Clone(x[:len(x)-len(s.sizes)]), s.sizes...))
		},
		Prepare: func(c *graph.Call) (graph.Step, error) {
			s, err := read(c)
			if err != nil {
				return graph.Step{}, err
			}
			return prepareResize(c, s), nil
		},
		Fit: func(c *graph.Call, f graph.Form) graph.Fit {
			s, err := read(c)
			if err != nil || f != graph.Blocked || !blockable(c.Type(0)) || !blockable(c.Out[0].Type) || len(s.sizes) != len(c.Shape(0))-2 {
				return graph.Fit{}
			}
			return graph.Fit{In: 1, Out: 1}
		},
	}
}

// scaled is the size of the last two dimensions times the two scale factors.
// A factor that was computed as a quotient of sizes and rounded gives the size meant.
func scaled(c *graph.Call) ([]int, error) {
	x, err := lastTwo(c)
	if err != nil {
		return nil, err
	}
	out := make([]int, 2)
	for i, n := range x {
		f, err := c.Float(1 + i)
		if err != nil {
			return nil, err
		}
		m := math.Floor(float64(f*float32(n)) + 1e-4)
		if !(f > 0) || m > math.MaxInt32 {
			return nil, c.Errorf(1+i, "%v for a dimension of size %d", f, n)
		}
		out[i] = int(m)
	}
	return out, nil
}

func lastTwo(c *graph.Call) ([]int, error) {
	x := c.Shape(0)
	if len(x) < 2 {
		return nil, c.Errorf(0, "rank %d, want at least 2", len(x))
	}
	return x[len(x)-2:], nil
}

// targets reads the sizes of the last two dimensions.
func targets(c *graph.Call) ([]int, error) {
	if _, err := lastTwo(c); err != nil {
		return nil, err
	}
	h, err := c.Int(1)
	if err != nil {
		return nil, err
	}
	w, err := c.Int(2)
	return []int{h, w}, err
}

func upsampleNearest(c *graph.Call) (sizing, error) {
	m, err := scaled(c)
	return sizing{sizes: m, nearest: true, taps: floorTaps}, err
}

func resizeNearest(c *graph.Call) (sizing, error) {
	m, err := targets(c)
	return sizing{sizes: m, nearest: true, taps: centreTaps}, err
}

func upsampleBilinear(c *graph.Call) (sizing, error) {
	m, err := scaled(c)
	if err != nil {
		return sizing{}, err
	}
	align, err := c.Bool(3)
	if err != nil {
		return sizing{}, err
	}
	half := !align
	if c.Given(4) {
		if half, err = c.Bool(4); err != nil {
			return sizing{}, err
		}
	}
	mode := "DEFAULT"
	if align {
		mode = "STRICT_ALIGN_CORNERS"
	} else if half {
		mode = "UNALIGN_CORNERS"
	}
	return sizing{sizes: m, taps: linearTaps(grids[mode])}, nil
}

func resizeBilinear(c *graph.Call) (sizing, error) {
	m, err := targets(c)
	if err != nil {
		return sizing{}, err
	}
	g, err := gridOf(c, 3)
	return sizing{sizes: m, taps: linearTaps(g)}, err
}

func resizeAny(c *graph.Call) (sizing, error) {
	x := c.Shape(0)
	shape, err := c.Ints(1)
	if err != nil {
		return sizing{}, err
	}
	k, err := c.Int(2)
	if err != nil {
		return sizing{}, err
	}
	if k < 0 || k > len(shape) || len(shape) > len(x) || k > maxResized {
		return sizing{}, c.Errorf(2, "%d, with %d sizes for %d dimensions of which at most %d", k, len(shape), len(x), maxResized)
	}
	s := sizing{sizes: slices.Clone(shape[len(shape)-k:])}
	for i := range s.sizes {
		if s.sizes[i] == 0 {
			s.sizes[i] = x[len(x)-k+i]
		}
	}
	mode, err := c.Str(3)
	if err != nil {
		return sizing{}, err
	}
	g, err := gridOf(c, 4)
	switch mode {
	case "LINEAR":
		s.taps = linearTaps(g)
	case "NEAREST_NEIGHBOR":
		s.nearest, s.taps = true, nearestTaps(g)
	default:
		return sizing{}, c.Errorf(3, "%q, want LINEAR or NEAREST_NEIGHBOR", mode)
	}
	return s, err
}

// maxResized bounds the number of dimensions that resize interpolates between.
const maxResized = 5

// gridFunc is the place in an axis of extent n+1 (n = last - first) of point i of m.
type gridFunc func(i, m int, n float64) float64

// grids are the sampling modes, as the documentation of resize_bilinear gives them.
var grids = map[string]gridFunc{
	"STRICT_ALIGN_CORNERS": func(i, m int, n float64) float64 { return alignGrid(i, m, n, 0) },
	"ALIGN_CORNERS":        func(i, m int, n float64) float64 { return alignGrid(i, m, n, n/2) },
	"DEFAULT":              func(i, m int, n float64) float64 { return float64(i) * (n + 1) / float64(m) },
	"OFFSET_CORNERS":       func(i, m int, n float64) float64 { return (float64(i) + 0.5) * max(1, n) / float64(m) },
	"UNALIGN_CORNERS":      func(i, m int, n float64) float64 { return (float64(i)+0.5)*(n+1)/float64(m) - 0.5 },
}

func alignGrid(i, m int, n, single float64) float64 {
	if m == 1 {
		return single
	}
	return float64(i) * n / float64(m-1)
}

func gridOf(c *graph.Call, arg int) (gridFunc, error) {
	mode, err := c.Str(arg)
	if err == nil && grids[mode] == nil {
		err = c.Errorf(arg, "%q, want DEFAULT, STRICT_ALIGN_CORNERS, ALIGN_CORNERS, OFFSET_CORNERS or UNALIGN_CORNERS", mode)
	}
	return grids[mode], err
}

// floorTaps take the element at or before place i·n/m, centreTaps that at or before (i+1/2)·n/m.
func floorTaps(n, m int) []tap  { return stepTaps(n, m, 0) }
func centreTaps(n, m int) []tap { return stepTaps(n, m, 1) }

func stepTaps(n, m, half int) []tap {
	t := make([]tap, m)
	for i := range t {
		k := int32((2*i + half) * n / (2 * m))
		t[i] = tap{lo: k, hi: k}
	}
	return t
}

func nearestTaps(g gridFunc) func(n, m int) []tap {
	return func(n, m int) []tap {
		t := make([]tap, m)
		for i := range t {
			k := int32(min(max(math.Floor(g(i, m, float64(n-1))+0.5), 0), float64(n-1)))
			t[i] = tap{lo: k, hi: k}
		}
		return t
	}
}

func linearTaps(g gridFunc) func(n, m int) []tap {
	return func(n, m int) []tap {
		t := make([]tap, m)
		for i := range t {
			t[i] = tapAt(g(i, m, float64(n-1)), n)
		}
		return t
	}
}

// tapAt interpolates at place p of an axis of n elements; beyond the ends it takes the end.
func tapAt(p float64, n int) tap {
	p = min(max(p, 0), float64(n-1))
	lo := math.Floor(p)
	return tap{lo: int32(lo), hi: int32(min(lo+1, float64(n-1))), f: float32(p - lo)}
}

func prepareResize(c *graph.Call, s sizing) graph.Step {
	if c.Out[0].Type.Elements() == 0 {
		return graph.Step{Kernel: c.Op.Name}
	}
	x := c.Shape(0)
	k := len(s.sizes)
	outer, lanes := volume(x[:len(x)-k]), 1
	if c.Out[0].Form == graph.Blocked {
		lanes = c.Lanes()
		outer = volume(physical(c.In[0], lanes)[:2])
	}
	in := x[len(x)-k:]
	taps := make([][]tap, k)
	for i := range taps {
		taps[i] = s.taps(in[i], s.sizes[i])
	}
	if k > 2 {
		return manyLinear(c, outer, lanes, in, taps)
	}
	for len(taps) < 2 {
		taps = append([][]tap{{{}}}, taps...)
		in = append([]int{1}, in...)
	}
	p := plane{outer: outer, lanes: lanes, h: in[0], w: in[1], ys: taps[0], xs: taps[1]}
	if s.nearest {
		return p.nearest(c.Op.Name)
	}
	return p.linear(c.Op.Name, kernels(c))
}
