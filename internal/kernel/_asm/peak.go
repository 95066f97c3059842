package main

import "coreml/internal/kernel/asm/emit"

// peak writes fmaLoop: n rounds of independent FMAs on registers only, and readLoop:
// a sweep of loads over n bytes.
func peak(file *emit.File) {
	fmaLoop(file)
	readLoop(file)
}

// fmaChains is enough to hide the latency of two FMA units (5 cycles at most).
const fmaChains = 12

func fmaLoop(file *emit.File) {
	f := file.Func("fmaLoop_"+file.Target().Name, "does 12·n vector FMAs; n >= 1.", "n int")
	n := f.Param(0)
	acc := f.Vecs(fmaChains)
	x := f.Vec()
	for _, v := range append(acc, x) {
		f.Zero(v)
	}
	f.Loop(n, func() {
		for _, v := range acc {
			f.FMA(v, x, x)
		}
	})
	f.Ret()
}

// readChains hides the latency of additions, so that loads bind.
const readChains = 8

func readLoop(file *emit.File) {
	f := file.Func("readLoop_"+file.Target().Name, "loads n bytes from p; n is a positive multiple of 512.", "p unsafe.Pointer", "n int")
	const step = 512
	p, n := f.Param(0), f.Param(1)
	acc := f.Vecs(readChains)
	for _, v := range acc {
		f.Zero(v)
	}
	f.Raw("SHRQ", emit.Imm(9), n)
	f.Loop(n, func() {
		for i := 0; i < step/f.T.Bytes(); i++ {
			f.Add(acc[i%readChains], acc[i%readChains], emit.At(p, i*f.T.Bytes()))
		}
		f.AddTo(p, emit.Imm(step))
	})
	f.Ret()
}
