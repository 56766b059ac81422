#include "persist/sqlite_sink.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/utc.h"
#include "support/faults.h"
#include "support/random.h"
#include "support/records.h"
#include "support/scratch.h"
#include "support/stores.h"
#include "support/sync_vfs.h"
#include "support/threads.h"

#define MONDAY INT64_C(1704067200000000000) /* 2024-01-01, midnight */
#define DAYS 8

static char *dir;
static tks__layout layout;
static tks__names symbols, sources;
static tks__log log_to_test;
static char logged[4096];
static tks__sqlite_sink_options options;
static tks__sink *sink;
static tks_error error;
static uint64_t next_seq;

static void hear(void *context, int32_t level, const char *message, size_t length) {
  (void)context;
  (void)level;
  size_t n = strlen(logged);
  if (n + length + 2 < sizeof logged) (void)snprintf(logged + n, sizeof logged - n, "%s\n", message);
}

static void set_up(void) {
  dir = scratch_new();
  cr_assert(tks__layout_init(&layout, dir, strlen(dir)));
  cr_assert_eq(tks__names_init(&symbols, 10000), TKS_OK);
  cr_assert_eq(tks__names_init(&sources, 10), TKS_OK);
  log_to_test = (tks__log){.write = hear, .level = TKS_LOG_WARN};
  options = (tks__sqlite_sink_options){
      .dayfile = {.layout = &layout,
                  .symbols = &symbols,
                  .sources = &sources,
                  .log = &log_to_test,
                  .synchronous = TKS_SYNC_FULL,
                  .checkpoint_pages = 1000,
                  .temp_store_memory = 1,
                  .page_cache_bytes = UINT64_C(4) << 20},
      .first_seq = 1,
      .max_open_days = 4,
      .late_close_s = 3600,
  };
  next_seq = 1;
}

static int close_sink(void) {
  int code = sink->ops->close(sink, &error);
  sink = NULL;
  return code;
}

static void tear_down(void) {
  (void)allocations_work();
  atomic_store(&tks__fs_fault, NULL);
  sync_vfs_fail_wal(0);
  if (sink != NULL) (void)close_sink();
  tks__names_deinit(&symbols);
  tks__names_deinit(&sources);
  scratch_remove(dir);
}

TestSuite(sqlite_sink, .init = set_up, .fini = tear_down);

/* A session of its own. */
static void start(void) {
  options.first_seq = next_seq;
  sink = tks__sqlite_sink_new(&options);
  cr_assert_not_null(sink);
}

static uint32_t symbol_of(const char *name) {
  uint32_t id;
  cr_assert_eq(tks__names_intern(&symbols, name, strlen(name), &id), TKS_OK);
  return id;
}

/* A list of `count` records on these days (0 is MONDAY), each a second into it. */
static record_list *records_on(size_t count, const int *days) {
  record_list *list = record_list_new(count);
  for (size_t i = 0; i < count; i++)
    list->records[i] = (tks__record){.ts_ns = MONDAY + days[i] * TKS__NS_PER_DAY + TKS__NS_PER_S,
                                     .seq = next_seq++,
                                     .bid = 1.5,
                                     .ask = 1.75,
                                     .symbol = symbol_of("X")};
  return list;
}

#define RECORDS(...) records_on(sizeof((const int[]){__VA_ARGS__}) / sizeof(int), (const int[]){__VA_ARGS__})

static int write_lists(record_list *const *lists, size_t count) {
  error = (tks_error){0};
  return record_lists_write(sink, lists, count, &error);
}

/* Writes it, which must work, and lets it go. */
static void write_once(record_list *list) {
  cr_assert_eq(write_lists(&list, 1), TKS_OK, "%s", error.message);
  free(list);
}

static const char *path_of(int day) {
  static char paths[4][TKS__PATH_MAX];
  static int next;
  char *path = paths[next++ % 4];
  tks__layout_day_file(&layout, tks__utc_day(MONDAY) + day, path);
  return path;
}

static bool beside_exists(int day, const char *suffix) {
  char name[TKS__PATH_MAX + 32];
  (void)snprintf(name, sizeof name, "%s%s", path_of(day), suffix);
  return path_exists(name);
}

/* Rows of a day; -1 where there is no file. Each exactly once. */
static int64_t rows_of(int day) {
  int64_t rows = sqlite_integer(path_of(day), "SELECT COUNT(*) FROM ticks");
  if (rows >= 0) {
    cr_assert_eq(sqlite_integer(path_of(day), "SELECT COUNT(DISTINCT id) FROM ticks"), rows);
    cr_assert_eq(sqlite_integer(path_of(day), "SELECT ifnull(SUM(quotes), 0) FROM symbol"), rows);
  }
  return rows;
}

/* ------------------------------------------------------------------- routing */

Test(sqlite_sink, touches_no_disk_before_it_must) {
  start();
  cr_assert_not(beside_exists(0, ""));
  cr_assert_eq(write_lists(NULL, 0), TKS_OK);
  cr_assert_eq(sink->ops->sync(sink, &error), TKS_OK);
  cr_assert_eq(sink->ops->tend(sink, MONDAY, &error), TKS_OK);
  cr_assert_eq(close_sink(), TKS_OK);
  char name[PATH_MAX];
  (void)snprintf(name, sizeof name, "%s/db", dir);
  cr_assert_not(path_exists(name));
}

