package tickstore

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"time"
	"unicode"

	"github.com/libtickstore/libtickstore/bindings/go/internal/ctks"
)

// Backend is what a store persists to.
type Backend uint32

const (
	SQLite Backend = 1 // one SQLite file per UTC day
	JSON   Backend = 2 // JSON lines, one file per symbol and UTC day
	Dual   Backend = 3 // both
)

// String is "sqlite", "json" or "dual".
func (b Backend) String() string {
	switch b {
	case SQLite:
		return "sqlite"
	case JSON:
		return "json"
	case Dual:
		return "dual"
	}
	return "none"
}

// Preset is a set of defaults.
type Preset int

const (
	Production  Preset = 0 // SQLite; the defaults named at each field of Config
	Migration   Preset = 1 // SQLite and JSON, the rest as in production
	Development Preset = 2 // JSON, rings of 1,000, flush every 500 ms, log level debug
)

// QueuePolicy is what Put does when the queue (with the journal: all of Config.JournalBytes) is full.
type QueuePolicy uint32

const (
	QueueDrop  QueuePolicy = 0 // keep the quote in memory only, count it, return ErrQueueFull at once
	QueueBlock QueuePolicy = 1 // wait up to BlockLimit for room, then as above
)

// CrossedPolicy is what Put does with a bid above the ask.
type CrossedPolicy uint32

const (
	CrossedKeep   CrossedPolicy = 0 // store it, with FlagCrossed
	CrossedDrop   CrossedPolicy = 1 // skip it and count it
	CrossedRefuse CrossedPolicy = 2 // return ErrCrossed
)

// Synchronous is how hard SQLite commits.
type Synchronous uint32

const (
	SyncNormal Synchronous = 1 // power loss may take what came after the last sync (every SyncInterval)
	SyncFull   Synchronous = 2 // a commit survives power loss
)

// LogLevel is how important a line of the log is.
type LogLevel int32

const (
	LogDebug LogLevel = iota + 1
	LogInfo
	LogWarn
	LogError
	LogOff
)

// String is "debug", "info", "warn", "error" or "off".
func (l LogLevel) String() string {
	if l < LogDebug || l > LogOff {
		return "unknown"
	}
	return [...]string{"debug", "info", "warn", "error", "off"}[l-LogDebug]
}

const (
	// None is a limit or a duration of zero in those fields of Config where the default is another.
	None = -1

	// ThrottleExact skips exact repeats only, ThrottleOff none.
	ThrottleExact float64 = math.SmallestNonzeroFloat64
	ThrottleOff   float64 = -1
)

