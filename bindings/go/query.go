package tickstore

import (
	"context"
	"fmt"
	"io"
	"math"
	"time"
	"unsafe"

	"github.com/libtickstore/libtickstore/bindings/go/internal/ctks"
)

// What there is room for at first; there may be far fewer, or more.
const (
	recentRoom = 16384
	listRoom   = 256
)

// Recent returns the last n quotes of a symbol, oldest first. They come from memory, in order of arrival; where that
// ends, older ones come from the disk, in order of time. n is 1 to 2,147,483,647.
//
// Errors: ErrSymbol, ErrLimit, ErrClosed; ErrDayFile and ErrDeadline, with what could be read beside them.
func (s *Store) Recent(symbol Symbol, n int) ([]Quote, error) {
	capacity := n
	if capacity > recentRoom {
		capacity = recentRoom
	}
	if n < 0 { // which C could not tell from a large number
		return nil, &Error{Code: ErrLimit, Message: fmt.Sprintf("n is %d, must be from 1 to %d", n, ctks.MaxRecords)}
	}
	if capacity < 1 || n > ctks.MaxRecords {
		var none Quote
		_, failure := s.c.Recent(uint32(symbol), n, unsafe.Pointer(&none)) // refuses n
		return nil, asError(failure)
	}
	for {
		quotes := make([]Quote, capacity)
		count, failure := s.c.Recent(uint32(symbol), capacity, unsafe.Pointer(&quotes[0]))
		if failure != nil || count < capacity || capacity == n {
			return quotes[:count], asError(failure)
		}
		if capacity > n/4 {
			capacity = n
		} else {
			capacity *= 4
		}
	}
}

// Latest returns the newest quote of a symbol: the last that arrived or, if none arrived since the store was opened,
// the last by time on disk.
//
// Errors: ErrNotFound, and those of Recent.
func (s *Store) Latest(symbol Symbol) (quote Quote, err error) {
	failure := s.c.Latest(uint32(symbol), unsafe.Pointer(&quote))
	return quote, asError(failure)
}

// LatestAll returns the newest quote of every symbol that has one, ordered by Symbol.
func (s *Store) LatestAll() ([]Quote, error) {
	var quotes []Quote
	err := list(listRoom, func(capacity int) (int, *ctks.Failure) {
		quotes = make([]Quote, capacity)
		return s.c.LatestAll(pointer(quotes), capacity)
	}, func(n int) { quotes = quotes[:n] })
	return quotes, err
}

// pointer is where a slice's elements are; nil where there are none.
func pointer[T any](s []T) unsafe.Pointer {
	if len(s) == 0 {
		return nil
	}
	return unsafe.Pointer(&s[0])
}

// list makes room and has it filled, again with more if there are more. Beside ErrDayFile there is a result all the
// same.
func list(capacity int, fill func(capacity int) (int, *ctks.Failure), cut func(n int)) error {
	for {
		total, failure := fill(capacity)
		if failure != nil && failure.Code != int32(ErrDayFile) {
			cut(0)
			return asError(failure)
		}
		if total <= capacity {
			cut(total)
			return asError(failure)
		}
		capacity = total + total/8
	}
}

// Query is what Range reads: one symbol's quotes with From <= event time < To.
type Query struct {
	Symbol     Symbol
	From       time.Time // zero: no bound
	To         time.Time // zero: no bound
	Limit      int64     // the most quotes to return; 0: all
	Source     Source    // only this one's; 0: all
	Descending bool      // newest first
}

// The number of quotes that a Cursor reads at a time starts small, for ranges that are, and grows.
const (
	cursorFirstRead = 256
	cursorMostRead  = 16384
)

