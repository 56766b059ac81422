/* places.h - an exercise (exercise.h) that is run again and again, each time with another place failing (sites.h).
 *
 * Short: each place once or so. Long (TKS_TORTURE=1): as many ways as the test's plans have. TKS_PLACES=FIRST-LAST: of these places only. What
 * number a place has depends on which thread came there first; a failure tells it, and the calls that lead there. */
#ifndef TKS_TESTS_SUPPORT_PLACES_H
#define TKS_TESTS_SUPPORT_PLACES_H

#include "support/exercise.h"
#include "support/sites.h"

enum { PLACES_LEARNT = 3 }; /* the first so many plans: runs to learn from */
#define PLACES_LEARN SIZE_MAX

typedef struct places_plan {
  size_t index; /* PLACES_LEARN: nothing fails */
  uint64_t nth; /* call at that place */
  sites_mode mode;
  unsigned choice; /* for the test */
} places_plan;

typedef struct places_test {
  bool (*plan)(uint64_t n,
               places_plan *plan); /* what is run as number n, behind the learning; false: there is no more */
  /* The directory is empty. Fills what the test decides of places.exercise: synchronous, busy_timeout_ms, codes, the account. */
  void (*prepare)(const places_plan *plan, bool once);
  const char *const *kinds; /* names of the sites' kinds */
  size_t kind_count;
} places_test;

typedef struct places_run {
  char *dir;
  exercise exercise;
  test_random dice;
  bool all; /* the long form */
} places_run;
extern places_run places;

void places_set_up(const places_test *test);
void places_tear_down(void);

/* Runs all plans with two sessions of these backends. Most of them must have made something fail. */
void places_fail_each(uint32_t first, uint32_t second);

#endif
