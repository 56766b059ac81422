// Package ctks is the C library as Go sees it: one function for each exported one, without ideas of its own. It alone
// imports "C"; what Go programmers meet is the package above it.
//
// Structs cross this border as pointers to memory of the same layout, which a test of the package above compares with
// the header, field by field. A Failure carries the code and the message that the C call returned.
package ctks

// #cgo pkg-config: tickstore
// #include <stdlib.h>
// #include "shim.h"
import "C"

import (
	"math"
	"runtime/cgo"
	"unsafe"
)

// Store is an open store. Copies stand for the same one. It stays safe to call after Close.
type Store struct {
	c   *C.tks_store
	log cgo.Handle
}

// Pointer is the tks_store, for C code beside this package.
func (s Store) Pointer() unsafe.Pointer { return unsafe.Pointer(s.c) }

func (s Store) number() C.tks_go_store { return C.tks_go_store(uintptr(unsafe.Pointer(s.c))) }

// Cursor is an open range.
type Cursor struct{ c *C.tks_cursor }

// Failure is a negative code with what the library said about it.
type Failure struct {
	Code    int32
	Detail  int32
	Message string
}

// HeaderVersion is the version of the header that this package was compiled with, counted as tks_version does.
const HeaderVersion = C.TKS_VERSION_MAJOR*1000000 + C.TKS_VERSION_MINOR*1000 + C.TKS_VERSION_PATCH

// Version is that of the library that is loaded.
func Version() uint32 { return uint32(C.tks_version()) }

// What tks_strerror and tks_version_string answer.

func Strerror(code int32) string { return C.GoString(C.tks_strerror(C.int(code))) }
func VersionString() string      { return C.GoString(C.tks_version_string()) }

// failure is nil unless code is negative.
func failure(code C.int, e *C.tks_error) *Failure {
	if code >= 0 {
		return nil
	}
	return &Failure{Code: int32(code), Detail: int32(e.detail), Message: C.GoString(&e.message[0])}
}

// taken is the failure of a shim call; it frees the error.
func taken(code C.int32_t, e *C.tks_error) *Failure {
	if e == nil {
		if code >= 0 {
			return nil
		}
		return &Failure{Code: int32(code), Message: Strerror(int32(code))}
	}
	f := &Failure{Code: int32(e.code), Detail: int32(e.detail), Message: C.GoString(&e.message[0])}
	C.free(unsafe.Pointer(e))
	return f
}

// text is where a string's bytes are. C reads them during the call only.
func text(s string) (*C.char, C.size_t) {
	return (*C.char)(*(*unsafe.Pointer)(unsafe.Pointer(&s))), C.size_t(len(s))
}

// Config has the layout of tks_config.
type Config struct {
	StructSize       uint32
	Backend          uint32
	ReadOnly         uint32
	RingRecords      uint32
	QueueRecords     uint32
	QueuePolicy      uint32
	BlockLimitMs     uint32
	BatchRecords     uint32
	FlushIntervalMs  uint32
	BacklogRecords   uint32
	ThrottleMaxAgeMs uint32
	Reserved0        uint32
	ThrottleRelative float64
	CrossedPolicy    uint32
	MaxSymbols       uint32
	MaxSources       uint32
	MaxAheadS        uint32
	MinTimeNs        int64
	RetryAttempts    uint32
	RetryPauseMs     uint32
	DegradedRetryMs  uint32
	SyncIntervalMs   uint32
	CloseLimitMs     uint32
	LateCloseS       uint32
	MaxOpenDays      uint32
	Synchronous      uint32
	CheckpointPages  uint32
	BusyTimeoutMs    uint32
	TempStoreMemory  uint32
	Reserved1        uint32
	PageCacheBytes   uint64
	MmapBytes        uint64
	ReadConnections  uint32
	ConnectionLifeS  uint32
	ReadDeadlineMs   uint32
	LogLevel         uint32
	Log              uintptr
	LogContext       uintptr
	BrokerId         uintptr
	BrokerIdLength   uint64
	Journal          uint32
	JournalSyncMs    uint32
	JournalBytes     uint64
}

