/* The stages together: what put lets through, which file it ends up in, what open and close promise. */
#include "store.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <locale.h>
#include <math.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/utc.h"
#include "support/faults.h"
#include "support/process.h"
#include "support/random.h"
#include "support/records.h"
#include "support/scratch.h"
#include "support/stores.h"
#include "support/threads.h"
#include "support/wait.h"

static char *dir;
static tks_store *store;
static uint32_t eurusd;
static tks_error error;

static void set_up(void) { dir = scratch_new(); }

static _Atomic bool held;          /* a sink, in a call */
static _Atomic bool telling, told; /* a log call is made and does not return until told */

static void tear_down(void) {
  atomic_store(&held, false);
  atomic_store(&told, true);
  atomic_store(&tks__fs_fault, NULL);
  atomic_store(&tks__clock_override, NULL);
  (void)allocations_work();
  if (store != NULL) (void)tks_close(store, NULL);
  scratch_remove(dir);
}

TestSuite(store, .init = set_up, .fini = tear_down);

static void open_with(const tks_config *config) {
  store = store_open(dir, config);
  eurusd = store_symbol(store, "EURUSD");
}

/* gaps.db, or what stands beside it. */
static void ledger_path(char *path, const char *part) { (void)snprintf(path, PATH_MAX, "%s/gaps%s.db", dir, part); }

static int put_code(int64_t ts_ns, double bid, double ask, uint32_t source, double size) {
  const tks_quote q = {.ts_ns = ts_ns, .bid = bid, .ask = ask, .bid_size = size, .symbol = eurusd, .source = source};
  return tks_put_quote(store, &q, NULL, &error);
}

/* ------------------------------------------------------------------- close */

static int no_json(tks__fs_op op, const char *path) {
  return op == TKS__FS_OPEN && path != NULL && strstr(path, ".jsonl") != NULL ? EIO : 0;
}

/* Leaves ten records in the journal that JSON lacks. */
static void leave_without_json(void) {
  scratch_clear(dir);
  tks_config config = store_config(TKS_DUAL);
  config.close_limit_ms = 1;
  open_with(&config);
  atomic_store(&tks__fs_fault, no_json);
  for (int i = 0; i < 10; i++) (void)store_put(store, eurusd, STORE_NOON + i, 1, 2);
  cr_assert_eq(tks_sink_flush(store, TKS_SQLITE, (int64_t)WAIT_LIMIT_S * 1000, &error), TKS_OK, "%s", error.message);
  cr_assert_eq(tks_close(store, &error), TKS_KEPT);
  store = NULL;
  atomic_store(&tks__fs_fault, NULL);
}

/* What a sink lacks of an earlier session's journal is lost to it when it is left out, and the ledger says so. */
Test(store, a_sink_that_is_left_out_after_a_kept_close) {
  leave_without_json();
  tks_config config = store_config(TKS_DUAL);
  config.close_limit_ms = 1;
  config.backend = TKS_SQLITE;
  open_with(&config);
  cr_assert_eq(store_stats(store).recovered, 10);
  tks_gap gaps[4];
  size_t total = 0;
  cr_assert_eq(tks_gaps(store, 0, gaps, 4, &total, &error), TKS_OK, "%s", error.message);
  cr_assert_eq(total, 1);
  cr_assert_eq(gaps[0].cause, TKS_GAP_BACKEND);
  cr_assert_eq(gaps[0].sink, TKS_JSON);
  cr_assert_eq(gaps[0].from_seq, 1);
  cr_assert_eq(gaps[0].to_seq, 10);
  cr_assert_eq(gaps[0].records, 0);
  store_close(store);
  store = NULL;
  cr_assert_eq(store_sqlite_seqs(dir), 10);
}

/* An open that failed after the ledger was written, and the next one, may both have told of it. */
static void json_is_in_the_ledger(void) {
  tks_gap gaps[4];
  size_t total = 0;
  cr_assert_eq(tks_gaps(store, 0, gaps, 4, &total, &error), TKS_OK, "%s", error.message);
  cr_assert_geq(total, 1);
  cr_assert_leq(total, 2);
  for (size_t i = 0; i < total; i++) {
    cr_assert_eq(gaps[i].cause, TKS_GAP_BACKEND);
    cr_assert_eq(gaps[i].sink, TKS_JSON);
    cr_assert_eq(gaps[i].from_seq, 1);
    cr_assert_geq(gaps[i].to_seq, 10);
  }
}

static _Atomic int calls_left;

static int after_some_calls(tks__fs_op op, const char *path) {
  (void)op, (void)path;
  return atomic_fetch_sub(&calls_left, 1) <= 0 ? EIO : 0;
}

/* What waits is counted, not the places of the journal's files. */
Test(store, held_counts_the_records_of_an_earlier_session) {
  leave_without_json();
  atomic_store(&tks__fs_fault, no_json);
  tks_config config = store_config(TKS_DUAL);
  config.close_limit_ms = 1;
  open_with(&config);
  cr_assert_eq(store_stats(store).held, 10);
  (void)store_put(store, eurusd, STORE_NOON + 10, 1, 2);
  cr_assert_eq(store_stats(store).held, 11);
  cr_assert_eq(tks_sink_flush(store, TKS_SQLITE, (int64_t)WAIT_LIMIT_S * 1000, &error), TKS_OK, "%s", error.message);
  cr_assert_eq(store_stats(store).held, 11);
  atomic_store(&tks__fs_fault, NULL);
  store_flush(store);
  cr_assert_eq(store_stats(store).held, 0);
}

/* Wherever an open without JSON ends, the next one knows as much as the first: the manifest names JSON until the ledger does. */
Test(store, a_sink_that_is_left_out_by_an_open_that_fails) {
  tks_config config = store_config(TKS_SQLITE);
  int code = TKS_EIO, failed = 0;
  for (; code != TKS_OK && failed < 1000; failed++) {
    leave_without_json();
    atomic_store(&calls_left, failed);
    atomic_store(&tks__fs_fault, after_some_calls);
    code = tks_open(dir, strlen(dir), &config, &store, &error);
    atomic_store(&tks__fs_fault, NULL);
    if (code != TKS_OK) open_with(&config);
    json_is_in_the_ledger();
    store_close(store);
    store = NULL;
    cr_assert_eq(store_sqlite_seqs(dir), 10);
  }
  cr_assert_gt(failed, 5);
  cr_assert_eq(code, TKS_OK);
}

static int pending_stays(tks__fs_op op, const char *path) {
  return op == TKS__FS_RENAME && path != NULL && strstr(path, "gaps.pending.db") != NULL ? EACCES : 0;
}

