package breaker

import (
	"cmp"
	"maps"
	"slices"
	"sync"
)

// Set holds one breaker per key, all with the same options.
type Set struct {
	options Options
	hooks   Hooks

	mu  sync.Mutex
	all map[Key]*Breaker
}

// NewSet makes an empty set.
func NewSet(o Options, h Hooks) *Set { return &Set{options: o, hooks: h, all: map[Key]*Breaker{}} }

// For gives the breaker of k, which is made when it is first asked for.
func (s *Set) For(k Key) *Breaker {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.all[k]
	if b == nil {
		b = New(k, s.options, s.hooks)
		s.all[k] = b
	}
	return b
}

// Forget drops the breaker of k, for a model that was closed.
func (s *Set) Forget(k Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, k)
}

// Status lists all breakers in the order of their keys.
func (s *Set) Status() []Status {
	s.mu.Lock()
	all := slices.Collect(maps.Values(s.all))
	s.mu.Unlock()
	slices.SortFunc(all, func(a, b *Breaker) int {
		return cmp.Or(cmp.Compare(a.key.Model, b.key.Model), cmp.Compare(a.key.Backend, b.key.Backend), cmp.Compare(a.key.Unit, b.key.Unit))
	})
	out := make([]Status, len(all))
	for i, b := range all {
		out[i] = b.Status()
	}
	return out
}
