package main

import (
	"bytes"
	"encoding/binary"
	"math"
)

// played is a note that a test plays: from start to end in seconds.
type played struct {
	start, end float64
	midi       int
	loud       float64
}

// synthesise plays notes on something like a soft electric piano: sixteen partials,
// the high ones weaker, slightly sharp and faster to die away.
func synthesise(notes []played, seconds float64, rate int) []float64 {
	const attack, release, stretch = 0.02, 0.1, 3e-4
	out := make([]float64, int(math.Round(seconds*float64(rate))))
	for _, n := range notes {
		pitch := 440 * math.Pow(2, float64(n.midi-69)/12)
		length := n.end - n.start
		for i := int(math.Ceil(n.start * float64(rate))); i < len(out); i++ {
			t := float64(i)/float64(rate) - n.start
			envelope := 0.25 * n.loud * min(1, t/attack) * min(1, 1-(t-length)/release)
			if envelope < 0 {
				break
			}
			for h := 1.0; h <= 16 && h*pitch < 0.44*float64(rate); h++ {
				phase := 2*math.Pi*h*pitch*math.Sqrt(1+stretch*h*h)*t + h*h
				out[i] += envelope * math.Sin(phase) * math.Exp(-t*(1+0.8*h)) / math.Pow(h, 1.5)
			}
		}
	}
	return out
}

// wavFile makes a WAV file of 16-bit integers with one channel.
func wavFile(samples []float64, rate int) []byte {
	var data bytes.Buffer
	for _, v := range samples {
		binary.Write(&data, binary.LittleEndian, int16(math.Round(max(-1, min(1, v))*math.MaxInt16)))
	}
	return wavOf(formatPCM, 1, rate, 16, data.Bytes())
}

// wavOf makes a WAV file with a plain fmt chunk.
func wavOf(tag, channels, rate, bits int, data []byte) []byte {
	var b bytes.Buffer
	put := func(v any) { binary.Write(&b, binary.LittleEndian, v) }
	b.WriteString("RIFF")
	put(uint32(36 + len(data) + len(data)&1))
	b.WriteString("WAVEfmt ")
	put(uint32(16))
	put([]uint16{uint16(tag), uint16(channels)})
	put([]uint32{uint32(rate), uint32(rate * channels * bits / 8)})
	put([]uint16{uint16(channels * bits / 8), uint16(bits)})
	b.WriteString("data")
	put(uint32(len(data)))
	b.Write(data)
	if len(data)%2 == 1 {
		b.WriteByte(0)
	}
	return b.Bytes()
}
