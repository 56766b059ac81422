#include "query/reader.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/fs.h"
#include "base/memory.h"
#include "base/utc.h"
#include "support/faults.h"
#include "support/random.h"
#include "support/scratch.h"
#include "support/stores.h"

static char *dir;
static tks__layout layout;
static tks__calendar *calendar;
static tks__symbols symbols;
static tks__reader reader;
static uint32_t eurusd, gbpusd;

static void set_up(void) {
  dir = scratch_new();
  cr_assert(tks__layout_init(&layout, dir, strlen(dir)));
  cr_assert_eq(tks__symbols_init(&symbols, 10), TKS_OK);
  cr_assert_eq(tks__names_intern(&symbols.names, "EUR/USD", 7, &eurusd), TKS_OK);
  cr_assert_eq(tks__names_intern(&symbols.names, "GBPUSD", 6, &gbpusd), TKS_OK);
  calendar = tks__calendar_new(&layout);
  cr_assert_not_null(calendar);
  reader = (tks__reader){.layout = &layout, .calendar = calendar, .symbols = &symbols, .primary = TKS_SQLITE};
}

static void tear_down(void) {
  atomic_store(&tks__fs_fault, NULL);
  (void)allocations_work();
  tks__calendar_free(calendar);
  tks__symbols_deinit(&symbols);
  scratch_remove(dir);
}

TestSuite(reader, .init = set_up, .fini = tear_down);

static void make(const char *path) {
  char directory[PATH_MAX];
  (void)snprintf(directory, sizeof directory, "%s", path);
  *strrchr(directory, '/') = 0;
  make_dirs(directory);
  write_file(path, "", 0);
}

static void make_sqlite(int32_t day) {
  char path[TKS__PATH_MAX];
  tks__layout_day_file(&layout, day, path);
  make(path);
}

static void make_json(uint32_t symbol, int32_t day) {
  char path[TKS__PATH_MAX];
  const tks__name *name = tks__names_get(&symbols.names, symbol);
  tks__layout_json_file(&layout, name->text, name->length, day, path);
  make(path);
}

typedef struct expected_day {
  int32_t day;
  uint32_t sink;
} expected_day;

static void expect(uint32_t symbol, int32_t first, int32_t last, size_t count, const expected_day *want) {
  tks__reader_days days;
  cr_assert_eq(tks__reader_list(&reader, symbol, first, last, &days, NULL), TKS_OK);
  cr_assert_eq(days.count, count, "%zu", days.count);
  for (size_t i = 0; i < count; i++) {
    cr_assert_eq(days.days[i].day, want[i].day);
    cr_assert_eq(days.days[i].sink, want[i].sink, "day %d", want[i].day);
  }
  tks__free(days.days);
}

/* What a walk gives is what the list of all days has, in either direction, month by month. */
static void expect_walk(uint32_t symbol, int32_t first, int32_t last) {
  tks__reader_days all;
  cr_assert_eq(tks__reader_list(&reader, symbol, first, last, &all, NULL), TKS_OK);
  for (int descending = 0; descending < 2; descending++) {
    tks__reader_walk walk;
    tks__reader_walk_begin(&walk, symbol, first, last, descending);
    size_t seen = 0;
    int last_month = -1;
    for (bool over = false; !over;) {
      tks__reader_days days;
      cr_assert_eq(tks__reader_walk_next(&reader, &walk, &days, NULL), TKS_OK);
      over = days.count == 0;
      cr_assert(!over || tks__reader_walk_over(&walk));
      for (size_t i = 0; i < days.count; i++) {
        size_t from = descending ? all.count - seen - days.count : seen;
        cr_assert_lt(from + i, all.count);
        const tks__reader_day *want = &all.days[from + i];
        cr_assert_eq(days.days[i].day, want->day);
        cr_assert_eq(days.days[i].sink, want->sink);
        cr_assert_eq(days.days[i].also_json, want->also_json);
        int year, month, mday;
        tks__utc_date(days.days[i].day, &year, &month, &mday);
        cr_assert(i == 0 ? month != last_month : month == last_month);
        last_month = month;
      }
      seen += days.count;
      tks__free(days.days);
    }
    cr_assert_eq(seen, all.count, "%zu of %zu", seen, all.count);
  }
  tks__free(all.days);
}

Test(reader, a_walk_gives_the_days_of_the_list) {
  test_random dice = random_new();
  for (int i = 0; i < 60; i++) {
    int32_t day = (int32_t)random_below(&dice, 1500) - 700;
    uint64_t where = random_below(&dice, 3);
    if (where != 1) make_sqlite(day);
    if (where != 0) make_json(random_below(&dice, 2) == 0 ? eurusd : gbpusd, day);
  }
  char empty[TKS__PATH_MAX];
  tks__layout_db_dir(&layout, 1971, 6, empty);
  make_dirs(empty);
  tks__layout_db_dir(&layout, 1950, 0, empty);
  make_dirs(empty);
  for (int i = 0; i < 200; i++) {
    reader.primary = random_below(&dice, 2) == 0 ? TKS_SQLITE : TKS_JSON;
    reader.mixed = random_below(&dice, 2) == 0;
    int32_t first = (int32_t)random_below(&dice, 1700) - 800;
    expect_walk(eurusd, first, first + (int32_t)random_below(&dice, 900));
  }
  expect_walk(gbpusd, tks__utc_day(TKS_TIME_MIN), tks__utc_day(TKS_TIME_MAX - 1));
  expect_walk(gbpusd, 3, 2);
}

Test(reader, an_empty_store_has_no_days) { expect(0, INT32_MIN, INT32_MAX, 0, NULL); }

