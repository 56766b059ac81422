/* import_recovery.h - which rows an interrupted import had already stored.
 *
 * An intent says that the k-th row accepted behind its position got the number first_seq + k - 1. So while the same
 * rows come by again, k is counted, and a row whose number is stored, with the same content, is passed over. Imports
 * that were interrupted one after the other form a chain: what one had stored, the next had passed over.
 * What is stored is read from the store by symbol and day, when the first row of that symbol and day comes by. */
#ifndef CLI_IMPORT_RECOVERY_H
#define CLI_IMPORT_RECOVERY_H

#include "import_ledger.h"

/* An intent speaks of no more rows than this: there is a checkpoint before. */
#define IMPORT_WINDOW 262144u

typedef struct import_recovery import_recovery;

/* `intents` are copied. `root` is the store's directory, where JSON is compared in dual mode. NULL: out of memory. */
import_recovery *import_recovery_new(tks_store *store, const char *root, const import_intent *intents, size_t count);
void import_recovery_free(import_recovery *recovery);

/* A row on its way to the store, its names resolved: 1 if it is stored already, 0 if not, -1 if the store cannot be
 * read (error says why). */
int import_recovery_stored(import_recovery *recovery, const tks_quote *quote, char *error, size_t capacity);

/* No row further on can be stored already. */
bool import_recovery_over(const import_recovery *recovery);

/* Stored rows that were met with another content, so that the file is not as it was. */
uint64_t import_recovery_strange(const import_recovery *recovery);

/* Rows that SQLite and JSON do not have in common. */
uint64_t import_recovery_differing(const import_recovery *recovery);

/* What an intent had to say that is left at the present row. False: it is past. */
bool import_recovery_rest(const import_recovery *recovery, size_t index, import_intent *intent);

#endif
