package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"coreml"
)

// transcription is what the embedded network heard, and how long that took.
type transcription struct {
	Audio    string  `json:"audio"`
	Seconds  float64 `json:"seconds"`
	Notes    []note  `json:"notes"`
	Windows  int     `json:"windows"`
	LoadMS   float64 `json:"load_ms"`
	TookMS   float64 `json:"compute_ms"`
	RealTime float64 `json:"times_real_time"`
}

// demoFlags are the flags of predict that go without a model.
type demoFlags struct {
	audio   string
	licence bool
}

func (d *demoFlags) add(f *pflag.FlagSet) {
	f.StringVar(&d.audio, "audio", "", "WAV file of any length and rate (- is stdin) whose notes the built-in network prints")
	f.BoolVar(&d.licence, "licence", false, "print where the built-in network comes from, and its licence")
}

func (d *demoFlags) given() bool { return d.audio != "" || d.licence }

// predictEmbedded is predict without a model.
func predictEmbedded(cmd *cobra.Command, o *predictFlags, args []string) error {
	switch {
	case len(args) > 0:
		return usageError{fmt.Errorf("predict: --audio and --licence are of the built-in network: want no MODEL, not %s", shellQuote(args[0]))}
	case o.inputs+o.output+o.state+o.record != "":
		return usageError{errors.New("predict: --inputs, --output, --state and --record want a MODEL; see coreml predict --help")}
	case o.licence:
		return printLicence(cmd.OutOrStdout())
	}
	return demo(cmd, o.audio, &o.openFlags, o.asJSON)
}

// demo runs the embedded network on a WAV file ("-" is stdin), or on the embedded
// clip if audio is "", and prints the notes. Flags that concern one prediction
// hold for each window of the audio.
func demo(cmd *cobra.Command, audio string, o *openFlags, asJSON bool) error {
	opt, err := o.options()
	if err != nil {
		return err
	}
	src, err := openAudio(cmd.InOrStdin(), audio)
	if err != nil {
		return err
	}
	defer src.Close()
	if audio == "" {
		audio = "the embedded clip"
	}
	start := time.Now()
	m, err := coreml.OpenFS(embedded, embeddedModel, opt)
	if err != nil {
		return fmt.Errorf("%s: %w", embeddedModel, err)
	}
	defer m.Close()
	load := time.Since(start)
	t, err := transcribe(cmd.Context(), m, src, o)
	if err != nil {
		return fmt.Errorf("%s: %w", audio, err)
	}
	t.Audio, t.LoadMS = audio, milliseconds(load)
	if asJSON {
		return printJSON(cmd.OutOrStdout(), t)
	}
	return printTranscription(cmd.OutOrStdout(), t, terminalStyle(cmd.OutOrStdout()))
}

// openAudio opens a file, stdin for "-" or the embedded clip for "".
func openAudio(stdin io.Reader, name string) (io.ReadCloser, error) {
	switch name {
	case "":
		return embedded.Open(embeddedClip)
	case "-":
		return io.NopCloser(stdin), nil
	}
	return os.Open(name)
}

func transcribe(ctx context.Context, m *coreml.Model, src io.Reader, o *openFlags) (*transcription, error) {
	start := time.Now()
	w, err := newWAV(src)
	if err != nil {
		return nil, inputError{err}
	}
	var samples sampleReader = w
	if w.rate != networkRate {
		samples = newResampler(w, w.rate, networkRate)
	}
	t := newTranscriber(func(ctx context.Context, in, out coreml.Features) error {
		ctx, cancel := o.within(ctx)
		defer cancel()
		return m.PredictInto(ctx, in, out, nil)
	})
	if err := t.run(ctx, samples); err != nil {
		return nil, inputError{err}
	}
	if t.samples == 0 {
		return nil, inputError{errors.New("wav: data: no samples")}
	}
	took := time.Since(start)
	seconds := float64(t.samples) / networkRate
	return &transcription{
		Seconds: round(seconds, 3), Notes: rounded(t.notes), Windows: t.windows,
		TookMS: milliseconds(took), RealTime: round(seconds/took.Seconds(), 1),
	}, nil
}

// rounded gives times in milliseconds; it is never nil, so that JSON has a list.
func rounded(notes []note) []note {
	l := make([]note, len(notes))
	for i, n := range notes {
		n.Start, n.End, n.Amplitude = round(n.Start, 3), round(n.End, 3), round(n.Amplitude, 3)
		l[i] = n
	}
	return l
}

func round(v float64, digits int) float64 {
	p := math.Pow10(digits)
	return math.Round(v*p) / p
}

// nextCommands are worth trying after the first.
const nextCommands = `Next:
  coreml predict --audio yours.wav     the notes of your own recording
  coreml predict --licence             whose network this is, and its terms
  coreml show MODEL.mlpackage          what a model takes, gives and consists of
  coreml predict MODEL.mlpackage       its inputs, with a command to copy
  coreml bench MODEL.mlpackage         how fast it runs on this machine
`

func printTranscription(w io.Writer, t *transcription, s rollStyle) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s, heard by %s\n\n", t.Audio, plural(len(t.Notes), "note"), embeddedTitle)
	if len(t.Notes) > 0 {
		table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprint(table, "start\tend\tpitch\tMIDI\tamplitude\t\n")
		for _, n := range t.Notes {
			fmt.Fprintf(table, "%.2f s\t%.2f s\t%s\t%d\t%.2f\t\n", n.Start, n.End, n.Pitch, n.MIDI, n.Amplitude)
		}
		table.Flush()
		fmt.Fprintf(&b, "\n%s\n", pianoRoll(t.Notes, t.Seconds, s))
	}
	fmt.Fprintf(&b, "%.2f s of audio in %.2f s, %.0f × real time (%s); loading took %.2f s.\n\n%s",
		t.Seconds, t.TookMS/1e3, t.RealTime, plural(t.Windows, "window"), t.LoadMS/1e3, nextCommands)
	_, err := io.WriteString(w, b.String())
	return err
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

const (
	defaultWidth = 80
	widestRoll   = 200
)

// terminalStyle fits drawings to the terminal that w is; if it is none, they have
// 80 columns and no colour.
func terminalStyle(w io.Writer) rollStyle {
	s := rollStyle{width: defaultWidth, ascii: !unicodeLocale(os.Getenv)}
	if f, ok := w.(*os.File); ok {
		if n := terminalWidth(f); n > 0 {
			s.width = min(n, widestRoll)
			s.color = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
		}
	}
	return s
}

// unicodeLocale reports whether text may hold more than ASCII. Unset is yes, as in
// most containers; so is everything on Windows, whose console takes UTF-16.
func unicodeLocale(getenv func(string) string) bool {
	if runtime.GOOS == "windows" {
		return true
	}
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := getenv(name); v != "" {
			_, charset, named := strings.Cut(strings.ToUpper(v), ".")
			if named {
				return strings.HasPrefix(charset, "UTF-8") || strings.HasPrefix(charset, "UTF8")
			}
			return v != "C" && v != "POSIX"
		}
	}
	return true
}
