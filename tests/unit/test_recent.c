#include "query/recent.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "support/faults.h"
#include "support/model.h"
#include "support/scratch.h"
#include "support/stores.h"
#include "support/threads.h"

#define SYMBOLS 3
#define SOURCES 2

static char *dir;
static tks_store *store;
static model expected;
static test_random dice;

static void set_up(void) {
  dir = scratch_new();
  dice = random_new();
}

static void tear_down(void) {
  atomic_store(&tks__fs_fault, NULL);
  (void)allocations_work();
  if (store != NULL) (void)tks_close(store, NULL);
  model_deinit(&expected);
  scratch_remove(dir);
}

TestSuite(recent, .init = set_up, .fini = tear_down);

static void open_with(const tks_config *config) {
  store = store_open(dir, config);
  expected.ring_records = config->ring_records;
  model_restarted(&expected);
  cr_assert_eq(store_symbol(store, "A"), 1);
  cr_assert_eq(store_symbol(store, "B"), 2);
  cr_assert_eq(store_symbol(store, "C"), 3);
  cr_assert_eq(store_source(store, "X"), 1);
  cr_assert_eq(store_source(store, "Y"), 2);
}

static void check(void) {
  uint32_t symbol = 1 + (uint32_t)random_below(&dice, SYMBOLS);
  model_check_recent(&expected, store, symbol, 1 + random_below(&dice, 10));
  model_check_recent(&expected, store, symbol, 1 + random_below(&dice, 300));
}

/* From the ring in order of arrival, then what is pending and on disk in order of time. */
static void model_rounds(uint32_t backend) {
  for (int session = 0; session < 4; session++) {
    tks_config config = store_config(backend);
    config.ring_records = 1 + (uint32_t)random_below(&dice, 50);
    config.flush_interval_ms = 3600000;
    config.queue_records = config.batch_records = 4096;
    open_with(&config);
    check();
    model_check_latest(&expected, store, SYMBOLS);
    for (uint64_t step = 0; step < rounds(60); step++) {
      uint64_t burst = random_below(&dice, 30);
      for (uint64_t i = 0; i < burst; i++) model_put(&expected, store, model_quote(&dice, SYMBOLS, SOURCES));
      if (random_below(&dice, 6) == 0) store_flush(store);
      check();
      if (random_below(&dice, 6) == 0) model_check_latest(&expected, store, SYMBOLS);
    }
    model_check_recent(&expected, store, 1, 5000);
    store_close(store);
    store = NULL;
  }
}

Test(recent, model_sqlite) { model_rounds(TKS_SQLITE); }
Test(recent, model_json) { model_rounds(TKS_JSON); }
Test(recent, model_dual) { model_rounds(TKS_DUAL); }

/* A dropped record is in the ring, so it is recent; on disk it never was. With one sink: of two the slower one may give up its oldest, of
 * which the model does not know. */
Test(recent, dropped_records_are_recent) {
  tks_config config = store_config(TKS_SQLITE);
  store_tiny_queue(&config);
  config.ring_records = 20;
  open_with(&config);
  size_t dropped = 0;
  for (int i = 0; i < 3000 || (dropped == 0 && i < 4000000); i++) {
    model_put(&expected, store, model_quote(&dice, SYMBOLS, SOURCES));
    dropped += expected.dropped[expected.count - 1];
    if (i % 100 == 0) check();
  }
  cr_assert_gt(dropped, 0);
  model_check_latest(&expected, store, SYMBOLS);
  store_flush(store);
  for (int i = 0; i < 20; i++) check();
  store_close(store);
  open_with(&config);
  for (int i = 0; i < 20; i++) check();
  model_check_latest(&expected, store, SYMBOLS);
}

/* A symbol whose every record was dropped is nowhere on disk, but has a latest quote. */
Test(recent, a_symbol_that_lives_in_its_ring_only) {
  tks_config config = store_config(TKS_SQLITE);
  store_tiny_queue(&config);
  open_with(&config);
  bool found = false;
  uint32_t id = 0;
  for (int i = 0; i < 4000000 && !found; i++) {
    tks_quote q = {.ts_ns = STORE_NOON, .bid = 1, .ask = 2, .symbol = 1};
    if (tks_put_quote(store, &q, NULL, NULL) != TKS_EQUEUEFULL) continue;
    if (id == 0) id = store_symbol(store, "LOST");
    q.symbol = id;
    q.bid = 1.5;
    int code = tks_put_quote(store, &q, NULL, NULL);
    found = code == TKS_EQUEUEFULL;
    if (!found) id = 0;
    if (code == TKS_OK) id = store_symbol(store, i % 2 ? "LOST1" : "LOST2");
  }
  cr_assert(found);
  tks_quote quotes[8];
  size_t total;
  cr_assert_eq(tks_latest(store, id, quotes, NULL), TKS_OK);
  cr_assert_eq(quotes[0].bid, 1.5);
  cr_assert_eq(tks_latest_all(store, quotes, 8, &total, NULL), TKS_OK);
  bool listed = false;
  for (size_t i = 0; i < total; i++) listed |= quotes[i].symbol == id;
  cr_assert(listed);
}

