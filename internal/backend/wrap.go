package backend

import (
	"context"

	"coreml/tensor"
)

// Wrap puts a function around every element that p runs: what stands between a
// program and its callers for a while, such as a rehearsed fault. The function
// may call next or not; what it returns is the answer.
func Wrap(p Program, around func(next Predict) Predict) Program { return &wrapped{p, around} }

// Predict answers one request.
type Predict func(ctx context.Context, in tensor.Features) (tensor.Features, error)

type wrapped struct {
	Program
	around func(Predict) Predict
}

func (p *wrapped) Run(ctx context.Context, j *Job) error {
	var dispatch Dispatch
	out := j.room(false)
	for i := range j.In {
		f, err := p.around(func(ctx context.Context, in tensor.Features) (tensor.Features, error) {
			one := Job{In: []tensor.Features{in}, Out: []tensor.Features{out[i]}, State: j.State}
			err := p.Program.Run(ctx, &one)
			dispatch = one.Dispatch
			return one.Out[0], err
		})(ctx, j.In[i])
		if err != nil {
			return err
		}
		out[i] = f
	}
	j.publish(&Job{Out: out})
	j.Dispatch = dispatch
	return nil
}
