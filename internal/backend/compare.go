package backend

import (
	"bytes"
	"fmt"
	"image"
	"maps"
	"math"
	"slices"
	"strings"

	"coreml/guards"
	"coreml/internal/fault"
	"coreml/tensor"
)

const maxSNR = 300

// defaultLimits suit programs that were made for float16 arithmetic, as most are
// whatever their outputs are: 11 bits that lose a few on the way.
func defaultLimits(want any) guards.Limits {
	switch v := want.(type) {
	case *tensor.Tensor:
		if v.DType() == tensor.Float16 {
			return guards.Limits{SNR: 25}
		}
		if !v.DType().IsFloat() {
			return guards.Limits{Agreement: 0.99}
		}
	case int64, string, []string, []int64:
		return guards.Limits{Agreement: 1}
	}
	return guards.Limits{SNR: 30}
}

// Compare measures how each output that got has differs from want's.
func Compare(got, want tensor.Features, topK func(output string) int) []guards.Difference {
	var all []guards.Difference
	for _, name := range slices.Sorted(maps.Keys(got)) {
		d := guards.Difference{Output: name, Cosine: 1, SNR: maxSNR, Agreement: 1}
		if w, ok := want[name]; ok {
			measure(&d, got[name], w, topK(name))
		} else {
			d.Broken = "the reference has no such output"
		}
		all = append(all, d)
	}
	return all
}

// Check judges answers by limits for outputs by name; an output without limits of
// its own has those of its dtype. The error wraps fault.Drift.
func Check(limits map[string]guards.Limits) func(got, want tensor.Features) error {
	return func(got, want tensor.Features) error {
		_, err := judge(limits, got, want)
		return err
	}
}

func judge(limits map[string]guards.Limits, got, want tensor.Features) ([]guards.Difference, error) {
	all := Compare(got, want, func(output string) int { return limits[output].TopK })
	var bad []string
	for i := range all {
		d := &all[i]
		l, ok := limits[d.Output]
		if !ok {
			l = defaultLimits(want[d.Output])
		}
		if text := over(d, l); text != "" && !tied(got, want, d.Output, all) {
			bad = append(bad, fmt.Sprintf("output %q: %s", d.Output, text))
		}
	}
	if len(got) == 0 && len(want) > 0 {
		bad = append(bad, "there are no outputs")
	}
	if bad == nil {
		return all, nil
	}
	return all, fmt.Errorf("backend: %w: %s", fault.Drift, strings.Join(bad, "; "))
}

// judge fills in how the answer differs. A state is judged by the elements that
// either of the two has changed: those of one step are few among those of many. A
// value that nothing can be made of is drift too.
func judgeDrift(d *guards.Drift, limits map[string]guards.Limits) {
	defer func() {
		if v := recover(); v != nil {
			d.Err = fmt.Errorf("backend: %w: the answer cannot be compared: %v", fault.Drift, v)
		}
	}()
	got, want := tensor.Features{}, tensor.Features{}
	maps.Copy(got, d.Got)
	maps.Copy(want, d.Want)
	for name := range d.Left {
		as := "state " + name
		got[as], want[as] = changed(d.Left[name], d.After[name], d.Before[name])
	}
	d.Differences, d.Err = judge(limits, got, want)
}

// changed are those elements of a and b that differ from before in one of them. What
// cannot be told apart so is returned whole.
func changed(a, b, before any) (any, any) {
	var data [3][]byte
	first, _ := a.(*tensor.Tensor)
	for i, v := range []any{a, b, before} {
		t, _ := v.(*tensor.Tensor)
		if t == nil || first == nil || !tensor.EqualShape(t.Shape(), first.Shape()) || first.DType().Bits()%8 != 0 {
			return a, b
		}
		if t.DType() != first.DType() {
			var err error
			if t, err = t.Convert(first.DType()); err != nil {
				return a, b
			}
		}
		data[i] = t.Bytes()
	}
	x, y, was := data[0], data[1], data[2]
	var p, q []byte
	size := first.DType().Bits() / 8
	for block := range slices.Chunk(was, 1<<12) { // states are large, and a step changes little of them
		n := len(block)
		if !bytes.Equal(block, x[:n]) || !bytes.Equal(block, y[:n]) {
			for i := 0; i < n; i += size {
				if !bytes.Equal(block[i:i+size], x[i:i+size]) || !bytes.Equal(block[i:i+size], y[i:i+size]) {
					p, q = append(p, x[i:i+size]...), append(q, y[i:i+size]...)
				}
			}
		}
		x, y = x[n:], y[n:]
	}
	g, err1 := tensor.FromBytes(first.DType(), []int{len(p) / size}, p)
	w, err2 := tensor.FromBytes(first.DType(), []int{len(q) / size}, q)
	if err1 != nil || err2 != nil {
		return a, b
	}
	return g, w
}

