/* queue.h - accepted records on their way to the writer, in sequence order. Many producers, one consumer.
 *
 * A record's sequence number is its position in the queue: one compare-and-swap both orders the record and gives it its place.
 * This is the face that a journal will stand behind: push, lose, take, scan.
 *
 *   1. Positions [head, tail) are pending. Position p uses slot p & mask; slots >= limit.
 *   2. A slot holds position p when its record's seq is p, stored last (release). A producer may claim position p only
 *      while p - head < limit, so a slot is never reused before the consumer has passed it.
 *   3. A record that finds no room and is dropped takes a position too, but no slot: it is entered in `lost` as a range.
 *      The consumer steps over those ranges, in order, and reports them.
 *   4. Everything is in seq_cst order where a producer and the sleeping consumer must not miss each other (tail, wake_at;
 *      head, waiters), acquire/release elsewhere. */
#ifndef TKS_INGEST_QUEUE_H
#define TKS_INGEST_QUEUE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/record.h"
#include "base/spinlock.h"

/* Sequence numbers [from, to) that were given out and will not be written. */
typedef struct tks__lost_range {
  uint64_t from;
  uint64_t to;
} tks__lost_range;

#define TKS__WAKE_NEVER UINT64_MAX

typedef struct tks__queue_slot {
  _Atomic uint64_t seq;
  int64_t ts_ns;
  int64_t recv_ns;
  double bid, ask, bid_size, ask_size;
  uint32_t symbol, source, flags, kind;
} tks__queue_slot;

typedef struct tks__queue {
  /* read by all, written at init */
  tks__queue_slot *slots;
  uint64_t mask;
  uint64_t limit;
  void (*wake)(void *context); /* called by a producer: the consumer should look */
  void *wake_context;

  _Alignas(64) _Atomic uint64_t tail; /* next position; written by producers */

  _Alignas(64) _Atomic uint64_t head; /* written by the consumer */
  _Atomic uint64_t wake_at;           /* a producer that reaches this position wakes the consumer, once */
  _Atomic uint32_t waiters;           /* producers waiting for room */

  _Alignas(64) pthread_mutex_t lock; /* guards head against scans; producers take it only to wait for room */
  pthread_cond_t room;
  /* Guards lost[] and its counts, for a few instructions: a producer that drops waits for nobody's scan or log. */
  tks__spinlock lost_lock;
  tks__lost_range *lost; /* ascending; fixed room for the most ranges there can be (one between every two slots) */
  size_t lost_count;
  size_t lost_capacity;
  uint64_t lost_queued; /* positions in lost[] */
  uint64_t dropped;     /* all that ever were in lost[] */
  _Atomic uint64_t wakeups;
} tks__queue;

int tks__queue_init(tks__queue *queue, uint32_t limit, uint64_t first_seq, void (*wake)(void *), void *wake_context);
void tks__queue_deinit(tks__queue *queue);

/* Producer: true, and record->seq set, when there was room. */
bool tks__queue_push(tks__queue *queue, tks__record *record);

/* Producer: gives a record that found no room a sequence number and counts it lost. */
uint64_t tks__queue_lose(tks__queue *queue);

/* Producer: waits until there may be room, at most until the monotonic deadline; false: there was none in time. */
bool tks__queue_wait(tks__queue *queue, int64_t deadline_ns);

/* Any thread: lets every waiting producer go (they find the store closing). */
void tks__queue_release_waiters(tks__queue *queue);

/* Consumer: moves up to `max` records from the head to `records`. *through becomes the highest position passed, lost ones
 * included, so it can move on where the result is 0. Reports passed lost ranges through `on_lost`. Between the move and
 * the end of `moved`, which is called under the queue's lock, no scan can run: the caller makes the records visible to readers there. */
typedef struct tks__queue_taker {
  void (*moved)(void *context, size_t count, uint64_t through);
  void (*on_lost)(void *context, tks__lost_range range);
  void *context;
} tks__queue_taker;
size_t tks__queue_take(tks__queue *queue, tks__record *records, size_t max, const tks__queue_taker *taker);

/* Consumer: asks to be woken when a producer reaches `position`, or never. Look at the queue again after this: what was
 * pushed before it wakes nobody. */
void tks__queue_wake_at(tks__queue *queue, uint64_t position);

/* Any thread, holding the lock (pthread_mutex_lock(&queue->lock)): calls `visit` for every pending record, in order. */
void tks__queue_scan(tks__queue *queue, void (*visit)(void *context, const tks__record *record), void *context);

/* One look at all counts, so that they add up: every position given out is taken, waiting or dropped. */
typedef struct tks__queue_counts {
  uint64_t tail;
  uint64_t waiting;
  uint64_t dropped;
} tks__queue_counts;

/* Any thread, holding the lock. */
tks__queue_counts tks__queue_count(tks__queue *queue);

static inline uint64_t tks__queue_tail(const tks__queue *queue) {
  return atomic_load_explicit(&queue->tail, memory_order_seq_cst);
}
static inline uint64_t tks__queue_head(const tks__queue *queue) {
  return atomic_load_explicit(&queue->head, memory_order_acquire);
}

#endif
