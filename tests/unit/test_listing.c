#include "query/listing.h"

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

#define SYMBOLS 4
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

TestSuite(listing, .init = set_up, .fini = tear_down);

static void open_with(const tks_config *config) {
  static const char *const names[SYMBOLS] = {"ZZZ", "A", "AB", "日経/225"};
  store = store_open(dir, config);
  expected.ring_records = config->ring_records;
  model_restarted(&expected);
  for (uint32_t i = 0; i < SYMBOLS; i++) cr_assert_eq(store_symbol(store, names[i]), i + 1);
  for (uint32_t i = 0; i < SOURCES; i++) cr_assert_eq(store_source(store, i ? "X" : "Y"), i + 1);
}

/* Counts of what is on disk and on its way, each record once. One session writes to `first`, two to `later`. */
static void model_rounds(uint32_t first, uint32_t later) {
  for (int session = 0; session < 3; session++) {
    tks_config config = store_config(session == 0 ? first : later);
    config.flush_interval_ms = 3600000;
    config.queue_records = config.batch_records = 4096;
    config.max_open_days = 2;
    open_with(&config);
    model_check_symbols(&expected, store, SYMBOLS);
    for (uint64_t step = 0; step < rounds(40); step++) {
      uint64_t burst = random_below(&dice, 30);
      for (uint64_t i = 0; i < burst; i++) model_put(&expected, store, model_quote(&dice, SYMBOLS, SOURCES));
      if (random_below(&dice, 4) == 0) store_flush(store);
      if (random_below(&dice, 4) == 0) (void)tks_flush(store, 0, NULL);
      model_check_symbols(&expected, store, SYMBOLS);
    }
    store_close(store);
    store = NULL;
  }
  tks_config config = store_config(later);
  config.read_only = 1;
  open_with(&config);
  model_check_symbols(&expected, store, SYMBOLS);
}

Test(listing, model_sqlite) { model_rounds(TKS_SQLITE, TKS_SQLITE); }
Test(listing, model_json) { model_rounds(TKS_JSON, TKS_JSON); }
Test(listing, model_dual) { model_rounds(TKS_DUAL, TKS_DUAL); }
Test(listing, model_mixed) { model_rounds(TKS_SQLITE, TKS_JSON); }
Test(listing, model_mixed_back) { model_rounds(TKS_JSON, TKS_SQLITE); }

/* ---- while a writer writes: the count of a symbol lies between what was put before and after */

typedef struct background {
  _Atomic bool stop;
  _Atomic uint64_t put, bad;
} background;

static void *put_and_flush(void *argument) {
  background *b = argument;
  test_random random = random_fork(&dice, 1);
  while (!atomic_load(&b->stop)) {
    tks_quote q = model_quote(&random, 1, SOURCES);
    int code = tks_put_quote(store, &q, NULL, NULL);
    if (code == TKS_OK) atomic_fetch_add(&b->put, 1);
    else atomic_fetch_add(&b->bad, code != TKS_EQUEUEFULL);
    if (random_below(&random, 50) == 0) (void)tks_flush(store, (int64_t)random_below(&random, 2) * 60000, NULL);
  }
  return NULL;
}

static void counts_while_writing(uint32_t backend) {
  tks_config config = store_config(backend);
  open_with(&config);
  background b = {0};
  pthread_t writer = start_thread(put_and_flush, &b);
  for (uint64_t i = 0; i < rounds(200); i++) {
    tks_symbol_info info;
    size_t total;
    tks_error error;
    uint64_t before = atomic_load(&b.put);
    int code = tks_symbols(store, &info, 1, &total, &error);
    uint64_t after = atomic_load(&b.put) + 1;
    cr_assert_eq(code, TKS_OK, "%d: %s", code, error.message);
    uint64_t count = total > 0 ? info.count : 0;
    cr_assert(count >= before && count <= after, "%llu, put %llu to %llu", (unsigned long long)count,
              (unsigned long long)before, (unsigned long long)after);
  }
  atomic_store(&b.stop, true);
  join_thread(writer);
  cr_assert_eq(b.bad, 0);
}

