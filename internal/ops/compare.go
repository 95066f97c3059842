package ops

import "coreml/internal/graph"

var compareOps = []*graph.Op{}
