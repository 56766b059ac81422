/* days.c - what more day files and more symbols do to put, recent, a point in time ("the quote of X as of T") and the first row
 * of a long range. Each figure is a point of a curve. */
#include <stdlib.h>
#include <string.h>

#include "feed.h"
#include "groups.h"

enum { SYMBOLS = 128, TICKS_A_DAY = 8192 };
#define FIRST_DAY_NS (FEED_START_NS - 400 * NS_PER_DAY)

/* The store remembers what is in a directory from two seconds on after it changed; a program that has run for some time is there. */
static void settle(void) { pause_ms(2500); }

/* The quote of a symbol as of a time: one row, newest first. */
static void point_in_time(const feed *f, uint32_t symbol, int64_t at_ns) {
  tks_error error;
  tks_cursor *cursor;
  tks_quote quote;
  size_t count = 0;
  const tks_range range = {.struct_size = sizeof range,
                           .symbol = symbol,
                           .from_ns = TKS_TIME_MIN,
                           .to_ns = at_ns + 1,
                           .limit = 1,
                           .flags = TKS_RANGE_DESCENDING};
  int code = tks_range_open(f->store, &range, &cursor, &error);
  if (code == TKS_OK) code = tks_cursor_next(cursor, &quote, 1, &count, &error);
  if (code != TKS_OK || count != 1 || quote.ts_ns > at_ns) die("point in time: %zu rows (%d)", count, code);
  tks_cursor_close(cursor);
}

/* Microseconds a call, at random times of [from, to). */
static double time_points(feed *f, int64_t from_ns, int64_t to_ns, int calls) {
  int64_t started = now_ns();
  for (int i = 0; i < calls; i++) {
    uint64_t at = xorshift_next(&f->random) % (uint64_t)(to_ns - from_ns);
    point_in_time(f, f->symbols[xorshift_below(&f->random, f->count)], from_ns + (int64_t)at);
  }
  return seconds_since(started) * 1e6 / calls;
}

/* Milliseconds from opening a range over everything until its first row is there. */
static double time_first_row(feed *f, int calls) {
  tks_error error;
  tks_cursor *cursor;
  tks_quote quote;
  size_t count = 0;
  int64_t started = now_ns();
  for (int i = 0; i < calls; i++) {
    const tks_range range = {.struct_size = sizeof range,
                             .symbol = f->symbols[xorshift_below(&f->random, f->count)],
                             .from_ns = TKS_TIME_MIN,
                             .to_ns = TKS_TIME_MAX,
                             .limit = TKS_NO_LIMIT};
    int code = tks_range_open(f->store, &range, &cursor, &error);
    if (code == TKS_OK) code = tks_cursor_next(cursor, &quote, 1, &count, &error);
    if (code != TKS_OK || count != 1) die("range: %s (%d)", error.message, code);
    tks_cursor_close(cursor);
  }
  return seconds_since(started) * 1e3 / calls;
}

static double time_recent(feed *f, int calls) {
  tks_error error;
  static tks_quote quotes[100];
  size_t count = 0;
  int64_t started = now_ns();
  for (int i = 0; i < calls; i++)
    if (tks_recent(f->store, f->symbols[xorshift_below(&f->random, f->count)], 100, quotes, &count, &error) != TKS_OK)
      die("recent: %s", error.message);
  return seconds_since(started) * 1e6 / calls;
}

/* Nanoseconds a call: the median of groups of 64. These bursts are short, and in their mean a single moment in which
 * the writer took the processor would outweigh everything else. */
static double time_put(feed *f, int groups) {
  static histogram h;
  tks_quote group[64];
  int64_t cost = (int64_t)clock_cost_ns();
  memset(&h, 0, sizeof h);
  for (int g = 0; g < groups; g++) {
    for (int k = 0; k < 64; k++) group[k] = feed_next(f);
    int64_t started = now_ns();
    for (int k = 0; k < 64; k++) feed_put(f, &group[k]);
    histogram_add(&h, now_ns() - started - cost);
  }
  feed_flush(f);
  return histogram_at(&h, 0.5) / 64;
}

/* ------------------------------------------------------------------ days */

static void write_days(const char *path, int from, int to) {
  feed f;
  tks_config config = feed_config();
  feed_reopen(&f, path, &config, SYMBOLS);
  f.step_ns = NS_PER_DAY / TICKS_A_DAY;
  for (int day = from; day < to; day++) {
    f.start_ns = FIRST_DAY_NS + day * NS_PER_DAY;
    f.puts = 0;
    feed_put_many(&f, TICKS_A_DAY);
  }
  feed_close(&f);
}

/* One of the figures that are taken at a point of the curves, by turns. */
typedef struct figure {
  const char *key, *what, *unit;
  series values;
} figure;

/* The first run only warms up. */
static void note_run(figure *figures, const double *values, size_t count, int run) {
  for (size_t i = 0; i < count && run >= 0; i++) series_add(&figures[i].values, values[i]);
}

/* `x` things: the first figure's label names them. */
static void report_figures(const figure *figures, size_t count, unsigned x, const char *thing) {
  for (size_t i = 0; i < count; i++) {
    char label[80], named[40] = "";
    if (i == 0) (void)snprintf(named, sizeof named, " %s%s", thing, x == 1 ? "" : "s");
    (void)snprintf(label, sizeof label, "%u%s: %s", x, named, figures[i].what);
    report_at(figures[i].key, label, figures[i].unit, x, &figures[i].values);
  }
}

