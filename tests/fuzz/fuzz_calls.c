/* Calls in any order with any arguments, against a model: an array of everything that was accepted. Each byte of the input
 * chooses a call, those behind it its arguments.
 *
 * Checked after each: what recent and range answer is the model's, record by record; every code is a documented one; and
 * received = accepted + throttled + crossed_dropped + refused, accepted + recovered = written + backlog + lost + dropped. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/fuzz.h"

const unsigned fuzz_rounds = 250;
const char *const fuzz_words[] = {"\x01\x01", "\x06", "\x0a", "\x0b", NULL};

enum { QUOTES_MAX = 2048, CALLS_MAX = 48, SYMBOLS = 4, PIECE = 200 };

typedef struct put_quote {
  tks_quote quote;
  bool dropped; /* in the ring only */
  unsigned session;
} put_quote;

static put_quote accepted[QUOTES_MAX];
static size_t accepted_count;
static unsigned session;
static tks_store *store;
static tks_config config;
static uint32_t ids[SYMBOLS + 1];
static const char *const names[SYMBOLS] = {"EURUSD", "a/b", "\xe2\x82\xac", "...."};

void fuzz_seeds(void) {
  uint8_t bytes[256];
  for (unsigned k = 0; k < 6; k++) {
    for (unsigned i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)(i * (7 + 2 * k) + i / 5 + k);
    fuzz_seed(bytes, sizeof bytes);
  }
  static const uint8_t mixed[] = {0, 0, 0, 3, 40, 1,  2, 3, 1, 5,  0, 7,  9, 4,  1,
                                  1, 1, 8, 0, 3,  20, 1, 6, 6, 10, 2, 11, 3, 60, 1};
  fuzz_seed(mixed, sizeof mixed);
}

/* ------------------------------------------------------------------- model */

static int by_time(const void *a, const void *b) {
  const tks_quote *x = a, *y = b;
  if (x->ts_ns != y->ts_ns) return x->ts_ns < y->ts_ns ? -1 : 1;
  return (x->seq > y->seq) - (x->seq < y->seq);
}

static int by_time_descending(const void *a, const void *b) { return by_time(b, a); }

static size_t expect_range(const tks_range *range, size_t end, tks_quote *want) {
  size_t n = 0;
  for (size_t i = 0; i < end; i++) {
    const tks_quote *q = &accepted[i].quote;
    if (!accepted[i].dropped && q->symbol == range->symbol && q->ts_ns >= range->from_ns && q->ts_ns < range->to_ns &&
        (range->source == 0 || range->source == q->source))
      want[n++] = *q;
  }
  qsort(want, n, sizeof *want, (range->flags & TKS_RANGE_DESCENDING) != 0 ? by_time_descending : by_time);
  return n > (uint64_t)range->limit ? (size_t)range->limit : n;
}

/* Newest first. */
static size_t expect_recent(uint32_t symbol, size_t n, tks_quote *want) {
  size_t count = 0, first = accepted_count;
  for (size_t i = accepted_count; i-- > 0 && count < n && count < config.ring_records;) {
    if (accepted[i].session != session || accepted[i].quote.symbol != symbol) continue;
    want[count++] = accepted[i].quote;
    first = i;
  }
  if (count == n) return n;
  const tks_range older = {.symbol = symbol,
                           .from_ns = TKS_TIME_MIN,
                           .to_ns = TKS_TIME_MAX,
                           .limit = (int64_t)(n - count),
                           .flags = TKS_RANGE_DESCENDING};
  static tks_quote rest[QUOTES_MAX];
  size_t more = expect_range(&older, count > 0 ? first : accepted_count, rest);
  memcpy(want + count, rest, more * sizeof *want);
  return count + more;
}

static void check_same(const tks_quote *got, size_t count, const tks_quote *want, size_t wanted, const char *what) {
  FUZZ_CHECK(count == wanted, "%s: %zu records, not %zu", what, count, wanted);
  for (size_t i = 0; i < count; i++)
    FUZZ_CHECK(memcmp(&got[i], &want[i], sizeof got[i]) == 0, "%s: [%zu] is %llu, not %llu", what, i,
               (unsigned long long)got[i].seq, (unsigned long long)want[i].seq);
}

static void note(tks_quote quote, int code) {
  if (code != TKS_OK && code != TKS_EQUEUEFULL) return;
  FUZZ_CHECK(accepted_count == 0 || quote.seq > accepted[accepted_count - 1].quote.seq, "numbers go back");
  quote.flags &= TKS_FLAG_USER_MASK;
  if (quote.bid > quote.ask) quote.flags |= TKS_FLAG_CROSSED;
  if (isnan(quote.bid)) quote.bid = (double)NAN;
  if (isnan(quote.ask)) quote.ask = (double)NAN;
  quote.reserved = 0;
  accepted[accepted_count++] = (put_quote){quote, code == TKS_EQUEUEFULL, session};
}

