// Package repo holds the source to its rules by tests: which package may import
// which, sizes of files and functions, where memory is reached past the type system.
package repo
