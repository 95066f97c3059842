// Package emit writes Go assembly for vector kernels.
//
// A kernel is a Go function over a *Func: it allocates vector and general registers,
// and calls one method per instruction. Methods whose meaning does not depend on the
// machine (Load, FMA, FMALane, Loop, ...) are the portable surface; Raw prints what has no
// portable meaning. A Target fixes the vector width, the number of registers and
// whether masks are their own registers, so that one function serves every level.
package emit

import (
	"fmt"
	"math"
	"math/bits"
	"strings"
)

// Target is the instruction set a function is printed for.
type Target struct {
	Name    string // suffix of function names: avx2, avx512
	Arch    string // GOARCH, also the suffix of file names
	Lanes   int    // float32 lanes of a vector register
	Vectors int    // number of vector registers
	Masks   bool   // lane masks live in mask registers, otherwise in vector registers
}

// The targets that can be printed.
var (
	AVX2   = Target{Name: "avx2", Arch: "amd64", Lanes: 8, Vectors: 16}
	AVX512 = Target{Name: "avx512", Arch: "amd64", Lanes: 16, Vectors: 32, Masks: true}
)

// Bytes is the size of a vector register in bytes.
func (t Target) Bytes() int { return 4 * t.Lanes }

// LaneBits is log₂ of Lanes.
func (t Target) LaneBits() int { return bits.TrailingZeros(uint(t.Lanes)) }

// Vec is a vector register, Reg a general register.
type (
	Vec int
	Reg string
)

// Mask selects lanes: a mask register, or a vector register holding all-ones words.
// The zero Mask means every lane.
type Mask struct {
	valid bool
	n     int
}

// Label is a jump target inside one function.
type Label string

// File collects the functions of one assembly file and their Go declarations.
type File struct {
	Package string
	Doc     string // first comment of both files: what the kernels compute
	target  Target
	funcs   []*Func
	data    strings.Builder
	symbols map[string]bool
}

// NewFile starts a file of one package for one target.
func NewFile(pkg, doc string, t Target) *File {
	return &File{Package: pkg, Doc: doc, target: t, symbols: map[string]bool{}}
}

// Target is what every function of the file is printed for.
func (f *File) Target() Target { return f.target }

// Func is one assembly function: NOSPLIT, no frame, parameters on the stack.
type Func struct {
	T      Target
	file   *File
	name   string
	params []param
	result string // type, or empty
	doc    string
	code   strings.Builder
	vecs   []bool // in use
	masks  []bool
	regs   []bool
	peak   int
	labels int
}

type param struct {
	name, typ string
}

// Func starts the function name, with doc as the contract printed above its Go declaration.
// params are pairs "name type" as in Go: every type is one machine word (pointer, int, uintptr)
// or a float32.
func (f *File) Func(name, doc string, params ...string) *Func {
	fn := &Func{T: f.target, file: f, name: name, doc: doc}
	for _, p := range params {
		n, t, ok := strings.Cut(p, " ")
		if !ok {
			panic("BUG: emit: parameter " + p + ": want \"name type\"")
		}
		fn.params = append(fn.params, param{n, t})
	}
	fn.vecs = make([]bool, f.target.Vectors)
	fn.masks = make([]bool, maskRegs)
	fn.regs = make([]bool, len(amd64Regs))
	f.funcs = append(f.funcs, fn)
	return fn
}

// Returns gives the function a result of the type: a machine word or a float32.
func (f *Func) Returns(typ string) { f.result = typ }

// size is that of a parameter or result on the stack, and its alignment.
func size(typ string) int {
	if typ == "float32" {
		return 4
	}
	return 8
}

// offset is that of parameter i from the first one; that of the result for i = len(params).
func (f *Func) offset(i int) int {
	n := 0
	for _, p := range f.params[:i] {
		n = align(n, size(p.typ)) + size(p.typ)
	}
	if i == len(f.params) {
		return align(n, 8)
	}
	return align(n, size(f.params[i].typ))
}

func align(n, to int) int { return (n + to - 1) / to * to }

// argSize is what parameters and result take on the stack.
func (f *Func) argSize() int {
	n := f.offset(len(f.params))
	if f.result == "" {
		if i := len(f.params) - 1; i >= 0 {
			return f.offset(i) + size(f.params[i].typ)
		}
		return 0
	}
	return n + size(f.result)
}

// Vec allocates a vector register. Its content is undefined.
func (f *Func) Vec() Vec {
	for i, used := range f.vecs {
		if !used {
			f.vecs[i] = true
			f.peak = max(f.peak, i+1)
			return Vec(i)
		}
	}
	panic(fmt.Sprintf("BUG: emit: %s: more than %d vector registers", f.name, len(f.vecs)))
}

// Spare is the number of vector registers that nothing has used so far.
func (f *Func) Spare() int { return len(f.vecs) - f.peak }

// Vecs allocates n vector registers.
func (f *Func) Vecs(n int) []Vec {
	vs := make([]Vec, n)
	for i := range vs {
		vs[i] = f.Vec()
	}
	return vs
}

