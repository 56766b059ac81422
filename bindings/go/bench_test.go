package tickstore

import (
	"fmt"
	"math/rand"
	"sort"
	"testing"
	"time"
	"unsafe"

	"github.com/libtickstore/libtickstore/bindings/go/internal/ctest"
)

// BenchmarkPut measures the ways to put a quote beside the same in a C loop, all in one run because machines are noisy:
// in turn, over 128 symbols chosen at random, in bursts that the backlog holds, so that the disk is waited for between
// bursts and not in them. Each figure is the median of the bursts in nanoseconds a quote.
func BenchmarkPut(b *testing.B) {
	const symbols, burst, batch = 128, 1 << 15, 256
	store := openStore(b, func(c *Config) {
		c.QueuePolicy = QueueBlock
		c.QueueRecords = 1 << 18
		c.BatchRecords = 1 << 16
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
		{"C-put-ns", func() time.Duration {
			took, failed := ctest.PutEach(store.c.Pointer(), unsafe.Pointer(&quotes[0]), burst)
			if failed != 0 {
				b.Fatalf("%d puts failed", failed)
			}
			return took
		}},
		{"put-ns", func() time.Duration {
			started := time.Now()
			for i := range quotes {
				if _, err := store.Put(quotes[i]); err != nil {
					b.Fatal(err)
				}
			}
			return time.Since(started)
		}},
		{"put-named-ns", func() time.Duration {
			started := time.Now()
			for i := range quotes {
				q := &quotes[i]
				if _, err := store.PutNamed(names[which[i]], q.Bid, q.Ask, "LP", times[i]); err != nil {
					b.Fatal(err)
				}
			}
			return time.Since(started)
		}},
		{"C-batch-ns", func() time.Duration {
			took, failed := ctest.PutBatches(store.c.Pointer(), unsafe.Pointer(&quotes[0]), burst, batch)
			if failed != 0 {
				b.Fatalf("%d batches failed", failed)
			}
			return took
		}},
		{"batch-ns", func() time.Duration {
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
	figures := make([][]float64, len(kinds))
	b.ResetTimer()
	for n := 0; n < b.N; n++ {
		for k := range kinds {
			b.StopTimer()
			renew()
			b.StartTimer()
			took := kinds[k].run()
			figures[k] = append(figures[k], float64(took.Nanoseconds())/burst)
		}
	}
	b.StopTimer()
	for k := range kinds {
		sort.Float64s(figures[k])
		b.ReportMetric(figures[k][len(figures[k])/2], kinds[k].name)
	}
	b.ReportMetric(0, "ns/op")
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
	for _, way := range []string{"next", "read"} {
		b.Run(way, func(b *testing.B) {
			started := time.Now()
			for i := 0; i < b.N; i++ {
				cursor, err := store.Range(background, Query{Symbol: symbol})
				must(b, err)
				n := 0
				if way == "next" {
					for cursor.Next() {
						n++
					}
				} else {
					for {
						got, err := cursor.Read(buffer)
						if err != nil {
							break
						}
						n += got
					}
				}
				cursor.Close()
				if n != rows {
					b.Fatalf("%d quotes of %d", n, rows)
				}
			}
			b.ReportMetric(float64(rows)*float64(b.N)/time.Since(started).Seconds(), "rows/s")
		})
	}
}
