#include "query/pool.h"

#include <criterion/criterion.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/utc.h"
#include "persist/dayfile.h"
#include "support/faults.h"
#include "support/random.h"
#include "support/scratch.h"
#include "support/stores.h"
#include "support/threads.h"
#include "support/wait.h"

static char *dir;
static tks__layout layout;
static tks__names symbols, sources;
static tks__log no_log;
static tks__pool pool;
static tks__pool_options options;
static tks__dayfile_options day_options;
static int32_t day; /* and the two after it */

static void set_up(void) {
  dir = scratch_new();
  cr_assert(tks__layout_init(&layout, dir, strlen(dir)));
  cr_assert_eq(tks__names_init(&symbols, 10), TKS_OK);
  cr_assert_eq(tks__names_init(&sources, 10), TKS_OK);
  uint32_t id;
  cr_assert_eq(tks__names_intern(&symbols, "EURUSD", 6, &id), TKS_OK);
  day = tks__utc_day(STORE_NOON);
  day_options = (tks__dayfile_options){.layout = &layout,
                                       .symbols = &symbols,
                                       .sources = &sources,
                                       .log = &no_log,
                                       .synchronous = TKS_SYNC_NORMAL,
                                       .checkpoint_pages = 1000,
                                       .busy_timeout_ms = 10000,
                                       .temp_store_memory = 1,
                                       .page_cache_bytes = 1 << 20};
  options = (tks__pool_options){.layout = &layout,
                                .connections = 2,
                                .life_s = 3600,
                                .busy_timeout_ms = 10000,
                                .deadline_ms = 60000,
                                .temp_store_memory = 1,
                                .mmap_bytes = 12345 * 4096};
}

static void tear_down(void) {
  (void)allocations_work();
  tks__names_deinit(&symbols);
  tks__names_deinit(&sources);
  scratch_remove(dir);
}

TestSuite(pool, .init = set_up, .fini = tear_down);

static void start(void) { cr_assert_eq(tks__pool_init(&pool, &options), TKS_OK); }

/* Leaves the file open, in WAL mode. */
static tks__dayfile *make_day(int32_t which) {
  tks__dayfile *file;
  tks_error error;
  cr_assert_eq(tks__dayfile_open(&day_options, which, &file, &error), TKS_OK, "%s", error.message);
  tks__record r = {.ts_ns = tks__utc_day_start_ns(which) + 5, .seq = 1, .bid = 1, .ask = 2, .symbol = 1};
  const tks__record *records[1] = {&r};
  cr_assert_eq(tks__dayfile_write(file, records, 1, 1, &error), TKS_OK, "%s", error.message);
  return file;
}

static void make_sealed(int32_t which) { cr_assert(tks__dayfile_seal(make_day(which))); }

static tks__connection *acquire(int32_t which) {
  tks__connection *c;
  tks_error error;
  int code = tks__pool_acquire(&pool, which, &c, &error);
  cr_assert_eq(code, TKS_OK, "%d: %s", code, error.message);
  return c;
}

static int64_t ask(tks__connection *c, const char *sql) {
  sqlite3_stmt *s;
  cr_assert_eq(sqlite3_prepare_v2(c->db, sql, -1, &s, NULL), SQLITE_OK);
  cr_assert_eq(sqlite3_step(s), SQLITE_ROW);
  int64_t value = sqlite3_column_int64(s, 0);
  (void)sqlite3_finalize(s);
  return value;
}

Test(pool, a_day_without_a_file_has_no_connection) {
  start();
  cr_assert_null(acquire(day));
  cr_assert_eq(pool.open, 0);
  make_sealed(day); /* and so the directory */
  cr_assert_null(acquire(day + 1));
  cr_assert_eq(pool.count, 0);
  tks__pool_deinit(&pool);
}

