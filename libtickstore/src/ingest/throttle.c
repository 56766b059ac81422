#include "ingest/throttle.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"

#define FLAGS_NOT_KNOWN UINT32_MAX /* in a fresh entry; no stored quote has all flags set */

void tks__throttle_deinit(tks__throttle *throttle) {
  tks__free(throttle->more);
  memset(throttle, 0, sizeof *throttle);
}

static tks__throttle_last *fresh(tks__throttle_last *last, uint32_t source) {
  memset(last, 0, sizeof *last);
  last->source = source;
  last->flags = FLAGS_NOT_KNOWN;
  return last;
}

tks__throttle_last *tks__throttle_entry(tks__throttle *throttle, uint32_t source, bool *known) {
  if (throttle->count == 0) {
    throttle->count = 1;
    *known = false;
    return fresh(&throttle->first, source);
  }
  if (throttle->first.source == source) {
    *known = throttle->first.flags != FLAGS_NOT_KNOWN;
    return &throttle->first;
  }
  uint32_t others = throttle->count - 1;
  for (uint32_t i = 0; i < others; i++) {
    if (throttle->more[i].source == source) {
      *known = throttle->more[i].flags != FLAGS_NOT_KNOWN;
      return &throttle->more[i];
    }
  }
  size_t capacity = throttle->more_capacity;
  if (!tks__grow((void **)&throttle->more, &capacity, (size_t)others + 1, sizeof *throttle->more)) return NULL;
  throttle->more_capacity = (uint32_t)capacity;
  throttle->count++;
  *known = false;
  return fresh(&throttle->more[others], source);
}

static bool side_unmoved(double relative, double before, double now) {
  if (isnan(before) || isnan(now)) return isnan(before) && isnan(now);
  return now == before || fabs(now - before) < relative * fabs(before);
}

bool tks__throttle_repeats(const tks__throttle_rule *rule, const tks__throttle_last *last, const tks__record *record) {
  if (!side_unmoved(rule->relative, last->bid, record->bid) || !side_unmoved(rule->relative, last->ask, record->ask))
    return false;
  if (last->bid_size != record->bid_size || last->ask_size != record->ask_size || last->flags != record->flags)
    return false;
  if (rule->max_age_ns <= 0) return true;
  /* In either direction: one quote from a clock that runs ahead must not hold back all that follow. Unsigned: the difference
   * of any two times fits. */
  uint64_t apart = record->ts_ns >= last->ts_ns ? (uint64_t)record->ts_ns - (uint64_t)last->ts_ns
                                                : (uint64_t)last->ts_ns - (uint64_t)record->ts_ns;
  return apart < (uint64_t)rule->max_age_ns;
}

void tks__throttle_note(tks__throttle_last *last, const tks__record *record) {
  last->bid = record->bid;
  last->ask = record->ask;
  last->bid_size = record->bid_size;
  last->ask_size = record->ask_size;
  last->ts_ns = record->ts_ns;
  last->flags = record->flags;
}
