package tickstore

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/libtickstore/libtickstore/bindings/go/internal/ctks"
)

// Version is the version of the C library that is loaded, "0.1.0".
func Version() string { return ctks.VersionString() }

// Store is an open store.
type Store struct {
	c       ctks.Store
	blocks  bool // Put may wait: the policy is QueueBlock
	flusher flusher
	sinks   [2]flusher // SQLite, JSON
}

// Open opens or creates the store in the directory config.Path. One process at a time writes a store, any number read
// it. It waits for the disk.
//
// Errors: ErrInvalid (path), ErrConfig, ErrLocked, ErrFormat, ErrNotStore, ErrIO, ErrDiskFull, ErrNoMemory; ErrLibrary.
func Open(config Config) (*Store, error) {
	if !fits(ctks.Version(), ctks.HeaderVersion) {
		return nil, fmt.Errorf("%w: %s is loaded, this program was built for %d.%d", ErrLibrary, ctks.VersionString(),
			ctks.HeaderVersion/1000000, ctks.HeaderVersion/1000%1000)
	}
	full, err := config.toC()
	if err != nil {
		return nil, err
	}
	var log ctks.LogFunc
	if write := config.Log; write != nil {
		log = func(level int32, message string) { write(LogLevel(level)+LogDebug, message) }
	}
	c, failure := ctks.Open(config.Path, full, config.BrokerID, log)
	if failure != nil {
		return nil, asError(failure)
	}
	store := &Store{c: c, blocks: config.QueuePolicy == QueueBlock}
	store.flusher.flush = c.Flush
	for i := range store.sinks {
		sink := uint32(SQLite) << i
		store.sinks[i].flush = func(timeoutMs int64) *ctks.Failure { return c.SinkFlush(sink, timeoutMs) }
	}
	return store, nil
}

// fits says whether a library of one version does for a program that was built for another: until 1.0 those of one
// minor version do, from then on those of one major version that are no older.
func fits(loaded, built uint32) bool {
	if built < 1000000 {
		return loaded/1000 == built/1000
	}
	return loaded/1000000 == built/1000000 && loaded/1000 >= built/1000
}

// Close refuses new calls, waits for those in flight, writes everything that was accepted, syncs and closes. It takes
// at most Config.CloseLimit beyond that when a disk is sick. Cursors that are still open are closed.
//
// What a sink still lacks by then waits in the journal, and the next Open goes on with it: that is no error.
//
// Errors: ErrClosed (a second Close); ErrUnwritten (Config.NoJournal): closed all the same, and the message says how many
// records each sink lacks; ErrIO: closed all the same, but records were lost that could not be written to the gap ledger.
func (s *Store) Close() error { return asError(s.c.Close()) }

// ------------------------------------------------------------------- names

// Symbol interns a symbol's name: 1 to 64 bytes of UTF-8 without control characters and without . or .. between
// slashes; slashes themselves are fine. No disk is touched.
//
// Errors: ErrName..., ErrTableFull, ErrNoMemory, ErrClosed.
func (s *Store) Symbol(name string) (Symbol, error) {
	id, failure := s.c.Symbol(name)
	return Symbol(id), asError(failure)
}

// Source interns the name of a liquidity provider or venue, with the rules of Symbol.
func (s *Store) Source(name string) (Source, error) {
	id, failure := s.c.Source(name)
	return Source(id), asError(failure)
}

// SymbolName is the name of a Symbol. Errors: ErrSymbol, ErrClosed.
func (s *Store) SymbolName(symbol Symbol) (string, error) {
	name, failure := s.c.SymbolName(uint32(symbol))
	return name, asError(failure)
}

// SourceName is the name of a Source. Errors: ErrSource, ErrClosed.
func (s *Store) SourceName(source Source) (string, error) {
	name, failure := s.c.SourceName(uint32(source))
	return name, asError(failure)
}

// -------------------------------------------------------------- publishing

// Put gives one quote to the store and returns its sequence number; 0 and no error if it was skipped by configuration
// (a repeat, or crossed under CrossedDrop). It touches no disk. Under QueueBlock it may wait up to Config.BlockLimit
// for room, holding a thread; PutContext does so with a context.
//
// Errors: ErrSymbol, ErrSource, ErrSides, ErrPrice, ErrSize, ErrTime, ErrCrossed (refused); ErrQueueFull (has a
// sequence number and is found by Recent, but is lost to the sinks and counted so); ErrNoMemory, ErrReadOnly,
// ErrClosed.
func (s *Store) Put(quote Quote) (seq uint64, err error) {
	seq, failure := s.c.PutQuote(unsafe.Pointer(&quote))
	if failure != nil {
		err = asError(failure)
	}
	return seq, err
}

