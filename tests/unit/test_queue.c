#include "ingest/queue.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <sched.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "support/faults.h"
#include "support/random.h"
#include "support/records.h"
#include "support/threads.h"
#include "support/wait.h"

#define FIRST_SEQ 1000
#define LIMIT_NS (WAIT_LIMIT_S * INT64_C(1000000000))

static void tear_down(void) { (void)allocations_work(); }

TestSuite(queue, .fini = tear_down);

static void no_wake(void *context) { (void)context; }
static void count_wake(void *context) { atomic_fetch_add((_Atomic uint32_t *)context, 1); }

/* What a take reports. */
typedef struct taken {
  tks__queue *queue;
  uint64_t through; /* of the last one */
  uint64_t records; /* of all */
  uint64_t lost;
  uint64_t bad;      /* ranges that are empty or out of order */
  uint64_t unlocked; /* reports without the lock */
  tks__lost_range ranges[64];
  size_t range_count; /* of the last take */
} taken;

static bool is_locked(tks__queue *queue) {
  int rc = pthread_mutex_trylock(&queue->lock);
  if (rc == 0) (void)pthread_mutex_unlock(&queue->lock);
  return rc == EBUSY;
}

static void on_moved(void *context, size_t count, uint64_t through) {
  taken *t = context;
  t->unlocked += !is_locked(t->queue);
  t->records += count;
  t->bad += through < t->through;
  t->through = through;
}

static void on_lost(void *context, tks__lost_range range) {
  taken *t = context;
  t->unlocked += !is_locked(t->queue);
  t->bad += range.to <= range.from;
  t->lost += range.to - range.from;
  if (t->range_count < sizeof t->ranges / sizeof t->ranges[0]) t->ranges[t->range_count++] = range;
}

static size_t take(taken *t, tks__record *records, size_t max) {
  const tks__queue_taker taker = {.moved = on_moved, .on_lost = on_lost, .context = t};
  t->range_count = 0;
  return tks__queue_take(t->queue, records, max, &taker);
}

static uint64_t push(tks__queue *queue, uint64_t number) {
  tks__record record = record_of(number, 5);
  cr_assert(tks__queue_push(queue, &record));
  return record.seq;
}

/* ------------------------------------------------------------ order and limit */

Test(queue, gives_out_positions_and_keeps_order) {
  tks__queue queue;
  cr_assert_eq(tks__queue_init(&queue, 16, FIRST_SEQ, no_wake, NULL), TKS_OK);
  taken t = {.queue = &queue};
  tks__record records[16];
  cr_assert_eq(take(&t, records, 16), 0);
  cr_assert_eq(t.through, FIRST_SEQ - 1);
  for (uint64_t i = 0; i < 10; i++) cr_assert_eq(push(&queue, i), FIRST_SEQ + i);
  cr_assert_eq(tks__queue_tail(&queue), FIRST_SEQ + 10);
  cr_assert_eq(take(&t, records, 4), 4);
  cr_assert_eq(t.through, FIRST_SEQ + 3);
  cr_assert_eq(tks__queue_head(&queue), FIRST_SEQ + 4);
  cr_assert_eq(take(&t, records + 4, 12), 6);
  cr_assert_eq(t.through, FIRST_SEQ + 9);
  for (uint64_t i = 0; i < 10; i++) {
    cr_assert_eq(records[i].seq, FIRST_SEQ + i);
    cr_assert_eq(records[i].recv_ns, (int64_t)i);
    cr_assert(record_is_whole(&records[i]));
  }
  cr_assert_eq(take(&t, records, 16), 0);
  cr_assert_eq(t.through, FIRST_SEQ + 9);
  cr_assert_eq(t.unlocked, 0);
  tks__queue_deinit(&queue);
}

