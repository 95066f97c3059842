package main

import (
	"io"
	"math"
)

const (
	// sincZeros is how many zero crossings of the sinc lie on each side of its
	// middle. With the window of kaiserBeta the stop band is 100 dB down and the
	// transition is a fifth of the band, hence sincCutoff: nothing is folded back,
	// and what is below 0.8 of the lower Nyquist frequency passes.
	sincZeros  = 32
	kaiserBeta = 10.06
	sincCutoff = 0.9

	// maxPhases bounds the table. Rates with more phases are interpolated linearly
	// between two of them, an error of -110 dB.
	maxPhases = 1024

	resampleChunk = 8192
)

// resampler changes the rate of a stream by a polyphase filter: a windowed sinc,
// sampled at each phase that an output can have between two inputs. Output m is
// the signal at input m*in/out, without delay; before the first and after
// the last input there is silence.
type resampler struct {
	src     sampleReader
	in, out int // the rates, without common factors
	half    int // inputs on each side of an output
	phases  int
	table   []float32 // phases+1 rows of 2*half weights

	buf   []float32 // inputs, from one that is still needed
	at    int       // in buf: the first input under the filter
	phase int       // of the next output, in units of 1/out input
	ended bool
	end   int // in buf, once ended: after the last input
}

// newResampler converts src from the rate in to out.
func newResampler(src sampleReader, in, out int) *resampler {
	g := gcd(in, out)
	r := &resampler{src: src, in: in / g, out: out / g}
	scale := min(1, float64(out)/float64(in))
	r.half = int(math.Ceil(sincZeros / scale))
	r.phases = min(r.out, maxPhases)
	r.table = make([]float32, 0, (r.phases+1)*2*r.half)
	for p := range r.phases + 1 {
		r.table = appendPhase(r.table, r.half, scale*sincCutoff, float64(p)/float64(r.phases))
	}
	r.buf = make([]float32, r.half-1, resampleChunk+2*r.half)
	return r
}

// appendPhase appends the weights of the inputs -half+1 to half for an output at
// the given fraction after input 0. Their sum is 1.
func appendPhase(table []float32, half int, cutoff, fraction float64) []float32 {
	row := make([]float64, 2*half)
	sum := 0.0
	for i := range row {
		t := float64(i-half+1) - fraction
		row[i] = sinc(cutoff*t) * kaiser(t/float64(half))
		sum += row[i]
	}
	for _, v := range row {
		table = append(table, float32(v/sum))
	}
	return table
}

func (r *resampler) read(dst []float32) (int, error) {
	taps := 2 * r.half
	for i := range dst {
		if r.at+taps > len(r.buf) {
			if err := r.fill(taps); err != nil {
				return i, err
			}
		}
		if r.ended && r.at+r.half-1 >= r.end {
			if i == 0 {
				return 0, io.EOF
			}
			return i, nil
		}
		dst[i] = r.output(r.buf[r.at : r.at+taps])
		r.phase += r.in
		r.at += r.phase / r.out
		r.phase %= r.out
	}
	return len(dst), nil
}

// output is the filter at the present phase over the inputs x.
func (r *resampler) output(x []float32) float32 {
	n := len(x)
	p := r.phase * r.phases
	row, rest := p/r.out, p%r.out
	y := dot(x, r.table[row*n:])
	if rest == 0 {
		return y
	}
	return y + (dot(x, r.table[(row+1)*n:])-y)*(float32(rest)/float32(r.out))
}

// fill drops inputs that are behind and reads until the filter is covered. After
// the end of src it adds silence for the last outputs.
func (r *resampler) fill(taps int) error {
	for r.at+taps > len(r.buf) && !r.ended {
		drop := min(r.at, len(r.buf))
		kept := copy(r.buf, r.buf[drop:])
		r.at -= drop
		n, err := r.src.read(r.buf[kept:cap(r.buf)])
		r.buf = r.buf[:kept+n]
		if err == io.EOF {
			r.ended, r.end = true, len(r.buf)
			r.buf = append(r.buf, make([]float32, r.half)...)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// dot multiplies in four sums, so that additions need not wait for each other.
func dot(x, w []float32) float32 {
	w = w[:len(x)]
	var a, b, c, d float32
	i := 0
	for ; i+4 <= len(x); i += 4 {
		a += x[i] * w[i]
		b += x[i+1] * w[i+1]
		c += x[i+2] * w[i+2]
		d += x[i+3] * w[i+3]
	}
	for ; i < len(x); i++ {
		a += x[i] * w[i]
	}
	return (a + b) + (c + d)
}

func sinc(x float64) float64 {
	if x == 0 {
		return 1
	}
	return math.Sin(math.Pi*x) / (math.Pi * x)
}

// kaiser is Kaiser's window, for x in -1…1.
func kaiser(x float64) float64 {
	return bessel0(kaiserBeta*math.Sqrt(max(0, 1-x*x))) / bessel0(kaiserBeta)
}

// bessel0 is the modified Bessel function I₀ by its power series.
func bessel0(x float64) float64 {
	sum, term := 1.0, 1.0
	for k := 1.0; term > sum*1e-17; k++ {
		term *= (x / 2 / k) * (x / 2 / k)
		sum += term
	}
	return sum
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
