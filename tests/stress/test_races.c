/* Close against every other call, from many threads, at every moment; threads that come and go by the thousand.
 *
 * TKS_RACES is the number of rounds of all such tests (500; the long run 20,000). */
#include <criterion/criterion.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "support/random.h"
#include "support/scratch.h"
#include "support/stores.h"
#include "support/threads.h"

#define ROUND_LIMIT_S 120
#define SYMBOLS 4

static char *dir;
static tks_store *store;
static test_random dice;

static void set_up(void) {
  dir = scratch_new();
  dice = random_new();
}

static void tear_down(void) {
  if (store != NULL) (void)tks_close(store, NULL);
  scratch_remove(dir);
}

TestSuite(races, .init = set_up, .fini = tear_down);

static uint64_t share(uint64_t of_500) {
  const char *races = getenv("TKS_RACES");
  uint64_t n = races != NULL && *races != 0 ? strtoull(races, NULL, 10) : 500;
  uint64_t mine = rounds(n * of_500 / 500);
  return mine > 0 ? mine : 1;
}

/* ------------------------------------------------------------------ actors */

/* Criterion's assertions are for its own thread: the others remember what they met first. */
typedef struct actor {
  int (*act)(struct actor *a); /* a call's code; ends the actor when TKS_ECLOSED */
  test_random dice;
  uint64_t accepted; /* TKS_OK: the store keeps it */
  uint64_t calls;
  tks_cursor *cursor;
  int bad_code, bad_line;
} actor;

static _Atomic uint64_t calls_made; /* by all, since the round began */

static void bad(actor *a, int code, int line) {
  if (a->bad_line != 0) return;
  a->bad_code = code;
  a->bad_line = line;
}

static tks_quote quote_of(actor *a) {
  uint64_t n = random_next(&a->dice);
  return (tks_quote){.ts_ns = STORE_NOON + (int64_t)(n % 1000000),
                     .bid = (double)(n % 1000),
                     .ask = (double)(n % 1000) + 1,
                     .symbol = 1 + (uint32_t)random_below(&a->dice, SYMBOLS)};
}

static int act_put(actor *a) {
  tks_quote q = quote_of(a);
  uint64_t seq = 0;
  int code = tks_put_quote(store, &q, &seq, NULL);
  if (code == TKS_OK) a->accepted++;
  if ((code == TKS_OK || code == TKS_EQUEUEFULL) != (seq != 0)) bad(a, code, __LINE__);
  return code == TKS_EQUEUEFULL ? TKS_OK : code;
}

static int act_put_many(actor *a) {
  tks_quote quotes[20];
  int32_t codes[20];
  tks_put_result result;
  for (int i = 0; i < 20; i++) quotes[i] = quote_of(a);
  int code = tks_put_quotes(store, quotes, 20, codes, &result, NULL);
  if (code < 0) return code;
  uint64_t fine = 0, closed = 0;
  for (int i = 0; i < 20; i++) {
    fine += codes[i] == TKS_OK;
    closed += codes[i] == TKS_ECLOSED; /* it waited for room when the close came */
    if (codes[i] != TKS_OK && codes[i] != TKS_ECLOSED && codes[i] != TKS_EQUEUEFULL) bad(a, codes[i], __LINE__);
  }
  if (fine != result.accepted) bad(a, code, __LINE__);
  a->accepted += fine;
  return closed > 0 ? TKS_ECLOSED : TKS_OK;
}

static int act_put_names(actor *a) {
  int code = tks_put(store, "S1", 2, 1, (double)a->calls, "LP", 2, STORE_NOON, NULL, NULL);
  if (code == TKS_OK) a->accepted++;
  return code == TKS_EQUEUEFULL ? TKS_OK : code;
}

static int act_recent(actor *a) {
  tks_quote quotes[200];
  size_t count;
  size_t n = 1 + (size_t)random_below(&a->dice, 200);
  return tks_recent(store, 1 + (uint32_t)random_below(&a->dice, SYMBOLS), n, quotes, &count, NULL);
}

static int act_latest(actor *a) {
  tks_quote quotes[SYMBOLS];
  size_t total;
  int code = random_below(&a->dice, 2) == 0 ? tks_latest(store, 1, quotes, NULL)
                                            : tks_latest_all(store, quotes, SYMBOLS, &total, NULL);
  return code == TKS_ENOTFOUND ? TKS_OK : code;
}

/* One step of a cursor that lives over many. */
static int act_cursor(actor *a) {
  tks_quote quotes[50];
  size_t count = 0;
  if (a->cursor == NULL) {
    tks_range range = store_range(1 + (uint32_t)random_below(&a->dice, SYMBOLS));
    return tks_range_open(store, &range, &a->cursor, NULL);
  }
  int code = tks_cursor_next(a->cursor, quotes, 50, &count, NULL);
  if (code == TKS_OK && count > 0) return TKS_OK;
  tks_cursor_close(a->cursor);
  a->cursor = NULL;
  return code;
}