Test(listing, counts_while_writing_sqlite) { counts_while_writing(TKS_SQLITE); }
Test(listing, counts_while_writing_json) { counts_while_writing(TKS_JSON); }

/* ------------------------------------------------------------------- rest */

Test(listing, capacity) {
  tks_config config = store_config(TKS_SQLITE);
  open_with(&config);
  for (uint32_t id = 1; id <= SYMBOLS; id++) (void)store_put(store, id, STORE_NOON, 1, 2);
  tks_symbol_info infos[SYMBOLS + 1];
  size_t total = 99;
  cr_assert_eq(tks_symbols(store, NULL, 0, &total, NULL), TKS_OK);
  cr_assert_eq(total, SYMBOLS);
  memset(infos, 0x77, sizeof infos);
  cr_assert_eq(tks_symbols(store, infos, 2, &total, NULL), TKS_OK);
  cr_assert_eq(total, SYMBOLS);
  cr_assert_eq(memcmp(infos[0].name, "A", 1), 0);
  cr_assert_eq(memcmp(infos[1].name, "AB", 2), 0);
  cr_assert_eq(infos[2].id, 0x77777777);
}

/* Found on disk, never interned in this session. */
Test(listing, symbols_of_earlier_sessions) {
  for (uint32_t backend = TKS_SQLITE; backend <= TKS_JSON; backend++) {
    scratch_clear(dir);
    tks_config config = store_config(backend);
    open_with(&config);
    for (uint32_t id = 1; id <= SYMBOLS; id++) (void)store_put(store, id, STORE_NOON, 1, 2);
    store_close(store);
    store = store_open(dir, &config);
    tks_symbol_info infos[SYMBOLS];
    size_t total;
    cr_assert_eq(tks_symbols(store, infos, SYMBOLS, &total, NULL), TKS_OK);
    cr_assert_eq(total, SYMBOLS);
    for (size_t i = 0; i < total; i++) {
      tks_range range = store_range(infos[i].id);
      size_t count;
      free(store_read(store, &range, 5, &count));
      cr_assert_eq(count, 1);
    }
    store_close(store);
    store = NULL;
  }
}

Test(listing, a_damaged_day_is_told_and_left_out) {
  for (uint32_t backend = TKS_SQLITE; backend <= TKS_JSON; backend++) {
    scratch_clear(dir);
    tks_config config = store_config(backend);
    open_with(&config);
    for (int day = 0; day < 3; day++)
      for (int i = 0; i < 10; i++) (void)store_put(store, 1, STORE_NOON + day * STORE_DAY_NS + i, 1, 2);
    store_close(store);
    char path[PATH_MAX];
    if (backend == TKS_SQLITE) store_day_path(dir, "2024-03-06", path);
    else store_json_path(dir, "ZZZ", "2024-03-06", path);
    write_file(path, "spoilt\n", 7);
    open_with(&config);
    (void)store_put(store, 2, STORE_NOON + STORE_DAY_NS, 1, 2); /* of the damaged day, pending */
    tks_symbol_info infos[SYMBOLS];
    tks_error error;
    size_t total;
    cr_assert_eq(tks_symbols(store, infos, SYMBOLS, &total, &error), TKS_EDAYFILE);
    cr_assert_not_null(strstr(error.message, "2024-03-06"), "%s", error.message);
    cr_assert_eq(total, 2);
    cr_assert_eq(infos[0].id, 2);
    cr_assert_eq(infos[0].count, 1);
    cr_assert_eq(infos[1].id, 1);
    cr_assert_eq(infos[1].count, 20);
    cr_assert_eq(infos[1].last_ns, STORE_NOON + 2 * STORE_DAY_NS + 9);
    store_close(store);
    store = NULL;
  }
}