Test(pool, connections_are_used_again) {
  make_sealed(day);
  make_sealed(day + 1);
  start();
  tks__connection *a = acquire(day);
  cr_assert_not_null(a);
  cr_assert_eq(a->day, day);
  cr_assert_eq(ask(a, "SELECT COUNT(*) FROM quote"), 1);
  tks__pool_release(&pool, a, false);
  cr_assert_eq(acquire(day), a);
  tks__connection *b = acquire(day);
  cr_assert_neq(b, a);
  cr_assert_eq(pool.open, 2);
  tks__pool_release(&pool, a, false);
  tks__pool_release(&pool, b, false);
  tks__pool_release(&pool, NULL, false);
  /* Full: the one that has been idle longest makes room. */
  a->used_ns = 1;
  b->used_ns = 2;
  tks__connection *c = acquire(day + 1);
  cr_assert_eq(c->day, day + 1);
  cr_assert_eq(pool.count, 2);
  tks__connection *d = acquire(day);
  cr_assert_eq(d, b);
  tks__pool_release(&pool, c, false);
  tks__pool_release(&pool, d, true); /* broken: closed */
  cr_assert_eq(pool.open, 1);
  cr_assert_eq(acquire(day + 1), c);
  tks__pool_release(&pool, c, false);
  tks__pool_deinit(&pool);
}

/* One that is too old goes before those of other days, however long they have been idle. */
Test(pool, an_expired_connection_of_the_day_goes_first) {
  make_sealed(day);
  make_sealed(day + 1);
  options.life_s = 0;
  start();
  tks__connection *a = acquire(day), *b = acquire(day + 1);
  tks__pool_release(&pool, a, false);
  tks__pool_release(&pool, b, false);
  a->used_ns = 2;
  b->used_ns = 1;
  tks__connection *c = acquire(day);
  cr_assert_eq(c->day, day);
  cr_assert_eq(pool.count, 2);
  bool kept = false;
  for (size_t i = 0; i < pool.count; i++) kept |= pool.connections[i]->day == day + 1;
  cr_assert(kept, "the other day's was closed");
  tks__pool_release(&pool, c, false);
  tks__pool_deinit(&pool);
}

/* Set, and read back on the connection in question. */
Test(pool, connections_are_configured) {
  make_sealed(day);
  tks__dayfile *open = make_day(day + 1);
  start();
  tks__connection *c = acquire(day);
  cr_assert_eq(ask(c, "PRAGMA query_only"), 1);
  cr_assert_eq(ask(c, "PRAGMA mmap_size"), 12345 * 4096);
  cr_assert_eq(ask(c, "PRAGMA temp_store"), 2);
  cr_assert_eq(ask(c, "PRAGMA busy_timeout"), 10000);
  cr_assert_eq(sqlite3_db_readonly(c->db, "main"), 1);
  cr_assert_neq(sqlite3_exec(c->db, "DELETE FROM quote", NULL, NULL, NULL), SQLITE_OK);
  tks__pool_release(&pool, c, false);
  c = acquire(day + 1); /* being written: not mapped */
  cr_assert_eq(ask(c, "PRAGMA mmap_size"), 0);
  tks__pool_release(&pool, c, false);
  tks__pool_deinit(&pool);
  options.temp_store_memory = 0;
  options.mmap_bytes = 0;
  start();
  c = acquire(day);
  cr_assert_eq(ask(c, "PRAGMA mmap_size"), 0);
  cr_assert_eq(ask(c, "PRAGMA temp_store"), 1);
  tks__pool_release(&pool, c, false);
  tks__pool_deinit(&pool);
  tks__dayfile_discard(open);
}

Test(pool, a_connection_is_opened_anew_when_its_life_is_over) {
  make_sealed(day);
  options.life_s = 10;
  start();
  tks__connection *a = acquire(day);
  tks__pool_release(&pool, a, false);
  a->opened_ns -= 9 * TKS__NS_PER_S;
  cr_assert_eq(acquire(day), a);
  tks__pool_release(&pool, a, false);
  a->opened_ns -= 2 * TKS__NS_PER_S;
  int64_t opened_ns = a->opened_ns;
  tks__connection *b = acquire(day);
  cr_assert_gt(b->opened_ns, opened_ns);
  cr_assert_eq(pool.count, 1);
  tks__pool_release(&pool, b, false);
  tks__pool_deinit(&pool);
}

