/* The time is the tests' own: the lane is told what time it is, so nothing here waits for a timer. */
#include "persist/lane.h"

#include <criterion/criterion.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/utc.h"
#include "support/fake_sink.h"
#include "support/faults.h"
#include "support/random.h"
#include "support/threads.h"
#include "support/wait.h"

#define FIRST_SEQ 100
#define MS(n) ((int64_t)(n)*TKS__NS_PER_MS)

static fake_tape tape;
static sem_t done;
static tks__lane lane;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static tks_config config;
static const tks__log log_to_nobody = {.level = TKS_LOG_OFF};
static int64_t now_ns;
static uint64_t next_seq;
static bool finished; /* the lane was closed by the test itself */

static void post(void *context) { (void)sem_post(context); }

static void start(bool durable_on_write) {
  cr_assert_eq(tks__lane_start(&lane, fake_sink_new(&tape, durable_on_write ? TKS_SQLITE : TKS_JSON, durable_on_write),
                               &config, &log_to_nobody, FIRST_SEQ, post, &done),
               0);
  now_ns = tks__clock_monotonic_ns();
}

static void set_up(void) {
  config = (tks_config){
      .queue_records = 10000,
      .backlog_records = 1000000,
      .retry_attempts = 3,
      .retry_pause_ms = 100,
      .degraded_retry_ms = 5000,
      .sync_interval_ms = 1000,
      .late_close_s = 86400,
  };
  next_seq = FIRST_SEQ;
  finished = false;
  fake_tape_init(&tape, FIRST_SEQ);
  cr_assert_eq(sem_init(&done, 0, 0), 0);
}

/* What the loop does when a worker reports. */
static void collect(void) {
  while (sem_wait(&done) != 0) {
  }
  cr_assert(tks__lane_collect(&lane, &lock, now_ns));
  cr_assert_not(tks__lane_collect(&lane, &lock, now_ns));
}

/* Dispatches and, if that started something, sees it through. */
static bool step(bool urgent) {
  tks__lane_dispatch(&lane, now_ns, urgent);
  if (!lane.busy) return false;
  collect();
  return true;
}

static void give_up(void) {
  (void)pthread_mutex_lock(&lock);
  tks__lane_give_up(&lane);
  (void)pthread_mutex_unlock(&lock);
}

static void finish(void) {
  give_up();
  tks__lane_dispatch_close(&lane);
  collect();
  cr_assert(lane.closed);
  finished = true;
}

static void tear_down(void) {
  (void)allocations_work();
  if (!finished) finish();
  tks__lane_join(&lane);
  FAKE_ABORT_UNLESS(fake_is_sound(&tape), "%llu doubled, %llu out of order", (unsigned long long)tape.doubled,
                    (unsigned long long)tape.disorder);
  fake_tape_deinit(&tape);
  (void)sem_destroy(&done);
}

TestSuite(lane, .init = set_up, .fini = tear_down);

static tks__batch *batch_of(size_t count) {
  tks__batch *batch = tks__batch_new(count);
  for (size_t i = 0; i < count; i++) batch->records[i] = (tks__record){.seq = next_seq++};
  batch->count = count;
  batch->last_seq = next_seq - 1;
  return batch;
}

static void append(size_t count) {
  tks__batch *batch = batch_of(count);
  (void)pthread_mutex_lock(&lock);
  cr_assert(tks__lane_reserve(&lane));
  tks__lane_append(&lane, batch, next_seq - 1);
  (void)pthread_mutex_unlock(&lock);
  tks__batch_release(batch);
}

static tks_sink_stats stats(void) {
  tks_sink_stats s = {0};
  tks__lane_stats(&lane, &s);
  return s;
}

static void check_account(void) {
  tks_sink_stats s = stats();
  cr_assert_eq(s.written + s.backlog + s.lost, next_seq - FIRST_SEQ, "%llu + %llu + %llu",
               (unsigned long long)s.written, (unsigned long long)s.backlog, (unsigned long long)s.lost);
  cr_assert_leq(s.durable_seq, s.written_seq);
  cr_assert_leq(s.written_seq, next_seq - 1);
}

/* ------------------------------------------------------------------- writing */

