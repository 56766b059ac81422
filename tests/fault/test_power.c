/* Power loss. A process (power_workload.c) uses a store and writes a log of all that it does to its files; here the power goes at many a
 * moment of that log, a disk is made as it may be then (test_power/disk.h), and the store on it is opened, read and written
 * (test_power/verify.h). Some workloads begin on a disk that the power left, so that it also goes during and after a recovery.
 *
 *   TMPDIR=/dev/shm        makes it several times as fast
 *   TKS_POWER_STATES=n     how many states (default 500; TKS_TORTURE=1: 20,000, at every sync of each log, or 500 of them)
 *   TKS_TEST_SEED=n        the same choices again; what a workload does still depends on its threads, hence:
 *   TKS_POWER_LOG=file     the log that a failed run kept, instead of new ones
 *   TKS_POWER_STATE=n      only this state
 *   TKS_POWER_FAILURES=n   go on until so many have failed
 *   TKS_POWER_VERBOSE=1    what the store logs */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fault/test_power/disk.h"
#include "fault/test_power/verify.h"
#include "support/process.h"
#include "support/random.h"
#include "support/scratch.h"
#include "support/stores.h"
#include "support/threads.h"

#define STATES_PER_LOG 25
#define SYNCS_PER_LOG 500 /* in the long form */
#define LOSSES_MAX 4      /* or stores would grow on and on */

static char *dir; /* holds `disk` and the logs */
static char disk[PATH_MAX], log_path[PATH_MAX];
static test_random chance;

/* Shown also when the store ends the process. */
static char where[PATH_MAX + 200];

static void tell_where(int number) {
  (void)!write(2, where, strlen(where));
  (void)signal(number, SIG_DFL);
  (void)raise(number);
}

static void set_up(void) {
  dir = scratch_new();
  (void)snprintf(disk, sizeof disk, "%s/disk", dir);
  make_dirs(disk);
  chance = random_new();
  (void)signal(SIGABRT, tell_where);
  (void)signal(SIGSEGV, tell_where);
  (void)signal(SIGBUS, tell_where);
}

static void tear_down(void) { scratch_remove(dir); }

/* ThreadSanitizer calls open, mmap and the like before anything else can run, so they cannot be ours under it. */
#ifdef __SANITIZE_THREAD__
#define UNDER_TSAN true
#else
#define UNDER_TSAN false
#endif

TestSuite(power, .init = set_up, .fini = tear_down, .timeout = 0, .disabled = UNDER_TSAN);

static uint64_t number_of(const char *variable, uint64_t otherwise) {
  const char *text = getenv(variable);
  return text == NULL || *text == 0 ? otherwise : strtoull(text, NULL, 0);
}

/* ---------------------------------------------------------------- workloads */

static void append(int fd, uint32_t kind, uint64_t file, uint64_t value, uint64_t offset) {
  const power_event event = {.kind = kind, .file = file, .value = value, .offset = (int64_t)offset};
  if (write(fd, &event, sizeof event) != sizeof event) abort();
}

