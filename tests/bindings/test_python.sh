#!/usr/bin/env bash
# The Python binding's own tests, in a virtual environment below the build directory, against the library that was just built.
#
# What the tests want beside pytest (NumPy, pandas, ...) is installed one by one: what cannot be had is named, and the tests that need
# it are skipped. Exit code 77: Python, pip, venv or pytest cannot be had at all.
set -uo pipefail

source=$TICKSTORE_SOURCE_DIR/bindings/python
work=$TICKSTORE_BUILD_DIR/python
skip() { echo "SKIPPED: $*"; exit 77; }

if grep -qs '^TICKSTORE_SANITIZE:[A-Z]*=.\+' "$TICKSTORE_BUILD_DIR/CMakeCache.txt"; then
  skip "a plain Python does not load an instrumented library; the plain build runs these tests"
fi
command -v python3 >/dev/null || skip "no python3"
python3 -c 'import sys; sys.exit(sys.version_info < (3, 9))' || skip "$(python3 --version) is older than 3.9"

python=$work/venv/bin/python
if ! "$python" -m pip --version >/dev/null 2>&1; then
  rm -rf "$work/venv"
  mkdir -p "$work"
  python3 -m venv "$work/venv" >"$work/log" 2>&1 || { tail -5 "$work/log"; skip "python3 cannot make a virtual environment (Debian: python3-venv)"; }
fi

missing=()
has() { "$python" -c "import $1" >/dev/null 2>&1; }
install() { "$python" -m pip install -q --disable-pip-version-check --retries 1 "$@" >>"$work/log" 2>&1; }
: >"$work/log"
packages=(pytest setuptools numpy pandas polars pyarrow duckdb matplotlib mypy ruff)
wanted=()
for package in "${packages[@]}"; do has "$package" || wanted+=("$package"); done
if [ ${#wanted[@]} -gt 0 ] && ! install "${wanted[@]}"; then
  for package in "${wanted[@]}"; do install "$package" || { missing+=("$package"); [ "$package" = pytest ] && break; }; done
fi
if ! has pytest; then
  tail -3 "$work/log"
  skip "pip cannot install pytest here"
fi
[ ${#missing[@]} -eq 0 ] || echo "not to be had here, their tests are skipped: ${missing[*]}"

status=0
cd "$source" || exit 1
export PYTHONPATH=$source/src TICKSTORE_LIBRARY=$TICKSTORE_BUILD_DIR/libtickstore.so MPLCONFIGDIR=$work/matplotlib
"$python" -m pytest -p no:cacheprovider -rs --basetemp="$work/tests" tests | tee "$work/log"
[ "${PIPESTATUS[0]}" -eq 0 ] || status=1
closing=$(tail -1 "$work/log" | tr -d '=')
if has mypy; then
  "$python" -m mypy --cache-dir="$work/mypy" || status=1
else
  echo "skipped: mypy --strict, mypy is not here"
fi
if has ruff; then
  { "$python" -m ruff check --no-cache . && "$python" -m ruff format --no-cache --check .; } || status=1
else
  echo "skipped: ruff, it is not here"
fi
rm -rf "$work/tests"
echo "# tests (Python):$closing"
exit $status
