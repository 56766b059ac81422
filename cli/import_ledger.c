/* import_ledger.c - the ledger in SQLite: a rollback journal that is kept, synchronous FULL, so a commit
 * that returned survives power loss. */
#include "import_ledger.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LEDGER_VERSION = 1, BUSY_MS = 5000 };

static const char schema[] =
    "CREATE TABLE imports("
    "  id INTEGER PRIMARY KEY,"
    "  interpretation TEXT NOT NULL," /* lines of name=value: format, symbol, source, day, utc_offset_s */
    "  fallback TEXT NOT NULL,"       /* the symbol that the directory gave, if any row took it */
    "  head_bytes INTEGER NOT NULL,"  /* a power of two up to 65536 */
    "  head_digest BLOB NOT NULL,"    /* XXH3-128, canonical */
    "  position INTEGER NOT NULL,"
    "  digest BLOB NOT NULL," /* of the first `position` decompressed bytes */
    "  complete INTEGER NOT NULL,"
    "  number INTEGER NOT NULL,"
    "  rows_read INTEGER NOT NULL,"
    "  rows_stored INTEGER NOT NULL,"
    "  rows_throttled INTEGER NOT NULL,"
    "  rows_refused INTEGER NOT NULL,"
    "  last_seq INTEGER NOT NULL,"
    "  path TEXT NOT NULL," /* as given, for people */
    "  imported_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now'))) STRICT;"
    "CREATE INDEX imports_head ON imports(interpretation, head_bytes, head_digest);"
    "PRAGMA user_version=1;";

static bool fail(import_ledger *ledger, const char *what) {
  snprintf(ledger->error, sizeof ledger->error, "imports.db: cannot %s: %s", what,
           ledger->db != NULL ? sqlite3_errmsg(ledger->db) : "out of memory");
  return false;
}

static bool run(import_ledger *ledger, const char *sql, const char *what) {
  return sqlite3_exec(ledger->db, sql, NULL, NULL, NULL) == SQLITE_OK || fail(ledger, what);
}

static bool read_version(import_ledger *ledger, int *version) {
  sqlite3_stmt *statement = NULL;
  bool ok = sqlite3_prepare_v2(ledger->db, "PRAGMA user_version", -1, &statement, NULL) == SQLITE_OK &&
            sqlite3_step(statement) == SQLITE_ROW;
  if (ok) *version = sqlite3_column_int(statement, 0);
  else fail(ledger, "read its version");
  sqlite3_finalize(statement);
  return ok;
}

static bool create(import_ledger *ledger) {
  return run(ledger, "BEGIN IMMEDIATE", "create its table") && run(ledger, schema, "create its table") &&
         run(ledger, "COMMIT", "create its table");
}

static bool prepare(import_ledger *ledger, void **statement, const char *sql) {
  sqlite3_stmt *made = NULL;
  if (sqlite3_prepare_v2(ledger->db, sql, -1, &made, NULL) != SQLITE_OK) return fail(ledger, "use its table");
  *statement = made;
  return true;
}

static bool prepare_all(import_ledger *ledger) {
  return prepare(ledger, &ledger->find,
                 "SELECT id, position, digest, complete, number, rows_read, rows_stored, rows_throttled,"
                 " rows_refused, last_seq FROM imports"
                 " WHERE interpretation=?1 AND head_bytes=?2 AND head_digest=?3 AND fallback IN ('', ?4)") &&
         prepare(ledger, &ledger->insert,
                 "INSERT INTO imports(position, digest, complete, number, rows_read, rows_stored, rows_throttled,"
                 " rows_refused, last_seq, path, interpretation, fallback, head_bytes, head_digest)"
                 " VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14)") &&
         prepare(ledger, &ledger->update,
                 "UPDATE imports SET position=?1, digest=?2, complete=?3, number=?4, rows_read=?5, rows_stored=?6,"
                 " rows_throttled=?7, rows_refused=?8, last_seq=?9, path=?10, interpretation=?11, fallback=?12,"
                 " head_bytes=?13, head_digest=?14, imported_at=strftime('%Y-%m-%dT%H:%M:%fZ','now')"
                 " WHERE id=?15");
}

