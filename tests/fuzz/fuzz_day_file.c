/* A SQLite day file that somebody has damaged or made up. Readers tell what is wrong or give records in order, and end;
 * a writer that needs the day goes on, with this file or beside it.
 *
 * The first byte says how the rest is taken:
 *   0  the file itself
 *   1  patches of a good file: offset (2 bytes), length (1), bytes
 *   2  a good file's write-ahead log
 *   3  changes made with SQL: the statement (1), then its values; with FUZZ_SHOW in the environment they are printed */
#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/fuzz.h"

const unsigned fuzz_rounds = 300;
const char *const fuzz_words[] = {"SQLite format 3", "\x03\x02", "\x03\x0d", "\x01\x40", NULL};

#define DAY_NAME "db/2024/03/ticks_2024-03-05.db"

enum { FILE_BYTES, PATCHES, LOG, STATEMENTS, WAYS };

static uint8_t *good, *good_log;
static size_t good_size, good_log_size;

static void put_some(tks_store *store, unsigned first, unsigned count) {
  static const char *const names[] = {FUZZ_SYMBOL, "GBPUSD", "a/\xe2\x82\xac"};
  for (unsigned i = first; i < first + count; i++) {
    const char *name = names[i % 3];
    int code = tks_put(store, name, strlen(name), 1 + i / 8.0, 2 + i / 8.0, i % 2 == 0 ? "OANDA" : "",
                       i % 2 == 0 ? 5 : 0, FUZZ_MIDNIGHT + (int64_t)(i / 2) * 1500000, NULL, NULL);
    FUZZ_CHECK(code == TKS_OK, "%d", code);
  }
  FUZZ_CHECK(tks_flush(store, 60000, NULL) == TKS_OK, "flush");
}

/* A day file with its log as a killed writer leaves them, and the same without a log. */
static void make_good(void) {
  if (good != NULL) return;
  fuzz_clear();
  tks_config config = fuzz_config(TKS_SQLITE);
  config.checkpoint_pages = 1000000;
  tks_store *store;
  FUZZ_CHECK(fuzz_open(&config, &store) == TKS_OK, "open");
  put_some(store, 0, 40);
  FUZZ_CHECK(tks_close(store, NULL) == TKS_OK, "close");
  good = fuzz_read_file(DAY_NAME, &good_size);
  FUZZ_CHECK(good != NULL && fuzz_open(&config, &store) == TKS_OK, "open");
  put_some(store, 40, 3);
  good_log = fuzz_read_file(DAY_NAME "-wal", &good_log_size);
  FUZZ_CHECK(good_log != NULL && good_log_size > 0, "no log");
  FUZZ_CHECK(tks_close(store, NULL) == TKS_OK, "close");
}

static void seed(uint8_t way, const void *data, size_t size) {
  uint8_t *bytes = malloc(size + 1);
  if (bytes == NULL) abort();
  bytes[0] = way;
  memcpy(bytes + 1, data, size);
  fuzz_seed(bytes, size + 1);
  free(bytes);
}

void fuzz_seeds(void) {
  make_good();
  seed(FILE_BYTES, good, good_size);
  seed(FILE_BYTES, "", 0);
  seed(LOG, good_log, good_log_size);
  static const uint8_t header[] = {16, 0, 2, 8, 0, 60, 0, 4, 0, 0, 0, 2, 100, 0, 3, 13, 0, 9};
  seed(PATCHES, header, sizeof header);
  for (uint8_t statement = 0; statement < 32; statement++) {
    const uint8_t edit[] = {statement, 3, 0, 5, 5, 1, 0, 0, 0, 0, 0, 0, 128, statement, 3, 0xff, 0xff, 0xff, 0xff};
    seed(STATEMENTS, edit, sizeof edit);
  }
}

/* --------------------------------------------------------- making the file */

static void write_patched(fuzz_input *in) {
  uint8_t *bytes = malloc(good_size);
  if (bytes == NULL) abort();
  memcpy(bytes, good, good_size);
  size_t size = good_size;
  while (in->left > 0) {
    size_t at = (size_t)fuzz_number(in, 2) % good_size, length = fuzz_byte(in);
    if (length == 0) size = at; /* cut off */
    for (size_t i = 0; i < length && in->left > 0 && at + i < good_size; i++) bytes[at + i] = fuzz_byte(in);
  }
  fuzz_write_file(DAY_NAME, bytes, size);
  free(bytes);
}