/* The log's head: the seed, and what is known of the disk that the workload begins with. */
static void begin_log(uint64_t seed, uint64_t orders, const power_facts *facts) {
  int fd = open(log_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  cr_assert_geq(fd, 0, "%s", log_path);
  append(fd, POWER_SEED, orders, seed, facts->count);
  for (size_t n = 0; n < facts->count; n++) {
    const power_fact *f = &facts->quotes[n];
    append(fd, POWER_BASE, f->must | (uint64_t)f->backend << 8, f->seq, n);
  }
  (void)close(fd);
}

static void run_process(void) {
  process p = process_start("power_workload", disk, log_path);
  int code = process_wait(&p);
  cr_assert_eq(code, 0, "the workload ended with %d; %s", code, where);
}

/* One process, and sometimes another that goes on where the first ended; it may have died. */
static void run_workload(power_log *log, bool twice) {
  run_process();
  if (twice) run_process();
  power_log_read(log, log_path);
}

/* Where a log's workload begins, behind what was on the disk before it. */
static size_t first_cut(const power_log *log) {
  size_t i = 0;
  while (log->entries[i].head.kind != POWER_SESSION) i++;
  return i;
}

static bool is_sync(const power_log *log, size_t i) {
  uint32_t kind = log->entries[i].head.kind;
  return kind == POWER_SYNC || kind == POWER_SYNC_RANGE;
}

/* Just before or just after a call that changes what is durable or known, or anywhere. */
static size_t random_cut(const power_log *log, test_random *random) {
  size_t first = first_cut(log), cut = first + (size_t)random_below(random, log->count - first);
  if (random_below(random, 3) == 0) return cut;
  while (cut + 1 < log->count && !is_sync(log, cut) && log->entries[cut].head.kind != POWER_DURABLE &&
         log->entries[cut].head.kind != POWER_UNLINK && log->entries[cut].head.kind != POWER_RENAME)
    cut++;
  return cut + (size_t)random_below(random, 2);
}

static size_t count_syncs(const power_log *log) {
  size_t count = 0;
  for (size_t i = first_cut(log); i < log->count; i++) count += is_sync(log, i);
  return count;
}

/* Just after, or just before, the n-th sync. */
static size_t sync_cut(const power_log *log, size_t n, test_random *random) {
  size_t i = first_cut(log);
  for (; i + 1 < log->count; i++)
    if (is_sync(log, i) && n-- == 0) break;
  return i + (random_below(random, 4) != 0);
}

/* ------------------------------------------------------------------- states */

/* The store as the power leaves it at `cut`, in `disk`. */
static void lose_power(const power_log *log, size_t cut, unsigned lies, test_random *random, power_facts *facts) {
  scratch_clear(disk);
  power_disk_make(log, cut, lies, random, disk);
  power_facts_of(facts, log, cut);
}

static uint64_t states_checked, quotes_demanded;

static bool check_state(const power_log *log, size_t cut, unsigned lies, test_random *random, char why[POWER_WHY]) {
  power_facts facts;
  lose_power(log, cut, lies, random, &facts);
  bool ok = power_verify(disk, &facts, why);
  states_checked++;
  quotes_demanded += facts.must;
  power_facts_free(&facts);
  return ok;
}

/* Of a failed state, since no other run makes the same log. */
static void keep_log(uint64_t state) {
  char kept[PATH_MAX + 64];
  (void)snprintf(kept, sizeof kept, "%s-%llu.log", dir, (unsigned long long)state);
  if (link(log_path, kept) != 0) return;
  (void)fprintf(stderr, "TKS_TEST_SEED=%llu TKS_POWER_STATE=%llu TKS_POWER_LOG=%s\n", (unsigned long long)chance.state,
                (unsigned long long)state, kept);
}

typedef struct run {
  uint64_t states, only, from; /* `from`: number of the log's first state */
  uint64_t count;              /* of this log's states */
  bool every_sync;
} run;

static uint64_t failures;

static void check_log(const power_log *log, const run *r) {
  size_t syncs = count_syncs(log);
  for (uint64_t i = 0; i < r->count; i++) {
    uint64_t state = r->from + i;
    if (r->only != UINT64_MAX && r->only != state) continue;
    test_random random = random_fork(&chance, state);
    size_t cut = r->every_sync ? sync_cut(log, (size_t)(i * syncs / r->count), &random) : random_cut(log, &random);
    (void)snprintf(where, sizeof where, "TKS_POWER_STATE=%llu, event %zu of %zu\n", (unsigned long long)state, cut,
                   log->count);
    char why[POWER_WHY];
    bool ok = check_state(log, cut, POWER_HONEST, &random, why);
    if (ok) continue;
    keep_log(state);
    failures++;
    (void)fprintf(stderr, "%s%s\n", where, why);
    cr_assert_lt(failures, number_of("TKS_POWER_FAILURES", 1), "%s%s", where, why);
  }
}

/* A workload on an empty disk, or on what the power left of the one before. */
static void next_workload(power_log *log, uint64_t number, run *r) {
  test_random random = random_fork(&chance, number ^ UINT64_C(0xabcd00000000));
  power_facts facts = {0};
  static int losses; /* that the disk has behind it */
  bool anew = log->count == 0 || random_below(&random, 3) == 0 || losses == LOSSES_MAX;
  losses = anew ? 0 : losses + 1;
  scratch_clear(disk);
  if (!anew) {
    size_t cut = random_cut(log, &random);
    (void)snprintf(where, sizeof where, "workload %llu, on the disk of event %zu of the one before\n",
                   (unsigned long long)number, cut);
    lose_power(log, cut, POWER_HONEST, &random, &facts);
  }
  power_log_free(log);
  uint64_t seed = anew ? random_next(&random) : facts.seed;
  (void)unlink(log_path);
  (void)snprintf(log_path, sizeof log_path, "%s/log-%llu", dir, (unsigned long long)number);
  begin_log(seed, facts.backend | (facts.mixed ? POWER_MIXED : 0), &facts);
  power_facts_free(&facts);
  run_workload(log, random_below(&random, 2) == 0);
  r->count = r->every_sync ? count_syncs(log) : STATES_PER_LOG;
  if (r->every_sync && r->count > SYNCS_PER_LOG) r->count = SYNCS_PER_LOG;
  if (r->count > r->states - r->from) r->count = r->states - r->from;
}

Test(power, nothing_durable_is_lost) {
  run r = {.only = number_of("TKS_POWER_STATE", UINT64_MAX), .every_sync = number_of("TKS_TORTURE", 0) != 0};
  r.states = number_of("TKS_POWER_STATES", r.every_sync ? 20000 : rounds(500));
  power_log log = {0};
  const char *given = getenv("TKS_POWER_LOG");
  if (given != NULL) {
    power_log_read(&log, given);
    (void)snprintf(log_path, sizeof log_path, "%s", given);
    r.from = r.only == UINT64_MAX ? 0 : r.only;
    r.count = r.only == UINT64_MAX ? r.states : 1;
    check_log(&log, &r);
  } else {
    for (uint64_t number = 0; r.from < r.states; number++, r.from += r.count) {
      next_workload(&log, number, &r);
      check_log(&log, &r);
    }
  }
  power_log_free(&log);
  (void)fprintf(stderr, "%llu states, of which %llu quotes were demanded\n", (unsigned long long)states_checked,
                (unsigned long long)quotes_demanded);
  cr_assert_eq(failures, 0);
  cr_assert(r.only != UINT64_MAX || quotes_demanded > states_checked, "hardly anything was durable");
}

/* ------------------------------------------------------------- the simulator */

static size_t index_of(const power_log *log, uint32_t kind) {
  size_t i = 0;
  while (log->entries[i].head.kind != kind) i++;
  return i;
}

/* Which of the bytes that the workload wrote got there: bit n of *a and *b for page n. */
static void look_at_pages(const power_log *log, size_t cut, unsigned lies, test_random *random, unsigned *a,
                          unsigned *b) {
  char path[PATH_MAX + 8];
  size_t length;
  scratch_clear(disk);
  power_disk_make(log, cut, lies, random, disk);
  (void)snprintf(path, sizeof path, "%s/file", disk);
  char *bytes = read_file(path, &length);
  *a = *b = 0;
  for (size_t page = 0; page < 4 && (page + 1) * 4096 <= length; page++) {
    *a |= (unsigned)(bytes[page * 4096 + 100] == 'a') << page;
    *b |= (unsigned)(bytes[page * 4096 + 700] == 'b') << page;
  }
  free(bytes);
}

/* What msync covered is there, what it did not may be there or not, page by page. */
Test(power, mapped_memory_is_followed) {
  const power_facts nothing = {0};
  power_log log;
  (void)snprintf(log_path, sizeof log_path, "%s/log", dir);
  begin_log(1, POWER_SIMULATOR, &nothing);
  run_workload(&log, false);
  unsigned seen[2][16] = {{0}}, a, b;
  for (uint64_t i = 0; i < 1000; i++) {
    test_random random = random_fork(&(test_random){1}, i); /* always the same, so that all sets come */
    look_at_pages(&log, index_of(&log, POWER_OPENED), POWER_HONEST, &random, &a, &b);
    cr_assert((a & 1) != 0 && (a & ~5u) == 0 && b == 0, "%x %x", a, b);
    seen[0][a]++;
    look_at_pages(&log, index_of(&log, POWER_CLOSED), POWER_HONEST, &random, &a, &b);
    cr_assert((a & 1) != 0 && (a & ~5u) == 0, "%x %x", a, b);
    seen[1][b]++;
  }
  cr_assert(seen[0][1] > 0 && seen[0][5] > 0, "%u %u", seen[0][1], seen[0][5]);
  for (int set = 0; set < 16; set++) cr_assert_gt(seen[1][set], 0, "pages %x", set);
  power_log_free(&log);
}

/* ------------------------------------------------------- the test can fail */

static bool uses_journal(const power_log *log) {
  for (size_t i = 0; i < log->count; i++) {
    const power_entry *e = &log->entries[i];
    if (e->head.kind == POWER_MKDIR && e->head.length == 7 && memcmp(e->bytes, "journal", 7) == 0) return true;
  }
  return false;
}

/* A disk that lies about its syncs: some state must be found wanting. */
static void check_can_fail(unsigned lies, uint64_t orders) {
  const power_facts nothing = {0};
  power_log log;
  for (uint64_t number = 0; number < 40; number++) {
    test_random random = random_fork(&chance, number);
    scratch_clear(disk);
    (void)snprintf(log_path, sizeof log_path, "%s/log", dir);
    begin_log(random_next(&random), orders, &nothing);
    run_workload(&log, false);
    bool failed = false;
    char why[POWER_WHY];
    if (lies == POWER_LIES_JOURNAL && !uses_journal(&log)) cr_skip_test("there is no journal");
    for (int i = 0; i < STATES_PER_LOG && !failed; i++)
      failed = !check_state(&log, random_cut(&log, &random), lies, &random, why);
    power_log_free(&log);
    if (!failed) continue;
    (void)fprintf(stderr, "found: %s\n", why);
    return;
  }
  cr_assert(false, "no state was found wanting");
}

Test(power, a_disk_that_lies_about_day_files_is_found) {
  check_can_fail(POWER_LIES_SQLITE, TKS_SQLITE | POWER_WITHOUT_JOURNAL);
}

Test(power, a_disk_that_lies_about_json_files_is_found) {
  check_can_fail(POWER_LIES_JSON, TKS_JSON | POWER_WITHOUT_JOURNAL);
}

Test(power, a_disk_that_lies_about_names_is_found) {
  check_can_fail(POWER_LIES_DIRECTORIES, TKS_DUAL | POWER_WITHOUT_JOURNAL);
}

Test(power, a_disk_that_lies_about_the_journal_is_found) {
  check_can_fail(POWER_LIES_JOURNAL, TKS_SQLITE | POWER_WITH_JOURNAL);
}
