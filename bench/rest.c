/* rest.c - memory, what a store costs that nobody uses, and opening after a crash. */
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "feed.h"
#include "groups.h"

/* Megabytes that this process has in memory for itself; the journal's files are mapped and count under the page cache. */
static double resident_mb(void) {
  FILE *file = fopen("/proc/self/status", "r");
  char line[128];
  double kb = 0;
  while (file != NULL && fgets(line, sizeof line, file) != NULL)
    if (strncmp(line, "RssAnon:", 8) == 0) kb = strtod(line + 8, NULL);
  if (file != NULL) (void)fclose(file);
  return kb / 1e3;
}

static double cpu_seconds(void) {
  struct rusage usage;
  (void)getrusage(RUSAGE_SELF, &usage);
  return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* The rest of a store's memory is SQLite's page cache, up to page_cache_bytes, once there is so much to keep. */
static void memory_of_a_small_cache(const options *o) {
  series resident = {.count = 0};
  for (int run = 0; run < (o->runs < 3 ? o->runs : 3); run++) {
    feed f;
    tks_config config = feed_config();
    config.page_cache_bytes = 1 << 20;
    double before = resident_mb();
    feed_open(&f, o, &config, 128);
    feed_fill(&f, 12000);
    series_add(&resident, resident_mb() - before);
    feed_end(&f);
  }
  report("memory_small_cache", "the same with a page cache of 1 MiB", "MB", &resident);
}

static void memory_and_idleness(const options *o) {
  series rings = {.count = 0}, resident = {.count = 0}, idle = {.count = 0};
  for (int run = 0; run < (o->runs < 3 ? o->runs : 3); run++) {
    feed f;
    tks_config config = feed_config();
    double before = resident_mb();
    feed_open(&f, o, &config, 128);
    feed_fill(&f, 12000);
    series_add(&rings, (double)feed_stats(&f).ring_bytes / 1e6);
    series_add(&resident, resident_mb() - before);
    pause_ms(o->quick ? 1200 : 3000); /* what comes after a flush is done */
    double cpu = cpu_seconds();
    int64_t started = now_ns();
    pause_ms(o->quick ? 1000 : 5000);
    series_add(&idle, (cpu_seconds() - cpu) / seconds_since(started) * 100);
    feed_end(&f);
  }
  report("memory_rings", "rings, 128 full ones of 10,000", "MB", &rings);
  report("memory_resident", "private memory of the whole store then", "MB", &resident);
  report("idle_cpu", "processor time of a store that nobody uses", "%", &idle);
}

/* A process that puts so many and dies: nothing is written but the journal. */
static void crash(const char *path, uint64_t records) {
  (void)fflush(NULL);
  pid_t child = fork();
  if (child == 0) {
    feed f;
    tks_config config = feed_config();
    feed_config_asleep(&config);
    feed_reopen(&f, path, &config, 128);
    feed_put_many(&f, records);
    _exit(0);
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child || status != 0) die("the process that was to crash failed");
}

static void recovery(const options *o, int runs, uint64_t records, const char *key, const char *name) {
  series open = {.count = 0}, written = {.count = 0};
  char label[80], whole_key[64];
  for (int run = 0; run < (o->runs < runs ? o->runs : runs); run++) {
    char path[512];
    scratch_make(o, path);
    crash(path, records);
    feed f;
    tks_config config = feed_config();
    int64_t started = now_ns();
    feed_reopen(&f, path, &config, 128);
    series_add(&open, seconds_since(started) * 1e3);
    uint64_t recovered = feed_stats(&f).recovered;
    feed_flush(&f);
    series_add(&written, seconds_since(started));
    uint64_t rows = count_sqlite_rows(path);
    if (rows != records) die("%llu rows of %llu after recovery", (unsigned long long)rows, (unsigned long long)records);
    if (run == 0)
      report_note("%s: %llu were in the journal alone, all on disk afterwards", name, (unsigned long long)recovered);
    feed_end(&f);
  }
  (void)snprintf(whole_key, sizeof whole_key, "recovery_%s_open", key);
  (void)snprintf(label, sizeof label, "opening after a crash, %s", name);
  report(whole_key, label, "ms", &open);
  (void)snprintf(whole_key, sizeof whole_key, "recovery_%s_written", key);
  (void)snprintf(label, sizeof label, "until all of them are durable in SQLite, %s", name);
  report(whole_key, label, "s", &written);
}

void bench_rest(const options *o) {
  report_group("rest", "memory, idleness, recovery");
  memory_and_idleness(o);
  memory_of_a_small_cache(o);
  recovery(o, 3, o->quick ? 100000 : 1000000, "1m", o->quick ? "100,000 records" : "1 million records");
  if (!o->quick) recovery(o, 2, 10000000, "10m", "10 million records");
}
