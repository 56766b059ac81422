/* Ranges against a model: every accepted record once, in order, wherever it is on its way to the disk. */
#include "query/cursor.h"

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
#include "support/wait.h"

#define SYMBOLS 4
#define SOURCES 3

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

TestSuite(cursor, .init = set_up, .fini = tear_down);

static void intern_all(void) {
  static const char *const symbols[SYMBOLS] = {"EURUSD", "EUR/USD", "XAUUSD", "日経"};
  static const char *const sources[SOURCES] = {"OANDA", "FXCM", "LP \"3\""};
  for (uint32_t i = 0; i < SYMBOLS; i++) cr_assert_eq(store_symbol(store, symbols[i]), i + 1);
  for (uint32_t i = 0; i < SOURCES; i++) cr_assert_eq(store_source(store, sources[i]), i + 1);
}

static void open_with(const tks_config *config) {
  store = store_open(dir, config);
  expected.ring_records = config->ring_records;
  model_restarted(&expected);
  intern_all();
}

/* Nothing leaves the queue but by a flush. */
static tks_config patient_config(uint32_t backend) {
  tks_config config = store_config(backend);
  config.flush_interval_ms = 3600000;
  config.queue_records = config.batch_records = 8192;
  config.ring_records = 1 + (uint32_t)random_below(&dice, 40);
  config.busy_timeout_ms = 1;
  config.max_open_days = 1 + (uint32_t)random_below(&dice, 6);
  config.read_connections = 1 + (uint32_t)random_below(&dice, 3);
  return config;
}

static void check_one(void) {
  tks_range range = model_range(&dice, SYMBOLS, SOURCES);
  static const size_t capacities[] = {1, 2, 3, 7, 64, 2048, 5000};
  model_check_range(&expected, store, &range, capacities[random_below(&dice, 7)]);
}

/* ---- what keeps records from being written for a while */

static _Atomic uint32_t write_faults; /* percent */
static _Atomic uint64_t fault_state;

static int fail_some_writes(tks__fs_op op, const char *path) {
  (void)path;
  if (op != TKS__FS_WRITE && op != TKS__FS_SYNC) return 0;
  test_random random = {atomic_fetch_add(&fault_state, UINT64_C(0x9e3779b97f4a7c15))};
  return random_below(&random, 100) < atomic_load(&write_faults) ? EIO : 0;
}

/* Somebody's shell with an open transaction on one of the days. */
static sqlite3 *lock_a_day(void) {
  char path[PATH_MAX], day[16];
  (void)snprintf(day, sizeof day, "2024-03-%02u", 5 + (unsigned)random_below(&dice, MODEL_DAYS));
  store_day_path(dir, day, path);
  sqlite3 *db = NULL;
  if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK ||
      sqlite3_exec(db, "PRAGMA busy_timeout=1000; BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK) {
    (void)sqlite3_close(db);
    return NULL;
  }
  return db;
}

static void model_round(uint32_t backend) {
  atomic_store(&fault_state, random_next(&dice));
  for (int session = 0; session < 3; session++) {
    tks_config config = patient_config(backend);
    open_with(&config);
    for (uint64_t step = 0; step < rounds(120); step++) {
      uint64_t burst = random_below(&dice, 12) == 0 ? random_below(&dice, 300) : random_below(&dice, 12);
      for (uint64_t i = 0; i < burst; i++) model_put(&expected, store, model_quote(&dice, SYMBOLS, SOURCES));
      switch (random_below(&dice, 12)) {
        case 0: store_flush(store); break;
        case 1: /* written in part, and tried again and again meanwhile */
          if (backend == TKS_JSON) {
            atomic_store(&write_faults, 60);
            atomic_store(&tks__fs_fault, fail_some_writes);
            (void)tks_flush(store, 5, NULL);
            check_one();
            check_one();
            atomic_store(&tks__fs_fault, NULL);
          } else {
            sqlite3 *locker = lock_a_day();
            (void)tks_flush(store, 5, NULL);
            check_one();
            check_one();
            (void)sqlite3_close(locker);
          }
          break;
        case 2: /* on its way */ (void)tks_flush(store, 0, NULL); break;
        default: break;
      }
      check_one();
    }
    store_close(store);
    store = NULL;
  }
  tks_config config = patient_config(backend);
  open_with(&config);
  for (uint32_t symbol = 1; symbol <= SYMBOLS; symbol++) {
    for (uint32_t flags = 0; flags < 2; flags++) {
      tks_range range = store_range(symbol);
      range.flags = flags;
      for (size_t capacity = 1; capacity < 3000; capacity = capacity * 3 + 1)
        model_check_range(&expected, store, &range, capacity);
    }
  }
}

