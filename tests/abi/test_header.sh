#!/usr/bin/env bash
# The public header compiles alone, as C11 and as C++, without a warning, with every compiler that is there.
set -euo pipefail

header="$TICKSTORE_SOURCE_DIR/libtickstore/include/tickstore/tickstore.h"
flags=(-fsyntax-only -Wall -Wextra -pedantic -Werror)
tried=0

try() {
  local compiler=$1 language=$2 standard=$3
  command -v "$compiler" >/dev/null || { echo "skipped: no $compiler"; return 0; }
  # Included by a file, because a header as the main file draws warnings of its own. Twice: the guard must hold.
  printf '#include "%s"\n#include "%s"\nint main(void) { return 0; }\n' "$header" "$header" |
    "$compiler" -x "$language" "-std=$standard" "${flags[@]}" -
  echo "ok: $compiler -std=$standard"
  tried=$((tried + 1))
}

try gcc c c11
try clang c c11
try g++ c++ c++11
try g++ c++ c++20
try clang++ c++ c++11
[ "$tried" -gt 0 ] || { echo "no compiler found"; exit 1; }
