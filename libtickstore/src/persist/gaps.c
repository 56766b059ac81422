#include "persist/gaps.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/memory.h"

#define ROWS_MAX 4096   /* noted and not yet written; beyond, runs are joined */
#define ROWS_RESERVE 32 /* more than there are sinks and causes: beyond ROWS_MAX each finds one of its own to join */
#define BUSY_MS 1000
#define WHY_MAX 256
#define APPLICATION_ID "0x544b5347" /* "TKSG" */

typedef struct row {
  tks_gap gap;
  bool dirty;
} row;

struct tks__gaps {
  const tks__layout *layout;
  const tks__names *symbols;
  const tks__log *log;
  pthread_mutex_t lock;
  row *rows; /* the last one of each sink stays after it was written: it may go on */
  size_t count;
  tks__log_limiter limiter; /* writer's */
};

static const char *const CAUSES[] = {
    [TKS_GAP_FULL] = "full",   [TKS_GAP_JOURNAL] = "journal",   [TKS_GAP_BACKLOG] = "backlog",
    [TKS_GAP_CLOSE] = "close", [TKS_GAP_RECOVERY] = "recovery", [TKS_GAP_BACKEND] = "backend",
};

const char *tks__gap_cause_name(uint32_t cause) {
  return cause < sizeof CAUSES / sizeof CAUSES[0] && CAUSES[cause] != NULL ? CAUSES[cause] : "unknown";
}

static const char SCHEMA[] =
    "PRAGMA application_id=" APPLICATION_ID ";"
    "CREATE TABLE IF NOT EXISTS gap("
    "  from_seq INTEGER NOT NULL, sink INTEGER NOT NULL, to_seq INTEGER NOT NULL, records INTEGER NOT NULL,"
    "  cause INTEGER NOT NULL, cause_name TEXT NOT NULL, symbol TEXT, first_ns INTEGER NOT NULL,"
    "  last_ns INTEGER NOT NULL, PRIMARY KEY(from_seq, sink)) WITHOUT ROWID;"
    "CREATE VIEW IF NOT EXISTS gaps AS SELECT from_seq, to_seq, records, symbol, cause_name AS cause,"
    "  CASE sink WHEN 1 THEN 'sqlite' WHEN 2 THEN 'json' ELSE 'all' END AS sink,"
    "  strftime('%Y-%m-%dT%H:%M:%fZ', first_ns / 1e9, 'unixepoch') AS first_time,"
    "  strftime('%Y-%m-%dT%H:%M:%fZ', last_ns / 1e9, 'unixepoch') AS last_time FROM gap;";

tks__gaps *tks__gaps_new(const tks__layout *layout, const tks__names *symbols, const tks__log *log) {
  tks__gaps *gaps = tks__calloc(1, sizeof *gaps);
  if (gaps == NULL) return NULL;
  gaps->layout = layout;
  gaps->symbols = symbols;
  gaps->log = log;
  gaps->rows = tks__calloc(ROWS_MAX + ROWS_RESERVE, sizeof *gaps->rows);
  if (gaps->rows != NULL && pthread_mutex_init(&gaps->lock, NULL) == 0) return gaps;
  tks__free(gaps->rows);
  tks__free(gaps);
  return NULL;
}

void tks__gaps_free(tks__gaps *gaps) {
  if (gaps == NULL) return;
  (void)pthread_mutex_destroy(&gaps->lock);
  tks__free(gaps->rows);
  tks__free(gaps);
}

/* The row that a loss is part of: one that ends where it begins or, when there are too many, any of its kind. */
static row *row_to_extend(tks__gaps *gaps, uint32_t sink, const tks__loss *loss) {
  for (size_t i = gaps->count; i-- > 0;) {
    const tks_gap *gap = &gaps->rows[i].gap;
    if (gap->sink != sink) continue;
    if (gap->cause == loss->cause && (gap->to_seq + 1 == loss->from_seq || gaps->count >= ROWS_MAX))
      return &gaps->rows[i];
    if (gaps->count < ROWS_MAX) return NULL;
  }
  return NULL;
}

