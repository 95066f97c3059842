//go:build !race

package backend_test

const underRace = false
