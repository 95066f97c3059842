package vec

import "unsafe"

// transpose stores dst[c·dstStride+r] = src[r·srcStride+c].
func transpose(dst []float32, dstStride int, src []float32, srcStride, rows, cols int) {
	if rows == 0 {
		return
	}
	for c := range cols {
		d := dst[c*dstStride:][:rows]
		for r := range d {
			d[r] = src[r*srcStride+c]
		}
	}
}

// tiling is a kernel for square tiles that lie beside each other in src; strides in bytes.
type tiling struct {
	side int
	run  func(dst unsafe.Pointer, dstStride int, src unsafe.Pointer, srcStride, tiles int)
}

// tilesPerCall bounds the time of a call where every line misses the caches.
const tilesPerCall = 32

// transposer does what fits the tiles of the first kernel with it, the edges with the others.
func transposer(ts ...tiling) func(dst []float32, dstStride int, src []float32, srcStride, rows, cols int) {
	if len(ts) == 0 {
		return transpose
	}
	t, edges := ts[0], transposer(ts[1:]...)
	return func(dst []float32, dstStride int, src []float32, srcStride, rows, cols int) {
		if rows == 0 || cols == 0 {
			return
		}
		dst, src = dst[:(cols-1)*dstStride+rows], src[:(rows-1)*srcStride+cols]
		r, c := rows/t.side*t.side, cols/t.side*t.side
		for row := 0; row < r; row += t.side {
			for col := 0; col < c; col += t.side * tilesPerCall {
				n := min((c-col)/t.side, tilesPerCall)
				t.strip(dst[col*dstStride+row:], dstStride, src[row*srcStride+col:], srcStride, n)
			}
		}
		if c < cols {
			edges(dst[c*dstStride:], dstStride, src[c:], srcStride, r, cols-c)
		}
		if r < rows {
			edges(dst[r:], dstStride, src[r*srcStride:], srcStride, rows-r, cols)
		}
	}
}

// strip is not inlined: see kernel.call.
//
//go:noinline
func (t tiling) strip(dst []float32, dstStride int, src []float32, srcStride, tiles int) {
	const size = int(unsafe.Sizeof(dst[0]))
	t.run(unsafe.Pointer(unsafe.SliceData(dst)), dstStride*size, unsafe.Pointer(unsafe.SliceData(src)), srcStride*size, tiles)
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
