#include "support/places.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "support/scratch.h"

places_run places;

static const places_test *test;
static places_plan now = {.index = PLACES_LEARN};

static size_t first_place, last_place = SIZE_MAX; /* of those that are made to fail */

static bool has_failed(void) { return sites_failed() > 0; }
static void end_faults(void) { (void)sites_rest(); }

static bool run(const uint32_t *backends) {
  exercise *x = &places.exercise;
  bool once = now.index == PLACES_LEARN || now.mode == SITES_ONCE;
  scratch_clear(places.dir);
  test->prepare(&now, once);
  x->dir = places.dir;
  x->backends[0] = backends[0];
  x->backends[1] = backends[1];
  x->once = once;
  x->until_closed = random_below(&places.dice, 2) == 0;
  x->fails = has_failed;
  x->hold = sites_hold;
  x->relent = end_faults;
  if (now.index == PLACES_LEARN) sites_learn();
  else sites_fail(now.index, now.nth, now.mode);
  exercise_run(x);
  bool failed = sites_rest() > 0;
  exercise_reckon(x);
  return failed;
}

static bool next(uint64_t n) {
  now = (places_plan){.index = PLACES_LEARN};
  return n < PLACES_LEARNT || test->plan(n - PLACES_LEARNT, &now);
}

void places_fail_each(uint32_t first, uint32_t second) {
  const uint32_t backends[] = {first, second};
  uint64_t runs = 0, hits = 0;
  /* One loop for learning and failing: a place is told by the whole stack, this function included. */
  for (uint64_t n = 0; next(n); n++) {
    if (now.index != PLACES_LEARN && (now.index < first_place || now.index > last_place)) continue;
    hits += run(backends);
    runs++;
  }
  now.index = PLACES_LEARN;
  for (size_t kind = 0; kind < test->kind_count; kind++) {
    size_t count = 0;
    for (size_t i = 0; i < sites_count(); i++) count += sites_get(i)->kind == kind;
    (void)fprintf(stderr, "%s %zu, ", test->kinds[kind], count);
  }
  (void)fprintf(stderr, "%zu places, %llu runs, %llu failures\n", sites_count(), (unsigned long long)runs,
                (unsigned long long)hits);
  /* Some depend on which thread came first; most do not. */
  cr_assert_gt(hits, runs / 2);
}

static void tell(void) {
  if (now.index == PLACES_LEARN) return;
  (void)fprintf(stderr, "call %llu, mode %d, choice %u of %s, ", (unsigned long long)now.nth, (int)now.mode, now.choice,
                test->kinds[sites_get(now.index)->kind]);
  sites_print(now.index);
}

static void on_abort(int signal_number) {
  tell();
  (void)signal(signal_number, SIG_DFL);
  (void)raise(signal_number);
}

void places_set_up(const places_test *of) {
  test = of;
  (void)signal(SIGABRT, on_abort);
  /* Hundreds of sessions: not on a disk, where there is a choice. */
  if (access("/dev/shm", W_OK) == 0) (void)setenv("TMPDIR", "/dev/shm", 1);
  places.dir = scratch_new();
  places.dice = random_new();
  places.all = getenv("TKS_TORTURE") != NULL;
  const char *some = getenv("TKS_PLACES");
  if (some != NULL) cr_assert_eq(sscanf(some, "%zu-%zu", &first_place, &last_place), 2, "TKS_PLACES=FIRST-LAST");
}

void places_tear_down(void) {
  tell();
  (void)sites_rest();
  if (places.exercise.store != NULL) (void)tks_close(places.exercise.store, NULL);
  scratch_remove(places.dir);
}
