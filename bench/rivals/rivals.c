/* rivals - the same ticks kept by this library and by what its users would write otherwise, in one run.
 *
 *   rivals [--runs N] [--quick] [--groups tickstore,lmdb] [--ticks N] [--dir DIR] [--json FILE] [--data DIR]
 *
 * Each way gets an empty directory and the same ticks, one after the other, and is asked the same questions on one thread after it has
 * written. What each returns is compared with what was written: a wrong answer ends the program. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "rival.h"

#define NS_PER_HOUR INT64_C(3600000000000)

static const rival *const RIVALS[] = {
    &rival_tickstore, &rival_sqlite_usual, &rival_sqlite_tight,
#ifdef HAVE_LMDB
    &rival_lmdb,
#endif
#ifdef HAVE_ROCKSDB
    &rival_rocksdb,
#endif
    &rival_duckdb,
};
enum { RIVALS_COUNT = sizeof RIVALS / sizeof RIVALS[0], FIGURES = 6 };

static const struct {
  const char *key, *label, *unit;
} FIGURE[FIGURES] = {
    {"write", "sustained writes, until durable", "ticks/s"},
    {"recent", "recent(100)", "us"},
    {"hour", "one hour of a symbol", "us"},
    {"day", "one day of a symbol", "us"},
    {"scan", "count and sum of all bids", "rows/s"},
    {"bytes", "on disk after closing, a tick", "bytes"},
};

typedef struct input {
  tick *ticks;
  size_t count;
  int64_t first_ns, last_ns;
  double sum;
  tick *out; /* room for every tick of a symbol */
  size_t room;
} input;

/* Rows that a stretch of a symbol must have. */
static size_t expected(const input *in, uint32_t symbol, int64_t from_ns, int64_t to_ns) {
  size_t count = 0;
  for (size_t i = 0; i < in->count; i++)
    count += in->ticks[i].symbol == symbol && in->ticks[i].ts_ns >= from_ns && in->ticks[i].ts_ns < to_ns;
  return count;
}

/* Microseconds a call, over stretches of a length at random places. The first call is checked and not counted. */
static double time_range(const rival *r, void *self, const input *in, int64_t length_ns, int calls) {
  xorshift random = {.state = (uint64_t)length_ns};
  double rows = 0;
  int64_t started = 0;
  for (int i = -1; i < calls; i++) {
    uint32_t symbol = xorshift_below(&random, RIVAL_SYMBOLS);
    int64_t room = in->last_ns - in->first_ns - length_ns;
    int64_t from = in->first_ns + (int64_t)(xorshift_next(&random) % (uint64_t)(room > 0 ? room : 1));
    size_t got = r->range(self, symbol, from, from + length_ns, in->out, in->room);
    if (i < 0 && got != expected(in, symbol, from, from + length_ns)) die("%s: %zu rows in a range", r->name, got);
    if (i < 0) started = now_ns();
    else rows += (double)got;
  }
  double us = seconds_since(started) * 1e6 / calls;
  if (rows == 0) die("%s: no rows in any range", r->name);
  return us;
}

static double time_recent(const rival *r, void *self, const input *in, int calls) {
  xorshift random = {.state = 11};
  int64_t started = 0;
  for (int i = -1; i < calls; i++) {
    if (i == 0) started = now_ns();
    size_t got = r->recent(self, xorshift_below(&random, RIVAL_SYMBOLS), 100, in->out);
    if (got != 100 || in->out[0].ts_ns > in->out[99].ts_ns) die("%s: recent gives %zu rows", r->name, got);
  }
  return seconds_since(started) * 1e6 / calls;
}

