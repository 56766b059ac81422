#include "persist/lane.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/utc.h"

#define FIRST_TEND_NS (2 * TKS__NS_PER_S)
#define RECHECK_NS (1 * TKS__NS_PER_MS) /* a producer was interrupted between claiming its place and filling it */
#define TELL_RECORDS 1000000            /* a message about the progress of a recovery every so many */

static void add(_Atomic uint64_t *counter, uint64_t n) { atomic_fetch_add_explicit(counter, n, memory_order_relaxed); }
static void set(_Atomic uint64_t *gauge, uint64_t n) { atomic_store_explicit(gauge, n, memory_order_relaxed); }
static uint64_t get(const _Atomic uint64_t *value) { return atomic_load_explicit(value, memory_order_relaxed); }

static int64_t ms(uint32_t n) { return (int64_t)n * TKS__NS_PER_MS; }

static const char *name_of(const tks__lane *lane) { return lane->worker.sink->ops->name; }

static int64_t tend_interval_ns(const tks__lane *lane) {
  int64_t quarter = (int64_t)lane->config->late_close_s * TKS__NS_PER_S / 4;
  return quarter > 60 * TKS__NS_PER_S ? 60 * TKS__NS_PER_S : quarter;
}

int tks__lane_start(tks__lane *lane, tks__sink *sink, const tks__lane_options *options) {
  memset(lane, 0, sizeof *lane);
  lane->options = *options;
  lane->config = options->config;
  lane->log = options->log;
  lane->id = sink->ops->id;
  lane->durable_on_write = sink->durable_on_write;
  lane->written.position = options->first_position;
  lane->written.seq = tks__journal_seq_at(options->journal, options->first_position);
  lane->durable = lane->written;
  /* The first one comes soon: it makes good what a crash left. */
  int64_t first_tend_ns = tend_interval_ns(lane) < FIRST_TEND_NS ? tend_interval_ns(lane) : FIRST_TEND_NS;
  lane->tend_at_ns = tks__clock_monotonic_ns() + first_tend_ns;
  atomic_init(&lane->state, TKS_SINK_OK);
  lane->write_max = TKS__WRITE_RECORDS;
  tks__lane_publish_written(lane);
  tks__lane_publish_durable(lane);
  int rc = pthread_mutex_init(&lane->error_lock, NULL);
  if (rc == 0) {
    rc = tks__worker_start(&lane->worker, sink, options->journal, options->done, options->done_context);
    if (rc == 0) return 0;
    (void)pthread_mutex_destroy(&lane->error_lock);
  }
  (void)sink->ops->close(sink, NULL);
  return rc;
}

void tks__lane_join(tks__lane *lane) {
  tks__worker_join(&lane->worker);
  (void)pthread_mutex_destroy(&lane->error_lock);
}

/* -------------------------------------------------------------- progress */

static uint64_t tail_of(const tks__lane *lane) { return tks__journal_tail(lane->options.journal); }

bool tks__lane_sick(const tks__lane *lane, int64_t now_ns) {
  if (atomic_load_explicit(&lane->state, memory_order_relaxed) != TKS_SINK_OK) return true;
  return lane->busy && now_ns - lane->running_since_ns > ms(lane->config->degraded_retry_ms);
}

void tks__lane_publish_written(tks__lane *lane) {
  const tks__progress *written = &lane->written;
  /* The journal may have let go of what lies below the floor: positions there have no numbers any more. */
  if (written->position >= lane->floor)
    set(&lane->written_seq, tks__journal_seq_at(lane->options.journal, written->position) - 1);
  set(&lane->lost, written->lost);
  /* Release: whoever reads on from here finds what lies before in the sink. */
  atomic_store_explicit(&lane->written_position, written->position, memory_order_release);
}

void tks__lane_publish_durable(tks__lane *lane) {
  const tks__progress *written = &lane->written, *durable = &lane->durable;
  if (durable->position >= lane->floor) {
    /* The number of the journal's end grows with every record that is dropped: it is not asked for again. */
    bool same = durable->position == written->position;
    uint64_t seq = same ? get(&lane->written_seq) : tks__journal_seq_at(lane->options.journal, durable->position) - 1;
    /* Release: who sees it, sees that as much was written. */
    atomic_store_explicit(&lane->durable_seq, seq, memory_order_release);
  }
  /* seq_cst, with the writer's progress_waiters: a flush of this sink counts itself, then looks here. */
  atomic_store_explicit(&lane->durable_position, durable->position, memory_order_seq_cst);
}

