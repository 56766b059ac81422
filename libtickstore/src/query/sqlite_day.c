#include "query/sqlite_day.h"

#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/utc.h"
#include "persist/dayfile.h"

/* Among SQLite's codes, of which none is negative: there is no room for a name of the file in this process's table. Without the name
 * the record would seem to have none. */
#define NAMES_FULL (-1)

enum { ASCENDING, DESCENDING, ALL_ASCENDING, ALL_DESCENDING, SOURCE_ID, SOURCE_NAME };

/* The rows go to a function, which takes them and answers 0 until it wants no more: a row that a statement gives costs half as much again.
 * The symbol's id is looked up in the same statement: for each one SQLite takes and drops the locks of the file. */
#define TAKE "tks_take(ts_ms, ts_sub_ns, seq, bid, ask, source_id, flags, bid_size, ask_size, recv_ns)"
#define SELECT_FROM(after, until)                                                                                 \
  "SELECT 1 FROM quote"                                                                                           \
  " WHERE symbol_id = (SELECT id FROM symbol WHERE name = ?1) AND (ts_ms, ts_sub_ns, seq) " after " (?2, ?3, ?4)" \
  " AND (ts_ms, ts_sub_ns) " until " (?5, ?6) AND "
#define THAT_PASSES "CASE WHEN seq <= ?7 AND (?8 = 0 OR source_id = ?8) THEN " TAKE " ELSE 0 END"

static const char *const SQL[] = {
    [ASCENDING] = SELECT_FROM(">", "<") THAT_PASSES " ORDER BY ts_ms, ts_sub_ns, seq",
    [DESCENDING] = SELECT_FROM("<", ">=") THAT_PASSES " ORDER BY ts_ms DESC, ts_sub_ns DESC, seq DESC",
    [ALL_ASCENDING] = SELECT_FROM(">", "<") TAKE " ORDER BY ts_ms, ts_sub_ns, seq",
    [ALL_DESCENDING] = SELECT_FROM("<", ">=") TAKE " ORDER BY ts_ms DESC, ts_sub_ns DESC, seq DESC",
    [SOURCE_ID] = "SELECT id FROM source WHERE name = ?1",
    [SOURCE_NAME] = "SELECT name FROM source WHERE id = ?1",
};

_Static_assert(sizeof SQL / sizeof SQL[0] <= TKS__POOL_STATEMENTS, "the pool has room for these statements");

static int fail(const tks__connection *c, const tks__pool *pool, int rc, tks_error *error) {
  char path[TKS__PATH_MAX];
  tks__layout_day_file(pool->options.layout, c->day, path);
  if (rc == NAMES_FULL) return tks__fail(error, TKS_ETABLEFULL, 0, "too many names are known to read %s", path);
  if (rc == SQLITE_INTERRUPT)
    return tks__fail(error, TKS_EDEADLINE, 0, "reading %s took longer than %u ms", path, pool->options.deadline_ms);
  if ((rc & 0xff) == SQLITE_BUSY)
    return tks__fail(error, TKS_EDEADLINE, rc, "%s was locked for longer than %u ms", path,
                     pool->options.busy_timeout_ms);
  return tks__dayfile_fail(c->db, rc, path, error);
}

static int statement(tks__connection *c, int which, sqlite3_stmt **out) {
  *out = c->statements[which];
  if (*out != NULL) return SQLITE_OK;
  int rc = sqlite3_prepare_v3(c->db, SQL[which], -1, SQLITE_PREPARE_PERSISTENT, &c->statements[which], NULL);
  *out = c->statements[which];
  return rc;
}

/* NULL for a text: there is none, or there was no memory to hand it out. */
static bool lacks_memory(const tks__connection *c) { return sqlite3_errcode(c->db) == SQLITE_NOMEM; }

/* The file's id of a source; 0 when the file does not have it. */
static int find_source(tks__connection *c, const tks__name *name, int64_t *id) {
  sqlite3_stmt *s;
  *id = 0;
  int rc = statement(c, SOURCE_ID, &s);
  if (rc == SQLITE_OK) rc = sqlite3_bind_text(s, 1, name->text, (int)name->length, SQLITE_STATIC);
  if (rc != SQLITE_OK) return rc;
  rc = sqlite3_step(s);
  if (rc == SQLITE_ROW) *id = sqlite3_column_int64(s, 0);
  int reset = sqlite3_reset(s);
  return rc == SQLITE_ROW || rc == SQLITE_DONE ? reset : rc;
}

