#!/usr/bin/env bash
# The functions of the header, the version script and the built shared library are the same set, and the static
# library defines no global name that another program could have too: tks__ inside, the header's functions outside.
# And it brings no SQLite of its own.
set -euo pipefail

root=$TICKSTORE_SOURCE_DIR/libtickstore
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"${CC:-cc}" -E -P -x c "$root/include/tickstore/tickstore.h" | grep -oE '\btks_[a-z0-9_]+ *\(' | tr -d ' (' |
  sort -u >"$work/header"
sed -n '/global:/,/local:/p' "$root/libtickstore.map" | grep -oE '\btks_[a-z0-9_]+' | sort >"$work/map"
nm -D --defined-only "$TICKSTORE_BUILD_DIR/libtickstore.so" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' |
  sort >"$work/shared"
nm -g --defined-only "$TICKSTORE_BUILD_DIR/libtickstore.a" | awk 'NF == 3 { print $3 }' | sort >"$work/static"
grep -v '^tks__' "$work/static" >"$work/static-outside" || true

[ -s "$work/header" ] || { echo "no function found in the header"; exit 1; }
status=0
compare() {
  if diff -u --label "header" --label "$2" "$work/header" "$work/$1"; then
    echo "ok: $2: $(wc -l <"$work/$1") names"
  else
    echo "FAILED: $2 differs from the header"
    status=1
  fi
}
compare map "version script"
compare shared "names exported by the shared library"
compare static-outside "names of the static library that do not start with tks__"

soname=$(readelf -d "$TICKSTORE_BUILD_DIR/libtickstore.so" | sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p')
major=$(sed -n 's/^#define TKS_VERSION_MAJOR //p' "$root/include/tickstore/tickstore.h")
if [ "$soname" = "libtickstore.so.$major" ]; then
  echo "ok: SONAME $soname"
else
  echo "FAILED: SONAME is $soname, the ABI's major number is $major"
  status=1
fi
# Two copies of SQLite in one process drop each other's locks: there is one, the system's, which every user shares.
if readelf -d "$TICKSTORE_BUILD_DIR/libtickstore.so" | grep -q 'NEEDED.*\[libsqlite3\.so' &&
  ! nm "$TICKSTORE_BUILD_DIR/libtickstore.so" | grep -qE ' [TtDdBb] sqlite3_open'; then
  echo "ok: the system's libsqlite3, and no copy of it"
else
  echo "FAILED: the library holds a SQLite of its own, or is not linked with the system's"
  status=1
fi
exit $status
