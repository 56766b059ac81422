#include "persist/dayfile.h"

#include <errno.h>
#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/memory.h"
#include "base/utc.h"
#include "persist/feed.h"

/* The key carries milliseconds as a column of its own, so that "timestamp BETWEEN ..." on the view is an index search.
 * Prices have no declared type: in a REAL column SQLite stores whole numbers as integers, and -0.0 becomes 0.0. */
static const char *const SCHEMA =
    "CREATE TABLE meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;"
    "CREATE TABLE symbol(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, quotes INTEGER NOT NULL DEFAULT 0,"
    " first_ns INTEGER, last_ns INTEGER);"
    "CREATE TABLE source(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);"
    "CREATE TABLE quote(symbol_id INTEGER NOT NULL, ts_ms INTEGER NOT NULL, ts_sub_ns INTEGER NOT NULL,"
    " seq INTEGER NOT NULL, bid, ask, source_id INTEGER, flags INTEGER NOT NULL,"
    " bid_size REAL NOT NULL, ask_size REAL NOT NULL, recv_ns INTEGER,"
    " PRIMARY KEY(symbol_id, ts_ms, ts_sub_ns, seq)) WITHOUT ROWID;"
    "CREATE VIEW ticks AS SELECT quote.seq AS id, symbol.name AS symbol, quote.ts_ms AS timestamp,"
    " quote.bid AS bid, quote.ask AS ask, quote.ask - quote.bid AS spread, source.name AS lp_source,"
    " quote.recv_ns / 1000000 AS created_at, quote.ts_ms * 1000000 + quote.ts_sub_ns AS timestamp_ns,"
    " quote.bid_size AS bid_size, quote.ask_size AS ask_size, quote.flags AS flags"
    " FROM symbol JOIN quote ON quote.symbol_id = symbol.id LEFT JOIN source ON source.id = quote.source_id;";

/* How long a write waits for readers that make the log grow beyond its limit. */
#define LOG_WAIT_MS 2000
#define SEAL_TRIES 3

enum {
  FIND_SYMBOL,
  ADD_SYMBOL,
  COUNT_SYMBOL,
  FIND_SOURCE,
  ADD_SOURCE,
  ADD_QUOTES,
  SET_LAST_SEQ,
  BEGIN,
  COMMIT,
  STATEMENTS,
};

static const char *const SQL[STATEMENTS] = {
    [FIND_SYMBOL] = "SELECT id FROM symbol WHERE name = ?1",
    [ADD_SYMBOL] = "INSERT INTO symbol(name) VALUES(?1)",
    [COUNT_SYMBOL] = "UPDATE symbol SET quotes = quotes + ?2, first_ns = min(ifnull(first_ns, ?3), ?3),"
                     " last_ns = max(ifnull(last_ns, ?4), ?4) WHERE id = ?1",
    [FIND_SOURCE] = "SELECT id FROM source WHERE name = ?1",
    [ADD_SOURCE] = "INSERT INTO source(name) VALUES(?1)",
    /* OR FAIL: what went in before an error goes with the transaction, so SQLite need not keep what it takes to undo it. */
    [ADD_QUOTES] = "INSERT OR FAIL INTO quote(symbol_id, ts_ms, ts_sub_ns, seq, bid, ask, source_id, flags, bid_size,"
                   " ask_size, recv_ns) SELECT symbol_id, ts_ms, ts_sub_ns, seq, bid, ask, source_id, flags, bid_size,"
                   " ask_size, recv_ns FROM tks_feed",
    [SET_LAST_SEQ] = "UPDATE meta SET value = ?1 WHERE key = 'last_seq'",
    [BEGIN] = "BEGIN IMMEDIATE",
    [COMMIT] = "COMMIT",
};

/* Ids of this process to ids of the file; 0 = not looked up yet. */
typedef struct id_map {
  uint32_t *ids;
  size_t capacity;
} id_map;

