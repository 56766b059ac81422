#include "support/stores.h"

#include <criterion/criterion.h>
#include <ftw.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "support/wait.h"

/* ------------------------------------------------------------------ stores */

tks_config store_config(uint32_t backend) {
  tks_config config;
  cr_assert_eq(tks_config_init(&config, sizeof config, TKS_PRESET_PRODUCTION, NULL), TKS_OK);
  config.backend = backend;
  config.throttle_relative = -1;
  config.ring_records = 64;
  config.retry_pause_ms = 1;
  config.degraded_retry_ms = 20;
  config.sync_interval_ms = 20;
  return config;
}

void store_tiny_queue(tks_config *config) {
  config->journal = 0;
  config->queue_records = config->batch_records = 16;
  config->backlog_records = 0;
}

tks_store *store_open(const char *dir, const tks_config *config) {
  tks_store *store;
  tks_error error;
  int code = tks_open(dir, strlen(dir), config, &store, &error);
  cr_assert_eq(code, TKS_OK, "%d: %s", code, error.message);
  return store;
}

void store_close(tks_store *store) {
  tks_error error;
  int code = tks_close(store, &error);
  cr_assert_eq(code, TKS_OK, "%d: %s", code, error.message);
}

void store_flush(tks_store *store) {
  tks_error error;
  int code = tks_flush(store, (int64_t)WAIT_LIMIT_S * 1000, &error);
  cr_assert_eq(code, TKS_OK, "%d: %s", code, error.message);
}

uint32_t store_symbol(tks_store *store, const char *name) {
  uint32_t id;
  cr_assert_eq(tks_symbol(store, name, strlen(name), &id, NULL), TKS_OK, "%s", name);
  return id;
}

uint32_t store_source(tks_store *store, const char *name) {
  uint32_t id;
  cr_assert_eq(tks_source(store, name, strlen(name), &id, NULL), TKS_OK, "%s", name);
  return id;
}

uint64_t store_put(tks_store *store, uint32_t symbol, int64_t ts_ns, double bid, double ask) {
  const tks_quote quote = {.ts_ns = ts_ns, .bid = bid, .ask = ask, .symbol = symbol};
  uint64_t seq;
  tks_error error;
  int code = tks_put_quote(store, &quote, &seq, &error);
  cr_assert_eq(code, TKS_OK, "%d: %s", code, error.message);
  return seq;
}

tks_store_stats store_stats(tks_store *store) {
  tks_store_stats stats = {.struct_size = sizeof stats};
  cr_assert_eq(tks_stats(store, &stats, NULL), TKS_OK);
  return stats;
}

tks_range store_range(uint32_t symbol) {
  return (tks_range){.struct_size = sizeof(tks_range),
                     .symbol = symbol,
                     .from_ns = TKS_TIME_MIN,
                     .to_ns = TKS_TIME_MAX,
                     .limit = TKS_NO_LIMIT};
}

tks_quote *store_read_on(tks_store *store, const tks_range *range, size_t capacity, size_t *count, size_t *damaged,
                         int *code) {
  tks_cursor *cursor;
  tks_error error;
  *count = *damaged = 0;
  *code = tks_range_open(store, range, &cursor, &error);
  if (*code != TKS_OK) return NULL;
  tks_quote *quotes = NULL;
  size_t room = 0, got;
  do {
    if (*count + capacity > room) {
      room = (*count + capacity) * 2;
      quotes = realloc(quotes, room * sizeof *quotes);
      if (quotes == NULL) abort();
    }
    *code = tks_cursor_next(cursor, quotes + *count, capacity, &got, &error);
    cr_assert_leq(got, capacity);
    *count += got;
    *damaged += *code == TKS_EDAYFILE;
  } while (*code == TKS_EDAYFILE || *code == TKS_EDEADLINE || (*code == TKS_OK && got > 0));
  tks_cursor_close(cursor);
  return quotes;
}

tks_quote *store_read(tks_store *store, const tks_range *range, size_t capacity, size_t *count) {
  size_t damaged;
  int code;
  tks_quote *quotes = store_read_on(store, range, capacity, count, &damaged, &code);
  cr_assert_eq(code, TKS_OK, "%d", code);
  cr_assert_eq(damaged, 0);
  return quotes;
}

