/* verify.h - whether a store that a power loss left keeps its promises. */
#ifndef TKS_TESTS_FAULT_VERIFY_H
#define TKS_TESTS_FAULT_VERIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fault/test_power/disk.h"

/* What is known of one quote. */
typedef struct power_fact {
  uint64_t seq;     /* 0: not known */
  uint32_t session; /* in which it was put */
  uint32_t must;    /* sinks that must have it */
  uint32_t backend; /* of its session */
} power_fact;

typedef struct power_facts {
  uint64_t seed;
  power_fact *quotes; /* by number */
  size_t count;       /* quotes below this number may be there */
  size_t room;
  uint64_t max_seq; /* the highest that was given out, as far as is known */
  uint32_t backend; /* of the last session, 0 if there was none */
  bool mixed;       /* sessions had several */
  uint64_t must;    /* how many must be somewhere */
} power_facts;

/* What is known at event number `cut`. */
void power_facts_of(power_facts *facts, const power_log *log, size_t cut);
void power_facts_free(power_facts *facts);

#define POWER_WHY 1000

/* Opens the store, reads it, puts more, closes it, and reads its files: each quote that must be there is there once, with its
 * contents, in each sink that must have it; all that is there was put; nothing is there twice; all files are sound. False: *why says
 * what is wrong. Changes the store. */
bool power_verify(const char *dir, const power_facts *facts, char why[POWER_WHY]);

#endif
