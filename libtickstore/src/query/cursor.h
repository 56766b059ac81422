/* cursor.h - one symbol's quotes in order of time and sequence: what is on disk, day by day, merged with what was
 * accepted and not yet written when the cursor was opened.
 *
 *   1. What is pending is copied first, then the disk is read: a record that is written in between is seen twice, never
 *      missed, and the merge drops the second sight of a key (time, sequence).
 *   2. Records accepted after the opening have a higher sequence number than max_seq and are left out.
 *   3. Days are disjoint in time, so reading them one after the other is in order. Which there are is looked up a month at a time:
 *      of a day that comes into being meanwhile only records are wanted that were pending.
 *   4. Between calls it holds memory only. */
#ifndef TKS_QUERY_CURSOR_H
#define TKS_QUERY_CURSOR_H

#include "persist/json_day.h"
#include "query/reader.h"
#include "query/sqlite_day.h"

typedef struct tks__cursor {
  tks__stretch stretch; /* where the reading of the current day stands */
  int64_t left;         /* of the limit */
  tks__reader_walk walk;
  tks__reader_days days; /* of the month that the walk gave last */
  size_t day;            /* index of the current one, in reading order */
  bool day_open;
  tks__json_day json; /* the current day when it is read from JSON */
  size_t json_at;
  tks__record *buffer; /* disk records that wait to be merged with pending ones; made when needed */
  size_t buffer_at, buffer_count;
  tks__pending pending; /* in reading order */
  size_t pending_at;
} tks__cursor;

typedef struct tks__cursor_spec {
  uint32_t symbol;
  uint32_t source; /* 0 = all */
  int64_t from_ns; /* from <= ts_ns < to */
  int64_t to_ns;
  int64_t limit;
  uint64_t max_seq;
  bool descending;
} tks__cursor_spec;

/* Failed, it leaves nothing behind. */
int tks__cursor_init(tks__cursor *cursor, const tks__reader *reader, const tks__cursor_spec *spec, tks_error *error);

/* See tks_cursor_next. */
int tks__cursor_next(tks__cursor *cursor, const tks__reader *reader, tks__record *records, size_t capacity,
                     size_t *count, tks_error *error);

void tks__cursor_deinit(tks__cursor *cursor);

#endif