Test(lane, starts_with_nothing_to_do) {
  start(true);
  cr_assert(tks__lane_settled(&lane));
  cr_assert_not(tks__lane_sick(&lane, now_ns));
  cr_assert_not(step(true));
  tks_sink_stats s = stats();
  cr_assert_eq(s.sink, TKS_SQLITE);
  cr_assert_eq(s.state, TKS_SINK_OK);
  cr_assert_eq(s.written_seq, FIRST_SEQ - 1);
  cr_assert_eq(s.durable_seq, FIRST_SEQ - 1);
  cr_assert_eq(s.last_error_ns, 0);
  cr_assert_eq(tks__lane_deadline(&lane), lane.tend_at_ns, "nothing but housekeeping");
}

Test(lane, one_write_takes_the_whole_backlog) {
  start(true);
  for (size_t i = 1; i <= 20; i++) append(i);
  cr_assert_not(tks__lane_settled(&lane));
  cr_assert_leq(tks__lane_deadline(&lane), now_ns);
  cr_assert_eq(stats().backlog, 210);
  cr_assert(step(false));
  cr_assert_eq(tape.last_write_batches, 20);
  cr_assert_eq(tape.last_write_records, 210);
  tks_sink_stats s = stats();
  cr_assert_eq(s.written, 210);
  cr_assert_eq(s.backlog, 0);
  cr_assert_eq(s.batches, 1);
  cr_assert_eq(s.written_seq, next_seq - 1);
  cr_assert_eq(s.durable_seq, next_seq - 1);
  cr_assert(tks__lane_settled(&lane));
  cr_assert_not(step(true));
  uint64_t in_buckets = 0;
  for (int i = 0; i < TKS_FLUSH_BUCKETS; i++) in_buckets += s.flush_time_buckets[i];
  cr_assert_eq(in_buckets, 1);
  cr_assert_eq(s.flush_time_sum_us, s.flush_time_max_us);
}

/* A caught-up backlog must not become one endless transaction. */
Test(lane, a_write_is_bounded) {
  start(true);
  for (int i = 0; i < 7; i++) append(16384);
  cr_assert(step(false));
  cr_assert_eq(tape.last_write_batches, 6);
  cr_assert_eq(stats().written_seq, FIRST_SEQ + 6 * 16384 - 1);
  append(150000);
  cr_assert(step(false));
  cr_assert_eq(tape.last_write_batches, 1);
  cr_assert(step(false));
  cr_assert_eq(tape.last_write_records, 150000, "one batch always goes");
  cr_assert_not(step(false));
  check_account();
}

/* The array of the backlog moves while the worker reads its copy. */
Test(lane, appends_during_a_write_wait_for_the_next) {
  start(true);
  append(3);
  fake_hold(&tape, FAKE_WRITE);
  tks__lane_dispatch(&lane, now_ns, false);
  cr_assert(lane.busy);
  cr_assert(fake_wait_begun(&tape, FAKE_WRITE, 1));
  for (int i = 0; i < 100; i++) append(2);
  cr_assert_eq(tks__lane_deadline(&lane), INT64_MAX, "the worker will report");
  fake_release(&tape, FAKE_WRITE);
  collect();
  cr_assert_eq(stats().written_seq, FIRST_SEQ + 2);
  while (step(false)) check_account();
  cr_assert_eq(fake_stored(&tape), 203);
  cr_assert_eq(stats().durable_seq, next_seq - 1);
}

/* Housekeeping may take long (a sweep after a crash) and be the first thing a lane does. */
Test(lane, the_first_append_may_come_during_housekeeping) {
  start(true);
  now_ns = lane.tend_at_ns;
  fake_hold(&tape, FAKE_TEND);
  tks__lane_dispatch(&lane, now_ns, false);
  cr_assert(lane.busy);
  for (int i = 0; i < 10; i++) append(5);
  fake_release(&tape, FAKE_TEND);
  collect();
  cr_assert(step(false));
  cr_assert_eq(tape.last_write_records, 50);
  cr_assert_eq(stats().durable_seq, next_seq - 1);
  check_account();
}

