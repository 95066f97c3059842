package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// rollStyle says how a piano roll is drawn.
type rollStyle struct {
	width int  // of the whole line
	ascii bool // no box drawing
	color bool
}

const (
	rollLabel  = 5  // columns of the pitch's name and the line after it
	rollRows   = 24 // with more pitches than rows, those without notes are left out
	rollSteady = "\x1b[0m"
	rollStruck = "\x1b[1;36m"
)

// pianoRoll draws notes over time: a row for each pitch, the highest first, a dot
// where a note begins and a line while it lasts, and the seconds below.
func pianoRoll(notes []note, seconds float64, s rollStyle) string {
	if len(notes) == 0 {
		return ""
	}
	columns := max(s.width-rollLabel-1, 10)
	at := func(t float64) int { return min(int(t/seconds*float64(columns)), columns) }
	bar := "│"
	if s.ascii {
		bar = "|"
	}
	var b strings.Builder
	for _, midi := range rollPitches(notes) {
		row := make([]rune, columns)
		for _, n := range notes {
			if n.MIDI == midi {
				drawNote(row, at(n.Start), at(n.End), s.ascii)
			}
		}
		line := strings.TrimRight(strings.ReplaceAll(string(row), "\x00", " "), " ")
		if s.color && line != "" {
			line = rollStruck + line + rollSteady
		}
		fmt.Fprintf(&b, "%-*s%s%s\n", rollLabel-1, pitchName(midi), bar, line)
	}
	b.WriteString(timeAxis(columns, seconds, s.ascii))
	return b.String()
}

// rollPitches lists the rows' pitches from the highest to the lowest.
func rollPitches(notes []note) []int {
	byPitch := func(a, b note) int { return a.MIDI - b.MIDI }
	lo, hi := slices.MinFunc(notes, byPitch).MIDI, slices.MaxFunc(notes, byPitch).MIDI
	var l []int
	for midi := hi; midi >= lo; midi-- {
		played := func(n note) bool { return n.MIDI == midi }
		if hi-lo < rollRows || slices.ContainsFunc(notes, played) {
			l = append(l, midi)
		}
	}
	return l
}

// drawNote marks a note from the column start up to end; its beginning is never
// drawn over by the note before it.
func drawNote(row []rune, start, end int, ascii bool) {
	struck, steady := '●', '━'
	if ascii {
		struck, steady = 'o', '-'
	}
	start = min(start, len(row)-1)
	for i := start; i < max(end, start+1); i++ {
		if row[i] != struck {
			row[i] = steady
		}
	}
	row[start] = struck
}

// timeAxis draws a line with a tick and its time at round numbers of seconds.
func timeAxis(columns int, seconds float64, ascii bool) string {
	corner, line, tick := '└', '─', '┬'
	if ascii {
		corner, line, tick = '+', '-', '+'
	}
	step := tickStep(seconds, columns)
	axis := slices.Repeat([]rune{line}, columns)
	labels := slices.Repeat([]rune{' '}, columns+rollLabel)
	for i := 0; ; i++ {
		t := float64(i) * step
		column := int(t / seconds * float64(columns))
		text := []rune(fmt.Sprintf("%g", math.Round(t*1e6)/1e6))
		if column+len(text)+2 > columns {
			break
		}
		axis[column] = tick
		if i == 0 {
			text = append(text, ' ', 's')
		}
		copy(labels[rollLabel+column:], text)
	}
	pad := strings.Repeat(" ", rollLabel-1)
	return pad + string(corner) + string(axis) + "\n" + strings.TrimRight(string(labels), " ") + "\n"
}

// tickStep is the least of 1, 2 and 5 times a power of ten, in seconds, that
// leaves room for the labels.
func tickStep(seconds float64, columns int) float64 {
	least := seconds * 10 / float64(columns)
	step := math.Pow(10, math.Floor(math.Log10(least)))
	for _, m := range []float64{1, 2, 5, 10} {
		if m*step >= least {
			return m * step
		}
	}
	return 10 * step
}
