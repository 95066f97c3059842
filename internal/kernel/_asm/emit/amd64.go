package emit

import (
	"fmt"
	"strings"
)

// amd64Regs are the general registers a kernel may use: BP is the frame pointer, R14 the
// goroutine, R15 belongs to dynamic linking. CX comes last since shifts want it free.
var amd64Regs = []Reg{"AX", "BX", "DX", "SI", "DI", "R8", "R9", "R10", "R11", "R12", "R13", "CX"}

const maskRegs = 8

// Mem is a memory operand: [Base + Index*Scale + Disp], a field of a Go struct
// (Field is a name of go_asm.h, used as a displacement), or a symbol of the file.
type Mem struct {
	Base  Reg
	Index Reg
	Scale int // 1, 2, 4, 8; 0 means 1
	Disp  int
	Field string
	Sym   string
}

// At is the memory at base plus a displacement in bytes.
func At(base Reg, disp int) Mem { return Mem{Base: base, Disp: disp} }

// Field is a member of the Go struct that base points to: Field(r, "Args_W").
func Field(base Reg, name string) Mem { return Mem{Base: base, Field: name} }

// Plus is the operand moved by a displacement in bytes.
func (m Mem) Plus(disp int) Mem { m.Disp += disp; return m }

// Idx is the operand with an index register added.
func (m Mem) Idx(index Reg, scale int) Mem { m.Index, m.Scale = index, scale; return m }

func (m Mem) String() string {
	var b strings.Builder
	switch {
	case m.Sym != "":
		fmt.Fprintf(&b, "%s+%d(SB)", m.Sym, m.Disp)
		return b.String()
	case m.Field != "" && m.Disp != 0:
		fmt.Fprintf(&b, "(%s+%d)", m.Field, m.Disp)
	case m.Field != "":
		b.WriteString(m.Field)
	case m.Disp != 0:
		fmt.Fprintf(&b, "%d", m.Disp)
	}
	fmt.Fprintf(&b, "(%s)", m.Base)
	if m.Index != "" {
		fmt.Fprintf(&b, "(%s*%d)", m.Index, max(m.Scale, 1))
	}
	return b.String()
}

// Each is a word in every lane, as an operand of arithmetic: see File.Each.
type Each Mem

// Imm is an immediate operand.
type Imm int64

// Xmm names the low 128 bits of a register, Ymm the low 256.
type (
	Xmm Vec
	Ymm Vec
)

func (f *Func) operand(o any) string {
	switch o := o.(type) {
	case Vec:
		if f.T.Lanes == 16 {
			return fmt.Sprintf("Z%d", int(o))
		}
		return fmt.Sprintf("Y%d", int(o))
	case Xmm:
		return fmt.Sprintf("X%d", int(o))
	case Ymm:
		return fmt.Sprintf("Y%d", int(o))
	case Mask:
		if f.T.Masks {
			return fmt.Sprintf("K%d", o.n)
		}
		return f.operand(Vec(o.n))
	case Imm:
		return fmt.Sprintf("$%d", int64(o))
	case Label:
		return string(o)
	case Mem:
		return o.String()
	case Each:
		return Mem(o).String()
	case Reg:
		return string(o)
	case string:
		return o
	}
	panic(fmt.Sprintf("BUG: emit: operand of type %T", o))
}

// Param loads parameter i of the function into a new register.
func (f *Func) Param(i int) Reg {
	r := f.Reg()
	f.Raw("MOVQ", f.arg(i), r)
	return r
}

func (f *Func) arg(i int) string { return fmt.Sprintf("%s+%d(FP)", f.params[i].name, f.offset(i)) }

// SplatParam fills d with parameter i, a float32.
func (f *Func) SplatParam(d Vec, i int) { f.Raw("VBROADCASTSS", f.arg(i), d) }

// ReturnFloat stores lane 0 of a as the result, ReturnWord a register.
func (f *Func) ReturnFloat(a Vec) { f.Raw("VMOVSS", Xmm(a), f.ret()) }
func (f *Func) ReturnWord(r Reg)  { f.Raw("MOVQ", r, f.ret()) }

func (f *Func) ret() string { return fmt.Sprintf("ret+%d(FP)", f.offset(len(f.params))) }

// Ret ends the function; the upper halves of the vector registers are cleared.
func (f *Func) Ret() {
	f.Raw("VZEROUPPER")
	f.Raw("RET")
}

// Set copies a word from a register, memory or an immediate.
func (f *Func) Set(d Reg, src any) { f.Raw("MOVQ", src, d) }

// Save stores a register to memory.
func (f *Func) Save(m Mem, r Reg) { f.Raw("MOVQ", r, m) }

// AddTo adds a register, memory or an immediate to d.
func (f *Func) AddTo(d Reg, src any) { f.Raw("ADDQ", src, d) }

