#include "feed.h"

#include <ftw.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

static void check(int code, const char *what, const tks_error *error) {
  if (code < 0) die("%s: %s (%d)", what, error->message, code);
}

tks_config feed_config(void) {
  tks_config config;
  (void)tks_config_init(&config, sizeof config, TKS_PRESET_PRODUCTION, NULL);
  config.queue_policy = TKS_QUEUE_BLOCK;
  config.block_limit_ms = 60000;
  return config;
}

void feed_config_asleep(tks_config *config) {
  config->queue_records = 1u << 24;
  config->batch_records = 1u << 24;
  config->flush_interval_ms = 3600000;
}

static void intern(feed *f, uint32_t symbols) {
  tks_error error;
  f->symbols = calloc(symbols, sizeof *f->symbols);
  f->steps = calloc(symbols, sizeof *f->steps);
  if (f->symbols == NULL || f->steps == NULL) die("out of memory");
  f->count = symbols;
  for (uint32_t i = 0; i < symbols; i++) {
    char name[16];
    int n = snprintf(name, sizeof name, "SYM%05u", i);
    check(tks_symbol(f->store, name, (size_t)n, &f->symbols[i], &error), "symbol", &error);
  }
  check(tks_source(f->store, "BENCH", 5, &f->source, &error), "source", &error);
}

void feed_reopen(feed *f, const char *path, const tks_config *config, uint32_t symbols) {
  tks_error error;
  memset(f, 0, sizeof *f);
  (void)snprintf(f->path, sizeof f->path, "%s", path);
  f->random.state = 0x9e3779b97f4a7c15u;
  f->scale = 1;
  f->start_ns = FEED_START_NS;
  f->step_ns = 2000;
  check(tks_open(path, strlen(path), config, &f->store, &error), "open", &error);
  intern(f, symbols);
}

void feed_open(feed *f, const options *o, const tks_config *config, uint32_t symbols) {
  char path[512];
  scratch_make(o, path);
  feed_reopen(f, path, config, symbols);
}

void feed_close(feed *f) {
  tks_error error;
  check(tks_close(f->store, &error), "close", &error);
  f->store = NULL;
  free(f->symbols);
  free(f->steps);
}

void feed_end(feed *f) {
  feed_close(f);
  scratch_remove(f->path);
}

void feed_part(feed *part, const feed *whole, uint32_t first, uint32_t count, uint64_t seed) {
  *part = *whole;
  part->first = first;
  part->count = count;
  part->random.state = 0x9e3779b97f4a7c15u * (seed + 1);
  part->steps = calloc(first + count, sizeof *part->steps);
  if (part->steps == NULL) die("out of memory");
  /* Prices of one part lie between those of the other: two parts of one symbol never give the same price after one another. */
  part->scale = 1 + (double)seed * 5e-5;
}

void feed_part_end(feed *part) { free(part->steps); }

void feed_put(feed *f, const tks_quote *quote) {
  tks_error error;
  int code = tks_put_quote(f->store, quote, NULL, &error);
  if (code != TKS_OK) die("put: %s (%d)", code < 0 ? error.message : "throttled", code);
}

void feed_put_many(feed *f, uint64_t count) {
  for (uint64_t i = 0; i < count; i++) {
    tks_quote quote = feed_next(f);
    feed_put(f, &quote);
  }
}

void feed_flush(feed *f) {
  tks_error error;
  check(tks_flush(f->store, -1, &error), "flush", &error);
}

tks_store_stats feed_stats(const feed *f) {
  tks_store_stats stats;
  tks_error error;
  memset(&stats, 0, sizeof stats);
  stats.struct_size = sizeof stats;
  check(tks_stats(f->store, &stats, &error), "stats", &error);
  return stats;
}

void feed_wait(const feed *f, uint64_t below) {
  for (;;) {
    tks_store_stats stats = feed_stats(f);
    if (stats.sinks[0].backlog <= below && stats.sinks[1].backlog <= below) return;
    pause_ms(5);
  }
}

void feed_fill(feed *f, uint32_t per_symbol) {
  for (uint64_t left = (uint64_t)per_symbol * f->count; left > 0;) {
    uint64_t part = left < 1000000 ? left : 1000000;
    feed_put_many(f, part);
    feed_flush(f);
    left -= part;
  }
}

/* ---------------------------------------------------------------- counts */

static uint64_t counted;

static bool ends_with(const char *text, const char *end) {
  size_t n = strlen(text), k = strlen(end);
  return n >= k && strcmp(text + n - k, end) == 0;
}

static int count_rows(const char *path, const struct stat *status, int kind, struct FTW *where) {
  (void)status, (void)kind;
  if (strncmp(path + where->base, "ticks_", 6) != 0 || !ends_with(path, ".db")) return 0;
  sqlite3 *db = NULL;
  sqlite3_stmt *statement = NULL;
  if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK ||
      sqlite3_prepare_v2(db, "SELECT count(*) FROM ticks", -1, &statement, NULL) != SQLITE_OK ||
      sqlite3_step(statement) != SQLITE_ROW)
    die("cannot count the rows of %s: %s", path, sqlite3_errmsg(db));
  counted += (uint64_t)sqlite3_column_int64(statement, 0);
  (void)sqlite3_finalize(statement);
  (void)sqlite3_close(db);
  return 0;
}

uint64_t count_sqlite_rows(const char *path) {
  counted = 0;
  (void)nftw(path, count_rows, 16, FTW_PHYS);
  return counted;
}

static int count_lines(const char *path, const struct stat *status, int kind, struct FTW *where) {
  (void)status, (void)kind, (void)where;
  if (!ends_with(path, ".jsonl")) return 0;
  FILE *file = fopen(path, "r");
  static char block[1 << 16];
  for (size_t n; file != NULL && (n = fread(block, 1, sizeof block, file)) > 0;)
    for (size_t i = 0; i < n; i++) counted += block[i] == '\n';
  if (file != NULL) (void)fclose(file);
  return 0;
}

uint64_t count_json_lines(const char *path) {
  counted = 0;
  (void)nftw(path, count_lines, 16, FTW_PHYS);
  return counted;
}
