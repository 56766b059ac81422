#!/usr/bin/env bash
# The Go binding against the library just built: layout, code style, every test plainly, then under the race detector with
# cgo's pointer checks at their strictest, then together with mattn/go-sqlite3. 77 where Go cannot be had.
set -euo pipefail

skip() {
  echo "skipped: $*"
  exit 77
}

if grep -qsE '^TICKSTORE_(SANITIZE:STRING=.|COVERAGE:BOOL=ON)' "$TICKSTORE_BUILD_DIR/CMakeCache.txt"; then
  skip "Go does not load an instrumented library"
fi

# Where Go is often installed without being on PATH.
PATH=$PATH:/usr/local/go/bin:/usr/lib/go/bin
if ! command -v go >/dev/null 2>&1; then
  "$TICKSTORE_SOURCE_DIR/scripts/setup" go || skip "there is no Go here and it cannot be installed"
fi
export GOTOOLCHAIN=local GOWORK=off GOFLAGS=-buildvcs=false
version=$(go env GOVERSION)
minor=$(sed -nE 's/^go1\.([0-9]+).*/\1/p' <<<"$version")
[ "${minor:-0}" -ge 19 ] || skip "Go is $version, the binding needs 1.19 or later"
[ "$(go env CGO_ENABLED)" = 1 ] || export CGO_ENABLED=1

work=$TICKSTORE_BUILD_DIR/go
rm -rf "$work/prefix"
mkdir -p "$work/prefix"
# A cache of our own: Go does not look at what pkg-config says when it reuses what it built, and would link with the directory of
# another run.
export GOCACHE=$work/cache
[ -n "${HOME:-}" ] || export GOPATH=$work/path
cmake --install "$TICKSTORE_BUILD_DIR" --prefix "$work/prefix" >"$work/log" || { cat "$work/log"; exit 1; }
library=$(dirname "$(find "$work/prefix" -name libtickstore.so)")
export PKG_CONFIG_PATH=$library/pkgconfig LD_LIBRARY_PATH=$library${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
cd "$TICKSTORE_SOURCE_DIR/bindings/go"

passed=0 failed=0 skipped=0
# run WHAT COMMAND...: runs go test -v, shows what went wrong or was skipped, and counts.
run() {
  local what=$1 status=0 started=$SECONDS
  shift
  "$@" >"$work/log" 2>&1 || status=$?
  local here
  here=$(grep -cE '^ *--- PASS' "$work/log" || true)
  passed=$((passed + here))
  failed=$((failed + $(grep -cE '^ *--- FAIL' "$work/log" || true)))
  skipped=$((skipped + $(grep -cE '^ *--- SKIP' "$work/log" || true)))
  if [ "$status" -ne 0 ]; then
    grep -vE '^(=== (RUN|PAUSE|CONT)|--- PASS)' "$work/log" | tail -n 100
    echo "FAILED: $what"
    [ "$failed" -gt 0 ] || failed=1
  else
    grep -A 2 -E '^ *--- SKIP' "$work/log" || true
    [ "$here" -eq 0 ] || what+=": $here passed"
    echo "ok: $what after $((SECONDS - started)) s"
  fi
}

unformatted=$(gofmt -l .)
if [ -n "$unformatted" ]; then
  echo "FAILED: gofmt would change" $unformatted
  failed=1
fi
# The second tree of packages that may: C code for tests alone.
cgo=$(grep -rlx --include='*.go' 'import "C"' . | grep -vE '^\./internal/(ctks|ctest)/' || true)
if [ -n "$cgo" ]; then
  echo "FAILED: these import \"C\" outside of internal:" $cgo
  failed=1
fi
run "$version, go vet" go vet ./...
run "$version" env GODEBUG=cgocheck=1 go test -v -count=1 ./...

strict=(GOEXPERIMENT=cgocheck2)
[ "$minor" -ge 21 ] || strict=(GODEBUG=cgocheck=2)
race=(-race)
if ! echo 'package main; func main() {}' >"$work/main.go" || ! go build -race -o "$work/main" "$work/main.go" >/dev/null 2>&1; then
  echo "skipped: this Go has no race detector"
  race=()
fi
run "$version, ${strict[*]} ${race[*]-}" env "${strict[@]}" go test -v -count=1 ${race[@]+"${race[@]}"} . ./legacy

cd internal/sqlitetest
if go mod download >"$work/log" 2>&1; then
  run "with mattn/go-sqlite3" go test -v -count=1 -tags libsqlite3 ./...
else
  echo "skipped: mattn/go-sqlite3 cannot be had here: $(tail -n 1 "$work/log")"
  skipped=$((skipped + 1))
fi

printf '# tests %d\n# pass %d\n# fail %d\n# skipped %d\n' $((passed + failed + skipped)) $passed $failed $skipped
[ "$failed" -eq 0 ]
