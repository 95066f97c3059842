package mlmodel

import (
	"errors"

	"coreml/internal/fault"
)

// The classes of failure, for errors.Is.
var (
	ErrInvalid     = fault.Invalid
	ErrUnsupported = fault.Unsupported
	ErrLoad        = fault.Load
	ErrLimit       = fault.Limit
)

// Error says what is wrong with a model and where. Its text is one line,
// "mlmodel: <where>: <what>: <wanted>", and holds no more of the file than a
// shortened name.
type Error struct {
	Kind  error  // ErrInvalid, ErrUnsupported, ErrLoad or ErrLimit
	Where string // file, function, operation or feature
	What  string
	Want  string // empty when nothing helpful can be said
	Cause error  // what the system said, or nil
}

func (e *Error) Error() string {
	text := "mlmodel: "
	if e.Where != "" {
		text += e.Where + ": "
	}
	text += e.What
	if e.Cause != nil {
		text += ": " + e.Cause.Error()
	}
	if e.Want != "" {
		text += ": want " + e.Want
	}
	return text
}

func (e *Error) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Cause}
}

func invalid(where, what, want string) error {
	return &Error{Kind: ErrInvalid, Where: where, What: what, Want: want}
}

func unsupported(where, what, want string) error {
	return &Error{Kind: ErrUnsupported, Where: where, What: what, Want: want}
}

func tooLarge(where, what, want string) error {
	return &Error{Kind: ErrLimit, Where: where, What: what, Want: want}
}

// at puts a place in front of the place that err names, if it is one of ours.
func at(where string, err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	outer := *e
	outer.Where = where
	if e.Where != "" {
		outer.Where += ": " + e.Where
	}
	return &outer
}