struct tks__dayfile {
  const tks__dayfile_options *options;
  sqlite3 *db;
  sqlite3_stmt *statements[STATEMENTS];
  id_map symbols;
  id_map sources;
  tks__feed feed; /* what ADD_QUOTES reads */
  uint64_t last_seq;
  uint64_t patience; /* the log is begun anew when it is larger than this; 0 = than its limit */
  int32_t day;
  char path[TKS__PATH_MAX];
};

static int code_of_sqlite(int rc) {
  switch (rc & 0xff) {
    case SQLITE_FULL: return TKS_EDISKFULL;
    case SQLITE_NOMEM: return TKS_ENOMEM;
    /* Our own rows never collide: each has a sequence number that the file has not seen. */
    case SQLITE_CONSTRAINT:
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: return TKS_EDAYFILE;
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return TKS_ETIMEOUT;
    case SQLITE_INTERRUPT: return TKS_EDEADLINE;
    default: return TKS_EIO;
  }
}

static bool is_read_error(sqlite3_file *file) {
  int errnum = 0;
  if (file == NULL || file->pMethods == NULL ||
      file->pMethods->xFileControl(file, SQLITE_FCNTL_LAST_ERRNO, &errnum) != SQLITE_OK)
    return false;
  return errnum == EIO || errnum == ENXIO || errnum == ERANGE;
}

/* SQLite takes EIO on reading for a damaged file and says SQLITE_CORRUPT. Such a file may be sound: the next read tells, and a
 * day must not be set aside for it. */
bool tks__sqlite_unreadable(sqlite3 *db) {
  sqlite3_file *file = NULL, *log = NULL;
  (void)sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &file);
  (void)sqlite3_file_control(db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &log);
  return is_read_error(file) || is_read_error(log);
}

int tks__sqlite_fail(sqlite3 *db, int rc, const char *what, const char *path, tks_error *error) {
  if ((rc & 0xff) == SQLITE_CORRUPT && db != NULL && tks__sqlite_unreadable(db)) {
    const int unread = SQLITE_IOERR_CORRUPTFS;
    return tks__fail(error, TKS_EIO, unread, "%s %s: %s (%d)", what, path, sqlite3_errstr(unread), unread);
  }
  int extended = db != NULL ? sqlite3_extended_errcode(db) : rc;
  if ((extended & 0xff) != (rc & 0xff)) extended = rc;
  int code = code_of_sqlite(rc);
  /* SQLite tells a full disk by its own code only where it writes the database or its log. */
  if (code == TKS_EIO && db != NULL && sqlite3_system_errno(db) == ENOSPC) code = TKS_EDISKFULL;
  const char *text = db != NULL && sqlite3_errcode(db) == rc ? sqlite3_errmsg(db) : sqlite3_errstr(rc);
  return tks__fail(error, code, extended, "%s %s: %s (%d)", what, path, text, extended);
}

int tks__dayfile_fail(sqlite3 *db, int rc, const char *path, tks_error *error) {
  /* Its header is of an unknown format, or its tables or columns are not ours. */
  if ((rc & 0xff) == SQLITE_ERROR)
    return tks__fail(error, TKS_EDAYFILE, rc, "%s is not a day file: %s", path, sqlite3_errmsg(db));
  return tks__sqlite_fail(db, rc, "cannot read", path, error);
}

static int fail(tks__dayfile *file, int rc, const char *what, tks_error *error) {
  return tks__sqlite_fail(file->db, rc, what, file->path, error);
}

/* ------------------------------------------------------------------ open */

static int read_integer(sqlite3 *db, const char *sql, int64_t *value) {
  sqlite3_stmt *statement = NULL;
  int rc = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);
  if (rc != SQLITE_OK) return rc;
  rc = sqlite3_step(statement);
  if (rc == SQLITE_ROW) *value = sqlite3_column_int64(statement, 0);
  int finalized = sqlite3_finalize(statement);
  if (rc == SQLITE_ROW || rc == SQLITE_DONE) return finalized;
  return rc;
}