Test(sqlite_sink, each_record_goes_to_the_day_of_its_own_time) {
  start();
  write_once(RECORDS(0, 1, 1, 0, 2, -365, 1));
  cr_assert_eq(rows_of(0), 2);
  cr_assert_eq(rows_of(1), 3);
  cr_assert_eq(rows_of(2), 1);
  cr_assert_eq(rows_of(-365), 1);
  cr_assert_eq(rows_of(3), -1);
}

Test(sqlite_sink, midnight_belongs_to_the_day_that_begins) {
  start();
  record_list *list = RECORDS(0, 0, 0, 0);
  list->records[0].ts_ns = MONDAY - 1;
  list->records[1].ts_ns = MONDAY;
  list->records[2].ts_ns = MONDAY + TKS__NS_PER_DAY - 1;
  list->records[3].ts_ns = MONDAY + TKS__NS_PER_DAY;
  write_once(list);
  cr_assert_eq(rows_of(-1), 1);
  cr_assert_eq(rows_of(0), 2);
  cr_assert_eq(rows_of(1), 1);
  cr_assert_eq(sqlite_integer(path_of(0), "SELECT MIN(id) FROM ticks"), 2);
}

Test(sqlite_sink, late_ticks_go_to_their_own_day) {
  start();
  write_once(RECORDS(0, 0));
  write_once(RECORDS(2, 2, 2));
  write_once(RECORDS(2, 0, 2, 0));
  cr_assert_eq(rows_of(0), 4);
  cr_assert_eq(rows_of(2), 5);
  cr_assert_eq(sqlite_integer(path_of(0), "SELECT value FROM meta WHERE key = 'last_seq'"), 9);
}

Test(sqlite_sink, many_lists_and_many_symbols_at_once) {
  enum { LISTS = 7, EACH = 3000, SYMBOLS = 900 };
  start();
  test_random random = random_new();
  record_list *lists[LISTS];
  static int64_t expected[2][SYMBOLS];
  for (int s = 0; s < SYMBOLS; s++) {
    char name[16];
    (void)snprintf(name, sizeof name, "S%d", s);
    cr_assert_eq(symbol_of(name), (uint32_t)s + 1);
  }
  for (int b = 0; b < LISTS; b++) {
    lists[b] = record_list_new(EACH);
    for (int i = 0; i < EACH; i++) {
      int day = (int)random_below(&random, 2);
      uint32_t symbol = (uint32_t)random_below(&random, random_below(&random, SYMBOLS) + 1);
      expected[day][symbol]++;
      lists[b]->records[i] =
          (tks__record){.ts_ns = MONDAY + day * TKS__NS_PER_DAY + (int64_t)random_below(&random, TKS__NS_PER_DAY),
                        .seq = next_seq++,
                        .bid = (double)symbol,
                        .symbol = symbol + 1};
    }
  }
  cr_assert_eq(write_lists(lists, LISTS), TKS_OK, "%s", error.message);
  for (int b = 0; b < LISTS; b++) free(lists[b]);
  cr_assert_eq(close_sink(), TKS_OK);
  for (int day = 0; day < 2; day++) {
    int64_t rows = 0, used = 0;
    for (int s = 0; s < SYMBOLS; s++) {
      rows += expected[day][s];
      used += expected[day][s] > 0;
    }
    cr_assert_eq(rows_of(day), rows);
    cr_assert_eq(sqlite_integer(path_of(day), "SELECT COUNT(*) FROM symbol"), used);
    /* Each symbol's count and span are those of its rows, and its rows are its own. */
    cr_assert_eq(sqlite_integer(path_of(day), "SELECT COUNT(*) FROM symbol WHERE (quotes, first_ns, last_ns) <>"
                                              " (SELECT COUNT(*), MIN(timestamp_ns), MAX(timestamp_ns) FROM ticks"
                                              "  WHERE ticks.symbol = symbol.name)"),
                 0);
    cr_assert_eq(sqlite_integer(path_of(day), "SELECT COUNT(*) FROM ticks WHERE symbol <> 'S' || CAST(bid AS INTEGER)"),
                 0);
    char sql[128];
    (void)snprintf(sql, sizeof sql, "SELECT ifnull(MAX(quotes), 0) FROM symbol WHERE name = 'S3'");
    cr_assert_eq(sqlite_integer(path_of(day), sql), expected[day][3]);
  }
}

/* --------------------------------------------------------------------- retries */

Test(sqlite_sink, what_is_stored_is_not_stored_again) {
  start();
  record_list *lists[2] = {RECORDS(0, 1, 0), RECORDS(1, 1, 0)};
  for (int i = 0; i < 4; i++) cr_assert_eq(write_lists(lists, 2), TKS_OK, "%s", error.message);
  /* Also after the files were closed and opened in between. */
  cr_assert_eq(close_sink(), TKS_OK);
  start();
  cr_assert_eq(write_lists(lists, 2), TKS_OK, "%s", error.message);
  cr_assert_eq(rows_of(0), 3);
  cr_assert_eq(rows_of(1), 3);
  cr_assert_null(strstr(logged, "set aside"), "it was, and refused as damage: %s", logged);
  for (int i = 0; i < 2; i++) free(lists[i]);
}

