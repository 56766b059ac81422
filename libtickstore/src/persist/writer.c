#include "persist/writer.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <uv.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"
#include "base/utc.h"
#include "persist/lane.h"

#define RESERVE_AHEAD (UINT64_C(1) << 31)
#define MARKS 32

/* When the journal's end was seen where. */
typedef struct mark {
  uint64_t position;
  int64_t at_ns; /* monotonic */
} mark;

struct tks__writer {
  tks__journal *journal;
  tks__writer_options options;
  const tks_config *config;
  tks__lane lanes[TKS__LANES];
  size_t lane_count;

  /* loop thread */
  uv_loop_t loop;
  uv_async_t wake;
  uv_timer_t timer;
  pthread_t thread;
  int64_t close_deadline_ns;
  bool ended;        /* the handles are being closed */
  mark marks[MARKS]; /* ascending; how old is what is not durable */
  size_t mark_count;

  /* shared */
  _Atomic uint64_t flush_target; /* the highest position that somebody waits for */
  _Atomic uint64_t flush_requests;
  _Atomic bool closing;
  _Atomic uint32_t close_limit_ms;
  _Atomic int64_t oldest_ns; /* monotonic; when the oldest record that is not durable was seen; 0 = none */
  pthread_mutex_t lock;      /* the lanes' progress: so that the counts of one look add up */
  pthread_mutex_t progress_lock;
  pthread_cond_t progress; /* something became durable, or a lane failed */
  bool interrupted;        /* under progress_lock: flushes are to give up */
  _Atomic uint32_t progress_waiters;
};

static const char *name_of(uint32_t sink) { return sink == TKS_SQLITE ? "sqlite" : "json"; }

static uint64_t relaxed(const _Atomic uint64_t *value) { return atomic_load_explicit(value, memory_order_relaxed); }

static void wake_loop(void *context) {
  tks__writer *writer = context;
  (void)uv_async_send(&writer->wake);
}

/* -------------------------------------------------------------- progress */

static uint64_t tail_of(const tks__writer *writer) { return tks__journal_tail(writer->journal); }

static void note_mark(tks__writer *writer, int64_t now_ns) {
  uint64_t tail = tail_of(writer);
  if (writer->mark_count > 0 && writer->marks[writer->mark_count - 1].position >= tail) return;
  if (writer->mark_count == MARKS) {
    /* Every second one goes: a few are exact, the others good enough. */
    for (size_t i = 1; 2 * i < MARKS; i++) writer->marks[i] = writer->marks[2 * i];
    writer->mark_count = MARKS / 2;
  }
  writer->marks[writer->mark_count++] = (mark){tail, now_ns};
}

/* When the oldest record that is not durable was seen; 0: all are. */
static int64_t oldest_of(tks__writer *writer, uint64_t durable) {
  size_t gone = 0;
  while (gone < writer->mark_count && writer->marks[gone].position <= durable) gone++;
  writer->mark_count -= gone;
  memmove(writer->marks, writer->marks + gone, writer->mark_count * sizeof writer->marks[0]);
  return writer->mark_count > 0 ? writer->marks[0].at_ns : 0;
}

static void publish_progress(tks__writer *writer, int64_t now_ns) {
  uint64_t durable = UINT64_MAX, released = UINT64_MAX, read_to = 0;
  for (size_t i = 0; i < writer->lane_count; i++) {
    tks__lane *lane = &writer->lanes[i];
    tks__lane_publish_written(lane);
    if (lane->durable.position < durable) durable = lane->durable.position;
    if (tks__lane_released(lane) < released) released = tks__lane_released(lane);
    if (lane->written.position > read_to) read_to = lane->written.position;
  }
  note_mark(writer, now_ns);
  atomic_store_explicit(&writer->oldest_ns, oldest_of(writer, durable), memory_order_relaxed);
  /* In this order: what leaves the journal is seen to be written, and who is told that all is durable finds room. */
  tks__journal_release(writer->journal, released, read_to);
  for (size_t i = 0; i < writer->lane_count; i++) tks__lane_publish_durable(&writer->lanes[i]);
  if (durable < tail_of(writer)) tks__keeper_arm(writer->options.keeper);
  if (atomic_load(&writer->progress_waiters) == 0) return;
  (void)pthread_mutex_lock(&writer->progress_lock);
  (void)pthread_cond_broadcast(&writer->progress);
  (void)pthread_mutex_unlock(&writer->progress_lock);
}