Test(lane, positions_without_records_count_as_written) {
  start(true);
  append(4);
  next_seq += 10; /* dropped by the queue */
  append(0);
  cr_assert_eq(stats().written_seq, FIRST_SEQ - 1);
  cr_assert(step(false));
  cr_assert_eq(stats().written_seq, next_seq - 1);
  cr_assert_eq(stats().durable_seq, next_seq - 1);
  next_seq += 5;
  append(0);
  cr_assert_eq(stats().durable_seq, next_seq - 1, "with nothing to write they are settled at once");
  cr_assert_not(step(true));
}

/* ------------------------------------------------------------------- the bound */

Test(lane, what_finds_no_room_is_lost_and_counted) {
  config.backlog_records = 100;
  config.queue_records = 50;
  start(true);
  cr_assert_eq(tks__lane_room(&lane), 100);
  append(60);
  cr_assert_eq(tks__lane_room(&lane), 40);
  append(60); /* lost */
  cr_assert_eq(stats().lost, 60);
  append(40);
  cr_assert_eq(tks__lane_room(&lane), 0);
  append(1); /* lost */
  cr_assert_eq(stats().lost, 61);
  check_account();
  cr_assert_eq(stats().written_seq, FIRST_SEQ - 1);
  cr_assert(step(false));
  cr_assert_eq(fake_stored(&tape), 100);
  cr_assert_eq(stats().durable_seq, next_seq - 1, "all up to there is stored or reported lost");
  check_account();
  for (uint64_t seq = FIRST_SEQ; seq < next_seq; seq++) {
    uint64_t n = seq - FIRST_SEQ;
    cr_assert_eq(fake_has(&tape, seq), n < 60 || (n >= 120 && n < 160), "%llu", (unsigned long long)n);
  }
}

/* As long as an earlier record is not written, a loss behind it does not make it seem so. */
Test(lane, a_loss_does_not_hide_what_is_not_written) {
  config.backlog_records = 50;
  config.queue_records = 50;
  start(true);
  append(50);
  fake_fail(&tape, FAKE_WRITE, 1);
  cr_assert(step(false));
  append(7);
  cr_assert_eq(stats().lost, 7);
  cr_assert_eq(stats().written_seq, FIRST_SEQ - 1);
  cr_assert_eq(stats().durable_seq, FIRST_SEQ - 1);
  now_ns += MS(100);
  cr_assert(step(false));
  cr_assert_eq(stats().durable_seq, next_seq - 1);
}

Test(lane, without_a_backlog_it_holds_one_batch) {
  config.backlog_records = 0;
  config.queue_records = 500;
  start(true);
  cr_assert_eq(tks__lane_room(&lane), 500);
  append(500);
  cr_assert_eq(tks__lane_room(&lane), 0);
  append(1);
  cr_assert_eq(stats().lost, 1);
  cr_assert(step(false));
  cr_assert_eq(tks__lane_room(&lane), 500);
  check_account();
}

/* -------------------------------------------------------------------- failures */

Test(lane, retries_with_doubling_pauses_then_is_degraded_then_recovers) {
  start(true);
  append(10);
  fake_fail(&tape, FAKE_WRITE, 6);
  static const struct {
    uint32_t state;
    int64_t pause_ms;
  } expected[] = {{TKS_SINK_RETRYING, 100},  {TKS_SINK_RETRYING, 200},  {TKS_SINK_RETRYING, 400},
                  {TKS_SINK_DEGRADED, 5000}, {TKS_SINK_DEGRADED, 5000}, {TKS_SINK_DEGRADED, 5000}};
  for (uint64_t i = 0; i < 6; i++) {
    int64_t before = now_ns;
    cr_assert(step(true), "attempt %llu", (unsigned long long)i);
    tks_sink_stats s = stats();
    cr_assert_eq(s.state, expected[i].state, "attempt %llu", (unsigned long long)i);
    cr_assert_eq(s.errors, i + 1);
    cr_assert_eq(s.retries, i);
    cr_assert_eq(s.last_error_code, TKS_EIO);
    cr_assert_eq(s.last_error_detail, 5);
    cr_assert_gt(s.last_error_ns, 0);
    char message[32];
    (void)snprintf(message, sizeof message, "write %llu fails", (unsigned long long)i + 1);
    cr_assert_str_eq(s.last_error, message);
    cr_assert(tks__lane_sick(&lane, now_ns));
    cr_assert_eq(s.written, 0);
    cr_assert_eq(s.backlog, 10);
    check_account();
    cr_assert_eq(tks__lane_deadline(&lane), before + MS(expected[i].pause_ms));
    now_ns = before + MS(expected[i].pause_ms) - 1;
    cr_assert_not(step(true), "not before its time");
    now_ns++;
  }
  append(5);
  cr_assert(step(false));
  tks_sink_stats s = stats();
  cr_assert_eq(s.state, TKS_SINK_OK);
  cr_assert_eq(s.written, 15);
  cr_assert_eq(s.retries, 6);
  cr_assert_eq(s.errors, 6);
  cr_assert_str_eq(s.last_error, "write 6 fails", "it stays readable");
  cr_assert_not(tks__lane_sick(&lane, now_ns));
  cr_assert_eq(fake_stored(&tape), 15);
  /* The next trouble starts from the shortest pause again. */
  append(1);
  fake_fail(&tape, FAKE_WRITE, 1);
  cr_assert(step(false));
  cr_assert_eq(stats().state, TKS_SINK_RETRYING);
  cr_assert_eq(tks__lane_deadline(&lane), now_ns + MS(100));
}

