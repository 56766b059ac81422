// Package gomod runs programs that stand in no file of this module as a user's module would: tests use it for what the
// documentation shows.
package gomod

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Path is this module's path.
const Path = "github.com/libtickstore/libtickstore/bindings/go"

// Run compiles main.go as a module of its own in dir, with this module at root, and runs it in dir. It returns what it
// printed.
func Run(dir, root, main string, arguments ...string) (string, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return "", err
	}
	mod := fmt.Sprintf("module example.com/user\n\ngo 1.19\n\nrequire %s v0.0.0\n\nreplace %s => %s\n", Path, Path, root)
	for name, text := range map[string]string{"main.go": main, "go.mod": mod} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return "", err
		}
	}
	for _, command := range [][]string{{"go", "vet", "."}, {"go", "build", "-o", "program", "."}} {
		build := exec.Command(command[0], command[1:]...)
		build.Dir = dir
		build.Env = append(os.Environ(), "GOWORK=off", "PWD="+dir)
		if out, err := build.CombinedOutput(); err != nil {
			return "", fmt.Errorf("%v: %w\n%s", command, err, out)
		}
	}
	program := exec.Command(filepath.Join(dir, "program"), arguments...)
	program.Dir = dir
	out, err := program.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("the program: %w\n%s", err, out)
	}
	return string(out), nil
}