// PutNamed interns both names (source may be empty: none) and puts a quote without sizes. Put with a Symbol is quicker.
//
// Errors: those of Put, Symbol and Source.
func (s *Store) PutNamed(symbol string, bid, ask float64, source string, ts time.Time) (seq uint64, err error) {
	seq, failure := s.c.Put(symbol, bid, ask, source, timeNS(ts))
	runtime.KeepAlive(symbol)
	runtime.KeepAlive(source)
	if failure != nil {
		err = asError(failure)
	}
	return seq, err
}

// BatchResult is what became of the quotes of a PutBatch.
type BatchResult struct {
	Accepted       uint64 // have a sequence number and are on their way to the sinks
	Throttled      uint64 // repeats, skipped
	CrossedDropped uint64 // crossed, skipped by configuration
	Refused        uint64
	Dropped        uint64 // no room in the journal (or queue)
	FirstSeq       uint64 // of the accepted ones, 0 if none; other goroutines' quotes may lie between
	LastSeq        uint64
	FirstBad       uint64 // index of the first refused or dropped one; meaningful if there is one
	FirstBadCode   Code   // and its code, OK if there is none

	reserved int32
}

// PutBatch gives quotes to the store in order, in one call of the library and without a copy; it never stops at a bad
// one. The error, if any, is that of the first quote that was refused or dropped (of the kinds that Put has); the
// result then tells of the others. Under QueueBlock each quote may wait up to Config.BlockLimit.
func (s *Store) PutBatch(quotes []Quote) (BatchResult, error) { return s.putBatch(quotes, nil) }

// PutBatchCodes is PutBatch that also says of each quote what became of it: OK, Throttled, CrossedDropped or the code
// of an error. codes must be as long as quotes, else ErrInvalid.
func (s *Store) PutBatchCodes(quotes []Quote, codes []Code) (BatchResult, error) {
	if len(codes) != len(quotes) {
		return BatchResult{}, &Error{Code: ErrInvalid, Message: "codes and quotes are not of one length"}
	}
	return s.putBatch(quotes, codes)
}

func (s *Store) putBatch(quotes []Quote, codes []Code) (result BatchResult, err error) {
	var first *Quote
	var firstCode *Code
	if len(quotes) > 0 {
		first = &quotes[0]
	}
	if len(codes) > 0 {
		firstCode = &codes[0]
	}
	failure := s.c.PutQuotes(unsafe.Pointer(first), len(quotes), unsafe.Pointer(firstCode), unsafe.Pointer(&result))
	if failure != nil {
		err = asError(failure)
	}
	return result, err
}

