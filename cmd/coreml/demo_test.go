package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"coreml"
	"coreml/internal/testkit"
)

var update = flag.Bool("update", false, "write the embedded clip")

// clipScore is what the embedded clip plays: a melody over two chords.
var clipScore = []played{
	{0.10, 0.50, 69, 0.9}, {0.50, 0.90, 72, 0.9}, {0.90, 1.30, 76, 1}, {1.30, 1.90, 74, 0.9},
	{1.90, 2.30, 72, 0.9}, {2.30, 2.70, 71, 0.9}, {2.70, 3.30, 67, 0.9},
	{0.10, 1.80, 45, 0.8}, {1.90, 3.30, 43, 0.8},
	{3.50, 5.60, 48, 0.8}, {3.50, 5.60, 64, 0.7}, {3.50, 5.60, 67, 0.7}, {3.50, 5.60, 72, 0.8},
}

const clipSeconds = 6

func TestClipIsCurrent(t *testing.T) {
	want := wavFile(synthesise(clipScore, clipSeconds, networkRate), networkRate)
	if *update {
		if err := os.WriteFile(embeddedClip, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := embedded.ReadFile(embeddedClip)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		t.Fatalf("%s has %d bytes, want %d; -update writes it", embeddedClip, len(got), len(want))
	}
	// The last bit of a sample depends on how a machine rounds sines.
	for i := 44; i < len(want); i += 2 {
		g, w := int16(uint16(got[i])|uint16(got[i+1])<<8), int16(uint16(want[i])|uint16(want[i+1])<<8)
		if d := int(g) - int(w); d < -1 || d > 1 {
			t.Fatalf("%s: byte %d: sample %d, want %d; -update writes it", embeddedClip, i, g, w)
		}
	}
}

// TestEmbeddedFiles holds what is embedded to the table in PROVENANCE.md.
func TestEmbeddedFiles(t *testing.T) {
	text, err := embedded.ReadFile("embedded/PROVENANCE.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile("(?m)^\\| `([^`]+)` \\| `([0-9a-f]{64})` \\|$").FindAllStringSubmatch(string(text), -1)
	if len(rows) != 5 {
		t.Errorf("%d files in the table, want 5", len(rows))
	}
	for _, r := range rows {
		data, err := embedded.ReadFile("embedded/" + r[1])
		if err != nil {
			t.Error(err)
		} else if got := fmt.Sprintf("%x", sha256.Sum256(data)); got != r[2] {
			t.Errorf("%s: SHA-256 %s, want %s", r[1], got, r[2])
		}
	}
}

// runDemo runs the command's demo and returns what it printed.
func runDemo(t *testing.T, stdin []byte, audio string, asJSON bool) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd := &cobra.Command{}
	cmd.SetContext(t.Context())
	cmd.SetOut(&out)
	cmd.SetIn(bytes.NewReader(stdin))
	o := openFlags{units: "CPU_ONLY"}
	err := demo(cmd, audio, &o, asJSON)
	return out.String(), err
}

// skipUnderRace leaves the network out where it takes minutes: without assembly and with the race detector.
func skipUnderRace(t *testing.T) {
	t.Helper()
	if testkit.Race {
		t.Skip("the network takes minutes under the race detector; it runs in the other tests")
	}
}

func heardIn(t *testing.T, wav []byte, audio string) *transcription {
	t.Helper()
	skipUnderRace(t)
	text, err := runDemo(t, wav, audio, true)
	if err != nil {
		t.Fatal(err)
	}
	var got transcription
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	return &got
}

// missed returns the notes that are not among those heard: of the same pitch and
// begun within 50 ms. It takes what it finds, so that none counts twice.
func missed(score []played, heard []note) (missed []played, extra []note) {
	extra = append(extra, heard...)
next:
	for _, p := range score {
		for i, n := range extra {
			if n.MIDI == p.midi && math.Abs(n.Start-p.start) <= 0.05 {
				extra = append(extra[:i], extra[i+1:]...)
				continue next
			}
		}
		missed = append(missed, p)
	}
	return missed, extra
}

func checkHeard(t *testing.T, score []played, got *transcription, extras int) {
	t.Helper()
	lost, extra := missed(score, got.Notes)
	if len(lost) > 0 || len(extra) > extras {
		t.Errorf("not heard: %+v; extra, at most %d allowed: %+v; all: %+v", lost, extras, extra, got.Notes)
	}
}

func TestEmbeddedClipNotes(t *testing.T) {
	got := heardIn(t, nil, "")
	checkHeard(t, clipScore, got, 0)
	if got.Seconds != clipSeconds {
		t.Errorf("%g seconds, want %d", got.Seconds, clipSeconds)
	}
}

// randomScore is a melody with a second voice, at most one note of each at a time.
func randomScore(r *rand.Rand, seconds float64) []played {
	var score []played
	for voice := range 2 {
		for at := 0.2 + r.Float64()*0.3; at < seconds-1; {
			length := 0.3 + 0.5*r.Float64()
			low := 48 + 16*voice
			score = append(score, played{at, at + length, low + r.IntN(13), 0.7 + 0.3*r.Float64()})
			at += length + 0.05 + 0.2*r.Float64()
		}
	}
	return score
}

// TestKnownNotes transcribes synthesised audio at several rates.
func TestKnownNotes(t *testing.T) {
	for seed, rate := range []int{22050, 44100, 48000, 44099} {
		t.Run(fmt.Sprint(rate), func(t *testing.T) {
			const seconds = 8
			score := randomScore(rand.New(rand.NewPCG(7, uint64(seed))), seconds)
			got := heardIn(t, wavFile(synthesise(score, seconds, rate), rate), "-")
			checkHeard(t, score, got, len(score)/10)
		})
	}
}

// TestNoDrift has the same note every 1.3 seconds for a minute.
func TestNoDrift(t *testing.T) {
	var score []played
	for at := 0.5; at < 58; at += 1.3 {
		score = append(score, played{at, at + 0.5, 60 + len(score)%12, 1})
	}
	got := heardIn(t, wavFile(synthesise(score, 60, networkRate), networkRate), "-")
	checkHeard(t, score, got, 2)
}

func TestPrintedDemo(t *testing.T) {
	skipUnderRace(t)
	t.Setenv("LC_ALL", "C.UTF-8")
	text, err := runDemo(t, nil, "", false)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"A4", "●━", "× real time", "coreml predict --audio", "Apache-2.0"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

func TestDemoErrors(t *testing.T) {
	silent := wavFile(make([]float64, 100), networkRate)
	tests := []struct {
		name, audio string
		stdin       []byte
		want        string
		code        int
	}{
		{"missing file", "testdata/no-such.wav", nil, "no-such.wav", exitEnvironment},
		{"no WAV", "-", []byte("ID3 and so on, not a wave file"), "no WAV file", exitInput},
		{"empty", "-", nil, "ends too early", exitInput},
		{"no data", "-", silent[:44-4], "ends too early", exitInput},
		{"no samples", "-", wavFile(nil, networkRate), "no samples", exitInput},
		{"cut off", "-", silent[:len(silent)-50], "ends too early", exitInput},
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			_, err := runDemo(t, c.stdin, c.audio, false)
			if err == nil || !strings.Contains(err.Error(), c.want) || exitCode(err) != c.code {
				t.Errorf("error %v, code %d; want %q and %d", err, exitCode(err), c.want, c.code)
			}
		})
	}
}

func TestSilenceHasNoNotes(t *testing.T) {
	got := heardIn(t, wavFile(make([]float64, 5*networkRate), networkRate), "-")
	if len(got.Notes) != 0 || got.Seconds != 5 {
		t.Errorf("%d notes in %g s of silence", len(got.Notes), got.Seconds)
	}
}

// TestWindows gives every sample to the network once in the kept part, whatever the length.
func TestWindows(t *testing.T) {
	for _, n := range []int{1, frameSamples, keptFrames * frameSamples, keptFrames*frameSamples + 1, windowSamples, 3*windowSamples + 5} {
		tr := newTranscriber(func(context.Context, coreml.Features, coreml.Features) error { return nil })
		calls, frames := 0, 0
		tr.predict = func(_ context.Context, in, out coreml.Features) error {
			if first := tr.window[edgeFrames*frameSamples]; first != float32(frames*frameSamples+1) {
				t.Errorf("%d samples, window %d: kept part starts at sample %g, want %d", n, calls, first-1, frames*frameSamples)
			}
			calls++
			frames += keptFrames
			return nil
		}
		count := &countingReader{n: n}
		if err := tr.run(t.Context(), count); err != nil {
			t.Fatal(err)
		}
		want := (n + frameSamples - 1) / frameSamples
		if calls != (want+keptFrames-1)/keptFrames || tr.base != int64(want) {
			t.Errorf("%d samples: %d windows, %d frames, want %d frames", n, calls, tr.base, want)
		}
	}
}

func TestPredictUsage(t *testing.T) {
	for _, c := range []struct {
		flags predictFlags
		args  []string
	}{
		{predictFlags{demoFlags: demoFlags{audio: "a.wav"}}, []string{"model.mlpackage"}},
		{predictFlags{inputs: "in.npz"}, nil},
		{predictFlags{record: "case"}, nil},
	} {
		if err := predictEmbedded(&cobra.Command{}, &c.flags, c.args); exitCode(err) != exitUsage {
			t.Errorf("%+v %v: error %v, want one of usage", c.flags, c.args, err)
		}
	}
}
