package tickstore

import (
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestRoundTrip(t *testing.T) {
	dir := t.TempDir()
	store, err := Open(Config{Path: dir, Throttle: ThrottleOff})
	must(t, err)
	eurusd := symbolOf(t, store, "EUR/USD")
	oanda, err := store.Source("OANDA")
	must(t, err)
	nan := math.NaN()
	quotes := []Quote{
		{TsNS: epoch, RecvNS: epoch + 5, Bid: 1.1, Ask: 1.2, BidSize: 3, AskSize: 4, Symbol: eurusd, Source: oanda, Flags: 0x10000},
		{TsNS: epoch, Bid: 1.1, Ask: 1.2, Symbol: eurusd},                          // of the same nanosecond
		{TsNS: epoch + 1, Bid: nan, Ask: math.Nextafter(0.1, 1), Symbol: eurusd},   // one side
		{TsNS: epoch + 86400e9, Bid: -37.63, Ask: 0, Symbol: eurusd},               // another day, negative
		{TsNS: epoch + 86400e9 + 1, Bid: 2, Ask: 1, Symbol: eurusd, Source: oanda}, // crossed
	}
	for i, quote := range quotes {
		seq, err := store.Put(quote)
		must(t, err)
		quotes[i].Seq = seq
		if seq == 0 || (i > 0 && seq <= quotes[i-1].Seq) {
			t.Errorf("quote %d got sequence number %d", i, seq)
		}
	}
	quotes[2].Bid = math.Float64frombits(0x7ff8000000000000)
	check := func(store *Store) {
		t.Helper()
		got := readAll(t, store, Query{Symbol: eurusd})
		expectSame(t, got, quotes)
		for i := range got {
			if got[i].Seq != quotes[i].Seq {
				t.Errorf("quote %d came back with sequence number %d, was %d", i, got[i].Seq, quotes[i].Seq)
			}
		}
		if got[4].Flags&FlagCrossed == 0 || got[3].Flags&FlagCrossed != 0 {
			t.Error("the crossed flag is wrong")
		}
		recent, err := store.Recent(eurusd, 3)
		must(t, err)
		expectSame(t, recent, quotes[2:])
		last, err := store.Latest(eurusd)
		must(t, err)
		expectSame(t, []Quote{last}, quotes[4:])
		all, err := store.LatestAll()
		must(t, err)
		expectSame(t, all, quotes[4:])
		symbols, err := store.Symbols()
		must(t, err)
		if len(symbols) != 1 || symbols[0].Name() != "EUR/USD" || symbols[0].Count != 5 ||
			!symbols[0].First().Equal(quotes[0].Time()) || !symbols[0].Last().Equal(quotes[4].Time()) {
			t.Errorf("symbols: %+v", symbols)
		}
	}
	check(store)
	must(t, store.Flush(background))
	if durable, err := store.DurableSeq(); err != nil || durable != quotes[4].Seq {
		t.Errorf("durable %d, %v", durable, err)
	}
	check(store)
	if name, err := store.SymbolName(eurusd); err != nil || name != "EUR/USD" {
		t.Error(name, err)
	}
	if name, err := store.SourceName(oanda); err != nil || name != "OANDA" {
		t.Error(name, err)
	}
	stats, err := store.Stats()
	must(t, err)
	if stats.Backend != SQLite || stats.Accepted != 5 || stats.Sinks[0].State != SinkOK || stats.Sinks[0].Written != 5 ||
		stats.Sinks[0].LastError() != nil || stats.Sinks[1].State != SinkOff {
		t.Errorf("stats: %+v", stats)
	}

	reader, err := Open(Config{Path: dir, ReadOnly: true})
	must(t, err)
	again, err := reader.Symbol("EUR/USD")
	must(t, err)
	if n := len(readAll(t, reader, Query{Symbol: again})); n != 5 {
		t.Errorf("a second Store reads %d quotes", n)
	}
	if _, err := reader.Put(quotes[0]); !errors.Is(err, ErrReadOnly) {
		t.Error(err)
	}
	must(t, reader.Close())
	must(t, store.Close())

	store, err = Open(Config{Path: dir})
	must(t, err)
	defer store.Close()
	if symbolOf(t, store, "EUR/USD") != eurusd {
		t.Fatal("another number")
	}
	if source, _ := store.Source("OANDA"); source != oanda {
		t.Fatal("another number")
	}
	check(store)
	days, err := store.Days(CheckFull)
	must(t, err)
	if len(days) != 2 || days[0].Count != 3 || days[1].Count != 2 || days[0].Err() != nil || days[0].Sink != SQLite ||
		days[0].Day() != time.Date(2026, 1, 20, 0, 0, 0, 0, time.UTC) {
		t.Errorf("days: %+v", days)
	}
}

func TestQuery(t *testing.T) {
	store := openStore(t, func(c *Config) { c.QueueRecords = 100000 })
	gold := symbolOf(t, store, "XAUUSD")
	quotes := quotesFrom(gold, epoch, 40000)
	result, err := store.PutBatch(quotes)
	must(t, err)
	if result.Accepted != 40000 || result.LastSeq-result.FirstSeq != 39999 || result.FirstBadCode != OK {
		t.Fatalf("%+v", result)
	}
	at := func(i int) time.Time { return quotes[i].Time() }
	for _, flushed := range []bool{false, true} {
		if flushed {
			must(t, store.Flush(background))
		}
		expectSame(t, readAll(t, store, Query{Symbol: gold}), quotes)
		expectSame(t, readAll(t, store, Query{Symbol: gold, From: at(100), To: at(200)}), quotes[100:200])
		expectSame(t, readAll(t, store, Query{Symbol: gold, From: at(39000)}), quotes[39000:])
		expectSame(t, readAll(t, store, Query{Symbol: gold, To: at(300), Limit: 7}), quotes[:7])
		expectSame(t, readAll(t, store, Query{Symbol: gold, From: at(200), To: at(200)}), nil)
		backwards := readAll(t, store, Query{Symbol: gold, Limit: 2, Descending: true})
		expectSame(t, backwards, []Quote{quotes[39999], quotes[39998]})
		expectSame(t, readAll(t, store, Query{Symbol: gold, From: time.Date(1, 1, 2, 0, 0, 0, 0, time.UTC),
			To: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)}), quotes)
		recent, err := store.Recent(gold, 1000000)
		must(t, err)
		expectSame(t, recent, quotes)
		recent, err = store.Recent(gold, 20000)
		must(t, err)
		expectSame(t, recent, quotes[20000:])
	}

	cursor, err := store.Range(background, Query{Symbol: gold})
	must(t, err)
	var read []Quote
	buffer := make([]Quote, 999)
	for {
		n, err := cursor.Read(buffer)
		read = append(read, buffer[:n]...)
		if err == io.EOF {
			break
		}
		must(t, err)
	}
	expectSame(t, read, quotes)
	if _, err := cursor.Read(nil); !errors.Is(err, ErrLimit) {
		t.Error(err)
	}
	must(t, cursor.Close())
	must(t, cursor.Close())
	if _, err := cursor.Read(buffer); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if cursor.Next() || !errors.Is(cursor.Err(), ErrClosed) {
		t.Error(cursor.Err())
	}
}

