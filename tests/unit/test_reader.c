#include "query/reader.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/fs.h"
#include "base/memory.h"
#include "support/faults.h"
#include "support/scratch.h"
#include "support/stores.h"

static char *dir;
static tks__layout layout;
static tks__symbols symbols;
static tks__reader reader;
static uint32_t eurusd, gbpusd;

static void set_up(void) {
  dir = scratch_new();
  cr_assert(tks__layout_init(&layout, dir, strlen(dir)));
  cr_assert_eq(tks__symbols_init(&symbols, 10), TKS_OK);
  cr_assert_eq(tks__names_intern(&symbols.names, "EUR/USD", 7, &eurusd), TKS_OK);
  cr_assert_eq(tks__names_intern(&symbols.names, "GBPUSD", 6, &gbpusd), TKS_OK);
  reader = (tks__reader){.layout = &layout, .symbols = &symbols, .primary = TKS_SQLITE};
}

static void tear_down(void) {
  atomic_store(&tks__fs_fault, NULL);
  (void)allocations_work();
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

Test(reader, without_a_writer_everything_on_disk_counts) { cr_assert_eq(tks__reader_max_seq(&reader), INT64_MAX); }
