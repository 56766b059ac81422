/* recent.h - the last quotes of a symbol: from its ring, and where the ring ends from what is pending and the day files. */
#ifndef TKS_QUERY_RECENT_H
#define TKS_QUERY_RECENT_H

#include "query/reader.h"

/* See tks_recent. */
int tks__recent(const tks__reader *reader, uint32_t symbol, size_t n, tks__record *records, size_t *count,
                tks_error *error);

/* See tks_latest; TKS_ENOTFOUND. */
int tks__latest(const tks__reader *reader, uint32_t symbol, tks__record *record, tks_error *error);

/* What tks__latest_all found out about symbols that have nothing in their rings. While a store is open for writing nobody else writes it, so
 * that does not change: a record that comes goes into a ring. */
typedef struct tks__latest_known tks__latest_known;
typedef struct tks__latest_memory {
  _Atomic(tks__latest_known *) known; /* NULL: nothing yet; set once */
} tks__latest_memory;

void tks__latest_forget(tks__latest_memory *memory);

/* See tks_latest_all. */
int tks__latest_all(const tks__reader *reader, tks__record *records, size_t capacity, size_t *total, tks_error *error);

#endif
