package verify

// Summary counts results, in all and by operator.
type Summary struct {
	Passed  int              `json:"passed"`
	Failed  int              `json:"failed"`
	Skipped int              `json:"skipped"`
	Ops     map[string]Count `json:"ops"`
}

// Count is the number of cases that an operator appears in, by how they ended.
type Count struct {
	Passed int `json:"passed"`
	Failed int `json:"failed"`
}

// Summarise counts results.
func Summarise(results []Result) Summary {
	s := Summary{Ops: map[string]Count{}}
	for _, r := range results {
		switch r.Status {
		case Passed:
			s.Passed++
		case Failed:
			s.Failed++
		default:
			s.Skipped++
			continue
		}
		for _, op := range r.Ops {
			c := s.Ops[op]
			if r.Status == Passed {
				c.Passed++
			} else {
				c.Failed++
			}
			s.Ops[op] = c
		}
	}
	return s
}
