package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"coreml/internal/kernel/asm/emit"
)

// Elementwise kernels of package vec. A kernel is a literal: which field of vec.Funcs it fills,
// how many operands it reads, and a body that computes a few vectors at a time, interleaved to
// hide latency. The loop, the tail and the placing of constants are the same for all.

// wide is some vectors that go through the same instructions one after the other.
type wide []emit.Vec

// konst is a constant in every lane, as an operand.
type konst float32

// bits is a constant that is no float.
type bits uint32

// elementwise is one kernel.
type elementwise struct {
	Field   string // of vec.Funcs
	Sources int
	Scalars int  // float32 parameters
	Chans   int  // channel vectors: loaded once, the same for every vector of the source
	Width   int  // vectors at a time on AVX-512; half of it on AVX2
	Flags   bool // the kernel returns nonzero if the body flagged a lane
	Body    func(k *kern, in []wide, s []emit.Vec) wide
}

// kern is the state while the body of one kernel is written. Its methods are those of emit.Func
// for wide operands.
type kern struct {
	*emit.Func
	width int
	held  map[uint32]emit.Vec // constants that have a register during the whole loop
	uses  map[uint32]int      // of each constant, those that need a register counted double
	order []uint32            // constants by first use
	temps []any               // allocated since the body began
	flags emit.Mask
}

func (e elementwise) name(t emit.Target) string {
	return strings.ToLower(e.Field[:1]) + e.Field[1:] + "_" + t.Name
}

// write writes the kernel twice: once into the void to learn which constants it uses and how many
// registers it leaves, then with the most used constants in those.
func (e elementwise) write(file *emit.File) {
	void := emit.NewFile(file.Package, "", file.Target())
	dry := e.emit(void, nil)
	e.emit(file, dry.mostUsed(dry.Spare()))
}

func (k *kern) mostUsed(n int) []uint32 {
	cs := slices.Clone(k.order)
	slices.SortStableFunc(cs, func(a, b uint32) int { return cmp.Compare(k.uses[b], k.uses[a]) })
	return cs[:min(n, len(cs))]
}

// kernelParams are the parameters of vec.kernel, whatever the kernel uses of them.
var kernelParams = []string{
	"dst unsafe.Pointer", "a unsafe.Pointer", "b unsafe.Pointer", "c unsafe.Pointer", "n int", "s0 float32", "s1 float32",
}

const firstScalar = 5

func (e elementwise) emit(file *emit.File, held []uint32) *kern {
	f := file.Func(e.name(file.Target()), "", kernelParams...)
	k := newKern(f, e.Width)
	ptrs := []emit.Reg{f.Param(0)}
	for i := range e.Sources {
		ptrs = append(ptrs, f.Param(1+i))
	}
	var s []emit.Vec
	for i := range e.Chans {
		p := f.Param(1 + e.Sources + i)
		s = append(s, f.Vec())
		f.Load(s[i], emit.At(p, 0))
		f.Free(p)
	}
	n := f.Param(firstScalar - 1)
	for i := range e.Scalars {
		s = append(s, f.Vec())
		f.SplatParam(s[i], firstScalar+i)
	}
	if e.Flags {
		f.Returns("int")
		k.flags = k.noLanes()
	}
	k.hold(held)
	e.loops(k, ptrs, n, s)
	if e.Flags {
		k.ReturnWord(k.anyLane(k.flags))
	}
	f.Ret()
	return k
}

func newKern(f *emit.Func, width int) *kern {
	if f.T.Lanes < emit.AVX512.Lanes {
		width = max(width/2, 1)
	}
	return &kern{Func: f, width: width, held: map[uint32]emit.Vec{}, uses: map[uint32]int{}}
}

// hold gives constants a register.
func (k *kern) hold(cs []uint32) {
	for _, c := range cs {
		v := k.Vec()
		k.constant(v, c)
		k.held[c] = v
	}
}

func (e elementwise) loops(k *kern, ptrs []emit.Reg, n emit.Reg, s []emit.Vec) {
	tail, done := k.NewLabel("tail"), k.NewLabel("done")
	step := k.width * k.T.Lanes
	k.JumpIf(n, emit.LT, emit.Imm(step), tail)
	top := k.NewLabel("loop")
	k.Bind(top)
	e.step(k, ptrs, s, k.width, emit.Mask{})
	k.AddTo(n, emit.Imm(-step))
	k.JumpIf(n, emit.GE, emit.Imm(step), top)
	k.Bind(tail)
	k.JumpIf(n, emit.LE, emit.Imm(0), done)
	m := k.MaskN(n)
	e.step(k, ptrs, s, 1, m)
	k.Free(m)
	k.AddTo(n, emit.Imm(-k.T.Lanes))
	k.Jump(emit.Always, tail)
	k.Bind(done)
}