Test(cursor, model_sqlite) { model_round(TKS_SQLITE); }
Test(cursor, model_json) { model_round(TKS_JSON); }
Test(cursor, model_dual) { model_round(TKS_DUAL); }

/* The same store read through JSON and through SQLite. */
Test(cursor, both_sinks_of_a_dual_store_tell_the_same) {
  tks_config config = patient_config(TKS_DUAL);
  open_with(&config);
  for (uint64_t i = 0; i < rounds(3000); i++) model_put(&expected, store, model_quote(&dice, SYMBOLS, SOURCES));
  for (uint32_t backend = TKS_SQLITE; backend <= TKS_JSON; backend++) {
    store_close(store);
    config.backend = backend;
    open_with(&config);
    for (int i = 0; i < 50; i++) check_one();
  }
}

/* ------------------------------------------- while others write and flush */

typedef struct background {
  _Atomic bool stop;
  _Atomic uint64_t put[SYMBOLS + 1]; /* so many have returned */
  _Atomic uint64_t bad;
  test_random dice;
} background;

/* Numbers its quotes, per symbol, in recv_ns; their times jump about. */
static void *put_in_background(void *argument) {
  background *b = argument;
  while (!atomic_load(&b->stop)) {
    tks_quote q = model_quote(&b->dice, SYMBOLS, SOURCES);
    q.recv_ns = (int64_t)atomic_load(&b->put[q.symbol]) + 1;
    int code = tks_put_quote(store, &q, NULL, NULL);
    if (code == TKS_OK) atomic_fetch_add(&b->put[q.symbol], 1);
    else atomic_fetch_add(&b->bad, code != TKS_EQUEUEFULL);
    if (random_below(&b->dice, 64) == 0) linger_ms(1);
  }
  return NULL;
}

static void *flush_in_background(void *argument) {
  background *b = argument;
  while (!atomic_load(&b->stop)) {
    int code = tks_flush(store, WAIT_LIMIT_S * 1000, NULL);
    atomic_fetch_add(&b->bad, code != TKS_OK);
  }
  return NULL;
}

/* Reads all of a symbol: what it holds are the first k quotes put, for a k between what had been put before and after
 * the opening; in order of time. */
