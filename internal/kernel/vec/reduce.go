package vec

import "math"

// stripes is the number of partial sums of a reduction: element i goes to sum i mod 64, and the
// sums are folded by halving. It is one order for every vector width.
const stripes = 64

type partial [stripes]float32

func (p *partial) sum() float32 {
	for h := stripes / 2; h > 0; h /= 2 {
		for i := range h {
			p[i] += p[i+h]
		}
	}
	return p[0]
}

// sumOf adds f of every element of a chunk.
func sumOf(src []float32, f func(float32) float32) float32 {
	var p partial
	for i, x := range src {
		p[i%stripes] += f(x)
	}
	return p.sum()
}

func sumChunk(src []float32) float32 {
	var p partial
	for i, x := range src {
		p[i%stripes] += x
	}
	return p.sum()
}

func sumSquareChunk(src []float32) float32 {
	return sumOf(src, func(x float32) float32 { return float32(x * x) })
}

func sumAbsChunk(src []float32) float32 { return sumOf(src, abs) }

// deviationChunk is the sum of (x-mean)².
func deviationChunk(src []float32, mean float32) float32 {
	return sumOf(src, func(x float32) float32 { return float32((x - mean) * (x - mean)) })
}

func dotChunk(a, b []float32) float32 {
	var p partial
	for i, x := range a {
		p[i%stripes] += float32(x * b[i])
	}
	return p.sum()
}

func expSumChunk(dst, src []float32, shift float32) float32 {
	var p partial
	for i, x := range src {
		y := exp(x - shift)
		dst[i] = y
		p[i%stripes] += y
	}
	return p.sum()
}

func maxChunk(src []float32) float32 {
	m := float32(math.Inf(-1))
	for _, x := range src {
		m = maximum(m, x)
	}
	return m
}

func minChunk(src []float32) float32 {
	m := float32(math.Inf(1))
	for _, x := range src {
		m = minimum(m, x)
	}
	return m
}

// chunkSum adds f of every chunk of n elements in order.
func chunkSum(n int, f func(lo, hi int) float32) float32 {
	s := float32(0)
	for lo := 0; lo < n; lo += chunk {
		s += f(lo, min(lo+chunk, n))
	}
	return s
}

// sumReduction is the reduction of whole slices made of one of chunks.
func sumReduction(f Reduction) Reduction {
	return func(src []float32) float32 {
		if len(src) <= chunk {
			return f(src)
		}
		return chunkSum(len(src), func(lo, hi int) float32 { return f(src[lo:hi]) })
	}
}

// foldReduction is that of an idempotent operation.
func foldReduction(f Reduction, op func(a, b float32) float32) Reduction {
	return func(src []float32) float32 {
		if len(src) <= chunk {
			return f(src)
		}
		m := f(src[:chunk])
		for lo := chunk; lo < len(src); lo += chunk {
			m = op(m, f(src[lo:min(lo+chunk, len(src))]))
		}
		return m
	}
}

// firstOf is the index of the first element that equals what extreme returns.
func firstOf(extreme Reduction) func(src []float32) int {
	return func(src []float32) int {
		m := extreme(src)
		for i, x := range src {
			if x == m || isNaN(m) && isNaN(x) {
				return i
			}
		}
		return -1
	}
}

// chunks are the kernels that others are built from. Slices of reductions have at most chunk elements.
type chunks struct {
	sum, sumSquare, sumAbs, highest, lowest Reduction
	deviation                               func(src []float32, mean float32) float32 // Σ(x-mean)²
	dot                                     func(a, b []float32) float32
	expSum                                  func(dst, src []float32, shift float32) float32
	cube, root                              Unary                                                      // x³ and x^(1/2)
	axpy                                    func(dst, a, b []float32, s float32)                       // a + b·s
	normalize                               UnaryScalar2                                               // (x-a)·b
	normalizeAffine                         func(dst, src, gamma, beta []float32, mean, scale float32) // (x-mean)·scale·gamma + beta
	layerNormRows                           func(dst, src, gamma, beta []float32, n int, eps float32)  // nil: there is none
	softmaxRows                             func(dst, src []float32, n int)                            // nil: there is none
}

var genericChunks = chunks{
	sum: sumChunk, sumSquare: sumSquareChunk, sumAbs: sumAbsChunk, highest: maxChunk, lowest: minChunk,
	deviation: deviationChunk, dot: dotChunk, expSum: expSumChunk,
	cube: mapped(cube), root: mapped(root), axpy: axpy, normalize: normalize, normalizeAffine: normalizeAffine,
}

// reductions fills in everything that is built from chunks and from elementwise kernels.
func (f *Funcs) reductions() {
	f.Sum, f.SumSquare, f.SumAbs = sumReduction(f.sum), sumReduction(f.sumSquare), sumReduction(f.sumAbs)
	f.ReduceMax, f.ReduceMin = foldReduction(f.highest, maximum), foldReduction(f.lowest, minimum)
	f.ArgMax, f.ArgMin = firstOf(f.ReduceMax), firstOf(f.ReduceMin)
	f.Dot = func(a, b []float32) float32 {
		b = b[:len(a)]
		return chunkSum(len(a), func(lo, hi int) float32 { return f.dot(a[lo:hi], b[lo:hi]) })
	}
	f.ExpSum = func(dst, src []float32, shift float32) float32 {
		src = src[:len(dst)]
		return chunkSum(len(dst), func(lo, hi int) float32 { return f.expSum(dst[lo:hi], src[lo:hi], shift) })
	}
	f.Softmax = func(dst, src []float32) {
		src = src[:len(dst)]
		sum := f.ExpSum(dst, src, f.ReduceMax(src))
		f.MulS(dst, dst, 1/sum)
	}
	f.MeanVar = func(src []float32) (mean, variance float32) {
		n := float32(len(src))
		mean = f.Sum(src) / n
		dev := chunkSum(len(src), func(lo, hi int) float32 { return f.deviation(src[lo:hi], mean) })
		return mean, dev / n
	}
	f.LayerNorm, f.RMSNorm = f.layerNorm, f.rmsNorm
}