/* The process's id of a source of the file, remembered in the connection. */
static int map_source(tks__connection *c, tks__names *sources, int64_t file_id, uint32_t *id) {
  *id = 0;
  if (file_id <= 0) return SQLITE_OK;
  /* A session has no higher ids; a file that many have written to, or somebody else, may. */
  bool remembered = file_id <= UINT16_MAX;
  size_t index = (size_t)file_id;
  if (remembered && index < c->sources_capacity && c->sources[index] != 0) {
    *id = c->sources[index];
    return SQLITE_OK;
  }
  sqlite3_stmt *s;
  int rc = statement(c, SOURCE_NAME, &s);
  if (rc == SQLITE_OK) rc = sqlite3_bind_int64(s, 1, file_id);
  if (rc != SQLITE_OK) return rc;
  rc = sqlite3_step(s);
  int code = TKS_OK;
  if (rc == SQLITE_ROW) {
    const char *name = (const char *)sqlite3_column_text(s, 0);
    if (name != NULL) code = tks__names_intern(sources, name, (size_t)sqlite3_column_bytes(s, 0), id);
    else if (lacks_memory(c)) code = TKS_ENOMEM;
  }
  int reset = sqlite3_reset(s);
  if (rc != SQLITE_ROW && rc != SQLITE_DONE) return rc;
  if (code == TKS_ENOMEM) return SQLITE_NOMEM;
  if (code == TKS_ETABLEFULL) return NAMES_FULL;
  if (!remembered) return reset;
  size_t before = c->sources_capacity;
  if (!tks__grow((void **)&c->sources, &c->sources_capacity, index + 1, sizeof *c->sources)) return SQLITE_NOMEM;
  memset(c->sources + before, 0, (c->sources_capacity - before) * sizeof *c->sources);
  c->sources[index] = *id;
  return reset;
}

/* NULL reads as 0: only there the type has to be asked for. */
static double price(sqlite3_value *v) {
  double value = sqlite3_value_double(v);
  return value == 0 && sqlite3_value_type(v) == SQLITE_NULL ? NAN : value;
}

/* A read that is running: what tks_take fills. */
struct tks__taking {
  tks__names *sources;
  tks__stretch *stretch;
  int64_t source_id; /* of the file; 0: all */
  tks__record *records;
  size_t capacity, count;
  int rc;
};

/* Time and sequence of the row; false: they are none that are written. Reading goes on behind the last record's: with others it would
 * come by the same rows again and again, or leave the day. */
static bool read_key(const tks__connection *c, sqlite3_value **row, int64_t *ts_ns, uint64_t *seq) {
  for (int column = 0; column < 3; column++)
    if (sqlite3_value_type(row[column]) != SQLITE_INTEGER) return false;
  int64_t ms = sqlite3_value_int64(row[0]), sub_ns = sqlite3_value_int64(row[1]), number = sqlite3_value_int64(row[2]);
  int64_t midnight_ms = (int64_t)c->day * (TKS__NS_PER_DAY / TKS__NS_PER_MS);
  /* Unsigned: the first day of all begins before the first instant. */
  *ts_ns = (int64_t)((uint64_t)ms * 1000000 + (uint64_t)sub_ns);
  *seq = (uint64_t)number;
  return ms >= midnight_ms && ms < midnight_ms + TKS__NS_PER_DAY / TKS__NS_PER_MS && sub_ns >= 0 &&
         sub_ns < TKS__NS_PER_MS && number > 0;
}

/* What the statement says too: SQLite is free to ask the function first. */
static bool is_ahead(const tks__stretch *t, int64_t ts_ns, uint64_t seq) {
  if (ts_ns < t->from_ns || ts_ns >= t->to_ns) return false;
  if (!t->started) return true;
  if (ts_ns != t->ts_ns) return (ts_ns > t->ts_ns) != t->descending;
  return seq != t->seq && (seq > t->seq) != t->descending;
}

