package vec

// transpose stores dst[c·dstStride+r] = src[r·srcStride+c].
func transpose(dst []float32, dstStride int, src []float32, srcStride, rows, cols int) {
	for c := range cols {
		d := dst[c*dstStride:][:rows]
		for r := range d {
			d[r] = src[r*srcStride+c]
		}
	}
}

// blocked makes the changes of layout from a transpose.
func (f *Funcs) blocked() {
	f.ToBlocked = func(dst, src []float32, channels, pixels, lanes int) {
		for c := 0; c < channels; c += lanes {
			n := min(lanes, channels-c)
			block := dst[c*pixels:][:lanes*pixels]
			if n < lanes {
				clear(block)
			}
			f.Transpose(block, lanes, src[c*pixels:], pixels, n, pixels)
		}
	}
	f.FromBlocked = func(dst, src []float32, channels, pixels, lanes int) {
		for c := 0; c < channels; c += lanes {
			n := min(lanes, channels-c)
			f.Transpose(dst[c*pixels:], pixels, src[c*pixels:], lanes, pixels, n)
		}
	}
}
