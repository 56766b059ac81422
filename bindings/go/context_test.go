package tickstore

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/libtickstore/libtickstore/bindings/go/internal/ctks"
)

const patience = 30 * time.Second

// sickStore is a store whose disk cannot be written: a file stands where the day files' directory should be. heal makes it
// well.
func sickStore(t *testing.T, change func(*Config)) (store *Store, heal func()) {
	t.Helper()
	dir := t.TempDir()
	obstacle := filepath.Join(dir, "db")
	store = openStore(t, func(c *Config) {
		c.Path = dir
		c.RetryAttempts = None
		c.DegradedRetry = 50 * time.Millisecond
		c.CloseLimit = None
		if change != nil {
			change(c)
		}
	})
	must(t, os.WriteFile(obstacle, nil, 0o644))
	return store, func() { must(t, os.Remove(obstacle)) }
}

func TestFlushDeadline(t *testing.T) {
	store, heal := sickStore(t, nil)
	symbol := symbolOf(t, store, "A")
	_, err := store.PutBatch(quotesFrom(symbol, epoch, 10))
	must(t, err)
	within(t, patience, "Flush", func() {
		// A timeout, so that the sink has an error to tell of by then.
		ctx, cancel := context.WithTimeout(background, 300*time.Millisecond)
		defer cancel()
		err := store.Flush(ctx)
		if !errors.Is(err, ErrTimeout) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "sqlite") {
			t.Errorf("%v", err)
		}
	})
	if durable, err := store.DurableSeq(); err != nil || durable != 0 {
		t.Errorf("durable %d, %v", durable, err)
	}
	heal()
	ctx, cancel := context.WithTimeout(background, patience)
	defer cancel()
	must(t, store.Flush(ctx))
	if durable, err := store.DurableSeq(); err != nil || durable == 0 {
		t.Errorf("durable %d, %v", durable, err)
	}
}

func TestFlushCancelled(t *testing.T) {
	store, heal := sickStore(t, nil)
	symbol := symbolOf(t, store, "A")
	_, err := store.PutBatch(quotesFrom(symbol, epoch, 10))
	must(t, err)
	before := runtime.NumGoroutine()
	within(t, patience, "Flush", func() {
		for i := 0; i < 50; i++ {
			ctx, cancel := context.WithCancel(background)
			time.AfterFunc(time.Millisecond, cancel)
			if err := store.Flush(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("%v", err)
			}
		}
		ctx, cancel := context.WithCancel(background)
		cancel()
		if err := store.Flush(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	})
	if after := runtime.NumGoroutine(); after > before+10 {
		t.Errorf("%d goroutines before 50 flushes were cancelled, %d after", before, after)
	}
	heal()
	ctx, cancel := context.WithTimeout(background, patience)
	defer cancel()
	must(t, store.Flush(ctx))
}

// TestFlushRounds: who comes during a round waits for the next, and hears of what was lost in the first.
func TestFlushRounds(t *testing.T) {
	calls := make(chan chan *ctks.Failure)
	f := flusher{flush: func(int64) *ctks.Failure {
		answer := make(chan *ctks.Failure)
		calls <- answer
		return <-answer
	}}
	first := f.join()
	answer := <-calls
	second, third := f.join(), f.join()
	if first == second || second != third {
		t.Error("joined the wrong round")
	}
	answer <- &ctks.Failure{Code: int32(ErrUnwritten)}
	<-first.done
	(<-calls) <- nil
	<-second.done
	if first.failure == nil || second.failure == nil {
		t.Error("a loss was not told")
	}
	fourth := f.join()
	(<-calls) <- nil
	<-fourth.done
	if fourth.failure != nil {
		t.Error("a loss was told to somebody who came after it")
	}
}

func TestFlushWhileClosing(t *testing.T) {
	store, _ := sickStore(t, func(c *Config) { c.NoJournal = true })
	symbol := symbolOf(t, store, "A")
	_, err := store.PutBatch(quotesFrom(symbol, epoch, 10))
	must(t, err)
	ctx, cancel := context.WithCancel(background)
	defer cancel()
	flushed := make(chan error)
	go func() { flushed <- store.Flush(ctx) }()
	time.Sleep(20 * time.Millisecond)
	within(t, patience, "Close", func() {
		if err := store.Close(); !errors.Is(err, ErrUnwritten) || !strings.Contains(err.Error(), "10") {
			t.Errorf("%v", err)
		}
		if err := <-flushed; !errors.Is(err, ErrClosed) {
			t.Errorf("%v", err)
		}
	})
}

// blockedStore is a store in which the next put has to wait for a room that never comes.
func blockedStore(t *testing.T) (*Store, Symbol) {
	store, _ := sickStore(t, func(c *Config) {
		c.NoJournal = true
		c.QueuePolicy = QueueBlock
		c.QueueRecords = 16
		c.BatchRecords = 8
		c.BacklogRecords = None
		c.BlockLimit = time.Hour
		c.FlushInterval = time.Millisecond
	})
	symbol := symbolOf(t, store, "A")
	quotes := quotesFrom(symbol, epoch, 1000)
	for i := 0; ; i++ {
		ctx, cancel := context.WithTimeout(background, 300*time.Millisecond)
		_, err := store.PutContext(ctx, quotes[i])
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			return store, symbol
		}
		must(t, err)
	}
}