static void check_snapshot(background *b, uint32_t symbol, bool descending, size_t capacity) {
  tks_range range = store_range(symbol);
  tks_cursor *cursor;
  range.flags = descending ? TKS_RANGE_DESCENDING : 0;
  uint64_t before = atomic_load(&b->put[symbol]);
  cr_assert_eq(tks_range_open(store, &range, &cursor, NULL), TKS_OK);
  uint64_t after = atomic_load(&b->put[symbol]) + 1; /* one may have been put and not counted */
  unsigned char *seen = calloc(after + 2, 1);
  tks_quote *quotes = malloc(capacity * sizeof *quotes), last = {0};
  if (seen == NULL || quotes == NULL) abort();
  uint64_t total = 0;
  for (;;) {
    size_t count;
    tks_error error;
    int code = tks_cursor_next(cursor, quotes, capacity, &count, &error);
    cr_assert_eq(code, TKS_OK, "%d: %s", code, error.message);
    if (count == 0) break;
    for (size_t i = 0; i < count; i++) {
      const tks_quote *q = &quotes[i];
      bool later = q->ts_ns > last.ts_ns || (q->ts_ns == last.ts_ns && q->seq > last.seq);
      if (total > 0 && later == descending) cr_assert(false, "out of order");
      last = *q;
      if (q->recv_ns < 1 || (uint64_t)q->recv_ns > after) cr_assert(false, "number %lld", (long long)q->recv_ns);
      if (seen[q->recv_ns]++ != 0) cr_assert(false, "twice");
      total++;
    }
  }
  tks_cursor_close(cursor);
  cr_assert_geq(total, before, "%llu of %llu", (unsigned long long)total, (unsigned long long)before);
  for (uint64_t i = 1; i <= total; i++)
    if (!seen[i]) cr_assert(false, "number %llu of %llu is missing", (unsigned long long)i, (unsigned long long)total);
  free(seen);
  free(quotes);
}

static void snapshots_while_writing(uint32_t backend) {
  tks_config config = store_config(backend);
  config.queue_records = 4096;
  config.batch_records = 64;
  config.flush_interval_ms = 1;
  config.max_open_days = 2;
  open_with(&config);
  background b = {.dice = random_fork(&dice, 1)};
  pthread_t putter = start_thread(put_in_background, &b), flusher = start_thread(flush_in_background, &b);
  for (uint64_t i = 0; i < rounds(80); i++)
    check_snapshot(&b, 1 + (uint32_t)random_below(&dice, SYMBOLS), random_below(&dice, 2),
                   1 + random_below(&dice, 500));
  atomic_store(&b.stop, true);
  join_thread(putter);
  join_thread(flusher);
  cr_assert_eq(b.bad, 0);
}

Test(cursor, snapshots_while_writing_sqlite) { snapshots_while_writing(TKS_SQLITE); }
Test(cursor, snapshots_while_writing_json) { snapshots_while_writing(TKS_JSON); }
Test(cursor, snapshots_while_writing_dual) { snapshots_while_writing(TKS_DUAL); }

/* ---------------------------------------------------- what a cursor sees */

/* Later puts, later flushes, other cursors: nothing changes what it gives. */
static void sees_what_was_there(uint32_t backend) {
  tks_config config = patient_config(backend);
  open_with(&config);
  for (int i = 0; i < 400; i++) model_put(&expected, store, model_quote(&dice, SYMBOLS, SOURCES));
  store_flush(store);
  for (int i = 0; i < 400; i++) model_put(&expected, store, model_quote(&dice, SYMBOLS, SOURCES));
  enum { CURSORS = 16 };
  tks_cursor *cursors[CURSORS];
  tks_range ranges[CURSORS];
  for (int i = 0; i < CURSORS; i++) {
    ranges[i] = model_range(&dice, SYMBOLS, SOURCES);
    cr_assert_eq(tks_range_open(store, &ranges[i], &cursors[i], NULL), TKS_OK);
  }
  model later = {.ring_records = config.ring_records};
  for (int i = 0; i < 400; i++) model_put(&later, store, model_quote(&dice, SYMBOLS, SOURCES));
  for (int i = 0; i < CURSORS; i++) {
    if (i == CURSORS / 3) store_flush(store);
    if (i == CURSORS / 2)
      for (int k = 0; k < 400; k++) model_put(&later, store, model_quote(&dice, SYMBOLS, SOURCES));
    model_check_cursor(&expected, cursors[i], &ranges[i], 1 + random_below(&dice, 20));
  }
  model_deinit(&later);
}

Test(cursor, sees_what_was_there_sqlite) { sees_what_was_there(TKS_SQLITE); }
Test(cursor, sees_what_was_there_json) { sees_what_was_there(TKS_JSON); }
Test(cursor, sees_what_was_there_dual) { sees_what_was_there(TKS_DUAL); }

