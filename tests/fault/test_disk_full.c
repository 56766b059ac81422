/* A disk that fills up and gets room again. Where a small disk cannot be mounted the tests are skipped. */
#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "support/model.h"
#include "support/scratch.h"
#include "support/small_disk.h"
#include "support/stores.h"
#include "support/threads.h"
#include "support/wait.h"

#define DISK_MEBIBYTES 24
#define ROOM_BYTES (3 << 20) /* left by the ballast */
#define SYMBOLS 3

static char *dir;
static char disk[PATH_MAX], root[PATH_MAX], ballast[PATH_MAX];
static tks_store *store;
static model expected;
static test_random dice;

static void set_up(void) {
  dir = scratch_new();
  dice = random_new();
  small_disk_paths(dir, disk, root, ballast);
}

static void tear_down(void) {
  if (store != NULL) (void)tks_close(store, NULL);
  small_disk_unmount(disk);
  model_deinit(&expected);
  scratch_remove(dir);
}

TestSuite(disk_full, .init = set_up, .fini = tear_down);

#define NEED_DISK()                                                                                              \
  do {                                                                                                           \
    if (!small_disk_mount(disk, DISK_MEBIBYTES)) cr_skip_test("a tmpfs cannot be mounted: %s", strerror(errno)); \
  } while (0)

static void open_with(const tks_config *config) {
  store = store_open(root, config);
  expected.ring_records = config->ring_records;
  model_restarted(&expected);
  cr_assert_eq(store_symbol(store, "A"), 1);
  cr_assert_eq(store_symbol(store, "B"), 2);
  cr_assert_eq(store_symbol(store, "C"), 3);
  cr_assert_eq(store_source(store, "X"), 1);
}

static void put_some(int count) {
  for (int i = 0; i < count; i++) {
    model_put(&expected, store, model_quote(&dice, SYMBOLS, 1));
    cr_assert_not(expected.dropped[expected.count - 1]); /* producers go on */
  }
}

static bool on(const tks_sink_stats *s) { return s->state != TKS_SINK_OFF; }

static bool is_sick(const tks_sink_stats *s) {
  return s->state == TKS_SINK_DEGRADED && s->last_error_code == TKS_EDISKFULL;
}

static bool all_sick(const tks_store_stats *stats) {
  return (!on(&stats->sinks[0]) || is_sick(&stats->sinks[0])) && (!on(&stats->sinks[1]) || is_sick(&stats->sinks[1]));
}

static bool written_or_sick(const tks_store_stats *stats, void *context) {
  (void)context;
  for (int i = 0; i < 2; i++)
    if (on(&stats->sinks[i]) && !is_sick(&stats->sinks[i]) && stats->sinks[i].backlog > 0) return false;
  return true;
}

static bool all_written(const tks_store_stats *stats, void *context) {
  (void)context;
  for (int i = 0; i < 2; i++)
    if (on(&stats->sinks[i]) && (stats->sinks[i].state != TKS_SINK_OK || stats->sinks[i].written != stats->accepted))
      return false;
  return stats->durable_seq == stats->last_seq;
}

static void check_reading(void) {
  for (uint32_t symbol = 1; symbol <= SYMBOLS; symbol++) {
    tks_range range = store_range(symbol);
    model_check_range(&expected, store, &range, 1000);
    model_check_recent(&expected, store, symbol, 50);
  }
}

/* SQLite cannot make its shared memory for a day that is being written: such a read says so, and no other is wrong. */
static void check_reading_while_full(void) {
  for (uint32_t symbol = 1; symbol <= SYMBOLS; symbol++) {
    tks_range range = store_range(symbol);
    size_t count, damaged, want = 0;
    int code;
    tks_quote *quotes = store_read_on(store, &range, 1000, &count, &damaged, &code);
    cr_assert(code == TKS_OK || code == TKS_EDISKFULL, "%d", code);
    cr_assert_eq(damaged, 0);
    for (size_t i = 0; i < expected.count; i++) want += expected.quotes[i].symbol == symbol;
    if (code == TKS_OK) cr_assert_eq(count, want, "%zu of %zu", count, want);
    free(quotes);
  }
}

static void until_full(void) {
  tks_store_stats stats;
  do {
    put_some(500);
    (void)tks_flush(store, 0, NULL);
    cr_assert(store_wait(store, written_or_sick, NULL));
    stats = store_stats(store);
    cr_assert(store_adds_up(&stats));
    cr_assert_lt(expected.count, 400000);
  } while (!all_sick(&stats));
}

