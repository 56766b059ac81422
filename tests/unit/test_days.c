/* The days on disk and their health (listing.h: tks__list_days). */
#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fs.h"
#include "query/listing.h"
#include "support/faults.h"
#include "support/scratch.h"
#include "support/stores.h"

static char *dir;
static tks_store *store;
static tks_day_info days[16];
static size_t total;

static void set_up(void) { dir = scratch_new(); }

static void tear_down(void) {
  if (store != NULL) (void)tks_close(store, NULL);
  scratch_remove(dir);
}

TestSuite(days, .init = set_up, .fini = tear_down);

/* Two symbols on three days: 10 of A and 5 of B on each. */
static void make_store(uint32_t backend) {
  tks_config config = store_config(backend);
  store = store_open(dir, &config);
  uint32_t a = store_symbol(store, "A"), b = store_symbol(store, "B/C");
  for (int day = 0; day < 3; day++) {
    for (int i = 0; i < 10; i++) (void)store_put(store, a, STORE_NOON + day * STORE_DAY_NS + i, 1, 2);
    for (int i = 0; i < 5; i++) (void)store_put(store, b, STORE_NOON + day * STORE_DAY_NS + i, 1, 2);
  }
  store_close(store);
  store = NULL;
}

static void list(uint32_t check) {
  if (store == NULL) {
    tks_config config = store_config(TKS_DUAL);
    config.read_only = 1;
    store = store_open(dir, &config);
  }
  memset(days, 0x55, sizeof days);
  cr_assert_eq(tks_days(store, check, days, 16, &total, NULL), TKS_OK);
  for (size_t i = 1; i < total; i++)
    cr_assert(days[i].day_ns > days[i - 1].day_ns ||
              (days[i].day_ns == days[i - 1].day_ns && days[i].sink > days[i - 1].sink));
}

Test(days, an_empty_store_has_none) {
  tks_config config = store_config(TKS_DUAL);
  store = store_open(dir, &config);
  list(TKS_CHECK_FULL);
  cr_assert_eq(total, 0);
}

Test(days, sound_days) {
  make_store(TKS_DUAL);
  for (uint32_t check = TKS_CHECK_QUICK; check <= TKS_CHECK_FULL; check++) {
    list(check);
    cr_assert_eq(total, 6);
    for (size_t i = 0; i < total; i++) {
      const tks_day_info *d = &days[i];
      struct stat st;
      char path[PATH_MAX];
      static const char *const dates[] = {"2024-03-05", "2024-03-06", "2024-03-07"};
      bool sqlite = i % 2 == 0;
      cr_assert_eq(d->day_ns, STORE_MIDNIGHT + (int64_t)(i / 2) * STORE_DAY_NS);
      cr_assert_eq(d->sink, sqlite ? TKS_SQLITE : TKS_JSON);
      cr_assert_eq(d->code, TKS_OK, "%s", d->message);
      cr_assert_str_eq(d->message, "");
      cr_assert_eq(d->count, sqlite || check ? 15 : 0);
      cr_assert_eq(d->last_seq, sqlite || check ? 15 * (i / 2 + 1) : 0);
      cr_assert_eq(d->symbols, 2);
      cr_assert_eq(d->files, sqlite ? 1 : 2);
      cr_assert_eq(d->wal_bytes, 0);
      if (!sqlite) continue;
      store_day_path(dir, dates[i / 2], path);
      cr_assert_eq(stat(path, &st), 0);
      cr_assert_eq(d->bytes, (uint64_t)st.st_size);
    }
  }
}

Test(days, capacity) {
  make_store(TKS_DUAL);
  list(TKS_CHECK_QUICK);
  cr_assert_eq(tks_days(store, 0, NULL, 0, &total, NULL), TKS_OK);
  cr_assert_eq(total, 6);
  memset(days, 0x55, sizeof days);
  cr_assert_eq(tks_days(store, 0, days, 1, &total, NULL), TKS_OK);
  cr_assert_eq(total, 6);
  cr_assert_eq(days[0].sink, TKS_SQLITE);
  cr_assert_eq(days[1].sink, 0x55555555);
}

Test(days, a_day_that_is_being_written) {
  tks_config config = store_config(TKS_SQLITE);
  store = store_open(dir, &config);
  uint32_t a = store_symbol(store, "A");
  (void)store_put(store, a, STORE_NOON, 1, 2);
  store_flush(store);
  list(TKS_CHECK_FULL);
  cr_assert_eq(total, 1);
  cr_assert_eq(days[0].code, TKS_OK, "%s", days[0].message);
  cr_assert_eq(days[0].count, 1);
  cr_assert_gt(days[0].wal_bytes, 0);
}

