#include "persist/writer.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <uv.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/utc.h"
#include "persist/lane.h"

#define TAKE_RECORDS 16384              /* one batch holds at most so many */
#define RECHECK_NS (1 * TKS__NS_PER_MS) /* a producer was interrupted between claiming its place and filling it */
#define NO_MEMORY_NS (100 * TKS__NS_PER_MS)
#define RESERVE_AHEAD (UINT64_C(1) << 31)

struct tks__writer {
  tks__queue queue;
  tks__writer_options options;
  const tks_config *config;
  tks__lane lanes[TKS__LANES];
  size_t lane_count;

  /* loop thread */
  uv_loop_t loop;
  uv_async_t wake;
  uv_timer_t timer;
  pthread_t thread;
  int64_t first_pending_ns; /* when the oldest record in the queue was first seen; 0 = queue empty */
  int64_t recheck_at_ns;    /* look again even if nobody wakes; 0 = no need */
  int64_t close_deadline_ns;
  bool ended;          /* the handles are being closed */
  tks__batch *filling; /* the batch that tks__queue_take is copying into */
  tks__log_limiter drop_limiter;
  tks__log_limiter memory_limiter;

  /* shared */
  _Atomic uint64_t flush_target; /* the highest sequence number somebody waits for */
  _Atomic uint64_t flush_requests;
  _Atomic bool closing;
  _Atomic uint32_t close_limit_ms;
  _Atomic int64_t oldest_ns; /* monotonic; when the oldest record that is not durable was first seen; 0 = none */
  _Atomic uint64_t durable_seq;
  pthread_mutex_t progress_lock;
  pthread_cond_t progress; /* durable_seq moved, or a lane failed */
  bool interrupted;        /* under progress_lock: flushes are to give up */
  _Atomic uint32_t progress_waiters;
};

static uint64_t relaxed(const _Atomic uint64_t *value) { return atomic_load_explicit(value, memory_order_relaxed); }

static void wake_loop(void *context) {
  tks__writer *writer = context;
  (void)uv_async_send(&writer->wake);
}

/* ------------------------------------------------------- queue to backlog */

static void on_moved(void *context, size_t count, uint64_t through) {
  tks__writer *writer = context;
  tks__batch *batch = writer->filling;
  batch->count = count;
  batch->last_seq = through;
  for (size_t i = 0; i < writer->lane_count; i++) tks__lane_append(&writer->lanes[i], batch, through);
}

static void on_lost(void *context, tks__lost_range range) {
  tks__writer *writer = context;
  tks__log_limited(writer->options.log, &writer->drop_limiter, TKS_LOG_ERROR,
                   "queue full: %llu records dropped (sequence %llu to %llu)",
                   (unsigned long long)(range.to - range.from), (unsigned long long)range.from,
                   (unsigned long long)(range.to - 1));
}

/* How many records may leave the queue now. Healthy lanes are never made to lose: the one with the least room decides. Only
 * among sick ones does the one with the most room decide, and the others lose what they cannot take. */
static uint64_t room(const tks__writer *writer, int64_t now_ns) {
  uint64_t healthy = UINT64_MAX, sick = 0;
  for (size_t i = 0; i < writer->lane_count; i++) {
    uint64_t n = tks__lane_room(&writer->lanes[i]);
    if (!tks__lane_sick(&writer->lanes[i], now_ns)) healthy = n < healthy ? n : healthy;
    else sick = n > sick ? n : sick;
  }
  return healthy != UINT64_MAX ? healthy : sick;
}

static bool due(const tks__writer *writer, uint64_t head, uint64_t pending, int64_t now_ns) {
  return pending >= writer->config->batch_records || atomic_load(&writer->closing) ||
         now_ns >= writer->first_pending_ns + (int64_t)writer->config->flush_interval_ms * TKS__NS_PER_MS ||
         relaxed(&writer->flush_target) >= head;
}

