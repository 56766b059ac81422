#include "persist/gap_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/memory.h"

#define READ_BUSY_MS 2500
#define FORM 1 /* user_version; 0: keyed by from_seq and sink alone, so that one loss took another's place */

static const char *const CAUSES[] = {
    [TKS_GAP_FULL] = "full",   [TKS_GAP_JOURNAL] = "journal",   [TKS_GAP_BACKLOG] = "backlog",
    [TKS_GAP_CLOSE] = "close", [TKS_GAP_RECOVERY] = "recovery", [TKS_GAP_BACKEND] = "backend",
};

const char *tks__gap_cause_name(uint32_t cause) {
  return cause < sizeof CAUSES / sizeof CAUSES[0] && CAUSES[cause] != NULL ? CAUSES[cause] : "unknown";
}

static const char SCHEMA[] =
    "PRAGMA application_id=0x544b5347;" /* "TKSG" */
    "PRAGMA user_version=1;"
    "CREATE TABLE gap("
    "  from_seq INTEGER NOT NULL, sink INTEGER NOT NULL, to_seq INTEGER NOT NULL, records INTEGER NOT NULL,"
    "  cause INTEGER NOT NULL, cause_name TEXT NOT NULL, symbol TEXT, first_ns INTEGER NOT NULL,"
    "  last_ns INTEGER NOT NULL, PRIMARY KEY(from_seq, sink, cause, first_ns)) WITHOUT ROWID;"
    "CREATE VIEW gaps AS SELECT from_seq, to_seq, records, symbol, cause_name AS cause,"
    "  CASE sink WHEN 1 THEN 'sqlite' WHEN 2 THEN 'json' ELSE 'all' END AS sink,"
    "  strftime('%Y-%m-%dT%H:%M:%fZ', first_ns / 1e9, 'unixepoch') AS first_time,"
    "  strftime('%Y-%m-%dT%H:%M:%fZ', last_ns / 1e9, 'unixepoch') AS last_time FROM gap;";

/* Pages that are made and given up again are free in the file; changing each of them first makes the rollback journal, which stays, as
 * long. So neither has to grow for the first rows. */
static const char RESERVE[] =
    "BEGIN IMMEDIATE; CREATE TABLE reserve(filler);"
    "INSERT INTO reserve WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 8)"
    " SELECT zeroblob(3500) FROM n; COMMIT;"
    "BEGIN IMMEDIATE; UPDATE reserve SET filler = randomblob(3500); DROP TABLE reserve; COMMIT;";

bool tks__gap_same(const tks_gap *a, const tks_gap *b) {
  return a->from_seq == b->from_seq && a->sink == b->sink && a->cause == b->cause && a->first_ns == b->first_ns;
}

static bool is_found(const tks_gap *gap) { return gap->cause == TKS_GAP_RECOVERY || gap->cause == TKS_GAP_BACKEND; }

bool tks__gap_found_again(const tks_gap *a, const tks_gap *b) {
  return is_found(a) && a->from_seq == b->from_seq && a->sink == b->sink && a->cause == b->cause &&
         a->to_seq == b->to_seq && a->records == b->records;
}

bool tks__gap_file_is_damaged(int rc) {
  switch (rc & 0xff) {
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
    case SQLITE_ERROR: /* other tables */ return true;
    default: return false;
  }
}

/* Somebody else's, or no file at all; not so when a whole file system refuses, or when there are too many open files. */
static bool is_refused(const char *path) {
  struct stat status;
  if (stat(path, &status) != 0) return false;
  return !S_ISREG(status.st_mode) || (faccessat(AT_FDCWD, path, R_OK | W_OK, AT_EACCESS) != 0 && errno == EACCES);
}

bool tks__gap_file_is_unusable(int rc, const char *path) {
  if (tks__gap_file_is_damaged(rc)) return true;
  switch (rc & 0xff) {
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM: return is_refused(path);
    default: return false;
  }
}

static int open_file(const char *path, int flags, int busy_ms, sqlite3 **db) {
  int rc = sqlite3_open_v2(path, db, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
  if (rc == SQLITE_OK) (void)sqlite3_busy_timeout(*db, busy_ms);
  return rc;
}

static int run(sqlite3 *db, const char *sql) { return sqlite3_exec(db, sql, NULL, NULL, NULL); }

/* --------------------------------------------------------------- writing */

static int read_integer(sqlite3 *db, const char *sql, int *value) {
  sqlite3_stmt *stmt = NULL;
  int rc = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);
  if (rc == SQLITE_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
    *value = sqlite3_column_int(stmt, 0);
    rc = SQLITE_OK;
  }
  (void)sqlite3_finalize(stmt);
  return rc;
}

