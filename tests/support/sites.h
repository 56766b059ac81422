/* sites.h - makes calls fail by the place that they are made from.
 *
 * A place is a call stack: which function asks, on whose behalf. Told apart by it, each can be made to fail on its own, in every run
 * the same one, however threads interleave; a plain "the n-th call" hits another one each time and the same ones
 * again and again. Whoever wraps a call that may fail (an allocator, libc's files) asks sites_ask first. */
#ifndef TKS_TESTS_SUPPORT_SITES_H
#define TKS_TESTS_SUPPORT_SITES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SITES_FRAMES 8 /* innermost ones that tell places apart: more of them, more places */

typedef enum sites_mode {
  SITES_ONCE,      /* one call fails */
  SITES_SAME_KIND, /* it fails, and all of its kind after it */
  SITES_ALL_KINDS, /* it fails, and everything after it */
} sites_mode;

typedef struct site {
  uint64_t hash;
  uint64_t calls; /* in the runs that were learnt from */
  uint32_t kind;
  uint32_t depth; /* where the stack ended in its page */
  int frame_count;
  void *frames[SITES_FRAMES];
} site;

/* From now on nothing fails, and new places are noted. */
void sites_learn(void);

/* From now on the n-th call (from 1) at a place fails. */
void sites_fail(size_t index, uint64_t nth, sites_mode mode);

/* Until it is let go: what does not fail yet does not begin to. */
void sites_hold(bool hold);

/* From now on nothing fails and nothing is noted. How many calls were made to fail since the last of the above. */
uint64_t sites_rest(void);
uint64_t sites_failed(void);

/* Whether calls fail until somebody ends it. */
bool sites_last(void);

size_t sites_count(void);
const site *sites_get(size_t index);

/* The place's functions, innermost first, as far as they have names; on stderr. */
void sites_print(size_t index);

/* At each call that may fail: true, it is to fail. Any thread; allocates nothing. */
bool sites_ask(uint32_t kind);

#endif
