#include "support/random.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

test_random random_new(void) {
  struct timespec now;
  (void)clock_gettime(CLOCK_REALTIME, &now);
  uint64_t seed = (uint64_t)now.tv_nsec * 1000003 + (uint64_t)now.tv_sec + (uint64_t)getpid();
  const char *given = getenv("TKS_TEST_SEED");
  if (given != NULL && *given != '\0') seed = strtoull(given, NULL, 0);
  (void)fprintf(stderr, "TKS_TEST_SEED=%llu\n", (unsigned long long)seed);
  return (test_random){seed};
}

/* SplitMix64. */
uint64_t random_next(test_random *random) {
  uint64_t z = random->state += UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  return z ^ (z >> 31);
}

test_random random_fork(const test_random *random, uint64_t n) {
  test_random forked = {random->state ^ (n + 1) * UINT64_C(0xd1342543de82ef95)};
  (void)random_next(&forked);
  return forked;
}

uint64_t random_below(test_random *random, uint64_t bound) { return random_next(random) % bound; }
