/* Every allocation of a whole session fails once: calls answer with a clean code, nothing leaks, and nothing that was
 * accepted is missing or there twice. */
#include <criterion/criterion.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/faults.h"
#include "support/model.h"
#include "support/scratch.h"
#include "support/stores.h"
#include "support/threads.h"

#define SYMBOLS 3
#define SOURCES 2
#define TRIES 4 /* a call that failed for want of memory works when it is made again: one allocation fails, once */

static char *dir;
static tks_store *store;
static model expected;
static test_random dice;

static void set_up(void) {
  /* Hundreds of sessions: not on a disk, where there is a choice. */
  if (access("/dev/shm", W_OK) == 0) (void)setenv("TMPDIR", "/dev/shm", 1);
  dir = scratch_new();
  dice = random_new();
}

static void tear_down(void) {
  (void)allocations_work();
  if (store != NULL) (void)tks_close(store, NULL);
  model_deinit(&expected);
  scratch_remove(dir);
}

TestSuite(memory_faults, .init = set_up, .fini = tear_down);

/* Until it works; any code but TKS_ENOMEM on the way is wrong. */
#define RETRY(call)                                                                                         \
  do {                                                                                                      \
    int code_ = TKS_ENOMEM;                                                                                 \
    tks_error error_ = {0};                                                                                 \
    tks_error *error = &error_;                                                                             \
    for (int try_ = 0; try_ < TRIES && code_ != TKS_OK; try_++) {                                           \
      code_ = (call);                                                                                       \
      cr_assert(code_ == TKS_OK || code_ == TKS_ENOMEM, "%s: %d, %s", #call, code_, error->message);        \
      if (code_ == TKS_ENOMEM) cr_assert(error->code == TKS_ENOMEM && error->message[0] != 0, "%s", #call); \
    }                                                                                                       \
    cr_assert_eq(code_, TKS_OK, "%s: %d", #call, code_);                                                    \
  } while (0)

static void put_some(uint64_t count) {
  for (uint64_t i = 0; i < count; i++) {
    tks_quote q = model_quote(&dice, SYMBOLS, SOURCES);
    RETRY(tks_put_quote(store, &q, &q.seq, error));
    if (q.bid > q.ask) q.flags |= TKS_FLAG_CROSSED;
    expected.quotes = realloc(expected.quotes, (expected.count + 1) * sizeof q);
    expected.dropped = realloc(expected.dropped, expected.count + 1);
    expected.quotes[expected.count] = q;
    expected.dropped[expected.count++] = false;
  }
}

static void read_range(uint32_t symbol, uint32_t flags) {
  static tks_quote quotes[4096];
  tks_range range = store_range(symbol);
  tks_cursor *cursor;
  size_t total = 0, count;
  range.flags = flags;
  RETRY(tks_range_open(store, &range, &cursor, error));
  int code;
  do {
    tks_error error;
    code = tks_cursor_next(cursor, quotes + total, 50, &count, &error);
    cr_assert(code == TKS_OK || code == TKS_ENOMEM, "%d: %s", code, error.message);
    total += count;
    cr_assert_leq(total, 4000);
  } while (code != TKS_OK || count > 0);
  tks_cursor_close(cursor);
  size_t want = 0;
  for (size_t i = 0; i < expected.count; i++) want += expected.quotes[i].symbol == symbol;
  cr_assert_eq(total, want, "%zu of %zu", total, want);
  for (size_t i = 1; i < total; i++) {
    bool later = quotes[i].ts_ns > quotes[i - 1].ts_ns ||
                 (quotes[i].ts_ns == quotes[i - 1].ts_ns && quotes[i].seq > quotes[i - 1].seq);
    cr_assert(later != (flags != 0));
  }
}

static void read_all(void) {
  tks_quote quotes[100];
  tks_symbol_info infos[SYMBOLS];
  tks_day_info days[2 * MODEL_DAYS];
  size_t n;
  for (uint32_t symbol = 1; symbol <= SYMBOLS; symbol++) read_range(symbol, symbol % 2);
  RETRY(tks_recent(store, 1, 100, quotes, &n, error));
  RETRY(tks_latest(store, 2, quotes, error));
  RETRY(tks_latest_all(store, quotes, 100, &n, error));
  cr_assert_eq(n, SYMBOLS);
  RETRY(tks_symbols(store, infos, SYMBOLS, &n, error));
  cr_assert_eq(n, SYMBOLS);
  uint64_t counted = 0;
  for (size_t i = 0; i < n; i++) counted += infos[i].count;
  cr_assert_eq(counted, expected.count);
  RETRY(tks_days(store, TKS_CHECK_FULL, days, 2 * MODEL_DAYS, &n, error));
}

static void open_again(const tks_config *config) {
  uint32_t id;
  RETRY(tks_open(dir, strlen(dir), config, &store, error));
  static const char *const names[SYMBOLS] = {"A", "B", "C"};
  for (uint32_t i = 0; i < SYMBOLS; i++) {
    RETRY(tks_symbol(store, names[i], 1, &id, error));
    cr_assert_eq(id, i + 1);
  }
  for (uint32_t i = 0; i < SOURCES; i++) {
    RETRY(tks_source(store, names[i], 1, &id, error));
    cr_assert_eq(id, i + 1);
  }
}

static void flush(void) {
  tks_error error;
  int code = tks_flush(store, 60000, &error);
  cr_assert_eq(code, TKS_OK, "%d: %s", code, error.message);
}

/* Two sessions: one that makes the store, one that finds it. */
static void sessions(const tks_config *config) {
  for (int session = 0; session < 2; session++) {
    open_again(config);
    put_some(60);
    flush();
    put_some(40);
    read_all();
    flush();
    read_all();
    tks_store_stats stats = store_stats(store);
    cr_assert(store_adds_up(&stats));
    cr_assert_eq(stats.dropped + stats.sinks[0].lost + stats.sinks[1].lost, 0);
    put_some(10);
    tks_error error;
    int code = tks_close(store, &error);
    store = NULL;
    cr_assert_eq(code, TKS_OK, "%d: %s", code, error.message);
  }
}

static void check_disk(uint32_t backend) {
  if ((backend & TKS_SQLITE) != 0) {
    cr_assert_eq(store_sqlite_rows(dir), expected.count);
    cr_assert_eq(store_sqlite_seqs(dir), expected.count);
  }
  if ((backend & TKS_JSON) != 0) {
    cr_assert_eq(store_json_lines(dir), expected.count);
    cr_assert_eq(store_json_seqs(dir), expected.count);
  }
}

static void start_over(void) {
  scratch_clear(dir);
  expected.count = 0;
}

static tks_config small_config(uint32_t backend) {
  tks_config config = store_config(backend);
  config.throttle_relative = 0; /* so that there is a table of sources */
  config.ring_records = 50;
  config.max_symbols = config.max_sources = 100;
  config.queue_records = 256;
  config.batch_records = 32;
  config.max_open_days = 2;
  config.read_connections = 2;
  config.page_cache_bytes = 65536;
  return config;
}

static void every_allocation(uint32_t backend) {
  /* The two sinks are walked one by one; together, and under a sanitizer, a sample must do. */
  uint64_t step = (backend == TKS_DUAL ? 7 : 1) * (rounds(8) == 8 ? 1 : 5);
  for (uint64_t n = random_below(&dice, step);; n += step) {
    start_over();
    tks_config config = small_config(backend);
    fail_allocation(n);
    sessions(&config);
    bool failed = allocations_work();
    check_disk(backend);
    if (!failed) break;
    cr_assert_lt(n, 100000);
  }
}

Test(memory_faults, every_allocation_sqlite) { every_allocation(TKS_SQLITE); }
Test(memory_faults, every_allocation_json) { every_allocation(TKS_JSON); }
Test(memory_faults, every_allocation_dual) { every_allocation(TKS_DUAL); }

/* Memory that is short for longer: what is tried again and again must not pile up or give up. */
Test(memory_faults, no_memory_at_all_for_a_while) {
  tks_config config = small_config(TKS_DUAL);
  open_again(&config);
  put_some(100);
  fail_allocations();
  tks_error error;
  for (int i = 0; i < 5; i++) {
    tks_cursor *cursor;
    size_t total;
    tks_range range = store_range(1);
    int code = tks_flush(store, 50, &error);
    cr_assert(code == TKS_OK || code == TKS_ETIMEOUT, "%d: %s", code, error.message);
    code = tks_range_open(store, &range, &cursor, &error);
    cr_assert_eq(code, TKS_ENOMEM, "%d", code);
    cr_assert_null(cursor);
    code = tks_symbols(store, NULL, 0, &total, &error);
    cr_assert_eq(code, TKS_ENOMEM, "%d", code);
  }
  (void)allocations_work();
  flush();
  tks_store_stats stats = store_stats(store);
  cr_assert(store_adds_up(&stats));
  read_all();
  store_close(store);
  store = NULL;
  check_disk(TKS_DUAL);
}

/* ---- SQLite's own allocations */

static sqlite3_mem_methods plain;
static _Atomic int64_t sqlite_countdown = -1;

static bool sqlite_fails(void) {
  return atomic_load(&sqlite_countdown) >= 0 && atomic_fetch_sub(&sqlite_countdown, 1) == 0;
}

static void *failing_malloc(int size) { return sqlite_fails() ? NULL : plain.xMalloc(size); }
static void *failing_realloc(void *block, int size) { return sqlite_fails() ? NULL : plain.xRealloc(block, size); }

Test(memory_faults, allocations_of_sqlite) {
  cr_assert_eq(sqlite3_config(SQLITE_CONFIG_GETMALLOC, &plain), SQLITE_OK);
  sqlite3_mem_methods methods = plain;
  methods.xMalloc = failing_malloc;
  methods.xRealloc = failing_realloc;
  cr_assert_eq(sqlite3_config(SQLITE_CONFIG_MALLOC, &methods), SQLITE_OK);
  cr_assert_eq(sqlite3_initialize(), SQLITE_OK);
  /* Thousands: the first ones, then some of the others. */
  for (int64_t n = 0, step = 1;; n += step) {
    start_over();
    tks_config config = small_config(TKS_SQLITE);
    atomic_store(&sqlite_countdown, n);
    sessions(&config);
    bool failed = atomic_exchange(&sqlite_countdown, -1) < 0;
    check_disk(TKS_SQLITE);
    if (!failed) break;
    step = 1 + (int64_t)random_below(&dice, (uint64_t)n / (rounds(8) == 8 ? 8 : 3) + 1);
  }
}
