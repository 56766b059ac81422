/* bench - what a store costs on this machine, in one run.
 *
 *   bench [--runs N] [--ticks N] [--dir DIR] [--json]
 *
 * Every figure is measured in N runs (default 5) and printed as median (minimum to maximum). The put figures come from
 * rings that are full and a writer that is at work; the sustained figures count the time from the first put until everything is durable, with
 * the queue set to block, and fail the program if a single tick is missing on disk. */
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "tickstore/tickstore.h"

#define MAX_RUNS 100
#define MAX_SYMBOLS 1000
#define GROUP 64                              /* puts timed together, so that the clock's own cost is a small share */
#define START_NS INT64_C(1768867200000000000) /* 2026-01-20T00:00:00Z */

typedef struct options {
  int runs;
  size_t ticks;
  const char *dir;
  bool json;
} options;

static uint64_t random_state = 0x9e3779b97f4a7c15u;

static uint64_t random_next(void) { /* xorshift64* */
  random_state ^= random_state >> 12;
  random_state ^= random_state << 25;
  random_state ^= random_state >> 27;
  return random_state * 2685821657736338717u;
}

static int64_t now_ns(void) {
  struct timespec t;
  (void)clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void die(const char *what, int code, const tks_error *error) {
  (void)fprintf(stderr, "bench: %s: %s (%d)\n", what, error->message, code);
  exit(1);
}

/* ------------------------------------------------------------- results */

static bool first_json = true;

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void report(const options *o, const char *name, const char *unit, double *values, int count) {
  qsort(values, (size_t)count, sizeof *values, by_value);
  double median = count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
  if (o->json) {
    (void)printf("%s\n    {\"name\": \"%s\", \"unit\": \"%s\", \"median\": %.6g, \"min\": %.6g, \"max\": %.6g}",
                 first_json ? "" : ",", name, unit, median, values[0], values[count - 1]);
    first_json = false;
  } else {
    (void)printf("%-44s %12.5g %-8s (%.5g to %.5g)\n", name, median, unit, values[0], values[count - 1]);
  }
  (void)fflush(stdout);
}

/* --------------------------------------------------------------- store */

typedef struct bench_store {
  tks_store *store;
  char path[512];
  uint32_t symbols[MAX_SYMBOLS];
  uint32_t symbol_count;
  uint32_t source;
  uint64_t puts;
  uint32_t steps[MAX_SYMBOLS];
} bench_store;

static void open_store(bench_store *b, const options *o, uint32_t symbols, uint32_t policy, uint32_t backend) {
  tks_error error;
  tks_config config;
  (void)tks_config_init(&config, sizeof config, TKS_PRESET_PRODUCTION, NULL);
  config.queue_policy = policy;
  config.block_limit_ms = 60000;
  config.backend = backend;
  memset(b, 0, sizeof *b);
  (void)snprintf(b->path, sizeof b->path, "%s/bench-XXXXXX", o->dir);
  if (mkdtemp(b->path) == NULL) {
    perror(b->path);
    exit(1);
  }
  int code = tks_open(b->path, strlen(b->path), &config, &b->store, &error);
  if (code != TKS_OK) die("open", code, &error);
  b->symbol_count = symbols;
  for (uint32_t i = 0; i < symbols; i++) {
    char name[16];
    int n = snprintf(name, sizeof name, "SYM%04u", i);
    code = tks_symbol(b->store, name, (size_t)n, &b->symbols[i], &error);
    if (code != TKS_OK) die("symbol", code, &error);
  }
  code = tks_source(b->store, "BENCH", 5, &b->source, &error);
  if (code != TKS_OK) die("source", code, &error);
}

static void close_store(bench_store *b) {
  tks_error error;
  int code = tks_close(b->store, &error);
  if (code != TKS_OK) die("close", code, &error);
  char command[600];
  (void)snprintf(command, sizeof command, "rm -rf '%s'", b->path);
  if (system(command) != 0) (void)fprintf(stderr, "bench: cannot remove %s\n", b->path);
}

/* The next tick of a random symbol; its price always moves, so nothing is throttled. Times go on by 100 us. */
static tks_quote next_quote(bench_store *b) {
  uint64_t n = b->puts++;
  uint32_t i = (uint32_t)((random_next() >> 33) % b->symbol_count);
  double bid = (1.0 + (double)(b->steps[i]++ % 997) * 1e-4) * (i + 1);
  return (tks_quote){
      .ts_ns = START_NS + (int64_t)(n % 800000000) * 100000,
      .bid = bid,
      .ask = bid + 1e-4,
      .symbol = b->symbols[i],
      .source = b->source,
  };
}

static void put(bench_store *b, const tks_quote *quote) {
  tks_error error;
  int code = tks_put_quote(b->store, quote, NULL, &error);
  if (code != TKS_OK) die("put", code, &error);
}

static tks_store_stats stats_of(bench_store *b) {
  tks_store_stats stats;
  memset(&stats, 0, sizeof stats);
  stats.struct_size = sizeof stats;
  tks_error error;
  int code = tks_stats(b->store, &stats, &error);
  if (code != TKS_OK) die("stats", code, &error);
  return stats;
}

static void flush(bench_store *b) {
  tks_error error;
  int code = tks_flush(b->store, -1, &error);
  if (code != TKS_OK) die("flush", code, &error);
}

/* ------------------------------------------------------------------ put */

/* Puts faster than any disk, in bursts that the backlog holds, so the cost of put itself is seen. */
static void wait_for_backlog(bench_store *b, uint64_t below) {
  for (;;) {
    tks_store_stats stats = stats_of(b);
    if (stats.sinks[0].backlog < below) return;
    (void)usleep(20000);
  }
}

static double clock_cost_ns(void) {
  int64_t started = now_ns();
  for (int i = 0; i < 100000; i++) (void)now_ns();
  return (double)(now_ns() - started) / 100001;
}

static double percentile(const double *sorted, size_t count, double share) {
  size_t i = (size_t)(share * (double)(count - 1));
  return sorted[i];
}

enum { BURST = 400000, SINGLES = 200000 };

static void fill_rings(bench_store *b) {
  for (uint64_t i = 0; i < UINT64_C(12000) * b->symbol_count; i++) {
    if (i % 100000 == 0) wait_for_backlog(b, 500000);
    tks_quote quote = next_quote(b);
    put(b, &quote);
  }
  flush(b);
}

static void bench_put(const options *o) {
  static tks_quote quotes[BURST];
  static double singles[SINGLES];
  double mean[MAX_RUNS], batch[MAX_RUNS], p50[MAX_RUNS], p99[MAX_RUNS], p999[MAX_RUNS], worst[MAX_RUNS];
  bench_store b;
  open_store(&b, o, 128, TKS_QUEUE_BLOCK, TKS_SQLITE);
  fill_rings(&b);
  double clock_ns = clock_cost_ns();
  uint64_t blocked = stats_of(&b).blocked;
  for (int run = 0; run < o->runs; run++) {
    wait_for_backlog(&b, 1);
    for (size_t i = 0; i < BURST; i++) quotes[i] = next_quote(&b);
    int64_t timed = 0;
    for (size_t i = 0; i < BURST; i += GROUP) {
      int64_t started = now_ns();
      for (size_t k = i; k < i + GROUP; k++) put(&b, &quotes[k]);
      timed += now_ns() - started - (int64_t)clock_ns;
    }
    mean[run] = (double)timed / BURST;

    wait_for_backlog(&b, 1);
    for (size_t i = 0; i < BURST; i++) quotes[i] = next_quote(&b);
    tks_error error;
    int64_t started = now_ns();
    for (size_t i = 0; i + 256 <= BURST; i += 256) {
      int code = tks_put_quotes(b.store, &quotes[i], 256, NULL, NULL, &error);
      if (code != TKS_OK) die("put_quotes", code, &error);
    }
    batch[run] = (double)(now_ns() - started) / (BURST / 256 * 256);

    wait_for_backlog(&b, 1);
    for (size_t i = 0; i < SINGLES; i++) quotes[i] = next_quote(&b);
    for (size_t i = 0; i < SINGLES; i++) {
      started = now_ns();
      put(&b, &quotes[i]);
      double ns = (double)(now_ns() - started) - clock_ns;
      singles[i] = ns > 0 ? ns : 0;
    }
    qsort(singles, SINGLES, sizeof singles[0], by_value);
    p50[run] = percentile(singles, SINGLES, 0.5);
    p99[run] = percentile(singles, SINGLES, 0.99);
    p999[run] = percentile(singles, SINGLES, 0.999);
    worst[run] = singles[SINGLES - 1];
  }
  report(o, "put, mean (groups of 64)", "ns", mean, o->runs);
  report(o, "put_quotes of 256, per tick", "ns", batch, o->runs);
  report(o, "put, p50", "ns", p50, o->runs);
  report(o, "put, p99", "ns", p99, o->runs);
  report(o, "put, p99.9", "ns", p999, o->runs);
  report(o, "put, worst", "ns", worst, o->runs);
  double waits = (double)(stats_of(&b).blocked - blocked);
  report(o, "puts that waited for room", "puts", &waits, 1);
  double ring_mb = (double)stats_of(&b).ring_bytes / 1e6;
  report(o, "ring memory, 128 full rings", "MB", &ring_mb, 1);
  close_store(&b);
}

/* ------------------------------------------------------------ sustained */

static void check_written(const tks_store_stats *stats, size_t ticks) {
  for (int i = 0; i < 2; i++) {
    const tks_sink_stats *sink = &stats->sinks[i];
    if (sink->state == TKS_SINK_OFF) continue;
    if (stats->accepted == ticks && sink->written == ticks && sink->lost == 0 && stats->dropped == 0) continue;
    (void)fprintf(stderr, "bench: %zu ticks offered, %llu accepted, %llu written, %llu lost\n", ticks,
                  (unsigned long long)stats->accepted, (unsigned long long)sink->written,
                  (unsigned long long)(sink->lost + stats->dropped));
    exit(1);
  }
}

static double sustained_once(const options *o, uint32_t symbols, uint32_t backend) {
  bench_store b;
  open_store(&b, o, symbols, TKS_QUEUE_BLOCK, backend);
  int64_t started = now_ns();
  for (size_t i = 0; i < o->ticks; i++) {
    tks_quote quote = next_quote(&b);
    put(&b, &quote);
  }
  flush(&b);
  double seconds = (double)(now_ns() - started) / 1e9;
  tks_store_stats stats = stats_of(&b);
  check_written(&stats, o->ticks);
  close_store(&b);
  return (double)o->ticks / seconds;
}

static void bench_sustained(const options *o, uint32_t symbols, uint32_t backend, const char *sink) {
  double rate[MAX_RUNS];
  for (int run = 0; run < o->runs; run++) rate[run] = sustained_once(o, symbols, backend);
  char name[80];
  (void)snprintf(name, sizeof name, "sustained into %s, %u symbol%s", sink, symbols, symbols == 1 ? "" : "s");
  report(o, name, "ticks/s", rate, o->runs);
}

/* ----------------------------------------------------------------- read */

static void range_once(bench_store *b, uint32_t symbol, tks_quote *quotes, size_t capacity, size_t *rows) {
  tks_error error;
  tks_cursor *cursor;
  const tks_range range = {.struct_size = sizeof range,
                           .symbol = symbol,
                           .from_ns = TKS_TIME_MIN,
                           .to_ns = TKS_TIME_MAX,
                           .limit = TKS_NO_LIMIT};
  int code = tks_range_open(b->store, &range, &cursor, &error);
  for (size_t count = 1; code == TKS_OK && count > 0; *rows += count)
    code = tks_cursor_next(cursor, quotes, capacity, &count, &error);
  if (code != TKS_OK) die("range", code, &error);
  tks_cursor_close(cursor);
}

static void bench_read(const options *o) {
  enum { CAPACITY = 65536, CALLS = 20000 };
  static tks_quote quotes[CAPACITY];
  double rows_per_s[MAX_RUNS], recent_us[MAX_RUNS], recent_all_us[MAX_RUNS], latest_us[MAX_RUNS];
  bench_store b;
  tks_error error;
  open_store(&b, o, 128, TKS_QUEUE_BLOCK, TKS_SQLITE);
  fill_rings(&b);
  for (int run = 0; run < o->runs; run++) {
    size_t rows = 0, count = 0;
    int64_t started = now_ns();
    for (uint32_t i = 0; i < b.symbol_count; i++) range_once(&b, b.symbols[i], quotes, CAPACITY, &rows);
    rows_per_s[run] = (double)rows / ((double)(now_ns() - started) / 1e9);

    started = now_ns();
    for (int i = 0; i < CALLS; i++)
      (void)tks_recent(b.store, b.symbols[random_next() % b.symbol_count], 100, quotes, &count, &error);
    recent_us[run] = (double)(now_ns() - started) / 1e3 / CALLS;
    started = now_ns();
    for (int i = 0; i < CALLS / 100; i++)
      (void)tks_recent(b.store, b.symbols[random_next() % b.symbol_count], 10000, quotes, &count, &error);
    recent_all_us[run] = (double)(now_ns() - started) / 1e3 / (CALLS / 100);
    if (count != 10000) die("recent", 0, &error);
    started = now_ns();
    for (int i = 0; i < CALLS; i++)
      (void)tks_latest(b.store, b.symbols[random_next() % b.symbol_count], quotes, &error);
    latest_us[run] = (double)(now_ns() - started) / 1e3 / CALLS;
  }
  report(o, "range over a live day", "rows/s", rows_per_s, o->runs);
  report(o, "recent(100) from the ring", "us", recent_us, o->runs);
  report(o, "recent(10,000) from the ring", "us", recent_all_us, o->runs);
  report(o, "latest", "us", latest_us, o->runs);
  close_store(&b);
}

/* ----------------------------------------------------------------- main */

static int usage(void) {
  (void)fprintf(stderr, "usage: bench [--runs N] [--ticks N] [--dir DIR] [--json]\n");
  return 2;
}

static bool parse(int argc, char **argv, options *o) {
  const char *dir = getenv("TMPDIR");
  *o = (options){.runs = 5, .ticks = 2000000, .dir = dir != NULL ? dir : "/tmp"};
  for (int i = 1; i < argc; i++) {
    bool more = i + 1 < argc;
    if (strcmp(argv[i], "--json") == 0) o->json = true;
    else if (strcmp(argv[i], "--runs") == 0 && more) o->runs = atoi(argv[++i]);
    else if (strcmp(argv[i], "--ticks") == 0 && more) o->ticks = (size_t)atoll(argv[++i]);
    else if (strcmp(argv[i], "--dir") == 0 && more) o->dir = argv[++i];
    else return false;
  }
  return o->runs >= 1 && o->runs <= MAX_RUNS && o->ticks >= 1000;
}

int main(int argc, char **argv) {
  options o;
  if (!parse(argc, argv, &o)) return usage();
  struct utsname machine;
  (void)uname(&machine);
  long cores = sysconf(_SC_NPROCESSORS_ONLN);
  if (o.json)
    (void)printf("{\"library\": \"%s\", \"compiler\": \"%s\", \"machine\": \"%s\", \"cores\": %ld, \"runs\": %d, "
                 "\"ticks\": %zu, \"results\": [",
                 tks_version_string(), __VERSION__, machine.machine, cores, o.runs, o.ticks);
  else
    (void)printf("libtickstore %s, compiler %s, %s, %ld cores; %d runs, median (minimum to maximum); clock %.0f ns\n",
                 tks_version_string(), __VERSION__, machine.machine, cores, o.runs, clock_cost_ns());
  bench_put(&o);
  bench_read(&o);
  const uint32_t symbols[] = {1, 16, 128, 1000};
  for (size_t i = 0; i < sizeof symbols / sizeof symbols[0]; i++) bench_sustained(&o, symbols[i], TKS_SQLITE, "SQLite");
  bench_sustained(&o, 128, TKS_DUAL, "SQLite and JSON");
  if (o.json) (void)printf("\n  ]}\n");
  return 0;
}