Test(lane, without_retries_it_is_degraded_at_once) {
  config.retry_attempts = 0;
  start(true);
  append(1);
  fake_fail(&tape, FAKE_WRITE, 1);
  cr_assert(step(false));
  cr_assert_eq(stats().state, TKS_SINK_DEGRADED);
  cr_assert_eq(tks__lane_deadline(&lane), now_ns + MS(5000));
}

/* The longest pauses that can be configured, doubled as often as can be. */
Test(lane, pauses_do_not_overflow) {
  config.retry_attempts = 100;
  config.retry_pause_ms = 60000;
  start(true);
  append(1);
  fake_fail(&tape, FAKE_WRITE, 100);
  int64_t last_pause = 0;
  for (int i = 0; i < 100; i++) {
    now_ns = MS(1000000); /* so that it cannot run out of time either */
    lane.retry_at_ns = 0;
    cr_assert(step(false));
    int64_t pause = lane.retry_at_ns - now_ns;
    cr_assert_geq(pause, last_pause);
    last_pause = pause;
  }
  lane.retry_at_ns = 0;
}

Test(lane, a_job_that_takes_too_long_makes_it_sick) {
  start(true);
  append(1);
  fake_hold(&tape, FAKE_WRITE);
  tks__lane_dispatch(&lane, now_ns, false);
  cr_assert_not(tks__lane_sick(&lane, now_ns + MS(5000)));
  cr_assert(tks__lane_sick(&lane, now_ns + MS(5000) + 1));
  fake_release(&tape, FAKE_WRITE);
  collect();
  cr_assert_not(tks__lane_sick(&lane, now_ns + MS(10000)));
}

Test(lane, housekeeping_comes_in_its_time_and_may_fail) {
  config.late_close_s = 20;
  start(true);
  int64_t due = lane.tend_at_ns;
  cr_assert_leq(due, now_ns + MS(5000));
  now_ns = due - 1;
  cr_assert_not(step(true));
  now_ns = due;
  fake_fail(&tape, FAKE_TEND, 1);
  cr_assert(step(false));
  cr_assert_eq(fake_calls(&tape, FAKE_TEND), 1);
  cr_assert_eq(stats().state, TKS_SINK_OK, "no record is at stake");
  cr_assert_not(tks__lane_sick(&lane, now_ns));
  cr_assert_eq(lane.tend_at_ns, now_ns + MS(5000));
  now_ns = lane.tend_at_ns;
  append(1);
  cr_assert(step(false));
  cr_assert_eq(fake_calls(&tape, FAKE_WRITE), 1, "records come first");
  cr_assert(step(false));
  cr_assert_eq(fake_calls(&tape, FAKE_TEND), 2);
}

Test(lane, no_memory_changes_nothing) {
  start(true);
  for (int batches = 0; batches < 40; batches++) {
    for (uint64_t n = 0;; n++) {
      fail_allocation(n);
      (void)pthread_mutex_lock(&lock);
      bool reserved = tks__lane_reserve(&lane);
      (void)pthread_mutex_unlock(&lock);
      bool failed = allocations_work();
      cr_assert_eq(reserved, !failed);
      cr_assert_eq(lane.count, (size_t)batches);
      if (!failed) break;
    }
    append(2);
  }
  cr_assert(step(false));
  cr_assert_eq(fake_stored(&tape), 80);
}

