package backend_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"coreml/internal/backend"
	"coreml/internal/fault"
	"coreml/tensor"
)

// warmPair is a chain of a program that takes a minute to load, and one that is there.
func warmPair(late *summing, loading func() error) (backend.Program, *summing) {
	now := &summing{name: "now"}
	w := backend.Warm(func(ctx context.Context) (backend.Program, error) {
		select {
		case <-time.After(time.Minute):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if err := loading(); err != nil {
			return nil, err
		}
		return late, nil
	}, backend.WarmOptions{Checks: 2, Check: backend.Check(nil), Reference: now})
	return backend.Fallback(backend.FallbackOptions{}, backend.Link{Program: w}, backend.Link{Program: now, Prompt: true}), now
}

func well() error { return nil }

func TestWarmAnswersMeanwhileAndMovesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := &summing{name: "late"}
		p, _ := warmPair(late, well)
		defer p.Close()
		var by []string
		for range 7 {
			start := time.Now()
			j := run(t, p, within(t, time.Second), 4)
			if y(j) != 4 || time.Since(start) != 0 {
				t.Errorf("%v after %v", y(j), time.Since(start))
			}
			by = append(by, j.Dispatch.Backend)
			synctest.Wait() // for a check, if there is one
			time.Sleep(20 * time.Second)
			synctest.Wait()
		}
		// The requests at 60 s and 80 s are those that the loaded program is checked with.
		if got := strings.Join(by, " "); got != "now now now now now late late" {
			t.Errorf("answered by %s", got)
		}
	})
}

func TestWarmKeepsTrafficFromAProgramThatDrifts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := &summing{name: "late", offset: 1}
		p, _ := warmPair(late, well)
		defer p.Close()
		for range 10 {
			if j := run(t, p, context.Background(), 4); y(j) != 4 || j.Dispatch.Backend != "now" {
				t.Errorf("%v by %s", y(j), j.Dispatch.Backend)
			}
			synctest.Wait()
			time.Sleep(30 * time.Second)
			synctest.Wait()
		}
		if !late.closed.Load() {
			t.Error("the one that drifts was not closed")
		}
	})
}

func TestWarmLoadsAgainAfterAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		late := &summing{name: "late"}
		p, _ := warmPair(late, func() error {
			if tries++; tries < 3 {
				return fault.Killed
			}
			return nil
		})
		defer p.Close()
		reasons := map[string]bool{}
		by := ""
		for range 60 {
			j := run(t, p, context.Background(), 4)
			by = j.Dispatch.Backend
			reasons[j.Dispatch.Reason] = true
			synctest.Wait()
			time.Sleep(10 * time.Second)
			synctest.Wait()
		}
		if tries != 3 || by != "late" {
			t.Errorf("%d attempts, the last answer by %s", tries, by)
		}
		if len(reasons) != 4 { // loading, failed, being checked, none
			t.Errorf("reasons %v", reasons)
		}
	})
}

func TestWarmDoesNotRepeatWhatCannotWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		w := backend.Warm(func(context.Context) (backend.Program, error) { tries++; return nil, fault.Unsupported }, backend.WarmOptions{Wait: true})
		for range 10 {
			err := w.Run(context.Background(), &backend.Job{In: x(1), Out: []tensor.Features{{}}})
			if !errors.Is(err, backend.ErrWarming) || !errors.Is(err, fault.Unsupported) {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
		}
		if tries != 1 {
			t.Errorf("%d attempts", tries)
		}
		w.Close()
		if err := w.Run(context.Background(), &backend.Job{}); !errors.Is(err, fault.Closed) {
			t.Errorf("after closing: %v", err)
		}
	})
}

func TestWarmCloseEndsLoading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := &summing{name: "late"}
		p, _ := warmPair(late, well)
		start := time.Now()
		if err := p.Close(); err != nil || time.Since(start) != 0 {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

// TestWarmMovesStatesOver: a state that was begun before the swap goes on after it.
func TestWarmMovesStatesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := &summing{name: "late"}
		p, _ := warmPair(late, well)
		defer p.Close()
		st, err := p.NewState()
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		for i := range 8 {
			j := &backend.Job{In: x(1), Out: make([]tensor.Features, 1), State: st}
			if err := p.Run(context.Background(), j); err != nil {
				t.Fatal(err)
			}
			if y(j) != float32(i+1) {
				t.Errorf("run %d by %s: %v", i, j.Dispatch.Backend, y(j))
			}
			synctest.Wait()
			time.Sleep(20 * time.Second)
			synctest.Wait()
		}
		if late.runs.Load() < 3 {
			t.Errorf("the program that was loaded late ran %d times", late.runs.Load())
		}
	})
}
