package ops

import (
	"math"
	"strings"
	"unsafe"

	"coreml/internal/graph"
	"coreml/tensor"
)

// resampleOps read images at places that the run computes.
var resampleOps = []*graph.Op{
	{
		Name: "resample", Doc: "The images of x read at coordinates, which are pairs (x, y) for each pixel of the result.",
		Inputs: []graph.Input{graph.In("x", graph.Float), graph.In("coordinates", graph.Numeric), graph.In("sampling_mode", graph.String),
			graph.In("padding_mode", graph.String), graph.In("padding_value", graph.Float), graph.In("coordinates_mode", graph.String), graph.In("align_corners", graph.Bool)},
		Infer: inferResample, Prepare: prepareResample,
	},
	{
		Name: "affine", Doc: "The images of x under an affine map of the pixels' coordinates, zero outside.",
		Inputs: []graph.Input{graph.In("x", graph.Float), graph.In("transform_matrix", graph.Float), graph.In("output_height", graph.Int), graph.In("output_width", graph.Int),
			graph.In("sampling_mode", graph.String), graph.In("padding_mode", graph.String), graph.In("padding_value", graph.Float),
			graph.In("coordinates_mode", graph.String), graph.In("align_corners", graph.Bool)},
		Infer: inferAffine, Prepare: prepareAffine,
	},
}

// sampler reads one pixel of all channels of an image of h × w.
type sampler struct {
	h, w     int
	bilinear bool
	padding  string
	value    float32
	x, y     linear // bring coordinates into pixels
}

// linear is a·v + b.
type linear struct{ a, b float64 }

func (l linear) of(v float64) float64 { return float64(l.a*v) + l.b }

// newSampler reads the arguments from sampling_mode on, which is argument first.
func newSampler(c *graph.Call, first int) (sampler, error) {
	x := c.Shape(0)
	s := sampler{h: x[2], w: x[3]}
	var word [3]string
	for i, arg := range []int{first, first + 1, first + 3} {
		v, err := c.Str(arg)
		if err != nil {
			return s, err
		}
		word[i] = strings.ToLower(v)
	}
	switch word[0] {
	case "bilinear", "nearest":
		s.bilinear = word[0] == "bilinear"
	default:
		return s, c.Errorf(first, "%q, want bilinear or nearest", word[0])
	}
	switch s.padding = word[1]; s.padding {
	case "constant", "border", "reflection", "symmetric":
	default:
		return s, c.Errorf(first+1, "%q, want constant, border, reflection or symmetric", word[1])
	}
	var err error
	if s.value, err = c.Float(first + 2); err != nil {
		return s, err
	}
	align, err := c.Bool(first + 4)
	if err != nil {
		return s, err
	}
	var ok bool
	s.x, ok = unitOf(word[2], align, float64(s.w))
	s.y, _ = unitOf(word[2], align, float64(s.h))
	if !ok {
		return s, c.Errorf(first+3, "%q, want unnormalized, normalized_minus_one_to_one or normalized_zero_to_one", word[2])
	}
	return s, nil
}

// unitOf turns coordinates of a mode into pixels of an axis of n: the ends of the unit interval
// are the centres of the outer pixels (align), or their outer edges.
func unitOf(mode string, align bool, n float64) (l linear, ok bool) {
	span := n
	if align {
		span = n - 1
	}
	switch mode {
	case "unnormalized":
		return linear{1, 0}, true
	case "normalized_minus_one_to_one":
		return linear{span / 2, (n - 1) / 2}, true
	case "normalized_zero_to_one":
		return linear{span, (n - 1 - span) / 2}, true
	}
	return linear{}, false
}

// fold brings a coordinate outside an axis of n pixels inside, as the padding mode wants.
func (s *sampler) fold(v float64, n int) float64 {
	last := float64(n - 1)
	switch s.padding {
	case "border":
		return min(max(v, 0), last)
	case "reflection":
		if n == 1 {
			return 0
		}
		if v = math.Mod(math.Abs(v), 2*last); v > last {
			v = 2*last - v
		}
	case "symmetric":
		if v = math.Mod(math.Abs(v+0.5), 2*float64(n)); v > float64(n) {
			v = 2*float64(n) - v
		}
		return min(max(v-0.5, 0), last)
	}
	return v
}

