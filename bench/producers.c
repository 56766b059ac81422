/* producers.c - two threads that put at once, against one. The writer sleeps meanwhile: with two processors, and the producers
 * on both of them, anything else would be a third thread's share. What the machine's two processors can do for such threads is
 * seen where each has a store of its own, so that they share nothing. */
#include <pthread.h>

#include "feed.h"
#include "groups.h"

enum { SYMBOLS = 128 };

typedef struct producer {
  feed feed;
  uint64_t count;
  pthread_barrier_t *start;
  int64_t ended_ns;
} producer;

static void *produce(void *argument) {
  producer *p = argument;
  (void)pthread_barrier_wait(p->start);
  feed_put_many(&p->feed, p->count);
  p->ended_ns = now_ns();
  return NULL;
}

typedef enum sharing { OWN_STORES, OWN_SYMBOLS, SAME_SYMBOL } sharing;

/* Ticks a second of `threads` producers together. */
static double rate(const feed *stores, int threads, sharing how, uint64_t count) {
  producer producers[2];
  pthread_t ids[2];
  pthread_barrier_t start;
  (void)pthread_barrier_init(&start, NULL, (unsigned)threads + 1);
  for (int i = 0; i < threads; i++) {
    producer *p = &producers[i];
    uint32_t part = how == SAME_SYMBOL ? 1 : how == OWN_STORES ? SYMBOLS : SYMBOLS / (uint32_t)threads;
    feed_part(&p->feed, &stores[how == OWN_STORES ? i : 0], how == OWN_SYMBOLS ? (uint32_t)i * part : 0, part,
              (uint64_t)i);
    p->count = count / (uint64_t)threads;
    p->start = &start;
    if (pthread_create(&ids[i], NULL, produce, p) != 0) die("cannot start a thread");
  }
  (void)pthread_barrier_wait(&start);
  int64_t started = now_ns(), ended = 0;
  for (int i = 0; i < threads; i++) {
    (void)pthread_join(ids[i], NULL);
    if (producers[i].ended_ns > ended) ended = producers[i].ended_ns;
    feed_part_end(&producers[i].feed);
  }
  (void)pthread_barrier_destroy(&start);
  return (double)count * 1e9 / (double)(ended - started);
}

typedef struct kind {
  sharing how;
  const char *key, *one, *two, *ratio;
} kind;

static const kind KINDS[] = {
    {OWN_STORES, "alone", "one producer, 128 symbols", "two producers, a store each", "a store each: two over one"},
    {OWN_SYMBOLS, "different", "one producer, 128 symbols", "two producers, 64 symbols each",
     "different symbols: two over one"},
    {SAME_SYMBOL, "same", "one producer, one symbol", "two producers, the same symbol", "same symbol: two over one"},
};

static void measure(feed stores[2], const kind *k, uint64_t count, int runs) {
  series one = {.count = 0}, two = {.count = 0}, ratio = {.count = 0};
  for (int run = 0; run < runs; run++) {
    series_add(&one, rate(stores, 1, k->how, count));
    feed_flush(&stores[0]);
    series_add(&two, rate(stores, 2, k->how, count));
    for (int i = 0; i < 2; i++) feed_flush(&stores[i]);
    series_add(&ratio, two.values[run] / one.values[run]);
  }
  char key[64];
  (void)snprintf(key, sizeof key, "producers_%s_one", k->key);
  report(key, k->one, "ticks/s", &one);
  (void)snprintf(key, sizeof key, "producers_%s_two", k->key);
  report(key, k->two, "ticks/s", &two);
  (void)snprintf(key, sizeof key, "producers_%s_ratio", k->key);
  report(key, k->ratio, "x", &ratio);
}

void bench_producers(const options *o) {
  uint64_t count = o->quick ? 100000 : 500000;
  feed stores[2];
  tks_config config = feed_config();
  feed_config_asleep(&config);
  config.ring_records = o->quick ? 1000 : 10000;
  report_group("producers", "two threads that put, against one; the writer asleep");
  for (int i = 0; i < 2; i++) {
    feed_open(&stores[i], o, &config, SYMBOLS);
    feed_fill(&stores[i], config.ring_records + config.ring_records / 5);
  }
  report_note("before: rings written over once; %llu ticks a measurement; composing a quote is within the timed part",
              (unsigned long long)count);
  for (size_t i = 0; i < sizeof KINDS / sizeof KINDS[0]; i++) measure(stores, &KINDS[i], count, o->runs);
  for (int i = 0; i < 2; i++) feed_end(&stores[i]);
}
