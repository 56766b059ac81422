/* producers.c - two threads that put at once, against one. The writer sleeps meanwhile: with two processors, and the producers
 * on both of them, anything else would be a third thread's share. */
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

/* Ticks a second of `threads` producers together; each has its part of the symbols, or all have the same one. */
static double rate(const feed *f, int threads, bool same, uint64_t count) {
  producer producers[2];
  pthread_t ids[2];
  pthread_barrier_t start;
  (void)pthread_barrier_init(&start, NULL, (unsigned)threads + 1);
  for (int i = 0; i < threads; i++) {
    producer *p = &producers[i];
    uint32_t part = SYMBOLS / (uint32_t)threads;
    feed_part(&p->feed, f, same ? 0 : (uint32_t)i * part, same ? 1 : part, (uint64_t)i);
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

void bench_producers(const options *o) {
  uint64_t count = o->quick ? 100000 : 500000;
  feed f;
  tks_config config = feed_config();
  feed_config_asleep(&config);
  config.ring_records = o->quick ? 1000 : 10000;
  report_group("producers", "two threads that put, against one; the writer asleep");
  feed_open(&f, o, &config, SYMBOLS);
  feed_fill(&f, config.ring_records + config.ring_records / 5);
  report_note("before: rings written over once; %llu ticks a measurement; composing a quote is within the timed part",
              (unsigned long long)count);
  for (int same = 0; same < 2; same++) {
    series one = {.count = 0}, two = {.count = 0}, ratio = {.count = 0};
    for (int run = 0; run < o->runs; run++) {
      series_add(&one, rate(&f, 1, same, count));
      feed_flush(&f);
      series_add(&two, rate(&f, 2, same, count));
      feed_flush(&f);
      series_add(&ratio, two.values[run] / one.values[run]);
    }
    report(same ? "producers_same_one" : "producers_different_one",
           same ? "one producer, one symbol" : "one producer, 128 symbols", "ticks/s", &one);
    report(same ? "producers_same_two" : "producers_different_two",
           same ? "two producers, the same symbol" : "two producers, 64 symbols each", "ticks/s", &two);
    report(same ? "producers_same_ratio" : "producers_different_ratio",
           same ? "same symbol: two over one" : "different symbols: two over one", "x", &ratio);
  }
  feed_end(&f);
}
