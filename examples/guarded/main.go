// Command guarded shows a model that keeps answering while its backend is broken.
// Run it in the module's root: go run ./examples/guarded
package main

import (
	"context"
	"errors"
	"fmt"
	"image"
	"io"
	"log"
	"os"
	"sync/atomic"
	"time"

	"coreml"
)

func main() {
	if err := run(os.Stdout, "testdata/cases/tiny_classifier/model.mlpackage"); err != nil {
		log.Fatal(err)
	}
}

func run(w io.Writer, path string) error {
	var broken atomic.Bool
	m, err := coreml.Open(path, coreml.Options{
		Fallback: &coreml.Fallback{}, // the CPU engine stands in
		Breaker:  coreml.Breaker{Backoff: 200 * time.Millisecond},
		Wrap: func(next coreml.Predictor) coreml.Predictor { // stands for a device that fails for a while
			return func(ctx context.Context, in coreml.Features) (coreml.Features, error) {
				if broken.Load() {
					return nil, errors.New("the device does not answer")
				}
				return next(ctx, in)
			}
		},
	})
	if err != nil {
		return err
	}
	defer m.Close()

	last := ""
	for i := range 60 { // the device breaks at the 10th request, and is mended at the 30th
		broken.Store(i >= 10 && i < 30)
		r, err := m.PredictWith(context.Background(), coreml.Request{In: coreml.Features{"image": image.NewNRGBA(image.Rect(0, 0, 64, 64))}})
		if err != nil {
			return err
		}
		now := fmt.Sprintf("breaker %v, fallback %v: %s", m.Breakers()[0].State, r.Fallback, r.Reason)
		if now != last {
			fmt.Fprintf(w, "request %2d: %v; %s\n", i, r.Out["classLabel"], now)
		}
		last = now
		time.Sleep(20 * time.Millisecond)
	}
	t := m.Telemetry()
	return t.WriteSummary(w)
}