/* Set aside and begun anew: the counts lack what the old file had, and the caller is told. */
Test(listing, a_day_that_was_set_aside_is_told) {
  tks_config config = store_config(TKS_SQLITE);
  open_with(&config);
  for (int i = 0; i < 10; i++) (void)store_put(store, 1, STORE_NOON + i, 1, 2);
  store_close(store);
  store_spoil_day(dir, STORE_DAY);
  open_with(&config);
  (void)store_put(store, 1, STORE_NOON + 99, 1, 2);
  store_flush(store);
  tks_symbol_info info;
  tks_error error;
  size_t total;
  cr_assert_eq(tks_symbols(store, &info, 1, &total, &error), TKS_EDAYFILE);
  cr_assert_not_null(strstr(error.message, STORE_DAY), "%s", error.message);
  cr_assert_eq(total, 1);
  cr_assert_eq(info.count, 1);
}

/* One of a format to come among them, and what is not ours. */
Test(listing, many_damaged_days) {
  static const char *const days[] = {"2024-03-05", "2024-03-06", "2024-03-07"};
  for (int first = 0; first < 2; first++) {
    scratch_clear(dir);
    tks_config config = store_config(TKS_SQLITE);
    open_with(&config);
    for (int day = 0; day < 3; day++) (void)store_put(store, 1, STORE_NOON + day * STORE_DAY_NS, 1, 2);
    store_close(store);
    char path[PATH_MAX];
    sqlite3 *db;
    store_spoil_day(dir, days[first]);
    store_day_path(dir, days[1 - first], path);
    cr_assert_eq(sqlite3_open(path, &db), SQLITE_OK);
    cr_assert_eq(sqlite3_exec(db, "PRAGMA user_version = 9", NULL, NULL, NULL), SQLITE_OK);
    (void)sqlite3_close(db);
    (void)snprintf(path, sizeof path, "%s/json/%%zz", dir);
    make_dirs(path);
    open_with(&config);
    (void)store_put(store, 2, STORE_NOON + 5 * STORE_DAY_NS, 1, 2); /* pending, at first */
    tks_symbol_info infos[SYMBOLS];
    tks_error error;
    size_t total;
    cr_assert_eq(tks_symbols(store, infos, SYMBOLS, &total, &error), first == 0 ? TKS_EDAYFILE : TKS_EFORMAT);
    cr_assert_not_null(strstr(error.message, days[0]), "%s", error.message);
    cr_assert_eq(total, 2);
    cr_assert(infos[0].id == 2 && infos[0].count == 1);
    cr_assert(infos[1].id == 1 && infos[1].count == 1);
    store_close(store);
    store = NULL;
  }
}

/* ---- days in both sinks */

/* ZZZ and A with records of one day in SQLite and in JSON, by writers that differed; AB on a day of each sink alone. */
static void make_mixed(void) {
  for (uint32_t backend = TKS_SQLITE; backend <= TKS_JSON; backend++) {
    tks_config config = store_config(backend);
    open_with(&config);
    for (int i = 0; i < 10; i++) (void)store_put(store, 1 + (uint32_t)i % 2, STORE_NOON + i, 1, 2);
    (void)store_put(store, 3, STORE_NOON + backend * STORE_DAY_NS, 1, 2);
    if (backend == TKS_SQLITE)
      (void)store_put(store, 4, STORE_NOON, 1, 2); /* SQLite alone has it, of a day that both have */
    store_close(store);
  }
  store = NULL;
}

/* Anew for each fault: a connection that is open already makes fewer calls. */
static void open_to_read(void) {
  if (store != NULL) store_close(store);
  tks_config config = store_config(TKS_SQLITE);
  config.read_only = 1;
  open_with(&config);
}

static uint64_t count_of(const tks_symbol_info *infos, size_t total, uint32_t id) {
  for (size_t i = 0; i < total; i++)
    if (infos[i].id == id) return infos[i].count;
  return 0;
}

static void must_count_mixed(const tks_symbol_info *infos, size_t total) {
  cr_assert_eq(total, SYMBOLS);
  for (uint32_t id = 1; id <= SYMBOLS; id++) {
    uint64_t count = count_of(infos, total, id);
    cr_assert_eq(count, id == 4 ? 1 : id == 3 ? 2 : 10, "%u: %llu", id, (unsigned long long)count);
  }
}

