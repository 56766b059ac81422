#include "persist/worker.h"

#include <errno.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/thread.h"

#define RECORDS_BYTES (TKS__WRITE_RECORDS * sizeof(tks__record))

static int write_records(tks__worker *worker, tks__job *job) {
  tks__journal_read(worker->journal, job->from, job->max, worker->records, &job->part);
  /* Release: the journal's slots are not looked at any more. */
  atomic_store_explicit(&worker->has_read, true, memory_order_release);
  if (job->part.count == 0) return TKS_OK;
  return worker->sink->ops->write(worker->sink, worker->records, job->part.count, &job->error);
}

static void do_job(tks__worker *worker, tks__job *job) {
  tks__sink *sink = worker->sink;
  int64_t started = tks__clock_monotonic_ns();
  job->error = (tks_error){0};
  switch (job->kind) {
    case TKS__JOB_WRITE: job->code = write_records(worker, job); break;
    case TKS__JOB_SYNC: job->code = sink->ops->sync(sink, &job->error); break;
    case TKS__JOB_TEND:
      job->tended_at_ns = tks__clock_now_ns();
      job->code = sink->ops->tend(sink, job->tended_at_ns, &job->error);
      break;
    case TKS__JOB_CLOSE: job->code = sink->ops->close(sink, &job->error); break;
    case TKS__JOB_NONE: job->code = TKS_OK; break;
  }
  job->took_ns = tks__clock_monotonic_ns() - started;
}

static void *worker_main(void *argument) {
  tks__worker *worker = argument;
  for (tks__job_kind kind = TKS__JOB_NONE; kind != TKS__JOB_CLOSE;) {
    (void)pthread_mutex_lock(&worker->lock);
    while (!worker->busy) (void)pthread_cond_wait(&worker->changed, &worker->lock);
    tks__job job = worker->job;
    (void)pthread_mutex_unlock(&worker->lock);

    do_job(worker, &job);
    kind = job.kind;

    (void)pthread_mutex_lock(&worker->lock);
    worker->job = job;
    worker->busy = false;
    worker->finished = true;
    /* Under the lock: once it is released after CLOSE, the loop may be gone. */
    worker->done(worker->done_context);
    (void)pthread_mutex_unlock(&worker->lock);
  }
  return NULL;
}

int tks__worker_start(tks__worker *worker, tks__sink *sink, const tks__journal *journal, void (*done)(void *),
                      void *done_context) {
  *worker = (tks__worker){.sink = sink, .journal = journal, .done = done, .done_context = done_context};
  /* Takes memory as it is touched: little, as long as writes are small. */
  worker->records = tks__reserve(RECORDS_BYTES);
  if (worker->records == NULL) return ENOMEM;
  int rc = pthread_mutex_init(&worker->lock, NULL);
  if (rc != 0) goto no_mutex;
  rc = pthread_cond_init(&worker->changed, NULL);
  if (rc != 0) goto no_condition;
  rc = tks__thread_start(&worker->thread, worker_main, worker);
  if (rc == 0) return 0;
  (void)pthread_cond_destroy(&worker->changed);
no_condition:
  (void)pthread_mutex_destroy(&worker->lock);
no_mutex:
  tks__unreserve(worker->records, RECORDS_BYTES);
  return rc;
}

void tks__worker_give(tks__worker *worker, const tks__job *job) {
  (void)pthread_mutex_lock(&worker->lock);
  worker->job = *job;
  worker->busy = true;
  atomic_store_explicit(&worker->has_read, false, memory_order_relaxed);
  (void)pthread_cond_signal(&worker->changed);
  (void)pthread_mutex_unlock(&worker->lock);
}

bool tks__worker_collect(tks__worker *worker, tks__job *job) {
  (void)pthread_mutex_lock(&worker->lock);
  bool finished = worker->finished;
  if (finished) {
    *job = worker->job;
    worker->finished = false;
  }
  (void)pthread_mutex_unlock(&worker->lock);
  return finished;
}

void tks__worker_join(tks__worker *worker) {
  (void)pthread_join(worker->thread, NULL);
  (void)pthread_cond_destroy(&worker->changed);
  (void)pthread_mutex_destroy(&worker->lock);
  tks__unreserve(worker->records, RECORDS_BYTES);
}
