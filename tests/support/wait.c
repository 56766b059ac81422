#include "support/wait.h"

#include <stdint.h>
#include <time.h>

static int64_t monotonic_ns(void) {
  struct timespec t;
  (void)clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

void linger_ms(unsigned ms) {
  int64_t until = monotonic_ns() + (int64_t)ms * 1000000;
  for (int64_t left = until - monotonic_ns(); left > 0; left = until - monotonic_ns())
    (void)nanosleep(&(struct timespec){.tv_sec = left / 1000000000, .tv_nsec = left % 1000000000}, NULL);
}

bool wait_until(bool (*condition)(void *context), void *context) {
  int64_t until = monotonic_ns() + (int64_t)WAIT_LIMIT_S * 1000000000;
  while (!condition(context)) {
    if (monotonic_ns() >= until) return condition(context);
    linger_ms(1);
  }
  return true;
}
