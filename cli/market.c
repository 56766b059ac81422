/* market.c - a market made up.
 *
 * Two kinds of randomness are kept apart. What the market does (regime, prices, jumps) is drawn on a fixed grid of time
 * from streams that the seed alone starts; so every feed sees the same. What a feed does (when it quotes what, with
 * which spread, noise and flaws) is drawn from a stream of seed and feed.
 *
 * Invariants: 1. due_ns never decreases. 2. mid > 0 for every symbol. 3. the grid of a symbol is only ever advanced. */
#include "market.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#define NS_PER_S INT64_C(1000000000)
#define GRID_NS INT64_C(20000000)    /* a price's step */
#define REGIME_NS INT64_C(100000000) /* a regime's step */
#define DAY_NS (86400 * NS_PER_S)
enum { MAX_STEPS = 64, WEIGHT_SLOTS = 8192, HOT_STEPS = 25 };

typedef struct market_instrument {
  const char *name;
  double level;      /* where it starts */
  double volatility; /* of a day, as a share of the price */
  double spread;     /* typical, in ticks */
  float weight;      /* how often it is quoted */
  int8_t digits;     /* decimals of the tick */
} market_instrument;

static const market_instrument instruments[] = {
    {"EURUSD", 1.08425, 0.0055, 1.2, 100, 5}, {"GBPUSD", 1.26740, 0.0065, 1.8, 70, 5},
    {"USDJPY", 151.425, 0.0070, 1.6, 85, 3},  {"USDCHF", 0.88312, 0.0060, 2.0, 35, 5},
    {"AUDUSD", 0.65230, 0.0075, 1.6, 45, 5},  {"USDCAD", 1.36180, 0.0050, 2.0, 40, 5},
    {"NZDUSD", 0.60145, 0.0078, 2.2, 25, 5},  {"EURGBP", 0.85548, 0.0045, 2.0, 30, 5},
    {"EURJPY", 164.182, 0.0070, 2.4, 40, 3},  {"GBPJPY", 191.905, 0.0085, 3.4, 42, 3},
    {"EURCHF", 0.95752, 0.0045, 2.6, 18, 5},  {"EURAUD", 1.66218, 0.0068, 3.6, 16, 5},
    {"EURCAD", 1.47654, 0.0058, 3.6, 14, 5},  {"EURNZD", 1.80270, 0.0072, 5.0, 10, 5},
    {"GBPCHF", 1.11928, 0.0065, 4.2, 12, 5},  {"GBPAUD", 1.94296, 0.0075, 5.0, 12, 5},
    {"GBPCAD", 1.72594, 0.0065, 5.0, 10, 5},  {"GBPNZD", 2.10722, 0.0080, 7.0, 8, 5},
    {"AUDJPY", 98.774, 0.0085, 2.6, 22, 3},   {"AUDCAD", 0.88830, 0.0060, 3.4, 9, 5},
    {"AUDCHF", 0.57606, 0.0070, 3.6, 7, 5},   {"AUDNZD", 1.08455, 0.0050, 4.0, 8, 5},
    {"CADJPY", 111.196, 0.0075, 3.2, 10, 3},  {"CHFJPY", 171.466, 0.0072, 3.8, 8, 3},
    {"NZDJPY", 91.076, 0.0085, 3.4, 10, 3},   {"USDSEK", 10.51234, 0.0075, 38, 6, 5},
    {"USDNOK", 10.63518, 0.0080, 42, 6, 5},   {"USDMXN", 16.71355, 0.0085, 36, 9, 5},
    {"USDZAR", 18.94120, 0.0110, 90, 8, 5},   {"USDSGD", 1.34472, 0.0035, 3.0, 7, 5},
    {"XAUUSD", 2175.43, 0.0090, 18, 90, 2},   {"XAGUSD", 24.512, 0.0160, 14, 35, 3},
    {"XPTUSD", 905.20, 0.0140, 120, 6, 2},    {"XPDUSD", 1012.50, 0.0210, 280, 4, 2},
    {"US500", 5212.4, 0.0090, 4, 60, 1},      {"NAS100", 18240.1, 0.0130, 11, 75, 1},
    {"US30", 39420.5, 0.0080, 16, 45, 1},     {"GER40", 18205.3, 0.0090, 9, 40, 1},
    {"UK100", 7931.2, 0.0070, 9, 15, 1},      {"FRA40", 8184.6, 0.0085, 10, 12, 1},
    {"JPN225", 40168.0, 0.0120, 70, 18, 1},   {"HK50", 16541.5, 0.0150, 60, 10, 1},
    {"USOIL", 81.240, 0.0190, 28, 38, 3},     {"UKOIL", 85.610, 0.0180, 28, 24, 3},
    {"NATGAS", 1.762, 0.0320, 5, 12, 3},      {"COPPER", 4.0035, 0.0130, 12, 6, 4},
    {"BTCUSD", 69854.20, 0.0260, 950, 55, 2}, {"ETHUSD", 3541.37, 0.0310, 110, 35, 2},
    {"SOLUSD", 186.452, 0.0450, 40, 20, 3},   {"XRPUSD", 0.62415, 0.0380, 30, 10, 5},
    {"AAPL", 171.48, 0.0130, 1.4, 22, 2},     {"MSFT", 420.72, 0.0125, 3.0, 18, 2},
    {"NVDA", 903.56, 0.0280, 22, 30, 2},      {"AMZN", 180.38, 0.0170, 1.8, 18, 2},
    {"GOOGL", 150.93, 0.0160, 1.6, 14, 2},    {"META", 485.58, 0.0190, 9, 14, 2},
    {"TSLA", 175.79, 0.0310, 2.4, 32, 2},     {"SPY", 523.07, 0.0080, 1.2, 50, 2},
    {"QQQ", 444.01, 0.0115, 1.4, 36, 2},      {"DE10Y", 133.34, 0.0035, 1.5, 15, 2},
};
enum { INSTRUMENTS = sizeof instruments / sizeof instruments[0] };