Test(queue, holds_exactly_its_limit) {
  static const uint32_t limits[] = {1, 2, 15, 16, 17, 100, 128, 10000};
  for (size_t l = 0; l < sizeof limits / sizeof limits[0]; l++) {
    uint32_t limit = limits[l];
    tks__queue queue;
    cr_assert_eq(tks__queue_init(&queue, limit, 1, no_wake, NULL), TKS_OK);
    taken t = {.queue = &queue};
    tks__record *records = calloc(limit, sizeof *records);
    tks__record record = record_of(0, 1);
    for (int round = 0; round < 5; round++) {
      while (tks__queue_tail(&queue) - tks__queue_head(&queue) < limit) (void)push(&queue, 7);
      uint64_t tail = tks__queue_tail(&queue);
      cr_assert_not(tks__queue_push(&queue, &record), "limit %u", limit);
      cr_assert_eq(tks__queue_tail(&queue), tail, "a refused push takes no position");
      cr_assert_eq(take(&t, records, (size_t)round * limit / 4), (size_t)round * limit / 4);
    }
    cr_assert_eq(t.through + 1, tks__queue_head(&queue));
    tks__queue_deinit(&queue);
    free(records);
  }
}

Test(queue, no_memory_leaves_nothing_behind) {
  for (uint64_t n = 0;; n++) {
    tks__queue queue;
    fail_allocation(n);
    int code = tks__queue_init(&queue, 100, 1, no_wake, NULL);
    if (!allocations_work()) {
      cr_assert_eq(code, TKS_OK);
      cr_assert_eq(n, 2);
      tks__queue_deinit(&queue);
      break;
    }
    cr_assert_eq(code, TKS_ENOMEM);
  }
}

/* ------------------------------------------------------------------- losses */

Test(queue, a_lost_record_has_a_position_and_is_stepped_over) {
  tks__queue queue;
  cr_assert_eq(tks__queue_init(&queue, 4, FIRST_SEQ, no_wake, NULL), TKS_OK);
  taken t = {.queue = &queue};
  tks__record records[8];
  for (uint64_t i = 0; i < 4; i++) (void)push(&queue, i);
  for (uint64_t i = 0; i < 3; i++) cr_assert_eq(tks__queue_lose(&queue), FIRST_SEQ + 4 + i);
  cr_assert_eq(queue.dropped, 3);
  cr_assert_eq(take(&t, records, 4), 4);
  /* What is lost behind the last record is passed with it: nobody has to wait for the next one to hear of it. */
  cr_assert_eq(t.range_count, 1);
  cr_assert_eq(t.ranges[0].from, FIRST_SEQ + 4);
  cr_assert_eq(t.ranges[0].to, FIRST_SEQ + 7);
  cr_assert_eq(t.through, FIRST_SEQ + 6);
  cr_assert_eq(push(&queue, 4), FIRST_SEQ + 7);
  cr_assert_eq(take(&t, records, 8), 1);
  cr_assert_eq(records[0].seq, FIRST_SEQ + 7);
  cr_assert_eq(t.lost, 3);
  tks__queue_deinit(&queue);
}

Test(queue, losses_alone_move_the_head) {
  tks__queue queue;
  cr_assert_eq(tks__queue_init(&queue, 4, FIRST_SEQ, no_wake, NULL), TKS_OK);
  taken t = {.queue = &queue};
  tks__record record;
  for (int i = 0; i < 5; i++) (void)tks__queue_lose(&queue);
  cr_assert_eq(take(&t, &record, 1), 0);
  cr_assert_eq(t.through, FIRST_SEQ + 4);
  cr_assert_eq(t.lost, 5);
  cr_assert_eq(tks__queue_head(&queue), FIRST_SEQ + 5);
  tks__queue_deinit(&queue);
}

/* The most ranges there can be: one before, after and between all the records that find room. */
Test(queue, losses_between_all_records) {
  enum { LIMIT = 16 };
  tks__queue queue;
  cr_assert_eq(tks__queue_init(&queue, LIMIT, FIRST_SEQ, no_wake, NULL), TKS_OK);
  taken t = {.queue = &queue};
  tks__record records[LIMIT];
  for (int round = 0; round < 20; round++) {
    uint64_t start = tks__queue_tail(&queue);
    for (int i = 0; i < LIMIT / 2; i++) {
      (void)tks__queue_lose(&queue);
      (void)push(&queue, (uint64_t)i);
    }
    for (int i = 0; i < 10; i++) (void)tks__queue_lose(&queue);
    cr_assert_leq(queue.lost_count, queue.lost_capacity);
    cr_assert_eq(queue.lost_count, LIMIT / 2 + 1);
    /* One at a time; each take also passes the losses before and behind the record. */
    for (uint64_t i = 0; i < LIMIT / 2; i++) {
      cr_assert_eq(take(&t, records, 1), 1);
      cr_assert_eq(records[0].seq, start + 2 * i + 1);
    }
    cr_assert_eq(tks__queue_head(&queue), tks__queue_tail(&queue));
    cr_assert_eq(queue.lost_count, 0);
  }
  cr_assert_eq(t.lost, 20 * (LIMIT / 2 + 10));
  cr_assert_eq(t.lost, queue.dropped);
  tks__queue_deinit(&queue);
}

