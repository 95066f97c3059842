// Package passes rewrites graphs before they are planned. A pass gives the same
// results on every machine; the reference runs graphs without any of them.
package passes

import "coreml/internal/graph"

// pass is one rewriting.
type pass struct {
	name string
	node func(*graph.Node) *graph.Node // what to put in the place of a node; nil: leave it
}

// pipeline is the list, in order.
var pipeline = []pass{
	{"share heads of attention", shareHeads},
}

// Apply gives the function with all passes applied. Nodes that nobody reads any
// more stay in it; a plan leaves them out.
func Apply(fn *graph.Function) *graph.Function {
	out := *fn
	for _, p := range pipeline {
		out.Body = rewrite(&out, out.Body, p)
	}
	return &out
}

func rewrite(fn *graph.Function, b *graph.Block, p pass) *graph.Block {
	out := *b
	out.Nodes = make([]*graph.Node, len(b.Nodes))
	for i, n := range b.Nodes {
		out.Nodes[i] = n
		if len(n.Blocks) > 0 {
			inner := *n
			inner.Blocks = make([]*graph.Block, len(n.Blocks))
			for k, in := range n.Blocks {
				inner.Blocks[k] = rewrite(fn, in, p)
			}
			out.Nodes[i] = &inner
		}
		if m := p.node(out.Nodes[i]); m != nil {
			out.Nodes[i] = m
		}
	}
	return &out
}