void tks__gaps_note(tks__gaps *gaps, uint32_t sink, const tks__loss *loss) {
  (void)pthread_mutex_lock(&gaps->lock);
  row *last = row_to_extend(gaps, sink, loss);
  if (last != NULL) {
    if (loss->to_seq > last->gap.to_seq) last->gap.to_seq = loss->to_seq;
    last->gap.records += loss->records;
    last->gap.last_ns = loss->last_ns;
    if (last->gap.symbol != loss->symbol) last->gap.symbol = 0;
    last->dirty = true;
  } else {
    gaps->rows[gaps->count++] = (row){
        .gap = {.from_seq = loss->from_seq,
                .to_seq = loss->to_seq,
                .records = loss->records,
                .first_ns = loss->first_ns,
                .last_ns = loss->last_ns,
                .cause = loss->cause,
                .sink = sink,
                .symbol = loss->symbol},
        .dirty = true,
    };
  }
  (void)pthread_mutex_unlock(&gaps->lock);
}

/* --------------------------------------------------------------- writing */

static int write_row(sqlite3_stmt *stmt, const tks__gaps *gaps, const tks_gap *gap) {
  const tks__name *symbol = gap->symbol != 0 ? tks__names_get(gaps->symbols, gap->symbol) : NULL;
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
  (void)sqlite3_step(stmt);
  return sqlite3_reset(stmt);
}

static int write_rows(sqlite3 *db, const tks__gaps *gaps, const row *rows, size_t count) {
  sqlite3_stmt *stmt = NULL;
  int rc = sqlite3_exec(db, "PRAGMA synchronous=FULL; BEGIN IMMEDIATE", NULL, NULL, NULL);
  if (rc == SQLITE_OK) rc = sqlite3_exec(db, SCHEMA, NULL, NULL, NULL);
  if (rc == SQLITE_OK)
    rc = sqlite3_prepare_v2(db, "INSERT OR REPLACE INTO gap VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9)", -1, &stmt, NULL);
  for (size_t i = 0; i < count && rc == SQLITE_OK; i++)
    if (rows[i].dirty) rc = write_row(stmt, gaps, &rows[i].gap);
  (void)sqlite3_finalize(stmt);
  return rc == SQLITE_OK ? sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) : rc;
}

/* Not what this library writes: a file that no attempt will make better. */
static bool is_damage(int rc) {
  switch (rc & 0xff) {
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
    case SQLITE_ERROR: /* other tables */ return true;
    default: return false;
  }
}