static bool reserve_lanes(tks__writer *writer) {
  (void)pthread_mutex_lock(&writer->queue.lock);
  bool ok = true;
  for (size_t i = 0; i < writer->lane_count && ok; i++) ok = tks__lane_reserve(&writer->lanes[i]);
  (void)pthread_mutex_unlock(&writer->queue.lock);
  return ok;
}

/* Moves up to `max` records into one batch. False: nothing moved, and trying again at once would not help. */
static bool take_batch(tks__writer *writer, uint64_t max, int64_t now_ns) {
  if (max > TAKE_RECORDS) max = TAKE_RECORDS;
  tks__batch *batch = reserve_lanes(writer) ? tks__batch_new((size_t)max) : NULL;
  if (batch == NULL) {
    tks__log_limited(writer->options.log, &writer->memory_limiter, TKS_LOG_ERROR,
                     "out of memory taking records from the queue; they stay there, trying again");
    writer->recheck_at_ns = now_ns + NO_MEMORY_NS;
    return false;
  }
  batch->taken_ns = writer->first_pending_ns;
  writer->filling = batch;
  uint64_t before = tks__queue_head(&writer->queue);
  const tks__queue_taker taker = {.moved = on_moved, .on_lost = on_lost, .context = writer};
  (void)tks__queue_take(&writer->queue, batch->records, (size_t)max, &taker);
  tks__batch_release(batch);
  if (tks__queue_head(&writer->queue) != before) return true;
  writer->recheck_at_ns = now_ns + RECHECK_NS;
  return false;
}

/* Returns false when there is no room: the end of a write will call again. */
static bool take_due(tks__writer *writer, int64_t now_ns) {
  for (;;) {
    uint64_t head = tks__queue_head(&writer->queue);
    uint64_t pending = tks__queue_tail(&writer->queue) - head;
    if (pending == 0) {
      writer->first_pending_ns = 0;
      return true;
    }
    if (writer->first_pending_ns == 0) writer->first_pending_ns = now_ns;
    if (!due(writer, head, pending, now_ns)) return true;
    uint64_t free_records = room(writer, now_ns);
    if (free_records == 0) return false;
    if (!take_batch(writer, pending < free_records ? pending : free_records, now_ns)) return true;
    writer->first_pending_ns = 0;
  }
}

/* ------------------------------------------------------------ the loop */

static void publish_progress(tks__writer *writer) {
  uint64_t durable = UINT64_MAX;
  int64_t oldest = writer->first_pending_ns;
  for (size_t i = 0; i < writer->lane_count; i++) {
    const tks__lane *lane = &writer->lanes[i];
    uint64_t seq = relaxed(&lane->durable_seq);
    durable = seq < durable ? seq : durable;
    if (lane->count > 0 && (oldest == 0 || lane->backlog[0]->taken_ns < oldest)) oldest = lane->backlog[0]->taken_ns;
  }
  atomic_store_explicit(&writer->oldest_ns, oldest, memory_order_relaxed);
  bool moved = durable != relaxed(&writer->durable_seq);
  /* seq_cst, with progress_waiters: a waiter counts itself, then looks at durable_seq. */
  if (moved) atomic_store(&writer->durable_seq, durable);
  if (atomic_load(&writer->progress_waiters) == 0) return;
  (void)pthread_mutex_lock(&writer->progress_lock);
  (void)pthread_cond_broadcast(&writer->progress);
  (void)pthread_mutex_unlock(&writer->progress_lock);
}

static bool settled(const tks__writer *writer) {
  if (tks__queue_tail(&writer->queue) != tks__queue_head(&writer->queue)) return false;
  for (size_t i = 0; i < writer->lane_count; i++)
    if (!tks__lane_settled(&writer->lanes[i])) return false;
  return true;
}

