package coreml

// AtLevel makes a model run at a CPU level of this machine: "generic", "avx2" …
func AtLevel(o Options, level string) Options {
	o.level = level
	return o
}
