//go:build !race

package coreml_test

const raceEnabled = false
