package isolate

import (
	"bytes"
	"errors"
	"image"
	"image/color"
	"io"
	"math"
	"math/rand/v2"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"coreml/internal/fault"
	"coreml/tensor"
)

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>3)
	}
	return b
}

// odd is an image type that nobody knows.
type odd struct{ image.Rectangle }

func (o odd) ColorModel() color.Model { return color.NRGBA64Model }
func (o odd) Bounds() image.Rectangle { return o.Rectangle }
func (o odd) At(x, y int) color.Color {
	return color.RGBA64{uint16(x * 900), uint16(y * 700), 5, 0xffff}
}

func everyImage() map[string]image.Image {
	r := image.Rect(-3, 2, 14, 13)
	all := map[string]image.Image{"odd": odd{r}}
	for name, kind := range map[string]byte{"rgba64": picRGBA64, "rgba": picRGBA, "nrgba": picNRGBA, "nrgba64": picNRGBA64, "gray": picGray, "gray16": picGray16, "cmyk": picCMYK} {
		m := newRaster(kind, r)
		p, _ := rasterOf(m)
		copy(p.pix, pattern(len(p.pix)))
		all[name] = m
		all["part of "+name] = m.(interface {
			SubImage(image.Rectangle) image.Image
		}).SubImage(image.Rect(0, 5, 7, 9))
	}
	for s := image.YCbCrSubsampleRatio444; s <= image.YCbCrSubsampleRatio410; s++ {
		m := image.NewYCbCr(r, s)
		copy(m.Y, pattern(len(m.Y)))
		copy(m.Cb, pattern(len(m.Cb)))
		copy(m.Cr, pattern(len(m.Cr) + 1)[1:])
		all[s.String()] = m
		all["part of "+s.String()] = m.SubImage(image.Rect(1, 5, 7, 9))
	}
	all["empty"] = image.NewGray(image.Rectangle{})
	return all
}

func everyFeature(t *testing.T) tensor.Features {
	t.Helper()
	f := tensor.Features{"s": "text ä", "i": int64(-7), "f": math.Inf(-1), "nil": nil, "si": map[string]float64{"a": 1, "": 2},
		"ii": map[int64]float64{-5: 0.25}, "ls": []string{"", "x"}, "li": []int64{math.MinInt64, 3}}
	for d := tensor.DType(0); d < 64; d++ {
		if d.Bits() == 0 {
			continue
		}
		x, err := tensor.Make(d, []int{3, 1, 5})
		if err != nil {
			t.Fatal(err)
		}
		copy(x.Bytes(), pattern(len(x.Bytes())))
		if d == tensor.Bool {
			clear(x.Bytes())
			x.Bytes()[4] = 1
		}
		f[d.String()] = x
	}
	f["scalar"] = tensor.Scalar(float32(4))
	f["no elements"] = tensor.New(tensor.Float32, 2, 0)
	for name, m := range everyImage() {
		f["image "+name] = m
	}
	return f
}

func encode(t *testing.T, f tensor.Features) (body, mem []byte) {
	t.Helper()
	mem = make([]byte, Size(f))
	e := NewEncoder(mem)
	if err := e.Features(f, nil); err != nil {
		t.Fatal(err)
	}
	return e.buf[headerSize:], mem
}

func TestFeaturesCross(t *testing.T) {
	want := everyFeature(t)
	body, mem := encode(t, want)
	copied, viewed := tensor.Features{}, tensor.Features{}
	d := NewDecoder(body, mem)
	d.Features(copied)
	if err := d.Err(); err != nil || len(d.b) != 0 {
		t.Fatalf("%v, %d bytes left", err, len(d.b))
	}
	d = NewDecoder(body, mem)
	d.Views(viewed)
	if err := d.Err(); err != nil {
		t.Fatal(err)
	}
	for name, w := range want {
		for _, got := range []any{copied[name], viewed[name]} {
			if img, ok := w.(image.Image); ok {
				sameImage(t, name, got, img)
			} else if !reflect.DeepEqual(got, w) {
				t.Errorf("%s: %v, want %v", name, got, w)
			}
		}
	}
}

func sameImage(t *testing.T, name string, got any, want image.Image) {
	t.Helper()
	g, ok := got.(image.Image)
	if !ok || g.Bounds() != want.Bounds() {
		t.Errorf("%s: %T, want an image of %v", name, got, want.Bounds())
		return
	}
	b := want.Bounds()
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			if g.At(x, y) != want.At(x, y) {
				t.Errorf("%s: pixel %d,%d: %v, want %v", name, x, y, g.At(x, y), want.At(x, y))
				return
			}
		}
	}
}

func TestFeaturesThatDoNotCross(t *testing.T) {
	for _, v := range []any{struct{}{}, (*tensor.Tensor)(nil), []float32{1}, image.NewUniform(color.Black)} {
		f := tensor.Features{"x": v}
		if err := NewEncoder(make([]byte, Size(f))).Features(f, nil); !errors.Is(err, fault.Schema) && !errors.Is(err, fault.Limit) {
			t.Errorf("%T: %v, want a typed error", v, err)
		}
	}
}

