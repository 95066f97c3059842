package main

import (
	"math"
	"slices"
	"strings"
	"testing"

	"coreml/tensor"
)

// quietRoom has activations of a few frames in which nothing sounds.
func quietRoom(frames int) *activations {
	a := &activations{make([]float32, frames*keys), make([]float32, frames*keys)}
	for i := range a.notes {
		a.notes[i], a.onsets[i] = 0.1, 0.05
	}
	return a
}

// sound lets a key sound from start up to end; a struck one has an onset.
func (a *activations) sound(start, end, key int, level float32, struck bool) {
	for f := start; f < end; f++ {
		a.notes[f*keys+key] = level
	}
	if struck {
		a.onsets[start*keys+key] = 0.9
	}
}

func TestFindNotes(t *testing.T) {
	type want struct{ start, end, key int }
	tests := []struct {
		name string
		play func(a *activations)
		want []want
	}{
		{"nothing", func(a *activations) {}, nil},
		{"struck", func(a *activations) { a.sound(20, 50, 40, 0.8, true) }, []want{{20, 50, 40}}},
		{"too short", func(a *activations) { a.sound(20, 31, 40, 0.8, true) }, nil},
		{"just long enough", func(a *activations) { a.sound(20, 32, 40, 0.8, true) }, []want{{20, 32, 40}}},
		{"struck again", func(a *activations) {
			a.sound(20, 70, 40, 0.8, true)
			a.onsets[45*keys+40] = 0.9
		}, []want{{20, 45, 40}, {45, 70, 40}}},
		{"a short gap", func(a *activations) {
			a.sound(20, 60, 40, 0.45, true)
			a.sound(35, 45, 40, 0.25, false)
			a.sound(70, 90, 80, 0.8, true) // whose rise makes the other's too small for an onset
		}, []want{{20, 60, 40}, {70, 90, 80}}},
		{"a gap", func(a *activations) {
			a.sound(20, 60, 40, 0.45, true)
			a.sound(35, 46, 40, 0.25, false)
			a.sound(70, 90, 80, 0.8, true)
		}, []want{{20, 35, 40}, {46, 59, 40}, {70, 90, 80}}},
		{"never struck", func(a *activations) {
			// Too slow a rise for an onset, beside a key whose rise is fast.
			for f := 20; f < 60; f++ {
				a.notes[f*keys+30] = min(0.8, 0.1+0.02*float32(f-20))
			}
			a.sound(70, 90, 80, 0.8, true)
		}, []want{{31, 59, 30}, {70, 90, 80}}},
		{"a neighbour sounds along", func(a *activations) {
			a.sound(20, 50, 40, 0.8, true)
			for f := 20; f < 50; f++ {
				a.notes[f*keys+41] = min(0.4, 0.1+0.03*float32(f-20))
			}
		}, []want{{20, 50, 40}}},
		{"the outermost keys", func(a *activations) {
			a.sound(20, 50, 0, 0.8, true)
			a.sound(20, 50, keys-1, 0.8, true)
		}, []want{{20, 50, 0}, {20, 50, keys - 1}}},
		{"up to the end", func(a *activations) { a.sound(60, 100, 5, 0.8, true) }, []want{{60, 99, 5}}},
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			a := quietRoom(100)
			c.play(a)
			var got []want
			for _, n := range findNotes(a) {
				got = append(got, want{n.start, n.end, n.key})
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("notes %v, want %v", got, c.want)
			}
		})
	}
}

func TestFindNotesInFewFrames(t *testing.T) {
	for frames := range 4 {
		if got := findNotes(quietRoom(frames)); len(got) != 0 {
			t.Errorf("%d frames: %v", frames, got)
		}
	}
}

// TestSections ends a section in the pause, so that the note after it stays whole.
func TestSections(t *testing.T) {
	tr := newTranscriber(nil)
	tr.section = 100
	a := quietRoom(150)
	a.sound(20, 60, 10, 0.8, true)
	a.sound(90, 130, 12, 0.8, true)
	tr.heard = *a
	tr.endSection(quietestFrame(a.notes, 75, 100))
	if tr.base != 75 || tr.heard.frames() != 75 {
		t.Errorf("the section ends at %d with %d frames left, want 75 and 75", tr.base, tr.heard.frames())
	}
	tr.endSection(tr.heard.frames())
	if len(tr.notes) != 2 || tr.notes[1].Start != frameTime(90) || tr.notes[1].End != frameTime(130) {
		t.Errorf("notes %+v, want two, the second from frame 90 to 130", tr.notes)
	}
}

func TestPitchName(t *testing.T) {
	for midi, want := range map[int]string{21: "A0", 60: "C4", 61: "C#4", 69: "A4", 108: "C8"} {
		if got := pitchName(midi); got != want {
			t.Errorf("%d is %s, want %s", midi, got, want)
		}
	}
}

func TestPianoRoll(t *testing.T) {
	notes := []note{{Start: 0, End: 1, MIDI: 60}, {Start: 1, End: 2, MIDI: 62}, {Start: 1, End: 1.01, MIDI: 60}}
	got := pianoRoll(notes, 2, rollStyle{width: 26, ascii: true})
	want := strings.Join([]string{
		"D4  |          o---------",
		"C#4 |",
		"C4  |o---------o",
		"    ++---------+---------",
		"     0 s       1",
		"",
	}, "\n")
	if got != want {
		t.Errorf("drawn\n%s\nwant\n%s", got, want)
	}
}

func TestUnicodeLocale(t *testing.T) {
	for lang, want := range map[string]bool{"": true, "C": false, "POSIX": false, "C.UTF-8": true, "de_DE.utf8": true, "de_DE.ISO-8859-1": false, "de_DE": true} {
		get := func(name string) string {
			if name == "LANG" {
				return lang
			}
			return ""
		}
		if got := unicodeLocale(get); got != want {
			t.Errorf("LANG=%s: %v, want %v", lang, got, want)
		}
	}
}

// TestFindNotesAsPublished compares with the notes that basic-pitch's own program
// finds, recorded by oracle/basic_pitch_notes.py.
func TestFindNotesAsPublished(t *testing.T) {
	file, err := tensor.OpenNpz("testdata/basic_pitch_notes.npz")
	if err != nil {
		t.Fatal(err)
	}
	got := findNotes(&activations{file.Tensors["notes"].Float32s(), file.Tensors["onsets"].Float32s()})
	events := tensor.Data[int32](file.Tensors["events"])
	amplitudes := file.Tensors["amplitudes"].Float32s()
	if len(got) != len(amplitudes) {
		t.Fatalf("%d notes, want %d", len(got), len(amplitudes))
	}
	for i, g := range got {
		start, end, midi := int(events[3*i]), int(events[3*i+1]), int(events[3*i+2])
		if g.start != start || g.end != end || g.key+lowestKey != midi || math.Abs(g.amplitude-float64(amplitudes[i])) > 1e-5 {
			t.Errorf("note %d: %+v, want %d to %d, MIDI %d, amplitude %g", i, g, start, end, midi, amplitudes[i])
		}
	}
}