static void fills_and_empties(uint32_t backend, uint32_t synchronous) {
  tks_config config = store_config(backend);
  config.flush_interval_ms = 10;
  config.synchronous = synchronous;
  open_with(&config);
  small_disk_fill(ballast, ROOM_BYTES);
  for (int round = 0; round < 2; round++) {
    until_full();
    /* Now nothing can be written; records are taken all the same, counted, and seen. */
    put_some(3000);
    tks_error error;
    cr_assert_eq(tks_flush(store, 50, &error), TKS_ETIMEOUT);
    cr_assert_not_null(strstr(error.message, "last error"), "%s", error.message);
    check_reading_while_full();
    tks_store_stats stats = store_stats(store);
    cr_assert(store_adds_up(&stats));
    cr_assert_eq(stats.dropped, 0);
    for (int i = 0; i < 2; i++) {
      if (!on(&stats.sinks[i])) continue;
      cr_assert_eq(stats.sinks[i].lost, 0);
      cr_assert_geq(stats.sinks[i].backlog, 3000);
      cr_assert_gt(stats.sinks[i].errors, config.retry_attempts);
      cr_assert_gt(stats.sinks[i].retries, 0);
    }
    cr_assert_lt(stats.durable_seq, stats.last_seq);
    /* Room again: all of it is written, without a restart. */
    cr_assert_eq(truncate(ballast, 0), 0);
    cr_assert(store_wait(store, all_written, NULL));
    check_reading();
    small_disk_fill(ballast, ROOM_BYTES / 2);
  }
  cr_assert_eq(unlink(ballast), 0);
  store_close(store);
  store = NULL;
  if ((backend & TKS_SQLITE) != 0) {
    cr_assert_eq(store_sqlite_rows(root), expected.count);
    cr_assert_eq(store_sqlite_seqs(root), expected.count);
  }
  if ((backend & TKS_JSON) != 0) {
    cr_assert_eq(store_json_lines(root), expected.count);
    cr_assert_eq(store_json_seqs(root), expected.count);
  }
  open_with(&config);
  check_reading();
}

Test(disk_full, sqlite) {
  NEED_DISK();
  fills_and_empties(TKS_SQLITE, TKS_SYNC_FULL);
}

Test(disk_full, sqlite_with_normal_sync) {
  NEED_DISK();
  fills_and_empties(TKS_SQLITE, TKS_SYNC_NORMAL);
}

Test(disk_full, json) {
  NEED_DISK();
  fills_and_empties(TKS_JSON, TKS_SYNC_FULL);
}

Test(disk_full, dual) {
  NEED_DISK();
  fills_and_empties(TKS_DUAL, TKS_SYNC_FULL);
}

/* Not a byte of room: a new day file cannot even be begun. */
Test(disk_full, a_day_that_cannot_be_begun) {
  NEED_DISK();
  tks_config config = store_config(TKS_DUAL);
  config.flush_interval_ms = 10;
  open_with(&config);
  store_flush(store);
  small_disk_fill(ballast, 0);
  put_some(2000);
  (void)tks_flush(store, 0, NULL);
  cr_assert(store_wait(store, written_or_sick, NULL));
  check_reading_while_full();
  cr_assert_eq(unlink(ballast), 0);
  cr_assert(store_wait(store, all_written, NULL));
  check_reading();
  store_close(store);
  store = NULL;
  cr_assert_eq(store_sqlite_seqs(root), 2000);
  cr_assert_eq(store_json_seqs(root), 2000);
}

/* The process dies while new symbols come in: what was accepted is there afterwards, with its name, and the rest was refused. */
Test(disk_full, new_names_that_were_accepted_survive) {
  NEED_DISK();
  tks_config config = store_config(TKS_SQLITE);
  config.flush_interval_ms = 3600000;
  config.journal_bytes = 8 << 20;
  config.queue_policy = TKS_QUEUE_DROP;
  open_with(&config);
  small_disk_fill(ballast, 0);
  uint64_t accepted = 0, refused = 0;
  for (int i = 0; i < 2000; i++) {
    char name[16];
    int n = snprintf(name, sizeof name, "N%d", i);
    uint64_t seq;
    int code = tks_put(store, name, (size_t)n, 1, 2, "X", 1, STORE_NOON + i, &seq, NULL);
    cr_assert(code == TKS_OK || code == TKS_EDISKFULL, "%d", code);
    accepted += code == TKS_OK;
    refused += code == TKS_EDISKFULL;
  }
  cr_assert_gt(accepted, 300, "the names file has room ahead");
  cr_assert_gt(refused, 300, "but not for all of them");
  /* What a killed process leaves is what others see of its files now. */
  char copy[PATH_MAX], command[3 * PATH_MAX];
  (void)snprintf(copy, sizeof copy, "%s/copy", dir);
  (void)snprintf(command, sizeof command, "cp -r '%s' '%s'", root, copy);
  cr_assert_eq(system(command), 0);
  cr_assert_eq(unlink(ballast), 0);
  store_close(store);
  store = store_open(copy, &config);
  cr_assert_eq(store_stats(store).recovered, accepted);
  store_close(store);
  store = NULL;
  cr_assert_eq(store_sqlite_seqs(copy), accepted);
  cr_assert_eq(store_sqlite_seqs(root), accepted);
}

