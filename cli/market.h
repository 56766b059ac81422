/* market.h - a market made up: quotes that behave like those of real feeds, the same for the same seed.
 *
 * A market has one hidden course of prices per symbol, which depends on the seed alone, and several feeds (liquidity
 * providers), each of which quotes it in its own words: two generators with the same seed and other feeds quote the
 * same market. Quotes cluster as real ones do: the market as a whole is calm, busy or in a burst, a jump of a price
 * makes its symbol hot for a while, and a quote often draws another of the same symbol. A share repeats
 * the quote before; a few are late (by seconds, and very few by one or two days), one-sided or crossed.
 *
 * A generator is used by one thread at a time. The demo and the benchmarks draw from it. */
#ifndef CLI_MARKET_H
#define CLI_MARKET_H

#include <stddef.h>
#include <stdint.h>

#define MARKET_FEEDS 2u
#define MARKET_MAX_SYMBOLS 100000u

typedef struct market_options {
  uint64_t seed;
  uint32_t symbols;  /* 1 to MARKET_MAX_SYMBOLS; the first 60 have names and levels of real instruments */
  uint32_t feed;     /* 0 to MARKET_FEEDS - 1 */
  double rate;       /* quotes per second of this feed, on average; > 0 */
  int64_t start_ns;  /* the time of the first quote */
  uint32_t in_order; /* 1: none is late */
} market_options;

typedef struct market_quote {
  int64_t ts_ns;   /* event time */
  int64_t due_ns;  /* when it arrives; never decreases, and is ts_ns unless the quote is late */
  double bid, ask; /* NaN: that side is absent */
  double bid_size, ask_size;
  uint32_t symbol; /* 0 to symbols - 1 */
} market_quote;

/* A generator: one feed of the market. */
typedef struct market_feed market_feed;

/* NULL: no memory, or an option out of its range. */
market_feed *market_feed_create(const market_options *options);
void market_feed_destroy(market_feed *feed);
void market_next(market_feed *feed, market_quote *quote);

/* Names, of static storage or written to `name`. A symbol's name is a function of its number. */
#define MARKET_NAME_MAX 24
const char *market_symbol_name(uint32_t symbol, char name[MARKET_NAME_MAX]);
const char *market_feed_name(uint32_t feed);

#endif