static int open_ledger(const tks__layout *layout, int flags, sqlite3 **db) {
  char path[TKS__PATH_MAX];
  tks__layout_gaps(layout, path);
  int rc = sqlite3_open_v2(path, db, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
  if (rc == SQLITE_OK) (void)sqlite3_busy_timeout(*db, BUSY_MS);
  return rc;
}

/* A copy of what is dirty; the originals count as written. 0: nothing. */
static size_t take_dirty(tks__gaps *gaps, row **copy) {
  *copy = NULL;
  (void)pthread_mutex_lock(&gaps->lock);
  size_t count = 0;
  for (size_t i = 0; i < gaps->count; i++) count += gaps->rows[i].dirty;
  if (count > 0) *copy = tks__calloc(count, sizeof **copy);
  if (*copy != NULL) {
    size_t n = 0;
    for (size_t i = 0; i < gaps->count; i++)
      if (gaps->rows[i].dirty) (*copy)[n++] = gaps->rows[i];
  }
  (void)pthread_mutex_unlock(&gaps->lock);
  return count;
}

static bool same(const tks_gap *a, const tks_gap *b) { return a->from_seq == b->from_seq && a->sink == b->sink; }

/* Whether this is the last row of its sink. */
static bool may_go_on(const tks__gaps *gaps, size_t index) {
  for (size_t i = index + 1; i < gaps->count; i++)
    if (gaps->rows[i].gap.sink == gaps->rows[index].gap.sink) return false;
  return true;
}

/* Rows that went on meanwhile stay dirty. All clean ones that cannot go on are let go. */
static void settle(tks__gaps *gaps, const row *written, size_t count) {
  (void)pthread_mutex_lock(&gaps->lock);
  for (size_t w = 0; w < count; w++)
    for (size_t i = 0; i < gaps->count; i++)
      if (same(&gaps->rows[i].gap, &written[w].gap) && gaps->rows[i].gap.records == written[w].gap.records)
        gaps->rows[i].dirty = false;
  size_t kept = 0;
  for (size_t i = 0; i < gaps->count; i++)
    if (gaps->rows[i].dirty || may_go_on(gaps, i)) gaps->rows[kept++] = gaps->rows[i];
  gaps->count = kept;
  (void)pthread_mutex_unlock(&gaps->lock);
}

/* One attempt; `why` says what came of a failed one. */
static int write_ledger(const tks__gaps *gaps, const row *rows, size_t count, char why[WHY_MAX]) {
  sqlite3 *db = NULL;
  int rc = open_ledger(gaps->layout, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, &db);
  if (rc == SQLITE_OK) rc = write_rows(db, gaps, rows, count);
  (void)snprintf(why, WHY_MAX, "%s", db != NULL ? sqlite3_errmsg(db) : sqlite3_errstr(rc));
  (void)sqlite3_close(db);
  return rc;
}

/* A ledger that cannot be used must not keep what comes from being written down. */
static bool set_aside(const tks__gaps *gaps, const char *why) {
  char path[TKS__PATH_MAX], aside[TKS__PATH_MAX];
  tks__layout_gaps(gaps->layout, path);
  int errnum = tks__layout_set_aside(path, aside);
  tks__log_write(gaps->log, TKS_LOG_ERROR, "the gap ledger gaps.db is damaged: %s; %s%s", why,
                 errnum == 0 ? "set aside as " : "it cannot be set aside: ", errnum == 0 ? aside : strerror(errnum));
  return errnum == 0;
}

bool tks__gaps_write(tks__gaps *gaps) {
  row *rows;
  size_t count = take_dirty(gaps, &rows);
  if (count == 0) return true;
  if (rows == NULL) return false;
  char why[WHY_MAX];
  int rc = write_ledger(gaps, rows, count, why);
  if (is_damage(rc) && set_aside(gaps, why)) rc = write_ledger(gaps, rows, count, why);
  if (rc == SQLITE_OK) settle(gaps, rows, count);
  else
    tks__log_limited(gaps->log, &gaps->limiter, TKS_LOG_ERROR, "cannot write the gap ledger gaps.db: %s; %zu rows wait",
                     why, count);
  tks__free(rows);
  return rc == SQLITE_OK;
}

/* --------------------------------------------------------------- reading */

typedef struct listing {
  tks_gap *rows;
  size_t count, capacity;
} listing;

static bool add(listing *list, const tks_gap *gap) {
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

static int read_rows(sqlite3 *db, tks__names *symbols, uint64_t since_seq, listing *list) {
  sqlite3_stmt *stmt = NULL;
  int rc = sqlite3_prepare_v2(db,
                              "SELECT from_seq, to_seq, records, first_ns, last_ns, cause, sink, symbol FROM gap"
                              " WHERE to_seq >= ?1 ORDER BY from_seq, sink",
                              -1, &stmt, NULL);
  if (rc == SQLITE_OK) (void)sqlite3_bind_int64(stmt, 1, since_seq > INT64_MAX ? INT64_MAX : (sqlite3_int64)since_seq);
  while (rc == SQLITE_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
    const tks_gap gap = row_of(stmt, symbols);
    rc = add(list, &gap) ? SQLITE_OK : SQLITE_NOMEM;
  }
  (void)sqlite3_finalize(stmt);
  return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int read_ledger(const tks__layout *layout, bool may_repair, tks__names *symbols, uint64_t since_seq,
                       listing *list, tks_error *error) {
  char path[TKS__PATH_MAX];
  tks__layout_gaps(layout, path);
  int64_t size;
  int errnum = tks__fs_size(path, &size);
  /* Nothing was ever lost, or not even the first row could be written. */
  if (errnum == ENOENT || (errnum == 0 && size == 0)) return TKS_OK;
  if (errnum != 0) return tks__fail_errno(error, errnum, "cannot read %s", path);
  sqlite3 *db = NULL;
  size_t before = list->count;
  int rc = open_ledger(layout, SQLITE_OPEN_READONLY, &db);
  if (rc == SQLITE_OK) rc = read_rows(db, symbols, since_seq, list);
  if (may_repair && (rc & 0xff) == SQLITE_READONLY) {
    /* A crash interrupted its last write, which only a writer can take back. */
    (void)sqlite3_close(db);
    rc = open_ledger(layout, SQLITE_OPEN_READWRITE, &db);
    list->count = before;
    if (rc == SQLITE_OK) rc = read_rows(db, symbols, since_seq, list);
  }
  int code = TKS_OK;
  if (rc != SQLITE_OK) {
    code = (rc & 0xff) == SQLITE_NOMEM ? TKS_ENOMEM : is_damage(rc) ? TKS_EDAYFILE : TKS_EIO;
    (void)tks__fail(error, code, rc, "cannot read %s: %s", path, db != NULL ? sqlite3_errmsg(db) : sqlite3_errstr(rc));
  }
  (void)sqlite3_close(db);
  return code;
}

static bool add_unwritten(tks__gaps *gaps, uint64_t since_seq, listing *list) {
  bool ok = true;
  (void)pthread_mutex_lock(&gaps->lock);
  for (size_t i = 0; i < gaps->count && ok; i++)
    if (gaps->rows[i].dirty && gaps->rows[i].gap.to_seq >= since_seq) ok = add(list, &gaps->rows[i].gap);
  (void)pthread_mutex_unlock(&gaps->lock);
  return ok;
}

static int by_from_seq(const void *a, const void *b) {
  const tks_gap *x = a, *y = b;
  if (x->from_seq != y->from_seq) return x->from_seq < y->from_seq ? -1 : 1;
  return (x->sink > y->sink) - (x->sink < y->sink);
}

/* Sorts, and of a row that is there twice keeps the later state: a row only grows. */
static void put_in_order(listing *list) {
  if (list->count < 2) return;
  qsort(list->rows, list->count, sizeof *list->rows, by_from_seq);
  size_t kept = 1;
  for (size_t i = 1; i < list->count; i++) {
    tks_gap *last = &list->rows[kept - 1];
    if (!same(last, &list->rows[i])) list->rows[kept++] = list->rows[i];
    else if (list->rows[i].records > last->records) *last = list->rows[i];
  }
  list->count = kept;
}

int tks__gaps_list(const tks__layout *layout, tks__gaps *gaps, tks__names *symbols, uint64_t since_seq, tks_gap *rows,
                   size_t capacity, size_t *total, tks_error *error) {
  listing list = {0};
  /* Before the file is read: what is written down in between is seen twice, never missed. */
  int code = gaps == NULL || add_unwritten(gaps, since_seq, &list)
                 ? read_ledger(layout, gaps != NULL, symbols, since_seq, &list, error)
                 : tks__fail(error, TKS_ENOMEM, 0, "out of memory listing gaps");
  if (code == TKS_OK) {
    put_in_order(&list);
    *total = list.count;
    if (capacity > list.count) capacity = list.count;
    if (capacity > 0) memcpy(rows, list.rows, capacity * sizeof *rows);
  }
  tks__free(list.rows);
  return code;
}
