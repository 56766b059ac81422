package tickstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// checked makes a quote whose fields tell whether they belong together.
func checked(symbol Symbol, i int) Quote {
	bid := 1 + float64(i%997)/997
	return Quote{TsNS: epoch + int64(i)*1000, RecvNS: int64(i), Bid: bid, Ask: 2 * bid, BidSize: float64(symbol), Symbol: symbol,
		Flags: Flags(i) << 16}
}

func intact(q Quote, symbol Symbol) bool {
	return q.Symbol == symbol && same(q, checked(symbol, int(q.RecvNS))) && q.Seq != 0
}

// deep makes the goroutine's stack grow and move, then calls do.
func deep(n int, do func()) byte {
	var frame [512]byte
	frame[n%512] = byte(n)
	if n == 0 {
		do()
		return frame[0]
	}
	return deep(n-1, do) + frame[n%512]
}

// TestStress: goroutines by the hundred put and read at once while garbage is collected and stacks move. Everything that
// was accepted is there in the end, once, intact.
func TestStress(t *testing.T) {
	const symbols, putters, readers, each = 40, 200, 100, 1000
	seed := time.Now().UnixNano()
	t.Logf("seed %d", seed)
	store := openStore(t, func(c *Config) {
		c.QueuePolicy = QueueBlock
		c.BlockLimit = time.Minute
		c.Throttle = ThrottleOff
		c.RingRecords = 300
	})
	var ids [symbols]Symbol
	for i := range ids {
		ids[i] = symbolOf(t, store, fmt.Sprintf("S%02d", i))
	}
	var accepted, torn int64
	var stop atomic.Bool
	var putting, rest sync.WaitGroup
	fail := func(what string, err error) {
		if err != nil {
			t.Errorf("%s: %v", what, err)
			stop.Store(true)
		}
	}

	for p := 0; p < putters; p++ {
		putting.Add(1)
		go func(p int) {
			defer putting.Done()
			symbol := ids[p%symbols]
			name := fmt.Sprintf("S%02d", p%symbols)
			ctx, cancel := context.WithTimeout(background, time.Minute)
			defer cancel()
			for i := p * each; i < (p+1)*each && !stop.Load(); {
				quote := checked(symbol, i)
				var err error
				n := 1
				switch (i / 5) % 5 {
				case 0:
					_, err = store.Put(quote)
				case 1:
					deep(i%64, func() { _, err = store.Put(quote) })
				case 2:
					_, err = store.PutContext(ctx, quote)
				case 3:
					var batch [5]Quote // may live on the stack
					n = len(batch)
					for k := range batch {
						batch[k] = checked(symbol, i+k)
					}
					deep(i%32, func() { _, err = store.PutBatch(batch[:]) })
				default:
					// By name there are no sizes; only the way in is exercised, with a symbol of its own.
					_, err = store.PutNamed("by name "+name, quote.Bid, quote.Ask, "", nsTime(quote.TsNS))
				}
				fail("put", err)
				i += n
				atomic.AddInt64(&accepted, int64(n))
			}
		}(p)
	}
	for r := 0; r < readers; r++ {
		rest.Add(1)
		go func(r int) {
			defer rest.Done()
			random := rand.New(rand.NewSource(seed + int64(r)))
			for !stop.Load() {
				symbol := ids[random.Intn(symbols)]
				var quotes []Quote
				var err error
				switch random.Intn(6) {
				case 0:
					quotes, err = store.Recent(symbol, 1+random.Intn(400))
				case 1:
					var cursor *Cursor
					if cursor, err = store.Range(background, Query{Symbol: symbol, Limit: 500, Descending: random.Intn(2) == 0}); err == nil {
						for cursor.Next() {
							quotes = append(quotes, cursor.Quote())
						}
						err = cursor.Err()
						cursor.Close()
					}
				case 2:
					quotes = make([]Quote, 1)
					if quotes[0], err = store.Latest(symbol); errors.Is(err, ErrNotFound) {
						quotes, err = nil, nil
					}
				case 3:
					_, err = store.Stats()
				case 4:
					ctx, cancel := context.WithTimeout(background, time.Duration(random.Intn(20))*time.Millisecond)
					if err = store.Flush(ctx); errors.Is(err, context.DeadlineExceeded) {
						err = nil
					}
					cancel()
				default:
					_, err = store.Symbols()
				}
				fail("read", err)
				for _, quote := range quotes {
					if !intact(quote, symbol) {
						atomic.AddInt64(&torn, 1)
					}
				}
				time.Sleep(time.Duration(random.Intn(5)) * time.Millisecond)
			}
		}(r)
	}
	rest.Add(1)
	go func() {
		defer rest.Done()
		for i := 0; !stop.Load(); i++ {
			runtime.GC()
			if i%8 == 0 {
				debug.FreeOSMemory()
			}
		}
	}()
	putting.Wait()
	stop.Store(true)
	rest.Wait()
	if torn != 0 {
		t.Errorf("%d quotes came back wrong", torn)
	}

	must(t, store.Flush(background))
	stats, err := store.Stats()
	must(t, err)
	if int64(stats.Accepted) != accepted || stats.Sinks[0].Written != stats.Accepted || stats.Dropped+stats.Sinks[0].Lost != 0 {
		t.Errorf("put %d, accepted %d, written %d", accepted, stats.Accepted, stats.Sinks[0].Written)
	}
	total := 0
	for _, symbol := range ids {
		seen := map[int64]bool{}
		for _, quote := range readAll(t, store, Query{Symbol: symbol}) {
			if seen[quote.RecvNS] || !intact(quote, symbol) {
				t.Fatalf("%+v is there twice or damaged", quote)
			}
			seen[quote.RecvNS] = true
			total++
		}
	}
	infos, err := store.Symbols()
	must(t, err)
	for _, info := range infos {
		if len(info.Name()) > 3 {
			total += int(info.Count)
		}
	}
	if int64(total) != accepted {
		t.Errorf("%d quotes are stored, %d were accepted", total, accepted)
	}
}