static bool measure(const rival *r, const options *o, const input *in, series figures[FIGURES], const char **why) {
  char path[512];
  scratch_make(o, path);
  void *self = r->open(path, why);
  if (self == NULL) {
    scratch_remove(path);
    return false;
  }
  int64_t started = now_ns();
  r->write(self, in->ticks, in->count);
  r->flush(self);
  series_add(&figures[0], (double)in->count / seconds_since(started));
  series_add(&figures[1], time_recent(r, self, in, o->quick ? 50 : 500));
  series_add(&figures[2], time_range(r, self, in, NS_PER_HOUR, o->quick ? 20 : 200));
  series_add(&figures[3], time_range(r, self, in, 24 * NS_PER_HOUR, o->quick ? 5 : 50));
  double sum = 0;
  started = now_ns();
  uint64_t rows = r->scan(self, &sum);
  series_add(&figures[4], (double)rows / seconds_since(started));
  if (rows != in->count || fabs(sum - in->sum) > in->sum * 1e-9)
    die("%s: %llu rows", r->name, (unsigned long long)rows);
  r->close(self);
  series_add(&figures[5], (double)disk_bytes(path) / (double)in->count);
  scratch_remove(path);
  return true;
}

static void input_load(input *in, const options *o) {
  bool real;
  in->count = o->ticks > 500000 ? 500000 : (size_t)o->ticks;
  in->ticks = ticks_load(o->data, in->count, &real);
  in->first_ns = in->ticks[0].ts_ns;
  in->last_ns = in->ticks[in->count - 1].ts_ns;
  in->sum = 0;
  for (size_t i = 0; i < in->count; i++) in->sum += in->ticks[i].bid;
  in->room = in->count / RIVAL_SYMBOLS + 1000;
  in->out = calloc(in->room, sizeof *in->out);
  if (in->out == NULL) die("out of memory");
  report_note("%zu ticks of %s over %.1f days, scaled to %d symbols; each way is warm from writing", in->count,
              real ? "EURUSD (OANDA)" : "a random walk (TICKSTORE_TEST_DATA names no real ones)",
              (double)(in->last_ns - in->first_ns) / 24 / (double)NS_PER_HOUR, RIVAL_SYMBOLS);
}

int main(int argc, char **argv) {
  options o;
  static input in;
  static series figures[RIVALS_COUNT][FIGURES];
  bool have[RIVALS_COUNT];
  options_parse(argc, argv, "rivals", "tickstore,sqlite_usual,sqlite_tight,lmdb,rocksdb,duckdb", &o);
  report_open(&o, "rivals");
  report_group("rivals", "side by side: the same ticks, each way in its best reasonable form");
  input_load(&in, &o);
  for (size_t k = 0; k < RIVALS_COUNT; k++) have[k] = options_want(&o, RIVALS[k]->key);
#ifndef HAVE_LMDB
  report_note("left out: LMDB, which was not there when this was built (scripts/setup bench)");
#endif
#ifndef HAVE_ROCKSDB
  report_note("left out: RocksDB, which was not there when this was built (scripts/setup bench)");
#endif
  for (int run = 0; run < o.runs; run++) {
    for (size_t i = 0; i < RIVALS_COUNT; i++) {
      size_t k = ((size_t)run + i) % RIVALS_COUNT;
      const char *why = "";
      if (!have[k]) continue;
      have[k] = measure(RIVALS[k], &o, &in, figures[k], &why);
      if (!have[k]) report_note("left out: %s: %s", RIVALS[k]->name, why);
    }
  }
  for (size_t k = 0; k < RIVALS_COUNT; k++)
    if (have[k]) report_note("%s: %s", RIVALS[k]->name, RIVALS[k]->form);
  for (int f = 0; f < FIGURES; f++) {
    for (size_t k = 0; k < RIVALS_COUNT; k++) {
      char key[64], label[96];
      if (!have[k]) continue;
      (void)snprintf(key, sizeof key, "rival_%s_%s", FIGURE[f].key, RIVALS[k]->key);
      (void)snprintf(label, sizeof label, "%s: %s", FIGURE[f].label, RIVALS[k]->name);
      report(key, label, FIGURE[f].unit, &figures[k][f]);
    }
  }
  report_close();
  free(in.ticks);
  free(in.out);
  return 0;
}