static const double ten_to[] = {1, 10, 100, 1000, 10000, 100000};

typedef struct market_course {
  uint64_t random; /* its own stream */
  int64_t at_ns;   /* the grid has been advanced to here */
  double mid;
  int hot; /* steps that it stays hot */
} market_course;

/* What a feed quoted last. */
typedef struct market_voice {
  double bid, ask, bid_size, ask_size;
} market_voice;

struct market_feed {
  market_options options;
  uint64_t random;        /* the feed's stream */
  uint64_t regime_random; /* the market's */
  int64_t regime_at_ns, now_ns;
  double regime;     /* multiplies the rate */
  uint32_t previous; /* the symbol quoted before */
  uint32_t turn_count;
  uint32_t *turns; /* symbols by weight: one is drawn by drawing a slot */
  market_course *courses;
  market_voice *voices;
};

/* ------------------------------------------------------------- randomness */

/* SplitMix64: small, fast, and any seed will do. */
static uint64_t draw(uint64_t *state) {
  uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  return z ^ (z >> 31);
}

static uint64_t stream(uint64_t seed, uint64_t purpose) {
  uint64_t state = seed ^ (purpose + 1) * UINT64_C(0xd1342543de82ef95);
  draw(&state);
  return state;
}

/* In (0, 1): neither end, so that a logarithm may be taken. */
static double uniform(uint64_t *state) { return ((double)(draw(state) >> 11) + 0.5) * 0x1p-53; }

static bool chance(uint64_t *state, double probability) { return uniform(state) < probability; }

/* Nearly normal with variance 1, from the four 16-bit quarters of one draw. */
static double bell(uint64_t *state) {
  uint64_t bits = draw(state);
  double sum =
      (double)(bits & 0xffff) + (double)(bits >> 16 & 0xffff) + (double)(bits >> 32 & 0xffff) + (double)(bits >> 48);
  return (sum / 65536.0 - 2.0) * 1.7320508;
}

/* --------------------------------------------------------- names and levels */

static const market_instrument *instrument_of(uint32_t symbol) { return &instruments[symbol % INSTRUMENTS]; }

const char *market_symbol_name(uint32_t symbol, char name[MARKET_NAME_MAX]) {
  if (symbol < INSTRUMENTS) return instruments[symbol].name;
  snprintf(name, MARKET_NAME_MAX, "%s.%u", instrument_of(symbol)->name, symbol / INSTRUMENTS);
  return name;
}