/* ?1 is any value, ?2 a small number. */
static const char *const statements[] = {
    "UPDATE quote SET ts_ms = ?1 WHERE seq = ?2",
    "UPDATE quote SET ts_sub_ns = ?1 WHERE seq = ?2",
    "UPDATE quote SET ts_sub_ns = ts_sub_ns + 1000000 * ?2",
    "UPDATE quote SET ts_sub_ns = -?2",
    "UPDATE quote SET seq = ?1 WHERE seq = ?2",
    "UPDATE quote SET seq = -seq",
    "UPDATE quote SET bid = ?1, ask = ?1 WHERE seq = ?2",
    "UPDATE quote SET source_id = ?1 WHERE seq = ?2",
    "UPDATE quote SET flags = ?1, bid_size = ?1, ask_size = ?1, recv_ns = ?1 WHERE seq = ?2",
    "UPDATE quote SET symbol_id = ?1 WHERE seq = ?2",
    "UPDATE symbol SET name = ?1 WHERE id = ?2 % 4",
    "UPDATE symbol SET quotes = ?1 WHERE id = ?2 % 4",
    "UPDATE symbol SET first_ns = ?1, last_ns = ?1 WHERE id = ?2 % 4",
    "UPDATE symbol SET id = ?1 WHERE id = ?2 % 4",
    "UPDATE source SET name = ?1",
    "UPDATE source SET id = ?1",
    "UPDATE meta SET value = ?1 WHERE key = 'last_seq'",
    "UPDATE meta SET value = ?1",
    "UPDATE meta SET key = ?1 WHERE key = 'last_seq'",
    "DELETE FROM meta",
    "DELETE FROM quote WHERE seq > ?2",
    "DELETE FROM symbol",
    "DROP TABLE source",
    "DROP VIEW ticks",
    "ALTER TABLE quote DROP COLUMN recv_ns",
    "ALTER TABLE symbol RENAME COLUMN name TO nom",
    "CREATE TRIGGER t AFTER INSERT ON quote BEGIN DELETE FROM quote; END",
    "CREATE TRIGGER t BEFORE INSERT ON quote BEGIN SELECT RAISE(ABORT, 'no'); END",
    "CREATE UNIQUE INDEX i ON quote(symbol_id)",
    "PRAGMA application_id = 7",
    "PRAGMA user_version = 9",
    "PRAGMA journal_mode = WAL",
};

enum { STATEMENT_COUNT = sizeof statements / sizeof statements[0] };

static void bind_value(sqlite3_stmt *s, fuzz_input *in) {
  uint64_t bits;
  double real;
  switch (fuzz_byte(in) % 6) {
    case 0:
      bits = fuzz_number(in, 8);
      (void)sqlite3_bind_int64(s, 1, (sqlite3_int64)bits);
      return;
    case 1: (void)sqlite3_bind_int64(s, 1, INT64_MAX - fuzz_byte(in)); return;
    case 2: (void)sqlite3_bind_int64(s, 1, INT64_MIN + fuzz_byte(in)); return;
    case 3:
      bits = fuzz_number(in, 8);
      memcpy(&real, &bits, sizeof real);
      (void)sqlite3_bind_double(s, 1, real);
      return;
    case 4: (void)sqlite3_bind_null(s, 1); return;
    default: {
      size_t length = fuzz_below(in, 80);
      if (length > in->left) length = in->left;
      (void)sqlite3_bind_text(s, 1, (const char *)in->at, (int)length, SQLITE_TRANSIENT);
      in->at += length;
      in->left -= length;
    }
  }
}

static void write_changed(fuzz_input *in) {
  char path[PATH_MAX];
  fuzz_write_file(DAY_NAME, good, good_size);
  (void)snprintf(path, sizeof path, "%s/%s", fuzz_dir(), DAY_NAME);
  sqlite3 *db;
  FUZZ_CHECK(sqlite3_open(path, &db) == SQLITE_OK, "sqlite");
  (void)sqlite3_exec(db, "PRAGMA synchronous=OFF", NULL, NULL, NULL);
  for (int n = 0; n < 8 && in->left > 0; n++) {
    sqlite3_stmt *s = NULL;
    const char *sql = statements[fuzz_byte(in) % STATEMENT_COUNT];
    (void)sqlite3_prepare_v2(db, sql, -1, &s, NULL);
    uint8_t small = fuzz_byte(in);
    if (s != NULL && sqlite3_bind_parameter_count(s) > 0) bind_value(s, in);
    if (s != NULL && sqlite3_bind_parameter_count(s) > 1) (void)sqlite3_bind_int(s, 2, small % 48);
    if (s != NULL) (void)sqlite3_step(s);
    if (getenv("FUZZ_SHOW") != NULL) {
      char *text = s != NULL ? sqlite3_expanded_sql(s) : NULL;
      (void)fprintf(stderr, "%s;\n", text != NULL ? text : sql);
      sqlite3_free(text);
    }
    (void)sqlite3_finalize(s);
  }
  (void)sqlite3_close(db);
}

static void make_file(fuzz_input *in) {
  switch (fuzz_byte(in) % WAYS) {
    case FILE_BYTES: fuzz_write_file(DAY_NAME, in->at, in->left); return;
    case PATCHES: write_patched(in); return;
    case LOG:
      fuzz_write_file(DAY_NAME, good, good_size);
      fuzz_write_file(DAY_NAME "-wal", in->at, in->left);
      return;
    default: write_changed(in);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  make_good();
  fuzz_clear();
  fuzz_input in = {data, size};
  make_file(&in);
  fuzz_write_manifest("sqlite", true);
  tks_config config = fuzz_config(TKS_SQLITE);
  tks_store *store;
  config.read_only = 1;
  FUZZ_CHECK(fuzz_open(&config, &store) == TKS_OK, "a damaged day stops the whole store");
  bool writable = fuzz_read_all(store);
  FUZZ_CHECK(tks_close(store, NULL) == TKS_OK, "close");
  if (!writable) return 0;
  config.read_only = 0;
  FUZZ_CHECK(fuzz_open(&config, &store) == TKS_OK, "a damaged day stops the whole store");
  fuzz_use(store);
  (void)fuzz_read_all(store);
  FUZZ_CHECK(tks_close(store, NULL) == TKS_OK, "close");
  return 0;
}
