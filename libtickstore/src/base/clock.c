#include "base/clock.h"

#include <stdatomic.h>
#include <time.h>

int64_t (*_Atomic tks__clock_override)(void);
int64_t (*_Atomic tks__clock_monotonic_override)(void);

static int64_t read_clock(clockid_t id) {
  struct timespec t;
  (void)clock_gettime(id, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int64_t read_either(int64_t (*_Atomic *place)(void), clockid_t id) {
  int64_t (*override)(void) = atomic_load_explicit(place, memory_order_relaxed);
  return override != NULL ? override() : read_clock(id);
}

int64_t tks__clock_now_ns(void) { return read_either(&tks__clock_override, CLOCK_REALTIME); }

int64_t tks__clock_files_ns(void) { return read_clock(CLOCK_REALTIME); }

int64_t tks__clock_monotonic_ns(void) { return read_either(&tks__clock_monotonic_override, CLOCK_MONOTONIC); }