/* Ditto, where it is the ledger that fails. What cannot be written into it is safe beside it. */
Test(store, a_sink_that_is_left_out_while_the_ledger_is_locked) {
  leave_without_json();
  char path[PATH_MAX], pending[PATH_MAX], *manifest;
  ledger_path(path, "");
  ledger_path(pending, ".pending");
  sqlite3 *lock = NULL;
  cr_assert_eq(sqlite3_open(path, &lock), SQLITE_OK);
  cr_assert_eq(sqlite3_exec(lock, "BEGIN EXCLUSIVE", NULL, NULL, NULL), SQLITE_OK);
  make_dirs(pending);
  atomic_store(&tks__fs_fault, pending_stays);
  tks_config config = store_config(TKS_SQLITE);
  cr_assert_eq(tks_open(dir, strlen(dir), &config, &store, &error), TKS_EIO);
  cr_assert_not_null(strstr(error.message, "json cannot be left out"), "%s", error.message);
  (void)snprintf(path, sizeof path, "%s/store.json", dir);
  size_t length;
  manifest = read_file(path, &length);
  cr_assert_not_null(strstr(manifest, "\"backend\": \"dual\", \"mixed\": false"), "%s", manifest);
  free(manifest);
  atomic_store(&tks__fs_fault, NULL);
  open_with(&config);
  cr_assert_eq(store_stats(store).recovered, 10);
  cr_assert_eq(sqlite_integer(pending, "SELECT count(*) FROM gap WHERE cause = 6"), 1);
  (void)sqlite3_close(lock);
  json_is_in_the_ledger();
  store_close(store);
  store = NULL;
  cr_assert(!path_exists(pending));
  open_with(&config);
  json_is_in_the_ledger();
}

/* ------------------------------------------------------------------- ledger */

static sqlite3 *in_ledger; /* somebody else */

static void look_into_ledger(const char *sql) {
  char path[PATH_MAX];
  ledger_path(path, "");
  cr_assert_eq(sqlite3_open(path, &in_ledger), SQLITE_OK);
  cr_assert_eq(sqlite3_exec(in_ledger, sql, NULL, NULL, NULL), SQLITE_OK, "%s", sqlite3_errmsg(in_ledger));
}

static bool keeps_pending;
static _Atomic bool blocked;

static int no_json_no_renames(tks__fs_op op, const char *path) {
  if (keeps_pending && pending_stays(op, path) != 0) return EACCES;
  return blocked ? no_json(op, path) : 0;
}

/* More than the journal holds, while the sink cannot write. */
static size_t lose_some(void) {
  tks_config config = store_config(TKS_JSON);
  config.journal_bytes = 1 << 20;
  config.close_limit_ms = (uint32_t)WAIT_LIMIT_S * 1000;
  open_with(&config);
  blocked = true;
  atomic_store(&tks__fs_fault, no_json_no_renames);
  size_t dropped = 0;
  const tks_quote q = {.ts_ns = STORE_NOON, .bid = 1, .ask = 2, .symbol = eurusd};
  while (dropped < 100) dropped += tks_put_quote(store, &q, NULL, NULL) == TKS_EQUEUEFULL;
  blocked = false;
  return dropped;
}

#define ANY_CODE 1

static size_t losses(int code_wanted) {
  size_t total = 0, sum = 0;
  tks_gap gaps[64];
  int code = tks_gaps(store, 0, gaps, 64, &total, &error);
  cr_assert(code_wanted == ANY_CODE || code == code_wanted, "%d: %s", code, error.message);
  cr_assert_leq(total, 64);
  for (size_t i = 0; i < total; i++) sum += gaps[i].records;
  return sum;
}

/* A store that lost nothing has a ledger that says so, to plain SQL too. */
Test(store, a_new_store_has_a_ledger) {
  tks_config config = store_config(TKS_SQLITE);
  open_with(&config);
  look_into_ledger("SELECT * FROM gaps");
  cr_assert_eq(sqlite3_close(in_ledger), SQLITE_OK);
  cr_assert_eq(losses(TKS_OK), 0);
  store_close(store);
  store = NULL;
}

static bool lists_all(void *context) { return losses(ANY_CODE) == *(size_t *)context; }

/* A mere reader, in a transaction that he forgot. */
Test(store, losses_survive_a_reader_of_the_ledger) {
  tks_config config = store_config(TKS_JSON);
  open_with(&config);
  look_into_ledger("BEGIN; SELECT count(*) FROM gap");
  store_close(store);
  size_t lost = lose_some();
  /* Also while the writer waits for him; what it is moving from memory to a file this moment is seen the next. */
  cr_assert(wait_until(lists_all, &lost));
  cr_assert_eq(tks_close(store, &error), TKS_OK, "%s", error.message);
  open_with(&config);
  cr_assert_eq(losses(TKS_OK), lost, "while he still reads");
  cr_assert_eq(sqlite3_close(in_ledger), SQLITE_OK);
  store_close(store);
  look_into_ledger("SELECT count(*) FROM gap");
  cr_assert_eq(sqlite3_close(in_ledger), SQLITE_OK);
  open_with(&config);
  char path[PATH_MAX];
  ledger_path(path, "");
  cr_assert_eq(sqlite_integer(path, "SELECT sum(records) FROM gaps"), (int64_t)lost);
  store_close(store);
  store = NULL;
}

Test(store, close_tells_of_losses_that_could_be_written_nowhere) {
  char path[PATH_MAX];
  ledger_path(path, ".pending");
  tks_config config = store_config(TKS_JSON);
  open_with(&config);
  store_close(store);
  make_dirs(path);
  look_into_ledger("BEGIN EXCLUSIVE");
  keeps_pending = true;
  size_t lost = lose_some();
  cr_assert_eq(losses(TKS_EIO), lost, "and while it is open, tks_gaps knows");
  cr_assert_eq(tks_close(store, &error), TKS_EIO);
  cr_assert_not_null(strstr(error.message, "gaps.db"), "%s", error.message);
  cr_assert_eq(tks_close(store, &error), TKS_ECLOSED);
  cr_assert_eq(sqlite3_close(in_ledger), SQLITE_OK);
  store = NULL;
}

/* ------------------------------------------------------------------- more of close */

/* The batch in hand, and the queue behind it. */
Test(store, close_writes_a_full_queue) {
  for (uint32_t backend = TKS_SQLITE; backend <= TKS_DUAL; backend++) {
    scratch_clear(dir);
    tks_config config = store_config(backend);
    config.flush_interval_ms = 3600000;
    config.queue_records = config.batch_records = 10000;
    open_with(&config);
    for (int i = 0; i < 9999; i++) (void)store_put(store, eurusd, STORE_NOON + i, 1, 2);
    cr_assert_eq(store_stats(store).held, 9999);
    cr_assert_eq(store_sqlite_rows(dir) + store_json_lines(dir), 0);
    store_close(store);
    store = NULL;
    if (backend != TKS_JSON) cr_assert_eq(store_sqlite_rows(dir), 9999);
    if (backend != TKS_SQLITE) cr_assert_eq(store_json_lines(dir), 9999);
    cr_assert_eq(store_sqlite_seqs(dir) + store_json_seqs(dir), backend == TKS_DUAL ? 2 * 9999 : 9999);
  }
}

static void no_wal_left(const char *day) {
  char path[PATH_MAX], wal[PATH_MAX + 8];
  store_day_path(dir, day, path);
  cr_assert(path_exists(path));
  (void)snprintf(wal, sizeof wal, "%s-wal", path);
  cr_assert_not(path_exists(wal));
  (void)snprintf(wal, sizeof wal, "%s-shm", path);
  cr_assert_not(path_exists(wal));
}