/* ------------------------------------------------------------------- calls */

static void start(void) {
  FUZZ_CHECK(fuzz_open(&config, &store) == TKS_OK, "open");
  for (uint32_t i = 0; i < SYMBOLS; i++) {
    FUZZ_CHECK(tks_symbol(store, names[i], strlen(names[i]), &ids[i + 1], NULL) == TKS_OK, "%s", names[i]);
    FUZZ_CHECK(ids[i + 1] == i + 1, "%s is %u", names[i], ids[i + 1]);
    uint32_t source;
    FUZZ_CHECK(tks_source(store, names[i], strlen(names[i]), &source, NULL) == TKS_OK && source == i + 1, "source");
  }
}

static double number_of(fuzz_input *in) {
  static const double odd[] = {0, -0.0, NAN, INFINITY, -INFINITY, -1, 1e308, 5e-324};
  uint8_t byte = fuzz_byte(in);
  return byte < 16 ? odd[byte % 8] : 1 + (byte & 31) / 32.0;
}

static double size_of(fuzz_input *in) {
  double value = number_of(in);
  return value == 0 ? 0 : value;
}

static tks_quote quote_of(fuzz_input *in) {
  tks_quote q = {.ts_ns = FUZZ_MIDNIGHT, .recv_ns = (int64_t)fuzz_number(in, 1), .symbol = 1 + fuzz_byte(in) % SYMBOLS};
  uint8_t when = fuzz_byte(in);
  q.ts_ns += (int64_t)(when & 3) * FUZZ_DAY_NS + (int64_t)(when >> 2 & 7) * 400000;
  if (when >= 224) q.ts_ns = (int64_t)fuzz_number(in, 8);
  q.bid = number_of(in);
  q.ask = number_of(in);
  uint8_t more = fuzz_byte(in);
  if ((more & 1) != 0) q.bid_size = size_of(in);
  if ((more & 2) != 0) q.ask_size = size_of(in);
  if ((more & 4) != 0) q.source = fuzz_byte(in) % (SYMBOLS + 2);
  if ((more & 8) != 0) q.flags = (uint32_t)fuzz_number(in, 4);
  if ((more & 48) == 48) q.symbol = (uint32_t)fuzz_number(in, 4);
  return q;
}

static bool is_put_code(int code) {
  return code == TKS_OK || code == TKS_THROTTLED || code == TKS_CROSSED_DROPPED || code == TKS_EQUEUEFULL ||
         code == TKS_ECROSSED || (code <= TKS_ESYMBOL && code >= TKS_ETIME);
}

static void call_put(fuzz_input *in) {
  if (accepted_count == QUOTES_MAX) return;
  tks_quote q = quote_of(in);
  tks_error error = {0};
  int code = tks_put_quote(store, &q, &q.seq, &error);
  FUZZ_CHECK(is_put_code(code), "%d: %s", code, error.message);
  FUZZ_CHECK((q.seq > 0) == (code == TKS_OK || code == TKS_EQUEUEFULL), "%d has number %llu", code,
             (unsigned long long)q.seq);
  note(q, code);
}

static void call_put_quotes(fuzz_input *in) {
  static tks_quote quotes[64];
  static int32_t codes[64];
  size_t count = fuzz_byte(in) % 64, kept = 0;
  if (accepted_count + count > QUOTES_MAX) return;
  tks_quote model = quote_of(in);
  for (size_t i = 0; i < count; i++) {
    quotes[i] = i % 5 == 0 ? quote_of(in) : model;
    quotes[i].recv_ns = (int64_t)i;
    if (i % 5 != 0) quotes[i].ask = 2 + (double)i;
  }
  tks_put_result result;
  int code = tks_put_quotes(store, quotes, count, codes, &result, NULL);
  FUZZ_CHECK(code == TKS_OK || code == TKS_PARTIAL, "%d", code);
  for (size_t i = 0; i < count; i++) {
    FUZZ_CHECK(is_put_code(codes[i]), "%d", codes[i]);
    kept += codes[i] == TKS_OK || codes[i] == TKS_EQUEUEFULL;
  }
  /* Nobody else puts, so these are the last numbers given out. */
  tks_store_stats stats = {.struct_size = sizeof stats};
  FUZZ_CHECK(tks_stats(store, &stats, NULL) == TKS_OK, "stats");
  uint64_t seq = stats.last_seq - kept, first = 0, last = 0;
  for (size_t i = 0; i < count; i++) {
    if (codes[i] != TKS_OK && codes[i] != TKS_EQUEUEFULL) continue;
    quotes[i].seq = ++seq;
    note(quotes[i], codes[i]);
    if (codes[i] != TKS_OK) continue;
    if (first == 0) first = seq;
    last = seq;
  }
  FUZZ_CHECK(result.first_seq == first && result.last_seq == last, "numbers %llu to %llu, not %llu to %llu",
             (unsigned long long)result.first_seq, (unsigned long long)result.last_seq, (unsigned long long)first,
             (unsigned long long)last);
  FUZZ_CHECK(result.accepted + result.dropped == kept, "%llu, not %zu", (unsigned long long)result.accepted, kept);
  FUZZ_CHECK(result.accepted + result.dropped + result.throttled + result.crossed_dropped + result.refused == count,
             "the result does not add up");
}

