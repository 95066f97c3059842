package graph

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"

	"coreml/internal/fault"
	"coreml/tensor"
)

// maxPrinted is how many elements a constant may have to be written out.
const maxPrinted = 16

// Print writes the function as text that reads like MIL: a line for each node,
// small constants where they are used, large ones as their type and form. Names
// and texts of the file are quoted and cut where they would not read as one word.
func (f *Function) Print(w io.Writer) error {
	p := &printer{w: bufio.NewWriter(w)}
	p.line(0, "func %s<%v>(%s) {", fault.Name(f.Name), f.Opset, values(f.Body.Inputs))
	p.nodes(f.Body, 1)
	p.line(0, "} -> (%s)", uses(f.Body.Outputs))
	return p.w.Flush()
}

func (f *Function) String() string {
	var b strings.Builder
	f.Print(&b)
	return b.String()
}

type printer struct{ w *bufio.Writer }

func (p *printer) line(depth int, format string, a ...any) {
	p.w.WriteString(strings.Repeat("  ", depth))
	fmt.Fprintf(p.w, format, a...)
	p.w.WriteByte('\n')
}

func (p *printer) nodes(b *Block, depth int) {
	for _, n := range b.Nodes {
		if len(n.Blocks) == 0 {
			p.line(depth, "%v", n)
			continue
		}
		p.line(depth, "%v {", n)
		for _, in := range n.Blocks {
			p.line(depth+1, "(%s) {", values(in.Inputs))
			p.nodes(in, depth+2)
			p.line(depth+1, "} -> (%s)", uses(in.Outputs))
		}
		p.line(depth, "}")
	}
}

// String is the node in a line, without its blocks.
func (n *Node) String() string {
	var args []string
	for i, in := range n.Op.Inputs {
		switch a := n.Args[i]; {
		case in.Variadic && len(a) > 0:
			args = append(args, in.Name+" = ("+uses(a)+")")
		case len(a) > 0:
			args = append(args, in.Name+" = "+uses(a))
		}
	}
	s := n.Op.Name + "(" + strings.Join(args, ", ") + ")"
	if len(n.Out) > 0 {
		s = values(n.Out) + " = " + s
	}
	return s
}

// values are declarations: types and names.
func values(l []*Value) string {
	var s []string
	for _, v := range l {
		s = append(s, v.Type.String()+" "+fault.Name(v.Name))
	}
	return strings.Join(s, ", ")
}

// uses are names, and constants as what they are.
func uses(l []*Value) string {
	var s []string
	for _, v := range l {
		if v.Const != nil {
			s = append(s, v.Const.text(fault.Name(v.Name)))
		} else {
			s = append(s, fault.Name(v.Name))
		}
	}
	return strings.Join(s, ", ")
}

// text is the constant's elements, if they are few, or its type, name as printed, and coded form.
func (c *Const) text(name string) string {
	n, ok := tensor.Elements(c.Type.Shape)
	switch {
	case c.Code != nil:
		return c.Type.String() + "(" + name + ", " + c.Code.Form() + ")"
	case !ok || n > maxPrinted || c.Type.Kind != KindTensor:
		return c.Type.String() + "(" + name + ")"
	}
	words := make([]string, n)
	switch d := c.Type.DType; {
	case d == tensor.String:
		for i := range min(n, len(c.Strings)) {
			words[i] = fault.Quote(c.Strings[i])
		}
	case d.IsFloat():
		for i, x := range c.Floats() {
			words[i] = strconv.FormatFloat(float64(x), 'g', -1, 32)
		}
	default:
		v, err := c.Ints()
		if err != nil {
			return c.Type.String() + "(" + name + ")"
		}
		for i, x := range v {
			words[i] = strconv.Itoa(x)
			if d == tensor.Bool {
				words[i] = strconv.FormatBool(x != 0)
			}
		}
	}
	if text, ok := Brackets(words, c.Type.Shape); ok {
		return text
	}
	return c.Type.String() + "(" + name + ")"
}

// Brackets writes the words of a tensor's elements, row-major, in brackets as its
// shape nests them; [] for a tensor of none. ok false: the shape has another number of elements.
func Brackets(words []string, shape []int) (text string, ok bool) {
	if n, ok := tensor.Elements(shape); !ok || n != len(words) {
		return "", false
	}
	if len(words) == 0 {
		return "[]", true
	}
	// A bracket opens before every size-th word, for the size of each dimension's parts.
	sizes, size := make([]int, len(shape)), 1
	for k := len(shape) - 1; k >= 0; k-- {
		size *= shape[k]
		sizes[k] = size
	}
	var b strings.Builder
	edges := func(at int, bracket byte) {
		for _, size := range sizes {
			if at%size == 0 {
				b.WriteByte(bracket)
			}
		}
	}
	for i, w := range words {
		if i > 0 {
			b.WriteString(", ")
		}
		edges(i, '[')
		b.WriteString(w)
		edges(i+1, ']')
	}
	return b.String(), true
}
