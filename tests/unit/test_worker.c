#include "persist/worker.h"

#include <criterion/criterion.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "support/fake_sink.h"
#include "support/wait.h"

#define FIRST_SEQ 10

static fake_tape tape;
static sem_t done;
static tks__worker worker;

static void post(void *context) { (void)sem_post(context); }

static int64_t last_of_1999(void) { return INT64_C(946684799999999999); }

static void set_up(void) {
  fake_tape_init(&tape, FIRST_SEQ);
  cr_assert_eq(sem_init(&done, 0, 0), 0);
  cr_assert_eq(tks__worker_start(&worker, fake_sink_new(&tape, TKS_SQLITE, true), post, &done), 0);
}

static tks__job run(tks__job_kind kind, const tks__batch *const *batches, size_t count) {
  const tks__job job = {.kind = kind,
                        .batches = batches,
                        .batch_count = count,
                        .code = 12345,
                        .error = {.code = 12345, .message = "of an earlier job"}};
  tks__worker_give(&worker, &job);
  tks__job result;
  while (sem_wait(&done) != 0) {
  }
  cr_assert(tks__worker_collect(&worker, &result));
  cr_assert_eq(result.kind, kind);
  cr_assert_geq(result.took_ns, 0);
  cr_assert_not(tks__worker_collect(&worker, &result), "once for each job");
  return result;
}

static void tear_down(void) {
  atomic_store(&tks__clock_override, NULL);
  (void)run(TKS__JOB_CLOSE, NULL, 0);
  tks__worker_join(&worker);
  FAKE_ABORT_UNLESS(fake_is_sound(&tape), "%llu out of order", (unsigned long long)tape.disorder);
  fake_tape_deinit(&tape);
  (void)sem_destroy(&done);
}

TestSuite(worker, .init = set_up, .fini = tear_down);

static tks__batch *batch_of(uint64_t from, size_t count) {
  tks__batch *batch = tks__batch_new(count);
  for (size_t i = 0; i < count; i++) batch->records[i] = (tks__record){.seq = from + i};
  batch->count = count;
  batch->last_seq = from + count - 1;
  return batch;
}

Test(worker, does_one_job_after_the_other) {
  for (uint64_t i = 0; i < 200; i++) {
    tks__batch *batches[2] = {batch_of(FIRST_SEQ + i * 5, 3), batch_of(FIRST_SEQ + i * 5 + 3, 2)};
    cr_assert_eq(run(TKS__JOB_WRITE, (const tks__batch *const *)batches, 2).code, TKS_OK);
    cr_assert_eq(tape.last_write_batches, 2);
    cr_assert_eq(tape.last_write_records, 5);
    cr_assert_eq(run(TKS__JOB_SYNC, NULL, 0).code, TKS_OK);
    tks__batch_release(batches[0]);
    tks__batch_release(batches[1]);
  }
  cr_assert_eq(fake_stored(&tape), 1000);
  cr_assert_eq(fake_calls(&tape, FAKE_WRITE), 200);
  cr_assert_eq(fake_calls(&tape, FAKE_SYNC), 200);
}

Test(worker, reports_what_failed) {
  fake_fail(&tape, FAKE_SYNC, 1);
  tks__job job = run(TKS__JOB_SYNC, NULL, 0);
  cr_assert_eq(job.code, TKS_EIO);
  cr_assert_eq(job.error.code, TKS_EIO);
  cr_assert_eq(job.error.detail, 5);
  cr_assert_str_eq(job.error.message, "sync 1 fails");
  /* The next job starts with a clean slate. */
  job = run(TKS__JOB_SYNC, NULL, 0);
  cr_assert_eq(job.code, TKS_OK);
  cr_assert_eq(job.error.code, 0);
  cr_assert_str_eq(job.error.message, "");
}

Test(worker, tends_with_calendar_time) {
  atomic_store(&tks__clock_override, last_of_1999);
  cr_assert_eq(run(TKS__JOB_TEND, NULL, 0).code, TKS_OK);
  cr_assert_eq(tape.tended_at_ns, last_of_1999());
}

Test(worker, has_nothing_to_collect_while_it_works) {
  fake_hold(&tape, FAKE_SYNC);
  const tks__job job = {.kind = TKS__JOB_SYNC};
  tks__job result;
  cr_assert_not(tks__worker_collect(&worker, &result), "nothing given yet");
  tks__worker_give(&worker, &job);
  cr_assert(fake_wait_begun(&tape, FAKE_SYNC, 1));
  for (int i = 0; i < 10; i++) cr_assert_not(tks__worker_collect(&worker, &result));
  fake_release(&tape, FAKE_SYNC);
  while (sem_wait(&done) != 0) {
  }
  cr_assert(tks__worker_collect(&worker, &result));
  cr_assert_eq(result.code, TKS_OK);
}

/* ------------------------------------------------------------------- signals */

static _Atomic bool all_blocked;

static int look_at_mask(tks__sink *sink, tks_error *error) {
  (void)sink;
  (void)error;
  sigset_t mask;
  bool blocked = pthread_sigmask(SIG_SETMASK, NULL, &mask) == 0;
  for (int signal = 1; signal < NSIG; signal++) {
    /* Those that cannot be blocked, and the C library's own. */
    if (signal == SIGKILL || signal == SIGSTOP || (signal > SIGSYS && signal < SIGRTMIN)) continue;
    blocked = blocked && sigismember(&mask, signal) == 1;
  }
  all_blocked = blocked;
  return TKS_OK;
}

Test(worker_signals, are_blocked_on_its_thread_and_not_on_the_callers) {
  static const tks__sink_ops ops = {.name = "mask", .sync = look_at_mask, .close = look_at_mask};
  tks__sink sink = {.ops = &ops};
  sigset_t before, after;
  cr_assert_eq(pthread_sigmask(SIG_SETMASK, NULL, &before), 0);
  cr_assert_eq(sem_init(&done, 0, 0), 0);
  cr_assert_eq(tks__worker_start(&worker, &sink, post, &done), 0);
  cr_assert_eq(pthread_sigmask(SIG_SETMASK, NULL, &after), 0);
  for (int signal = 1; signal < NSIG; signal++) cr_assert_eq(sigismember(&before, signal), sigismember(&after, signal));
  (void)run(TKS__JOB_SYNC, NULL, 0);
  cr_assert(all_blocked);
  (void)run(TKS__JOB_CLOSE, NULL, 0);
  tks__worker_join(&worker);
  (void)sem_destroy(&done);
}
