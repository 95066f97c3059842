//go:build armbe || arm64be || mips || mips64 || ppc64 || s390x || sparc64

package tensor

// A tensor's memory is little-endian and is viewed in place, so a big-endian
// machine would compute wrong numbers. The package does not compile there.
var _ = big_endian_machines_are_not_supported
