#include "persist/json_days.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/utc.h"
#include "support/faults.h"
#include "support/scratch.h"
#include "support/stores.h"

static char *scratch;
static char list[TKS__PATH_MAX];
static tks__layout layout;
static tks__json_days days;
static const tks__log silent = {0};

static void set_up(void) {
  scratch = scratch_new();
  cr_assert(tks__layout_init(&layout, scratch, strlen(scratch)));
  tks__layout_json_days(&layout, list);
}

static void tear_down(void) {
  atomic_store(&tks__fs_fault, NULL);
  (void)allocations_work();
  tks__json_days_free(&days);
  scratch_remove(scratch);
}

TestSuite(json_days, .init = set_up, .fini = tear_down);

static int32_t day_of(const char *text) {
  int32_t day;
  cr_assert(tks__utc_parse_day(text, strlen(text), &day));
  return day;
}

static void make_below(const char *name) {
  char path[TKS__PATH_MAX + 64];
  (void)snprintf(path, sizeof path, "%s/%s", scratch, name);
  cr_assert_eq(tks__fs_mkdirs(path, scratch), 0);
}

static void leave_list(const char *text) { write_file(list, text, strlen(text)); }

/* A directory in its place cannot be made good, so its day stays. */
Test(json_days, what_cannot_be_made_good_stays_once_and_nothing_else) {
  leave_list("2026-01-19\n2026-01-19\nno-day-no1\n2026-02-30\n2026-01-20\n2026-0");
  make_below("json/A/2026-01-19.jsonl");
  make_below("json/EUR USD/2026-01-20.jsonl"); /* no name that a symbol has there */
  char stray[TKS__PATH_MAX + 64];
  (void)snprintf(stray, sizeof stray, "%s/json/STRAY", scratch);
  write_file(stray, "", 0);
  cr_assert_eq(tks__json_days_recover(&days, &layout, &silent), 0);
  cr_assert_eq(days.count, 1);
  cr_assert_eq(days.left, 1);
  cr_assert_eq(days.days[0], day_of("2026-01-19"));
  tks__json_days_clear(&days, &layout);
  cr_assert(path_exists(list), "for the next session to try again");
}

Test(json_days, a_day_is_noted_once_and_dropped) {
  cr_assert_eq(tks__json_days_recover(&days, &layout, &silent), 0, "nothing was left");
  for (int i = 0; i < 2; i++) cr_assert_eq(tks__json_days_add(&days, &layout, day_of("2026-01-19")), 0);
  cr_assert_eq(tks__json_days_add(&days, &layout, day_of("2026-01-20")), 0);
  size_t length;
  char *text = read_file(list, &length);
  cr_assert_eq(length, 22);
  cr_assert_eq(memcmp(text, "2026-01-19\n2026-01-20\n", length), 0);
  free(text);
  tks__json_days_drop(&days, day_of("2026-01-19"));
  cr_assert_eq(days.count, 1);
  tks__json_days_drop(&days, day_of("2026-01-20"));
  tks__json_days_clear(&days, &layout);
  cr_assert_not(path_exists(list));
}

static int left;

static int fail_at_zero(tks__fs_op op, const char *path) {
  (void)op;
  (void)path;
  return left-- == 0 ? EIO : 0;
}

/* As long as nobody knows what is in the list, nobody says that it was made good. */
Test(json_days, a_list_that_cannot_be_read_is_an_error) {
  leave_list("2026-01-19\n2026-01-20\n2026-01-21\n");
  make_below("json/A");
  for (int memory = 0; memory < 2; memory++) {
    bool failed = true;
    int n = 0;
    for (; failed; n++) {
      left = n;
      if (memory) fail_allocation((uint64_t)n);
      else atomic_store(&tks__fs_fault, fail_at_zero);
      int rc = tks__json_days_recover(&days, &layout, &silent);
      failed = memory ? allocations_work() : left < 0;
      atomic_store(&tks__fs_fault, NULL);
      /* A file that cannot be opened is told by its day's staying. */
      cr_assert(!failed || rc == (memory ? ENOMEM : EIO) || days.count == 1, "%d at %d", rc, n);
      cr_assert(failed || (rc == 0 && days.count == 0));
      cr_assert(path_exists(list));
      tks__json_days_free(&days);
    }
    cr_assert_gt(n, 2);
  }
}
