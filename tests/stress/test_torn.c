/* No reader ever sees half of one record and half of another: producers run round tiny rings while readers copy from them.
 * Every field of a record follows from its receive time, so that a mixed one shows.
 *
 * TKS_READS sets how many records are read in all (10,000,000). */
#include <criterion/criterion.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/random.h"
#include "support/scratch.h"
#include "support/stores.h"
#include "support/threads.h"

#define SYMBOLS 2 /* few, so that producers meet, and none is ever at rest */
#define PRODUCERS 3
#define READERS 3
#define RING_MAX 40

static char *dir;
static tks_store *store;
static test_random dice;
static _Atomic bool stop;

static void set_up(void) {
  dice = random_new();
  if (access("/dev/shm", W_OK) == 0) (void)setenv("TMPDIR", "/dev/shm", 1);
  dir = scratch_new();
}

static void tear_down(void) {
  if (store != NULL) (void)tks_close(store, NULL);
  scratch_remove(dir);
}

TestSuite(torn, .init = set_up, .fini = tear_down);

/* Of one symbol all have one event time, so that order of arrival, of time and of numbers are the same wherever a record is
 * read from. The other words of a slot all differ from record to record. */
static tks_quote quote_of(uint64_t number) {
  test_random random = {number};
  tks_quote q = {.recv_ns = (int64_t)number};
  q.symbol = 1 + (uint32_t)random_below(&random, SYMBOLS);
  q.ts_ns = STORE_NOON + q.symbol;
  q.bid = 1 + (double)(random_next(&random) >> 12);
  q.ask = q.bid + 1 + (double)(random_next(&random) >> 12);
  q.bid_size = (double)(random_next(&random) >> 12);
  q.ask_size = (double)(random_next(&random) >> 12);
  q.source = (uint32_t)random_below(&random, 3);
  q.flags = (uint32_t)random_next(&random) & TKS_FLAG_USER_MASK;
  return q;
}

static bool is_whole(const tks_quote *q) {
  tks_quote expected = quote_of((uint64_t)q->recv_ns);
  expected.seq = q->seq;
  return q->seq != 0 && memcmp(q, &expected, sizeof expected) == 0;
}

typedef struct actor {
  test_random dice;
  uint64_t number; /* producer: of its next record; reader: how many it has to read */
  uint64_t read, calls, short_calls;
  uint64_t newest[SYMBOLS + 1];
  uint64_t torn, disordered, backward, refused;
  tks_quote example;
  int code;
} actor;

static void *produce(void *argument) {
  actor *a = argument;
  while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
    tks_quote q = quote_of(a->number++);
    int code = tks_put_quote(store, &q, NULL, NULL);
    if (code == TKS_OK || code == TKS_EQUEUEFULL) continue;
    a->refused++;
    a->code = code;
  }
  return NULL;
}

static void check(actor *a, uint32_t symbol, const tks_quote *quotes, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (!is_whole(&quotes[i]) || quotes[i].symbol != symbol) {
      if (a->torn++ == 0) a->example = quotes[i];
    }
    a->disordered += i > 0 && quotes[i].seq <= quotes[i - 1].seq;
  }
  a->read += count;
  if (count == 0) return;
  /* Who has seen a record does not see an older one as the newest after that. */
  a->backward += quotes[count - 1].seq < a->newest[symbol];
  a->newest[symbol] = quotes[count - 1].seq;
}

static void read_once(actor *a, uint32_t ring_records) {
  tks_quote quotes[RING_MAX];
  uint32_t symbol = 1 + (uint32_t)random_below(&a->dice, SYMBOLS);
  size_t n = 1 + (size_t)random_below(&a->dice, ring_records), count = 1;
  bool latest = random_below(&a->dice, 4) == 0;
  int code = latest ? tks_latest(store, symbol, quotes, NULL) : tks_recent(store, symbol, n, quotes, &count, NULL);
  a->calls++;
  if (code == TKS_OK) {
    a->short_calls += !latest && count < n;
    check(a, symbol, quotes, count);
  } else {
    a->refused++;
    a->code = code;
  }
}

