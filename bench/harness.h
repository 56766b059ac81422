/* harness.h - what every measurement here needs: the options of a run, a clock, series of values, and a report as text or JSON.
 *
 * A figure is measured once a run and reported over all runs: median, quartiles, minimum and maximum. A figure has a key, by which
 * programs find it (bench/compare, bench/report), and a label for people. A point of a curve has its place on it (x). */
#ifndef BENCH_HARNESS_H
#define BENCH_HARNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define MAX_RUNS 100

typedef struct options {
  int runs;
  bool quick;         /* smaller amounts everywhere: to see that it works, not to quote */
  const char *groups; /* comma-separated; NULL = all */
  const char *dir;    /* scratch; stores are made and removed below it */
  const char *json;   /* file that gets the figures; NULL = none */
  const char *data;   /* real market data; NULL = none */
  uint64_t ticks;     /* of a sustained run */
} options;

/* Options common to all programs. Prints the usage and ends the program when it does not understand. */
void options_parse(int argc, char **argv, const char *program, const char *groups, options *o);
bool options_want(const options *o, const char *group);

/* ------------------------------------------------------------------ time */

int64_t now_ns(void);
double seconds_since(int64_t started_ns);
double clock_cost_ns(void); /* of one reading, measured once */
void pause_ms(int ms);

/* ---------------------------------------------------------------- random */

typedef struct xorshift {
  uint64_t state;
} xorshift;

static inline uint64_t xorshift_next(xorshift *x) { /* xorshift64* */
  x->state ^= x->state >> 12;
  x->state ^= x->state << 25;
  x->state ^= x->state >> 27;
  return x->state * 2685821657736338717u;
}

/* 0 <= result < bound */
static inline uint32_t xorshift_below(xorshift *x, uint32_t bound) {
  return (uint32_t)(((xorshift_next(x) >> 32) * bound) >> 32);
}

/* ------------------------------------------------------------- histogram */

/* Latencies in whole nanoseconds: exact to 4 us, 1/64 of the value beyond. */
enum { HISTOGRAM_EXACT = 4096, HISTOGRAM_STEPS = 64, HISTOGRAM_BUCKETS = HISTOGRAM_EXACT + 40 * HISTOGRAM_STEPS };

typedef struct histogram {
  uint64_t counts[HISTOGRAM_BUCKETS];
  uint64_t total;
  uint64_t worst;
} histogram;

void histogram_add(histogram *h, int64_t ns); /* less than 0 counts as 0 */
double histogram_at(const histogram *h, double share);

/* ---------------------------------------------------------------- report */

typedef struct series {
  double values[MAX_RUNS];
  int count;
} series;

static inline void series_add(series *s, double value) {
  if (s->count < MAX_RUNS) s->values[s->count++] = value;
}

double series_median(const series *s);

void report_open(const options *o, const char *program);
void report_group(const char *group, const char *title);
void report(const char *key, const char *label, const char *unit, const series *s);
void report_one(const char *key, const char *label, const char *unit, double value);
void report_at(const char *key, const char *label, const char *unit, double x, const series *s);
void report_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
void report_close(void);

/* ----------------------------------------------------------------- files */

void scratch_make(const options *o, char path[512]);
void scratch_remove(const char *path);
uint64_t disk_bytes(const char *path); /* allocated, all files below */

_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
