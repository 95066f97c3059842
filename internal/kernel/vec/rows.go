package vec

// rowsPerCall is the number of rows of n elements that one call of an assembly kernel handles; 0
// where the row alone is too long.
func rowsPerCall(n int) int { return chunk / max(n, 1) }

// rows makes the kernels of many rows of those of one row, where there is none in assembly.
func (f *Funcs) rows() {
	f.LayerNormRows = func(dst, src, gamma, beta []float32, n int, eps float32) {
		src = src[:len(dst)]
		some := rowsPerCall(n) * n
		if f.layerNormRows == nil || gamma == nil || beta == nil || some == 0 {
			for lo := 0; lo+n <= len(dst) && n > 0; lo += n {
				f.LayerNorm(dst[lo:lo+n], src[lo:lo+n], gamma, beta, eps)
			}
			return
		}
		gamma, beta = gamma[:n], beta[:n]
		for lo := 0; lo < len(dst); lo += some {
			hi := min(lo+some, len(dst))
			f.layerNormRows(dst[lo:hi], src[lo:hi], gamma, beta, n, eps)
		}
	}
	f.SoftmaxRows = func(dst, src []float32, n int) {
		src = src[:len(dst)]
		some := rowsPerCall(n) * n
		if f.softmaxRows == nil || some == 0 {
			for lo := 0; lo+n <= len(dst) && n > 0; lo += n {
				f.Softmax(dst[lo:lo+n], src[lo:lo+n])
			}
			return
		}
		for lo := 0; lo < len(dst); lo += some {
			hi := min(lo+some, len(dst))
			f.softmaxRows(dst[lo:hi], src[lo:hi], n)
		}
	}
}
