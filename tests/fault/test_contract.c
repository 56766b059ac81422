/* What the store promises where its surroundings misbehave: syncs that fail, days that are locked, damaged, half
 * written or another store's, sinks that change from one session to the next. All of it through tickstore.h; SQLite is
 * watched and made to fail by a VFS of this file's own. */
#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <semaphore.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "support/scratch.h"
#include "support/stores.h"
#include "support/threads.h"
#include "support/wait.h"

#define NEVER_MS 3600000
#define DAY_0 STORE_NOON
#define DAY_1 (STORE_NOON + STORE_DAY_NS)
#define DAY_2 (STORE_NOON + 2 * STORE_DAY_NS)
#define NAME_0 STORE_DAY
#define NAME_1 "2024-03-06"
#define NAME_2 "2024-03-07"

static char *dir, *other_dir;
static tks_store *store;
static tks_error error;

static void set_up(void) { dir = scratch_new(); }

static void tear_down(void) {
  if (store != NULL) (void)tks_close(store, NULL);
  scratch_remove(dir);
  scratch_remove(other_dir);
}

TestSuite(contract, .init = set_up, .fini = tear_down);

/* ------------------------------------------------------------------ the VFS */

enum { TABLES = 8, LOGS = 64 };

static sqlite3_vfs shim;
static sqlite3_vfs *real;
static pthread_mutex_t shim_lock = PTHREAD_MUTEX_INITIALIZER; /* guards all below */
static const sqlite3_io_methods *originals[TABLES];           /* the real VFS has one for each way of locking */
static sqlite3_io_methods patched[TABLES];
static uint64_t failures_after, failures; /* so many syncs pass, then so many fail */
static uint64_t failed, wal_synced, db_synced;

/* Write-ahead logs by name. */
static struct {
  char path[PATH_MAX];
  uint64_t syncs;
  bool unsynced; /* written to since the last sync */
} logs[LOGS];

/* Kept behind the real VFS's own file. SQLite keeps the name for as long as the file is open. */
typedef struct tag {
  const char *name;
  int flags;
} tag;

static tag *tag_of(sqlite3_file *file) { return (tag *)(void *)((char *)file + real->szOsFile); }

static bool is_wal(sqlite3_file *file) { return (tag_of(file)->flags & SQLITE_OPEN_WAL) != 0; }
static bool is_db(sqlite3_file *file) { return (tag_of(file)->flags & SQLITE_OPEN_MAIN_DB) != 0; }

static const sqlite3_io_methods *original_of(sqlite3_file *file) {
  (void)pthread_mutex_lock(&shim_lock);
  int i = 0;
  while (&patched[i] != file->pMethods) i++;
  const sqlite3_io_methods *methods = originals[i];
  (void)pthread_mutex_unlock(&shim_lock);
  return methods;
}

/* Under the lock. */
static int log_index(const char *path) {
  int i = 0;
  while (i < LOGS && logs[i].path[0] != 0 && strcmp(logs[i].path, path) != 0) i++;
  if (i == LOGS) abort();
  (void)snprintf(logs[i].path, sizeof logs[i].path, "%s", path);
  return i;
}

static void mark_log(const char *path, bool unsynced) {
  (void)pthread_mutex_lock(&shim_lock);
  logs[log_index(path)].unsynced = unsynced;
  (void)pthread_mutex_unlock(&shim_lock);
}

static int shim_write(sqlite3_file *file, const void *bytes, int count, sqlite3_int64 offset) {
  if (is_wal(file)) mark_log(tag_of(file)->name, true);
  return original_of(file)->xWrite(file, bytes, count, offset);
}

static int shim_truncate(sqlite3_file *file, sqlite3_int64 size) {
  if (is_wal(file) && size == 0) mark_log(tag_of(file)->name, false);
  return original_of(file)->xTruncate(file, size);
}

static int shim_sync(sqlite3_file *file, int how) {
  bool fail = false;
  (void)pthread_mutex_lock(&shim_lock);
  if (is_wal(file) || is_db(file)) {
    fail = failures > 0 && failures_after == 0;
    if (failures_after > 0 && failures > 0) failures_after--;
    if (fail && failures != UINT64_MAX) failures--;
    failed += fail;
    wal_synced += !fail && is_wal(file);
    db_synced += !fail && is_db(file);
  }
  if (is_wal(file) && !fail) {
    int i = log_index(tag_of(file)->name);
    logs[i].syncs++;
    logs[i].unsynced = false;
  }
  (void)pthread_mutex_unlock(&shim_lock);
  return fail ? SQLITE_IOERR_FSYNC : original_of(file)->xSync(file, how);
}

static int shim_delete(sqlite3_vfs *vfs, const char *name, int sync_dir) {
  (void)vfs;
  size_t length = strlen(name);
  if (length > 4 && strcmp(name + length - 4, "-wal") == 0) mark_log(name, false);
  return real->xDelete(real, name, sync_dir);
}

static int shim_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *flags_out) {
  (void)vfs;
  int rc = real->xOpen(real, name, file, flags, flags_out);
  *tag_of(file) = (tag){name, flags};
  if (file->pMethods == NULL) return rc;
  (void)pthread_mutex_lock(&shim_lock);
  int i = 0;
  while (i < TABLES && originals[i] != NULL && originals[i] != file->pMethods) i++;
  if (i == TABLES) abort();
  if (originals[i] == NULL) {
    originals[i] = file->pMethods;
    patched[i] = *file->pMethods;
    patched[i].xWrite = shim_write;
    patched[i].xTruncate = shim_truncate;
    patched[i].xSync = shim_sync;
  }
  file->pMethods = &patched[i];
  (void)pthread_mutex_unlock(&shim_lock);
  return rc;
}