static int act_flush(actor *a) {
  uint64_t seq;
  static const int64_t limits[] = {-1, 0, 1, 60000};
  int64_t limit = limits[random_below(&a->dice, 4)];
  int code = tks_flush(store, limit, NULL);
  if (code == TKS_ETIMEOUT && (limit == 0 || limit == 1)) code = TKS_OK;
  return code == TKS_OK ? tks_durable_seq(store, &seq, NULL) : code;
}

static int act_stats(actor *a) {
  tks_store_stats stats = {.struct_size = sizeof stats};
  int code = tks_stats(store, &stats, NULL);
  if (code == TKS_OK && !store_adds_up(&stats)) bad(a, code, __LINE__);
  return code;
}

static int act_names(actor *a) {
  char name[TKS_NAME_MAX];
  size_t length;
  uint32_t id;
  int n = snprintf(name, sizeof name, "N%u", (unsigned)random_below(&a->dice, 500));
  int code = tks_symbol(store, name, (size_t)n, &id, NULL);
  if (code == TKS_OK) code = tks_source(store, name, (size_t)n, &id, NULL);
  return code == TKS_OK ? tks_symbol_name(store, 1, name, sizeof name, &length, NULL) : code;
}

static int act_listings(actor *a) {
  tks_symbol_info symbols[SYMBOLS];
  tks_day_info days[2];
  size_t total;
  return random_below(&a->dice, 2) == 0 ? tks_symbols(store, symbols, SYMBOLS, &total, NULL)
                                        : tks_days(store, TKS_CHECK_QUICK, days, 2, &total, NULL);
}

static int (*const ACTS[])(actor *a) = {act_put,    act_put_many, act_put_names, act_recent, act_latest,
                                        act_cursor, act_flush,    act_stats,     act_names,  act_listings};
#define ACT_COUNT (sizeof ACTS / sizeof ACTS[0])

/* Until it is told that the store is closed; and that is the last word. */
static void *actor_main(void *argument) {
  actor *a = argument;
  int code = TKS_OK;
  while (code >= 0) {
    code = a->act(a);
    a->calls++;
    (void)atomic_fetch_add_explicit(&calls_made, 1, memory_order_relaxed);
  }
  if (code != TKS_ECLOSED) bad(a, code, __LINE__);
  for (int i = 0; i < 3; i++) {
    uint64_t before = a->accepted;
    code = a->act(a);
    if (code != TKS_ECLOSED || a->accepted != before) bad(a, code, __LINE__);
  }
  tks_cursor_close(a->cursor);
  return NULL;
}

/* ----------------------------------------------------------------- closers */

typedef struct closer {
  uint64_t at_call; /* when so many calls have been made */
  int code;
} closer;

static void *closer_main(void *argument) {
  closer *c = argument;
  while (atomic_load_explicit(&calls_made, memory_order_relaxed) < c->at_call) (void)sched_yield();
  c->code = tks_close(store, NULL);
  return NULL;
}

/* Opens the same directory as soon as it is to be had. */
static void *opener_main(void *argument) {
  tks_store **second = argument;
  tks_config config = store_config(TKS_DUAL);
  while (tks_open(dir, strlen(dir), &config, second, NULL) == TKS_ELOCKED)
    (void)nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
  return NULL;
}

/* ----------------------------------------------------------- close in between */

static void open_store(uint32_t backend) {
  tks_config config = store_config(backend);
  config.queue_policy = (uint32_t)random_below(&dice, 2);
  config.queue_records = 16 << random_below(&dice, 8);
  config.batch_records = 1 + (uint32_t)random_below(&dice, 16);
  config.block_limit_ms = 60000;
  config.read_connections = 1 + (uint32_t)random_below(&dice, 4);
  store = store_open(dir, &config);
  for (int i = 1; i <= SYMBOLS; i++) {
    char name[8];
    (void)snprintf(name, sizeof name, "S%d", i);
    cr_assert_eq(store_symbol(store, name), (uint32_t)i);
  }
}

static void check_on_disk(uint32_t backend, uint64_t accepted, const char *where) {
  if ((backend & TKS_SQLITE) != 0) {
    cr_assert_eq(store_sqlite_rows(dir), accepted, "%s: accepted %lu, rows %lu", where, (unsigned long)accepted,
                 (unsigned long)store_sqlite_rows(dir));
    cr_assert_eq(store_sqlite_seqs(dir), accepted, "%s", where);
  }
  if ((backend & TKS_JSON) != 0) {
    cr_assert_eq(store_json_lines(dir), accepted, "%s: accepted %lu, lines %lu", where, (unsigned long)accepted,
                 (unsigned long)store_json_lines(dir));
    cr_assert_eq(store_json_seqs(dir), accepted, "%s", where);
  }
}

