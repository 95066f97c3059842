package verify

import (
	"fmt"
	"image"
	"math"
	"slices"

	"coreml/schema"
	"coreml/tensor"
)

// Mismatch says how an output parts from what was expected.
type Mismatch struct {
	Call   int    `json:"call"`
	Output string `json:"output"`
	What   string `json:"what"`
	At     []int  `json:"position,omitempty"` // where it is worst
	// Error is |got - want| there; infinite where one of them is no finite number.
	Error schema.Number `json:"error,omitempty"`
}

func (m *Mismatch) String() string { return fmt.Sprintf("call %d, %s: %s", m.Call, m.Output, m.What) }

func differ(format string, a ...any) *Mismatch { return &Mismatch{What: fmt.Sprintf(format, a...)} }

// mixedTolerance is the least tolerance of a float32 program with float16 tensors inside.
const mixedTolerance = 5e-3

// tolerance is what a comparison allows: |got - want| <= atol + rtol·|want|.
func (w *Want) tolerance(tight, mixed bool) (atol, rtol float64) {
	least := 0.0
	if mixed {
		least = mixedTolerance
	}
	atol, rtol = max(w.Atol, least), max(w.Rtol, least)
	if !tight {
		return atol, rtol
	}
	switch {
	case w.Precision == "fp32" && w.BaseAtol != nil && w.BaseRtol != nil:
		return max(*w.BaseAtol, least), max(*w.BaseRtol, least)
	case w.Precision == "fp16":
		return min(atol, 5e-3), min(rtol, 5e-3)
	}
	return atol, rtol
}

// compare checks one output; nil: it is as expected.
func (w *Want) compare(got any, arrays map[string]*tensor.Tensor, tight, mixed bool) *Mismatch {
	atol, rtol := w.tolerance(tight, mixed)
	switch w.Kind {
	case "dict":
		return w.compareDict(got, atol, rtol)
	case "array", "image":
		if w.Kind == "array" && w.NPZ == "" && w.ShapeOnly {
			return w.compareShape(got)
		}
		loose, _ := w.tolerance(false, mixed)
		return w.compareArray(got, arrays, atol, rtol, loose)
	}
	return w.compareScalar(got, atol, rtol)
}

func (w *Want) compareScalar(got any, atol, rtol float64) *Mismatch {
	v, err := w.Decode(nil)
	if err != nil {
		return differ("the recorded value: %v", err)
	}
	if s, ok := v.(string); ok {
		if g, ok := got.(string); !ok || g != s {
			return differ("%v, want %q", got, s)
		}
		return nil
	}
	g, ok := number(got)
	want, _ := number(v)
	if !ok {
		return differ("%T, want a number", got)
	}
	limit := 0.0
	if w.Metric == "max_abs" || w.Kind == "double" {
		limit = max(atol, 1e-9) + rtol*math.Abs(want)
	}
	if !within(g, want, limit) {
		return &Mismatch{What: fmt.Sprintf("%v, want %v", g, want), Error: distance(g, want)}
	}
	return nil
}

// number reads a scalar or a tensor of one element.
func number(v any) (float64, bool) {
	switch v := v.(type) {
	case int64:
		return float64(v), true
	case float64:
		return v, true
	case *tensor.Tensor:
		if v.Len() == 1 {
			return floats(v)[0], true
		}
	}
	return 0, false
}

func (w *Want) compareDict(got any, atol, rtol float64) *Mismatch {
	want, err := w.Decode(nil)
	if err != nil {
		return differ("the recorded value: %v", err)
	}
	g, e := asDict(got), asDict(want)
	if g == nil {
		return differ("%T, want a dictionary", got)
	}
	for _, k := range w.OmitKeys {
		delete(g, k)
		delete(e, k)
	}
	if len(g) != len(e) {
		return differ("%d keys, want %d", len(g), len(e))
	}
	var worst *Mismatch
	for k, x := range e {
		y, ok := g[k]
		if !ok {
			return differ("no key %s", k)
		}
		if d := distance(y, x); !within(y, x, max(atol, 1e-9)+rtol*math.Abs(x)) && (worst == nil || d > worst.Error) {
			worst = &Mismatch{What: fmt.Sprintf("key %s is %g, want %g", k, y, x), Error: d}
		}
	}
	return worst
}

