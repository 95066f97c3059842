package ops

import (
	"coreml/internal/graph"
)

var convOps = []*graph.Op{
	{
		Name: "conv",
		Doc:  "Convolution over one, two or three spatial dimensions.",
		Inputs: []graph.Input{
			graph.In("x", graph.Float), graph.In("weight", graph.Float), graph.Opt("bias", graph.Float),
			graph.Opt("strides", graph.Int), graph.Def("pad_type", graph.String, "valid"), graph.Opt("pad", graph.Int),
			graph.Opt("dilations", graph.Int), graph.Def("groups", graph.Int, 1),
		},
		Infer: inferConv, Prepare: prepareConv, Fit: fitConv, Post: true,
	},
	convTranspose,
}

// Arguments of conv and conv_transpose.
const convX, convWeight, convBias = 0, 1, 2

// convolution is a conv call, read and checked.
type convolution struct {
	spatial
	n, groups int
	cin, cout int // per group
	bias      int // operand; -1: none
}

func newConvolution(c *graph.Call) (*convolution, error) {
	x, w := c.Shape(convX), c.Shape(convWeight)
	if len(x) != len(w) || len(w) < 3 {
		return nil, c.Errorf(convWeight, "rank %d beside x of rank %d", len(w), len(x))
	}
	groups, err := groupsOf(c, 7)
	if err != nil {
		return nil, err
	}
	if w[0]%groups != 0 {
		return nil, c.Errorf(convWeight, "%d output channels in %d groups", w[0], groups)
	}
	if x[1] != w[1]*groups || x[1] == 0 {
		return nil, c.Errorf(convX, "%d channels, want %d", x[1], w[1]*groups)
	}
	v := &convolution{n: x[0], groups: groups, cin: w[1], cout: w[0] / groups}
	if v.bias, err = biasOf(c, w[0]); err != nil {
		return nil, err
	}
	if err := checkWindow(c, w[2:], maxTaps); err != nil {
		return nil, err
	}
	v.spatial, err = newSpatial(c, x, w[2:], spatialArgs{strides: 3, padType: 4, pad: 5, dilations: 6, ceil: -1})
	return v, err
}

func groupsOf(c *graph.Call, arg int) (int, error) {
	g, err := c.Int(arg)
	if err == nil && (g < 1 || g > maxWindow) {
		err = c.Errorf(arg, "%d, want at least 1", g)
	}
	return g, err
}

// maxTaps bounds the elements of a convolution's window, of which steps keep lists.
const maxTaps = 1 << 22

func checkWindow(c *graph.Call, kernel []int, most int) error {
	n := 1
	for _, k := range kernel {
		if k < 1 || k > most/n {
			return c.Errorf(convWeight, "a window of %v, want 1 to %d elements", kernel, most)
		}
		n *= k
	}
	return nil
}

// biasOf checks the bias of a convolution and returns its operand.
func biasOf(c *graph.Call, channels int) (int, error) {
	if !c.Given(convBias) {
		return -1, nil
	}
	if n := c.Type(convBias).Elements(); n != channels {
		return -1, c.Errorf(convBias, "%d values, want %d", n, channels)
	}
	return c.At(convBias), nil
}

func inferConv(c *graph.Call) ([]graph.Type, error) {
	v, err := newConvolution(c)
	if err != nil {
		return nil, err
	}
	shape, err := v.shape(c, v.n, v.groups*v.cout)
	return []graph.Type{graph.TensorOf(c.Type(convX).DType, shape...)}, err
}

func prepareConv(c *graph.Call) (graph.Step, error) {
	v, err := newConvolution(c)
	if err != nil {
		return graph.Step{}, err
	}
	var step graph.Step
	switch {
	case c.Out[0].Form != graph.Blocked:
		step, err = v.plain(c)
	case v.depthwise():
		step, err = v.blockedDepthwise(c)
	default:
		step, err = v.blocked(c)
	}
	step.Flops = 2 * float64(v.n) * float64(v.outputs()) * float64(v.groups*v.cout) * float64(v.cin*v.taps())
	return step, err
}
