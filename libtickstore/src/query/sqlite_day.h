/* sqlite_day.h - reading one day file: a stretch of one symbol's quotes, or the summary of its symbols.
 *
 * Each call is one read transaction, bounded by the pool's deadline. A long range is read as many short stretches, each
 * starting behind the last row that the one before looked at, so no snapshot is held between them. */
#ifndef TKS_QUERY_SQLITE_DAY_H
#define TKS_QUERY_SQLITE_DAY_H

#include "base/record.h"
#include "ingest/names.h"
#include "query/pool.h"

typedef struct tks__stretch {
  uint32_t symbol; /* process ids */
  uint32_t source; /* 0 = all */
  int64_t from_ns; /* from <= ts_ns < to */
  int64_t to_ns;
  uint64_t max_seq; /* only records with seq <= it */
  bool descending;
  bool started; /* go on behind (ts_ns, seq), the last row that was read or passed over: */
  int64_t ts_ns;
  uint64_t seq;
  bool was_late; /* a read ended at its deadline: what is passed over is noted from then on */
} tks__stretch;

/* Reads up to `capacity` records of a day in the stretch's order, and moves the stretch on; *count fewer than that means the day is
 * read to its end. On TKS_EDEADLINE *count records are valid, and calls after it get to the end, even where none is wanted. */
int tks__sqlite_day_read(tks__pool *pool, int32_t day, const tks__names *symbols, tks__names *sources,
                         tks__stretch *stretch, tks__record *records, size_t capacity, size_t *count, tks_error *error);

/* One symbol of a day. */
typedef struct tks__day_symbol {
  uint64_t count;
  int64_t first_ns;
  int64_t last_ns;
  uint32_t symbol; /* process id */
} tks__day_symbol;

typedef struct tks__day_summary {
  tks__day_symbol *symbols; /* tks__free */
  size_t count;
  uint64_t last_seq;
} tks__day_summary;

/* The summary that the file's transactions keep; interns the symbols. */
int tks__sqlite_day_summary(tks__pool *pool, int32_t day, tks__names *symbols, tks__day_summary *summary,
                            tks_error *error);

/* Reads the whole file: SQLite's integrity check, and the rows counted against the summary. TKS_EDAYFILE where they
 * differ. Not bounded by the read deadline. */
int tks__sqlite_day_verify(tks__pool *pool, int32_t day, tks_error *error);

#endif