func asDict(v any) map[string]float64 {
	out := map[string]float64{}
	switch v := v.(type) {
	case map[string]float64:
		for k, x := range v {
			out[k] = x
		}
	case map[int64]float64:
		for k, x := range v {
			out[fmt.Sprint(k)] = x
		}
	default:
		return nil
	}
	return out
}

// array gives an output as numbers and a shape; images as H×W×3 or H×W.
func array(got any) ([]float64, []int, bool) {
	switch v := got.(type) {
	case *tensor.Tensor:
		return floats(v), v.Shape(), true
	case *image.Gray:
		b := v.Bounds()
		out := make([]float64, 0, b.Dx()*b.Dy())
		for _, p := range v.Pix {
			out = append(out, float64(p))
		}
		return out, []int{b.Dy(), b.Dx()}, true
	case *image.NRGBA:
		b := v.Bounds()
		var out []float64
		for i := 0; i < len(v.Pix); i += 4 {
			out = append(out, float64(v.Pix[i]), float64(v.Pix[i+1]), float64(v.Pix[i+2]))
		}
		return out, []int{b.Dy(), b.Dx(), 3}, true
	}
	if n, ok := number(got); ok {
		return []float64{n}, nil, true
	}
	return nil, nil, false
}

func floats(t *tensor.Tensor) []float64 {
	if d, err := t.Convert(tensor.Float64); err == nil {
		return tensor.Data[float64](d)
	}
	return nil
}

func (w *Want) compareShape(got any) *Mismatch {
	_, s, ok := array(got)
	if !ok {
		return differ("%T, want an array", got)
	}
	same := tensor.EqualShape(s, w.Shape) || product(s) == 1 && product(w.Shape) == 1 ||
		w.Squeeze && tensor.EqualShape(squeeze(s), squeeze(w.Shape))
	if !same {
		return differ("shape %v, want %v", s, w.Shape)
	}
	return nil
}

func product(s []int) int {
	n := 1
	for _, d := range s {
		n *= d
	}
	return n
}

func squeeze(s []int) []int {
	return slices.DeleteFunc(slices.Clone(s), func(d int) bool { return d == 1 })
}

func (w *Want) compareArray(got any, arrays map[string]*tensor.Tensor, atol, rtol, looseAtol float64) *Mismatch {
	t := arrays[w.NPZ]
	if t == nil {
		return differ("no array %q is recorded", w.NPZ)
	}
	g, gs, ok := array(got)
	if !ok {
		return differ("%T, want an array", got)
	}
	if w.ShapeOnly {
		return w.compareShape(got)
	}
	e, es := floats(t), t.Shape()
	if w.Channels > 0 && len(es) == 3 && es[2] > w.Channels {
		e, es = firstChannels(e, es, w.Channels)
	}
	if w.Channels > 0 && len(gs) == 3 && gs[2] > w.Channels {
		g, gs = firstChannels(g, gs, w.Channels)
	}
	if !w.sameShape(gs, es) {
		return differ("shape %v, want %v", gs, es)
	}
	if len(e) == 0 {
		return nil
	}
	switch w.Metric {
	case "snr":
		return w.compareNoise(g, e, es)
	case "rel_max1":
		scale := func(want float64) float64 { return max(math.Abs(want), 1) }
		return compareEach(g, e, es, 0, scale, func(want float64) float64 { return looseAtol * scale(want) })
	}
	return compareEach(g, e, es, w.MismatchRatio, func(float64) float64 { return 1 },
		func(want float64) float64 { return atol + rtol*math.Abs(want) })
}

func (w *Want) sameShape(got, want []int) bool {
	switch {
	case w.Flat:
		return product(got) == product(want)
	case w.Squeeze:
		got, want = squeeze(got), squeeze(want)
	}
	return tensor.EqualShape(got, want) || product(got) == 1 && product(want) == 1 ||
		w.ShapeUnchecked && product(got) == product(want)
}

func firstChannels(v []float64, s []int, n int) ([]float64, []int) {
	var out []float64
	for i := 0; i < len(v); i += s[2] {
		out = append(out, v[i:i+n]...)
	}
	return out, []int{s[0], s[1], n}
}
