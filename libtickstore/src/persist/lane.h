/* lane.h - one sink's way along the journal: how far it has got, its worker, its retry state and its numbers.
 *
 * Everything here runs on the writer's loop thread but for what is said to be readable elsewhere.
 *
 *   1. durable.position <= written.position <= the journal's tail. A sink that is not durable on write falls back from written to
 *      durable when anything fails, and is handed those records again.
 *   2. What lies below durable.position is never asked of the journal again. */
#ifndef TKS_PERSIST_LANE_H
#define TKS_PERSIST_LANE_H

#include <stdatomic.h>

#include "base/log.h"
#include "persist/worker.h"

/* All that lies before `position` in the journal was a record written here, one lost to this sink, or a hole. */
typedef struct tks__progress {
  uint64_t position;
  uint64_t seq; /* the lowest that a record from there on can have */
  uint64_t records;
  uint64_t lost;
  uint64_t holes;
} tks__progress;

typedef struct tks__lane_options {
  const tks_config *config; /* borrowed, like all pointers here */
  const tks__log *log;
  tks__journal *journal;
  uint64_t first_position;
  void (*done)(void *context); /* on the worker's thread: a job is to be collected */
  void *done_context;
  /* On the loop's thread: records that this sink will never hold, somewhere from one sequence number to another. */
  void (*lost)(void *context, uint32_t sink, uint32_t cause, uint64_t from_seq, uint64_t to_seq, uint64_t records);
  void *lost_context;
  /* On the loop's thread: the sink was tended at this time of the calendar. May be NULL. */
  void (*tended)(void *context, int64_t now_ns);
  void *tended_context;
} tks__lane_options;

typedef struct tks__lane {
  tks__lane_options options;
  const tks_config *config;
  const tks__log *log;
  tks__worker worker;
  uint32_t id;
  bool durable_on_write;
  bool busy; /* the worker has a job */
  bool closed;
  bool stopped; /* at the end of a close: no more writes */
  tks__job_kind running;
  int64_t running_since_ns;

  tks__progress written; /* changed under the writer's lock, as is the next */
  tks__progress durable;
  tks__progress sync_target; /* what the running sync will make durable */
  size_t write_max;          /* records of the next write */
  uint64_t floor;            /* the journal has let go of what lies below, whatever becomes of the running job */
  uint64_t floor_seq;        /* and of these numbers */
  uint64_t floor_holes;      /* of all recovered blocks, below */
  uint64_t told_lost;        /* of written.lost, what `lost` was called for; written.lost may fall back */
  uint64_t told_from_seq, told_to_seq; /* the last time */
  bool losing_live;                    /* with cause live_cause, when the running job is done */
  uint32_t live_cause;
  int64_t waiting_since_ns; /* when the first record behind `written` was seen; 0: there is none */
  bool gap_ahead;           /* the next record was claimed and not published; it is looked for again */
  uint64_t told;            /* recovered records written at the last message about it */

  uint32_t attempts;      /* failed ones in a row */
  bool sync_failed;       /* the last sync; writes alone do not show that the sink is well again */
  int64_t retry_at_ns;    /* monotonic; 0: at once */
  uint64_t requests_seen; /* flush requests that it has been given an attempt for */
  int64_t sync_at_ns;     /* 0: nothing to sync */
  int64_t tend_at_ns;

  /* Read by any thread. */
  _Atomic uint64_t written_position;
  _Atomic uint64_t durable_position;
  _Atomic uint64_t written_seq;
  _Atomic uint64_t durable_seq;      /* at no moment above written_seq, if it is loaded (acquire) before that */
  _Atomic uint64_t told_durable_seq; /* the writer's: the highest that anybody was told */
  _Atomic uint64_t lost;
  _Atomic uint32_t state; /* tks_sink_state */
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
} tks__lane;

/* What the writer wants of its lanes now. */
typedef struct tks__lane_order {
  int64_t now_ns;
  bool urgent;           /* a flush or close waits: write and sync without delay */
  uint64_t flush_target; /* the position that a flush waits for */
  uint64_t room_target;  /* the one that all have to have durably for the journal to have room again; 0: it has */
} tks__lane_order;

/* 0 or an errno value. Takes over the sink, in failure too. */
int tks__lane_start(tks__lane *lane, tks__sink *sink, const tks__lane_options *options);
void tks__lane_join(tks__lane *lane); /* after its CLOSE was collected */

/* Sick: its last job failed, or has been running for longer than degraded_retry_ms. */
bool tks__lane_sick(const tks__lane *lane, int64_t now_ns);

/* Collects a finished job; true when there was one. `lock` is the writer's. */
bool tks__lane_collect(tks__lane *lane, pthread_mutex_t *lock, int64_t now_ns);

/* Gives the worker what is due, if it is idle. */
void tks__lane_dispatch(tks__lane *lane, const tks__lane_order *order);
void tks__lane_dispatch_close(tks__lane *lane);

/* Up to where the journal may let go as far as this lane is concerned. */
uint64_t tks__lane_released(const tks__lane *lane);

/* Gives up everything before `position`, but for what the running job may still write. Under the writer's lock. */
void tks__lane_skip(tks__lane *lane, uint64_t position, uint32_t cause);

/* Counts everything of this session that the running job does not write lost, while what was recovered is kept for the next:
 * the end. Under the writer's lock. */
void tks__lane_lose_live(tks__lane *lane, uint32_t cause);

/* Nothing left to write or sync. */
bool tks__lane_settled(const tks__lane *lane);

/* When it wants to be dispatched next (monotonic), INT64_MAX if it waits for nothing but records. */
int64_t tks__lane_deadline(const tks__lane *lane, const tks__lane_order *order);

/* The position whose record is worth waking the writer for; TKS__WAKE_NEVER: none. */
uint64_t tks__lane_wake_position(const tks__lane *lane, int64_t now_ns);

/* Make its numbers visible: the first before the journal lets go of what all sinks have, the second when it has. */
void tks__lane_publish_written(tks__lane *lane);
void tks__lane_publish_durable(tks__lane *lane);

/* Under the writer's lock, like the next: records that the sink does not have durably. `holes` are those of all recovered blocks. */
uint64_t tks__lane_held(const tks__lane *lane, uint64_t tail, uint64_t holes);

/* `tail` and `holes` give the backlog. */
void tks__lane_stats(tks__lane *lane, uint64_t tail, uint64_t holes, tks_sink_stats *stats);

#endif
