/* demo_feed.h - the demo's producers: one thread per feed of the made-up market, putting quotes as they fall due. */
#ifndef CLI_DEMO_FEED_H
#define CLI_DEMO_FEED_H

#include <pthread.h>
#include <stdatomic.h>

#include "cli.h"
#include "market.h"

typedef struct demo_feed {
  tks_store *store;
  market_feed *market;
  uint32_t *symbols; /* the store's ids of the market's symbols */
  uint32_t source;
  int64_t clock_offset_ns; /* wall clock minus monotonic clock, at the start */
  int64_t end_ns;          /* on the monotonic clock */
  const atomic_bool *stop;
  atomic_bool done;
  pthread_t thread;
} demo_feed;

typedef struct demo_plan {
  tks_store *store;
  uint32_t symbols;
  double rate; /* quotes per second of all feeds together */
  int64_t seconds;
  const atomic_bool *stop; /* set it to end early */
} demo_plan;

/* Starts all feeds. False: not started, and said why. */
bool demo_feeds_start(demo_feed feeds[MARKET_FEEDS], const demo_plan *plan);
bool demo_feeds_done(demo_feed feeds[MARKET_FEEDS]);
void demo_feeds_join(demo_feed feeds[MARKET_FEEDS]);

#endif
