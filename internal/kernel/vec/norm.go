package vec

func normalizeChunk(dst, src []float32, mean, scale float32) {
	for i, x := range src[:len(dst)] {
		dst[i] = (x - mean) * scale
	}
}

func normalizeAffineChunk(dst, src, gamma, beta []float32, mean, scale float32) {
	gamma, beta = gamma[:len(dst)], beta[:len(dst)]
	for i, x := range src[:len(dst)] {
		dst[i] = mulAdd(float32((x-mean)*scale), gamma[i], beta[i])
	}
}

// layerNorm normalizes a row; the whole row is one task, whatever its length.
func (f *Funcs) layerNorm(r reducers) func(dst, src, gamma, beta []float32, eps float32) {
	return func(dst, src, gamma, beta []float32, eps float32) {
		src = src[:len(dst)]
		mean, variance := f.MeanVar(src)
		scale := rsqrt(variance, eps)
		for lo := 0; lo < len(dst); lo += chunk {
			hi := min(lo+chunk, len(dst))
			d, s := dst[lo:hi], src[lo:hi]
			if gamma != nil && beta != nil {
				r.normalizeAffine(d, s, gamma[lo:hi], beta[lo:hi], mean, scale)
				continue
			}
			r.normalize(d, s, mean, scale)
			if gamma != nil {
				f.Mul(d, d, gamma[lo:hi])
			}
			if beta != nil {
				f.Add(d, d, beta[lo:hi])
			}
		}
	}
}

func (f *Funcs) rmsNorm(r reducers) func(dst, src, gamma []float32, eps float32) {
	return func(dst, src, gamma []float32, eps float32) {
		src = src[:len(dst)]
		scale := rsqrt(f.SumSquare(src)/float32(len(src)), eps)
		for lo := 0; lo < len(dst); lo += chunk {
			hi := min(lo+chunk, len(dst))
			d := dst[lo:hi]
			r.normalize(d, src[lo:hi], 0, scale)
			if gamma != nil {
				f.Mul(d, d, gamma[lo:hi])
			}
		}
	}
}
