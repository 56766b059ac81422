package tickstore

import (
	"encoding/json"
	"fmt"
	"math/rand"
	"os"
	"sort"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/libtickstore/libtickstore/bindings/go/internal/ctest"
)

// figures are what one benchmark measured, by name: a repetition each, those of one index in turn.
type figures map[string][]float64

// report prints the medians, and adds all to the file that TICKSTORE_BENCH_SAMPLES names, a line of JSON, for
// bench/bindings.
func (f figures) report(b *testing.B, unit, circumstances string) {
	for name, values := range f {
		sorted := append([]float64(nil), values...)
		sort.Float64s(sorted)
		b.ReportMetric(sorted[len(sorted)/2], strings.ReplaceAll(name, " ", "-")+"-"+unit)
	}
	b.ReportMetric(0, "ns/op")
	path := os.Getenv("TICKSTORE_BENCH_SAMPLES")
	if path == "" {
		return
	}
	named := figures{}
	for name, values := range f {
		named[name+circumstances] = values
	}
	line, err := json.Marshal(named)
	must(b, err)
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	must(b, err)
	defer file.Close()
	_, err = file.Write(append(line, '\n'))
	must(b, err)
}

// BenchmarkPut measures the ways to put a quote beside the same in a C loop, all in one run because machines are noisy:
// in turn, over 128 symbols chosen at random whose rings are full, in bursts after which the disk is waited for. Each
// figure is the median of the bursts in nanoseconds a quote. "asleep": the writer is woken after the burst, so nothing
// but put is seen; "at work": it is woken by every 500 quotes, as it is by default.
func BenchmarkPut(b *testing.B) {
	b.Run("asleep", func(b *testing.B) { benchmarkPut(b, 1<<16, "") })
	b.Run("at-work", func(b *testing.B) { benchmarkPut(b, 500, ", writer at work") })
}

func benchmarkPut(b *testing.B, batchRecords int, circumstances string) {
	const symbols, burst, batch = 128, 1 << 15, 256
	store := openStore(b, func(c *Config) {
		c.QueuePolicy = QueueBlock
		c.BlockLimit = time.Minute
		c.QueueRecords = 1 << 18 // and a journal of 4 GiB: no burst fills it
		c.JournalBytes = 1 << 32
		c.BatchRecords = batchRecords
	})
	random := rand.New(rand.NewSource(1))
	var ids [symbols]Symbol
	var names [symbols]string
	for i := range ids {
		names[i] = fmt.Sprintf("SYM%03d", i)
		ids[i] = symbolOf(b, store, names[i])
	}
	source, err := store.Source("LP")
	must(b, err)
	quotes := make([]Quote, burst)
	times := make([]time.Time, burst)
	which := make([]int, burst)
	ts := epoch
	renew := func() {
		for i := range quotes {
			ts += 100000
			which[i] = random.Intn(symbols)
			bid := 1 + random.Float64()
			quotes[i] = Quote{TsNS: ts, Bid: bid, Ask: bid + 0.0001, Symbol: ids[which[i]], Source: source}
			times[i] = nsTime(ts)
		}
		must(b, store.Flush(background))
	}
	kinds := []struct {
		name string
		run  func() time.Duration
	}{
		{"C put", func() time.Duration {
			took, failed := ctest.PutEach(store.c.Pointer(), unsafe.Pointer(&quotes[0]), burst)
			if failed != 0 {
				b.Fatalf("%d puts failed", failed)
			}
			return took
		}},
		{"Go Put by handle", func() time.Duration {
			started := time.Now()
			for i := range quotes {
				if _, err := store.Put(quotes[i]); err != nil {
					b.Fatal(err)
				}
			}
			return time.Since(started)
		}},
		{"Go Put by string", func() time.Duration {
			started := time.Now()
			for i := range quotes {
				q := &quotes[i]
				if _, err := store.PutNamed(names[which[i]], q.Bid, q.Ask, "LP", times[i]); err != nil {
					b.Fatal(err)
				}
			}
			return time.Since(started)
		}},
		{"C put_quotes of 256", func() time.Duration {
			took, failed := ctest.PutBatches(store.c.Pointer(), unsafe.Pointer(&quotes[0]), burst, batch)
			if failed != 0 {
				b.Fatalf("%d batches failed", failed)
			}
			return took
		}},
		{"Go PutBatch of 256", func() time.Duration {
			started := time.Now()
			for at := 0; at < burst; at += batch {
				if _, err := store.PutBatch(quotes[at : at+batch]); err != nil {
					b.Fatal(err)
				}
			}
			return time.Since(started)
		}},
	}
	for i := 0; i < symbols*12000/burst; i++ { // fill the rings: new memory costs more
		renew()
		kinds[0].run()
	}
	blocked := blockedPuts(b, store)
	measured := figures{}
	b.ResetTimer()
	for n := 0; n < b.N; n++ {
		for k := range kinds {
			kind := kinds[(k+n)%len(kinds)] // nobody is always the one after whom somebody else was
			b.StopTimer()
			renew()
			b.StartTimer()
			took := kind.run()
			measured[kind.name] = append(measured[kind.name], float64(took.Nanoseconds())/burst)
		}
	}
	b.StopTimer()
	if waits := blockedPuts(b, store) - blocked; waits != 0 {
		b.Fatalf("%d puts waited for room: this measures the disk", waits)
	}
	measured.report(b, "ns", circumstances)
}

func blockedPuts(b *testing.B, store *Store) uint64 {
	stats, err := store.Stats()
	must(b, err)
	return stats.Blocked + stats.Dropped
}

// BenchmarkRange reads a day back: by quote, and in blocks.
func BenchmarkRange(b *testing.B) {
	store := openStore(b, func(c *Config) { c.QueuePolicy = QueueBlock })
	symbol := symbolOf(b, store, "A")
	const rows = 500000
	for at := 0; at < rows; at += 1000 {
		if _, err := store.PutBatch(quotesFrom(symbol, epoch+int64(at)*1e5, 1000)); err != nil {
			b.Fatal(err)
		}
	}
	must(b, store.Flush(background))
	buffer := make([]Quote, 65536)
	ways := map[string]func(*Cursor) int{
		"Go Cursor.Next": func(cursor *Cursor) (n int) {
			for cursor.Next() {
				n++
			}
			return n
		},
		"Go Cursor.Read": func(cursor *Cursor) (n int) {
			for {
				got, err := cursor.Read(buffer)
				if err != nil {
					return n
				}
				n += got
			}
		},
	}
	measured := figures{}
	b.ResetTimer()
	for i := 0; i < b.N; i++ {
		for name, way := range ways {
			started := time.Now()
			cursor, err := store.Range(background, Query{Symbol: symbol})
			must(b, err)
			n := way(cursor)
			must(b, cursor.Close())
			if n != rows {
				b.Fatalf("%d quotes of %d", n, rows)
			}
			measured[name] = append(measured[name], rows/time.Since(started).Seconds())
		}
	}
	measured.report(b, "rows/s", "")
}