// TestCloseRace: Close comes in the middle of everything; each call either completes or answers ErrClosed, and what was
// accepted is on disk.
func TestCloseRace(t *testing.T) {
	dir := t.TempDir()
	for round := 0; round < 5; round++ {
		store, err := Open(Config{Path: dir, QueuePolicy: QueueBlock, BlockLimit: time.Minute, Throttle: ThrottleOff})
		must(t, err)
		symbol := symbolOf(t, store, "A")
		var before uint64
		if infos, err := store.Symbols(); err != nil {
			t.Fatal(err)
		} else if len(infos) > 0 {
			before = infos[0].Count
		}
		var accepted uint64
		var group sync.WaitGroup
		for g := 0; g < 50; g++ {
			group.Add(1)
			go func(g int) {
				defer group.Done()
				for i := 0; ; i++ {
					var err error
					if g%5 == 0 {
						_, err = store.Recent(symbol, 100)
					} else if _, err = store.Put(checked(symbol, i)); err == nil {
						atomic.AddUint64(&accepted, 1)
					}
					if errors.Is(err, ErrClosed) {
						return
					}
					if err != nil {
						t.Error(err)
						return
					}
				}
			}(g)
		}
		time.Sleep(20 * time.Millisecond)
		must(t, store.Close())
		group.Wait()

		store, err = Open(Config{Path: dir})
		must(t, err)
		infos, err := store.Symbols()
		must(t, err)
		if len(infos) != 1 || infos[0].Count != before+accepted {
			t.Fatalf("%d quotes were there, %d accepted; now %+v", before, accepted, infos)
		}
		must(t, store.Close())
	}
}

// TestAllocations: put leaves nothing to the garbage collector.
func TestAllocations(t *testing.T) {
	store := openStore(t, func(c *Config) { c.QueueRecords = 100000 })
	quote := checked(symbolOf(t, store, "A"), 0)
	batch := quotesFrom(quote.Symbol, epoch, 16)
	ts := nsTime(epoch)
	calls := map[string]func() error{
		"Put":        func() error { _, err := store.Put(quote); return err },
		"PutNamed":   func() error { _, err := store.PutNamed("A", 1, 2, "LP", ts); return err },
		"PutBatch":   func() error { _, err := store.PutBatch(batch); return err },
		"DurableSeq": func() error { _, err := store.DurableSeq(); return err },
	}
	for name, call := range calls {
		if n := testing.AllocsPerRun(100, func() { must(t, call()) }); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}
