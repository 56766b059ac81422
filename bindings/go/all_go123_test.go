//go:build go1.23

package tickstore

import (
	"context"
	"errors"
	"testing"
)

func TestAll(t *testing.T) {
	store := openStore(t, nil)
	symbol := symbolOf(t, store, "A")
	quotes := quotesFrom(symbol, epoch, 3000)
	_, err := store.PutBatch(quotes)
	must(t, err)
	var got []Quote
	for quote, err := range store.All(background, Query{Symbol: symbol}) {
		must(t, err)
		got = append(got, quote)
	}
	expectSame(t, got, quotes)
	for range store.All(background, Query{Symbol: symbol}) {
		break
	}
	n := 0
	for _, err := range store.All(background, Query{Symbol: 9}) {
		if n++; !errors.Is(err, ErrSymbol) {
			t.Error(err)
		}
	}
	ctx, cancel := context.WithCancel(background)
	defer cancel()
	for _, err := range store.All(ctx, Query{Symbol: symbol}) {
		if cancel(); err != nil {
			if n++; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
	}
	if n != 2 {
		t.Errorf("%d errors", n)
	}
}