static uint32_t ring_records;

static void *read_on(void *argument) {
  actor *a = argument;
  while (a->read < a->number && a->refused == 0) read_once(a, ring_records);
  return NULL;
}

static void open_store(void) {
  tks_config config = store_config(TKS_SQLITE);
  config.ring_records = ring_records;
  config.journal = 0;
  config.queue_records = 16; /* most are dropped: in the ring, which is all that matters here */
  config.batch_records = 16;
  config.synchronous = TKS_SYNC_NORMAL;
  store = store_open(dir, &config);
  cr_assert_eq(store_symbol(store, "A"), 1);
  cr_assert_eq(store_symbol(store, "B"), 2);
  cr_assert_eq(store_source(store, "X"), 1);
  cr_assert_eq(store_source(store, "Y"), 2);
}

static void close_store(void) {
  store_close(store);
  store = NULL;
  scratch_clear(dir);
}

/* Every symbol has a record before anybody reads. */
static void put_first(actor *producer) {
  for (uint32_t seen = 0; seen != (1u << SYMBOLS) - 1;) {
    tks_quote q = quote_of(producer->number++);
    int code = tks_put_quote(store, &q, NULL, NULL);
    cr_assert(code == TKS_OK || code == TKS_EQUEUEFULL, "%d", code);
    seen |= 1u << (q.symbol - 1);
  }
}

static void run(uint64_t reads) {
  actor producers[PRODUCERS] = {0}, readers[READERS] = {0};
  pthread_t threads[PRODUCERS];
  open_store();
  for (unsigned i = 0; i < PRODUCERS; i++) producers[i].number = ((uint64_t)i + 1) << 40;
  put_first(&producers[0]);
  atomic_store(&stop, false);
  for (unsigned i = 0; i < PRODUCERS; i++) threads[i] = start_thread(produce, &producers[i]);
  for (unsigned i = 0; i < READERS; i++) {
    readers[i].dice = random_fork(&dice, ring_records * READERS + i);
    readers[i].number = reads / READERS + 1;
  }
  run_threads(read_on, readers, READERS, sizeof *readers);
  atomic_store(&stop, true);
  for (unsigned i = 0; i < PRODUCERS; i++) join_thread(threads[i]);
  for (unsigned i = 0; i < PRODUCERS; i++) cr_assert_eq(producers[i].refused, 0, "put: %d", producers[i].code);
  for (unsigned i = 0; i < READERS; i++) {
    const actor *a = &readers[i];
    cr_assert_eq(a->refused, 0, "ring of %u: a read failed with %d", ring_records, a->code);
    cr_assert_eq(a->torn, 0, "ring of %u: %llu of %llu records are torn, the first with recv_ns %lld and seq %llu",
                 ring_records, (unsigned long long)a->torn, (unsigned long long)a->read, (long long)a->example.recv_ns,
                 (unsigned long long)a->example.seq);
    cr_assert_eq(a->disordered, 0, "ring of %u: %llu records out of order", ring_records,
                 (unsigned long long)a->disordered);
    cr_assert_eq(a->backward, 0, "ring of %u: the newest record was older than one before %llu times", ring_records,
                 (unsigned long long)a->backward);
  }
  close_store();
}

Test(torn, no_record_is_torn) {
  static const uint32_t sizes[] = {1, 2, 3, 7, 16, 17, RING_MAX};
  enum { SIZES = sizeof sizes / sizeof *sizes };
  const char *given = getenv("TKS_READS");
  uint64_t reads = given != NULL && *given != 0 ? strtoull(given, NULL, 10) : rounds(10000000);
  for (unsigned i = 0; i < SIZES; i++) {
    ring_records = sizes[i];
    run(reads / SIZES + 1);
  }
}
