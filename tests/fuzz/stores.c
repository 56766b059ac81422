/* The part of fuzz.h about stores. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/fuzz.h"

enum { RECORDS_MAX = 100000, SYMBOLS_MAX = 6, PIECES = 64, DEADLINES_MAX = 2 };

bool fuzz_is_refusal(int code) {
  return code == TKS_ENOTSTORE || code == TKS_EFORMAT || code == TKS_EIO || code == TKS_EINVAL || code == TKS_EDAYFILE;
}

tks_config fuzz_config(uint32_t backend) {
  tks_config config;
  FUZZ_CHECK(tks_config_init(&config, sizeof config, TKS_PRESET_PRODUCTION, NULL) == TKS_OK, "defaults");
  config.backend = backend;
  config.throttle_relative = -1;
  config.ring_records = 16;
  config.max_symbols = config.max_sources = 1000; /* sanitizers are slow with large reservations */
  config.retry_pause_ms = 1;
  config.degraded_retry_ms = 5;
  config.sync_interval_ms = 5;
  config.close_limit_ms = 60000;
  return config;
}

void fuzz_write_manifest(const char *backend, bool clean) {
  char text[256];
  int n = snprintf(text, sizeof text,
                   "{\"format\": 1, \"store_id\": \"0123456789abcdef0123456789abcdef\", \"backend\": \"%s\","
                   " \"mixed\": false, \"next_seq\": 1000, \"clean\": %s}\n",
                   backend, clean ? "true" : "false");
  fuzz_write_file("store.json", text, (size_t)n);
}

int fuzz_open(const tks_config *config, tks_store **store) {
  tks_error error = {0};
  int code = tks_open(fuzz_dir(), strlen(fuzz_dir()), config, store, &error);
  FUZZ_CHECK(code == TKS_OK || (*store == NULL && error.code == code && error.message[0] != 0), "%d", code);
  return code;
}

/* ----------------------------------------------------------------- reading */

static bool is_reading_code(int code) {
  return code == TKS_OK || code == TKS_EDAYFILE || code == TKS_EFORMAT || code == TKS_EDEADLINE || code == TKS_EIO ||
         code == TKS_ETABLEFULL;
}

static void check_order(const tks_quote *before, const tks_quote *q, const tks_range *range) {
  FUZZ_CHECK(q->ts_ns >= range->from_ns && q->ts_ns < range->to_ns, "%lld", (long long)q->ts_ns);
  FUZZ_CHECK(q->symbol == range->symbol, "symbol %u", q->symbol);
  if (before == NULL) return;
  int order = before->ts_ns != q->ts_ns ? (before->ts_ns < q->ts_ns ? -1 : 1) : (before->seq < q->seq ? -1 : 1);
  if (before->ts_ns == q->ts_ns && before->seq == q->seq) order = 0;
  FUZZ_CHECK(order == ((range->flags & TKS_RANGE_DESCENDING) != 0 ? 1 : -1), "%lld, %llu after %lld, %llu",
             (long long)q->ts_ns, (unsigned long long)q->seq, (long long)before->ts_ns,
             (unsigned long long)before->seq);
}

/* Whether `seq` is among the records of the range, or its day was told to be damaged. */
static bool read_range(tks_store *store, const tks_range *range, size_t capacity, uint64_t seq) {
  tks_cursor *cursor;
  tks_error error;
  int code = tks_range_open(store, range, &cursor, &error), deadlines = 0;
  FUZZ_CHECK(is_reading_code(code), "%d", code);
  if (code != TKS_OK) return false;
  tks_quote quotes[PIECES], before;
  size_t count, all = 0;
  bool found = false, damaged = false;
  do {
    code = tks_cursor_next(cursor, quotes, capacity, &count, &error);
    FUZZ_CHECK(is_reading_code(code) && count <= capacity, "%d, %zu", code, count);
    for (size_t i = 0; i < count; i++, all++) {
      check_order(all > 0 ? &before : NULL, &quotes[i], range);
      before = quotes[i];
      found |= quotes[i].seq == seq;
    }
    FUZZ_CHECK(all < RECORDS_MAX, "the range does not end");
    damaged |= code == TKS_EDAYFILE;
    deadlines += code == TKS_EDEADLINE;
  } while (code == TKS_EDAYFILE || code == TKS_EFORMAT || (code == TKS_EDEADLINE && deadlines < DEADLINES_MAX) ||
           (code == TKS_OK && count > 0));
  tks_cursor_close(cursor);
  return found || damaged;
}

