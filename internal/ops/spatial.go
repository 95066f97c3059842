package ops

import (
	"coreml/internal/graph"
	"coreml/internal/kernel/window"
	"coreml/tensor"
)

// spatial is how a window slides over the spatial dimensions of [N, C, spatial…].
// One and two of them are brought to three by leading dimensions of size 1.
type spatial struct {
	rank  int // of the tensor, less 2
	axis  [3]window.Axis
	after [3]int // padding behind the last input
}

// spatialArgs are the positions of a windowed operator's parameters; -1: it has none.
type spatialArgs struct{ strides, padType, pad, dilations, ceil int }

// maxWindow bounds kernel sizes, strides and paddings, so that sums and products of two fit an int.
const maxWindow = 1 << 30

// newSpatial reads the parameters of a window of the given kernel over an input
// [N, C, spatial…] and computes the output sizes.
func newSpatial(c *graph.Call, x, kernel []int, a spatialArgs) (spatial, error) {
	s := spatial{rank: len(x) - 2}
	if s.rank < 1 || s.rank > 3 {
		return s, c.Errorf(0, "rank %d, want 3, 4 or 5", len(x))
	}
	strides, err := ofWindow(c, a.strides, s.rank)
	if err != nil {
		return s, err
	}
	dilations, err := ofWindow(c, a.dilations, s.rank)
	if err != nil {
		return s, err
	}
	s.unused()
	for i := range s.rank {
		if kernel[i] < 1 || kernel[i] > maxWindow {
			return s, c.Errorf(1, "kernel size %d", kernel[i])
		}
		s.axis[3-s.rank+i] = window.Axis{In: x[2+i], Kernel: kernel[i], Stride: strides[i], Dilation: dilations[i]}
	}
	if err := s.pad(c, a); err != nil {
		return s, err
	}
	ceil := false
	if a.ceil >= 0 {
		if ceil, err = c.Bool(a.ceil); err != nil {
			return s, err
		}
	}
	return s, s.sizes(c, ceil)
}

// unused makes the leading dimensions that the tensor does not have.
func (s *spatial) unused() {
	for i := range s.axis {
		s.axis[i] = window.Axis{In: 1, Kernel: 1, Stride: 1, Dilation: 1, Out: 1}
	}
}

// ofWindow reads one positive integer per spatial dimension, 1 where absent.
func ofWindow(c *graph.Call, arg, rank int) ([]int, error) {
	ones := rankUp(nil, rank)
	if arg < 0 {
		return ones, nil
	}
	v, err := c.Ints(arg)
	if err != nil {
		return nil, err
	}
	if v == nil {
		return ones, nil
	}
	if len(v) != rank {
		return nil, c.Errorf(arg, "%d values, want %d", len(v), rank)
	}
	for _, n := range v {
		if n < 1 || n > maxWindow {
			return nil, c.Errorf(arg, "%d, want at least 1", n)
		}
	}
	return v, nil
}

// ofPad reads pad: two numbers per spatial dimension, zeros where absent.
func ofPad(c *graph.Call, arg, rank int) ([]int, error) {
	v, err := c.Ints(arg)
	if err != nil {
		return nil, err
	}
	if v == nil {
		return make([]int, 2*rank), nil
	}
	if len(v) != 2*rank {
		return nil, c.Errorf(arg, "%d values, want %d", len(v), 2*rank)
	}
	for _, n := range v {
		if n < 0 || n > maxWindow {
			return nil, c.Errorf(arg, "%d, want at least 0", n)
		}
	}
	return v, nil
}

// padKind reads pad_type; "valid" where absent.
func padKind(c *graph.Call, arg int) (string, error) {
	if !c.Has(arg) {
		return "valid", nil
	}
	kind, err := c.Str(arg)
	if err != nil {
		return "", err
	}
	switch kind {
	case "valid", "custom", "same", "same_lower":
		return kind, nil
	}
	return "", c.Errorf(arg, "%q, want valid, custom, same or same_lower", kind)
}

// pad sets the padding of every axis.
func (s *spatial) pad(c *graph.Call, a spatialArgs) error {
	kind, err := padKind(c, a.padType)
	if err != nil {
		return err
	}
	var pad []int
	if kind == "custom" {
		if pad, err = ofPad(c, a.pad, s.rank); err != nil {
			return err
		}
	}
	for i := range s.rank {
		d := 3 - s.rank + i
		x := &s.axis[d]
		switch kind {
		case "custom":
			x.Before, s.after[d] = pad[2*i], pad[2*i+1]
		case "same", "same_lower":
			out := (x.In + x.Stride - 1) / x.Stride
			x.Before, s.after[d] = halves(max(0, (out-1)*x.Stride+extent(*x)-x.In), kind)
		}
	}
	return nil
}

// halves splits a padding: the odd element goes behind for "same", in front for "same_lower".
func halves(total int, kind string) (before, after int) {
	if kind == "same_lower" {
		return total - total/2, total / 2
	}
	return total / 2, total - total/2
}

// extent is the number of input positions that a window spans.
func extent(x window.Axis) int { return (x.Kernel-1)*x.Dilation + 1 }

// sizes computes the output size of every axis.
func (s *spatial) sizes(c *graph.Call, ceil bool) error {
	for d := 3 - s.rank; d < 3; d++ {
		x := &s.axis[d]
		pad := x.Before + s.after[d]
		room := x.In + pad - extent(*x)
		if room < 0 {
			return c.Errorf(0, "a window of %d over %d elements", extent(*x), x.In+pad)
		}
		if !ceil {
			x.Out = room/x.Stride + 1
			continue
		}
		x.Out = (room+x.Stride-1)/x.Stride + 1
		if pad > 0 && (x.Out-1)*x.Stride >= x.In+x.Before {
			x.Out--
		}
	}
	return nil
}

// shape is [n, channels, output sizes…].
func (s *spatial) shape(c *graph.Call, n, channels int) ([]int, error) {
	out := []int{n, channels}
	for _, x := range s.axis[3-s.rank:] {
		out = append(out, x.Out)
	}
	if _, ok := tensor.Elements(out); !ok {
		return nil, c.Errorf(0, "an output of shape %v is too large", out)
	}
	return out, nil
}

// inputs, outputs and taps are the numbers of positions in a channel's input and output, and in the window.
func (s *spatial) inputs() int  { return s.axis[0].In * s.axis[1].In * s.axis[2].In }
func (s *spatial) outputs() int { return s.axis[0].Out * s.axis[1].Out * s.axis[2].Out }
func (s *spatial) taps() int    { return s.axis[0].Kernel * s.axis[1].Kernel * s.axis[2].Kernel }
