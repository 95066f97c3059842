//go:build race

package backend_test

// underRace: the race detector needs more memory than a child may be given.
const underRace = true
