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

static const char intents_schema[] = "CREATE TABLE IF NOT EXISTS intents("
                                     "  id INTEGER PRIMARY KEY,"
                                     "  interpretation TEXT NOT NULL,"
                                     "  directory TEXT NOT NULL," /* that would give the symbol */
                                     "  head_bytes INTEGER NOT NULL,"
                                     "  head_digest BLOB NOT NULL,"
                                     "  position INTEGER NOT NULL,"
                                     "  digest BLOB NOT NULL,"
                                     "  first_seq INTEGER NOT NULL,"
                                     "  end_seq INTEGER NOT NULL,"
                                     "  backend INTEGER NOT NULL,"
                                     "  throttled INTEGER NOT NULL,"
                                     "  path TEXT NOT NULL) STRICT;";

struct import_pending {
  import_entry entry;
  char *interpretation;
  char *fallback;
  char *path;
  unsigned head;
  import_digest head_digest;
};

struct import_intended {
  import_intent intent;
  char *interpretation;
  char *directory;
  char *path;
  unsigned head;
  import_digest head_digest;
};

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
         prepare(ledger, &ledger->put,
                 "INSERT OR REPLACE INTO imports(position, digest, complete, number, rows_read, rows_stored,"
                 " rows_throttled, rows_refused, last_seq, path, interpretation, fallback, head_bytes, head_digest, id)"
                 " VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15)") &&
         prepare(ledger, &ledger->intend, "INSERT INTO intents VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12)") &&
         prepare(ledger, &ledger->settle, "DELETE FROM intents WHERE id=?1") &&
         prepare(ledger, &ledger->intents,
                 "SELECT id, head_bytes, head_digest, digest, first_seq, end_seq, backend, throttled, path FROM intents"
                 " WHERE interpretation=?1 AND directory=?2 AND position=?3 ORDER BY path<>?4, id");
}

static bool read_id(import_ledger *ledger, const char *sql, int64_t *id) {
  sqlite3_stmt *statement = NULL;
  bool ok =
      sqlite3_prepare_v2(ledger->db, sql, -1, &statement, NULL) == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW;
  if (ok) *id = sqlite3_column_int64(statement, 0);
  else fail(ledger, "read its table");
  sqlite3_finalize(statement);
  return ok;
}

static bool read_ids(import_ledger *ledger) {
  return read_id(ledger, "SELECT coalesce(max(id), 0) + 1 FROM imports", &ledger->next_entry) &&
         read_id(ledger, "SELECT coalesce(max(id), 0) + 1 FROM intents", &ledger->next_intent);
}

/* Writes nothing into the table, but all the way to the disk: a ledger that cannot be written is found
 * before a row is stored, and the kept journal has its space from then on, so that a checkpoint needs no
 * room that a full disk does not have. */