/* ------------------------------------------------------------------- a model */

enum { MODEL_MAX = 4096 };

/* Pending positions from `head` on: the number pushed there, or 0 for a loss. */
typedef struct model {
  uint64_t head, count;
  uint64_t numbers[MODEL_MAX];
} model;

typedef struct scanned {
  const model *model;
  uint64_t next; /* index into the model */
  uint64_t wrong;
} scanned;

static void visit(void *context, const tks__record *record) {
  scanned *s = context;
  while (s->next < s->model->count && s->model->numbers[s->next] == 0) s->next++;
  s->wrong += s->next >= s->model->count || record->seq != s->model->head + s->next ||
              (uint64_t)record->recv_ns != s->model->numbers[s->next] || !record_is_whole(record);
  s->next++;
}

static void check_scan(tks__queue *queue, const model *m) {
  scanned s = {.model = m};
  (void)pthread_mutex_lock(&queue->lock);
  tks__queue_scan(queue, visit, &s);
  (void)pthread_mutex_unlock(&queue->lock);
  while (s.next < m->count && m->numbers[s.next] == 0) s.next++;
  cr_assert_eq(s.wrong, 0);
  cr_assert_eq(s.next, m->count, "the scan misses some");
}

static void check_take(taken *t, model *m, size_t max) {
  static tks__record records[MODEL_MAX];
  uint64_t lost_before = t->lost;
  size_t got = take(t, records, max);
  uint64_t passed = 0, lost = 0;
  size_t expected = 0;
  for (; passed < m->count && (m->numbers[passed] == 0 || expected < max); passed++) {
    if (m->numbers[passed] == 0) {
      lost++;
      continue;
    }
    cr_assert_lt(expected, got);
    cr_assert_eq(records[expected].seq, m->head + passed);
    cr_assert_eq(records[expected].recv_ns, (int64_t)m->numbers[passed]);
    cr_assert(record_is_whole(&records[expected]));
    expected++;
  }
  cr_assert_eq(got, expected);
  cr_assert_eq(t->lost - lost_before, lost);
  m->head += passed;
  m->count -= passed;
  memmove(m->numbers, m->numbers + passed, m->count * sizeof m->numbers[0]);
  cr_assert_eq(t->through, m->head - 1);
  cr_assert_eq(tks__queue_head(t->queue), m->head);
}

Test(queue, random_operations_against_a_model) {
  static model m;
  test_random random = random_new();
  for (uint64_t round = 0; round < rounds(400); round++) {
    uint32_t limit = 1 + (uint32_t)random_below(&random, 70);
    uint64_t losses = random_below(&random, 4); /* in 8 operations, where there is room */
    tks__queue queue;
    cr_assert_eq(tks__queue_init(&queue, limit, FIRST_SEQ, no_wake, NULL), TKS_OK);
    taken t = {.queue = &queue};
    m = (model){.head = FIRST_SEQ};
    uint64_t number = 0, accepted = 0;
    for (int i = 0; i < 500; i++) {
      uint64_t choice = random_below(&random, 8);
      if (choice == 7) {
        check_take(&t, &m, random_below(&random, limit + 3));
      } else if (choice < losses || m.count >= limit) {
        tks__record record = record_of(1, 1);
        if (m.count >= limit) cr_assert_not(tks__queue_push(&queue, &record));
        cr_assert_eq(tks__queue_lose(&queue), m.head + m.count);
        m.numbers[m.count++] = 0;
        accepted++;
      } else {
        cr_assert_eq(push(&queue, ++number), m.head + m.count);
        m.numbers[m.count++] = number;
        accepted++;
      }
      if (i % 8 == 0) check_scan(&queue, &m);
      cr_assert_leq(queue.lost_count, queue.lost_capacity);
    }
    cr_assert_eq(tks__queue_tail(&queue) - FIRST_SEQ, accepted);
    while (m.count > 0) check_take(&t, &m, limit);
    cr_assert_eq(t.records + t.lost, accepted);
    cr_assert_eq(t.lost, queue.dropped);
    cr_assert_eq(t.bad, 0);
    tks__queue_deinit(&queue);
  }
}

