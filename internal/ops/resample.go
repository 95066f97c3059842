package ops

import (
	"math"
	"strings"

	"coreml/internal/graph"
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
	unit     func(v float64, n int) float64 // brings a coordinate into pixels
}

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
	s.unit = unitOf(word[2], align)
	if s.unit == nil {
		return s, c.Errorf(first+3, "%q, want unnormalized, normalized_minus_one_to_one or normalized_zero_to_one", word[2])
	}
	return s, nil
}

// unitOf turns coordinates of a mode into pixels: the ends of the unit interval
// are the centres of the outer pixels (align), or their outer edges.
func unitOf(mode string, align bool) func(v float64, n int) float64 {
	signed := func(v float64, n int) float64 {
		if align {
			return (v + 1) / 2 * float64(n-1)
		}
		return ((v+1)*float64(n) - 1) / 2
	}
	switch mode {
	case "unnormalized":
		return func(v float64, _ int) float64 { return v }
	case "normalized_minus_one_to_one":
		return signed
	case "normalized_zero_to_one":
		return func(v float64, n int) float64 { return signed(2*v-1, n) }
	}
	return nil
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

// spot is up to four pixels of an image with their weights; -1: outside.
type spot struct {
	at [4]int32
	w  [4]float32
}

// spotAt is where coordinates in pixels fall. Those that are no number fall outside.
func (s *sampler) spotAt(x, y float64) spot {
	x, y = s.fold(x, s.w), s.fold(y, s.h)
	const far = 1 << 30
	if !(x > -far && x < far && y > -far && y < far) {
		x, y = -2, -2
	}
	if !s.bilinear {
		return spot{at: [4]int32{s.pixel(math.RoundToEven(x), math.RoundToEven(y)), -1, -1, -1}, w: [4]float32{1}}
	}
	x0, y0 := math.Floor(x), math.Floor(y)
	fx, fy := float32(x-x0), float32(y-y0)
	return spot{
		at: [4]int32{s.pixel(x0, y0), s.pixel(x0+1, y0), s.pixel(x0, y0+1), s.pixel(x0+1, y0+1)},
		w:  [4]float32{(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy},
	}
}

func (s *sampler) pixel(x, y float64) int32 {
	if x < 0 || y < 0 || x >= float64(s.w) || y >= float64(s.h) {
		return -1
	}
	return int32(int(y)*s.w + int(x))
}

// read is the value at a spot of one channel; pad stands for what is outside.
func (p *spot) read(channel []float32, pad float32) float32 {
	v := float32(0)
	for i, at := range p.at {
		if p.w[i] == 0 {
			continue
		}
		if at < 0 {
			v += float32(pad * p.w[i])
		} else {
			v += float32(channel[at] * p.w[i])
		}
	}
	return v
}

// spotScratch is the number of spots that a task computes at a time.
const spotScratch = 256

// step samples every pixel of the result, whose coordinates place gives; a task
// takes one row for all channels.
func (s *sampler) step(c *graph.Call, place func(x *graph.Exec, batch, row, col int) (float64, float64)) graph.Step {
	out := c.Out[0].Type.Shape
	ch, h, w := out[1], out[2], out[3]
	pixels := s.h * s.w
	return graph.Parallel(c.Op.Name, out[0]*h, func(x *graph.Exec, task int) error {
		var spots [spotScratch]spot
		b, row := task/h, task%h
		for lo := 0; lo < w; lo += spotScratch {
			n := min(spotScratch, w-lo)
			for i := range spots[:n] {
				spots[i] = s.spotAt(place(x, b, row, lo+i))
			}
			for k := 0; k < ch; k++ {
				channel := x.F32(0)[(b*ch+k)*pixels:][:pixels]
				dst := x.OutF32(0)[((b*ch+k)*h+row)*w+lo:][:n]
				for i := range dst {
					dst[i] = spots[i].read(channel, s.value)
				}
			}
		}
		return nil
	})
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
	at := c.Shape(1)
	ints := c.Type(1).DType.IsInt()
	return s.step(c, func(x *graph.Exec, b, row, col int) (float64, float64) {
		k := ((b*at[1]+row)*at[2] + col) * 2
		if ints {
			v := x.I32(1)[k : k+2]
			return s.unit(float64(v[0]), s.w), s.unit(float64(v[1]), s.h)
		}
		v := x.F32(1)[k : k+2]
		return s.unit(float64(v[0]), s.w), s.unit(float64(v[1]), s.h)
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
	return s.step(c, func(x *graph.Exec, b, row, col int) (float64, float64) {
		if single {
			b = 0
		}
		m := x.F32(1)[b*6:][:6]
		gx, gy := signedGrid(col, out[3], align), signedGrid(row, out[2], align)
		at := func(a []float32) float64 {
			return float64(float64(a[0])*gx) + float64(float64(a[1])*gy) + float64(a[2])
		}
		return s.unit(at(m[:3]), s.w), s.unit(at(m[3:]), s.h)
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
