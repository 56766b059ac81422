#include "persist/layout.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/memory.h"
#include "base/utc.h"
#include "support/scratch.h"

static char *scratch;
static tks__layout layout;

static void set_up(void) {
  scratch = scratch_new();
  cr_assert(tks__layout_init(&layout, scratch, strlen(scratch)));
}

static void tear_down(void) {
  atomic_store(&tks__fs_fault, NULL);
  atomic_store(&tks__memory_fault, NULL);
  scratch_remove(scratch);
}

TestSuite(layout, .init = set_up, .fini = tear_down);

static int32_t day_of(int year, int month, int mday) {
  int32_t day = 0;
  cr_assert(tks__utc_day_from_date(year, month, mday, &day));
  return day;
}

static void make(const char *path) {
  char dir[TKS__PATH_MAX];
  (void)snprintf(dir, sizeof dir, "%s", path);
  *strrchr(dir, '/') = 0;
  cr_assert_eq(tks__fs_mkdirs(dir, scratch), 0);
  cr_assert_eq(tks__fs_replace(path, "x", 1), 0);
}

static void make_below(const char *name) {
  char path[TKS__PATH_MAX + 16];
  (void)snprintf(path, sizeof path, "%s/%s", scratch, name);
  make(path);
}

static bool exists(const char *path) {
  struct stat st;
  return lstat(path, &st) == 0;
}

Test(layout, names_every_file) {
  tks__layout fixed;
  char path[TKS__PATH_MAX];
  cr_assert(tks__layout_init(&fixed, "/data/store//", 13));
  cr_assert_str_eq(fixed.root, "/data/store");
  tks__layout_manifest(&fixed, path);
  cr_assert_str_eq(path, "/data/store/store.json");
  tks__layout_lock(&fixed, path);
  cr_assert_str_eq(path, "/data/store/lock");
  tks__layout_day_file(&fixed, day_of(2026, 1, 20), path);
  cr_assert_str_eq(path, "/data/store/db/2026/01/ticks_2026-01-20.db");
  tks__layout_json_file(&fixed, "EUR/USD", 7, day_of(2026, 1, 20), path);
  cr_assert_str_eq(path, "/data/store/json/EUR%2FUSD/2026-01-20.jsonl");
  tks__layout_json_dir(&fixed, "EURUSD", 6, path);
  cr_assert_str_eq(path, "/data/store/json/EURUSD");
  cr_assert(tks__layout_init(&fixed, "/", 1));
  tks__layout_lock(&fixed, path);
  cr_assert_str_eq(path, "/lock");
}

Test(layout, refuses_paths_that_cannot_be) {
  tks__layout other;
  char long_path[TKS__PATH_MAX];
  memset(long_path, 'x', sizeof long_path);
  cr_assert_not(tks__layout_init(&other, "", 0));
  cr_assert_not(tks__layout_init(&other, "a\0b", 3));
  cr_assert_not(tks__layout_init(&other, long_path, sizeof other.root));
  cr_assert(tks__layout_init(&other, long_path, sizeof other.root - 1));
  /* The longest name below the longest root still fits. */
  char name[TKS_NAME_MAX], path[TKS__PATH_MAX];
  memset(name, '/', sizeof name);
  tks__layout_json_file(&other, name, sizeof name, day_of(2026, 1, 20), path);
  cr_assert_str_eq(path + strlen(path) - 6, ".jsonl");
}

static void expect_days(const tks__days *days, size_t count, const int32_t *want) {
  cr_assert_eq(days->count, count, "%zu days, not %zu", days->count, count);
  for (size_t i = 0; i < count; i++) cr_assert_eq(days->days[i], want[i]);
}

Test(layout, lists_days_in_order_and_nothing_else) {
  int32_t want[] = {day_of(2024, 2, 29), day_of(2025, 12, 31), day_of(2026, 1, 1), day_of(2026, 1, 20)};
  char path[TKS__PATH_MAX];
  tks__days days;
  cr_assert_eq(tks__layout_list_days(&layout, INT32_MIN, INT32_MAX, &days), 0);
  cr_assert_eq(days.count, 0);
  for (int i = 3; i >= 0; i--) {
    tks__layout_day_file(&layout, want[i], path);
    make(path);
  }
  make_below("db/2026/01/ticks_2026-01-21.db-wal");
  make_below("db/2026/01/ticks_2026-01-22.db.damaged-1");
  make_below("db/2026/01/ticks_2026-02-23.db"); /* not in its month */
  make_below("db/2026/01/ticks_2026-01-32.db");
  make_below("db/2026/1/ticks_2026-01-24.db");
  make_below("db/26/01/ticks_2026-01-24.db");
  make_below("db/2026/01/ticks_2025-01-24.db"); /* not in its year */
  make_below("db/2026/01/tocks_2026-01-24.db");
  make_below("db/2026/01/ticks_2026-01-24.do");
  make_below("db/2o26/01/ticks_2026-01-24.db");
  make_below("db/2027");
  make_below("db/2026/02");
  cr_assert_eq(tks__layout_list_days(&layout, INT32_MIN, INT32_MAX, &days), 0);
  expect_days(&days, 4, want);
  tks__free(days.days);
  cr_assert_eq(tks__layout_list_days(&layout, want[1], want[2], &days), 0);
  expect_days(&days, 2, want + 1);
  tks__free(days.days);
}

