// Package ops has every operator, one literal each, by family. [All] is the
// list; a new operator is a literal in one family's slice.
package ops

import (
	"slices"
	"sync"

	"coreml/internal/graph"
)

// families are the operators by file, in the order of the documentation.
func families() [][]*graph.Op {
	return [][]*graph.Op{
		reshapeOps, transposeOps, sliceOps, concatOps, shapeOps, gatherOps, scatterOps, padOps, resizeOps, cropResizeOps, resampleOps, spaceOps, listOps, controlOps, stateOps,
		constexprOps, quantizeOps, einsumOps, attentionOps, recurrentOps,
		convOps, poolOps, matmulOps,
		unaryOps, activationOps, binaryOps, compareOps, convertOps, reduceOps, normOps, softmaxOps, sortOps, nmsOps, classifyOps, randomOps,
	}
}

// All lists every operator and every redefinition.
var All = sync.OnceValue(func() []*graph.Op { return slices.Concat(families()...) })

var byName = sync.OnceValue(func() map[string][]*graph.Op {
	m := map[string][]*graph.Op{}
	for _, op := range All() {
		m[op.Name] = append(m[op.Name], op)
	}
	for _, l := range m {
		slices.SortFunc(l, func(a, b *graph.Op) int { return int(a.Since - b.Since) })
	}
	return m
})

// Find is the newest definition of an operator that opset has; nil if there is none.
func Find(name string, opset graph.Opset) *graph.Op {
	var found *graph.Op
	for _, op := range byName()[name] {
		if op.Since <= opset {
			found = op
		}
	}
	return found
}
