#include "query/calendar.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/utc.h"
#include "support/faults.h"
#include "support/scratch.h"
#include "support/stores.h"

static char *dir;
static tks__layout layout;
static tks__names names;
static tks__calendar *calendar;
static uint32_t eurusd;
static _Atomic int lists;
static _Atomic int error_of_lists;

static int count_lists(tks__fs_op op, const char *path) {
  (void)path;
  if (op != TKS__FS_LIST) return 0;
  atomic_fetch_add(&lists, 1);
  return atomic_load(&error_of_lists);
}

/* A time at which every directory made by this test has been at rest for long. */
static int64_t much_later(void) { return tks__clock_files_ns() + 3600 * TKS__NS_PER_S; }

/* A time at which no directory has: that of the change itself. */
static int64_t at_once(void) { return tks__clock_files_ns() - TKS__NS_PER_S; }

static void set_up(void) {
  dir = scratch_new();
  cr_assert(tks__layout_init(&layout, dir, strlen(dir)));
  cr_assert_eq(tks__names_init(&names, 1000), TKS_OK);
  cr_assert_eq(tks__names_intern(&names, "EURUSD", 6, &eurusd), TKS_OK);
  calendar = tks__calendar_new(&layout);
  cr_assert_not_null(calendar);
  calendar->now_ns = much_later;
  atomic_store(&tks__fs_fault, count_lists);
}

static void tear_down(void) {
  atomic_store(&tks__fs_fault, NULL);
  (void)allocations_work();
  tks__calendar_free(calendar);
  tks__names_deinit(&names);
  scratch_remove(dir);
}

TestSuite(calendar, .init = set_up, .fini = tear_down);

static int32_t day_of(int year, int month, int mday) {
  int32_t day;
  cr_assert(tks__utc_day_from_date(year, month, mday, &day));
  return day;
}

