/* sqlite.c - SQLite by hand, twice: the schema that one usually finds, and one made for ticks. */
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "rival.h"

typedef struct self {
  sqlite3 *db;
  sqlite3_stmt *insert, *recent, *range, *scan;
  bool usual;
  batch batch;
} self;

static void check(const self *s, int rc, int expected, const char *what) {
  if (rc != expected) die("SQLite, %s: %s", what, sqlite3_errmsg(s->db));
}

static void run(const self *s, const char *sql) {
  check(s, sqlite3_exec(s->db, sql, NULL, NULL, NULL), SQLITE_OK, sql);
}

static sqlite3_stmt *prepare(const self *s, const char *sql) {
  sqlite3_stmt *statement;
  check(s, sqlite3_prepare_v3(s->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL), SQLITE_OK, sql);
  return statement;
}

static const char *const USUAL =
    "CREATE TABLE ticks(id INTEGER PRIMARY KEY AUTOINCREMENT, symbol TEXT NOT NULL, timestamp INTEGER NOT NULL,"
    " bid REAL NOT NULL, ask REAL NOT NULL, lp TEXT);"
    "CREATE INDEX ticks_symbol ON ticks(symbol); CREATE INDEX ticks_timestamp ON ticks(timestamp);"
    "CREATE INDEX ticks_symbol_timestamp ON ticks(symbol, timestamp);";
static const char *const TIGHT =
    "CREATE TABLE ticks(symbol_id INTEGER NOT NULL, ts INTEGER NOT NULL, seq INTEGER NOT NULL, bid REAL "
    "NOT NULL, ask REAL NOT NULL, lp_id INTEGER, PRIMARY KEY(symbol_id, ts, seq)) WITHOUT ROWID;";

static void *open_it(const char *path, bool usual) {
  char file[600];
  self *s = calloc(1, sizeof *s);
  if (s == NULL) die("out of memory");
  s->usual = usual;
  (void)snprintf(file, sizeof file, "%s/ticks.db", path);
  check(s, sqlite3_open(file, &s->db), SQLITE_OK, "open");
  run(s, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-65536; PRAGMA temp_store=MEMORY;"
         "PRAGMA mmap_size=268435456;");
  run(s, usual ? USUAL : TIGHT);
  if (usual) {
    s->insert = prepare(s, "INSERT INTO ticks(symbol, timestamp, bid, ask, lp) VALUES(?1, ?2, ?3, ?4, 'OANDA')");
    s->recent =
        prepare(s, "SELECT timestamp, id, bid, ask FROM ticks WHERE symbol = ?1 ORDER BY timestamp DESC LIMIT ?2");
    s->range =
        prepare(s, "SELECT timestamp, id, bid, ask FROM ticks WHERE symbol = ?1 AND timestamp >= ?2 AND timestamp < ?3"
                   " ORDER BY timestamp");
  } else {
    s->insert = prepare(s, "INSERT INTO ticks VALUES(?1, ?2, ?5, ?3, ?4, 1)");
    s->recent =
        prepare(s, "SELECT ts, seq, bid, ask FROM ticks WHERE symbol_id = ?1 ORDER BY ts DESC, seq DESC LIMIT ?2");
    s->range = prepare(
        s, "SELECT ts, seq, bid, ask FROM ticks WHERE symbol_id = ?1 AND ts >= ?2 AND ts < ?3 ORDER BY ts, seq");
  }
  s->scan = prepare(s, "SELECT count(*), sum(bid) FROM ticks");
  batch_init(&s->batch, usual ? 500 : 10000);
  return s;
}

static void *open_usual(const char *path, const char **why) { return (void)why, open_it(path, true); }
static void *open_tight(const char *path, const char **why) { return (void)why, open_it(path, false); }

static void bind_symbol(const self *s, sqlite3_stmt *statement, uint32_t symbol) {
  if (s->usual) (void)sqlite3_bind_text(statement, 1, rival_symbol(symbol), -1, SQLITE_STATIC);
  else (void)sqlite3_bind_int64(statement, 1, symbol);
}

