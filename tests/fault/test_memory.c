/* Every place that asks for memory is refused it, once, and from then on: the library's own allocator, SQLite's and libuv's.
 * Calls answer with a clean code, nothing leaks, and nothing that was accepted is missing or there twice.
 *
 * Short: each place once. Long (TKS_TORTURE=1): each of its calls in turn up to a few, once and for ever. */
#include <criterion/criterion.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "base/memory.h"
#include "support/exercise.h"
#include "support/scratch.h"
#include "support/sites.h"
#include "support/stores.h"

enum { OWN, OF_SQLITE, OF_UV, KINDS };

static char *dir;
static exercise x;
static test_random dice;
static bool all; /* the long form */

/* -------------------------------------------------------------- allocators */

static bool own_fails(void) { return sites_ask(OWN); }

static sqlite3_mem_methods plain;

static void *sqlite_malloc(int size) { return sites_ask(OF_SQLITE) ? NULL : plain.xMalloc(size); }
static void *sqlite_realloc(void *block, int size) { return sites_ask(OF_SQLITE) ? NULL : plain.xRealloc(block, size); }

/* Its only use of realloc is for the table of watchers, and it ends the process where it gets none. */
static void *uv_malloc(size_t size) { return sites_ask(OF_UV) ? NULL : malloc(size); }
static void *uv_calloc(size_t count, size_t size) { return sites_ask(OF_UV) ? NULL : calloc(count, size); }

static void install(void) {
  cr_assert_eq(sqlite3_config(SQLITE_CONFIG_GETMALLOC, &plain), SQLITE_OK);
  sqlite3_mem_methods methods = plain;
  methods.xMalloc = sqlite_malloc;
  methods.xRealloc = sqlite_realloc;
  cr_assert_eq(sqlite3_config(SQLITE_CONFIG_MALLOC, &methods), SQLITE_OK);
  cr_assert_eq(sqlite3_initialize(), SQLITE_OK);
  cr_assert_eq(uv_replace_allocator(uv_malloc, realloc, uv_calloc, free), 0);
  atomic_store(&tks__memory_fault, own_fails);
}

/* -------------------------------------------------------------------- runs */

static bool has_failed(void) { return sites_failed() > 0; }
static void end_faults(void) { (void)sites_rest(); }

static const int codes[] = {TKS_ENOMEM, 0};

static void prepare(const uint32_t backends[EXERCISE_SESSIONS], bool once) {
  scratch_clear(dir);
  x = (exercise){.dir = dir,
                 .backends = {backends[0], backends[1]},
                 .synchronous = TKS_SYNC_FULL,
                 .busy_timeout_ms = 30000,
                 .codes = codes,
                 .once = once,
                 .until_closed = random_below(&dice, 2) == 0,
                 .fails = has_failed,
                 .relent = end_faults};
}

enum { LEARNT = 3, CALLS = 4 }; /* runs to learn from; calls of a place that the long form refuses */

typedef struct plan {
  size_t index; /* LEARN: nothing fails */
  uint64_t nth;
  sites_mode mode;
} plan;

#define LEARN SIZE_MAX
static plan now = {.index = LEARN};

static bool run(const uint32_t *backends) {
  prepare(backends, now.index == LEARN || now.mode == SITES_ONCE);
  if (now.index == LEARN) sites_learn();
  else sites_fail(now.index, now.nth, now.mode);
  exercise_run(&x);
  bool failed = sites_rest() > 0;
  exercise_reckon(&x);
  return failed;
}

/* What is run as number `n`; false: there is no more. */
static bool next_plan(uint64_t n) {
  const uint64_t modes = all ? 3 : 1, calls = all ? CALLS : 1;
  now = (plan){.index = LEARN};
  if (n < LEARNT) return true;
  n -= LEARNT;
  if (n / (modes * calls) >= sites_count()) return false;
  now = (plan){.index = (size_t)(n / (modes * calls)), .mode = (sites_mode)(n % modes)};
  if (!all && random_below(&dice, 24) == 0) now.mode = SITES_ALL_KINDS; /* a sample of the long form */
  /* The first call, or any other: what is there by then differs. */
  uint64_t made = sites_get(now.index)->calls / LEARNT + 1, k = n / modes % calls;
  now.nth = k < made && random_below(&dice, 2) == 0 ? k + 1 : 1 + random_below(&dice, made);
  return true;
}

static void every_place(uint32_t first, uint32_t second) {
  const uint32_t backends[] = {first, second};
  uint64_t runs = 0, hits = 0, places[KINDS] = {0};
  install();
  /* One loop for learning and failing: a place is told by the whole stack, this function included. */
  for (; next_plan(runs); runs++) hits += run(backends);
  now.index = LEARN;
  for (size_t i = 0; i < sites_count(); i++) places[sites_get(i)->kind]++;
  (void)fprintf(stderr, "%zu places (own %llu, SQLite %llu, libuv %llu), %llu runs, refused in %llu\n", sites_count(),
                (unsigned long long)places[OWN], (unsigned long long)places[OF_SQLITE],
                (unsigned long long)places[OF_UV], (unsigned long long)runs, (unsigned long long)hits);
  /* Some depend on which thread came first; most do not. */
  cr_assert_gt(hits, runs / 2);
}

static void tell(void) {
  if (now.index == LEARN) return;
  (void)fprintf(stderr, "call %llu, mode %d, of ", (unsigned long long)now.nth, (int)now.mode);
  sites_print(now.index);
}

static void on_abort(int signal_number) {
  tell();
  (void)signal(signal_number, SIG_DFL);
  (void)raise(signal_number);
}

static void set_up(void) {
  (void)signal(SIGABRT, on_abort);
  /* Hundreds of sessions: not on a disk, where there is a choice. */
  if (access("/dev/shm", W_OK) == 0) (void)setenv("TMPDIR", "/dev/shm", 1);
  dir = scratch_new();
  dice = random_new();
  all = getenv("TKS_TORTURE") != NULL;
}

static void tear_down(void) {
  tell();
  (void)sites_rest();
  if (x.store != NULL) (void)tks_close(x.store, NULL);
  scratch_remove(dir);
}

TestSuite(memory_faults, .init = set_up, .fini = tear_down);

Test(memory_faults, every_place_dual) { every_place(TKS_DUAL, TKS_DUAL); }
Test(memory_faults, every_place_json) { every_place(TKS_JSON, TKS_JSON); }
Test(memory_faults, every_place_mixed) { every_place(TKS_SQLITE, TKS_JSON); }
