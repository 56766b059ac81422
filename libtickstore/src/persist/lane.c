#include "persist/lane.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/utc.h"

/* One write takes at most so many records (and at least one batch): keeps a caught-up backlog from becoming one endless
 * transaction. */
#define WRITE_RECORDS 100000
#define FIRST_TEND_NS (2 * TKS__NS_PER_S)

static void add(_Atomic uint64_t *counter, uint64_t n) { atomic_fetch_add_explicit(counter, n, memory_order_relaxed); }
static void set(_Atomic uint64_t *gauge, uint64_t n) { atomic_store_explicit(gauge, n, memory_order_relaxed); }
static uint64_t get(const _Atomic uint64_t *value) { return atomic_load_explicit(value, memory_order_relaxed); }

static int64_t ms(uint32_t n) { return (int64_t)n * TKS__NS_PER_MS; }

static int64_t tend_interval_ns(const tks__lane *lane) {
  int64_t quarter = (int64_t)lane->config->late_close_s * TKS__NS_PER_S / 4;
  return quarter > 60 * TKS__NS_PER_S ? 60 * TKS__NS_PER_S : quarter;
}

int tks__lane_start(tks__lane *lane, tks__sink *sink, const tks_config *config, const tks__log *log, uint64_t first_seq,
                    void (*done)(void *), void *done_context) {
  memset(lane, 0, sizeof *lane);
  lane->config = config;
  lane->log = log;
  lane->id = sink->ops->id;
  lane->durable_on_write = sink->durable_on_write;
  lane->through = first_seq - 1;
  lane->flush_target = UINT64_MAX;
  /* The first one comes soon: it makes good what a crash left. */
  int64_t first_tend_ns = tend_interval_ns(lane) < FIRST_TEND_NS ? tend_interval_ns(lane) : FIRST_TEND_NS;
  lane->tend_at_ns = tks__clock_monotonic_ns() + first_tend_ns;
  atomic_init(&lane->written_seq, first_seq - 1);
  atomic_init(&lane->durable_seq, first_seq - 1);
  atomic_init(&lane->state, TKS_SINK_OK);
  int rc = pthread_mutex_init(&lane->error_lock, NULL);
  if (rc == 0) {
    rc = tks__worker_start(&lane->worker, sink, done, done_context);
    if (rc == 0) return 0;
    (void)pthread_mutex_destroy(&lane->error_lock);
  }
  (void)sink->ops->close(sink, NULL);
  return rc;
}

void tks__lane_join(tks__lane *lane) {
  tks__worker_join(&lane->worker);
  (void)pthread_mutex_destroy(&lane->error_lock);
  tks__free(lane->backlog);
}

/* --------------------------------------------------------------- backlog */

bool tks__lane_sick(const tks__lane *lane, int64_t now_ns) {
  if (atomic_load_explicit(&lane->state, memory_order_relaxed) != TKS_SINK_OK) return true;
  return lane->busy && now_ns - lane->running_since_ns > ms(lane->config->degraded_retry_ms);
}

uint64_t tks__lane_room(const tks__lane *lane) {
  uint64_t limit = lane->config->backlog_records;
  if (lane->given_up) return 0;
  if (lane->records == 0 && limit < lane->config->queue_records) return lane->config->queue_records;
  return lane->records < limit ? limit - lane->records : 0;
}

bool tks__lane_reserve(tks__lane *lane) {
  return tks__grow((void **)&lane->backlog, &lane->capacity, lane->count + 1, sizeof *lane->backlog);
}

static void settle_written_seq(tks__lane *lane) {
  /* What is behind the last unwritten batch was either in it or lost. */
  uint64_t seq = lane->through;
  if (lane->count > lane->written)
    seq = lane->written > 0 ? lane->backlog[lane->written - 1]->last_seq : get(&lane->written_seq);
  if (seq > get(&lane->written_seq)) set(&lane->written_seq, seq);
  if (lane->durable_on_write || lane->written == 0) set(&lane->durable_seq, get(&lane->written_seq));
}

void tks__lane_append(tks__lane *lane, tks__batch *batch, uint64_t through) {
  if (lane->given_up) {
    /* The sink may be gone already; another lane still writes. */
    add(&lane->lost, batch->count);
    return;
  }
  lane->through = through;
  if (batch->count > 0 && batch->count <= tks__lane_room(lane)) {
    tks__batch_retain(batch);
    lane->backlog[lane->count++] = batch;
    lane->records += batch->count;
    set(&lane->backlog_records, lane->records);
    return;
  }
  if (batch->count > 0) {
    add(&lane->lost, batch->count);
    tks__log_limited(lane->log, &lane->lost_limiter, TKS_LOG_ERROR,
                     "%s: no room in the backlog, %zu records lost to this sink (sequence %llu to %llu)",
                     lane->worker.sink->ops->name, batch->count, (unsigned long long)batch->records[0].seq,
                     (unsigned long long)batch->records[batch->count - 1].seq);
  }
  settle_written_seq(lane);
}

