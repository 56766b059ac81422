/* gaps.h - the gap ledger: every loss of accepted records, as a row of ROOT/gaps.db.
 *
 *   table gap, one row a run of losses; view gaps, the same to be read by people
 *
 * Losses are noted in memory first, by any thread, and written by the keeper's thread, which tries again where the disk refuses. A run
 * that goes on extends its row. */
#ifndef TKS_PERSIST_GAPS_H
#define TKS_PERSIST_GAPS_H

#include <pthread.h>

#include "base/log.h"
#include "ingest/journal.h"
#include "persist/layout.h"

typedef struct tks__gaps tks__gaps;

/* NULL: no memory. Touches no disk. */
tks__gaps *tks__gaps_new(const tks__layout *layout, const tks__names *symbols, const tks__log *log);
void tks__gaps_free(tks__gaps *gaps);

/* Any thread; waits for no disk. sink: TKS_SQLITE, TKS_JSON, or 0 for all. */
void tks__gaps_note(tks__gaps *gaps, uint32_t sink, const tks__loss *loss);

/* Writes what was noted. False: it has to be tried again. */
bool tks__gaps_write(tks__gaps *gaps);

/* The rows that reach `since_seq`, in order; those not yet written too, if `gaps` is not NULL. Symbols are interned. */
int tks__gaps_list(const tks__layout *layout, tks__gaps *gaps, tks__names *symbols, uint64_t since_seq, tks_gap *rows,
                   size_t capacity, size_t *total, tks_error *error);

/* "full", "journal", "backlog", "close", "recovery" */
const char *tks__gap_cause_name(uint32_t cause);

#endif
