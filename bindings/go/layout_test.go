package tickstore

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/libtickstore/libtickstore/bindings/go/internal/ctks"
)

func pkgConfig(t *testing.T, arguments ...string) string {
	t.Helper()
	out, err := exec.Command("pkg-config", append(arguments, "tickstore")...).Output()
	if err != nil {
		t.Fatalf("pkg-config: %v", err)
	}
	return strings.TrimSpace(string(out))
}

func header(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(pkgConfig(t, "--variable=includedir"), "tickstore", "tickstore.h"))
	must(t, err)
	return string(text)
}

// mirrored are the Go structs that stand for C ones.
var mirrored = map[string]reflect.Type{
	"tks_quote":       reflect.TypeOf(Quote{}),
	"tks_put_result":  reflect.TypeOf(BatchResult{}),
	"tks_symbol_info": reflect.TypeOf(SymbolInfo{}),
	"tks_day_info":    reflect.TypeOf(DayInfo{}),
	"tks_sink_stats":  reflect.TypeOf(SinkStats{}),
	"tks_store_stats": reflect.TypeOf(Stats{}),
	"tks_config":      reflect.TypeOf(ctks.Config{}),
	"tks_range":       reflect.TypeOf(ctks.Range{}),
	"tks_gap":         reflect.TypeOf(Gap{}),
}

var (
	comments = regexp.MustCompile(`(?s)/\*.*?\*/`)
	field    = regexp.MustCompile(`(\w+)\s*(\[\w+\])?\s*;`)
)

// fieldsInHeader are the names of a struct's fields, in order.
func fieldsInHeader(t *testing.T, text, name string) []string {
	t.Helper()
	_, body, found := strings.Cut(text, "typedef struct "+name+" {")
	if !found {
		t.Fatalf("the header has no struct %s", name)
	}
	body, _, _ = strings.Cut(body, "} "+name+";")
	var names []string
	for _, m := range field.FindAllStringSubmatch(comments.ReplaceAllString(body, ""), -1) {
		names = append(names, m[1])
	}
	return names
}

// TestLayout compares every mirrored struct with the header: the same fields in the same order, by name, and their
// offsets and sizes as a C compiler sees them.
func TestLayout(t *testing.T) {
	text := header(t)
	var program bytes.Buffer
	fmt.Fprintln(&program, "#include <stdio.h>\n#include <stddef.h>\n#include <tickstore/tickstore.h>\nint main(void) {")
	for name := range mirrored {
		for _, f := range fieldsInHeader(t, text, name) {
			fmt.Fprintf(&program, "printf(\"%s %s %%zu %%zu\\n\", offsetof(%s, %s), sizeof(((%s *)0)->%s));\n",
				name, f, name, f, name, f)
		}
		fmt.Fprintf(&program, "printf(\"%s sizeof %%zu 0\\n\", sizeof(%s));\n", name, name)
	}
	fmt.Fprintln(&program, "return 0; }")

	source := filepath.Join(t.TempDir(), "layout.c")
	binary := strings.TrimSuffix(source, ".c")
	must(t, os.WriteFile(source, program.Bytes(), 0o644))
	compiler := os.Getenv("CC")
	if compiler == "" {
		compiler = "cc"
	}
	arguments := append([]string{source, "-o", binary}, strings.Fields(pkgConfig(t, "--cflags"))...)
	if out, err := exec.Command(compiler, arguments...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	out, err := exec.Command(binary).Output()
	must(t, err)

	seen := map[string]int{}
	for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		var name, f string
		var offset, size uintptr
		if _, err := fmt.Sscan(line, &name, &f, &offset, &size); err != nil {
			t.Fatal(err)
		}
		typ := mirrored[name]
		if f == "sizeof" {
			if typ.Size() != offset || typ.NumField() != seen[name] {
				t.Errorf("%s has %d bytes in %d fields, %v has %d in %d", name, offset, seen[name], typ, typ.Size(), typ.NumField())
			}
			continue
		}
		i := seen[name]
		seen[name]++
		if i >= typ.NumField() {
			t.Errorf("%v has no field for %s.%s", typ, name, f)
			continue
		}
		g := typ.Field(i)
		if renamed := g.Name == "Symbol" && f == "id"; (plain(g.Name) != plain(f) && !renamed) || g.Offset != offset || g.Type.Size() != size {
			t.Errorf("%s.%s is %d bytes at %d, %v.%s is %d bytes at %d", name, f, size, offset, typ, g.Name, g.Type.Size(), g.Offset)
		}
	}
	if len(seen) != len(mirrored) {
		t.Errorf("compared %d structs of %d", len(seen), len(mirrored))
	}
}

// plain takes the spelling out of a field's name.
func plain(name string) string {
	return strings.ToLower(strings.ReplaceAll(name, "_", ""))
}