/* ------------------------------------------------------------ latest of all */

static void make_days(uint32_t days) {
  tks_config config = store_config(TKS_SQLITE);
  open_with(&config);
  for (uint32_t day = 0; day < days; day++)
    for (int i = 0; i < 10; i++) (void)store_put(store, 1 + day % 2, STORE_NOON + day * STORE_DAY_NS + i, 1, 2);
  store_close(store);
  store = NULL;
}

static _Atomic int disk_reads;

static int count_reads(tks__fs_op op, const char *path) {
  (void)path;
  if (op == TKS__FS_LIST || op == TKS__FS_READ) atomic_fetch_add(&disk_reads, 1);
  return 0;
}

Test(recent, the_latest_of_all_are_looked_up_on_disk_once) {
  make_days(2); /* A on day 0, B on day 1 */
  tks_config config = store_config(TKS_SQLITE);
  open_with(&config);
  tks_quote quotes[4];
  size_t total;
  cr_assert_eq(tks_latest_all(store, quotes, 4, &total, NULL), TKS_OK);
  cr_assert_eq(total, 2);
  atomic_store(&tks__fs_fault, count_reads);
  uint32_t id = store_symbol(store, "NEW");
  (void)store_put(store, 2, STORE_NOON, 5, 6);
  (void)store_put(store, id, STORE_NOON, 7, 8);
  (void)store_symbol(store, "SILENT");
  cr_assert_eq(tks_latest_all(store, quotes, 4, &total, NULL), TKS_OK);
  cr_assert_eq(atomic_load(&disk_reads), 0);
  cr_assert_eq(total, 3);
  cr_assert(quotes[0].symbol == 1 && quotes[0].ts_ns == STORE_NOON + 9);
  cr_assert(quotes[1].symbol == 2 && quotes[1].bid == 5);
  cr_assert(quotes[2].symbol == id && quotes[2].bid == 7);
  atomic_store(&tks__fs_fault, NULL);
}

/* Somebody else writes what a store reads that is open for reading only. */
Test(recent, a_reader_looks_every_time) {
  make_days(1);
  tks_config config = store_config(TKS_SQLITE);
  open_with(&config);
  tks_config reading = config;
  reading.read_only = 1;
  tks_store *reader;
  tks_quote quotes[4];
  size_t total;
  cr_assert_eq(tks_open(dir, strlen(dir), &reading, &reader, NULL), TKS_OK);
  for (int i = 0; i < 3; i++) {
    (void)store_put(store, 1, STORE_NOON + 100 + i, 5 + i, 6 + i);
    store_flush(store);
    cr_assert_eq(tks_latest_all(reader, quotes, 4, &total, NULL), TKS_OK);
    cr_assert_eq(total, 1);
    cr_assert_eq(quotes[0].bid, 5 + i);
  }
  cr_assert_eq(tks_close(reader, NULL), TKS_OK);
}

/* ------------------------------------------------------------ damaged days */

Test(recent, a_damaged_day_is_told_and_the_others_are_given) {
  make_days(5); /* A on days 0, 2, 4; B on 1, 3 */
  store_spoil_day(dir, "2024-03-07");
  tks_config config = store_config(TKS_SQLITE);
  open_with(&config);
  tks_quote quotes[100];
  size_t count;
  tks_error error = {0};
  cr_assert_eq(tks_recent(store, 1, 10, quotes, &count, &error), TKS_OK);
  cr_assert_eq(count, 10);
  cr_assert_eq(tks_recent(store, 1, 100, quotes, &count, &error), TKS_EDAYFILE);
  cr_assert_not_null(strstr(error.message, "2024-03-07"), "%s", error.message);
  cr_assert_eq(count, 20);
  for (size_t i = 1; i < count; i++) cr_assert_gt(quotes[i].ts_ns, quotes[i - 1].ts_ns);
  /* With something in the ring. */
  (void)store_put(store, 1, STORE_NOON, 5, 6);
  cr_assert_eq(tks_recent(store, 1, 100, quotes, &count, NULL), TKS_EDAYFILE);
  cr_assert_eq(count, 21);
  cr_assert_eq(quotes[20].bid, 5);
}

