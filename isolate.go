package coreml

import "coreml/internal/backend"

// A child process of an isolated model is this program started again. It is
// caught here, before the program's own main, so that any program can isolate
// models. Elsewhere this compares one string.
func init() { backend.ServeIsolated(backends...) }