static void middle_day_says(uint32_t check, uint32_t sink, const char *words) {
  list(check);
  bool found = false;
  for (size_t i = 0; i < total; i++) {
    bool middle = days[i].day_ns == STORE_MIDNIGHT + STORE_DAY_NS && days[i].sink == sink;
    found |= middle;
    cr_assert_eq(days[i].code, middle ? TKS_EDAYFILE : TKS_OK, "%zu: %s", i, days[i].message);
    if (middle) cr_assert_not_null(strstr(days[i].message, words), "%s", days[i].message);
    if (middle) cr_assert_not_null(strstr(days[i].message, "2024-03-06"), "%s", days[i].message);
  }
  cr_assert(found);
  store_close(store);
  store = NULL;
}

static void change(const char *path, const char *sql) {
  sqlite3 *db;
  char *message = NULL;
  cr_assert_eq(sqlite3_open(path, &db), SQLITE_OK);
  cr_assert_eq(sqlite3_exec(db, sql, NULL, NULL, &message), SQLITE_OK, "%s", message);
  (void)sqlite3_close(db);
}

Test(days, damaged_sqlite_days) {
  char path[PATH_MAX];
  size_t length;
  make_store(TKS_DUAL);
  store_day_path(dir, "2024-03-06", path);
  char *sound = read_file(path, &length);
  for (uint32_t check = TKS_CHECK_QUICK; check <= TKS_CHECK_FULL; check++) {
    write_file(path, "not a database but text, and long enough for SQLite to look at it. Really long enough, that is!!",
               96);
    middle_day_says(check, TKS_SQLITE, "not a database");
    write_file(path, sound, length / 2);
    middle_day_says(check, TKS_SQLITE, "malformed");
    write_file(path, sound, 60);
    middle_day_says(check, TKS_SQLITE, "ticks_");
    write_file(path, sound, length);
    change(path, "PRAGMA application_id=0");
    middle_day_says(check, TKS_SQLITE, "application_id");
    write_file(path, sound, length);
    change(path, "DROP VIEW ticks; DROP TABLE quote");
    middle_day_says(check, TKS_SQLITE, "lacks tables");
    static const char *const summaries[] = {"last_ns = 9223372036854775807", "first_ns = NULL",
                                            "first_ns = last_ns + 1", "last_ns = last_ns + 86400000000000"};
    for (size_t i = 0; i < sizeof summaries / sizeof summaries[0]; i++) {
      char sql[100];
      write_file(path, sound, length);
      (void)snprintf(sql, sizeof sql, "UPDATE symbol SET %s WHERE id = 1", summaries[i]);
      change(path, sql);
      middle_day_says(check, TKS_SQLITE, "malformed");
    }
  }
  write_file(path, sound, length);
  change(path, "DELETE FROM quote WHERE seq = 20");
  middle_day_says(TKS_CHECK_FULL, TKS_SQLITE, "summaries");
  write_file(path, sound, length);
  change(path, "DELETE FROM meta WHERE key = 'last_seq'");
  middle_day_says(TKS_CHECK_FULL, TKS_SQLITE, "sequence");
  /* Beyond the tables' first pages, so that only a full check sees it. */
  write_file(path, sound, length);
  change(path, "PRAGMA writable_schema=1; UPDATE sqlite_master SET rootpage = 9999 WHERE name = 'quote'");
  middle_day_says(TKS_CHECK_FULL, TKS_SQLITE, "ticks_");
  free(sound);
}

Test(days, a_newer_format) {
  char path[PATH_MAX];
  make_store(TKS_SQLITE);
  store_day_path(dir, "2024-03-06", path);
  change(path, "PRAGMA user_version=2");
  list(TKS_CHECK_QUICK);
  cr_assert_eq(total, 3);
  cr_assert_eq(days[1].code, TKS_EFORMAT);
  cr_assert_not_null(strstr(days[1].message, "format 2"), "%s", days[1].message);
}

Test(days, damaged_json_days) {
  char path[PATH_MAX];
  size_t length;
  make_store(TKS_DUAL);
  store_json_path(dir, "B%2FC", "2024-03-06", path);
  char *sound = read_file(path, &length);
  memset(sound, '#', 30);
  write_file(path, sound, length);
  free(sound);
  list(TKS_CHECK_QUICK); /* does not read lines */
  for (size_t i = 0; i < total; i++) cr_assert_eq(days[i].code, TKS_OK);
  list(TKS_CHECK_FULL);
  cr_assert_eq(days[3].count, 14);
  middle_day_says(TKS_CHECK_FULL, TKS_JSON, "1 lines");
}

