package fault

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxQuoted = 80
	maxName   = 200
)

// Quote makes a name or a text out of a file fit for one line of an error or a
// listing: at most 80 bytes of it, with everything unprintable escaped.
func Quote(s string) string {
	if short := Cut(s); short != s {
		return strconv.Quote(short) + "…"
	}
	return strconv.Quote(s)
}

// Cut is the first 80 bytes of s, and no part of a rune.
func Cut(s string) string {
	if len(s) <= maxQuoted {
		return s
	}
	n := maxQuoted
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// Name is s as it is where it reads as one word, as nearly all names do: letters,
// digits and what stands between them. Any other name, or one of more than 200
// bytes, is quoted.
func Name(s string) string {
	odd := func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("_.-/:@", r)
	}
	if s == "" || len(s) > maxName || !utf8.ValidString(s) || strings.ContainsFunc(s, odd) {
		return Quote(s)
	}
	return s
}

// OneOf lists the names that would have been right, the first ten of many.
func OneOf(names []string) string {
	const most = 10
	text := "one of"
	if len(names) == 1 {
		text = ""
	}
	for i, name := range names {
		if i == most {
			return text + " …"
		}
		if text != "" {
			text += " "
		}
		text += Quote(name)
	}
	return text
}