// over is the limit that a difference exceeds, or "".
func over(d *guards.Difference, l guards.Limits) string {
	switch {
	case d.Broken != "":
		return d.Broken
	case l.MaxError > 0 && d.MaxError > l.MaxError:
		return fmt.Sprintf("the largest error is %.3g, want at most %.3g", d.MaxError, l.MaxError)
	case l.RMSE > 0 && d.RMSE > l.RMSE:
		return fmt.Sprintf("RMSE %.3g, want at most %.3g", d.RMSE, l.RMSE)
	case l.Cosine > 0 && d.Cosine < l.Cosine:
		return fmt.Sprintf("cosine %.5f, want at least %.5f", d.Cosine, l.Cosine)
	case l.SNR > 0 && d.SNR < l.SNR:
		return fmt.Sprintf("SNR %.1f dB, want at least %.1f", d.SNR, l.SNR)
	case l.Agreement > 0 && d.Agreement < l.Agreement:
		return fmt.Sprintf("agreement %.3f, want at least %.3f", d.Agreement, l.Agreement)
	}
	return ""
}

// tied reports whether two labels differ only because their scores are as close
// as the scores of the two answers are, whose difference has limits of its own.
func tied(got, want tensor.Features, output string, all []guards.Difference) bool {
	a, ok1 := got[output].(string)
	b, ok2 := want[output].(string)
	if !ok1 || !ok2 {
		return false
	}
	for i := range all {
		scores, ok := want[all[i].Output].(map[string]float64)
		if !ok {
			continue
		}
		x, ok1 := scores[a]
		y, ok2 := scores[b]
		if ok1 && ok2 && y-x <= 2*all[i].MaxError {
			return true
		}
	}
	return false
}

// measure fills d in.
func measure(d *guards.Difference, got, want any, topK int) {
	g, gs, ok1 := numbers(got, want)
	w, ws, ok2 := numbers(want, got)
	switch {
	case ok1 && ok2 && !tensor.EqualShape(gs, ws):
		d.Broken = fmt.Sprintf("shape %v, want %v", gs, ws)
	case ok1 && ok2:
		compare(d, g, w, topK)
		if t, ok := want.(*tensor.Tensor); ok && !t.DType().IsFloat() {
			d.Agreement = equalShare(g, w)
		}
	default:
		objects(d, got, want)
	}
}

func objects(d *guards.Difference, got, want any) {
	switch w := want.(type) {
	case string:
		if g, ok := got.(string); ok {
			d.Elements, d.Agreement = 1, equalShare([]string{g}, []string{w})
			return
		}
	case int64:
		if g, ok := got.(int64); ok {
			d.Elements, d.Agreement = 1, equalShare([]int64{g}, []int64{w})
			return
		}
	case []string:
		if g, ok := got.([]string); ok {
			d.Elements, d.Agreement = len(w), equalShare(g, w)
			return
		}
	case []int64:
		if g, ok := got.([]int64); ok {
			d.Elements, d.Agreement = len(w), equalShare(g, w)
			return
		}
	}
	d.Broken = fmt.Sprintf("%T, want %T", got, want)
}

func equalShare[T comparable](got, want []T) float64 {
	n := max(len(got), len(want))
	if n == 0 {
		return 1
	}
	same := 0
	for i := range min(len(got), len(want)) {
		if got[i] == want[i] || got[i] != got[i] && want[i] != want[i] {
			same++
		}
	}
	return float64(same) / float64(n)
}