/* --------------------------------------------------------------- many producers */

typedef struct producer {
  tks__queue *queue;
  uint32_t id; /* in `symbol` */
  bool blocking;
  uint64_t count;
  uint64_t pushed, lost;
} producer;

static _Atomic uint32_t producers_left;

static void *produce(void *argument) {
  producer *p = argument;
  for (uint64_t number = 1; number <= p->count; number++) {
    tks__record record = record_of(number, p->id);
    bool pushed = tks__queue_push(p->queue, &record);
    while (!pushed && p->blocking) {
      (void)tks__queue_wait(p->queue, tks__clock_monotonic_ns() + LIMIT_NS);
      pushed = tks__queue_push(p->queue, &record);
    }
    if (pushed) p->pushed++;
    else {
      (void)tks__queue_lose(p->queue);
      p->lost++;
    }
  }
  atomic_fetch_sub(&producers_left, 1);
  return NULL;
}

static void drain_producers(uint32_t limit, bool blocking, uint64_t count) {
  enum { PRODUCERS = 4, MAX = 300 };
  tks__queue queue;
  cr_assert_eq(tks__queue_init(&queue, limit, FIRST_SEQ, no_wake, NULL), TKS_OK);
  taken t = {.queue = &queue};
  producer producers[PRODUCERS];
  pthread_t threads[PRODUCERS];
  uint64_t last_number[PRODUCERS] = {0}, received[PRODUCERS] = {0};
  uint64_t next_seq = FIRST_SEQ;
  test_random random = random_new();
  atomic_store(&producers_left, PRODUCERS);
  for (uint32_t i = 0; i < PRODUCERS; i++) {
    producers[i] = (producer){.queue = &queue, .id = i, .blocking = blocking, .count = count};
    threads[i] = start_thread(produce, &producers[i]);
  }
  for (bool last_round = false; !last_round;) {
    last_round = atomic_load(&producers_left) == 0 && tks__queue_head(&queue) == tks__queue_tail(&queue);
    static tks__record records[MAX];
    size_t got = take(&t, records, 1 + random_below(&random, MAX));
    for (size_t i = 0; i < got; i++) {
      cr_assert(record_is_whole(&records[i]));
      cr_assert_geq(records[i].seq, next_seq);
      next_seq = records[i].seq + 1;
      cr_assert_gt((uint64_t)records[i].recv_ns, last_number[records[i].symbol], "a producer's own order is kept");
      last_number[records[i].symbol] = (uint64_t)records[i].recv_ns;
      received[records[i].symbol]++;
    }
    if (got == 0) (void)sched_yield();
  }
  uint64_t lost = 0;
  for (uint32_t i = 0; i < PRODUCERS; i++) {
    join_thread(threads[i]);
    cr_assert_eq(received[i], producers[i].pushed);
    cr_assert_eq(producers[i].pushed + producers[i].lost, count);
    lost += producers[i].lost;
  }
  if (blocking) cr_assert_eq(lost, 0);
  cr_assert_eq(t.lost, lost);
  cr_assert_eq(queue.dropped, lost);
  cr_assert_eq(t.records + t.lost, tks__queue_tail(&queue) - FIRST_SEQ);
  cr_assert_eq(t.records + t.lost, PRODUCERS * count);
  cr_assert_eq(t.bad, 0);
  tks__queue_deinit(&queue);
}

Test(queue, many_producers_that_drop) { drain_producers(50, false, rounds(100000)); }
Test(queue, many_producers_that_drop_at_a_tiny_queue) { drain_producers(1, false, rounds(50000)); }
Test(queue, many_producers_that_wait) { drain_producers(50, true, rounds(50000)); }
Test(queue, many_producers_with_room) { drain_producers(10000, false, rounds(100000)); }

