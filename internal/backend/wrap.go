package backend

import (
	"context"

	"coreml/guards"
	"coreml/internal/mlmodel"
	"coreml/tensor"
)

// Predict answers one request.
type Predict func(ctx context.Context, in tensor.Features) (tensor.Features, error)

// Wrap puts a function around every element that programs of b run: what stands
// between a program and its callers for a while, such as a rehearsed fault. The
// function may call next or not; what it returns is the answer.
func Wrap(b Backend, around func(next Predict) Predict) Backend { return &wrapping{b, around} }

type wrapping struct {
	Backend
	around func(Predict) Predict
}

func (b *wrapping) Name() string { return b.Backend.Name() + "-wrapped" }

func (b *wrapping) Load(ctx context.Context, m *mlmodel.Model, c Config) (Program, error) {
	p, err := b.Backend.Load(ctx, m, c)
	if err != nil {
		return nil, err
	}
	return &wrapped{p, b}, nil
}

type wrapped struct {
	Program
	b *wrapping
}

func (p *wrapped) Run(ctx context.Context, j *Job) error {
	var dispatch guards.Dispatch
	out := j.room(false)
	for i := range j.In {
		f, err := p.b.around(func(ctx context.Context, in tensor.Features) (tensor.Features, error) {
			one := Job{In: []tensor.Features{in}, Out: []tensor.Features{out[i]}, State: j.State}
			err := p.Program.Run(ctx, &one)
			dispatch = one.Dispatch
			j.Queued += one.Queued
			return one.Out[0], err
		})(ctx, j.In[i])
		if err != nil {
			return err
		}
		out[i] = f
	}
	j.publish(&Job{Out: out})
	dispatch.Backend = p.b.Name()
	j.Dispatch = dispatch
	return nil
}
