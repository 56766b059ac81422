/* workloads.c - the four workloads that SQLite set-ups are usually judged by, on the store's own tables through its own connections: sequential
 * reads, sequential writes, reads by 10 threads, reads and writes by 10 threads. Each once with SQLite's defaults and once with
 * the store's pragmas, which are read back on the very connections that then run.
 *
 * A read is one call of tks__sqlite_day_read for the next row of a symbol: a connection of the pool, a transaction, an index search.
 * A write is one row of a transaction of 500 (batch_records) through tks__dayfile_write. Reads are of a sealed day, the mixed workload
 * is on a day that is being written. The 10 threads share the pool's 5 connections, as they do in the store. */
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/utc.h"
#include "feed.h"
#include "groups.h"
#include "persist/dayfile.h"
#include "query/pool.h"
#include "query/sqlite_day.h"

enum { SYMBOLS = 16, BATCH = 500, THREADS = 10, LINE = 60000 };

typedef struct table {
  char path[512];
  tks__layout layout;
  tks__names symbols, sources;
  tks__log log;
  uint32_t source;
  tks__dayfile_options options;
  tks__dayfile *file;
  sqlite3 *writer; /* the connection in it */
  tks__pool pool;
  uint64_t seq;
  int32_t day;
  bool ours; /* the store's pragmas, or else SQLite's defaults */
  int64_t ends_ns;
  _Atomic uint64_t reads, writes;
} table;

static void check(int code, const char *what, const tks_error *error) {
  if (code != TKS_OK) die("workloads, %s: %s (%d)", what, error->message, code);
}

/* --------------------------------------------------------------- pragmas */

static int64_t pragma_of(sqlite3 *db, const char *name, char text[32]) {
  char sql[64];
  sqlite3_stmt *statement = NULL;
  (void)snprintf(sql, sizeof sql, "PRAGMA %s", name);
  if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK) die("%s: %s", sql, sqlite3_errmsg(db));
  int64_t value = 0;
  text[0] = '\0';
  if (sqlite3_step(statement) == SQLITE_ROW) {
    value = sqlite3_column_int64(statement, 0);
    (void)snprintf(text, 32, "%s", (const char *)sqlite3_column_text(statement, 0));
  }
  (void)sqlite3_finalize(statement);
  return value;
}

typedef struct expectation {
  const char *name, *defaults, *ours;
} expectation;

/* Ends the program when a connection is not set up as it should be. */
static void verify(sqlite3 *db, const expectation *expected, size_t count, bool ours, const char *who, bool print) {
  char line[400] = "", text[32];
  for (size_t i = 0; i < count; i++) {
    const char *want = ours ? expected[i].ours : expected[i].defaults;
    (void)pragma_of(db, expected[i].name, text);
    if (strcmp(text, want) != 0) die("%s: PRAGMA %s is %s, not %s", who, expected[i].name, text, want);
    (void)snprintf(line + strlen(line), sizeof line - strlen(line), " %s=%s", expected[i].name, text);
  }
  if (print) report_note("%s, %s:%s", who, ours ? "ours" : "defaults", line);
}

static void verify_writer(const table *t, bool print) {
  static const expectation expected[] = {
      {"journal_mode", "delete", "wal"},        {"synchronous", "2", "2"},
      {"cache_size", "-2000", "-65536"},        {"temp_store", "0", "2"},
      {"wal_autocheckpoint", "1000", "1000"},   {"mmap_size", "0", "0"},
      {"journal_size_limit", "-1", "16384000"}, {"busy_timeout", "5000", "5000"},
  };
  verify(t->writer, expected, sizeof expected / sizeof expected[0], t->ours, "writing connection", print);
}

/* All connections of the pool, opened here and now; they stay for the run. */
static void verify_readers(table *t, bool live, bool print) {
  const expectation expected[] = {
      {"mmap_size", "0", live ? "0" : "268435456"},
      {"temp_store", "1", "2"}, /* 1 is a file, which is what 0, the default, comes to */
      {"query_only", "1", "1"},
      {"busy_timeout", "5000", "5000"},
  };
  tks_error error;
  tks__connection *connections[8];
  for (uint32_t i = 0; i < t->pool.options.connections; i++) {
    check(tks__pool_acquire(&t->pool, t->day, &connections[i], &error), "acquire", &error);
    verify(connections[i]->db, expected, sizeof expected / sizeof expected[0], t->ours, "reading connections",
           print && i == 0);
  }
  for (uint32_t i = 0; i < t->pool.options.connections; i++) tks__pool_release(&t->pool, connections[i], false);
}

