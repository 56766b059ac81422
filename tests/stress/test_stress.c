/* Everything at once, and then the books must balance. TKS_STRESS_FACTOR multiplies the work. */
#include <criterion/criterion.h>
#include <limits.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/random.h"
#include "support/records.h"
#include "support/scratch.h"
#include "support/stores.h"
#include "support/threads.h"
#include "support/wait.h"

#define SYMBOLS 24
#define SOURCES 3
#define PRODUCERS 4
#define READERS 4
#define READ_MAX 3000

static char *dir;
static tks_store *store;
static test_random dice;

static void set_up(void) {
  dir = scratch_new();
  dice = random_new();
}

static void tear_down(void) {
  if (store != NULL) (void)tks_close(store, NULL);
  scratch_remove(dir);
}

TestSuite(stress, .init = set_up, .fini = tear_down);

static uint64_t work(uint64_t n) {
  const char *factor = getenv("TKS_STRESS_FACTOR");
  uint64_t times = factor != NULL && *factor != 0 ? strtoull(factor, NULL, 10) : 1;
  return rounds(n) * (times > 0 ? times : 1);
}

/* ----------------------------------------------------------------- records */

/* ask_size follows from all that the producer sets: half a record of one kind and half of another cannot fit. */
static double checksum(const tks_quote *q) {
  test_random hash = {(uint64_t)q->ts_ns};
  hash.state = random_next(&hash) ^ (uint64_t)q->recv_ns;
  hash.state = random_next(&hash) ^ bits_of(q->bid);
  hash.state = random_next(&hash) ^ (isnan(q->ask) ? 1 : bits_of(q->ask));
  hash.state = random_next(&hash) ^ bits_of(q->bid_size);
  hash.state = random_next(&hash) ^ ((uint64_t)q->symbol << 32 | q->source);
  hash.state = random_next(&hash) ^ (q->flags & TKS_FLAG_USER_MASK);
  return (double)(random_next(&hash) >> 14) / 4;
}

static bool is_whole(const tks_quote *q) { return q->seq != 0 && q->reserved == 0 && q->ask_size == checksum(q); }

static tks_quote random_quote(test_random *random, uint64_t number) {
  tks_quote q = {.symbol = 1 + (uint32_t)random_below(random, SYMBOLS),
                 .source = (uint32_t)random_below(random, SOURCES + 1),
                 .flags = (uint32_t)random_next(random) & TKS_FLAG_USER_MASK,
                 .recv_ns = (int64_t)number};
  /* Mostly the present day, in bursts of equal milliseconds; now and then a late one. */
  int64_t day = random_below(random, 200) == 0 ? (int64_t)random_below(random, 3) : 3;
  q.ts_ns = STORE_MIDNIGHT + day * STORE_DAY_NS + (int64_t)(number / 8) * 1000000 + (int64_t)random_below(random, 3);
  q.bid = (double)random_below(random, 1000000) / 1024;
  q.ask = random_below(random, 50) == 0 ? (double)NAN : (double)random_below(random, 1000000) / 1000;
  q.bid_size = (double)random_below(random, 1000);
  q.ask_size = checksum(&q);
  return q;
}

static void open_with(const tks_config *config) {
  char name[16];
  store = store_open(dir, config);
  for (uint32_t i = 1; i <= SYMBOLS; i++) {
    (void)snprintf(name, sizeof name, "SYM%u", i);
    cr_assert_eq(store_symbol(store, name), i);
  }
  for (uint32_t i = 1; i <= SOURCES; i++) {
    (void)snprintf(name, sizeof name, "LP%u", i);
    cr_assert_eq(store_source(store, name), i);
  }
}

/* ----------------------------------------------------------------- threads */

/* Criterion's assertions are for its own thread: the others count what is wrong and remember the first line of it. */
typedef struct actor {
  void (*act)(struct actor *a); /* once */
  test_random dice;
  uint64_t limit; /* so many times, or until `stop` */
  uint64_t accepted, dropped, closed;
  uint64_t bad;
  int bad_line, bad_code;
  uint64_t done;
} actor;

static _Atomic bool stop;

#define CHECK(a, condition, code)          \
  do {                                     \
    if (!(condition) && (a)->bad++ == 0) { \
      (a)->bad_line = __LINE__;            \
      (a)->bad_code = (code);              \
    }                                      \
  } while (0)

