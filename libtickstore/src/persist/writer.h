/* writer.h - takes records from the queue and sees them into every sink.
 *
 * One libuv loop on one thread decides; it never touches a disk. Each sink works on its own thread (worker.h), one job at
 * a time, and has its own lane: backlog, retry state, progress. So a sick sink stops nobody else.
 *
 *   A batch leaves the queue when batch_records are pending, when the flush interval is over, at a flush, and at close.
 *   A write takes everything in the lane's backlog (up to a bound), so transactions grow under load by themselves.
 *   A failed write is tried again after pauses on timers: retry_attempts times with doubling pauses, then, degraded,
 *   every degraded_retry_ms. Meanwhile the backlog grows to its bound. A healthy lane at its bound makes the queue fill (and
 *   its policy apply); a sick lane at its bound loses what it has no room for, counted, while another lane goes on.
 *
 *   1. Batches lie in a lane's backlog in order: first those written but not yet synced, then those being written, then
 *      the rest. A batch leaves when it is durable, so a failed sync can fall back on it.
 *   2. durable_seq never goes back. written_seq does so only when a sink without durable_on_write fails: to durable_seq.
 *   3. A record accepted and not yet written is in the queue or in a backlog, and under the queue's lock in exactly one. */
#ifndef TKS_PERSIST_WRITER_H
#define TKS_PERSIST_WRITER_H

#include "base/log.h"
#include "ingest/queue.h"
#include "persist/sink.h"

#define TKS__LANES 2

typedef struct tks__writer tks__writer;

typedef struct tks__writer_options {
  const tks_config *config; /* borrowed, like all pointers here */
  const tks__log *log;
  uint64_t first_seq;
  /* Called on the loop's thread when sequence numbers approach the reserve; returns the new one, or the old on failure. */
  uint64_t (*reserve)(void *context, uint64_t last_seq, uint64_t reserved_seq);
  void *reserve_context;
  uint64_t reserved_seq;
} tks__writer_options;

/* Starts the loop and a worker for each sink (NULL where there is none). Takes over the sinks, in failure too: they are then
 * closed. */
int tks__writer_start(const tks__writer_options *options, tks__sink *sinks[TKS__LANES], tks__writer **writer,
                      tks_error *error);

/* The queue that producers push to. */
tks__queue *tks__writer_queue(tks__writer *writer);

/* Waits until all that was pushed before is durable everywhere; see tks_flush. */
int tks__writer_flush(tks__writer *writer, int64_t timeout_ms, tks_error *error);

/* Makes every running flush return TKS_ECLOSED: a close wants to begin. */
void tks__writer_interrupt(tks__writer *writer);

/* No more pushes come. Writes all that is pending (for at most limit_ms where sinks are sick), closes the sinks, ends the
 * threads, frees. TKS_EUNWRITTEN when records are left over, with the numbers in the message. *next_seq becomes the first
 * sequence number not given out. */
int tks__writer_close(tks__writer *writer, uint32_t limit_ms, uint64_t *next_seq, tks_error *error);

uint64_t tks__writer_durable_seq(const tks__writer *writer);

/* Records of a symbol that are accepted and not yet written to a sink, with seq <= max_seq, in order of sequence. */
typedef struct tks__pending {
  tks__record *records;
  size_t count;
  size_t capacity;
} tks__pending;
typedef struct tks__pending_filter {
  uint32_t sink;   /* TKS_SQLITE or TKS_JSON: the one that the reader reads from */
  uint32_t symbol; /* 0: all */
  int64_t from_ns; /* from <= ts_ns < to */
  int64_t to_ns;
  uint64_t max_seq;
} tks__pending_filter;
/* TKS_OK or TKS_ENOMEM. Free pending->records with tks__free. */
int tks__writer_pending(tks__writer *writer, const tks__pending_filter *filter, tks__pending *pending);

/* Fills the fields that the queue and the sinks know. */
void tks__writer_stats(tks__writer *writer, tks_store_stats *stats);

#endif