// TestDamagedDay: a cursor reports the day and goes on behind it.
func TestDamagedDay(t *testing.T) {
	dir := t.TempDir()
	store, err := Open(Config{Path: dir, Throttle: ThrottleOff})
	must(t, err)
	symbol := symbolOf(t, store, "A")
	var quotes []Quote
	for day := int64(0); day < 3; day++ {
		quotes = append(quotes, quotesFrom(symbol, epoch+day*86400e9, 500)...)
	}
	_, err = store.PutBatch(quotes[:500])
	must(t, err)
	must(t, store.Close())
	store, err = Open(Config{Path: dir, Throttle: ThrottleOff, QueueRecords: 2000})
	must(t, err)
	if symbolOf(t, store, "A") != symbol {
		t.Fatal("another number")
	}
	_, err = store.PutBatch(quotes[500:])
	must(t, err)
	must(t, store.Close())
	damaged := filepath.Join(dir, "db", "2026", "01", "ticks_2026-01-21.db")
	must(t, os.WriteFile(damaged, []byte("this is no day file, and it is long enough to be read as one: nothing"), 0o644))

	store, err = Open(Config{Path: dir})
	must(t, err)
	defer store.Close()
	symbol = symbolOf(t, store, "A")
	cursor, err := store.Range(background, Query{Symbol: symbol})
	must(t, err)
	defer cursor.Close()
	var read []Quote
	var failures []error
	for {
		for cursor.Next() {
			read = append(read, cursor.Quote())
		}
		if cursor.Err() == nil {
			break
		}
		failures = append(failures, cursor.Err())
		if len(failures) > 3 {
			break
		}
	}
	if len(failures) != 1 || !errors.Is(failures[0], ErrDayFile) || !strings.Contains(failures[0].Error(), "2026-01-21") {
		t.Errorf("errors: %v", failures)
	}
	expectSame(t, read, append(append([]Quote(nil), quotes[:500]...), quotes[1000:]...))
	symbols, err := store.Symbols()
	if !errors.Is(err, ErrDayFile) || len(symbols) != 1 || symbols[0].Count != 1000 {
		t.Errorf("%v, %+v", err, symbols)
	}
	days, err := store.Days(CheckQuick)
	if err != nil || len(days) != 3 || !errors.Is(days[1].Err(), ErrDayFile) || days[2].Err() != nil {
		t.Errorf("%v, %+v", err, days)
	}
}

