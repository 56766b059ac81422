#!/usr/bin/env bash
# The Python binding's own tests, in a virtual environment below the build directory, against the library that was just built.
#
# What the tests want beside pytest (NumPy, pandas, ...) is installed one by one: what cannot be had is named, and the tests that need
# it are skipped. Exit code 77: Python, pip, venv or pytest cannot be had at all.
set -uo pipefail

source=$TICKSTORE_SOURCE_DIR/bindings/python
work=$TICKSTORE_BUILD_DIR/python

. "$TICKSTORE_SOURCE_DIR/scripts/bindings"
prepare_python "$TICKSTORE_BUILD_DIR" pytest setuptools numpy pandas polars pyarrow duckdb matplotlib mypy ruff || {
  echo "SKIPPED: $unavailable"
  exit 77
}

status=0
cd "$source" || exit 1
"$python" -m pytest -p no:cacheprovider -rs --basetemp="$work/tests" tests | tee "$work/log"
[ "${PIPESTATUS[0]}" -eq 0 ] || status=1
closing=$(tail -1 "$work/log" | tr -d '=')
if python_has mypy; then
  "$python" -m mypy --cache-dir="$work/mypy" || status=1
else
  echo "skipped: mypy --strict, mypy is not here"
fi
if python_has ruff; then
  for part in . "$TICKSTORE_SOURCE_DIR"; do
    { "$python" -m ruff check --no-cache "$part" && "$python" -m ruff format --no-cache --check "$part"; } || status=1
  done
else
  echo "skipped: ruff, it is not here"
fi
# The benchmark still runs; what it measures is nobody's pass or fail.
if python_has numpy; then
  python3 ../../bench/bindings/compare.py --build "$TICKSTORE_BUILD_DIR" --python "$python" --rounds 1 --runs 1 >"$work/table" &&
    grep -q '^Python put_many, a tick' "$work/table" || { echo "FAILED: the benchmark"; status=1; }
fi
rm -rf "$work/tests"
echo "# tests (Python):$closing"
exit $status
