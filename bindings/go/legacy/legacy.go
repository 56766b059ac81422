// Package tickstore has the names that hand-written tick stores of trading engines use, over libtickstore. Code written
// against them compiles with only the import path changed; new code is better served by the package above this one.
//
// What is different from such stores, all of it for the better or it would not be so:
//
//   - Everything accepted is written, or counted: Stop writes what still waits, and GetStorageStats has ticks_lost.
//   - A tick belongs to the day of its own timestamp.
//   - GetHistory goes on into the files where memory ends, and reads find what an earlier run stored.
//   - The spread given to StoreTick is not stored: Tick.Spread is ask - bid.
//   - JSON is written as lines (SYMBOL/DATE.jsonl), not as arrays that are read and written anew.
package tickstore

import (
	"context"
	"errors"
	"log"
	"math"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	store "github.com/libtickstore/libtickstore/bindings/go"
)

// StorageBackend is what a store persists to.
type StorageBackend string

const (
	BackendJSON   StorageBackend = "json"
	BackendSQLite StorageBackend = "sqlite"
	BackendDual   StorageBackend = "dual" // both
)

const (
	defaultPath     = "data/ticks/db"
	defaultMaxTicks = 10000
	queueCapacity   = 10000
	flushLimit      = 30 * time.Second
)

// Tick is one quote.
type Tick struct {
	BrokerID  string    `json:"broker_id"`
	Symbol    string    `json:"symbol"`
	Bid       float64   `json:"bid"` // 0 if the side is absent
	Ask       float64   `json:"ask"`
	Spread    float64   `json:"spread"` // ask - bid; 0 if a side is absent
	Timestamp time.Time `json:"timestamp"`
	LP        string    `json:"lp"`
}

// TickStoreConfig is how a store is opened.
type TickStoreConfig struct {
	BrokerID          string
	MaxTicksPerSymbol int            // in memory; 0: 10,000
	Backend           StorageBackend // "": JSON
	// SQLiteBasePath is the store's directory, JSON included; "": data/ticks/db. If it holds anything but a store of this
	// library, such as the files of a hand-written one, the store is its subdirectory tickstore, and the files stay
	// untouched ("tickstore import" reads them).
	SQLiteBasePath   string
	EnableJSONLegacy bool // write JSON too, whatever Backend says
}

// ProductionConfig is SQLite alone.
func ProductionConfig(brokerID string) TickStoreConfig {
	return TickStoreConfig{BrokerID: brokerID, MaxTicksPerSymbol: defaultMaxTicks, Backend: BackendSQLite, SQLiteBasePath: defaultPath}
}

// MigrationConfig is SQLite and JSON, while readers of JSON are still about.
func MigrationConfig(brokerID string) TickStoreConfig { return DualStorageConfig(brokerID) }

// DualStorageConfig is SQLite and JSON.
func DualStorageConfig(brokerID string) TickStoreConfig {
	return TickStoreConfig{BrokerID: brokerID, MaxTicksPerSymbol: defaultMaxTicks, Backend: BackendDual, SQLiteBasePath: defaultPath,
		EnableJSONLegacy: true}
}

// OptimizedTickStore is an open store. All methods may be called from any goroutine.
type OptimizedTickStore struct {
	store    *store.Store // nil if it could not be opened
	err      error        // why
	brokerID string
	backend  StorageBackend
	json     bool
	maxTicks int

	// What the library's statistics do not have.
	unstored atomic.Int64 // ticks that came while there was no store
	misnamed atomic.Int64 // ticks whose symbol or lp is no name
}

// NewOptimizedTickStore opens a JSON store in data/ticks/db.
func NewOptimizedTickStore(brokerID string, maxTicksPerSymbol int) *OptimizedTickStore {
	return NewOptimizedTickStoreWithConfig(TickStoreConfig{BrokerID: brokerID, MaxTicksPerSymbol: maxTicksPerSymbol,
		Backend: BackendJSON, EnableJSONLegacy: true})
}

