package ops

import (
	"unsafe"

	"coreml/internal/graph"
	"coreml/internal/kernel/gemm"
)

// A task of a row-major convolution unfolds at most unfoldFloats floats at a time,
// and computes at most unfoldPanels panels of outputs.
const (
	unfoldFloats = 64 << 10
	unfoldPanels = 16
)

// plainConv is a convolution in row-major memory: for a block of outputs the
// image is unfolded, then multiplied by the weight, which is read as it lies.
type plainConv struct {
	*convolution
	kernel gemm.Kernel
	unfold *unfolder
	post   *chain
	x, w   int // operands
	chunk  int // channels that are unfolded at a time
	block  int // outputs of a task
	blocks int
	full   denseTaps // of a chunk
	last   denseTaps // of the last chunk
}

type denseTaps struct{ vector, single []gemm.Tap }

func newDenseTaps(k, lanes int) denseTaps {
	v, s := gemm.DenseTaps(k, lanes)
	return denseTaps{v, s}
}

func (t denseTaps) set(a *gemm.Args) {
	a.TapsV, a.NV = address(t.vector, 0), len(t.vector)
	a.Taps1, a.N1 = address(t.single, 0), len(t.single)
}

// address is that of s[i]; nil where s ends at i.
func address[T any](s []T, i int) unsafe.Pointer {
	if i == len(s) {
		return nil
	}
	return unsafe.Pointer(&s[i])
}

func (v *convolution) plain(c *graph.Call) (graph.Step, error) {
	post, err := newChain(c)
	if err != nil {
		return graph.Step{}, err
	}
	lanes := c.Lanes()
	taps := v.taps()
	p := &plainConv{convolution: v, kernel: gemm.For(c.Level), unfold: newUnfolder(&v.spatial, lanes), post: post,
		x: c.At(convX), w: c.At(convWeight)}
	p.chunk = min(v.cin, max(1, unfoldFloats/lanes/taps))
	k := p.chunk * taps
	panels := min(unfoldPanels, max(1, unfoldFloats/(k*lanes)), (v.outputs()+lanes-1)/lanes)
	p.block = panels * lanes
	p.blocks = (v.outputs() + p.block - 1) / p.block
	p.full = newDenseTaps(k, lanes)
	p.last = newDenseTaps((v.cin-(v.cin-1)/p.chunk*p.chunk)*taps, lanes)
	step := graph.Parallel("conv unfold "+c.Level.String(), v.n*v.groups*p.blocks, p.run)
	step.Scratch = panels * k * lanes * 4
	return step, nil
}

func (p *plainConv) run(x *graph.Exec, task int) error {
	block, image := task%p.blocks, task/p.blocks // image: batch and group
	group := image % p.groups
	outputs, taps := p.outputs(), p.taps()
	at := block * p.block
	n := min(p.block, outputs-at)
	first := image * p.cout // output channel, over the batch
	out := x.OutF32(0)
	for i := range p.cout {
		var b float32
		if p.bias >= 0 {
			b = x.F32(p.bias)[group*p.cout+i]
		}
		fill(out[(first+i)*outputs+at:][:n], b)
	}
	in := x.F32(p.x)[image*p.cin*p.inputs():]
	weight := x.F32(p.w)[group*p.cout*p.cin*taps:]
	for c := 0; c < p.cin; c += p.chunk {
		channels, tap := p.chunk, &p.full
		if c+channels >= p.cin {
			channels, tap = p.cin-c, &p.last
		}
		w := x.Scratch()
		p.unfold.panels(w, in[c*p.inputs():], channels, at, n)
		a := gemm.Args{A: address(weight, c*taps), RowStride: 4 * p.cin * taps,
			W: address(w, 0), WStride: 4 * channels * taps * p.kernel.Lanes,
			C: address(out, first*outputs+at), CRow: 4 * outputs, CVec: 4 * p.kernel.Lanes, Flags: gemm.Accumulate}
		tap.set(&a)
		p.kernel.Run(p.cout, n, &a)
	}
	if p.post.empty() {
		return nil
	}
	for i := range p.cout {
		off := (first+i)*outputs + at
		p.post.apply(x, out[off:off+n], off)
	}
	return nil
}