Test(store, a_closed_store_can_be_copied_file_by_file) {
  tks_config config = store_config(TKS_SQLITE);
  open_with(&config);
  (void)store_put(store, eurusd, STORE_NOON, 1, 2);
  store_close(store);
  store = NULL;
  no_wal_left(STORE_DAY);
}

/* -------------------------------------------------------------------- days */

/* A record's own time names its file, whatever the order of arrival and whatever the clock says. */
Test(store, midnight_and_late_ticks) {
  static const struct {
    int64_t ts_ns;
    const char *day;
  } ticks[] = {
      {STORE_MIDNIGHT - 1, "2024-03-04"},
      {STORE_MIDNIGHT, "2024-03-05"},
      {STORE_MIDNIGHT - 1, "2024-03-04"}, /* 23:59:59.999999999 that comes after midnight */
      {STORE_MIDNIGHT + 1, "2024-03-05"},
      {STORE_MIDNIGHT + STORE_DAY_NS - 1, "2024-03-05"},
      {STORE_MIDNIGHT + STORE_DAY_NS, "2024-03-06"},
      {STORE_MIDNIGHT - 2 * STORE_DAY_NS + 5, "2024-03-03"}, /* late by two days and more */
      {STORE_MIDNIGHT - 2 * STORE_DAY_NS - 1, "2024-03-02"},
      {STORE_MIDNIGHT + STORE_DAY_NS + 1, "2024-03-06"},
  };
  static const char *const days[] = {"2024-03-02", "2024-03-03", "2024-03-04", "2024-03-05", "2024-03-06"};
  size_t many = sizeof ticks / sizeof ticks[0];
  for (uint32_t open_days = 1; open_days <= 4; open_days += 3) {
    scratch_clear(dir);
    tks_config config = store_config(TKS_DUAL);
    config.max_open_days = open_days;
    open_with(&config);
    for (size_t i = 0; i < many; i++) {
      (void)store_put(store, eurusd, ticks[i].ts_ns, 1 + (double)i, 20);
      if (i % 3 == 0) store_flush(store);
    }
    tks_range range = store_range(eurusd);
    size_t count;
    tks_quote *quotes = store_read(store, &range, 4, &count);
    cr_assert_eq(count, many);
    for (size_t i = 1; i < count; i++)
      cr_assert(quotes[i].ts_ns > quotes[i - 1].ts_ns ||
                (quotes[i].ts_ns == quotes[i - 1].ts_ns && quotes[i].seq > quotes[i - 1].seq));
    free(quotes);
    store_close(store);
    store = NULL;
    for (size_t d = 0; d < 5; d++) {
      char path[PATH_MAX], sql[200];
      int64_t want = 0;
      for (size_t i = 0; i < many; i++) want += strcmp(ticks[i].day, days[d]) == 0;
      store_day_path(dir, days[d], path);
      (void)snprintf(sql, sizeof sql, "SELECT COUNT(*) FROM ticks WHERE date(timestamp / 1000, 'unixepoch') = '%s'",
                     days[d]);
      cr_assert_eq(sqlite_integer(path, sql), want);
      cr_assert_eq(sqlite_integer(path, "SELECT COUNT(*) FROM ticks"), want);
      no_wal_left(days[d]);
      store_json_path(dir, "EURUSD", days[d], path);
      size_t length, lines = 0;
      char *text = read_file(path, &length);
      for (size_t i = 0; i < length; i++) lines += text[i] == '\n';
      free(text);
      cr_assert_eq(lines, (size_t)want);
    }
    cr_assert_eq(store_sqlite_seqs(dir), many);
    cr_assert_eq(store_json_seqs(dir), many);
  }
}

static bool has_rotated(const tks_store_stats *stats, void *context) {
  return stats->sinks[0].rotations >= *(uint64_t *)context && stats->sinks[1].rotations >= *(uint64_t *)context &&
         stats->sinks[0].open_files == 0 && stats->sinks[1].open_files == 0;
}

Test(store, past_days_are_sealed_and_opened_again_for_late_ticks) {
  tks_config config = store_config(TKS_DUAL);
  config.late_close_s = 1;
  open_with(&config);
  tks_range range = store_range(eurusd);
  for (uint64_t round = 1; round <= 2; round++) {
    size_t count;
    (void)store_put(store, eurusd, STORE_NOON + (int64_t)round, 1, 2);
    store_flush(store);
    free(store_read(store, &range, 4, &count)); /* leaves an idle reading connection, which must not be in the way */
    cr_assert_eq(count, round);
    cr_assert(store_wait(store, has_rotated, &round));
    no_wal_left(STORE_DAY);
    cr_assert_eq(store_stats(store).sinks[0].wal_bytes, 0);
    free(store_read(store, &range, 4, &count));
    cr_assert_eq(count, round);
  }
}

/* ----------------------------------------------------------------- queries */

static void run_query(sqlite3 *db, const char *sql, char *out, size_t size, int column) {
  sqlite3_stmt *s;
  cr_assert_eq(sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK, "%s", sqlite3_errmsg(db));
  size_t n = 0;
  out[0] = 0;
  while (sqlite3_step(s) == SQLITE_ROW)
    n += (size_t)snprintf(out + n, size - n, "%s\n", (const char *)sqlite3_column_text(s, column));
  cr_assert_eq(sqlite3_finalize(s), SQLITE_OK);
}