/* ---------------------------------------------------------------- losses */

static void note_loss(void *context, uint32_t sink, uint32_t cause, uint64_t from_seq, uint64_t to_seq,
                      uint64_t records) {
  tks__writer *writer = context;
  int64_t now_ns = tks__clock_now_ns();
  const tks__loss loss = {
      .from_seq = from_seq,
      .to_seq = to_seq,
      .records = records,
      .first_ns = now_ns,
      .last_ns = now_ns,
      .cause = cause,
  };
  tks__log_write(writer->options.log, TKS_LOG_ERROR, "%s: %llu records lost to this sink (sequence %llu to %llu): %s",
                 name_of(sink), (unsigned long long)records, (unsigned long long)loss.from_seq,
                 (unsigned long long)loss.to_seq, tks__gap_cause_name(cause));
  tks__gaps_note(writer->options.gaps, sink, &loss);
  tks__keeper_note(writer->options.keeper);
}

/* Without the journal: when there is no room left and a sick lane is what holds it, while another goes on, the sick one
 * gives up its oldest records. */
static void make_room(tks__writer *writer, int64_t now_ns) {
  const tks__journal *journal = writer->journal;
  uint64_t block = journal->slot_mask + 1;
  uint64_t room_end = atomic_load_explicit(&journal->room_end, memory_order_acquire);
  if (writer->config->journal != 0 || tks__journal_can_grow(journal) || room_end - tail_of(writer) > block) return;
  /* What was let go before is about to be room. */
  uint64_t released = relaxed(&journal->released) & ~journal->slot_mask;
  if (room_end - released < relaxed(&journal->most)) return;
  uint64_t healthy = 0;
  for (size_t i = 0; i < writer->lane_count; i++)
    if (!tks__lane_sick(&writer->lanes[i], now_ns) && writer->lanes[i].durable.position > healthy)
      healthy = writer->lanes[i].durable.position;
  for (size_t i = 0; i < writer->lane_count; i++) {
    tks__lane *lane = &writer->lanes[i];
    uint64_t next = (tks__lane_released(lane) | journal->slot_mask) + 1;
    if (!tks__lane_sick(lane, now_ns) || next > healthy) continue;
    (void)pthread_mutex_lock(&writer->lock);
    tks__lane_skip(lane, next, TKS_GAP_BACKLOG);
    (void)pthread_mutex_unlock(&writer->lock);
  }
}

/* ------------------------------------------------------------ the loop */

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

/* When the journal cannot grow any more and is half full: the end of its first block. Else what is written and not synced would hold it
 * for the rest of sync_interval_ms, and be taken for a sink that does not keep up. */
static uint64_t room_target(const tks__writer *writer) {
  const tks__journal *journal = writer->journal;
  if (tks__journal_can_grow(journal)) return 0;
  uint64_t room_end = atomic_load_explicit(&journal->room_end, memory_order_acquire);
  uint64_t first = relaxed(&journal->released) & ~journal->slot_mask;
  return room_end - tail_of(writer) < (room_end - first) / 2 ? first + journal->slot_mask + 1 : 0;
}

static tks__lane_order order_of(const tks__writer *writer, int64_t now_ns) {
  return (tks__lane_order){
      .now_ns = now_ns,
      .urgent = atomic_load(&writer->closing),
      .flush_target = relaxed(&writer->flush_target),
      .room_target = room_target(writer),
  };
}

/* After the close limit: with the journal no lane goes on, what it lacks waits there; without, the sick ones are given up. */
static void stop_lanes_over_limit(tks__writer *writer, int64_t now_ns) {
  for (size_t i = 0; i < writer->lane_count; i++) {
    tks__lane *lane = &writer->lanes[i];
    bool in_journal = writer->config->journal != 0;
    if (lane->stopped || (!in_journal && !tks__lane_sick(lane, now_ns))) continue;
    lane->stopped = true;
    if (in_journal) continue;
    (void)pthread_mutex_lock(&writer->lock);
    /* What an earlier session left in its journal is still there. */
    if (lane->written.position >= writer->journal->live_from) tks__lane_skip(lane, tail_of(writer), TKS_GAP_CLOSE);
    else tks__lane_lose_live(lane, TKS_GAP_CLOSE);
    (void)pthread_mutex_unlock(&writer->lock);
  }
}

