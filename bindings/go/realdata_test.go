package tickstore

import (
	"archive/zip"
	"bufio"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// readLean reads one day of quotes from a Lean zip: milliseconds since midnight, bid, ask.
func readLean(t *testing.T, path string, midnight time.Time, symbol Symbol, source Source) []Quote {
	t.Helper()
	archive, err := zip.OpenReader(path)
	must(t, err)
	defer archive.Close()
	file, err := archive.File[0].Open()
	must(t, err)
	defer file.Close()
	var quotes []Quote
	for lines := bufio.NewScanner(file); lines.Scan(); {
		fields := strings.Split(strings.TrimSpace(lines.Text()), ",")
		var numbers [3]float64
		for i := range numbers {
			numbers[i], err = strconv.ParseFloat(fields[i], 64)
			must(t, err)
		}
		quotes = append(quotes, Quote{TsNS: midnight.UnixNano() + int64(numbers[0]*1e6), Bid: numbers[1], Ask: numbers[2],
			Symbol: symbol, Source: source})
	}
	return quotes
}

// TestRealData: a day of EURUSD goes in through PutBatch and comes back value for value, in order, before and after it
// is on disk.
func TestRealData(t *testing.T) {
	data := os.Getenv("TICKSTORE_TEST_DATA")
	path := filepath.Join(data, "fx-oanda", "eurusd", "20140508_quote.zip")
	if _, err := os.Stat(path); data == "" || err != nil {
		t.Skip("TICKSTORE_TEST_DATA does not name a directory with ", filepath.Join("fx-oanda", "eurusd"))
	}
	config := Config{Path: t.TempDir(), QueuePolicy: QueueBlock, BlockLimit: time.Minute, Throttle: ThrottleOff}
	store, err := Open(config)
	must(t, err)
	source, err := store.Source("OANDA")
	must(t, err)
	quotes := readLean(t, path, time.Date(2014, 5, 8, 0, 0, 0, 0, time.UTC), symbolOf(t, store, "EURUSD"), source)
	if len(quotes) != 87833 {
		t.Fatalf("%d rows in %s", len(quotes), path)
	}
	for at := 0; at < len(quotes); at += 256 {
		end := at + 256
		if end > len(quotes) {
			end = len(quotes)
		}
		_, err := store.PutBatch(quotes[at:end])
		must(t, err)
	}
	expectSame(t, readAll(t, store, Query{Symbol: quotes[0].Symbol}), quotes)
	must(t, store.Close())

	config.ReadOnly = true
	store, err = Open(config)
	must(t, err)
	defer store.Close()
	symbol := symbolOf(t, store, "EURUSD")
	source, err = store.Source("OANDA")
	must(t, err)
	for i := range quotes {
		quotes[i].Symbol, quotes[i].Source = symbol, source
	}
	expectSame(t, readAll(t, store, Query{Symbol: symbol}), quotes)
	recent, err := store.Recent(symbol, 20000)
	must(t, err)
	expectSame(t, recent, quotes[len(quotes)-20000:])
	noon := time.Date(2014, 5, 8, 12, 0, 0, 0, time.UTC)
	var hour []Quote
	for _, quote := range quotes {
		if !quote.Time().Before(noon) && quote.Time().Before(noon.Add(time.Hour)) {
			hour = append(hour, quote)
		}
	}
	expectSame(t, readAll(t, store, Query{Symbol: symbol, From: noon, To: noon.Add(time.Hour)}), hour)
}