func TestErrors(t *testing.T) {
	store := openStore(t, func(c *Config) {
		c.CrossedPolicy = CrossedRefuse
		c.MaxSymbols = 3
		c.MaxSources = 1
	})
	symbol := symbolOf(t, store, "EURUSD")
	good := Quote{TsNS: epoch, Bid: 1, Ask: 2, Symbol: symbol}
	with := func(change func(*Quote)) func() error {
		return func() error {
			quote := good
			change(&quote)
			seq, err := store.Put(quote)
			if seq != 0 {
				t.Errorf("refused, but has sequence number %d", seq)
			}
			return err
		}
	}
	named := func(name string) func() error {
		return func() error { _, err := store.Symbol(name); return err }
	}
	query := func(q Query) func() error {
		return func() error { _, err := store.Range(background, q); return err }
	}
	open := func(config Config) func() error {
		return func() error {
			if config.Path == "" {
				config.Path = t.TempDir()
			}
			s, err := Open(config)
			if s != nil {
				_ = s.Close()
				t.Errorf("%+v was opened", config)
			}
			return err
		}
	}
	notEmpty := t.TempDir()
	must(t, os.WriteFile(filepath.Join(notEmpty, "letter.txt"), nil, 0o644))
	locked := t.TempDir()
	writer, err := Open(Config{Path: locked})
	must(t, err)
	defer writer.Close()

	tests := []struct {
		name    string
		do      func() error
		want    Code
		message string // a part of it
	}{
		{"symbol 0", with(func(q *Quote) { q.Symbol = 0 }), ErrSymbol, "symbol is 0"},
		{"unknown symbol", with(func(q *Quote) { q.Symbol = 77 }), ErrSymbol, "77"},
		{"unknown source", with(func(q *Quote) { q.Source = 9 }), ErrSource, "9"},
		{"no side", with(func(q *Quote) { q.Bid, q.Ask = math.NaN(), math.NaN() }), ErrSides, ""},
		{"infinite price", with(func(q *Quote) { q.Ask = math.Inf(1) }), ErrPrice, "ask"},
		{"negative size", with(func(q *Quote) { q.BidSize = -1 }), ErrSize, "bid_size"},
		{"size NaN", with(func(q *Quote) { q.AskSize = math.NaN() }), ErrSize, "ask_size"},
		{"too early", with(func(q *Quote) { q.TsNS = 1 }), ErrTime, "1970"},
		{"too late", with(func(q *Quote) { q.TsNS = math.MaxInt64 }), ErrTime, "future"},
		{"crossed", with(func(q *Quote) { q.Bid = 3 }), ErrCrossed, "above"},
		{"year 9999", func() error {
			_, err := store.PutNamed("EURUSD", 1, 2, "", time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC))
			return err
		}, ErrTime, ""},
		{"year 1", func() error { _, err := store.PutNamed("EURUSD", 1, 2, "", time.Time{}); return err }, ErrTime, ""},
		{"empty name", named(""), ErrNameEmpty, ""},
		{"long name", named(strings.Repeat("x", 65)), ErrNameLong, "65 bytes"},
		{"control character", named("EUR\nUSD"), ErrNameControl, ""},
		{"NUL", named("EUR\x00USD"), ErrNameControl, ""},
		{"not UTF-8", named("EUR\xff"), ErrNameUTF8, ""},
		{"path", named("../../etc/x"), ErrNamePath, ""},
		{"put by a bad name", func() error { _, err := store.PutNamed("", 1, 2, "", time.Now()); return err }, ErrNameEmpty, ""},
		{"put by a bad source", func() error { _, err := store.PutNamed("EURUSD", 1, 2, "\x01", time.Now()); return err },
			ErrNameControl, "source"},
		{"symbols full", func() error {
			for _, name := range []string{"A", "B", "C"} {
				if _, err := store.Symbol(name); err != nil {
					return err
				}
			}
			return nil
		}, ErrTableFull, "symbol"},
		{"sources full", func() error {
			_, _ = store.Source("A")
			_, err := store.Source("B")
			return err
		}, ErrTableFull, "source"},
		{"name of no symbol", func() error { _, err := store.SymbolName(99); return err }, ErrSymbol, "99"},
		{"name of no source", func() error { _, err := store.SourceName(99); return err }, ErrSource, "99"},
		{"recent 0", func() error { _, err := store.Recent(symbol, 0); return err }, ErrLimit, "0"},
		{"recent -1", func() error { _, err := store.Recent(symbol, -1); return err }, ErrLimit, "n is -1"},
		{"recent 2^31", func() error { _, err := store.Recent(symbol, 1<<31); return err }, ErrLimit, "2147483648"},
		{"recent of no symbol", func() error { _, err := store.Recent(99, 1); return err }, ErrSymbol, "99"},
		{"latest of no symbol", func() error { _, err := store.Latest(99); return err }, ErrSymbol, "99"},
		{"latest of nothing", func() error { _, err := store.Latest(symbol); return err }, ErrNotFound, ""},
		{"range of no symbol", query(Query{Symbol: 99}), ErrSymbol, "99"},
		{"range of no source", query(Query{Symbol: symbol, Source: 99}), ErrSource, "99"},
		{"range backwards", query(Query{Symbol: symbol, From: time.Unix(2, 0), To: time.Unix(1, 0)}), ErrInvalid, "from_ns"},
		{"negative limit", query(Query{Symbol: symbol, Limit: -1}), ErrLimit, "-1"},
		{"unknown check", func() error { _, err := store.Days(9); return err }, ErrInvalid, "check"},
		{"codes too short", func() error { _, err := store.PutBatchCodes([]Quote{good}, nil); return err }, ErrInvalid, "codes"},
		{"no preset", open(Config{Preset: 9}), ErrInvalid, "preset"},
		{"bad backend", open(Config{Backend: 8}), ErrConfig, "backend"},
		{"ring too large", open(Config{RingRecords: 1 << 40}), ErrConfig, "ring_records"},
		{"ring negative", open(Config{RingRecords: -5}), ErrConfig, "ring_records"},
		{"negative ring", open(Config{RingRecords: -5}), ErrConfig, "ring_records is -5"},
		{"negative time", open(Config{BlockLimit: -7 * time.Second}), ErrConfig, "block_limit_ms is -7s"},
		{"negative bytes", open(Config{MmapBytes: -2}), ErrConfig, "mmap_bytes is -2"},
		{"journal too small", open(Config{JournalBytes: 5}), ErrConfig, "journal_bytes is 5"},
		{"empty path", func() error { _, err := Open(Config{}); return err }, ErrInvalid, "path"},
		{"queue too small", open(Config{QueueRecords: 1}), ErrConfig, "queue_records"},
		{"limit of a year", open(Config{BlockLimit: 365 * 24 * time.Hour}), ErrConfig, "block_limit_ms"},
		{"log level", open(Config{LogLevel: 99}), ErrConfig, "log_level"},
		{"broker id", open(Config{BrokerID: strings.Repeat("b", 65)}), ErrConfig, "broker_id"},
		{"NUL in path", open(Config{Path: "a\x00b"}), ErrInvalid, "path"},
		{"not a store", open(Config{Path: notEmpty}), ErrNotStore, "letter.txt"},
		{"nothing to read", open(Config{Path: filepath.Join(notEmpty, "none"), ReadOnly: true}), ErrNotStore, ""},
		{"a file as a directory", open(Config{Path: filepath.Join(notEmpty, "letter.txt")}), ErrIO, "letter.txt"},
		{"locked", open(Config{Path: locked}), ErrLocked, locked},
	}
	for _, test := range tests {
		err := test.do()
		var e *Error
		if !errors.Is(err, test.want) || !errors.As(err, &e) || e.Code != test.want || !strings.Contains(e.Message, test.message) ||
			errors.Is(err, ErrInternal) {
			t.Errorf("%s: %v, want %d with %q", test.name, err, test.want, test.message)
		}
	}
	if s, err := Open(Config{}); s != nil || err == nil {
		t.Error("a store without a path")
	}
	stats, err := store.Stats()
	must(t, err)
	if stats.Accepted != 0 || stats.Refused != 12 || stats.RefusedTime != 4 {
		t.Errorf("after refusals: %+v", stats)
	}
	if symbols, err := store.Symbols(); err != nil || len(symbols) != 0 {
		t.Error("something was left behind", symbols, err)
	}
}

