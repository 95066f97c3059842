package ops

import (
	"coreml/internal/graph"
)

// cropResizeOps cut boxes out of images and bring them to one size.
var cropResizeOps = []*graph.Op{
	cropResizer(0, cropROI, graph.In("roi", graph.Float), graph.Opt("box_indices", graph.Int)),
	cropResizer(graph.IOS17, cropBoxes, graph.In("boxes", graph.Numeric), graph.Opt("box_indices", graph.Int)),
}

// cropping is one definition's reading of the boxes.
type cropping struct {
	boxes int   // number of boxes
	each  int   // numbers of a box
	shape []int // of the result
	// image is the index of the image that crop k of the result comes from, and box the index of its box.
	image func(x *graph.Exec, k int) (image int32, box int)
}

// The arguments of crop_resize. In the definition before iOS 17, index is never given.
const (
	cropX = iota
	cropBox
	cropIndex
	cropHeight
	cropWidth
	cropNormalized
	cropScale
	cropCoordinates
	cropSampling
	cropPad
)

func cropResizer(first graph.Opset, read func(*graph.Call, int, int) (cropping, error), boxes, index graph.Input) *graph.Op {
	return &graph.Op{
		Name: "crop_resize", Since: first, Doc: "The boxes cut out of the images of x and brought to one size, interpolated linearly.",
		Inputs: []graph.Input{graph.In("x", graph.Float), boxes, index,
			graph.Def("target_height", graph.Int, 1), graph.Def("target_width", graph.Int, 1), graph.Def("normalized_coordinates", graph.Bool, false),
			graph.Def("spatial_scale", graph.Float, 1.0), graph.Def("box_coordinate_mode", graph.String, "CORNERS_HEIGHT_FIRST"),
			graph.Def("sampling_mode", graph.String, "DEFAULT"), graph.Def("pad_value", graph.Float, 0.0)},
		Infer: func(c *graph.Call) ([]graph.Type, error) {
			if err := wantRank(c, cropX, 4); err != nil {
				return nil, err
			}
			p, err := newCropPlan(c, read)
			if err != nil {
				return nil, err
			}
			return imageType(c, cropHeight, p.shape)
		},
		Prepare: func(c *graph.Call) (graph.Step, error) {
			p, err := newCropPlan(c, read)
			if err != nil {
				return graph.Step{}, err
			}
			return p.step(c), nil
		},
	}
}

// cropROI: roi is [n, 1, 4 or 5, 1, 1]; the first of five numbers is the image,
// with four every image is cut. The result is [n, 1 or batch, c, h, w].
func cropROI(c *graph.Call, h, w int) (cropping, error) {
	x, roi := c.Shape(cropX), c.Shape(cropBox)
	if len(roi) != 5 || roi[1] != 1 || roi[2] != 4 && roi[2] != 5 || roi[3] != 1 || roi[4] != 1 {
		return cropping{}, c.Errorf(cropBox, "shape %v, want [n, 1, 4 or 5, 1, 1]", roi)
	}
	if c.Given(cropIndex) {
		return cropping{}, c.Errorf(cropIndex, "not an input before iOS 17")
	}
	p := cropping{boxes: roi[0], each: roi[2], shape: []int{roi[0], x[0], x[1], h, w}}
	if p.each == 4 {
		p.image = func(_ *graph.Exec, k int) (int32, int) { return int32(k % x[0]), k / x[0] }
		return p, nil
	}
	p.shape[1] = 1
	p.image = func(e *graph.Exec, k int) (int32, int) { return int32(e.F32(cropBox)[k*5]), k }
	return p, nil
}

// cropBoxes: boxes are [n, 4], box_indices the image of each. The result is [n, c, h, w].
func cropBoxes(c *graph.Call, h, w int) (cropping, error) {
	x, b := c.Shape(cropX), c.Shape(cropBox)
	if len(b) != 2 || b[1] != 4 {
		return cropping{}, c.Errorf(cropBox, "shape %v, want [n, 4]", b)
	}
	p := cropping{boxes: b[0], each: 4, shape: []int{b[0], x[1], h, w}}
	if !c.Given(cropIndex) {
		if b[0] > x[0] {
			return p, c.Errorf(cropIndex, "absent, but there are %d boxes for %d images", b[0], x[0])
		}
		p.image = func(_ *graph.Exec, k int) (int32, int) { return int32(k), k }
		return p, nil
	}
	if n := volume(c.Shape(cropIndex)); n != b[0] {
		return p, c.Errorf(cropIndex, "%d values, want one for each of the %d boxes", n, b[0])
	}
	at := c.At(cropIndex)
	p.image = func(e *graph.Exec, k int) (int32, int) { return e.I32(at)[k], k }
	return p, nil
}

