package chaos_test

import (
	"image"
	"image/color"
)

// picture is an image with something on it.
func picture() image.Image {
	m := image.NewNRGBA(image.Rect(0, 0, 64, 64))
	for y := range 64 {
		for x := range 64 {
			m.Set(x, y, color.NRGBA{uint8(200 + x/4), uint8(y), 40, 255})
		}
	}
	return m
}
