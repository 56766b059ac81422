/* listing.h - which symbols have quotes, how many, from when to when: the day files' own summaries added up, and what is
 * pending; and what lies on disk day by day, with its health. */
#ifndef TKS_QUERY_LISTING_H
#define TKS_QUERY_LISTING_H

#include "query/reader.h"
#include "query/sqlite_day.h"

/* symbols[id] for ids 1..max_id; count 0 where a symbol has nothing. */
typedef struct tks__listing {
  tks__day_symbol *symbols;
  uint32_t max_id;
} tks__listing;

/* TKS_EDAYFILE when a day could not be read, with all others added up. Any other error leaves an empty listing. */
int tks__list_symbols(const tks__reader *reader, tks__listing *listing, tks_error *error);
void tks__listing_free(tks__listing *listing);

/* See tks_symbols. */
int tks__listing_names(const tks__reader *reader, tks_symbol_info *symbols, size_t capacity, size_t *total,
                       tks_error *error);

/* See tks_days. */
int tks__list_days(const tks__reader *reader, uint32_t check, tks_day_info *days, size_t capacity, size_t *total,
                   tks_error *error);

#endif