/* ----------------------------------------------------------------- table */

static sqlite3 *last_opened;

/* SQLite calls this for every connection that is opened: how the one inside a day file becomes known. */
static int note_connection(sqlite3 *db, const char **message, const struct sqlite3_api_routines *routines) {
  (void)message, (void)routines;
  last_opened = db;
  return SQLITE_OK;
}

static void open_writer(table *t) {
  tks_error error;
  (void)sqlite3_auto_extension((void (*)(void))note_connection);
  check(tks__dayfile_open(&t->options, t->day, &t->file, &error), "open", &error);
  (void)sqlite3_cancel_auto_extension((void (*)(void))note_connection);
  t->writer = last_opened;
  if (!t->ours &&
      sqlite3_exec(
          t->writer,
          "PRAGMA journal_mode=DELETE; PRAGMA synchronous=FULL; PRAGMA cache_size=-2000; PRAGMA temp_store=DEFAULT;"
          "PRAGMA wal_autocheckpoint=1000; PRAGMA journal_size_limit=-1;",
          NULL, NULL, NULL) != SQLITE_OK)
    die("cannot go back to SQLite's defaults: %s", sqlite3_errmsg(t->writer));
}

static void write_batch(table *t) {
  tks__record records[BATCH];
  const tks__record *grouped[BATCH];
  tks_error error;
  for (int i = 0; i < BATCH; i++) { /* a symbol's rows next to each other, as the sink sorts them */
    uint32_t symbol = (uint32_t)(i * SYMBOLS / BATCH);
    uint64_t seq = ++t->seq;
    double bid = 1.1 + (double)(seq % 1000) * 1e-5;
    records[i] = (tks__record){.ts_ns = FEED_START_NS + (int64_t)(seq * 2000000 % (uint64_t)NS_PER_DAY),
                               .seq = seq,
                               .bid = bid,
                               .ask = bid + 1e-4,
                               .symbol = symbol + 1,
                               .source = t->source};
    grouped[i] = &records[i];
  }
  check(tks__dayfile_write(t->file, grouped, BATCH, t->seq, &error), "write", &error);
}

static void table_open(table *t, const options *o, bool ours) {
  memset(t, 0, sizeof *t);
  tks_config config = feed_config();
  t->ours = ours;
  t->day = tks__utc_day(FEED_START_NS);
  scratch_make(o, t->path);
  if (!tks__layout_init(&t->layout, t->path, strlen(t->path)) || tks__names_init(&t->symbols, 1000) != TKS_OK ||
      tks__names_init(&t->sources, 1000) != TKS_OK)
    die("workloads: cannot set up");
  for (uint32_t i = 0; i < SYMBOLS; i++) {
    char name[16];
    uint32_t id;
    int n = snprintf(name, sizeof name, "SYM%02u", i);
    if (tks__names_intern(&t->symbols, name, (size_t)n, &id) != TKS_OK) die("workloads: names");
  }
  if (tks__names_intern(&t->sources, "BENCH", 5, &t->source) != TKS_OK) die("workloads: names");
  t->options = (tks__dayfile_options){.layout = &t->layout,
                                      .symbols = &t->symbols,
                                      .sources = &t->sources,
                                      .log = &t->log,
                                      .synchronous = config.synchronous,
                                      .checkpoint_pages = config.checkpoint_pages,
                                      .busy_timeout_ms = config.busy_timeout_ms,
                                      .temp_store_memory = config.temp_store_memory,
                                      .page_cache_bytes = config.page_cache_bytes};
  const tks__pool_options pool = {.layout = &t->layout,
                                  .connections = config.read_connections,
                                  .life_s = config.connection_life_s,
                                  .busy_timeout_ms = config.busy_timeout_ms,
                                  .deadline_ms = config.read_deadline_ms,
                                  .temp_store_memory = ours ? config.temp_store_memory : 0,
                                  .mmap_bytes = ours ? config.mmap_bytes : 0};
  if (tks__pool_init(&t->pool, &pool) != TKS_OK) die("workloads: pool");
  open_writer(t);
  for (int i = 0; i < (o->quick ? 40 : 100); i++) write_batch(t);
}

static void table_seal(table *t) {
  if (!tks__dayfile_seal(t->file)) die("workloads: cannot seal");
  t->file = NULL;
}