Test(pool, waiting_for_a_connection_has_a_limit) {
  make_sealed(day);
  options.connections = 1;
  options.deadline_ms = 1;
  start();
  tks__connection *a = acquire(day), *b;
  tks_error error;
  cr_assert_eq(tks__pool_acquire(&pool, day, &b, &error), TKS_EDEADLINE);
  cr_assert_null(b);
  cr_assert_str_eq(error.message, "all 1 reading connections were in use for 1 ms");
  cr_assert_eq(tks__pool_acquire(&pool, day + 7, &b, NULL), TKS_EDEADLINE);
  tks__pool_release(&pool, a, false);
  b = acquire(day);
  cr_assert_not_null(b);
  tks__pool_release(&pool, b, false);
  tks__pool_deinit(&pool);
}

static void *acquire_and_release(void *argument) {
  tks__connection *c = NULL;
  *(int *)argument = tks__pool_acquire(&pool, day, &c, NULL);
  tks__pool_release(&pool, c, false);
  return NULL;
}

Test(pool, a_released_connection_wakes_who_waits) {
  make_sealed(day);
  make_sealed(day + 1);
  options.connections = 1;
  start();
  for (int round = 0; round < 4; round++) {
    tks__connection *a = acquire(day + round % 2);
    int code = -1;
    pthread_t thread = start_thread(acquire_and_release, &code);
    linger_ms(5);
    tks__pool_release(&pool, a, round / 2);
    join_thread(thread);
    cr_assert_eq(code, TKS_OK);
  }
  tks__pool_deinit(&pool);
}

Test(pool, forgotten_days_are_closed_as_soon_as_they_can_be) {
  make_sealed(day);
  make_sealed(day + 1);
  options.connections = 4;
  start();
  tks__connection *idle = acquire(day), *busy = acquire(day), *other = acquire(day + 1);
  tks__pool_release(&pool, idle, false);
  tks__pool_forget(&pool, day);
  cr_assert_eq(pool.open, 2);
  cr_assert_eq(ask(busy, "SELECT COUNT(*) FROM quote"), 1);
  tks__pool_release(&pool, busy, false);
  cr_assert_eq(pool.open, 1);
  tks__pool_forget(&pool, day + 5);
  tks__pool_release(&pool, other, false);
  cr_assert_eq(acquire(day + 1), other);
  tks__pool_release(&pool, other, false);
  tks__pool_deinit(&pool);
}

Test(pool, a_forgotten_day_can_be_sealed) {
  tks__dayfile *file = make_day(day);
  start();
  tks__pool_release(&pool, acquire(day), false);
  cr_assert_not(tks__dayfile_seal(file)); /* the idle connection is in the way */
  tks__pool_forget(&pool, day);
  cr_assert(tks__dayfile_seal(file));
  tks__pool_deinit(&pool);
}

static int acquire_code(int32_t which, tks_error *error) {
  tks__connection *c;
  int code = tks__pool_acquire(&pool, which, &c, error);
  cr_assert_eq(pool.count, 0);
  cr_assert_null(c);
  return code;
}

Test(pool, files_that_are_no_day_files) {
  char path[PATH_MAX];
  tks_error error;
  sqlite3 *db;
  make_sealed(day);
  tks__layout_day_file(&layout, day, path);
  start();
  write_file(path, "", 0);
  cr_assert_eq(acquire_code(day, &error), TKS_EDAYFILE);
  write_file(path, "no database, whatever its name may say. no database, whatever its name may say", 78);
  cr_assert_eq(acquire_code(day, &error), TKS_EDAYFILE);
  cr_assert_not_null(strstr(error.message, STORE_DAY), "%s", error.message);
  cr_assert_eq(unlink(path), 0);
  cr_assert_eq(sqlite3_open(path, &db), SQLITE_OK);
  cr_assert_eq(sqlite3_exec(db, "CREATE TABLE a(b)", NULL, NULL, NULL), SQLITE_OK);
  cr_assert_eq(acquire_code(day, &error), TKS_EDAYFILE);
  cr_assert_eq(sqlite3_exec(db, "PRAGMA application_id=1414222641; PRAGMA user_version=2", NULL, NULL, NULL),
               SQLITE_OK);
  cr_assert_eq(acquire_code(day, &error), TKS_EFORMAT);
  cr_assert_not_null(strstr(error.message, "2"), "%s", error.message);
  cr_assert_eq(sqlite3_exec(db, "PRAGMA user_version=1", NULL, NULL, NULL), SQLITE_OK);
  cr_assert_eq(acquire_code(day, &error), TKS_EDAYFILE);
  cr_assert_not_null(strstr(error.message, "lacks tables"), "%s", error.message);
  (void)sqlite3_close(db);
  tks__pool_deinit(&pool);
}

