#include "persist/feed.h"

#include <math.h>
#include <sqlite3.h>
#include <string.h>

#include "base/memory.h"
#include "persist/dayfile.h"

static const char DECLARATION[] =
    "CREATE TABLE tks_feed(symbol_id, ts_ms, ts_sub_ns, seq, bid, ask, source_id, flags, bid_size, ask_size, recv_ns)";

enum { SYMBOL_ID, TS_MS, TS_SUB_NS, SEQ, BID, ASK, SOURCE_ID, FLAGS, BID_SIZE, ASK_SIZE, RECV_NS };

typedef struct feed_table {
  sqlite3_vtab base;
  const tks__feed *feed;
} feed_table;

typedef struct feed_cursor {
  sqlite3_vtab_cursor base;
  size_t at;
} feed_cursor;

static int feed_connect(sqlite3 *db, void *context, int argc, const char *const *argv, sqlite3_vtab **out,
                        char **message) {
  (void)argc;
  (void)argv;
  (void)message;
  *out = NULL;
  int rc = sqlite3_declare_vtab(db, DECLARATION);
  if (rc != SQLITE_OK) return rc;
  feed_table *table = tks__calloc(1, sizeof *table);
  if (table == NULL) return SQLITE_NOMEM;
  table->feed = context;
  *out = &table->base;
  return SQLITE_OK;
}

static int feed_disconnect(sqlite3_vtab *table) {
  tks__free(table);
  return SQLITE_OK;
}

static int feed_best_index(sqlite3_vtab *table, sqlite3_index_info *info) {
  (void)table;
  info->estimatedRows = 10000;
  info->estimatedCost = 10000;
  return SQLITE_OK;
}

static int feed_open(sqlite3_vtab *table, sqlite3_vtab_cursor **out) {
  (void)table;
  feed_cursor *cursor = tks__calloc(1, sizeof *cursor);
  if (cursor == NULL) return SQLITE_NOMEM;
  *out = &cursor->base;
  return SQLITE_OK;
}

static int feed_close(sqlite3_vtab_cursor *cursor) {
  tks__free(cursor);
  return SQLITE_OK;
}

static const tks__feed *feed_of(const sqlite3_vtab_cursor *cursor) { return ((const feed_table *)cursor->pVtab)->feed; }

static int feed_filter(sqlite3_vtab_cursor *cursor, int number, const char *text, int argc, sqlite3_value **argv) {
  (void)number;
  (void)text;
  (void)argc;
  (void)argv;
  ((feed_cursor *)cursor)->at = 0;
  return SQLITE_OK;
}

static int feed_next(sqlite3_vtab_cursor *cursor) {
  enum { AHEAD = 8 };
  const tks__feed *feed = feed_of(cursor);
  size_t ahead = ++((feed_cursor *)cursor)->at + AHEAD;
  if (ahead >= feed->count) return SQLITE_OK;
  /* A large batch lies in main memory in order of arrival, and is read by symbol: the wait for each record would be a fifth of the time of
   * a write. A record seldom lies in one line. */
  const char *record = (const char *)feed->records[ahead];
  __builtin_prefetch(record);
  __builtin_prefetch(record + sizeof(tks__record) - 1);
  return SQLITE_OK;
}

static int feed_eof(sqlite3_vtab_cursor *cursor) { return ((feed_cursor *)cursor)->at >= feed_of(cursor)->count; }

static void give_price(sqlite3_context *result, double price) {
  if (isnan(price)) sqlite3_result_null(result);
  else sqlite3_result_double(result, price);
}

/* A whole number takes fewer bytes as an integer; the column's affinity gives it back as a double. */
static void give_size(sqlite3_context *result, double size) {
  int64_t whole = size < 1e15 ? (int64_t)size : 0;
  if ((double)whole == size) sqlite3_result_int64(result, whole);
  else sqlite3_result_double(result, size);
}

static void give_unless_0(sqlite3_context *result, int64_t value) {
  if (value == 0) sqlite3_result_null(result);
  else sqlite3_result_int64(result, value);
}

static int feed_column(sqlite3_vtab_cursor *cursor, sqlite3_context *result, int column) {
  const tks__feed *feed = feed_of(cursor);
  const tks__record *r = feed->records[((feed_cursor *)cursor)->at];
  switch (column) {
    case SYMBOL_ID: sqlite3_result_int64(result, feed->symbol_ids[r->symbol]); break;
    case TS_MS: sqlite3_result_int64(result, tks__ts_ms(r->ts_ns)); break;
    case TS_SUB_NS: sqlite3_result_int64(result, tks__ts_sub_ns(r->ts_ns)); break;
    case SEQ: sqlite3_result_int64(result, (int64_t)r->seq); break;
    case BID: give_price(result, r->bid); break;
    case ASK: give_price(result, r->ask); break;
    case SOURCE_ID: give_unless_0(result, r->source != 0 ? feed->source_ids[r->source] : 0); break;
    case FLAGS: sqlite3_result_int64(result, r->flags); break;
    case BID_SIZE: give_size(result, r->bid_size); break;
    case ASK_SIZE: give_size(result, r->ask_size); break;
    case RECV_NS: give_unless_0(result, r->recv_ns); break;
    default: sqlite3_result_null(result);
  }
  return SQLITE_OK;
}

static int feed_rowid(sqlite3_vtab_cursor *cursor, sqlite3_int64 *rowid) {
  *rowid = (sqlite3_int64)((feed_cursor *)cursor)->at;
  return SQLITE_OK;
}

/* Without xCreate the table is there by its name alone, in every statement of the connection, and in no file. */
static const sqlite3_module FEED = {
    .iVersion = 0,
    .xConnect = feed_connect,
    .xBestIndex = feed_best_index,
    .xDisconnect = feed_disconnect,
    .xOpen = feed_open,
    .xClose = feed_close,
    .xFilter = feed_filter,
    .xNext = feed_next,
    .xEof = feed_eof,
    .xColumn = feed_column,
    .xRowid = feed_rowid,
};

int tks__feed_attach(sqlite3 *db, tks__feed *feed) {
  return sqlite3_create_module_v2(db, "tks_feed", &FEED, feed, NULL);
}
