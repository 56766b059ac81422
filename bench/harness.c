#include "harness.h"

#include <ftw.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "tickstore/tickstore.h"

void die(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  (void)fputs("bench: ", stderr);
  (void)vfprintf(stderr, format, arguments);
  (void)fputc('\n', stderr);
  va_end(arguments);
  exit(1);
}

/* --------------------------------------------------------------- options */

static _Noreturn void usage(const char *program, const char *groups) {
  (void)fprintf(stderr,
                "usage: %s [--runs N] [--quick] [--groups A,B] [--ticks N] [--dir DIR] [--json FILE] [--data DIR]\n"
                "groups: %s\n",
                program, groups);
  exit(2);
}

static bool in_list(const char *list, const char *name, size_t length) {
  for (const char *at = list; at != NULL && *at != '\0'; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
    if (strncmp(at, name, length) == 0 && (at[length] == ',' || at[length] == '\0')) return true;
  return false;
}

void options_parse(int argc, char **argv, const char *program, const char *groups, options *o) {
  const char *dir = getenv("TMPDIR");
  *o = (options){.dir = dir != NULL ? dir : "/tmp", .data = getenv("TICKSTORE_TEST_DATA")};
  for (int i = 1; i < argc; i++) {
    bool more = i + 1 < argc;
    if (strcmp(argv[i], "--quick") == 0) o->quick = true;
    else if (strcmp(argv[i], "--runs") == 0 && more) o->runs = atoi(argv[++i]);
    else if (strcmp(argv[i], "--groups") == 0 && more) o->groups = argv[++i];
    else if (strcmp(argv[i], "--ticks") == 0 && more) o->ticks = strtoull(argv[++i], NULL, 10);
    else if (strcmp(argv[i], "--dir") == 0 && more) o->dir = argv[++i];
    else if (strcmp(argv[i], "--json") == 0 && more) o->json = argv[++i];
    else if (strcmp(argv[i], "--data") == 0 && more) o->data = argv[++i];
    else usage(program, groups);
  }
  if (o->runs == 0) o->runs = o->quick ? 1 : 5;
  if (o->ticks == 0) o->ticks = o->quick ? 200000 : 2000000;
  if (o->runs < 1 || o->runs > MAX_RUNS || o->ticks < 10000) usage(program, groups);
  for (const char *at = o->groups; at != NULL; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
    if (!in_list(groups, at, strcspn(at, ","))) usage(program, groups);
}

bool options_want(const options *o, const char *group) {
  return o->groups == NULL || in_list(o->groups, group, strlen(group));
}

/* ------------------------------------------------------------------ time */

int64_t now_ns(void) {
  struct timespec t;
  (void)clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

double seconds_since(int64_t started_ns) { return (double)(now_ns() - started_ns) / 1e9; }

/* The median of many short loops: a moment in which something else had the processor does not count. */
double clock_cost_ns(void) {
  static double cost;
  if (cost > 0) return cost;
  series loops = {.count = 0};
  for (int k = 0; k < MAX_RUNS; k++) {
    int64_t started = now_ns();
    for (int i = 0; i < 1000; i++) (void)now_ns();
    series_add(&loops, (double)(now_ns() - started) / 1001);
  }
  cost = series_median(&loops);
  return cost;
}

void pause_ms(int ms) { (void)usleep((useconds_t)ms * 1000); }

/* ------------------------------------------------------------- histogram */

static size_t bucket_of(uint64_t ns) {
  if (ns < HISTOGRAM_EXACT) return (size_t)ns;
  int shift = 63 - __builtin_clzll(ns) - 6; /* 64 steps for each doubling */
  size_t bucket = HISTOGRAM_EXACT + (size_t)(shift - 6) * HISTOGRAM_STEPS + (size_t)((ns >> shift) - HISTOGRAM_STEPS);
  return bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1;
}

static double value_of(size_t bucket) {
  if (bucket < HISTOGRAM_EXACT) return (double)bucket;
  size_t k = bucket - HISTOGRAM_EXACT;
  return (double)((HISTOGRAM_STEPS + k % HISTOGRAM_STEPS) << (k / HISTOGRAM_STEPS + 6));
}

void histogram_add(histogram *h, int64_t ns) {
  uint64_t value = ns > 0 ? (uint64_t)ns : 0;
  h->counts[bucket_of(value)]++;
  h->total++;
  if (value > h->worst) h->worst = value;
}

double histogram_at(const histogram *h, double share) {
  uint64_t rank = (uint64_t)(share * (double)(h->total - 1)), seen = 0;
  for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
    seen += h->counts[i];
    if (seen > rank) return value_of(i);
  }
  return (double)h->worst;
}

/* ---------------------------------------------------------------- series */

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Linear between the two nearest values. */
static double quantile(const double *sorted, int count, double share) {
  double at = share * (count - 1);
  int i = (int)at;
  return i + 1 < count ? sorted[i] + (at - i) * (sorted[i + 1] - sorted[i]) : sorted[i];
}

double series_median(const series *s) {
  series sorted = *s;
  qsort(sorted.values, (size_t)sorted.count, sizeof *sorted.values, by_value);
  return quantile(sorted.values, sorted.count, 0.5);
}

/* ---------------------------------------------------------------- report */

static FILE *json;
static bool first_figure;
static char notes[8192]; /* for the JSON, its last member */
static char group_name[64];

/* What /proc/cpuinfo calls the processor. */
static void cpu_model(char model[128]) {
  (void)snprintf(model, 128, "unknown processor");
  FILE *file = fopen("/proc/cpuinfo", "r");
  char line[256];
  while (file != NULL && fgets(line, sizeof line, file) != NULL) {
    if (strncmp(line, "model name", 10) != 0 || strchr(line, ':') == NULL) continue;
    (void)snprintf(model, 128, "%.120s", strchr(line, ':') + 2);
    model[strcspn(model, "\n")] = '\0';
    break;
  }
  if (file != NULL) (void)fclose(file);
}

static const char *build_kind(void) {
#ifdef NDEBUG
  return "without assertions";
#else
  return "with assertions";
#endif
}

void report_open(const options *o, const char *program) {
  struct utsname machine;
  char model[128];
  double load[1] = {0};
  (void)uname(&machine);
  cpu_model(model);
  (void)getloadavg(load, 1);
  long cores = sysconf(_SC_NPROCESSORS_ONLN);
  double memory = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) / 1e9;
  (void)printf("%s: libtickstore %s, SQLite %s; compiler %s, %s (%s)\n"
               "%s, %ld cores, %.0f GB, %s %s; load %.1f; a reading of the clock costs %.0f ns and is subtracted\n"
               "%d run%s%s; median [quartiles] (minimum to maximum)\n",
               program, tks_version_string(), sqlite3_libversion(), __VERSION__, BENCH_FLAGS, build_kind(), model,
               cores, memory, machine.sysname, machine.release, load[0], clock_cost_ns(), o->runs,
               o->runs == 1 ? "" : "s", o->quick ? ", QUICK: small amounts, not to be quoted" : "");
  if (o->json == NULL) return;
  json = fopen(o->json, "w");
  if (json == NULL) die("cannot write %s", o->json);
  first_figure = true;
  (void)fprintf(
      json,
      "{\"program\": \"%s\", \"library\": \"%s\", \"sqlite\": \"%s\", \"compiler\": \"%s\", \"flags\": \"%s\", "
      "\"assertions\": \"%s\", \"cpu\": \"%s\", \"cores\": %ld, \"memory_gb\": %.1f, \"system\": \"%s %s\", "
      "\"load\": %.2f, \"clock_ns\": %.1f, \"runs\": %d, \"ticks\": %llu, \"quick\": %s, \"results\": [",
      program, tks_version_string(), sqlite3_libversion(), __VERSION__, BENCH_FLAGS, build_kind(), model, cores, memory,
      machine.sysname, machine.release, load[0], clock_cost_ns(), o->runs, (unsigned long long)o->ticks,
      o->quick ? "true" : "false");
}

void report_group(const char *group, const char *title) {
  (void)snprintf(group_name, sizeof group_name, "%s", group);
  (void)printf("\n%s: %s\n", group, title);
  (void)fflush(stdout);
}

static void write_json(const char *key, const char *label, const char *unit, const double *x, const series *s,
                       const double sorted[]) {
  (void)fprintf(json, "%s\n  {\"group\": \"%s\", \"key\": \"%s\", \"label\": \"%s\", \"unit\": \"%s\", ",
                first_figure ? "" : ",", group_name, key, label, unit);
  first_figure = false;
  if (x != NULL) (void)fprintf(json, "\"x\": %.10g, ", *x);
  (void)fprintf(json, "\"median\": %.6g, \"min\": %.6g, \"q1\": %.6g, \"q3\": %.6g, \"max\": %.6g, \"values\": [",
                quantile(sorted, s->count, 0.5), sorted[0], quantile(sorted, s->count, 0.25),
                quantile(sorted, s->count, 0.75), sorted[s->count - 1]);
  for (int i = 0; i < s->count; i++) (void)fprintf(json, "%s%.6g", i == 0 ? "" : ", ", s->values[i]);
  (void)fputs("]}", json);
  (void)fflush(json);
}

static void print_number(const char *format, double value) {
  char text[40];
  (void)snprintf(text, sizeof text, value >= 1e5 ? "%.0f" : "%.4g", value);
  (void)printf(format, text);
}

static void report_series(const char *key, const char *label, const char *unit, const double *x, const series *s) {
  if (s->count == 0) return;
  series sorted = *s;
  qsort(sorted.values, (size_t)sorted.count, sizeof *sorted.values, by_value);
  print_number("  %12s ", quantile(sorted.values, s->count, 0.5));
  (void)printf("%-8s %-58s", unit, label);
  if (s->count > 1) {
    print_number(" [%s", quantile(sorted.values, s->count, 0.25));
    print_number(", %s]", quantile(sorted.values, s->count, 0.75));
    print_number(" (%s", sorted.values[0]);
    print_number(" to %s)", sorted.values[s->count - 1]);
  }
  (void)putchar('\n');
  (void)fflush(stdout);
  if (json != NULL) write_json(key, label, unit, x, s, sorted.values);
}

void report(const char *key, const char *label, const char *unit, const series *s) {
  report_series(key, label, unit, NULL, s);
}

void report_one(const char *key, const char *label, const char *unit, double value) {
  series s = {.values = {value}, .count = 1};
  report_series(key, label, unit, NULL, &s);
}

void report_at(const char *key, const char *label, const char *unit, double x, const series *s) {
  report_series(key, label, unit, &x, s);
}

void report_note(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  char line[1024];
  (void)vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  (void)printf("  %s\n", line);
  size_t used = strlen(notes);
  (void)snprintf(notes + used, sizeof notes - used, "%s\n  \"%s: %s\"", used == 0 ? "" : ",", group_name, line);
  (void)fflush(stdout);
}

void report_close(void) {
  if (json == NULL) return;
  (void)fprintf(json, "\n], \"notes\": [%s]}\n", notes);
  if (fclose(json) != 0) die("cannot write the figures");
  json = NULL;
}

/* ----------------------------------------------------------------- files */

void scratch_make(const options *o, char path[512]) {
  (void)snprintf(path, 512, "%s/tickstore-bench-XXXXXX", o->dir);
  if (mkdtemp(path) == NULL) die("cannot make a directory in %s", o->dir);
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *where) {
  (void)status, (void)kind, (void)where;
  (void)remove(path);
  return 0;
}

void scratch_remove(const char *path) { (void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS); }

static uint64_t counted_bytes;

static int count_one(const char *path, const struct stat *status, int kind, struct FTW *where) {
  (void)path, (void)kind, (void)where;
  if (S_ISREG(status->st_mode)) counted_bytes += (uint64_t)status->st_blocks * 512;
  return 0;
}

uint64_t disk_bytes(const char *path) {
  counted_bytes = 0;
  (void)nftw(path, count_one, 16, FTW_PHYS);
  return counted_bytes;
}