/* The row becomes the next record, if it is wanted; the stretch goes on behind it. */
static int take_row(tks__connection *c, tks__taking *t, sqlite3_value **row) {
  tks__stretch *stretch = t->stretch;
  int64_t ts_ns;
  uint64_t seq;
  if (!read_key(c, row, &ts_ns, &seq)) return SQLITE_CORRUPT;
  if (!is_ahead(stretch, ts_ns, seq)) return SQLITE_OK;
  if (seq <= stretch->max_seq && (t->source_id == 0 || sqlite3_value_int64(row[5]) == t->source_id)) {
    tks__record *r = &t->records[t->count];
    *r = (tks__record){
        .ts_ns = ts_ns,
        .recv_ns = sqlite3_value_int64(row[9]),
        .seq = seq,
        .bid = price(row[3]),
        .ask = price(row[4]),
        .bid_size = sqlite3_value_double(row[7]),
        .ask_size = sqlite3_value_double(row[8]),
        .symbol = stretch->symbol,
        .flags = (uint32_t)sqlite3_value_int64(row[6]),
        .reserved = TKS__KIND_QUOTE,
    };
    int rc = map_source(c, t->sources, sqlite3_value_int64(row[5]), &r->source);
    if (rc != SQLITE_OK) return rc;
    t->count++;
  }
  stretch->started = true;
  stretch->ts_ns = ts_ns;
  stretch->seq = seq;
  return SQLITE_OK;
}

/* tks_take(...): 0 to go on. */
static void take(sqlite3_context *context, int columns, sqlite3_value **row) {
  (void)columns;
  tks__connection *c = sqlite3_user_data(context);
  tks__taking *t = c->taking;
  if (t->count < t->capacity) t->rc = take_row(c, t, row);
  if (t->rc > SQLITE_OK) sqlite3_result_error_code(context, t->rc);
  else sqlite3_result_int(context, t->rc != SQLITE_OK || t->count == t->capacity);
}

/* Which statement reads the stretch: one that gives all rows costs less for each, one that gives those that pass a third for each that
 * does not. Forwards nearly all have a low enough sequence number; backwards, behind a ring, the first many do not.
 * Of rows that the statement passes over nobody hears, so a read that ends among them at its deadline could not go on behind them. After
 * the first such end all rows come here. */
static int statement_for(const tks__stretch *t) {
  bool all = t->was_late || (t->source == 0 && (!t->descending || t->max_seq >= INT64_MAX));
  if (t->descending) return all ? ALL_DESCENDING : DESCENDING;
  return all ? ALL_ASCENDING : ASCENDING;
}

static int taking_statement(tks__connection *c, int which, sqlite3_stmt **out) {
  if (!c->takes) {
    int rc =
        sqlite3_create_function_v2(c->db, "tks_take", 10, SQLITE_UTF8 | SQLITE_DIRECTONLY, c, take, NULL, NULL, NULL);
    if (rc != SQLITE_OK) return rc;
    c->takes = true;
  }
  return statement(c, which, out);
}

static int bind_stretch(sqlite3_stmt *s, const tks__stretch *t, const tks__name *symbol, int64_t source_id) {
  /* Behind the last record, or, at the start, behind everything before `from`: sequence numbers start at 1. */
  int64_t edge_ns = t->started ? t->ts_ns : t->descending ? t->to_ns : t->from_ns;
  int64_t edge_seq = t->started ? (int64_t)t->seq : 0;
  int64_t end_ns = t->descending ? t->from_ns : t->to_ns;
  int rc = sqlite3_bind_text(s, 1, symbol->text, (int)symbol->length, SQLITE_STATIC);
  if (rc == SQLITE_OK) rc = sqlite3_bind_int64(s, 2, tks__ts_ms(edge_ns));
  if (rc == SQLITE_OK) rc = sqlite3_bind_int64(s, 3, tks__ts_sub_ns(edge_ns));
  if (rc == SQLITE_OK) rc = sqlite3_bind_int64(s, 4, edge_seq);
  if (rc == SQLITE_OK) rc = sqlite3_bind_int64(s, 5, tks__ts_ms(end_ns));
  if (rc == SQLITE_OK) rc = sqlite3_bind_int64(s, 6, tks__ts_sub_ns(end_ns));
  if (sqlite3_bind_parameter_count(s) == 6) return rc; /* it gives all */
  if (rc == SQLITE_OK) rc = sqlite3_bind_int64(s, 7, t->max_seq > INT64_MAX ? INT64_MAX : (int64_t)t->max_seq);
  if (rc == SQLITE_OK) rc = sqlite3_bind_int64(s, 8, source_id);
  return rc;
}

