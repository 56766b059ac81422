/* import_ledger.h - what has been imported into a store: ROOT/imports.db, one table, one row per file and
 * position.
 *
 * A file is known by how it was understood (the interpretation: format, names, day, zone) and by the digest
 * of the bytes consumed of it, never by its name, and never by the values in it. So a copy is recognised, and
 * so is a file that has grown since: the position where it was left then has the same digest.
 *
 * Entries are kept in memory and written, in one transaction, after the store says that what they speak of is
 * durable (import_ledger_commit); a process that dies before leaves the ledger behind the store, never
 * ahead of it. By how much, the intents tell: before the first row of a file is put, and again with each
 * checkpoint inside it, the table `intents` says which file goes on from where, and with which sequence number.
 * What an interrupted import had stored behind that place is then known by number (import_recovery.h). Looking up is by the digest of the first bytes: as many as the largest power of two, at
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

/* The k-th row that the store accepts behind `position` gets the number first_seq + k - 1. */
typedef struct import_intent {
  int64_t id; /* 0: not in the ledger */
  uint64_t position;
  import_digest digest; /* of the bytes before it */
  uint64_t first_seq;
  uint64_t end_seq; /* no number from here on is of this import; 0: it is still running */
  uint32_t backend;
  bool throttled;
} import_intent;

typedef struct import_pending import_pending;
typedef struct import_intended import_intended;

typedef struct import_ledger {
  void *db; /* sqlite3 */
  void *find;
  void *put;
  void *intend;
  void *settle;
  void *intents;
  int64_t next_entry; /* ids are given here: the store's lock makes this process the only writer */
  int64_t next_intent;
  import_pending *pending; /* entries to be committed */
  size_t pending_count;
  size_t pending_capacity;
  import_intended *intended; /* intents to be committed */
  size_t intended_count;
  size_t intended_capacity;
  int64_t *settled; /* intents to be deleted with the commit */
  size_t settled_count;
  size_t settled_capacity;
  char error[240];
} import_ledger;

/* Opens or creates the ledger of the store at `root`, which this process has open for writing. On false, error
 * says why. */
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

/* Keeps an entry (a new one if its id is 0, and sets the id) for the next commit. `fallback` is empty if no row
 * took its symbol from the directory. */
bool import_ledger_put(import_ledger *ledger, import_entry *entry, const char *interpretation, const char *fallback,
                       const import_heads *heads, const char *path);

/* Intends: at once, or with the next commit. Sets the id. */
bool import_ledger_intend(import_ledger *ledger, import_intent *intent, bool at_once, const char *interpretation,
                          const char *directory, const import_heads *heads, const char *path);

/* The intent is deleted with the next commit. */
bool import_ledger_settle(import_ledger *ledger, int64_t intent);

/* The intents that are left of interrupted imports of this file at this position, oldest first. *intents is to be
 * freed. Where files of the same beginning were interrupted, those of the same path if there are such. */
bool import_ledger_intents(import_ledger *ledger, const char *interpretation, const char *directory,
                           const import_heads *heads, const char *path, uint64_t position, const import_digest *digest,
                           import_intent **intents, size_t *count);

/* No open intent's numbers reach `end`: called with a session's first number, and after its last one. */
bool import_ledger_end_intents(import_ledger *ledger, uint64_t end);

/* How many of the entries that are not committed say that their file is complete. */
uint64_t import_ledger_uncommitted_files(const import_ledger *ledger);

/* To be called when all that the entries speak of is durable in the store. */
bool import_ledger_commit(import_ledger *ledger);

#endif
