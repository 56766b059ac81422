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
#include "support/journals.h"
#include "support/random.h"
#include "support/threads.h"
#include "support/wait.h"

#define FIRST_SEQ 100
#define BLOCK 64
#define MS(n) ((int64_t)(n)*TKS__NS_PER_MS)

static fake_tape tape;
static test_journal journal;
static sem_t done;
static tks__lane lane;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static tks_config config;
static const tks__log log_to_nobody = {.level = TKS_LOG_OFF};
static int64_t now_ns;
static uint64_t first_seq, next_seq; /* of all that the lane is to see */
static uint64_t recovered;           /* records */
static uint64_t holes;
static uint64_t dropped;
static uint64_t flush_target, room_target;
static bool finished; /* the lane was closed by the test itself */

/* What the lane said was lost. */
typedef struct loss {
  uint32_t sink, cause;
  uint64_t from_seq, to_seq, records;
} loss;
static loss losses[64];
static size_t loss_count;

static void hear_loss(void *context, uint32_t sink, uint32_t cause, uint64_t from_seq, uint64_t to_seq,
                      uint64_t records) {
  cr_assert_eq(context, losses);
  if (loss_count < sizeof losses / sizeof losses[0])
    losses[loss_count++] = (loss){sink, cause, from_seq, to_seq, records};
}

static void post(void *context) { (void)sem_post(context); }

static void start(bool durable_on_write) {
  journal_go_live(&journal, next_seq);
  const tks__lane_options options = {
      .config = &config,
      .log = &log_to_nobody,
      .journal = &journal.journal,
      .first_position = BLOCK,
      .done = post,
      .done_context = &done,
      .lost = hear_loss,
      .lost_context = losses,
  };
  uint32_t id = durable_on_write ? TKS_SQLITE : TKS_JSON;
  cr_assert_eq(tks__lane_start(&lane, fake_sink_new(&tape, id, durable_on_write), &options), 0);
  now_ns = tks__clock_monotonic_ns();
}

static void set_up(void) {
  config = (tks_config){
      .batch_records = 1,
      .retry_attempts = 3,
      .retry_pause_ms = 100,
      .degraded_retry_ms = 5000,
      .sync_interval_ms = 1000,
      .late_close_s = 86400,
  };
  first_seq = next_seq = FIRST_SEQ;
  recovered = holes = dropped = flush_target = room_target = 0;
  loss_count = 0;
  finished = false;
  journal_set_up(&journal, BLOCK);
  fake_tape_init(&tape, FIRST_SEQ);
  cr_assert_eq(sem_init(&done, 0, 0), 0);
}

/* What the loop does when a worker reports. */
static void collect(void) {
  while (sem_wait(&done) != 0) {
  }
  cr_assert(tks__lane_collect(&lane, &lock, now_ns));
  cr_assert_not(tks__lane_collect(&lane, &lock, now_ns));
  tks__lane_publish_written(&lane);
  tks__lane_publish_durable(&lane);
}

static tks__lane_order order(bool urgent) {
  return (tks__lane_order){
      .now_ns = now_ns, .urgent = urgent, .flush_target = flush_target, .room_target = room_target};
}

static void dispatch(bool urgent) {
  const tks__lane_order wanted = order(urgent);
  tks__lane_dispatch(&lane, &wanted);
}

static int64_t deadline(void) {
  const tks__lane_order wanted = order(false);
  return tks__lane_deadline(&lane, &wanted);
}

/* Dispatches and, if that started something, sees it through. */
static bool step(bool urgent) {
  dispatch(urgent);
  if (!lane.busy) return false;
  collect();
  return true;
}

static uint64_t tail(void) { return tks__journal_tail(&journal.journal); }

/* All before `position` is let go. */
static void skip(uint64_t position) {
  (void)pthread_mutex_lock(&lock);
  tks__lane_skip(&lane, position, TKS_GAP_BACKLOG);
  (void)pthread_mutex_unlock(&lock);
  tks__lane_publish_written(&lane);
  tks__lane_publish_durable(&lane);
}

static void finish(void) {
  tks__lane_dispatch_close(&lane);
  collect();
  cr_assert(lane.closed);
  finished = true;
}