// numbers are the values and the shape of what consists of numbers. A dictionary
// has those of the keys of both, so that other's keys count as zeros.
func numbers(v, other any) ([]float64, []int, bool) {
	switch v := v.(type) {
	case *tensor.Tensor:
		f, err := v.Convert(tensor.Float64)
		if err != nil {
			return nil, nil, false
		}
		return tensor.Data[float64](f), v.Shape(), true
	case float64:
		return []float64{v}, nil, true
	case map[string]float64:
		return scores(v, other)
	case map[int64]float64:
		return scores(v, other)
	case *image.NRGBA:
		return bytesAsNumbers(v.Pix), []int{v.Rect.Dy(), v.Rect.Dx()}, true
	case *image.Gray:
		return bytesAsNumbers(v.Pix), []int{v.Rect.Dy(), v.Rect.Dx()}, true
	}
	return nil, nil, false
}

func scores[K int64 | string](v map[K]float64, other any) ([]float64, []int, bool) {
	o, ok := other.(map[K]float64)
	if !ok {
		return nil, nil, false
	}
	all := maps.Clone(v)
	maps.Copy(all, o)
	out := make([]float64, 0, len(all))
	for _, k := range slices.Sorted(maps.Keys(all)) {
		out = append(out, v[k])
	}
	return out, []int{len(out)}, true
}

func bytesAsNumbers(b []byte) []float64 {
	out := make([]float64, len(b))
	for i, x := range b {
		out[i] = float64(x)
	}
	return out
}

// quietest is the least power of a signal that an SNR is taken of: below it, all is silence.
const quietest = 1e-12

func compare(d *guards.Difference, got, want []float64, topK int) {
	d.Elements = len(want)
	var noise, signal, power, dot float64
	for i, w := range want {
		g := got[i]
		if g == w || g != g && w != w {
			if !math.IsInf(w, 0) && w == w {
				signal, power, dot = signal+w*w, power+g*g, dot+g*w
			}
			continue
		}
		e := math.Abs(g - w)
		if math.IsNaN(e) || math.IsInf(e, 0) {
			d.Broken = fmt.Sprintf("element %d is %v, want %v", i, g, w)
			return
		}
		d.MaxError = max(d.MaxError, e)
		noise += e * e
		signal, power, dot = signal+w*w, power+g*g, dot+g*w
	}
	n := float64(max(len(want), 1))
	d.RMSE = min(math.Sqrt(noise/n), math.MaxFloat64)
	if signal > 0 && power > 0 {
		d.Cosine = finite(dot/math.Sqrt(signal)/math.Sqrt(power), 0)
	} else if signal != power {
		d.Cosine = 0
	}
	if noise > 0 {
		d.SNR = min(maxSNR, finite(10*math.Log10(max(signal/n, quietest)/(noise/n)), -maxSNR))
	}
	if topK <= 0 {
		topK = 5
	}
	d.Agreement = topAgreement(got, want, min(topK, len(want)))
}

// finite is x, or what stands for sums that are too large to say.
func finite(x, otherwise float64) float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return otherwise
	}
	return x
}

// topAgreement is the share of the k largest of want that are among the k largest of got.
func topAgreement(got, want []float64, k int) float64 {
	if k == 0 {
		return 1
	}
	a, b := largestAt(got, k), largestAt(want, k)
	same := 0
	for _, i := range a {
		if slices.Contains(b, i) {
			same++
		}
	}
	return float64(same) / float64(k)
}

// largestAt are the places of the k largest, the first of equal ones first.
func largestAt(v []float64, k int) []int {
	top := make([]int, 0, k+1)
	for i, x := range v {
		if len(top) == k && !(x > v[top[k-1]]) {
			continue
		}
		at := len(top)
		for at > 0 && x > v[top[at-1]] {
			at--
		}
		top = slices.Insert(top, at, i)[:min(len(top)+1, k)]
	}
	return top
}