static int check_day(sqlite3 *db, const char *path, int32_t day, tks_error *error) {
  char expected[TKS__UTC_TEXT_MAX];
  (void)tks__utc_format_day(day, expected);
  sqlite3_stmt *statement = NULL;
  int rc = sqlite3_prepare_v2(db, "SELECT value FROM meta WHERE key = 'day'", -1, &statement, NULL);
  if (rc == SQLITE_OK) rc = sqlite3_step(statement);
  const char *found = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(statement, 0) : NULL;
  int code = TKS_OK;
  if (rc == SQLITE_ROW && found == NULL && sqlite3_errcode(db) == SQLITE_NOMEM) rc = SQLITE_NOMEM;
  if (rc == SQLITE_ERROR || rc == SQLITE_DONE || (rc == SQLITE_ROW && (found == NULL || strcmp(found, expected) != 0)))
    code = tks__fail(error, TKS_EDAYFILE, 0, "%s says that it holds the day %.32s", path,
                     found != NULL ? found : "(none)");
  else if (rc != SQLITE_ROW) code = tks__sqlite_fail(db, rc, "cannot read", path, error);
  (void)sqlite3_finalize(statement);
  return code;
}

/* SQLite itself finds whole pages missing; the rest of a last page it would read as zeros. With a log beside the file a crash
 * may have stopped while the file grew, and the log has it all. */
static int check_length(sqlite3 *db, const char *path, tks_error *error) {
  char log[TKS__PATH_MAX + 8];
  int64_t length = 0, page = 0, log_length = 0;
  (void)snprintf(log, sizeof log, "%s-wal", path);
  int rc = read_integer(db, "PRAGMA page_size", &page);
  if (rc != SQLITE_OK) return tks__sqlite_fail(db, rc, "cannot read", path, error);
  if (tks__fs_size(log, &log_length) == 0 || tks__fs_size(path, &length) != 0 || length % page == 0) return TKS_OK;
  return tks__fail(error, TKS_EDAYFILE, 0, "%s is truncated: %lld bytes are no whole number of pages", path,
                   (long long)length);
}

/* Compared here: to have SQLite look for them costs a reader more than all other checks, at each file that it opens. */
static int has_tables(sqlite3 *db, bool *all) {
  static const char *const parts[] = {"table meta", "table symbol", "table source", "table quote", "view ticks"};
  enum { PARTS = sizeof parts / sizeof parts[0] };
  unsigned found = 0;
  sqlite3_stmt *statement = NULL;
  int rc = sqlite3_prepare_v2(db, "SELECT type || ' ' || name FROM sqlite_master", -1, &statement, NULL);
  while (rc == SQLITE_OK && (rc = sqlite3_step(statement)) == SQLITE_ROW) {
    const char *part = (const char *)sqlite3_column_text(statement, 0);
    rc = part == NULL && sqlite3_errcode(db) == SQLITE_NOMEM ? SQLITE_NOMEM : SQLITE_OK;
    for (unsigned i = 0; i < PARTS && part != NULL; i++)
      if (strcmp(part, parts[i]) == 0) found |= 1u << i;
  }
  int finalized = sqlite3_finalize(statement);
  *all = found == (1u << PARTS) - 1;
  return rc == SQLITE_DONE ? finalized : rc;
}

static int check_in_transaction(sqlite3 *db, const char *path, int32_t day, tks_error *error) {
  int64_t application = 0, format = 0;
  int rc = read_integer(db, "PRAGMA application_id", &application);
  if (rc == SQLITE_OK) rc = read_integer(db, "PRAGMA user_version", &format);
  if (rc != SQLITE_OK) return tks__dayfile_fail(db, rc, path, error);
  if (application != TKS__DAYFILE_APPLICATION_ID)
    return tks__fail(error, TKS_EDAYFILE, 0, "%s is empty or a database that is no day file (application_id %lld)",
                     path, (long long)application);
  if (format > TKS__DAYFILE_FORMAT)
    return tks__fail(error, TKS_EFORMAT, 0, "%s has day file format %lld, this library reads up to %d", path,
                     (long long)format, TKS__DAYFILE_FORMAT);
  bool complete;
  rc = has_tables(db, &complete);
  if (rc != SQLITE_OK) return tks__dayfile_fail(db, rc, path, error);
  if (!complete) return tks__fail(error, TKS_EDAYFILE, 0, "%s lacks tables of a day file", path);
  int code = check_length(db, path, error);
  if (code != TKS_OK) return code;
  return check_day(db, path, day, error);
}

