/* json_day.h - reading one symbol's JSON file of one UTC day back into records. */
#ifndef TKS_PERSIST_JSON_DAY_H
#define TKS_PERSIST_JSON_DAY_H

#include "base/record.h"
#include "ingest/names.h"
#include "persist/layout.h"

typedef struct tks__json_day {
  tks__record *records; /* ordered by time, then sequence; symbol and source are ids of this process */
  size_t count;
  size_t
      bad_lines; /* complete lines that could not be read; a last line without its \n is being written, and not bad */
  size_t first_bad; /* its line number, from 1 */
} tks__json_day;

/* Reads the file of (symbol, day). A file that is not there has no records. Interns source names. The same sequence number twice is
 * kept once. Returns TKS_OK, TKS_EIO, TKS_ENOMEM; TKS_EDAYFILE when bad_lines > 0, with all good records filled in. */
int tks__json_day_read(const tks__layout *layout, const tks__names *symbols, tks__names *sources, uint32_t symbol,
                       int32_t day, tks__json_day *out, tks_error *error);
void tks__json_day_free(tks__json_day *day);

#endif
