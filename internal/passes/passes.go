// Package passes rewrites graphs before they are planned. A pass gives the same
// results on every machine; the reference runs graphs without any of them.
package passes

import (
	"slices"

	"coreml/internal/graph"
)

// pass is one rewriting.
type pass struct {
	name string
	node func(*graph.Node) *graph.Node // what to put in the place of a node; nil: leave it
}

// pipeline is the list, in order.
var pipeline = []pass{
	{"share heads of attention", shareHeads},
	{"join gates", joinGate},
}

// Apply gives the function with all passes applied, without nodes that nobody reads
// since then. What the file has and nobody reads stays, to be checked like the rest.
func Apply(fn *graph.Function) *graph.Function {
	out := *fn
	before := readIn(fn)
	for _, p := range pipeline {
		out.Body = rewrite(out.Body, p)
	}
	read := map[*graph.Value]bool{}
	markOutputs(out.Body, read)
	out.Body = sweep(out.Body, before, read)
	return &out
}

// readIn is what nodes and blocks read.
func readIn(fn *graph.Function) map[*graph.Value]bool {
	read := map[*graph.Value]bool{}
	markOutputs(fn.Body, read)
	fn.Body.Walk(func(n *graph.Node) {
		for _, a := range n.Args {
			for _, v := range a {
				read[v] = true
			}
		}
	})
	return read
}

// markOutputs marks what blocks give as their results.
func markOutputs(b *graph.Block, read map[*graph.Value]bool) {
	for _, v := range b.Outputs {
		read[v] = true
	}
	for _, n := range b.Nodes {
		for _, in := range n.Blocks {
			markOutputs(in, read)
		}
	}
}

// sweep leaves out nodes without effect whose results were read before and are not any more; read grows with
// what the others take.
func sweep(b *graph.Block, before, read map[*graph.Value]bool) *graph.Block {
	out := *b
	out.Nodes = nil
	for i := len(b.Nodes) - 1; i >= 0; i-- {
		n := b.Nodes[i]
		in := func(set map[*graph.Value]bool) bool {
			return slices.ContainsFunc(n.Out, func(v *graph.Value) bool { return set[v] })
		}
		if !n.Op.Effect && len(n.Blocks) == 0 && in(before) && !in(read) {
			continue
		}
		if len(n.Blocks) > 0 {
			inner := *n
			inner.Blocks = make([]*graph.Block, len(n.Blocks))
			for k, in := range n.Blocks {
				inner.Blocks[k] = sweep(in, before, read)
			}
			n = &inner
		}
		for _, a := range n.Args {
			for _, v := range a {
				read[v] = true
			}
		}
		out.Nodes = append(out.Nodes, n)
	}
	slices.Reverse(out.Nodes)
	return &out
}

func rewrite(b *graph.Block, p pass) *graph.Block {
	out := *b
	out.Nodes = make([]*graph.Node, len(b.Nodes))
	for i, n := range b.Nodes {
		out.Nodes[i] = n
		if len(n.Blocks) > 0 {
			inner := *n
			inner.Blocks = make([]*graph.Block, len(n.Blocks))
			for k, in := range n.Blocks {
				inner.Blocks[k] = rewrite(in, p)
			}
			out.Nodes[i] = &inner
		}
		if m := p.node(out.Nodes[i]); m != nil {
			out.Nodes[i] = m
		}
	}
	return &out
}
