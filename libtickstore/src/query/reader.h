/* reader.h - everything a query reads from: the days on disk, what is not yet written, and the names.
 *
 * A day is read from the primary sink; where that has nothing of the day, from the other one. Where both have something and the
 * store's writers have differed in their backend, neither may be complete: both are read, and a record that is in both counts
 * once. So a store that moved from JSON to SQLite (or back) is read across the change. */
#ifndef TKS_QUERY_READER_H
#define TKS_QUERY_READER_H

#include "ingest/symbols.h"
#include "persist/layout.h"
#include "persist/writer.h"
#include "query/calendar.h"
#include "query/pool.h"

typedef struct tks__reader {
  const tks__layout *layout;
  tks__pool *pool;
  tks__calendar *calendar;
  struct tks__latest_memory *latest; /* recent.h */
  tks__symbols *symbols;
  tks__names *sources;
  tks__writer *writer; /* NULL: read-only, nothing is pending */
  const tks__journal *journal;
  bool mixed;       /* writers have differed in their backend */
  uint32_t primary; /* TKS_SQLITE or TKS_JSON */
  uint32_t ring_records;
} tks__reader;

/* A day and what it is to be read from. */
typedef struct tks__reader_day {
  int32_t day;
  uint32_t sink;
  bool also_json; /* sink is TKS_SQLITE, and what JSON has of the day is to be merged in */
} tks__reader_day;

typedef struct tks__reader_days {
  tks__reader_day *days; /* ascending; tks__free */
  size_t count;
} tks__reader_days;

/* The days that may hold quotes of a symbol (0: of any), within [first, last]. */
int tks__reader_list(const tks__reader *reader, uint32_t symbol, int32_t first, int32_t last, tks__reader_days *days,
                     tks_error *error);

/* Goes through a symbol's days within [first, last], a month at a time, in reading order: what one day is wanted of costs the same
 * however many there are. */
typedef struct tks__reader_walk {
  uint32_t symbol;
  int32_t first, last;
  int32_t from_month, to_month; /* what is left, in months since the year 0 */
  bool descending;
} tks__reader_walk;

void tks__reader_walk_begin(tks__reader_walk *walk, uint32_t symbol, int32_t first, int32_t last, bool descending);

static inline bool tks__reader_walk_over(const tks__reader_walk *walk) { return walk->from_month > walk->to_month; }

/* The days of the next month that has any; none: it is over. Failed, the next call tries again. */
int tks__reader_walk_next(const tks__reader *reader, tks__reader_walk *walk, tks__reader_days *days, tks_error *error);

/* TKS_EDAYFILE when a damaged file of the day was set aside, so that part of it cannot be read. For JSON: of this symbol. */
int tks__reader_check_aside(const tks__reader *reader, uint32_t symbol, const tks__reader_day *day, tks_error *error);

/* For who reads days one after the other: damage is kept in *first and *error, the first that is met, and does not stop the rest. Any
 * other failure does (false), and is kept instead: it may hide more than itself. */
bool tks__reader_go_on(int code, int *first, tks_error *error, const tks_error *why);

/* Sequence numbers up to this are accepted now. */
uint64_t tks__reader_max_seq(const tks__reader *reader);

#endif