static void note_requests(tks__writer *writer, int64_t now_ns) {
  uint64_t requests = relaxed(&writer->flush_requests);
  bool closing = atomic_load(&writer->closing);
  if (closing && writer->close_deadline_ns == 0)
    writer->close_deadline_ns = now_ns + (int64_t)atomic_load(&writer->close_limit_ms) * TKS__NS_PER_MS;
  /* Somebody waits: a sick sink gets a chance now (after the attempt that is running, if there is one: it may have
   * begun before). While closing it is tried at the shortest pause. */
  for (size_t i = 0; i < writer->lane_count; i++) {
    tks__lane *lane = &writer->lanes[i];
    if (lane->busy || (requests == lane->requests_seen && !closing)) continue;
    int64_t soon = now_ns;
    if (requests == lane->requests_seen) soon += (int64_t)writer->config->retry_pause_ms * TKS__NS_PER_MS;
    if (lane->retry_at_ns > soon) lane->retry_at_ns = soon;
    lane->requests_seen = requests;
  }
}

static void close_handle(uv_handle_t *handle) {
  if (!uv_is_closing(handle)) uv_close(handle, NULL);
}

/* The end of a close: what is still there is given up, the sinks are closed, then the loop. */
static void wind_up(tks__writer *writer) {
  bool all_closed = true;
  (void)pthread_mutex_lock(&writer->queue.lock);
  for (size_t i = 0; i < writer->lane_count; i++)
    if (!writer->lanes[i].busy && !writer->lanes[i].closed) tks__lane_give_up(&writer->lanes[i]);
  (void)pthread_mutex_unlock(&writer->queue.lock);
  for (size_t i = 0; i < writer->lane_count; i++) {
    tks__lane_dispatch_close(&writer->lanes[i]);
    all_closed = all_closed && writer->lanes[i].closed;
  }
  if (!all_closed) return;
  writer->ended = true;
  close_handle((uv_handle_t *)&writer->wake);
  close_handle((uv_handle_t *)&writer->timer);
}

static void on_timer(uv_timer_t *timer);

static void set_timer(tks__writer *writer, int64_t at_ns) {
  if (at_ns == INT64_MAX) {
    (void)uv_timer_stop(&writer->timer);
    return;
  }
  int64_t now_ns = tks__clock_monotonic_ns();
  uint64_t wait_ms = at_ns <= now_ns ? 0 : (uint64_t)((at_ns - now_ns + TKS__NS_PER_MS - 1) / TKS__NS_PER_MS);
  uv_update_time(&writer->loop);
  (void)uv_timer_start(&writer->timer, on_timer, wait_ms, 0);
}

static int64_t next_deadline(const tks__writer *writer, bool has_room) {
  int64_t now_ns = tks__clock_monotonic_ns();
  int64_t at = INT64_MAX;
  if (writer->first_pending_ns != 0 && has_room)
    at = writer->first_pending_ns + (int64_t)writer->config->flush_interval_ms * TKS__NS_PER_MS;
  if (writer->recheck_at_ns != 0 && writer->recheck_at_ns < at) at = writer->recheck_at_ns;
  if (writer->close_deadline_ns != 0 && writer->close_deadline_ns < at) at = writer->close_deadline_ns;
  for (size_t i = 0; i < writer->lane_count; i++) {
    const tks__lane *lane = &writer->lanes[i];
    int64_t lane_at = tks__lane_deadline(lane);
    /* A job that takes long makes its lane sick at some moment, which may make room. Once it is, only its end does. */
    if (lane->busy && !has_room && !tks__lane_sick(lane, now_ns))
      lane_at = lane->running_since_ns + (int64_t)writer->config->degraded_retry_ms * TKS__NS_PER_MS + TKS__NS_PER_MS;
    if (lane_at < at) at = lane_at;
  }
  return at;
}

/* Where in the queue the next wake-up is worth its system call. */
static uint64_t wake_position(const tks__writer *writer, bool has_room) {
  uint64_t head = tks__queue_head(&writer->queue);
  if (writer->first_pending_ns == 0) return head;
  if (!has_room || writer->recheck_at_ns != 0) return TKS__WAKE_NEVER;
  uint64_t worthwhile = writer->config->batch_records;
  bool all_busy = true;
  for (size_t i = 0; i < writer->lane_count; i++) all_busy = all_busy && writer->lanes[i].busy;
  /* Nobody could write it now: the end of a write looks anyway, unless the queue fills before. */
  if (all_busy && worthwhile < writer->queue.limit / 2) worthwhile = writer->queue.limit / 2;
  return head + worthwhile - 1;
}

