package picture

import (
	"errors"
	"fmt"
	"image"
	"image/color"
	"math"
	"testing"

	"coreml/internal/fault"
	"coreml/schema"
	"coreml/tensor"
)

func constraint(space string, w, h int) *schema.ImageConstraint {
	return &schema.ImageConstraint{ColorSpace: space, Width: w, Height: h}
}

// first are the values of the first pixel.
func first(t *testing.T, img image.Image, c *schema.ImageConstraint) []float32 {
	t.Helper()
	x, err := ToTensor(img, c)
	if err != nil {
		t.Fatal(err)
	}
	d, n := tensor.Data[float32](x), c.Width*c.Height
	out := []float32{}
	for i := 0; i < len(d); i += n {
		out = append(out, d[i])
	}
	return out
}

// filled sets every pixel.
func filled[T interface {
	image.Image
	Set(x, y int, c color.Color)
}](img T, c color.Color) T {
	b := img.Bounds()
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			img.Set(x, y, c)
		}
	}
	return img
}

// TestAlphaIsLeftOut: in every colour space, scaled or not, and from every type that holds the colour beneath.
func TestAlphaIsLeftOut(t *testing.T) {
	under := color.NRGBA{200, 100, 50, 128}
	const luma = 0.299*200 + 0.587*100 + 0.114*50
	for _, size := range []int{8, 16} {
		r := image.Rect(-3, 5, size-3, size+5)
		for _, img := range []image.Image{
			filled(image.NewNRGBA(r), under),
			filled(image.NewNRGBA64(r), under),
			&image.Paletted{Pix: make([]byte, size*size), Stride: size, Rect: r, Palette: color.Palette{under}},
			filled(image.NewRGBA64(r), under), // premultiplied in 16 bits, so that nothing is lost here
		} {
			for _, c := range []struct {
				space string
				want  []float32
				by    float64
			}{{"RGB", []float32{200, 100, 50}, 0}, {"BGR", []float32{50, 100, 200}, 0}, {"GRAYSCALE", []float32{124}, 0}, {"GRAYSCALE_FLOAT16", []float32{luma}, 0.02}} {
				got := first(t, img, constraint(c.space, 8, 8))
				for i := range c.want {
					if len(got) != len(c.want) || math.Abs(float64(got[i]-c.want[i])) > c.by {
						t.Errorf("%T of %d into %s: %v, want %v", img, size, c.space, got, c.want)
						break
					}
				}
			}
		}
	}
}

// TestHiddenColour: what is wholly transparent has the colour beneath where the type holds one, else black.
func TestHiddenColour(t *testing.T) {
	r := image.Rect(0, 0, 16, 16)
	for _, w := range []int{16, 8} {
		if got := first(t, filled(image.NewNRGBA(r), color.NRGBA{1, 2, 3, 0}), constraint("RGB", w, w)); fmt.Sprint(got) != "[1 2 3]" {
			t.Errorf("NRGBA at %d: %v", w, got)
		}
		if got := first(t, image.NewRGBA(r), constraint("RGB", w, w)); fmt.Sprint(got) != "[0 0 0]" {
			t.Errorf("RGBA at %d: %v", w, got)
		}
	}
}

// TestSixteenBits: 8 bits of them reach pixel buffers of 8, all of them GRAYSCALE_FLOAT16.
func TestSixteenBits(t *testing.T) {
	const v = 12345
	for _, size := range []int{8, 16} {
		r := image.Rect(0, 0, size, size)
		for _, img := range []image.Image{filled(image.NewGray16(r), color.Gray16{v}), filled(image.NewNRGBA64(r), color.Gray16{v})} {
			for space, want := range map[string]float32{"RGB": 48, "BGR": 48, "GRAYSCALE": 48, "GRAYSCALE_FLOAT16": float32(v) / 257} {
				if got := first(t, img, constraint(space, 8, 8)); got[0] != want {
					t.Errorf("%T of %d into %s: %v, want %v", img, size, space, got, want)
				}
			}
		}
	}
}

// TestEightBitsAreExact: an opaque image that needs no scaling gives the numbers that it holds.
func TestEightBitsAreExact(t *testing.T) {
	r := image.Rect(0, 0, 256, 1)
	gray, rgb := image.NewGray(r), image.NewRGBA(r)
	for i := range 256 {
		gray.Pix[i] = byte(i)
		rgb.SetRGBA(i, 0, color.RGBA{byte(i), 7, byte(255 - i), 255})
	}
	for _, space := range []string{"RGB", "GRAYSCALE", "GRAYSCALE_FLOAT16"} {
		x, err := ToTensor(gray, constraint(space, 256, 1))
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range tensor.Data[float32](x) {
			if v != float32(i%256) {
				t.Fatalf("gray into %s: element %d is %v", space, i, v)
			}
		}
	}
	x, err := ToTensor(rgb, constraint("BGR", 256, 1))
	if err != nil {
		t.Fatal(err)
	}
	d := tensor.Data[float32](x)
	for i := range 256 {
		if d[i] != float32(255-i) || d[256+i] != 7 || d[512+i] != float32(i) {
			t.Fatalf("pixel %d is %v %v %v", i, d[i], d[256+i], d[512+i])
		}
	}
}

