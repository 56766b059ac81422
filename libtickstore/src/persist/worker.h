/* worker.h - a sink's own thread. Takes one job at a time from the writer's loop and reports back, so that a disk that
 * hangs holds up its own sink only: neither the loop nor another sink waits for it. */
#ifndef TKS_PERSIST_WORKER_H
#define TKS_PERSIST_WORKER_H

#include <pthread.h>
#include <stdbool.h>

#include "ingest/journal.h"
#include "persist/sink.h"

typedef enum tks__job_kind {
  TKS__JOB_NONE,
  TKS__JOB_WRITE,
  TKS__JOB_SYNC,
  TKS__JOB_TEND,
  TKS__JOB_CLOSE, /* the last one; the thread ends after it */
} tks__job_kind;

typedef struct tks__job {
  tks__job_kind kind;
  uint64_t from; /* WRITE: position of the first record to read from the journal, and how many at most */
  size_t max;
  tks__journal_part part; /* result of WRITE: what was read */
  int64_t tended_at_ns;   /* result of TEND: the calendar's time */
  int code;               /* result */
  int64_t took_ns;
  tks_error error;
} tks__job;

typedef struct tks__worker {
  tks__sink *sink;
  const tks__journal *journal; /* borrowed */
  tks__record *records;        /* worker's: what is being written, mapped for the most there can be */
  _Atomic bool has_read;       /* the job's records were copied: the journal may let them go */
  void (*done)(void *context); /* called on the worker's thread after each job */
  void *done_context;
  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t changed;
  tks__job job; /* the loop's when !busy, else the worker's */
  bool busy;
  bool finished; /* a job was done and not yet collected */
} tks__worker;

#define TKS__WRITE_RECORDS 100000 /* one write takes at most so many: no transaction is endless */

/* Starts the thread, with all signals blocked. 0 or an errno value. */
int tks__worker_start(tks__worker *worker, tks__sink *sink, const tks__journal *journal, void (*done)(void *),
                      void *done_context);

/* Loop thread: gives a job; the worker must be idle. */
void tks__worker_give(tks__worker *worker, const tks__job *job);

/* Loop thread: true once for each job that is done, with its result. */
bool tks__worker_collect(tks__worker *worker, tks__job *job);

/* After the CLOSE job was collected. */
void tks__worker_join(tks__worker *worker);

#endif