// TestSpoiledMessages: whatever a child answers, decoding ends without a panic and
// allocates little more than the message and its memory.
func TestSpoiledMessages(t *testing.T) {
	body, mem := encode(t, everyFeature(t))
	r := rand.New(rand.NewPCG(1, 2))
	bad := 0
	for range 20000 {
		b := bytes.Clone(body)
		for range 1 + r.IntN(4) {
			at := r.IntN(len(b))
			b[at] = []byte{0, 1, 0x7f, 0x80, 0xff, b[at] ^ 1, byte(r.Uint32())}[r.IntN(7)]
		}
		if r.IntN(4) == 0 {
			b = b[:r.IntN(len(b))]
		}
		d := NewDecoder(b, mem[:r.IntN(len(mem)+1)])
		d.Features(tensor.Features{})
		if d.Err() != nil {
			bad++
		}
	}
	if bad < 10000 {
		t.Errorf("only %d of 20000 were found out", bad)
	}
}

func TestFrames(t *testing.T) {
	msg, err := seal(append(appendHeader(nil), "hello"...), kindReply, 7)
	if err != nil {
		t.Fatal(err)
	}
	f, err := readFrame(bytes.NewReader(msg))
	if err != nil || f.kind != kindReply || f.call != 7 || string(f.body) != "hello" {
		t.Errorf("%+v (%v)", f, err)
	}
	for n := range msg {
		_, err := readFrame(bytes.NewReader(msg[:n]))
		if n == 0 && err != io.EOF || n > 0 && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut after %d: %v", n, err)
		}
	}
	for _, at := range []int{0, 1, 2, 3, 7} {
		b := bytes.Clone(msg)
		b[at] = 0xee
		if _, err := readFrame(bytes.NewReader(b)); !errors.Is(err, errGarbage) {
			t.Errorf("byte %d spoiled: %v", at, err)
		}
	}
	if _, err := seal(make([]byte, headerSize+maxBody+1), kindReply, 1); err == nil {
		t.Error("a body beyond the limit was accepted")
	}
}

func TestErrorsCross(t *testing.T) {
	for _, k := range kinds() {
		err := decodeError(appendError(nil, errors.Join(errors.New("why"), k)))
		if !errors.Is(err, k) || !strings.Contains(err.Error(), "why") {
			t.Errorf("%v: %v", k, err)
		}
		for _, other := range kinds() {
			if other != k && errors.Is(err, other) {
				t.Errorf("%v is %v, too", k, other)
			}
		}
	}
	if err := decodeError([]byte{1}); err == nil {
		t.Error("no error of a spoiled error")
	}
}

func TestTail(t *testing.T) {
	var l tail
	for range 30 {
		io.WriteString(&l, "line\n")
	}
	io.WriteString(&l, "panic: \x1b[31mno\xff\r\n\n"+strings.Repeat("x", 1000))
	head, lines := l.words()
	if head != "panic: ?[31mno?" || len(lines) != tailLines || len(lines[tailLines-1]) != tailWidth || lines[0] != "line" {
		t.Errorf("%q, %d lines: %q", head, len(lines), lines)
	}
}

func TestSlotSizes(t *testing.T) {
	for n := 1; n < 1<<32; n += 1 + n/7 {
		s := slotSize(n)
		if s < n || s%granule != 0 || s > max(granule, n+n/4+granule) {
			t.Errorf("%d bytes: a slot of %d", n, s)
		}
	}
}

func TestSegment(t *testing.T) {
	g, err := newSegment("", 10<<20)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	a, err := g.take(100)
	if err != nil {
		t.Fatal(err)
	}
	b, err := g.take(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.take(20 << 20); !errors.Is(err, fault.Limit) {
		t.Errorf("beyond the limit: %v", err)
	}
	v := views{file: g.file, mem: map[int64][]byte{}}
	seen, err := v.slot(b.off, len(b.mem))
	if err != nil {
		t.Fatal(err)
	}
	b.mem[77] = 9
	if seen[77] != 9 {
		t.Error("the other side does not see what was written")
	}
	for _, w := range [][2]int64{{1, granule}, {0, 1}, {-granule, granule}, {0, -granule}} {
		if _, err := v.slot(w[0], int(w[1])); err == nil {
			t.Errorf("a slot of %d at %d was mapped", w[1], w[0])
		}
	}
	a.release()
	b.release()
	d, err := g.take(4 << 20)
	if err != nil {
		t.Fatal(err)
	}
	before := g.size
	d.discard()
	if e, err := g.take(4 << 20); err != nil || runtime.GOOS == "linux" && (e == d || e.off == d.off || g.size != before) {
		t.Errorf("a discarded slot was used again, or not accounted for: %v", err)
	} else {
		e.release()
	}
	c, err := g.take(granule + 1)
	if err != nil || c != b {
		t.Errorf("%v: the larger idle slot was not used", err)
	}
	if err := g.close(); err != nil {
		t.Error(err)
	}
	if c.mem == nil {
		t.Error("a slot in use was unmapped")
	}
	c.release()
	if c.mem != nil || g.err != nil {
		t.Errorf("a slot was left mapped (%v)", g.err)
	}
	if err := unmapShared(seen); err != nil {
		t.Error(err)
	}
}
