/* power.h - what the two halves of the power loss test share: the log of everything that a process did to its files, and
 * the quotes that it put, each of which follows from its number.
 *
 * The log is a file of events in the order in which they happened, each a power_event with `length` bytes behind it. Names
 * are single components; files and directories have ids from 1 (the root) up that are never used twice. */
#ifndef TKS_TESTS_SUPPORT_POWER_H
#define TKS_TESTS_SUPPORT_POWER_H

#include <stdint.h>

#include "tickstore/tickstore.h"

typedef enum power_kind {
  POWER_CREATE = 1, /* file: new, in directory `value`, bytes: name */
  POWER_MKDIR,      /* likewise */
  POWER_UNLINK,     /* name in directory `value` is gone */
  POWER_RENAME, /* file: moved from directory `value` to directory `offset`, bytes: both names, with a NUL between */
  POWER_WRITE,  /* file, offset, bytes */
  POWER_RESIZE, /* file, offset: its new size */
  POWER_SYNC,   /* file or directory: all of it */
  POWER_SYNC_RANGE, /* file, from offset, `value` bytes */
  /* notes of the workload */
  POWER_SEED,    /* the first event; value: seed, offset: number of the first quote, file: backend to begin with or 0,
                    and what to do about the journal: 0, POWER_WITHOUT_JOURNAL or POWER_WITH_JOURNAL;
                    POWER_SIMULATOR: no store at all; POWER_MIXED: sessions before had several backends */
  POWER_SESSION, /* value: backend; tks_open is about to be called */
  POWER_OPENED,
  POWER_INTENT,  /* offset: quotes below this number may have been put from now on */
  POWER_PUT,     /* value: sequence number, offset: number of the quote */
  POWER_DURABLE, /* value: sequence number up to which, file: sinks in which the session's records are safe */
  POWER_SEEN,    /* a quote put before this session is there: value: sequence number, offset: number, file: sink */
  POWER_CLOSED,  /* tks_close returned TKS_OK */
  POWER_BASE,    /* a quote of earlier logs: value: sequence number or 0, offset: number, file: sinks that must have it,
                    and 256 times those of its session */
  POWER_END,     /* of a process; another may have gone on with what the first left, killed or done */
} power_kind;

typedef struct power_event {
  uint32_t kind;
  uint32_t length;
  uint64_t file;
  uint64_t value;
  int64_t offset;
} power_event;

#define POWER_WITHOUT_JOURNAL 0x100u
#define POWER_WITH_JOURNAL 0x200u
#define POWER_SIMULATOR 0x400u
#define POWER_MIXED 0x800u

#define POWER_ROOT 1u /* id of the root directory */

#define POWER_SYMBOLS 5
#define POWER_FIRST_DAY INT64_C(1709596800000000000) /* 2024-03-05 */
#define POWER_QUOTES_PER_DAY 150                     /* before the next day begins */

extern const char *const POWER_SYMBOL_NAMES[POWER_SYMBOLS];

/* Quote number `n`: everything but its ids. *symbol is an index of the names above; *source is NULL for none. */
tks_quote power_quote(uint64_t seed, uint64_t n, unsigned *symbol, const char **source);

/* Number of the quote that a record says to be, from its recv_ns. */
uint64_t power_number(int64_t recv_ns);

#endif