/* --------------------------------------------------------------------- wake-up */

Test(queue, wakes_at_the_position_asked_for_and_once) {
  _Atomic uint32_t wakes = 0;
  tks__queue queue;
  cr_assert_eq(tks__queue_init(&queue, 100, FIRST_SEQ, count_wake, &wakes), TKS_OK);
  (void)push(&queue, 1);
  cr_assert_eq(wakes, 1, "a new queue is asleep");
  (void)push(&queue, 2);
  cr_assert_eq(wakes, 1);
  tks__queue_wake_at(&queue, FIRST_SEQ + 5);
  for (uint64_t i = 2; i < 5; i++) (void)push(&queue, i);
  cr_assert_eq(wakes, 1);
  (void)push(&queue, 5);
  cr_assert_eq(wakes, 2);
  for (uint64_t i = 6; i < 20; i++) (void)push(&queue, i);
  cr_assert_eq(wakes, 2);
  tks__queue_wake_at(&queue, TKS__WAKE_NEVER);
  (void)push(&queue, 20);
  cr_assert_eq(wakes, 2);
  /* Asked for too late: the next one is beyond it. */
  tks__queue_wake_at(&queue, FIRST_SEQ + 3);
  (void)push(&queue, 21);
  cr_assert_eq(wakes, 3);
  cr_assert_eq(queue.wakeups, 3);
  /* A loss is a position like any other. */
  tks__queue_wake_at(&queue, tks__queue_tail(&queue));
  (void)tks__queue_lose(&queue);
  cr_assert_eq(wakes, 4);
  tks__queue_deinit(&queue);
}

typedef struct sleeper {
  tks__queue *queue;
  sem_t semaphore;
  _Atomic uint64_t received;
  uint64_t expected;
  uint64_t batch; /* how many are worth waking for */
  uint64_t sleeps;
  bool missed;
} sleeper;

static void post(void *context) { (void)sem_post(&((sleeper *)context)->semaphore); }

static bool sleep_until_posted(sem_t *semaphore) {
  struct timespec until;
  (void)clock_gettime(CLOCK_REALTIME, &until);
  until.tv_sec += WAIT_LIMIT_S;
  int rc;
  do {
    rc = sem_timedwait(semaphore, &until);
  } while (rc != 0 && errno == EINTR);
  return rc == 0;
}

/* The consumer as the writer is: takes all, says where it wants to be woken, looks again, sleeps. */
static void *consume_sleeping(void *argument) {
  sleeper *s = argument;
  taken t = {.queue = s->queue};
  static tks__record records[64];
  while (t.records + t.lost < s->expected && !s->missed) {
    while (take(&t, records, 64) > 0) {
    }
    atomic_store(&s->received, t.records + t.lost);
    uint64_t left = s->expected - t.records - t.lost;
    uint64_t at = tks__queue_head(s->queue) + (left < s->batch ? left : s->batch) - 1;
    tks__queue_wake_at(s->queue, at);
    if (left == 0 || tks__queue_tail(s->queue) > at) {
      (void)sched_yield(); /* a claimed position may still be being filled */
      continue;
    }
    s->sleeps++;
    s->missed = !sleep_until_posted(&s->semaphore);
  }
  return NULL;
}

static void *produce_for_sleeper(void *argument) {
  producer *p = argument;
  sleeper *s = p->queue->wake_context;
  for (uint64_t number = 1; number <= p->count; number++) {
    tks__record record = record_of(number, p->id);
    if (number % 16 == 15) {
      (void)tks__queue_lose(p->queue);
    } else {
      while (!tks__queue_push(p->queue, &record)) (void)sched_yield();
    }
    /* Let it fall asleep now and then: all that was pushed so far has been taken. */
    for (int i = 0; number % 4 == 0 && i < 20 && atomic_load(&s->received) < tks__queue_tail(p->queue) - FIRST_SEQ; i++)
      (void)sched_yield();
  }
  return NULL;
}