static tks_range whole_range(uint32_t symbol) {
  return (tks_range){.struct_size = sizeof(tks_range),
                     .symbol = symbol,
                     .from_ns = TKS_TIME_MIN,
                     .to_ns = TKS_TIME_MAX,
                     .limit = TKS_NO_LIMIT};
}

static void read_symbol(tks_store *store, uint32_t symbol) {
  tks_range range = whole_range(symbol);
  (void)read_range(store, &range, PIECES, 0);
  range.flags = TKS_RANGE_DESCENDING;
  (void)read_range(store, &range, 3, 0);
  range.flags = 0;
  range.from_ns = FUZZ_MIDNIGHT;
  range.to_ns = FUZZ_MIDNIGHT + FUZZ_DAY_NS / 2;
  uint32_t source;
  if (tks_source(store, "OANDA", 5, &source, NULL) == TKS_OK) range.source = source;
  (void)read_range(store, &range, 1, 0);
  tks_quote quotes[PIECES];
  size_t count;
  int code = tks_recent(store, symbol, PIECES, quotes, &count, NULL);
  FUZZ_CHECK(is_reading_code(code) && count <= PIECES, "%d", code);
  code = tks_latest(store, symbol, quotes, NULL);
  FUZZ_CHECK(is_reading_code(code) || code == TKS_ENOTFOUND, "%d", code);
}

/* Whether a day has this code. */
static bool read_days(tks_store *store, uint32_t check, int32_t wanted) {
  bool found = false;
  tks_day_info days[8];
  size_t total;
  int code = tks_days(store, check, days, sizeof days / sizeof days[0], &total, NULL);
  FUZZ_CHECK(code == TKS_OK || code == TKS_EIO, "%d", code);
  for (size_t i = 0; code == TKS_OK && i < total && i < sizeof days / sizeof days[0]; i++) {
    FUZZ_CHECK(is_reading_code(days[i].code) || days[i].code == TKS_ENOTFOUND, "%d", days[i].code);
    FUZZ_CHECK(memchr(days[i].message, 0, sizeof days[i].message) != NULL, "an endless message");
    found |= days[i].code == wanted;
    FUZZ_CHECK((days[i].code == TKS_OK) == (days[i].message[0] == 0), "%d: %s", days[i].code, days[i].message);
  }
  return found;
}

bool fuzz_read_all(tks_store *store) {
  (void)read_days(store, TKS_CHECK_QUICK, TKS_OK);
  tks_symbol_info symbols[SYMBOLS_MAX];
  size_t total = 0;
  int code = tks_symbols(store, symbols, SYMBOLS_MAX, &total, NULL);
  FUZZ_CHECK(is_reading_code(code), "%d", code);
  for (size_t i = 0; i < total && i < SYMBOLS_MAX; i++) {
    FUZZ_CHECK(symbols[i].name_length > 0 && symbols[i].name_length <= TKS_NAME_MAX, "%u", symbols[i].name_length);
    read_symbol(store, symbols[i].id);
  }
  uint32_t id;
  if (tks_symbol(store, FUZZ_SYMBOL, strlen(FUZZ_SYMBOL), &id, NULL) == TKS_OK) read_symbol(store, id);
  tks_quote quotes[PIECES];
  code = tks_latest_all(store, quotes, PIECES, &total, NULL);
  FUZZ_CHECK(is_reading_code(code), "%d", code);
  return !read_days(store, TKS_CHECK_FULL, TKS_EFORMAT);
}

void fuzz_use(tks_store *store) {
  uint64_t seq = 0;
  tks_error error = {0};
  int code = tks_put(store, FUZZ_SYMBOL, strlen(FUZZ_SYMBOL), 1.25, 1.5, "OANDA", 5, FUZZ_MIDNIGHT + 1, &seq, &error);
  FUZZ_CHECK(code == TKS_OK && seq > 0, "%d: %s", code, error.message);
  code = tks_flush(store, 20000, &error);
  FUZZ_CHECK(code == TKS_OK, "%d: %s", code, error.message);
  uint32_t id;
  FUZZ_CHECK(tks_symbol(store, FUZZ_SYMBOL, strlen(FUZZ_SYMBOL), &id, NULL) == TKS_OK, "symbol");
  tks_range range = whole_range(id);
  /* Among cells that somebody overwrote SQLite may sort a row where it does not look for it. Only a full check sees that. */
  FUZZ_CHECK(read_range(store, &range, PIECES, seq) || read_days(store, TKS_CHECK_FULL, TKS_EDAYFILE),
             "what was flushed is not there");
}