Test(recent, latest_looks_behind_a_damaged_day) {
  make_days(3);
  store_spoil_day(dir, "2024-03-07");
  tks_config config = store_config(TKS_SQLITE);
  open_with(&config);
  tks_error error, untouched;
  memset(&error, 0x33, sizeof error);
  untouched = error;
  tks_quote quote, quotes[4];
  size_t total;
  cr_assert_eq(tks_latest(store, 1, &quote, &error), TKS_OK);
  cr_assert_eq(quote.ts_ns, STORE_NOON + 9);
  cr_assert_eq(memcmp(&error, &untouched, sizeof error), 0, "an error was written: %s", error.message);
  cr_assert_eq(tks_latest_all(store, quotes, 4, &total, &error), TKS_EDAYFILE);
  cr_assert_eq(total, 2);
  cr_assert_eq(quotes[0].ts_ns, STORE_NOON + 9);
  cr_assert_eq(quotes[1].ts_ns, STORE_NOON + STORE_DAY_NS + 9);
  /* What lives in rings is there as well, whatever is damaged. */
  uint32_t id = store_symbol(store, "NEW");
  (void)store_put(store, id, STORE_NOON + 2 * STORE_DAY_NS, 7, 8);
  cr_assert_eq(tks_latest_all(store, quotes, 4, &total, NULL), TKS_EDAYFILE);
  cr_assert_eq(total, 3);
  cr_assert_eq(quotes[2].bid, 7);
}

Test(recent, the_latest_of_a_day_that_was_set_aside_and_begun_anew) {
  make_days(1);
  store_spoil_day(dir, STORE_DAY);
  tks_config config = store_config(TKS_SQLITE);
  open_with(&config);
  (void)store_put(store, 1, STORE_NOON + 99, 7, 8);
  store_close(store);
  open_with(&config);
  tks_quote quote, quotes[4];
  size_t total;
  cr_assert_eq(tks_latest(store, 1, &quote, NULL), TKS_OK);
  cr_assert_eq(quote.bid, 7);
  int code = tks_latest_all(store, quotes, 4, &total, NULL);
  cr_assert(code == TKS_OK || code == TKS_EDAYFILE, "%d", code);
  cr_assert_eq(total, 1);
  cr_assert_eq(quotes[0].bid, 7);
}

/* Days that nobody can read, and one of a format to come, behind each other. */
Test(recent, many_damaged_days) {
  make_days(6); /* A on days 0, 2, 4; B on 1, 3, 5 */
  char path[PATH_MAX];
  store_spoil_day(dir, "2024-03-07");
  store_day_path(dir, "2024-03-09", path);
  sqlite3 *db;
  cr_assert_eq(sqlite3_open(path, &db), SQLITE_OK);
  cr_assert_eq(sqlite3_exec(db, "PRAGMA user_version = 9", NULL, NULL, NULL), SQLITE_OK);
  (void)sqlite3_close(db);
  tks_config config = store_config(TKS_SQLITE);
  open_with(&config);
  tks_quote quote, quotes[100];
  size_t count;
  tks_error error;
  cr_assert_eq(tks_recent(store, 1, 100, quotes, &count, &error), TKS_EFORMAT, "the first that is met");
  cr_assert_not_null(strstr(error.message, "2024-03-09"), "%s", error.message);
  cr_assert_eq(count, 10);
  cr_assert_eq(quotes[0].ts_ns, STORE_NOON);
  cr_assert_eq(tks_latest(store, 1, &quote, NULL), TKS_OK);
  cr_assert_eq(quote.ts_ns, STORE_NOON + 9);
  cr_assert_eq(tks_latest_all(store, quotes, 4, &count, NULL), TKS_EDAYFILE);
  cr_assert_eq(count, 2);
  cr_assert_eq(quotes[0].ts_ns, STORE_NOON + 9);
  cr_assert_eq(quotes[1].ts_ns, STORE_NOON + 5 * STORE_DAY_NS + 9);
}

Test(recent, all_that_there_was_is_damaged) {
  make_days(1);
  store_spoil_day(dir, STORE_DAY);
  tks_config config = store_config(TKS_SQLITE);
  open_with(&config);
  tks_quote quote;
  size_t total = 99;
  tks_error error;
  cr_assert_eq(tks_latest(store, 1, &quote, &error), TKS_EDAYFILE);
  cr_assert_not_null(strstr(error.message, STORE_DAY), "%s", error.message);
  cr_assert_eq(tks_latest(store, 1, &quote, NULL), TKS_EDAYFILE);
  cr_assert_eq(tks_latest_all(store, &quote, 1, &total, NULL), TKS_EDAYFILE);
  cr_assert_eq(total, 0);
}

Test(recent, the_latest_of_no_symbol) {
  tks_config config = store_config(TKS_SQLITE);
  store = store_open(dir, &config);
  tks_quote quote;
  size_t total = 99;
  cr_assert_eq(tks_latest_all(store, &quote, 1, &total, NULL), TKS_OK);
  cr_assert_eq(total, 0);
}