static void race_sleeper(uint64_t batch, uint64_t count) {
  enum { PRODUCERS = 2 };
  tks__queue queue;
  sleeper s = {.queue = &queue, .expected = PRODUCERS * count, .batch = batch};
  cr_assert_eq(sem_init(&s.semaphore, 0, 0), 0);
  cr_assert_eq(tks__queue_init(&queue, 256, FIRST_SEQ, post, &s), TKS_OK);
  pthread_t consumer = start_thread(consume_sleeping, &s);
  producer producers[PRODUCERS];
  for (uint32_t i = 0; i < PRODUCERS; i++) producers[i] = (producer){.queue = &queue, .id = i, .count = count};
  run_threads(produce_for_sleeper, producers, PRODUCERS, sizeof producers[0]);
  join_thread(consumer);
  cr_assert_not(s.missed, "slept through %llu of %llu",
                (unsigned long long)(tks__queue_tail(&queue) - tks__queue_head(&queue)),
                (unsigned long long)s.expected);
  cr_assert_eq(s.received, s.expected);
  cr_assert_leq(queue.wakeups, s.expected);
  (void)sem_destroy(&s.semaphore);
  tks__queue_deinit(&queue);
}

Test(queue, no_wake_up_is_missed_record_by_record) { race_sleeper(1, rounds(100000)); }
Test(queue, no_wake_up_is_missed_batch_by_batch) { race_sleeper(7, rounds(200000)); }

/* --------------------------------------------------------------------- waiting */

Test(queue, a_wait_ends_at_its_deadline) {
  tks__queue queue;
  cr_assert_eq(tks__queue_init(&queue, 2, FIRST_SEQ, no_wake, NULL), TKS_OK);
  (void)push(&queue, 1);
  cr_assert(tks__queue_wait(&queue, tks__clock_monotonic_ns() + LIMIT_NS), "there is room");
  cr_assert(tks__queue_wait(&queue, 0), "there is room, however late");
  (void)push(&queue, 2);
  int64_t deadline = tks__clock_monotonic_ns() + 20000000;
  while (tks__queue_wait(&queue, deadline)) {
    /* woken for no reason, which is allowed */
    cr_assert_lt(tks__clock_monotonic_ns(), deadline + LIMIT_NS);
  }
  cr_assert_geq(tks__clock_monotonic_ns(), deadline, "not before");
  while (tks__queue_wait(&queue, 0)) {
  }
  cr_assert_eq(queue.waiters, 0);
  tks__queue_deinit(&queue);
}

typedef struct waiter {
  tks__queue *queue;
  _Atomic bool done;
  bool result;
} waiter;

static void *wait_for_room(void *argument) {
  waiter *w = argument;
  w->result = tks__queue_wait(w->queue, tks__clock_monotonic_ns() + LIMIT_NS);
  atomic_store(&w->done, true);
  return NULL;
}

static bool all_wait(void *context) { return ((tks__queue *)context)->waiters == 3; }

static void end_waits(void (*end)(tks__queue *queue)) {
  tks__queue queue;
  cr_assert_eq(tks__queue_init(&queue, 2, FIRST_SEQ, no_wake, NULL), TKS_OK);
  (void)push(&queue, 1);
  (void)push(&queue, 2);
  waiter waiters[3];
  pthread_t threads[3];
  for (int i = 0; i < 3; i++) {
    waiters[i] = (waiter){.queue = &queue};
    threads[i] = start_thread(wait_for_room, &waiters[i]);
  }
  cr_assert(wait_until(all_wait, &queue));
  linger_ms(20);
  end(&queue);
  for (int i = 0; i < 3; i++) {
    join_thread(threads[i]);
    cr_assert(waiters[i].result);
  }
  cr_assert_eq(queue.waiters, 0);
  tks__queue_deinit(&queue);
}

static void take_one(tks__queue *queue) {
  taken t = {.queue = queue};
  tks__record record;
  cr_assert_eq(take(&t, &record, 1), 1);
}

/* One of them may have counted itself and not yet begun to wait when the first broadcast goes out. */
static void release(tks__queue *queue) {
  for (int i = 0; i < 100 && queue->waiters > 0; i++) {
    tks__queue_release_waiters(queue);
    linger_ms(5);
  }
}

Test(queue, room_ends_every_wait) { end_waits(take_one); }
Test(queue, waiters_can_be_released) { end_waits(release); }

