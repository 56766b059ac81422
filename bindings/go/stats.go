package tickstore

import (
	"bytes"
	"time"
	"unsafe"

	"github.com/libtickstore/libtickstore/bindings/go/internal/ctks"
)

// The structs of this file have the layout of the C library's, like Quote.

// SymbolInfo is one symbol as it is stored.
type SymbolInfo struct {
	Count   uint64 // quotes on disk and on their way there
	FirstNS int64  // earliest event time, nanoseconds since 1970-01-01T00:00:00Z
	LastNS  int64  // latest
	Symbol  Symbol

	nameLength uint32
	name       [64]byte
}

// Name is the symbol's name.
func (i *SymbolInfo) Name() string { return string(i.name[:i.nameLength]) }

// First is the earliest event time, in UTC.
func (i *SymbolInfo) First() time.Time { return nsTime(i.FirstNS) }

// Last is the latest event time, in UTC.
func (i *SymbolInfo) Last() time.Time { return nsTime(i.LastNS) }

// Symbols lists the symbols that have quotes, over all days, by name. It reads a small table of every day file.
//
// Errors: ErrDayFile, with a list that leaves the damaged day out; ErrIO, ErrNoMemory, ErrClosed.
func (s *Store) Symbols() ([]SymbolInfo, error) {
	var infos []SymbolInfo
	err := list(listRoom, func(capacity int) (int, *ctks.Failure) {
		infos = make([]SymbolInfo, capacity)
		return s.c.Symbols(pointer(infos), capacity)
	}, func(n int) { infos = infos[:n] })
	return infos, err
}

// Check is how closely Days looks at the files.
type Check uint32

const (
	CheckQuick Check = 0 // opens each file and reads its summary
	CheckFull  Check = 1 // also every row: integrity, counts against summaries, every JSON line
)

// DayInfo is one UTC day in one sink.
type DayInfo struct {
	DayNS    int64   // its midnight, nanoseconds since 1970-01-01T00:00:00Z
	Sink     Backend // SQLite or JSON
	Code     Code    // OK, or what is wrong with it: ErrDayFile, ErrFormat, ErrIO
	Count    uint64  // quotes; of JSON under CheckFull only
	Symbols  uint64
	Files    uint64 // 1 for SQLite; one per symbol for JSON
	Bytes    uint64 // of the files, without the write-ahead log
	WALBytes uint64
	LastSeq  uint64 // the highest sequence number in it

	message [152]byte
}

// Day is the day's midnight, in UTC.
func (d *DayInfo) Day() time.Time { return nsTime(d.DayNS) }

// Err is what is wrong with the day, with the file's name; nil if nothing is.
func (d *DayInfo) Err() error {
	if d.Code == OK {
		return nil
	}
	return &Error{Code: d.Code, Message: cString(d.message[:])}
}

// Days lists the days on disk in order of time, SQLite before JSON. A damaged day is in the list: look at its Err.
func (s *Store) Days(check Check) ([]DayInfo, error) {
	days, failure := s.c.Days(uint32(CheckQuick), nil, 0) // so that a full check is made once
	if failure != nil {
		return nil, asError(failure)
	}
	var infos []DayInfo
	err := list(days+1, func(capacity int) (int, *ctks.Failure) {
		infos = make([]DayInfo, capacity)
		return s.c.Days(uint32(check), pointer(infos), capacity)
	}, func(n int) { infos = infos[:n] })
	return infos, err
}

// SinkState is how a sink fares.
type SinkState uint32

const (
	SinkOff      SinkState = 0
	SinkOK       SinkState = 1
	SinkRetrying SinkState = 2 // the last batch failed and will be tried again shortly
	SinkDegraded SinkState = 3 // RetryAttempts used up; tried every DegradedRetry
)

// String is "off", "ok", "retrying" or "degraded".
func (s SinkState) String() string {
	switch s {
	case SinkOff:
		return "off"
	case SinkOK:
		return "ok"
	case SinkRetrying:
		return "retrying"
	case SinkDegraded:
		return "degraded"
	}
	return "unknown"
}

// SinkStats is one sink. For each: Accepted + Recovered of the store = Written + Backlog + Lost + Dropped.
type SinkStats struct {
	Sink       Backend // SQLite or JSON
	State      SinkState
	Written    uint64 // quotes handed to the sink and committed
	Lost       uint64 // quotes it will never hold
	Backlog    uint64 // some sink has taken them, not yet written here
	Batches    uint64 // successful writes; one may hold many BatchRecords under load
	Retries    uint64
	Errors     uint64
	Rotations  uint64 // past day files sealed
	WrittenSeq uint64 // all up to here is written or lost
	DurableSeq uint64 // all up to here is on stable storage or lost
	WALBytes   uint64 // SQLite: of all open day files
	OpenFiles  uint64 // day files or JSON files open for writing

	LastErrorNS     int64 // when, nanoseconds since 1970-01-01T00:00:00Z; 0 = never
	LastErrorCode   Code
	LastErrorDetail int32

	FlushTimeSumUS uint64 // of all successful writes, microseconds
	FlushTimeMaxUS uint64
	// FlushTimeBuckets counts the writes that took less than 64 << i microseconds and are in no earlier bucket; the last
	// bucket has no bound.
	FlushTimeBuckets [18]uint64

	lastError [128]byte
}

