/* duckdb.c - DuckDB through its C interface. No distribution packages it with a header, so its library is looked for when the program runs:
 * $TICKSTORE_DUCKDB, or libduckdb.so where the loader finds it. The few functions used here are declared as its documentation has them. */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "rival.h"

typedef struct result { /* opaque; the size is DuckDB's, with room to spare */
  uint64_t words[6];
} result;

/* X(result type, name, parameters): the functions, each with "duckdb_" before its name. */
#define FUNCTIONS(X)                                                                                  \
  X(int, open, (const char *path, void **db))                                                         \
  X(void, close, (void **db))                                                                         \
  X(int, connect, (void *db, void **connection))                                                      \
  X(void, disconnect, (void **connection))                                                            \
  X(int, query, (void *connection, const char *sql, result *out))                                     \
  X(void, destroy_result, (result * out))                                                             \
  X(const char *, result_error, (result * out))                                                       \
  X(const char *, library_version, (void))                                                            \
  X(int, appender_create, (void *connection, const char *schema, const char *table, void **appender)) \
  X(int, appender_flush, (void *appender))                                                            \
  X(int, appender_end_row, (void *appender))                                                          \
  X(int, appender_destroy, (void **appender))                                                         \
  X(int, append_int32, (void *appender, int32_t value))                                               \
  X(int, append_int64, (void *appender, int64_t value))                                               \
  X(int, append_double, (void *appender, double value))                                               \
  X(int, prepare, (void *connection, const char *sql, void **statement))                              \
  X(void, destroy_prepare, (void **statement))                                                        \
  X(int, bind_int64, (void *statement, uint64_t index, int64_t value))                                \
  X(int, execute_prepared, (void *statement, result *out))                                            \
  X(void *, fetch_chunk, (result from))                                                               \
  X(void, destroy_data_chunk, (void **chunk))                                                         \
  X(uint64_t, data_chunk_get_size, (void *chunk))                                                     \
  X(void *, data_chunk_get_vector, (void *chunk, uint64_t column))                                    \
  X(void *, vector_get_data, (void *vector))

static struct {
#define DECLARE(type, name, parameters) type(*name) parameters;
  FUNCTIONS(DECLARE)
#undef DECLARE
} api;

typedef struct self {
  void *db, *connection, *appender, *recent, *range;
  size_t pending;
} self;

enum { BATCH = 100000 };