/* A copy of a journal file, or one that power loss brought back, has records that another one has too. */
Test(sqlite_sink, what_comes_twice_in_one_write_is_stored_once) {
  start();
  write_once(RECORDS(0));
  record_list *list = RECORDS(0, 1, 0, 0, 0);
  for (int i = 0; i < 3; i++) list->records[2 + i] = list->records[i == 0 ? 0 : 2];
  list->records[3].seq = list->records[2].seq;
  list->records[4].seq = list->records[1].seq + 1;
  write_once(list);
  cr_assert_eq(rows_of(0), 3);
  cr_assert_eq(rows_of(1), 1);
  cr_assert_not(beside_exists(0, ".damaged-1"), "the day is not to blame");
}

Test(sqlite_sink, a_retry_after_half_a_success) {
  start();
  make_dirs(path_of(1)); /* a directory where a file should be */
  record_list *lists[3] = {RECORDS(0, 1, 2), RECORDS(2, 1, 0), RECORDS(0, 1, 2, 3)};
  for (int i = 0; i < 3; i++) {
    cr_assert_eq(write_lists(lists, 2), TKS_EIO);
    cr_assert_not_null(strstr(error.message, path_of(1)), "%s", error.message);
  }
  cr_assert_eq(rows_of(0), 2, "the day before it is stored");
  cr_assert_eq(rows_of(2), 2, "and so is the one behind it");
  cr_assert_eq(rmdir(path_of(1)), 0);
  cr_assert_eq(write_lists(lists, 3), TKS_OK, "%s", error.message);
  cr_assert_eq(rows_of(0), 3);
  cr_assert_eq(rows_of(1), 3);
  cr_assert_eq(rows_of(2), 3);
  cr_assert_eq(rows_of(3), 1);
  for (int i = 0; i < 3; i++) free(lists[i]);
}

Test(sqlite_sink, a_commit_that_fails_to_sync) {
  sync_vfs_install();
  start();
  write_once(RECORDS(0, 0));
  record_list *lists[2] = {RECORDS(0, 1, 0), RECORDS(1, 0)};
  for (int i = 0; i < 3; i++) {
    sync_vfs_fail_wal(1);
    cr_assert_eq(write_lists(lists, 1), TKS_EIO, "%s", error.message);
  }
  sync_vfs_fail_wal(0);
  cr_assert_eq(write_lists(lists, 2), TKS_OK, "%s", error.message);
  cr_assert_eq(rows_of(0), 5);
  cr_assert_eq(rows_of(1), 2);
  for (int i = 0; i < 2; i++) free(lists[i]);
}

/* What an opened-again log shows may lie in the page cache alone, and a second sync of it may claim success without writing
 * anything. So its pages go into the database, which is synced, before anything in it is called durable. (The reader keeps
 * SQLite from doing so by itself when the file is closed.) */
