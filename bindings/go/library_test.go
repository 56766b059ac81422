package tickstore

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestFits(t *testing.T) {
	for _, c := range []struct {
		loaded, built uint32
		want          bool
	}{
		{1000, 1000, true}, {1005, 1000, true}, {1000, 1005, true}, {2000, 1000, false}, {1000, 2000, false},
		{1001000, 1000, false}, {1002000, 1002003, true}, {1003000, 1002000, true}, {1001000, 1002000, false},
		{2002000, 1002000, false},
	} {
		if got := fits(c.loaded, c.built); got != c.want {
			t.Errorf("%d for a program built for %d: %v", c.loaded, c.built, got)
		}
	}
}

// TestWrongLibrary runs this test again with another version of the library in front of the right one, then with none.
func TestWrongLibrary(t *testing.T) {
	if os.Getenv("TICKSTORE_TEST_LIBRARY") != "" {
		_, err := Open(Config{Path: t.TempDir()})
		if !errors.Is(err, ErrLibrary) || !strings.Contains(err.Error(), "7.8.9 is loaded, this program was built for 0.") {
			t.Errorf("%v", err)
		}
		return
	}
	dir := t.TempDir()
	source, library := filepath.Join(dir, "other.c"), filepath.Join(dir, "libother.so")
	program := `unsigned tks_version(void) { return 7008009; }
const char *tks_version_string(void) { return "7.8.9"; }`
	must(t, os.WriteFile(source, []byte(program), 0o644))
	compiler := os.Getenv("CC")
	if compiler == "" {
		compiler = "cc"
	}
	if out, err := exec.Command(compiler, "-shared", "-fPIC", source, "-o", library).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	again := exec.Command(os.Args[0], "-test.run", "^TestWrongLibrary$", "-test.v")
	again.Env = append(os.Environ(), "TICKSTORE_TEST_LIBRARY=other", "LD_PRELOAD="+library)
	out, err := again.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestWrongLibrary") {
		t.Errorf("%v: %s", err, out)
	}
	again = exec.Command(os.Args[0], "-test.run", "^TestWrongLibrary$")
	again.Env = append(os.Environ(), "LD_LIBRARY_PATH="+dir)
	if out, err := again.CombinedOutput(); err == nil || !strings.Contains(string(out), "libtickstore.so") {
		t.Skipf("there is a library in the system's own directories: %v: %s", err, out)
	}
}
