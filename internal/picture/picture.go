// Package picture converts between images and the tensors that Core ML feeds to
// a model whose feature is an image: channels first, values 0 to 255, in the
// declared order of channels. Scale and bias are operations of the program.
package picture

import (
	"fmt"
	"image"
	"math"

	"coreml/internal/fault"
	"coreml/schema"
	"coreml/tensor"

	"golang.org/x/image/draw"
)

// ToTensor gives [1, 3, H, W] or [1, 1, H, W] in float32. An image of a size
// that the constraint does not allow is cropped at its centre to the proportions
// of the nearest that it allows, and scaled. Alpha is left out: the colours are
// those beneath it. They become gray by Rec. 601, and have 8 bits as in Core ML's
// pixel buffers; only GRAYSCALE_FLOAT16 keeps what an image holds beyond them.
func ToTensor(img image.Image, c *schema.ImageConstraint) (*tensor.Tensor, error) {
	if err := Check(img); err != nil {
		return nil, err
	}
	b := img.Bounds()
	w, h := nearest(c, b.Dx(), b.Dy())
	if w <= 0 || h <= 0 || w > maxPixels/h {
		return nil, fmt.Errorf("the model wants an image of %d × %d: %w", w, h, fault.Unsupported)
	}
	if w != b.Dx() || h != b.Dy() {
		img = cropAndScale(img, w, h)
	}
	switch c.ColorSpace {
	case "RGB", "BGR":
		t := tensor.New(tensor.Float32, 1, 3, h, w)
		colours(tensor.Data[float32](t), img, c.ColorSpace == "BGR")
		return t, nil
	case "GRAYSCALE", "GRAYSCALE_FLOAT16":
		t := tensor.New(tensor.Float32, 1, 1, h, w)
		grays(tensor.Data[float32](t), img, c.ColorSpace == "GRAYSCALE_FLOAT16")
		return t, nil
	}
	return nil, fmt.Errorf("colour space %q: %w: want RGB, BGR, GRAYSCALE or GRAYSCALE_FLOAT16", c.ColorSpace, fault.Unsupported)
}

func cropAndScale(img image.Image, w, h int) image.Image {
	b := img.Bounds()
	cw, ch := b.Dx(), b.Dy()
	if cw*h > ch*w {
		cw = max(1, ch*w/h)
	} else {
		ch = max(1, cw*h/w)
	}
	x, y := b.Min.X+(b.Dx()-cw)/2, b.Min.Y+(b.Dy()-ch)/2
	dst := image.NewRGBA64(image.Rect(0, 0, w, h))
	if o, ok := img.(interface{ Opaque() bool }); !ok || !o.Opaque() {
		img = withoutAlpha(img)
	}
	draw.BiLinear.Scale(dst, dst.Bounds(), img, image.Rect(x, y, x+cw, y+ch), draw.Src, nil)
	return dst
}

func colours(dst []float32, img image.Image, bgr bool) {
	b := img.Bounds()
	n := b.Dx() * b.Dy()
	r, g, bl := dst[:n], dst[n:2*n], dst[2*n:]
	if bgr {
		r, bl = bl, r
	}
	from, i := withoutAlpha(img), 0
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			p := from.RGBA64At(x, y)
			r[i], g[i], bl[i] = float32(p.R>>8), float32(p.G>>8), float32(p.B>>8)
			i++
		}
	}
}

// grays has 8 bits, or with fine all 16 on the scale of 8.
func grays(dst []float32, img image.Image, fine bool) {
	b := img.Bounds()
	from, i := withoutAlpha(img), 0
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			p := from.RGBA64At(x, y)
			g := (19595*uint32(p.R) + 38470*uint32(p.G) + 7471*uint32(p.B) + 1<<15) >> 16
			if fine {
				dst[i] = float32(g) / 257
			} else {
				dst[i] = float32(g >> 8)
			}
			i++
		}
	}
}

// FromTensor makes an image of a result of shape [1, 3, H, W] or [1, 1, H, W]:
// *image.NRGBA or *image.Gray, rounded and limited to 0 … 255; for
// GRAYSCALE_FLOAT16 a tensor [H, W], since no image type holds its values.
func FromTensor(data []float32, shape []int, c *schema.ImageConstraint) (any, error) {
	want := 3
	if c.ColorSpace == "GRAYSCALE" || c.ColorSpace == "GRAYSCALE_FLOAT16" {
		want = 1
	}
	if len(shape) < 3 || shape[len(shape)-3] != want {
		return nil, fmt.Errorf("shape %v: %w: want [1, %d, H, W] for an image", shape, fault.Runtime, want)
	}
	h, w := shape[len(shape)-2], shape[len(shape)-1]
	n := h * w
	if len(data) != want*n {
		return nil, fmt.Errorf("shape %v: %w: want one image", shape, fault.Runtime)
	}
	switch c.ColorSpace {
	case "GRAYSCALE_FLOAT16":
		return tensor.Of(append([]float32(nil), data...), h, w), nil
	case "GRAYSCALE":
		img := image.NewGray(image.Rect(0, 0, w, h))
		for i, v := range data {
			img.Pix[i] = pixel(v)
		}
		return img, nil
	}
	r, g, b := data[:n], data[n:2*n], data[2*n:]
	if c.ColorSpace == "BGR" {
		r, b = b, r
	}
	img := image.NewNRGBA(image.Rect(0, 0, w, h))
	for i := range n {
		copy(img.Pix[4*i:], []byte{pixel(r[i]), pixel(g[i]), pixel(b[i]), 255})
	}
	return img, nil
}

func pixel(v float32) byte {
	if !(v > 0) { // NaN too
		return 0
	}
	return byte(min(255, math.RoundToEven(float64(v))))
}
