package coreml

import (
	"encoding/json"
	"io"
	"os"
	"slices"
	"sync"

	"coreml/internal/status"
)

// Status is what a process says of its models to "coreml status".
type Status struct {
	PID    int           `json:"pid"`
	Models []ModelStatus `json:"models"`
}

// ModelStatus is one open model.
type ModelStatus struct {
	Name      string          `json:"name"`
	Path      string          `json:"path"` // "": it came from a file system of the program
	Breakers  []BreakerStatus `json:"breakers"`
	Telemetry Telemetry       `json:"telemetry"`
}

// shown are the models that other processes may see. The socket is open while there are any.
var shown struct {
	serving sync.Mutex // held while the socket opens or closes
	stop    func() error

	mu     sync.Mutex
	models []*Model
}

// show lets other processes see the model, if it is to. That the environment asks
// for it is no reason to fail.
func (g *guard) show(m *Model) error {
	if g.o.Status {
		return serveStatus(m)
	}
	if v := os.Getenv("COREML_STATUS"); v != "" && v != "0" {
		_ = serveStatus(m)
	}
	return nil
}

func serveStatus(m *Model) error {
	shown.serving.Lock()
	defer shown.serving.Unlock()
	if shown.stop == nil {
		dir, err := status.Dir()
		if err != nil {
			return err
		}
		stop, err := status.Serve(dir, writeStatus)
		if err != nil {
			return err
		}
		shown.stop = stop
	}
	shown.mu.Lock()
	defer shown.mu.Unlock()
	shown.models = append(shown.models, m)
	return nil
}

// hide takes the model from sight.
func (g *guard) hide(m *Model) {
	shown.serving.Lock()
	defer shown.serving.Unlock()
	shown.mu.Lock()
	before := len(shown.models)
	shown.models = slices.DeleteFunc(shown.models, func(x *Model) bool { return x == m })
	last := before > 0 && len(shown.models) == 0
	shown.mu.Unlock()
	if last {
		_ = shown.stop() // a file that somebody else has removed is gone as well
		shown.stop = nil
	}
}

func writeStatus(w io.Writer) error {
	shown.mu.Lock()
	models := slices.Clone(shown.models)
	shown.mu.Unlock()
	s := Status{PID: os.Getpid(), Models: []ModelStatus{}}
	for _, m := range models {
		s.Models = append(s.Models, ModelStatus{m.guard.name, m.file.Path, m.Breakers(), m.Telemetry()})
	}
	return json.NewEncoder(w).Encode(s)
}