/* Every database that is opened from now on in this process goes through the shim. */
static void install_shim(void) {
  real = sqlite3_vfs_find(NULL);
  shim = *real;
  shim.zName = "contract";
  shim.szOsFile = real->szOsFile + (int)sizeof(tag);
  shim.xOpen = shim_open;
  shim.xDelete = shim_delete;
  cr_assert_eq(real->szOsFile % (int)sizeof(void *), 0);
  cr_assert_eq(sqlite3_vfs_register(&shim, 1), SQLITE_OK);
}

static void fail_syncs(uint64_t after, uint64_t count) {
  (void)pthread_mutex_lock(&shim_lock);
  failures_after = after;
  failures = count;
  failed = wal_synced = db_synced = 0;
  (void)pthread_mutex_unlock(&shim_lock);
}

static uint64_t read_count(const uint64_t *count) {
  (void)pthread_mutex_lock(&shim_lock);
  uint64_t value = *count;
  (void)pthread_mutex_unlock(&shim_lock);
  return value;
}

static bool some_failed(void *context) {
  (void)context;
  return read_count(&failed) > 0;
}

/* Of the log of one day of `dir`: how often it was synced, and whether something in it is not. */
static uint64_t log_syncs(const char *day, bool *unsynced) {
  char path[PATH_MAX + 8], resolved[PATH_MAX];
  store_day_path(dir, day, path);
  cr_assert_not_null(realpath(path, resolved), "%s", path);
  (void)snprintf(path, sizeof path, "%s-wal", resolved);
  (void)pthread_mutex_lock(&shim_lock);
  int i = log_index(path);
  uint64_t syncs = logs[i].syncs;
  *unsynced = logs[i].unsynced;
  (void)pthread_mutex_unlock(&shim_lock);
  return syncs;
}

/* ----------------------------------------------------------------- helpers */

static tks_config config_of(uint32_t backend) {
  tks_config config = store_config(backend);
  config.flush_interval_ms = 20;
  return config;
}

static void put_some(uint32_t symbol, int64_t first_ns, int count) {
  for (int i = 0; i < count; i++) (void)store_put(store, symbol, first_ns + i, 1 + i, 2 + i);
}

static uint64_t durable_seq(void) {
  uint64_t seq;
  cr_assert_eq(tks_durable_seq(store, &seq, NULL), TKS_OK);
  return seq;
}

static void close_store(void) {
  store_close(store);
  store = NULL;
}

static void close_unwritten(void) {
  cr_assert_eq(tks_close(store, &error), TKS_KEPT);
  store = NULL;
}

/* A store with so many quotes of A on each of the three days, closed and sealed. */
static void make_days(int count) {
  tks_config config = config_of(TKS_SQLITE);
  store = store_open(dir, &config);
  uint32_t a = store_symbol(store, "A");
  put_some(a, DAY_0, count);
  put_some(a, DAY_1, count);
  put_some(a, DAY_2, count);
  close_store();
}

typedef struct reading {
  size_t count, day_1; /* quotes, and how many of them lie on the middle day */
  size_t damaged, newer;
} reading;

/* Reads all of a symbol and goes on behind days that cannot be read; nothing may come twice or out of order. */
static reading read_past(tks_store *from, const char *name) {
  tks_range range = store_range(store_symbol(from, name));
  tks_cursor *cursor;
  cr_assert_eq(tks_range_open(from, &range, &cursor, &error), TKS_OK, "%s", error.message);
  reading r = {0};
  tks_quote quotes[64];
  tks_quote last = {.ts_ns = INT64_MIN};
  size_t got = 0;
  int code;
  do {
    code = tks_cursor_next(cursor, quotes, 64, &got, &error);
    cr_assert(code == TKS_OK || code == TKS_EDAYFILE || code == TKS_EFORMAT, "%d: %s", code, error.message);
    r.damaged += code == TKS_EDAYFILE;
    r.newer += code == TKS_EFORMAT;
    cr_assert_lt(r.damaged + r.newer, 10);
    for (size_t i = 0; i < got; last = quotes[i++])
      cr_assert(quotes[i].ts_ns > last.ts_ns || (quotes[i].ts_ns == last.ts_ns && quotes[i].seq > last.seq));
    for (size_t i = 0; i < got; i++)
      r.day_1 += quotes[i].ts_ns >= DAY_1 - STORE_DAY_NS / 2 && quotes[i].ts_ns < DAY_1 + STORE_DAY_NS / 2;
    r.count += got;
  } while (code != TKS_OK || got > 0);
  tks_cursor_close(cursor);
  return r;
}

static void check_disk(uint64_t count) {
  cr_assert_eq(store_sqlite_rows(dir), count, "%llu rows, not %llu", (unsigned long long)store_sqlite_rows(dir),
               (unsigned long long)count);
  cr_assert_eq(store_sqlite_seqs(dir), count);
}

static sqlite3 *open_plain(const char *path) {
  sqlite3 *db;
  cr_assert_eq(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK, "%s", path);
  (void)sqlite3_busy_timeout(db, WAIT_LIMIT_S * 1000);
  return db;
}

static void run_sql(sqlite3 *db, const char *sql) {
  cr_assert_eq(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK, "%s: %s", sql, sqlite3_errmsg(db));
}

/* Somebody else begins something on a day's file, and ends it. */
static sqlite3 *hold_day(const char *day, const char *sql) {
  char path[PATH_MAX];
  store_day_path(dir, day, path);
  sqlite3 *db = open_plain(path);
  run_sql(db, sql);
  return db;
}

