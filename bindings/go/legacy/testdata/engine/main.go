// An engine as it is written against a hand-written store of its own. The test changes the import path, nothing else.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"example.com/engine/tickstore"
)

type history interface {
	GetHistory(symbol string, limit int) []tickstore.Tick
	GetSymbols() []string
	GetTickCount(symbol string) int
}

type feed struct {
	store *tickstore.OptimizedTickStore
}

func (f *feed) onQuote(symbol string, bid, ask float64, lp string, ts time.Time) {
	f.store.StoreTick(symbol, bid, ask, ask-bid, lp, ts)
}

func run() error {
	var _ = []func(string) tickstore.TickStoreConfig{tickstore.ProductionConfig, tickstore.MigrationConfig, tickstore.DualStorageConfig}
	var _ = []tickstore.StorageBackend{tickstore.BackendJSON, tickstore.BackendSQLite, tickstore.BackendDual}
	var _ func(string, int) *tickstore.OptimizedTickStore = tickstore.NewOptimizedTickStore

	config := tickstore.TickStoreConfig{
		BrokerID:          "BROKER-001",
		MaxTicksPerSymbol: 1000,
		Backend:           tickstore.BackendSQLite,
		SQLiteBasePath:    os.Args[1],
		EnableJSONLegacy:  false,
	}
	store := tickstore.NewOptimizedTickStoreWithConfig(config)
	defer store.Stop()
	var reader history = store

	engine := feed{store: store}
	start := time.Date(2026, 1, 20, 9, 0, 0, 0, time.UTC)
	for i := 0; i < 100; i++ {
		for _, symbol := range []string{"EURUSD", "GBPUSD"} {
			engine.onQuote(symbol, 1.5+float64(i)/4, 1.75+float64(i)/4, "OANDA", start.Add(time.Duration(i)*time.Second))
		}
	}
	if err := store.Flush(); err != nil {
		return err
	}
	last, err := json.Marshal(reader.GetHistory("EURUSD", 1)[0])
	if err != nil {
		return err
	}
	fmt.Println(string(last))
	fmt.Println(reader.GetSymbols(), reader.GetTickCount("GBPUSD"))
	recent, err := store.GetRecentTicks("EURUSD", 2)
	if err != nil {
		return err
	}
	fmt.Println(len(recent), recent[0].Timestamp.After(recent[1].Timestamp))
	ticks, err := store.GetTicksInRange("EURUSD", start.Add(10*time.Second), start.Add(20*time.Second))
	if err != nil {
		return err
	}
	fmt.Println(len(ticks), ticks[0].Bid, ticks[0].LP)
	stats := store.GetStorageStats()
	fmt.Println(stats["backend"], stats["ticks_received"], stats["ticks_stored"], stats["ticks_throttled"])
	if sqlite, ok := stats["sqlite"].(map[string]interface{}); ok {
		fmt.Printf("%d %d\n", sqlite["ticks_written"], sqlite["write_errors"])
	}
	return nil
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