/* Writes nothing into the table, but all the way to the disk: a ledger that cannot be written is found
 * before a row is stored, and the kept journal has its space from then on, so that a checkpoint needs no
 * room that a full disk does not have. */
static bool rehearse(import_ledger *ledger) {
  return run(ledger, "BEGIN IMMEDIATE", "write") &&
         run(ledger,
             "INSERT INTO imports VALUES(-1,'','',0,x'',0,x'',0,0,0,0,0,0,0,'','');"
             "DELETE FROM imports WHERE id=-1",
             "write") &&
         run(ledger, "COMMIT", "write");
}

static bool open_impl(import_ledger *ledger, const char *file) {
  sqlite3 *db = NULL;
  int code = sqlite3_open_v2(file, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL);
  ledger->db = db;
  if (code != SQLITE_OK) return fail(ledger, "open it");
  sqlite3_busy_timeout(db, BUSY_MS);
  int version = 0;
  if (!run(ledger, "PRAGMA synchronous=FULL; PRAGMA journal_mode=PERSIST", "configure it") ||
      !read_version(ledger, &version))
    return false;
  if (version > LEDGER_VERSION) {
    snprintf(ledger->error, sizeof ledger->error, "imports.db was written by a newer version of tickstore");
    return false;
  }
  return (version == LEDGER_VERSION || create(ledger)) && rehearse(ledger) && prepare_all(ledger);
}

bool import_ledger_open(import_ledger *ledger, const char *root) {
  memset(ledger, 0, sizeof *ledger);
  char *file = NULL;
  if (asprintf(&file, "%s/imports.db", root) < 0) return fail(ledger, "open it");
  bool ok = open_impl(ledger, file);
  free(file);
  if (!ok) import_ledger_close(ledger);
  return ok;
}

void import_ledger_close(import_ledger *ledger) {
  sqlite3_finalize(ledger->find);
  sqlite3_finalize(ledger->insert);
  sqlite3_finalize(ledger->update);
  sqlite3_close(ledger->db); /* rolls an open transaction back */
  ledger->find = ledger->insert = ledger->update = ledger->db = NULL;
  ledger->open = false;
}

void import_heads_take(import_heads *heads, import_stream *stream) {
  const size_t most = (size_t)1 << (IMPORT_HEADS - 1);
  size_t have = import_stream_peek(stream, most);
  heads->bytes = have < most ? have : most;
  for (unsigned i = 0; i < IMPORT_HEADS && ((size_t)1 << i) <= heads->bytes; i++)
    import_digest_of(stream->data + stream->begin, (size_t)1 << i, &heads->digests[i]);
}

/* Which head an entry at `position` is found by. */
static unsigned head_of(const import_heads *heads, uint64_t position) {
  unsigned i = 0;
  while (i + 1 < IMPORT_HEADS && ((uint64_t)2 << i) <= position && ((size_t)2 << i) <= heads->bytes) i++;
  return i;
}

static bool read_entry(sqlite3_stmt *row, import_entry *entry) {
  const void *digest = sqlite3_column_blob(row, 2);
  if (sqlite3_column_bytes(row, 2) != IMPORT_DIGEST_BYTES) return false;
  memcpy(entry->digest.bytes, digest, IMPORT_DIGEST_BYTES);
  entry->id = sqlite3_column_int64(row, 0);
  entry->position = (uint64_t)sqlite3_column_int64(row, 1);
  entry->complete = sqlite3_column_int(row, 3) != 0;
  entry->number = (uint64_t)sqlite3_column_int64(row, 4);
  entry->read = (uint64_t)sqlite3_column_int64(row, 5);
  entry->stored = (uint64_t)sqlite3_column_int64(row, 6);
  entry->throttled = (uint64_t)sqlite3_column_int64(row, 7);
  entry->refused = (uint64_t)sqlite3_column_int64(row, 8);
  entry->last_seq = (uint64_t)sqlite3_column_int64(row, 9);
  return true;
}