static void tear_down(void) {
  if (!finished) finish();
  tks__lane_join(&lane);
  FAKE_ABORT_UNLESS(fake_is_sound(&tape), "%llu doubled, %llu out of order", (unsigned long long)tape.doubled,
                    (unsigned long long)tape.disorder);
  fake_tape_deinit(&tape);
  journal_tear_down(&journal);
  (void)sem_destroy(&done);
}

TestSuite(lane, .init = set_up, .fini = tear_down);

static void append(size_t count) {
  for (size_t i = 0; i < count; i++) {
    tks__record record = {.symbol = 1, .ts_ns = (int64_t)next_seq};
    (void)journal_put(&journal, &record);
    cr_assert_eq(record.seq, next_seq);
    next_seq++;
  }
}

/* Fills the last block and loses what comes then. */
static void append_and_drop(uint64_t count) {
  while (tail() != atomic_load(&journal.journal.room_end)) append(1);
  for (uint64_t i = 0; i < count; i++) cr_assert_eq(tks__journal_lose(&journal.journal, 1), next_seq++);
  dropped += count;
}

/* A block of an earlier session with every `step`-th record. */
static void recover_block(uint64_t step) {
  static tks__record records[BLOCK];
  size_t count = 0;
  for (uint64_t i = 0; i < BLOCK; i += step)
    records[count++] = (tks__record){.seq = next_seq + i, .symbol = 1, .ts_ns = (int64_t)i};
  journal_add_recovered(&journal, next_seq, records, count);
  next_seq += BLOCK;
  recovered += count;
  holes += BLOCK - count;
}

static tks_sink_stats stats(void) {
  tks_sink_stats s = {0};
  tks__lane_stats(&lane, tail(), holes, &s);
  return s;
}