// NewOptimizedTickStoreWithConfig opens a store. These names leave no way to return an error: if it cannot be opened,
// that is logged, Err and every Flush return it, and each tick counts as lost in GetStorageStats.
func NewOptimizedTickStoreWithConfig(cfg TickStoreConfig) *OptimizedTickStore {
	if cfg.MaxTicksPerSymbol == 0 {
		cfg.MaxTicksPerSymbol = defaultMaxTicks
	}
	if cfg.Backend == "" {
		cfg.Backend = BackendJSON
	}
	if cfg.SQLiteBasePath == "" {
		cfg.SQLiteBasePath = defaultPath
	}
	ts := &OptimizedTickStore{brokerID: cfg.BrokerID, backend: cfg.Backend, maxTicks: cfg.MaxTicksPerSymbol,
		json: cfg.EnableJSONLegacy || cfg.Backend != BackendSQLite}
	backend := store.JSON
	switch cfg.Backend {
	case BackendSQLite:
		backend = store.SQLite
	case BackendDual:
		backend = store.Dual
	case BackendJSON:
	default:
		return ts.failed(errors.New("no such backend: " + string(cfg.Backend)))
	}
	if cfg.EnableJSONLegacy {
		backend |= store.JSON
	}
	opened, err := store.Open(store.Config{
		Path:         directory(cfg.SQLiteBasePath),
		Backend:      backend,
		RingRecords:  cfg.MaxTicksPerSymbol,
		QueueRecords: queueCapacity,
		BrokerID:     cfg.BrokerID,
		Log:          func(level store.LogLevel, message string) { log.Printf("[tickstore] %v: %s", level, message) },
	})
	if err != nil {
		return ts.failed(err)
	}
	ts.store = opened
	return ts
}

func (ts *OptimizedTickStore) failed(err error) *OptimizedTickStore {
	log.Printf("[tickstore] not opened, ticks are lost: %v", err)
	ts.err = err
	return ts
}

// directory is where below base the store is.
func directory(base string) string {
	entries, err := os.ReadDir(base)
	if err != nil || len(entries) == 0 {
		return base
	}
	for _, entry := range entries {
		if name := entry.Name(); name == "store.json" || name == "lock" {
			return base
		}
	}
	return filepath.Join(base, "tickstore")
}

// Err is why the store could not be opened, nil if it was.
func (ts *OptimizedTickStore) Err() error { return ts.err }

// StoreTick gives a tick to the store; it touches no disk. Repeats are skipped. What is refused or lost is counted. spread
// is not stored.
func (ts *OptimizedTickStore) StoreTick(symbol string, bid, ask, spread float64, lp string, timestamp time.Time) {
	if ts.store == nil {
		ts.unstored.Add(1)
		return
	}
	_, err := ts.store.PutNamed(symbol, bid, ask, lp, timestamp)
	var failure *store.Error
	if !errors.As(err, &failure) {
		return
	}
	switch failure.Code {
	case store.ErrClosed:
		ts.unstored.Add(1)
	case store.ErrNameEmpty, store.ErrNameLong, store.ErrNameControl, store.ErrNameUTF8, store.ErrNamePath, store.ErrTableFull:
		ts.misnamed.Add(1)
	}
}

// GetHistory returns the last limit ticks of a symbol, oldest first; nil if there are none.
func (ts *OptimizedTickStore) GetHistory(symbol string, limit int) []Tick {
	ticks, err := ts.recent(symbol, limit)
	if err != nil {
		log.Printf("[tickstore] history of %s: %v", symbol, err)
	}
	return ticks
}

// GetRecentTicks returns the last limit ticks of a symbol, newest first.
func (ts *OptimizedTickStore) GetRecentTicks(symbol string, limit int) ([]Tick, error) {
	ticks, err := ts.recent(symbol, limit)
	for i, k := 0, len(ticks)-1; i < k; i, k = i+1, k-1 {
		ticks[i], ticks[k] = ticks[k], ticks[i]
	}
	return ticks, err
}

func (ts *OptimizedTickStore) recent(symbol string, limit int) ([]Tick, error) {
	if ts.store == nil {
		return nil, ts.err
	}
	if limit <= 0 {
		return nil, nil
	}
	if limit > math.MaxInt32 {
		limit = math.MaxInt32
	}
	id, err := ts.store.Symbol(symbol)
	if err != nil {
		return nil, err
	}
	quotes, err := ts.store.Recent(id, limit)
	if len(quotes) == 0 {
		return nil, err
	}
	return ts.ticks(symbol, quotes), err
}

// GetTicksInRange returns a symbol's ticks with from <= timestamp < to, oldest first.
func (ts *OptimizedTickStore) GetTicksInRange(symbol string, from, to time.Time) ([]Tick, error) {
	if ts.store == nil {
		return nil, ts.err
	}
	id, err := ts.store.Symbol(symbol)
	if err != nil {
		return nil, err
	}
	cursor, err := ts.store.Range(context.Background(), store.Query{Symbol: id, From: from, To: to})
	if err != nil {
		return nil, err
	}
	defer cursor.Close()
	var quotes []store.Quote
	for cursor.Next() {
		quotes = append(quotes, cursor.Quote())
	}
	return ts.ticks(symbol, quotes), cursor.Err()
}

