package ops

import (
	"slices"

	"coreml/internal/graph"
)

// spaceOps exchange channels, or the batch, with space.
var spaceOps = []*graph.Op{
	mover("depth_to_space", "Channels of x, in groups by their highest digits, spread over blocks of pixels.", depthToSpacePlan(true), graph.In("block_size", graph.Int)),
	mover("space_to_depth", "Blocks of pixels of x gathered into channels whose highest digits are the place in the block.", spaceToDepthPlan(true), graph.In("block_size", graph.Int)),
	mover("pixel_shuffle", "Channels of x, in groups by their lowest digits, spread over blocks of pixels.", depthToSpacePlan(false), graph.In("upscale_factor", graph.Int)),
	since(graph.IOS16, mover("pixel_unshuffle", "Blocks of pixels of x gathered into channels whose lowest digits are the place in the block.", spaceToDepthPlan(false),
		graph.In("downscale_factor", graph.Int))),
	batcher("batch_to_space", "Groups of images of x spread over blocks of pixels, less crops at the edges.", "crops", batchToSpace, prepareBatchToSpace),
	batcher("space_to_batch", "The pixels of x, padded with zeros, at each place of a block as an image of its own.", "paddings", spaceToBatch, prepareSpaceToBatch),
}

func batcher(name, doc, edges string, plan func(*graph.Call) (*spaceBatch, error), prepare func(*graph.Call, *spaceBatch) graph.Step) *graph.Op {
	return &graph.Op{
		Name: name, Doc: doc,
		Inputs: []graph.Input{graph.In("x", graph.Tensor), graph.In("block_shape", graph.Int), graph.In(edges, graph.Int)},
		Infer: func(c *graph.Call) ([]graph.Type, error) {
			s, err := plan(c)
			if err != nil {
				return nil, err
			}
			return typed(c, 2, c.Type(0).DType, s.shape)
		},
		Prepare: func(c *graph.Call) (graph.Step, error) {
			s, err := plan(c)
			if err != nil {
				return graph.Step{}, err
			}
			return prepare(c, s), nil
		},
	}
}

// factor reads a block size and the shape of x, which has to be [n, c, h, w].
func factor(c *graph.Call) (f int, x []int, err error) {
	if err := wantRank(c, 0, 4); err != nil {
		return 0, nil, err
	}
	if f, err = c.Int(1); err != nil {
		return 0, nil, err
	}
	if f < 1 || f > 1<<15 {
		return 0, nil, c.Errorf(1, "%d, want a positive number", f)
	}
	return f, c.Shape(0), nil
}

// depthToSpacePlan: channel (i, j, k), or (k, i, j) unless blockFirst, becomes pixel (i, j) of the blocks of channel k.
func depthToSpacePlan(blockFirst bool) func(*graph.Call) (box, error) {
	return func(c *graph.Call) (box, error) {
		f, x, err := factor(c)
		if err != nil {
			return box{}, err
		}
		if x[1]%(f*f) != 0 {
			return box{}, c.Errorf(1, "%d: its square does not divide the %d channels of x", f, x[1])
		}
		k := x[1] / (f * f)
		st := rowMajor(x)
		si, sj, sk := f*k*st[1], k*st[1], st[1]
		if !blockFirst {
			si, sj, sk = f*st[1], st[1], f*f*st[1]
		}
		return box{
			shape: []int{x[0], k, x[2] * f, x[3] * f},
			size:  []int{x[0], k, x[2], f, x[3], f}, stride: []int{st[0], sk, st[2], si, st[3], sj},
		}, nil
	}
}

// spaceToDepthPlan is the inverse of depthToSpacePlan.
func spaceToDepthPlan(blockFirst bool) func(*graph.Call) (box, error) {
	return func(c *graph.Call) (box, error) {
		f, x, err := factor(c)
		if err != nil {
			return box{}, err
		}
		if x[2]%f != 0 || x[3]%f != 0 {
			return box{}, c.Errorf(1, "%d does not divide the %d × %d pixels of x", f, x[2], x[3])
		}
		if err := checkShape(c, 1, []int{f, f, max(x[1], 1)}); err != nil {
			return box{}, err
		}
		st := rowMajor(x)
		h, w := x[2]/f, x[3]/f
		b := box{shape: []int{x[0], x[1] * f * f, h, w}}
		if blockFirst {
			b.size, b.stride = []int{x[0], f, f, x[1], h, w}, []int{st[0], st[2], st[3], st[1], f * st[2], f * st[3]}
		} else {
			b.size, b.stride = []int{x[0], x[1], f, f, h, w}, []int{st[0], st[1], st[2], st[3], f * st[2], f * st[3]}
		}
		return b, nil
	}
}