/* Each loss is told once, though a lane that falls back may come upon it again. */
static void tell_lost(tks__lane *lane, uint32_t cause, uint64_t from_seq, uint64_t to_seq) {
  if (lane->written.lost <= lane->told_lost) return;
  uint64_t records = lane->written.lost - lane->told_lost;
  lane->told_lost = lane->written.lost;
  bool before = from_seq < lane->told_from_seq && to_seq >= lane->told_from_seq;
  if (before && to_seq <= lane->told_to_seq) to_seq = lane->told_from_seq - 1;
  lane->told_from_seq = from_seq;
  if (!before) lane->told_to_seq = to_seq;
  lane->options.lost(lane->options.lost_context, lane->id, cause, from_seq, to_seq, records);
}

/* What is gone from the journal and not written is lost. */
static void settle_floor(tks__lane *lane, uint32_t cause) {
  const tks__progress from = lane->written;
  if (from.position >= lane->floor) return;
  uint64_t holes = lane->floor_holes - from.holes;
  lane->written.position = lane->floor;
  lane->written.seq = lane->floor_seq;
  lane->written.holes = lane->floor_holes;
  lane->written.lost += lane->floor - from.position - holes;
  /* What was written and not synced is not durable for that, and lost as well if the sync fails. */
  if (lane->durable_on_write || lane->durable.position == from.position) lane->durable = lane->written;
  tell_lost(lane, cause, from.seq, lane->floor_seq - 1);
}

void tks__lane_skip(tks__lane *lane, uint64_t position, uint32_t cause) {
  tks__journal *journal = lane->options.journal;
  if (position > lane->floor) {
    const tks__progress *durable = &lane->durable;
    bool is_past = durable->position > lane->floor;
    uint64_t from = is_past ? durable->position : lane->floor;
    lane->floor_holes = is_past ? durable->holes : lane->floor_holes;
    lane->floor_holes += tks__journal_holes(journal, from, position);
    uint64_t seq = tks__journal_seq_at(journal, position), behind = tks__journal_seq_at(journal, position - 1) + 1;
    /* The numbers of the empty places at the end of what was recovered may have been given out again. */
    lane->floor_seq = seq < behind ? seq : behind;
    lane->floor = position;
  }
  if (!lane->busy) settle_floor(lane, cause);
}

static void lose_live(tks__lane *lane) {
  tks__journal *journal = lane->options.journal;
  lane->losing_live = false;
  bool is_past = lane->written.position > journal->live_from;
  uint64_t from = is_past ? lane->written.position : journal->live_from, to = tail_of(lane);
  if (from == to) return;
  uint64_t from_seq = is_past ? lane->written.seq : tks__journal_seq_at(journal, from);
  lane->written.lost += to - from;
  set(&lane->lost, lane->written.lost);
  tell_lost(lane, lane->live_cause, from_seq, tks__journal_seq_at(journal, to - 1));
}

void tks__lane_lose_live(tks__lane *lane, uint32_t cause) {
  lane->losing_live = true;
  lane->live_cause = cause;
  if (!lane->busy) lose_live(lane);
}

uint64_t tks__lane_released(const tks__lane *lane) {
  uint64_t position = lane->durable.position;
  /* A write that is running has its own copy once it has read. Acquire: and does not look again. */
  bool may = !lane->busy || lane->running != TKS__JOB_WRITE ||
             atomic_load_explicit(&lane->worker.has_read, memory_order_acquire);
  return may && lane->floor > position ? lane->floor : position;
}

/* --------------------------------------------------------------- results */

static void note_time(tks__lane *lane, int64_t took_ns) {
  uint64_t us = (uint64_t)took_ns / 1000;
  int bucket = 0;
  while (bucket < TKS_FLUSH_BUCKETS - 1 && us >= UINT64_C(64) << bucket) bucket++;
  add(&lane->flush_buckets[bucket], 1);
  add(&lane->flush_sum_us, us);
  if (us > get(&lane->flush_max_us)) set(&lane->flush_max_us, us);
}