static void let_go(sqlite3 *db, const char *sql) {
  run_sql(db, sql);
  cr_assert_eq(sqlite3_close(db), SQLITE_OK);
}

static void set_format(const char *path, const char *pragma) { let_go(open_plain(path), pragma); }

static void copy_file(const char *from, const char *to) {
  size_t length;
  char *bytes = read_file(from, &length);
  write_file(to, bytes, length);
  free(bytes);
}

/* What tks_days says of a day. */
static int code_of_day(tks_store *from, int64_t noon_ns) {
  tks_day_info days[8];
  size_t total;
  cr_assert_eq(tks_days(from, TKS_CHECK_QUICK, days, 8, &total, &error), TKS_OK, "%s", error.message);
  for (size_t i = 0; i < total && i < 8; i++)
    if (days[i].day_ns == noon_ns - STORE_DAY_NS / 2) return days[i].code;
  cr_assert_fail("the day is not listed");
  return 1;
}

/* tks_symbols must answer `code` and count so many quotes of the only symbol. */
static void check_symbols(tks_store *from, int code, uint64_t count) {
  tks_symbol_info info = {0};
  size_t total;
  cr_assert_eq(tks_symbols(from, &info, 1, &total, &error), code);
  cr_assert_eq(total, 1);
  cr_assert_eq(info.count, count, "%llu", (unsigned long long)info.count);
}

/* ------------------------------------------------------------- failed syncs */

/* Ten quotes that are durable. */
static uint32_t open_for_sync(uint32_t close_limit_ms) {
  install_shim();
  tks_config config = config_of(TKS_SQLITE);
  config.synchronous = TKS_SYNC_FULL;
  config.close_limit_ms = close_limit_ms;
  store = store_open(dir, &config);
  uint32_t a = store_symbol(store, "A");
  put_some(a, DAY_0, 10);
  store_flush(store);
  return a;
}

/* Someone else has the first day open, without a transaction: closing it does not copy its log. */
static sqlite3 *open_idle(void) { return hold_day(NAME_0, "SELECT COUNT(*) FROM quote"); }

/* Asks for what was put while no sync worked. */
static void check_not_durable(uint64_t before) {
  for (int i = 0; i < 3; i++) {
    cr_assert_eq(tks_flush(store, 300, &error), TKS_ETIMEOUT);
    cr_assert_eq(durable_seq(), before);
  }
  cr_assert(wait_until(some_failed, NULL));
}

Test(contract, nothing_is_durable_while_syncs_fail) {
  uint32_t a = open_for_sync(300);
  uint64_t before = durable_seq();
  fail_syncs(0, UINT64_MAX);
  put_some(a, DAY_0 + 100, 5);
  check_not_durable(before);
  put_some(a, DAY_0 + 200, 5);
  check_not_durable(before);
  close_unwritten();
  fail_syncs(0, 0);
  tks_config config = config_of(TKS_SQLITE);
  store = store_open(dir, &config);
  reading r = read_past(store, "A");
  cr_assert(r.count >= 10 && r.count <= 20 && r.damaged == 0, "%zu", r.count);
  close_store();
  check_disk(r.count);
}

Test(contract, syncs_that_work_again_make_good_what_failed) {
  uint32_t a = open_for_sync(30000);
  uint64_t before = durable_seq();
  fail_syncs(0, UINT64_MAX);
  put_some(a, DAY_0 + 100, 5);
  check_not_durable(before);
  put_some(a, DAY_1, 5);
  check_not_durable(before);
  fail_syncs(0, 0);
  store_flush(store);
  bool unsynced;
  (void)log_syncs(NAME_0, &unsynced);
  cr_assert_not(unsynced);
  cr_assert_eq(durable_seq(), store_stats(store).last_seq);
  cr_assert_gt(read_count(&wal_synced) + read_count(&db_synced), 0);
  check_disk(20);
  cr_assert_eq(read_past(store, "A").count, 20);
  close_store();
  check_disk(20);
}

/* The sync of a commit fails once: its frames are in the log, and a new connection finds them there. They count when they
 * were synced to somewhere else, or once more. */
Test(contract, one_failed_sync_is_made_good) {
  uint32_t a = open_for_sync(30000);
  sqlite3 *idle = open_idle();
  uint64_t total = 10;
  for (uint64_t after = 0; after < 6; after++) {
    fail_syncs(after, 1);
    for (int i = 0; i < 60 && read_count(&failed) == 0; i++) {
      put_some(a, DAY_0 + 1000 + (int64_t)total, 3);
      total += 3;
      store_flush(store);
      bool unsynced;
      (void)log_syncs(NAME_0, &unsynced);
      cr_assert_not(unsynced);
      cr_assert_eq(durable_seq(), store_stats(store).last_seq);
    }
    cr_assert_eq(read_count(&failed), 1);
    if (after == 0) cr_assert_gt(read_count(&db_synced), 0);
    check_disk(total);
  }
  (void)sqlite3_close(idle);
  close_store();
  check_disk(total);
}

/* Of JSON's files, which the library syncs itself. */
static _Atomic int json_stage; /* 0: the next sync fails; 1: it has; 2: something was written since */
static _Atomic bool synced_blindly;

static int fail_json_sync(tks__fs_op op, const char *path) {
  if (path != NULL) return 0;
  if (op == TKS__FS_SYNC && atomic_load(&json_stage) == 0) {
    atomic_store(&json_stage, 1);
    return EIO;
  }
  if (op == TKS__FS_SYNC && atomic_load(&json_stage) == 1) atomic_store(&synced_blindly, true);
  if (op == TKS__FS_WRITE && atomic_load(&json_stage) == 1) atomic_store(&json_stage, 2);
  return 0;
}