// TestCodes compares every code with the header's.
func TestCodes(t *testing.T) {
	codes := map[string]Code{
		"OK": OK, "THROTTLED": Throttled, "CROSSED_DROPPED": CrossedDropped, "PARTIAL": Partial, "KEPT": Kept, "EINVAL": ErrInvalid,
		"ENULL": ErrNull, "ENOMEM": ErrNoMemory, "ECLOSED": ErrClosed, "EFORK": ErrFork, "EREADONLY": ErrReadOnly,
		"ELOCKED": ErrLocked, "EFORMAT": ErrFormat, "ENOTSTORE": ErrNotStore, "EIO": ErrIO, "EDISKFULL": ErrDiskFull,
		"ETIMEOUT": ErrTimeout, "EQUEUEFULL": ErrQueueFull, "ENAMEEMPTY": ErrNameEmpty, "ENAMELONG": ErrNameLong,
		"ENAMECONTROL": ErrNameControl, "ENAMEUTF8": ErrNameUTF8, "ENAMEPATH": ErrNamePath, "ESYMBOL": ErrSymbol,
		"ESOURCE": ErrSource, "ESIDES": ErrSides, "EPRICE": ErrPrice, "ESIZE": ErrSize, "ETIME": ErrTime,
		"ECROSSED": ErrCrossed, "ELIMIT": ErrLimit, "ETABLEFULL": ErrTableFull, "EDAYFILE": ErrDayFile,
		"EDEADLINE": ErrDeadline, "ESTRUCT": ErrStruct, "ECONFIG": ErrConfig, "EUNWRITTEN": ErrUnwritten,
		"ENOTFOUND": ErrNotFound, "EINTERNAL": ErrInternal,
	}
	found := regexp.MustCompile(`X\((\w+), (-?\d+), "(.*)"\)`).FindAllStringSubmatch(header(t), -1)
	if len(found) != len(codes) {
		t.Errorf("the header has %d codes, Go %d", len(found), len(codes))
	}
	for _, m := range found {
		code, ok := codes[m[1]]
		if !ok {
			t.Errorf("Go has nothing for TKS_%s", m[1])
		} else if fmt.Sprint(int(code)) != m[2] || code.Error() != "tickstore: "+m[3] {
			t.Errorf("TKS_%s is %s, %q; in Go %d, %q", m[1], m[2], m[3], code, code.Error())
		}
	}
}

// TestConstants compares the other numbers that Go repeats.
func TestConstants(t *testing.T) {
	constants := map[string]int64{
		"TKS_SQLITE": int64(SQLite), "TKS_JSON": int64(JSON), "TKS_DUAL": int64(Dual),
		"TKS_PRESET_PRODUCTION": int64(Production), "TKS_PRESET_MIGRATION": int64(Migration),
		"TKS_PRESET_DEVELOPMENT": int64(Development), "TKS_QUEUE_DROP": int64(QueueDrop), "TKS_QUEUE_BLOCK": int64(QueueBlock),
		"TKS_CROSSED_KEEP": int64(CrossedKeep), "TKS_CROSSED_DROP": int64(CrossedDrop), "TKS_CROSSED_REFUSE": int64(CrossedRefuse),
		"TKS_SYNC_NORMAL": int64(SyncNormal), "TKS_SYNC_FULL": int64(SyncFull),
		"TKS_LOG_DEBUG": int64(LogDebug - LogDebug), "TKS_LOG_INFO": int64(LogInfo - LogDebug),
		"TKS_LOG_WARN": int64(LogWarn - LogDebug), "TKS_LOG_ERROR": int64(LogError - LogDebug), "TKS_LOG_OFF": int64(LogOff - LogDebug),
		"TKS_SINK_OFF": int64(SinkOff), "TKS_SINK_OK": int64(SinkOK), "TKS_SINK_RETRYING": int64(SinkRetrying),
		"TKS_SINK_DEGRADED": int64(SinkDegraded), "TKS_CHECK_QUICK": int64(CheckQuick), "TKS_CHECK_FULL": int64(CheckFull),
		"TKS_GAP_FULL": int64(GapFull), "TKS_GAP_JOURNAL": int64(GapJournal), "TKS_GAP_BACKLOG": int64(GapBacklog),
		"TKS_GAP_CLOSE": int64(GapClose), "TKS_GAP_RECOVERY": int64(GapRecovery), "TKS_GAP_BACKEND": int64(GapBackend),
		"TKS_FLAG_CROSSED": int64(FlagCrossed), "TKS_FLAG_USER_MASK": int64(FlagUserMask),
	}
	text := header(t)
	for name, value := range constants {
		m := regexp.MustCompile(`\b` + name + `\s*=?\s*((?:0x)?[0-9a-f]+)`).FindStringSubmatch(text)
		if m == nil {
			t.Errorf("the header has no %s", name)
			continue
		}
		var inHeader int64
		if _, err := fmt.Sscanf(m[1], "%v", &inHeader); err != nil || inHeader != value {
			t.Errorf("%s is %s, in Go %d", name, m[1], value)
		}
	}
}
