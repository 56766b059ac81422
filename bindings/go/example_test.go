package tickstore_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	tickstore "github.com/libtickstore/libtickstore/bindings/go"
)

func scratch() string {
	dir, err := os.MkdirTemp("", "tickstore")
	if err != nil {
		log.Fatal(err)
	}
	return dir
}

var noon = time.Date(2026, 1, 20, 12, 0, 0, 0, time.UTC)

func Example() {
	dir := scratch()
	defer os.RemoveAll(dir)
	store, err := tickstore.Open(tickstore.Config{Path: dir})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	eurusd, err := store.Symbol("EURUSD") // once; the hot path uses the number
	if err != nil {
		log.Fatal(err)
	}
	for i := 0; i < 3; i++ {
		ts := noon.Add(time.Duration(i) * time.Second)
		_, err := store.Put(tickstore.Quote{TsNS: ts.UnixNano(), Bid: 1.08484 + float64(i)/1000, Ask: 1.086 + float64(i)/1000, Symbol: eurusd})
		if err != nil {
			log.Fatal(err)
		}
	}
	last, err := store.Recent(eurusd, 2)
	if err != nil {
		log.Fatal(err)
	}
	for _, quote := range last {
		fmt.Printf("%s %.5f %.5f\n", quote.Time().Format("15:04:05"), quote.Bid, quote.Ask)
	}
	// Output:
	// 12:00:01 1.08584 1.08700
	// 12:00:02 1.08684 1.08800
}

func ExampleStore_Range() {
	dir := scratch()
	defer os.RemoveAll(dir)
	store, err := tickstore.Open(tickstore.Config{Path: dir})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	for i := 0; i < 10; i++ {
		if _, err := store.PutNamed("EURUSD", 1.1+float64(i)/100, 1.2+float64(i)/100, "OANDA", noon.Add(time.Duration(i)*time.Minute)); err != nil {
			log.Fatal(err)
		}
	}
	eurusd, _ := store.Symbol("EURUSD")
	cursor, err := store.Range(context.Background(), tickstore.Query{Symbol: eurusd, From: noon.Add(5 * time.Minute), Limit: 2})
	if err != nil {
		log.Fatal(err)
	}
	defer cursor.Close()
	for cursor.Next() {
		fmt.Printf("%s %.2f\n", cursor.Quote().Time().Format("15:04"), cursor.Quote().Bid)
	}
	if err := cursor.Err(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// 12:05 1.15
	// 12:06 1.16
}

func ExampleStore_PutBatch() {
	dir := scratch()
	defer os.RemoveAll(dir)
	store, err := tickstore.Open(tickstore.Config{Path: dir})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	gold, _ := store.Symbol("XAUUSD")
	result, err := store.PutBatch([]tickstore.Quote{
		{TsNS: noon.UnixNano(), Bid: 2650.1, Ask: 2650.4, Symbol: gold},
		{TsNS: noon.UnixNano() + 1, Bid: 2650.2, Ask: 2650.5, Symbol: gold + 1}, // there is no such symbol
		{TsNS: noon.UnixNano() + 2, Bid: 2650.3, Ask: 2650.6, Symbol: gold},
	})
	fmt.Println(result.Accepted, "accepted,", result.Refused, "refused")
	if errors.Is(err, tickstore.ErrSymbol) {
		fmt.Println("quote", result.FirstBad, "is bad:", err)
	}
	// Output:
	// 2 accepted, 1 refused
	// quote 1 is bad: tickstore: symbol is 2, no such id
}

func ExampleStore_Flush() {
	dir := scratch()
	defer os.RemoveAll(dir)
	store, err := tickstore.Open(tickstore.Config{Path: dir})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	seq, err := store.PutNamed("EURUSD", 1.1, 1.2, "", noon)
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := store.Flush(ctx); err != nil {
		log.Fatal(err) // errors.Is(err, context.DeadlineExceeded), and the message names the sink that is behind
	}
	durable, _ := store.DurableSeq()
	fmt.Println(durable >= seq)
	// Output: true
}
