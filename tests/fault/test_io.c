/* Every place that touches a file fails, once, with an error that it may have there, in this library and in SQLite: EIO, ENOSPC,
 * EMFILE, EINTR, half a read or write. Calls answer with a clean code, and once the faults are over everything that was
 * accepted is there, once. Also while a store is opened that a killed process left behind.
 *
 * Short: each place once with one of its errors. Long (TKS_TORTURE=1): with each of them, once and for ever. TKS_PLACES=150-152: some alone. */
#include "support/io_faults.h"

#include <criterion/criterion.h>
#include <ftw.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/places.h"
#include "support/scratch.h"
#include "support/stores.h"

enum { ERRORS = 4, CRASH_QUOTES = 200 };

static char *crashed;
static exercise left_behind;

/* -------------------------------------------------------------------- runs */

static void copy_one(const char *from, const char *to) {
  size_t length;
  char *bytes = read_file(from, &length);
  write_file(to, bytes, length);
  free(bytes);
}

static int copy_entry(const char *path, const struct stat *st, int type, struct FTW *at) {
  (void)at;
  char to[4096];
  (void)snprintf(to, sizeof to, "%s%s", places.dir, path + strlen(crashed));
  if (type == FTW_D) make_dirs(to);
  else if (S_ISREG(st->st_mode)) copy_one(path, to);
  return 0;
}

static void prepare(const places_plan *plan, bool once) {
  static const int codes[] = {TKS_EIO, TKS_EDISKFULL, TKS_ENOMEM, TKS_ETIMEOUT, 0};
  /* While no journal can be deleted, a day that is half out of WAL mode cannot be read; while no lock can be had, none can. */
  static const int lasting_codes[] = {TKS_EIO, TKS_EDISKFULL, TKS_ENOMEM, TKS_ETIMEOUT, TKS_EDAYFILE, TKS_EDEADLINE, 0};
  exercise *x = &places.exercise;
  *x = left_behind;
  if (crashed != NULL) cr_assert_eq(nftw(crashed, copy_entry, 16, FTW_PHYS), 0);
  x->synchronous = random_below(&places.dice, 2) == 0 ? TKS_SYNC_FULL : TKS_SYNC_NORMAL;
  x->codes = once ? codes : lasting_codes;
  x->busy_timeout_ms = once ? 30000 : 200;
  atomic_store(&io_choice, plan->choice);
}

static bool plan_of(uint64_t n, places_plan *plan) {
  const uint64_t modes = places.all ? 2 : 1, errors = places.all ? ERRORS : 1;
  if (n / (modes * errors) >= sites_count()) return false;
  *plan = (places_plan){.index = (size_t)(n / (modes * errors)), .mode = (sites_mode)(n % modes)};
  uint64_t made = sites_get(plan->index)->calls / PLACES_LEARNT + 1;
  plan->nth = random_below(&places.dice, 2) == 0 ? 1 : 1 + random_below(&places.dice, made);
  plan->choice = places.all ? (unsigned)(n / modes % errors) : (unsigned)random_below(&places.dice, 60);
  return true;
}

/* --------------------------------------------------------- a killed process */

/* A day that was begun, a line that was cut short. */
static void leave_pieces(void) {
  char path[4200];
  store_json_path(crashed, "B", STORE_DAY, path);
  FILE *f = fopen(path, "a");
  cr_assert_not_null(f, "%s", path);
  cr_assert_gt(fprintf(f, "{\"broker_id\":\"default\",\"sym"), 0);
  cr_assert_eq(fclose(f), 0);
  store_day_path(crashed, "2024-03-07", path);
  (void)strcat(path, ".new");
  write_file(path, "SQLite format 3", 15);
}

static void put_and_wait(int out) {
  tks_config config = store_config(TKS_DUAL);
  tks_store *store = store_open(crashed, &config);
  (void)store_symbol(store, "EUR/USD");
  (void)store_symbol(store, "B");
  (void)store_source(store, "X");
  for (uint64_t n = 0; n < CRASH_QUOTES; n++) {
    tks_quote q = exercise_quote(n);
    if (tks_put_quote(store, &q, &q.seq, NULL) != TKS_OK) abort();
    if (n % 50 == 0) store_flush(store);
    if (write(out, &q, sizeof q) != sizeof q) abort();
  }
  store_flush(store);
  (void)close(out);
  for (;;) (void)pause();
}

/* What a killed process leaves: CRASH_QUOTES records, all of them durable, in files that nobody closed. */
static void leave_behind(void) {
  int ends[2];
  crashed = scratch_new();
  cr_assert_eq(pipe(ends), 0);
  pid_t child = fork();
  cr_assert_geq(child, 0);
  if (child == 0) put_and_wait(ends[1]);
  (void)close(ends[1]);
  for (tks_quote q; read(ends[0], &q, sizeof q) == sizeof q; left_behind.durable = q.seq)
    exercise_note(&left_behind, &q);
  cr_assert_eq(left_behind.count, CRASH_QUOTES);
  cr_assert_eq(kill(child, SIGKILL), 0);
  cr_assert_eq(waitpid(child, NULL, 0), child);
  (void)close(ends[0]);
  leave_pieces();
}

static void set_up(void) {
  static const places_test test = {.plan = plan_of, .prepare = prepare, .kinds = io_names, .kind_count = IO_CALLS};
  places_set_up(&test);
  (void)snprintf(io_root, sizeof io_root, "%s", places.dir);
}

static void tear_down(void) {
  places_tear_down();
  scratch_remove(crashed);
}

TestSuite(io_faults, .init = set_up, .fini = tear_down);

Test(io_faults, every_place_sqlite) { places_fail_each(TKS_SQLITE, TKS_SQLITE); }
Test(io_faults, every_place_after_a_crash) {
  leave_behind();
  places_fail_each(TKS_DUAL, TKS_DUAL);
}
Test(io_faults, every_place_json) { places_fail_each(TKS_JSON, TKS_JSON); }
