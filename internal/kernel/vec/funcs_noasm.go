//go:build !amd64 || noasm

package vec

// assembly lists the kernels of levels that this build has assembly for: none.
func assembly() []*Funcs { return nil }
