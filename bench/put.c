/* put.c - what put costs its caller: one producer, 128 symbols at random, rings that have been written over once.
 *
 * A store with the journal and one without are open side by side and take turns burst by burst, so that their ratio is of one moment. After
 * each burst the writer catches up before the next one begins. Quotes are composed in groups of 64 outside the timed part and are in
 * the first-level cache when they are put, as a quote is that was just decoded; the ring lines that they go to are not. */
#include <string.h>

#include "feed.h"
#include "groups.h"

enum { GROUP = 64, BATCH = 256, SYMBOLS = 128, BURSTS = 4 };

/* Time of so many puts, one call each or one for all; quotes are composed before. */
static int64_t time_singles(feed *f, const tks_quote *quotes, size_t count) {
  int64_t started = now_ns();
  for (size_t i = 0; i < count; i++) feed_put(f, &quotes[i]);
  return now_ns() - started;
}

static int64_t time_batch(feed *f, const tks_quote *quotes, size_t count) {
  tks_error error;
  int64_t started = now_ns();
  int code = tks_put_quotes(f->store, quotes, count, NULL, NULL, &error);
  int64_t took = now_ns() - started;
  if (code != TKS_OK) die("put_quotes: %s (%d)", error.message, code);
  return took;
}

typedef struct way {
  int64_t (*time)(feed *f, const tks_quote *quotes, size_t count);
  size_t group;
} way;

static const way SINGLES = {time_singles, GROUP}, BATCHES = {time_batch, BATCH};

/* Nanoseconds a tick: the mean of several bursts, since one takes some ten milliseconds and whoever takes the processor for two of them
 * shows; and the median of their groups, which such moments do not move. */
static void measure_bursts(const way *w, feed *f, size_t burst, series *mean, series *median) {
  static histogram h;
  tks_quote quotes[BATCH];
  int64_t timed = 0, cost = (int64_t)clock_cost_ns();
  memset(&h, 0, sizeof h);
  for (int i = 0; i < BURSTS; i++) {
    for (size_t done = 0; done < burst; done += w->group) {
      for (size_t k = 0; k < w->group; k++) quotes[k] = feed_next(f);
      int64_t took = w->time(f, quotes, w->group) - cost;
      histogram_add(&h, took);
      timed += took;
    }
    feed_flush(f);
  }
  series_add(mean, (double)timed / (double)(burst * BURSTS));
  series_add(median, histogram_at(&h, 0.5) / (double)w->group);
}

static void singles_of_burst(feed *f, size_t burst, histogram *h) {
  int64_t cost = (int64_t)clock_cost_ns();
  for (size_t i = 0; i < burst; i++) {
    tks_quote quote = feed_next(f);
    int64_t started = now_ns();
    feed_put(f, &quote);
    histogram_add(h, now_ns() - started - cost);
  }
}

typedef struct side {
  feed feed;
  const char *key, *label;
  series mean, median, batch, batch_median, quantiles[5];
  histogram all; /* of every run, for the curve */
} side;

static const double SHARES[5] = {0.5, 0.99, 0.999, 0.9999, 1};
static const char *const SHARE_KEYS[5] = {"p50", "p99", "p999", "p9999", "max"};
static const char *const SHARE_LABELS[5] = {"p50", "p99", "p99.9", "p99.99", "worst"};

static void measure_singles(side *s, size_t burst) {
  static histogram h;
  memset(&h, 0, sizeof h);
  for (int i = 0; i < BURSTS; i++) {
    singles_of_burst(&s->feed, burst, &h);
    feed_flush(&s->feed);
  }
  for (int i = 0; i < 5; i++) series_add(&s->quantiles[i], i < 4 ? histogram_at(&h, SHARES[i]) : (double)h.worst);
  for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) s->all.counts[i] += h.counts[i];
  s->all.total += h.total;
  if (h.worst > s->all.worst) s->all.worst = h.worst;
}

static void report_of(const side *s, const char *key, const char *call, const char *figure, const series *values) {
  char whole_key[64], label[96];
  (void)snprintf(whole_key, sizeof whole_key, "put_%s_%s", s->key, key);
  (void)snprintf(label, sizeof label, "%s, %s, %s", call, s->label, figure);
  report(whole_key, label, "ns", values);
}

static void report_side(const side *s) {
  report_of(s, "mean", "put", "mean (groups of 64)", &s->mean);
  report_of(s, "median", "put", "median of groups of 64", &s->median);
  report_of(s, "batch", "put_quotes of 256", "per tick", &s->batch);
  report_of(s, "batch_median", "put_quotes of 256", "per tick, median", &s->batch_median);
  for (int i = 0; i < 5; i++) report_of(s, SHARE_KEYS[i], "put", SHARE_LABELS[i], &s->quantiles[i]);
}

_Static_assert(GROUP == 64 && BATCH == 256, "the labels say so");

static void report_curve(const side *s) {
  static const double shares[] = {0.01, 0.1,   0.25,  0.5,   0.75,   0.9,    0.95,   0.98,
                                  0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999, 0.99999};
  char key[64], label[96];
  for (size_t i = 0; i < sizeof shares / sizeof shares[0]; i++) {
    series value = {.values = {histogram_at(&s->all, shares[i])}, .count = 1};
    (void)snprintf(key, sizeof key, "put_%s_curve", s->key);
    (void)snprintf(label, sizeof label, "put, %s, of all runs: %g %%", s->label, shares[i] * 100);
    report_at(key, label, "ns", shares[i], &value);
  }
}

void bench_put(const options *o) {
  size_t burst = o->quick ? 25600 : 256000;
  uint32_t ring = o->quick ? 1000 : 10000;
  static side sides[3] = {{.key = "journal", .label = "journal on"},
                          {.key = "memory", .label = "journal off"},
                          {.key = "asleep", .label = "journal on, writer asleep"}};
  report_group("put", "one producer, 128 symbols at random");
  for (int i = 0; i < 3; i++) {
    tks_config config = feed_config();
    config.ring_records = ring;
    if (i == 1) {
      config.journal = 0;
      config.queue_records = 1u << 20; /* so that the bursts fit, as they fit into the journal */
    }
    if (i == 2) feed_config_asleep(&config);
    feed_open(&sides[i].feed, o, &config, SYMBOLS);
    feed_fill(&sides[i].feed, ring + ring / 5);
  }
  report_note("before: %u ticks a symbol put and written, so every ring page is there; %d bursts of %zu a run, writer "
              "caught up "
              "between",
              ring + ring / 5, BURSTS, burst);
  series ratio = {.count = 0};
  for (int run = 0; run < o->runs; run++) {
    for (int k = 0; k < 3; k++) {
      side *s = &sides[(run + k) % 3];
      measure_bursts(&SINGLES, &s->feed, burst, &s->mean, &s->median);
      measure_bursts(&BATCHES, &s->feed, burst, &s->batch, &s->batch_median);
      measure_singles(s, burst);
    }
    series_add(&ratio, sides[0].mean.values[run] / sides[1].mean.values[run]);
  }
  for (int i = 0; i < 3; i++) report_side(&sides[i]);
  report("put_journal_ratio", "put with the journal over put without, mean", "x", &ratio);
  for (int i = 0; i < 2; i++) report_curve(&sides[i]);
  tks_store_stats stats = feed_stats(&sides[0].feed);
  report_one("put_journal_waits", "puts that waited for room or for the next journal file", "puts",
             (double)(stats.blocked + stats.journal_stalls));
  for (int i = 0; i < 3; i++) feed_end(&sides[i].feed);
}