/* Takes the first `n` batches out. */
static void drop_first(tks__lane *lane, size_t n) {
  if (n == 0) return;
  for (size_t i = 0; i < n; i++) tks__batch_release(lane->backlog[i]);
  lane->count -= n;
  memmove(lane->backlog, lane->backlog + n, lane->count * sizeof *lane->backlog);
}

void tks__lane_give_up(tks__lane *lane) {
  add(&lane->lost, lane->records);
  lane->records = 0;
  set(&lane->backlog_records, 0);
  drop_first(lane, lane->count);
  lane->written = lane->writing = 0;
  lane->retained = 0;
  lane->given_up = true;
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
                 lane->worker.sink->ops->name, lane->attempts, (unsigned long long)lane->records);
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
  if (!degraded) {
    int64_t doubled = ms(lane->config->retry_pause_ms) << (lane->attempts - 1 < 20 ? lane->attempts - 1 : 20);
    pause = doubled;
  }
  lane->retry_at_ns = now_ns + pause;
  uint32_t state = degraded ? TKS_SINK_DEGRADED : TKS_SINK_RETRYING;
  if (atomic_exchange_explicit(&lane->state, state, memory_order_relaxed) != state && degraded)
    tks__log_write(lane->log, TKS_LOG_ERROR, "%s: degraded after %u attempts, trying every %u ms: %s",
                   lane->worker.sink->ops->name, lane->attempts, lane->config->degraded_retry_ms, job->error.message);
  else
    tks__log_limited(lane->log, &lane->error_limiter, TKS_LOG_WARN, "%s: attempt %u failed: %s",
                     lane->worker.sink->ops->name, lane->attempts, job->error.message);
}

/* What the page cache held may be gone. All that is not durable is written again; the sink knows by sequence what its files
 * still have. */
static void rewind_to_durable(tks__lane *lane) {
  atomic_fetch_sub_explicit(&lane->written_records, lane->retained, memory_order_relaxed);
  lane->records += lane->retained;
  lane->retained = 0;
  lane->written = 0;
  set(&lane->backlog_records, lane->records);
  set(&lane->written_seq, get(&lane->durable_seq));
}

static void fail_job(tks__lane *lane, const tks__job *job, int64_t now_ns) {
  note_failure(lane, job, now_ns);
  /* A write and a tend may sync as well (to close a file), so any failure may be that of a sync. */
  if (!lane->durable_on_write) rewind_to_durable(lane);
}

static void finish_write(tks__lane *lane, const tks__job *job, int64_t now_ns) {
  size_t n = lane->writing;
  lane->writing = 0;
  if (job->code != TKS_OK) {
    fail_job(lane, job, now_ns);
    return;
  }
  uint64_t records = 0;
  for (size_t i = 0; i < n; i++) records += lane->backlog[lane->written + i]->count;
  lane->records -= records;
  set(&lane->backlog_records, lane->records);
  add(&lane->written_records, records);
  add(&lane->batches, 1);
  note_time(lane, job->took_ns);
  if (!lane->sync_failed) note_success(lane);
  lane->written += n;
  if (lane->durable_on_write) {
    uint64_t last = lane->backlog[lane->written - 1]->last_seq;
    drop_first(lane, lane->written);
    lane->written = 0;
    set(&lane->written_seq, last);
  } else {
    lane->retained += records;
    if (lane->sync_at_ns == 0) lane->sync_at_ns = now_ns + ms(lane->config->sync_interval_ms);
  }
  settle_written_seq(lane);
}

static void finish_sync(tks__lane *lane, const tks__job *job, int64_t now_ns) {
  lane->sync_at_ns = 0;
  lane->sync_failed = job->code != TKS_OK;
  if (job->code != TKS_OK) {
    fail_job(lane, job, now_ns);
    return;
  }
  note_success(lane);
  size_t n = 0;
  while (n < lane->written && lane->backlog[n]->last_seq <= lane->sync_target)
    lane->retained -= lane->backlog[n++]->count;
  drop_first(lane, n);
  lane->written -= n;
  if (lane->sync_target > get(&lane->durable_seq)) set(&lane->durable_seq, lane->sync_target);
  if (lane->written > 0) lane->sync_at_ns = now_ns + ms(lane->config->sync_interval_ms);
  settle_written_seq(lane);
}