// PutContext is Put that stops waiting when the context ends. Only under QueueBlock is there anything to wait for; it
// then costs a goroutine. A quote whose put the context ended may still be accepted, within Config.BlockLimit.
//
// Errors: the context's, and those of Put.
func (s *Store) PutContext(ctx context.Context, quote Quote) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if !s.blocks || ctx.Done() == nil {
		return s.Put(quote)
	}
	type outcome struct {
		seq uint64
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		seq, err := s.Put(quote)
		done <- outcome{seq, err}
	}()
	select {
	case o := <-done:
		return o.seq, o.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// contextChunk is how many quotes of a batch may still be put after its context has ended.
const contextChunk = 16

// PutBatchContext is PutBatch that stops when the context ends; the result counts what was finished until then, and a
// few more quotes may still be accepted. Under QueueBlock it copies the quotes and costs a goroutine; otherwise there
// is nothing to wait for.
//
// Errors: the context's, and those of PutBatch.
func (s *Store) PutBatchContext(ctx context.Context, quotes []Quote) (BatchResult, error) {
	if err := ctx.Err(); err != nil {
		return BatchResult{}, err
	}
	if !s.blocks || ctx.Done() == nil {
		return s.PutBatch(quotes)
	}
	var sum struct {
		sync.Mutex
		result BatchResult
		err    error
	}
	var stopped atomic.Bool
	done := make(chan struct{})
	rest := append([]Quote(nil), quotes...)
	go func() {
		defer close(done)
		for at := 0; at < len(rest) && !stopped.Load(); {
			end := at + contextChunk
			if end > len(rest) {
				end = len(rest)
			}
			result, err := s.PutBatch(rest[at:end])
			sum.Lock()
			sum.result.add(&result, uint64(at))
			if sum.err == nil {
				sum.err = err
			}
			sum.Unlock()
			if err != nil && result.FirstBadCode == OK {
				return // refused as a whole, so the rest would be too
			}
			at = end
		}
	}()
	select {
	case <-done:
		return sum.result, sum.err
	case <-ctx.Done():
		stopped.Store(true)
		sum.Lock()
		defer sum.Unlock()
		return sum.result, ctx.Err()
	}
}

// add counts in the result of the part of a batch that starts at index at.
func (r *BatchResult) add(part *BatchResult, at uint64) {
	r.Accepted += part.Accepted
	r.Throttled += part.Throttled
	r.CrossedDropped += part.CrossedDropped
	r.Refused += part.Refused
	r.Dropped += part.Dropped
	if r.FirstSeq == 0 {
		r.FirstSeq = part.FirstSeq
	}
	if part.LastSeq != 0 {
		r.LastSeq = part.LastSeq
	}
	if r.FirstBadCode == OK && part.FirstBadCode != OK {
		r.FirstBad, r.FirstBadCode = at+part.FirstBad, part.FirstBadCode
	}
}

// -------------------------------------------------------------- durability

// DurableSeq is the highest sequence number up to which every accepted quote that was not reported lost is on stable
// storage in every sink. It does not wait. Errors: ErrReadOnly, ErrClosed.
func (s *Store) DurableSeq() (uint64, error) {
	seq, failure := s.c.DurableSeq()
	return seq, asError(failure)
}

// Flush waits until every quote accepted before the call is durable in every sink, or until the context ends.
//
// Errors: the context's, joined with ErrTimeout and a message that names the sink and its last error; ErrUnwritten: done
// waiting, but a sink has lost some of them; ErrReadOnly, ErrClosed.
func (s *Store) Flush(ctx context.Context) error {
	if s.flusher.flush == nil {
		return asError(s.c.Flush(-1)) // not from Open: refused
	}
	return s.flusher.wait(ctx)
}

// SinkFlush is Flush for one sink, SQLite or JSON. Errors: also ErrInvalid, when the store does not write to it.
func (s *Store) SinkFlush(ctx context.Context, sink Backend) error {
	if (sink != SQLite && sink != JSON) || s.flusher.flush == nil {
		return asError(s.c.SinkFlush(uint32(sink), -1)) // refused
	}
	return s.sinks[sink-SQLite].wait(ctx)
}

// SinkDurableSeq is DurableSeq for one sink, SQLite or JSON. Errors: also ErrInvalid, when the store does not write to
// it.
func (s *Store) SinkDurableSeq(sink Backend) (uint64, error) {
	seq, failure := s.c.SinkDurableSeq(uint32(sink))
	return seq, asError(failure)
}

func (f *flusher) wait(ctx context.Context) error {
	if ctx.Done() == nil {
		return asError(f.flush(-1))
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	round := f.join()
	select {
	case <-round.done:
		return asError(round.failure)
	case <-ctx.Done():
		return f.notFlushed(ctx.Err())
	}
}

// notFlushed asks the library what the flush was waiting for.
func (f *flusher) notFlushed(cause error) error {
	failure := f.flush(0)
	if failure == nil {
		return nil // it was done at that very moment
	}
	if failure.Code != int32(ErrTimeout) {
		return asError(failure)
	}
	return ended(cause, failure)
}

// flusher lets any number of goroutines wait for the library with a context each. The library's wait cannot be called
// off, so it takes place in one goroutine, in rounds: who comes while a round is under way waits for the next one, which
// covers all that was accepted before it began. However many give up waiting, one thread is held.
type flusher struct {
	flush func(timeoutMs int64) *ctks.Failure // as tks_flush

	mu      sync.Mutex
	running *flushRound
	next    *flushRound // those who came while running was under way
}

type flushRound struct {
	done    chan struct{}
	failure *ctks.Failure // valid when done is closed
}

func (f *flusher) join() *flushRound {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.running == nil {
		f.running = &flushRound{done: make(chan struct{})}
		go f.run(f.running)
		return f.running
	}
	if f.next == nil {
		f.next = &flushRound{done: make(chan struct{})}
	}
	return f.next
}

func (f *flusher) run(round *flushRound) {
	var lost *ctks.Failure // in the round before
	for round != nil {
		failure := f.flush(-1)
		round.failure = failure
		if failure == nil {
			// What was lost then had been accepted before this round: those who waited through both must know.
			round.failure = lost
		}
		lost = nil
		if failure != nil && failure.Code == int32(ErrUnwritten) {
			lost = failure
		}
		f.mu.Lock()
		f.running, f.next = f.next, nil
		next := f.running
		f.mu.Unlock()
		close(round.done)
		round = next
	}
}