static void check_account(void) {
  tks_sink_stats s = stats();
  cr_assert_eq(s.written + s.backlog + s.lost, next_seq - first_seq - dropped - holes, "%llu + %llu + %llu",
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
  cr_assert_eq(deadline(), lane.tend_at_ns, "nothing but housekeeping");
}

Test(lane, one_write_takes_all_there_is) {
  start(true);
  append(210);
  cr_assert_not(tks__lane_settled(&lane));
  cr_assert_leq(deadline(), now_ns);
  cr_assert_eq(stats().backlog, 210);
  cr_assert(step(false));
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

/* What was missed must not become one endless transaction. */
Test(lane, a_write_is_bounded) {
  start(true);
  append(TKS__WRITE_RECORDS + 5);
  cr_assert(step(false));
  cr_assert_eq(tape.last_write_records, TKS__WRITE_RECORDS);
  cr_assert_eq(stats().written_seq, FIRST_SEQ + TKS__WRITE_RECORDS - 1);
  check_account();
  cr_assert(step(false));
  cr_assert_eq(tape.last_write_records, 5);
  cr_assert_not(step(false));
  check_account();
}

Test(lane, a_write_waits_for_a_full_batch_or_the_interval_or_somebody_who_waits) {
  config.batch_records = 100;
  config.flush_interval_ms = 50;
  start(true);
  append(99);
  cr_assert_not(step(false));
  append(1);
  cr_assert(step(false), "a full batch");
  append(1);
  cr_assert_not(step(false));
  cr_assert_eq(deadline(), now_ns + MS(50));
  now_ns += MS(50) - 1;
  append(1);
  cr_assert_not(step(false));
  now_ns++;
  cr_assert(step(false), "the interval since the first of them");
  append(1);
  cr_assert_not(step(false));
  flush_target = tail();
  cr_assert(step(false), "a flush");
  append(1);
  cr_assert_not(step(false), "the flush was for what came before");
  cr_assert(step(true), "a close");
  check_account();
}

/* A wake-up costs the producer a system call. */
Test(lane, asks_for_the_record_that_is_worth_a_wake_up) {
  config.batch_records = 100;
  config.flush_interval_ms = 50;
  start(true);
  dispatch(false);
  cr_assert_eq(tks__lane_wake_position(&lane, now_ns), tail(), "idle: the first one starts the interval");
  append(1);
  dispatch(false);
  cr_assert_eq(tks__lane_wake_position(&lane, now_ns), tail() - 1 + 99, "then the one that fills the batch");
  append(99);
  fake_hold(&tape, FAKE_WRITE);
  dispatch(false);
  cr_assert(lane.busy);
  cr_assert_eq(tks__lane_wake_position(&lane, now_ns), TKS__WAKE_NEVER, "busy: the worker will report");
  fake_fail(&tape, FAKE_WRITE, 1);
  fake_release(&tape, FAKE_WRITE);
  collect();
  dispatch(false);
  cr_assert_eq(tks__lane_wake_position(&lane, now_ns), TKS__WAKE_NEVER, "it pauses");
  now_ns = lane.retry_at_ns;
  cr_assert(step(false));
  dispatch(false);
  cr_assert_eq(tks__lane_wake_position(&lane, now_ns), tail());
}

/* Perhaps the writer can do something about it. It is told of a run of losses when it begins. */
Test(lane, a_drop_wakes_the_writer_once) {
  start(true);
  dispatch(false);
  append(BLOCK);
  cr_assert(step(false));
  tks__journal_wake_at(&journal.journal, tks__lane_wake_position(&lane, now_ns));
  append_and_drop(3);
  cr_assert_eq(atomic_load(&journal.wakes), 1);
  tks__journal_wake_at(&journal.journal, tail());
  append_and_drop(3);
  cr_assert_eq(atomic_load(&journal.wakes), 1);
}

/* Nothing behind it is written before it. */
Test(lane, waits_for_a_record_that_is_not_published) {
  start(true);
  append(3);
  uint64_t claimed = journal_claim(&journal);
  uint64_t seq = next_seq++;
  append(3);
  cr_assert(step(false));
  cr_assert_eq(stats().written, 3);
  cr_assert(step(false), "looks again");
  cr_assert_eq(fake_calls(&tape, FAKE_WRITE), 1);
  cr_assert_not(step(true), "but does not spin");
  cr_assert_eq(deadline(), now_ns + MS(1));
  cr_assert_eq(tks__lane_wake_position(&lane, now_ns), TKS__WAKE_NEVER);
  cr_assert_eq(stats().batches, 1);
  cr_assert_eq(stats().written_seq, seq - 1);
  journal_fill(&journal, claimed, &(tks__record){.symbol = 1});
  now_ns += MS(1);
  cr_assert(step(false));
  cr_assert_eq(stats().written, 7);
  cr_assert_eq(stats().durable_seq, next_seq - 1);
  check_account();
}

Test(lane, appends_during_a_write_wait_for_the_next) {
  start(true);
  append(3);
  fake_hold(&tape, FAKE_WRITE);
  dispatch(false);
  cr_assert(lane.busy);
  cr_assert(fake_wait_begun(&tape, FAKE_WRITE, 1));
  for (int i = 0; i < 100; i++) append(2);
  cr_assert_eq(deadline(), INT64_MAX, "the worker will report");
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
  dispatch(false);
  cr_assert(lane.busy);
  for (int i = 0; i < 10; i++) append(5);
  fake_release(&tape, FAKE_TEND);
  collect();
  cr_assert(step(false));
  cr_assert_eq(tape.last_write_records, 50);
  cr_assert_eq(stats().durable_seq, next_seq - 1);
  check_account();
}

Test(lane, dropped_numbers_count_as_written_with_the_record_before) {
  start(true);
  append_and_drop(10);
  cr_assert_eq(stats().written_seq, FIRST_SEQ - 1);
  cr_assert(step(false));
  cr_assert_eq(stats().written_seq, next_seq - 1);
  cr_assert_eq(stats().durable_seq, next_seq - 1);
  check_account();
  journal_grow(&journal);
  append(4);
  cr_assert(step(false));
  cr_assert_eq(stats().durable_seq, next_seq - 1);
  cr_assert_eq(fake_stored(&tape), BLOCK + 4);
  cr_assert_not(fake_has(&tape, FIRST_SEQ + BLOCK));
  cr_assert(fake_has(&tape, FIRST_SEQ + BLOCK + 10));
  check_account();
}

/* ------------------------------------------------- what cannot be written */

Test(lane, a_record_that_was_overwritten_is_lost_and_counted) {
  start(true);
  append(10);
  journal_slot(&journal, BLOCK + 3)->body.bid = 1.25;
  memset((void *)journal_slot(&journal, BLOCK + 7), 0xff, sizeof(tks__slot));
  cr_assert(step(false));
  tks_sink_stats s = stats();
  cr_assert_eq(s.written, 8);
  cr_assert_eq(s.lost, 2);
  cr_assert_eq(s.durable_seq, next_seq - 1);
  check_account();
  cr_assert_not(fake_has(&tape, FIRST_SEQ + 3));
  cr_assert_not(fake_has(&tape, FIRST_SEQ + 7));
  cr_assert_eq(loss_count, 1);
  cr_assert_eq(losses[0].sink, TKS_SQLITE);
  cr_assert_eq(losses[0].cause, TKS_GAP_RECOVERY);
  cr_assert_eq(losses[0].records, 2);
}

/* A failed sync makes the lane come upon it again. */
Test(lane, what_is_lost_is_told_once) {
  start(false);
  append(1);
  journal_slot(&journal, BLOCK)->body.bid = 1.25;
  cr_assert(step(false), "nothing but that one");
  cr_assert_eq(stats().batches, 0);
  append(9);
  cr_assert(step(false));
  cr_assert_eq(stats().lost, 1);
  fake_fail(&tape, FAKE_SYNC, 1);
  cr_assert(step(true));
  cr_assert_eq(stats().lost, 0, "taken back with all that is not durable");
  now_ns = lane.retry_at_ns;
  while (step(true)) check_account();
  cr_assert_eq(stats().lost, 1);
  cr_assert_eq(stats().written, 9);
  cr_assert_eq(loss_count, 1);
}

/* Ten records are written, of ten more all but one: the loss is told, nothing is durable. */
static void write_and_lose_one(void) {
  start(false);
  append(10);
  cr_assert(step(false));
  append(10);
  journal_slot(&journal, BLOCK + 12)->body.bid = 1.25;
  cr_assert(step(false));
  cr_assert_eq(loss_count, 1);
}

/* Two losses in writes of their own, between records that are not durable. Then all of it goes in one write, or the first of it is
 * given up: what is told covers what was not told before. */
Test(lane, what_is_lost_before_something_told_is_told_with_its_own_numbers) {
  write_and_lose_one();
  cr_assert_eq(losses[0].from_seq, FIRST_SEQ + 10);
  cr_assert_eq(losses[0].to_seq, FIRST_SEQ + 19);
  append(10);
  journal_slot(&journal, BLOCK + 25)->body.bid = 1.25;
  now_ns = lane.sync_at_ns;
  fake_fail(&tape, FAKE_SYNC, 2);
  cr_assert(step(false));
  cr_assert_eq(lane.written.position, BLOCK);
  now_ns = lane.retry_at_ns;
  cr_assert(step(false));
  cr_assert_eq(lane.written.position, BLOCK + 30);
  cr_assert_eq(loss_count, 2);
  cr_assert_eq(losses[1].records, 1);
  cr_assert_eq(losses[1].from_seq, FIRST_SEQ);
  cr_assert_eq(losses[1].to_seq, FIRST_SEQ + 29);
  check_account();
}

Test(lane, what_is_given_up_before_something_told) {
  write_and_lose_one();
  fake_fail(&tape, FAKE_SYNC, 1);
  cr_assert(step(true));
  cr_assert_eq(lane.written.position, BLOCK);
  skip(BLOCK + 5);
  cr_assert_eq(loss_count, 2);
  cr_assert_eq(losses[1].from_seq, FIRST_SEQ);
  cr_assert_eq(losses[1].to_seq, FIRST_SEQ + 4);
  now_ns = lane.retry_at_ns;
  while (step(true)) check_account();
  cr_assert_eq(stats().lost, 6);
  uint64_t records = 0;
  for (size_t i = 0; i < loss_count; i++) records += losses[i].records;
  cr_assert_eq(records, 6, "each is counted once");
}

Test(lane, recovered_records_come_first_and_holes_are_passed) {
  recover_block(3);
  recover_block(1);
  recover_block(7);
  uint64_t live_seq = next_seq;
  config.batch_records = 1000000;
  config.flush_interval_ms = 1000000;
  start(true);
  check_account();
  cr_assert_eq(stats().backlog, recovered);
  append(10);
  cr_assert_not(tks__lane_settled(&lane));
  cr_assert(step(false), "it does not wait for a batch or the interval");
  tks_sink_stats s = stats();
  cr_assert_eq(s.written, recovered + 10);
  cr_assert_eq(s.lost, 0);
  cr_assert_eq(s.backlog, 0);
  cr_assert_eq(s.durable_seq, next_seq - 1);
  check_account();
  cr_assert_eq(fake_stored(&tape), recovered + 10);
  cr_assert_not(fake_has(&tape, FIRST_SEQ + 1));
  cr_assert(fake_has(&tape, FIRST_SEQ + 3));
  cr_assert(fake_has(&tape, live_seq));
  append(1);
  cr_assert_not(step(false));
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
    cr_assert_eq(deadline(), before + MS(expected[i].pause_ms));
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
  cr_assert_eq(deadline(), now_ns + MS(100));
}

Test(lane, without_retries_it_is_degraded_at_once) {
  config.retry_attempts = 0;
  start(true);
  append(1);
  fake_fail(&tape, FAKE_WRITE, 1);
  cr_assert(step(false));
  cr_assert_eq(stats().state, TKS_SINK_DEGRADED);
  cr_assert_eq(deadline(), now_ns + MS(5000));
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
  dispatch(false);
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
  cr_assert_eq(deadline(), now_ns + MS(1000));
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

/* A flush waits for what was there when it began. */
Test(lane, a_flush_makes_it_sync_once_all_of_it_is_written) {
  start(false);
  append(10);
  cr_assert(step(false));
  append(10);
  flush_target = tail();
  cr_assert(step(false));
  cr_assert_eq(fake_calls(&tape, FAKE_WRITE), 2);
  append(5);
  cr_assert(step(false));
  cr_assert_eq(fake_calls(&tape, FAKE_SYNC), 1);
  cr_assert_eq(stats().durable_seq, FIRST_SEQ + 19);
  cr_assert(step(false));
  cr_assert_not(step(false));
  cr_assert_eq(fake_calls(&tape, FAKE_SYNC), 1);
}

/* What keeps the journal from having room waits neither for a batch nor for the next sync's time. */
Test(lane, a_journal_without_room_makes_it_write_and_sync) {
  config.batch_records = 1000000;
  config.flush_interval_ms = 1000000;
  start(false);
  append(BLOCK + 10);
  cr_assert_not(step(false));
  room_target = 2 * BLOCK;
  cr_assert(step(false));
  cr_assert_eq(fake_calls(&tape, FAKE_WRITE), 1);
  cr_assert_eq(fake_calls(&tape, FAKE_SYNC), 0);
  cr_assert_leq(deadline(), now_ns);
  cr_assert(step(false));
  cr_assert_eq(fake_calls(&tape, FAKE_SYNC), 1);
  cr_assert_eq(tks__lane_released(&lane), tail());
  append(1);
  cr_assert_not(step(false), "it has done its part");
}

Test(lane, a_failed_housekeeping_takes_back_what_was_not_durable) {
  start(false);
  append(10);
  cr_assert(step(false));
  now_ns = lane.tend_at_ns;
  fake_fail(&tape, FAKE_TEND, 1);
  cr_assert(step(true), "the sync comes first");
  cr_assert_eq(stats().durable_seq, FIRST_SEQ + 9);
  append(3);
  cr_assert(step(false));
  cr_assert_eq(stats().written, 13);
  cr_assert(step(false));
  cr_assert_eq(fake_calls(&tape, FAKE_TEND), 1);
  cr_assert_eq(stats().written, 10, "it may have been a sync");
  cr_assert_eq(stats().state, TKS_SINK_RETRYING);
  check_account();
  now_ns = lane.retry_at_ns;
  while (step(true)) check_account();
  cr_assert_eq(stats().durable_seq, next_seq - 1);
  cr_assert_eq(stats().state, TKS_SINK_OK);
}

/* ------------------------------------------------------------------- giving up */

Test(lane, gives_up_its_oldest_and_counts_it) {
  start(true);
  append(10);
  cr_assert(step(false));
  append(2 * BLOCK);
  cr_assert_eq(tks__lane_released(&lane), BLOCK + 10);
  skip(2 * BLOCK);
  cr_assert_eq(tks__lane_released(&lane), 2 * BLOCK);
  cr_assert_eq(stats().lost, BLOCK - 10);
  cr_assert_eq(stats().written, 10);
  cr_assert_eq(stats().durable_seq, FIRST_SEQ + BLOCK - 1, "all up to there is stored or reported lost");
  check_account();
  cr_assert_eq(loss_count, 1);
  cr_assert_eq(losses[0].cause, TKS_GAP_BACKLOG);
  cr_assert_eq(losses[0].records, BLOCK - 10);
  cr_assert(step(false));
  check_account();
  cr_assert_eq(stats().backlog, 0);
  for (uint64_t seq = FIRST_SEQ; seq < next_seq; seq++)
    cr_assert_eq(fake_has(&tape, seq), seq < FIRST_SEQ + 10 || seq >= FIRST_SEQ + BLOCK, "%llu",
                 (unsigned long long)seq);
}

/* A close that kept records in the journal gave the numbers behind them to the next session. */
Test(lane, gives_up_what_was_recovered_by_its_own_numbers) {
  tks__record records[10];
  for (size_t i = 0; i < 10; i++) records[i] = (tks__record){.seq = next_seq + i, .symbol = 1};
  journal_add_recovered(&journal, next_seq, records, 10);
  next_seq += 10;
  start(true);
  append(10);
  skip(2 * BLOCK);
  cr_assert_eq(loss_count, 1);
  cr_assert_eq(losses[0].records, 10);
  cr_assert_eq(losses[0].from_seq, FIRST_SEQ);
  cr_assert_eq(losses[0].to_seq, FIRST_SEQ + 9);
  cr_assert_eq(stats().durable_seq, FIRST_SEQ + 9);
  cr_assert(step(false));
  cr_assert_eq(fake_stored(&tape), 10);
  cr_assert_eq(stats().durable_seq, next_seq - 1);
}

/* What the worker has in its hands may still be written. */
Test(lane, what_a_running_write_has_is_not_lost_by_giving_up) {
  start(true);
  append(10);
  fake_hold(&tape, FAKE_WRITE);
  dispatch(false);
  cr_assert(fake_wait_begun(&tape, FAKE_WRITE, 1));
  append(2 * BLOCK);
  skip(2 * BLOCK);
  cr_assert_eq(stats().lost, 0, "not known yet");
  cr_assert_eq(tks__lane_released(&lane), 2 * BLOCK, "the worker has a copy");
  check_account();
  fake_release(&tape, FAKE_WRITE);
  collect();
  cr_assert_eq(stats().written, 10);
  cr_assert_eq(stats().lost, BLOCK - 10);
  check_account();
  while (step(true)) check_account();
  cr_assert_eq(fake_stored(&tape), BLOCK + 20);
}

Test(lane, a_write_that_fails_after_giving_up_loses_what_it_had) {
  start(true);
  append(10);
  fake_hold(&tape, FAKE_WRITE);
  fake_fail(&tape, FAKE_WRITE, 1);
  dispatch(false);
  cr_assert(fake_wait_begun(&tape, FAKE_WRITE, 1));
  append(2 * BLOCK);
  skip(2 * BLOCK);
  fake_release(&tape, FAKE_WRITE);
  collect();
  cr_assert_eq(stats().written, 0);
  cr_assert_eq(stats().lost, BLOCK);
  check_account();
}

Test(lane, stopped_it_writes_no_more_and_syncs_what_it_wrote) {
  start(false);
  append(10);
  cr_assert(step(false));
  append(5);
  lane.stopped = true;
  cr_assert(step(true));
  cr_assert_eq(fake_calls(&tape, FAKE_WRITE), 1);
  cr_assert_eq(stats().durable_seq, FIRST_SEQ + 9);
  cr_assert_not(step(true));
  cr_assert_eq(stats().backlog, 5);
  cr_assert_eq(stats().lost, 0);
  finish();
}

/* Holes were never records. */
Test(lane, gives_up_a_recovered_block_with_holes) {
  recover_block(3);
  recover_block(1);
  start(true);
  fake_fail(&tape, FAKE_WRITE, 1);
  append(10);
  cr_assert(step(false));
  check_account();
  skip(2 * BLOCK);
  cr_assert_eq(stats().lost, (BLOCK + 2) / 3);
  check_account();
  cr_assert_eq(losses[0].from_seq, FIRST_SEQ);
  cr_assert_eq(losses[0].to_seq, FIRST_SEQ + BLOCK - 1);
  now_ns = lane.retry_at_ns;
  cr_assert(step(false));
  cr_assert_eq(stats().backlog, 0);
  check_account();
}

/* What was written before and waits for its sync did not become durable by a loss behind it. */
Test(lane, giving_up_makes_nothing_durable) {
  start(false);
  append(10);
  cr_assert(step(false));
  append(2 * BLOCK);
  skip(2 * BLOCK);
  cr_assert_eq(stats().written, 10);
  cr_assert_eq(stats().lost, BLOCK - 10);
  cr_assert_eq(stats().durable_seq, FIRST_SEQ - 1);
  check_account();
  fake_fail(&tape, FAKE_SYNC, 1);
  flush_target = 2 * BLOCK;
  cr_assert(step(false));
  cr_assert_eq(fake_calls(&tape, FAKE_SYNC), 1);
  cr_assert_eq(stats().written, 0, "and it cannot come again");
  cr_assert_eq(stats().lost, BLOCK);
  check_account();
  cr_assert_eq(loss_count, 2);
  cr_assert_eq(losses[0].records, BLOCK - 10);
  cr_assert_eq(losses[1].from_seq, FIRST_SEQ);
  cr_assert_eq(losses[1].to_seq, FIRST_SEQ + 9);
  cr_assert_eq(losses[1].records, 10);
}

/* The journal gave the blocks of what was given up to other numbers while the write hung. */
Test(lane, names_what_is_lost_by_its_own_numbers) {
  start(true);
  append(10);
  fake_hold(&tape, FAKE_WRITE);
  dispatch(false);
  cr_assert(fake_wait_begun(&tape, FAKE_WRITE, 1));
  append(2 * BLOCK);
  skip(2 * BLOCK);
  tks__journal_block(&journal.journal, BLOCK)->offset += 1000;
  tks__lane_publish_written(&lane);
  tks__lane_publish_durable(&lane);
  cr_assert_eq(stats().durable_seq, FIRST_SEQ - 1);
  cr_assert_eq(stats().written_seq, FIRST_SEQ - 1);
  fake_release(&tape, FAKE_WRITE);
  collect();
  cr_assert_eq(loss_count, 1);
  cr_assert_eq(losses[0].from_seq, FIRST_SEQ + 10);
  cr_assert_eq(losses[0].to_seq, FIRST_SEQ + BLOCK - 1);
}

Test(lane, at_the_end_the_running_write_counts_first) {
  recover_block(2);
  start(false);
  append(30);
  fake_hold(&tape, FAKE_WRITE);
  fake_fail(&tape, FAKE_WRITE, 1);
  dispatch(true);
  cr_assert(fake_wait_begun(&tape, FAKE_WRITE, 1));
  lane.stopped = true;
  (void)pthread_mutex_lock(&lock);
  tks__lane_lose_live(&lane, TKS_GAP_CLOSE);
  (void)pthread_mutex_unlock(&lock);
  cr_assert_eq(stats().lost, 0);
  fake_release(&tape, FAKE_WRITE);
  collect();
  cr_assert_eq(atomic_load(&lane.lost), 30);
  cr_assert_eq(losses[0].records, 30);
  cr_assert_eq(losses[0].from_seq, FIRST_SEQ + BLOCK);
}

/* The journal that an earlier session left is still there; what came now is gone. */
Test(lane, at_the_end_without_files_only_what_came_now_is_lost) {
  recover_block(2);
  start(true);
  append(30);
  (void)pthread_mutex_lock(&lock);
  tks__lane_lose_live(&lane, TKS_GAP_CLOSE);
  (void)pthread_mutex_unlock(&lock);
  cr_assert_eq(atomic_load(&lane.lost), 30);
  cr_assert_eq(loss_count, 1);
  cr_assert_eq(losses[0].cause, TKS_GAP_CLOSE);
  cr_assert_eq(losses[0].records, 30);
  cr_assert_eq(tks__lane_released(&lane), BLOCK);
}

Test(lane, at_the_end_what_is_written_is_not_lost) {
  recover_block(2);
  start(true);
  append(30);
  while (step(true)) check_account();
  (void)pthread_mutex_lock(&lock);
  tks__lane_lose_live(&lane, TKS_GAP_CLOSE);
  (void)pthread_mutex_unlock(&lock);
  cr_assert_eq(atomic_load(&lane.lost), 0);
  cr_assert_eq(loss_count, 0);
  append(5);
  (void)pthread_mutex_lock(&lock);
  tks__lane_lose_live(&lane, TKS_GAP_CLOSE);
  (void)pthread_mutex_unlock(&lock);
  cr_assert_eq(atomic_load(&lane.lost), 5);
  cr_assert_eq(losses[0].records, 5);
  cr_assert_eq(losses[0].from_seq, next_seq - 5);
  cr_assert_eq(losses[0].to_seq, next_seq - 1);
}

/* ------------------------------------------------------------------ all at once */

static uint64_t lost_as_heard(void) {
  uint64_t records = 0;
  for (size_t i = 0; i < loss_count; i++) records += losses[i].records;
  loss_count = 0;
  return records;
}

/* As when the journal needs room. */
static void skip_some(test_random *random) {
  uint64_t next = (tks__lane_released(&lane) | (BLOCK - 1)) + 1 + BLOCK * random_below(random, 3);
  if (next <= tail()) skip(next);
}

static void random_life(bool durable_on_write) {
  test_random random = random_new();
  config.late_close_s = 4;
  config.batch_records = 20;
  config.flush_interval_ms = 100;
  for (uint64_t blocks = random_below(&random, 8); blocks > 0; blocks--) recover_block(1 + random_below(&random, 5));
  start(durable_on_write);
  uint64_t lost = 0, heard = 0;
  for (uint64_t i = 0; i < rounds(20000); i++) {
    uint64_t choice = random_below(&random, 12);
    if (choice < 4) append(random_below(&random, 60));
    if (choice == 4) fake_fail(&tape, FAKE_WRITE, random_below(&random, 6));
    if (choice == 5 && !durable_on_write) fake_fail(&tape, FAKE_SYNC, random_below(&random, 3));
    if (choice == 6) fake_fail(&tape, FAKE_TEND, random_below(&random, 2));
    if (choice > 6 && choice < 10) now_ns += MS(random_below(&random, 3000));
    if (choice == 10 && random_below(&random, 20) == 0) append_and_drop(1 + random_below(&random, 5));
    if (choice == 11) flush_target = tail();
    uint64_t durable = stats().durable_seq;
    bool appends = random_below(&random, 2) == 0;
    dispatch(random_below(&random, 4) == 0);
    if (lane.busy) {
      if (appends) append(random_below(&random, 60));
      if (random_below(&random, 20) == 0) skip_some(&random);
      collect();
    }
    if (random_below(&random, 50) == 0) skip_some(&random);
    check_account();
    cr_assert_geq(stats().durable_seq, durable);
    cr_assert_geq(stats().lost, lost);
    lost = stats().lost;
    heard += lost_as_heard();
    cr_assert_eq(heard, lost);
  }
  fake_fail(&tape, FAKE_WRITE, 0);
  fake_fail(&tape, FAKE_SYNC, 0);
  fake_fail(&tape, FAKE_TEND, 0);
  for (int i = 0; i < 10 || !tks__lane_settled(&lane); i++) {
    now_ns += MS(5000);
    (void)step(true);
  }
  check_account();
  cr_assert_eq(stats().backlog, 0);
  cr_assert_eq(stats().state, TKS_SINK_OK);
  cr_assert_eq(stats().durable_seq, next_seq - 1);
  cr_assert_geq(fake_stored(&tape), stats().written);
}

Test(lane, random_life_of_a_sink_that_commits) { random_life(true); }
Test(lane, random_life_of_a_sink_that_is_synced) { random_life(false); }