int tks__dayfile_check(sqlite3 *db, const char *path, int32_t day, tks_error *error) {
  /* All of it in one snapshot. */
  int rc = sqlite3_exec(db, "BEGIN", NULL, NULL, NULL);
  if (rc != SQLITE_OK) return tks__dayfile_fail(db, rc, path, error);
  int code = check_in_transaction(db, path, day, error);
  (void)sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
  return code;
}

/* The log shrinks back to this after a reader made it grow. */
static uint64_t log_limit(const tks__dayfile_options *options) {
  return (uint64_t)options->checkpoint_pages * 4096 * 4;
}

static int configure(tks__dayfile *file, tks_error *error) {
  const tks__dayfile_options *o = file->options;
  char sql[512];
  (void)snprintf(sql, sizeof sql,
                 "PRAGMA synchronous=%s; PRAGMA wal_autocheckpoint=%u; PRAGMA cache_size=-%llu; PRAGMA temp_store=%s;"
                 "PRAGMA mmap_size=0; PRAGMA journal_size_limit=%llu;",
                 o->synchronous == TKS_SYNC_NORMAL ? "NORMAL" : "FULL", o->checkpoint_pages,
                 (unsigned long long)(o->page_cache_bytes / 1024), o->temp_store_memory ? "MEMORY" : "FILE",
                 (unsigned long long)log_limit(o));
  int rc = sqlite3_exec(file->db, sql, NULL, NULL, NULL);
  if (rc != SQLITE_OK) return fail(file, rc, "cannot configure", error);
  return TKS_OK;
}

/* WAL mode is asked for and checked: on a file system without shared memory SQLite stays where it was. */
static int enter_wal_mode(tks__dayfile *file, tks_error *error) {
  sqlite3_stmt *statement = NULL;
  int rc = sqlite3_prepare_v2(file->db, "PRAGMA journal_mode=WAL", -1, &statement, NULL);
  if (rc == SQLITE_OK) rc = sqlite3_step(statement);
  bool wal = rc == SQLITE_ROW && strcmp((const char *)sqlite3_column_text(statement, 0), "wal") == 0;
  int finalized = sqlite3_finalize(statement); /* here the change is committed */
  if (wal && finalized != SQLITE_OK) return fail(file, finalized, "cannot use write-ahead logging on", error);
  if (wal) return TKS_OK;
  if (rc == SQLITE_ROW) return tks__fail(error, TKS_EIO, finalized, "cannot use write-ahead logging on %s", file->path);
  return fail(file, rc, "cannot use write-ahead logging on", error);
}

static int create_at(sqlite3 *db, int32_t day) {
  char text[TKS__UTC_TEXT_MAX];
  (void)tks__utc_format_day(day, text);
  char sql[2048];
  (void)snprintf(sql, sizeof sql,
                 "PRAGMA synchronous=FULL; BEGIN IMMEDIATE; PRAGMA application_id=%d; PRAGMA user_version=%d; %s"
                 "INSERT INTO meta VALUES('day', '%s'), ('last_seq', 0); COMMIT;",
                 TKS__DAYFILE_APPLICATION_ID, TKS__DAYFILE_FORMAT, SCHEMA, text);
  return sqlite3_exec(db, sql, NULL, NULL, NULL);
}