func TestBatchWithBadOnes(t *testing.T) {
	store := openStore(t, func(c *Config) { c.CrossedPolicy = CrossedDrop })
	symbol := symbolOf(t, store, "A")
	quotes := quotesFrom(symbol, epoch, 6)
	quotes[1].Bid, quotes[1].Ask = quotes[0].Bid, quotes[0].Ask
	quotes[2].Bid = 9
	quotes[3].Symbol = 5
	quotes[4].Bid = math.Inf(-1)
	codes := make([]Code, 6)
	result, err := store.PutBatchCodes(quotes, codes)
	if !errors.Is(err, ErrSymbol) || !strings.Contains(err.Error(), "symbol is 5") {
		t.Error(err)
	}
	if result.Accepted != 2 || result.Throttled != 1 || result.CrossedDropped != 1 || result.Refused != 2 ||
		result.FirstBad != 3 || result.FirstBadCode != ErrSymbol || result.LastSeq != result.FirstSeq+1 {
		t.Errorf("%+v", result)
	}
	want := []Code{OK, Throttled, CrossedDropped, ErrSymbol, ErrPrice, OK}
	for i := range want {
		if codes[i] != want[i] {
			t.Errorf("code %d is %v, want %v", i, codes[i], want[i])
		}
	}
	if result, err := store.PutBatch(nil); err != nil || result != (BatchResult{}) {
		t.Error(result, err)
	}
	if seq, err := store.Put(quotes[5]); seq != 0 || err != nil {
		t.Error("a repeat:", seq, err)
	}
}

