package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"coreml"
	"coreml/internal/mlmodel"
	"coreml/internal/record"
)

func pipeCommand() *cobra.Command {
	var o openFlags
	c := &cobra.Command{
		Use:   "pipe",
		Short: "Answer requests on stdin, for programs in other languages",
		Long: `Pipe reads one JSON object a line on stdin and answers each with one line on
stdout, until the end of the input. Features travel in npz files, as
"coreml predict --inputs" takes them.

  {"op":"load","model":PATH,"function":NAME|null}   → {"ok":true,"handle":H}
  {"op":"predict","handle":H,"inputs":"in.npz","output":"out.npz","state":S|null}
                                                    → {"ok":true,"nanoseconds":N}
  {"op":"new_state","handle":H}                     → {"ok":true,"state":S}
  {"op":"read_state","state":S,"name":N,"output":"out.npz"}   → {"ok":true}
  {"op":"write_state","state":S,"name":N,"input":"in.npz"}    → {"ok":true}
  {"op":"free","handle":H}, {"op":"free_state","state":S}     → {"ok":true}

What fails is answered by {"ok":false,"error":"text"}, and the next line is read.`,
		Example: `  echo '{"op":"load","model":"model.mlpackage"}' | coreml pipe`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			opt, err := o.options()
			if err != nil {
				return err
			}
			p := &pipe{flags: &o, open: opt, models: map[int]pipeModel{}, states: map[int]pipeState{}}
			defer p.close()
			return p.serve(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
	o.add(c.Flags())
	return c
}

type request struct {
	Op       string `json:"op"`
	Model    string `json:"model"`
	Function string `json:"function"`
	Handle   *int   `json:"handle"`
	State    *int   `json:"state"`
	Name     string `json:"name"`
	Input    string `json:"input"`
	Inputs   string `json:"inputs"`
	Output   string `json:"output"`
}

type answer struct {
	OK          bool   `json:"ok"`
	Handle      *int   `json:"handle,omitempty"`
	State       *int   `json:"state,omitempty"`
	Nanoseconds *int64 `json:"nanoseconds,omitempty"`
	Error       string `json:"error,omitempty"`
}

type pipe struct {
	flags  *openFlags
	open   coreml.Options
	models map[int]pipeModel
	states map[int]pipeState
	next   int // the last handle or state given out
}

type pipeModel struct {
	*coreml.Model
	outputs []coreml.Feature
}

type pipeState struct {
	*coreml.State
	model int
}

// pipeOps are the requests, by their op.
var pipeOps = map[string]func(*pipe, context.Context, *request) (answer, error){
	"load":        (*pipe).load,
	"predict":     (*pipe).predict,
	"new_state":   (*pipe).newState,
	"read_state":  (*pipe).readState,
	"write_state": (*pipe).writeState,
	"free":        (*pipe).free,
	"free_state":  (*pipe).freeState,
}

func (p *pipe) serve(ctx context.Context, r io.Reader, w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return eachLine(ctx, r, func(line string) error {
		a, err := p.answer(ctx, line)
		if err != nil {
			a = answer{Error: oneLine(err)}
		}
		return enc.Encode(a)
	})
}

func (p *pipe) answer(ctx context.Context, line string) (answer, error) {
	var q request
	if err := json.Unmarshal([]byte(line), &q); err != nil {
		return answer{}, fmt.Errorf("request: %w", err)
	}
	op := pipeOps[q.Op]
	if op == nil {
		return answer{}, fmt.Errorf("op %q: want load, predict, new_state, read_state, write_state, free or free_state", q.Op)
	}
	a, err := op(p, ctx, &q)
	a.OK = err == nil
	return a, err
}

func (p *pipe) number() *int {
	p.next++
	n := p.next
	return &n
}

func (p *pipe) load(_ context.Context, q *request) (answer, error) {
	o := p.open
	if q.Function != "" {
		o.Function = q.Function
	}
	m, err := coreml.Open(q.Model, o)
	if err != nil {
		return answer{}, err
	}
	f, err := mlmodel.FunctionNamed(m.Description(), o.Function)
	if err != nil {
		return answer{}, errors.Join(err, m.Close())
	}
	h := p.number()
	p.models[*h] = pipeModel{m, f.Outputs}
	return answer{Handle: h}, nil
}

func (p *pipe) model(q *request) (pipeModel, error) {
	if q.Handle == nil || p.models[*q.Handle].Model == nil {
		return pipeModel{}, fmt.Errorf("%s: handle: want one that load gave", q.Op)
	}
	return p.models[*q.Handle], nil
}

func (p *pipe) state(q *request) (*coreml.State, error) {
	if q.State == nil || p.states[*q.State].State == nil {
		return nil, fmt.Errorf("%s: state: want one that new_state gave", q.Op)
	}
	return p.states[*q.State].State, nil
}

func (p *pipe) predict(ctx context.Context, q *request) (answer, error) {
	m, err := p.model(q)
	if err != nil {
		return answer{}, err
	}
	var st *coreml.State
	if q.State != nil {
		if st, err = p.state(q); err != nil {
			return answer{}, err
		}
	}
	in, err := record.ReadFeatures(q.Inputs)
	if err != nil {
		return answer{}, err
	}
	ctx, cancel := p.flags.within(ctx)
	defer cancel()
	out := coreml.Features{}
	start := time.Now()
	if err := m.PredictInto(ctx, in, out, st); err != nil {
		return answer{}, err
	}
	n := time.Since(start).Nanoseconds()
	return answer{Nanoseconds: &n}, exchange(q.Output, out, m.outputs)
}

// exchange writes features for the process at the other end. The answer says when
// the file is whole, so that it needs no safety on the disk.
func exchange(name string, f coreml.Features, d []coreml.Feature) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(file)
	return errors.Join(record.WriteFeatures(w, f, d), w.Flush(), file.Close())
}

func (p *pipe) newState(_ context.Context, q *request) (answer, error) {
	m, err := p.model(q)
	if err != nil {
		return answer{}, err
	}
	s, err := m.NewState()
	if err != nil {
		return answer{}, err
	}
	n := p.number()
	p.states[*n] = pipeState{s, *q.Handle}
	return answer{State: n}, nil
}

func (p *pipe) readState(_ context.Context, q *request) (answer, error) {
	s, err := p.state(q)
	if err != nil {
		return answer{}, err
	}
	all, err := s.Save()
	if err != nil {
		return answer{}, err
	}
	if all[q.Name] == nil {
		return answer{}, fmt.Errorf("read_state: the model has no state %q", q.Name)
	}
	return answer{}, exchange(q.Output, coreml.Features{q.Name: all[q.Name]}, nil)
}

func (p *pipe) writeState(_ context.Context, q *request) (answer, error) {
	s, err := p.state(q)
	if err != nil {
		return answer{}, err
	}
	f, err := record.ReadFeatures(q.Input)
	if err != nil {
		return answer{}, err
	}
	if f[q.Name] == nil {
		return answer{}, fmt.Errorf("write_state: %s has no member %q", q.Input, q.Name)
	}
	return answer{}, s.Load(coreml.Features{q.Name: f[q.Name]})
}

func (p *pipe) free(_ context.Context, q *request) (answer, error) {
	m, err := p.model(q)
	if err != nil {
		return answer{}, err
	}
	for n, s := range p.states {
		if s.model == *q.Handle {
			s.Close()
			delete(p.states, n)
		}
	}
	delete(p.models, *q.Handle)
	return answer{}, m.Close()
}

func (p *pipe) freeState(_ context.Context, q *request) (answer, error) {
	s, err := p.state(q)
	if err != nil {
		return answer{}, err
	}
	delete(p.states, *q.State)
	return answer{}, s.Close()
}

func (p *pipe) close() {
	for _, s := range p.states {
		s.Close()
	}
	for _, m := range p.models {
		m.Close()
	}
}
