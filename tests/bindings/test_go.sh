#!/usr/bin/env bash
# The Go binding against the library just built: layout, code style, every test plainly, then under the race detector with
# cgo's pointer checks at their strictest, then together with mattn/go-sqlite3. 77 where Go cannot be had.
set -euo pipefail

. "$TICKSTORE_SOURCE_DIR/scripts/bindings"
prepare_go "$TICKSTORE_BUILD_DIR" || {
  echo "skipped: $unavailable"
  exit 77
}
version=$(go env GOVERSION)
work=$TICKSTORE_BUILD_DIR/go
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
[ "$go_minor" -ge 21 ] || strict=(GODEBUG=cgocheck=2)
race=(-race)
if ! echo 'package main; func main() {}' >"$work/main.go" || ! go build -race -o "$work/main" "$work/main.go" >/dev/null 2>&1; then
  echo "skipped: this Go has no race detector"
  race=()
fi
run "$version, ${strict[*]} ${race[*]-}" env "${strict[@]}" go test -v -count=1 ${race[@]+"${race[@]}"} . ./legacy

# The benchmark still runs; what it measures is nobody's pass or fail.
bench() {
  go test -c -o "$work/bench" . &&
    python3 ../../bench/bindings/compare.py --build "$TICKSTORE_BUILD_DIR" --go "$work/bench" --rounds 1 --runs 1 >"$work/table" &&
    grep -q '^Go PutBatch of 256, above the C batch' "$work/table"
}
run "the benchmark" bench

cd internal/sqlitetest
if go mod download >"$work/log" 2>&1; then
  run "with mattn/go-sqlite3" go test -v -count=1 -tags libsqlite3 ./...
else
  echo "skipped: mattn/go-sqlite3 cannot be had here: $(tail -n 1 "$work/log")"
  skipped=$((skipped + 1))
fi

printf '# tests %d\n# pass %d\n# fail %d\n# skipped %d\n' $((passed + failed + skipped)) $passed $failed $skipped
[ "$failed" -eq 0 ]