/* True: go on. */
static bool fine(actor *a, int code, int line) {
  if (code == TKS_ECLOSED) {
    a->closed++;
    return false;
  }
  if (code < 0 && a->bad++ == 0) {
    a->bad_line = line;
    a->bad_code = code;
  }
  return code >= 0;
}
#define FINE(a, code) fine(a, code, __LINE__)

static void *run_actor(void *argument) {
  actor *a = argument;
  while (a->closed == 0 && (a->limit > 0 ? a->done < a->limit : !atomic_load(&stop))) {
    a->act(a);
    a->done++;
  }
  return NULL;
}

static void produce(actor *a) {
  tks_quote q = random_quote(&a->dice, a->done);
  int code = tks_put_quote(store, &q, NULL, NULL);
  if (code == TKS_EQUEUEFULL) a->dropped++;
  else if (FINE(a, code)) a->accepted++;
}

static void produce_many(actor *a) {
  tks_quote quotes[16];
  int32_t codes[16];
  tks_put_result result;
  for (uint64_t i = 0; i < 16; i++) quotes[i] = random_quote(&a->dice, a->done * 16 + i);
  int code = tks_put_quotes(store, quotes, 16, codes, &result, NULL);
  if (!FINE(a, code)) return;
  /* A close that comes while it waits for room answers the rest. */
  uint64_t closed = 0;
  for (int i = 0; i < 16; i++) closed += codes[i] == TKS_ECLOSED;
  CHECK(a, result.accepted + result.dropped + closed == 16 && result.refused == closed, code);
  a->accepted += result.accepted;
  a->dropped += result.dropped;
}

static void check_range(actor *a, const tks_quote *quotes, size_t count, const tks_range *range,
                        const tks_quote *last) {
  for (size_t i = 0; i < count; i++) {
    const tks_quote *q = &quotes[i], *before = i > 0 ? &quotes[i - 1] : last;
    CHECK(a, is_whole(q) && q->symbol == range->symbol && q->ts_ns >= range->from_ns && q->ts_ns < range->to_ns, 0);
    if (before->seq == 0) continue;
    bool later = q->ts_ns > before->ts_ns || (q->ts_ns == before->ts_ns && q->seq > before->seq);
    bool earlier = q->ts_ns < before->ts_ns || (q->ts_ns == before->ts_ns && q->seq < before->seq);
    CHECK(a, (range->flags & TKS_RANGE_DESCENDING) != 0 ? earlier : later, 0);
  }
}

static void read_range(actor *a) {
  tks_quote quotes[256], last = {0};
  tks_range range = store_range(1 + (uint32_t)random_below(&a->dice, SYMBOLS));
  range.limit = 1 + (int64_t)random_below(&a->dice, READ_MAX);
  range.flags = (uint32_t)random_below(&a->dice, 2);
  if (random_below(&a->dice, 2)) range.source = 1 + (uint32_t)random_below(&a->dice, SOURCES);
  if (random_below(&a->dice, 2)) range.from_ns = STORE_MIDNIGHT + (int64_t)random_below(&a->dice, 4) * STORE_DAY_NS;
  tks_cursor *cursor;
  if (!FINE(a, tks_range_open(store, &range, &cursor, NULL))) return;
  size_t count;
  do {
    int code = tks_cursor_next(cursor, quotes, 1 + random_below(&a->dice, 256), &count, NULL);
    if (!FINE(a, code)) break;
    check_range(a, quotes, count, &range, &last);
    if (count > 0) last = quotes[count - 1];
  } while (count > 0);
  tks_cursor_close(cursor);
}

static void read_recent(actor *a) {
  static _Thread_local tks_quote quotes[500];
  uint32_t symbol = 1 + (uint32_t)random_below(&a->dice, SYMBOLS);
  size_t count;
  /* Beyond the ring every so often. */
  size_t n = 1 + random_below(&a->dice, random_below(&a->dice, 50) == 0 ? 500 : 60);
  if (!FINE(a, tks_recent(store, symbol, n, quotes, &count, NULL))) return;
  for (size_t i = 0; i < count; i++) CHECK(a, is_whole(&quotes[i]) && quotes[i].symbol == symbol, 0);
  /* Each once, from wherever it came. How many come from the ring is not known: producers may lap a slow reader. */
  for (size_t i = 0; i < count && count <= 60; i++)
    for (size_t k = 0; k < i; k++) CHECK(a, quotes[i].seq != quotes[k].seq, 0);
  int code = tks_latest(store, symbol, quotes, NULL);
  if (code == TKS_ENOTFOUND || !FINE(a, code)) return;
  CHECK(a, is_whole(quotes), 0);
}