// TestNearestSize: the allowed size that differs least.
func TestNearestSize(t *testing.T) {
	enum := constraint("RGB", 16, 16)
	enum.EnumeratedSizes = []schema.ImageSize{{Width: 16, Height: 16}, {Width: 8, Height: 8}, {Width: 64, Height: 32}}
	ranged := constraint("RGB", 16, 16)
	ranged.WidthRange, ranged.HeightRange = &schema.Range{Lower: 16, Upper: 96}, &schema.Range{Lower: 8, Upper: schema.Unbounded}
	for _, c := range []struct {
		c          *schema.ImageConstraint
		w, h, x, y int
	}{
		{enum, 70, 35, 64, 32}, {enum, 16, 16, 16, 16}, {enum, 8, 8, 8, 8}, {enum, 64, 32, 64, 32}, {enum, 1, 1, 8, 8}, {enum, 20, 20, 16, 16},
		{enum, 12, 12, 16, 16}, {enum, 1000, 1000, 64, 32}, {ranged, 200, 200, 96, 200}, {ranged, 1, 1, 16, 8}, {ranged, 50, 9, 50, 9},
		{constraint("RGB", 5, 6), 70, 35, 5, 6},
	} {
		x, err := ToTensor(image.NewRGBA(image.Rect(0, 0, c.w, c.h)), c.c)
		if err != nil {
			t.Fatal(err)
		}
		if s := x.Shape(); s[3] != c.x || s[2] != c.y {
			t.Errorf("%d × %d becomes %d × %d, want %d × %d of %s", c.w, c.h, s[3], s[2], c.x, c.y, Wants(c.c))
		}
		if got, want := Allows(c.c, c.w, c.h), c.w == c.x && c.h == c.y; got != want {
			t.Errorf("%d × %d is allowed: %v, want %v of %s", c.w, c.h, got, want, Wants(c.c))
		}
	}
	for c, want := range map[*schema.ImageConstraint]string{
		enum: "an image, RGB, 16 × 16 or 8 × 8 or 64 × 32", ranged: "an image, RGB, 16…96 × 8…", constraint("", 5, 6): "an image, 5 × 6"} {
		if got := Wants(c); got != want {
			t.Errorf("wants %q, want %q", got, want)
		}
	}
}

// foreign is an image of somebody else's.
type foreign struct{ image.Rectangle }

func (f *foreign) Bounds() image.Rectangle { return f.Rectangle }

// TestImagesWithoutPixels: none reaches code that would index what is not there.
func TestImagesWithoutPixels(t *testing.T) {
	r := image.Rect(0, 0, 12, 8)
	short := image.NewRGBA(r)
	short.Pix = short.Pix[:len(short.Pix)-1]
	narrow := image.NewGray(r)
	narrow.Stride = 11
	planes := image.NewYCbCr(r, image.YCbCrSubsampleRatio420)
	planes.Cr = planes.Cr[:len(planes.Cr)-1]
	for _, img := range []image.Image{
		nil, (*image.RGBA)(nil), (*image.Gray)(nil), (*image.YCbCr)(nil), (*image.Uniform)(nil), (*foreign)(nil), &foreign{},
		&image.RGBA{Rect: r}, &image.RGBA64{Rect: r}, &image.NRGBA{Rect: r}, &image.NRGBA64{Rect: r}, &image.Alpha{Rect: r},
		&image.Alpha16{Rect: r}, &image.Gray{Rect: r}, &image.Gray16{Rect: r}, &image.CMYK{Rect: r}, &image.Paletted{Rect: r},
		&image.YCbCr{Rect: r}, &image.NYCbCrA{YCbCr: image.YCbCr{Rect: r}}, &image.RGBA{}, short, narrow, planes,
		&image.RGBA{Rect: r, Stride: math.MinInt, Pix: make([]byte, 1000)}, &image.RGBA{Rect: r, Stride: math.MaxInt, Pix: make([]byte, 1000)},
		&image.RGBA{Rect: image.Rectangle{Min: image.Pt(math.MinInt, 0), Max: image.Pt(math.MaxInt, 1)}},
	} {
		for _, c := range []*schema.ImageConstraint{constraint("RGB", 12, 8), constraint("GRAYSCALE", 5, 5)} {
			if _, err := ToTensor(img, c); !errors.Is(err, fault.Schema) {
				t.Errorf("%T: %v, want %v", img, err, fault.Schema)
			}
		}
	}
	for _, img := range []image.Image{image.NewUniform(color.White), &image.RGBA{Rect: image.Rect(0, 0, 1<<20, 1<<20)}} {
		if _, err := ToTensor(img, constraint("RGB", 12, 8)); !errors.Is(err, fault.Limit) {
			t.Errorf("%T: %v, want %v", img, err, fault.Limit)
		}
	}
}

// TestPartOfAnImage: what SubImage gives ends with the pixels of the whole, and is complete.
func TestPartOfAnImage(t *testing.T) {
	whole := image.Rect(-7, -7, 40, 30)
	for _, img := range []interface {
		SubImage(image.Rectangle) image.Image
	}{
		image.NewRGBA(whole), image.NewNRGBA(whole), image.NewGray16(whole), image.NewPaletted(whole, color.Palette{color.Black}),
		image.NewYCbCr(whole, image.YCbCrSubsampleRatio444), image.NewYCbCr(whole, image.YCbCrSubsampleRatio420),
		image.NewYCbCr(whole, image.YCbCrSubsampleRatio410), image.NewNYCbCrA(whole, image.YCbCrSubsampleRatio422),
	} {
		for x := -7; x < 39; x += 5 {
			for y := -7; y < 29; y += 3 {
				part := img.SubImage(image.Rect(x, y, 40, 30))
				if err := Check(part); err != nil {
					t.Fatalf("%T from %d, %d: %v", img, x, y, err)
				}
			}
		}
	}
}
