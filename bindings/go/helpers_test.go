package tickstore

import (
	"context"
	"math"
	"testing"
	"time"
)

// epoch is 2026-01-20T09:06:40Z.
const epoch = int64(1768900000000000000)

var background = context.Background()

func openStore(t testing.TB, change func(*Config)) *Store {
	t.Helper()
	config := Config{Path: t.TempDir()}
	if change != nil {
		change(&config)
	}
	store, err := Open(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func symbolOf(t testing.TB, store *Store, name string) Symbol {
	t.Helper()
	symbol, err := store.Symbol(name)
	must(t, err)
	return symbol
}

// quotesFrom makes count quotes, a millisecond apart, that no throttle skips.
func quotesFrom(symbol Symbol, ts int64, count int) []Quote {
	quotes := make([]Quote, count)
	for i := range quotes {
		bid := 1 + float64(i%1000)/1000
		quotes[i] = Quote{TsNS: ts + int64(i)*1e6, Bid: bid, Ask: bid + 0.0001, Symbol: symbol}
	}
	return quotes
}

// same compares all that the caller gives, bit for bit.
func same(a, b Quote) bool {
	return a.TsNS == b.TsNS && a.RecvNS == b.RecvNS && math.Float64bits(a.Bid) == math.Float64bits(b.Bid) &&
		math.Float64bits(a.Ask) == math.Float64bits(b.Ask) && a.BidSize == b.BidSize && a.AskSize == b.AskSize &&
		a.Symbol == b.Symbol && a.Source == b.Source && a.Flags&FlagUserMask == b.Flags&FlagUserMask
}

func expectSame(t testing.TB, got, want []Quote) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d quotes, want %d", len(got), len(want))
	}
	for i := range want {
		if !same(got[i], want[i]) {
			t.Fatalf("quote %d of %d is %+v, want %+v", i, len(want), got[i], want[i])
		}
	}
}

func readAll(t testing.TB, store *Store, query Query) []Quote {
	t.Helper()
	cursor, err := store.Range(background, query)
	must(t, err)
	defer cursor.Close()
	var quotes []Quote
	for cursor.Next() {
		quotes = append(quotes, cursor.Quote())
	}
	must(t, cursor.Err())
	return quotes
}

// within fails the test if what takes longer than anyone would wait.
func within(t testing.TB, limit time.Duration, what string, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); do() }()
	select {
	case <-done:
	case <-time.After(limit):
		t.Fatalf("%s hangs", what)
	}
}