/* --------------------------------------------------- a sink that must be synced */

Test(lane, what_is_written_is_durable_after_the_sync) {
  start(false);
  append(10);
  cr_assert(step(false));
  tks_sink_stats s = stats();
  cr_assert_eq(s.written, 10);
  cr_assert_eq(s.backlog, 0);
  cr_assert_eq(s.written_seq, next_seq - 1);
  cr_assert_eq(s.durable_seq, FIRST_SEQ - 1);
  cr_assert_not(tks__lane_settled(&lane));
  cr_assert_eq(tks__lane_deadline(&lane), now_ns + MS(1000));
  now_ns += MS(999);
  cr_assert_not(step(false));
  append(5);
  cr_assert(step(false));
  cr_assert_eq(fake_calls(&tape, FAKE_SYNC), 0);
  now_ns += MS(1);
  append(5);
  cr_assert(step(false), "the sync goes before the next write");
  cr_assert_eq(fake_calls(&tape, FAKE_SYNC), 1);
  cr_assert_eq(stats().durable_seq, FIRST_SEQ + 14);
  cr_assert_eq(stats().written_seq, FIRST_SEQ + 14);
  cr_assert(step(true));
  cr_assert(step(true), "somebody waits: no need for the interval to be over");
  cr_assert_eq(fake_calls(&tape, FAKE_SYNC), 2);
  cr_assert_eq(stats().durable_seq, next_seq - 1);
  cr_assert(tks__lane_settled(&lane));
  cr_assert_not(step(true));
  check_account();
}

Test(lane, syncs_before_half_the_backlog_is_taken_up) {
  config.backlog_records = 100;
  start(false);
  append(50);
  cr_assert(step(false));
  cr_assert_not(step(false));
  append(1);
  cr_assert(step(false));
  cr_assert_eq(fake_calls(&tape, FAKE_WRITE), 2);
  cr_assert(step(false));
  cr_assert_eq(fake_calls(&tape, FAKE_SYNC), 1);
}

Test(lane, losses_behind_a_running_sync) {
  config.backlog_records = 10;
  config.queue_records = 10;
  start(false);
  append(10);
  cr_assert(step(false));
  fake_hold(&tape, FAKE_SYNC);
  tks__lane_dispatch(&lane, now_ns, true);
  append(10);
  append(3); /* lost */
  fake_release(&tape, FAKE_SYNC);
  collect();
  cr_assert_eq(stats().durable_seq, FIRST_SEQ + 9);
  cr_assert_eq(stats().lost, 3);
  while (step(true)) check_account();
  cr_assert_eq(stats().durable_seq, next_seq - 1);
  cr_assert_eq(fake_stored(&tape), 20);
}

Test(lane, a_failed_sync_takes_back_what_was_not_durable) {
  start(false);
  append(10);
  cr_assert(step(true));
  cr_assert(step(true));
  cr_assert_eq(stats().durable_seq, FIRST_SEQ + 9);
  for (int i = 0; i < 3; i++) {
    append(10);
    cr_assert(step(false));
  }
  cr_assert_eq(stats().written, 40);
  fake_fail(&tape, FAKE_SYNC, 1);
  cr_assert(step(true));
  tks_sink_stats s = stats();
  cr_assert_eq(s.written, 10);
  cr_assert_eq(s.backlog, 30);
  cr_assert_eq(s.written_seq, FIRST_SEQ + 9);
  cr_assert_eq(s.durable_seq, FIRST_SEQ + 9);
  cr_assert_eq(s.state, TKS_SINK_RETRYING);
  check_account();
  cr_assert_lt(fake_stored(&tape), 40, "the sink has forgotten some");
  append(5);
  now_ns += MS(100);
  while (step(true)) check_account();
  cr_assert_eq(fake_stored(&tape), 45);
  cr_assert_eq(stats().durable_seq, next_seq - 1);
  cr_assert_eq(stats().state, TKS_SINK_OK);
}

