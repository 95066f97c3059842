package mlmodel

import (
	"errors"
	"path/filepath"
	"runtime/metrics"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// allocated is what this process has allocated so far, in bytes.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// field encodes one length-delimited field.
func field(number protowire.Number, contents ...[]byte) []byte {
	var all []byte
	for _, c := range contents {
		all = append(all, c...)
	}
	b := protowire.AppendTag(nil, number, protowire.BytesType)
	return protowire.AppendBytes(b, all)
}

func repeat(b []byte, size int) []byte {
	out := make([]byte, 0, size+len(b))
	for len(out) < size {
		out = append(out, b...)
	}
	return out
}

func varint(number protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, number, protowire.VarintType), v)
}

// header is the beginning of a model: specificationVersion and an empty description.
var header = withDescription(nil)

func withDescription(description []byte) []byte {
	return append(varint(1, 8), field(2, description)...)
}

// nest puts a message into itself depth times, by the path of fields in between.
func nest(depth int, path ...protowire.Number) []byte {
	b := make([]byte, depth*len(path)*12) // filled from its end
	start := len(b)
	for range depth {
		for _, number := range slices.Backward(path) {
			head := protowire.AppendTag(nil, number, protowire.BytesType)
			head = protowire.AppendVarint(head, uint64(len(b)-start))
			start -= copy(b[start-len(head):], head)
		}
	}
	return b[start:]
}

// programWith is a model whose program has one operation with these contents.
func programWith(op []byte) []byte {
	block := field(3, op)
	function := append(field(2, []byte("CoreML7")), field(3, field(1, []byte("CoreML7")), field(2, block))...)
	program := append(varint(1, 1), field(2, field(1, []byte("main")), field(2, function))...)
	return slices.Concat(header, field(502, program))
}

// bombs are small files that would take memory or time out of all proportion to
// decode: each repeats something small to about the given size.
func bombs() map[string]func(size int) []byte {
	described := func(description []byte) []byte { return append(withDescription(description), field(900)...) }
	array := func(contents []byte) []byte { return described(field(1, field(3, field(5, contents)))) }
	model := func(contents []byte) []byte { return slices.Concat(header, contents) }
	tensor := func(kind protowire.Number, values []byte) []byte {
		return programWith(field(5, field(1, []byte("val")), field(2, field(3, field(1, field(kind, values))))))
	}
	return map[string]func(size int) []byte{
		"empty inputs":            func(n int) []byte { return described(repeat(field(1), n)) },
		"empty functions":         func(n int) []byte { return described(repeat(field(20), n)) },
		"empty arrays":            func(n int) []byte { return described(repeat(field(1, field(3, field(5))), n)) },
		"user defined":            func(n int) []byte { return described(field(100, repeat(field(100), n))) },
		"runs of one number":      func(n int) []byte { return array(repeat(field(1, []byte{1}), n)) },
		"one run of dimensions":   func(n int) []byte { return array(field(1, repeat([]byte{1}, n))) },
		"enumerated shapes":       func(n int) []byte { return array(field(21, repeat(field(1, field(1, []byte{1})), n))) },
		"empty enumerated shapes": func(n int) []byte { return array(field(21, repeat(field(1), n))) },
		"size ranges":             func(n int) []byte { return array(field(31, repeat(field(1), n))) },
		"enumerated sizes": func(n int) []byte {
			return described(field(1, field(3, field(4, field(21, repeat(field(1), n))))))
		},
		"empty operations": func(n int) []byte {
			return model(field(502, field(2, field(2, field(3, field(2, repeat(field(3), n)))))))
		},
		"empty map entries":  func(n int) []byte { return model(field(502, repeat(field(4), n))) },
		"empty values":       func(n int) []byte { return programWith(field(5, field(2, field(3, field(3, repeat(field(1), n)))))) },
		"empty strings":      func(n int) []byte { return tensor(4, repeat(field(1), n)) },
		"runs of one float":  func(n int) []byte { return tensor(1, repeat(field(1, make([]byte, 4)), n)) },
		"one run of numbers": func(n int) []byte { return tensor(5, field(1, make([]byte, n))) },
		"single numbers":     func(n int) []byte { return tensor(5, repeat(varint(1, 1), n)) },
		"a repeated single message": func(n int) []byte {
			return programWith(field(5, field(2, field(3, field(1, repeat(field(1, field(1, make([]byte, 4))), n))))))
		},
		"repeated description": func(n int) []byte { return repeat(field(2, field(1)), n) },
		"unknown fields":       func(n int) []byte { return model(repeat(varint(9999, 1), n)) },
		"empty pipeline":       func(n int) []byte { return model(field(202, repeat(field(1), n))) },
		"pipeline names":       func(n int) []byte { return model(field(202, repeat(field(2), n))) },
		"empty layers":         func(n int) []byte { return model(field(500, repeat(field(1), n))) },
		"empty trees":          func(n int) []byte { return model(field(302, field(1, repeat(field(1), n)))) },
		"one byte strings":     func(n int) []byte { return model(field(403, field(100, repeat(field(1, []byte("a")), n)))) },
	}
}

