/* throttle.h - skips quotes that say nothing new.
 *
 * A quote is skipped when, against the last stored quote of the same symbol and source, neither price moved by the relative
 * threshold, no size and no caller's flag changed. Used under the symbol's lock. */
#ifndef TKS_INGEST_THROTTLE_H
#define TKS_INGEST_THROTTLE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/record.h"

typedef struct tks__throttle_rule {
  double relative;    /* 0: exact repeats only; negative: off */
  int64_t max_age_ns; /* a repeat of something at least this far away in time is let through; 0: never */
} tks__throttle_rule;

/* The last stored quote of one source. */
typedef struct tks__throttle_last {
  double bid, ask, bid_size, ask_size;
  int64_t ts_ns;
  uint32_t source;
  uint32_t flags;
} tks__throttle_last;

/* One symbol's sources, first come first placed: most symbols have one or two. Zero-initialised. */
typedef struct tks__throttle {
  tks__throttle_last first; /* in line, so that the usual case touches no further memory */
  tks__throttle_last *more;
  uint32_t count;
  uint32_t more_capacity;
} tks__throttle;

void tks__throttle_deinit(tks__throttle *throttle);

/* The entry of a source, made if it is new. `*known` says whether it holds a quote already. NULL: no memory. */
tks__throttle_last *tks__throttle_entry(tks__throttle *throttle, uint32_t source, bool *known);

bool tks__throttle_repeats(const tks__throttle_rule *rule, const tks__throttle_last *last, const tks__record *record);

void tks__throttle_note(tks__throttle_last *last, const tks__record *record);

#endif
