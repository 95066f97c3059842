package ops

import "coreml/internal/graph"

var unaryOps = []*graph.Op{}
