#include "ingest/throttle.h"

#include <criterion/criterion.h>
#include <math.h>

#include "support/faults.h"
#include "support/random.h"

static tks__throttle throttle;

static void set_up(void) { throttle = (tks__throttle){0}; }

static void tear_down(void) {
  (void)allocations_work();
  tks__throttle_deinit(&throttle);
}

TestSuite(throttle, .init = set_up, .fini = tear_down);

static tks__record quote(double bid, double ask) {
  return (tks__record){.ts_ns = 1000, .bid = bid, .ask = ask, .bid_size = 1, .ask_size = 2, .symbol = 1, .source = 1};
}

/* Whether `now` is skipped when `before` is the last stored one. */
static bool repeats(double relative, int64_t max_age_ns, const tks__record *before, const tks__record *now) {
  const tks__throttle_rule rule = {.relative = relative, .max_age_ns = max_age_ns};
  tks__throttle_last last = {0};
  tks__throttle_note(&last, before);
  return tks__throttle_repeats(&rule, &last, now);
}

static bool repeats_prices(double relative, double bid, double ask, double new_bid, double new_ask) {
  tks__record before = quote(bid, ask), now = quote(new_bid, new_ask);
  return repeats(relative, 0, &before, &now);
}

Test(throttle, zero_skips_exact_repeats_only) {
  cr_assert(repeats_prices(0, 1.1, 1.2, 1.1, 1.2));
  cr_assert_not(repeats_prices(0, 1.1, 1.2, nextafter(1.1, 2), 1.2));
  cr_assert_not(repeats_prices(0, 1.1, 1.2, nextafter(1.1, 0), 1.2));
  cr_assert_not(repeats_prices(0, 1.1, 1.2, 1.1, nextafter(1.2, 2)));
  cr_assert(repeats_prices(0, 0.0, 5e-324, 0.0, 5e-324));
  cr_assert_not(repeats_prices(0, 0.0, 5e-324, 0.0, 0.0));
}

/* Powers of two make the share exact: a quarter of 4 is 1. */
Test(throttle, a_move_by_the_threshold_is_a_move) {
  cr_assert(repeats_prices(0.25, 4, 8, 4.9, 8));
  cr_assert_not(repeats_prices(0.25, 4, 8, 5, 8));
  cr_assert(repeats_prices(0.25, 4, 8, nextafter(5, 0), 8));
  cr_assert_not(repeats_prices(0.25, 4, 8, 3, 8));
  cr_assert(repeats_prices(0.25, 4, 8, nextafter(3, 4), 8));
  cr_assert_not(repeats_prices(0.25, 4, 8, 4, 10));
  cr_assert_not(repeats_prices(0.25, 4, 8, 4, 6));
  cr_assert(repeats_prices(0.25, 4, 8, 4.5, 7));
}

Test(throttle, the_default_share) {
  cr_assert(repeats_prices(0.00001, 1.10000, 1.10002, 1.100009, 1.10002));
  cr_assert_not(repeats_prices(0.00001, 1.10000, 1.10002, 1.10002, 1.10002));
}

Test(throttle, negative_prices_move_by_their_magnitude) {
  cr_assert(repeats_prices(0.25, -4, -2, -4.5, -2));
  cr_assert_not(repeats_prices(0.25, -4, -2, -5, -2));
  cr_assert_not(repeats_prices(0.25, -4, -2, 4, -2));
}

/* No share of zero is anything: from zero, any move is one. */
Test(throttle, from_zero_every_move_counts) {
  cr_assert(repeats_prices(0.5, 0, 1, 0, 1));
  cr_assert_not(repeats_prices(0.5, 0, 1, 5e-324, 1));
  cr_assert_not(repeats_prices(0.5, 0, 1, -5e-324, 1));
  cr_assert(repeats_prices(0, 0.0, 1, -0.0, 1));
}

Test(throttle, extremes_do_not_overflow_into_a_repeat) {
  cr_assert_not(repeats_prices(0.00001, 1.7e308, 1, -1.7e308, 1));
  cr_assert_not(repeats_prices(0.00001, -1.7e308, 1, 1.7e308, 1));
  cr_assert(repeats_prices(0.00001, 1.7e308, 1, 1.7e308, 1));
  cr_assert(repeats_prices(0.00001, 5e-324, 1, 5e-324, 1));
  cr_assert_not(repeats_prices(0.00001, 5e-324, 1, 1e-323, 1));
}

Test(throttle, an_absent_side_repeats_an_absent_side_alone) {
  for (double relative = 0; relative < 2; relative += 0.5) {
    cr_assert(repeats_prices(relative, NAN, 1.2, NAN, 1.2));
    cr_assert(repeats_prices(relative, 1.1, NAN, 1.1, NAN));
    cr_assert_not(repeats_prices(relative, NAN, 1.2, 1.1, 1.2));
    cr_assert_not(repeats_prices(relative, 1.1, 1.2, NAN, 1.2));
    cr_assert_not(repeats_prices(relative, 1.1, 1.2, 1.1, NAN));
    cr_assert_not(repeats_prices(relative, 1.1, NAN, NAN, 1.1));
    cr_assert_not(repeats_prices(relative, NAN, 1.2, NAN, 5.0));
  }
}

Test(throttle, any_change_of_a_size_counts) {
  tks__record before = quote(1, 2), now = before;
  now.bid_size = nextafter(before.bid_size, 2);
  cr_assert_not(repeats(0.5, 0, &before, &now));
  now = before;
  now.ask_size = 0;
  cr_assert_not(repeats(0.5, 0, &before, &now));
  now.ask_size = before.ask_size;
  cr_assert(repeats(0.5, 0, &before, &now));
}

