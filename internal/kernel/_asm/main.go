// Command asm writes the assembly files of the kernel packages and their Go declarations.
//
//	cd internal/kernel/_asm && go run .
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"coreml/internal/kernel/asm/emit"
)

// generator describes the kernels of one pair of files, pkg/name_<target>_<arch>.{s,go}.
type generator struct {
	Package string
	Name    string // main noun of the files
	Doc     string // what the kernels compute
	Targets []emit.Target
	Kernels func(*emit.File)
	More    func(*emit.File) string // appended to the Go file: tables over the generated functions; may be nil
}

var amd64 = []emit.Target{emit.AVX2, emit.AVX512}

// generators is the list of everything this command writes.
var generators = []generator{
	{"cpu", "peak", "Loops that measure what the machine can do.", amd64, peak, nil},
	{"gemm", "taps", "Tiles of a sum of products over taps.", amd64, taps, tapsDispatch},
	{"gemm", "compressed", "Tiles of few rows over weights that are decoded in registers.", amd64, compressedTiles, compressedDispatch},
	{"gemm", "pack", "Brings a float32 matrix into panel form.", amd64, packs, nil},
	{"dw", "window", "Tiles of a sliding window, every channel by itself.", amd64, windowTiles, windowDispatch},
	{"wino", "transform", "Transforms of the tiles of Winograd's convolution.", amd64, winoTransforms, nil},
	{"vec", "exp", "Elementwise kernels of the exponential family.", amd64, vecFile(expKernels), vecTable("Exp", expKernels)},
	{"vec", "arith", "Elementwise arithmetic.", amd64, vecFile(arithKernels), vecTable("Arith", arithKernels)},
	{"vec", "reduce", "Reductions.", amd64, reduceFile, reduceTable},
	{"vec", "rows", "Rows of a matrix.", amd64, rowsFile, nil},
	{"vec", "convert", "Conversions of storage types.", amd64, convertFile, convertTable},
	{"vec", "layout", "Transposes of tiles.", amd64, transposeTiles, nil},
}

func main() {
	for _, g := range generators {
		for _, t := range g.Targets {
			if err := g.write("..", t); err != nil {
				fmt.Fprintln(os.Stderr, "asm:", err)
				os.Exit(1)
			}
		}
	}
}

func (g generator) write(root string, t emit.Target) error {
	f := emit.NewFile(g.Package, g.Doc, t)
	g.Kernels(f)
	base := filepath.Join(root, g.Package, fmt.Sprintf("%s_%s_%s", g.Name, t.Name, t.Arch))
	text := f.Go()
	if g.More != nil {
		text += g.More(f)
	}
	if err := os.WriteFile(base+".go", []byte(text), 0o644); err != nil {
		return err
	}
	return os.WriteFile(base+".s", []byte(f.Asm()), 0o644)
}