// spaceBatch is what space_to_batch and batch_to_space read: a block, and the
// padding or crop at either end of both spatial dimensions.
type spaceBatch struct {
	x, shape []int
	block    [2]int
	edge     [4]int
}

// maxPlaces bounds the places of a block: each is a move of its own.
const maxPlaces = 1 << 16

func newSpaceBatch(c *graph.Call) (*spaceBatch, error) {
	if err := wantRank(c, 0, 4); err != nil {
		return nil, err
	}
	b, err := c.Ints(1)
	if err != nil {
		return nil, err
	}
	e, err := c.Ints(2)
	if err != nil {
		return nil, err
	}
	if len(b) != 2 || b[0] < 1 || b[1] < 1 || b[0] > maxPlaces || b[1] > maxPlaces || b[0]*b[1] > maxPlaces {
		return nil, c.Errorf(1, "%v, want two positive numbers with a product of at most %d", b, maxPlaces)
	}
	if len(e) != 4 || slices.ContainsFunc(e, func(v int) bool { return v < 0 || v > 1<<31 }) {
		return nil, c.Errorf(2, "%v, want four numbers that are not negative", e)
	}
	return &spaceBatch{x: c.Shape(0), block: [2]int(b), edge: [4]int(e)}, nil
}

func spaceToBatch(c *graph.Call) (*spaceBatch, error) {
	s, err := newSpaceBatch(c)
	if err != nil {
		return nil, err
	}
	s.shape = []int{s.x[0] * s.block[0] * s.block[1], s.x[1], 0, 0}
	for i, b := range s.block {
		wide := s.x[2+i] + s.edge[2*i] + s.edge[2*i+1]
		if wide%b != 0 {
			return nil, c.Errorf(1, "%d does not divide the padded size %d of dimension %d", b, wide, 2+i)
		}
		s.shape[2+i] = wide / b
	}
	return s, nil
}

func batchToSpace(c *graph.Call) (*spaceBatch, error) {
	s, err := newSpaceBatch(c)
	if err != nil {
		return nil, err
	}
	places := s.block[0] * s.block[1]
	if s.x[0]%places != 0 {
		return nil, c.Errorf(1, "%v: the product does not divide the %d images of x", s.block, s.x[0])
	}
	s.shape = []int{s.x[0] / places, s.x[1], 0, 0}
	for i, b := range s.block {
		s.shape[2+i] = s.x[2+i]*b - s.edge[2*i] - s.edge[2*i+1]
		if s.shape[2+i] < 0 {
			return nil, c.Errorf(2, "%v crop more than the %d of dimension %d", s.edge, s.x[2+i]*b, 2+i)
		}
	}
	return s, nil
}

// moves relates the wide tensor, of which each block's places are apart, to the
// narrow one, where each place of the block is a group of images. widen says
// that the narrow one is the source.
func (s *spaceBatch) moves(wide, narrow []int, width int, widen bool) []part {
	ws, ns := rowMajor(wide), rowMajor(narrow)
	var parts []part
	for place := 0; place < s.block[0]*s.block[1]; place++ {
		at := [2]int{place / s.block[1], place % s.block[1]}
		size, step := []int{wide[0], wide[1], 0, 0}, []int{ws[0], ws[1], 0, 0}
		n, w := place*wide[0]*ns[0], 0
		for i, b := range s.block {
			// Index k of the narrow tensor is pixel k·b + shift of the wide one; the first inside is lo.
			d, shift := 2+i, at[i]-s.edge[2*i]
			lo := max(0, ceilDiv(-shift, b))
			size[d] = max(0, min(narrow[d], ceilDiv(wide[d]-shift, b))-lo)
			n += lo * ns[d]
			w += (lo*b + shift) * ws[d]
			step[d] = b * ws[d]
		}
		switch {
		case volume(size) == 0:
		case widen:
			parts = append(parts, part{move: newMove(width, size, step, w, ns, n)})
		default:
			parts = append(parts, part{move: newMove(width, size, ns, n, step, w)})
		}
	}
	return parts
}

func prepareBatchToSpace(c *graph.Call, s *spaceBatch) graph.Step {
	return partsStep(c.Op.Name, s.moves(s.shape, s.x, widthOf(c.In[0]), true))
}

// prepareSpaceToBatch zeroes the result before the pixels of x are moved in.
func prepareSpaceToBatch(c *graph.Call, s *spaceBatch) graph.Step {
	step := partsStep(c.Op.Name, s.moves(s.x, s.shape, widthOf(c.In[0]), false))
	n := widthOf(c.Out[0]) * volume(s.shape)
	zero := graph.Phase{Tasks: ceilDiv(n, moveElems), Run: func(x *graph.Exec, task int) error {
		clear(x.OutBytes(0)[task*moveElems : min((task+1)*moveElems, n)])
		return nil
	}}
	step.Phases = append([]graph.Phase{zero}, step.Phases...)
	return step
}