/* Makes the file under another name, with all its tables, and renames it: nobody ever sees half a day file. */
static int create(const tks__dayfile *file, tks_error *error) {
  char path[TKS__PATH_MAX + 16];
  (void)snprintf(path, sizeof path, "%s.new-journal", file->path);
  (void)tks__fs_remove(path); /* of an attempt that a crash ended */
  path[strlen(path) - strlen("-journal")] = '\0';
  (void)tks__fs_remove(path);
  sqlite3 *db = NULL;
  int rc = sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
  if (rc == SQLITE_OK) rc = create_at(db, file->day);
  int code = rc == SQLITE_OK ? TKS_OK : tks__sqlite_fail(db, rc, "cannot create", path, error);
  (void)sqlite3_close_v2(db);
  if (code == TKS_OK) {
    int errnum = tks__fs_rename(path, file->path);
    if (errnum == 0) {
      errnum = tks__fs_sync_dir_of(file->path);
      /* Taken back, so that a second attempt does not find it and think that its name had been synced. */
      if (errnum != 0) (void)tks__fs_remove(file->path);
    }
    if (errnum != 0) code = tks__fail_errno(error, errnum, "cannot create %s", file->path);
  }
  if (code != TKS_OK) (void)tks__fs_remove(path);
  return code;
}

static int prepare_all(tks__dayfile *file, tks_error *error) {
  for (int i = 0; i < STATEMENTS; i++) {
    int rc = sqlite3_prepare_v3(file->db, SQL[i], -1, SQLITE_PREPARE_PERSISTENT, &file->statements[i], NULL);
    if (rc != SQLITE_OK) return tks__dayfile_fail(file->db, rc, file->path, error);
  }
  return TKS_OK;
}

/* A table of the file would stand before ours of that name, and the records go nowhere. */
static int attach_feed(tks__dayfile *file, tks_error *error) {
  int64_t taken = 0;
  int rc = read_integer(file->db, "SELECT COUNT(*) FROM sqlite_schema WHERE name = 'tks_feed' COLLATE NOCASE", &taken);
  if (rc == SQLITE_OK) rc = tks__feed_attach(file->db, &file->feed);
  if (rc != SQLITE_OK) return fail(file, rc, "cannot prepare", error);
  if (taken != 0) return tks__fail(error, TKS_EDAYFILE, 0, "%s has a table tks_feed: not a day file", file->path);
  return TKS_OK;
}

