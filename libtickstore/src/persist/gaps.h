/* gaps.h - the gap ledger: every loss of accepted records, as a row of ROOT/gaps.db.
 *
 *   table gap, one row a run of losses; view gaps, the same to be read by people
 *
 * Losses are noted in memory first, by any thread, and written by the keeper's thread, which tries again where the disk refuses. A run
 * that goes on extends its row.
 *
 *   1. The file is made when the store is opened for writing: so it is the writer's own, an interrupted write is taken back, and there is
 *      room in it for the first rows on a full disk.
 *   2. While it cannot be written, as when somebody reads it for long, rows go to ROOT/gaps.pending.db besides. The next write that
 *      succeeds, or the next opening, takes them in.
 *   3. A file that never can be is set aside (gap_file.h). */
#ifndef TKS_PERSIST_GAPS_H
#define TKS_PERSIST_GAPS_H

#include <pthread.h>

#include "base/log.h"
#include "ingest/journal.h"
#include "persist/gap_file.h"
#include "persist/layout.h"

typedef struct tks__gaps tks__gaps;

/* NULL: no memory. Touches no disk. */
tks__gaps *tks__gaps_new(const tks__layout *layout, const tks__names *symbols, const tks__log *log);
void tks__gaps_free(tks__gaps *gaps);

/* Any thread; waits for no disk. sink: TKS_SQLITE, TKS_JSON, or 0 for all. */
void tks__gaps_note(tks__gaps *gaps, uint32_t sink, const tks__loss *loss);

/* One thread at a time for these three. Makes or mends the file. False: told to the log; it is tried again by later writes. */
bool tks__gaps_open(tks__gaps *gaps);

/* Writes what was noted. False: it has to be tried again. */
bool tks__gaps_write(tks__gaps *gaps);

/* From now on a write waits so long for the file (at least a second), and then what went to the other one counts as written:
 * false means that it is nowhere. May be called beside a write. */
void tks__gaps_last_chance(tks__gaps *gaps, int wait_ms);

/* Before there are threads: writes what was noted into the ledger, or beside it where that is held. False: it is on no disk. */
bool tks__gaps_write_now(tks__gaps *gaps);

/* The rows that reach `since_seq`, in order; those not yet written too, if `gaps` is not NULL. Symbols are interned.
 * On TKS_EIO and TKS_EDAYFILE what is in memory, and what could be read, is filled in. */
int tks__gaps_list(const tks__layout *layout, tks__gaps *gaps, tks__names *symbols, uint64_t since_seq, tks_gap *rows,
                   size_t capacity, size_t *total, tks_error *error);

#endif
