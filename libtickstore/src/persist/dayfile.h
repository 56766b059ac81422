/* dayfile.h - one UTC day of quotes in one SQLite file: its schema, how it is written, how it is sealed.
 *
 *   meta    key, value         last_seq: the highest sequence number in the file, set by every transaction
 *   symbol  id, name, quotes, first_ns, last_ns      ids are the file's own; the counts are kept by every transaction
 *   source  id, name
 *   quote   (symbol_id, ts_ms, ts_sub_ns, seq), bid, ask, source_id, flags, bid_size, ask_size, recv_ns
 *   ticks   the view that people query
 *
 *   1. Records come in ascending sequence, transaction by transaction. So a record of this day is in the file if and only
 *      if its sequence number is <= last_seq: a transaction that failed can be repeated without doubling anything.
 *   2. After any error the handle is good for nothing but discard: SQLite may have rolled back by itself, and after a failed
 *      fsync only a fresh look at the file tells what it holds.
 *   3. One connection writes and checkpoints a file. Readers open it with mode=ro.
 *   4. A file is made under another name and renamed when its tables are there: one without tables is damaged.
 *   5. A sealed file is in journal mode DELETE without -wal: a single file that can be copied anywhere. */
#ifndef TKS_PERSIST_DAYFILE_H
#define TKS_PERSIST_DAYFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"
#include "base/record.h"
#include "ingest/names.h"
#include "persist/layout.h"

struct sqlite3;

#define TKS__DAYFILE_APPLICATION_ID 0x544b5331 /* "TKS1" */
#define TKS__DAYFILE_FORMAT 1                  /* user_version */

typedef struct tks__dayfile_options {
  const tks__layout *layout; /* borrowed, like all pointers here */
  const tks__names *symbols;
  const tks__names *sources;
  const tks__log *log;
  uint32_t synchronous; /* tks_synchronous */
  uint32_t checkpoint_pages;
  uint32_t busy_timeout_ms;
  uint32_t temp_store_memory;
  uint64_t page_cache_bytes;
  /* Called before a file is opened, sealed or set aside, on the sink's thread: readers in this process should close it. May be NULL. */
  void (*release_readers)(void *context, int32_t day);
  void *release_context;
} tks__dayfile_options;

typedef struct tks__dayfile tks__dayfile;

/* Opens or creates the file of a day for writing. TKS_EDAYFILE: there is something that is not a sound day file. */
int tks__dayfile_open(const tks__dayfile_options *options, int32_t day, tks__dayfile **file, tks_error *error);

int32_t tks__dayfile_day(const tks__dayfile *file);
uint64_t tks__dayfile_last_seq(const tks__dayfile *file);
const char *tks__dayfile_path(const tks__dayfile *file);

/* Writes records of this day in one transaction. They come grouped by symbol (all of one symbol next to each other);
 * `last_seq` is the highest sequence number among them. */
int tks__dayfile_write(tks__dayfile *file, const tks__record *const *records, size_t count, uint64_t last_seq,
                       tks_error *error);

/* For a file of which a write or sync failed, opened anew: its log may be readable and yet not on the disk, and another sync
 * of it may claim success without writing anything. Copies the log into the database, which is synced. TKS_ETIMEOUT when
 * a reader is in the way. */
int tks__dayfile_settle(tks__dayfile *file, tks_error *error);

/* Puts the write-ahead log on stable storage: what a commit under TKS_SYNC_NORMAL leaves undone. */
int tks__dayfile_sync(tks__dayfile *file, tks_error *error);

uint64_t tks__dayfile_wal_bytes(const tks__dayfile *file);

/* Checkpoints, leaves WAL mode, closes and frees. False: a reader is in the way, and the file stays open (nothing is
 * changed that matters); try again later or discard. */
bool tks__dayfile_seal(tks__dayfile *file);

/* Whether the header says so, log or none; false also when it cannot be read. */
bool tks__dayfile_in_wal_mode(const char *path);

/* Closes and frees as it is. */
void tks__dayfile_discard(tks__dayfile *file);

/* ---- shared with readers of day files */

/* Checks that an open connection is on the file of this day, in a format known here. */
int tks__dayfile_check(struct sqlite3 *db, const char *path, int32_t day, tks_error *error);

/* Fills `error` from SQLite's state: maps its code to a TKS_E* one; the message becomes "<what> <path>: <SQLite's>". */
int tks__sqlite_fail(struct sqlite3 *db, int rc, const char *what, const char *path, tks_error *error);

/* Ditto, of a statement that is right for every day file: what SQLite calls an error in it (SQLITE_ERROR) is the file's. */
int tks__dayfile_fail(struct sqlite3 *db, int rc, const char *path, tks_error *error);

/* Whether reading the file of this connection failed: what SQLite then calls damage may be none. */
bool tks__sqlite_unreadable(struct sqlite3 *db);

/* Time as the two key columns: whole milliseconds (rounded towards the past) and nanoseconds within. */
static inline int64_t tks__ts_ms(int64_t ts_ns) { return ts_ns / 1000000 - (ts_ns % 1000000 < 0); }
static inline int64_t tks__ts_sub_ns(int64_t ts_ns) { return ts_ns % 1000000 + (ts_ns % 1000000 < 0 ? 1000000 : 0); }

#endif
