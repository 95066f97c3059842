package main

import (
	"fmt"
	"io"
	"math"
	"testing"
)

// tone is a sine wave at a rate, given out a few samples at a time.
type tone struct {
	hertz   float64
	rate, n int
	at      int
}

func (s *tone) value(i int) float64 {
	return math.Sin(2 * math.Pi * s.hertz * float64(i) / float64(s.rate))
}

func (s *tone) read(dst []float32) (int, error) {
	if s.at == s.n {
		return 0, io.EOF
	}
	k := min(len(dst), s.n-s.at, 100+s.at%37)
	for i := range dst[:k] {
		dst[i] = float32(s.value(s.at))
		s.at++
	}
	return k, nil
}

func decibels(power float64) float64 { return 10 * math.Log10(power) }

// TestResampledTones compares with the same tone at the new rate, away from the ends.
func TestResampledTones(t *testing.T) {
	for _, rate := range []int{8000, 11025, 16000, 32000, 44099, 44100, 48000, 96000, 192000, 1_000_000} {
		for _, hertz := range []float64{27.5, 440, 3000, 4186, 8500} {
			if hertz > 0.4*float64(min(rate, networkRate)) {
				continue
			}
			t.Run(fmt.Sprintf("%d/%g", rate, hertz), func(t *testing.T) {
				in := &tone{hertz: hertz, rate: rate, n: rate / 2}
				got, err := allSamples(newResampler(in, rate, networkRate))
				if err != nil {
					t.Fatal(err)
				}
				if want := (in.n*networkRate + rate - 1) / rate; len(got) != want {
					t.Errorf("%d samples, want %d", len(got), want)
				}
				ideal := &tone{hertz: hertz, rate: networkRate}
				signal, noise := 0.0, 0.0
				margin := max(2*sincZeros, 2*sincZeros*networkRate/rate)
				for i := margin; i < len(got)-margin; i++ {
					v := ideal.value(i)
					signal += v * v
					noise += (float64(got[i]) - v) * (float64(got[i]) - v)
				}
				if snr := decibels(signal / noise); !(snr > 80) {
					t.Errorf("signal to noise %.1f dB, want more than 80", snr)
				}
			})
		}
	}
}

// TestNothingFoldsBack resamples tones above the new Nyquist frequency.
func TestNothingFoldsBack(t *testing.T) {
	for _, hertz := range []float64{11100, 12000, 15000, 23000} {
		got, err := allSamples(newResampler(&tone{hertz: hertz, rate: 48000, n: 24000}, 48000, networkRate))
		if err != nil {
			t.Fatal(err)
		}
		sum := 0.0
		for _, v := range got[100 : len(got)-100] {
			sum += 2 * float64(v) * float64(v)
		}
		if level := decibels(sum / float64(len(got)-200)); !(level < -80) {
			t.Errorf("%g Hz comes through at %.1f dB, want less than -80", hertz, level)
		}
	}
}

// TestResampledShort has no samples, and fewer than the filter is long.
func TestResampledShort(t *testing.T) {
	for n, want := range []int{0, 1, 2, 3, 3} {
		got, err := allSamples(newResampler(&tone{hertz: 1, rate: 12000, n: n}, 16000, 11025))
		if err != nil || len(got) != want {
			t.Errorf("%d samples become %d, error %v; want %d", n, len(got), err, want)
		}
	}
}
