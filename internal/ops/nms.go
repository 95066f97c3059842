package ops

import (
	"math"
	"slices"

	"coreml/internal/graph"
	"coreml/tensor"
)

const nmsDoc = "Boxes in descending order of their best score, without those that overlap a better one too much."

var nmsOps = []*graph.Op{
	{
		Name: "non_maximum_suppression", Doc: nmsDoc,
		Inputs: []graph.Input{
			graph.In("boxes", graph.Float), graph.In("scores", graph.Float), graph.In("iou_threshold", graph.Float),
			graph.In("score_threshold", graph.Float), graph.In("max_boxes", graph.Int), graph.Def("per_class_suppression", graph.Bool, false),
		},
		Infer:   func(c *graph.Call) ([]graph.Type, error) { return inferNMS(c, nmsIOS15) },
		Prepare: func(c *graph.Call) (graph.Step, error) { return prepareNMS(c, nmsIOS15) },
	},
	{
		Name: "non_maximum_suppression", Since: graph.IOS17, Doc: nmsDoc + " Boxes are in the last dimension.",
		Inputs: []graph.Input{
			graph.In("boxes", graph.Float), graph.In("scores", graph.Float), graph.In("iou_threshold", graph.Float),
			graph.In("max_boxes", graph.Int), graph.Def("per_class_suppression", graph.Bool, false),
		},
		Infer:   func(c *graph.Call) ([]graph.Type, error) { return inferNMS(c, nmsIOS17) },
		Prepare: func(c *graph.Call) (graph.Step, error) { return prepareNMS(c, nmsIOS17) },
	},
}

// nmsArgs says where a definition has its arguments, and whether boxes are in the last dimension.
type nmsArgs struct {
	score, max, perClass int // score -1: no threshold
	last                 bool
}

var (
	nmsIOS15 = nmsArgs{score: 3, max: 4, perClass: 5}
	nmsIOS17 = nmsArgs{score: -1, max: 3, perClass: 4, last: true}
)

// nms is one call's parameters. Element e of box i is at i·boxStep + e·partStep.
type nms struct {
	batch, boxes, classes int
	boxStep, partStep     int // of boxes
	scoreStep, classStep  int // of scores
	iou, score            float64
	max                   int
	perClass, last        bool
}

func nmsParams(c *graph.Call, a nmsArgs) (p nms, err error) {
	b, s := c.Shape(0), c.Shape(1)
	if len(b) != 3 || len(s) != 3 {
		return p, c.Errorf(0, "rank %d with scores of rank %d, want 3 and 3", len(b), len(s))
	}
	box, part := 1, 2
	if a.last {
		box, part = 2, 1
	}
	p = nms{batch: b[0], boxes: b[box], classes: s[part], last: a.last, score: math.Inf(-1)}
	if b[part] != 4 || s[0] != b[0] || s[box] != b[box] || p.classes < 1 {
		return p, c.Errorf(1, "shape %v for boxes of shape %v, want a score per class for every box of 4 numbers", s, b)
	}
	p.boxStep, p.partStep, p.scoreStep, p.classStep = 4, 1, p.classes, 1
	if a.last {
		p.boxStep, p.partStep, p.scoreStep, p.classStep = 1, p.boxes, 1, p.boxes
	}
	iou, err := c.Float(2)
	if err != nil {
		return p, err
	}
	p.iou = float64(iou)
	if a.score >= 0 {
		score, err := c.Float(a.score)
		if err != nil {
			return p, err
		}
		p.score = float64(score)
	}
	if p.max, err = c.Int(a.max); err != nil {
		return p, err
	}
	if p.max < 0 {
		return p, c.Errorf(a.max, "%d, want at least 0", p.max)
	}
	p.perClass, err = c.Bool(a.perClass)
	return p, err
}

func inferNMS(c *graph.Call, a nmsArgs) ([]graph.Type, error) {
	p, err := nmsParams(c, a)
	if err != nil {
		return nil, err
	}
	boxes, scores := []int{p.batch, p.max, 4}, []int{p.batch, p.max, p.classes}
	if a.last {
		boxes, scores = []int{p.batch, 4, p.max}, []int{p.batch, p.classes, p.max}
	}
	if err := checkShape(c, a.max, boxes); err != nil {
		return nil, err
	}
	if err := checkShape(c, a.max, scores); err != nil {
		return nil, err
	}
	out := []graph.Type{
		graph.TensorOf(c.Type(0).DType, boxes...), graph.TensorOf(c.Type(1).DType, scores...),
		graph.TensorOf(tensor.Int32, p.batch, p.max),
	}
	if !a.last {
		out = append(out, graph.TensorOf(tensor.Int32, p.batch))
	}
	return out, nil
}

