/* random.h - random numbers that a test can have again: TKS_TEST_SEED in the environment gives the seed that a failed
 * run printed. */
#ifndef TKS_TESTS_SUPPORT_RANDOM_H
#define TKS_TESTS_SUPPORT_RANDOM_H

#include <stdint.h>

/* One per thread. */
typedef struct test_random {
  uint64_t state;
} test_random;

/* Prints the seed. */
test_random random_new(void);

/* One more from the same seed, for thread or round number `n`. */
test_random random_fork(const test_random *random, uint64_t n);

uint64_t random_next(test_random *random);

/* 0 to bound - 1. */
uint64_t random_below(test_random *random, uint64_t bound);

#endif