Test(reader, each_day_is_read_from_one_sink) {
  make_sqlite(100);
  make_sqlite(102);
  make_sqlite(20000);
  make_json(eurusd, 99);
  make_json(eurusd, 100);
  make_json(eurusd, 101);
  make_json(gbpusd, 102);
  make_json(gbpusd, 103);
  expect(eurusd, INT32_MIN, INT32_MAX, 5,
         (expected_day[]){{99, TKS_JSON}, {100, TKS_SQLITE}, {101, TKS_JSON}, {102, TKS_SQLITE}, {20000, TKS_SQLITE}});
  expect(
      0, INT32_MIN, INT32_MAX, 6,
      (expected_day[]){
          {99, TKS_JSON}, {100, TKS_SQLITE}, {101, TKS_JSON}, {102, TKS_SQLITE}, {103, TKS_JSON}, {20000, TKS_SQLITE}});
  expect(gbpusd, 101, 102, 1, (expected_day[]){{102, TKS_SQLITE}});
  expect(gbpusd, 103, 103, 1, (expected_day[]){{103, TKS_JSON}});
  expect(gbpusd, 104, 19999, 0, NULL);
  reader.primary = TKS_JSON;
  expect(0, 100, 103, 4, (expected_day[]){{100, TKS_JSON}, {101, TKS_JSON}, {102, TKS_JSON}, {103, TKS_JSON}});
  expect(eurusd, 100, 103, 3, (expected_day[]){{100, TKS_JSON}, {101, TKS_JSON}, {102, TKS_SQLITE}});
}

static int fail_lists(tks__fs_op op, const char *path) {
  return op == TKS__FS_LIST && strstr(path, "/json") != NULL ? EACCES : 0;
}

Test(reader, failures_are_reported) {
  make_sqlite(100);
  make_json(eurusd, 101);
  tks__reader_days days;
  tks_error error;
  atomic_store(&tks__fs_fault, fail_lists);
  cr_assert_eq(tks__reader_list(&reader, eurusd, 0, 1000, &days, &error), TKS_EIO);
  cr_assert_not_null(strstr(error.message, dir), "%s", error.message);
  cr_assert_null(days.days);
  atomic_store(&tks__fs_fault, NULL);
  for (uint64_t n = 0;; n++) {
    fail_allocation(n);
    int code = tks__reader_list(&reader, eurusd, 0, 1000, &days, &error);
    bool failed = allocations_work();
    cr_assert_eq(code, failed ? TKS_ENOMEM : TKS_OK, "%d", code);
    cr_assert_eq(days.count, failed ? 0 : 2);
    tks__free(days.days);
    if (!failed) break;
  }
}

static int64_t too_early(void) { return INT64_MIN / 2; }

Test(reader, a_walk_that_failed_goes_on_where_it_was) {
  calendar->now_ns = too_early; /* nothing is remembered */
  make_sqlite(100);
  make_sqlite(200);
  make_json(eurusd, 101);
  tks__reader_walk walk;
  tks__reader_days days;
  tks_error error;
  tks__reader_walk_begin(&walk, eurusd, 0, 1000, true);
  cr_assert_eq(tks__reader_walk_next(&reader, &walk, &days, &error), TKS_OK);
  cr_assert(days.count == 1 && days.days[0].day == 200);
  tks__free(days.days);
  atomic_store(&tks__fs_fault, fail_lists);
  cr_assert_eq(tks__reader_walk_next(&reader, &walk, &days, &error), TKS_EIO);
  cr_assert_not_null(strstr(error.message, dir), "%s", error.message);
  cr_assert_null(days.days);
  atomic_store(&tks__fs_fault, NULL);
  const tks__reader_walk before = walk;
  for (uint64_t n = 0;; n++) {
    walk = before;
    fail_allocation(n);
    int code = tks__reader_walk_next(&reader, &walk, &days, &error);
    bool failed = allocations_work();
    cr_assert(code == TKS_OK || (failed && code == TKS_ENOMEM), "%d", code);
    cr_assert_eq(days.count, code == TKS_OK ? 2 : 0);
    if (code != TKS_OK) cr_assert_eq(memcmp(&walk, &before, sizeof walk), 0);
    tks__free(days.days);
    if (!failed) break;
  }
}

Test(reader, without_a_writer_everything_on_disk_counts) { cr_assert_eq(tks__reader_max_seq(&reader), INT64_MAX); }

static int fail_first_year(tks__fs_op op, const char *path) {
  return op == TKS__FS_LIST && path != NULL && strstr(path, "/db/2023") != NULL ? EIO : 0;
}

/* Of many years one cannot be read: the walk says so and does not go on with the next. */
Test(reader, a_year_that_cannot_be_read_ends_a_walk) {
  int32_t day = tks__utc_day(STORE_NOON);
  make_sqlite(day - 365);
  make_sqlite(day);
  atomic_store(&tks__fs_fault, fail_first_year);
  tks__reader_walk walk;
  tks__reader_days days;
  tks_error error;
  tks__reader_walk_begin(&walk, eurusd, day - 400, day, false);
  cr_assert_eq(tks__reader_walk_next(&reader, &walk, &days, &error), TKS_EIO);
  cr_assert_not_null(strstr(error.message, dir), "%s", error.message);
  cr_assert_eq(days.count, 0);
  atomic_store(&tks__fs_fault, NULL);
  cr_assert_eq(tks__reader_walk_next(&reader, &walk, &days, &error), TKS_OK);
  cr_assert_eq(days.count, 1);
  cr_assert_eq(days.days[0].day, day - 365);
  tks__free(days.days);
}