static int open_impl(tks__dayfile *file, tks_error *error) {
  tks__layout_day_file(file->options->layout, file->day, file->path);
  char directory[TKS__PATH_MAX];
  memcpy(directory, file->path, sizeof directory);
  *strrchr(directory, '/') = '\0';
  int errnum = tks__fs_mkdirs(directory, file->options->layout->root);
  if (errnum != 0) return tks__fail_errno(error, errnum, "cannot create the directory %s", directory);
  int64_t size;
  if (tks__fs_size(file->path, &size) == ENOENT) {
    int made = create(file, error);
    if (made != TKS_OK) return made;
  }
  int rc = sqlite3_open_v2(file->path, &file->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
  if (rc != SQLITE_OK) return fail(file, rc, "cannot open", error);
  (void)sqlite3_extended_result_codes(file->db, 1);
  (void)sqlite3_busy_timeout(file->db, (int)file->options->busy_timeout_ms);
  /* A day file has no triggers. What somebody has put there must not decide what becomes of a record. */
  (void)sqlite3_db_config(file->db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
  int code = tks__dayfile_check(file->db, file->path, file->day, error);
  if (code == TKS_OK) code = attach_feed(file, error);
  if (code == TKS_OK) code = enter_wal_mode(file, error);
  if (code == TKS_OK) code = configure(file, error);
  if (code == TKS_OK) code = prepare_all(file, error);
  if (code != TKS_OK) return code;
  int64_t last_seq = -1;
  rc = read_integer(file->db, "SELECT value FROM meta WHERE key = 'last_seq'", &last_seq);
  if (rc != SQLITE_OK) return fail(file, rc, "cannot read", error);
  if (last_seq < 0) return tks__fail(error, TKS_EDAYFILE, 0, "%s has no last_seq", file->path);
  file->last_seq = (uint64_t)last_seq;
  return TKS_OK;
}

int tks__dayfile_open(const tks__dayfile_options *options, int32_t day, tks__dayfile **out, tks_error *error) {
  *out = NULL;
  tks__dayfile *file = tks__calloc(1, sizeof *file);
  if (file == NULL) return tks__fail(error, TKS_ENOMEM, 0, "out of memory opening a day file");
  file->options = options;
  file->day = day;
  /* Readers that have it mapped as a sealed file open it anew, unmapped. */
  if (options->release_readers != NULL) options->release_readers(options->release_context, day);
  int code = open_impl(file, error);
  if (code != TKS_OK) {
    tks__dayfile_discard(file);
    return code;
  }
  *out = file;
  return TKS_OK;
}

int32_t tks__dayfile_day(const tks__dayfile *file) { return file->day; }
uint64_t tks__dayfile_last_seq(const tks__dayfile *file) { return file->last_seq; }
const char *tks__dayfile_path(const tks__dayfile *file) { return file->path; }

/* ----------------------------------------------------------------- write */

static int run(tks__dayfile *file, int which) {
  int rc = sqlite3_step(file->statements[which]);
  int reset = sqlite3_reset(file->statements[which]);
  return rc == SQLITE_DONE ? reset : rc; /* none of them gives rows */
}

/* Ids count from 1. One that was never given out, cut to its width, would name another symbol or none. */
static int take_id(int64_t file_id, uint32_t *id) {
  if (file_id < 1 || file_id > UINT32_MAX) return SQLITE_CORRUPT;
  *id = (uint32_t)file_id;
  return SQLITE_OK;
}

/* The file's id of a name, added when it is new. Runs inside the transaction. */
static int find_or_add(tks__dayfile *file, int find, int add, const tks__name *name, uint32_t *id) {
  sqlite3_stmt *statement = file->statements[find];
  int rc = sqlite3_bind_text(statement, 1, name->text, (int)name->length, SQLITE_STATIC);
  if (rc != SQLITE_OK) return rc;
  rc = sqlite3_step(statement);
  int taken = rc == SQLITE_ROW ? take_id(sqlite3_column_int64(statement, 0), id) : SQLITE_OK;
  int reset = sqlite3_reset(statement);
  if (rc == SQLITE_ROW) return taken != SQLITE_OK ? taken : reset;
  if (rc != SQLITE_DONE) return rc;
  rc = sqlite3_bind_text(file->statements[add], 1, name->text, (int)name->length, SQLITE_STATIC);
  if (rc == SQLITE_OK) rc = run(file, add);
  return rc == SQLITE_OK ? take_id(sqlite3_last_insert_rowid(file->db), id) : rc;
}

static int map_id(tks__dayfile *file, id_map *map, const tks__names *names, int find, int add, uint32_t process_id,
                  uint32_t *id) {
  if (process_id < map->capacity && map->ids[process_id] != 0) {
    *id = map->ids[process_id];
    return SQLITE_OK;
  }
  const tks__name *name = tks__names_get(names, process_id);
  if (name == NULL) return SQLITE_MISUSE;
  size_t before = map->capacity;
  if (!tks__grow((void **)&map->ids, &map->capacity, (size_t)process_id + 1, sizeof *map->ids)) return SQLITE_NOMEM;
  memset(map->ids + before, 0, (map->capacity - before) * sizeof *map->ids);
  int rc = find_or_add(file, find, add, name, id);
  if (rc == SQLITE_OK) map->ids[process_id] = *id;
  return rc;
}

/* The file's ids of all that occurs, and what the records add to their symbols' counts. */
static int note_names(tks__dayfile *file, const tks__record *const *records, size_t count) {
  uint32_t id = 0;
  int64_t first = INT64_MAX, last = INT64_MIN;
  int rc = map_id(file, &file->symbols, file->options->symbols, FIND_SYMBOL, ADD_SYMBOL, records[0]->symbol, &id);
  for (size_t i = 0; i < count && rc == SQLITE_OK; i++) {
    const tks__record *r = records[i];
    uint32_t source_id = 0;
    if (r->source != 0)
      rc = map_id(file, &file->sources, file->options->sources, FIND_SOURCE, ADD_SOURCE, r->source, &source_id);
    if (r->ts_ns < first) first = r->ts_ns;
    if (r->ts_ns > last) last = r->ts_ns;
  }
  sqlite3_stmt *s = file->statements[COUNT_SYMBOL];
  if (rc == SQLITE_OK) rc = sqlite3_bind_int64(s, 1, id);
  if (rc == SQLITE_OK) rc = sqlite3_bind_int64(s, 2, (int64_t)count);
  if (rc == SQLITE_OK) rc = sqlite3_bind_int64(s, 3, first);
  if (rc == SQLITE_OK) rc = sqlite3_bind_int64(s, 4, last);
  return rc == SQLITE_OK ? run(file, COUNT_SYMBOL) : rc;
}

static int add_quotes(tks__dayfile *file, const tks__record *const *records, size_t count) {
  file->feed =
      (tks__feed){.records = records, .count = count, .symbol_ids = file->symbols.ids, .source_ids = file->sources.ids};
  return run(file, ADD_QUOTES);
}

/* SQLite begins the log anew only when a checkpoint finds no reader in it. Where reads overlap there is always one, though each is
 * short, and the log would grow for ever. So past the limit this waits until those that are at it have ended (later ones do
 * not need the log). A reader that does not end is left alone until the log has doubled. */
static void bound_log(tks__dayfile *file) {
  uint64_t limit = log_limit(file->options), size = tks__dayfile_wal_bytes(file);
  if (size <= limit) file->patience = 0;
  if (size <= limit || size <= file->patience) return;
  (void)sqlite3_busy_timeout(file->db, LOG_WAIT_MS);
  int rc = sqlite3_wal_checkpoint_v2(file->db, NULL, SQLITE_CHECKPOINT_RESTART, NULL, NULL);
  (void)sqlite3_busy_timeout(file->db, (int)file->options->busy_timeout_ms);
  file->patience = rc == SQLITE_OK ? 0 : 2 * size;
}

int tks__dayfile_write(tks__dayfile *file, const tks__record *const *records, size_t count, uint64_t last_seq,
                       tks_error *error) {
  int rc = run(file, BEGIN);
  if (rc != SQLITE_OK) return fail(file, rc, "cannot begin a transaction in", error);
  for (size_t i = 0; i < count && rc == SQLITE_OK;) {
    size_t end = i + 1;
    while (end < count && records[end]->symbol == records[i]->symbol) end++;
    rc = note_names(file, records + i, end - i);
    i = end;
  }
  if (rc == SQLITE_OK) rc = add_quotes(file, records, count);
  if (rc == SQLITE_OK) rc = sqlite3_bind_int64(file->statements[SET_LAST_SEQ], 1, (int64_t)last_seq);
  if (rc == SQLITE_OK) rc = run(file, SET_LAST_SEQ);
  if (rc != SQLITE_OK) return fail(file, rc, "cannot insert into", error);
  rc = run(file, COMMIT);
  if (rc != SQLITE_OK) return fail(file, rc, "cannot commit to", error);
  file->last_seq = last_seq;
  bound_log(file);
  return TKS_OK;
}

int tks__dayfile_settle(tks__dayfile *file, tks_error *error) {
  int in_log = 0, copied = 0;
  int rc = sqlite3_wal_checkpoint_v2(file->db, NULL, SQLITE_CHECKPOINT_PASSIVE, &in_log, &copied);
  if (rc != SQLITE_OK) return fail(file, rc, "cannot sync", error);
  if (copied < in_log)
    return tks__fail(error, TKS_ETIMEOUT, 0, "cannot sync %s: a reader keeps its log from being copied", file->path);
  return TKS_OK;
}

int tks__dayfile_sync(tks__dayfile *file, tks_error *error) {
  sqlite3_file *wal = NULL;
  int rc = sqlite3_file_control(file->db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &wal);
  if (rc == SQLITE_OK && wal != NULL && wal->pMethods != NULL) rc = wal->pMethods->xSync(wal, SQLITE_SYNC_NORMAL);
  return rc == SQLITE_OK ? TKS_OK : fail(file, rc, "cannot sync", error);
}

uint64_t tks__dayfile_wal_bytes(const tks__dayfile *file) {
  char path[TKS__PATH_MAX + 8];
  (void)snprintf(path, sizeof path, "%s-wal", file->path);
  int64_t size = 0;
  return tks__fs_size(path, &size) == 0 && size > 0 ? (uint64_t)size : 0;
}

/* ----------------------------------------------------------------- close */

void tks__dayfile_discard(tks__dayfile *file) {
  if (file == NULL) return;
  for (int i = 0; i < STATEMENTS; i++) (void)sqlite3_finalize(file->statements[i]);
  (void)sqlite3_close_v2(file->db);
  tks__free(file->symbols.ids);
  tks__free(file->sources.ids);
  tks__free(file);
}

bool tks__dayfile_in_wal_mode(const char *path) {
  unsigned char versions[2] = {0}; /* to write and to read the file, at byte 18: 1 rollback journal, 2 WAL */
  /* By SQLite's own hand: to close a file that a reader of this process has open takes that reader's locks away. */
  sqlite3 *db = NULL;
  sqlite3_file *opened = NULL;
  int rc = sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL);
  if (rc == SQLITE_OK) rc = sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &opened);
  if (rc == SQLITE_OK) rc = opened->pMethods->xRead(opened, versions, sizeof versions, 18);
  (void)sqlite3_close_v2(db);
  return rc == SQLITE_OK && versions[1] == 2;
}