/* The two that people type already: they run, and the second is a search of the index, not a scan. */
Test(store, the_example_queries) {
  tks_config config = store_config(TKS_SQLITE);
  open_with(&config);
  uint32_t gbpusd = store_symbol(store, "GBPUSD"), lp = store_source(store, "OANDA");
  for (int i = 0; i < 100; i++) {
    tks_quote q = {
        .ts_ns = STORE_NOON + i * INT64_C(1000000000), .bid = 1.25, .ask = 1.5, .symbol = eurusd, .source = lp};
    cr_assert_eq(tks_put_quote(store, &q, NULL, NULL), TKS_OK);
    (void)store_put(store, gbpusd, STORE_NOON + i, (double)NAN, 2);
  }
  store_close(store);
  store = NULL;
  char path[PATH_MAX], out[4096], sql[300];
  store_day_path(dir, STORE_DAY, path);
  sqlite3 *db;
  cr_assert_eq(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
  static const char first[] = "SELECT symbol, COUNT(*), MIN(timestamp), MAX(timestamp) FROM ticks GROUP BY symbol";
  run_query(db, first, out, sizeof out, 0);
  cr_assert_str_eq(out, "EURUSD\nGBPUSD\n");
  run_query(db, first, out, sizeof out, 1);
  cr_assert_str_eq(out, "100\n100\n");
  run_query(db, first, out, sizeof out, 3);
  cr_assert_str_eq(out, "1709640099000\n1709640000000\n");
  (void)snprintf(sql, sizeof sql, "SELECT * FROM ticks WHERE symbol='EURUSD' AND timestamp BETWEEN %lld AND %lld",
                 (long long)(STORE_NOON / 1000000 + 10000), (long long)(STORE_NOON / 1000000 + 12000));
  run_query(db, sql, out, sizeof out, 2);
  cr_assert_str_eq(out, "1709640010000\n1709640011000\n1709640012000\n");
  run_query(db, sql, out, sizeof out, 5);
  cr_assert_str_eq(out, "0.25\n0.25\n0.25\n");
  run_query(db, sql, out, sizeof out, 6);
  cr_assert_str_eq(out, "OANDA\nOANDA\nOANDA\n");
  char plan[400];
  (void)snprintf(plan, sizeof plan, "EXPLAIN QUERY PLAN %s", sql);
  run_query(db, plan, out, sizeof out, 3);
  cr_assert_not_null(strstr(out, "SEARCH quote USING PRIMARY KEY (symbol_id=? AND ts_ms>? AND ts_ms<?)"), "%s", out);
  cr_assert_not_null(strstr(out, "SEARCH symbol USING"), "%s", out);
  cr_assert_null(strstr(out, "SCAN"), "%s", out);
  (void)sqlite3_close(db);
  static const char *const columns[] = {"id",        "symbol",     "timestamp",    "bid",      "ask",      "spread",
                                        "lp_source", "created_at", "timestamp_ns", "bid_size", "ask_size", "flags"};
  for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++) {
    (void)snprintf(sql, sizeof sql, "SELECT COUNT(*) FROM pragma_table_info('ticks') WHERE name = '%s'", columns[i]);
    cr_assert_eq(sqlite_integer(path, sql), 1, "%s", columns[i]);
  }
}

/* ---------------------------------------------------------------- policies */

Test(store, crossed_quotes) {
  static const int codes[] = {TKS_OK, TKS_CROSSED_DROPPED, TKS_ECROSSED};
  for (uint32_t policy = 0; policy < 3; policy++) {
    scratch_clear(dir);
    tks_config config = store_config(TKS_SQLITE);
    config.crossed_policy = policy;
    open_with(&config);
    cr_assert_eq(put_code(STORE_NOON, 1.5, 1.25, 0, 0), codes[policy]);
    if (policy == TKS_CROSSED_REFUSE) cr_assert_str_eq(error.message, "bid 1.5 is above ask 1.25");
    cr_assert_eq(put_code(STORE_NOON, 1.5, 1.5, 0, 0), TKS_OK); /* locked */
    tks_store_stats stats = store_stats(store);
    cr_assert_eq(stats.received, 2);
    cr_assert_eq(stats.accepted, policy == TKS_CROSSED_KEEP ? 2 : 1);
    cr_assert_eq(stats.crossed_dropped, policy == TKS_CROSSED_DROP);
    cr_assert_eq(stats.refused_crossed, policy == TKS_CROSSED_REFUSE);
    cr_assert_eq(stats.refused, policy == TKS_CROSSED_REFUSE);
    tks_quote quotes[4];
    size_t count;
    cr_assert_eq(tks_recent(store, eurusd, 4, quotes, &count, NULL), TKS_OK);
    cr_assert_eq(count, policy == TKS_CROSSED_KEEP ? 2 : 1);
    if (policy == TKS_CROSSED_KEEP) cr_assert_eq(quotes[0].flags, TKS_FLAG_CROSSED);
    store_close(store);
    store = NULL;
  }
}

Test(store, repeats_are_throttled_by_source) {
  tks_config config = store_config(TKS_SQLITE);
  config.throttle_relative = 0.01;
  config.throttle_max_age_ms = 1000;
  open_with(&config);
  uint32_t a = store_source(store, "A"), b = store_source(store, "B");
  cr_assert_eq(put_code(STORE_NOON, 100, 200, a, 0), TKS_OK);
  cr_assert_eq(put_code(STORE_NOON, 100.5, 201, a, 0), TKS_THROTTLED);
  cr_assert_eq(put_code(STORE_NOON, 100.5, 201, b, 0), TKS_OK);
  cr_assert_eq(put_code(STORE_NOON, 100.5, 201, 0, 0), TKS_OK);
  cr_assert_eq(put_code(STORE_NOON, 102, 200, a, 0), TKS_OK);
  cr_assert_eq(put_code(STORE_NOON, 102, 200, a, 1), TKS_OK); /* a size changed */
  cr_assert_eq(put_code(STORE_NOON, 102, (double)NAN, a, 1), TKS_OK);
  cr_assert_eq(put_code(STORE_NOON + 999999999, 102, (double)NAN, a, 1), TKS_THROTTLED);
  cr_assert_eq(put_code(STORE_NOON + 1000000000, 102, (double)NAN, a, 1), TKS_OK); /* old enough */
  uint32_t other = store_symbol(store, "GBPUSD");
  (void)store_put(store, other, STORE_NOON, 102, 200);
  tks_store_stats stats = store_stats(store);
  cr_assert_eq(stats.accepted, 8);
  cr_assert_eq(stats.throttled, 2);
}

/* A drop is no store: what repeats it must not be skipped. */
Test(store, what_was_dropped_does_not_throttle) {
  tks_config config = store_config(TKS_SQLITE);
  store_tiny_queue(&config);
  config.throttle_relative = 0;
  open_with(&config);
  int code = TKS_OK;
  double price = 0;
  for (int i = 0; i < 4000000 && code != TKS_EQUEUEFULL; i++) code = put_code(STORE_NOON, ++price, 1e9, 0, 0);
  cr_assert_eq(code, TKS_EQUEUEFULL);
  store_flush(store);
  cr_assert_eq(put_code(STORE_NOON, price, 1e9, 0, 0), TKS_OK);
  cr_assert_eq(put_code(STORE_NOON, price, 1e9, 0, 0), TKS_THROTTLED);
}

/* Who was told that all is durable finds room. */
Test(store, after_a_flush_there_is_room) {
  tks_config config = store_config(TKS_SQLITE);
  store_tiny_queue(&config);
  open_with(&config);
  for (int round = 0; round < 500; round++) {
    int code = TKS_OK;
    for (int i = 0; i < 4000000 && code != TKS_EQUEUEFULL; i++) code = put_code(STORE_NOON, 1, 2, 0, 0);
    cr_assert_eq(code, TKS_EQUEUEFULL);
    store_flush(store);
    cr_assert_eq(put_code(STORE_NOON, 1, 2, 0, 0), TKS_OK, "in round %d", round);
  }
}

/* Nothing is sick here: what is written and not synced must not hold the journal until the next sync is due. */
Test(store, a_full_journal_does_not_wait_for_the_time_of_a_sync) {
  for (uint32_t journal = 0; journal < 2; journal++) {
    tks_config config = store_config(TKS_DUAL);
    config.synchronous = TKS_SYNC_NORMAL;
    config.sync_interval_ms = 3600000;
    config.journal = journal;
    config.journal_bytes = 1 << 20;
    config.backlog_records = 0;
    config.queue_policy = TKS_QUEUE_BLOCK;
    config.block_limit_ms = 10000;
    config.degraded_retry_ms = 3600000; /* slow is not sick */
    open_with(&config);
    for (int i = 0; i < 100000; i++) cr_assert_eq(put_code(STORE_NOON, 1, 2, 0, 0), TKS_OK, "put %d", i);
    tks_store_stats stats = store_stats(store);
    cr_assert_eq(stats.dropped, 0);
    store_close(store);
    store = NULL;
  }
}

