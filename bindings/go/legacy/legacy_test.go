package tickstore_test

import (
	"bytes"
	"encoding/json"
	"log"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/libtickstore/libtickstore/bindings/go/internal/gomod"
	"github.com/libtickstore/libtickstore/bindings/go/legacy"
)

var noon = time.Date(2026, 1, 20, 12, 0, 0, 0, time.UTC)

// TestEngine compiles and runs code that was written against a hand-written store, with only the import path changed.
func TestEngine(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "engine", "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	changed := bytes.Replace(text, []byte(`"example.com/engine/tickstore"`), []byte(`"`+gomod.Path+`/legacy"`), 1)
	if bytes.Equal(changed, text) {
		t.Fatal("the import path was not found")
	}
	got, err := gomod.Run(t.TempDir(), "..", string(changed), filepath.Join(t.TempDir(), "data", "ticks", "db"))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"broker_id":"BROKER-001","symbol":"EURUSD","bid":26.25,"ask":26.5,"spread":0.25,"timestamp":"2026-01-20T09:01:39Z","lp":"OANDA"}
[EURUSD GBPUSD] 100
2 true
10 4 OANDA
sqlite 200 200 0
200 0
`
	if got != want {
		t.Errorf("it printed\n%s\nwant\n%s", got, want)
	}
}

func quiet(t *testing.T) *bytes.Buffer {
	var text bytes.Buffer
	log.SetOutput(&text)
	t.Cleanup(func() { log.SetOutput(os.Stderr) })
	return &text
}

func TestBackends(t *testing.T) {
	quiet(t)
	for _, test := range []struct {
		config tickstore.TickStoreConfig
		files  string
	}{
		{tickstore.TickStoreConfig{}, "json"},
		{tickstore.TickStoreConfig{Backend: tickstore.BackendJSON}, "json"},
		{tickstore.TickStoreConfig{Backend: tickstore.BackendSQLite}, "db"},
		{tickstore.TickStoreConfig{Backend: tickstore.BackendSQLite, EnableJSONLegacy: true}, "db json"},
		{tickstore.TickStoreConfig{Backend: tickstore.BackendDual}, "db json"},
		{tickstore.ProductionConfig("B"), "db"},
		{tickstore.MigrationConfig("B"), "db json"},
		{tickstore.DualStorageConfig("B"), "db json"},
	} {
		test.config.SQLiteBasePath = t.TempDir()
		ts := tickstore.NewOptimizedTickStoreWithConfig(test.config)
		if ts.Err() != nil {
			t.Fatal(ts.Err())
		}
		ts.StoreTick("EURUSD", 1, 2, 1, "", noon)
		ts.Stop()
		ts.Stop()
		var found []string
		for _, folder := range []string{"db", "json"} {
			if _, err := os.Stat(filepath.Join(test.config.SQLiteBasePath, folder)); err == nil {
				found = append(found, folder)
			}
		}
		if strings.Join(found, " ") != test.files {
			t.Errorf("%+v wrote %v", test.config, found)
		}
	}
}

func TestDefaultDirectory(t *testing.T) {
	quiet(t)
	before, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chdir(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	defer os.Chdir(before)
	ts := tickstore.NewOptimizedTickStore("B-1", 500)
	ts.StoreTick("EURUSD", 1, 2, 1, "LP", noon)
	ts.Stop()
	line, err := os.ReadFile(filepath.Join("data", "ticks", "db", "json", "EURUSD", "2026-01-20.jsonl"))
	if err != nil || !strings.Contains(string(line), `"broker_id":"B-1"`) {
		t.Errorf("%v %s", err, line)
	}
}

// TestBesideOldFiles: a directory of a hand-written store is neither refused nor touched.
func TestBesideOldFiles(t *testing.T) {
	quiet(t)
	base := t.TempDir()
	old := filepath.Join(base, "2026", "01", "ticks_2026-01-20.db")
	if err := os.MkdirAll(filepath.Dir(old), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(old, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	for run := 1; run <= 2; run++ {
		config := tickstore.ProductionConfig("B")
		config.SQLiteBasePath = base
		ts := tickstore.NewOptimizedTickStoreWithConfig(config)
		ts.StoreTick("EURUSD", float64(run), 3, 1, "", noon)
		if n := ts.GetTickCount("EURUSD"); n != run {
			t.Errorf("%d ticks in run %d", n, run)
		}
		ts.Stop()
	}
	if text, err := os.ReadFile(old); err != nil || string(text) != "old" {
		t.Error("the old file was touched")
	}
	if _, err := os.Stat(filepath.Join(base, "tickstore", "db", "2026", "01", "ticks_2026-01-20.db")); err != nil {
		t.Error(err)
	}
}

func TestNothingIsLostUncounted(t *testing.T) {
	quiet(t)
	config := tickstore.ProductionConfig("B")
	config.SQLiteBasePath = t.TempDir()
	ts := tickstore.NewOptimizedTickStoreWithConfig(config)
	ts.StoreTick("EURUSD", 1, 2, 1, "LP", noon)
	ts.StoreTick("EURUSD", 1, 2, 1, "LP", noon.Add(time.Second))      // a repeat
	ts.StoreTick("EURUSD", math.Inf(1), 2, 1, "LP", noon)             // refused
	ts.StoreTick("", 1, 2, 1, "LP", noon)                             // no name
	ts.StoreTick("GBPUSD", math.NaN(), 2, 1, "", noon)                // one side
	ts.StoreTick("EURUSD", 3, 4, 1, "LP", time.Time{})                // year 1
	ts.StoreTick("EURUSD", 3, 4, 1, strings.Repeat("long", 30), noon) // no name
	ts.StoreTick("../../etc/passwd", 1, 2, 1, "LP", noon)             // no name
	stats := ts.GetStorageStats()
	for key, want := range map[string]int64{"ticks_received": 8, "ticks_stored": 2, "ticks_throttled": 1, "ticks_refused": 5, "ticks_lost": 0} {
		if stats[key] != want {
			t.Errorf("%s is %v, want %d", key, stats[key], want)
		}
	}
	if _, err := json.Marshal(ts.GetHistory("GBPUSD", 10)); err != nil {
		t.Error(err)
	}
	if ts.GetHistory("GBPUSD", 0) != nil || ts.GetHistory("GBPUSD", -1) != nil || ts.GetHistory("USDJPY", 5) != nil ||
		ts.GetTickCount("USDJPY") != 0 {
		t.Error("something out of nothing")
	}
	if _, err := ts.GetTicksInRange("EURUSD", noon, noon.Add(-1)); err == nil {
		t.Error("a range backwards")
	}
	ts.Stop()

	ts = tickstore.NewOptimizedTickStoreWithConfig(config)
	defer ts.Stop()
	if ticks := ts.GetHistory("EURUSD", 10); len(ticks) != 1 || ticks[0].LP != "LP" || !ticks[0].Timestamp.Equal(noon) {
		t.Errorf("after a restart: %+v", ticks)
	}
}

func TestCannotOpen(t *testing.T) {
	text := quiet(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, config := range []tickstore.TickStoreConfig{
		{SQLiteBasePath: file},
		{SQLiteBasePath: t.TempDir(), Backend: "punched cards"},
		{SQLiteBasePath: t.TempDir(), MaxTicksPerSymbol: -3},
	} {
		ts := tickstore.NewOptimizedTickStoreWithConfig(config)
		if ts.Err() == nil || ts.Flush() == nil || !strings.Contains(text.String(), ts.Err().Error()) {
			t.Errorf("%+v: %v, log %s", config, ts.Err(), text)
		}
		ts.StoreTick("EURUSD", 1, 2, 1, "", noon)
		if stats := ts.GetStorageStats(); stats["ticks_lost"] != int64(1) || stats["error"] == nil {
			t.Errorf("%v", stats)
		}
		if _, err := ts.GetRecentTicks("EURUSD", 1); err == nil || ts.GetHistory("EURUSD", 1) != nil || len(ts.GetSymbols()) != 0 {
			t.Error("reads from nowhere")
		}
		ts.Stop()
	}
}