Test(layout, lists_json_days_of_one_symbol_or_all) {
  int32_t a = day_of(2026, 1, 19), b = day_of(2026, 1, 20), c = day_of(2026, 1, 21);
  char path[TKS__PATH_MAX];
  const struct {
    const char *symbol;
    int32_t day;
  } files[] = {{"EURUSD", b}, {"EURUSD", a}, {"EUR/USD", b}, {"EUR/USD", c}};
  for (int i = 0; i < 4; i++) {
    tks__layout_json_file(&layout, files[i].symbol, strlen(files[i].symbol), files[i].day, path);
    make(path);
  }
  make_below("json/EURUSD/2026-01-22.json");
  make_below("json/EURUSD/2026-01-23.jsonl.damaged-1");
  make_below("json/EUR USD/2026-01-24.jsonl"); /* not an encoded name */
  make_below("json/stray");
  tks__days days;
  cr_assert_eq(tks__layout_list_json_days(&layout, "EURUSD", 6, INT32_MIN, INT32_MAX, &days), 0);
  expect_days(&days, 2, (int32_t[]){a, b});
  tks__free(days.days);
  cr_assert_eq(tks__layout_list_json_days(&layout, NULL, 0, INT32_MIN, INT32_MAX, &days), 0);
  expect_days(&days, 3, (int32_t[]){a, b, c});
  tks__free(days.days);
  cr_assert_eq(tks__layout_list_json_days(&layout, NULL, 0, b, b, &days), 0);
  expect_days(&days, 1, (int32_t[]){b});
  tks__free(days.days);
  cr_assert_eq(tks__layout_list_json_days(&layout, "GBPUSD", 6, INT32_MIN, INT32_MAX, &days), 0);
  cr_assert_eq(days.count, 0);
}

static int left;

static int fault_at_zero(tks__fs_op op, const char *path) {
  (void)op;
  (void)path;
  return left-- == 0 ? EIO : 0;
}

static bool no_memory_at_zero(void) { return left-- == 0; }

Test(layout, a_failed_listing_says_so) {
  char path[TKS__PATH_MAX];
  for (int i = 1; i < 20; i++) {
    tks__layout_day_file(&layout, day_of(2026 + i % 2, i % 12 + 1, i), path);
    make(path);
    tks__layout_json_file(&layout, "A", 1, day_of(2026, i % 12 + 1, i), path);
    make(path);
  }
  for (int json = 0; json < 2; json++)
    for (int memory = 0; memory < 2; memory++) {
      int rc = 1;
      for (int k = 0; rc != 0; k++) {
        tks__days days;
        left = k;
        atomic_store(&tks__fs_fault, memory ? NULL : fault_at_zero);
        atomic_store(&tks__memory_fault, memory ? no_memory_at_zero : NULL);
        rc = json ? tks__layout_list_json_days(&layout, NULL, 0, INT32_MIN, INT32_MAX, &days)
                  : tks__layout_list_days(&layout, INT32_MIN, INT32_MAX, &days);
        cr_assert_eq(days.count, rc == 0 ? 19 : 0);
        cr_assert(rc == 0 || rc == (memory ? ENOMEM : EIO));
        tks__free(days.days);
      }
    }
}

/* A year that is a file is a stray one; without the directory of all years nobody knows what there is. */
Test(layout, a_file_in_place_of_all_days) {
  tks__days days;
  make_below("db");
  cr_assert_eq(tks__layout_list_days(&layout, INT32_MIN, INT32_MAX, &days), ENOTDIR);
  cr_assert_eq(days.count, 0);
}

Test(layout, sets_a_file_aside_with_its_logs) {
  char path[TKS__PATH_MAX], aside[TKS__PATH_MAX], wal[TKS__PATH_MAX + 16], journal[TKS__PATH_MAX + 16];
  tks__layout_day_file(&layout, day_of(2026, 1, 20), path);
  cr_assert_not(tks__layout_has_damaged(path));
  cr_assert_eq(tks__layout_set_aside(path, aside), ENOENT);
  for (int n = 1; n <= 3; n++) {
    char want[TKS__PATH_MAX + 32];
    make(path);
    (void)snprintf(wal, sizeof wal, "%s-wal", path);
    (void)snprintf(journal, sizeof journal, "%s-journal", path);
    if (n != 2) make(wal);
    if (n != 1) make(journal);
    cr_assert_eq(tks__layout_set_aside(path, aside), 0);
    (void)snprintf(want, sizeof want, "%s.damaged-%d", path, n);
    cr_assert_str_eq(aside, want);
    cr_assert(exists(aside) && !exists(path) && !exists(wal) && !exists(journal));
    (void)snprintf(wal, sizeof wal, "%s-wal", aside);
    cr_assert_eq(exists(wal), n != 2);
    (void)snprintf(journal, sizeof journal, "%s-journal", aside);
    cr_assert_eq(exists(journal), n != 1);
    cr_assert(tks__layout_has_damaged(path));
  }
  tks__layout_day_file(&layout, day_of(2026, 1, 21), path);
  cr_assert_not(tks__layout_has_damaged(path));
}

Test(layout, setting_aside_fails_as_a_whole) {
  char path[TKS__PATH_MAX], aside[TKS__PATH_MAX], wal[TKS__PATH_MAX + 16], journal[TKS__PATH_MAX + 16];
  tks__layout_day_file(&layout, day_of(2026, 1, 20), path);
  (void)snprintf(wal, sizeof wal, "%s-wal", path);
  (void)snprintf(journal, sizeof journal, "%s-journal", path);
  make(path);
  make(wal);
  make(journal);
  for (int k = 0; k < 4; k++) { /* the look for a free name, and three renames */
    left = k;
    atomic_store(&tks__fs_fault, fault_at_zero);
    cr_assert_eq(tks__layout_set_aside(path, aside), EIO);
    atomic_store(&tks__fs_fault, NULL);
    cr_assert(exists(path) && exists(wal) && exists(journal), "fault %d", k);
  }
}