/* True when the sinks are closed and the loop is about to end. */
static bool wind_up(tks__writer *writer, int64_t now_ns) {
  if (writer->close_deadline_ns == 0) return false;
  if (now_ns >= writer->close_deadline_ns) stop_lanes_over_limit(writer, now_ns);
  bool all_closed = true;
  for (size_t i = 0; i < writer->lane_count; i++) {
    tks__lane *lane = &writer->lanes[i];
    if (!lane->busy && (lane->stopped || tks__lane_settled(lane))) tks__lane_dispatch_close(lane);
    all_closed = all_closed && lane->closed;
  }
  if (!all_closed) return false;
  writer->ended = true;
  uv_close((uv_handle_t *)&writer->wake, NULL);
  uv_close((uv_handle_t *)&writer->timer, NULL);
  return true;
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

static int64_t next_deadline(const tks__writer *writer, int64_t now_ns) {
  const tks__lane_order order = order_of(writer, now_ns);
  int64_t at = INT64_MAX;
  if (writer->close_deadline_ns > now_ns) at = writer->close_deadline_ns;
  for (size_t i = 0; i < writer->lane_count; i++) {
    const tks__lane *lane = &writer->lanes[i];
    int64_t lane_at = tks__lane_deadline(lane, &order);
    /* A job that takes long makes its lane sick at some moment, which may make room, or end a close. */
    if (lane->busy && !lane->stopped && !tks__lane_sick(lane, now_ns))
      lane_at = lane->running_since_ns + (int64_t)writer->config->degraded_retry_ms * TKS__NS_PER_MS + TKS__NS_PER_MS;
    if (lane_at < at) at = lane_at;
  }
  return at;
}

/* Which record's arrival is worth a wake-up's system call. */
static uint64_t wake_position(const tks__writer *writer, int64_t now_ns) {
  uint64_t at = TKS__WAKE_NEVER;
  for (size_t i = 0; i < writer->lane_count; i++) {
    uint64_t lane_at = tks__lane_wake_position(&writer->lanes[i], now_ns);
    if (lane_at < at) at = lane_at;
  }
  return at;
}

static void pump_once(tks__writer *writer, int64_t now_ns) {
  for (size_t i = 0; i < writer->lane_count; i++) (void)tks__lane_collect(&writer->lanes[i], &writer->lock, now_ns);
  note_requests(writer, now_ns);
  make_room(writer, now_ns);
  const tks__lane_order order = order_of(writer, now_ns);
  for (size_t i = 0; i < writer->lane_count; i++) tks__lane_dispatch(&writer->lanes[i], &order);
  publish_progress(writer, now_ns);
}

/* Does all there is to do, then sleeps until the next deadline or wake-up. */
static void pump(tks__writer *writer) {
  if (writer->ended) return;
  int64_t now_ns;
  uint64_t wake_at;
  do {
    now_ns = tks__clock_monotonic_ns();
    pump_once(writer, now_ns);
    wake_at = wake_position(writer, now_ns);
    tks__journal_wake_at(writer->journal, wake_at);
    /* What came before the line above woke nobody. */
  } while (wake_at != TKS__WAKE_NEVER && tail_of(writer) > wake_at);

  uint64_t end_seq = tks__journal_end_seq(writer->journal);
  if (end_seq + RESERVE_AHEAD > writer->options.reserved_seq)
    writer->options.reserved_seq =
        writer->options.reserve(writer->options.reserve_context, end_seq, writer->options.reserved_seq);
  if (!wind_up(writer, now_ns)) set_timer(writer, next_deadline(writer, now_ns));
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

static int init_progress(tks__writer *writer) {
  int rc = tks__condition_init(&writer->progress);
  if (rc != 0) return rc;
  rc = pthread_mutex_init(&writer->progress_lock, NULL);
  if (rc != 0) goto no_progress_lock;
  rc = pthread_mutex_init(&writer->lock, NULL);
  if (rc == 0) return 0;
  (void)pthread_mutex_destroy(&writer->progress_lock);
no_progress_lock:
  (void)pthread_cond_destroy(&writer->progress);
  return rc;
}

static void deinit_progress(tks__writer *writer) {
  (void)pthread_mutex_destroy(&writer->lock);
  (void)pthread_mutex_destroy(&writer->progress_lock);
  (void)pthread_cond_destroy(&writer->progress);
}

static void close_sinks(tks__sink *sinks[TKS__LANES]) {
  for (int i = 0; i < TKS__LANES; i++)
    if (sinks[i] != NULL) (void)sinks[i]->ops->close(sinks[i], NULL);
}

/* Closes the handles that were made and runs the loop until they are gone. */
static void close_loop(tks__writer *writer) {
  uv_close((uv_handle_t *)&writer->wake, NULL);
  uv_close((uv_handle_t *)&writer->timer, NULL);
  (void)uv_run(&writer->loop, UV_RUN_DEFAULT);
  (void)uv_loop_close(&writer->loop);
}

static void stop_lanes(tks__writer *writer) {
  for (size_t i = 0; i < writer->lane_count; i++) {
    tks__lane *lane = &writer->lanes[i];
    tks__lane_dispatch_close(lane);
    while (!lane->closed) {
      (void)tks__lane_collect(lane, &writer->lock, 0);
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
  const tks__lane_options lane_options = {
      .config = writer->config,
      .log = writer->options.log,
      .journal = writer->journal,
      .first_position = atomic_load_explicit(&writer->journal->released, memory_order_relaxed),
      .done = wake_loop,
      .done_context = writer,
      .lost = note_loss,
      .lost_context = writer,
      .tended = writer->options.tended,
      .tended_context = writer->options.tended_context,
  };
  for (int i = 0; i < TKS__LANES; i++) {
    if (sinks[i] == NULL) continue;
    if (errnum == 0) errnum = tks__lane_start(&writer->lanes[writer->lane_count], sinks[i], &lane_options);
    else (void)sinks[i]->ops->close(sinks[i], NULL);
    if (errnum == 0) writer->lane_count++;
  }
  if (errnum == 0) errnum = tks__thread_start(&writer->thread, loop_main, writer);
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
  writer->journal = tks__keeper_journal(options->keeper);
  uint64_t first = atomic_load_explicit(&writer->journal->released, memory_order_relaxed);
  atomic_init(&writer->flush_target, first);
  if (init_progress(writer) != 0) goto no_progress;
  writer->journal->wake = wake_loop;
  writer->journal->wake_context = writer;
  int code = start_impl(writer, sinks, error);
  if (code == TKS_OK) {
    *out = writer;
    return TKS_OK;
  }
  deinit_progress(writer);
  tks__free(writer);
  return code;

no_progress:
  tks__free(writer);
no_writer:
  close_sinks(sinks);
  return tks__fail(error, TKS_ENOMEM, 0, "out of memory starting the writer");
}

static bool concerns(const tks__lane *lane, uint32_t sink) { return sink == 0 || lane->id == sink; }

/* The position up to which all is durable in a sink (0: in all). */
static uint64_t durable_in(const tks__writer *writer, uint32_t sink) {
  uint64_t durable = UINT64_MAX;
  for (size_t i = 0; i < writer->lane_count; i++) {
    uint64_t position = atomic_load(&writer->lanes[i].durable_position);
    if (concerns(&writer->lanes[i], sink) && position < durable) durable = position;
  }
  return durable;
}

/* Where all that was ever accepted is durable, what was lost since then does not hold it back. What anybody was told stays true: a lane
 * that is about to get more, and has not looked since, has published less. */
static uint64_t lane_durable_seq(tks__writer *writer, tks__lane *lane) {
  uint64_t durable = atomic_load(&lane->durable_position), published = relaxed(&lane->durable_seq);
  uint64_t offset = atomic_load_explicit(&writer->journal->offset, memory_order_acquire);
  uint64_t end = durable + offset - 1;
  uint64_t seq = durable == tail_of(writer) && end > published ? end : published;
  uint64_t told = atomic_load_explicit(&lane->told_durable_seq, memory_order_acquire);
  while (told < seq && !atomic_compare_exchange_weak_explicit(&lane->told_durable_seq, &told, seq, memory_order_acq_rel,
                                                              memory_order_acquire)) {
  }
  return told < seq ? seq : told;
}

static uint64_t durable_seq_in(tks__writer *writer, uint32_t sink) {
  uint64_t durable = UINT64_MAX;
  for (size_t i = 0; i < writer->lane_count; i++) {
    if (!concerns(&writer->lanes[i], sink)) continue;
    uint64_t seq = lane_durable_seq(writer, &writer->lanes[i]);
    if (seq < durable) durable = seq;
  }
  return durable;
}

uint64_t tks__writer_durable_seq(tks__writer *writer) { return durable_seq_in(writer, 0); }

static const tks__lane *find_lane(const tks__writer *writer, uint32_t sink) {
  for (size_t i = 0; i < writer->lane_count; i++)
    if (writer->lanes[i].id == sink) return &writer->lanes[i];
  return NULL;
}

bool tks__writer_sink_durable_seq(tks__writer *writer, uint32_t sink, uint64_t *seq) {
  if (find_lane(writer, sink) == NULL) return false;
  *seq = durable_seq_in(writer, sink);
  return true;
}

static uint64_t lost_in(const tks__writer *writer, uint32_t sink) {
  uint64_t lost = 0;
  for (size_t i = 0; i < writer->lane_count; i++)
    if (concerns(&writer->lanes[i], sink)) lost += relaxed(&writer->lanes[i].lost);
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

  *next_seq = tks__journal_end_seq(writer->journal);
  uint64_t lost = lost_in(writer, 0);
  int code = TKS_OK;
  if (lost > 0) {
    char text[200] = "";
    for (size_t i = 0; i < writer->lane_count; i++) {
      size_t n = strlen(text);
      (void)snprintf(text + n, sizeof text - n, "%s%s lacks %llu", i > 0 ? ", " : "", name_of(writer->lanes[i].id),
                     (unsigned long long)relaxed(&writer->lanes[i].lost));
    }
    code = tks__fail(error, TKS_EUNWRITTEN, 0, "closed with records not written: %s (last error: %.100s)", text,
                     last_error_of_loser(writer));
    tks__log_write(writer->options.log, TKS_LOG_ERROR, "closed with records not written: %s", text);
  }
  for (size_t i = 0; i < writer->lane_count; i++) tks__lane_join(&writer->lanes[i]);
  deinit_progress(writer);
  tks__free(writer);
  return code;
}

/* ---------------------------------------------------- for other threads */

static int flush_timed_out(tks__writer *writer, uint32_t sink, uint64_t target, tks_error *error) {
  for (size_t i = 0; i < writer->lane_count; i++) {
    tks__lane *lane = &writer->lanes[i];
    if (!concerns(lane, sink) || relaxed(&lane->durable_position) >= target) continue;
    tks_sink_stats stats;
    (void)pthread_mutex_lock(&writer->lock);
    tks__lane_stats(lane, target, 0, &stats);
    (void)pthread_mutex_unlock(&writer->lock);
    bool failing = stats.state != TKS_SINK_OK;
    return tks__fail(error, TKS_ETIMEOUT, failing ? stats.last_error_detail : 0,
                     "%s has synced up to sequence %llu of %llu%s%s", name_of(lane->id),
                     (unsigned long long)stats.durable_seq,
                     (unsigned long long)(tks__journal_seq_at(writer->journal, target) - 1),
                     failing ? "; its last error: " : "", failing ? stats.last_error : "");
  }
  return tks__fail(error, TKS_ETIMEOUT, 0, "not durable in time");
}

int tks__writer_flush(tks__writer *writer, uint32_t sink, int64_t timeout_ms, tks_error *error) {
  if (sink != 0 && find_lane(writer, sink) == NULL)
    return tks__fail(error, TKS_EINVAL, 0, "sink is %u: not one that this store writes to", sink);
  uint64_t target = tail_of(writer);
  if (durable_in(writer, sink) >= target) return TKS_OK;
  uint64_t lost = lost_in(writer, sink);
  uint64_t before = relaxed(&writer->flush_target);
  while (before < target && !atomic_compare_exchange_weak(&writer->flush_target, &before, target)) {
  }
  atomic_fetch_add(&writer->flush_requests, 1);
  wake_loop(writer);
  if (timeout_ms == 0) return flush_timed_out(writer, sink, target, error);

  int64_t now_ns = tks__clock_monotonic_ns();
  bool forever = timeout_ms < 0 || timeout_ms > (INT64_MAX - now_ns) / TKS__NS_PER_MS;
  int64_t until_ns = forever ? INT64_MAX : now_ns + timeout_ms * TKS__NS_PER_MS;
  atomic_fetch_add(&writer->progress_waiters, 1);
  (void)pthread_mutex_lock(&writer->progress_lock);
  int rc = 0;
  while (rc != ETIMEDOUT && !writer->interrupted && durable_in(writer, sink) < target)
    rc = tks__condition_wait(&writer->progress, &writer->progress_lock, until_ns);
  bool interrupted = writer->interrupted;
  (void)pthread_mutex_unlock(&writer->progress_lock);
  atomic_fetch_sub(&writer->progress_waiters, 1);

  if (interrupted) return tks__fail(error, TKS_ECLOSED, 0, "the store is being closed");
  if (durable_in(writer, sink) < target) return flush_timed_out(writer, sink, target, error);
  uint64_t newly_lost = lost_in(writer, sink) - lost;
  if (newly_lost > 0)
    return tks__fail(error, TKS_EUNWRITTEN, 0, "flushed, but the sinks lost %llu records meanwhile",
                     (unsigned long long)newly_lost);
  return TKS_OK;
}

typedef struct collector {
  tks__pending *pending;
  bool no_memory;
} collector;

static bool collect(void *context, const tks__record *r) {
  collector *c = context;
  tks__pending *p = c->pending;
  c->no_memory = !tks__grow((void **)&p->records, &p->capacity, p->count + 1, sizeof *p->records);
  if (!c->no_memory) p->records[p->count++] = *r;
  return !c->no_memory;
}

int tks__writer_pending(tks__writer *writer, const tks__pending_filter *filter, tks__pending *pending) {
  collector c = {.pending = pending};
  *pending = (tks__pending){0};
  const tks__lane *lane = find_lane(writer, filter->sink);
  if (lane == NULL) return TKS_OK;
  const tks__journal_filter wanted = {
      .symbol = filter->symbol, .from_ns = filter->from_ns, .to_ns = filter->to_ns, .max_seq = filter->max_seq};
  /* Acquire: what lies before is in the sink. */
  uint64_t from = atomic_load_explicit(&lane->written_position, memory_order_acquire);
  tks__journal_scan(writer->journal, from, &wanted, collect, &c);
  if (!c.no_memory) return TKS_OK;
  tks__free(pending->records);
  *pending = (tks__pending){0};
  return TKS_ENOMEM;
}

void tks__writer_stats(tks__writer *writer, tks_store_stats *stats) {
  stats->first_seq = writer->options.first_seq;
  stats->wakeups = relaxed(&writer->journal->wakeups);
  stats->journal_stalls = relaxed(&writer->journal->stalls);
  int64_t oldest = atomic_load_explicit(&writer->oldest_ns, memory_order_relaxed);
  tks__keeper_stats keeper;
  tks__keeper_stats_get(writer->options.keeper, &keeper);
  stats->recovered = keeper.recovered;
  stats->journal_bytes = keeper.bytes;
  /* Before the journal's end is looked at: what is durable lies before it. */
  uint64_t durable[TKS__LANES] = {0};
  stats->durable_seq = UINT64_MAX;
  for (size_t i = 0; i < writer->lane_count; i++) {
    durable[i] = lane_durable_seq(writer, &writer->lanes[i]);
    if (durable[i] < stats->durable_seq) stats->durable_seq = durable[i];
  }
  /* What is durable needs no sync; of the rest the keeper knows. */
  stats->journal_seq = keeper.synced_seq > stats->durable_seq ? keeper.synced_seq : stats->durable_seq;
  /* The lanes' positions and the tail of one moment: the counts add up. */
  (void)pthread_mutex_lock(&writer->lock);
  tks__journal_counts counts = tks__journal_count(writer->journal);
  stats->last_seq = counts.end_seq - 1;
  stats->accepted = counts.end_seq - writer->options.first_seq;
  stats->dropped = counts.dropped;
  for (size_t i = 0; i < writer->lane_count; i++) {
    tks_sink_stats *sink = &stats->sinks[writer->lanes[i].id == TKS_SQLITE ? 0 : 1];
    tks__lane_stats(&writer->lanes[i], counts.tail, keeper.holes, sink);
    /* What was told of as durable was written, too. */
    sink->durable_seq = durable[i];
    if (sink->written_seq < durable[i]) sink->written_seq = durable[i];
    uint64_t held = tks__lane_held(&writer->lanes[i], counts.tail, keeper.holes);
    if (held > stats->held) stats->held = held;
  }
  (void)pthread_mutex_unlock(&writer->lock);
  if (stats->durable_seq < stats->last_seq && oldest != 0)
    stats->durable_lag_ms = (uint64_t)((tks__clock_monotonic_ns() - oldest) / TKS__NS_PER_MS);
}
