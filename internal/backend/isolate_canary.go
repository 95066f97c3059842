package backend

import (
	"context"
	"errors"
	"fmt"
	"image"
	"time"

	"coreml/guards"
	"coreml/internal/fault"
	"coreml/internal/isolate"
	"coreml/internal/mlmodel"
	"coreml/schema"
	"coreml/tensor"
)

// CanaryOptions say how Canary tries a model.
type CanaryOptions struct {
	// Dir is the folder of verdicts. "": they last as long as the process.
	Dir string
	// Timeout is for how long the child may take to load and predict; 0: 10 minutes.
	Timeout time.Duration
	// MaxAge is for how long a verdict that a model kills its process counts; 0: for ever.
	// New versions of the operating system or the model have new verdicts anyway.
	MaxAge time.Duration
	// Isolate is for the child.
	Isolate guards.Isolation
	// Report, if set, is told what goes wrong with the cache of verdicts: errors
	// that are fault.Cache. They do not keep a model from being loaded.
	Report func(error)
}

// Canary makes the first load and the first prediction of a model in a child, for
// every combination of model, configuration, operating system and chip. A model that
// kills or hangs its canary is refused with fault.Killed, fault.Memory or
// fault.Timeout, and never reaches b in this process; all others are loaded there.
func Canary(b Backend, o CanaryOptions) Backend {
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Minute
	}
	return &canary{inner: b, o: o, verdicts: verdicts{dir: o.Dir, maxAge: o.MaxAge, known: map[string]*canaryTrial{}}}
}

type canary struct {
	inner    Backend
	o        CanaryOptions
	verdicts verdicts
}

func (c *canary) Name() string  { return c.inner.Name() }
func (c *canary) Usable() error { return c.inner.Usable() }

// Load implements Backend.
func (c *canary) Load(ctx context.Context, m *mlmodel.Model, conf Config) (Program, error) {
	child := Isolate(c.inner, c.o.Isolate)
	if err := child.Usable(); err != nil {
		return nil, err
	}
	digest, err := m.Digest()
	if err != nil {
		return nil, err
	}
	build, chip := isolate.Machine()
	about := subject{Backend: c.inner.Name(), Model: digest, System: build, Chip: chip, Config: conf}
	v, err := c.verdicts.of(ctx, about, c.report, func() (verdict, error) { return c.try(ctx, child, m, conf) })
	if err != nil {
		return nil, err
	}
	if err := v.refusal(); err != nil {
		return nil, err
	}
	return c.inner.Load(ctx, m, conf)
}

func (c *canary) report(err error) {
	if c.o.Report != nil {
		c.o.Report(err)
	}
}

// try loads and runs the model in a child. The error is that of a trial that says
// nothing about the model, because the caller did not wait for its end.
func (c *canary) try(ctx context.Context, b Backend, m *mlmodel.Model, conf Config) (verdict, error) {
	inner, cancel := context.WithTimeout(ctx, c.o.Timeout)
	defer cancel()
	doing := "load"
	p, err := b.Load(inner, m, conf)
	if errors.Is(err, isolate.ErrStart) {
		return verdict{}, err // the child has not seen the model
	}
	if err == nil {
		doing = "predict"
		if err = c.predict(inner, p, m, conf); err == nil {
			doing = "close"
			err = p.Close()
		} else {
			_ = p.Close() // what it says comes of the first error
		}
	}
	if ctx.Err() != nil {
		return verdict{}, fmt.Errorf("backend: canary: %w", timeoutOf(ctx, "trying the model in a child"))
	}
	v := verdict{Verdict: good}
	var d *isolate.Death
	switch {
	case errors.As(err, &d) && errors.Is(err, fault.Memory):
		v = verdict{Verdict: exhausted}
	case errors.As(err, &d):
		v = verdict{Verdict: killed}
	case errors.Is(err, fault.Timeout):
		v = verdict{Verdict: hung}
	default:
		return v, nil // an error that this process survives: the backend may say it itself
	}
	v.Doing, v.Reason = doing, err.Error()
	return v, nil
}

// predict runs the program on zeros, if the description says what they look like.
func (c *canary) predict(ctx context.Context, p Program, m *mlmodel.Model, conf Config) error {
	d, err := mlmodel.FunctionNamed(m.Description, conf.Function)
	if err != nil { // the backend knows the function all the same
		d = &m.Description.Function
	}
	in := tensor.Features{}
	for i := range d.Inputs {
		v, ok := zero(&d.Inputs[i])
		if !ok {
			return nil
		}
		in[d.Inputs[i].Name] = v
	}
	return p.Run(ctx, &Job{In: []tensor.Features{in}, Out: []tensor.Features{nil}})
}

// maxZeros bounds the input that a canary makes up.
const maxZeros = 256 << 20

// zero is an input of the feature's default shape.
func zero(f *schema.Feature) (any, bool) {
	switch {
	case f.Tensor != nil:
		dt := f.Tensor.DType
		if dt == tensor.Invalid {
			dt = tensor.Float32
		}
		n, ok := tensor.Elements(f.Tensor.Shape)
		if size, fits := tensor.ByteSize(dt, n); f.Tensor.Shape == nil || !ok || !fits || size > maxZeros {
			return nil, false
		}
		t, err := tensor.Make(dt, f.Tensor.Shape)
		return t, err == nil
	case f.Image != nil:
		w, h := f.Image.Width, f.Image.Height
		if w <= 0 || h <= 0 || w > maxZeros/4/h {
			return nil, false
		}
		return image.NewNRGBA(image.Rect(0, 0, w, h)), true
	case f.Type == schema.TypeInt64:
		return int64(0), true
	case f.Type == schema.TypeDouble:
		return 0.0, true
	case f.Type == schema.TypeString:
		return "", true
	}
	return nil, false
}
