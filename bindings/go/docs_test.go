package tickstore

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/libtickstore/libtickstore/bindings/go/internal/gomod"
)

// TestDocumentation runs the program of docs/go.md as a user would, and compares it with what the C program prints.
func TestDocumentation(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "go.md"))
	if os.IsNotExist(err) {
		t.Skip("the module stands alone, without docs/go.md")
	}
	must(t, err)
	_, program, found := strings.Cut(string(text), "```go\n")
	program, _, closed := strings.Cut(program, "```\n")
	if !found || !closed {
		t.Fatal("docs/go.md has no program")
	}
	dir := t.TempDir()
	got, err := gomod.Run(dir, ".", program)
	must(t, err)
	if want := "1768900000000000000 1.08484 1.08499\n1768900000001500000 1.08491 1.08505\n"; got != want {
		t.Errorf("it printed\n%s\nwant\n%s", got, want)
	}
	store := openStore(t, func(c *Config) { c.Path = filepath.Join(dir, "quotes") })
	if n := len(readAll(t, store, Query{Symbol: symbolOf(t, store, "EURUSD")})); n != 2 {
		t.Errorf("%d quotes are stored", n)
	}
}
