package tensor

// OfNumber returns a tensor of rank 0 that holds a number or truth value of one of
// Go's own types, in the dtype that is as wide; ok is false for anything else.
func OfNumber(v any) (t *Tensor, ok bool) {
	switch v := v.(type) {
	case float64:
		return Scalar(v), true
	case float32:
		return Scalar(v), true
	case int:
		return Scalar(int64(v)), true
	case int64:
		return Scalar(v), true
	case int32:
		return Scalar(v), true
	case int16:
		return Scalar(v), true
	case int8:
		return Scalar(v), true
	case uint:
		return Scalar(uint64(v)), true
	case uint64:
		return Scalar(v), true
	case uint32:
		return Scalar(v), true
	case uint16:
		return Scalar(v), true
	case uint8:
		return Scalar(v), true
	case bool:
		return Scalar(v), true
	}
	return nil, false
}