/* The kernel forgets what it could not write: a second sync of the same lines would succeed without them. They are written
 * anew first, and are there once. */
Test(contract, a_failed_sync_of_lines_is_not_just_repeated) {
  tks_config config = config_of(TKS_JSON);
  store = store_open(dir, &config);
  uint32_t a = store_symbol(store, "A");
  put_some(a, DAY_0, 5);
  store_flush(store);
  atomic_store(&tks__fs_fault, fail_json_sync);
  put_some(a, DAY_0 + 100, 5);
  store_flush(store);
  atomic_store(&tks__fs_fault, NULL);
  cr_assert_eq(atomic_load(&json_stage), 2);
  cr_assert_not(atomic_load(&synced_blindly));
  cr_assert_eq(durable_seq(), store_stats(store).last_seq);
  close_store();
  cr_assert_eq(store_json_lines(dir), 10);
  cr_assert_eq(store_json_seqs(dir), 10);
}

/* --------------------------------------------------------- changing backends */

#define MANY 100
#define FEW 50

typedef struct expectation {
  int64_t ts_ns[MANY + 1]; /* by time */
  size_t count;
  int64_t newest_ns; /* what tks_latest says */
} expectation;

static void check_name(tks_store *from, const char *name, const expectation *e) {
  uint32_t id = store_symbol(from, name);
  static const int64_t limits[] = {1, 50, 100, 101, TKS_NO_LIMIT};
  for (size_t l = 0; l < sizeof limits / sizeof limits[0]; l++) {
    for (uint32_t flags = 0; flags <= TKS_RANGE_DESCENDING; flags++) {
      tks_range range = store_range(id);
      range.limit = limits[l];
      range.flags = flags;
      size_t want = limits[l] < (int64_t)e->count ? (size_t)limits[l] : e->count;
      size_t count;
      tks_quote *quotes = store_read(from, &range, l % 2 == 0 ? 7 : 1000, &count);
      cr_assert_eq(count, want, "%s: %zu, not %zu", name, count, want);
      for (size_t i = 0; i < count; i++)
        cr_assert_eq(quotes[i].ts_ns, e->ts_ns[flags != 0 ? e->count - 1 - i : i], "%s: %zu", name, i);
      free(quotes);
    }
  }
  tks_quote quotes[MANY + 10];
  size_t count;
  cr_assert_eq(tks_recent(from, id, MANY + 10, quotes, &count, &error), TKS_OK, "%s", error.message);
  cr_assert_eq(count, e->count, "%s: %zu", name, count);
  cr_assert_eq(quotes[count - 1].ts_ns, e->newest_ns);
  cr_assert_eq(tks_recent(from, id, 20, quotes, &count, &error), TKS_OK, "%s", error.message);
  cr_assert_eq(count, 20);
  tks_quote quote;
  cr_assert_eq(tks_latest(from, id, &quote, &error), TKS_OK, "%s", error.message);
  cr_assert_eq(quote.ts_ns, e->newest_ns);
}

static void check_both(tks_store *from, const expectation *many, const expectation *few) {
  check_name(from, "EURUSD", many);
  check_name(from, "OTHER", few);
  tks_symbol_info infos[3];
  size_t total;
  cr_assert_eq(tks_symbols(from, infos, 3, &total, &error), TKS_OK, "%s", error.message);
  cr_assert_eq(total, 2);
  cr_assert_eq(infos[0].count, many->count, "%llu", (unsigned long long)infos[0].count);
  cr_assert_eq(infos[1].count, few->count, "%llu", (unsigned long long)infos[1].count);
  cr_assert_eq(infos[0].first_ns, many->ts_ns[0]);
  cr_assert_eq(infos[0].last_ns, many->ts_ns[many->count - 1]);
  cr_assert_eq(infos[1].last_ns, few->ts_ns[few->count - 1]);
}

static void check_read_only(const expectation *many, const expectation *few) {
  for (uint32_t backend = TKS_SQLITE; backend <= TKS_DUAL; backend++) {
    tks_config config = config_of(backend);
    config.read_only = 1;
    tks_store *reader = store_open(dir, &config);
    check_both(reader, many, few);
    store_close(reader);
  }
}

static void change_backend(uint32_t before, uint32_t after) {
  expectation many = {.count = MANY}, few = {.count = FEW};
  tks_config config = config_of(before);
  store = store_open(dir, &config);
  uint32_t eurusd = store_symbol(store, "EURUSD");
  uint32_t other = store_symbol(store, "OTHER");
  for (int i = 0; i < MANY; i++) {
    many.newest_ns = many.ts_ns[i] = DAY_0 + i * 1000;
    (void)store_put(store, eurusd, many.ts_ns[i], 1 + i, 2 + i);
    if (i >= FEW) continue;
    few.newest_ns = few.ts_ns[i] = DAY_0 + i * 1000 + 1;
    (void)store_put(store, other, few.ts_ns[i], 1 + i, 2 + i);
  }
  close_store();
  check_read_only(&many, &few);

  config = config_of(after);
  config.flush_interval_ms = NEVER_MS; /* what is put stays pending until it is flushed */
  store = store_open(dir, &config);
  eurusd = store_symbol(store, "EURUSD");
  check_both(store, &many, &few);
  /* One in the midst of the others. */
  many.newest_ns = DAY_0 + 60 * 1000 + 500;
  (void)store_put(store, eurusd, many.newest_ns, 7, 8);
  memmove(&many.ts_ns[62], &many.ts_ns[61], (MANY - 61) * sizeof many.ts_ns[0]);
  many.ts_ns[61] = many.newest_ns;
  many.count++;
  check_both(store, &many, &few);
  store_flush(store);
  check_both(store, &many, &few);
  /* Without rings the latest is the last by time. */
  many.newest_ns = many.ts_ns[many.count - 1];
  check_read_only(&many, &few);
  close_store();
  check_read_only(&many, &few);
  store = store_open(dir, &config);
  check_both(store, &many, &few);
  close_store();
}