static void pump_once(tks__writer *writer, bool *has_room) {
  int64_t now_ns = tks__clock_monotonic_ns();
  for (size_t i = 0; i < writer->lane_count; i++)
    (void)tks__lane_collect(&writer->lanes[i], &writer->queue.lock, now_ns);
  writer->recheck_at_ns = 0;
  note_requests(writer, now_ns);
  *has_room = take_due(writer, now_ns);
  bool urgent = atomic_load(&writer->closing) || relaxed(&writer->flush_target) > relaxed(&writer->durable_seq);
  for (size_t i = 0; i < writer->lane_count; i++) {
    writer->lanes[i].flush_target = relaxed(&writer->flush_target);
    tks__lane_dispatch(&writer->lanes[i], now_ns, urgent);
  }
  publish_progress(writer);
}

/* Does all there is to do, then sleeps until the next deadline or wake-up. */
static void pump(tks__writer *writer) {
  if (writer->ended) return;
  bool has_room;
  uint64_t wake_at;
  do {
    pump_once(writer, &has_room);
    wake_at = wake_position(writer, has_room);
    tks__queue_wake_at(&writer->queue, wake_at);
    /* What came before the line above woke nobody. */
  } while (wake_at != TKS__WAKE_NEVER && tks__queue_tail(&writer->queue) > wake_at);

  if (tks__queue_tail(&writer->queue) + RESERVE_AHEAD > writer->options.reserved_seq)
    writer->options.reserved_seq = writer->options.reserve(
        writer->options.reserve_context, tks__queue_tail(&writer->queue), writer->options.reserved_seq);

  bool over =
      writer->close_deadline_ns != 0 && (settled(writer) || tks__clock_monotonic_ns() >= writer->close_deadline_ns);
  if (over) wind_up(writer);
  if (writer->ended) return;
  set_timer(writer, over ? INT64_MAX : next_deadline(writer, has_room));
}

static void on_wake(uv_async_t *async) { pump(async->data); }
static void on_timer(uv_timer_t *timer) { pump(timer->data); }

static void *loop_main(void *argument) {
  tks__writer *writer = argument;
  pump(writer);
  (void)uv_run(&writer->loop, UV_RUN_DEFAULT);
  return NULL;
}

/* ------------------------------------------------------- start and close */