func TestPutContext(t *testing.T) {
	store, symbol := blockedStore(t)
	quotes := quotesFrom(symbol, epoch+1e12, 100)
	within(t, patience, "PutContext", func() {
		ctx, cancel := context.WithCancel(background)
		time.AfterFunc(10*time.Millisecond, cancel)
		if _, err := store.PutContext(ctx, quotes[0]); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		if _, err := store.PutContext(ctx, quotes[0]); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		ctx, cancel = context.WithTimeout(background, 10*time.Millisecond)
		defer cancel()
		result, err := store.PutBatchContext(ctx, quotes)
		if !errors.Is(err, context.DeadlineExceeded) || result.Accepted != 0 {
			t.Errorf("%v %+v", err, result)
		}
		if _, err := store.PutBatchContext(ctx, quotes); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
	})
	within(t, patience, "Close over blocked puts", func() {
		put := make(chan error)
		go func() { _, err := store.Put(quotes[1]); put <- err }()
		time.Sleep(10 * time.Millisecond)
		if err := store.Close(); !errors.Is(err, ErrUnwritten) {
			t.Errorf("%v", err)
		}
		if err := <-put; !errors.Is(err, ErrClosed) {
			t.Errorf("%v", err)
		}
	})
}

func TestPutBatchContext(t *testing.T) {
	store := openStore(t, func(c *Config) { c.QueuePolicy = QueueBlock })
	symbol := symbolOf(t, store, "A")
	quotes := quotesFrom(symbol, epoch, 1000)
	quotes[100].Symbol, quotes[200].Symbol = 9, 10
	ctx, cancel := context.WithCancel(background)
	defer cancel()
	result, err := store.PutBatchContext(ctx, quotes)
	if !errors.Is(err, ErrSymbol) || result.Accepted != 998 || result.Refused != 2 || result.FirstBad != 100 ||
		result.FirstBadCode != ErrSymbol || result.LastSeq-result.FirstSeq != 997 {
		t.Errorf("%v %+v", err, result)
	}
	for _, policy := range []QueuePolicy{QueueDrop, QueueBlock} {
		store := openStore(t, func(c *Config) { c.QueuePolicy = policy })
		symbol := symbolOf(t, store, "A")
		quotes := quotesFrom(symbol, epoch, 500)
		result, err := store.PutBatchContext(ctx, quotes)
		if err != nil || result.Accepted != 500 {
			t.Errorf("%v %+v", err, result)
		}
		if seq, err := store.PutContext(ctx, quotesFrom(symbol, epoch+1e12, 1)[0]); err != nil || seq == 0 {
			t.Error(seq, err)
		}
		must(t, store.Close())
		if result, err := store.PutBatchContext(ctx, quotes); !errors.Is(err, ErrClosed) || result.Accepted != 0 {
			t.Errorf("%v %+v", err, result)
		}
	}
}

func TestRangeContext(t *testing.T) {
	store := openStore(t, func(c *Config) { c.QueueRecords = 20000 })
	symbol := symbolOf(t, store, "A")
	_, err := store.PutBatch(quotesFrom(symbol, epoch, 10000))
	must(t, err)
	ctx, cancel := context.WithCancel(background)
	defer cancel()
	cursor, err := store.Range(ctx, Query{Symbol: symbol})
	must(t, err)
	defer cursor.Close()
	n := 0
	for cursor.Next() {
		if n++; n == 10 {
			cancel()
		}
	}
	if !errors.Is(cursor.Err(), context.Canceled) || n < 10 || n >= 10000 {
		t.Error(n, cursor.Err())
	}
	if _, err := store.Range(ctx, Query{Symbol: symbol}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
