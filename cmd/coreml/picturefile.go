package main

import (
	"bufio"
	"fmt"
	"image"
	_ "image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	_ "golang.org/x/image/bmp"
	_ "golang.org/x/image/tiff"
	_ "golang.org/x/image/webp"

	"coreml"
	"coreml/internal/atomicfile"
	"coreml/internal/fault"
	"coreml/tensor"
)

// Limits of a picture, checked before its pixels are decoded.
const (
	maxPixels = 64 << 20
	maxSide   = 16 << 10
)

var pictureEndings = []string{".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp"}

func isPicture(name string) bool {
	return slices.Contains(pictureEndings, strings.ToLower(filepath.Ext(name)))
}

func readPicture(name string) (image.Image, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	c, _, err := image.DecodeConfig(bufio.NewReader(f))
	if err != nil {
		return nil, fmt.Errorf("%s: %w: want a picture: png, jpeg, gif, bmp, tiff or webp", name, err)
	}
	if c.Width <= 0 || c.Height <= 0 || c.Width > maxSide || c.Height > maxSide || c.Width > maxPixels/c.Height {
		return nil, fmt.Errorf("%s: %d × %d: %w: want at most %d a side and %d pixels", name, c.Width, c.Height, fault.Limit, maxSide, maxPixels)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	img, _, err := image.Decode(bufio.NewReader(f))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return img, nil
}

// only is the single output that has type T.
func only[T any](out coreml.Features, want string) (T, error) {
	var found []T
	for _, v := range out {
		if x, ok := v.(T); ok {
			found = append(found, x)
		}
	}
	if len(found) != 1 {
		var none T
		return none, usageError{fmt.Errorf("--output: the model gives %d outputs that are %s, want 1; a .npz file takes all", len(found), want)}
	}
	return found[0], nil
}

func (p *prediction) savePicture(name, ending string) error {
	img, err := only[image.Image](p.out, "a picture")
	if err != nil {
		return err
	}
	return atomicfile.Write(name, func(w io.Writer) error {
		if ending == "png" {
			return png.Encode(w, img)
		}
		return jpeg.Encode(w, img, &jpeg.Options{Quality: 95})
	})
}

func (p *prediction) saveTensor(name string) error {
	t, err := only[*tensor.Tensor](p.out, "a tensor")
	if err != nil {
		return err
	}
	return atomicfile.Write(name, func(w io.Writer) error { return tensor.WriteNpy(w, t) })
}