func prepareNMS(c *graph.Call, a nmsArgs) (graph.Step, error) {
	p, err := nmsParams(c, a)
	if err != nil {
		return graph.Step{}, err
	}
	key := keysOf(tensor.Float32, false)
	s := graph.Parallel("non_maximum_suppression", p.batch, func(x *graph.Exec, b int) error {
		return p.run(x, b, key)
	})
	s.Scratch = 16 * p.boxes
	return s, nil
}

// run treats sample b: it goes through the boxes by score and keeps what no kept one overlaps.
func (p *nms) run(x *graph.Exec, b int, key func(uint32) uint32) error {
	boxes, scores := x.F32(0)[b*4*p.boxes:], x.F32(1)[b*p.classes*p.boxes:]
	order := tensor.View[uint64](x.Buf)[:p.boxes]
	class := tensor.View[int32](x.Buf[8*p.boxes:])[:p.boxes]
	kept := tensor.View[int32](x.Buf[12*p.boxes:])[:p.boxes]
	for i := range order {
		best, at := p.best(scores[i*p.scoreStep:])
		order[i], class[i] = uint64(key(math.Float32bits(best)))<<32|uint64(i), int32(at)
	}
	slices.Sort(order)
	n := 0
	for j, k := range order {
		if n == p.max {
			break
		}
		if j%64 == 0 {
			if err := x.Env.Context().Err(); err != nil {
				return err
			}
		}
		i := int32(uint32(k))
		if best, _ := p.best(scores[int(i)*p.scoreStep:]); float64(best) < p.score {
			// Core ML's suite wants the best box kept where none reaches the threshold.
			if n == 0 {
				kept[0], n = i, 1
			}
			break
		}
		if !p.overlaps(boxes, class, kept[:n], i) {
			kept[n] = i
			n++
		}
	}
	p.write(x, b, boxes, scores, kept[:n])
	return nil
}

// best is the largest score of a box and its class.
func (p *nms) best(scores []float32) (best float32, class int) {
	best = scores[0]
	for k := 1; k < p.classes; k++ {
		if v := scores[k*p.classStep]; v > best || v != v && best == best {
			best, class = v, k
		}
	}
	return best, class
}

// overlaps reports whether box i overlaps a kept one more than the threshold allows.
func (p *nms) overlaps(boxes []float32, class, kept []int32, i int32) bool {
	a := p.box(boxes, i)
	for _, k := range kept {
		if p.perClass && class[k] != class[i] {
			continue
		}
		if iou(a, p.box(boxes, k)) > p.iou {
			return true
		}
	}
	return false
}

// box is x, y of the centre, width and height.
func (p *nms) box(boxes []float32, i int32) (b [4]float64) {
	for e := range b {
		b[e] = float64(boxes[int(i)*p.boxStep+e*p.partStep])
	}
	return b
}

// iou is the area that two boxes share divided by the area that they cover together.
func iou(a, b [4]float64) float64 {
	shared := 1.0
	for e := range 2 {
		lo := max(a[e]-a[e+2]/2, b[e]-b[e+2]/2)
		hi := min(a[e]+a[e+2]/2, b[e]+b[e+2]/2)
		shared *= max(0, hi-lo)
	}
	if all := float64(a[2]*a[3]) + float64(b[2]*b[3]) - shared; all > 0 {
		return shared / all
	}
	return 0
}

// write fills the outputs of sample b: zeros after the last box, index -1.
func (p *nms) write(x *graph.Exec, b int, boxes, scores []float32, kept []int32) {
	outBoxes := x.OutF32(0)[b*4*p.max:][:4*p.max]
	outScores := x.OutF32(1)[b*p.classes*p.max:][:p.classes*p.max]
	index := x.OutI32(2)[b*p.max:][:p.max]
	clear(outBoxes)
	clear(outScores)
	fill(index, -1)
	boxStep, partStep, scoreStep, classStep := 4, 1, p.classes, 1
	if p.last {
		boxStep, partStep, scoreStep, classStep = 1, p.max, 1, p.max
	}
	for j, i := range kept {
		for e := range 4 {
			outBoxes[j*boxStep+e*partStep] = boxes[int(i)*p.boxStep+e*p.partStep]
		}
		for k := range p.classes {
			outScores[j*scoreStep+k*classStep] = scores[int(i)*p.scoreStep+k*p.classStep]
		}
		index[j] = i
	}
	if !p.last {
		x.OutI32(3)[b] = int32(len(kept))
	}
}