// spots are where a run of pixels falls: for each up to four pixels of the image with their weights.
type spots struct {
	at [][4]int32 // -1: outside
	w  [][4]float32
}

// set is where coordinates in pixels fall. Those that are no number fall outside.
func (s *sampler) set(p spots, n int, x, y float64) {
	if s.padding != "constant" {
		x, y = s.fold(x, s.w), s.fold(y, s.h)
	}
	const far = 1 << 30
	if !(x > -far && x < far && y > -far && y < far) {
		x, y = -2, -2
	}
	if !s.bilinear {
		p.at[n] = [4]int32{s.pixel(int(math.RoundToEven(x)), int(math.RoundToEven(y))), -1, -1, -1}
		p.w[n] = [4]float32{1}
		return
	}
	x0, y0 := math.Floor(x), math.Floor(y)
	fx, fy := float32(x-x0), float32(y-y0)
	p.w[n] = [4]float32{(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy}
	i, j := int(x0), int(y0)
	if i >= 0 && j >= 0 && i+1 < s.w && j+1 < s.h {
		k := int32(j*s.w + i)
		p.at[n] = [4]int32{k, k + 1, k + int32(s.w), k + int32(s.w) + 1}
	} else {
		p.at[n] = [4]int32{s.pixel(i, j), s.pixel(i+1, j), s.pixel(i, j+1), s.pixel(i+1, j+1)}
	}
}

func (s *sampler) pixel(x, y int) int32 {
	if x < 0 || y < 0 || x >= s.w || y >= s.h {
		return -1
	}
	return int32(y*s.w + x)
}

// read gives the values of one channel; pad stands for what is outside.
func (p spots) read(dst, channel []float32, pad float32) {
	for i := range dst {
		at, w := &p.at[i], &p.w[i]
		if at[0]|at[1]|at[2]|at[3] >= 0 {
			dst[i] = float32(channel[at[0]]*w[0]) + float32(channel[at[1]]*w[1]) + float32(channel[at[2]]*w[2]) + float32(channel[at[3]]*w[3])
			continue
		}
		v := float32(0)
		for k, a := range at {
			switch {
			case w[k] == 0:
			case a < 0:
				v += float32(pad * w[k])
			default:
				v += float32(channel[a] * w[k])
			}
		}
		dst[i] = v
	}
}

// spotCount is the number of spots that are computed at a time.
const spotCount = 256

// step samples every pixel of the result. place writes the coordinates, as pairs (x, y), of pixels that
// follow each other from column col of a row of the result on. A task takes rows for all channels.
func (s *sampler) step(c *graph.Call, place func(x *graph.Exec, at []float64, batch, row, col int)) graph.Step {
	out := c.Out[0].Type.Shape
	ch, h, w := out[1], out[2], out[3]
	pixels, some := s.h*s.w, min(w, spotCount)
	const each = 16 // bytes of a pair, of four pixels and of four weights
	step := byRows(c.Op.Name, out[0]*h, 8*w*(ch+2), func(x *graph.Exec, r int) {
		at := tensor.View[float64](x.Buf[:each*some])
		p := spots{quads(tensor.View[int32](x.Buf[each*some : 2*each*some])), quads(tensor.View[float32](x.Buf[2*each*some : 3*each*some]))}
		b, row := r/h, r%h
		for lo := 0; lo < w; lo += some {
			n := min(some, w-lo)
			place(x, at[:2*n], b, row, lo)
			for i := range n {
				s.set(p, i, s.x.of(at[2*i]), s.y.of(at[2*i+1]))
			}
			for k := 0; k < ch; k++ {
				channel := x.F32(0)[(b*ch+k)*pixels:][:pixels]
				p.read(x.OutF32(0)[((b*ch+k)*h+row)*w+lo:][:n], channel, s.value)
			}
		}
	})
	step.Scratch = 3 * each * some
	return step
}

// quads views a slice as groups of four.
func quads[T int32 | float32](v []T) [][4]T {
	return unsafe.Slice((*[4]T)(unsafe.Pointer(unsafe.SliceData(v))), len(v)/4)
}

func inferResample(c *graph.Call) ([]graph.Type, error) {
	for arg := 0; arg <= 1; arg++ {
		if err := wantRank(c, arg, 4); err != nil {
			return nil, err
		}
	}
	x, at := c.Shape(0), c.Shape(1)
	if at[0] != x[0] || at[3] != 2 {
		return nil, c.Errorf(1, "shape %v, want [%d, height, width, 2]", at, x[0])
	}
	if _, err := newSampler(c, 2); err != nil {
		return nil, err
	}
	return imageType(c, 1, []int{x[0], x[1], at[1], at[2]})
}

// imageType is the type of images cut out of x, which has to have pixels that an int32 can count.
func imageType(c *graph.Call, arg int, shape []int) ([]graph.Type, error) {
	x := c.Shape(0)
	if x[2] == 0 || x[3] == 0 || x[2] > math.MaxInt32/x[3] {
		return nil, c.Errorf(0, "images of %d × %d, want at least one pixel and less than 2^31", x[2], x[3])
	}
	return typed(c, arg, c.Type(0).DType, shape)
}

func prepareResample(c *graph.Call) (graph.Step, error) {
	s, err := newSampler(c, 2)
	if err != nil {
		return graph.Step{}, err
	}
	grid := c.Shape(1)
	ints := c.Type(1).DType.IsInt()
	return s.step(c, func(x *graph.Exec, at []float64, b, row, col int) {
		k := ((b*grid[1]+row)*grid[2] + col) * 2
		if ints {
			for i, v := range x.I32(1)[k : k+len(at)] {
				at[i] = float64(v)
			}
			return
		}
		for i, v := range x.F32(1)[k : k+len(at)] {
			at[i] = float64(v)
		}
	}), nil
}

func inferAffine(c *graph.Call) ([]graph.Type, error) {
	if err := wantRank(c, 0, 4); err != nil {
		return nil, err
	}
	if err := wantRank(c, 1, 2); err != nil {
		return nil, err
	}
	x, m := c.Shape(0), c.Shape(1)
	if m[0] != 1 && m[0] != x[0] || m[1] != 6 {
		return nil, c.Errorf(1, "shape %v, want [1 or %d, 6]", m, x[0])
	}
	h, err := c.Int(2)
	if err != nil {
		return nil, err
	}
	w, err := c.Int(3)
	if err != nil {
		return nil, err
	}
	if _, err := newSampler(c, 4); err != nil {
		return nil, err
	}
	return imageType(c, 2, []int{x[0], x[1], h, w})
}

func prepareAffine(c *graph.Call) (graph.Step, error) {
	s, err := newSampler(c, 4)
	if err != nil {
		return graph.Step{}, err
	}
	align, err := c.Bool(8)
	if err != nil {
		return graph.Step{}, err
	}
	out, single := c.Out[0].Type.Shape, c.Shape(1)[0] == 1
	return s.step(c, func(x *graph.Exec, at []float64, b, row, col int) {
		if single {
			b = 0
		}
		var m [6]float64
		for i, v := range x.F32(1)[b*6:][:6] {
			m[i] = float64(v)
		}
		gy := signedGrid(row, out[2], align)
		for i := 0; i < len(at); i += 2 {
			gx := signedGrid(col+i/2, out[3], align)
			at[i] = float64(m[0]*gx) + float64(m[1]*gy) + m[2]
			at[i+1] = float64(m[3]*gx) + float64(m[4]*gy) + m[5]
		}
	}), nil
}

// signedGrid is the coordinate in -1 … 1 of pixel i of n.
func signedGrid(i, n int, align bool) float64 {
	switch {
	case !align:
		return float64(2*i+1)/float64(n) - 1
	case n == 1:
		return -1
	}
	return float64(2*i)/float64(n-1) - 1
}
