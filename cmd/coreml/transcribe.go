package main

import (
	"context"
	"fmt"
	"io"
	"slices"

	"coreml"
	"coreml/tensor"
)

// What basic-pitch takes and gives: a window of 2 seconds without one frame, and
// a frame for every 256 samples, the first in the middle of sample 0.
const (
	networkRate   = 22050
	frameSamples  = 256
	windowSamples = 2*networkRate - frameSamples
	windowFrames  = windowSamples/frameSamples + 1

	// Windows overlap: edgeFrames on both sides, where the network has heard too
	// little, are dropped, and over fadeFrames one window fades into the next. The
	// network sets its gain for each window; a step there would look like an onset.
	// Windows are a whole number of frames apart, so that no time drifts however
	// long the audio is.
	edgeFrames = 10
	fadeFrames = 10
	keptFrames = windowFrames - 2*edgeFrames - fadeFrames

	// Notes are found in sections of audio, so that memory does not grow with its
	// length. A section ends where the quietest frame of the last quarter is.
	sectionFrames = 5 * 60 * networkRate / frameSamples
)

// note is one note that was heard.
type note struct {
	Start     float64 `json:"start"` // seconds
	End       float64 `json:"end"`
	Pitch     string  `json:"pitch"`
	MIDI      int     `json:"midi"`
	Amplitude float64 `json:"amplitude"`
}

// transcriber runs the network over audio, window by window.
type transcriber struct {
	predict func(ctx context.Context, in, out coreml.Features) error
	section int // frames

	in, out coreml.Features
	window  []float32
	samples int64
	windows int

	fading activations // the end of the window before
	heard  activations // of the section
	base   int64       // the section's first frame
	notes  []note
}

func newTranscriber(predict func(ctx context.Context, in, out coreml.Features) error) *transcriber {
	in := tensor.New(tensor.Float32, 1, windowSamples, 1)
	out := coreml.Features{
		"Identity":   tensor.New(tensor.Float32, 1, windowFrames, 3*keys),
		"Identity_1": tensor.New(tensor.Float32, 1, windowFrames, keys),
		"Identity_2": tensor.New(tensor.Float32, 1, windowFrames, keys),
	}
	return &transcriber{
		predict: predict, section: sectionFrames,
		in: coreml.Features{"input_2": in}, out: out, window: tensor.Data[float32](in),
	}
}

// run transcribes src, which has networkRate samples a second.
func (t *transcriber) run(ctx context.Context, src sampleReader) error {
	fresh := t.window[edgeFrames*frameSamples:] // silence comes first
	for more := true; more; t.windows++ {
		n, err := readFull(src, fresh)
		if err != nil && err != io.EOF {
			return err
		}
		more = err == nil
		t.samples += int64(n)
		clear(fresh[n:])
		kept := int64(keptFrames)
		if before := int64(t.windows) * keptFrames; !more {
			kept = (t.samples+frameSamples-1)/frameSamples - before
			more = kept > keptFrames
			kept = min(kept, keptFrames)
		}
		if kept <= 0 {
			break
		}
		if err := t.hear(ctx, int(kept)); err != nil {
			return err
		}
		fresh = t.window[copy(t.window, t.window[keptFrames*frameSamples:]):]
	}
	t.endSection(t.heard.frames())
	return nil
}

// readFull fills dst, unless src ends before; then it returns io.EOF.
func readFull(src sampleReader, dst []float32) (int, error) {
	n := 0
	for n < len(dst) {
		m, err := src.read(dst[n:])
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// hear runs the network on the window and keeps frames of what it gives.
func (t *transcriber) hear(ctx context.Context, frames int) error {
	if err := t.predict(ctx, t.in, t.out); err != nil {
		return fmt.Errorf("window %d, at %.1f s: %w", t.windows, frameTime(int64(t.windows)*keptFrames), err)
	}
	join := func(heard, fading *[]float32, name string) {
		v := tensor.Data[float32](t.out[name].(*tensor.Tensor))[edgeFrames*keys:]
		kept := v[:frames*keys]
		fadeIn(kept, *fading)
		*heard = append(*heard, kept...)
		*fading = append((*fading)[:0], v[keptFrames*keys:][:fadeFrames*keys]...)
	}
	join(&t.heard.notes, &t.fading.notes, "Identity_1")
	join(&t.heard.onsets, &t.fading.onsets, "Identity_2")
	if n := t.heard.frames(); n >= t.section {
		t.endSection(quietestFrame(t.heard.notes, n-t.section/4, n))
	}
	return nil
}

// fadeIn mixes the end of the window before, if there is one, into the frames of this.
func fadeIn(frames, before []float32) {
	for i := range min(len(frames), len(before)) {
		share := (float32(i/keys) + 0.5) / fadeFrames
		frames[i] = frames[i]*share + before[i]*(1-share)
	}
}

// quietestFrame is the frame from lo up to hi whose loudest key is the least loud.
func quietestFrame(notes []float32, lo, hi int) int {
	best, least := lo, float32(2)
	for f := lo; f < hi; f++ {
		if v := slices.Max(notes[f*keys:][:keys]); v < least {
			best, least = f, v
		}
	}
	return best
}

// endSection finds the notes of the section's first frames and forgets these.
func (t *transcriber) endSection(frames int) {
	cut := frames * keys
	section := activations{t.heard.notes[:cut], t.heard.onsets[:cut]}
	for _, e := range findNotes(&section) {
		midi := e.key + lowestKey
		t.notes = append(t.notes, note{
			Start: frameTime(t.base + int64(e.start)), End: frameTime(t.base + int64(e.end)),
			Pitch: pitchName(midi), MIDI: midi, Amplitude: e.amplitude,
		})
	}
	t.heard.notes = slices.Delete(t.heard.notes, 0, cut)
	t.heard.onsets = slices.Delete(t.heard.onsets, 0, cut)
	t.base += int64(frames)
}

// frameTime is the middle of a frame, in seconds.
func frameTime(f int64) float64 { return float64(f) * frameSamples / networkRate }