static int make_tables(sqlite3 *db) {
  int older = 0;
  int rc = run(db, "BEGIN IMMEDIATE");
  if (rc == SQLITE_OK) rc = read_integer(db, "SELECT count(*) FROM sqlite_master WHERE name = 'gap'", &older);
  if (rc == SQLITE_OK && older) rc = run(db, "DROP VIEW IF EXISTS gaps; ALTER TABLE gap RENAME TO older");
  if (rc == SQLITE_OK) rc = run(db, SCHEMA);
  if (rc == SQLITE_OK && older) rc = run(db, "INSERT INTO gap SELECT * FROM older; DROP TABLE older");
  return rc == SQLITE_OK ? run(db, "COMMIT") : rc;
}

static int prepare(sqlite3 *db, const tks__gap_writing *writing) {
  int form = 0;
  if (writing->reserve) (void)run(db, "PRAGMA journal_mode=PERSIST");
  int rc = run(db, "PRAGMA synchronous=FULL");
  if (rc == SQLITE_OK) rc = read_integer(db, "PRAGMA user_version", &form);
  if (rc != SQLITE_OK || form >= FORM) return rc;
  rc = make_tables(db);
  /* Without it a full disk will keep rows waiting: no reason to do without the ledger. */
  if (rc == SQLITE_OK && writing->reserve && run(db, RESERVE) != SQLITE_OK && !sqlite3_get_autocommit(db))
    (void)run(db, "ROLLBACK");
  return rc;
}

/* Rows that are there already only ever grow: a file that was taken in and could not be removed does no harm. */
static int copy_rows(sqlite3 *db) {
  return run(db, "INSERT OR REPLACE INTO main.gap SELECT o.* FROM other.gap o LEFT JOIN main.gap g ON g.from_seq = "
                 "o.from_seq AND g.sink = o.sink AND g.cause = o.cause AND g.first_ns = o.first_ns"
                 " WHERE g.from_seq IS NULL OR o.to_seq > g.to_seq OR o.records > g.records");
}

static int take_in(sqlite3 *db, const char *path) {
  int64_t size;
  if (path == NULL || tks__fs_size(path, &size) == ENOENT) return SQLITE_OK;
  sqlite3_stmt *stmt = NULL;
  int rc = sqlite3_prepare_v2(db, "ATTACH ?1 AS other", -1, &stmt, NULL);
  if (rc == SQLITE_OK) rc = sqlite3_bind_text(stmt, 1, path, -1, SQLITE_STATIC);
  if (rc == SQLITE_OK) rc = sqlite3_step(stmt);
  (void)sqlite3_finalize(stmt);
  if (rc != SQLITE_DONE) return rc;
  rc = size > 0 ? copy_rows(db) : SQLITE_OK;
  (void)run(db, "DETACH other");
  return rc;
}

static int write_row(sqlite3_stmt *stmt, const tks__names *symbols, const tks_gap *gap) {
  const tks__name *symbol = gap->symbol != 0 ? tks__names_get(symbols, gap->symbol) : NULL;
  (void)sqlite3_bind_int64(stmt, 1, (sqlite3_int64)gap->from_seq);
  (void)sqlite3_bind_int64(stmt, 2, gap->sink);
  (void)sqlite3_bind_int64(stmt, 3, (sqlite3_int64)gap->to_seq);
  (void)sqlite3_bind_int64(stmt, 4, (sqlite3_int64)gap->records);
  (void)sqlite3_bind_int64(stmt, 5, gap->cause);
  (void)sqlite3_bind_text(stmt, 6, tks__gap_cause_name(gap->cause), -1, SQLITE_STATIC);
  if (symbol != NULL) (void)sqlite3_bind_text(stmt, 7, symbol->text, (int)symbol->length, SQLITE_STATIC);
  else (void)sqlite3_bind_null(stmt, 7);
  (void)sqlite3_bind_int64(stmt, 8, gap->first_ns);
  (void)sqlite3_bind_int64(stmt, 9, gap->last_ns);
  (void)sqlite3_bind_int(stmt, 10, is_found(gap));
  (void)sqlite3_step(stmt);
  return sqlite3_reset(stmt);
}

static int write_rows(sqlite3 *db, const tks__gap_writing *writing) {
  sqlite3_stmt *stmt = NULL;
  /* Prepared without rows too: that tells whether this is our table. */
  int rc = sqlite3_prepare_v2(db,
                              "INSERT OR REPLACE INTO gap SELECT ?1,?2,?3,?4,?5,?6,?7,?8,?9 WHERE NOT (?10 AND EXISTS("
                              "SELECT 1 FROM gap WHERE from_seq=?1 AND sink=?2 AND cause=?5 AND to_seq=?3"
                              " AND records=?4 AND first_ns<>?8))",
                              -1, &stmt, NULL);
  if (rc == SQLITE_OK && writing->count > 0) {
    rc = run(db, "BEGIN IMMEDIATE");
    for (size_t i = 0; i < writing->count && rc == SQLITE_OK; i++)
      rc = write_row(stmt, writing->symbols, &writing->rows[i]);
    if (rc == SQLITE_OK) rc = run(db, "COMMIT");
  }
  (void)sqlite3_finalize(stmt);
  return rc;
}