static void table_end(table *t) {
  tks__pool_deinit(&t->pool);
  if (t->file != NULL) tks__dayfile_discard(t->file);
  tks__names_deinit(&t->symbols);
  tks__names_deinit(&t->sources);
  scratch_remove(t->path);
}

/* ------------------------------------------------------------- workloads */

static void *read_until(void *argument) {
  table *t = argument;
  tks_error error;
  tks__record record;
  uint64_t reads = 0;
  tks__stretch stretch = {.symbol = 1, .from_ns = TKS_TIME_MIN, .to_ns = TKS_TIME_MAX, .max_seq = INT64_MAX};
  while (now_ns() < t->ends_ns) {
    size_t count = 0;
    check(tks__sqlite_day_read(&t->pool, t->day, &t->symbols, &t->sources, &stretch, &record, 1, &count, &error),
          "read", &error);
    if (count == 1) {
      stretch.started = true;
      stretch.ts_ns = record.ts_ns;
      stretch.seq = record.seq;
      reads++;
    } else { /* the symbol's end: on with the next one */
      stretch.symbol = stretch.symbol % SYMBOLS + 1;
      stretch.started = false;
    }
  }
  atomic_fetch_add(&t->reads, reads);
  return NULL;
}

static void *write_until(void *argument) {
  table *t = argument;
  uint64_t writes = 0;
  for (; now_ns() < t->ends_ns; writes += BATCH) write_batch(t);
  atomic_fetch_add(&t->writes, writes);
  return NULL;
}

/* Operations a second of so many threads, the last of which may write. */
static double run_threads(table *t, const options *o, int readers, int writers) {
  pthread_t ids[THREADS];
  int64_t started = now_ns();
  t->ends_ns = started + (o->quick ? 200000000 : 1000000000);
  t->reads = t->writes = 0;
  for (int i = 0; i < readers + writers; i++)
    if (pthread_create(&ids[i], NULL, i < readers ? read_until : write_until, t) != 0) die("cannot start a thread");
  for (int i = 0; i < readers + writers; i++) (void)pthread_join(ids[i], NULL);
  return (double)(t->reads + t->writes) / seconds_since(started);
}

static const struct {
  const char *key, *label;
  int readers, writers;
  bool live;
} WORKLOADS[4] = {
    {"seqread", "sequential reads", 1, 0, false},
    {"seqwrite", "sequential writes, 500 rows a transaction", 0, 1, true},
    {"readers", "reads by 10 threads", THREADS, 0, false},
    {"mixed", "9 threads read, 1 writes", THREADS - 1, 1, true},
};

void bench_workloads(const options *o) {
  report_group("workloads", "the four classic SQLite workloads on the store's tables and connections");
  static series figures[4][2], mixed_writes[2];
  for (int run = 0; run < o->runs; run++) {
    for (int w = 0; w < 4; w++) {
      for (int k = 0; k < 2; k++) {
        int ours = (run + k) % 2;
        static table t;
        table_open(&t, o, ours != 0);
        verify_writer(&t, run == 0 && w == 0);
        if (!WORKLOADS[w].live) table_seal(&t);
        if (WORKLOADS[w].readers > 0) verify_readers(&t, WORKLOADS[w].live, run == 0 && (w == 0 || w == 3));
        series_add(&figures[w][ours], run_threads(&t, o, WORKLOADS[w].readers, WORKLOADS[w].writers));
        if (w == 3) series_add(&mixed_writes[ours], (double)t.writes / (o->quick ? 0.2 : 1.0));
        if (WORKLOADS[w].live) verify_writer(&t, false);
        table_end(&t);
      }
    }
  }
  for (int w = 0; w < 4; w++) {
    for (int ours = 0; ours < 2; ours++) {
      char key[64], label[96];
      double median = series_median(&figures[w][ours]);
      (void)snprintf(key, sizeof key, "workload_%s_%s", WORKLOADS[w].key, ours ? "ours" : "defaults");
      (void)snprintf(label, sizeof label, "%s, %s: %s", WORKLOADS[w].label, ours ? "our pragmas" : "defaults",
                     median >= LINE ? "above 60,000" : "BELOW 60,000");
      report(key, label, "ops/s", &figures[w][ours]);
    }
  }
  report("workload_mixed_defaults_rows", "of the mixed ones, rows written, defaults", "rows/s", &mixed_writes[0]);
  report("workload_mixed_ours_rows", "of the mixed ones, rows written, our pragmas", "rows/s", &mixed_writes[1]);
}
