package vec

func normalize(dst, src []float32, mean, scale float32) {
	for i, x := range src[:len(dst)] {
		dst[i] = (x - mean) * scale
	}
}

func normalizeAffine(dst, src, gamma, beta []float32, mean, scale float32) {
	gamma, beta = gamma[:len(dst)], beta[:len(dst)]
	for i, x := range src[:len(dst)] {
		dst[i] = mulAdd(float32((x-mean)*scale), gamma[i], beta[i])
	}
}

func (f *Funcs) layerNorm(dst, src, gamma, beta []float32, eps float32) {
	src = src[:len(dst)]
	mean, variance := f.MeanVar(src)
	scale := rsqrt(variance, eps)
	if gamma != nil && beta != nil {
		f.normalizeAffine(dst, src, gamma, beta, mean, scale)
		return
	}
	f.normalize(dst, src, mean, scale)
	if gamma != nil {
		f.Mul(dst, dst, gamma)
	}
	if beta != nil {
		f.Add(dst, dst, beta)
	}
}

func (f *Funcs) rmsNorm(dst, src, gamma []float32, eps float32) {
	src = src[:len(dst)]
	scale := rsqrt(f.SumSquare(src)/float32(len(src)), eps)
	f.normalize(dst, src, 0, scale)
	if gamma != nil {
		f.Mul(dst, dst, gamma)
	}
}