bool tks__lane_collect(tks__lane *lane, pthread_mutex_t *lock, int64_t now_ns) {
  tks__job job;
  if (!lane->busy || !tks__worker_collect(&lane->worker, &job)) return false;
  lane->busy = false;
  /* Readers walk the backlog under this lock (tks__writer_pending). */
  (void)pthread_mutex_lock(lock);
  switch (job.kind) {
    case TKS__JOB_WRITE: finish_write(lane, &job, now_ns); break;
    case TKS__JOB_SYNC: finish_sync(lane, &job, now_ns); break;
    case TKS__JOB_TEND:
      lane->tend_at_ns = now_ns + tend_interval_ns(lane);
      if (job.code == TKS_OK) note_success(lane);
      else if (!lane->durable_on_write) fail_job(lane, &job, now_ns);
      else /* no record is at stake */
        tks__log_limited(lane->log, &lane->error_limiter, TKS_LOG_WARN, "%s: %s", lane->worker.sink->ops->name,
                         job.error.message);
      break;
    case TKS__JOB_CLOSE: lane->closed = true; break;
    case TKS__JOB_NONE: break;
  }
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

static void give_write(tks__lane *lane, int64_t now_ns) {
  size_t n = 0;
  size_t records = 0;
  while (n < TKS__LANE_HANDED && lane->written + n < lane->count &&
         (n == 0 || records + lane->backlog[lane->written + n]->count <= WRITE_RECORDS))
    records += lane->backlog[lane->written + n++]->count;
  lane->writing = n;
  if (lane->attempts > 0) add(&lane->retries, 1);
  for (size_t i = 0; i < n; i++) lane->handed[i] = lane->backlog[lane->written + i];
  give(lane, &(tks__job){.kind = TKS__JOB_WRITE, .batches = lane->handed, .batch_count = n}, now_ns);
}

void tks__lane_dispatch(tks__lane *lane, int64_t now_ns, bool urgent) {
  if (lane->busy || lane->closed || now_ns < lane->retry_at_ns) return;
  bool to_sync = lane->written > 0;
  /* Enough is waiting to be synced: do not let it eat the memory meant for the backlog. */
  bool sync_due = to_sync && (now_ns >= lane->sync_at_ns || lane->retained >= lane->config->backlog_records / 2 + 1);
  bool to_write = lane->count > lane->written;
  bool target_written = get(&lane->written_seq) >= lane->flush_target;
  if (sync_due || (to_sync && urgent && (!to_write || target_written))) {
    lane->sync_target = get(&lane->written_seq);
    give(lane, &(tks__job){.kind = TKS__JOB_SYNC}, now_ns);
  } else if (to_write) {
    give_write(lane, now_ns);
  } else if (now_ns >= lane->tend_at_ns) {
    give(lane, &(tks__job){.kind = TKS__JOB_TEND}, now_ns);
  }
}

void tks__lane_dispatch_close(tks__lane *lane) {
  if (lane->busy || lane->closed) return;
  give(lane, &(tks__job){.kind = TKS__JOB_CLOSE}, tks__clock_monotonic_ns());
}

bool tks__lane_settled(const tks__lane *lane) { return !lane->busy && lane->count == 0; }

int64_t tks__lane_deadline(const tks__lane *lane) {
  if (lane->busy || lane->closed) return INT64_MAX;
  int64_t at = lane->tend_at_ns;
  if (lane->count > lane->written) at = 0;
  if (lane->written > 0 && lane->sync_at_ns < at) at = lane->sync_at_ns;
  return at > lane->retry_at_ns ? at : lane->retry_at_ns;
}

/* ----------------------------------------------------------------- stats */

void tks__lane_stats(tks__lane *lane, tks_sink_stats *stats) {
  const tks__sink_gauges *gauges = &lane->worker.sink->gauges;
  stats->sink = lane->id;
  stats->state = atomic_load_explicit(&lane->state, memory_order_relaxed);
  stats->written = get(&lane->written_records);
  stats->lost = get(&lane->lost);
  stats->backlog = get(&lane->backlog_records);
  stats->batches = get(&lane->batches);
  stats->retries = get(&lane->retries);
  stats->errors = get(&lane->errors);
  stats->rotations = get(&gauges->rotations);
  stats->written_seq = get(&lane->written_seq);
  stats->durable_seq = get(&lane->durable_seq);
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