// cropPlan is everything that crop_resize knows before the run.
type cropPlan struct {
	cropping
	h, w, outH, outW     int
	normalized, ints     bool
	scale                float64
	widthFirst, centered bool
	grid                 gridFunc
	pad                  float32
}

func newCropPlan(c *graph.Call, read func(*graph.Call, int, int) (cropping, error)) (*cropPlan, error) {
	x := c.Shape(cropX)
	p := &cropPlan{h: x[2], w: x[3], ints: c.Type(cropBox).DType.IsInt()}
	var err error
	if p.outH, err = c.Int(cropHeight); err != nil {
		return nil, err
	}
	if p.outW, err = c.Int(cropWidth); err != nil {
		return nil, err
	}
	if p.cropping, err = read(c, p.outH, p.outW); err != nil {
		return nil, err
	}
	if p.normalized, err = c.Bool(cropNormalized); err != nil {
		return nil, err
	}
	scale, err := c.Float(cropScale)
	if err != nil {
		return nil, err
	}
	p.scale = float64(scale)
	if p.pad, err = c.Float(cropPad); err != nil {
		return nil, err
	}
	mode, err := c.Str(cropCoordinates)
	if err != nil {
		return nil, err
	}
	switch mode {
	case "CORNERS_HEIGHT_FIRST":
	case "CORNERS_WIDTH_FIRST":
		p.widthFirst = true
	case "CENTER_SIZE_HEIGHT_FIRST":
		p.centered = true
	case "CENTER_SIZE_WIDTH_FIRST":
		p.widthFirst, p.centered = true, true
	default:
		return nil, c.Errorf(cropCoordinates, "%q, want CORNERS_ or CENTER_SIZE_ with HEIGHT_FIRST or WIDTH_FIRST", mode)
	}
	p.grid, err = gridOf(c, cropSampling)
	return p, err
}

// ends are the first and the last row and column of a box, in pixels.
func (p *cropPlan) ends(x *graph.Exec, k int) (y0, x0, y1, x1 float64) {
	var v [4]float64
	for i := range v {
		at := (k+1)*p.each - 4 + i
		if p.ints {
			v[i] = float64(x.I32(cropBox)[at])
		} else {
			v[i] = float64(x.F32(cropBox)[at])
		}
		v[i] *= p.scale
	}
	if p.widthFirst {
		v[0], v[1], v[2], v[3] = v[1], v[0], v[3], v[2]
	}
	if p.centered {
		v[0], v[1], v[2], v[3] = v[0]-v[2]/2, v[1]-v[3]/2, v[0]+v[2]/2, v[1]+v[3]/2
	}
	if p.normalized {
		h, w := float64(p.h-1), float64(p.w-1)
		v[0], v[1], v[2], v[3] = v[0]*h, v[1]*w, v[2]*h, v[3]*w
	}
	return v[0], v[1], v[2], v[3]
}

// tap is where point i of m between first and last falls in an axis of n
// pixels; lo is -1 outside the image.
func (p *cropPlan) tap(i, m, n int, first, last float64) tap {
	v := first + p.grid(i, m, last-first)
	if !(v >= 0 && v <= float64(n-1)) {
		return tap{lo: -1}
	}
	return tapAt(v, n)
}

// step treats one row of one crop, all its channels, as a task.
func (p *cropPlan) step(c *graph.Call) graph.Step {
	x := c.Shape(cropX)
	batch, ch, pixels := x[0], x[1], p.h*p.w
	crops := volume(p.shape[:len(p.shape)-3])
	return graph.Parallel(c.Op.Name, crops*p.outH, func(e *graph.Exec, task int) error {
		k, row := task/p.outH, task%p.outH
		image, box := p.image(e, k)
		if image < 0 || int(image) >= batch {
			return indexError(c.Op.Inputs[cropIndex].Name, image, batch)
		}
		y0, x0, y1, x1 := p.ends(e, box)
		y := p.tap(row, p.outH, p.h, y0, y1)
		for i := 0; i < p.outW; i++ {
			t := p.tap(i, p.outW, p.w, x0, x1)
			for q := 0; q < ch; q++ {
				v := p.pad
				if t.lo >= 0 && y.lo >= 0 {
					v = between(e.F32(cropX)[(int(image)*ch+q)*pixels:][:pixels], p.w, y, t)
				}
				e.OutF32(0)[((k*ch+q)*p.outH+row)*p.outW+i] = v
			}
		}
		return nil
	})
}

// between interpolates between four pixels of one channel.
func between(channel []float32, w int, y, x tap) float32 {
	row := func(k int32) float32 {
		r := channel[int(k)*w:]
		return float32(r[x.lo]*(1-x.f)) + float32(r[x.hi]*x.f)
	}
	return float32(row(y.lo)*(1-y.f)) + float32(row(y.hi)*y.f)
}