// Config is how a store is opened. The zero value of every field but Path is the preset's default; where a zero means
// something of its own, None stands for it. Open refuses with ErrConfig what is out of range. Durations are counted in
// milliseconds, rounded up, where nothing else is said.
type Config struct {
	Path     string  // the store's directory; created if need be
	Preset   Preset  // where the defaults come from. Production
	Backend  Backend // SQLite
	ReadOnly bool    // open an existing store for reading, beside the process that writes it

	// Rings and queue.
	RingRecords   int           // quotes kept in memory per symbol, 1 to 16,777,216. 10,000
	QueueRecords  int           // without the journal: between Put and the writer, 16 to 16,777,216. 10,000
	QueuePolicy   QueuePolicy   // QueueDrop
	BlockLimit    time.Duration // longest wait of one Put under QueueBlock, to an hour. 1 s
	BatchRecords  int           // the writer is woken at this many, 1 to QueueRecords. 500
	FlushInterval time.Duration // and at the latest after this, to an hour. 5 s
	// BacklogRecords is what a slow or sick sink may be behind beyond the queue, without the journal, to 268,435,456.
	// None: one batch. 1,000,000
	BacklogRecords int

	// Throttle skips a quote neither of whose prices moved by this share of it: ThrottleExact, ThrottleOff, or a share.
	// 0.00001 (0.001 %)
	Throttle       float64
	ThrottleMaxAge time.Duration // let a repeat through when the last stored quote is older. Never

	// Validation.
	CrossedPolicy CrossedPolicy // CrossedKeep
	MaxSymbols    int           // 1 to 16,777,216. 1,000,000
	MaxSources    int           // 1 to 65,535. 65,535
	MaxAhead      time.Duration // later event times are refused; None: later than now; whole seconds. A day
	MinTime       time.Time     // earlier event times are refused. 1990-01-01

	// Writer.
	RetryAttempts int           // of a failed batch before its sink is degraded, None to 100. 3
	RetryPause    time.Duration // before the first retry, doubling, to a minute. 100 ms
	DegradedRetry time.Duration // between tries of a degraded sink, to an hour. 5 s
	SyncInterval  time.Duration // how often JSON (and SQLite under SyncNormal) is synced, to an hour. 1 s
	CloseLimit    time.Duration // longest time that Close goes on trying to write, None to a day. 30 s
	LateClose     time.Duration // a past day's file is sealed after this without a late quote; whole seconds, to a day. 300 s
	MaxOpenDays   int           // day files open for writing at once, 1 to 64. 4

	// SQLite.
	Synchronous     Synchronous   // SyncFull
	CheckpointPages int           // pages of write-ahead log between checkpoints, 1 to 1,000,000. 1,000
	BusyTimeout     time.Duration // None to an hour. 5 s
	TempInFiles     bool          // temporary tables in files, not in memory. In memory
	PageCacheBytes  int64         // of the writing connection, 65,536 to 2^36. 64 MiB
	MmapBytes       int64         // of reading connections, to 2^40; None: off. 256 MiB

	// Readers.
	ReadConnections int           // open at once, 1 to 1,000. 5
	ConnectionLife  time.Duration // reopened when older; whole seconds, to a day. 1 h
	ReadDeadline    time.Duration // longest one read of the disk, to an hour. 10 s

	// Log receives the lines of LogLevel and above, on the library's own threads and in Open and Close. It must not call
	// the Store. nil: no log.
	Log      func(level LogLevel, message string)
	LogLevel LogLevel // LogWarn

	BrokerID string // the broker_id of JSON lines, up to 64 bytes. "default"

	// Journal. What Put accepts is in memory-mapped files of the store's directory before Put returns, so that it outlives
	// the process, and waits there for as long as a sink lacks it.
	NoJournal    bool          // keep it in memory only, in the queue and the backlog
	JournalSync  time.Duration // how often it is synced, so the most that power loss takes, to an hour; None: never. 1 s
	JournalBytes int64         // the most that it takes on disk, 1 MiB to 2^40; when it is full, QueuePolicy applies. 1 GiB
}