func TestBombsStayWithinTheBudget(t *testing.T) {
	const size = 4 << 20
	for name, bomb := range bombs() {
		path := filepath.Join(t.TempDir(), "model.mlmodel")
		writeFile(t, path, bomb(size))
		before, start := allocated(), time.Now()
		m, err := Open(path)
		if used := allocated() - before; used > budgetFixed+budgetPerByte*size {
			t.Errorf("%s: allocated %d MiB for a file of %d MiB", name, used>>20, size>>20)
		}
		if took := time.Since(start); took > 15*time.Second {
			t.Errorf("%s: took %v", name, took)
		}
		checkSentinel(t, err)
		if err == nil {
			m.Close()
		}
	}
}

// The promise rests on the meter: what it counts must cover what is allocated.
func TestMeterCountsEverything(t *testing.T) {
	for name, bomb := range bombs() {
		data := bomb(64 << 10)
		for counted(data) > 64<<20 {
			data = bomb(len(data) / 2)
		}
		path := filepath.Join(t.TempDir(), "model.mlmodel")
		writeFile(t, path, data)
		Open(path) // for what happens only once
		before := allocated()
		m, err := Open(path)
		used := int64(allocated() - before)
		if err == nil {
			m.Close()
		}
		if want := counted(data); want > 0 && used > want+want/16+64<<10 {
			t.Errorf("%s: allocated %d KiB, counted %d KiB", name, used>>10, want>>10)
		}
	}
}

// counted is what the meter expects decoding to allocate.
func counted(data []byte) int64 {
	const all = 1 << 60
	w := meter{left: all}
	if w.message(data, modelLayout(), 1, 0) != nil {
		return 0
	}
	return all - w.left
}

// checkSentinel demands that an error is of a class, and shown in one line.
func checkSentinel(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	for _, kind := range []error{ErrInvalid, ErrUnsupported, ErrLoad, ErrLimit} {
		if errors.Is(err, kind) {
			return
		}
	}
	t.Errorf("%v is of no class", err)
}

// The positive control: the walk is what stops most of them.
func TestBombsAreBombs(t *testing.T) {
	refused := 0
	for _, bomb := range bombs() {
		if checkBudget(bomb(4<<20), 0) != nil {
			refused++
		}
	}
	if refused < 10 {
		t.Errorf("only %d bombs are refused by the walk, want at least 10", refused)
	}
}

func TestDeepNesting(t *testing.T) {
	op := func(contents []byte) []byte { return programWith(contents) }
	for name, data := range map[string][]byte{
		"pipelines":      slices.Concat(header, nest(20000, 202, 1)),
		"blocks":         op(nest(20000, 4, 3)),
		"value types":    op(field(3, field(2, nest(20000, 2, 1)))),
		"lists":          op(field(5, field(2, nest(20000, 3, 3, 1)))),
		"neural network": slices.Concat(header, field(500, nest(20000, 1, 615, 3))),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := parseSpec(data, 0); !errors.Is(err, ErrLimit) && !errors.Is(err, ErrInvalid) {
				t.Errorf("got %v, want ErrLimit", err)
			}
		})
	}
}

// The depth that is allowed must not depend on how the model got there.
func TestDepthLimit(t *testing.T) {
	deep := func(n int) []byte { return slices.Concat(header, nest(n, 202, 1)) }
	if err := checkBudget(deep(maxDepth/2-1), 0); err != nil {
		t.Errorf("%d messages: %v", maxDepth-1, err)
	}
	if err := checkBudget(deep(maxDepth/2), 0); !errors.Is(err, ErrLimit) {
		t.Errorf("%d messages: got %v, want ErrLimit", maxDepth+1, err)
	}
}

func TestMalformedProtobuf(t *testing.T) {
	for name, data := range map[string][]byte{
		"tag cut":            {0x80},
		"field number 0":     {0x00, 0x01},
		"length cut":         {0x12, 0x80},
		"length past end":    {0x12, 0x05, 0x00},
		"length 2^64-1":      {0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
		"varint too long":    {0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
		"group":              append(encode(newProgram()), 0x13, 0x14),
		"end of group":       append(encode(newProgram()), 0x14),
		"inner field cut":    field(2, field(1, []byte{0x0a, 0x7f})),
		"name is not UTF-8":  withDescription(field(1, field(1, []byte{0xff}))),
		"two descriptions":   slices.Concat(header, field(2)),
		"string as a number": varint(2, 7),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := parseSpec(data, 0); !errors.Is(err, ErrInvalid) {
				t.Errorf("got %v, want ErrInvalid", err)
			}
		})
	}
}