Test(sqlite_sink, after_a_failed_sync_the_log_is_not_trusted) {
  sync_vfs_install();
  start();
  write_once(RECORDS(0, 0));
  sqlite3 *reader;
  cr_assert_eq(sqlite3_open_v2(path_of(0), &reader, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
  cr_assert_eq(sqlite3_exec(reader, "SELECT * FROM meta;", NULL, NULL, NULL), SQLITE_OK);
  record_list *list = RECORDS(0, 0);
  sync_vfs_fail_wal(1);
  cr_assert_eq(write_lists(&list, 1), TKS_EIO);
  sync_vfs_fail_wal(0);
  uint64_t before = sync_vfs_db_syncs();
  cr_assert_eq(write_lists(&list, 1), TKS_OK, "%s", error.message);
  cr_assert_gt(sync_vfs_db_syncs(), before);
  cr_assert_eq(rows_of(0), 4);
  before = sync_vfs_db_syncs();
  write_once(RECORDS(0, 0));
  cr_assert_eq(sync_vfs_db_syncs(), before, "once is enough");
  cr_assert_eq(sqlite3_close(reader), SQLITE_OK);
  free(list);
}

/* After a failed sync the writer goes back to what is durable and hands it over piece by piece: the first pieces end below
 * what the file holds already. That is no reason to think ill of the file. */
Test(sqlite_sink, after_a_failed_sync_all_that_is_not_durable_comes_again) {
  sync_vfs_install();
  options.dayfile.synchronous = TKS_SYNC_NORMAL;
  start();
  cr_assert_not(sink->durable_on_write);
  record_list *lists[3] = {RECORDS(0, 0, 1), RECORDS(0, 1, 0), RECORDS(1, 0, 0)};
  for (int i = 0; i < 3; i++) cr_assert_eq(write_lists(&lists[i], 1), TKS_OK);
  sync_vfs_fail_wal(1);
  cr_assert_eq(sink->ops->sync(sink, &error), TKS_EIO, "%s", error.message);
  for (int i = 0; i < 3; i++) cr_assert_eq(write_lists(&lists[i], 1), TKS_OK, "%s", error.message);
  cr_assert_eq(sink->ops->sync(sink, &error), TKS_OK, "%s", error.message);
  cr_assert_eq(rows_of(0), 6);
  cr_assert_eq(rows_of(1), 3);
  cr_assert_not(tks__layout_has_damaged(path_of(0)), "%s", logged);
  cr_assert_not(tks__layout_has_damaged(path_of(1)), "%s", logged);
  for (int i = 0; i < 3; i++) free(lists[i]);
}

/* The file format's own mark: byte 18 is 2 in WAL mode, 1 otherwise. */
static int mode_mark(int day) {
  size_t length;
  char *bytes = read_file(path_of(day), &length);
  int mark = length > 18 ? bytes[18] : 0;
  free(bytes);
  return mark;
}

/* A day that is let go because of a failed sync, and gets nothing more, is sealed all the same. */
Test(sqlite_sink, after_a_failed_sync_a_day_without_more_records_is_sealed) {
  sync_vfs_install();
  options.dayfile.synchronous = TKS_SYNC_NORMAL;
  start();
  write_once(RECORDS(0, 1));
  cr_assert_eq(sink->ops->sync(sink, &error), TKS_OK);
  record_list *list = RECORDS(1, 1);
  cr_assert_eq(write_lists(&list, 1), TKS_OK);
  sync_vfs_fail_wal(1);
  cr_assert_eq(sink->ops->sync(sink, &error), TKS_EIO);
  sync_vfs_fail_wal(0);
  cr_assert_eq(write_lists(&list, 1), TKS_OK);
  cr_assert_eq(sink->ops->sync(sink, &error), TKS_OK);
  cr_assert_eq(mode_mark(0), 2);
  cr_assert_eq(sink->ops->tend(sink, MONDAY + TKS__NS_PER_DAY, &error), TKS_OK);
  cr_assert_eq(mode_mark(0), 1);
  cr_assert_not(beside_exists(0, "-wal"));
  cr_assert_eq(rows_of(0), 1);
  cr_assert_eq(close_sink(), TKS_OK);
  cr_assert_eq(mode_mark(1), 1);
  cr_assert_eq(rows_of(1), 3);
  free(list);
}

Test(sqlite_sink, normal_syncs_every_open_day_when_asked) {
  sync_vfs_install();
  options.dayfile.synchronous = TKS_SYNC_NORMAL;
  start();
  write_once(RECORDS(0, 1, 2));
  uint64_t before = sync_vfs_wal_syncs();
  write_once(RECORDS(0, 1, 2));
  cr_assert_eq(sync_vfs_wal_syncs(), before);
  cr_assert_eq(sink->ops->sync(sink, &error), TKS_OK);
  cr_assert_geq(sync_vfs_wal_syncs(), before + 3);
}

/* A file that has to go while somebody reads it takes nothing unsynced with it. */
Test(sqlite_sink, normal_syncs_what_it_closes) {
  sync_vfs_install();
  options.dayfile.synchronous = TKS_SYNC_NORMAL;
  options.max_open_days = 1;
  start();
  write_once(RECORDS(0));
  sqlite3 *reader;
  cr_assert_eq(sqlite3_open_v2(path_of(0), &reader, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
  cr_assert_eq(sqlite3_exec(reader, "BEGIN; SELECT * FROM meta;", NULL, NULL, NULL), SQLITE_OK);
  write_once(RECORDS(0, 0));
  uint64_t before = sync_vfs_wal_syncs();
  write_once(RECORDS(1));
  cr_assert_gt(sync_vfs_wal_syncs(), before);
  cr_assert_eq(sqlite3_close(reader), SQLITE_OK);
  cr_assert_eq(rows_of(0), 3);
}

Test(sqlite_sink, full_is_durable_when_written) {
  start();
  cr_assert(sink->durable_on_write);
  write_once(RECORDS(0));
  cr_assert_eq(sink->ops->sync(sink, &error), TKS_OK);
}

Test(sqlite_sink, no_memory) {
  record_list *lists[2] = {RECORDS(0, 1, 0), RECORDS(1, 1, 2)};
  for (int i = 0; i < 20; i++) { /* an id for which the table by symbol has to grow in the midst of a day */
    char name[8];
    (void)snprintf(name, sizeof name, "S%d", i);
    lists[0]->records[2].symbol = symbol_of(name);
  }
  uint64_t n = 0;
  for (bool failed = true; failed; n++) {
    scratch_clear(dir);
    fail_allocation(n);
    sink = tks__sqlite_sink_new(&options);
    int code = sink == NULL ? TKS_ENOMEM : write_lists(lists, 2);
    failed = allocations_work();
    cr_assert(code == TKS_OK || (failed && code == TKS_ENOMEM), "%d %s", code, error.message);
    if (sink == NULL) continue;
    for (int i = 0; code != TKS_OK && i < 2; i++) code = write_lists(lists, 2);
    cr_assert_eq(code, TKS_OK, "%s", error.message);
    cr_assert_eq(rows_of(0), 2);
    cr_assert_eq(rows_of(1), 3);
    cr_assert_eq(rows_of(2), 1);
    cr_assert_eq(close_sink(), TKS_OK);
    cr_assert_str_eq(logged, "", "nothing was taken for damaged");
  }
  cr_assert_geq(n, 8);
  for (int i = 0; i < 2; i++) free(lists[i]);
}

/* ------------------------------------------------------------------ open files */

static uint64_t open_files(void) { return sink->gauges.open_files; }

Test(sqlite_sink, the_day_that_was_used_longest_ago_makes_room) {
  options.max_open_days = 2;
  start();
  write_once(RECORDS(0));
  write_once(RECORDS(1));
  cr_assert_eq(open_files(), 2);
  cr_assert_gt(sink->gauges.wal_bytes, 0);
  write_once(RECORDS(0)); /* now 1 is the older one */
  write_once(RECORDS(2));
  cr_assert_eq(open_files(), 2);
  cr_assert(beside_exists(0, "-wal"));
  cr_assert_not(beside_exists(1, "-wal"), "sealed");
  cr_assert(beside_exists(2, "-wal"));
  write_once(RECORDS(1)); /* a late one: 0 goes, 1 comes back */
  cr_assert_not(beside_exists(0, "-wal"));
  cr_assert(beside_exists(1, "-wal"));
  cr_assert_eq(sink->gauges.rotations, 0, "those days may get more");
  cr_assert_eq(rows_of(0), 2);
  cr_assert_eq(rows_of(1), 2);
  cr_assert_eq(rows_of(2), 1);
}

Test(sqlite_sink, one_write_over_more_days_than_may_be_open) {
  options.max_open_days = 1;
  start();
  for (int i = 0; i < 3; i++) write_once(RECORDS(5, 4, 3, 2, 1, 0));
  cr_assert_eq(open_files(), 1);
  for (int day = 0; day < 6; day++) cr_assert_eq(rows_of(day), 3);
}

Test(sqlite_sink, close_seals_everything) {
  start();
  write_once(RECORDS(0, 1, 2, 3));
  cr_assert_eq(close_sink(), TKS_OK);
  for (int day = 0; day < 4; day++) {
    cr_assert_not(beside_exists(day, "-wal"));
    cr_assert_not(beside_exists(day, "-shm"));
    cr_assert_eq(rows_of(day), 1);
  }
}

Test(sqlite_sink, close_with_a_reader_in_the_way) {
  start();
  write_once(RECORDS(0, 1));
  sqlite3 *reader;
  cr_assert_eq(sqlite3_open_v2(path_of(0), &reader, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
  cr_assert_eq(sqlite3_exec(reader, "BEGIN; SELECT * FROM meta;", NULL, NULL, NULL), SQLITE_OK);
  cr_assert_eq(close_sink(), TKS_OK, "what cannot be sealed stays readable");
  cr_assert_not_null(strstr(logged, "unsealed"), "%s", logged);
  cr_assert_not(beside_exists(1, "-wal"));
  cr_assert_eq(rows_of(0), 1);
  cr_assert_eq(sqlite3_close(reader), SQLITE_OK);
  cr_assert_eq(rows_of(0), 1);
}

/* As when the store's own readers are at a day that has to make room: at close they are gone. */
Test(sqlite_sink, close_seals_what_a_reader_had_kept_from_it) {
  options.max_open_days = 1;
  start();
  cr_assert_eq(sink->ops->tend(sink, MONDAY, &error), TKS_OK); /* else close looks into every day anyway */
  write_once(RECORDS(0));
  sqlite3 *reader;
  cr_assert_eq(sqlite3_open_v2(path_of(0), &reader, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
  cr_assert_eq(sqlite3_exec(reader, "BEGIN; SELECT * FROM meta;", NULL, NULL, NULL), SQLITE_OK);
  write_once(RECORDS(1));
  cr_assert(beside_exists(0, "-wal"));
  cr_assert_eq(sqlite3_close(reader), SQLITE_OK);
  cr_assert_eq(close_sink(), TKS_OK);
  for (int day = 0; day < 2; day++) {
    cr_assert_not(beside_exists(day, "-wal"), "day %d", day);
    cr_assert_not(beside_exists(day, "-shm"), "day %d", day);
    cr_assert_not(tks__dayfile_in_wal_mode(path_of(day)), "day %d", day);
    cr_assert_eq(rows_of(day), 1);
  }
}

/* Whoever closes it last removes its log, and nothing beside the file tells that it is in WAL mode still. */
Test(sqlite_sink, a_day_that_was_closed_unsealed_is_sealed_without_its_log_too) {
  options.max_open_days = 1;
  start();
  write_once(RECORDS(0));
  sqlite3 *reader;
  cr_assert_eq(sqlite3_open_v2(path_of(0), &reader, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
  cr_assert_eq(sqlite3_exec(reader, "BEGIN; SELECT * FROM meta;", NULL, NULL, NULL), SQLITE_OK);
  write_once(RECORDS(1));
  cr_assert_eq(sqlite3_close(reader), SQLITE_OK);
  cr_assert_not(beside_exists(0, "-wal"));
  cr_assert(tks__dayfile_in_wal_mode(path_of(0)));
  cr_assert_eq(sink->ops->tend(sink, MONDAY + TKS__NS_PER_DAY, &error), TKS_OK);
  cr_assert_not(tks__dayfile_in_wal_mode(path_of(0)));
  cr_assert_eq(rows_of(0), 1);
}

/* ---------------------------------------------------------------- housekeeping */

Test(sqlite_sink, past_days_are_sealed_when_no_late_ticks_come) {
  options.late_close_s = 0;
  start();
  write_once(RECORDS(0, 1, 2));
  cr_assert_eq(sink->ops->tend(sink, MONDAY + 2 * TKS__NS_PER_DAY, &error), TKS_OK);
  cr_assert_eq(open_files(), 1, "today stays open");
  cr_assert_eq(sink->gauges.rotations, 2);
  cr_assert_not(beside_exists(0, "-wal"));
  cr_assert_not(beside_exists(1, "-wal"));
  cr_assert(beside_exists(2, "-wal"));
  /* The last instant of a day is still that day. */
  cr_assert_eq(sink->ops->tend(sink, MONDAY + 3 * TKS__NS_PER_DAY - 1, &error), TKS_OK);
  cr_assert_eq(open_files(), 1);
  cr_assert_eq(sink->ops->tend(sink, MONDAY + 3 * TKS__NS_PER_DAY, &error), TKS_OK);
  cr_assert_eq(open_files(), 0);
  cr_assert_eq(sink->gauges.wal_bytes, 0);
  cr_assert_eq(sink->gauges.rotations, 3);
  write_once(RECORDS(0));
  cr_assert_eq(rows_of(0), 2, "a tick that comes even later");
}

Test(sqlite_sink, a_past_day_waits_for_late_ticks) {
  options.late_close_s = 3600;
  start();
  write_once(RECORDS(0, 1));
  cr_assert_eq(sink->ops->tend(sink, MONDAY + 5 * TKS__NS_PER_DAY, &error), TKS_OK);
  cr_assert_eq(open_files(), 2, "it is not an hour since the last one, whatever the calendar says");
  cr_assert_eq(sink->gauges.rotations, 0);
}

/* A clock that steps back makes past days of none. */
Test(sqlite_sink, a_clock_that_steps_back) {
  options.late_close_s = 0;
  start();
  write_once(RECORDS(5));
  cr_assert_eq(sink->ops->tend(sink, MONDAY, &error), TKS_OK);
  cr_assert_eq(open_files(), 1);
}

Test(sqlite_sink, a_seal_that_a_reader_puts_off_comes_later) {
  options.late_close_s = 0;
  start();
  write_once(RECORDS(0, 1));
  sqlite3 *reader;
  cr_assert_eq(sqlite3_open_v2(path_of(0), &reader, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
  cr_assert_eq(sqlite3_exec(reader, "BEGIN; SELECT * FROM meta;", NULL, NULL, NULL), SQLITE_OK);
  cr_assert_eq(sink->ops->tend(sink, MONDAY + 5 * TKS__NS_PER_DAY, &error), TKS_OK);
  cr_assert_eq(open_files(), 1);
  cr_assert_eq(sink->gauges.rotations, 1);
  write_once(RECORDS(0));
  cr_assert_eq(sqlite3_close(reader), SQLITE_OK);
  cr_assert_eq(sink->ops->tend(sink, MONDAY + 5 * TKS__NS_PER_DAY, &error), TKS_OK);
  cr_assert_eq(open_files(), 0);
  cr_assert_eq(sink->gauges.rotations, 2);
  cr_assert_eq(rows_of(0), 2);
}

static void copy_day(int day, const char *to_dir) {
  static const char *const suffixes[] = {"", "-wal"};
  tks__layout there;
  char name[TKS__PATH_MAX], from[TKS__PATH_MAX + 8], to[TKS__PATH_MAX + 8];
  cr_assert(tks__layout_init(&there, to_dir, strlen(to_dir)));
  tks__layout_day_file(&there, tks__utc_day(MONDAY) + day, name);
  *strrchr(name, '/') = '\0';
  make_dirs(name);
  tks__layout_day_file(&there, tks__utc_day(MONDAY) + day, name);
  for (int i = 0; i < 2; i++) {
    size_t length;
    (void)snprintf(from, sizeof from, "%s%s", path_of(day), suffixes[i]);
    (void)snprintf(to, sizeof to, "%s%s", name, suffixes[i]);
    char *bytes = read_file(from, &length);
    write_file(to, bytes, length);
    free(bytes);
  }
}

/* Another program puts a sealed file in WAL mode; its log goes when it closes. */
static void make_wal(const char *path) {
  sqlite3 *db;
  cr_assert_eq(sqlite3_open(path, &db), SQLITE_OK);
  cr_assert_eq(sqlite3_exec(db, "PRAGMA journal_mode=WAL", NULL, NULL, NULL), SQLITE_OK);
  cr_assert_eq(sqlite3_close(db), SQLITE_OK);
}

/* The files as a killed process leaves them: the rows are in the log. */
Test(sqlite_sink, what_a_crash_left_is_sealed) {
  start();
  write_once(RECORDS(0, 1, 1, 2));
  char *crashed = scratch_new();
  for (int day = 0; day < 3; day++) copy_day(day, crashed);
  cr_assert_eq(close_sink(), TKS_OK);
  cr_assert(tks__layout_init(&layout, crashed, strlen(crashed)));
  char bad[TKS__PATH_MAX + 8];
  write_file(path_of(0), "not a database, and yet it has a log", 36);
  cr_assert(beside_exists(1, "-wal"));
  start();
  cr_assert_eq(sink->ops->tend(sink, MONDAY + TKS__NS_PER_DAY, &error), TKS_OK);
  for (int day = 1; day < 3; day++) {
    cr_assert_not(beside_exists(day, "-wal"));
    cr_assert_not(beside_exists(day, "-shm"));
    cr_assert_eq(rows_of(day), day == 1 ? 2 : 1);
  }
  (void)snprintf(bad, sizeof bad, "%s", path_of(0));
  cr_assert_not_null(strstr(logged, bad), "%s", logged);
  cr_assert(path_exists(bad), "nobody needs it now: it is left alone");
  cr_assert_eq(open_files(), 0);
  cr_assert_eq(close_sink(), TKS_OK);
  scratch_remove(crashed);
}

/* Closed before it was ever tended. Nothing was written to that day, which SQLite had half left WAL mode with. */
Test(sqlite_sink, what_a_crash_left_is_sealed_by_a_short_session) {
  start();
  write_once(RECORDS(0, 1));
  cr_assert_eq(close_sink(), TKS_OK);
  char index[TKS__PATH_MAX + 8];
  (void)snprintf(index, sizeof index, "%s-shm", path_of(0));
  make_wal(path_of(0));
  write_file(index, "", 0);
  options.after_crash = true;
  start();
  write_once(RECORDS(2));
  cr_assert_eq(close_sink(), TKS_OK);
  cr_assert_not(tks__dayfile_in_wal_mode(path_of(0)));
  cr_assert_not(beside_exists(0, "-shm"));
  cr_assert_eq(rows_of(0), 1);
}

/* Killed while it sealed: SQLite has removed the log and not yet changed the header. Nothing beside the file tells. */
Test(sqlite_sink, what_a_crash_left_half_sealed_is_sealed) {
  start();
  write_once(RECORDS(0, 1));
  cr_assert_eq(close_sink(), TKS_OK);
  cr_assert_eq(sqlite_integer(path_of(0), "PRAGMA user_version"), 1);
  make_wal(path_of(0));
  cr_assert(tks__dayfile_in_wal_mode(path_of(0)));
  cr_assert_not(tks__dayfile_in_wal_mode(path_of(1)));
  cr_assert_not(beside_exists(0, "-wal"));
  options.after_crash = true;
  start();
  for (int round = 0; round < 2; round++) {
    cr_assert_eq(sink->ops->tend(sink, MONDAY + TKS__NS_PER_DAY, &error), TKS_OK);
    cr_assert_not(tks__dayfile_in_wal_mode(path_of(0)));
  }
  cr_assert_eq(rows_of(0), 1);
  /* Once: what comes later leaves its traces. */
  make_wal(path_of(1));
  cr_assert_eq(sink->ops->tend(sink, MONDAY + TKS__NS_PER_DAY, &error), TKS_OK);
  cr_assert(tks__dayfile_in_wal_mode(path_of(1)));
}

/* --------------------------------------------------------------------- damage */

Test(sqlite_sink, a_damaged_file_is_set_aside_and_the_day_goes_on) {
  start();
  write_once(RECORDS(0, 1));
  cr_assert_eq(close_sink(), TKS_OK);
  start();
  for (int i = 1; i <= 3; i++) {
    char aside[32];
    write_file(path_of(0), "this is not a database at all", 29);
    write_once(RECORDS(0, 1, 0));
    (void)snprintf(aside, sizeof aside, ".damaged-%d", i);
    cr_assert(beside_exists(0, aside));
    cr_assert(tks__layout_has_damaged(path_of(0)));
    cr_assert_not_null(strstr(logged, aside), "%s", logged);
    cr_assert_eq(rows_of(0), 2);
    cr_assert_eq(rows_of(1), 1 + i, "other days are untouched");
    /* As it was. */
    char name[TKS__PATH_MAX + 32];
    size_t length;
    (void)snprintf(name, sizeof name, "%s%s", path_of(0), aside);
    char *bytes = read_file(name, &length);
    cr_assert_eq(length, 29);
    cr_assert_eq(memcmp(bytes, "this is not a database at all", 29), 0);
    free(bytes);
    cr_assert_eq(close_sink(), TKS_OK);
    start();
  }
  cr_assert_not(tks__layout_has_damaged(path_of(1)));
}

/* Its rows are no reason to lose new ones: a number beyond all that was ever handed over is not this store's. */
Test(sqlite_sink, a_file_of_another_store_is_set_aside) {
  start();
  next_seq = 1000000;
  write_once(RECORDS(0, 0));
  cr_assert_eq(close_sink(), TKS_OK);
  next_seq = 5;
  start();
  write_once(RECORDS(0, 0, 0));
  cr_assert_eq(rows_of(0), 3);
  cr_assert(beside_exists(0, ".damaged-1"));
}

/* It can be read again by a newer library, so it is neither written nor moved. */
Test(sqlite_sink, a_file_of_a_newer_format_is_left_alone) {
  start();
  write_once(RECORDS(0, 1));
  cr_assert_eq(close_sink(), TKS_OK);
  sqlite3 *db;
  cr_assert_eq(sqlite3_open(path_of(0), &db), SQLITE_OK);
  cr_assert_eq(sqlite3_exec(db, "PRAGMA user_version=2", NULL, NULL, NULL), SQLITE_OK);
  cr_assert_eq(sqlite3_close(db), SQLITE_OK);
  start();
  record_list *list = RECORDS(0, 1);
  cr_assert_eq(write_lists(&list, 1), TKS_EFORMAT, "%s", error.message);
  free(list);
  cr_assert_not(tks__layout_has_damaged(path_of(0)));
  cr_assert_eq(sqlite_integer(path_of(0), "SELECT COUNT(*) FROM ticks"), 1);
  cr_assert_eq(rows_of(1), 2, "the other day goes on");
}

static int no_rename(tks__fs_op op, const char *name) {
  (void)name;
  return op == TKS__FS_RENAME ? EACCES : 0;
}

Test(sqlite_sink, a_damaged_file_that_cannot_be_moved_is_tried_again) {
  start();
  write_once(RECORDS(0));
  cr_assert_eq(close_sink(), TKS_OK);
  write_file(path_of(0), "garbage", 7);
  start();
  record_list *list = RECORDS(0, 0);
  atomic_store(&tks__fs_fault, no_rename);
  for (int i = 0; i < 3; i++) cr_assert_eq(write_lists(&list, 1), TKS_EIO);
  cr_assert_not_null(strstr(error.message, "set aside"), "%s", error.message);
  atomic_store(&tks__fs_fault, NULL);
  cr_assert_eq(write_lists(&list, 1), TKS_OK, "%s", error.message);
  cr_assert_eq(rows_of(0), 2);
  free(list);
}

/* ------------------------------------------------------------------ all at once */

/* The lane's part: what is not durable is handed over again after a failure, in pieces of any size from where it stood. */
static void random_life(uint32_t synchronous) {
  enum { LISTS = 60 };
  sync_vfs_install();
  options.dayfile.synchronous = synchronous;
  options.max_open_days = 2;
  options.late_close_s = 0;
  start();
  test_random random = random_new();
  record_list *lists[LISTS];
  int64_t expected[DAYS] = {0};
  for (int b = 0; b < LISTS; b++) {
    int days[40];
    size_t count = 1 + random_below(&random, 40);
    for (size_t i = 0; i < count; i++) {
      /* Mostly the day of the moment, some late. */
      days[i] = b * DAYS / LISTS;
      if (random_below(&random, 8) == 0) days[i] = (int)random_below(&random, DAYS);
      expected[days[i]]++;
    }
    lists[b] = records_on(count, days);
  }
  int durable = 0, written = 0;
  while (durable < LISTS) {
    if (random_below(&random, 4) == 0) sync_vfs_fail_wal(1 + random_below(&random, 2));
    int n = 1 + (int)random_below(&random, 5);
    if (n > LISTS - written) n = LISTS - written;
    int code = n > 0 ? write_lists(lists + written, (size_t)n) : TKS_OK;
    if (code == TKS_OK) written += n;
    if (code == TKS_OK && !sink->durable_on_write && random_below(&random, 3) > 0) {
      sync_vfs_fail_wal(random_below(&random, 3) == 0);
      code = sink->ops->sync(sink, &error);
      if (code == TKS_OK) durable = written;
    }
    if (sink->durable_on_write) durable = written;
    if (code != TKS_OK) written = durable;
    cr_assert(code == TKS_OK || code == TKS_EIO, "%d %s", code, error.message);
    sync_vfs_fail_wal(0);
    if (random_below(&random, 10) == 0)
      (void)sink->ops->tend(sink, MONDAY + (int64_t)random_below(&random, DAYS) * TKS__NS_PER_DAY, &error);
  }
  /* Days that were closed after a failure and had nothing more to come. */
  cr_assert_eq(sink->ops->tend(sink, MONDAY, &error), TKS_OK);
  cr_assert_eq(close_sink(), TKS_OK);
  for (int day = 0; day < DAYS; day++) {
    cr_assert_not(beside_exists(day, "-wal"), "all of it is in the file");
    cr_assert_eq(rows_of(day), expected[day] > 0 ? expected[day] : -1, "day %d", day);
    cr_assert_not(tks__layout_has_damaged(path_of(day)), "%s", logged);
  }
  for (int b = 0; b < LISTS; b++) free(lists[b]);
}

Test(sqlite_sink, random_life_with_full_syncs) { random_life(TKS_SYNC_FULL); }
Test(sqlite_sink, random_life_with_normal_syncs) { random_life(TKS_SYNC_NORMAL); }

/* After a crash the journal gives again what the sink may have, the first of it alone to begin with. */
Test(sqlite_sink, what_an_earlier_session_wrote_may_come_again) {
  start();
  record_list *lists[3] = {RECORDS(0, 1, 0), RECORDS(1, 0), RECORDS(0, 0)};
  cr_assert_eq(write_lists(lists, 2), TKS_OK, "%s", error.message);
  cr_assert_eq(close_sink(), TKS_OK);
  start();
  for (int i = 0; i < 3; i++) cr_assert_eq(write_lists(&lists[i], 1), TKS_OK, "%s", error.message);
  cr_assert_not(beside_exists(0, ".damaged-1"));
  cr_assert_not(beside_exists(1, ".damaged-1"));
  cr_assert_eq(rows_of(0), 5);
  cr_assert_eq(rows_of(1), 2);
  for (int i = 0; i < 3; i++) free(lists[i]);
}
