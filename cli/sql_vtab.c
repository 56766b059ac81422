/* sql_vtab.c - the virtual table `ticks` over all day files.
 *
 * What best_index decides travels to filter as text:
 *   SYMBOL ORDER TERMS COLUMNS     "s", "=" or "-"; "a", "d" or "-"; pairs of column and operator, then "|"; hex mask
 * SYMBOL "=" means that the first argument is the symbol; each pair of TERMS has the next argument. The columns of time
 * are m (timestamp, milliseconds) and n (timestamp_ns); the operators = < l > g, where l is <= and g is >=. */
#include "sql_vtab.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utc.h"

enum {
  ID,
  SYMBOL,
  TIMESTAMP,
  BID,
  ASK,
  SPREAD,
  LP_SOURCE,
  CREATED_AT,
  TIMESTAMP_NS,
  BID_SIZE,
  ASK_SIZE,
  FLAGS,
  COLUMNS
};

static const char *const column_names[COLUMNS] = {"id",           "symbol",   "timestamp", "bid",
                                                  "ask",          "spread",   "lp_source", "created_at",
                                                  "timestamp_ns", "bid_size", "ask_size",  "flags"};

static const char declaration[] =
    "CREATE TABLE ticks(id INTEGER, symbol TEXT, timestamp INTEGER, bid REAL, ask REAL, spread REAL, lp_source TEXT,"
    " created_at INTEGER, timestamp_ns INTEGER, bid_size REAL, ask_size REAL, flags INTEGER)";

typedef struct ticks_table {
  sqlite3_vtab base; /* first: SQLite sees only this */
  sql_days *days;
} ticks_table;

typedef struct ticks_cursor {
  sqlite3_vtab_cursor base; /* first */
  sql_days *days;
  sql_reader *reader;       /* of the day being read; NULL at the end */
  char *sql;                /* the same for every day */
  sqlite3_value *symbol;    /* own copy; NULL = every symbol */
  int64_t from_ns, last_ns; /* inclusive */
  bool bounded;             /* sql has the bounds of time as parameters */
  bool descending;
  size_t next_day, days_left; /* next_day is meaningful while days_left > 0 */
  int result[COLUMNS];        /* a column's place in the result of sql, -1 where it was not asked for */
} ticks_cursor;

/* ------------------------------------------------------------------- table */

static int ticks_connect(sqlite3 *db, void *context, int argc, const char *const *argv, sqlite3_vtab **table,
                         char **error) {
  (void)argc, (void)argv, (void)error;
  int code = sqlite3_declare_vtab(db, declaration);
  if (code != SQLITE_OK) return code;
  ticks_table *made = sqlite3_malloc(sizeof *made);
  if (made == NULL) return SQLITE_NOMEM;
  memset(made, 0, sizeof *made);
  made->days = context;
  *table = &made->base;
  return SQLITE_OK;
}

static int ticks_disconnect(sqlite3_vtab *table) {
  sqlite3_free(table);
  return SQLITE_OK;
}

/* ------------------------------------------------------------- best index */

static char operator_letter(unsigned char op) {
  switch (op) {
    case SQLITE_INDEX_CONSTRAINT_EQ: return '=';
    case SQLITE_INDEX_CONSTRAINT_LT: return '<';
    case SQLITE_INDEX_CONSTRAINT_LE: return 'l';
    case SQLITE_INDEX_CONSTRAINT_GT: return '>';
    case SQLITE_INDEX_CONSTRAINT_GE: return 'g';
    default: return '\0';
  }
}

static bool is_time(int column) { return column == TIMESTAMP || column == TIMESTAMP_NS; }

/* Rows come by (timestamp, timestamp_ns, id) when asked to; and nothing else can be promised. Returns 'a' or 'd' where
 * that satisfies the ORDER BY, else '-'. After `timestamp` alone, `id` would be another order. */