static bool append(import_entry **entries, size_t *count, const import_entry *entry) {
  import_entry *larger = realloc(*entries, (*count + 1) * sizeof *larger);
  if (larger == NULL) return false;
  larger[(*count)++] = *entry;
  *entries = larger;
  return true;
}

static int by_position(const void *a, const void *b) {
  const import_entry *x = a, *y = b;
  return (x->position > y->position) - (x->position < y->position);
}

bool import_ledger_find(import_ledger *ledger, const char *interpretation, const char *fallback,
                        const import_heads *heads, import_entry **entries, size_t *count) {
  *entries = NULL;
  *count = 0;
  for (unsigned i = 0; i < IMPORT_HEADS && ((size_t)1 << i) <= heads->bytes; i++) {
    sqlite3_bind_text(ledger->find, 1, interpretation, -1, SQLITE_STATIC);
    sqlite3_bind_int64(ledger->find, 2, (sqlite3_int64)1 << i);
    sqlite3_bind_blob(ledger->find, 3, heads->digests[i].bytes, IMPORT_DIGEST_BYTES, SQLITE_STATIC);
    sqlite3_bind_text(ledger->find, 4, fallback, -1, SQLITE_STATIC);
    int code;
    while ((code = sqlite3_step(ledger->find)) == SQLITE_ROW) {
      import_entry entry;
      if (read_entry(ledger->find, &entry) && !append(entries, count, &entry)) {
        code = SQLITE_NOMEM;
        break;
      }
    }
    if (code != SQLITE_DONE) fail(ledger, "look a file up");
    sqlite3_reset(ledger->find);
    if (code != SQLITE_DONE) {
      free(*entries);
      *entries = NULL;
      return false;
    }
  }
  if (*count > 1) qsort(*entries, *count, sizeof **entries, by_position);
  return true;
}

bool import_ledger_put(import_ledger *ledger, import_entry *entry, const char *interpretation, const char *fallback,
                       const import_heads *heads, const char *path) {
  if (!ledger->open && !run(ledger, "BEGIN IMMEDIATE", "begin a transaction")) return false;
  ledger->open = true;
  sqlite3_stmt *statement = entry->id == 0 ? ledger->insert : ledger->update;
  unsigned head = head_of(heads, entry->position);
  sqlite3_bind_int64(statement, 1, (sqlite3_int64)entry->position);
  sqlite3_bind_blob(statement, 2, entry->digest.bytes, IMPORT_DIGEST_BYTES, SQLITE_STATIC);
  sqlite3_bind_int(statement, 3, entry->complete);
  sqlite3_bind_int64(statement, 4, (sqlite3_int64)entry->number);
  sqlite3_bind_int64(statement, 5, (sqlite3_int64)entry->read);
  sqlite3_bind_int64(statement, 6, (sqlite3_int64)entry->stored);
  sqlite3_bind_int64(statement, 7, (sqlite3_int64)entry->throttled);
  sqlite3_bind_int64(statement, 8, (sqlite3_int64)entry->refused);
  sqlite3_bind_int64(statement, 9, (sqlite3_int64)entry->last_seq);
  sqlite3_bind_text(statement, 10, path, -1, SQLITE_STATIC);
  sqlite3_bind_text(statement, 11, interpretation, -1, SQLITE_STATIC);
  sqlite3_bind_text(statement, 12, fallback, -1, SQLITE_STATIC);
  sqlite3_bind_int64(statement, 13, (sqlite3_int64)1 << head);
  sqlite3_bind_blob(statement, 14, heads->digests[head].bytes, IMPORT_DIGEST_BYTES, SQLITE_STATIC);
  if (entry->id != 0) sqlite3_bind_int64(statement, 15, entry->id);
  bool ok = sqlite3_step(statement) == SQLITE_DONE || fail(ledger, "write an entry");
  sqlite3_reset(statement);
  if (ok && entry->id == 0) entry->id = sqlite3_last_insert_rowid(ledger->db);
  return ok;
}

bool import_ledger_commit(import_ledger *ledger) {
  if (!ledger->open) return true;
  if (!run(ledger, "COMMIT", "commit")) return false;
  ledger->open = false;
  return true;
}