static int read_stretch(tks__connection *c, const tks__names *symbols, tks__taking *t) {
  tks__stretch *stretch = t->stretch;
  int rc = SQLITE_OK;
  if (stretch->source != 0) {
    rc = find_source(c, tks__names_get(t->sources, stretch->source), &t->source_id);
    if (rc != SQLITE_OK || t->source_id == 0) return rc;
  }
  sqlite3_stmt *s;
  rc = taking_statement(c, statement_for(stretch), &s);
  if (rc == SQLITE_OK) rc = bind_stretch(s, stretch, tks__names_get(symbols, stretch->symbol), t->source_id);
  if (rc != SQLITE_OK) return rc;
  c->taking = t;
  rc = sqlite3_step(s);
  c->taking = NULL;
  if (rc == SQLITE_INTERRUPT) stretch->was_late = true;
  int reset = sqlite3_reset(s);
  if (t->rc != SQLITE_OK) return t->rc;
  return rc == SQLITE_ROW || rc == SQLITE_DONE ? reset : rc;
}

int tks__sqlite_day_read(tks__pool *pool, int32_t day, const tks__names *symbols, tks__names *sources,
                         tks__stretch *stretch, tks__record *records, size_t capacity, size_t *count,
                         tks_error *error) {
  *count = 0;
  if (capacity == 0) return TKS_OK;
  tks__connection *c;
  int code = tks__pool_acquire(pool, day, &c, error);
  if (code != TKS_OK || c == NULL) return code;
  tks__taking taking = {.sources = sources, .stretch = stretch, .records = records, .capacity = capacity};
  int rc = read_stretch(c, symbols, &taking);
  *count = taking.count;
  if (rc != SQLITE_OK) code = fail(c, pool, rc, error);
  tks__pool_release(pool, c, rc != SQLITE_OK && rc != SQLITE_INTERRUPT);
  return code;
}

/* --------------------------------------------------------------- summary */

static bool is_of_day(const tks__connection *c, int64_t ts_ns) { return tks__utc_day(ts_ns) == c->day; }

static int read_summary(tks__connection *c, tks__names *symbols, tks__day_summary *summary) {
  sqlite3_stmt *s = NULL;
  size_t capacity = 0;
  int rc = sqlite3_prepare_v2(c->db,
                              "SELECT name, quotes, first_ns, last_ns, (SELECT value FROM meta WHERE key = 'last_seq')"
                              " FROM symbol WHERE quotes > 0",
                              -1, &s, NULL);
  while (rc == SQLITE_OK && (rc = sqlite3_step(s)) == SQLITE_ROW) {
    rc = SQLITE_OK;
    const char *name = (const char *)sqlite3_column_text(s, 0);
    tks__day_symbol symbol = {
        .count = (uint64_t)sqlite3_column_int64(s, 1),
        .first_ns = sqlite3_column_int64(s, 2),
        .last_ns = sqlite3_column_int64(s, 3),
    };
    summary->last_seq = (uint64_t)sqlite3_column_int64(s, 4);
    /* The latest quote is looked for where the summary says. */
    if (!is_of_day(c, symbol.first_ns) || !is_of_day(c, symbol.last_ns) || symbol.first_ns > symbol.last_ns) {
      rc = SQLITE_CORRUPT;
      break;
    }
    int code = TKS_EINVAL;
    if (name != NULL) code = tks__names_intern(symbols, name, (size_t)sqlite3_column_bytes(s, 0), &symbol.symbol);
    if (code == TKS_ETABLEFULL) {
      rc = NAMES_FULL;
      break;
    }
    bool no_memory = code == TKS_ENOMEM || (name == NULL && lacks_memory(c));
    if (code != TKS_OK && !no_memory) continue; /* it could never have been written; `doctor --full` finds it */
    if (no_memory || !tks__grow((void **)&summary->symbols, &capacity, summary->count + 1, sizeof symbol)) {
      rc = SQLITE_NOMEM;
      break;
    }
    summary->symbols[summary->count++] = symbol;
  }
  int finalized = sqlite3_finalize(s);
  return rc == SQLITE_DONE ? finalized : rc;
}