Test(contract, json_then_dual) { change_backend(TKS_JSON, TKS_DUAL); }
Test(contract, json_then_sqlite) { change_backend(TKS_JSON, TKS_SQLITE); }
Test(contract, sqlite_then_json) { change_backend(TKS_SQLITE, TKS_JSON); }
Test(contract, sqlite_then_dual) { change_backend(TKS_SQLITE, TKS_DUAL); }
Test(contract, dual_then_json) { change_backend(TKS_DUAL, TKS_JSON); }
Test(contract, dual_then_sqlite) { change_backend(TKS_DUAL, TKS_SQLITE); }

/* -------------------------------------------------------------- hot journals */

/* Leaves the middle day as a writer does that dies in the midst of a transaction. */
static void make_hot(const char *path) {
  char journal[PATH_MAX + 16], saved[PATH_MAX + 16], saved_journal[PATH_MAX + 16];
  (void)snprintf(journal, sizeof journal, "%s-journal", path);
  (void)snprintf(saved, sizeof saved, "%s/saved", dir);
  (void)snprintf(saved_journal, sizeof saved_journal, "%s/saved-journal", dir);
  sqlite3 *db = open_plain(path);
  run_sql(db, "PRAGMA cache_size=2; BEGIN IMMEDIATE; UPDATE quote SET bid = 0; UPDATE meta SET value = 0"
              " WHERE key = 'last_seq'; CREATE TABLE filler(x); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1"
              " FROM n WHERE i < 500) INSERT INTO filler SELECT randomblob(1000) FROM n");
  copy_file(path, saved);
  copy_file(journal, saved_journal);
  run_sql(db, "ROLLBACK");
  (void)sqlite3_close(db);
  cr_assert_eq(rename(saved, path), 0);
  cr_assert_eq(rename(saved_journal, journal), 0);
}

static bool reads_all(void *context) {
  reading r = read_past(context, "A");
  return r.damaged == 0 && r.count == 300;
}

static bool is_gone(void *context) { return !path_exists(context); }

Test(contract, a_hot_journal_is_told_and_healed) {
  make_days(100);
  char path[PATH_MAX], journal[PATH_MAX + 16];
  store_day_path(dir, NAME_1, path);
  (void)snprintf(journal, sizeof journal, "%s-journal", path);
  make_hot(path);
  tks_config config = config_of(TKS_SQLITE);
  config.read_only = 1;
  tks_store *reader = store_open(dir, &config);
  for (int i = 0; i < 2; i++) {
    reading r = read_past(reader, "A");
    cr_assert_eq(r.damaged, 1);
    cr_assert_eq(r.count, 200);
    cr_assert_eq(r.day_1, 0);
  }
  check_symbols(reader, TKS_EDAYFILE, 200);
  cr_assert_eq(code_of_day(reader, DAY_0), TKS_OK);
  cr_assert_eq(code_of_day(reader, DAY_1), TKS_EDAYFILE);
  cr_assert_eq(code_of_day(reader, DAY_2), TKS_OK);
  cr_assert(path_exists(journal));

  config.read_only = 0;
  store = store_open(dir, &config);
  cr_assert(wait_until(is_gone, journal));
  cr_assert(wait_until(reads_all, store));
  cr_assert(wait_until(reads_all, reader));
  check_symbols(reader, TKS_OK, 300);
  cr_assert_eq(code_of_day(reader, DAY_1), TKS_OK);
  store_close(reader);
  close_store();
  check_disk(300);
  cr_assert_eq(sqlite_integer(path, "SELECT COUNT(*) FROM sqlite_master WHERE name = 'filler'"), 0);
  cr_assert_eq(sqlite_integer(path, "SELECT COUNT(*) FROM quote WHERE bid = 0"), 0);
}

/* --------------------------------------------------------------- locked days */

typedef struct rows_wanted {
  const char *path;
  int64_t count;
} rows_wanted;

static bool has_rows(void *context) {
  const rows_wanted *w = context;
  return path_exists(w->path) && sqlite_integer(w->path, "SELECT COUNT(*) FROM ticks") == w->count;
}

/* `open_first`: the store has the day open when it is locked. */
static void lock_past_day(bool open_first) {
  make_days(10);
  char live[PATH_MAX];
  store_day_path(dir, NAME_2, live);
  tks_config config = config_of(TKS_SQLITE);
  config.busy_timeout_ms = 20;
  store = store_open(dir, &config);
  uint32_t a = store_symbol(store, "A");
  if (open_first) {
    put_some(a, DAY_0 + 1000, 1);
    store_flush(store);
  }
  sqlite3 *db = hold_day(NAME_0, "BEGIN IMMEDIATE");
  put_some(a, DAY_0 + 2000, 1);
  put_some(a, DAY_2 + 1000, 200);
  cr_assert(wait_until(has_rows, &(rows_wanted){live, 210}));
  cr_assert_eq(tks_flush(store, 100, &error), TKS_ETIMEOUT);
  /* Also those that come once the sink is known to be sick. */
  put_some(a, DAY_2 + 2000, 100);
  cr_assert(wait_until(has_rows, &(rows_wanted){live, 310}));
  let_go(db, "ROLLBACK");
  store_flush(store);
  check_disk(331 + open_first);
  cr_assert_eq(read_past(store, "A").count, 331 + open_first);
  close_store();
  check_disk(331 + open_first);
}