static void note_success(tks__lane *lane) {
  if (lane->attempts == 0) return;
  tks__log_write(lane->log, TKS_LOG_WARN, "%s: works again after %u failed attempts, %llu records to catch up",
                 name_of(lane), lane->attempts, (unsigned long long)(tail_of(lane) - lane->written.position));
  lane->attempts = 0;
  lane->retry_at_ns = 0;
  atomic_store_explicit(&lane->state, TKS_SINK_OK, memory_order_relaxed);
}

static void note_failure(tks__lane *lane, const tks__job *job, int64_t now_ns) {
  add(&lane->errors, 1);
  (void)pthread_mutex_lock(&lane->error_lock);
  lane->last_error = job->error;
  lane->last_error.code = job->code;
  lane->last_error_ns = tks__clock_now_ns();
  (void)pthread_mutex_unlock(&lane->error_lock);

  lane->attempts++;
  bool degraded = lane->attempts > lane->config->retry_attempts;
  int64_t pause = ms(lane->config->degraded_retry_ms);
  if (!degraded) pause = ms(lane->config->retry_pause_ms) << (lane->attempts - 1 < 20 ? lane->attempts - 1 : 20);
  lane->retry_at_ns = now_ns + pause;
  uint32_t state = degraded ? TKS_SINK_DEGRADED : TKS_SINK_RETRYING;
  if (atomic_exchange_explicit(&lane->state, state, memory_order_relaxed) != state && degraded)
    tks__log_write(lane->log, TKS_LOG_ERROR, "%s: degraded after %u attempts, trying every %u ms: %s", name_of(lane),
                   lane->attempts, lane->config->degraded_retry_ms, job->error.message);
  else
    tks__log_limited(lane->log, &lane->error_limiter, TKS_LOG_WARN, "%s: attempt %u failed: %s", name_of(lane),
                     lane->attempts, job->error.message);
}

/* A small write fits where a large one does not; and what it takes with it makes room in the journal. */
static void write_less(tks__lane *lane) {
  size_t least = lane->config->batch_records < TKS__WRITE_RECORDS ? lane->config->batch_records : TKS__WRITE_RECORDS;
  lane->write_max = lane->write_max / 8 > least ? lane->write_max / 8 : least;
}

static void write_more(tks__lane *lane) {
  lane->write_max = lane->write_max < TKS__WRITE_RECORDS / 2 ? 2 * lane->write_max : TKS__WRITE_RECORDS;
}

static void fail_job(tks__lane *lane, const tks__job *job, int64_t now_ns) {
  note_failure(lane, job, now_ns);
  if (job->code == TKS_EDISKFULL || job->code == TKS_ENOMEM) write_less(lane);
  /* A write and a tend may sync as well (to close a file), so any failure may be that of a sync: what the page cache held may be
   * gone. All that is not durable is written again; the sink knows by sequence what its files still have. */
  if (!lane->durable_on_write) lane->written = lane->durable;
}

/* A long recovery says how it gets on. */
static void tell_recovery(tks__lane *lane) {
  const tks__journal *journal = lane->options.journal;
  uint64_t start = lane->options.first_position, end = journal->live_from;
  if (start == end || lane->told == UINT64_MAX) return;
  uint64_t records = lane->written.records;
  if (lane->written.position >= end) {
    tks__log_write(lane->log, TKS_LOG_WARN, "%s: has all records that the last session left", name_of(lane));
    lane->told = UINT64_MAX;
  } else if (records >= lane->told + TELL_RECORDS) {
    tks__log_write(lane->log, TKS_LOG_INFO, "%s: has %llu records of those that the last session left (%llu %%)",
                   name_of(lane), (unsigned long long)records,
                   (unsigned long long)(100 * (lane->written.position - start) / (end - start)));
    lane->told = records;
  }
}