/* What a damaged file of such a day leaves is counted, as it is read: nothing is newest that a range would not give. */
static void must_agree(uint32_t id, uint64_t want) {
  tks_symbol_info infos[SYMBOLS];
  tks_quote quote, quotes[SYMBOLS];
  size_t total, count;
  tks_error error;
  cr_assert_eq(tks_symbols(store, infos, SYMBOLS, &total, &error), TKS_EDAYFILE);
  cr_assert_not_null(strstr(error.message, STORE_DAY), "%s", error.message);
  cr_assert_eq(count_of(infos, total, id), want, "%llu", (unsigned long long)count_of(infos, total, id));
  tks_range range = store_range(id);
  size_t damaged;
  int code;
  free(store_read_on(store, &range, 3, &count, &damaged, &code));
  cr_assert_eq(count, want);
  cr_assert_geq(damaged, 1);
  cr_assert_eq(tks_latest(store, id, &quote, NULL), TKS_OK);
  cr_assert_eq(tks_latest_all(store, quotes, SYMBOLS, &total, NULL), TKS_EDAYFILE);
  bool found = false;
  for (size_t i = 0; i < total; i++) found |= memcmp(&quotes[i], &quote, sizeof quote) == 0;
  cr_assert(found, "the latest of %u is not among the latest of all", id);
}

Test(listing, a_mixed_day_whose_json_file_is_damaged) {
  make_mixed();
  char path[PATH_MAX];
  store_json_path(dir, "ZZZ", STORE_DAY, path);
  write_file(path, "spoilt\n", 7);
  open_to_read();
  must_agree(1, 5);
}

Test(listing, a_mixed_day_whose_sqlite_file_is_damaged) {
  make_mixed();
  store_spoil_day(dir, STORE_DAY);
  open_to_read();
  must_agree(1, 5);
}

/* ---- JSON files that appear while they are listed */

static _Atomic int json_lists;
static char hidden[3][PATH_MAX], shown[3][PATH_MAX];

/* Which days there are is known by then, and what SQLite has is counted. */
static int show_at_second_list(tks__fs_op op, const char *path) {
  if (op != TKS__FS_LIST || path == NULL || strcmp(path + strlen(path) - 5, "/json") != 0) return 0;
  if (atomic_fetch_add(&json_lists, 1) != 1) return 0;
  for (int i = 0; i < 3; i++)
    if (rename(hidden[i], shown[i]) != 0) return EIO;
  return 0;
}

static void hide(int i, const char *symbol, const char *day) {
  store_json_path(dir, symbol, day, shown[i]);
  (void)snprintf(hidden[i], sizeof hidden[i], "%.*s.hidden", PATH_MAX - 8, shown[i]);
  cr_assert_eq(rename(shown[i], hidden[i]), 0);
}

/* A record is counted once, however it got to where it is: a symbol that SQLite's summary has counted is not read again, and a day that
 * was not there is left to the next listing. */
Test(listing, json_files_that_appear_meanwhile) {
  tks_config config = store_config(TKS_DUAL);
  open_with(&config);
  for (uint32_t id = 1; id <= 2; id++)
    for (int i = 0; i < 5; i++) (void)store_put(store, id, STORE_NOON + i, 1, 2);
  store_close(store);
  config.backend = TKS_JSON; /* from now on a day may be in both, or in one alone */
  open_with(&config);
  for (int day = -1; day <= 1; day += 2) (void)store_put(store, 1, STORE_NOON + day * STORE_DAY_NS, 1, 2);
  store_close(store);
  store = NULL;
  hide(0, "A", STORE_DAY);
  hide(1, "ZZZ", "2024-03-04");
  hide(2, "ZZZ", "2024-03-06");
  open_to_read();
  atomic_store(&tks__fs_fault, show_at_second_list);
  tks_symbol_info infos[SYMBOLS];
  size_t total;
  cr_assert_eq(tks_symbols(store, infos, SYMBOLS, &total, NULL), TKS_OK);
  atomic_store(&tks__fs_fault, NULL);
  cr_assert_eq(atomic_load(&json_lists), 2);
  cr_assert_eq(total, 2);
  cr_assert_eq(count_of(infos, total, 1), 5);
  cr_assert_eq(count_of(infos, total, 2), 5);
  cr_assert_eq(tks_symbols(store, infos, SYMBOLS, &total, NULL), TKS_OK);
  cr_assert_eq(count_of(infos, total, 1), 7);
  cr_assert_eq(count_of(infos, total, 2), 5);
}

