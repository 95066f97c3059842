package backend

import (
	"fmt"
	"image"
	"image/draw"
	"maps"
	"slices"

	"coreml/internal/fault"
	"coreml/internal/picture"
	"coreml/tensor"
)

// cloneFeatures copies a set of features, so that it outlives the call that brought it.
func cloneFeatures(f tensor.Features) tensor.Features {
	if f == nil {
		return nil
	}
	out := make(tensor.Features, len(f))
	for name, v := range f {
		out[name] = cloneValue(v)
	}
	return out
}

func cloneAll(all []tensor.Features) []tensor.Features {
	out := make([]tensor.Features, len(all))
	for i, f := range all {
		out[i] = cloneFeatures(f)
	}
	return out
}

func cloneValue(v any) any {
	switch v := v.(type) {
	case *tensor.Tensor:
		if v == nil {
			return v
		}
		return v.Clone()
	case image.Image:
		return cloneImage(v)
	case map[string]float64:
		return maps.Clone(v)
	case map[int64]float64:
		return maps.Clone(v)
	case []string:
		return slices.Clone(v)
	case []int64:
		return slices.Clone(v)
	}
	return v // numbers and texts; what else there is, is refused by whoever runs it
}

// maxClonedPixels is more than any model takes.
const maxClonedPixels = 1 << 28

// cloneImage copies pixels in their own type where the standard library has it. An
// image that cannot be read is left for whoever runs it to refuse.
func cloneImage(img image.Image) (out image.Image) {
	defer func() {
		if recover() != nil {
			out = img
		}
	}()
	switch m := img.(type) {
	case *image.NRGBA:
		c := *m
		c.Pix = slices.Clone(m.Pix)
		return &c
	case *image.RGBA:
		c := *m
		c.Pix = slices.Clone(m.Pix)
		return &c
	case *image.Gray:
		c := *m
		c.Pix = slices.Clone(m.Pix)
		return &c
	case *image.YCbCr:
		c := *m
		c.Y, c.Cb, c.Cr = slices.Clone(m.Y), slices.Clone(m.Cb), slices.Clone(m.Cr)
		return &c
	case *image.Uniform:
		return m
	}
	if b := img.Bounds(); int64(b.Dx())*int64(b.Dy()) > maxClonedPixels {
		return img // an image without end, or one that every backend refuses
	}
	c := image.NewRGBA64(img.Bounds()) // holds whatever At can say
	draw.Draw(c, c.Rect, img, c.Rect.Min, draw.Src)
	return c
}

// checkImages refuses images that cannot be read before any is written.
func checkImages(in tensor.Features) (err error) {
	name := ""
	defer func() { // of somebody's own image type
		if p := recover(); p != nil {
			err = fmt.Errorf("input %s: an image: %w: it cannot be read: %v", fault.Quote(name), fault.Schema, p)
		}
	}()
	for n, v := range in {
		img, ok := v.(image.Image)
		if name = n; !ok {
			continue
		}
		if err := picture.Check(img); err != nil {
			return fmt.Errorf("input %s: %w", fault.Quote(name), err)
		}
	}
	return nil
}

// private is a job with copies of everything that the caller owns.
func (j *Job) private(st State) *Job {
	return &Job{In: cloneAll(j.In), Out: j.room(true), State: st}
}

// borrowed is a job that works on the caller's tensors, in maps of its own.
func (j *Job) borrowed(st State) *Job {
	return &Job{In: j.In, Out: j.room(false), State: st}
}

// room is Out in new maps, with the given tensors or with others of their type and shape.
func (j *Job) room(fresh bool) []tensor.Features {
	out := make([]tensor.Features, len(j.In))
	for i := range out {
		out[i] = tensor.Features{}
		if i >= len(j.Out) {
			continue
		}
		for name, v := range j.Out[i] {
			t, ok := v.(*tensor.Tensor)
			if !ok || t == nil {
				continue
			}
			if fresh {
				t = t.Clone()
			}
			out[i][name] = t
		}
	}
	return out
}

// publish gives the results of another job to the caller of j.
func (j *Job) publish(from *Job) {
	for i, results := range from.Out {
		if j.Out[i] == nil {
			j.Out[i] = tensor.Features{}
		}
		for name, v := range results {
			if t, ok := v.(*tensor.Tensor); ok {
				given, _ := j.Out[i][name].(*tensor.Tensor)
				if given != nil && given != t && given.DType() == t.DType() && tensor.EqualShape(given.Shape(), t.Shape()) {
					copy(given.Bytes(), t.Bytes())
					continue
				}
			}
			j.Out[i][name] = v
		}
	}
}