func TestAfterClose(t *testing.T) {
	store := openStore(t, nil)
	symbol := symbolOf(t, store, "A")
	_, err := store.PutBatch(quotesFrom(symbol, epoch, 100))
	must(t, err)
	cursor, err := store.Range(background, Query{Symbol: symbol})
	must(t, err)
	must(t, store.Close())
	calls := map[string]func() error{
		"Close":      store.Close,
		"Flush":      func() error { return store.Flush(background) },
		"Put":        func() error { _, err := store.Put(Quote{Symbol: symbol, TsNS: epoch, Bid: 1, Ask: 1}); return err },
		"PutNamed":   func() error { _, err := store.PutNamed("A", 1, 2, "", time.Now()); return err },
		"PutBatch":   func() error { _, err := store.PutBatch(quotesFrom(symbol, epoch, 2)); return err },
		"Symbol":     func() error { _, err := store.Symbol("A"); return err },
		"Source":     func() error { _, err := store.Source("A"); return err },
		"Recent":     func() error { _, err := store.Recent(symbol, 1); return err },
		"Latest":     func() error { _, err := store.Latest(symbol); return err },
		"LatestAll":  func() error { _, err := store.LatestAll(); return err },
		"Symbols":    func() error { _, err := store.Symbols(); return err },
		"Days":       func() error { _, err := store.Days(CheckQuick); return err },
		"Stats":      func() error { _, err := store.Stats(); return err },
		"DurableSeq": func() error { _, err := store.DurableSeq(); return err },
		"Gaps":       func() error { _, err := store.Gaps(0); return err },
		"Range":      func() error { _, err := store.Range(background, Query{Symbol: symbol}); return err },
		"Next":       func() error { cursor.Next(); return cursor.Err() },
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, ErrClosed) {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
	must(t, cursor.Close())
	var never Store
	if _, err := never.Put(Quote{}); !errors.Is(err, ErrNull) {
		t.Error(err)
	}
}

func TestLog(t *testing.T) {
	dir := t.TempDir()
	var mu sync.Mutex
	var lines []string
	config := Config{Path: dir, LogLevel: LogDebug, Log: func(level LogLevel, message string) {
		mu.Lock()
		defer mu.Unlock()
		lines = append(lines, level.String()+": "+message)
	}}
	store, err := Open(config)
	must(t, err)
	symbol := symbolOf(t, store, "A")
	_, err = store.PutBatch(quotesFrom(symbol, epoch, 10))
	must(t, err)
	must(t, store.Close())
	if _, err := Open(Config{Path: filepath.Join(dir, "store.json"), Log: config.Log}); err == nil {
		t.Error("a file was opened as a store")
	}
	mu.Lock()
	defer mu.Unlock()
	if text := strings.Join(lines, "\n"); !strings.Contains(text, "info: sealed") || !strings.Contains(text, "ticks_2026-01-20.db") {
		t.Errorf("log: %q", text)
	}
}

func TestBackends(t *testing.T) {
	for backend, folders := range map[Backend][]string{SQLite: {"db"}, JSON: {"json"}, Dual: {"db", "json"}} {
		dir := t.TempDir()
		store, err := Open(Config{Path: dir, Backend: backend, BrokerID: "B-7"})
		must(t, err)
		symbol := symbolOf(t, store, "EURUSD")
		quotes := quotesFrom(symbol, epoch, 100)
		_, err = store.PutBatch(quotes)
		must(t, err)
		must(t, store.Flush(background))
		expectSame(t, readAll(t, store, Query{Symbol: symbol}), quotes)
		must(t, store.Close())
		for _, folder := range []string{"db", "json"} {
			_, err := os.Stat(filepath.Join(dir, folder))
			if wanted := strings.Contains(strings.Join(folders, " "), folder); (err == nil) != wanted {
				t.Errorf("%v: %s: %v", backend, folder, err)
			}
		}
		if backend != SQLite {
			text, err := os.ReadFile(filepath.Join(dir, "json", "EURUSD", "2026-01-20.jsonl"))
			if err != nil || !strings.Contains(string(text), `"broker_id":"B-7"`) {
				t.Errorf("%v: %v %.200s", backend, err, text)
			}
		}
	}
}
