package main

import (
	"fmt"
	"regexp"
	"strconv"

	"coreml"
	"coreml/internal/record"
)

var callMember = regexp.MustCompile(`^c([0-9]{1,6})/(.+)$`)

// benchInputs are the calls to measure: those of a file, or one of made-up
// values. Sequence: the file holds calls that belong together.
func benchInputs(f *function, file string) (calls []coreml.Features, sequence bool, err error) {
	if file == "" {
		in, err := madeUpInputs(f)
		return []coreml.Features{in}, false, err
	}
	return readCalls(file)
}

// readCalls reads the calls in a file of --inputs: one, of a member for each input,
// or a sequence, of members c<call>/<input>.
func readCalls(file string) (calls []coreml.Features, sequence bool, err error) {
	all, err := record.ReadFeatures(file)
	if err != nil {
		return nil, false, fmt.Errorf("--inputs: %w", err)
	}
	byCall := map[int]coreml.Features{}
	for name, v := range all {
		m := callMember.FindStringSubmatch(name)
		if m == nil {
			continue
		}
		i, _ := strconv.Atoi(m[1])
		if byCall[i] == nil {
			byCall[i] = coreml.Features{}
		}
		byCall[i][m[2]] = v
		delete(all, name)
	}
	if len(byCall) == 0 {
		return []coreml.Features{all}, false, nil
	}
	if len(all) > 0 {
		return nil, false, inputError{fmt.Errorf("--inputs %s: has members with and without a call; want c0/NAME, c1/NAME, …, or none of them", file)}
	}
	for i := range len(byCall) {
		if byCall[i] == nil {
			return nil, false, inputError{fmt.Errorf("--inputs %s: has %d calls, but no member c%d/NAME", file, len(byCall), i)}
		}
		calls = append(calls, byCall[i])
	}
	return calls, true, nil
}