const char *market_feed_name(uint32_t feed) { return feed % MARKET_FEEDS == 0 ? "LP-NORTH" : "LP-SOUTH"; }

/* --------------------------------------------------------------- the market */

/* What the rate is multiplied by: with the odds below, 1 on average. */
static const double CALM = 0.454, BUSY = 0.991, BURST = 3.3;

/* Mostly calm, at times busy, seldom and shortly in a burst. */
static void advance_regime(market_feed *feed) {
  for (; feed->regime_at_ns + REGIME_NS <= feed->now_ns; feed->regime_at_ns += REGIME_NS) {
    double u = uniform(&feed->regime_random);
    if (feed->regime > BUSY) feed->regime = u < 0.25 ? BUSY : BURST; /* a burst lasts 0.4 s */
    else if (feed->regime > CALM) feed->regime = u < 0.04 ? BURST : u < 0.12 ? CALM : BUSY;
    else feed->regime = u < 0.01 ? BURST : u < 0.08 ? BUSY : CALM;
  }
}

static void advance_course(const market_feed *feed, uint32_t symbol) {
  market_course *course = &feed->courses[symbol];
  int64_t behind = (feed->now_ns - course->at_ns) / GRID_NS;
  if (behind <= 0) return;
  /* A step of 20 ms has 1/sqrt(4,320,000) of a day's volatility; the market is awake for a few hours, so take more.
   * Whoever was not looked at for long takes fewer and longer steps. */
  int64_t steps = behind > MAX_STEPS ? MAX_STEPS : behind;
  double stretch = sqrt((double)behind / (double)steps);
  double step = instrument_of(symbol)->volatility * 0.0012 * stretch;
  for (int64_t i = 0; i < steps; i++) {
    if (chance(&course->random, 0.002)) course->hot = HOT_STEPS;
    double move = step * bell(&course->random) * (course->hot > 0 ? 3.5 : 1.0);
    if (course->hot > 0) course->hot--;
    course->mid *= 1 + (move > 0.2 ? 0.2 : move < -0.2 ? -0.2 : move);
  }
  course->at_ns += behind * GRID_NS;
}

/* ----------------------------------------------------------------- the feed */

/* Often the symbol before once more, sometimes a hot one that was drawn in vain, else by weight. */
static uint32_t choose_symbol(market_feed *feed) {
  if (chance(&feed->random, 0.25)) return feed->previous;
  uint64_t slot = draw(&feed->random);
  uint32_t first = feed->turns[slot % feed->turn_count], second = feed->turns[(slot >> 32) % feed->turn_count];
  return feed->courses[second].hot > 0 ? second : first;
}

static double round_to(double price, int digits) { return round(price * ten_to[digits]) / ten_to[digits]; }

static double choose_size(uint64_t *random, double before) {
  static const double sizes[] = {100000, 250000, 500000, 1000000, 1500000, 2000000, 3000000, 5000000};
  return before != 0 && !chance(random, 0.15) ? before : sizes[draw(random) & 7];
}

/* A quote around the hidden price, with this feed's habit, in ticks: one feed is tighter, the other leans a little. */
static void quote_anew(market_feed *feed, uint32_t symbol, market_voice *voice) {
  const market_instrument *instrument = instrument_of(symbol);
  double tick = 1 / ten_to[instrument->digits];
  double excited = feed->courses[symbol].hot > 0 ? 1.6 : 1.0;
  double half = instrument->spread * tick * excited * (0.45 + 0.15 * fabs(bell(&feed->random)));
  double lean = instrument->spread * tick * (feed->options.feed == 0 ? 0.0 : 0.12);
  if (feed->options.feed != 0) half *= 1.15;
  double mid = feed->courses[symbol].mid + lean + 0.2 * instrument->spread * tick * bell(&feed->random);
  voice->bid = round_to(mid - half, instrument->digits);
  voice->ask = round_to(mid + half, instrument->digits);
  if (voice->bid < tick) voice->bid = tick;
  if (voice->ask <= voice->bid) voice->ask = round_to(voice->bid + tick, instrument->digits);
  voice->bid_size = choose_size(&feed->random, voice->bid_size);
  voice->ask_size = choose_size(&feed->random, voice->ask_size);
}

