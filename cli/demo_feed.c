/* demo_feed.c - the demo's producers. */
#include "demo_feed.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NS_PER_S INT64_C(1000000000)
enum { LOOK_AT_CLOCK = 32 }; /* quotes between looks at the clock when there is no time to sleep */

static void sleep_until(int64_t monotonic_ns) {
  struct timespec until = {.tv_sec = monotonic_ns / NS_PER_S, .tv_nsec = monotonic_ns % NS_PER_S};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR) {
  }
}

/* What is refused or dropped is in the store's statistics, so the result of a put is not looked at. */
static void put(demo_feed *feed, const market_quote *quote, int64_t received_ns) {
  tks_quote record = {.ts_ns = quote->ts_ns,
                      .recv_ns = received_ns,
                      .bid = quote->bid,
                      .ask = quote->ask,
                      .bid_size = quote->bid_size,
                      .ask_size = quote->ask_size,
                      .symbol = feed->symbols[quote->symbol],
                      .source = feed->source};
  tks_put_quote(feed->store, &record, NULL, NULL);
}

static void *run(void *context) {
  demo_feed *feed = context;
  int64_t now = cli_monotonic_ns();
  for (uint32_t i = 0; !atomic_load_explicit(feed->stop, memory_order_relaxed); i++) {
    market_quote quote;
    market_next(feed->market, &quote);
    int64_t due = quote.due_ns - feed->clock_offset_ns;
    if (due >= feed->end_ns || now >= feed->end_ns) break;
    if (due > now) {
      sleep_until(due);
      now = cli_monotonic_ns();
    } else if (i % LOOK_AT_CLOCK == 0) {
      now = cli_monotonic_ns();
    }
    put(feed, &quote, now + feed->clock_offset_ns);
  }
  atomic_store(&feed->done, true);
  return NULL;
}

static int64_t wall_clock_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

static int intern(demo_feed *feed, uint32_t number, uint32_t symbols, tks_error *error) {
  const char *source = market_feed_name(number);
  int code = tks_source(feed->store, source, strlen(source), &feed->source, error);
  for (uint32_t i = 0; code >= 0 && i < symbols; i++) {
    char buffer[MARKET_NAME_MAX];
    const char *name = market_symbol_name(i, buffer);
    code = tks_symbol(feed->store, name, strlen(name), &feed->symbols[i], error);
  }
  return code;
}

/* Everything but the thread, so that both feeds begin at the same moment. */
static bool prepare(demo_feed *feed, uint32_t number, const demo_plan *plan, int64_t offset_ns, int64_t start_ns) {
  tks_error error = {0};
  memset(feed, 0, sizeof *feed);
  feed->store = plan->store;
  feed->stop = plan->stop;
  feed->clock_offset_ns = offset_ns;
  feed->end_ns = start_ns + plan->seconds * NS_PER_S;
  market_options options = {.seed = 20260120,
                            .symbols = plan->symbols,
                            .feed = number,
                            .rate = plan->rate / MARKET_FEEDS,
                            .start_ns = start_ns + offset_ns};
  feed->market = market_feed_create(&options);
  feed->symbols = calloc(plan->symbols, sizeof *feed->symbols);
  if (feed->market == NULL || feed->symbols == NULL) {
    cli_data_error("demo", "out of memory");
    return false;
  }
  if (intern(feed, number, plan->symbols, &error) >= 0) return true;
  cli_data_error("demo", "%s", error.message);
  return false;
}

static void destroy(demo_feed *feed) {
  market_feed_destroy(feed->market);
  free(feed->symbols);
}

bool demo_feeds_start(demo_feed feeds[MARKET_FEEDS], const demo_plan *plan) {
  int64_t start_ns = cli_monotonic_ns(), offset_ns = wall_clock_ns() - start_ns;
  uint32_t prepared = 0, started = 0;
  memset(feeds, 0, MARKET_FEEDS * sizeof *feeds);
  while (prepared < MARKET_FEEDS && prepare(&feeds[prepared], prepared, plan, offset_ns, start_ns)) prepared++;
  if (prepared == MARKET_FEEDS) {
    while (started < MARKET_FEEDS && pthread_create(&feeds[started].thread, NULL, run, &feeds[started]) == 0) started++;
    if (started == MARKET_FEEDS) return true;
    cli_data_error("demo", "cannot start a thread");
  }
  for (uint32_t i = 0; i < MARKET_FEEDS; i++) feeds[i].end_ns = 0; /* whoever runs ends with its next quote */
  for (uint32_t i = 0; i < started; i++) pthread_join(feeds[i].thread, NULL);
  for (uint32_t i = 0; i < MARKET_FEEDS; i++) destroy(&feeds[i]);
  return false;
}

bool demo_feeds_done(demo_feed feeds[MARKET_FEEDS]) {
  for (uint32_t i = 0; i < MARKET_FEEDS; i++) {
    if (!atomic_load(&feeds[i].done)) return false;
  }
  return true;
}

void demo_feeds_join(demo_feed feeds[MARKET_FEEDS]) {
  for (uint32_t i = 0; i < MARKET_FEEDS; i++) {
    pthread_join(feeds[i].thread, NULL);
    destroy(&feeds[i]);
  }
}