static void finish_write(tks__lane *lane, const tks__job *job, int64_t now_ns) {
  if (job->code != TKS_OK) {
    fail_job(lane, job, now_ns);
    return;
  }
  const tks__journal_part *part = &job->part;
  lane->gap_ahead = part->through == job->from;
  lane->waiting_since_ns = 0;
  if (lane->gap_ahead) return;
  lane->written.position = part->through;
  uint64_t from_seq = lane->written.seq;
  lane->written.seq = part->next_seq;
  lane->written.records += part->count;
  lane->written.holes += part->holes;
  lane->written.lost += part->damaged;
  if (part->damaged > 0) tell_lost(lane, TKS_GAP_RECOVERY, from_seq, part->next_seq - 1);
  if (part->count > 0) {
    add(&lane->batches, 1);
    note_time(lane, job->took_ns);
    if (!lane->sync_failed) note_success(lane);
    write_more(lane);
  }
  if (lane->durable_on_write) lane->durable = lane->written;
  else if (lane->sync_at_ns == 0) lane->sync_at_ns = now_ns + ms(lane->config->sync_interval_ms);
  tell_recovery(lane);
}

static void finish_sync(tks__lane *lane, const tks__job *job, int64_t now_ns) {
  lane->sync_at_ns = 0;
  lane->sync_failed = job->code != TKS_OK;
  if (job->code != TKS_OK) {
    fail_job(lane, job, now_ns);
    return;
  }
  note_success(lane);
  lane->durable = lane->sync_target; /* and nothing was written meanwhile: there is one job at a time */
}

static void finish_tend(tks__lane *lane, const tks__job *job, int64_t now_ns) {
  lane->tend_at_ns = now_ns + tend_interval_ns(lane);
  if (lane->options.tended != NULL) lane->options.tended(lane->options.tended_context, job->tended_at_ns);
  if (job->code == TKS_OK) {
    if (!lane->sync_failed && lane->written.position == tail_of(lane)) note_success(lane);
    return;
  }
  if (!lane->durable_on_write) fail_job(lane, job, now_ns);
  else /* no record is at stake */
    tks__log_limited(lane->log, &lane->error_limiter, TKS_LOG_WARN, "%s: %s", name_of(lane), job->error.message);
}

bool tks__lane_collect(tks__lane *lane, pthread_mutex_t *lock, int64_t now_ns) {
  tks__job job;
  if (!lane->busy || !tks__worker_collect(&lane->worker, &job)) return false;
  lane->busy = false;
  (void)pthread_mutex_lock(lock);
  switch (job.kind) {
    case TKS__JOB_WRITE: finish_write(lane, &job, now_ns); break;
    case TKS__JOB_SYNC: finish_sync(lane, &job, now_ns); break;
    case TKS__JOB_TEND: finish_tend(lane, &job, now_ns); break;
    case TKS__JOB_CLOSE: lane->closed = true; break;
    case TKS__JOB_NONE: break;
  }
  settle_floor(lane, TKS_GAP_BACKLOG);
  if (lane->losing_live) lose_live(lane);
  (void)pthread_mutex_unlock(lock);
  return true;
}

/* -------------------------------------------------------------- dispatch */

static void give(tks__lane *lane, const tks__job *job, int64_t now_ns) {
  lane->busy = true;
  lane->running = job->kind;
  lane->running_since_ns = now_ns;
  tks__worker_give(&lane->worker, job);
}

static bool has_unsynced(const tks__lane *lane) { return lane->written.position > lane->durable.position; }

/* When what waits is to be written, if nothing comes before; INT64_MAX: nothing waits. */
static int64_t write_at(const tks__lane *lane, const tks__lane_order *order) {
  uint64_t from = lane->written.position, tail = tail_of(lane);
  if (lane->stopped || from == tail) return INT64_MAX;
  if (lane->gap_ahead) return lane->waiting_since_ns + RECHECK_NS;
  bool now = tail - from >= lane->config->batch_records || order->urgent || from < order->flush_target ||
             from < order->room_target || from < lane->options.journal->live_from || lane->attempts > 0;
  return now ? 0 : lane->waiting_since_ns + ms(lane->config->flush_interval_ms);
}

/* What somebody waits for is written, and a sync is all that it lacks. */
static bool is_wanted(const tks__lane *lane, uint64_t target) {
  return lane->durable.position < target && lane->written.position >= target;
}

static int64_t sync_at(const tks__lane *lane, const tks__lane_order *order) {
  if (!has_unsynced(lane)) return INT64_MAX;
  bool nothing_before = order->urgent && (lane->written.position == tail_of(lane) || lane->stopped);
  bool wanted = is_wanted(lane, order->flush_target) || is_wanted(lane, order->room_target);
  return nothing_before || wanted ? 0 : lane->sync_at_ns;
}