Test(contract, a_locked_past_day_does_not_hold_up_the_others) { lock_past_day(false); }
Test(contract, nor_does_one_that_is_locked_while_open) { lock_past_day(true); }

/* -------------------------------------------------------------- foreign files */

/* `running`: the file comes while the store is open. */
static void bring_foreign_day(bool running) {
  tks_config config = config_of(TKS_SQLITE);
  other_dir = scratch_new();
  store = store_open(other_dir, &config);
  put_some(store_symbol(store, "A"), DAY_1, 1000);
  close_store();
  char from[PATH_MAX], to[PATH_MAX], aside[PATH_MAX + 16];
  store_day_path(other_dir, NAME_1, from);
  store_day_path(dir, NAME_1, to);
  (void)snprintf(aside, sizeof aside, "%s.damaged-1", to);

  store = store_open(dir, &config);
  put_some(store_symbol(store, "A"), DAY_0, 1);
  store_flush(store);
  if (!running) close_store();
  copy_file(from, to);
  if (!running) store = store_open(dir, &config);
  uint32_t a = store_symbol(store, "A");
  (void)store_put(store, a, DAY_1 + 5000, 7, 8);
  store_flush(store);
  cr_assert(path_exists(aside));
  cr_assert_eq(sqlite_integer(aside, "SELECT COUNT(*) FROM ticks"), 1000);
  cr_assert_eq(sqlite_integer(to, "SELECT COUNT(*) FROM ticks"), 1);
  reading r = read_past(store, "A");
  cr_assert_eq(r.count, 2);
  cr_assert_eq(r.day_1, 1);
  cr_assert_eq(r.damaged, 1); /* some of the day was set aside */
  put_some(a, DAY_1 + 6000, 3);
  close_store();
  store = store_open(dir, &config);
  cr_assert_eq(read_past(store, "A").day_1, 4);
  close_store();
}

Test(contract, a_day_of_another_store_swallows_nothing) { bring_foreign_day(false); }
Test(contract, nor_does_one_that_comes_while_the_store_is_open) { bring_foreign_day(true); }

/* ------------------------------------------------------------------- eviction */

Test(contract, a_day_is_synced_before_it_is_let_go) {
  install_shim();
  tks_config config = config_of(TKS_SQLITE);
  config.synchronous = TKS_SYNC_NORMAL;
  config.max_open_days = 1;
  config.sync_interval_ms = NEVER_MS;
  store = store_open(dir, &config);
  uint32_t a = store_symbol(store, "A");
  put_some(a, DAY_0, 1);
  store_flush(store);
  sqlite3 *db = hold_day(NAME_0, "BEGIN; SELECT COUNT(*) FROM quote");
  for (int i = 1; i <= 4; i++) {
    bool unsynced;
    uint64_t before = log_syncs(NAME_0, &unsynced);
    put_some(a, DAY_0 + 10 * i, 1);
    put_some(a, DAY_1 + 10 * i, 1);
    store_flush(store);
    uint64_t syncs = log_syncs(NAME_0, &unsynced);
    cr_assert_gt(syncs, before, "round %d", i);
    cr_assert_not(unsynced, "round %d", i);
    (void)log_syncs(NAME_1, &unsynced);
    cr_assert_not(unsynced, "round %d", i);
  }
  let_go(db, "COMMIT");
  close_store();
  check_disk(9);
}

/* ----------------------------------------------------------- flush under load */

static _Atomic bool stop;

static void *produce(void *argument) {
  uint32_t symbol = *(uint32_t *)argument;
  tks_quote quote = {.ts_ns = DAY_0, .bid = 1, .ask = 2, .symbol = symbol};
  while (!atomic_load(&stop)) {
    quote.ts_ns++;
    (void)tks_put_quote(store, &quote, NULL, NULL);
  }
  return NULL;
}

Test(contract, json_flushes_under_load) {
  tks_config config = config_of(TKS_JSON);
  config.sync_interval_ms = NEVER_MS;
  config.queue_policy = TKS_QUEUE_BLOCK; /* so that there is always more, and nothing is lost */
  config.block_limit_ms = WAIT_LIMIT_S * 1000;
  config.journal_bytes = 4 << 20; /* and no more before a flush than a slow machine writes in time */
  store = store_open(dir, &config);
  uint32_t a = store_symbol(store, "A");
  pthread_t producer = start_thread(produce, &a);
  for (int i = 0; i < 3; i++) {
    linger_ms(50);
    uint64_t before = store_stats(store).last_seq;
    int code = tks_flush(store, WAIT_LIMIT_S * 1000, &error);
    cr_assert_eq(code, TKS_OK, "%d: %s", code, error.message);
    cr_assert_geq(durable_seq(), before);
  }
  atomic_store(&stop, true);
  join_thread(producer);
  tks_store_stats stats = store_stats(store);
  close_store();
  cr_assert_eq(store_json_lines(dir), stats.accepted - stats.dropped);
  cr_assert_eq(store_json_seqs(dir), stats.accepted - stats.dropped);
}

/* --------------------------------------------------------------- damaged days */

