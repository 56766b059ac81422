#include "base/clock.h"

#include <criterion/criterion.h>
#include <stdatomic.h>
#include <stddef.h>
#include <time.h>

static int64_t fixed(void) { return INT64_C(-1234567890123456789); }

static int64_t read_clock(clockid_t id) {
  struct timespec t;
  cr_assert_eq(clock_gettime(id, &t), 0);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void tear_down(void) {
  atomic_store(&tks__clock_override, NULL);
  atomic_store(&tks__clock_monotonic_override, NULL);
}

TestSuite(clock, .fini = tear_down);

Test(clock, monotonic_never_goes_back) {
  int64_t last = tks__clock_monotonic_ns();
  cr_assert_gt(last, 0);
  for (int i = 0; i < 10000; i++) {
    int64_t now = tks__clock_monotonic_ns();
    cr_assert_geq(now, last);
    last = now;
  }
  int64_t before = read_clock(CLOCK_MONOTONIC);
  int64_t now = tks__clock_monotonic_ns();
  int64_t after = read_clock(CLOCK_MONOTONIC);
  cr_assert(before <= now && now <= after);
}

/* The calendar clock may be set at any moment, so only that it is that clock and that unit: within a year. */
Test(clock, now_is_calendar_time) {
  int64_t year = INT64_C(366) * 86400 * 1000000000;
  int64_t difference = tks__clock_now_ns() - read_clock(CLOCK_REALTIME);
  cr_assert(difference > -year && difference < year);
}

Test(clock, a_test_can_set_the_calendar_clock_alone) {
  int64_t monotonic = tks__clock_monotonic_ns();
  atomic_store(&tks__clock_override, fixed);
  cr_assert_eq(tks__clock_now_ns(), fixed());
  cr_assert_geq(tks__clock_monotonic_ns(), monotonic);
  atomic_store(&tks__clock_override, NULL);
  cr_assert_gt(tks__clock_now_ns(), 0);
}

Test(clock, a_test_can_set_the_monotonic_clock_alone) {
  atomic_store(&tks__clock_monotonic_override, fixed);
  cr_assert_eq(tks__clock_monotonic_ns(), fixed());
  cr_assert_gt(tks__clock_now_ns(), 0);
  atomic_store(&tks__clock_monotonic_override, NULL);
  cr_assert_gt(tks__clock_monotonic_ns(), 0);
}
