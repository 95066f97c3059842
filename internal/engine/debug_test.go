package engine

import (
	"context"
	"fmt"
	"os"
	"testing"

	"coreml/internal/backend"
	"coreml/internal/mlmodel"
)

func TestDebugDump(t *testing.T) {
	path := os.Getenv("DUMP_MODEL")
	if path == "" {
		t.Skip("no DUMP_MODEL")
	}
	m, err := mlmodel.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	pr, err := CPU{}.Load(context.Background(), m, backend.Config{})
	if err != nil {
		t.Fatal(err)
	}
	p := pr.(*program)
	for k, l := range p.plans {
		for _, pl := range l.plans {
			fmt.Println("segment from", k.from, "next", pl.seg.next, "frame", pl.seg.frame, "needs", len(pl.seg.needs))
			pos := map[int32]place{}
			for _, f := range pl.seg.fixed {
				pos[f.slot] = f
			}
			for _, f := range pl.seg.linked {
				pos[f.slot] = f
			}
			for i, s := range pl.seg.steps {
				fmt.Printf("%d %s %q [%s]", i, s.call.Op.Name, s.call.Node.Name, s.Kernel)
				for j, o := range s.call.In {
					if o.Const == nil {
						fmt.Printf(" in%d %s %v %v@%v+%v", j, o.Value.Name, o.Type.Shape, o.Form, pos[s.in[j]].off, pos[s.in[j]].size)
					}
				}
				for j, o := range s.call.Out {
					fmt.Printf(" -> %s %v %v@%v+%v", o.Value.Name, o.Type.Shape, o.Form, pos[s.out[j]].off, pos[s.out[j]].size)
				}
				for _, q := range s.call.Post {
					fmt.Printf(" post %s", q.Call.Op.Name)
				}
				fmt.Println()
			}
		}
	}
}