// Reg allocates a general register. Its content is undefined.
func (f *Func) Reg() Reg {
	for i, used := range f.regs {
		if !used {
			f.regs[i] = true
			return amd64Regs[i]
		}
	}
	panic("BUG: emit: " + f.name + ": out of general registers")
}

// Free returns registers and masks (Vec, []Vec, Reg, Mask) to the pool.
func (f *Func) Free(regs ...any) {
	for _, r := range regs {
		switch r := r.(type) {
		case Vec:
			f.vecs[r] = false
		case []Vec:
			for _, v := range r {
				f.vecs[v] = false
			}
		case Reg:
			f.freeReg(r)
		case Mask:
			if f.T.Masks {
				f.masks[r.n] = false
			} else {
				f.vecs[r.n] = false
			}
		default:
			panic(fmt.Sprintf("BUG: emit: Free(%T)", r))
		}
	}
}

func (f *Func) freeReg(r Reg) {
	for i, name := range amd64Regs {
		if name == r {
			f.regs[i] = false
		}
	}
}

func (f *Func) mask() Mask {
	if !f.T.Masks {
		return Mask{true, int(f.Vec())}
	}
	for i := 1; i < len(f.masks); i++ { // K0 cannot be named as a mask
		if !f.masks[i] {
			f.masks[i] = true
			return Mask{true, i}
		}
	}
	panic("BUG: emit: " + f.name + ": out of mask registers")
}

// NewLabel returns a label with a name that is unique in the function.
func (f *Func) NewLabel(name string) Label {
	f.labels++
	return Label(fmt.Sprintf("%s%d", name, f.labels))
}

// Bind places the label here.
func (f *Func) Bind(l Label) { fmt.Fprintf(&f.code, "\n%s:\n", l) }

// Comment prints a comment line above the next instruction.
func (f *Func) Comment(format string, args ...any) {
	fmt.Fprintf(&f.code, "\t// "+format+"\n", args...)
}

// Raw prints one instruction as it is: operands in the order of Go's assembler.
func (f *Func) Raw(mnemonic string, operands ...any) {
	words := make([]string, len(operands))
	for i, o := range operands {
		words[i] = f.operand(o)
		if _, ok := o.(Each); ok && f.T.Masks {
			mnemonic += ".BCST"
		}
	}
	line := "\t" + mnemonic
	if len(words) > 0 {
		line += " " + strings.Join(words, ", ")
	}
	f.code.WriteString(line + "\n")
}

// Float32s defines a read-only table in the file and returns the address of its first word.
// The same name may be defined again with any content: the first definition stays.
func (f *File) Float32s(name string, v ...float32) Mem {
	words := make([]uint32, len(v))
	for i, x := range v {
		words[i] = math.Float32bits(x)
	}
	return f.Uint32s(name, words...)
}

// Uint32s is Float32s for raw words.
func (f *File) Uint32s(name string, v ...uint32) Mem {
	name = name + "_" + f.target.Name
	if !f.symbols[name] {
		f.symbols[name] = true
		for i, w := range v {
			fmt.Fprintf(&f.data, "DATA %s<>+%d(SB)/4, $0x%08x\n", name, 4*i, w)
		}
		fmt.Fprintf(&f.data, "GLOBL %s<>(SB), RODATA|NOPTR, $%d\n\n", name, 4*len(v))
	}
	return Mem{Sym: name + "<>"}
}

// File returns the file the function belongs to.
func (f *Func) File() *File { return f.file }

const header = "// Code generated by internal/kernel/_asm; DO NOT EDIT.\n\n"

// Asm is the text of the assembly file.
func (f *File) Asm() string {
	var b strings.Builder
	b.WriteString(header + "//go:build !noasm\n\n")
	b.WriteString("// " + f.Doc + "\n\n")
	b.WriteString("#include \"go_asm.h\"\n#include \"textflag.h\"\n\n")
	b.WriteString(f.data.String())
	for i, fn := range f.funcs {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "// %s\nTEXT ·%s(SB), NOSPLIT, $0-%d\n%s", fn.signature(), fn.name, fn.argSize(), fn.code.String())
	}
	return b.String()
}

// Go is the text of the file that declares the functions.
func (f *File) Go() string {
	var b strings.Builder
	b.WriteString(header + "//go:build !noasm\n\n")
	fmt.Fprintf(&b, "package %s\n", f.Package)
	for _, p := range f.params() {
		if strings.HasPrefix(p.typ, "unsafe.") {
			b.WriteString("\nimport \"unsafe\"\n")
			break
		}
	}
	for _, fn := range f.funcs {
		b.WriteByte('\n')
		if fn.doc != "" {
			fmt.Fprintf(&b, "// %s %s\n//\n", fn.name, fn.doc)
		}
		fmt.Fprintf(&b, "//go:noescape\n%s\n", fn.signature())
	}
	return b.String()
}

func (f *File) params() []param {
	var all []param
	for _, fn := range f.funcs {
		all = append(all, fn.params...)
	}
	return all
}

func (f *Func) signature() string {
	ps := make([]string, len(f.params))
	for i, p := range f.params {
		ps[i] = p.name + " " + p.typ
	}
	return strings.TrimSpace(fmt.Sprintf("func %s(%s) %s", f.name, strings.Join(ps, ", "), f.result))
}