// step loads, computes and stores width vectors.
func (e elementwise) step(k *kern, ptrs []emit.Reg, s []emit.Vec, width int, m emit.Mask) {
	k.width = width
	var in []wide
	for _, p := range ptrs[1:] {
		x := k.wide()
		for i := range x {
			k.LoadMask(x[i], emit.At(p, i*k.T.Bytes()), m)
		}
		in = append(in, x)
	}
	y := e.Body(k, in, s)
	for i := range y {
		k.StoreMask(emit.At(ptrs[0], i*k.T.Bytes()), y[i], m)
	}
	for _, p := range ptrs {
		k.AddTo(p, emit.Imm(width*k.T.Bytes()))
	}
	k.drop()
}

// wide allocates a register per vector; it is freed with drop or Free.
func (k *kern) wide() wide {
	w := wide(k.Vecs(k.width))
	k.temps = append(k.temps, []emit.Vec(w))
	return w
}

// drop frees everything that the body has allocated.
func (k *kern) drop() {
	k.Free(k.temps...)
	k.temps = nil
}

func (k *kern) free(ws ...wide) {
	for _, w := range ws {
		k.Free([]emit.Vec(w))
	}
}

// operand is argument b of vector i: a vector of a wide, a register, or a constant.
func (k *kern) operand(b any, i int) any {
	switch b := b.(type) {
	case wide:
		return b[i]
	case konst:
		return k.operand(bits(math.Float32bits(float32(b))), i)
	case bits:
		k.use(uint32(b), 1)
		if v, ok := k.held[uint32(b)]; ok {
			return v
		}
		return k.File().Each(uint32(b))
	}
	return b
}

func (k *kern) use(c uint32, n int) {
	if k.uses[c] == 0 {
		k.order = append(k.order, c)
	}
	k.uses[c] += n
}

// constant fills d with c.
func (k *kern) constant(d emit.Vec, c uint32) {
	if c == 0 {
		k.Zero(d)
		return
	}
	k.Splat(d, emit.Mem(k.File().Each(c)))
}

// fill sets every vector of d to a constant.
func (k *kern) fill(d wide, c konst) {
	b := math.Float32bits(float32(c))
	k.use(b, 1)
	for i := range d {
		if v, ok := k.held[b]; ok {
			k.Copy(d[i], v)
		} else if i > 0 {
			k.Copy(d[i], d[0])
		} else {
			k.constant(d[0], b)
		}
	}
}

// filled allocates a wide of a constant.
func (k *kern) filled(c konst) wide {
	d := k.wide()
	k.fill(d, c)
	return d
}

// reg is a register that holds c: for operands that cannot be memory.
func (k *kern) reg(c konst) emit.Vec {
	v, temp := k.inRegister(c)
	if temp {
		k.temps = append(k.temps, v)
	}
	return v
}

// inRegister is reg, where the caller frees a register that is temporary.
func (k *kern) inRegister(c konst) (v emit.Vec, temp bool) {
	b := math.Float32bits(float32(c))
	k.use(b, 2)
	if v, ok := k.held[b]; ok {
		return v, false
	}
	v = k.Vec()
	k.constant(v, b)
	return v, true
}

// noLanes allocates an empty mask.
func (k *kern) noLanes() emit.Mask {
	if k.T.Masks {
		n := k.Reg()
		k.Raw("XORL", n, n)
		m := k.MaskN(n)
		k.Free(n)
		return m
	}
	v := k.Vec()
	k.Zero(v)
	m := k.Cmp(emit.NotEqual, v, v)
	k.Free(v)
	return m
}

// addLanes is m |= o.
func (k *kern) addLanes(m, o emit.Mask) {
	if k.T.Masks {
		k.Raw("KORW", o, m, m)
		return
	}
	k.Raw("VORPS", o, m, m)
}

// anyLane allocates a register that is nonzero if m has a lane.
func (k *kern) anyLane(m emit.Mask) emit.Reg {
	r := k.Reg()
	if k.T.Masks {
		k.Raw("KMOVW", m, r)
	} else {
		k.Raw("VMOVMSKPS", m, r)
	}
	return r
}

// vecFile writes the kernels of one file.
func vecFile(kernels []elementwise) func(*emit.File) {
	return func(file *emit.File) {
		for _, e := range kernels {
			e.write(file)
		}
	}
}

// vecTable is the Go function that fills the fields of vec.Funcs.
func vecTable(noun string, kernels []elementwise) func(*emit.File) string {
	return func(file *emit.File) string {
		var b strings.Builder
		t := file.Target()
		fmt.Fprintf(&b, "\n// fill%s_%s fills in the kernels of this file.\n", noun, t.Name)
		fmt.Fprintf(&b, "func fill%s_%s(f *Funcs) {\n", noun, t.Name)
		for _, e := range kernels {
			fmt.Fprintf(&b, "\tf.%s = %s\n", e.Field, e.adapted(t))
		}
		b.WriteString("}\n")
		return b.String()
	}
}

// adapted is the field as made from the kernel by a function of package vec.
func (e elementwise) adapted(t emit.Target) string {
	name := e.name(t)
	switch {
	case e.Flags:
		return fmt.Sprintf("checked%s(%s)", e.Field, name)
	case e.Chans > 0:
		return fmt.Sprintf("perChannel%d(%d, %s, f.%s)", e.Chans, t.Lanes, name, e.Field)
	}
	return fmt.Sprintf("of%d%d(%s)", e.Sources, e.Scalars, name)
}
