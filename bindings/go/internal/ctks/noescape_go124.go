//go:build go1.24

package ctks

// These functions keep none of the pointers they are given and never call back into Go (put does not log), so what Go
// passes them may stay on its stack. Not so the others: open, close and whatever waits may log.

// #cgo noescape tks_go_put
// #cgo nocallback tks_go_put
// #cgo noescape tks_go_put_quotes
// #cgo nocallback tks_go_put_quotes
import "C"