Test(days, files_set_aside_are_told_for_ever) {
  make_store(TKS_DUAL);
  store_spoil_day(dir, "2024-03-06");
  tks_config config = store_config(TKS_DUAL);
  store = store_open(dir, &config);
  (void)store_put(store, store_symbol(store, "A"), STORE_NOON + STORE_DAY_NS, 1, 2);
  store_close(store);
  store = NULL;
  middle_day_says(TKS_CHECK_QUICK, TKS_SQLITE, "set aside");
  middle_day_says(TKS_CHECK_FULL, TKS_SQLITE, "damaged-1");
  list(TKS_CHECK_QUICK);
  cr_assert_eq(days[2].count, 1);
}

/* Set aside once, and damaged anew: one of both is told. */
Test(days, a_day_that_is_damaged_twice) {
  make_store(TKS_SQLITE);
  store_spoil_day(dir, STORE_DAY);
  tks_config config = store_config(TKS_SQLITE);
  store = store_open(dir, &config);
  (void)store_put(store, store_symbol(store, "A"), STORE_NOON, 1, 2);
  store_close(store);
  char path[PATH_MAX];
  store_day_path(dir, STORE_DAY, path);
  write_file(path, "spoilt again", 12);
  store = NULL;
  list(TKS_CHECK_QUICK);
  cr_assert_eq(total, 3);
  cr_assert_eq(days[0].code, TKS_EDAYFILE);
  cr_assert_not_null(strstr(days[0].message, "set aside"), "%s", days[0].message);
  cr_assert_eq(days[0].count, 0);
  cr_assert_eq(days[1].code, TKS_OK, "%s", days[1].message);
}

/* What is not ours is not looked at. */
Test(days, strange_files_and_directories) {
  make_store(TKS_DUAL);
  static const char *const names[] = {"db/2024/03/ticks_2024-03-06.db-journal.bak",
                                      "db/2024/03/notes.txt",
                                      "db/2024/03/ticks_2024-13-06.db",
                                      "db/2024/04/ticks_2024-03-06.db",
                                      "db/README",
                                      "json/A/notes.txt",
                                      "json/notes.txt",
                                      "json/A/2024-02-30.jsonl",
                                      "json/..B/2024-03-06.jsonl",
                                      "json/%zz/2024-03-06.jsonl"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    char path[PATH_MAX], parent[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/%s", dir, names[i]);
    (void)snprintf(parent, sizeof parent, "%s", path);
    *strrchr(parent, '/') = 0;
    make_dirs(parent);
    write_file(path, "x", 1);
  }
  list(TKS_CHECK_FULL);
  cr_assert_eq(total, 6);
  for (size_t i = 0; i < total; i++) cr_assert_eq(days[i].code, TKS_OK, "%s", days[i].message);
}

/* The days lack none, or the call says why it has none; what a single file hides is told with its day. */
Test(days, every_allocation_may_fail) {
  make_store(TKS_DUAL);
  list(TKS_CHECK_FULL);
  bool failed = true;
  for (uint64_t n = 0; failed; n++) {
    fail_allocation(n);
    int code = tks_days(store, TKS_CHECK_FULL, days, 16, &total, NULL);
    failed = allocations_work();
    cr_assert(code == TKS_OK || (failed && code == TKS_ENOMEM), "allocation %llu: %d", (unsigned long long)n, code);
    if (code != TKS_OK) continue;
    cr_assert_eq(total, 6);
    for (size_t i = 0; i < total; i++) {
      cr_assert(days[i].code == TKS_OK || (failed && days[i].code == TKS_ENOMEM), "%d", days[i].code);
      cr_assert(days[i].code != TKS_OK || days[i].count == 15, "%llu", (unsigned long long)days[i].count);
    }
  }
}

static _Atomic int lists_left;

static int fail_listing(tks__fs_op op, const char *path) {
  (void)path;
  return op == TKS__FS_LIST && atomic_fetch_sub(&lists_left, 1) == 0 ? EIO : 0;
}

Test(days, every_directory_may_be_unreadable) {
  make_store(TKS_DUAL);
  list(TKS_CHECK_FULL);
  for (int n = 0;; n++) {
    atomic_store(&lists_left, n);
    atomic_store(&tks__fs_fault, fail_listing);
    int code = tks_days(store, TKS_CHECK_QUICK, days, 16, &total, NULL);
    atomic_store(&tks__fs_fault, NULL);
    bool failed = atomic_load(&lists_left) < 0;
    cr_assert_eq(code, failed ? TKS_EIO : TKS_OK, "%d: %d", n, code);
    if (failed) continue;
    cr_assert_eq(total, 6);
    cr_assert_gt(n, 3);
    break;
  }
}