/* ---- faults */

/* A listing lacks nothing, or says why it is none. What is damaged is told in any case. */
static void allocations_fail(void (*open)(void), int sound, void (*must_hold)(const tks_symbol_info *, size_t)) {
  bool failed = true;
  for (uint64_t n = 0; failed; n++) {
    tks_symbol_info infos[SYMBOLS];
    size_t total = 99;
    open();
    fail_allocation(n);
    int code = tks_symbols(store, infos, SYMBOLS, &total, NULL);
    failed = allocations_work();
    cr_assert(code == sound || (failed && code == TKS_ENOMEM), "allocation %llu: %d", (unsigned long long)n, code);
    if (code == sound) must_hold(infos, total);
    cr_assert(failed || n > 2, "%llu allocations", (unsigned long long)n);
  }
}

Test(listing, every_allocation_may_fail) {
  make_mixed();
  allocations_fail(open_to_read, TKS_OK, must_count_mixed);
}

static void must_lack_sqlite(const tks_symbol_info *infos, size_t total) {
  cr_assert_eq(total, 3);
  for (uint32_t id = 1; id <= 3; id++) cr_assert_eq(count_of(infos, total, id), id == 3 ? 2 : 5, "%u", id);
}

static void spoil_sqlite(void) {
  make_mixed();
  store_spoil_day(dir, STORE_DAY);
}

Test(listing, every_allocation_may_fail_beside_a_damaged_day) {
  spoil_sqlite();
  allocations_fail(open_to_read, TKS_EDAYFILE, must_lack_sqlite);
}

static void must_have_one(const tks_symbol_info *infos, size_t total) {
  cr_assert_eq(total, 1);
  cr_assert(infos[0].id == 1 && infos[0].count == 1);
}

/* The only day there is. */
Test(listing, every_allocation_may_fail_of_what_is_left_of_a_day) {
  for (uint32_t backend = TKS_SQLITE; backend <= TKS_JSON; backend++) {
    tks_config config = store_config(backend);
    open_with(&config);
    (void)store_put(store, 1, STORE_NOON, 1, 2);
    store_close(store);
  }
  store = NULL;
  store_spoil_day(dir, STORE_DAY);
  allocations_fail(open_to_read, TKS_EDAYFILE, must_have_one);
}

enum { CROWD = 40 };

static void must_be_a_crowd(const tks_symbol_info *infos, size_t total) {
  (void)infos;
  cr_assert_eq(total, CROWD);
}

/* Of a day in both sinks JSON has one symbol, SQLite has many. */
Test(listing, every_allocation_may_fail_of_many_symbols) {
  for (uint32_t backend = TKS_SQLITE; backend <= TKS_JSON; backend++) {
    tks_config config = store_config(backend);
    open_with(&config);
    for (int i = 0; i < (backend == TKS_SQLITE ? CROWD - 1 : 1); i++) {
      char name[16];
      (void)snprintf(name, sizeof name, "S%d", i);
      (void)store_put(store, store_symbol(store, backend == TKS_SQLITE ? name : "ZZZ"), STORE_NOON, 1, 2);
    }
    store_close(store);
  }
  store = NULL;
  allocations_fail(open_to_read, TKS_OK, must_be_a_crowd);
}

static void must_be_pending(const tks_symbol_info *infos, size_t total) {
  cr_assert_eq(total, 1);
  cr_assert_eq(infos[0].count, 1);
}

/* Nothing is on disk yet. */
static void open_pending(void) {
  if (store != NULL) store_close(store);
  scratch_clear(dir);
  tks_config config = store_config(TKS_JSON);
  config.flush_interval_ms = 3600000;
  open_with(&config);
  (void)store_put(store, 2, STORE_NOON, 1, 2);
}

