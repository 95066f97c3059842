package coreml

// Backends are the names that Options.Backend takes, the default first.
func Backends() []string {
	names := make([]string, len(backends))
	for i, b := range backends {
		names[i] = b.Name()
	}
	return names
}