/* Flaws as feeds have them, of this one quote only: the next is based on what the feed meant. */
static void spoil(market_feed *feed, market_quote *quote) {
  double u = uniform(&feed->random);
  if (u < 0.0005) {
    quote->bid = NAN;
    quote->bid_size = 0;
  } else if (u < 0.0010) {
    quote->ask = NAN;
    quote->ask_size = 0;
  } else if (u < 0.0018) {
    double bid = quote->bid;
    quote->bid = quote->ask;
    quote->ask = bid;
  } else if (u < 0.0038 && !feed->options.in_order) {
    quote->ts_ns -= (int64_t)((0.2 + 8 * uniform(&feed->random)) * (double)NS_PER_S);
  } else if (u < 0.00385 && !feed->options.in_order) {
    quote->ts_ns -= DAY_NS * (1 + (int64_t)(draw(&feed->random) & 1));
  }
}

void market_next(market_feed *feed, market_quote *quote) {
  double pause_s = -log(uniform(&feed->random)) / (feed->options.rate * feed->regime);
  feed->now_ns += (int64_t)(pause_s * (double)NS_PER_S);
  advance_regime(feed);

  uint32_t symbol = choose_symbol(feed);
  market_voice *voice = &feed->voices[symbol];
  advance_course(feed, symbol);
  if (voice->bid == 0 || !chance(&feed->random, 0.2)) quote_anew(feed, symbol, voice);
  feed->previous = symbol;

  quote->due_ns = quote->ts_ns = feed->now_ns;
  quote->bid = voice->bid;
  quote->ask = voice->ask;
  quote->bid_size = voice->bid_size;
  quote->ask_size = voice->ask_size;
  quote->symbol = symbol;
  spoil(feed, quote);
}

/* ------------------------------------------------------------------ lifetime */

/* Later namesakes of an instrument are quoted less often than it. */
static double weight_of(uint32_t symbol) {
  uint32_t namesakes = symbol / INSTRUMENTS;
  return (double)instrument_of(symbol)->weight / (1.0 + namesakes);
}

/* Everyone gets one slot, and by weight a share of the others. */
static void fill_turns(market_feed *feed) {
  uint32_t symbols = feed->options.symbols, filled = 0;
  double total = 0;
  for (uint32_t i = 0; i < symbols; i++) total += weight_of(i);
  for (uint32_t i = 0; i < symbols; i++) {
    uint32_t slots = 1 + (uint32_t)(weight_of(i) / total * WEIGHT_SLOTS);
    for (; slots > 0; slots--) feed->turns[filled++] = i;
  }
  feed->turn_count = filled;
}

static void start_courses(market_feed *feed) {
  for (uint32_t i = 0; i < feed->options.symbols; i++) {
    market_course *course = &feed->courses[i];
    course->random = stream(feed->options.seed, 1000 + (uint64_t)i);
    course->at_ns = feed->options.start_ns;
    course->mid = instrument_of(i)->level * (1 + 0.003 * bell(&course->random));
  }
}

market_feed *market_feed_create(const market_options *options) {
  if (options->symbols < 1 || options->symbols > MARKET_MAX_SYMBOLS || options->feed >= MARKET_FEEDS ||
      !(options->rate > 0)) {
    return NULL;
  }
  market_feed *made = calloc(1, sizeof *made);
  if (made == NULL) return NULL;
  made->options = *options;
  made->random = stream(options->seed, 1 + options->feed);
  made->regime_random = stream(options->seed, 0);
  made->regime_at_ns = made->now_ns = options->start_ns;
  made->regime = BUSY;
  made->turns = calloc(WEIGHT_SLOTS + options->symbols, sizeof *made->turns);
  made->courses = calloc(options->symbols, sizeof *made->courses);
  made->voices = calloc(options->symbols, sizeof *made->voices);
  if (made->turns == NULL || made->courses == NULL || made->voices == NULL) {
    market_feed_destroy(made);
    return NULL;
  }
  start_courses(made);
  fill_turns(made);
  return made;
}

void market_feed_destroy(market_feed *feed) {
  if (feed == NULL) return;
  free(feed->turns);
  free(feed->courses);
  free(feed->voices);
  free(feed);
}
