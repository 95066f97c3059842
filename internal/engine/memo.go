package engine

import (
	"sync"

	"coreml/internal/graph"
)

// memo remembers what Infer and Prepare said for the operands last seen, so that
// when one length grows only the calls that see it are asked again.
type memo struct {
	mu    sync.Mutex
	nodes [][]remembered // by Node.ID
}

type remembered struct {
	in   []graph.Operand
	said inferred
}

// perNode is the number of operand combinations remembered for a node.
const perNode = 4

func newMemo(nodes int) memo { return memo{nodes: make([][]remembered, nodes)} }

func (m *memo) infer(c *graph.Call) (inferred, error) {
	if c.Node.ID < 0 {
		return inferCall(c)
	}
	m.mu.Lock()
	for _, r := range m.nodes[c.Node.ID] {
		if sameOperands(r.in, c.In) {
			m.mu.Unlock()
			return r.said, nil
		}
	}
	m.mu.Unlock()
	said, err := inferCall(c)
	if err != nil {
		return said, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.nodes[c.Node.ID]
	if len(l) == perNode {
		l = append(l[:0], l[1:]...)
	}
	m.nodes[c.Node.ID] = append(l, remembered{append([]graph.Operand(nil), c.In...), said})
	return said, nil
}

func sameOperands(a, b []graph.Operand) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !sameOperand(&a[i], &b[i]) {
			return false
		}
	}
	return true
}

func (m *memo) prepare(c *graph.Call) (graph.Step, error) { return c.Op.Prepare(c) }