typedef struct waiting {
  tks_store *store;
  bool (*condition)(const tks_store_stats *stats, void *context);
  void *context;
} waiting;

static bool ask_stats(void *context) {
  const waiting *w = context;
  tks_store_stats stats = store_stats(w->store);
  return w->condition(&stats, w->context);
}

bool store_wait(tks_store *store, bool (*condition)(const tks_store_stats *stats, void *context), void *context) {
  return wait_until(ask_stats, &(waiting){store, condition, context});
}

bool store_adds_up(const tks_store_stats *stats) {
  bool ok = true;
  for (int i = 0; i < 2; i++) {
    const tks_sink_stats *s = &stats->sinks[i];
    if (s->state == TKS_SINK_OFF) continue;
    if (stats->accepted + stats->recovered == s->written + s->backlog + s->lost + stats->dropped) continue;
    ok = false;
    (void)fprintf(stderr,
                  "sink %u: accepted %llu, recovered %llu, written %llu, backlog %llu, lost %llu, dropped %llu\n",
                  s->sink, (unsigned long long)stats->accepted, (unsigned long long)stats->recovered,
                  (unsigned long long)s->written, (unsigned long long)s->backlog, (unsigned long long)s->lost,
                  (unsigned long long)stats->dropped);
  }
  return ok;
}

/* ----------------------------------------------------------------- on disk */

void store_day_path(const char *dir, const char *day, char *path) {
  (void)snprintf(path, PATH_MAX, "%s/db/%.4s/%.2s/ticks_%s.db", dir, day, day + 5, day);
}

void store_spoil_day(const char *dir, const char *day) {
  char path[PATH_MAX];
  store_day_path(dir, day, path);
  write_file(path, "spoilt", 6);
}

void store_json_path(const char *dir, const char *symbol, const char *day, char *path) {
  (void)snprintf(path, PATH_MAX, "%s/json/%s/%s.jsonl", dir, symbol, day);
}

int64_t sqlite_integer(const char *path, const char *sql) {
  sqlite3 *db = NULL;
  sqlite3_stmt *statement = NULL;
  int64_t value = -1;
  if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL) == SQLITE_OK) {
    (void)sqlite3_busy_timeout(db, 60000);
    if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW)
      value = sqlite3_column_int64(statement, 0);
  }
  (void)sqlite3_finalize(statement);
  (void)sqlite3_close(db);
  return value;
}

static bool ends_with(const char *text, const char *end) {
  size_t length = strlen(text), n = strlen(end);
  return length >= n && strcmp(text + length - n, end) == 0;
}

/* nftw knows no context. */
static struct {
  const char *suffix;
  const char *sql; /* NULL: JSON */
  uint64_t sum;
  uint64_t *seqs;
  size_t seq_count, seq_room;
} tally;

static void note_seq(uint64_t seq) {
  if (tally.seq_count == tally.seq_room) {
    tally.seq_room = tally.seq_room * 2 + 1024;
    tally.seqs = realloc(tally.seqs, tally.seq_room * sizeof *tally.seqs);
    if (tally.seqs == NULL) abort();
  }
  tally.seqs[tally.seq_count++] = seq;
}

static void tally_lines(const char *path) {
  size_t length;
  char *text = read_file(path, &length);
  for (char *line = text, *end; (end = memchr(line, '\n', length - (size_t)(line - text))) != NULL; line = end + 1) {
    *end = 0;
    const char *seq = strstr(line, "\"seq\":");
    if (seq != NULL) note_seq(strtoull(seq + 6, NULL, 10));
    tally.sum++;
  }
  free(text);
}

static void tally_rows(const char *path) {
  sqlite3 *db = NULL;
  sqlite3_stmt *statement = NULL;
  cr_assert_eq(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK, "%s", path);
  (void)sqlite3_busy_timeout(db, 60000);
  /* A file that a full disk kept from getting its tables is empty. */
  if (sqlite_integer(path, "SELECT COUNT(*) FROM sqlite_master") != 0) {
    cr_assert_eq(sqlite3_prepare_v2(db, tally.sql, -1, &statement, NULL), SQLITE_OK, "%s: %s", path,
                 sqlite3_errmsg(db));
    while (sqlite3_step(statement) == SQLITE_ROW) {
      note_seq((uint64_t)sqlite3_column_int64(statement, 0));
      tally.sum++;
    }
  }
  (void)sqlite3_finalize(statement);
  (void)sqlite3_close(db);
}

