/* Every place that asks for memory is refused it, once, and from then on: the library's own allocator, SQLite's and libuv's.
 * Calls answer with a clean code, nothing leaks, and nothing that was accepted is missing or there twice.
 *
 * Short: each place once. Long (TKS_TORTURE=1): each of its calls in turn up to a few, once and for ever. TKS_PLACES=150-152: some alone. */
#include <criterion/criterion.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <uv.h>

#include "base/memory.h"
#include "support/places.h"

enum { OWN, OF_SQLITE, OF_UV, KINDS };

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

enum { CALLS = 4 }; /* of a place, that the long form refuses */

static void prepare(const places_plan *plan, bool once) {
  static const int codes[] = {TKS_ENOMEM, 0};
  (void)plan;
  (void)once;
  places.exercise = (exercise){.synchronous = TKS_SYNC_FULL, .busy_timeout_ms = 30000, .codes = codes};
}

static bool plan_of(uint64_t n, places_plan *plan) {
  const uint64_t modes = places.all ? 3 : 1, calls = places.all ? CALLS : 1;
  if (n / (modes * calls) >= sites_count()) return false;
  *plan = (places_plan){.index = (size_t)(n / (modes * calls)), .mode = (sites_mode)(n % modes)};
  /* A sample of the long form. */
  if (!places.all && random_below(&places.dice, 24) == 0) plan->mode = SITES_ALL_KINDS;
  /* The first call, or any other: what is there by then differs. */
  uint64_t made = sites_get(plan->index)->calls / PLACES_LEARNT + 1, k = n / modes % calls;
  plan->nth = k < made && random_below(&places.dice, 2) == 0 ? k + 1 : 1 + random_below(&places.dice, made);
  return true;
}

static void set_up(void) {
  static const char *const kinds[KINDS] = {[OWN] = "own", [OF_SQLITE] = "SQLite", [OF_UV] = "libuv"};
  static const places_test test = {.plan = plan_of, .prepare = prepare, .kinds = kinds, .kind_count = KINDS};
  places_set_up(&test);
  install();
}

TestSuite(memory_faults, .init = set_up, .fini = places_tear_down);

Test(memory_faults, every_place_dual) { places_fail_each(TKS_DUAL, TKS_DUAL); }
Test(memory_faults, every_place_json) { places_fail_each(TKS_JSON, TKS_JSON); }
Test(memory_faults, every_place_mixed) { places_fail_each(TKS_SQLITE, TKS_JSON); }