static void close_round(uint64_t round) {
  enum { ACTORS = 12, CLOSERS = 2 };
  static const uint32_t backends[] = {TKS_SQLITE, TKS_JSON, TKS_DUAL};
  uint32_t backend = backends[random_below(&dice, 3)];
  scratch_clear(dir);
  open_store(backend);
  atomic_store(&calls_made, 0);
  actor actors[ACTORS] = {{0}};
  closer closers[CLOSERS] = {{0}};
  pthread_t threads[ACTORS], closing[CLOSERS], opening;
  uint64_t last = random_below(&dice, 2000);
  for (int i = 0; i < ACTORS; i++) {
    size_t kind = i < 2 ? (size_t)random_below(&dice, 3) : (size_t)random_below(&dice, ACT_COUNT);
    actors[i] = (actor){.act = ACTS[kind], .dice = random_fork(&dice, round * ACTORS + (uint64_t)i)};
    threads[i] = start_thread(actor_main, &actors[i]);
  }
  for (int i = 0; i < CLOSERS; i++) {
    closers[i].at_call = last;
    closing[i] = start_thread(closer_main, &closers[i]);
  }
  tks_store *second = NULL;
  bool reopen = round % 4 == 0;
  if (reopen) opening = start_thread(opener_main, &second);
  uint64_t accepted = 0;
  for (int i = 0; i < ACTORS; i++) {
    join_thread(threads[i]);
    cr_assert_eq(actors[i].bad_line, 0, "round %lu: line %d, code %d", (unsigned long)round, actors[i].bad_line,
                 actors[i].bad_code);
    accepted += actors[i].accepted;
  }
  for (int i = 0; i < CLOSERS; i++) join_thread(closing[i]);
  cr_assert_eq(closers[0].code + closers[1].code, TKS_OK + TKS_ECLOSED, "%d and %d", closers[0].code, closers[1].code);
  store = NULL;
  if (reopen) {
    join_thread(opening);
    cr_assert_not_null(second);
    store_close(second);
  }
  check_on_disk(backend, accepted, "closed");
}

Test(races, close_against_every_call) {
  for (uint64_t round = 0, n = share(160); round < n; round++) {
    (void)alarm(ROUND_LIMIT_S); /* a hang ends as a failure */
    close_round(round);
  }
  (void)alarm(0);
}

/* ------------------------------------------------- threads that come and go */

/* A short life: a few calls of any kind, the first of which finds the thread's gate. */
typedef struct visitor {
  actor a;
  unsigned calls;
} visitor;

static void *visitor_main(void *argument) {
  visitor *v = argument;
  for (unsigned i = 0; i < v->calls; i++) {
    v->a.act = ACTS[random_below(&v->a.dice, ACT_COUNT)];
    if (v->a.act == act_flush) v->a.act = act_put; /* does not make the visit a long one */
    int code = v->a.act(&v->a);
    if (code < 0) bad(&v->a, code, __LINE__);
  }
  tks_cursor_close(v->a.cursor);
  return NULL;
}

/* More at once than there are gates of one thread each, and many more in all; the store is closed between two waves, when whoever was in
 * a gate must have left it. */
Test(races, threads_come_and_go) {
  enum { AT_ONCE = 48 };
  static visitor visitors[AT_ONCE];
  uint64_t accepted = 0, number = 0;
  open_store(TKS_SQLITE);
  for (uint64_t wave = 0, n = share(100); wave < n; wave++) {
    (void)alarm(ROUND_LIMIT_S);
    pthread_t threads[AT_ONCE];
    for (int i = 0; i < AT_ONCE; i++) {
      visitors[i] = (visitor){.a = {.dice = random_fork(&dice, number)}, .calls = 1 + (unsigned)(number % 5)};
      number++;
      threads[i] = start_thread(visitor_main, &visitors[i]);
    }
    for (int i = 0; i < AT_ONCE; i++) {
      join_thread(threads[i]);
      cr_assert_eq(visitors[i].a.bad_line, 0, "line %d, code %d", visitors[i].a.bad_line, visitors[i].a.bad_code);
      accepted += visitors[i].a.accepted;
    }
    if (wave % 10 != 9) continue;
    store_close(store);
    check_on_disk(TKS_SQLITE, accepted, "a wave");
    open_store(TKS_SQLITE);
  }
  store_close(store);
  store = NULL;
  (void)alarm(0);
  check_on_disk(TKS_SQLITE, accepted, "the end");
}