/* ---- blocking: the sink is held, so that the queue stays full for as long as the test likes */

static int hold_opens(tks__fs_op op, const char *path) {
  if (op != TKS__FS_OPEN || path == NULL || strstr(path, ".jsonl") == NULL) return 0;
  while (atomic_load(&held)) linger_ms(1);
  return 0;
}

enum { ROOM = 32 }; /* of a queue of 16: it comes in two blocks of 16 */

static void open_held(tks_config *config) {
  store_tiny_queue(config);
  config->flush_interval_ms = 1;
  config->degraded_retry_ms = 3600000;
  open_with(config);
  atomic_store(&held, true);
  atomic_store(&tks__fs_fault, hold_opens);
  /* What is with the sink does not come back; the queue fills and stays so. */
  for (int i = 0; i < ROOM; i++) (void)store_put(store, eurusd, STORE_NOON, 1, 2);
  cr_assert_eq(store_stats(store).sinks[1].backlog, ROOM);
}

static _Atomic int done_code;

static void *put_one(void *argument) {
  (void)argument;
  tks_quote q = {.ts_ns = STORE_NOON, .bid = 1, .ask = 2, .symbol = eurusd};
  atomic_store(&done_code, tks_put_quote(store, &q, NULL, NULL));
  return NULL;
}

static void *put_array_of_one(void *argument) {
  (void)argument;
  tks_quote q = {.ts_ns = STORE_NOON, .bid = 1, .ask = 2, .symbol = eurusd};
  atomic_store(&done_code, tks_put_quotes(store, &q, 1, NULL, NULL, NULL));
  return NULL;
}

static bool is_blocked(const tks_store_stats *stats, void *context) {
  (void)context;
  return stats->blocked == 1;
}

static bool is_set(void *context) { return atomic_load((_Atomic bool *)context); }

/* Whoever has just taken a loss out of the journal stays here. */
static void tell_slowly(void *context, int32_t level, const char *text, size_t length) {
  (void)context, (void)level, (void)length;
  if (strstr(text, "records dropped from sequence") == NULL) return;
  atomic_store(&telling, true);
  (void)wait_until(is_set, &told);
}

Test(store, a_loss_is_listed_while_it_is_on_its_way_to_the_ledger) {
  tks_config config = store_config(TKS_JSON);
  config.log = tell_slowly;
  open_held(&config);
  cr_assert_eq(put_one(NULL), NULL);
  cr_assert_eq(atomic_load(&done_code), TKS_EQUEUEFULL);
  cr_assert(wait_until(is_set, &telling));
  cr_assert_eq(losses(TKS_OK), 1);
  atomic_store(&told, true);
  atomic_store(&held, false);
  store_close(store);
  store = NULL;
}

static void wait_for_room(void *(*put)(void *)) {
  tks_config config = store_config(TKS_JSON);
  config.queue_policy = TKS_QUEUE_BLOCK;
  config.block_limit_ms = 3600000;
  open_held(&config);
  atomic_store(&done_code, 99);
  pthread_t thread = start_thread(put, NULL);
  cr_assert(store_wait(store, is_blocked, NULL));
  linger_ms(20);
  cr_assert_eq(atomic_load(&done_code), 99);
  atomic_store(&held, false);
  join_thread(thread);
  cr_assert_eq(done_code, TKS_OK);
  store_close(store);
  store = NULL;
  cr_assert_eq(store_json_seqs(dir), ROOM + 1);
}

Test(store, a_full_queue_makes_put_wait_for_room) { wait_for_room(put_one); }
Test(store, a_full_queue_makes_an_array_wait_for_room) { wait_for_room(put_array_of_one); }

Test(store, a_put_that_waited_too_long_drops) {
  tks_config config = store_config(TKS_JSON);
  config.queue_policy = TKS_QUEUE_BLOCK;
  config.block_limit_ms = 10;
  open_held(&config);
  cr_assert_eq(put_code(STORE_NOON, 1, 2, 0, 0), TKS_EQUEUEFULL);
  cr_assert_not_null(strstr(error.message, "16"), "%s", error.message);
  tks_store_stats stats = store_stats(store);
  cr_assert_eq(stats.blocked, 1);
  cr_assert_eq(stats.dropped, 1);
  cr_assert(store_adds_up(&stats));
  atomic_store(&held, false);
  store_close(store);
  store = NULL;
  cr_assert_eq(store_json_seqs(dir), ROOM);
}

/* An array waits once: what comes behind a quote that has waited in vain is dropped at once. */
Test(store, an_array_waits_for_room_once) {
  tks_config config = store_config(TKS_JSON);
  config.queue_policy = TKS_QUEUE_BLOCK;
  config.block_limit_ms = 1000;
  open_held(&config);
  enum { MANY = 200 };
  tks_quote quotes[MANY];
  int32_t codes[MANY];
  tks_put_result result;
  for (int i = 0; i < MANY; i++) quotes[i] = (tks_quote){.ts_ns = STORE_NOON, .bid = 1, .ask = 2, .symbol = eurusd};
  quotes[1].symbol = 0;
  int64_t began_ns = tks__clock_monotonic_ns();
  cr_assert_eq(tks_put_quotes(store, quotes, MANY, codes, &result, &error), TKS_PARTIAL);
  cr_assert_geq(tks__clock_monotonic_ns() - began_ns, TKS__NS_PER_S);
  for (int i = 0; i < MANY; i++) cr_assert_eq(codes[i], i == 1 ? TKS_ESYMBOL : TKS_EQUEUEFULL, "%d: %d", i, codes[i]);
  cr_assert_eq(result.dropped, MANY - 1);
  cr_assert_eq(result.refused, 1);
  cr_assert_eq(result.accepted, 0);
  cr_assert_eq(result.first_bad, 0);
  cr_assert_eq(result.first_bad_code, TKS_EQUEUEFULL);
  cr_assert_not_null(strstr(error.message, "16"), "%s", error.message);
  tks_store_stats stats = store_stats(store);
  cr_assert_eq(stats.blocked, 1);
  cr_assert_eq(stats.dropped, MANY - 1);
  cr_assert(store_adds_up(&stats));
  atomic_store(&held, false);
  store_flush(store);
  cr_assert_eq(tks_put_quotes(store, quotes, 1, codes, &result, &error), TKS_OK);
  store_close(store);
  store = NULL;
  cr_assert_eq(store_json_seqs(dir), ROOM + 1);
}

