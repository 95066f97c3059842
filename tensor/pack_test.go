package tensor

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// The packing that coremltools writes; see testdata/make.py.
func TestPackMatchesCoremltools(t *testing.T) {
	text, err := os.ReadFile("testdata/packed.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Bits   int
		Signed bool
		Values []int16
		Packed string
	}
	if err := json.Unmarshal(text, &cases); err != nil || len(cases) != 9 {
		t.Fatalf("%d cases, want 9: %v", len(cases), err)
	}
	for _, c := range cases {
		want, err := hex.DecodeString(c.Packed)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(want))
		if Pack(got, c.Values, c.Bits, 0); !bytes.Equal(got, want) {
			t.Errorf("%d bits: packed as %x, want %x", c.Bits, got, want)
		}
		values := make([]int16, len(c.Values))
		if Unpack(values, want, c.Bits, c.Signed, 0); !slices.Equal(values, c.Values) {
			t.Errorf("%d bits, signed %v: unpacked as %v, want %v", c.Bits, c.Signed, values, c.Values)
		}
	}
}

func TestUnpackMatchesBitByBit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bits := rapid.IntRange(1, 8).Draw(t, "bits")
		signed := rapid.Bool().Draw(t, "signed")
		src := rapid.SliceOfN(rapid.Byte(), 0, 60).Draw(t, "src")
		total := len(src) * 8 / bits
		start := rapid.IntRange(0, total).Draw(t, "start")
		n := rapid.IntRange(0, total-start).Draw(t, "n")

		want := make([]int16, n)
		for i := range want {
			for b := range bits {
				at := (start+i)*bits + b
				bit := int16(src[at/8]) >> (at % 8) & 1
				if signed && b == bits-1 {
					bit = -bit
				}
				want[i] += bit << b
			}
		}
		got := make([]int16, n)
		if Unpack(got, src, bits, signed, start); !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
		floats := make([]float32, n)
		Unpack(floats, src, bits, signed, start)
		for i, f := range floats {
			if f != float32(want[i]) {
				t.Fatalf("as float32: element %d: %v, want %d", i, f, want[i])
			}
		}
	})
}

func TestPackInvertsUnpackAndLeavesTheRest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bits := rapid.IntRange(1, 8).Draw(t, "bits")
		dst := rapid.SliceOfN(rapid.Byte(), 0, 60).Draw(t, "dst")
		total := len(dst) * 8 / bits
		start := rapid.IntRange(0, total).Draw(t, "start")
		n := rapid.IntRange(0, total-start).Draw(t, "n")
		values := make([]uint8, n)
		for i := range values {
			values[i] = uint8(rapid.IntRange(0, 1<<bits-1).Draw(t, "value"))
		}
		before := unpackAll(dst, bits)
		spare := spareBits(dst, bits)
		Pack(dst, values, bits, start)
		after := unpackAll(dst, bits)
		want := slices.Concat(before[:start], values, before[start+n:])
		if !slices.Equal(after, want) || spareBits(dst, bits) != spare {
			t.Fatalf("got %v, want %v", after, want)
		}
	})
}

func unpackAll(src []byte, bits int) []uint8 {
	all := make([]uint8, len(src)*8/bits)
	Unpack(all, src, bits, false, 0)
	return all
}

// spareBits returns what follows the last whole element.
func spareBits(src []byte, bits int) byte {
	if spare := len(src) * 8 % bits; spare > 0 {
		return src[len(src)-1] >> (8 - spare)
	}
	return 0
}

func TestPackRefusesWhatIsNotThere(t *testing.T) {
	for name, f := range map[string]func(){
		"too many":       func() { Unpack(make([]int8, 3), []byte{0}, 3, false, 0) },
		"past the end":   func() { Unpack(make([]int8, 1), []byte{0}, 4, false, 2) },
		"negative start": func() { Pack([]byte{0}, make([]int8, 1), 4, -1) },
		"9 bits":         func() { Pack([]byte{0, 0}, make([]int8, 1), 9, 0) },
		"0 bits":         func() { Unpack(make([]int8, 1), []byte{0}, 0, false, 0) },
		"start wraps":    func() { Unpack(make([]int8, 1), []byte{0}, 8, false, 1<<61) },
	} {
		if !panics(f) {
			t.Errorf("%s: no panic", name)
		}
	}
}

func panics(f func()) (yes bool) {
	defer func() { yes = recover() != nil }()
	f()
	return false
}

func BenchmarkUnpack(b *testing.B) {
	for _, bits := range []int{3, 4} {
		b.Run(UInt3.String()[:4]+string(rune('0'+bits)), func(b *testing.B) {
			src, dst := make([]byte, 512*bits), make([]int8, 4096)
			b.SetBytes(4096)
			for b.Loop() {
				Unpack(dst, src, bits, false, 0)
			}
		})
	}
}