static char order_letter(const sqlite3_index_info *info) {
  int before = -1;
  for (int i = 0; i < info->nOrderBy; i++) {
    int column = info->aOrderBy[i].iColumn;
    bool follows = (before == -1 && is_time(column)) || (before == TIMESTAMP && column == TIMESTAMP_NS) ||
                   (before == TIMESTAMP_NS && column == ID);
    if (!follows || info->aOrderBy[i].desc != info->aOrderBy[0].desc) return '-';
    before = column;
  }
  if (before == -1) return '-';
  return info->aOrderBy[0].desc ? 'd' : 'a';
}

/* The usable `symbol = ?`, -1 if there is none. Another collation than the view's would find other rows. */
static int find_symbol_term(sqlite3_index_info *info) {
  for (int i = 0; i < info->nConstraint; i++) {
    const struct sqlite3_index_constraint *term = &info->aConstraint[i];
    if (term->usable && term->iColumn == SYMBOL && term->op == SQLITE_INDEX_CONSTRAINT_EQ &&
        sqlite3_stricmp(sqlite3_vtab_collation(info, i), "BINARY") == 0) {
      return i;
    }
  }
  return -1;
}

/* How much of the whole a plan reads; what matters is that each constraint makes it cheaper. */
static void estimate(sqlite3_index_info *info, const ticks_table *table, bool symbol, int times) {
  double rows = (double)table->days->quotes + 1;
  if (symbol) rows /= 50;
  for (int i = 0; i < times && i < 2; i++) rows /= 8;
  info->estimatedRows = (sqlite3_int64)rows + 1;
  info->estimatedCost = rows + 100.0;
}

static int ticks_best_index(sqlite3_vtab *base, sqlite3_index_info *info) {
  int arguments = 0, times = 0, symbol = find_symbol_term(info);
  char order = order_letter(info);
  char *plan = sqlite3_malloc(2 * info->nConstraint + 32), *out = plan;
  if (plan == NULL) return SQLITE_NOMEM;

  *out++ = symbol >= 0 ? '=' : '-';
  *out++ = order;
  if (symbol >= 0) info->aConstraintUsage[symbol].argvIndex = ++arguments;
  for (int i = 0; i < info->nConstraint; i++) {
    const struct sqlite3_index_constraint *term = &info->aConstraint[i];
    char letter = operator_letter(term->op);
    if (!term->usable || !is_time(term->iColumn) || letter == '\0') continue;
    info->aConstraintUsage[i].argvIndex = ++arguments;
    *out++ = term->iColumn == TIMESTAMP ? 'm' : 'n';
    *out++ = letter;
    times++;
  }
  sprintf(out, "|%llx", (unsigned long long)info->colUsed);

  info->idxStr = plan;
  info->needToFreeIdxStr = 1;
  info->orderByConsumed = order != '-';
  estimate(info, (ticks_table *)base, symbol >= 0, times);
  return SQLITE_OK;
}

/* ---------------------------------------------------------- bounds of time */

static int64_t clamp_add(int64_t a, int64_t b) {
  int64_t sum;
  if (__builtin_add_overflow(a, b, &sum)) return b < 0 ? INT64_MIN : INT64_MAX;
  return sum;
}

static int64_t clamp_multiply(int64_t a, int64_t b) {
  int64_t product;
  if (__builtin_mul_overflow(a, b, &product)) return (a < 0) != (b < 0) ? INT64_MIN : INT64_MAX;
  return product;
}

static int64_t floor_ms(int64_t ts_ns) { return ts_ns / TKS__NS_PER_MS - (ts_ns % TKS__NS_PER_MS < 0); }

/* The last time before `low` units, or `otherwise` where that cannot be said: a day that ends there is not needed. */
static int64_t below(int64_t low, int64_t unit, int64_t otherwise) {
  int64_t product;
  return __builtin_mul_overflow(low, unit, &product) || product == INT64_MIN ? otherwise : product - 1;
}