static void commit(self *s) {
  if (s->batch.count == 0) return;
  if (!s->usual) batch_sort(&s->batch);
  run(s, "BEGIN IMMEDIATE");
  for (size_t i = 0; i < s->batch.count; i++) {
    const tick *t = &s->batch.ticks[i];
    bind_symbol(s, s->insert, t->symbol);
    (void)sqlite3_bind_int64(s->insert, 2, t->ts_ns);
    (void)sqlite3_bind_double(s->insert, 3, t->bid);
    (void)sqlite3_bind_double(s->insert, 4, t->ask);
    if (!s->usual) (void)sqlite3_bind_int64(s->insert, 5, (int64_t)t->seq);
    check(s, sqlite3_step(s->insert), SQLITE_DONE, "insert");
    (void)sqlite3_reset(s->insert);
  }
  run(s, "COMMIT");
  s->batch.count = 0;
}

static void write_it(void *context, const tick *ticks, size_t count) {
  self *s = context;
  for (size_t i = 0; i < count; i++) {
    s->batch.ticks[s->batch.count++] = ticks[i];
    if (s->batch.count == s->batch.capacity) commit(s);
  }
}

static void flush_it(void *context) { commit(context); }

static size_t rows_of(const self *s, sqlite3_stmt *statement, uint32_t symbol, tick *out, size_t capacity) {
  size_t count = 0;
  int rc = SQLITE_ROW;
  while (count < capacity && (rc = sqlite3_step(statement)) == SQLITE_ROW)
    out[count++] = (tick){sqlite3_column_int64(statement, 0), (uint64_t)sqlite3_column_int64(statement, 1),
                          sqlite3_column_double(statement, 2), sqlite3_column_double(statement, 3), symbol};
  if (rc != SQLITE_ROW) check(s, rc, SQLITE_DONE, "select");
  (void)sqlite3_reset(statement);
  return count;
}

static size_t recent_it(void *context, uint32_t symbol, size_t n, tick *out) {
  self *s = context;
  bind_symbol(s, s->recent, symbol);
  (void)sqlite3_bind_int64(s->recent, 2, (int64_t)n);
  size_t count = rows_of(s, s->recent, symbol, out, n);
  reverse_ticks(out, count);
  return count;
}

static size_t range_it(void *context, uint32_t symbol, int64_t from_ns, int64_t to_ns, tick *out, size_t capacity) {
  self *s = context;
  bind_symbol(s, s->range, symbol);
  (void)sqlite3_bind_int64(s->range, 2, from_ns);
  (void)sqlite3_bind_int64(s->range, 3, to_ns);
  return rows_of(s, s->range, symbol, out, capacity);
}

static uint64_t scan_it(void *context, double *sum) {
  self *s = context;
  check(s, sqlite3_step(s->scan), SQLITE_ROW, "scan");
  uint64_t count = (uint64_t)sqlite3_column_int64(s->scan, 0);
  *sum = sqlite3_column_double(s->scan, 1);
  (void)sqlite3_reset(s->scan);
  return count;
}

static void close_it(void *context) {
  self *s = context;
  sqlite3_stmt *all[] = {s->insert, s->recent, s->range, s->scan};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) (void)sqlite3_finalize(all[i]);
  check(s, sqlite3_close(s->db), SQLITE_OK, "close");
  batch_free(&s->batch);
  free(s);
}

const rival rival_sqlite_usual = {.key = "sqlite_usual",
                                  .name = "SQLite, usual schema",
                                  .form = "text symbol, AUTOINCREMENT id, three indexes; transactions of 500, WAL, "
                                          "synchronous FULL: each commit survives a power loss",
                                  .open = open_usual,
                                  RIVAL_CALLS};

const rival rival_sqlite_tight = {.key = "sqlite_tight",
                                  .name = "SQLite, tight table",
                                  .form = "WITHOUT ROWID, key (symbol id, time, sequence); transactions of 10,000 "
                                          "sorted by symbol, WAL, synchronous FULL: each commit "
                                          "survives a power loss",
                                  .open = open_tight,
                                  RIVAL_CALLS};