// ShiftRight, ShiftLeft and AndImm change d in place; the shifts treat it as unsigned.
func (f *Func) ShiftRight(d Reg, n int) { f.Raw("SHRQ", Imm(n), d) }
func (f *Func) ShiftLeft(d Reg, n int)  { f.Raw("SHLQ", Imm(n), d) }
func (f *Func) AndImm(d Reg, x int)     { f.Raw("ANDQ", Imm(x), d) }

// AddMem adds a register to a word in memory.
func (f *Func) AddMem(m Mem, r Reg) { f.Raw("ADDQ", r, m) }

// Lea puts the address of m into d.
func (f *Func) Lea(d Reg, m Mem) { f.Raw("LEAQ", m, d) }

// Cond is the outcome of a comparison of signed words.
type Cond string

// Conditions of Jump and JumpIf.
const (
	Always Cond = "JMP"
	EQ     Cond = "JEQ"
	NE     Cond = "JNE"
	LT     Cond = "JLT"
	LE     Cond = "JLE"
	GT     Cond = "JGT"
	GE     Cond = "JGE"
)

// Jump goes to l on the flags of the last arithmetic instruction.
func (f *Func) Jump(c Cond, l Label) { f.Raw(string(c), l) }

// JumpIf compares a with b and goes to l when a c b holds.
func (f *Func) JumpIf(a any, c Cond, b any, l Label) {
	f.Raw("CMPQ", a, b)
	f.Raw(string(c), l)
}

// Loop runs body n times, n >= 1 in register n, which counts down to zero.
func (f *Func) Loop(n Reg, body func()) {
	top := f.NewLabel("loop")
	f.Bind(top)
	body()
	f.Raw("DECQ", n)
	f.Jump(NE, top)
}

// LoopOrNone is Loop for n >= 0.
func (f *Func) LoopOrNone(n Reg, body func()) {
	end := f.NewLabel("none")
	f.Raw("TESTQ", n, n)
	f.Jump(LE, end)
	f.Loop(n, body)
	f.Bind(end)
}

// MaskN allocates a mask of the first n lanes, 0 <= n <= Lanes.
func (f *Func) MaskN(n Reg) Mask {
	m := f.mask()
	if f.T.Masks {
		t := f.Reg()
		f.Raw("MOVL", "$-1", t)
		f.Raw("BZHIL", n, t, t)
		f.Raw("KMOVW", t, m)
		f.Free(t)
		return m
	}
	iota := f.file.Uint32s("iota", 0, 1, 2, 3, 4, 5, 6, 7)
	v := Vec(m.n)
	f.Raw("VMOVD", n, Xmm(v))
	f.Raw("VPBROADCASTD", Xmm(v), v)
	f.Raw("VPCMPGTD", iota, v, v)
	return m
}

// Zero clears a register.
func (f *Func) Zero(d Vec) {
	if f.T.Masks {
		f.Raw("VPXORD", d, d, d)
		return
	}
	f.Raw("VXORPS", d, d, d)
}

// Copy copies a register.
func (f *Func) Copy(d, a Vec) { f.Raw("VMOVAPS", a, d) }

// Load reads a vector; no alignment is needed.
func (f *Func) Load(d Vec, m Mem) { f.Raw("VMOVUPS", m, d) }

// LoadMask reads the lanes of k, the others become zero and their memory is not touched.
func (f *Func) LoadMask(d Vec, m Mem, k Mask) {
	switch {
	case !k.valid:
		f.Load(d, m)
	case f.T.Masks:
		f.Raw("VMOVUPS.Z", m, k, d)
	default:
		f.Raw("VMASKMOVPS", m, k, d)
	}
}

// Store writes a vector.
func (f *Func) Store(m Mem, a Vec) { f.Raw("VMOVUPS", a, m) }

// StoreMask writes the lanes of k, the memory of the others is not touched.
func (f *Func) StoreMask(m Mem, a Vec, k Mask) {
	switch {
	case !k.valid:
		f.Store(m, a)
	case f.T.Masks:
		f.Raw("VMOVUPS", a, k, m)
	default:
		f.Raw("VMASKMOVPS", a, k, m)
	}
}

// Splat fills d with the float32 at m.
func (f *Func) Splat(d Vec, m Mem) { f.Raw("VBROADCASTSS", m, d) }

// SplatReg fills d with the low 32 bits of r.
func (f *Func) SplatReg(d Vec, r Reg) {
	if f.T.Masks {
		f.Raw("VPBROADCASTD", r, d)
		return
	}
	f.Raw("VMOVD", r, Xmm(d))
	f.Raw("VPBROADCASTD", Xmm(d), d)
}

// Each returns the operand that is w in every lane.
func (f *File) Each(w uint32) Each {
	n := 1
	if !f.target.Masks { // no embedded broadcast: the table is as wide as a register
		n = f.target.Lanes
	}
	words := make([]uint32, n)
	for i := range words {
		words[i] = w
	}
	return Each(f.Uint32s(fmt.Sprintf("each%08x", w), words...))
}

// Const allocates a register filled with x.
func (f *Func) Const(name string, x float32) Vec {
	d := f.Vec()
	f.Splat(d, f.file.Float32s(name, x))
	return d
}