Test(store, without_blocking_it_drops_at_once) {
  tks_config config = store_config(TKS_JSON);
  open_held(&config);
  for (int i = 0; i < 100; i++) cr_assert_eq(put_code(STORE_NOON, 1, 2, 0, 0), TKS_EQUEUEFULL);
  tks_store_stats stats = store_stats(store);
  cr_assert_eq(stats.blocked, 0);
  cr_assert_eq(stats.dropped, 100);
  cr_assert_eq(stats.sinks[1].backlog, ROOM);
  cr_assert(store_adds_up(&stats));
  cr_assert_eq(tks_flush(store, 0, &error), TKS_ETIMEOUT);
  atomic_store(&held, false);
  store_flush(store);
  stats = store_stats(store);
  cr_assert_eq(stats.sinks[1].written, ROOM);
  cr_assert_eq(stats.durable_seq, ROOM + 100);
  cr_assert(store_adds_up(&stats));
}

static void *close_it(void *argument) {
  (void)argument;
  (void)tks_close(store, NULL);
  return NULL;
}

static void *flush_it(void *argument) {
  (void)argument;
  atomic_store(&done_code, tks_flush(store, -1, NULL));
  return NULL;
}

Test(store, close_lets_waiting_puts_and_flushes_go) {
  for (int flush = 0; flush < 2; flush++) {
    scratch_clear(dir);
    tks_config config = store_config(TKS_JSON);
    config.queue_policy = TKS_QUEUE_BLOCK;
    config.block_limit_ms = 3600000;
    open_held(&config);
    atomic_store(&done_code, 99);
    pthread_t waiter = start_thread(flush ? flush_it : put_one, NULL);
    if (flush) linger_ms(20);
    else cr_assert(store_wait(store, is_blocked, NULL));
    pthread_t closer = start_thread(close_it, NULL);
    join_thread(waiter);
    cr_assert_eq(done_code, TKS_ECLOSED, "%d", done_code);
    atomic_store(&held, false);
    join_thread(closer);
    store = NULL;
    atomic_store(&tks__fs_fault, NULL);
    cr_assert_eq(store_json_seqs(dir), ROOM);
  }
}

/* ---- a reader is held in a call until the store is being closed */

static _Atomic bool inside;

static int hold_lists(tks__fs_op op, const char *path) {
  (void)path;
  if (op != TKS__FS_LIST) return 0;
  atomic_store(&inside, true);
  while (atomic_load(&store->state) == TKS__STORE_OPEN) linger_ms(1);
  linger_ms(5);
  return 0;
}

static void *list_days(void *total) {
  atomic_store(&done_code, tks_days(store, TKS_CHECK_QUICK, NULL, 0, total, NULL));
  return NULL;
}

Test(store, close_waits_for_the_readers_of_a_read_only_store) {
  tks_config config = store_config(TKS_DUAL);
  open_with(&config);
  (void)store_put(store, eurusd, STORE_NOON, 1, 2);
  store_close(store);
  config.read_only = 1;
  open_with(&config);
  atomic_store(&tks__fs_fault, hold_lists);
  size_t total = 0;
  pthread_t thread = start_thread(list_days, &total);
  cr_assert(wait_until(is_set, &inside));
  cr_assert_eq(tks_close(store, &error), TKS_OK);
  cr_assert_eq(atomic_load(&inside), true);
  atomic_store(&tks__fs_fault, NULL);
  join_thread(thread);
  store = NULL;
  cr_assert_eq(done_code, TKS_OK);
  cr_assert_eq(total, 2);
}

/* -------------------------------------------------------------------- time */

static _Atomic int64_t fake_now_ns;
static int64_t fake_now(void) { return fake_now_ns; }

Test(store, the_window_of_times) {
  tks_config config = store_config(TKS_SQLITE);
  config.max_ahead_s = 60;
  config.min_time_ns = STORE_MIDNIGHT;
  atomic_store(&fake_now_ns, STORE_NOON);
  atomic_store(&tks__clock_override, fake_now);
  open_with(&config);
  int64_t last = STORE_NOON + 60 * TKS__NS_PER_S;
  cr_assert_eq(put_code(STORE_MIDNIGHT, 1, 2, 0, 0), TKS_OK);
  cr_assert_eq(put_code(STORE_MIDNIGHT - 1, 1, 2, 0, 0), TKS_ETIME);
  cr_assert_not_null(strstr(error.message, "min_time_ns"), "%s", error.message);
  cr_assert_eq(put_code(last, 1, 2, 0, 0), TKS_OK);
  cr_assert_eq(put_code(last + 1, 1, 2, 0, 0), TKS_ETIME);
  cr_assert_not_null(strstr(error.message, "max_ahead_s"), "%s", error.message);
  cr_assert_not_null(strstr(error.message, "2024-03-05T12:01:00.000000001Z"), "%s", error.message);
  atomic_store(&fake_now_ns, STORE_NOON + 1);
  cr_assert_eq(put_code(last + 1, 1, 2, 0, 0), TKS_OK);
  cr_assert_eq(put_code(INT64_MAX, 1, 2, 0, 0), TKS_ETIME);
  cr_assert_eq(store_stats(store).refused_time, 3);
}

/* ---------------------------------------------------------------- restarts */

/* A child that the writer had forked and that outlives it does not keep the next one out. */
Test(store, a_forked_child_does_not_hold_the_lock_of_a_dead_writer) {
  process p = process_start("other_process", dir, "orphan");
  int status;
  cr_assert_eq(waitpid(p.pid, &status, 0), p.pid);
  cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "%d", status);
  tks_config config = store_config(TKS_DUAL);
  open_with(&config);
  cr_assert_eq(store_stats(store).recovered, 100);
  (void)close(p.in);
  (void)close(p.out);
}

/* A process that dies leaves what was accepted and committed; numbers go on above all that were given out. */
Test(store, after_a_crash) {
  process p = process_start("other_process", dir, "crash");
  cr_assert_eq(process_wait(&p), -1 - SIGKILL);
  tks_config config = store_config(TKS_DUAL);
  open_with(&config); /* the lock went with the process */
  tks_store_stats stats = store_stats(store);
  cr_assert_gt(stats.first_seq, 3000);
  tks_range range = store_range(eurusd);
  size_t count;
  tks_quote *quotes = store_read(store, &range, 100, &count);
  cr_assert_geq(count, 1000);
  for (size_t i = 0; i < count; i++) {
    cr_assert_eq(quotes[i].seq, i + 1);
    cr_assert_eq(quotes[i].ts_ns, STORE_NOON + (int64_t)i);
  }
  free(quotes);
  uint64_t seq = store_put(store, eurusd, STORE_NOON + 5000, 1, 2);
  cr_assert_eq(seq, stats.first_seq);
  store_close(store);
  open_with(&config);
  cr_assert_eq(store_stats(store).first_seq, seq + 1);
  free(store_read(store, &range, 100, &count));
  cr_assert_geq(count, 1001);
  store_close(store);
  store = NULL;
  cr_assert_eq(store_sqlite_rows(dir), store_sqlite_seqs(dir));
  cr_assert_eq(store_json_lines(dir), store_json_seqs(dir));
  cr_assert_geq(store_json_seqs(dir), 1001);
}