// Cursor goes through the quotes of a Query, ordered by event time, then sequence number. It sees exactly what was
// accepted before Range was called, written or not, each quote once, whatever happens meanwhile. It holds no snapshot,
// lock or connection between reads, so it may stay open as long as it is needed. One goroutine at a time may use it.
//
//	cursor, err := store.Range(ctx, tickstore.Query{Symbol: eurusd, From: monday, To: tuesday})
//	...
//	defer cursor.Close()
//	for cursor.Next() {
//		use(cursor.Quote())
//	}
//	return cursor.Err()
type Cursor struct {
	ctx    context.Context
	c      ctks.Cursor
	open   bool
	buffer []Quote // what was read ahead
	at     int     // of the current quote in it
	coming error   // what ended the last read, due when its quotes are used up
	err    error
}

// Range opens a cursor. The context is looked at before each read of the disk, which Config.ReadDeadline bounds.
//
// Errors: ErrSymbol, ErrSource, ErrLimit, ErrInvalid (From after To), ErrNoMemory, ErrIO, ErrClosed, the context's.
func (s *Store) Range(ctx context.Context, query Query) (*Cursor, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r := ctks.Range{
		StructSize: uint32(unsafe.Sizeof(ctks.Range{})),
		Symbol:     uint32(query.Symbol),
		FromNs:     math.MinInt64,
		ToNs:       math.MaxInt64,
		Limit:      query.Limit,
		Source:     uint32(query.Source),
	}
	if !query.From.IsZero() {
		r.FromNs = timeNS(query.From)
	}
	if !query.To.IsZero() {
		r.ToNs = timeNS(query.To)
	}
	if query.Limit == 0 {
		r.Limit = ctks.NoLimit
	}
	if query.Descending {
		r.Flags = ctks.Descending
	}
	c, failure := s.c.OpenRange(&r)
	if failure != nil {
		return nil, asError(failure)
	}
	return &Cursor{ctx: ctx, c: c, open: true}, nil
}

// Next moves to the next quote. It returns false at the end and on an error, which Err tells apart. It may be called
// again then: after ErrDayFile it goes on behind the damaged day, after ErrDeadline, ErrIO, ErrDiskFull and ErrNoMemory
// where it was.
func (c *Cursor) Next() bool {
	if c.at++; c.at < len(c.buffer) {
		return true
	}
	if c.coming != nil {
		c.err, c.coming = c.coming, nil
		c.buffer = c.buffer[:0]
		return false
	}
	capacity := cap(c.buffer)
	if capacity == 0 {
		c.buffer = make([]Quote, cursorFirstRead)
	} else if len(c.buffer) == capacity && capacity < cursorMostRead {
		c.buffer = make([]Quote, 4*capacity)
	}
	n, err := c.Read(c.buffer[:cap(c.buffer)])
	c.buffer, c.at, c.err = c.buffer[:n], 0, nil
	if err == io.EOF {
		err = nil
	}
	if n == 0 {
		c.err = err
		return false
	}
	c.coming = err
	return true
}

// Quote is the current quote. It is valid after Next returned true.
func (c *Cursor) Quote() Quote { return c.buffer[c.at] }

// Err is what made Next return false, nil at the end of the range.
func (c *Cursor) Err() error { return c.err }

// Read fills quotes, without a copy, and returns how many it filled: the way to read a lot. At the end it returns 0 and
// io.EOF. An error may come beside quotes; the next Read goes on as Next does. It does not return what Next has read
// ahead: use the one or the other.
//
// Errors: ErrDayFile, ErrDeadline, ErrLimit (no room in quotes), ErrIO, ErrDiskFull, ErrNoMemory, ErrClosed, the context's.
func (c *Cursor) Read(quotes []Quote) (int, error) {
	if !c.open {
		return 0, &Error{Code: ErrClosed, Message: "the cursor is closed"}
	}
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	var none [1]Quote
	room := quotes
	if len(quotes) == 0 {
		room = none[:]
	}
	n, failure := c.c.Next(pointer(room), len(quotes))
	if failure != nil {
		return n, asError(failure)
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// Close frees the cursor. It may be called more than once, and after Store.Close. The error is always nil.
func (c *Cursor) Close() error {
	if c.open {
		c.open = false
		c.c.Close()
	}
	return nil
}
