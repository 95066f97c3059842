package picture

import (
	"fmt"
	"image"
	"image/color"
	"reflect"

	"coreml/internal/fault"
)

// maxPixels bounds the images that are converted.
const maxPixels = 64 << 20

// Check refuses an image that cannot be read: a nil pointer, one without size or
// of too many pixels, one that has fewer pixels than its bounds say.
func Check(img image.Image) error {
	if v := reflect.ValueOf(img); !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		return fmt.Errorf("a nil image: %w: want pixels", fault.Schema)
	}
	b := img.Bounds()
	w, h := b.Dx(), b.Dy()
	switch {
	case w <= 0 || h <= 0:
		return fmt.Errorf("an image of %d × %d: %w: want pixels", w, h, fault.Schema)
	case w > maxPixels/h:
		return fmt.Errorf("an image of %d × %d: %w: want at most %d pixels", w, h, fault.Limit, maxPixels)
	case !complete(img, b):
		return fmt.Errorf("an image of %d × %d: %w: its slices hold fewer pixels than that", w, h, fault.Schema)
	}
	return nil
}

// complete reports whether an image of the standard library has the memory that its bounds b call for.
func complete(img image.Image, b image.Rectangle) bool {
	switch m := img.(type) {
	case *image.RGBA:
		return rows(m.Pix, m.Stride, 4, b)
	case *image.RGBA64:
		return rows(m.Pix, m.Stride, 8, b)
	case *image.NRGBA:
		return rows(m.Pix, m.Stride, 4, b)
	case *image.NRGBA64:
		return rows(m.Pix, m.Stride, 8, b)
	case *image.Alpha:
		return rows(m.Pix, m.Stride, 1, b)
	case *image.Alpha16:
		return rows(m.Pix, m.Stride, 2, b)
	case *image.Gray:
		return rows(m.Pix, m.Stride, 1, b)
	case *image.Gray16:
		return rows(m.Pix, m.Stride, 2, b)
	case *image.CMYK:
		return rows(m.Pix, m.Stride, 4, b)
	case *image.Paletted:
		return rows(m.Pix, m.Stride, 1, b)
	case *image.YCbCr:
		return planes(m, b)
	case *image.NYCbCrA:
		return planes(&m.YCbCr, b) && rows(m.A, m.AStride, 1, b)
	}
	return true
}

func rows(pix []byte, stride, pixel int, b image.Rectangle) bool {
	row := b.Dx() * pixel
	return stride >= row && len(pix) >= row && (len(pix)-row)/stride >= b.Dy()-1
}

func planes(m *image.YCbCr, b image.Rectangle) bool {
	last := m.COffset(b.Max.X-1, b.Max.Y-1)
	return rows(m.Y, m.YStride, 1, b) && m.CStride > m.COffset(b.Max.X-1, b.Min.Y) && last < len(m.Cb) && last < len(m.Cr)
}

// opaque is an image without its alpha.
type opaque struct {
	image.Image
	wide image.RGBA64Image // the same; nil: it has no such method
}

func withoutAlpha(img image.Image) opaque {
	wide, _ := img.(image.RGBA64Image)
	return opaque{img, wide}
}

func (o opaque) ColorModel() color.Model { return color.RGBA64Model }
func (o opaque) At(x, y int) color.Color { return o.RGBA64At(x, y) }

func (o opaque) RGBA64At(x, y int) color.RGBA64 {
	if o.wide != nil {
		if c := o.wide.RGBA64At(x, y); c.A == 0xffff {
			return c
		}
	}
	return beneath(o.Image.At(x, y))
}

// beneath is a colour as if it were opaque.
func beneath(c color.Color) color.RGBA64 {
	switch c := c.(type) {
	case color.NRGBA:
		return color.RGBA64{R: uint16(c.R) * 0x101, G: uint16(c.G) * 0x101, B: uint16(c.B) * 0x101, A: 0xffff}
	case color.NRGBA64:
		return color.RGBA64{R: c.R, G: c.G, B: c.B, A: 0xffff}
	}
	r, g, b, a := c.RGBA()
	if a == 0 {
		return color.RGBA64{A: 0xffff}
	}
	part := func(v uint32) uint16 { return uint16(min(v, a) * 0xffff / a) } // what it was multiplied by is divided out again
	return color.RGBA64{R: part(r), G: part(g), B: part(b), A: 0xffff}
}
