package mlmodel

import (
	"coreml/internal/fault"
	"coreml/schema"
)

// FunctionNamed returns the description of a function; the empty name means
// the default one.
func FunctionNamed(d *schema.Description, name string) (*schema.Function, error) {
	if name == "" {
		return &d.Function, nil
	}
	for i := range d.Functions {
		if d.Functions[i].Name == name {
			return &d.Functions[i], nil
		}
	}
	return nil, unsupported("function "+fault.Quote(name), "the model has no such function", fault.OneOf(functionNames(d.Functions)))
}

// Opened is the description of the model when it is opened for a function: the
// same, with that function's interface. The empty name means the default one.
func Opened(d *schema.Description, function string) (*schema.Description, error) {
	if function == "" {
		return d, nil
	}
	f, err := FunctionNamed(d, function)
	if err != nil {
		return nil, err
	}
	own := *d
	own.Function = *f
	return &own, nil
}