// LastError is the sink's last error, nil if it never had one.
func (s *SinkStats) LastError() error {
	if s.LastErrorCode == OK {
		return nil
	}
	return &Error{Code: s.LastErrorCode, Detail: int(s.LastErrorDetail), Message: cString(s.lastError[:])}
}

// Stats is the whole store since it was opened. Received = Accepted + Throttled + CrossedDropped + Refused.
type Stats struct {
	structSize      uint32
	Backend         Backend
	Received        uint64
	Accepted        uint64 // got a sequence number; includes Dropped
	Throttled       uint64
	CrossedDropped  uint64
	Refused         uint64 // the sum of the following
	RefusedSymbol   uint64
	RefusedSource   uint64
	RefusedSides    uint64
	RefusedPrice    uint64
	RefusedSize     uint64
	RefusedTime     uint64
	RefusedCrossed  uint64
	RefusedMemory   uint64
	Dropped         uint64 // no room: in memory, lost to every sink
	Blocked         uint64 // puts that had to wait for room
	Held            uint64 // in the journal (or queue), since some sink does not have them durably
	Wakeups         uint64 // of the writer by Put: system calls made by putting threads
	FirstSeq        uint64 // the first sequence number of this session
	LastSeq         uint64 // the last one given out; FirstSeq - 1 if none
	DurableSeq      uint64 // as Store.DurableSeq
	DurableLagMS    uint64 // age of the oldest quote that is not durable, milliseconds; 0 if all are
	Symbols         uint64 // interned
	Sources         uint64
	RingRecords     uint64       // held in memory
	RingBytes       uint64       // allocated for that
	ReadConnections uint64       // open now
	Sinks           [2]SinkStats // SQLite, JSON; State SinkOff if not configured
	Recovered       uint64       // found in the journal when the store was opened
	JournalBytes    uint64       // the journal's files on disk; 0 without a journal
	JournalSeq      uint64       // all up to here is synced in the journal, or durable, or lost
	JournalStalls   uint64       // puts that waited for the next journal file to be prepared
}

// Stats is cheap enough for every second and never waits for a disk. A read-only store has only zeros but for Symbols,
// Sources and ReadConnections. Errors: ErrClosed.
func (s *Store) Stats() (Stats, error) {
	stats := Stats{structSize: uint32(unsafe.Sizeof(Stats{}))}
	failure := s.c.Stats(unsafe.Pointer(&stats))
	return stats, asError(failure)
}

// GapCause is why records are missing.
type GapCause uint32

const (
	GapFull     GapCause = 1 // the journal (or queue) was full, and QueuePolicy let them go
	GapJournal  GapCause = 2 // the journal could not be extended: the disk failed or was full
	GapBacklog  GapCause = 3 // without the journal: a sick sink fell further behind than BacklogRecords
	GapClose    GapCause = 4 // without the journal: not written when CloseLimit was over
	GapRecovery GapCause = 5 // the journal that a crash left could not be read there
	GapBackend  GapCause = 6 // opened without a sink that still lacked some of an earlier session's journal
)

// String is "full", "journal", "backlog", "close", "recovery" or "backend".
func (c GapCause) String() string {
	if c < GapFull || c > GapBackend {
		return "unknown"
	}
	return [...]string{"full", "journal", "backlog", "close", "recovery", "backend"}[c-GapFull]
}

// Gap is a run of sequence numbers of which quotes were lost.
type Gap struct {
	FromSeq uint64 // the first and the last one lost
	ToSeq   uint64
	Records uint64 // how many were lost; 0 = not known
	FirstNS int64  // calendar time of the first and the last loss, nanoseconds since 1970-01-01T00:00:00Z
	LastNS  int64
	Cause   GapCause
	Sink    Backend // SQLite or JSON: missing there only; 0: in all
	Symbol  Symbol  // when all are of one symbol; 0: several, or not known

	reserved  uint32
	reserved1 [2]uint64
}

// First is the calendar time of the first loss, in UTC.
func (g *Gap) First() time.Time { return nsTime(g.FirstNS) }

// Last is the calendar time of the last loss, in UTC.
func (g *Gap) Last() time.Time { return nsTime(g.LastNS) }

// Gaps is the gap ledger: every loss since the store was made, in order of FromSeq, from the one that reaches since on
// (0: all). It reads the disk.
//
// Errors: ErrDayFile (the ledger is damaged), ErrIO, ErrNoMemory, ErrClosed.
func (s *Store) Gaps(since uint64) ([]Gap, error) {
	for capacity := listRoom; ; {
		gaps := make([]Gap, capacity)
		total, failure := s.c.Gaps(since, pointer(gaps), capacity)
		if failure != nil {
			return nil, asError(failure)
		}
		if total <= capacity {
			return gaps[:total], nil
		}
		capacity = total + total/8
	}
}

// cString is the text before the first NUL.
func cString(b []byte) string {
	if n := bytes.IndexByte(b, 0); n >= 0 {
		b = b[:n]
	}
	return string(b)
}
