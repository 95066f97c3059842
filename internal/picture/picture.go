// Package picture converts between images and the tensors that Core ML feeds to
// a model whose feature is an image: channels first, values 0 to 255, in the
// declared order of channels. Scale and bias are operations of the program.
package picture

import (
	"fmt"
	"image"
	"image/color"
	"math"

	"coreml/internal/fault"
	"coreml/internal/mlmodel"
	"coreml/tensor"

	"golang.org/x/image/draw"
)

// maxPixels bounds the images that are converted.
const maxPixels = 64 << 20

// ToTensor gives [1, 3, H, W] or [1, 1, H, W] in float32. An image of a size
// that the constraint does not allow is cropped at its centre to the wanted
// proportions and scaled. Alpha is left out; colours become gray by Rec. 601.
func ToTensor(img image.Image, c *mlmodel.ImageConstraint) (*tensor.Tensor, error) {
	b := img.Bounds()
	if b.Empty() || b.Dx() > maxPixels/b.Dy() {
		return nil, fmt.Errorf("an image of %d × %d: %w: want at most %d pixels", b.Dx(), b.Dy(), fault.Limit, maxPixels)
	}
	w, h := targetSize(c, b.Dx(), b.Dy())
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
		grays(tensor.Data[float32](t), img)
		return t, nil
	}
	return nil, fmt.Errorf("colour space %q: %w: want RGB, BGR, GRAYSCALE or GRAYSCALE_FLOAT16", c.ColorSpace, fault.Unsupported)
}

// targetSize is the allowed size nearest to the image's.
func targetSize(c *mlmodel.ImageConstraint, w, h int) (int, int) {
	for _, s := range c.EnumeratedSizes {
		if s.Width == w && s.Height == h {
			return w, h
		}
	}
	if c.WidthRange != nil && c.HeightRange != nil {
		return clamp(w, *c.WidthRange), clamp(h, *c.HeightRange)
	}
	return c.Width, c.Height
}

func clamp(n int, r mlmodel.Range) int {
	n = max(n, r.Lower)
	if r.Upper != mlmodel.Unbounded {
		n = min(n, r.Upper)
	}
	return n
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
	dst := image.NewNRGBA(image.Rect(0, 0, w, h))
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
	i := 0
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			p := nrgba(img, x, y)
			r[i], g[i], bl[i] = float32(p.R), float32(p.G), float32(p.B)
			i++
		}
	}
}

func nrgba(img image.Image, x, y int) color.NRGBA {
	if m, ok := img.(*image.NRGBA); ok {
		return m.NRGBAAt(x, y)
	}
	return color.NRGBAModel.Convert(img.At(x, y)).(color.NRGBA)
}

func grays(dst []float32, img image.Image) {
	b := img.Bounds()
	i := 0
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			dst[i] = gray(img, x, y)
			i++
		}
	}
}

func gray(img image.Image, x, y int) float32 {
	switch m := img.(type) {
	case *image.Gray:
		return float32(m.GrayAt(x, y).Y)
	case *image.Gray16:
		return float32(m.Gray16At(x, y).Y) / 257
	}
	return float32(color.GrayModel.Convert(img.At(x, y)).(color.Gray).Y)
}

// FromTensor makes an image of a result of shape [1, 3, H, W] or [1, 1, H, W]:
// *image.NRGBA or *image.Gray, rounded and limited to 0 … 255; for
// GRAYSCALE_FLOAT16 a tensor [H, W], since no image type holds its values.
func FromTensor(data []float32, shape []int, c *mlmodel.ImageConstraint) (any, error) {
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