func (ts *OptimizedTickStore) ticks(symbol string, quotes []store.Quote) []Tick {
	ticks := make([]Tick, len(quotes))
	names := map[store.Source]string{0: ""}
	for i, quote := range quotes {
		lp, known := names[quote.Source]
		if !known {
			lp, _ = ts.store.SourceName(quote.Source)
			names[quote.Source] = lp
		}
		ticks[i] = Tick{BrokerID: ts.brokerID, Symbol: symbol, Bid: present(quote.Bid), Ask: present(quote.Ask),
			Spread: present(quote.Ask - quote.Bid), Timestamp: quote.Time(), LP: lp}
	}
	return ticks
}

// present is 0 for NaN, which encoding/json refuses.
func present(price float64) float64 {
	if math.IsNaN(price) {
		return 0
	}
	return price
}

// GetSymbols returns the names of all symbols that have ticks, in order.
func (ts *OptimizedTickStore) GetSymbols() []string {
	infos := ts.symbols()
	names := make([]string, len(infos))
	for i := range infos {
		names[i] = infos[i].Name()
	}
	return names
}

// GetTickCount returns how many ticks of a symbol are stored, on disk and on their way there.
func (ts *OptimizedTickStore) GetTickCount(symbol string) int {
	infos := ts.symbols()
	for i := range infos {
		if infos[i].Name() == symbol {
			return int(infos[i].Count)
		}
	}
	return 0
}

func (ts *OptimizedTickStore) symbols() []store.SymbolInfo {
	if ts.store == nil {
		return nil
	}
	infos, err := ts.store.Symbols()
	if err != nil {
		log.Printf("[tickstore] symbols: %v", err)
	}
	return infos
}

// GetStorageStats returns counters: backend, use_json_legacy, max_ticks_per_symbol; ticks_received, ticks_stored,
// ticks_throttled, ticks_refused, ticks_lost; durable_seq; and for each sink that is on a map under "sqlite" or "json" with
// ticks_written, write_errors, queue_size, queue_capacity, state, last_error. Numbers are int64.
func (ts *OptimizedTickStore) GetStorageStats() map[string]interface{} {
	unstored, misnamed := ts.unstored.Load(), ts.misnamed.Load()
	result := map[string]interface{}{
		"backend":              string(ts.backend),
		"use_json_legacy":      ts.json,
		"max_ticks_per_symbol": int64(ts.maxTicks),
		"ticks_received":       unstored + misnamed,
		"ticks_stored":         int64(0),
		"ticks_throttled":      int64(0),
		"ticks_refused":        misnamed,
		"ticks_lost":           unstored,
	}
	if ts.store == nil {
		result["error"] = ts.err.Error()
		return result
	}
	stats, err := ts.store.Stats()
	if err != nil {
		result["error"] = err.Error()
		return result
	}
	lost := int64(stats.Dropped)
	for i := range stats.Sinks {
		sink := &stats.Sinks[i]
		if sink.State == store.SinkOff {
			continue
		}
		lost += int64(sink.Lost)
		lastError := ""
		if err := sink.LastError(); err != nil {
			lastError = err.Error()
		}
		result[sink.Sink.String()] = map[string]interface{}{
			"ticks_written":  int64(sink.Written),
			"write_errors":   int64(sink.Errors),
			"queue_size":     int64(sink.Backlog),
			"queue_capacity": int64(queueCapacity),
			"state":          sink.State.String(),
			"last_error":     lastError,
		}
	}
	result["ticks_received"] = int64(stats.Received) + unstored + misnamed
	result["ticks_stored"] = int64(stats.Accepted)
	result["ticks_throttled"] = int64(stats.Throttled)
	result["ticks_refused"] = int64(stats.Refused) + misnamed
	result["ticks_lost"] = lost + unstored
	result["durable_seq"] = int64(stats.DurableSeq)
	return result
}

// Flush waits until everything accepted so far is on stable storage, at most half a minute.
func (ts *OptimizedTickStore) Flush() error {
	if ts.store == nil {
		return ts.err
	}
	ctx, cancel := context.WithTimeout(context.Background(), flushLimit)
	defer cancel()
	return ts.store.Flush(ctx)
}

// Stop writes everything that was accepted and closes the store. A second Stop does nothing.
func (ts *OptimizedTickStore) Stop() {
	if ts.store == nil {
		return
	}
	if err := ts.store.Close(); err != nil && !errors.Is(err, store.ErrClosed) {
		log.Printf("[tickstore] stop: %v", err)
	}
}
