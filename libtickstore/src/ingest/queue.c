#include "ingest/queue.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/memory.h"

int tks__queue_init(tks__queue *queue, uint32_t limit, uint64_t first_seq, void (*wake)(void *), void *wake_context) {
  memset(queue, 0, sizeof *queue);
  uint64_t slots = 16;
  while (slots < limit) slots *= 2;
  queue->slots = tks__aligned_alloc(64, (size_t)slots * sizeof *queue->slots);
  /* Between two lost ranges lies at least one slot, and at most `limit` positions hold slots. */
  queue->lost_capacity = (size_t)limit + 2;
  queue->lost = tks__calloc(queue->lost_capacity, sizeof *queue->lost);
  if (queue->slots == NULL || queue->lost == NULL) goto no_memory;
  for (uint64_t i = 0; i < slots; i++) atomic_init(&queue->slots[i].seq, 0); /* 0 is no position: first_seq >= 1 */
  queue->mask = slots - 1;
  queue->limit = limit;
  queue->wake = wake;
  queue->wake_context = wake_context;
  atomic_init(&queue->tail, first_seq);
  atomic_init(&queue->head, first_seq);
  atomic_init(&queue->wake_at, first_seq);

  pthread_condattr_t attributes;
  if (pthread_condattr_init(&attributes) != 0) goto no_memory;
  (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  int failed = pthread_cond_init(&queue->room, &attributes);
  (void)pthread_condattr_destroy(&attributes);
  if (failed) goto no_memory;
  if (pthread_mutex_init(&queue->lock, NULL) != 0) goto no_mutex;
  return TKS_OK;

no_mutex:
  (void)pthread_cond_destroy(&queue->room);
no_memory:
  tks__free(queue->lost);
  tks__free(queue->slots);
  return TKS_ENOMEM;
}

void tks__queue_deinit(tks__queue *queue) {
  (void)pthread_mutex_destroy(&queue->lock);
  (void)pthread_cond_destroy(&queue->room);
  tks__free(queue->lost);
  tks__free(queue->slots);
}

/* Wakes the consumer if position `p` is where it wants to be woken. `p` was claimed (seq_cst) before this load of wake_at, and the
 * consumer stores wake_at before it looks at tail: one of the two sees the other. */
static void wake_if_due(tks__queue *queue, uint64_t p) {
  if (p < atomic_load_explicit(&queue->wake_at, memory_order_seq_cst)) return;
  if (atomic_exchange_explicit(&queue->wake_at, TKS__WAKE_NEVER, memory_order_seq_cst) == TKS__WAKE_NEVER) return;
  atomic_fetch_add_explicit(&queue->wakeups, 1, memory_order_relaxed);
  queue->wake(queue->wake_context);
}

bool tks__queue_push(tks__queue *queue, tks__record *record) {
  uint64_t p = atomic_load_explicit(&queue->tail, memory_order_relaxed);
  do {
    /* Acquire: the consumer's copy of what was in this slot is finished before it is written again. Signed, since a stale
     * `p` may lie behind head; the exchange then fails. */
    if ((int64_t)(p - atomic_load_explicit(&queue->head, memory_order_acquire)) >= (int64_t)queue->limit) return false;
  } while (!atomic_compare_exchange_weak_explicit(&queue->tail, &p, p + 1, memory_order_seq_cst, memory_order_relaxed));
  record->seq = p;
  tks__queue_slot *slot = &queue->slots[p & queue->mask];
  slot->ts_ns = record->ts_ns;
  slot->recv_ns = record->recv_ns;
  slot->bid = record->bid;
  slot->ask = record->ask;
  slot->bid_size = record->bid_size;
  slot->ask_size = record->ask_size;
  slot->symbol = record->symbol;
  slot->source = record->source;
  slot->flags = record->flags;
  slot->kind = record->reserved;
  /* Release: publishes the record (invariant 2). */
  atomic_store_explicit(&slot->seq, p, memory_order_release);
  wake_if_due(queue, p);
  return true;
}

uint64_t tks__queue_lose(tks__queue *queue) {
  tks__spinlock_acquire(&queue->lost_lock);
  uint64_t p = atomic_fetch_add_explicit(&queue->tail, 1, memory_order_seq_cst);
  size_t n = queue->lost_count;
  if (n > 0 && queue->lost[n - 1].to == p) queue->lost[n - 1].to = p + 1;
  else queue->lost[queue->lost_count++] = (tks__lost_range){p, p + 1};
  queue->lost_queued++;
  queue->dropped++;
  tks__spinlock_release(&queue->lost_lock);
  wake_if_due(queue, p);
  return p;
}

/* Takes the lost range that begins at `p` out; false: there is none. */
static bool pop_lost(tks__queue *queue, uint64_t p, tks__lost_range *range) {
  tks__spinlock_acquire(&queue->lost_lock);
  bool found = queue->lost_count > 0 && queue->lost[0].from == p;
  if (found) {
    *range = queue->lost[0];
    queue->lost_queued -= range->to - range->from;
    memmove(queue->lost, queue->lost + 1, --queue->lost_count * sizeof *queue->lost);
  }
  tks__spinlock_release(&queue->lost_lock);
  return found;
}

/* The end of the lost range that begins at `p`, or 0. */
static uint64_t lost_until(tks__queue *queue, uint64_t p) {
  uint64_t to = 0;
  tks__spinlock_acquire(&queue->lost_lock);
  for (size_t i = 0; i < queue->lost_count && queue->lost[i].from <= p && to == 0; i++)
    if (queue->lost[i].from == p) to = queue->lost[i].to;
  tks__spinlock_release(&queue->lost_lock);
  return to;
}

static bool has_room(const tks__queue *queue) {
  uint64_t tail = atomic_load_explicit(&queue->tail, memory_order_seq_cst);
  return (int64_t)(tail - atomic_load_explicit(&queue->head, memory_order_seq_cst)) < (int64_t)queue->limit;
}

bool tks__queue_wait(tks__queue *queue, int64_t deadline_ns) {
  struct timespec until = {.tv_sec = deadline_ns / 1000000000, .tv_nsec = deadline_ns % 1000000000};
  /* The consumer stores head, then looks at waiters; this stores waiters, then looks at head (both seq_cst). */
  atomic_fetch_add_explicit(&queue->waiters, 1, memory_order_seq_cst);
  wake_if_due(queue, TKS__WAKE_NEVER - 1);
  (void)pthread_mutex_lock(&queue->lock);
  bool room = has_room(queue);
  if (!room) {
    int rc = pthread_cond_timedwait(&queue->room, &queue->lock, &until);
    /* Woken is reason enough to try again: the store may be closing. */
    room = rc != ETIMEDOUT || has_room(queue);
  }
  (void)pthread_mutex_unlock(&queue->lock);
  atomic_fetch_sub_explicit(&queue->waiters, 1, memory_order_seq_cst);
  return room;
}

void tks__queue_release_waiters(tks__queue *queue) {
  (void)pthread_mutex_lock(&queue->lock);
  (void)pthread_cond_broadcast(&queue->room);
  (void)pthread_mutex_unlock(&queue->lock);
}

/* Copies the record at `p` if it is published. */
static bool load_slot(const tks__queue *queue, uint64_t p, tks__record *record) {
  const tks__queue_slot *slot = &queue->slots[p & queue->mask];
  /* Acquire: pairs with the release in push. */
  if (atomic_load_explicit(&slot->seq, memory_order_acquire) != p) return false;
  *record = (tks__record){
      .ts_ns = slot->ts_ns,
      .recv_ns = slot->recv_ns,
      .seq = p,
      .bid = slot->bid,
      .ask = slot->ask,
      .bid_size = slot->bid_size,
      .ask_size = slot->ask_size,
      .symbol = slot->symbol,
      .source = slot->source,
      .flags = slot->flags,
      .reserved = slot->kind,
  };
  return true;
}

size_t tks__queue_take(tks__queue *queue, tks__record *records, size_t max, const tks__queue_taker *taker) {
  (void)pthread_mutex_lock(&queue->lock);
  uint64_t p = atomic_load_explicit(&queue->head, memory_order_relaxed);
  size_t count = 0;
  tks__lost_range range;
  for (;;) {
    if (count < max && load_slot(queue, p, &records[count])) {
      count++;
      p++;
    } else if (pop_lost(queue, p, &range)) {
      taker->on_lost(taker->context, range);
      p = range.to;
    } else {
      break;
    }
  }
  taker->moved(taker->context, count, p - 1);
  /* seq_cst: see tks__queue_wait. */
  atomic_store_explicit(&queue->head, p, memory_order_seq_cst);
  if (atomic_load_explicit(&queue->waiters, memory_order_seq_cst) > 0) (void)pthread_cond_broadcast(&queue->room);
  (void)pthread_mutex_unlock(&queue->lock);
  return count;
}

void tks__queue_wake_at(tks__queue *queue, uint64_t position) {
  atomic_store_explicit(&queue->wake_at, position, memory_order_seq_cst);
}

void tks__queue_scan(tks__queue *queue, void (*visit)(void *context, const tks__record *record), void *context) {
  uint64_t tail = atomic_load_explicit(&queue->tail, memory_order_seq_cst);
  for (uint64_t p = atomic_load_explicit(&queue->head, memory_order_relaxed); p < tail;) {
    tks__record record;
    if (load_slot(queue, p, &record)) {
      visit(context, &record);
      p++;
      continue;
    }
    /* A claimed slot that is not yet published belongs to a put that has not returned: not accepted yet. */
    uint64_t to = lost_until(queue, p);
    p = to != 0 ? to : p + 1;
  }
}

tks__queue_counts tks__queue_count(tks__queue *queue) {
  tks__spinlock_acquire(&queue->lost_lock);
  uint64_t tail = tks__queue_tail(queue);
  const tks__queue_counts counts = {
      .tail = tail, .waiting = tail - tks__queue_head(queue) - queue->lost_queued, .dropped = queue->dropped};
  tks__spinlock_release(&queue->lost_lock);
  return counts;
}