static void read_lists(actor *a) {
  tks_quote quotes[SYMBOLS];
  tks_symbol_info infos[SYMBOLS];
  size_t total;
  if (!FINE(a, tks_latest_all(store, quotes, SYMBOLS, &total, NULL))) return;
  for (size_t i = 0; i < total; i++) CHECK(a, is_whole(&quotes[i]), 0);
  if (!FINE(a, tks_symbols(store, infos, SYMBOLS, &total, NULL))) return;
  CHECK(a, total <= SYMBOLS, (int)total);
  linger_ms(5);
}

static void intern(actor *a) {
  char name[TKS_NAME_MAX];
  size_t length;
  uint32_t id, expected = 1 + (uint32_t)random_below(&a->dice, SYMBOLS);
  int n = snprintf(name, sizeof name, "SYM%u", expected);
  if (!FINE(a, tks_symbol(store, name, (size_t)n, &id, NULL))) return;
  CHECK(a, id == expected, (int)id);
  n = snprintf(name, sizeof name, "NEW%llu", (unsigned long long)random_below(&a->dice, 100000));
  if (!FINE(a, tks_symbol(store, name, (size_t)n, &id, NULL))) return;
  char back[TKS_NAME_MAX];
  if (!FINE(a, tks_symbol_name(store, id, back, sizeof back, &length, NULL))) return;
  CHECK(a, length == (size_t)n && memcmp(back, name, length) == 0, 0);
}

static void flush(actor *a) {
  int code = tks_flush(store, (int64_t)random_below(&a->dice, 20), NULL);
  if (code != TKS_ETIMEOUT) (void)FINE(a, code);
}

static void poll_stats(actor *a) {
  static tks_store_stats before;
  tks_store_stats now = {.struct_size = sizeof now};
  if (!FINE(a, tks_stats(store, &now, NULL))) return;
  /* At every moment, not only at the end. */
  CHECK(a, store_adds_up(&now), 0);
  CHECK(a, now.received == now.accepted + now.throttled + now.crossed_dropped + now.refused, 0);
  CHECK(a, now.last_seq == now.first_seq + now.accepted - 1, 0);
  CHECK(a, now.durable_seq <= now.last_seq, 0);
  if (a->done > 0) {
    CHECK(a, now.accepted >= before.accepted && now.dropped >= before.dropped, 0);
    CHECK(a, now.durable_seq >= before.durable_seq, 0);
    for (int i = 0; i < 2; i++) CHECK(a, now.sinks[i].written >= before.sinks[i].written, i);
  }
  before = now;
}

static void good(const actor *actors, size_t count) {
  for (size_t i = 0; i < count; i++)
    cr_assert_eq(actors[i].bad, 0, "actor %zu: %llu times, first at line %d with %d", i,
                 (unsigned long long)actors[i].bad, actors[i].bad_line, actors[i].bad_code);
}

/* ------------------------------------------------------------ all together */

static void all_together(uint32_t backend, uint32_t policy, uint32_t queue_records) {
  tks_config config = store_config(backend);
  config.flush_interval_ms = 5;
  config.queue_records = queue_records;
  config.batch_records = queue_records < 500 ? queue_records : 500;
  config.queue_policy = policy;
  config.block_limit_ms = 3600000;
  config.ring_records = 40;
  config.max_open_days = 2;
  config.read_connections = 3;
  config.checkpoint_pages = 100;
  open_with(&config);
  atomic_store(&stop, false);
  static void (*const rest[])(actor *) = {read_range, read_recent, read_range, read_recent,
                                          read_lists, intern,      flush,      poll_stats};
  enum { REST = sizeof rest / sizeof rest[0] };
  actor producers[PRODUCERS] = {0}, others[REST] = {0};
  pthread_t producer_threads[PRODUCERS], other_threads[REST];
  for (int i = 0; i < REST; i++) {
    others[i].act = rest[i];
    others[i].dice = random_fork(&dice, 100 + (uint64_t)i);
    other_threads[i] = start_thread(run_actor, &others[i]);
  }
  for (int i = 0; i < PRODUCERS; i++) {
    producers[i].act = i % 2 ? produce_many : produce;
    producers[i].limit = work(40000) / (i % 2 ? 16 : 1);
    producers[i].dice = random_fork(&dice, (uint64_t)i);
    producer_threads[i] = start_thread(run_actor, &producers[i]);
  }
  uint64_t accepted = 0, dropped = 0;
  for (int i = 0; i < PRODUCERS; i++) {
    join_thread(producer_threads[i]);
    accepted += producers[i].accepted;
    dropped += producers[i].dropped;
  }
  atomic_store(&stop, true);
  for (int i = 0; i < REST; i++) join_thread(other_threads[i]);
  good(producers, PRODUCERS);
  good(others, REST);

  tks_store_stats stats = store_stats(store);
  cr_assert(store_adds_up(&stats));
  cr_assert_eq(stats.accepted, accepted + dropped);
  cr_assert_eq(stats.dropped, dropped);
  if (policy == TKS_QUEUE_BLOCK) cr_assert_eq(dropped, 0);
  store_flush(store);
  stats = store_stats(store);
  cr_assert(store_adds_up(&stats));
  cr_assert_eq(stats.held, 0);
  cr_assert_eq(stats.durable_seq, stats.last_seq);
  uint64_t seen = 0;
  for (uint32_t symbol = 1; symbol <= SYMBOLS; symbol++) {
    tks_range range = store_range(symbol);
    size_t count;
    free(store_read(store, &range, 5000, &count));
    seen += count;
  }
  cr_assert_eq(seen, accepted);
  store_close(store);
  store = NULL;
  if ((backend & TKS_SQLITE) != 0) {
    cr_assert_eq(store_sqlite_rows(dir), accepted);
    cr_assert_eq(store_sqlite_seqs(dir), accepted);
  }
  if ((backend & TKS_JSON) != 0) {
    cr_assert_eq(store_json_lines(dir), accepted);
    cr_assert_eq(store_json_seqs(dir), accepted);
  }
}