void tks__lane_dispatch(tks__lane *lane, const tks__lane_order *order) {
  int64_t now_ns = order->now_ns;
  if (lane->waiting_since_ns == 0 && lane->written.position != tail_of(lane)) lane->waiting_since_ns = now_ns;
  if (lane->busy || lane->closed || now_ns < lane->retry_at_ns) return;
  if (sync_at(lane, order) <= now_ns) {
    lane->sync_target = lane->written;
    give(lane, &(tks__job){.kind = TKS__JOB_SYNC}, now_ns);
  } else if (write_at(lane, order) <= now_ns) {
    if (lane->attempts > 0) add(&lane->retries, 1);
    give(lane, &(tks__job){.kind = TKS__JOB_WRITE, .from = lane->written.position, .max = lane->write_max}, now_ns);
  } else if (now_ns >= lane->tend_at_ns) {
    give(lane, &(tks__job){.kind = TKS__JOB_TEND}, now_ns);
  }
}

void tks__lane_dispatch_close(tks__lane *lane) {
  if (lane->busy || lane->closed) return;
  give(lane, &(tks__job){.kind = TKS__JOB_CLOSE}, tks__clock_monotonic_ns());
}

bool tks__lane_settled(const tks__lane *lane) {
  return !lane->busy && !has_unsynced(lane) && lane->written.position == tail_of(lane);
}

int64_t tks__lane_deadline(const tks__lane *lane, const tks__lane_order *order) {
  if (lane->busy || lane->closed) return INT64_MAX;
  int64_t at = lane->tend_at_ns;
  int64_t write = write_at(lane, order), sync = sync_at(lane, order);
  if (write < at) at = write;
  if (sync < at) at = sync;
  return at > lane->retry_at_ns ? at : lane->retry_at_ns;
}

uint64_t tks__lane_wake_position(const tks__lane *lane, int64_t now_ns) {
  if (lane->busy || lane->closed || lane->stopped || lane->gap_ahead || now_ns < lane->retry_at_ns)
    return TKS__WAKE_NEVER;
  uint64_t from = lane->written.position;
  return lane->waiting_since_ns == 0 ? from : from + lane->config->batch_records - 1;
}

/* ----------------------------------------------------------------- stats */

uint64_t tks__lane_held(const tks__lane *lane, uint64_t tail, uint64_t holes) {
  return tail - lane->durable.position - (holes - lane->durable.holes);
}

void tks__lane_stats(tks__lane *lane, uint64_t tail, uint64_t holes, tks_sink_stats *stats) {
  const tks__sink_gauges *gauges = &lane->worker.sink->gauges;
  stats->sink = lane->id;
  stats->state = atomic_load_explicit(&lane->state, memory_order_relaxed);
  stats->written = lane->written.records;
  stats->lost = lane->written.lost;
  stats->backlog = tail - lane->written.position - (holes - lane->written.holes);
  stats->batches = get(&lane->batches);
  stats->retries = get(&lane->retries);
  stats->errors = get(&lane->errors);
  stats->rotations = get(&gauges->rotations);
  /* In this order: see tks__lane_publish_durable. */
  stats->durable_seq = atomic_load_explicit(&lane->durable_seq, memory_order_acquire);
  stats->written_seq = get(&lane->written_seq);
  stats->wal_bytes = get(&gauges->wal_bytes);
  stats->open_files = get(&gauges->open_files);
  stats->flush_time_sum_us = get(&lane->flush_sum_us);
  stats->flush_time_max_us = get(&lane->flush_max_us);
  for (int i = 0; i < TKS_FLUSH_BUCKETS; i++) stats->flush_time_buckets[i] = get(&lane->flush_buckets[i]);
  (void)pthread_mutex_lock(&lane->error_lock);
  stats->last_error_ns = lane->last_error_ns;
  stats->last_error_code = lane->last_error.code;
  stats->last_error_detail = lane->last_error.detail;
  (void)snprintf(stats->last_error, sizeof stats->last_error, "%.*s", (int)sizeof stats->last_error - 1,
                 lane->last_error.message);
  (void)pthread_mutex_unlock(&lane->error_lock);
}
