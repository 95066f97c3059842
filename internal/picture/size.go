package picture

import (
	"fmt"
	"strings"

	"coreml/schema"
)

// Allows reports whether a constraint takes images of a size as they are. One that
// says nothing of sizes does.
func Allows(c *schema.ImageConstraint, w, h int) bool {
	nw, nh := nearest(c, w, h)
	return nw == w && nh == h || nw <= 0 || nh <= 0
}

// nearest is the allowed size that differs least from w × h, in width and height added up.
func nearest(c *schema.ImageConstraint, w, h int) (int, int) {
	if len(c.EnumeratedSizes) == 0 {
		return clamp(w, c.Width, c.WidthRange), clamp(h, c.Height, c.HeightRange)
	}
	differ := func(s schema.ImageSize) int { return distance(s.Width, w) + distance(s.Height, h) }
	best := schema.ImageSize{Width: c.Width, Height: c.Height} // the default is allowed too
	for _, s := range c.EnumeratedSizes {
		if best.Width <= 0 || best.Height <= 0 || differ(s) < differ(best) {
			best = s
		}
	}
	return best.Width, best.Height
}

func distance(a, b int) int { return max(a-b, b-a) }

// clamp is the number nearest to n in a range, or without one the only number.
func clamp(n, only int, r *schema.Range) int {
	if r == nil {
		return only
	}
	n = max(n, r.Lower)
	if r.Upper != schema.Unbounded {
		n = min(n, r.Upper)
	}
	return n
}

// maxListed is how many of the enumerated sizes are named.
const maxListed = 8

// Wants says what a constraint takes: "an image, RGB, 16…96 × 16…96".
func Wants(c *schema.ImageConstraint) string {
	text := "an image, "
	if c.ColorSpace != "" {
		text += c.ColorSpace + ", "
	}
	if len(c.EnumeratedSizes) == 0 {
		return text + span(c.Width, c.WidthRange) + " × " + span(c.Height, c.HeightRange)
	}
	sizes := []string{}
	if c.Width > 0 && c.Height > 0 {
		sizes = append(sizes, fmt.Sprintf("%d × %d", c.Width, c.Height))
	}
	for _, s := range c.EnumeratedSizes {
		if len(sizes) == maxListed {
			sizes = append(sizes, "…")
			break
		}
		if s.Width != c.Width || s.Height != c.Height {
			sizes = append(sizes, fmt.Sprintf("%d × %d", s.Width, s.Height))
		}
	}
	return text + strings.Join(sizes, " or ")
}

func span(only int, r *schema.Range) string {
	if r != nil {
		return r.String()
	}
	return fmt.Sprint(only)
}