Test(throttle, any_change_of_a_flag_counts) {
  tks__record before = quote(1, 2), now = before;
  for (uint32_t bit = 0; bit < 32; bit++) {
    now.flags = 1u << bit;
    cr_assert_not(repeats(0.5, 0, &before, &now), "bit %u set", bit);
    cr_assert_not(repeats(0.5, 0, &now, &before), "bit %u cleared", bit);
    cr_assert(repeats(0.5, 0, &now, &now));
  }
}

Test(throttle, the_maximum_age_lets_a_repeat_through) {
  tks__record before = quote(1, 2), now = before;
  now.ts_ns = before.ts_ns + 499;
  cr_assert(repeats(0, 500, &before, &now));
  now.ts_ns = before.ts_ns + 500;
  cr_assert_not(repeats(0, 500, &before, &now));
  now.ts_ns = INT64_MAX;
  cr_assert_not(repeats(0, 500, &before, &now));
  cr_assert(repeats(0, 0, &before, &now), "0 is no limit");
}

/* Age counts in both directions: one quote from a clock that runs ahead must not hold back all that follow. And the
 * distance between any two times is no overflow. */
Test(throttle, a_late_repeat_is_skipped_up_to_the_maximum_age) {
  tks__record before = quote(1, 2), now = before;
  now.ts_ns = before.ts_ns - 499;
  cr_assert(repeats(0, 500, &before, &now));
  now.ts_ns = before.ts_ns - 500;
  cr_assert_not(repeats(0, 500, &before, &now));
  now.ts_ns = INT64_MIN;
  before.ts_ns = INT64_MAX;
  cr_assert_not(repeats(0, 500, &before, &now));
  cr_assert(repeats(0, 0, &before, &now));
  cr_assert_not(repeats(0, 500, &now, &before));
  cr_assert_not(repeats(0, INT64_MAX, &now, &before));
}

Test(throttle, entries_are_kept_by_source) {
  bool known = true;
  tks__throttle_last *first = tks__throttle_entry(&throttle, 7, &known);
  cr_assert_not_null(first);
  cr_assert_not(known);
  /* Nothing was stored for it yet. */
  cr_assert_eq(tks__throttle_entry(&throttle, 7, &known), first);
  cr_assert_not(known);
  tks__record record = quote(1, 2);
  tks__throttle_note(first, &record);
  cr_assert_eq(tks__throttle_entry(&throttle, 7, &known), first);
  cr_assert(known);
  (void)tks__throttle_entry(&throttle, 0, &known);
  cr_assert_not(known, "no source is a source of its own");
  cr_assert_eq(throttle.count, 2);
}

Test(throttle, source_zero_may_come_first) {
  bool known = true;
  tks__throttle_last *last = tks__throttle_entry(&throttle, 0, &known);
  cr_assert_not(known);
  tks__record record = quote(1, 2);
  tks__throttle_note(last, &record);
  cr_assert_eq(tks__throttle_entry(&throttle, 0, &known), last);
  cr_assert(known);
}

Test(throttle, many_sources_in_any_order) {
  enum { SOURCES = 500 };
  test_random random = random_new();
  double bids[SOURCES];
  bool stored[SOURCES] = {false};
  for (int i = 0; i < 10000; i++) {
    uint32_t source = (uint32_t)random_below(&random, SOURCES);
    bool known = false;
    tks__throttle_last *last = tks__throttle_entry(&throttle, source, &known);
    cr_assert_not_null(last);
    cr_assert_eq(last->source, source);
    cr_assert_eq(known, stored[source]);
    if (known) cr_assert_eq(last->bid, bids[source]);
    tks__record record = quote((double)random_below(&random, 1000000), 1e7);
    tks__throttle_note(last, &record);
    bids[source] = record.bid;
    stored[source] = true;
  }
  uint32_t count = 0;
  for (int i = 0; i < SOURCES; i++) count += stored[i];
  cr_assert_eq(throttle.count, count);
}

Test(throttle, note_keeps_what_the_rule_needs) {
  bool known;
  tks__throttle_last *last = tks__throttle_entry(&throttle, 3, &known);
  tks__record record = quote(1.5, NAN);
  record.flags = 0x10001;
  tks__throttle_note(last, &record);
  cr_assert_eq(last->bid, 1.5);
  cr_assert(isnan(last->ask));
  cr_assert_eq(last->bid_size, 1);
  cr_assert_eq(last->ask_size, 2);
  cr_assert_eq(last->ts_ns, 1000);
  cr_assert_eq(last->flags, 0x10001);
  cr_assert_eq(last->source, 3);
}

Test(throttle, no_memory_for_another_source) {
  bool known;
  fail_allocations();
  tks__throttle_last *first = tks__throttle_entry(&throttle, 1, &known);
  cr_assert_not_null(first, "the first one is in line");
  tks__record record = quote(1, 2);
  tks__throttle_note(first, &record);
  cr_assert_null(tks__throttle_entry(&throttle, 2, &known));
  cr_assert_eq(throttle.count, 1);
  cr_assert_eq(tks__throttle_entry(&throttle, 1, &known), first);
  cr_assert(known);
  cr_assert(allocations_work());
  cr_assert_not_null(tks__throttle_entry(&throttle, 2, &known));
  cr_assert_not(known);
  cr_assert_eq(throttle.count, 2);
}

Test(throttle, deinit_leaves_an_empty_one) {
  bool known;
  for (uint32_t source = 0; source < 100; source++) (void)tks__throttle_entry(&throttle, source, &known);
  tks__throttle_deinit(&throttle);
  cr_assert_eq(throttle.count, 0);
  cr_assert_not_null(tks__throttle_entry(&throttle, 5, &known));
  cr_assert_not(known);
}