// toC is the C library's configuration: the preset, and over it what differs.
func (c *Config) toC() (*ctks.Config, error) {
	var f ctks.Config
	to := filler{config: &f}
	if failure := ctks.ConfigInit(&f, int(c.Preset)); failure != nil {
		return nil, asError(failure)
	}
	to.set(&f.Backend, int64(c.Backend))
	if c.ReadOnly {
		f.ReadOnly = 1
	}
	to.set(&f.RingRecords, int64(c.RingRecords))
	to.set(&f.QueueRecords, int64(c.QueueRecords))
	to.set(&f.QueuePolicy, int64(c.QueuePolicy))
	to.setTime(&f.BlockLimitMs, c.BlockLimit, time.Millisecond)
	to.set(&f.BatchRecords, int64(c.BatchRecords))
	to.setTime(&f.FlushIntervalMs, c.FlushInterval, time.Millisecond)
	to.set(&f.BacklogRecords, int64(c.BacklogRecords))
	switch c.Throttle {
	case 0:
	case ThrottleExact:
		f.ThrottleRelative = 0
	default:
		f.ThrottleRelative = c.Throttle
	}
	to.setTime(&f.ThrottleMaxAgeMs, c.ThrottleMaxAge, time.Millisecond)
	to.set(&f.CrossedPolicy, int64(c.CrossedPolicy))
	to.set(&f.MaxSymbols, int64(c.MaxSymbols))
	to.set(&f.MaxSources, int64(c.MaxSources))
	to.setTime(&f.MaxAheadS, c.MaxAhead, time.Second)
	if !c.MinTime.IsZero() {
		f.MinTimeNs = timeNS(c.MinTime)
	}
	to.set(&f.RetryAttempts, int64(c.RetryAttempts))
	to.setTime(&f.RetryPauseMs, c.RetryPause, time.Millisecond)
	to.setTime(&f.DegradedRetryMs, c.DegradedRetry, time.Millisecond)
	to.setTime(&f.SyncIntervalMs, c.SyncInterval, time.Millisecond)
	to.setTime(&f.CloseLimitMs, c.CloseLimit, time.Millisecond)
	to.setTime(&f.LateCloseS, c.LateClose, time.Second)
	to.set(&f.MaxOpenDays, int64(c.MaxOpenDays))
	to.set(&f.Synchronous, int64(c.Synchronous))
	to.set(&f.CheckpointPages, int64(c.CheckpointPages))
	to.setTime(&f.BusyTimeoutMs, c.BusyTimeout, time.Millisecond)
	if c.TempInFiles {
		f.TempStoreMemory = 0
	}
	to.set64(&f.PageCacheBytes, c.PageCacheBytes)
	to.set64(&f.MmapBytes, c.MmapBytes)
	to.set(&f.ReadConnections, int64(c.ReadConnections))
	to.setTime(&f.ConnectionLifeS, c.ConnectionLife, time.Second)
	to.setTime(&f.ReadDeadlineMs, c.ReadDeadline, time.Millisecond)
	if c.NoJournal {
		f.Journal = 0
	}
	to.setTime(&f.JournalSyncMs, c.JournalSync, time.Millisecond)
	to.set64(&f.JournalBytes, c.JournalBytes)
	if c.LogLevel != 0 {
		f.LogLevel = uint32(c.LogLevel - LogDebug)
	}
	if to.err != nil {
		return nil, to.err
	}
	return &f, nil
}

// filler writes numbers into the fields of a configuration. It keeps the first that does not fit, since the library would
// refuse, and name, another one.
type filler struct {
	config *ctks.Config
	err    error
}

func (to *filler) refuse(field interface{}, value interface{}) {
	if to.err != nil {
		return
	}
	name := ""
	for fields, i := reflect.ValueOf(to.config).Elem(), 0; i < fields.NumField(); i++ {
		if fields.Field(i).Addr().Interface() == field {
			name = snake(fields.Type().Field(i).Name)
		}
	}
	to.err = &Error{Code: ErrConfig, Message: fmt.Sprintf("%s is %v, which does not fit", name, value)}
}

// snake is a field's name as the library has it: ring_records for RingRecords.
func snake(name string) string {
	var text strings.Builder
	for i, letter := range name {
		if i > 0 && unicode.IsUpper(letter) {
			text.WriteByte('_')
		}
		text.WriteRune(unicode.ToLower(letter))
	}
	return text.String()
}

func (to *filler) set(field *uint32, value int64) {
	switch {
	case value == 0:
	case value == None:
		*field = 0
	case value < 0 || value > math.MaxUint32:
		to.refuse(field, value)
	default:
		*field = uint32(value)
	}
}

func (to *filler) set64(field *uint64, value int64) {
	switch {
	case value == 0:
	case value == None:
		*field = 0
	case value < 0:
		to.refuse(field, value)
	default:
		*field = uint64(value)
	}
}

func (to *filler) setTime(field *uint32, value, unit time.Duration) {
	switch {
	case value < 0 && value != None:
		to.refuse(field, value)
	case value > 0:
		value = (value-1)/unit + 1
		fallthrough
	default:
		to.set(field, int64(value))
	}
}
