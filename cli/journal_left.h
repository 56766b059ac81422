/* journal_left.h - what a writer that ended without closing left in the journal of a store. Looks without touching. */
#ifndef CLI_JOURNAL_LEFT_H
#define CLI_JOURNAL_LEFT_H

#include <stdint.h>

typedef struct journal_left {
  uint64_t records;    /* accepted, and not known to be in every sink; a running writer has such too */
  uint64_t set_aside;  /* files that recovery could not use */
  uint64_t unreadable; /* files that could not be looked through now */
} journal_left;

journal_left journal_left_in(const char *store);

#endif