static void check_damaged(tks_store *from) {
  for (int i = 0; i < 2; i++) {
    reading r = read_past(from, "A");
    cr_assert_eq(r.damaged, 1, "%zu", r.damaged);
    cr_assert_eq(r.newer, 0);
    cr_assert_eq(r.count, 100, "%zu", r.count);
    cr_assert_eq(r.day_1, 0);
  }
  check_symbols(from, TKS_EDAYFILE, 100);
  cr_assert_eq(code_of_day(from, DAY_0), TKS_OK);
  cr_assert_eq(code_of_day(from, DAY_1), TKS_EDAYFILE);
  cr_assert_eq(code_of_day(from, DAY_2), TKS_OK);
}

static void check_damaged_in_both(void) {
  tks_config config = config_of(TKS_SQLITE);
  store = store_open(dir, &config);
  check_damaged(store);
  close_store();
  config.read_only = 1;
  store = store_open(dir, &config);
  check_damaged(store);
  close_store();
}

Test(contract, an_empty_day_file_is_told) {
  make_days(50);
  char path[PATH_MAX];
  store_day_path(dir, NAME_1, path);
  write_file(path, "", 0);
  check_damaged_in_both();
}

Test(contract, a_file_of_another_day_is_told) {
  make_days(50);
  char neighbour[PATH_MAX], path[PATH_MAX];
  store_day_path(dir, NAME_0, neighbour);
  store_day_path(dir, NAME_1, path);
  copy_file(neighbour, path);
  check_damaged_in_both();
}

Test(contract, a_newer_day_file_is_left_alone) {
  make_days(50);
  char path[PATH_MAX], aside[PATH_MAX + 16], first[PATH_MAX], last[PATH_MAX];
  store_day_path(dir, NAME_0, first);
  store_day_path(dir, NAME_1, path);
  store_day_path(dir, NAME_2, last);
  (void)snprintf(aside, sizeof aside, "%s.damaged-1", path);
  set_format(path, "PRAGMA user_version=99");
  size_t length_before, length_after;
  char *before = read_file(path, &length_before);

  tks_config config = config_of(TKS_SQLITE);
  config.close_limit_ms = 300;
  store = store_open(dir, &config);
  uint32_t a = store_symbol(store, "A");
  put_some(a, DAY_0 + 1000, 5);
  put_some(a, DAY_1 + 1000, 1);
  put_some(a, DAY_2 + 1000, 5);
  cr_assert(wait_until(has_rows, &(rows_wanted){first, 55}));
  cr_assert(wait_until(has_rows, &(rows_wanted){last, 55}));
  cr_assert_eq(tks_flush(store, 300, &error), TKS_ETIMEOUT);
  reading r = read_past(store, "A");
  cr_assert_eq(r.newer, 1);
  cr_assert_eq(r.damaged, 0);
  cr_assert_eq(r.count, 110 + r.day_1);
  cr_assert_leq(r.day_1, 1); /* the pending one */
  cr_assert_eq(code_of_day(store, DAY_1), TKS_EFORMAT);
  close_unwritten();
  cr_assert_not(path_exists(aside));
  char *after = read_file(path, &length_after);
  cr_assert_eq(length_after, length_before);
  cr_assert_eq(memcmp(after, before, length_before), 0);
  free(before);
  free(after);
  cr_assert_eq(sqlite_integer(first, "SELECT COUNT(DISTINCT id) FROM ticks"), 55);
  cr_assert_eq(sqlite_integer(last, "SELECT COUNT(DISTINCT id) FROM ticks"), 55);
}

/* The sink says which file it waits for. The others' records go on reaching the disk, as far as the journal has room; when the file is
 * gone or can be read, all goes on without a restart. */
Test(contract, a_newer_day_file_holds_up_what_the_journal_holds) {
  make_days(50);
  char path[PATH_MAX], last[PATH_MAX];
  store_day_path(dir, NAME_1, path);
  store_day_path(dir, NAME_2, last);
  set_format(path, "PRAGMA user_version=99");
  tks_config config = config_of(TKS_SQLITE);
  config.journal_bytes = UINT64_C(1) << 20;
  config.queue_policy = TKS_QUEUE_DROP;
  config.retry_attempts = 0;
  config.degraded_retry_ms = 10;
  store = store_open(dir, &config);
  uint32_t a = store_symbol(store, "A");
  put_some(a, DAY_1 + 1000, 1);
  cr_assert_eq(tks_flush(store, 100, &error), TKS_ETIMEOUT);
  cr_assert_not_null(strstr(error.message, "ticks_" NAME_1), "%s", error.message);
  tks_store_stats stats = store_stats(store);
  cr_assert_eq(stats.sinks[0].state, TKS_SINK_DEGRADED);
  cr_assert_eq(stats.sinks[0].last_error_code, TKS_EFORMAT);
  cr_assert_not_null(strstr(stats.sinks[0].last_error, "ticks_" NAME_1), "%s", stats.sinks[0].last_error);

  enum { LATER = 40000 }; /* more than there is room for */
  int dropped = 0;
  for (int i = 0; i < LATER; i++) {
    const tks_quote quote = {.ts_ns = DAY_2 + 1000 + i, .bid = 1, .ask = 2, .symbol = a};
    int code = tks_put_quote(store, &quote, NULL, &error);
    cr_assert(code == TKS_OK || code == TKS_EQUEUEFULL, "%d: %s", code, error.message);
    dropped += code == TKS_EQUEUEFULL;
  }
  cr_assert_gt(dropped, 0);
  cr_assert(wait_until(has_rows, &(rows_wanted){last, 50 + LATER - dropped}), "what was accepted is on disk");
  stats = store_stats(store);
  cr_assert_eq(stats.dropped, (uint64_t)dropped);
  cr_assert_leq(stats.journal_bytes, config.journal_bytes);
  cr_assert_eq(stats.sinks[0].lost, 0);

  set_format(path, "PRAGMA user_version=1");
  store_flush(store);
  cr_assert_eq(sqlite_integer(path, "SELECT COUNT(DISTINCT id) FROM ticks"), 51);
  cr_assert_eq(sqlite_integer(last, "SELECT COUNT(DISTINCT id) FROM ticks"), 50 + LATER - dropped);
  cr_assert_eq(store_stats(store).sinks[0].state, TKS_SINK_OK);
  store_close(store);
  store = NULL;
}

