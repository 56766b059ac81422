// Package tickstore captures market data into libtickstore, an embedded store in a C library: every quote is given to
// it in well under a microsecond, the last ones are asked for a moment later or last month's a week later, and nothing
// is lost without being counted.
//
//	store, err := tickstore.Open(tickstore.Config{Path: "quotes"})
//	...
//	eurusd, err := store.Symbol("EURUSD") // once
//	seq, err := store.Put(tickstore.Quote{TsNS: ts, Bid: 1.08484, Ask: 1.08499, Symbol: eurusd})
//
// # Building
//
// The library is found through pkg-config (tickstore.pc) by cgo and linked dynamically. A program that also uses
// mattn/go-sqlite3 must be built with -tags libsqlite3, so that both use the system's one SQLite; docs/go.md says what
// happens otherwise.
//
// # Goroutines
//
// Every method of a Store may be called from any number of goroutines at any time; Close may race with them, and what
// comes after it answers ErrClosed. A Cursor is for one goroutine at a time. Results are copies: nothing that the
// library owns is handed out, and nothing that it is given is kept.
//
// # Errors
//
// Errors are *Error with the code and the message of the library. The codes are the sentinels for errors.Is:
//
//	if errors.Is(err, tickstore.ErrQueueFull) { ... }
//
// # Accepted is not durable
//
// Put returns as soon as the quote is in memory and on its way; Flush waits until what was accepted is on stable
// storage, and DurableSeq says up to where that is so.
package tickstore
