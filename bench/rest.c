/* rest.c - memory, what a store costs that nobody uses, and opening after a crash. */
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "feed.h"
#include "groups.h"

/* Megabytes that this process has in memory for itself; the journal's files are mapped and count under the page cache. */
static double private_mb(void) {
  FILE *file = fopen("/proc/self/status", "r");
  char line[128];
  double kib = 0;
  while (file != NULL && fgets(line, sizeof line, file) != NULL)
    if (strncmp(line, "RssAnon:", 8) == 0) kib = strtod(line + 8, NULL);
  if (file != NULL) (void)fclose(file);
  return kib * 1024 / 1e6;
}

static double cpu_seconds(void) {
  struct rusage usage;
  (void)getrusage(RUSAGE_SELF, &usage);
  return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

typedef struct footprint {
  double rings_mb, private_mb; /* with all rings full */
  double idle_percent;         /* of a processor, afterwards; 0: not asked for */
} footprint;

static footprint footprint_of(const options *o, uint64_t page_cache_bytes, bool idle) {
  feed f;
  tks_config config = feed_config();
  if (page_cache_bytes != 0) config.page_cache_bytes = page_cache_bytes;
  double before = private_mb();
  feed_open(&f, o, &config, 128);
  feed_fill(&f, 12000);
  footprint result = {.rings_mb = (double)feed_stats(&f).ring_bytes / 1e6, .private_mb = private_mb() - before};
  if (idle) {
    pause_ms(o->quick ? 1200 : 3000); /* what comes after a flush is done */
    double cpu = cpu_seconds();
    int64_t started = now_ns();
    pause_ms(o->quick ? 1000 : 5000);
    result.idle_percent = (cpu_seconds() - cpu) / seconds_since(started) * 100;
  }
  feed_end(&f);
  return result;
}

/* In a process of its own: what an earlier store gave back, this one's allocator might still have. */
static footprint footprint_in_child(const options *o, uint64_t page_cache_bytes, bool idle) {
  footprint result;
  int ends[2], status = 0;
  if (pipe(ends) != 0) die("cannot make a pipe");
  (void)fflush(NULL);
  pid_t child = fork();
  if (child == 0) {
    result = footprint_of(o, page_cache_bytes, idle);
    _exit(write(ends[1], &result, sizeof result) == (ssize_t)sizeof result ? 0 : 1);
  }
  (void)close(ends[1]);
  bool got = child > 0 && read(ends[0], &result, sizeof result) == (ssize_t)sizeof result;
  (void)close(ends[0]);
  if (child < 0 || waitpid(child, &status, 0) != child || status != 0 || !got) die("the measuring process failed");
  return result;
}

static void memory_and_idleness(const options *o) {
  series rings = {.count = 0}, all = {.count = 0}, small = {.count = 0}, idle = {.count = 0};
  for (int run = 0; run < (o->runs < 3 ? o->runs : 3); run++) {
    footprint usual = footprint_in_child(o, 0, true);
    series_add(&rings, usual.rings_mb);
    series_add(&all, usual.private_mb);
    series_add(&idle, usual.idle_percent);
    series_add(&small, footprint_in_child(o, 1 << 20, false).private_mb);
  }
  report("memory_rings", "rings, 128 full ones of 10,000", "MB", &rings);
  report("memory_resident", "private memory of the whole store then", "MB", &all);
  report("memory_small_cache", "the same with a page cache of 1 MiB", "MB", &small);
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
  recovery(o, 3, o->quick ? 100000 : 1000000, "1m", o->quick ? "100,000 records" : "1 million records");
  if (!o->quick) recovery(o, 2, 10000000, "10m", "10 million records");
}
