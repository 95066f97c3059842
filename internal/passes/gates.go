package passes

import (
	"coreml/internal/graph"
	"coreml/internal/ops"
)

// gated are the operators whose product with their operand is one operation, with the same arguments.
var gated = map[string]*graph.Op{
	"sigmoid":      ops.Find("silu", graph.IOS15),
	"sigmoid_hard": ops.GatedSigmoidHard,
}

// joinGate makes one operation of x·sigmoid(x) and x·sigmoid_hard(x), which then runs on the result
// of the call before while that is in cache.
func joinGate(n *graph.Node) *graph.Node {
	if n.Op.Name != "mul" {
		return nil
	}
	for i, gate := range n.Args {
		x, d := n.Args[1-i][0], gate[0].Def
		if d == nil || x.Const != nil || !x.Type.DType.IsFloat() {
			continue
		}
		op := gated[d.Op.Name]
		if op == nil || d.Args[0][0] != x {
			continue
		}
		out := *n
		out.Op, out.Args = op, d.Args
		return &out
	}
	return nil
}