/* What the journal takes ahead it has: or it might give that back to a disk that was full already. */
static bool is_prepared(const tks_store_stats *stats, void *context) {
  (void)context;
  return stats->journal_bytes >= 2 * (2 << 20);
}

/* What cannot be written by the end of close waits in the journal. */
Test(disk_full, close_keeps_what_is_missing) {
  NEED_DISK();
  tks_config config = store_config(TKS_DUAL);
  config.close_limit_ms = 100;
  open_with(&config);
  cr_assert(store_wait(store, is_prepared, NULL));
  small_disk_fill(ballast, 0);
  put_some(1234);
  cr_assert_eq(tks_close(store, NULL), TKS_KEPT);
  store = NULL;
  cr_assert_eq(unlink(ballast), 0);
  open_with(&config);
  cr_assert_eq(store_stats(store).recovered, 1234);
  put_some(10);
  store_close(store);
  store = NULL;
  cr_assert_eq(store_sqlite_seqs(root), 1244);
  cr_assert_eq(store_json_seqs(root), 1244);
}

/* Without the journal it is lost, and said to be. */
Test(disk_full, close_tells_how_many_are_missing) {
  NEED_DISK();
  tks_config config = store_config(TKS_DUAL);
  config.journal = 0;
  config.close_limit_ms = 100;
  open_with(&config);
  small_disk_fill(ballast, 0);
  put_some(1234);
  tks_error error;
  cr_assert_eq(tks_close(store, &error), TKS_EUNWRITTEN);
  store = NULL;
  cr_assert_not_null(strstr(error.message, "sqlite lacks 1234, json lacks 1234"), "%s", error.message);
  cr_assert_eq(unlink(ballast), 0);
  expected.count = 0;
  open_with(&config); /* and it can be opened again */
  put_some(10);
  store_close(store);
  store = NULL;
  cr_assert_eq(store_sqlite_seqs(root), 10);
}

/* Were the whole disk full of what waits, nobody could ever write it. */
Test(disk_full, the_journal_leaves_the_sink_room_to_catch_up) {
  NEED_DISK();
  tks_config config = store_config(TKS_SQLITE);
  config.busy_timeout_ms = 1;
  open_with(&config);
  (void)store_put(store, 1, STORE_NOON, 1, 2);
  store_flush(store);
  char path[PATH_MAX];
  store_day_path(root, STORE_DAY, path);
  sqlite3 *other;
  cr_assert_eq(sqlite3_open(path, &other), SQLITE_OK);
  cr_assert_eq(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
  uint64_t accepted = 1;
  tks_quote quote = {.ts_ns = STORE_NOON, .bid = 1, .ask = 2, .symbol = 1};
  while (tks_put_quote(store, &quote, NULL, NULL) == TKS_OK) accepted++;
  struct statvfs st;
  cr_assert_eq(statvfs(disk, &st), 0);
  cr_assert_gt(st.f_bavail * st.f_frsize, (DISK_MEBIBYTES << 20) / 32);
  cr_assert_eq(sqlite3_close(other), SQLITE_OK);
  store_flush(store);
  store_close(store);
  store = NULL;
  cr_assert_eq(store_sqlite_rows(root), accepted);
}

Test(disk_full, open_says_so) {
  NEED_DISK();
  tks_error error;
  small_disk_fill(ballast, 0);
  int code = tks_open(root, strlen(root), NULL, &store, &error);
  cr_assert_eq(code, TKS_EDISKFULL, "%d: %s", code, error.message);
  cr_assert_null(store);
  cr_assert_eq(unlink(ballast), 0);
  store = store_open(root, NULL);
}
