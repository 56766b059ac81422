#include <stdlib.h>
#include <string.h>

#include "rival.h"
#include "tickstore/tickstore.h"

typedef struct self {
  tks_store *store;
  uint32_t symbols[RIVAL_SYMBOLS];
  uint32_t source;
  tks_quote *quotes; /* of one call */
} self;

enum { ROOM = 65536 };

static void check(int code, const char *what, const tks_error *error) {
  if (code != TKS_OK) die("tickstore, %s: %s (%d)", what, error->message, code);
}

static void *open_it(const char *path, const char **why) {
  (void)why;
  self *s = calloc(1, sizeof *s);
  tks_config config;
  tks_error error;
  (void)tks_config_init(&config, sizeof config, TKS_PRESET_PRODUCTION, NULL);
  config.queue_policy = TKS_QUEUE_BLOCK;
  config.block_limit_ms = 60000;
  config.throttle_relative = -1; /* the others keep every tick too */
  if (s == NULL || (s->quotes = calloc(ROOM, sizeof *s->quotes)) == NULL) die("out of memory");
  check(tks_open(path, strlen(path), &config, &s->store, &error), "open", &error);
  for (uint32_t i = 0; i < RIVAL_SYMBOLS; i++)
    check(tks_symbol(s->store, rival_symbol(i), strlen(rival_symbol(i)), &s->symbols[i], &error), "symbol", &error);
  check(tks_source(s->store, "OANDA", 5, &s->source, &error), "source", &error);
  return s;
}

static void write_it(void *context, const tick *ticks, size_t count) {
  self *s = context;
  tks_error error;
  for (size_t i = 0; i < count; i++) {
    const tks_quote quote = {.ts_ns = ticks[i].ts_ns,
                             .bid = ticks[i].bid,
                             .ask = ticks[i].ask,
                             .symbol = s->symbols[ticks[i].symbol],
                             .source = s->source};
    check(tks_put_quote(s->store, &quote, NULL, &error), "put", &error);
  }
}

static void flush_it(void *context) {
  self *s = context;
  tks_error error;
  check(tks_flush(s->store, -1, &error), "flush", &error);
}

static void copy(const self *s, size_t count, uint32_t symbol, tick *out) {
  for (size_t i = 0; i < count; i++)
    out[i] = (tick){s->quotes[i].ts_ns, s->quotes[i].seq, s->quotes[i].bid, s->quotes[i].ask, symbol};
}

static size_t recent_it(void *context, uint32_t symbol, size_t n, tick *out) {
  self *s = context;
  tks_error error;
  size_t count = 0;
  check(tks_recent(s->store, s->symbols[symbol], n, s->quotes, &count, &error), "recent", &error);
  copy(s, count, symbol, out);
  return count;
}

static tks_cursor *cursor_of(const self *s, uint32_t symbol, int64_t from_ns, int64_t to_ns) {
  tks_error error;
  tks_cursor *cursor;
  const tks_range range = {.struct_size = sizeof range,
                           .symbol = s->symbols[symbol],
                           .from_ns = from_ns,
                           .to_ns = to_ns,
                           .limit = TKS_NO_LIMIT};
  check(tks_range_open(s->store, &range, &cursor, &error), "range", &error);
  return cursor;
}

static size_t range_it(void *context, uint32_t symbol, int64_t from_ns, int64_t to_ns, tick *out, size_t capacity) {
  self *s = context;
  tks_error error;
  tks_cursor *cursor = cursor_of(s, symbol, from_ns, to_ns);
  size_t total = 0;
  for (size_t count = 1; count > 0 && total < capacity; total += count) {
    size_t room = capacity - total < ROOM ? capacity - total : ROOM;
    check(tks_cursor_next(cursor, s->quotes, room, &count, &error), "next", &error);
    copy(s, count, symbol, out + total);
  }
  tks_cursor_close(cursor);
  return total;
}

static uint64_t scan_stretch(self *s, uint32_t symbol, int64_t from_ns, int64_t to_ns, double *sum) {
  tks_error error;
  uint64_t total = 0;
  tks_cursor *cursor = cursor_of(s, symbol, from_ns, to_ns);
  for (size_t count = 1; count > 0; total += count) {
    check(tks_cursor_next(cursor, s->quotes, ROOM, &count, &error), "next", &error);
    for (size_t i = 0; i < count; i++) *sum += s->quotes[i].bid;
  }
  tks_cursor_close(cursor);
  return total;
}

/* Day by day, so that a day's file is open for all of its symbols. */
static uint64_t scan_it(void *context, double *sum) {
  enum { DAYS = 64 };
  self *s = context;
  tks_day_info days[DAYS];
  tks_error error;
  size_t day_count;
  uint64_t total = 0;
  check(tks_days(s->store, TKS_CHECK_QUICK, days, DAYS, &day_count, &error), "days", &error);
  for (size_t day = 0; day < day_count && day < DAYS; day++)
    for (uint32_t symbol = 0; symbol < RIVAL_SYMBOLS; symbol++)
      total += scan_stretch(s, symbol, days[day].day_ns, days[day].day_ns + INT64_C(86400000000000), sum);
  return total;
}

static void close_it(void *context) {
  self *s = context;
  tks_error error;
  check(tks_close(s->store, &error), "close", &error);
  free(s->quotes);
  free(s);
}

const rival rival_tickstore = {
    .key = "tickstore",
    .name = "libtickstore",
    .form = "production defaults: journal in memory-mapped files (survives the process at once, a power loss within a "
            "second), day "
            "files in SQLite, synchronous FULL; single puts, the writer chooses its transactions",
    .open = open_it,
    RIVAL_CALLS};
