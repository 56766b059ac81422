/* exercise.h - two sessions with a store that make every kind of call while something fails underneath, and the reckoning.
 *
 * Each call must answer with TKS_OK or a code that the test expects of such faults, with a message, and a call that answers
 * TKS_OK must have answered right: what was accepted is seen, all of it, once. The numbers must add up throughout. When nothing fails any more,
 * everything that was accepted must be on disk once, but for what was reported lost. */
#ifndef TKS_TESTS_SUPPORT_EXERCISE_H
#define TKS_TESTS_SUPPORT_EXERCISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "support/random.h"
#include "tickstore/tickstore.h"

enum { EXERCISE_SESSIONS = 2, EXERCISE_QUOTES = 4096, EXERCISE_SYMBOLS = 2 };

typedef struct exercise {
  /* set by the test */
  const char *dir;
  uint32_t backends[EXERCISE_SESSIONS]; /* of each session */
  uint32_t synchronous;
  uint32_t busy_timeout_ms; /* short where locks fail for ever */
  test_random dice;
  const int *codes;     /* what a call may answer while something fails; ends with 0 */
  bool once;            /* one call fails: what failed works when it is tried again */
  bool until_closed;    /* where more than one fails: until the store is closed; else until just before */
  bool (*fails)(void);  /* whether anything has failed yet */
  void (*hold)(bool);   /* whether what does not fail yet may begin to */
  void (*relent)(void); /* ends the faults */

  /* the account */
  tks_store *store;
  tks_quote quotes[EXERCISE_QUOTES]; /* accepted, in order of sequence */
  bool may_lack[EXERCISE_QUOTES];    /* not durable when a close said that some are lost */
  size_t count;
  uint64_t durable;  /* the highest sequence number that was said to be durable */
  uint64_t lacks[2]; /* how many each sink was said to have lost: SQLite, JSON */
  uint32_t written_to;
  bool relented;
} exercise;

/* Notes a quote that was put by somebody else, in order. */
void exercise_note(exercise *x, const tks_quote *quote);

/* The quote that is put as number `n`: an answer can be checked against nothing but that. */
tks_quote exercise_quote(uint64_t n);

void exercise_run(exercise *x);

/* Ends what still fails and compares what is there with the account. */
void exercise_reckon(exercise *x);

#endif