static void call_recent(fuzz_input *in) {
  static tks_quote got[PIECE], want[QUOTES_MAX + PIECE];
  uint32_t symbol = 1 + fuzz_byte(in) % SYMBOLS;
  size_t n = 1 + fuzz_byte(in) % (PIECE - 1), count = 0;
  int code = tks_recent(store, symbol, n, got, &count, NULL);
  FUZZ_CHECK(code == TKS_OK, "%d", code);
  size_t wanted = expect_recent(symbol, n, want);
  for (size_t i = 0; i < wanted / 2; i++) {
    tks_quote swapped = want[i];
    want[i] = want[wanted - 1 - i];
    want[wanted - 1 - i] = swapped;
  }
  check_same(got, count, want, wanted, "recent");
}

static void call_flush(void) {
  tks_error error = {0};
  int code = tks_flush(store, 60000, &error);
  bool dropped = false;
  for (size_t i = 0; i < accepted_count; i++) dropped |= accepted[i].dropped && accepted[i].session == session;
  FUZZ_CHECK(code == TKS_OK || (code == TKS_EUNWRITTEN && dropped), "%d: %s", code, error.message);
  uint64_t seq = 0;
  FUZZ_CHECK(tks_durable_seq(store, &seq, NULL) == TKS_OK, "durable");
  FUZZ_CHECK(accepted_count == 0 || accepted[accepted_count - 1].session != session ||
                 seq >= accepted[accepted_count - 1].quote.seq,
             "durable up to %llu", (unsigned long long)seq);
}

/* With `flushed` what was pending is written between the opening and the reading. */
static void check_range(const tks_range *range, size_t capacity, bool flushed) {
  static tks_quote got[QUOTES_MAX + PIECE], want[QUOTES_MAX];
  tks_cursor *cursor;
  tks_error error = {0};
  size_t count = 0, piece = 1;
  int code = tks_range_open(store, range, &cursor, &error);
  FUZZ_CHECK(code == TKS_OK, "%d: %s", code, error.message);
  if (flushed) call_flush();
  while (piece > 0 && count <= QUOTES_MAX) {
    code = tks_cursor_next(cursor, got + count, capacity, &piece, &error);
    FUZZ_CHECK(code == TKS_OK, "%d: %s", code, error.message);
    count += piece;
  }
  tks_cursor_close(cursor);
  size_t wanted = expect_range(range, accepted_count, want);
  check_same(got, count, want, wanted, "range");
}

static tks_range whole(uint32_t symbol) {
  return (tks_range){.struct_size = sizeof(tks_range),
                     .symbol = symbol,
                     .from_ns = TKS_TIME_MIN,
                     .to_ns = TKS_TIME_MAX,
                     .limit = TKS_NO_LIMIT};
}

static void call_range(fuzz_input *in) {
  tks_range range = whole(1 + fuzz_byte(in) % SYMBOLS);
  uint8_t how = fuzz_byte(in);
  if ((how & 1) != 0) range.from_ns = quote_of(in).ts_ns;
  if ((how & 2) != 0) range.to_ns = quote_of(in).ts_ns;
  if (range.from_ns > range.to_ns) range.from_ns = range.to_ns;
  if ((how & 4) != 0) range.limit = 1 + fuzz_byte(in);
  if ((how & 8) != 0) range.flags = TKS_RANGE_DESCENDING;
  if ((how & 16) != 0) range.source = fuzz_byte(in) % (SYMBOLS + 1);
  check_range(&range, 1 + how % PIECE, (how & 32) != 0);
}

