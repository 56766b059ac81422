#include "persist/worker.h"

#include <criterion/criterion.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "support/fake_sink.h"
#include "support/journals.h"
#include "support/wait.h"

#define FIRST_SEQ 10

static fake_tape tape;
static test_journal journal;
static sem_t done;
static tks__worker worker;

static void post(void *context) { (void)sem_post(context); }

static int64_t last_of_1999(void) { return INT64_C(946684799999999999); }

static void set_up(void) {
  fake_tape_init(&tape, FIRST_SEQ);
  cr_assert_eq(sem_init(&done, 0, 0), 0);
  journal_set_up(&journal, 64);
  journal_go_live(&journal, FIRST_SEQ);
  cr_assert_eq(tks__worker_start(&worker, fake_sink_new(&tape, TKS_SQLITE, true), &journal.journal, post, &done), 0);
}

static tks__job run_job(tks__job job) {
  job.code = 12345;
  job.error = (tks_error){.code = 12345, .message = "of an earlier job"};
  tks__worker_give(&worker, &job);
  tks__job result;
  while (sem_wait(&done) != 0) {
  }
  cr_assert(tks__worker_collect(&worker, &result));
  cr_assert_eq(result.kind, job.kind);
  cr_assert_geq(result.took_ns, 0);
  cr_assert_not(tks__worker_collect(&worker, &result), "once for each job");
  return result;
}

static tks__job run(tks__job_kind kind) { return run_job((tks__job){.kind = kind}); }

static tks__job write_from(uint64_t from, size_t max) {
  return run_job((tks__job){.kind = TKS__JOB_WRITE, .from = from, .max = max});
}

static void tear_down(void) {
  atomic_store(&tks__clock_override, NULL);
  (void)run(TKS__JOB_CLOSE);
  tks__worker_join(&worker);
  FAKE_ABORT_UNLESS(fake_is_sound(&tape), "%llu out of order", (unsigned long long)tape.disorder);
  fake_tape_deinit(&tape);
  journal_tear_down(&journal);
  (void)sem_destroy(&done);
}

TestSuite(worker, .init = set_up, .fini = tear_down);

static void put(size_t count) {
  for (size_t i = 0; i < count; i++) (void)journal_put(&journal, &(tks__record){.symbol = 1});
}

Test(worker, does_one_job_after_the_other) {
  uint64_t from = journal.journal.live_from;
  for (uint64_t i = 0; i < 200; i++) {
    put(5);
    tks__job job = write_from(from, 1000);
    cr_assert_eq(job.code, TKS_OK);
    cr_assert_eq(job.part.count, 5);
    cr_assert_eq(job.part.through, from + 5);
    cr_assert_eq(tape.last_write_records, 5);
    from = job.part.through;
    cr_assert_eq(run(TKS__JOB_SYNC).code, TKS_OK);
  }
  cr_assert_eq(fake_stored(&tape), 1000);
  cr_assert_eq(fake_calls(&tape, FAKE_WRITE), 200);
  cr_assert_eq(fake_calls(&tape, FAKE_SYNC), 200);
}

Test(worker, takes_no_more_than_it_is_told_to) {
  put(100);
  uint64_t from = journal.journal.live_from;
  tks__job job = write_from(from, 70);
  cr_assert_eq(job.part.count, 70);
  cr_assert_eq(job.part.through, from + 70);
  cr_assert_eq(fake_stored(&tape), 70);
  job = write_from(job.part.through, 70);
  cr_assert_eq(job.part.count, 30);
  cr_assert_eq(fake_stored(&tape), 100);
}

/* The sink is not called for nothing. */
Test(worker, stops_before_a_record_that_is_not_published) {
  put(10);
  uint64_t claimed = journal_claim(&journal);
  put(10);
  uint64_t from = journal.journal.live_from;
  tks__job job = write_from(from, 1000);
  cr_assert_eq(job.part.count, 10);
  cr_assert_eq(job.part.through, claimed);
  job = write_from(claimed, 1000);
  cr_assert_eq(job.code, TKS_OK);
  cr_assert_eq(job.part.count, 0);
  cr_assert_eq(job.part.through, claimed);
  cr_assert_eq(fake_calls(&tape, FAKE_WRITE), 1);
  journal_fill(&journal, claimed, &(tks__record){.symbol = 1});
  cr_assert_eq(write_from(claimed, 1000).part.count, 11);
  cr_assert_eq(fake_stored(&tape), 21);
}

/* While the sink hangs, the journal may go its way: the worker has a copy. */
Test(worker, says_when_it_has_read) {
  put(10);
  fake_hold(&tape, FAKE_WRITE);
  const tks__job job = {.kind = TKS__JOB_WRITE, .from = journal.journal.live_from, .max = 1000};
  tks__worker_give(&worker, &job);
  cr_assert(fake_wait_begun(&tape, FAKE_WRITE, 1));
  cr_assert(atomic_load(&worker.has_read));
  for (uint64_t i = 0; i < 10; i++)
    memset((void *)journal_slot(&journal, journal.journal.live_from + i), 0xff, sizeof(tks__slot));
  fake_release(&tape, FAKE_WRITE);
  while (sem_wait(&done) != 0) {
  }
  tks__job result;
  cr_assert(tks__worker_collect(&worker, &result));
  cr_assert_eq(result.part.count, 10);
  cr_assert_eq(result.part.damaged, 0);
  cr_assert_eq(fake_stored(&tape), 10);
}

Test(worker, reports_what_failed) {
  fake_fail(&tape, FAKE_SYNC, 1);
  tks__job job = run(TKS__JOB_SYNC);
  cr_assert_eq(job.code, TKS_EIO);
  cr_assert_eq(job.error.code, TKS_EIO);
  cr_assert_eq(job.error.detail, 5);
  cr_assert_str_eq(job.error.message, "sync 1 fails");
  /* The next job starts with a clean slate. */
  job = run(TKS__JOB_SYNC);
  cr_assert_eq(job.code, TKS_OK);
  cr_assert_eq(job.error.code, 0);
  cr_assert_str_eq(job.error.message, "");
}

Test(worker, tends_with_calendar_time) {
  atomic_store(&tks__clock_override, last_of_1999);
  cr_assert_eq(run(TKS__JOB_TEND).code, TKS_OK);
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
  cr_assert_eq(tks__worker_start(&worker, &sink, NULL, post, &done), 0);
  cr_assert_eq(pthread_sigmask(SIG_SETMASK, NULL, &after), 0);
  for (int signal = 1; signal < NSIG; signal++) cr_assert_eq(sigismember(&before, signal), sigismember(&after, signal));
  (void)run(TKS__JOB_SYNC);
  cr_assert(all_blocked);
  (void)run(TKS__JOB_CLOSE);
  tks__worker_join(&worker);
  (void)sem_destroy(&done);
}
