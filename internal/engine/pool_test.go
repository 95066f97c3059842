package engine

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"coreml/internal/fault"
)

func TestTeamRunsEveryTaskOnce(t *testing.T) {
	for _, threads := range []int{1, 2, 4} {
		team := newTeam(threads)
		for _, tasks := range []int{1, 2, 7, 100, 5000} {
			for range 50 {
				ran := make([]atomic.Int32, tasks)
				err := team.do(tasks, func(worker, task int) error {
					if worker < 0 || worker >= threads {
						t.Errorf("worker %d of %d", worker, threads)
					}
					ran[task].Add(1)
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				for i := range ran {
					if n := ran[i].Load(); n != 1 {
						t.Fatalf("%d threads: task %d of %d ran %d times", threads, i, tasks, n)
					}
				}
			}
		}
		team.close()
	}
}

func TestTeamEndsWithTheFirstError(t *testing.T) {
	team := newTeam(2)
	defer team.close()
	boom := errors.New("boom")
	err := team.do(1000, func(_, task int) error {
		if task == 3 {
			return boom
		}
		return nil
	})
	if err != boom {
		t.Errorf("got %v, want boom", err)
	}
	if err := team.do(10, func(_, _ int) error { return nil }); err != nil {
		t.Errorf("the next phase: %v", err)
	}
}

func TestPanicInATaskIsAnError(t *testing.T) {
	team := newTeam(2)
	defer team.close()
	err := team.do(64, func(_, task int) error {
		if task%2 == 1 {
			panic("BUG: planted")
		}
		return nil
	})
	if !errors.Is(err, fault.Runtime) || !strings.Contains(err.Error(), "planted") {
		t.Errorf("got %v, want a runtime error that says planted", err)
	}
}

func TestBusyCrewLeavesARunAlone(t *testing.T) {
	var c crewState
	c.join()
	first := c.take(2)
	if first == nil || c.take(2) != nil {
		t.Fatal("want the team for the first and none for the second")
	}
	c.giveBack()
	if c.take(2) != first {
		t.Error("want the same team again")
	}
	c.giveBack()
	c.leave()
	if c.team != nil {
		t.Error("the team outlives the last program")
	}
}

func TestCrewUnderContention(t *testing.T) {
	var c crewState
	c.join()
	defer c.leave()
	var wg sync.WaitGroup
	var sum atomic.Int64
	for range 16 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range 200 {
				team := c.take(2)
				if team == nil {
					sum.Add(10)
					continue
				}
				team.do(10, func(_, _ int) error { sum.Add(1); return nil })
				c.giveBack()
			}
		}()
	}
	wg.Wait()
	if sum.Load() != 16*200*10 {
		t.Errorf("%d tasks ran, want %d", sum.Load(), 16*200*10)
	}
}
