package mlmodel

// Inspect reads a model whose weights may be absent: Blob works for none of them.
func Inspect(name string) (*Model, error) { return open(name, false) }
