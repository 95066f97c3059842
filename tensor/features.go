package tensor

// Features maps feature names to values, as Core ML passes them in and out of
// a model. A value is one of
//
//   - *Tensor: a multi-array
//   - image.Image
//   - string, int64, float64
//   - map[string]float64, map[int64]float64: a dictionary
//   - []string, []int64: a sequence
type Features map[string]any
