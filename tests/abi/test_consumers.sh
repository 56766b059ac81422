#!/usr/bin/env bash
# What is installed can be used: a small program is built against a fresh installation through find_package and through
# pkg-config, shared and static, and run.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prefix=$work/prefix
mkdir "$work/consumer"

cmake --install "$TICKSTORE_BUILD_DIR" --prefix "$prefix" >"$work/log" || { cat "$work/log"; exit 1; }
library=$(dirname "$(find "$prefix" -name libtickstore.a)")

cat >"$work/consumer/main.c" <<'END'
#include <tickstore/tickstore.h>
#include <stdio.h>

int main(void) {
  tks_config config;
  int rc = tks_config_init(&config, sizeof config, TKS_PRESET_PRODUCTION, NULL);
  printf("%s %s %u\n", tks_version_string(), tks_strerror(rc), config.batch_records);
  return rc != TKS_OK || config.struct_size != sizeof config;
}
END
cat >"$work/consumer/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.20)
project(consumer C)
find_package(tickstore 0.1 REQUIRED)
add_executable(shared main.c)
target_link_libraries(shared PRIVATE tickstore::tickstore)
add_executable(static main.c)
target_link_libraries(static PRIVATE tickstore::tickstore_static)
END

run() {
  echo "ok: $1: $("$2")"
}

cmake -S "$work/consumer" -B "$work/build" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_C_COMPILER="${CC:-cc}" >"$work/log" &&
  cmake --build "$work/build" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
run "find_package, shared" "$work/build/shared"
run "find_package, static" "$work/build/static"

export PKG_CONFIG_PATH=$library/pkgconfig${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}
version=$(pkg-config --modversion tickstore)
# shellcheck disable=SC2046
"${CC:-cc}" "$work/consumer/main.c" -o "$work/shared" $(pkg-config --cflags --libs tickstore) "-Wl,-rpath,$library"
run "pkg-config, shared" "$work/shared"
# Static for tickstore alone: its archive by name, and what it stands on from pkg-config without -ltickstore.
# shellcheck disable=SC2046
"${CC:-cc}" "$work/consumer/main.c" -o "$work/static" $(pkg-config --cflags tickstore) "$library/libtickstore.a" \
  $(pkg-config --static --libs tickstore | sed 's/-ltickstore//')
run "pkg-config, static" "$work/static"

case $("$work/shared") in
  "$version "*) ;;
  *) echo "FAILED: pkg-config says version $version, the library says $("$work/shared")"; exit 1 ;;
esac
# Into variables: grep -q ends at its first hit, and ldd would die of the closed pipe.
static_libraries=$(ldd "$work/static" "$work/build/static")
if grep -q libtickstore <<<"$static_libraries"; then
  echo "FAILED: the static programs load the shared library"
  exit 1
fi
if [ -x "$TICKSTORE_COMMAND" ]; then
  libraries=$(ldd "$prefix/bin/tickstore")
  grep -q "=> $prefix/.*libtickstore.so\|=> $library/libtickstore.so\|bin/../.*libtickstore" <<<"$libraries" ||
    { echo "FAILED: the installed command does not find the installed library"; ldd "$prefix/bin/tickstore"; exit 1; }
  echo "ok: the installed command finds the installed library"
fi