/* Every change gives the file's directory a time of its own, so that no test depends on the file system's clock. */
static void stamp(char *path) {
  static int64_t at = 1700000000;
  *strrchr(path, '/') = 0;
  at++;
  const struct timespec times[2] = {{.tv_sec = at}, {.tv_sec = at}};
  cr_assert_eq(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void add(char *path) {
  char directory[PATH_MAX];
  (void)snprintf(directory, sizeof directory, "%s", path);
  *strrchr(directory, '/') = 0;
  make_dirs(directory);
  write_file(path, "", 0);
  stamp(path);
}

static void add_day(int year, int month, int mday) {
  char path[TKS__PATH_MAX];
  tks__layout_day_file(&layout, day_of(year, month, mday), path);
  add(path);
}

static void remove_day(int year, int month, int mday) {
  char path[TKS__PATH_MAX];
  tks__layout_day_file(&layout, day_of(year, month, mday), path);
  cr_assert_eq(unlink(path), 0);
  stamp(path);
}

static void add_json(int32_t day) {
  char path[TKS__PATH_MAX];
  tks__layout_json_file(&layout, "EURUSD", 6, day, path);
  add(path);
}

/* The numbers must be those, and have been read from the disk (or not). */
static void expect_db(int year, int month, size_t count, const int32_t *want, bool read) {
  tks__days numbers;
  int before = atomic_load(&lists);
  cr_assert_eq(tks__calendar_db(calendar, year, month, &numbers), 0);
  cr_assert_eq(numbers.count, count, "%d-%d: %zu", year, month, numbers.count);
  for (size_t i = 0; i < count; i++) cr_assert_eq(numbers.days[i], want[i]);
  cr_assert_eq(atomic_load(&lists) - before, read, "%d-%d was %sread", year, month, read ? "not " : "");
  tks__free(numbers.days);
}

static void expect_json(size_t count, const int32_t *want, bool read) {
  tks__days days;
  int before = atomic_load(&lists);
  cr_assert_eq(tks__calendar_json(calendar, eurusd, tks__names_get(&names, eurusd), &days), 0);
  cr_assert_eq(days.count, count);
  for (size_t i = 0; i < count; i++) cr_assert_eq(days.days[i], want[i]);
  cr_assert_eq(atomic_load(&lists) - before, read);
  tks__free(days.days);
}

Test(calendar, what_is_not_there_is_empty_and_not_read) {
  expect_db(0, 0, 0, NULL, false);
  expect_db(2026, 0, 0, NULL, false);
  expect_db(2026, 1, 0, NULL, false);
  expect_json(0, NULL, false);
}

Test(calendar, a_directory_is_read_once) {
  add_day(2025, 12, 31);
  add_day(2026, 1, 2);
  add_day(2026, 1, 20);
  add_json(7);
  add_json(5);
  for (int round = 0; round < 3; round++) {
    bool read = round == 0;
    expect_db(0, 0, 2, (int32_t[]){2025, 2026}, read);
    expect_db(2026, 0, 1, (int32_t[]){1}, read);
    expect_db(2026, 1, 2, (int32_t[]){day_of(2026, 1, 2), day_of(2026, 1, 20)}, read);
    expect_db(2025, 12, 1, (int32_t[]){day_of(2025, 12, 31)}, read);
    expect_json(2, (int32_t[]){5, 7}, read);
  }
}

Test(calendar, a_change_is_seen_at_once) {
  add_day(2026, 1, 2);
  expect_db(2026, 1, 1, (int32_t[]){day_of(2026, 1, 2)}, true);
  add_day(2026, 1, 3);
  expect_db(2026, 1, 2, (int32_t[]){day_of(2026, 1, 2), day_of(2026, 1, 3)}, true);
  remove_day(2026, 1, 2);
  expect_db(2026, 1, 1, (int32_t[]){day_of(2026, 1, 3)}, true);
  expect_db(2026, 1, 1, (int32_t[]){day_of(2026, 1, 3)}, false);
  add_json(9);
  expect_json(1, (int32_t[]){9}, true);
  add_json(8);
  expect_json(2, (int32_t[]){8, 9}, true);
}

Test(calendar, another_directory_in_its_place_is_read) {
  add_day(2026, 1, 2);
  expect_db(2026, 1, 1, (int32_t[]){day_of(2026, 1, 2)}, true);
  char path[TKS__PATH_MAX], aside[TKS__PATH_MAX + 8];
  tks__layout_db_dir(&layout, 2026, 1, path);
  struct stat before;
  cr_assert_eq(stat(path, &before), 0);
  (void)snprintf(aside, sizeof aside, "%s-aside", path);
  cr_assert_eq(rename(path, aside), 0);
  expect_db(2026, 1, 0, NULL, false);
  add_day(2026, 1, 9);
  const struct timespec times[2] = {before.st_atim, before.st_mtim};
  cr_assert_eq(utimensat(AT_FDCWD, path, times, 0), 0);
  expect_db(2026, 1, 1, (int32_t[]){day_of(2026, 1, 9)}, true);
}

/* Its stamp may be the same after a further change. */
Test(calendar, a_directory_that_changed_just_now_is_not_remembered) {
  add_day(2026, 1, 2);
  add_json(9);
  calendar->now_ns = at_once;
  for (int round = 0; round < 3; round++) {
    expect_db(2026, 1, 1, (int32_t[]){day_of(2026, 1, 2)}, true);
    expect_json(1, (int32_t[]){9}, true);
  }
}

Test(calendar, directories_that_share_a_place_take_turns) {
  /* 256 places, 13 numbers a year: 256 / 13 years and some months later. */
  add_day(2026, 1, 2);
  add_day(2045, 10, 3);
  cr_assert_eq((2026 * 13 + 1) % TKS__CALENDAR_DIRS, (2045 * 13 + 10) % TKS__CALENDAR_DIRS);
  for (int round = 0; round < 2; round++) {
    expect_db(2026, 1, 1, (int32_t[]){day_of(2026, 1, 2)}, true);
    expect_db(2045, 10, 1, (int32_t[]){day_of(2045, 10, 3)}, true);
  }
}

Test(calendar, stray_names_count_for_nothing) {
  add_day(2026, 1, 2);
  char path[TKS__PATH_MAX];
  static const char *const strays[] = {"db/0000",
                                       "db/notes.txt",
                                       "db/2026/00",
                                       "db/2026/1",
                                       "db/2026/01/x.db",
                                       "db/2026/01/ticks_2026-02-02.db",
                                       "db/2026/01/ticks_2026-01-32.db"};
  for (size_t i = 0; i < sizeof strays / sizeof strays[0]; i++) {
    (void)snprintf(path, sizeof path, "%s/%s", dir, strays[i]);
    write_file(path, "", 0);
  }
  expect_db(0, 0, 1, (int32_t[]){2026}, true);
  expect_db(2026, 0, 1, (int32_t[]){1}, true);
  expect_db(2026, 1, 1, (int32_t[]){day_of(2026, 1, 2)}, true);
  (void)snprintf(path, sizeof path, "%s/db/1999", dir);
  write_file(path, "", 0);
  expect_db(1999, 0, 0, NULL, true);
}

Test(calendar, failures_are_reported_and_not_remembered) {
  add_day(2026, 1, 2);
  add_json(9);
  tks__days numbers;
  atomic_store(&error_of_lists, EACCES);
  cr_assert_eq(tks__calendar_db(calendar, 2026, 1, &numbers), EACCES);
  cr_assert_eq(tks__calendar_json(calendar, eurusd, tks__names_get(&names, eurusd), &numbers), EACCES);
  atomic_store(&error_of_lists, 0);
  /* The last allocation of the first reading is the copy that is kept: failing, it costs another reading, no more. */
  for (int known = 0; known < 2; known++) {
    bool failed = true;
    for (uint64_t n = 0; failed; n++) {
      fail_allocation(n);
      int rc = tks__calendar_db(calendar, 2026, 1, &numbers);
      failed = allocations_work();
      cr_assert(rc == 0 || (failed && rc == ENOMEM), "%d", rc);
      cr_assert_eq(numbers.count, rc == 0 ? 1 : 0);
      tks__free(numbers.days);
    }
  }
  expect_db(2026, 1, 1, (int32_t[]){day_of(2026, 1, 2)}, false);
  expect_json(1, (int32_t[]){9}, true);
}

/* Rights that are changed leave the time of the last change of names as it is. */
Test(calendar, a_directory_whose_rights_changed_is_read_again) {
  add_day(2024, 3, 5);
  const int32_t want[] = {day_of(2024, 3, 5)};
  expect_db(2024, 3, 1, want, true);
  expect_db(2024, 3, 1, want, false);
  char path[TKS__PATH_MAX];
  tks__layout_db_dir(&layout, 2024, 3, path);
  struct stat before, after;
  cr_assert_eq(stat(path, &before), 0);
  do {
    cr_assert_eq(chmod(path, 0700), 0);
    cr_assert_eq(stat(path, &after), 0);
  } while (after.st_ctim.tv_sec == before.st_ctim.tv_sec && after.st_ctim.tv_nsec == before.st_ctim.tv_nsec);
  expect_db(2024, 3, 1, want, true);
}

Test(calendar, a_file_in_place_of_all_json_files_is_none) {
  char path[PATH_MAX];
  (void)snprintf(path, sizeof path, "%s/json", dir);
  write_file(path, "", 0);
  expect_json(0, NULL, false);
}

Test(calendar, none_is_freed) { tks__calendar_free(NULL); }