/* Read a piece, write, read on: the place is kept. */
Test(cursor, goes_on_where_it_stopped_while_the_files_change) {
  tks_config config = patient_config(TKS_SQLITE);
  open_with(&config);
  tks_range range = store_range(1);
  tks_cursor *cursor;
  tks_quote quote;
  size_t count;
  for (int i = 0; i < 3000; i++) (void)store_put(store, 1, STORE_NOON + 2 * i, 1, 2);
  cr_assert_eq(tks_range_open(store, &range, &cursor, NULL), TKS_OK);
  for (int i = 0; i < 3000; i++) {
    if (i % 500 == 250) store_flush(store);
    if (i % 100 == 50) (void)store_put(store, 1, STORE_NOON + 2 * i + 3, 1, 2);
    cr_assert_eq(tks_cursor_next(cursor, &quote, 1, &count, NULL), TKS_OK);
    cr_assert_eq(count, 1);
    cr_assert_eq(quote.ts_ns, STORE_NOON + 2 * i);
  }
  cr_assert_eq(tks_cursor_next(cursor, &quote, 1, &count, NULL), TKS_OK);
  cr_assert_eq(count, 0);
  cr_assert_eq(tks_cursor_next(cursor, &quote, 1, &count, NULL), TKS_OK);
  cr_assert_eq(count, 0);
  tks_cursor_close(cursor);
}

/* Of two sinks the slower one may give up its oldest, of which the model does not know. */
Test(cursor, dropped_records_are_not_in_ranges) {
  for (uint32_t backend = TKS_SQLITE; backend <= TKS_JSON; backend++) {
    scratch_clear(dir);
    model_deinit(&expected);
    expected = (model){0};
    tks_config config = store_config(backend);
    store_tiny_queue(&config);
    config.ring_records = 7;
    open_with(&config);
    size_t dropped = 0;
    for (int i = 0; i < 4000 || (dropped == 0 && i < 4000000); i++) {
      model_put(&expected, store, model_quote(&dice, SYMBOLS, SOURCES));
      dropped += expected.dropped[expected.count - 1];
      if (i % 500 == 0) check_one();
    }
    cr_assert_gt(dropped, 0);
    for (int i = 0; i < 20; i++) check_one();
    store_flush(store);
    for (int i = 0; i < 20; i++) check_one();
    store_close(store);
    store = NULL;
  }
}

#define EARLIEST_NS (-106751 * STORE_DAY_NS) /* 1677-09-22 */

Test(cursor, ends_of_time) {
  tks_config config = store_config(TKS_DUAL);
  config.min_time_ns = EARLIEST_NS;
  config.max_ahead_s = UINT32_MAX;
  open_with(&config);
  static const int64_t times[] = {EARLIEST_NS,
                                  -STORE_DAY_NS * 365 * 200,
                                  -STORE_DAY_NS - 1,
                                  -STORE_DAY_NS,
                                  -1000001,
                                  -1000000,
                                  -1,
                                  0,
                                  1,
                                  STORE_DAY_NS - 1,
                                  STORE_DAY_NS,
                                  INT64_C(5000000000000000000)};
  size_t many = sizeof times / sizeof times[0];
  for (size_t i = 0; i < many; i++)
    model_put(&expected, store, (tks_quote){.ts_ns = times[many - 1 - i], .bid = 1, .ask = 2, .symbol = 1});
  for (int session = 0; session < 4; session++) {
    if (session == 1) store_flush(store);
    if (session >= 2) {
      store_close(store);
      config.backend = session == 2 ? TKS_SQLITE : TKS_JSON;
      open_with(&config);
    }
    for (uint32_t flags = 0; flags < 2; flags++) {
      tks_range range = store_range(1);
      range.flags = flags;
      model_check_range(&expected, store, &range, 5);
      for (size_t i = 0; i < many; i++) {
        range.from_ns = times[i];
        range.to_ns = TKS_TIME_MAX;
        model_check_range(&expected, store, &range, 5);
        range.from_ns = TKS_TIME_MIN;
        range.to_ns = times[i];
        model_check_range(&expected, store, &range, 5);
        range.from_ns = times[i];
        model_check_range(&expected, store, &range, 5); /* empty */
        range.to_ns++;
        model_check_range(&expected, store, &range, 5); /* one */
      }
    }
  }
}