/* Narrows the cursor's bounds by one comparison. What is no number is left to SQLite's own check above. */
static void narrow(ticks_cursor *cursor, char column, char op, sqlite3_value *value) {
  int type = sqlite3_value_numeric_type(value);
  int64_t low, high; /* the value, or the integers around it */
  if (type == SQLITE_INTEGER) {
    low = high = sqlite3_value_int64(value);
  } else if (type == SQLITE_FLOAT) {
    double real = sqlite3_value_double(value);
    low = clamp_add(real <= -9.2e18 ? INT64_MIN : real >= 9.2e18 ? INT64_MAX - 1 : (int64_t)real, -1);
    high = clamp_add(low, 2);
  } else {
    return;
  }
  int64_t unit = column == 'm' ? TKS__NS_PER_MS : 1;
  int64_t from = clamp_multiply(low, unit), last = clamp_add(clamp_multiply(high, unit), unit - 1);
  if (type == SQLITE_INTEGER && op == '<') last = below(low, unit, last);
  if (type == SQLITE_INTEGER && op == '>' && low > INT64_MIN / unit && low < INT64_MAX / unit) from = last + 1;
  bool lower = op == '=' || op == '>' || op == 'g', upper = op == '=' || op == '<' || op == 'l';
  if (lower && from > cursor->from_ns) cursor->from_ns = from;
  if (upper && last < cursor->last_ns) cursor->last_ns = last;
  cursor->bounded = true;
}

/* ------------------------------------------------------------------- cursor */

static int ticks_open(sqlite3_vtab *table, sqlite3_vtab_cursor **cursor) {
  ticks_cursor *made = sqlite3_malloc(sizeof *made);
  if (made == NULL) return SQLITE_NOMEM;
  memset(made, 0, sizeof *made);
  made->days = ((ticks_table *)table)->days;
  *cursor = &made->base;
  return SQLITE_OK;
}

static void rewind_cursor(ticks_cursor *cursor) {
  if (cursor->reader != NULL) sql_days_give(cursor->days, cursor->reader, SQLITE_OK);
  sqlite3_free(cursor->sql);
  sqlite3_value_free(cursor->symbol);
  cursor->reader = NULL;
  cursor->sql = NULL;
  cursor->symbol = NULL;
  cursor->from_ns = INT64_MIN;
  cursor->last_ns = INT64_MAX;
  cursor->bounded = false;
  cursor->days_left = 0;
}

static int ticks_close(sqlite3_vtab_cursor *base) {
  ticks_cursor *cursor = (ticks_cursor *)base;
  rewind_cursor(cursor);
  sqlite3_free(cursor);
  return SQLITE_OK;
}

/* The query of every day. The id is always read: it is the rowid. */
static char *day_query(ticks_cursor *cursor, unsigned long long columns, char order) {
  sqlite3_str *sql = sqlite3_str_new(NULL);
  int place = 1;
  sqlite3_str_appendall(sql, "SELECT id");
  cursor->result[ID] = 0;
  for (int i = ID + 1; i < COLUMNS; i++) {
    bool used = (columns >> i & 1) != 0;
    cursor->result[i] = used ? place++ : -1;
    if (used) sqlite3_str_appendf(sql, ", %s", column_names[i]);
  }
  sqlite3_str_appendall(sql, " FROM ticks");
  if (cursor->symbol != NULL) sqlite3_str_appendall(sql, " WHERE symbol = ?1");
  if (cursor->bounded) {
    sqlite3_str_appendf(sql, " %s timestamp BETWEEN ?2 AND ?3", cursor->symbol != NULL ? "AND" : "WHERE");
  }
  if (order == 'a') sqlite3_str_appendall(sql, " ORDER BY timestamp, timestamp_ns, id");
  if (order == 'd') sqlite3_str_appendall(sql, " ORDER BY timestamp DESC, timestamp_ns DESC, id DESC");
  return sqlite3_str_finish(sql);
}

/* The days within the bounds, in the order of reading. */
static void choose_days(ticks_cursor *cursor) {
  const sql_days *days = cursor->days;
  size_t first = 0, end = days->count;
  while (first < end && days->items[first].last_ns < cursor->from_ns) first++;
  while (end > first && days->items[end - 1].first_ns > cursor->last_ns) end--;
  cursor->days_left = cursor->from_ns <= cursor->last_ns ? end - first : 0;
  cursor->next_day = cursor->descending ? end - 1 : first;
}

