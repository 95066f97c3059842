package engine

import (
	"fmt"

	"coreml/internal/graph"
	"coreml/internal/testkit"
)

// shrink looks for a smaller graph that fails too, and prints it: without the
// outputs that are right, and without nodes whose results may as well be inputs.
func shrink(seed uint64) string {
	slack := slack(seed)
	g := testkit.RandomGraph(seed, false)
	fails := func(slack [][]float64) bool { return compareWays(g, g.Fn, slack) != nil }
	if slack == nil {
		return g.Fn.String()
	}
	fn := g.Fn
	for i := 0; i < len(fn.Body.Outputs) && len(fn.Body.Outputs) > 1; {
		was := fn.Body.Outputs
		fn.Body.Outputs = append(append([]*graph.Value(nil), was[:i]...), was[i+1:]...)
		less := make([][]float64, len(slack))
		for k := range slack {
			less[k] = append(append([]float64(nil), slack[k][:i]...), slack[k][i+1:]...)
		}
		if fails(less) {
			slack = less
		} else {
			fn.Body.Outputs = was
			i++
		}
	}
	for i := len(fn.Body.Nodes) - 1; i >= 0; i-- {
		if !drop(fn, i, func() bool { return fails(slack) }) {
			cut(fn, i, func() bool { return fails(slack) })
		}
	}
	dropInputs(fn)
	return fmt.Sprintf("%v\n%s", compareWays(g, fn, slack), fn)
}

// drop removes node i, if nobody reads its results and the graph then still fails.
func drop(fn *graph.Function, i int, fails func() bool) bool {
	used := usedIn(fn)
	for _, v := range fn.Body.Nodes[i].Out {
		if used[v] {
			return false
		}
	}
	nodes := fn.Body.Nodes
	fn.Body.Nodes = append(append([]*graph.Node(nil), nodes[:i]...), nodes[i+1:]...)
	if fails() {
		return true
	}
	fn.Body.Nodes = nodes
	return false
}

// cut makes the results of node i inputs, if the graph then still fails.
func cut(fn *graph.Function, i int, fails func() bool) bool {
	n := fn.Body.Nodes[i]
	if n.Op.Effect && len(n.Out) == 0 {
		return false
	}
	for _, v := range n.Out {
		if v.Type.Kind != graph.KindTensor || !v.Type.Static() {
			return false
		}
	}
	for _, v := range fn.Body.Outputs {
		if v.Def == n {
			return false
		}
	}
	nodes, inputs := fn.Body.Nodes, fn.Body.Inputs
	fn.Body.Nodes = append(append([]*graph.Node(nil), nodes[:i]...), nodes[i+1:]...)
	fn.Body.Inputs = append(append([]*graph.Value(nil), inputs...), n.Out...)
	if fails() {
		return true
	}
	fn.Body.Nodes, fn.Body.Inputs = nodes, inputs
	return false
}

// usedIn are the values that something reads.
func usedIn(fn *graph.Function) map[*graph.Value]bool {
	used := map[*graph.Value]bool{}
	fn.Body.Walk(func(n *graph.Node) {
		for _, a := range n.Args {
			for _, v := range a {
				used[v] = true
			}
		}
		for _, b := range n.Blocks {
			for _, v := range b.Outputs {
				used[v] = true
			}
		}
	})
	for _, v := range fn.Body.Outputs {
		used[v] = true
	}
	return used
}

// dropInputs removes inputs that nobody reads.
func dropInputs(fn *graph.Function) {
	used := usedIn(fn)
	var inputs []*graph.Value
	for _, v := range fn.Body.Inputs {
		if used[v] || v.Type.Kind == graph.KindState {
			inputs = append(inputs, v)
		}
	}
	fn.Body.Inputs = inputs
}