static bool load(const char **why) {
  const char *named = getenv("TICKSTORE_DUCKDB");
  /* The library of the Python package has the C interface too, and wants the interpreter's symbols to be there. */
  const char *python = getenv("TICKSTORE_DUCKDB_NEEDS");
  if (python != NULL && dlopen(python, RTLD_LAZY | RTLD_GLOBAL) == NULL) {
    *why = "the library that DuckDB's Python package needs cannot be loaded";
    return false;
  }
  void *library = dlopen(named != NULL ? named : "libduckdb.so", RTLD_LAZY | RTLD_LOCAL);
  if (library == NULL) {
    *why = "no libduckdb.so here (TICKSTORE_DUCKDB can name it)";
    return false;
  }
#define FIND(type, name, parameters)                     \
  *(void **)&api.name = dlsym(library, "duckdb_" #name); \
  if (api.name == NULL) {                                \
    *why = "its library lacks duckdb_" #name;            \
    return false;                                        \
  }
  FUNCTIONS(FIND)
#undef FIND
  return true;
}

static void check(int state, const char *what) {
  if (state != 0) die("DuckDB, %s", what);
}

static void run(const self *s, const char *sql) {
  result r;
  if (api.query(s->connection, sql, &r) != 0) die("DuckDB, %s: %s", sql, api.result_error(&r));
  api.destroy_result(&r);
}

static void *open_it(const char *path, const char **why) {
  if (api.open == NULL && !load(why)) return NULL;
  char file[600];
  self *s = calloc(1, sizeof *s);
  if (s == NULL) die("out of memory");
  (void)snprintf(file, sizeof file, "%s/ticks.duckdb", path);
  check(api.open(file, &s->db), "open");
  check(api.connect(s->db, &s->connection), "connect");
  run(s, "CREATE TABLE ticks(symbol INTEGER, ts BIGINT, seq BIGINT, bid DOUBLE, ask DOUBLE)");
  check(api.appender_create(s->connection, NULL, "ticks", &s->appender), "appender");
  check(api.prepare(s->connection,
                    "SELECT ts, seq, bid, ask FROM ticks WHERE symbol = $1 ORDER BY ts DESC, seq DESC LIMIT $2",
                    &s->recent),
        "prepare");
  check(api.prepare(s->connection,
                    "SELECT ts, seq, bid, ask FROM ticks WHERE symbol = $1 AND ts >= $2 AND ts < $3 ORDER BY ts, seq",
                    &s->range),
        "prepare");
  return s;
}

static void flush_it(void *context) {
  self *s = context;
  if (s->pending > 0) check(api.appender_flush(s->appender), "flush");
  s->pending = 0;
}

static void write_it(void *context, const tick *ticks, size_t count) {
  self *s = context;
  for (size_t i = 0; i < count; i++) {
    int bad = api.append_int32(s->appender, (int32_t)ticks[i].symbol);
    bad |= api.append_int64(s->appender, ticks[i].ts_ns);
    bad |= api.append_int64(s->appender, (int64_t)ticks[i].seq);
    bad |= api.append_double(s->appender, ticks[i].bid);
    bad |= api.append_double(s->appender, ticks[i].ask);
    check(bad | api.appender_end_row(s->appender), "append");
    if (++s->pending == BATCH) flush_it(s);
  }
}

static size_t rows_of(void *statement, uint32_t symbol, tick *out, size_t capacity) {
  result r;
  size_t count = 0;
  if (api.execute_prepared(statement, &r) != 0) die("DuckDB, select: %s", api.result_error(&r));
  for (void *chunk; (chunk = api.fetch_chunk(r)) != NULL; api.destroy_data_chunk(&chunk)) {
    const int64_t *ts = api.vector_get_data(api.data_chunk_get_vector(chunk, 0));
    const int64_t *seq = api.vector_get_data(api.data_chunk_get_vector(chunk, 1));
    const double *bid = api.vector_get_data(api.data_chunk_get_vector(chunk, 2));
    const double *ask = api.vector_get_data(api.data_chunk_get_vector(chunk, 3));
    uint64_t size = api.data_chunk_get_size(chunk);
    for (uint64_t i = 0; i < size && count < capacity; i++)
      out[count++] = (tick){ts[i], (uint64_t)seq[i], bid[i], ask[i], symbol};
  }
  api.destroy_result(&r);
  return count;
}

static size_t recent_it(void *context, uint32_t symbol, size_t n, tick *out) {
  self *s = context;
  check(api.bind_int64(s->recent, 1, symbol) | api.bind_int64(s->recent, 2, (int64_t)n), "bind");
  size_t count = rows_of(s->recent, symbol, out, n);
  reverse_ticks(out, count);
  return count;
}

static size_t range_it(void *context, uint32_t symbol, int64_t from_ns, int64_t to_ns, tick *out, size_t capacity) {
  self *s = context;
  check(api.bind_int64(s->range, 1, symbol) | api.bind_int64(s->range, 2, from_ns) | api.bind_int64(s->range, 3, to_ns),
        "bind");
  return rows_of(s->range, symbol, out, capacity);
}

static uint64_t scan_it(void *context, double *sum) {
  self *s = context;
  result r;
  uint64_t count = 0;
  check(api.query(s->connection, "SELECT count(*), sum(bid) FROM ticks", &r), "scan");
  for (void *chunk; (chunk = api.fetch_chunk(r)) != NULL; api.destroy_data_chunk(&chunk)) {
    count = (uint64_t) * (const int64_t *)api.vector_get_data(api.data_chunk_get_vector(chunk, 0));
    *sum = *(const double *)api.vector_get_data(api.data_chunk_get_vector(chunk, 1));
  }
  api.destroy_result(&r);
  return count;
}

static void close_it(void *context) {
  self *s = context;
  check(api.appender_destroy(&s->appender), "close");
  api.destroy_prepare(&s->recent);
  api.destroy_prepare(&s->range);
  api.disconnect(&s->connection);
  api.close(&s->db);
  free(s);
}

const rival rival_duckdb = {
    .key = "duckdb",
    .name = "DuckDB, appender",
    .form =
        "columns, no index; the appender commits every 100,000 rows: each commit survives a power loss; the scan is "
        "summed within its engine",
    .open = open_it,
    RIVAL_CALLS};