Test(queue, who_waits_for_room_wakes_the_consumer) {
  _Atomic uint32_t wakes = 0;
  tks__queue queue;
  cr_assert_eq(tks__queue_init(&queue, 2, FIRST_SEQ, count_wake, &wakes), TKS_OK);
  (void)push(&queue, 1);
  (void)push(&queue, 2);
  atomic_store(&wakes, 0);
  tks__queue_wake_at(&queue, FIRST_SEQ + 1000); /* would never come */
  (void)tks__queue_wait(&queue, 0);
  cr_assert_eq(wakes, 1);
  (void)tks__queue_wait(&queue, 0);
  cr_assert_eq(wakes, 1);
  tks__queue_wake_at(&queue, TKS__WAKE_NEVER); /* it knows, and cannot help it */
  (void)tks__queue_wait(&queue, 0);
  cr_assert_eq(wakes, 1);
  tks__queue_deinit(&queue);
}

/* ------------------------------------------------------------------------ scan */

/* One producer, one consumer, one that scans: what the producer had pushed before the scan is either with the consumer or
 * seen, never both, never neither. */
typedef struct watched {
  tks__queue *queue;
  _Atomic uint64_t pushed_through;
  _Atomic bool done;
  uint64_t moved_through; /* under the lock */
  uint64_t first, last, count;
  uint64_t wrong;
} watched;

static void *produce_watched(void *argument) {
  watched *w = argument;
  uint64_t count = rounds(200000);
  for (uint64_t number = 1; number <= count;) {
    tks__record record = record_of(number, 9);
    if (!tks__queue_push(w->queue, &record)) {
      (void)sched_yield();
      continue;
    }
    atomic_store(&w->pushed_through, record.seq);
    number++;
  }
  atomic_store(&w->done, true);
  return NULL;
}

static void watch_moved(void *context, size_t count, uint64_t through) {
  (void)count;
  ((watched *)context)->moved_through = through;
}

static void watch_lost(void *context, tks__lost_range range) {
  (void)range;
  ((watched *)context)->wrong++;
}

static void *consume_watched(void *argument) {
  watched *w = argument;
  test_random random = random_new();
  const tks__queue_taker taker = {.moved = watch_moved, .on_lost = watch_lost, .context = w};
  static tks__record records[64];
  for (bool last_round = false; !last_round;) {
    last_round = atomic_load(&w->done) && tks__queue_head(w->queue) == tks__queue_tail(w->queue);
    if (tks__queue_take(w->queue, records, 1 + random_below(&random, 64), &taker) == 0) (void)sched_yield();
  }
  return NULL;
}

static void watch_visit(void *context, const tks__record *record) {
  watched *w = context;
  if (w->count++ == 0) w->first = record->seq;
  w->wrong += w->count > 1 && record->seq != w->last + 1;
  w->wrong += !record_is_whole(record);
  w->last = record->seq;
}

Test(queue, a_scan_sees_exactly_the_pending_ones) {
  tks__queue queue;
  cr_assert_eq(tks__queue_init(&queue, 100, FIRST_SEQ, no_wake, NULL), TKS_OK);
  watched w = {.queue = &queue, .pushed_through = FIRST_SEQ - 1, .moved_through = FIRST_SEQ - 1};
  pthread_t producer_thread = start_thread(produce_watched, &w);
  pthread_t consumer_thread = start_thread(consume_watched, &w);
  for (bool last_round = false; !last_round;) {
    last_round = atomic_load(&w.done);
    uint64_t pushed = atomic_load(&w.pushed_through);
    (void)pthread_mutex_lock(&queue.lock);
    w.count = 0;
    tks__queue_scan(&queue, watch_visit, &w);
    uint64_t moved = w.moved_through, wrong = w.wrong;
    (void)pthread_mutex_unlock(&queue.lock);
    cr_assert_eq(wrong, 0);
    if (w.count > 0) {
      cr_assert_eq(w.first, moved + 1);
      cr_assert_geq(w.last, pushed);
    } else {
      cr_assert_geq(moved, pushed);
    }
  }
  join_thread(producer_thread);
  join_thread(consumer_thread);
  cr_assert_eq(w.moved_through, tks__queue_tail(&queue) - 1);
  tks__queue_deinit(&queue);
}
