package tickstore

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"
)

// TestGaps loses quotes on purpose and finds every one of them in the ledger.
func TestGaps(t *testing.T) {
	store := openStore(t, func(c *Config) {
		c.NoJournal = true
		c.QueueRecords, c.BatchRecords = 16, 16
		c.Throttle = ThrottleOff
	})
	if gaps, err := store.Gaps(0); err != nil || len(gaps) != 0 {
		t.Fatal(gaps, err)
	}
	symbol := symbolOf(t, store, "A")
	started := time.Now().Add(-time.Second)
	quotes := quotesFrom(symbol, epoch, 10000)
	dropped := uint64(0)
	for tries := 0; dropped == 0; tries++ { // until the writer is late
		if tries == 1000 {
			t.Fatal("16 quotes at a time were never too many")
		}
		result, err := store.PutBatch(quotes)
		if err != nil && !errors.Is(err, ErrQueueFull) {
			t.Fatal(err)
		}
		dropped += result.Dropped
	}
	_ = store.Flush(background)
	gaps, err := store.Gaps(0)
	must(t, err)
	stats, err := store.Stats()
	must(t, err)
	lost, before := uint64(0), uint64(0)
	for i := range gaps {
		gap := &gaps[i]
		lost += gap.Records
		if gap.FromSeq <= before || gap.ToSeq < gap.FromSeq || gap.ToSeq > stats.LastSeq || gap.Cause != GapFull || gap.Sink != 0 {
			t.Errorf("gap %d: %+v", i, gap)
		}
		before = gap.ToSeq
		if (gap.Symbol != 0 && gap.Symbol != symbol) || gap.Last().Before(gap.First()) {
			t.Errorf("gap %d: %+v, since %v", i, gap, started)
		}
	}
	if lost != stats.Dropped || lost != dropped {
		t.Errorf("%d are in the ledger, %d were dropped, %d returned ErrQueueFull", lost, stats.Dropped, dropped)
	}
	if rest, err := store.Gaps(before + 1); err != nil || len(rest) != 0 {
		t.Error(rest, err)
	}
	if GapRecovery.String() != "recovery" || GapBackend.String() != "backend" || GapCause(9).String() != "unknown" {
		t.Error(GapRecovery, GapCause(9))
	}
	must(t, store.Close())
	if _, err := store.Gaps(0); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

func TestSinks(t *testing.T) {
	ctx, cancel := context.WithTimeout(background, patience)
	defer cancel()
	for _, backend := range []Backend{SQLite, JSON, Dual} {
		store := openStore(t, func(c *Config) { c.Backend = backend })
		symbol := symbolOf(t, store, "A")
		result, err := store.PutBatch(quotesFrom(symbol, epoch, 100))
		must(t, err)
		for _, sink := range []Backend{SQLite, JSON} {
			for _, ctx := range []context.Context{background, ctx} {
				err := store.SinkFlush(ctx, sink)
				seq, seqErr := store.SinkDurableSeq(sink)
				if backend&sink == 0 {
					if !errors.Is(err, ErrInvalid) || !errors.Is(seqErr, ErrInvalid) {
						t.Errorf("%v, sink %v: %v, %v", backend, sink, err, seqErr)
					}
				} else if err != nil || seqErr != nil || seq < result.LastSeq {
					t.Errorf("%v, sink %v: %v, %d, %v", backend, sink, err, seq, seqErr)
				}
			}
		}
		for _, sink := range []Backend{0, Dual, 7} {
			if err := store.SinkFlush(ctx, sink); !errors.Is(err, ErrInvalid) {
				t.Error(sink, err)
			}
		}
		must(t, store.Close())
		if err := store.SinkFlush(ctx, SQLite); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
		if _, err := store.SinkDurableSeq(JSON); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	}
	var never Store
	if err := never.SinkFlush(ctx, SQLite); !errors.Is(err, ErrNull) {
		t.Error(err)
	}
	if err := never.Flush(ctx); !errors.Is(err, ErrNull) {
		t.Error(err)
	}
}

// TestSickSink: the one that is well does not wait for the one that is not.
func TestSickSink(t *testing.T) {
	store, heal := sickStore(t, func(c *Config) { c.Backend = Dual })
	result, err := store.PutBatch(quotesFrom(symbolOf(t, store, "A"), epoch, 10))
	must(t, err)
	ctx, cancel := context.WithTimeout(background, patience)
	defer cancel()
	must(t, store.SinkFlush(ctx, JSON))
	if seq, err := store.SinkDurableSeq(JSON); err != nil || seq < result.LastSeq {
		t.Error(seq, err)
	}
	if seq, err := store.SinkDurableSeq(SQLite); err != nil || seq >= result.FirstSeq {
		t.Error(seq, err)
	}
	short, stop := context.WithTimeout(background, 50*time.Millisecond)
	defer stop()
	if err := store.SinkFlush(short, SQLite); !errors.Is(err, ErrTimeout) || !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	heal()
	must(t, store.SinkFlush(ctx, SQLite))
}

// TestKept: a Close that leaves quotes to the journal is no error, and the next Open goes on with them.
func TestKept(t *testing.T) {
	var dir string
	store, heal := sickStore(t, func(c *Config) { dir = c.Path })
	want := quotesFrom(symbolOf(t, store, "A"), epoch, 10)
	_, err := store.PutBatch(want)
	must(t, err)
	must(t, store.Close())
	if err := store.Close(); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	heal()
	store = openStore(t, func(c *Config) { c.Path = dir })
	stats, err := store.Stats()
	must(t, err)
	if stats.Recovered != 10 {
		t.Errorf("%d were recovered", stats.Recovered)
	}
	must(t, store.Flush(background))
	if days, err := filepath.Glob(filepath.Join(dir, "db", "2026", "01", "*.db")); err != nil || len(days) != 1 {
		t.Error(days, err)
	}
	expectSame(t, readAll(t, store, Query{Symbol: symbolOf(t, store, "A")}), want)
}

// TestPutsDoNotLog: cgo is told that puts never call back into Go, which must hold with a full journal and queue too.
func TestPutsDoNotLog(t *testing.T) {
	for _, noJournal := range []bool{false, true} {
		store, _ := sickStore(t, func(c *Config) {
			c.NoJournal = noJournal
			c.JournalBytes = 1 << 20
			c.QueueRecords, c.BatchRecords, c.BacklogRecords = 16, 16, None
			c.Throttle = ThrottleOff
			c.LogLevel = LogDebug
			c.Log = func(LogLevel, string) {}
		})
		quotes := quotesFrom(symbolOf(t, store, "A"), epoch, 1000)
		full := 0
		for i := 0; i < 100; i++ {
			if _, err := store.PutBatch(quotes); errors.Is(err, ErrQueueFull) {
				full++
			}
			for range quotes[:100] {
				if _, err := store.PutNamed("A", 5, 6, "", nsTime(epoch)); err != nil && !errors.Is(err, ErrQueueFull) {
					t.Fatal(err)
				}
			}
		}
		if full == 0 {
			t.Errorf("without the journal %v: never full", noJournal)
		}
		_ = store.Close()
	}
}