static int tally_file(const char *path, const struct stat *st, int type, struct FTW *at) {
  (void)st;
  (void)at;
  if (type != FTW_F || !ends_with(path, tally.suffix)) return 0;
  if (tally.sql == NULL) tally_lines(path);
  else tally_rows(path);
  return 0;
}

static int compare_seqs(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

static uint64_t tally_tree(const char *dir, const char *folder, const char *suffix, const char *sql, bool distinct) {
  char path[PATH_MAX];
  (void)snprintf(path, sizeof path, "%s/%s", dir, folder);
  tally.suffix = suffix;
  tally.sql = sql;
  tally.sum = 0;
  tally.seq_count = 0;
  (void)nftw(path, tally_file, 16, FTW_PHYS);
  uint64_t count = tally.sum;
  if (distinct) {
    if (tally.seq_count > 1) qsort(tally.seqs, tally.seq_count, sizeof *tally.seqs, compare_seqs);
    count = 0;
    for (size_t i = 0; i < tally.seq_count; i++) count += i == 0 || tally.seqs[i] != tally.seqs[i - 1];
  }
  free(tally.seqs);
  tally.seqs = NULL;
  tally.seq_room = 0;
  return count;
}

uint64_t store_sqlite_rows(const char *dir) { return tally_tree(dir, "db", ".db", "SELECT id FROM ticks", false); }
uint64_t store_sqlite_seqs(const char *dir) { return tally_tree(dir, "db", ".db", "SELECT id FROM ticks", true); }
uint64_t store_json_lines(const char *dir) { return tally_tree(dir, "json", ".jsonl", NULL, false); }
uint64_t store_json_seqs(const char *dir) { return tally_tree(dir, "json", ".jsonl", NULL, true); }

/* ------------------------------------------------------------------- files */

static uint64_t digest;

static uint64_t mix(uint64_t hash, const void *bytes, size_t length) {
  for (size_t i = 0; i < length; i++) hash = (hash ^ ((const unsigned char *)bytes)[i]) * UINT64_C(0x100000001b3);
  return hash;
}

static int digest_file(const char *path, const struct stat *st, int type, struct FTW *at) {
  (void)at;
  uint64_t hash = mix(UINT64_C(0xcbf29ce484222325), path, strlen(path));
  if (type == FTW_F && S_ISREG(st->st_mode)) {
    size_t length;
    char *bytes = read_file(path, &length);
    hash = mix(hash, bytes, length);
    free(bytes);
  }
  digest += hash; /* in whatever order they come */
  return 0;
}

uint64_t tree_digest(const char *dir) {
  digest = 0;
  (void)nftw(dir, digest_file, 16, FTW_PHYS);
  return digest;
}

bool path_exists(const char *path) {
  struct stat st;
  return lstat(path, &st) == 0;
}

void write_file(const char *path, const void *bytes, size_t length) {
  FILE *f = fopen(path, "wb");
  cr_assert_not_null(f, "%s", path);
  cr_assert_eq(fwrite(bytes, 1, length, f), length);
  cr_assert_eq(fclose(f), 0);
}

char *read_file(const char *path, size_t *length) {
  FILE *f = fopen(path, "rb");
  cr_assert_not_null(f, "%s", path);
  cr_assert_eq(fseek(f, 0, SEEK_END), 0);
  long size = ftell(f);
  cr_assert_geq(size, 0);
  rewind(f);
  char *bytes = malloc((size_t)size + 1);
  if (bytes == NULL) abort();
  *length = fread(bytes, 1, (size_t)size, f);
  bytes[*length] = 0;
  (void)fclose(f);
  return bytes;
}

void make_dirs(const char *path) {
  char part[PATH_MAX];
  (void)snprintf(part, sizeof part, "%s", path);
  for (char *p = part + 1; *p != 0; p++) {
    if (*p != '/') continue;
    *p = 0;
    (void)mkdir(part, 0777);
    *p = '/';
  }
  (void)mkdir(part, 0777);
  cr_assert(path_exists(path), "%s", path);
}