static void measure_days(const options *o, const char *path, int days) {
  enum { FIGURES = 5 };
  int calls = o->quick ? 500 : 5000;
  figure figures[FIGURES] = {{.key = "days_put", .what = "put, median of groups", .unit = "ns"},
                             {.key = "days_recent", .what = "recent(100) from the ring", .unit = "us"},
                             {.key = "days_point_live", .what = "point in time, on the live day", .unit = "us"},
                             {.key = "days_point_any", .what = "point in time, any day", .unit = "us"},
                             {.key = "days_first_row", .what = "range over all of them, first row", .unit = "ms"}};
  feed f;
  tks_config config = feed_config();
  feed_reopen(&f, path, &config, SYMBOLS);
  f.start_ns = FIRST_DAY_NS + (days - 1) * NS_PER_DAY; /* the newest day is live: 200 ticks a symbol more */
  f.step_ns = NS_PER_DAY / 8 / (200 * SYMBOLS);
  feed_fill(&f, 200);
  settle();
  int64_t live = f.start_ns + NS_PER_DAY / 16, end = f.start_ns + NS_PER_DAY / 8;
  for (int run = -1; run < o->runs; run++) {
    double values[FIGURES];
    values[1] = time_recent(&f, calls * 4);
    values[2] = time_points(&f, live, end, calls);
    values[3] = time_points(&f, FIRST_DAY_NS + NS_PER_DAY / 2, end + NS_PER_DAY / 2, calls / 2);
    values[4] = time_first_row(&f, calls / 10);
    values[0] = time_put(&f, calls / 10);
    note_run(figures, values, FIGURES, run);
  }
  report_figures(figures, FIGURES, (unsigned)days, "day file");
  feed_end(&f);
}

/* The same with a connection for each day: nothing has to be opened. */
static void measure_held(const options *o, const char *path, int days) {
  series any = {.count = 0};
  feed f;
  tks_config config = feed_config();
  config.read_connections = (uint32_t)days + 1;
  feed_reopen(&f, path, &config, SYMBOLS);
  settle();
  for (int run = -1; run < o->runs; run++) {
    int64_t end = FIRST_DAY_NS + days * NS_PER_DAY;
    double us = time_points(&f, FIRST_DAY_NS + NS_PER_DAY / 2, end, o->quick ? 500 : 5000);
    if (run >= 0) series_add(&any, us);
  }
  char label[80];
  (void)snprintf(label, sizeof label, "%d: the same, read_connections %d", days, days + 1);
  report_at("days_point_held", label, "us", days, &any);
  feed_end(&f);
}

static void copy_tree(const char *from, char to[512], const options *o) {
  char command[1200];
  scratch_make(o, to);
  (void)snprintf(command, sizeof command, "cp -a '%s/.' '%s'", from, to);
  if (system(command) != 0) die("cannot copy %s", from);
}

void bench_days(const options *o) {
  static const int stages[] = {1, 7, 30, 90, 365};
  char path[512], copy[512];
  report_group("days", "many day files, 128 symbols at random");
  report_note("%d ticks a day, closed (sealed), opened again; 200 ticks a symbol put on the newest day; first round "
              "not counted",
              TICKS_A_DAY);
  scratch_make(o, path);
  for (int i = 0, written = 0; i < (o->quick ? 3 : 5); i++) {
    write_days(path, written, stages[i]);
    written = stages[i];
    copy_tree(path, copy, o);
    measure_days(o, copy, written);
    copy_tree(path, copy, o);
    measure_held(o, copy, written);
  }
  scratch_remove(path);
}

/* ---------------------------------------------------------------- growth */

static void measure_symbols(const options *o, uint32_t symbols) {
  enum { FIGURES = 3 };
  int calls = o->quick ? 500 : 5000;
  figure figures[FIGURES] = {{.key = "symbols_put", .what = "put, median of groups", .unit = "ns"},
                             {.key = "symbols_recent", .what = "recent(100) from the ring", .unit = "us"},
                             {.key = "symbols_point", .what = "point in time, on the live day", .unit = "us"}};
  feed f;
  tks_config config = feed_config();
  config.ring_records = 128;
  feed_open(&f, o, &config, symbols);
  feed_fill(&f, 160);
  settle();
  int64_t end = f.start_ns + (int64_t)f.puts * f.step_ns;
  for (int run = -1; run < o->runs; run++) {
    double values[FIGURES];
    values[0] = time_put(&f, calls / 2);
    values[1] = time_recent(&f, calls * 4);
    values[2] = time_points(&f, f.start_ns + (end - f.start_ns) / 2, end, calls);
    note_run(figures, values, FIGURES, run);
  }
  report_figures(figures, FIGURES, symbols, "symbol");
  feed_end(&f);
}

void bench_growth(const options *o) {
  static const uint32_t counts[] = {1, 16, 128, 1000, 10000, 30000};
  report_group("growth", "more symbols, all at random");
  report_note(
      "rings of 128 so that all of them are full; 160 ticks a symbol put and written before, first round not counted");
  for (int i = 0; i < (o->quick ? 4 : 6); i++) measure_symbols(o, counts[i]);
}