/* ------------------------------------------------------------- damaged days */

static const char *const DAYS[] = {"2024-03-05", "2024-03-06", "2024-03-07"};

/* Three days with 100 quotes each, of which the middle one is then spoilt. */
static void make_three_days(uint32_t backend) {
  tks_config config = store_config(backend);
  open_with(&config);
  for (int day = 0; day < 3; day++)
    for (int i = 0; i < 100; i++) (void)store_put(store, 1, STORE_NOON + day * STORE_DAY_NS + i, 1, 2);
  store_close(store);
  store = NULL;
}

static void spoil(const char *path, int how) {
  size_t length;
  char *bytes = read_file(path, &length);
  sqlite3 *db;
  switch (how) {
    case 0:
      memset(bytes, 'x', 100);
      write_file(path, bytes, 100);
      break;
    case 1: /* cut off in the middle */ write_file(path, bytes, length / 2); break;
    case 2: /* within its header */ write_file(path, bytes, 50); break;
    case 3: /* a sound database of somebody else */
      cr_assert_eq(remove(path), 0);
      cr_assert_eq(sqlite3_open(path, &db), SQLITE_OK);
      cr_assert_eq(sqlite3_exec(db, "CREATE TABLE invoices(id, amount); INSERT INTO invoices VALUES(1, 2)", 0, 0, 0),
                   0);
      (void)sqlite3_close(db);
      break;
    case 4: /* pretends to be ours */
      cr_assert_eq(remove(path), 0);
      cr_assert_eq(sqlite3_open(path, &db), SQLITE_OK);
      cr_assert_eq(sqlite3_exec(db,
                                "PRAGMA application_id=1414222641; PRAGMA user_version=1; CREATE TABLE meta(a);"
                                "CREATE TABLE symbol(a); CREATE TABLE source(a); CREATE TABLE quote(a)",
                                0, 0, 0),
                   0);
      (void)sqlite3_close(db);
      break;
    default: /* random bytes over all but the header's page */
      for (size_t i = 4096; i < length; i++) bytes[i] = (char)random_next(&dice);
      write_file(path, bytes, length);
      break;
  }
  free(bytes);
}
enum { WAYS = 6 };

/* Reports the day once, says which, and gives the days around it. */
static void check_two_days_and_one_report(bool descending, size_t capacity, size_t more) {
  tks_range range = store_range(1);
  range.flags = descending ? TKS_RANGE_DESCENDING : 0;
  tks_cursor *cursor;
  tks_error error;
  cr_assert_eq(tks_range_open(store, &range, &cursor, NULL), TKS_OK);
  tks_quote quotes[512];
  size_t total = 0, reports = 0, at = 0, count;
  int code;
  do {
    code = tks_cursor_next(cursor, quotes + total, capacity, &count, &error);
    total += count;
    if (code == TKS_EDAYFILE) {
      reports++;
      at = total;
      cr_assert_not_null(strstr(error.message, DAYS[1]), "%s", error.message);
    } else {
      cr_assert_eq(code, TKS_OK, "%d: %s", code, error.message);
    }
    cr_assert_leq(total, 300);
  } while (code == TKS_EDAYFILE || count > 0);
  tks_cursor_close(cursor);
  cr_assert_eq(reports, 1, "%zu reports", reports);
  cr_assert_eq(at, 100);
  cr_assert_eq(total, 200 + more, "%zu quotes", total);
  for (size_t i = 0; i < total; i++) {
    int64_t day = (quotes[i].ts_ns - STORE_MIDNIGHT) / STORE_DAY_NS;
    int64_t want = i < 100 ? 0 : i < 100 + more ? 1 : 2;
    cr_assert_eq(day, descending ? 2 - want : want);
  }
}

