/* Every place that touches a file fails, once, with an error that it may have there, in this library and in SQLite: EIO, ENOSPC,
 * EMFILE, EINTR, half a read or write. Calls answer with a clean code, and once the faults are over everything that was
 * accepted is there, once. Also while a store is opened that a killed process left behind.
 *
 * Short: each place once with one of its errors. Long (TKS_TORTURE=1): with each of them, once and for ever. */
#include "support/io_faults.h"

#include <criterion/criterion.h>
#include <ftw.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/exercise.h"
#include "support/scratch.h"
#include "support/stores.h"

enum { LEARNT = 3, ERRORS = 4, CRASH_QUOTES = 200 };

static char *dir, *crashed;
static exercise x, left_behind;
static test_random dice;
static bool all; /* the long form */

/* -------------------------------------------------------------------- runs */

#define LEARN SIZE_MAX

typedef struct plan {
  size_t index; /* LEARN: nothing fails */
  uint64_t nth;
  unsigned choice;
  sites_mode mode;
} plan;

static plan now = {.index = LEARN};

static bool has_failed(void) { return sites_failed() > 0; }
static void end_faults(void) { (void)sites_rest(); }

static const int codes[] = {TKS_EIO, TKS_EDISKFULL, TKS_ENOMEM, TKS_ETIMEOUT, 0};
/* While no journal can be deleted, a day that is half out of WAL mode cannot be read; while no lock can be had, none can. */
static const int lasting_codes[] = {TKS_EIO, TKS_EDISKFULL, TKS_ENOMEM, TKS_ETIMEOUT, TKS_EDAYFILE, TKS_EDEADLINE, 0};

static void copy_one(const char *from, const char *to) {
  size_t length;
  char *bytes = read_file(from, &length);
  write_file(to, bytes, length);
  free(bytes);
}

static int copy_entry(const char *path, const struct stat *st, int type, struct FTW *at) {
  (void)at;
  char to[4096];
  (void)snprintf(to, sizeof to, "%s%s", dir, path + strlen(crashed));
  if (type == FTW_D) make_dirs(to);
  else if (S_ISREG(st->st_mode)) copy_one(path, to);
  return 0;
}

static void prepare(const uint32_t backends[EXERCISE_SESSIONS], bool once) {
  scratch_clear(dir);
  x = left_behind;
  if (crashed != NULL) cr_assert_eq(nftw(crashed, copy_entry, 16, FTW_PHYS), 0);
  x.dir = dir;
  x.backends[0] = backends[0];
  x.backends[1] = backends[1];
  x.synchronous = random_below(&dice, 2) == 0 ? TKS_SYNC_FULL : TKS_SYNC_NORMAL;
  x.codes = once ? codes : lasting_codes;
  x.once = once;
  x.busy_timeout_ms = once ? 30000 : 200;
  x.until_closed = random_below(&dice, 2) == 0;
  x.fails = has_failed;
  x.relent = end_faults;
}

static bool run(const uint32_t *backends) {
  prepare(backends, now.index == LEARN || now.mode == SITES_ONCE);
  atomic_store(&io_choice, now.choice);
  if (now.index == LEARN) sites_learn();
  else sites_fail(now.index, now.nth, now.mode);
  exercise_run(&x);
  bool failed = sites_rest() > 0;
  exercise_reckon(&x);
  return failed;
}

/* What is run as number `n`; false: there is no more. */
static bool next_plan(uint64_t n) {
  const uint64_t modes = all ? 2 : 1, errors = all ? ERRORS : 1;
  now = (plan){.index = LEARN};
  if (n < LEARNT) return true;
  n -= LEARNT;
  if (n / (modes * errors) >= sites_count()) return false;
  now = (plan){.index = (size_t)(n / (modes * errors)), .mode = (sites_mode)(n % modes)};
  uint64_t made = sites_get(now.index)->calls / LEARNT + 1;
  now.nth = random_below(&dice, 2) == 0 ? 1 : 1 + random_below(&dice, made);
  now.choice = all ? (unsigned)(n / modes % errors) : (unsigned)random_below(&dice, 60);
  return true;
}

static void every_place(uint32_t first, uint32_t second) {
  const uint32_t backends[] = {first, second};
  uint64_t runs = 0, hits = 0, places[IO_CALLS] = {0};
  (void)snprintf(io_root, sizeof io_root, "%s", dir);
  /* One loop for learning and failing: a place is told by the whole stack, this function included. */
  for (; next_plan(runs); runs++) hits += run(backends);
  now.index = LEARN;
  for (size_t i = 0; i < sites_count(); i++) places[sites_get(i)->kind]++;
  for (int i = 0; i < IO_CALLS; i++) (void)fprintf(stderr, "%s %llu, ", io_names[i], (unsigned long long)places[i]);
  (void)fprintf(stderr, "%zu places, %llu runs, %llu failures\n", sites_count(), (unsigned long long)runs,
                (unsigned long long)hits);
  /* Some depend on which thread came first; most do not. */
  cr_assert_gt(hits, runs / 2);
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

static void tell(void) {
  if (now.index == LEARN) return;
  (void)fprintf(stderr, "call %llu, mode %d, error %d of %s, ", (unsigned long long)now.nth, (int)now.mode,
                io_error((io_call)sites_get(now.index)->kind), io_names[sites_get(now.index)->kind]);
  sites_print(now.index);
}

static void on_abort(int signal_number) {
  tell();
  (void)signal(signal_number, SIG_DFL);
  (void)raise(signal_number);
}

static void set_up(void) {
  (void)signal(SIGABRT, on_abort);
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
  scratch_remove(crashed);
}

TestSuite(io_faults, .init = set_up, .fini = tear_down);

Test(io_faults, every_place_sqlite) { every_place(TKS_SQLITE, TKS_SQLITE); }
Test(io_faults, every_place_after_a_crash) {
  leave_behind();
  every_place(TKS_DUAL, TKS_DUAL);
}
Test(io_faults, every_place_json) { every_place(TKS_JSON, TKS_JSON); }