/* ------------------------------------------------------- a log that takes long */

static sem_t log_may_go_on;
static _Atomic bool log_is_blocked, log_was_blocked, putter_done;

static void blocking_log(void *context, int32_t level, const char *message, size_t length) {
  (void)context;
  (void)length;
  if (level < TKS_LOG_ERROR || strstr(message, "queue") == NULL || atomic_exchange(&log_was_blocked, true)) return;
  atomic_store(&log_is_blocked, true);
  while (sem_wait(&log_may_go_on) != 0) continue;
  atomic_store(&log_is_blocked, false);
}

static bool is_set(void *context) { return atomic_load((_Atomic bool *)context); }

static void *put_and_say(void *argument) {
  uint32_t symbol = *(uint32_t *)argument;
  for (int i = 0; i < 200; i++) {
    const tks_quote quote = {.ts_ns = DAY_0 + 100000 + i, .bid = 1, .ask = 2, .symbol = symbol};
    int code = tks_put_quote(store, &quote, NULL, NULL);
    if (code != TKS_OK && code != TKS_EQUEUEFULL) abort();
  }
  atomic_store(&putter_done, true);
  return NULL;
}

Test(contract, put_does_not_wait_for_a_log_that_blocks) {
  cr_assert_eq(sem_init(&log_may_go_on, 0, 0), 0);
  tks_config config = config_of(TKS_SQLITE);
  config.queue_policy = TKS_QUEUE_DROP;
  config.journal = 0;
  config.queue_records = 16;
  config.batch_records = 1;
  config.backlog_records = 0;
  config.busy_timeout_ms = NEVER_MS;
  config.log = blocking_log;
  store = store_open(dir, &config);
  uint32_t a = store_symbol(store, "A");
  put_some(a, DAY_0, 1);
  store_flush(store);
  sqlite3 *db = hold_day(NAME_0, "BEGIN IMMEDIATE");
  /* The sink waits for the lock, so the queue fills. */
  tks_quote quote = {.ts_ns = DAY_0 + 10, .bid = 1, .ask = 2, .symbol = a};
  for (int full = 0, i = 0; full < 10 && i < 100000; i++) {
    quote.ts_ns++;
    full += tks_put_quote(store, &quote, NULL, NULL) == TKS_EQUEUEFULL;
  }
  cr_assert_geq(store_stats(store).dropped, 10);
  let_go(db, "ROLLBACK");
  cr_assert(wait_until(is_set, &log_is_blocked));
  pthread_t putter = start_thread(put_and_say, &a);
  bool returned = wait_until(is_set, &putter_done);
  bool blocked = atomic_load(&log_is_blocked);
  cr_assert_eq(sem_post(&log_may_go_on), 0);
  join_thread(putter);
  cr_assert(returned);
  cr_assert(blocked);
  /* All that was not dropped is there, and the store takes more. Some were dropped: that is what flush says. */
  int code = tks_flush(store, (int64_t)WAIT_LIMIT_S * 1000, &error);
  cr_assert(code == TKS_OK || code == TKS_EUNWRITTEN, "%d: %s", code, error.message);
  (void)store_put(store, a, DAY_0 + 200000, 3, 4);
  store_flush(store);
  tks_store_stats stats = store_stats(store);
  cr_assert(store_adds_up(&stats));
  cr_assert_eq(stats.accepted, stats.sinks[0].written + stats.dropped);
  (void)tks_close(store, NULL);
  store = NULL;
  check_disk(stats.sinks[0].written);
  cr_assert_eq(sem_destroy(&log_may_go_on), 0);
}

/* -------------------------------------------------------------- refused names */

Test(contract, a_refused_put_leaves_no_names_behind) {
  tks_config config = config_of(TKS_SQLITE);
  store = store_open(dir, &config);
  tks_store_stats before = store_stats(store);
  static const double prices[][2] = {{INFINITY, 1}, {1, -INFINITY}, {NAN, NAN}};
  static const int codes[] = {TKS_EPRICE, TKS_EPRICE, TKS_ESIDES};
  for (size_t i = 0; i < 3; i++) {
    uint64_t seq = 1;
    cr_assert_eq(tks_put(store, "NEW", 3, prices[i][0], prices[i][1], "SOURCE", 6, DAY_0, &seq, &error), codes[i]);
  }
  cr_assert_eq(tks_put(store, "NEW", 3, 1, 2, "SOURCE", 6, INT64_MAX, NULL, &error), TKS_ETIME);
  tks_store_stats after = store_stats(store);
  cr_assert_eq(after.symbols, before.symbols);
  cr_assert_eq(after.sources, before.sources);
  cr_assert_eq(after.refused, before.refused + 4);
  cr_assert_eq(after.received, before.received + 4);
  cr_assert_eq(tks_put(store, "NEW", 3, 1, 2, "SOURCE", 6, DAY_0, NULL, &error), TKS_OK, "%s", error.message);
  after = store_stats(store);
  cr_assert_eq(after.symbols, before.symbols + 1);
  cr_assert_eq(after.sources, before.sources + 1);
  close_store();
}
