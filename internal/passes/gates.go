package passes

import (
	"coreml/internal/graph"
	"coreml/internal/ops"
)

// joinGate makes one operation of x·sigmoid(x) and x·sigmoid_hard(x), which then runs on the result
// of the call before while that is in cache.
func joinGate(n *graph.Node) *graph.Node {
	if n.Op.Name != "mul" {
		return nil
	}
	for i, gate := range n.Args {
		x := n.Args[1-i][0]
		d := gate[0].Def
		if d == nil || x.Const != nil || d.Args[0][0] != x || !x.Type.DType.IsFloat() {
			continue
		}
		out := *n
		switch d.Op.Name {
		case "sigmoid":
			out.Op = ops.Find("silu", graph.IOS15)
		case "sigmoid_hard":
			out.Op = ops.GatedSigmoidHard
		default:
			continue
		}
		out.Args = d.Args
		return &out
	}
	return nil
}
