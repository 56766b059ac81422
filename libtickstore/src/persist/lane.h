/* lane.h - one sink's way through the writer: its backlog, its worker, its retry state and its numbers.
 *
 * Everything here runs on the writer's loop thread but for what is said to be readable elsewhere. */
#ifndef TKS_PERSIST_LANE_H
#define TKS_PERSIST_LANE_H

#include <stdatomic.h>

#include "base/log.h"
#include "persist/worker.h"

#define TKS__LANE_HANDED 1024 /* batches that one write takes at most */

typedef struct tks__lane {
  const tks_config *config;
  const tks__log *log;
  tks__worker worker;
  uint32_t id;
  bool durable_on_write;
  bool busy; /* the worker has a job */
  bool closed;
  bool given_up; /* at the end of a close: what still comes is lost */
  tks__job_kind running;
  int64_t running_since_ns;

  /* Guarded by the queue's lock where the array or the counts below change; other threads read under that lock. */
  tks__batch **backlog;
  size_t count;                               /* batches in the backlog */
  size_t capacity;                            /* of the array */
  const tks__batch *handed[TKS__LANE_HANDED]; /* the worker's copy of the pointers: the backlog moves while it writes */
  size_t written;                             /* the first so many are written but not durable */
  size_t writing;                             /* and so many after them are with the worker */
  uint64_t records;                           /* in the backlog, not yet written */
  uint64_t retained;                          /* in the backlog, written but not durable */

  uint64_t through;       /* every sequence number up to here came to this lane, or was lost to it */
  uint64_t sync_target;   /* what the running sync will make durable */
  uint32_t attempts;      /* failed ones in a row */
  bool sync_failed;       /* the last sync; writes alone do not show that the sink is well again */
  int64_t retry_at_ns;    /* monotonic; 0: at once */
  uint64_t flush_target;  /* set by the writer: the sequence number that an urgent sync is for */
  uint64_t requests_seen; /* flush requests that it has been given an attempt for */
  int64_t sync_at_ns;     /* 0: nothing to sync */
  int64_t tend_at_ns;

  /* Read by tks_stats, relaxed. */
  _Atomic uint32_t state; /* tks_sink_state */
  _Atomic uint64_t written_seq;
  _Atomic uint64_t durable_seq;
  _Atomic uint64_t written_records;
  _Atomic uint64_t backlog_records;
  _Atomic uint64_t lost;
  _Atomic uint64_t batches;
  _Atomic uint64_t retries;
  _Atomic uint64_t errors;
  _Atomic uint64_t flush_sum_us;
  _Atomic uint64_t flush_max_us;
  _Atomic uint64_t flush_buckets[TKS_FLUSH_BUCKETS];
  pthread_mutex_t error_lock; /* guards the next two */
  tks_error last_error;
  int64_t last_error_ns;
  tks__log_limiter error_limiter;
  tks__log_limiter lost_limiter;
} tks__lane;

/* 0 or an errno value. Takes over the sink, in failure too. */
int tks__lane_start(tks__lane *lane, tks__sink *sink, const tks_config *config, const tks__log *log, uint64_t first_seq,
                    void (*done)(void *), void *done_context);
void tks__lane_join(tks__lane *lane); /* after its CLOSE was collected */

/* Sick: its last job failed, or has been running for longer than degraded_retry_ms. */
bool tks__lane_sick(const tks__lane *lane, int64_t now_ns);
uint64_t tks__lane_room(const tks__lane *lane); /* records that its backlog may still take */

/* Makes sure that the next append needs no memory. Under the queue's lock: the array may move. */
bool tks__lane_reserve(tks__lane *lane);
/* Under the queue's lock: puts a batch into the backlog, or counts it lost where there is no room. */
void tks__lane_append(tks__lane *lane, tks__batch *batch, uint64_t through);

/* Collects a finished job; true when there was one. `lock` is the queue's. */
bool tks__lane_collect(tks__lane *lane, pthread_mutex_t *lock, int64_t now_ns);

/* Gives the worker what is due, if it is idle. `urgent`: a flush or close waits, so sync now. */
void tks__lane_dispatch(tks__lane *lane, int64_t now_ns, bool urgent);
void tks__lane_dispatch_close(tks__lane *lane);

/* Nothing left to write or sync. */
bool tks__lane_settled(const tks__lane *lane);

/* When it wants to be dispatched next (monotonic), INT64_MAX if it waits for nothing but records. */
int64_t tks__lane_deadline(const tks__lane *lane);

/* Counts everything still in the backlog lost, and all that is appended from now on: the end of a close. Under the
 * queue's lock. */
void tks__lane_give_up(tks__lane *lane);

void tks__lane_stats(tks__lane *lane, tks_sink_stats *stats);

#endif