/* A store that moved from one sink to the other is read across the change. */
Test(store, days_of_both_sinks_are_read) {
  static const uint32_t backends[] = {TKS_JSON, TKS_SQLITE, TKS_DUAL, TKS_JSON, TKS_SQLITE};
  enum { SESSIONS = sizeof backends / sizeof backends[0] };
  for (int session = 0; session < SESSIONS; session++) {
    tks_config config = store_config(backends[session]);
    open_with(&config);
    for (int i = 0; i < 10; i++) (void)store_put(store, eurusd, STORE_NOON + session * STORE_DAY_NS + i, 1, 2);
    tks_range range = store_range(eurusd);
    size_t count, total;
    for (int flushed = 0; flushed < 2; flushed++) {
      free(store_read(store, &range, 3, &count));
      cr_assert_eq(count, 10 * ((size_t)session + 1));
      tks_symbol_info info;
      cr_assert_eq(tks_symbols(store, &info, 1, &total, NULL), TKS_OK);
      cr_assert_eq(info.count, count);
      store_flush(store);
    }
    store_close(store);
    store = NULL;
  }
}

/* Also where it moved in the middle of a day, and back: each record once, in order. */
Test(store, a_day_that_lies_in_both_sinks_is_read_whole) {
  static const uint32_t backends[] = {TKS_JSON, TKS_SQLITE, TKS_DUAL, TKS_JSON, TKS_SQLITE};
  enum { SESSIONS = sizeof backends / sizeof backends[0] };
  for (int session = 0; session < SESSIONS; session++) {
    tks_config config = store_config(backends[session]);
    open_with(&config);
    for (int i = 0; i < 10; i++) (void)store_put(store, eurusd, STORE_NOON + i * 7 + session, 1, 2);
    for (int flushed = 0; flushed < 2; flushed++) {
      tks_range range = store_range(eurusd);
      size_t count, total;
      for (range.flags = 0; range.flags < 2; range.flags++) {
        tks_quote *quotes = store_read(store, &range, 3, &count);
        cr_assert_eq(count, 10 * ((size_t)session + 1), "session %d sees %zu", session, count);
        for (size_t i = 1; i < count; i++) cr_assert_eq(quotes[i].ts_ns < quotes[i - 1].ts_ns, range.flags);
        free(quotes);
      }
      tks_symbol_info info;
      cr_assert_eq(tks_symbols(store, &info, 1, &total, NULL), TKS_OK);
      cr_assert_eq(info.count, 10 * ((uint64_t)session + 1), "session %d counts %llu", session,
                   (unsigned long long)info.count);
      tks_quote quotes[100];
      cr_assert_eq(tks_recent(store, eurusd, 100, quotes, &count, NULL), TKS_OK);
      cr_assert_eq(count, 10 * ((size_t)session + 1));
      store_flush(store);
    }
    store_close(store);
    store = NULL;
  }
}

/* ------------------------------------------------------------------ faults */

static _Atomic int countdown, fault;

static int fail_at_zero(tks__fs_op op, const char *path) {
  (void)op;
  (void)path;
  return atomic_fetch_sub(&countdown, 1) == 0 ? fault : 0;
}

static int refuse_writes(tks__fs_op op, const char *path) {
  (void)path;
  return op == TKS__FS_WRITE || op == TKS__FS_ALLOCATE ? atomic_load(&fault) : 0;
}

static int put_named(const char *symbol, const char *source, uint64_t *seq) {
  return tks_put(store, symbol, strlen(symbol), 1, 2, source, strlen(source), STORE_NOON, seq, &error);
}

/* A record whose name is nowhere would be nobody's after a crash: put does not say that it was accepted. */
Test(store, what_cannot_be_named_is_refused) {
  tks_config config = store_config(TKS_SQLITE);
  config.flush_interval_ms = 3600000;
  for (int f = 0; f < 2; f++) {
    scratch_clear(dir);
    open_with(&config);
    const int code = f ? TKS_EDISKFULL : TKS_EIO;
    uint64_t seq = 1;
    atomic_store(&fault, f ? ENOSPC : EIO);
    atomic_store(&tks__fs_fault, refuse_writes);
    cr_assert_eq(put_named("NEW", "", &seq), code, "%s", error.message);
    cr_assert_eq(seq, 0);
    cr_assert_eq(error.code, code);
    cr_assert_not_null(strstr(error.message, "name of symbol 2"), "%s", error.message);
    uint32_t id = store_symbol(store, "NEW"); /* for reading */
    cr_assert_eq(id, 2);
    tks_range range = store_range(id);
    size_t count;
    free(store_read(store, &range, 10, &count));
    cr_assert_eq(count, 0);
    const tks_quote quotes[] = {{.ts_ns = STORE_NOON, .bid = 1, .ask = 2, .symbol = id},
                                {.ts_ns = STORE_NOON, .bid = 1, .ask = 2, .symbol = eurusd}};
    tks_put_result result;
    int32_t codes[2];
    cr_assert_eq(tks_put_quotes(store, quotes, 2, codes, &result, &error), TKS_PARTIAL);
    cr_assert(codes[0] == code && codes[1] == TKS_OK);
    cr_assert_eq(put_named("EURUSD", "bank", &seq), code, "%s", error.message);
    cr_assert_not_null(strstr(error.message, "name of source 1"), "%s", error.message);
    uint32_t source = store_source(store, "bank");
    cr_assert_eq(put_code(STORE_NOON, 1, 2, source, 0), code);
    cr_assert_eq(put_code(STORE_NOON, 1, 2, source + 1, 0), TKS_ESOURCE);
    cr_assert_eq(put_named("EURUSD", "", &seq), TKS_OK, "a known one goes on");
    tks_store_stats stats = store_stats(store);
    cr_assert(stats.refused_symbol == 2 && stats.refused_source == 3 && stats.accepted == 2);
    atomic_store(&tks__fs_fault, NULL);
    cr_assert_eq(tks_put_quotes(store, quotes, 2, codes, &result, &error), TKS_OK, "%s", error.message);
    cr_assert_eq(put_code(STORE_NOON, 1, 2, source, 0), TKS_OK);
    cr_assert_eq(put_named("NEW", "bank", &seq), TKS_OK);
    store_close(store);
    store = NULL;
    cr_assert_eq(store_sqlite_seqs(dir), 6);
  }
}

static int hold_segments(tks__fs_op op, const char *path) {
  if (op != TKS__FS_OPEN || path == NULL || strstr(path, ".segment") == NULL) return 0;
  while (atomic_load(&held)) linger_ms(1);
  return 0;
}

static bool can_put(void *kept) {
  bool ok = put_code(STORE_NOON, 1, 2, 0, 0) == TKS_OK;
  *(uint64_t *)kept += ok;
  return ok;
}

static bool is_in_ledger(void *records) {
  const uint64_t *wanted = records;
  char path[PATH_MAX];
  ledger_path(path, "");
  return sqlite_integer(path, "SELECT sum(records) FROM gap") == (int64_t)*wanted;
}

