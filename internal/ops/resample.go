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

// spot is up to four pixels of an image with their weights; -1: outside.
type spot struct {
	at     [4]int32
	w      [4]float32
	inside bool // all four are
}

// spotAt is where coordinates in pixels fall. Those that are no number fall outside.
func (s *sampler) spotAt(x, y float64) spot {
	if s.padding != "constant" {
		x, y = s.fold(x, s.w), s.fold(y, s.h)
	}
	const far = 1 << 30
	if !(x > -far && x < far && y > -far && y < far) {
		x, y = -2, -2
	}
	if !s.bilinear {
		return spot{at: [4]int32{s.pixel(int(math.RoundToEven(x)), int(math.RoundToEven(y))), -1, -1, -1}, w: [4]float32{1}}
	}
	x0, y0 := math.Floor(x), math.Floor(y)
	fx, fy := float32(x-x0), float32(y-y0)
	p := spot{w: [4]float32{(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy}}
	i, j := int(x0), int(y0)
	if p.inside = i >= 0 && j >= 0 && i+1 < s.w && j+1 < s.h; p.inside {
		k := int32(j*s.w + i)
		p.at = [4]int32{k, k + 1, k + int32(s.w), k + int32(s.w) + 1}
	} else {
		p.at = [4]int32{s.pixel(i, j), s.pixel(i+1, j), s.pixel(i, j+1), s.pixel(i+1, j+1)}
	}
	return p
}

func (s *sampler) pixel(x, y int) int32 {
	if x < 0 || y < 0 || x >= s.w || y >= s.h {
		return -1
	}
	return int32(y*s.w + x)
}

// read is the value at a spot of one channel; pad stands for what is outside.
func (p *spot) read(channel []float32, pad float32) float32 {
	if p.inside {
		return float32(channel[p.at[0]]*p.w[0]) + float32(channel[p.at[1]]*p.w[1]) + float32(channel[p.at[2]]*p.w[2]) + float32(channel[p.at[3]]*p.w[3])
	}
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

// spotCount is the number of spots that a task computes at a time.
const spotCount = 64

// step samples every pixel of the result. place writes the coordinates, as pairs (x, y), of pixels that
// follow each other from column col of a row of the result on. A task takes rows for all channels.
func (s *sampler) step(c *graph.Call, place func(x *graph.Exec, at [][2]float64, batch, row, col int)) graph.Step {
	out := c.Out[0].Type.Shape
	ch, h, w := out[1], out[2], out[3]
	pixels := s.h * s.w
	return byRows(c.Op.Name, out[0]*h, 8*w*(ch+2), func(x *graph.Exec, r int) {
		var at [spotCount][2]float64
		var spots [spotCount]spot
		b, row := r/h, r%h
		for lo := 0; lo < w; lo += spotCount {
			n := min(spotCount, w-lo)
			place(x, at[:n], b, row, lo)
			for i := range n {
				spots[i] = s.spotAt(s.x.of(at[i][0]), s.y.of(at[i][1]))
			}
			for k := 0; k < ch; k++ {
				channel := x.F32(0)[(b*ch+k)*pixels:][:pixels]
				dst := x.OutF32(0)[((b*ch+k)*h+row)*w+lo:][:n]
				for i := range dst {
					dst[i] = spots[i].read(channel, s.value)
				}
			}
		}
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
	grid := c.Shape(1)
	ints := c.Type(1).DType.IsInt()
	return s.step(c, func(x *graph.Exec, at [][2]float64, b, row, col int) {
		k := ((b*grid[1]+row)*grid[2] + col) * 2
		for i := range at {
			if ints {
				v := x.I32(1)[k+2*i:][:2]
				at[i] = [2]float64{float64(v[0]), float64(v[1])}
			} else {
				v := x.F32(1)[k+2*i:][:2]
				at[i] = [2]float64{float64(v[0]), float64(v[1])}
			}
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
	return s.step(c, func(x *graph.Exec, at [][2]float64, b, row, col int) {
		if single {
			b = 0
		}
		m := x.F32(1)[b*6:][:6]
		gy := signedGrid(row, out[2], align)
		for i := range at {
			gx := signedGrid(col+i, out[3], align)
			for k := range 2 {
				a := m[3*k:][:3]
				at[i][k] = float64(float64(a[0])*gx) + float64(float64(a[1])*gy) + float64(a[2])
			}
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
