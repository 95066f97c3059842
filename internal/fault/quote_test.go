package fault

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestQuote(t *testing.T) {
	for _, s := range []string{"", "x", "a\nb", "\x1b[31m", strings.Repeat("a", 3000), strings.Repeat("ä", 300), "a\xff", "\u202e", "\u2028"} {
		for _, q := range []string{Quote(s), Name(s)} {
			if !utf8.ValidString(q) || strings.ContainsAny(q, "\n\x1b\u202e\u2028") || len(q) > 5*maxQuoted {
				t.Errorf("%q is given as %s", s, q)
			}
		}
	}
	if got, want := Quote(strings.Repeat("a", 100)), `"`+strings.Repeat("a", 80)+`"…`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestName(t *testing.T) {
	for _, s := range []string{"x", "conv_1", "input.1", "BatchNorm/Relu6:0_clip", "@model_path/weights/weight.bin", "größe"} {
		if got := Name(s); got != s {
			t.Errorf("%s is given as %s", s, got)
		}
	}
	for _, s := range []string{"", "a b", `a"b`, "f(x)", "x, y", "a\tb", "a\xffb", "a…", strings.Repeat("a", 201)} {
		if got := Name(s); got != Quote(s) {
			t.Errorf("%q is given as %s, want it quoted", s, got)
		}
	}
}

func TestOneOf(t *testing.T) {
	if got, want := OneOf(strings.Split("a b c d e f g h i j k l", " ")), `one of "a" "b" "c" "d" "e" "f" "g" "h" "i" "j" …`; got != want {
		t.Errorf("many names are listed as %s", got)
	}
	if got := OneOf([]string{"a\n"}); got != `"a\n"` {
		t.Errorf("one name is listed as %s", got)
	}
}