Test(listing, every_allocation_may_fail_of_what_is_pending) { allocations_fail(open_pending, TKS_OK, must_be_pending); }

static void must_be_empty(const tks_symbol_info *infos, size_t total) {
  (void)infos;
  cr_assert_eq(total, 0);
}

static void open_empty(void) {
  if (store != NULL) store_close(store);
  scratch_clear(dir);
  tks_config config = store_config(TKS_JSON);
  open_with(&config);
}

Test(listing, every_allocation_may_fail_of_nothing) { allocations_fail(open_empty, TKS_OK, must_be_empty); }

Test(listing, every_allocation_may_fail_of_json) {
  open_pending();
  store_close(store);
  store = NULL;
  allocations_fail(open_to_read, TKS_OK, must_be_pending);
}

static _Atomic int fs_countdown;

static int fail_reading(tks__fs_op op, const char *path) {
  (void)path;
  if (op != TKS__FS_LIST && op != TKS__FS_OPEN && op != TKS__FS_READ) return 0;
  return atomic_fetch_sub(&fs_countdown, 1) == 0 ? EIO : 0;
}

static void reads_fail(int sound, void (*must_hold)(const tks_symbol_info *, size_t)) {
  for (int n = 0;; n++) {
    tks_symbol_info infos[SYMBOLS];
    tks_error error;
    size_t total = 99;
    open_to_read();
    atomic_store(&fs_countdown, n);
    atomic_store(&tks__fs_fault, fail_reading);
    int code = tks_symbols(store, infos, SYMBOLS, &total, &error);
    atomic_store(&tks__fs_fault, NULL);
    bool failed = atomic_load(&fs_countdown) < 0;
    cr_assert(code == sound || (failed && code == TKS_EIO), "%d: %d", n, code);
    if (code == sound) must_hold(infos, total);
    if (code != TKS_OK) cr_assert_eq(error.code, code);
    if (failed) continue;
    cr_assert_gt(n, 10);
    break;
  }
}

Test(listing, every_read_may_fail) {
  make_mixed();
  reads_fail(TKS_OK, must_count_mixed);
}

/* A day that is damaged does not hide that another could not be looked at. */
Test(listing, every_read_may_fail_beside_a_damaged_day) {
  spoil_sqlite();
  reads_fail(TKS_EDAYFILE, must_lack_sqlite);
}

/* A list that lacks symbols, or quotes that lack their source, would be taken for the whole. */
static void with_tables_too_small(uint32_t backend) {
  tks_config config = store_config(backend);
  open_with(&config);
  for (uint32_t i = 1; i <= SYMBOLS; i++) {
    tks_quote q = {.ts_ns = STORE_NOON, .bid = 1, .ask = 2, .symbol = i, .source = SOURCES};
    cr_assert_eq(tks_put_quote(store, &q, NULL, NULL), TKS_OK);
  }
  store_close(store);
  tks_error error;
  size_t count;
  config.max_symbols = SYMBOLS - 1;
  config.read_only = 1;
  store = store_open(dir, &config);
  cr_assert_eq(tks_symbols(store, NULL, 0, &count, &error), TKS_ETABLEFULL);
  cr_assert_neq(error.message[0], '\0');
  if (backend == TKS_JSON) cr_assert_eq(tks_days(store, TKS_CHECK_QUICK, NULL, 0, &count, &error), TKS_ETABLEFULL);
  store_close(store);
  config.max_symbols = SYMBOLS;
  config.max_sources = 1;
  store = store_open(dir, &config);
  (void)store_source(store, "another");
  tks_quote quote;
  cr_assert_eq(tks_recent(store, store_symbol(store, "AB"), 1, &quote, &count, &error), TKS_ETABLEFULL);
}

Test(listing, names_that_find_no_room_sqlite) { with_tables_too_small(TKS_SQLITE); }
Test(listing, names_that_find_no_room_json) { with_tables_too_small(TKS_JSON); }
