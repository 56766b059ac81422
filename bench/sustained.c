/* sustained.c - from the first put until the last tick is durable, and a burst that no disk keeps up with. The queue is set to block. What
 * is on disk afterwards is counted through SQLite alone, while the store is still open; one tick less ends the program. */
#include <string.h>

#include "feed.h"
#include "groups.h"

static void check_counts(const feed *f, uint64_t ticks, bool json) {
  tks_store_stats stats = feed_stats(f);
  uint64_t rows = count_sqlite_rows(f->path), lines = json ? count_json_lines(f->path) : ticks;
  if (stats.accepted != ticks || stats.dropped != 0 || rows != ticks || lines != ticks)
    die("%llu ticks put, %llu accepted, %llu dropped, %llu rows and %llu lines on disk", (unsigned long long)ticks,
        (unsigned long long)stats.accepted, (unsigned long long)stats.dropped, (unsigned long long)rows,
        (unsigned long long)lines);
}

static double sustained_once(const options *o, uint32_t symbols, uint32_t backend) {
  feed f;
  tks_config config = feed_config();
  config.backend = backend;
  feed_open(&f, o, &config, symbols);
  int64_t started = now_ns();
  feed_put_many(&f, o->ticks);
  feed_flush(&f);
  double seconds = seconds_since(started);
  check_counts(&f, o->ticks, backend == TKS_DUAL);
  feed_end(&f);
  return (double)o->ticks / seconds;
}

void bench_sustained(const options *o) {
  static const uint32_t symbols[] = {1, 16, 128, 1000, 30000};
  report_group("sustained",
               "first put to last tick durable (synchronous FULL, journal on), rows counted through SQLite");
  report_note("%llu ticks a run into a new store; symbols interned before", (unsigned long long)o->ticks);
  for (size_t i = 0; i < sizeof symbols / sizeof symbols[0]; i++) {
    series rate = {.count = 0};
    for (int run = 0; run < o->runs; run++) series_add(&rate, sustained_once(o, symbols[i], TKS_SQLITE));
    char label[64];
    (void)snprintf(label, sizeof label, "into SQLite, %u symbol%s", symbols[i], symbols[i] == 1 ? "" : "s");
    report_at("sustained_sqlite", label, "ticks/s", symbols[i], &rate);
  }
  series rate = {.count = 0};
  for (int run = 0; run < o->runs; run++) series_add(&rate, sustained_once(o, 128, TKS_DUAL));
  report("sustained_dual", "into SQLite and JSON, 128 symbols", "ticks/s", &rate);
}

void bench_burst(const options *o) {
  uint64_t ticks = o->quick ? 500000 : 10000000;
  int runs = o->runs < 2 ? o->runs : 2;
  series mean = {.count = 0}, p999 = {.count = 0}, worst = {.count = 0}, stalls = {.count = 0}, drained = {.count = 0};
  static histogram h;
  report_group("burst", "a burst at full put speed, each put timed, default journal");
  report_note("%llu ticks, 128 symbols, after rings were filled; rows counted afterwards", (unsigned long long)ticks);
  for (int run = 0; run < runs; run++) {
    feed f;
    tks_config config = feed_config();
    feed_open(&f, o, &config, 128);
    feed_fill(&f, 10000);
    memset(&h, 0, sizeof h);
    int64_t cost = (int64_t)clock_cost_ns(), timed = 0, started = now_ns();
    for (uint64_t i = 0; i < ticks; i++) {
      tks_quote quote = feed_next(&f);
      int64_t before = now_ns();
      feed_put(&f, &quote);
      int64_t took = now_ns() - before - cost;
      timed += took;
      histogram_add(&h, took);
    }
    feed_flush(&f);
    series_add(&drained, seconds_since(started));
    series_add(&mean, (double)timed / (double)ticks);
    series_add(&p999, histogram_at(&h, 0.999));
    series_add(&worst, (double)h.worst / 1000);
    tks_store_stats stats = feed_stats(&f);
    series_add(&stalls, (double)(stats.journal_stalls + stats.blocked));
    check_counts(&f, ticks + 10000 * 128, false);
    feed_end(&f);
  }
  report("burst_mean", "put during the burst, mean (one call at a time)", "ns", &mean);
  report("burst_p999", "put during the burst, p99.9", "ns", &p999);
  report("burst_max", "put during the burst, worst", "us", &worst);
  report("burst_stalls", "puts that waited for a journal file or for room", "puts", &stalls);
  report("burst_durable", "first put to last tick durable, nothing lost", "s", &drained);
}