// Range has the layout of tks_range.
type Range struct {
	StructSize uint32
	Symbol     uint32
	FromNs     int64
	ToNs       int64
	Limit      int64
	Flags      uint32
	Source     uint32
}

const (
	NoLimit    = math.MaxInt64
	Descending = C.TKS_RANGE_DESCENDING
	MaxRecords = C.TKS_MAX_RECORDS
)

func ConfigInit(config *Config, preset int) *Failure {
	var e C.tks_error
	code := C.tks_config_init((*C.tks_config)(unsafe.Pointer(config)), C.size_t(unsafe.Sizeof(*config)), C.int(preset), &e)
	return failure(code, &e)
}

// Open opens a store; an empty brokerID and a nil log leave the defaults.
func Open(path string, config *Config, brokerID string, log LogFunc) (Store, *Failure) {
	var store Store
	if log != nil {
		store.log = cgo.NewHandle(log)
	}
	var e C.tks_error
	name, nameLength := text(path)
	if name == nil {
		name = (*C.char)(unsafe.Pointer(&[1]byte{})) // an empty path is refused as one, not as none
	}
	broker, brokerLength := text(brokerID)
	code := C.tks_go_open(name, nameLength, (*C.tks_config)(unsafe.Pointer(config)), broker, brokerLength,
		C.uintptr_t(store.log), &store.c, &e)
	if code != C.TKS_OK && log != nil {
		store.log.Delete()
	}
	return store, failure(code, &e)
}

func (s Store) Close() *Failure {
	var e C.tks_error
	code := C.tks_close(s.c, &e)
	if s.log != 0 && (code >= 0 || code == C.TKS_EUNWRITTEN) {
		s.log.Delete() // no thread of the store is left that could log
	}
	return failure(code, &e)
}

func (s Store) Flush(timeoutMs int64) *Failure {
	var e C.tks_error
	return failure(C.tks_flush(s.c, C.int64_t(timeoutMs), &e), &e)
}

func (s Store) DurableSeq() (uint64, *Failure) {
	r := C.tks_go_durable_seq(s.number())
	return uint64(r.value), taken(r.code, r.error)
}

func (s Store) SinkFlush(sink uint32, timeoutMs int64) *Failure {
	var e C.tks_error
	return failure(C.tks_sink_flush(s.c, C.uint32_t(sink), C.int64_t(timeoutMs), &e), &e)
}

func (s Store) SinkDurableSeq(sink uint32) (uint64, *Failure) {
	var seq C.uint64_t
	var e C.tks_error
	code := C.tks_sink_durable_seq(s.c, C.uint32_t(sink), &seq, &e)
	return uint64(seq), failure(code, &e)
}

func (s Store) Symbol(name string) (uint32, *Failure) {
	var id C.uint32_t
	var e C.tks_error
	p, n := text(name)
	code := C.tks_symbol(s.c, p, n, &id, &e)
	return uint32(id), failure(code, &e)
}

func (s Store) Source(name string) (uint32, *Failure) {
	var id C.uint32_t
	var e C.tks_error
	p, n := text(name)
	code := C.tks_source(s.c, p, n, &id, &e)
	return uint32(id), failure(code, &e)
}

func (s Store) SymbolName(id uint32) (string, *Failure) {
	var name [C.TKS_NAME_MAX]C.char
	var n C.size_t
	var e C.tks_error
	code := C.tks_symbol_name(s.c, C.uint32_t(id), &name[0], C.TKS_NAME_MAX, &n, &e)
	return C.GoStringN(&name[0], C.int(n)), failure(code, &e)
}

func (s Store) SourceName(id uint32) (string, *Failure) {
	var name [C.TKS_NAME_MAX]C.char
	var n C.size_t
	var e C.tks_error
	code := C.tks_source_name(s.c, C.uint32_t(id), &name[0], C.TKS_NAME_MAX, &n, &e)
	return C.GoStringN(&name[0], C.int(n)), failure(code, &e)
}

// PutQuote gives one quote, a tks_quote, to the store. Its sequence number is 0 unless it got one.
func (s Store) PutQuote(quote unsafe.Pointer) (uint64, *Failure) {
	r := C.tks_go_put_quote(s.number(), *(*C.tks_quote)(quote))
	if r.code >= 0 {
		return uint64(r.value), nil
	}
	return uint64(r.value), taken(r.code, r.error)
}

