/* read.c - reading what is in rings, and a day that is being written. The rings are full and all of the day is on disk. */
#include <stdlib.h>

#include "feed.h"
#include "groups.h"

enum { SYMBOLS = 128, RING = 10000 };

static uint64_t range_all(const feed *f, uint32_t symbol, tks_quote *quotes, size_t capacity) {
  tks_error error;
  tks_cursor *cursor;
  const tks_range range = {.struct_size = sizeof range,
                           .symbol = symbol,
                           .from_ns = TKS_TIME_MIN,
                           .to_ns = TKS_TIME_MAX,
                           .limit = TKS_NO_LIMIT};
  uint64_t rows = 0;
  int code = tks_range_open(f->store, &range, &cursor, &error);
  for (size_t count = 1; code == TKS_OK && count > 0; rows += count)
    code = tks_cursor_next(cursor, quotes, capacity, &count, &error);
  if (code != TKS_OK) die("range: %s (%d)", error.message, code);
  tks_cursor_close(cursor);
  return rows;
}

/* Microseconds a call. */
static double time_recent(feed *f, size_t n, int calls, tks_quote *quotes) {
  tks_error error;
  size_t count = 0;
  int64_t started = now_ns();
  for (int i = 0; i < calls; i++) {
    int code = tks_recent(f->store, f->symbols[xorshift_below(&f->random, f->count)], n, quotes, &count, &error);
    if (code != TKS_OK || count != n) die("recent: %zu of %zu (%d)", count, n, code);
  }
  return seconds_since(started) * 1e6 / calls;
}

static double time_latest_all(feed *f, int calls, tks_quote *quotes) {
  tks_error error;
  size_t total = 0;
  int64_t started = now_ns();
  for (int i = 0; i < calls; i++)
    if (tks_latest_all(f->store, quotes, SYMBOLS, &total, &error) != TKS_OK || total != SYMBOLS) die("latest_all");
  return seconds_since(started) * 1e6 / calls;
}

static double time_latest(feed *f, int calls, tks_quote *quotes) {
  tks_error error;
  int64_t started = now_ns();
  for (int i = 0; i < calls; i++)
    if (tks_latest(f->store, f->symbols[xorshift_below(&f->random, f->count)], quotes, &error) != TKS_OK) die("latest");
  return seconds_since(started) * 1e9 / calls;
}

void bench_read(const options *o) {
  enum { CAPACITY = 65536 };
  int calls = o->quick ? 2000 : 50000;
  tks_quote *quotes = calloc(CAPACITY, sizeof *quotes);
  if (quotes == NULL) die("out of memory");
  series rows = {.count = 0}, hundred = {.count = 0}, all = {.count = 0}, every = {.count = 0}, one = {.count = 0};
  feed f;
  tks_config config = feed_config();
  report_group("read", "rings and a live day, 128 symbols at random");
  feed_open(&f, o, &config, SYMBOLS);
  feed_fill(&f, RING + RING / 5);
  report_note("before: %d ticks a symbol put and written; the first round of calls is not counted", RING + RING / 5);
  for (int run = -1; run < o->runs; run++) {
    uint64_t count = 0;
    int64_t started = now_ns();
    for (uint32_t i = 0; i < SYMBOLS; i++) count += range_all(&f, f.symbols[i], quotes, CAPACITY);
    double per_second = (double)count / seconds_since(started);
    double figures[4] = {time_recent(&f, 100, calls, quotes), time_recent(&f, RING, calls / 50, quotes),
                         time_latest_all(&f, calls / 10, quotes), time_latest(&f, calls, quotes)};
    if (run < 0) continue;
    series_add(&rows, per_second);
    series_add(&hundred, figures[0]);
    series_add(&all, figures[1]);
    series_add(&every, figures[2]);
    series_add(&one, figures[3]);
  }
  report("recent_100", "recent(100) from the ring", "us", &hundred);
  report("recent_10000", "recent(10,000) from the ring", "us", &all);
  report("latest_all", "latest of 128 symbols, one call", "us", &every);
  report("latest", "latest of one symbol", "ns", &one);
  report("range_live", "range over a live day, to the caller's array", "rows/s", &rows);
  feed_end(&f);
  free(quotes);
}