/* A disk on which every sync fails is as sick as one on which every write does. */
Test(lane, syncs_that_keep_failing_degrade_it) {
  start(false);
  append(10);
  fake_fail(&tape, FAKE_SYNC, FAKE_FOREVER);
  for (int i = 0; i < 4; i++) {
    cr_assert(step(true));
    cr_assert(step(true));
    cr_assert_eq(fake_calls(&tape, FAKE_SYNC), (uint64_t)i + 1);
    cr_assert_eq(stats().state, i < 3 ? TKS_SINK_RETRYING : TKS_SINK_DEGRADED, "sync %d", i);
    cr_assert_eq(lane.retry_at_ns, now_ns + MS(i < 3 ? 100 << i : 5000));
    check_account();
    now_ns = lane.retry_at_ns;
  }
  fake_fail(&tape, FAKE_SYNC, 0);
  while (step(true)) check_account();
  cr_assert_eq(stats().state, TKS_SINK_OK);
  cr_assert_eq(stats().durable_seq, next_seq - 1);
  cr_assert_eq(fake_stored(&tape), 10);
}

/* ------------------------------------------------------------------- giving up */

Test(lane, gives_up_what_is_left_and_counts_it) {
  start(true);
  append(10);
  cr_assert(step(false));
  append(20);
  append(3);
  give_up();
  cr_assert_eq(stats().lost, 23);
  cr_assert_eq(stats().backlog, 0);
  cr_assert_eq(stats().written, 10);
  check_account();
  cr_assert_not(step(true));
}

/* While another lane still writes, the queue is still emptied. */
Test(lane, what_comes_after_giving_up_is_lost_and_counted) {
  start(true);
  append(10);
  give_up();
  append(5);
  cr_assert_eq(stats().lost, 15);
  cr_assert_not(step(true));
  check_account();
  finish();
  append(7);
  cr_assert_eq(lane.lost, 22);
  cr_assert_eq(lane.backlog_records, 0);
}

Test(lane, written_but_not_synced_is_not_lost_by_giving_up) {
  start(false);
  append(10);
  cr_assert(step(false));
  append(5);
  give_up();
  cr_assert_eq(stats().written, 10);
  cr_assert_eq(stats().lost, 5);
  check_account();
}

/* ------------------------------------------------------------------ all at once */

static void random_life(bool durable_on_write) {
  test_random random = random_new();
  config.backlog_records = 300;
  config.queue_records = 100;
  config.late_close_s = 4;
  start(durable_on_write);
  uint64_t lost = 0;
  for (uint64_t i = 0; i < rounds(20000); i++) {
    uint64_t choice = random_below(&random, 10);
    if (choice < 4) append(random_below(&random, 60));
    if (choice == 4) fake_fail(&tape, FAKE_WRITE, random_below(&random, 6));
    if (choice == 5 && !durable_on_write) fake_fail(&tape, FAKE_SYNC, random_below(&random, 3));
    if (choice == 6) fake_fail(&tape, FAKE_TEND, random_below(&random, 2));
    if (choice > 6) now_ns += MS(random_below(&random, 3000));
    uint64_t durable = stats().durable_seq;
    bool appends = random_below(&random, 2) == 0;
    tks__lane_dispatch(&lane, now_ns, random_below(&random, 4) == 0);
    if (lane.busy) {
      if (appends) append(random_below(&random, 60));
      collect();
    }
    check_account();
    cr_assert_geq(stats().durable_seq, durable);
    cr_assert_geq(stats().lost, lost);
    lost = stats().lost;
  }
  fake_fail(&tape, FAKE_WRITE, 0);
  fake_fail(&tape, FAKE_SYNC, 0);
  for (int i = 0; i < 10 || !tks__lane_settled(&lane); i++) {
    now_ns += MS(5000);
    (void)step(true);
  }
  check_account();
  cr_assert_eq(stats().backlog, 0);
  cr_assert_eq(stats().state, TKS_SINK_OK);
  cr_assert_eq(stats().durable_seq, next_seq - 1);
  cr_assert_eq(fake_stored(&tape), stats().written);
}

Test(lane, random_life_of_a_sink_that_commits) { random_life(true); }
Test(lane, random_life_of_a_sink_that_is_synced) { random_life(false); }