func (s Store) Put(symbol string, bid, ask float64, source string, tsNs int64) (uint64, *Failure) {
	symbolText, symbolLength := text(symbol)
	sourceText, sourceLength := text(source)
	r := C.tks_go_put(s.number(), symbolText, symbolLength, C.double(bid), C.double(ask), sourceText, sourceLength, C.int64_t(tsNs))
	if r.code >= 0 {
		return uint64(r.value), nil
	}
	return uint64(r.value), taken(r.code, r.error)
}

// PutQuotes gives count quotes to the store. codes may be nil, or has room for count int32. *result is a
// tks_put_result. The failure of an array that was accepted in part is that of its first bad quote.
func (s Store) PutQuotes(quotes unsafe.Pointer, count int, codes unsafe.Pointer, result unsafe.Pointer) *Failure {
	r := C.tks_go_put_quotes(s.number(), (*C.tks_quote)(quotes), C.size_t(count), (*C.int32_t)(codes))
	*(*C.tks_put_result)(result) = r.result
	return taken(r.code, r.error)
}

// Recent fills quotes, tks_quote's with room for n.
func (s Store) Recent(symbol uint32, n int, quotes unsafe.Pointer) (int, *Failure) {
	var count C.size_t
	var e C.tks_error
	code := C.tks_recent(s.c, C.uint32_t(symbol), C.size_t(n), (*C.tks_quote)(quotes), &count, &e)
	return int(count), failure(code, &e)
}

func (s Store) Latest(symbol uint32, quote unsafe.Pointer) *Failure {
	r := C.tks_go_latest(s.number(), C.uint32_t(symbol))
	*(*C.tks_quote)(quote) = r.quote
	return taken(r.code, r.error)
}

// The lists below fill room for capacity structs and return how many there are.

func (s Store) LatestAll(quotes unsafe.Pointer, capacity int) (int, *Failure) {
	var total C.size_t
	var e C.tks_error
	code := C.tks_latest_all(s.c, (*C.tks_quote)(quotes), C.size_t(capacity), &total, &e)
	return int(total), failure(code, &e)
}

func (s Store) Symbols(infos unsafe.Pointer, capacity int) (int, *Failure) {
	var total C.size_t
	var e C.tks_error
	code := C.tks_symbols(s.c, (*C.tks_symbol_info)(infos), C.size_t(capacity), &total, &e)
	return int(total), failure(code, &e)
}

func (s Store) Days(check uint32, infos unsafe.Pointer, capacity int) (int, *Failure) {
	var total C.size_t
	var e C.tks_error
	code := C.tks_days(s.c, C.uint32_t(check), (*C.tks_day_info)(infos), C.size_t(capacity), &total, &e)
	return int(total), failure(code, &e)
}

func (s Store) Gaps(since uint64, gaps unsafe.Pointer, capacity int) (int, *Failure) {
	var total C.size_t
	var e C.tks_error
	code := C.tks_gaps(s.c, C.uint64_t(since), (*C.tks_gap)(gaps), C.size_t(capacity), &total, &e)
	return int(total), failure(code, &e)
}

// Stats fills *stats, a tks_store_stats whose struct_size is set.
func (s Store) Stats(stats unsafe.Pointer) *Failure {
	var e C.tks_error
	return failure(C.tks_stats(s.c, (*C.tks_store_stats)(stats), &e), &e)
}

func (s Store) OpenRange(r *Range) (Cursor, *Failure) {
	var cursor Cursor
	var e C.tks_error
	code := C.tks_range_open(s.c, (*C.tks_range)(unsafe.Pointer(r)), &cursor.c, &e)
	return cursor, failure(code, &e)
}

// Next fills quotes, tks_quote's with room for capacity. The count is valid beside a failure.
func (c Cursor) Next(quotes unsafe.Pointer, capacity int) (int, *Failure) {
	var count C.size_t
	var e C.tks_error
	code := C.tks_cursor_next(c.c, (*C.tks_quote)(quotes), C.size_t(capacity), &count, &e)
	return int(count), failure(code, &e)
}

func (c Cursor) Close() { C.tks_cursor_close(c.c) }
