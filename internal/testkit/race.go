//go:build race

package coreml_test

// raceEnabled: the race detector allocates by itself.
const raceEnabled = true