int tks__sqlite_day_summary(tks__pool *pool, int32_t day, tks__names *symbols, tks__day_summary *summary,
                            tks_error *error) {
  *summary = (tks__day_summary){0};
  tks__connection *c;
  int code = tks__pool_acquire(pool, day, &c, error);
  if (code != TKS_OK || c == NULL) return code;
  int rc = read_summary(c, symbols, summary);
  if (rc != SQLITE_OK) {
    code = fail(c, pool, rc, error);
    tks__free(summary->symbols);
    *summary = (tks__day_summary){0};
  }
  tks__pool_release(pool, c, rc != SQLITE_OK && rc != SQLITE_INTERRUPT);
  return code;
}

/* Runs a statement that gives one text; `expected` is what it must be. */
static int expect(tks__connection *c, const tks__pool *pool, const char *sql, const char *expected, const char *what,
                  tks_error *error) {
  sqlite3_stmt *s = NULL;
  int rc = sqlite3_prepare_v2(c->db, sql, -1, &s, NULL);
  if (rc == SQLITE_OK) rc = sqlite3_step(s);
  int code = TKS_OK;
  /* NULL where the file lacks what the statement looks for. */
  const char *text = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(s, 0) : NULL;
  if (rc != SQLITE_ROW) {
    code = fail(c, pool, rc, error);
  } else if (text == NULL && lacks_memory(c)) {
    code = fail(c, pool, SQLITE_NOMEM, error);
  } else if ((text == NULL || strcmp(text, expected) != 0) && tks__sqlite_unreadable(c->db)) {
    code = fail(c, pool, SQLITE_CORRUPT, error);
  } else if (text == NULL || strcmp(text, expected) != 0) {
    char path[TKS__PATH_MAX];
    tks__layout_day_file(pool->options.layout, c->day, path);
    code = tks__fail(error, TKS_EDAYFILE, 0, "%s: %s %.120s", path, what, text != NULL ? text : "NULL");
  }
  (void)sqlite3_finalize(s);
  return code;
}

/* read_key of every row, in SQL. */
static int expect_keys(tks__connection *c, const tks__pool *pool, tks_error *error) {
  char sql[400];
  int64_t midnight_ms = (int64_t)c->day * (TKS__NS_PER_DAY / TKS__NS_PER_MS);
  (void)snprintf(sql, sizeof sql,
                 "SELECT count(*) FROM quote WHERE typeof(ts_ms) <> 'integer' OR typeof(ts_sub_ns) <> 'integer'"
                 " OR typeof(seq) <> 'integer' OR ts_ms NOT BETWEEN %lld AND %lld OR ts_sub_ns NOT BETWEEN 0 AND 999999"
                 " OR seq < 1",
                 (long long)midnight_ms, (long long)midnight_ms + TKS__NS_PER_DAY / TKS__NS_PER_MS - 1);
  return expect(c, pool, sql, "0", "rows with a time or sequence number that cannot be:", error);
}

int tks__sqlite_day_verify(tks__pool *pool, int32_t day, tks_error *error) {
  tks__connection *c;
  int code = tks__pool_acquire(pool, day, &c, error);
  if (code != TKS_OK || c == NULL) return code;
  c->deadline_ns = INT64_MAX;
  code = expect(c, pool, "PRAGMA integrity_check(1)", "ok", "integrity check says:", error);
  if (code == TKS_OK)
    code =
        expect(c, pool,
               "SELECT group_concat(s.name) IS NULL FROM symbol s LEFT JOIN (SELECT symbol_id, COUNT(*) AS n,"
               " MIN(ts_ms * 1000000 + ts_sub_ns) AS lo, MAX(ts_ms * 1000000 + ts_sub_ns) AS hi FROM quote"
               " GROUP BY symbol_id) q ON q.symbol_id = s.id"
               " WHERE s.quotes <> ifnull(q.n, 0) OR (q.n > 0 AND (s.first_ns IS NOT q.lo OR s.last_ns IS NOT q.hi))",
               "1", "the symbols' summaries do not match the rows:", error);
  if (code == TKS_OK)
    code = expect(c, pool,
                  "SELECT ifnull((SELECT MAX(seq) FROM quote), 0) <= (SELECT value FROM meta WHERE key = 'last_seq')"
                  " AND NOT EXISTS (SELECT 1 FROM quote WHERE symbol_id NOT IN (SELECT id FROM symbol))",
                  "1", "sequence numbers or symbols do not match:", error);
  if (code == TKS_OK) code = expect_keys(c, pool, error);
  tks__pool_release(pool, c, code != TKS_OK);
  return code;
}
