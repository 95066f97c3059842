package main

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"
	"strings"
	"testing"
)

// countingReader gives the samples 1, 2, 3, … n, a few at a time.
type countingReader struct{ at, n int }

func (c *countingReader) read(dst []float32) (int, error) {
	if c.at == c.n {
		return 0, io.EOF
	}
	k := min(len(dst), c.n-c.at, 1000)
	for i := range dst[:k] {
		c.at++
		dst[i] = float32(c.at)
	}
	return k, nil
}

func allSamples(r sampleReader) ([]float32, error) {
	var all []float32
	buf := make([]float32, 777)
	for {
		n, err := r.read(buf)
		all = append(all, buf[:n]...)
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return all, err
		}
	}
}

func TestWAVFormats(t *testing.T) {
	le := binary.LittleEndian
	floats := func(v ...float64) (b32, b64 []byte) {
		for _, x := range v {
			b32 = le.AppendUint32(b32, math.Float32bits(float32(x)))
			b64 = le.AppendUint64(b64, math.Float64bits(x))
		}
		return b32, b64
	}
	f32, f64 := floats(0.5, -0.25, 1, 0)
	tests := []struct {
		name          string
		tag, ch, bits int
		data          []byte
		want          []float32
	}{
		{"8 bits", formatPCM, 1, 8, []byte{128, 0, 192}, []float32{0, -1, 0.5}},
		{"16 bits", formatPCM, 1, 16, []byte{0, 0x40, 0, 0x80}, []float32{0.5, -1}},
		{"24 bits", formatPCM, 1, 24, []byte{0, 0, 0x40, 0, 0, 0x80, 1, 0, 0}, []float32{0.5, -1, 1.0 / (1 << 23)}},
		{"32 bits", formatPCM, 1, 32, []byte{0, 0, 0, 0x40, 0, 0, 0, 0x80}, []float32{0.5, -1}},
		{"float", formatFloat, 1, 32, f32, []float32{0.5, -0.25, 1, 0}},
		{"double", formatFloat, 1, 64, f64, []float32{0.5, -0.25, 1, 0}},
		{"stereo", formatFloat, 2, 32, f32, []float32{0.125, 0.5}},
		{"half a frame", formatPCM, 2, 16, []byte{0, 0x40, 0, 0x40, 1, 1}, []float32{0.5}},
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			w, err := newWAV(bytes.NewReader(wavOf(c.tag, c.ch, 48000, c.bits, c.data)))
			if err != nil {
				t.Fatal(err)
			}
			got, err := allSamples(w)
			if err != nil || w.rate != 48000 || len(got) != len(c.want) {
				t.Fatalf("%v, rate %d, error %v; want %v", got, w.rate, err, c.want)
			}
			for i := range got {
				if got[i] != c.want[i] {
					t.Errorf("sample %d is %g, want %g", i, got[i], c.want[i])
				}
			}
		})
	}
}

// extensible rewrites a plain file of PCM so that its fmt chunk is an extensible
// one, after a chunk of odd size.
func extensible(plain []byte) []byte {
	var b bytes.Buffer
	b.Write(plain[:12])
	b.WriteString("LIST\x03\x00\x00\x00abc\x00fmt \x28\x00\x00\x00")
	b.Write([]byte{0xFE, 0xFF})
	b.Write(plain[22:36])
	b.Write([]byte{22, 0, 16, 0, 3, 0, 0, 0, formatPCM, 0})
	b.WriteString("\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71")
	b.Write(plain[36:])
	return b.Bytes()
}

func TestWAVExtensible(t *testing.T) {
	w, err := newWAV(bytes.NewReader(extensible(wavOf(formatPCM, 2, 8000, 16, []byte{0, 0x40, 0, 0xC0}))))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := allSamples(w); err != nil || len(got) != 1 || got[0] != 0 {
		t.Errorf("%v, error %v; want [0]", got, err)
	}
}

// TestWAVFromPipe reads a file whose writer could not know its length.
func TestWAVFromPipe(t *testing.T) {
	file := wavOf(formatPCM, 1, 8000, 16, []byte{0, 0x40, 0, 0x40, 9})
	binary.LittleEndian.PutUint32(file[40:], math.MaxUint32)
	w, err := newWAV(bytes.NewReader(file[:len(file)-1]))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := allSamples(w); err != nil || len(got) != 2 {
		t.Errorf("%v, error %v; want 2 samples", got, err)
	}
}

func TestWAVRefusals(t *testing.T) {
	nan := binary.LittleEndian.AppendUint32(nil, math.Float32bits(float32(math.NaN())))
	align := wavOf(formatPCM, 1, 8000, 16, []byte{0, 0})
	align[32] = 4
	noFormat := append([]byte("RIFF\x00\x00\x00\x00WAVE"), wavOf(formatPCM, 1, 8000, 16, nil)[36:]...)
	tests := []struct {
		name string
		file []byte
		want string
	}{
		{"A-law", wavOf(6, 1, 8000, 8, []byte{1}), "format 6"},
		{"12 bits", wavOf(formatPCM, 1, 8000, 12, []byte{1}), "12 bits"},
		{"no channels", wavOf(formatPCM, 0, 8000, 16, nil), "0 channels"},
		{"65535 channels", wavOf(formatPCM, 65535, 8000, 16, nil), "65535 channels"},
		{"rate 0", wavOf(formatPCM, 1, 0, 16, nil), "0 samples a second"},
		{"alignment", align, "want 2"},
		{"NaN", wavOf(formatFloat, 1, 8000, 32, nan), "NaN"},
		{"no format", noFormat, "before its format"},
		{"big chunk", []byte("RIFF\x00\x00\x00\x00WAVEjunk\xff\xff\xff\xff"), "ends too early"},
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			w, err := newWAV(bytes.NewReader(c.file))
			if err == nil {
				_, err = allSamples(w)
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

func FuzzWAV(f *testing.F) {
	plain := wavFile([]float64{0, 0.5, -0.5, 1}, 8000)
	f.Add(plain)
	f.Add(extensible(plain))
	f.Add(wavOf(formatFloat, 3, 44100, 64, make([]byte, 48)))
	f.Add(wavOf(formatPCM, 2, 192000, 24, make([]byte, 13)))
	f.Add(plain[:30])
	f.Fuzz(func(t *testing.T, file []byte) {
		w, err := newWAV(bytes.NewReader(file))
		if err != nil {
			return
		}
		if w.rate < minRate || w.rate > maxRate {
			t.Errorf("rate %d", w.rate)
		}
		got, _ := allSamples(w)
		if len(got) > len(file) {
			t.Errorf("%d samples from %d bytes", len(got), len(file))
		}
		for i, v := range got {
			if !(math.Abs(float64(v)) <= maxSample) {
				t.Errorf("sample %d is %g", i, v)
			}
		}
	})
}