int tks__gap_file_write(const tks__gap_writing *writing, int *taken, char why[TKS__GAP_WHY_MAX]) {
  sqlite3 *db = NULL;
  int rc = open_file(writing->path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, writing->busy_ms, &db);
  /* A file that may not be written is opened for reading instead. */
  if (rc == SQLITE_OK && sqlite3_db_readonly(db, "main") == 1) rc = SQLITE_READONLY;
  if (rc == SQLITE_OK) rc = prepare(db, writing);
  if (rc == SQLITE_OK) {
    *taken = take_in(db, writing->take_in);
    /* Waiting a second time for the same lock helps nobody. */
    rc = (*taken & 0xff) == SQLITE_BUSY ? *taken : write_rows(db, writing);
  }
  (void)snprintf(why, TKS__GAP_WHY_MAX, "%s",
                 db != NULL && sqlite3_extended_errcode(db) == rc ? sqlite3_errmsg(db) : sqlite3_errstr(rc));
  (void)sqlite3_close(db);
  return rc;
}

/* --------------------------------------------------------------- reading */

bool tks__gap_list_add(tks__gap_list *list, const tks_gap *gap) {
  if (!tks__grow((void **)&list->rows, &list->capacity, list->count + 1, sizeof *list->rows)) return false;
  list->rows[list->count++] = *gap;
  return true;
}

static tks_gap row_of(sqlite3_stmt *stmt, tks__names *symbols) {
  tks_gap gap = {
      .from_seq = (uint64_t)sqlite3_column_int64(stmt, 0),
      .to_seq = (uint64_t)sqlite3_column_int64(stmt, 1),
      .records = (uint64_t)sqlite3_column_int64(stmt, 2),
      .first_ns = sqlite3_column_int64(stmt, 3),
      .last_ns = sqlite3_column_int64(stmt, 4),
      .cause = (uint32_t)sqlite3_column_int(stmt, 5),
      .sink = (uint32_t)sqlite3_column_int(stmt, 6),
  };
  const char *name = (const char *)sqlite3_column_text(stmt, 7);
  /* A name that has no place in the table any more is not worth failing for. */
  if (name != NULL && tks__names_intern(symbols, name, (size_t)sqlite3_column_bytes(stmt, 7), &gap.symbol) != TKS_OK)
    gap.symbol = 0;
  return gap;
}

static int read_rows(sqlite3 *db, tks__names *symbols, uint64_t since_seq, tks__gap_list *list) {
  sqlite3_stmt *stmt = NULL;
  int rc = sqlite3_prepare_v2(db,
                              "SELECT from_seq, to_seq, records, first_ns, last_ns, cause, sink, symbol FROM gap"
                              " WHERE to_seq >= ?1",
                              -1, &stmt, NULL);
  if (rc == SQLITE_OK) (void)sqlite3_bind_int64(stmt, 1, since_seq > INT64_MAX ? INT64_MAX : (sqlite3_int64)since_seq);
  while (rc == SQLITE_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
    const tks_gap gap = row_of(stmt, symbols);
    rc = tks__gap_list_add(list, &gap) ? SQLITE_OK : SQLITE_NOMEM;
  }
  (void)sqlite3_finalize(stmt);
  return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int read_once(const char *path, int flags, tks__names *symbols, uint64_t since_seq, tks__gap_list *list,
                     char why[TKS__GAP_WHY_MAX]) {
  sqlite3 *db = NULL;
  size_t before = list->count;
  int rc = open_file(path, flags, READ_BUSY_MS, &db);
  if (rc == SQLITE_OK) rc = read_rows(db, symbols, since_seq, list);
  if (rc != SQLITE_OK) list->count = before;
  (void)snprintf(why, TKS__GAP_WHY_MAX, "%s", db != NULL ? sqlite3_errmsg(db) : sqlite3_errstr(rc));
  (void)sqlite3_close(db);
  return rc;
}

int tks__gap_file_read(const char *path, bool may_repair, tks__names *symbols, uint64_t since_seq, tks__gap_list *list,
                       char why[TKS__GAP_WHY_MAX]) {
  int rc = read_once(path, SQLITE_OPEN_READONLY, symbols, since_seq, list, why);
  if ((rc & 0xff) != SQLITE_READONLY) return rc;
  /* A crash interrupted its last write, which only a writer can take back. */
  if (may_repair) return read_once(path, SQLITE_OPEN_READWRITE, symbols, since_seq, list, why);
  (void)snprintf(why, TKS__GAP_WHY_MAX,
                 "a crash interrupted its last write; open the store for writing once, which takes that back");
  return rc;
}
