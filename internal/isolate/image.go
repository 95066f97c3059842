package isolate

import (
	"fmt"
	"image"

	"coreml/internal/fault"
)

// The image types that cross as they are. Others become RGBA64, which holds
// whatever image.Image can say about a pixel.
const (
	picRGBA64 = iota
	picRGBA
	picNRGBA
	picNRGBA64
	picGray
	picGray16
	picCMYK
	picYCbCr // + its image.YCbCrSubsampleRatio
)

// maxSide bounds an image in a message.
const maxSide = 1 << 20

// raster is an image of one slice, which all but YCbCr are.
type raster struct {
	kind   byte
	pix    []byte
	stride int
	bpp    int
}

func rasterOf(img image.Image) (raster, bool) {
	switch m := img.(type) {
	case *image.RGBA64:
		return raster{picRGBA64, m.Pix, m.Stride, 8}, true
	case *image.RGBA:
		return raster{picRGBA, m.Pix, m.Stride, 4}, true
	case *image.NRGBA:
		return raster{picNRGBA, m.Pix, m.Stride, 4}, true
	case *image.NRGBA64:
		return raster{picNRGBA64, m.Pix, m.Stride, 8}, true
	case *image.Gray:
		return raster{picGray, m.Pix, m.Stride, 1}, true
	case *image.Gray16:
		return raster{picGray16, m.Pix, m.Stride, 2}, true
	case *image.CMYK:
		return raster{picCMYK, m.Pix, m.Stride, 4}, true
	}
	return raster{}, false
}

// newRaster is an empty image of the kind; nil if there is no such kind.
func newRaster(kind byte, r image.Rectangle) image.Image {
	switch kind {
	case picRGBA64:
		return image.NewRGBA64(r)
	case picRGBA:
		return image.NewRGBA(r)
	case picNRGBA:
		return image.NewNRGBA(r)
	case picNRGBA64:
		return image.NewNRGBA64(r)
	case picGray:
		return image.NewGray(r)
	case picGray16:
		return image.NewGray16(r)
	case picCMYK:
		return image.NewCMYK(r)
	}
	return nil
}

// imageSize bounds the shared memory of an image; Encoder.image refuses what is too large.
func imageSize(img image.Image) int {
	b := img.Bounds()
	if tooLarge(b) {
		return 0
	}
	bpp := 8
	if r, ok := rasterOf(img); ok {
		bpp = r.bpp
	} else if _, ok := img.(*image.YCbCr); ok {
		bpp = 6 // odd sizes round each plane up
	}
	return aligned(b.Dx()*b.Dy()*bpp) + 3*align
}

func tooLarge(b image.Rectangle) bool {
	return b.Dx() > maxSide || b.Dy() > maxSide || int64(b.Dx())*int64(b.Dy()) > 1<<32
}

func (e *Encoder) image(img image.Image) (err error) {
	defer func() { // of somebody's own image type
		if p := recover(); p != nil {
			err = fmt.Errorf("an image: %w: it cannot be read: %v", fault.Schema, p)
		}
	}()
	b := img.Bounds()
	if tooLarge(b) {
		return fmt.Errorf("an image of %v: %w: want sides of at most %d", b, fault.Limit, maxSide)
	}
	if m, ok := img.(*image.YCbCr); ok {
		return e.planes(m)
	}
	r, ok := rasterOf(img)
	if !ok {
		full := image.NewRGBA64(b)
		for y := b.Min.Y; y < b.Max.Y; y++ {
			for x := b.Min.X; x < b.Max.X; x++ {
				full.Set(x, y, img.At(x, y))
			}
		}
		r, _ = rasterOf(full)
	}
	e.Byte(r.kind)
	e.rect(b)
	row := b.Dx() * r.bpp
	to, err := e.reserve(row * b.Dy())
	if err != nil {
		return err
	}
	for y := range b.Dy() {
		copy(to[y*row:(y+1)*row], r.pix[y*r.stride:])
	}
	return nil
}

// planes writes an image as JPEG files hold it, with the strides that image.NewYCbCr gives.
func (e *Encoder) planes(m *image.YCbCr) error {
	b := m.Rect
	c := image.NewYCbCr(b, m.SubsampleRatio)
	for y := b.Min.Y; y < b.Max.Y && !b.Empty(); y++ {
		copy(c.Y[c.YOffset(b.Min.X, y):][:b.Dx()], m.Y[m.YOffset(b.Min.X, y):])
		from, to := m.COffset(b.Min.X, y), c.COffset(b.Min.X, y)
		copy(c.Cb[to:to+c.CStride], m.Cb[from:])
		copy(c.Cr[to:to+c.CStride], m.Cr[from:])
	}
	e.Byte(picYCbCr + byte(m.SubsampleRatio))
	e.rect(b)
	for _, p := range [][]byte{c.Y, c.Cb, c.Cr} {
		to, err := e.reserve(len(p))
		if err != nil {
			return err
		}
		copy(to, p)
	}
	return nil
}

func (e *Encoder) rect(b image.Rectangle) {
	for _, n := range []int{b.Min.X, b.Min.Y, b.Max.X, b.Max.Y} {
		e.Int(int64(n))
	}
}

// image reads an image to memory of its own.
func (d *Decoder) image() any {
	kind := d.Byte()
	var c [4]int
	for i := range c {
		c[i] = int(d.Int())
	}
	b := image.Rectangle{Min: image.Pt(c[0], c[1]), Max: image.Pt(c[2], c[3])}
	area := int64(b.Dx()) * int64(b.Dy())
	// The pixels are in the slot, so that nothing larger than it is allocated.
	if d.err == nil && (b.Dx() < 0 || b.Dy() < 0 || tooLarge(b) || area > int64(len(d.mem))) {
		d.fail("an image of %v in a slot of %d bytes", b, len(d.mem))
	}
	if d.err != nil {
		return nil
	}
	if kind >= picYCbCr {
		if kind > picYCbCr+byte(image.YCbCrSubsampleRatio410) {
			d.fail("an image of kind %d", kind)
			return nil
		}
		m := image.NewYCbCr(b, image.YCbCrSubsampleRatio(kind-picYCbCr))
		for _, p := range [][]byte{m.Y, m.Cb, m.Cr} {
			from, _ := d.place(len(p))
			copy(p, from)
		}
		return m
	}
	m := newRaster(kind, b)
	r, _ := rasterOf(m)
	from, _ := d.place(len(r.pix))
	copy(r.pix, from)
	return m
}
