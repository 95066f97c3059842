package ops

import "coreml/internal/graph"

var binaryOps = []*graph.Op{}
