package verify

import (
	"fmt"
	"math"

	"coreml/schema"
)

// within reports whether got is want, or no further from it than limit. What is
// not finite is matched by the same value alone, whatever the limit.
func within(got, want, limit float64) bool {
	d := math.Abs(got - want)
	return got == want || math.IsNaN(got) && math.IsNaN(want) || d <= limit && !math.IsInf(d, 0)
}

// distance is |got - want|, infinite where that is no number.
func distance(got, want float64) schema.Number {
	d := math.Abs(got - want)
	if math.IsNaN(d) {
		return schema.Number(math.Inf(1))
	}
	return schema.Number(d)
}

// compareEach allows a share of the values to be further than limit(want) from
// what is wanted. The mismatch is where |got - want| / scale(want) is largest.
func compareEach(got, want []float64, shape []int, share float64, scale, limit func(want float64) float64) *Mismatch {
	bad, worst, at := 0, -1.0, 0
	for i, x := range want {
		if within(got[i], x, limit(x)) {
			continue
		}
		bad++
		d := float64(distance(got[i], x))
		if !math.IsInf(d, 0) {
			d /= scale(x)
		}
		if d > worst {
			worst, at = d, i
		}
	}
	if float64(bad) <= share*float64(len(want)) {
		return nil
	}
	m := mismatchAt(at, got, want, shape)
	m.What = fmt.Sprintf("%d of %d values differ; %s", bad, len(want), m.What)
	return m
}

// mismatchAt is the mismatch of value i.
func mismatchAt(i int, got, want []float64, shape []int) *Mismatch {
	p := position(i, shape)
	return &Mismatch{At: p, Error: distance(got[i], want[i]), What: fmt.Sprintf("at %v %g, want %g", p, got[i], want[i])}
}

func position(i int, shape []int) []int {
	p := make([]int, len(shape))
	for d := len(shape) - 1; d >= 0; d-- {
		p[d] = i % shape[d]
		i /= shape[d]
	}
	return p
}

// compareNoise bounds the signal-to-noise ratios of the finite values, in dB;
// the others have to be the same.
func (w *Want) compareNoise(got, want []float64, shape []int) *Mismatch {
	var noise, power, peak, n float64
	for i, x := range want {
		if !within(got[i], x, math.MaxFloat64) {
			return mismatchAt(i, got, want, shape)
		}
		if math.IsInf(x, 0) || math.IsNaN(x) {
			continue
		}
		d := got[i] - x
		noise += d * d
		power += x * x
		peak = max(peak, x*x)
		n++
	}
	if n == 0 {
		return nil
	}
	snr := 10 * math.Log10((power/n+1e-5)/(noise/n+1e-10))
	psnr := 10 * math.Log10((peak+1e-5)/(noise/n+1e-10))
	wantS, wantP := 20.0, 23.0
	if w.SNR != nil {
		wantS = *w.SNR
	}
	if w.PSNR != nil {
		wantP = *w.PSNR
	}
	if !(snr >= wantS) || !(psnr >= wantP) {
		return differ("SNR %.1f dB and PSNR %.1f dB, want %.1f and %.1f", snr, psnr, wantS, wantP)
	}
	return nil
}
