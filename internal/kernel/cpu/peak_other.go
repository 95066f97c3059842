//go:build !amd64 || noasm

package cpu

import "unsafe"

func fmaLoop(Level, int) bool { return false }

func readLoop(Level, unsafe.Pointer, int) bool { return false }