Test(cursor, a_damaged_day_is_told_once_and_hides_no_other) {
  for (int how = 0; how < WAYS; how++) {
    scratch_clear(dir);
    make_three_days(TKS_SQLITE);
    char path[PATH_MAX];
    store_day_path(dir, DAYS[1], path);
    spoil(path, how);
    tks_config config = store_config(TKS_SQLITE);
    config.read_only = how % 2;
    open_with(&config);
    for (size_t capacity = 1; capacity <= 212; capacity = capacity * 7 - 3)
      for (int descending = 0; descending < 2; descending++) check_two_days_and_one_report(descending, capacity, 0);
    store_close(store);
    store = NULL;
  }
}

/* What comes late for that day goes into a new file, beside which the old one is kept, and told of for ever. */
Test(cursor, a_late_tick_for_a_damaged_day) {
  for (int how = 0; how < WAYS; how++) {
    scratch_clear(dir);
    make_three_days(TKS_SQLITE);
    char path[PATH_MAX], aside[PATH_MAX + 16];
    store_day_path(dir, DAYS[1], path);
    spoil(path, how);
    size_t length, aside_length;
    char *spoilt = read_file(path, &length);
    tks_config config = store_config(TKS_SQLITE);
    open_with(&config);
    (void)store_put(store, 1, STORE_NOON + STORE_DAY_NS + 7, 3, 4);
    store_flush(store);
    (void)snprintf(aside, sizeof aside, "%s.damaged-1", path);
    cr_assert(path_exists(aside), "way %d", how);
    char *kept = read_file(aside, &aside_length);
    cr_assert_eq(aside_length, length);
    if (how < 3) cr_assert_eq(memcmp(kept, spoilt, length), 0);
    free(kept);
    free(spoilt);
    cr_assert_eq(sqlite_integer(path, "SELECT COUNT(*) FROM ticks"), 1);
    for (int session = 0; session < 2; session++) {
      for (int descending = 0; descending < 2; descending++) check_two_days_and_one_report(descending, 7, 1);
      if (session == 1) break;
      store_close(store);
      open_with(&config);
    }
    store_close(store);
    store = NULL;
  }
}

Test(cursor, a_damaged_json_file) {
  make_three_days(TKS_JSON);
  char path[PATH_MAX];
  store_json_path(dir, "EURUSD", DAYS[1], path);
  size_t length;
  char *text = read_file(path, &length);
  char *second = strchr(text, '\n') + 1;
  memset(second, '#', 20);
  write_file(path, text, length);
  free(text);
  tks_config config = store_config(TKS_JSON);
  open_with(&config);
  for (size_t capacity = 1; capacity <= 212; capacity = capacity * 7 - 3)
    for (int descending = 0; descending < 2; descending++) check_two_days_and_one_report(descending, capacity, 99);
}

/* A failure that may pass is told, and the next call goes on without a gap. */
static int fail_opens(tks__fs_op op, const char *path) {
  return op == TKS__FS_OPEN && path != NULL && strstr(path, DAYS[1]) != NULL ? EMFILE : 0;
}

