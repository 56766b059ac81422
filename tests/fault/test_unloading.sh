#!/usr/bin/env bash
# The shared library is loaded late, used, and let go by dlclose, with stores closed and with stores open, again and again: no crash, no
# hang, nothing accepted is lost. TKS_RACES is the number of rounds of all such tests (500; the long run 20,000).
set -euo pipefail

library=$TICKSTORE_BUILD_DIR/libtickstore.so
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "FAIL: $*"; exit 1; }
rounds=$((${TKS_RACES:-500} / 5))

accepted=$("$TICKSTORE_TEST_PROGRAMS/fault/unloader" "$library" "$work/store" "$rounds") || fail "exit code $?"
[ "$accepted" -ge $((rounds * 40)) ] || fail "accepted $accepted"
lines=$(cat "$work"/store/json/S1/*.jsonl | wc -l)
[ "$lines" -eq "$accepted" ] || fail "$accepted were accepted, $lines are in the JSON file"
rows=$("$TICKSTORE_COMMAND" sql --store "$work/store" "SELECT COUNT(*) FROM ticks" | tail -1)
[ "$rows" -eq "$accepted" ] || fail "$accepted were accepted, $rows are in the day file"

# The cause of it: nothing of the library is unmapped while its threads may run.
if command -v readelf >/dev/null; then
  readelf -d "$library" | grep -q NODELETE || fail "the library is not linked with -z nodelete"
else
  echo "not looked at: no readelf"
fi
echo "$rounds rounds, $accepted records"
