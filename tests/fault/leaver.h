/* leaver.h - what leaver.c tells the test that starts it, through a mapped file. */
#ifndef TKS_TESTS_FAULT_LEAVER_H
#define TKS_TESTS_FAULT_LEAVER_H

#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>

#include "tickstore/tickstore.h"

#define LEAVER_THREADS 3
#define LEAVER_NOTES (UINT64_C(1) << 20)         /* the most that one thread puts */
#define LEAVER_NOON INT64_C(1709640000000000000) /* of 2024-03-05 */

typedef struct leaver_thread {
  _Alignas(64) _Atomic uint64_t count; /* the quotes 0 to count - 1 were accepted */
} leaver_thread;

typedef struct leaver_notes {
  leaver_thread threads[LEAVER_THREADS];
  uint64_t durable_seq; /* shortly before it left */
  uint64_t rounds;      /* children that have come and gone */
  uint32_t closed;      /* tks_close has returned TKS_OK */
  uint32_t ended;       /* the atexit handler has run */
  uint32_t journaled;   /* the store has a journal */
  pid_t pid;
  char dir[4096];
} leaver_notes;

/* The n-th quote of a thread: no two are alike. */
static inline tks_quote leaver_quote(uint32_t symbol, uint32_t thread, uint64_t n) {
  return (tks_quote){.ts_ns = LEAVER_NOON + (int64_t)n,
                     .bid = (double)(n * LEAVER_THREADS + thread),
                     .ask = (double)n + 0.5,
                     .symbol = symbol};
}

#endif