/* Arguments that must be refused, whatever they are. */
static void call_nonsense(fuzz_input *in) {
  /* A caller that says it has a larger struct has one. */
  static union {
    tks_range range;
    char bytes[UINT16_MAX];
  } large;
  memset(&large, fuzz_byte(in), sizeof large);
  large.range = (tks_range){.struct_size = (uint32_t)fuzz_number(in, 2),
                            .symbol = (uint32_t)fuzz_number(in, 4) | 0x80000000u,
                            .limit = (int64_t)fuzz_number(in, 8)};
  tks_cursor *cursor;
  tks_quote quote;
  size_t count = 7;
  uint32_t id;
  uint64_t seq;
  FUZZ_CHECK(tks_range_open(store, &large.range, &cursor, NULL) < 0, "range");
  FUZZ_CHECK(tks_recent(store, large.range.symbol, 1, &quote, &count, NULL) == TKS_ESYMBOL, "recent");
  FUZZ_CHECK(tks_recent(store, 1, 0, &quote, &count, NULL) == TKS_ELIMIT, "recent");
  FUZZ_CHECK(tks_recent(store, 1, SIZE_MAX - fuzz_byte(in), &quote, &count, NULL) == TKS_ELIMIT, "recent");
  FUZZ_CHECK(tks_put_quote(store, NULL, &seq, NULL) == TKS_ENULL, "put");
  FUZZ_CHECK(tks_symbol(store, NULL, 3, &id, NULL) == TKS_ENULL, "symbol");
}

static void call_symbols(void) {
  tks_symbol_info infos[SYMBOLS];
  size_t total = 0, wanted = 0;
  static tks_quote want[QUOTES_MAX];
  FUZZ_CHECK(tks_symbols(store, infos, SYMBOLS, &total, NULL) == TKS_OK && total <= SYMBOLS, "symbols");
  for (uint32_t id = 1; id <= SYMBOLS; id++) {
    tks_range range = whole(id);
    size_t count = expect_range(&range, accepted_count, want);
    wanted += count > 0;
    for (size_t i = 0; i < total; i++)
      if (infos[i].id == id)
        FUZZ_CHECK(infos[i].count == count && infos[i].first_ns == want[0].ts_ns &&
                       infos[i].last_ns == want[count - 1].ts_ns,
                   "symbol %u has %llu", id, (unsigned long long)infos[i].count);
  }
  FUZZ_CHECK(total == wanted, "%zu symbols, not %zu", total, wanted);
}

static void check_stats(void) {
  tks_store_stats s = {.struct_size = sizeof s};
  FUZZ_CHECK(tks_stats(store, &s, NULL) == TKS_OK, "stats");
  FUZZ_CHECK(s.received == s.accepted + s.throttled + s.crossed_dropped + s.refused, "received does not add up");
  for (int i = 0; i < 2; i++) {
    const tks_sink_stats *sink = &s.sinks[i];
    if (sink->state == TKS_SINK_OFF) continue;
    FUZZ_CHECK(s.accepted + s.recovered == sink->written + sink->backlog + sink->lost + s.dropped,
               "sink %u: %llu accepted, %llu written, %llu backlog, %llu lost, %llu dropped", sink->sink,
               (unsigned long long)s.accepted, (unsigned long long)sink->written, (unsigned long long)sink->backlog,
               (unsigned long long)sink->lost, (unsigned long long)s.dropped);
  }
}

static void call_reopen(void) {
  tks_error error = {0};
  tks_store *closed = store;
  int code = tks_close(store, &error);
  FUZZ_CHECK(code == TKS_OK, "%d: %s", code, error.message);
  FUZZ_CHECK(tks_close(closed, NULL) == TKS_ECLOSED && tks_flush(closed, 0, NULL) == TKS_ECLOSED, "not closed");
  session++;
  start();
}

static void call(fuzz_input *in) {
  switch (fuzz_byte(in) % 12) {
    case 0:
    case 1: call_put(in); break;
    case 2:
    case 3: call_put_quotes(in); break;
    case 4:
    case 5: call_recent(in); break;
    case 6:
    case 7: call_range(in); break;
    case 8: call_nonsense(in); break;
    case 9: call_symbols(); break;
    case 10: call_flush(); break;
    default: call_reopen(); break;
  }
}

static void configure(fuzz_input *in) {
  uint8_t how = fuzz_byte(in);
  config = fuzz_config(1 + how % 3);
  config.journal = how >> 2 & 1;
  config.ring_records = 1 + fuzz_byte(in) % 40;
  config.queue_records = (how & 8) != 0 ? 16 : 10000;
  config.batch_records = (how & 8) != 0 ? 4 : 500;
  config.queue_policy = how >> 4 & 1;
  config.crossed_policy = (how >> 5) % 3;
  config.throttle_relative = (how & 128) != 0 ? 0 : -1;
  uint8_t interval = fuzz_byte(in);
  config.flush_interval_ms = interval < 128 ? 1u + interval : 3600000;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  fuzz_input in = {data, size};
  fuzz_clear();
  accepted_count = 0;
  session = 0;
  configure(&in);
  start();
  for (int n = 0; n < CALLS_MAX && in.left > 0; n++) {
    call(&in);
    check_stats();
  }
  call_reopen();
  for (uint32_t id = 1; id <= SYMBOLS; id++) {
    tks_range range = whole(id);
    check_range(&range, PIECE, false);
  }
  call_symbols();
  FUZZ_CHECK(tks_close(store, NULL) == TKS_OK, "close");
  return 0;
}
