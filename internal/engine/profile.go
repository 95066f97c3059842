package engine

import (
	"context"
	"time"
)

// Profile collects the time of every step of the runs whose context carries it.
type Profile struct {
	Steps []StepTime
	index map[*step]int
}

// StepTime is what one step took.
type StepTime struct {
	Name, Op, Kernel string
	Calls            int
	Time             time.Duration
	Flops            float64 // of one call
}

type profileKey struct{}

// WithProfile makes runs record their steps in p. Runs that share p must not overlap.
func WithProfile(ctx context.Context, p *Profile) context.Context {
	return context.WithValue(ctx, profileKey{}, p)
}

func profileOf(ctx context.Context) *Profile {
	p, _ := ctx.Value(profileKey{}).(*Profile)
	return p
}

// time starts the clock of a step.
func (p *Profile) time(s *step) func() {
	start := time.Now()
	return func() {
		d := time.Since(start)
		if p.index == nil {
			p.index = map[*step]int{}
		}
		i, ok := p.index[s]
		if !ok {
			i = len(p.Steps)
			p.index[s] = i
			p.Steps = append(p.Steps, StepTime{Name: s.call.Node.Name, Op: s.call.Op.Name, Kernel: s.Kernel, Flops: s.Flops})
		}
		p.Steps[i].Calls++
		p.Steps[i].Time += d
	}
}
