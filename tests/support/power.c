#include "support/power.h"

#include <math.h>

#include "support/random.h"

const char *const POWER_SYMBOL_NAMES[POWER_SYMBOLS] = {"EURUSD", "GBP/USD", "XAU", "a b", "\xc3\xa9"};

static const char *const SOURCES[] = {NULL, "LP1", "LP/2", "a source with a rather long name"};

#define DAY_NS INT64_C(86400000000000)
#define MINUTE_NS INT64_C(60000000000)

tks_quote power_quote(uint64_t seed, uint64_t n, unsigned *symbol, const char **source) {
  test_random random = {seed ^ (n + 1) * UINT64_C(0x9e3779b97f4a7c15)};
  int64_t day = (int64_t)(n / POWER_QUOTES_PER_DAY);
  /* One in five is late. */
  int64_t late = (int64_t)random_below(&random, 5) == 0 ? 1 + (int64_t)random_below(&random, 3) : 0;
  if (late > day) late = day;
  tks_quote quote = {.recv_ns = (int64_t)n + 1};
  quote.ts_ns = POWER_FIRST_DAY + (day - late) * DAY_NS + (int64_t)(n % POWER_QUOTES_PER_DAY) * MINUTE_NS +
                (int64_t)random_below(&random, MINUTE_NS);
  *symbol = (unsigned)random_below(&random, POWER_SYMBOLS);
  *source = SOURCES[random_below(&random, 4)];
  quote.bid = 1 + (double)random_below(&random, 1000000) / 100000;
  quote.ask = quote.bid + (double)random_below(&random, 100) / 100000;
  if (random_below(&random, 8) == 0) quote.bid = NAN;
  quote.bid_size = (double)random_below(&random, 3) * 1.5;
  quote.ask_size = (double)random_below(&random, 1000);
  quote.flags = (uint32_t)random_next(&random) & TKS_FLAG_USER_MASK;
  return quote;
}

uint64_t power_number(int64_t recv_ns) { return (uint64_t)recv_ns - 1; }