static int start_thread(tks__writer *writer) {
  sigset_t all, before;
  (void)sigfillset(&all);
  (void)pthread_sigmask(SIG_SETMASK, &all, &before);
  int rc = pthread_create(&writer->thread, NULL, loop_main, writer);
  (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
  return rc;
}

static int init_progress(tks__writer *writer) {
  pthread_condattr_t attributes;
  int rc = pthread_condattr_init(&attributes);
  if (rc != 0) return rc;
  (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  rc = pthread_cond_init(&writer->progress, &attributes);
  (void)pthread_condattr_destroy(&attributes);
  if (rc != 0) return rc;
  rc = pthread_mutex_init(&writer->progress_lock, NULL);
  if (rc != 0) (void)pthread_cond_destroy(&writer->progress);
  return rc;
}

static void deinit_progress(tks__writer *writer) {
  (void)pthread_mutex_destroy(&writer->progress_lock);
  (void)pthread_cond_destroy(&writer->progress);
}

static void close_sinks(tks__sink *sinks[TKS__LANES]) {
  for (int i = 0; i < TKS__LANES; i++)
    if (sinks[i] != NULL) (void)sinks[i]->ops->close(sinks[i], NULL);
}

/* Closes the handles that were made and runs the loop until they are gone. */
static void close_loop(tks__writer *writer) {
  close_handle((uv_handle_t *)&writer->wake);
  close_handle((uv_handle_t *)&writer->timer);
  (void)uv_run(&writer->loop, UV_RUN_DEFAULT);
  (void)uv_loop_close(&writer->loop);
}

static void stop_lanes(tks__writer *writer) {
  for (size_t i = 0; i < writer->lane_count; i++) {
    tks__lane *lane = &writer->lanes[i];
    tks__lane_dispatch_close(lane);
    while (!lane->closed) {
      (void)tks__lane_collect(lane, &writer->queue.lock, 0);
      if (!lane->closed) (void)nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    }
    tks__lane_join(lane);
  }
}

static int start_impl(tks__writer *writer, tks__sink *sinks[TKS__LANES], tks_error *error) {
  int rc = uv_loop_init(&writer->loop);
  if (rc != 0) {
    close_sinks(sinks);
    return tks__fail(error, rc == UV_ENOMEM ? TKS_ENOMEM : TKS_EIO, rc, "cannot make an event loop: %s",
                     uv_strerror(rc));
  }
  (void)uv_timer_init(&writer->loop, &writer->timer);
  writer->timer.data = writer;
  rc = uv_async_init(&writer->loop, &writer->wake, on_wake);
  if (rc != 0) {
    close_sinks(sinks);
    uv_close((uv_handle_t *)&writer->timer, NULL);
    (void)uv_run(&writer->loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&writer->loop);
    return tks__fail(error, TKS_EIO, rc, "cannot make a wake-up handle: %s", uv_strerror(rc));
  }
  writer->wake.data = writer;
  int errnum = 0;
  for (int i = 0; i < TKS__LANES; i++) {
    if (sinks[i] == NULL) continue;
    if (errnum == 0)
      errnum = tks__lane_start(&writer->lanes[writer->lane_count], sinks[i], writer->config, writer->options.log,
                               writer->options.first_seq, wake_loop, writer);
    else (void)sinks[i]->ops->close(sinks[i], NULL);
    if (errnum == 0) writer->lane_count++;
  }
  if (errnum == 0) errnum = start_thread(writer);
  if (errnum == 0) return TKS_OK;
  stop_lanes(writer);
  close_loop(writer);
  return tks__fail_errno(error, errnum, "cannot start a thread");
}

int tks__writer_start(const tks__writer_options *options, tks__sink *sinks[TKS__LANES], tks__writer **out,
                      tks_error *error) {
  *out = NULL;
  tks__writer *writer = tks__aligned_alloc(64, sizeof *writer);
  if (writer == NULL) goto no_writer;
  memset(writer, 0, sizeof *writer);
  writer->options = *options;
  writer->config = options->config;
  atomic_init(&writer->durable_seq, options->first_seq - 1);
  atomic_init(&writer->flush_target, options->first_seq - 1);
  if (init_progress(writer) != 0) goto no_progress;
  if (tks__queue_init(&writer->queue, writer->config->queue_records, options->first_seq, wake_loop, writer) != TKS_OK)
    goto no_queue;
  int code = start_impl(writer, sinks, error);
  if (code == TKS_OK) {
    *out = writer;
    return TKS_OK;
  }
  tks__queue_deinit(&writer->queue);
  deinit_progress(writer);
  tks__free(writer);
  return code;

no_queue:
  deinit_progress(writer);
no_progress:
  tks__free(writer);
no_writer:
  close_sinks(sinks);
  return tks__fail(error, TKS_ENOMEM, 0, "out of memory starting the writer");
}

tks__queue *tks__writer_queue(tks__writer *writer) { return &writer->queue; }

uint64_t tks__writer_durable_seq(const tks__writer *writer) { return atomic_load(&writer->durable_seq); }

static uint64_t lost_in_sinks(tks__writer *writer) {
  uint64_t lost = 0;
  for (size_t i = 0; i < writer->lane_count; i++) lost += relaxed(&writer->lanes[i].lost);
  return lost;
}

static const char *last_error_of_loser(const tks__writer *writer) {
  for (size_t i = 0; i < writer->lane_count; i++)
    if (relaxed(&writer->lanes[i].lost) > 0 && writer->lanes[i].last_error.message[0] != '\0')
      return writer->lanes[i].last_error.message;
  return "none";
}

void tks__writer_interrupt(tks__writer *writer) {
  (void)pthread_mutex_lock(&writer->progress_lock);
  writer->interrupted = true;
  (void)pthread_cond_broadcast(&writer->progress);
  (void)pthread_mutex_unlock(&writer->progress_lock);
}

int tks__writer_close(tks__writer *writer, uint32_t limit_ms, uint64_t *next_seq, tks_error *error) {
  atomic_store(&writer->close_limit_ms, limit_ms);
  atomic_store(&writer->closing, true);
  wake_loop(writer);
  (void)pthread_join(writer->thread, NULL);
  (void)uv_loop_close(&writer->loop);

  *next_seq = tks__queue_tail(&writer->queue);
  (void)pthread_mutex_lock(&writer->queue.lock);
  uint64_t queued = tks__queue_count(&writer->queue).waiting;
  (void)pthread_mutex_unlock(&writer->queue.lock);
  uint64_t lost = lost_in_sinks(writer) + queued * writer->lane_count;
  int code = TKS_OK;
  if (lost > 0) {
    char text[200] = "";
    for (size_t i = 0; i < writer->lane_count; i++) {
      size_t n = strlen(text);
      (void)snprintf(text + n, sizeof text - n, "%s%s lacks %llu", i > 0 ? ", " : "",
                     writer->lanes[i].id == TKS_SQLITE ? "sqlite" : "json",
                     (unsigned long long)(relaxed(&writer->lanes[i].lost) + queued));
    }
    code = tks__fail(error, TKS_EUNWRITTEN, 0, "closed with records not written: %s (last error: %.100s)", text,
                     last_error_of_loser(writer));
    tks__log_write(writer->options.log, TKS_LOG_ERROR, "closed with records not written: %s", text);
  }
  for (size_t i = 0; i < writer->lane_count; i++) tks__lane_join(&writer->lanes[i]);
  tks__queue_deinit(&writer->queue);
  deinit_progress(writer);
  tks__free(writer);
  return code;
}

/* ---------------------------------------------------- for other threads */

static int flush_timed_out(tks__writer *writer, uint64_t target, tks_error *error) {
  for (size_t i = 0; i < writer->lane_count; i++) {
    tks__lane *lane = &writer->lanes[i];
    if (relaxed(&lane->durable_seq) >= target) continue;
    tks_sink_stats stats;
    tks__lane_stats(lane, &stats);
    bool failing = stats.state != TKS_SINK_OK;
    return tks__fail(error, TKS_ETIMEOUT, failing ? stats.last_error_detail : 0,
                     "%s has synced up to sequence %llu of %llu%s%s", lane->id == TKS_SQLITE ? "sqlite" : "json",
                     (unsigned long long)stats.durable_seq, (unsigned long long)target,
                     failing ? "; its last error: " : "", failing ? stats.last_error : "");
  }
  return tks__fail(error, TKS_ETIMEOUT, 0, "not durable in time");
}

int tks__writer_flush(tks__writer *writer, int64_t timeout_ms, tks_error *error) {
  uint64_t target = tks__queue_tail(&writer->queue) - 1;
  if (atomic_load(&writer->durable_seq) >= target) return TKS_OK;
  uint64_t lost = lost_in_sinks(writer);
  uint64_t before = relaxed(&writer->flush_target);
  while (before < target && !atomic_compare_exchange_weak(&writer->flush_target, &before, target)) {
  }
  atomic_fetch_add(&writer->flush_requests, 1);
  wake_loop(writer);
  if (timeout_ms == 0) return flush_timed_out(writer, target, error);

  int64_t now_ns = tks__clock_monotonic_ns();
  bool forever = timeout_ms < 0 || timeout_ms > (INT64_MAX - now_ns) / TKS__NS_PER_MS;
  int64_t until_ns = forever ? INT64_MAX : now_ns + timeout_ms * TKS__NS_PER_MS;
  struct timespec until = {.tv_sec = until_ns / TKS__NS_PER_S, .tv_nsec = until_ns % TKS__NS_PER_S};
  atomic_fetch_add(&writer->progress_waiters, 1);
  (void)pthread_mutex_lock(&writer->progress_lock);
  int rc = 0;
  while (rc != ETIMEDOUT && !writer->interrupted && atomic_load(&writer->durable_seq) < target)
    rc = forever ? pthread_cond_wait(&writer->progress, &writer->progress_lock)
                 : pthread_cond_timedwait(&writer->progress, &writer->progress_lock, &until);
  bool interrupted = writer->interrupted;
  (void)pthread_mutex_unlock(&writer->progress_lock);
  atomic_fetch_sub(&writer->progress_waiters, 1);

  if (interrupted) return tks__fail(error, TKS_ECLOSED, 0, "the store is being closed");
  if (atomic_load(&writer->durable_seq) < target) return flush_timed_out(writer, target, error);
  uint64_t newly_lost = lost_in_sinks(writer) - lost;
  if (newly_lost > 0)
    return tks__fail(error, TKS_EUNWRITTEN, 0, "flushed, but the sinks lost %llu records meanwhile",
                     (unsigned long long)newly_lost);
  return TKS_OK;
}

typedef struct collector {
  const tks__pending_filter *filter;
  tks__pending *pending;
  bool no_memory;
} collector;

static void collect(void *context, const tks__record *r) {
  collector *c = context;
  const tks__pending_filter *f = c->filter;
  if ((f->symbol != 0 && r->symbol != f->symbol) || r->ts_ns < f->from_ns || r->ts_ns >= f->to_ns ||
      r->seq > f->max_seq)
    return;
  tks__pending *p = c->pending;
  if (!tks__grow((void **)&p->records, &p->capacity, p->count + 1, sizeof *p->records)) {
    c->no_memory = true;
    return;
  }
  p->records[p->count++] = *r;
}

int tks__writer_pending(tks__writer *writer, const tks__pending_filter *filter, tks__pending *pending) {
  collector c = {.filter = filter, .pending = pending};
  *pending = (tks__pending){0};
  (void)pthread_mutex_lock(&writer->queue.lock);
  for (size_t i = 0; i < writer->lane_count; i++) {
    const tks__lane *lane = &writer->lanes[i];
    if (lane->id != filter->sink) continue;
    for (size_t b = lane->written; b < lane->count; b++)
      for (size_t k = 0; k < lane->backlog[b]->count; k++) collect(&c, &lane->backlog[b]->records[k]);
  }
  tks__queue_scan(&writer->queue, collect, &c);
  (void)pthread_mutex_unlock(&writer->queue.lock);
  if (!c.no_memory) return TKS_OK;
  tks__free(pending->records);
  *pending = (tks__pending){0};
  return TKS_ENOMEM;
}

void tks__writer_stats(tks__writer *writer, tks_store_stats *stats) {
  stats->first_seq = writer->options.first_seq;
  stats->wakeups = relaxed(&writer->queue.wakeups);
  int64_t oldest = atomic_load_explicit(&writer->oldest_ns, memory_order_relaxed);
  stats->durable_seq = atomic_load(&writer->durable_seq);
  /* Records go from the queue to a backlog, and from there to written or lost, under this lock: the counts add up. */
  (void)pthread_mutex_lock(&writer->queue.lock);
  tks__queue_counts counts = tks__queue_count(&writer->queue);
  stats->last_seq = counts.tail - 1;
  stats->accepted = counts.tail - writer->options.first_seq;
  stats->dropped = counts.dropped;
  stats->queued = counts.waiting;
  for (size_t i = 0; i < writer->lane_count; i++)
    tks__lane_stats(&writer->lanes[i], &stats->sinks[writer->lanes[i].id == TKS_SQLITE ? 0 : 1]);
  (void)pthread_mutex_unlock(&writer->queue.lock);
  if (stats->durable_seq < stats->last_seq && oldest != 0)
    stats->durable_lag_ms = (uint64_t)((tks__clock_monotonic_ns() - oldest) / TKS__NS_PER_MS);
}
