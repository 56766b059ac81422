package sqlitetest

import (
	"context"
	"database/sql"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	tickstore "github.com/libtickstore/libtickstore/bindings/go"
	_ "github.com/mattn/go-sqlite3"
)

var noon = time.Date(2026, 1, 20, 12, 0, 0, 0, time.UTC)

// ownCopy says whether this program has SQLite linked into itself.
func ownCopy(t *testing.T) bool {
	t.Helper()
	program, err := elf.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	for _, list := range []func() ([]elf.Symbol, error){program.Symbols, program.DynamicSymbols} {
		symbols, err := list()
		if err != nil {
			continue // go test strips what it runs at once
		}
		for _, symbol := range symbols {
			if symbol.Name == "sqlite3_step" && symbol.Section != elf.SHN_UNDEF {
				return true
			}
		}
	}
	return false
}

func TestOneCopy(t *testing.T) {
	if copied := ownCopy(t); copied == tagged {
		t.Errorf("built with -tags libsqlite3: %v; SQLite linked into the program: %v", tagged, copied)
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil || !strings.Contains(string(maps), "libsqlite3.so") {
		t.Errorf("libtickstore does not use the system's SQLite: %v", err)
	}
}

// TestTogether: mattn/go-sqlite3 opens and closes the live day file over and over, while the store writes it and another
// process takes its write lock too. With two copies of SQLite each of those closes would drop the locks of the other copy.
func TestTogether(t *testing.T) {
	if !tagged {
		t.Skip("needs -tags libsqlite3")
	}
	dir := t.TempDir()
	store, err := tickstore.Open(tickstore.Config{Path: dir, Throttle: tickstore.ThrottleOff, QueuePolicy: tickstore.QueueBlock,
		BatchRecords: 50, FlushInterval: 5 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	day := filepath.Join(dir, "db", "2026", "01", "ticks_2026-01-20.db")
	put := func(i int) {
		if _, err := store.PutNamed("EURUSD", 1+float64(i), 2+float64(i), "LP", noon.Add(time.Duration(i)*time.Millisecond)); err != nil {
			t.Error(err)
		}
	}
	put(0)
	flush := func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := store.Flush(ctx); err != nil {
			t.Fatal(err)
		}
	}
	flush()

	var readers sync.WaitGroup
	stop := make(chan struct{})
	for r := 0; r < 4; r++ {
		readers.Add(1)
		go func() {
			defer readers.Done()
			for {
				select {
				case <-stop:
					return
				default:
				}
				db, err := sql.Open("sqlite3", "file:"+day+"?mode=ro&_busy_timeout=5000")
				if err != nil {
					t.Error(err)
					return
				}
				var count int
				if err := db.QueryRow("SELECT COUNT(*) FROM ticks WHERE symbol = 'EURUSD'").Scan(&count); err != nil || count < 1 {
					t.Errorf("%d rows, %v", count, err)
				}
				if err := db.Close(); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	readers.Add(1)
	go func() { // the other process
		defer readers.Done()
		for {
			select {
			case <-stop:
				return
			default:
			}
			out, err := exec.Command("sqlite3", "-cmd", ".timeout 5000", day, "BEGIN IMMEDIATE; SELECT COUNT(*) FROM ticks; ROLLBACK;").CombinedOutput()
			if err != nil {
				t.Errorf("%v %s", err, out)
				return
			}
		}
	}()
	const total = 20000
	for i := 1; i < total; i++ {
		put(i)
		if i%1000 == 0 {
			flush()
		}
	}
	flush()
	close(stop)
	readers.Wait()
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite3", "file:"+day+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var count int
	var integrity string
	if err := db.QueryRow("SELECT COUNT(*) FROM ticks").Scan(&count); err != nil || count != total {
		t.Errorf("%d rows of %d, %v", count, total, err)
	}
	if err := db.QueryRow("PRAGMA integrity_check").Scan(&integrity); err != nil || integrity != "ok" {
		t.Errorf("%s %v", integrity, err)
	}
}

// TestElsewhere: a database of the program's own is not in the store's way.
func TestElsewhere(t *testing.T) {
	db, err := sql.Open("sqlite3", filepath.Join(t.TempDir(), "orders.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("CREATE TABLE orders(id INTEGER PRIMARY KEY, text TEXT)"); err != nil {
		t.Fatal(err)
	}
	store, err := tickstore.Open(tickstore.Config{Path: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	for i := 0; i < 100; i++ {
		if _, err := db.Exec("INSERT INTO orders(text) VALUES (?)", fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
		if _, err := store.PutNamed("A", float64(i+1), float64(i+2), "", noon.Add(time.Duration(i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	var count int
	if err := db.QueryRow("SELECT COUNT(*) FROM orders").Scan(&count); err != nil || count != 100 {
		t.Errorf("%d orders, %v", count, err)
	}
	if infos, err := store.Symbols(); err != nil || len(infos) != 1 || infos[0].Count != 100 {
		t.Errorf("%+v %v", infos, err)
	}
}