Test(stress, dual_dropping) { all_together(TKS_DUAL, TKS_QUEUE_DROP, 10000); }
Test(stress, dual_blocking) { all_together(TKS_DUAL, TKS_QUEUE_BLOCK, 1000); }
Test(stress, sqlite_with_a_tiny_queue) { all_together(TKS_SQLITE, TKS_QUEUE_DROP, 16); }
Test(stress, json_with_a_tiny_queue) { all_together(TKS_JSON, TKS_QUEUE_BLOCK, 16); }

/* -------------------------------------------------------- close in between */

/* Each call completes or answers TKS_ECLOSED, and what was accepted is on disk. */
Test(stress, close_races_with_everything) {
  if (access("/dev/shm", W_OK) == 0) { /* hundreds of stores: not on a disk, where there is a choice */
    scratch_remove(dir);
    (void)setenv("TMPDIR", "/dev/shm", 1);
    dir = scratch_new();
  }
  static void (*const acts[])(actor *) = {produce,     produce_many, produce, read_range,
                                          read_recent, read_lists,   intern,  flush};
  enum { ACTORS = sizeof acts / sizeof acts[0] };
  for (uint64_t round = 0; round < work(160); round++) {
    scratch_clear(dir);
    tks_config config = store_config(1 + (uint32_t)(round % 3));
    config.queue_policy = round / 3 % 2 ? TKS_QUEUE_BLOCK : TKS_QUEUE_DROP;
    config.queue_records = round / 6 % 2 ? 16 : 1000;
    config.batch_records = 16;
    config.flush_interval_ms = 1 + (uint32_t)random_below(&dice, 20);
    open_with(&config);
    actor actors[ACTORS] = {0};
    pthread_t threads[ACTORS];
    atomic_store(&stop, false);
    for (int i = 0; i < ACTORS; i++) {
      actors[i].act = acts[i];
      actors[i].dice = random_fork(&dice, round * ACTORS + (uint64_t)i);
      threads[i] = start_thread(run_actor, &actors[i]);
    }
    linger_ms((unsigned)random_below(&dice, 6));
    tks_error error;
    int code = tks_close(store, &error);
    cr_assert_eq(code, TKS_OK, "%d: %s", code, error.message);
    uint64_t accepted = 0;
    for (int i = 0; i < ACTORS; i++) {
      join_thread(threads[i]); /* they end when they are told TKS_ECLOSED */
      accepted += actors[i].accepted;
      cr_assert_eq(actors[i].closed, 1);
    }
    good(actors, ACTORS);
    store = NULL;
    uint64_t sum = store_sqlite_seqs(dir) + store_json_seqs(dir);
    cr_assert_eq(sum, config.backend == TKS_DUAL ? 2 * accepted : accepted, "round %llu: %llu, accepted %llu",
                 (unsigned long long)round, (unsigned long long)sum, (unsigned long long)accepted);
    cr_assert_eq(store_sqlite_rows(dir) + store_json_lines(dir), sum);
  }
}