/* The first put that finds no room waits for the next file of the journal. While none comes, no other does. */
Test(store, a_disk_that_hangs_stops_the_host_once) {
  enum { MORE = 10 };
  tks_config config = store_config(TKS_SQLITE);
  config.journal_bytes = UINT64_C(16) << 20;
  open_with(&config);
  atomic_store(&held, true);
  atomic_store(&tks__fs_fault, hold_segments);
  uint64_t kept = 0;
  while (can_put(&kept)) continue;
  cr_assert_eq(error.code, TKS_EQUEUEFULL);
  cr_assert_not_null(strstr(error.message, "cannot be extended"), "%s", error.message);
  uint64_t stalls = store_stats(store).journal_stalls;
  cr_assert_gt(stalls, 0);
  uint64_t lost = 1;
  cr_assert(wait_until(is_in_ledger, &lost));
  store_flush(store);
  linger_ms(1200); /* nobody has anything left to look after */
  tks_quote quotes[MORE];
  for (int i = 0; i < MORE; i++) {
    quotes[i] = (tks_quote){.ts_ns = STORE_NOON, .bid = 1, .ask = 2, .symbol = eurusd};
    cr_assert_eq(put_code(STORE_NOON, 1, 2, 0, 0), TKS_EQUEUEFULL);
  }
  tks_put_result result;
  cr_assert_eq(tks_put_quotes(store, quotes, MORE, NULL, &result, NULL), TKS_PARTIAL);
  cr_assert_eq(result.dropped, MORE);
  tks_store_stats stats = store_stats(store);
  cr_assert_eq(stats.journal_stalls, stalls);
  lost += 2 * MORE;
  cr_assert_eq(stats.dropped, lost);
  /* Whoever writes down what is lost does not wait for the file. */
  cr_assert(wait_until(is_in_ledger, &lost));
  atomic_store(&held, false);
  cr_assert(wait_until(can_put, &kept));
  cr_assert_eq(losses(TKS_OK), store_stats(store).dropped);
  store_close(store);
  store = NULL;
  cr_assert_eq(store_sqlite_seqs(dir), kept);
}

/* Without the journal no name has to be anywhere. */
Test(store, without_the_journal_a_new_name_needs_no_disk) {
  tks_config config = store_config(TKS_SQLITE);
  config.journal = 0;
  open_with(&config);
  atomic_store(&fault, ENOSPC);
  atomic_store(&tks__fs_fault, refuse_writes);
  uint64_t seq;
  cr_assert_eq(put_named("NEW", "bank", &seq), TKS_OK, "%s", error.message);
  atomic_store(&tks__fs_fault, NULL);
  store_close(store);
  store = NULL;
  cr_assert_eq(store_sqlite_seqs(dir), 1);
}

/* A failed open leaves nothing behind that a second one would trip over: no lock, no thread, no half-made store. */
Test(store, every_step_of_open_may_fail) {
  for (int existing = 0; existing < 2; existing++) {
    for (int f = 0; f < 2; f++) {
      scratch_clear(dir);
      tks_config config = store_config(TKS_DUAL);
      if (existing) {
        open_with(&config);
        (void)store_put(store, eurusd, STORE_NOON, 1, 2);
        store_close(store);
        store = NULL;
      }
      int steps = 0;
      for (bool failed = true; failed; steps++) {
        atomic_store(&countdown, steps);
        atomic_store(&fault, f ? ENOSPC : EIO);
        atomic_store(&tks__fs_fault, fail_at_zero);
        int code = tks_open(dir, strlen(dir), &config, &store, &error);
        atomic_store(&tks__fs_fault, NULL);
        failed = atomic_load(&countdown) < 0;
        if (code == TKS_OK) {
          store_close(store);
          store = NULL;
          continue;
        }
        cr_assert_eq(code, f ? TKS_EDISKFULL : TKS_EIO, "%d: %s", code, error.message);
        cr_assert_not_null(strstr(error.message, dir), "%s", error.message);
        cr_assert_null(store);
      }
      open_with(&config);
      cr_assert_geq(steps, 5);
      (void)store_put(store, eurusd, STORE_NOON, 1, 2);
      store_close(store);
      store = NULL;
      cr_assert_eq(store_sqlite_seqs(dir), 1 + (uint64_t)existing);
      cr_assert_eq(store_json_seqs(dir), 1 + (uint64_t)existing);
    }
  }
}

/* ------------------------------------------------------------------ locale */

/* An installed locale with a decimal comma, or one made for the occasion. */
static bool comma_locale(void) {
  static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "es_ES.UTF-8", "ru_RU.UTF-8"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
    if (setlocale(LC_NUMERIC, names[i]) != NULL && localeconv()->decimal_point[0] == ',') return true;
  char command[PATH_MAX + 100], path[PATH_MAX];
  (void)snprintf(path, sizeof path, "%s/locales", dir);
  make_dirs(path);
  (void)snprintf(command, sizeof command, "localedef -i de_DE -f UTF-8 '%s/de_DE.UTF-8' >/dev/null 2>&1", path);
  if (system(command) == -1) return false;
  (void)setenv("LOCPATH", path, 1);
  return setlocale(LC_ALL, "de_DE.UTF-8") != NULL && localeconv()->decimal_point[0] == ',';
}

Test(store, numbers_do_not_depend_on_the_locale) {
  if (!comma_locale()) cr_skip_test("no locale with a decimal comma is installed, and none could be made");
  char root[PATH_MAX];
  (void)snprintf(root, sizeof root, "%s/store", dir);
  test_random dice = random_new();
  for (uint32_t backend = TKS_SQLITE; backend <= TKS_JSON; backend++) {
    tks_config config = store_config(backend);
    config.queue_policy = TKS_QUEUE_BLOCK;
    config.block_limit_ms = 3600000;
    store = store_open(root, &config);
    eurusd = store_symbol(store, "EURUSD");
    enum { MANY = 5000 };
    static tks_quote given[MANY];
    for (int i = 0; i < MANY; i++) {
      double bid = double_of(random_next(&dice)), ask = double_of(random_next(&dice));
      given[i] = (tks_quote){.ts_ns = STORE_NOON + i, .symbol = eurusd};
      given[i].bid = isfinite(bid) ? bid : 0.1 * i;
      given[i].ask = isfinite(ask) ? ask : (double)NAN;
      given[i].ask_size = fabs(double_of(random_next(&dice) & ~(UINT64_C(1) << 62)));
      cr_assert_eq(tks_put_quote(store, &given[i], &given[i].seq, NULL), TKS_OK);
      if (given[i].bid > given[i].ask) given[i].flags = TKS_FLAG_CROSSED;
    }
    store_close(store);
    store = store_open(root, &config);
    tks_range range = store_range(store_symbol(store, "EURUSD"));
    size_t count;
    tks_quote *back = store_read(store, &range, 1000, &count);
    cr_assert_eq(count, MANY);
    for (int i = 0; i < MANY; i++) cr_assert_eq(memcmp(&back[i], &given[i], sizeof given[i]), 0, "%d", i);
    free(back);
    store_close(store);
    store = NULL;
    scratch_clear(root);
  }
}
