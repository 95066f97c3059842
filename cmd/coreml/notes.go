package main

import (
	"cmp"
	"fmt"
	"slices"
)

const (
	keys      = 88 // of a piano, the pitches that the network tells apart
	lowestKey = 21 // MIDI number of the first, A0
)

// activations are what the network hears: for each frame and key, how likely the
// key sounds and how likely it is struck. Both are [frames][keys], row-major.
type activations struct {
	notes, onsets []float32
}

func (a *activations) frames() int { return len(a.notes) / keys }

// noteEvent is a note in frames; it sounds from start up to but not including end.
type noteEvent struct {
	start, end, key int
	amplitude       float64 // the mean activation
}

// The rules of basic-pitch for notes, as its authors publish and set them
// (Bittner et al., "A lightweight instrument-agnostic model for polyphonic note
// transcription and multipitch estimation", ICASSP 2022).
const (
	onsetThreshold = 0.5
	noteThreshold  = 0.3
	minNoteFrames  = 11 // shorter notes are dropped: 128 ms
	quietFrames    = 11 // so many frames below noteThreshold end a note
	onsetSpan      = 2  // frames over which a rise counts as an onset
)

// findNotes turns activations into notes, by start and key. Notes begin where a
// key is struck and last while it sounds; then what still sounds without having
// been struck becomes notes too, the loudest first.
func findNotes(a *activations) []noteEvent {
	t := noteTracker{a: a, energy: slices.Clone(a.notes)}
	peaks := onsetPeaks(withRises(a), a.frames())
	for _, p := range slices.Backward(peaks) {
		t.fromOnset(p/keys, p%keys)
	}
	for _, p := range t.loudest() {
		t.fromMiddle(p/keys, p%keys)
	}
	slices.SortFunc(t.found, func(a, b noteEvent) int {
		return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.key, b.key))
	})
	return t.found
}

// withRises returns the onsets or, where they are larger, the rises of the note
// activations, scaled to the largest onset: a key that begins to sound was struck.
func withRises(a *activations) []float32 {
	rises := make([]float32, len(a.notes))
	var largest, top float32
	for i := onsetSpan * keys; i < len(rises); i++ {
		rise := a.notes[i] - a.notes[i-keys]
		for n := 2; n <= onsetSpan; n++ {
			rise = min(rise, a.notes[i]-a.notes[i-n*keys])
		}
		rises[i] = max(rise, 0)
		largest = max(largest, rises[i])
	}
	for _, v := range a.onsets {
		top = max(top, v)
	}
	for i, v := range a.onsets {
		if largest > 0 {
			v = max(v, rises[i]*(top/largest))
		}
		rises[i] = v
	}
	return rises
}

// onsetPeaks returns the indices of onsets above the threshold that are larger
// than those of the same key a frame before and after.
func onsetPeaks(onsets []float32, frames int) []int {
	var peaks []int
	for i := keys; i < (frames-1)*keys; i++ {
		if v := onsets[i]; v >= onsetThreshold && v > onsets[i-keys] && v > onsets[i+keys] {
			peaks = append(peaks, i)
		}
	}
	return peaks
}

// noteTracker collects notes; energy is the activation that no note has taken yet.
type noteTracker struct {
	a      *activations
	energy []float32
	found  []noteEvent
}

// fromOnset follows a note from the frame in which its key is struck.
func (t *noteTracker) fromOnset(start, key int) {
	if start >= t.a.frames()-1 {
		return
	}
	end, _ := t.follow(start+1, key, 1)
	if t.add(start, end, key) {
		t.take(start, end, key)
	}
}

// fromMiddle follows a note both ways from a frame in which its key sounds. The
// energy on the way is taken even if the note is too short. As in the authors'
// program, such a note ends with its last sounding frame, not after it.
func (t *noteTracker) fromMiddle(middle, key int) {
	if t.energy[middle*keys+key] <= noteThreshold {
		return
	}
	t.energy[middle*keys+key] = 0
	end, last := t.follow(middle+1, key, 1)
	before, first := t.follow(middle-1, key, -1)
	t.take(first+1, middle, key)
	t.take(middle+1, last, key)
	t.add(before+1, end-1, key)
}

// follow walks from a frame while the key sounds, forth or back. Stop is the frame
// after the last that sounds, seen the way that it walks, and reached the one after
// the last that it looked at. The first and the last frame of all are not looked at.
func (t *noteTracker) follow(from, key, step int) (stop, reached int) {
	quiet, i := 0, from
	for ; i > 0 && i < t.a.frames()-1 && quiet < quietFrames; i += step {
		if t.energy[i*keys+key] < noteThreshold {
			quiet++
		} else {
			quiet = 0
		}
	}
	return i - quiet*step, i
}

// add keeps a note unless it is too short.
func (t *noteTracker) add(start, end, key int) bool {
	if end-start <= minNoteFrames {
		return false
	}
	sum := 0.0
	for i := start; i < end; i++ {
		sum += float64(t.a.notes[i*keys+key])
	}
	t.found = append(t.found, noteEvent{start, end, key, sum / float64(end-start)})
	return true
}

// take removes the energy of a note, and that of the keys beside it, which sound
// along in the network's output.
func (t *noteTracker) take(start, end, key int) {
	lo, hi := max(key-1, 0), min(key+1, keys-1)
	for i := start; i < end; i++ {
		clear(t.energy[i*keys+lo : i*keys+hi+1])
	}
}

// loudest returns the indices of the energies above the threshold, largest first.
func (t *noteTracker) loudest() []int {
	var l []int
	for i, v := range t.energy {
		if v > noteThreshold {
			l = append(l, i)
		}
	}
	slices.SortStableFunc(l, func(a, b int) int { return cmp.Compare(t.energy[b], t.energy[a]) })
	return l
}

// pitchName is the name of a MIDI note; C4, 60, is middle C.
func pitchName(midi int) string {
	names := [12]string{"C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B"}
	return fmt.Sprintf("%s%d", names[midi%12], midi/12-1)
}