static int open_next_day(ticks_cursor *cursor) {
  int code;
  size_t day = cursor->next_day;
  cursor->next_day = cursor->descending ? day - 1 : day + 1;
  cursor->days_left--;
  cursor->reader = sql_days_take(cursor->days, day, cursor->sql, &code);
  if (cursor->reader == NULL) return code;
  sqlite3_stmt *statement = cursor->reader->statement;
  if (cursor->symbol != NULL) sqlite3_bind_value(statement, 1, cursor->symbol);
  if (cursor->bounded) {
    sqlite3_bind_int64(statement, 2, floor_ms(cursor->from_ns));
    sqlite3_bind_int64(statement, 3, floor_ms(cursor->last_ns));
  }
  return SQLITE_OK;
}

static int ticks_next(sqlite3_vtab_cursor *base) {
  ticks_cursor *cursor = (ticks_cursor *)base;
  for (;;) {
    if (cursor->reader != NULL) {
      int code = sqlite3_step(cursor->reader->statement);
      if (code == SQLITE_ROW) return SQLITE_OK;
      sql_reader *done = cursor->reader;
      cursor->reader = NULL;
      if (!sql_days_give(cursor->days, done, code)) return code;
    }
    if (cursor->days_left == 0) return SQLITE_OK;
    int code = open_next_day(cursor);
    if (code != SQLITE_OK) return code;
  }
}

static int ticks_filter(sqlite3_vtab_cursor *base, int number, const char *plan, int argc, sqlite3_value **argv) {
  ticks_cursor *cursor = (ticks_cursor *)base;
  int argument = 0;
  bool impossible = false; /* nothing equals NULL, or is less or more */
  (void)number;
  rewind_cursor(cursor);
  for (int i = 0; i < argc; i++) impossible = impossible || sqlite3_value_type(argv[i]) == SQLITE_NULL;
  if (impossible) return SQLITE_OK;

  bool by_symbol = *plan++ == '=';
  char order = *plan++;
  if (by_symbol && (cursor->symbol = sqlite3_value_dup(argv[argument++])) == NULL) return SQLITE_NOMEM;
  for (; *plan != '|'; plan += 2) narrow(cursor, plan[0], plan[1], argv[argument++]);
  cursor->descending = order == 'd';
  cursor->sql = day_query(cursor, strtoull(plan + 1, NULL, 16), order);
  if (cursor->sql == NULL) return SQLITE_NOMEM;
  choose_days(cursor);
  return ticks_next(base);
}

static int ticks_eof(sqlite3_vtab_cursor *base) { return ((ticks_cursor *)base)->reader == NULL; }

static int ticks_column(sqlite3_vtab_cursor *base, sqlite3_context *context, int column) {
  ticks_cursor *cursor = (ticks_cursor *)base;
  int place = column >= 0 && column < COLUMNS ? cursor->result[column] : -1;
  if (place >= 0) sqlite3_result_value(context, sqlite3_column_value(cursor->reader->statement, place));
  return SQLITE_OK;
}

static int ticks_rowid(sqlite3_vtab_cursor *base, sqlite3_int64 *rowid) {
  *rowid = sqlite3_column_int64(((ticks_cursor *)base)->reader->statement, 0);
  return SQLITE_OK;
}

/* Without xCreate the module is a table of its own name, without CREATE VIRTUAL TABLE; without xUpdate, read-only. */
static const sqlite3_module ticks_module = {
    .xConnect = ticks_connect,
    .xBestIndex = ticks_best_index,
    .xDisconnect = ticks_disconnect,
    .xOpen = ticks_open,
    .xClose = ticks_close,
    .xFilter = ticks_filter,
    .xNext = ticks_next,
    .xEof = ticks_eof,
    .xColumn = ticks_column,
    .xRowid = ticks_rowid,
};

int sql_vtab_register(sqlite3 *db, sql_days *days) {
  sqlite3_stmt *statement = NULL;
  int code = sqlite3_create_module(db, "ticks", &ticks_module, days);
  /* The first mention connects the table, by means that an authorizer would have to allow: so mention it now. */
  if (code == SQLITE_OK) code = sqlite3_prepare_v2(db, "SELECT id FROM ticks", -1, &statement, NULL);
  sqlite3_finalize(statement);
  return code;
}