static bool leave_wal_mode(tks__dayfile *file) {
  const tks__dayfile_options *o = file->options;
  if (o->release_readers != NULL) o->release_readers(o->release_context, file->day);
  /* Not worth waiting for: a reader in the way will be gone at the next try. */
  (void)sqlite3_busy_timeout(file->db, 0);
  int left = 0, moved = 0;
  int rc = sqlite3_wal_checkpoint_v2(file->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, &left, &moved);
  /* Leaving WAL mode needs the file alone; SQLite refuses while any other connection has it open. */
  sqlite3_stmt *statement = NULL;
  bool sealed = false;
  if (rc == SQLITE_OK) rc = sqlite3_prepare_v2(file->db, "PRAGMA journal_mode=DELETE", -1, &statement, NULL);
  if (rc == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW)
    sealed = strcmp((const char *)sqlite3_column_text(statement, 0), "delete") == 0;
  /* Here the change is committed, and may fail: a journal that could not be deleted undoes it, and no reader gets past it. */
  sealed = sqlite3_finalize(statement) == SQLITE_OK && sealed;
  if (!sealed) (void)sqlite3_exec(file->db, "SELECT value FROM meta", NULL, NULL, NULL); /* plays such a journal back */
  (void)sqlite3_busy_timeout(file->db, (int)o->busy_timeout_ms);
  return sealed;
}

static bool has_log(const tks__dayfile *file) {
  return tks__layout_has_beside(file->path, "-wal") || tks__layout_has_beside(file->path, "-shm");
}

bool tks__dayfile_seal(tks__dayfile *file) {
  const tks__dayfile_options *o = file->options;
  bool sealed = leave_wal_mode(file);
  /* SQLite removes the log and lets others at the file for a moment before its header says so. Who reads just then begins a new log,
   * an empty one, which only a file in WAL mode gets rid of. */
  for (int i = 0; i < SEAL_TRIES && sealed && has_log(file); i++)
    sealed = enter_wal_mode(file, NULL) != TKS_OK || leave_wal_mode(file);
  if (!sealed) return false;
  /* SQLite does not sync the removal of the journal by which it left WAL mode: after a power loss it could be back, and
   * would keep readers out until somebody writes this day. */
  int errnum = tks__fs_sync_dir_of(file->path);
  if (errnum != 0)
    tks__log_write(o->log, TKS_LOG_WARN, "cannot sync the directory of %s: %s", file->path, strerror(errnum));
  tks__log_write(o->log, TKS_LOG_INFO, "sealed %s", file->path);
  tks__dayfile_discard(file);
  return true;
}