Test(cursor, after_a_passing_failure_it_goes_on_without_a_gap) {
  make_three_days(TKS_JSON);
  tks_config config = store_config(TKS_JSON);
  open_with(&config);
  tks_range range = store_range(1);
  tks_cursor *cursor;
  tks_quote quotes[400];
  size_t total = 0, count, failures = 0;
  cr_assert_eq(tks_range_open(store, &range, &cursor, NULL), TKS_OK);
  atomic_store(&tks__fs_fault, fail_opens);
  int code;
  do {
    code = tks_cursor_next(cursor, quotes + total, 10, &count, NULL);
    total += count;
    if (code == TKS_EIO && ++failures == 3) atomic_store(&tks__fs_fault, NULL);
    cr_assert(code == TKS_OK || code == TKS_EIO, "%d", code);
  } while (code != TKS_OK || count > 0);
  tks_cursor_close(cursor);
  cr_assert_eq(failures, 3);
  cr_assert_eq(total, 300, "%zu", total);
}

/* ---------------------------------------------------------------- deadline */

/* Nothing is lost or doubled by it, and it ends. */
Test(cursor, reading_on_after_the_deadline) {
  tks_config config = store_config(TKS_SQLITE);
  config.queue_policy = TKS_QUEUE_BLOCK;
  config.block_limit_ms = 60000;
  open_with(&config);
  int many = (int)rounds(100000);
  for (int i = 0; i < many; i++) (void)store_put(store, 1, STORE_NOON + i, 1, 2);
  store_close(store);
  config.read_deadline_ms = 1;
  open_with(&config);
  tks_range range = store_range(1);
  tks_quote *quotes = malloc(((size_t)many + 1) * sizeof *quotes);
  tks_cursor *cursor;
  tks_error error;
  for (uint32_t flags = 0; flags < 2; flags++) {
    range.flags = flags;
    cr_assert_eq(tks_range_open(store, &range, &cursor, NULL), TKS_OK);
    size_t total = 0, count, late = 0;
    int code;
    do {
      code = tks_cursor_next(cursor, quotes + total, (size_t)many + 1 - total, &count, &error);
      cr_assert(code == TKS_OK || code == TKS_EDEADLINE, "%d: %s", code, error.message);
      late += code == TKS_EDEADLINE;
      if (code == TKS_EDEADLINE) cr_assert_not_null(strstr(error.message, STORE_DAY), "%s", error.message);
      total += count;
    } while (code == TKS_EDEADLINE || count > 0);
    tks_cursor_close(cursor);
    cr_assert_eq(total, (size_t)many);
    cr_assert_gt(late, 0);
    for (int i = 0; i < many; i++) cr_assert_eq(quotes[i].ts_ns, STORE_NOON + (flags ? many - 1 - i : i));
  }
  free(quotes);
}

/* A cursor that has read all it may see, with so much behind that no call comes through to the end of it. */
Test(cursor, what_came_later_is_passed_over_before_the_deadline_or_after) {
  tks_config config = store_config(TKS_SQLITE);
  config.queue_policy = TKS_QUEUE_BLOCK;
  config.block_limit_ms = 60000;
  config.read_deadline_ms = 1;
  open_with(&config);
  enum { BEFORE = 1001 };
  int later = (int)rounds(200000);
  for (int i = 0; i < BEFORE; i++) (void)store_put(store, 1, STORE_NOON + i, 1, 2);
  store_flush(store);
  tks_range range = store_range(1);
  tks_cursor *cursor;
  cr_assert_eq(tks_range_open(store, &range, &cursor, NULL), TKS_OK);
  for (int i = 0; i < later; i++) (void)store_put(store, 1, STORE_NOON + BEFORE + i, 1, 2);
  store_flush(store);
  static tks_quote quotes[BEFORE + 1];
  size_t total = 0, count = 0;
  int code, calls = 0;
  do {
    code = tks_cursor_next(cursor, quotes + total, BEFORE + 1 - total, &count, NULL);
    cr_assert(code == TKS_OK || code == TKS_EDEADLINE, "%d", code);
    total += count;
    cr_assert_leq(total, BEFORE);
    if (++calls > later) cr_assert(false, "it never ends");
  } while (code == TKS_EDEADLINE || count > 0);
  tks_cursor_close(cursor);
  cr_assert_eq(total, BEFORE);
}