Test(pool, every_allocation_may_fail) {
  make_sealed(day);
  for (uint64_t n = 0;; n++) {
    fail_allocation(n);
    int code = tks__pool_init(&pool, &options);
    if (code == TKS_OK) {
      tks__connection *c;
      code = tks__pool_acquire(&pool, day, &c, NULL);
      if (code == TKS_OK) tks__pool_release(&pool, c, false);
      cr_assert_eq(pool.count, code == TKS_OK);
      tks__pool_deinit(&pool);
    }
    bool failed = allocations_work();
    cr_assert_eq(code, failed ? TKS_ENOMEM : TKS_OK);
    if (!failed) break;
  }
}

/* ---- together */

typedef struct user {
  uint64_t rounds;
  uint64_t bad;
  test_random dice;
} user;

static void *use(void *argument) {
  user *u = argument;
  for (uint64_t i = 0; i < u->rounds; i++) {
    int32_t which = day + (int32_t)random_below(&u->dice, 3);
    tks__connection *c;
    if (random_below(&u->dice, 20) == 0) tks__pool_forget(&pool, which);
    if (tks__pool_acquire(&pool, which, &c, NULL) != TKS_OK || c == NULL || c->day != which) {
      u->bad++;
      continue;
    }
    sqlite3_stmt *s;
    u->bad += sqlite3_prepare_v2(c->db, "SELECT COUNT(*) FROM quote", -1, &s, NULL) != SQLITE_OK ||
              sqlite3_step(s) != SQLITE_ROW || sqlite3_column_int64(s, 0) != 1;
    (void)sqlite3_finalize(s);
    tks__pool_release(&pool, c, random_below(&u->dice, 20) == 0);
  }
  return NULL;
}

Test(pool, many_users_and_few_connections) {
  for (int i = 0; i < 3; i++) make_sealed(day + i);
  start();
  test_random dice = random_new();
  user users[6] = {0};
  for (int i = 0; i < 6; i++) users[i] = (user){.rounds = rounds(2000), .dice = random_fork(&dice, (uint64_t)i)};
  run_threads(use, users, 6, sizeof users[0]);
  for (int i = 0; i < 6; i++) cr_assert_eq(users[i].bad, 0);
  cr_assert_leq(pool.count, 2);
  tks__pool_deinit(&pool);
}

/* A day file that is being made is not there or whole; never a damaged one. */
static _Atomic int32_t newest;

static void *make_days(void *argument) {
  _Atomic bool *stop = argument;
  while (!*stop) {
    tks__dayfile *file;
    newest++; /* so that the reader looks while it is made */
    if (tks__dayfile_open(&day_options, newest, &file, NULL) == TKS_OK) tks__dayfile_discard(file);
  }
  return NULL;
}

Test(pool, a_file_in_the_making_is_not_damaged) {
  _Atomic bool stop = false;
  newest = day;
  start();
  pthread_t maker = start_thread(make_days, &stop);
  for (uint64_t i = 0; i < rounds(4000); i++) {
    tks__connection *c;
    tks_error error;
    int code = tks__pool_acquire(&pool, newest, &c, &error);
    if (code != TKS_OK) {
      stop = true;
      cr_assert(false, "%d: %s", code, error.message);
    }
    tks__pool_release(&pool, c, true);
  }
  stop = true;
  join_thread(maker);
  tks__pool_deinit(&pool);
}