/* B is known from the disk alone, A from its ring alone. */
Test(recent, the_latest_from_ring_and_disk_in_order) {
  tks_config config = store_config(TKS_SQLITE);
  open_with(&config);
  (void)store_put(store, 2, STORE_NOON, 1, 2);
  store_close(store);
  open_with(&config);
  (void)store_put(store, 1, STORE_NOON, 3, 4);
  for (int round = 0; round < 2; round++) {
    tks_quote quotes[4];
    size_t total;
    cr_assert_eq(tks_latest_all(store, quotes, 4, &total, NULL), TKS_OK);
    cr_assert_eq(total, 2);
    cr_assert(quotes[0].symbol == 1 && quotes[0].bid == 3);
    cr_assert(quotes[1].symbol == 2 && quotes[1].bid == 1);
  }
}

/* ------------------------------------------------------------------ faults */

/* A on day 0, of which a file was set aside or not, B on day 1. */
static void make_json_for_faults(void) {
  scratch_clear(dir);
  tks_config config = store_config(TKS_JSON);
  open_with(&config);
  for (int i = 0; i < 20; i++)
    (void)store_put(store, 1 + (uint32_t)i % 2, STORE_NOON + i % 2 * STORE_DAY_NS + i / 2, 1, 2);
  store_close(store);
  char path[PATH_MAX];
  store_json_path(dir, "A", STORE_DAY, path);
  FILE *file = fopen(path, "a");
  cr_assert_not_null(file);
  (void)fprintf(file, "spoilt\n");
  (void)fclose(file);
}

static void make_for_faults(bool damaged) {
  scratch_clear(dir);
  make_days(2);
  tks_config config = store_config(TKS_SQLITE);
  if (!damaged) return;
  store_spoil_day(dir, STORE_DAY);
  open_with(&config);
  (void)store_put(store, 1, STORE_NOON + 9, 7, 8);
  store_close(store);
}

/* Anew for each fault: a connection that is open already makes fewer calls. */
static void open_to_read(void) {
  tks_config config = store_config(TKS_SQLITE);
  config.read_only = 1;
  open_with(&config);
}

Test(recent, every_allocation_may_fail) {
  for (int damaged = 0; damaged < 2; damaged++) {
    const int sound = damaged ? TKS_EDAYFILE : TKS_OK;
    make_for_faults(damaged);
    bool failed = true;
    for (uint64_t n = 0; failed; n++) {
      open_to_read();
      tks_quote quotes[4];
      size_t total = 99;
      fail_allocation(n);
      int code = tks_latest_all(store, quotes, 4, &total, NULL);
      failed = allocations_work();
      cr_assert(code == sound || (failed && code == TKS_ENOMEM), "allocation %llu: %d", (unsigned long long)n, code);
      if (code == sound) {
        cr_assert_eq(total, 2);
        cr_assert(quotes[0].symbol == 1 && quotes[0].ts_ns == STORE_NOON + 9);
        cr_assert(quotes[1].symbol == 2);
      }
      store_close(store);
      store = NULL;
    }
  }
}

static _Atomic int reads_left;

static int fail_reading(tks__fs_op op, const char *path) {
  (void)path;
  if (op != TKS__FS_LIST && op != TKS__FS_OPEN && op != TKS__FS_READ) return 0;
  return atomic_fetch_sub(&reads_left, 1) == 0 ? EIO : 0;
}

static void reads_fail(int sound) {
  bool failed = true;
  for (int n = 0; failed; n++) {
    open_to_read();
    tks_quote quotes[4];
    size_t total = 99;
    tks_error error;
    atomic_store(&reads_left, n);
    atomic_store(&tks__fs_fault, fail_reading);
    int code = tks_latest_all(store, quotes, 4, &total, &error);
    atomic_store(&tks__fs_fault, NULL);
    failed = atomic_load(&reads_left) < 0;
    cr_assert(code == sound || (failed && code == TKS_EIO), "%d: %d", n, code);
    if (code == sound) cr_assert_eq(total, 2);
    if (code != TKS_OK) cr_assert_eq(error.code, code);
    cr_assert(failed || n > 5, "%d reads", n);
    store_close(store);
    store = NULL;
  }
}

Test(recent, every_read_may_fail) {
  make_for_faults(false);
  reads_fail(TKS_OK);
}

Test(recent, every_read_may_fail_behind_a_damaged_day) {
  make_for_faults(true);
  reads_fail(TKS_EDAYFILE);
}

Test(recent, every_read_of_json_may_fail_behind_a_damaged_day) {
  make_json_for_faults();
  reads_fail(TKS_EDAYFILE);
}
