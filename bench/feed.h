/* feed.h - a store with symbols, and a stream of quotes for it that always move, so that the throttle lets each one through. */
#ifndef BENCH_FEED_H
#define BENCH_FEED_H

#include "harness.h"
#include "tickstore/tickstore.h"

#define FEED_START_NS INT64_C(1768867200000000000) /* 2026-01-20T00:00:00Z */
#define NS_PER_DAY INT64_C(86400000000000)

/* The production preset but for the policy: a put that finds no room waits, so that nothing is lost at full speed. */
tks_config feed_config(void);

/* The writer then leaves what is put alone until it is asked to flush: put is seen without the disk beside it. */
void feed_config_asleep(tks_config *config);

typedef struct feed {
  tks_store *store;
  char path[512];
  uint32_t *symbols; /* ids */
  uint32_t *steps;   /* of each symbol's price */
  uint32_t first;    /* quotes are of symbols first to first + count - 1 */
  uint32_t count;
  uint32_t source;
  double scale; /* of all prices */
  uint64_t puts;
  int64_t start_ns;
  int64_t step_ns; /* from a quote to the next one */
  xorshift random;
} feed;

/* In a new scratch directory, or an existing store with feed_reopen. */
void feed_open(feed *f, const options *o, const tks_config *config, uint32_t symbols);
void feed_reopen(feed *f, const char *path, const tks_config *config, uint32_t symbols);
void feed_close(feed *f); /* the directory stays */
void feed_end(feed *f);   /* closes and removes it */

/* A part of the same store's symbols with a stream of its own, for another thread; freed with feed_part_end. */
void feed_part(feed *part, const feed *whole, uint32_t first, uint32_t count, uint64_t seed);
void feed_part_end(feed *part);

/* The next quote: a random symbol, 0 <= step_ns later, within one day of start_ns. */
static inline tks_quote feed_next(feed *f) {
  uint32_t i = f->first + xorshift_below(&f->random, f->count);
  double bid = (1.0 + (double)(f->steps[i]++ % 997) * 1e-4) * (double)(i % 200 + 1) * f->scale;
  int64_t at = (int64_t)(f->puts++) * f->step_ns % NS_PER_DAY;
  return (tks_quote){
      .ts_ns = f->start_ns + at, .bid = bid, .ask = bid + 1e-4, .symbol = f->symbols[i], .source = f->source};
}

void feed_put(feed *f, const tks_quote *quote); /* ends the program when it is not accepted */
void feed_put_many(feed *f, uint64_t count);    /* composes and puts */
void feed_flush(feed *f);
tks_store_stats feed_stats(const feed *f);

/* Waits until no sink has more than `below` records to write. */
void feed_wait(const feed *f, uint64_t below);

/* Puts so many of each symbol, on average at random, that every ring has been written over once: its pages are there, as they
 * are in a program that has run for some time. */
void feed_fill(feed *f, uint32_t per_symbol);

/* Rows in the day files below the store, counted through SQLite alone, and lines in its JSON files. */
uint64_t count_sqlite_rows(const char *path);
uint64_t count_json_lines(const char *path);

#endif
