/* import_ledger.h - what has been imported into a store: ROOT/imports.db, one table, one row per file and
 * position.
 *
 * A file is known by how it was understood (the interpretation: format, names, day, zone) and by the digest
 * of the bytes consumed of it, never by its name, and never by the values in it. So a copy is recognised, and
 * so is a file that has grown since: the position where it was left then has the same digest.
 *
 * Rows are written inside a transaction that is committed after the store says that what they speak of is
 * durable (import_ledger_commit); a process that dies before leaves the ledger behind the store, never
 * ahead of it. Looking up is by the digest of the first bytes: as many as the largest power of two, at
 * most 64 KiB, that the position covers. */
#ifndef CLI_IMPORT_LEDGER_H
#define CLI_IMPORT_LEDGER_H

#include "import_row.h"
#include "import_stream.h"

#define IMPORT_HEADS 17 /* 2^0 to 2^16 bytes */

/* Digests of the first 2^i bytes of an input; `bytes` says how many it has, at most 64 KiB. */
typedef struct import_heads {
  size_t bytes;
  import_digest digests[IMPORT_HEADS];
} import_heads;

typedef struct import_entry {
  int64_t id;           /* 0: not in the ledger yet */
  uint64_t position;    /* bytes consumed */
  import_digest digest; /* of them */
  bool complete;        /* the file ended there */
  uint64_t number;      /* of the last line or record consumed */
  uint64_t read;        /* rows up to there, over all runs */
  uint64_t stored;
  uint64_t throttled;
  uint64_t refused;
  uint64_t last_seq; /* of the store, when everything up to there was stored */
} import_entry;

typedef struct import_ledger {
  void *db; /* sqlite3 */
  void *find;
  void *insert;
  void *update;
  bool open; /* a transaction is open */
  char error[240];
} import_ledger;

/* Opens or creates the ledger of the store at `root`. On false, error says why. */
bool import_ledger_open(import_ledger *ledger, const char *root);

/* What was not committed is forgotten. */
void import_ledger_close(import_ledger *ledger);

/* Looks at the first 64 KiB of a stream that nothing has been consumed of. */
void import_heads_take(import_heads *heads, import_stream *stream);

/* The entries that a file with these heads may be, or be the continuation of, by position ascending.
 * `fallback` is the symbol that its directory would give it: entries whose rows took their symbol from
 * another directory do not count. *entries is to be freed. */
bool import_ledger_find(import_ledger *ledger, const char *interpretation, const char *fallback,
                        const import_heads *heads, import_entry **entries, size_t *count);

/* Writes an entry (a new one if its id is 0, and sets the id) into the open transaction, opening one if
 * needed. `fallback` is empty if no row took its symbol from the directory. */
bool import_ledger_put(import_ledger *ledger, import_entry *entry, const char *interpretation, const char *fallback,
                       const import_heads *heads, const char *path);

/* To be called when all that the entries speak of is durable in the store. */
bool import_ledger_commit(import_ledger *ledger);

#endif