static bool rehearse(import_ledger *ledger) {
  return run(ledger, "BEGIN IMMEDIATE", "write") &&
         run(ledger,
             "INSERT INTO imports VALUES(-1,'','',0,x'',0,x'',0,0,0,0,0,0,0,'','');"
             "DELETE FROM imports WHERE id=-1;"
             "INSERT INTO intents VALUES(-1,'','',0,x'',0,x'',0,1,0,0,'');"
             "DELETE FROM intents WHERE id=-1",
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
  return (version == LEDGER_VERSION || create(ledger)) && run(ledger, intents_schema, "create its table") &&
         rehearse(ledger) && prepare_all(ledger) && read_ids(ledger);
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

static void clear_lists(import_ledger *ledger) {
  for (size_t i = 0; i < ledger->pending_count; i++) {
    free(ledger->pending[i].interpretation);
    free(ledger->pending[i].fallback);
    free(ledger->pending[i].path);
  }
  for (size_t i = 0; i < ledger->intended_count; i++) {
    free(ledger->intended[i].interpretation);
    free(ledger->intended[i].directory);
    free(ledger->intended[i].path);
  }
  ledger->pending_count = ledger->intended_count = ledger->settled_count = 0;
}

void import_ledger_close(import_ledger *ledger) {
  sqlite3_finalize(ledger->find);
  sqlite3_finalize(ledger->put);
  sqlite3_finalize(ledger->intend);
  sqlite3_finalize(ledger->settle);
  sqlite3_finalize(ledger->intents);
  sqlite3_close(ledger->db); /* rolls an open transaction back */
  ledger->find = ledger->put = ledger->intend = ledger->settle = ledger->intents = ledger->db = NULL;
  clear_lists(ledger);
  free(ledger->pending);
  free(ledger->intended);
  free(ledger->settled);
  ledger->pending = NULL;
  ledger->intended = NULL;
  ledger->settled = NULL;
  ledger->pending_capacity = ledger->intended_capacity = ledger->settled_capacity = 0;
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

static bool out_of_memory(import_ledger *ledger) {
  snprintf(ledger->error, sizeof ledger->error, "out of memory");
  return false;
}

static bool is_pending(const import_ledger *ledger, int64_t id) {
  for (size_t i = 0; i < ledger->pending_count; i++)
    if (ledger->pending[i].entry.id == id) return true;
  return false;
}

static bool has_head(const import_heads *heads, unsigned head, const void *digest) {
  return ((size_t)1 << head) <= heads->bytes && memcmp(heads->digests[head].bytes, digest, IMPORT_DIGEST_BYTES) == 0;
}

static bool append_pending(const import_ledger *ledger, const char *interpretation, const char *fallback,
                           const import_heads *heads, import_entry **entries, size_t *count) {
  for (size_t i = 0; i < ledger->pending_count; i++) {
    const import_pending *p = &ledger->pending[i];
    if (strcmp(p->interpretation, interpretation) != 0 || !has_head(heads, p->head, p->head_digest.bytes)) continue;
    if (p->fallback[0] != '\0' && strcmp(p->fallback, fallback) != 0) continue;
    if (!append(entries, count, &p->entry)) return false;
  }
  return true;
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
      if (read_entry(ledger->find, &entry) && !is_pending(ledger, entry.id) && !append(entries, count, &entry)) {
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
  if (!append_pending(ledger, interpretation, fallback, heads, entries, count)) {
    free(*entries);
    *entries = NULL;
    return out_of_memory(ledger);
  }
  if (*count > 1) qsort(*entries, *count, sizeof **entries, by_position);
  return true;
}

/* Room for one more item. */
static bool grow(void **items, size_t *capacity, size_t count, size_t size) {
  if (count < *capacity) return true;
  size_t larger = *capacity == 0 ? 16 : 2 * *capacity;
  void *moved = realloc(*items, larger * size);
  if (moved == NULL) return false;
  *items = moved;
  *capacity = larger;
  return true;
}

bool import_ledger_put(import_ledger *ledger, import_entry *entry, const char *interpretation, const char *fallback,
                       const import_heads *heads, const char *path) {
  if (entry->id == 0) entry->id = ledger->next_entry++;
  import_pending *p = NULL;
  for (size_t i = 0; i < ledger->pending_count; i++)
    if (ledger->pending[i].entry.id == entry->id) p = &ledger->pending[i];
  if (p == NULL) {
    void *items = ledger->pending;
    if (!grow(&items, &ledger->pending_capacity, ledger->pending_count, sizeof *p)) return out_of_memory(ledger);
    ledger->pending = items;
    p = &ledger->pending[ledger->pending_count++];
    memset(p, 0, sizeof *p);
  }
  free(p->interpretation);
  free(p->fallback);
  free(p->path);
  p->entry = *entry;
  p->interpretation = strdup(interpretation);
  p->fallback = strdup(fallback);
  p->path = strdup(path);
  p->head = head_of(heads, entry->position);
  p->head_digest = heads->digests[p->head];
  if (p->interpretation != NULL && p->fallback != NULL && p->path != NULL) return true;
  free(p->interpretation);
  free(p->fallback);
  free(p->path);
  *p = ledger->pending[--ledger->pending_count];
  return out_of_memory(ledger);
}

static bool write_entry(import_ledger *ledger, const import_pending *p) {
  const import_entry *entry = &p->entry;
  sqlite3_stmt *statement = ledger->put;
  sqlite3_bind_int64(statement, 1, (sqlite3_int64)entry->position);
  sqlite3_bind_blob(statement, 2, entry->digest.bytes, IMPORT_DIGEST_BYTES, SQLITE_STATIC);
  sqlite3_bind_int(statement, 3, entry->complete);
  sqlite3_bind_int64(statement, 4, (sqlite3_int64)entry->number);
  sqlite3_bind_int64(statement, 5, (sqlite3_int64)entry->read);
  sqlite3_bind_int64(statement, 6, (sqlite3_int64)entry->stored);
  sqlite3_bind_int64(statement, 7, (sqlite3_int64)entry->throttled);
  sqlite3_bind_int64(statement, 8, (sqlite3_int64)entry->refused);
  sqlite3_bind_int64(statement, 9, (sqlite3_int64)entry->last_seq);
  sqlite3_bind_text(statement, 10, p->path, -1, SQLITE_STATIC);
  sqlite3_bind_text(statement, 11, p->interpretation, -1, SQLITE_STATIC);
  sqlite3_bind_text(statement, 12, p->fallback, -1, SQLITE_STATIC);
  sqlite3_bind_int64(statement, 13, (sqlite3_int64)1 << p->head);
  sqlite3_bind_blob(statement, 14, p->head_digest.bytes, IMPORT_DIGEST_BYTES, SQLITE_STATIC);
  sqlite3_bind_int64(statement, 15, entry->id);
  bool ok = sqlite3_step(statement) == SQLITE_DONE || fail(ledger, "write an entry");
  sqlite3_reset(statement);
  return ok;
}

static bool write_intent(import_ledger *ledger, const import_intended *p) {
  const import_intent *intent = &p->intent;
  sqlite3_stmt *statement = ledger->intend;
  sqlite3_bind_int64(statement, 1, intent->id);
  sqlite3_bind_text(statement, 2, p->interpretation, -1, SQLITE_STATIC);
  sqlite3_bind_text(statement, 3, p->directory, -1, SQLITE_STATIC);
  sqlite3_bind_int64(statement, 4, (sqlite3_int64)1 << p->head);
  sqlite3_bind_blob(statement, 5, p->head_digest.bytes, IMPORT_DIGEST_BYTES, SQLITE_STATIC);
  sqlite3_bind_int64(statement, 6, (sqlite3_int64)intent->position);
  sqlite3_bind_blob(statement, 7, intent->digest.bytes, IMPORT_DIGEST_BYTES, SQLITE_STATIC);
  sqlite3_bind_int64(statement, 8, (sqlite3_int64)intent->first_seq);
  sqlite3_bind_int64(statement, 9, (sqlite3_int64)intent->end_seq);
  sqlite3_bind_int64(statement, 10, intent->backend);
  sqlite3_bind_int(statement, 11, intent->throttled);
  sqlite3_bind_text(statement, 12, p->path, -1, SQLITE_STATIC);
  bool ok = sqlite3_step(statement) == SQLITE_DONE || fail(ledger, "write an intent");
  sqlite3_reset(statement);
  return ok;
}

bool import_ledger_intend(import_ledger *ledger, import_intent *intent, bool at_once, const char *interpretation,
                          const char *directory, const import_heads *heads, const char *path) {
  import_intended p = {.head = head_of(heads, UINT64_MAX)};
  intent->id = ledger->next_intent++;
  p.intent = *intent;
  p.head_digest = heads->digests[p.head];
  p.interpretation = strdup(interpretation);
  p.directory = strdup(directory);
  p.path = strdup(path);
  bool ok = p.interpretation != NULL && p.directory != NULL && p.path != NULL;
  void *items = ledger->intended;
  if (!ok || (!at_once && !grow(&items, &ledger->intended_capacity, ledger->intended_count, sizeof p))) {
    ok = out_of_memory(ledger);
  } else if (at_once) {
    ok = write_intent(ledger, &p);
  } else {
    ledger->intended = items;
    ledger->intended[ledger->intended_count++] = p;
    return true;
  }
  free(p.interpretation);
  free(p.directory);
  free(p.path);
  return ok;
}

bool import_ledger_settle(import_ledger *ledger, int64_t intent) {
  void *items = ledger->settled;
  if (!grow(&items, &ledger->settled_capacity, ledger->settled_count, sizeof intent)) return out_of_memory(ledger);
  ledger->settled = items;
  ledger->settled[ledger->settled_count++] = intent;
  return true;
}

static bool read_intent(sqlite3_stmt *row, const import_heads *heads, const import_digest *digest,
                        import_intent *intent) {
  unsigned head = 0;
  while (head + 1 < IMPORT_HEADS && ((sqlite3_int64)1 << head) < sqlite3_column_int64(row, 1)) head++;
  if (sqlite3_column_bytes(row, 2) != IMPORT_DIGEST_BYTES || sqlite3_column_bytes(row, 3) != IMPORT_DIGEST_BYTES)
    return false;
  if (!has_head(heads, head, sqlite3_column_blob(row, 2)) ||
      memcmp(digest->bytes, sqlite3_column_blob(row, 3), IMPORT_DIGEST_BYTES) != 0)
    return false;
  *intent = (import_intent){.id = sqlite3_column_int64(row, 0),
                            .digest = *digest,
                            .first_seq = (uint64_t)sqlite3_column_int64(row, 4),
                            .end_seq = (uint64_t)sqlite3_column_int64(row, 5),
                            .backend = (uint32_t)sqlite3_column_int(row, 6),
                            .throttled = sqlite3_column_int(row, 7) != 0};
  return true;
}

/* Adds an intent if it is of the path that the first one is of. */
static bool take_intent(sqlite3_stmt *row, const import_intent *intent, char **path, import_intent **intents,
                        size_t *count) {
  const char *text = (const char *)sqlite3_column_text(row, 8);
  if (text == NULL || (*path == NULL && (*path = strdup(text)) == NULL)) return false;
  if (strcmp(*path, text) != 0) return true;
  import_intent *larger = realloc(*intents, (*count + 1) * sizeof *larger);
  if (larger == NULL) return false;
  larger[(*count)++] = *intent;
  *intents = larger;
  return true;
}

bool import_ledger_intents(import_ledger *ledger, const char *interpretation, const char *directory,
                           const import_heads *heads, const char *path, uint64_t position, const import_digest *digest,
                           import_intent **intents, size_t *count) {
  sqlite3_stmt *statement = ledger->intents;
  char *chosen = NULL;
  *intents = NULL;
  *count = 0;
  sqlite3_bind_text(statement, 1, interpretation, -1, SQLITE_STATIC);
  sqlite3_bind_text(statement, 2, directory, -1, SQLITE_STATIC);
  sqlite3_bind_int64(statement, 3, (sqlite3_int64)position);
  sqlite3_bind_text(statement, 4, path, -1, SQLITE_STATIC);
  int code;
  while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
    import_intent intent;
    if (!read_intent(statement, heads, digest, &intent)) continue;
    intent.position = position;
    if (take_intent(statement, &intent, &chosen, intents, count)) continue;
    code = SQLITE_NOMEM;
    break;
  }
  if (code != SQLITE_DONE) fail(ledger, "look an intent up");
  sqlite3_reset(statement);
  free(chosen);
  if (code == SQLITE_DONE) return true;
  free(*intents);
  *intents = NULL;
  *count = 0;
  return false;
}

bool import_ledger_end_intents(import_ledger *ledger, uint64_t end) {
  char sql[96];
  snprintf(sql, sizeof sql, "UPDATE intents SET end_seq=%llu WHERE end_seq=0", (unsigned long long)end);
  return run(ledger, sql, "end an intent");
}

uint64_t import_ledger_uncommitted_files(const import_ledger *ledger) {
  uint64_t files = 0;
  for (size_t i = 0; i < ledger->pending_count; i++) files += ledger->pending[i].entry.complete;
  return files;
}

static bool write_all(import_ledger *ledger) {
  for (size_t i = 0; i < ledger->pending_count; i++)
    if (!write_entry(ledger, &ledger->pending[i])) return false;
  for (size_t i = 0; i < ledger->intended_count; i++)
    if (!write_intent(ledger, &ledger->intended[i])) return false;
  for (size_t i = 0; i < ledger->settled_count; i++) {
    sqlite3_bind_int64(ledger->settle, 1, ledger->settled[i]);
    bool ok = sqlite3_step(ledger->settle) == SQLITE_DONE || fail(ledger, "settle an intent");
    sqlite3_reset(ledger->settle);
    if (!ok) return false;
  }
  return true;
}

bool import_ledger_commit(import_ledger *ledger) {
  if (ledger->pending_count + ledger->intended_count + ledger->settled_count == 0) return true;
  if (!run(ledger, "BEGIN IMMEDIATE", "begin a transaction")) return false;
  if (!write_all(ledger) || !run(ledger, "COMMIT", "commit")) {
    sqlite3_exec(ledger->db, "ROLLBACK", NULL, NULL, NULL); /* the first error is the one to tell */
    return false;
  }
  clear_lists(ledger);
  return true;
}
