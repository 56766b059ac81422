/* rest.c - memory, what a store costs that nobody uses, and opening after a crash. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
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

/* Work in a process of its own, which ends with it as it stands: nothing is closed. */
static void run_in_child(void (*work)(void *context), void *context) {
  (void)fflush(NULL);
  pid_t child = fork();
  if (child == 0) {
    work(context);
    _exit(0);
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child || status != 0) die("a process of the bench's own failed");
}

typedef struct footprint {
  const options *options;
  uint64_t page_cache_bytes; /* 0: the default */
  /* With all rings full, and afterwards the share of a processor while nobody uses the store. */
  double rings_mb, private_mb, idle_percent;
} footprint;

static void take_footprint(void *context) {
  footprint *p = context;
  feed f;
  tks_config config = feed_config();
  if (p->page_cache_bytes != 0) config.page_cache_bytes = p->page_cache_bytes;
  double before = private_mb();
  feed_open(&f, p->options, &config, 128);
  feed_fill(&f, 12000);
  p->rings_mb = (double)feed_stats(&f).ring_bytes / 1e6;
  p->private_mb = private_mb() - before;
  pause_ms(p->options->quick ? 1200 : 3000); /* what comes after a flush is done */
  double cpu = cpu_seconds();
  int64_t started = now_ns();
  pause_ms(p->options->quick ? 1000 : 5000);
  p->idle_percent = (cpu_seconds() - cpu) / seconds_since(started) * 100;
  feed_end(&f);
}

/* In a child: what an earlier store gave back, this process's allocator might still have. */
static footprint footprint_of(const options *o, uint64_t page_cache_bytes) {
  footprint *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) die("out of memory");
  *shared = (footprint){.options = o, .page_cache_bytes = page_cache_bytes};
  run_in_child(take_footprint, shared);
  footprint result = *shared;
  (void)munmap(shared, sizeof *shared);
  return result;
}

static void memory_and_idleness(const options *o) {
  series rings = {.count = 0}, all = {.count = 0}, small = {.count = 0}, idle = {.count = 0};
  for (int run = 0; run < (o->runs < 3 ? o->runs : 3); run++) {
    footprint usual = footprint_of(o, 0);
    series_add(&rings, usual.rings_mb);
    series_add(&all, usual.private_mb);
    series_add(&idle, usual.idle_percent);
    series_add(&small, footprint_of(o, 1 << 20).private_mb);
  }
  report("memory_rings", "rings, 128 full ones of 10,000", "MB", &rings);
  report("memory_resident", "private memory of the whole store then", "MB", &all);
  report("memory_small_cache", "the same with a page cache of 1 MiB", "MB", &small);
  report("idle_cpu", "processor time of a store that nobody uses", "%", &idle);
}

typedef struct crash {
  const char *path;
  uint64_t records;
} crash;

/* Puts so many, for a process that then dies: nothing is written but the journal. */
static void put_and_leave(void *context) {
  const crash *c = context;
  feed f;
  tks_config config = feed_config();
  feed_config_asleep(&config);
  feed_reopen(&f, c->path, &config, 128);
  feed_put_many(&f, c->records);
}

static void recovery(const options *o, int runs, uint64_t records, const char *key, const char *name) {
  series open = {.count = 0}, written = {.count = 0};
  char label[80], whole_key[64];
  for (int run = 0; run < (o->runs < runs ? o->runs : runs); run++) {
    char path[512];
    scratch_make(o, path);
    run_in_child(put_and_leave, &(crash){.path = path, .records = records});
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
