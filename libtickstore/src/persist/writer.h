/* writer.h - sees the journal's records into every sink.
 *
 * One libuv loop on one thread decides; it never touches a disk. Each sink works on its own thread (worker.h), one job at
 * a time, and has its own lane: how far it has got, retry state, numbers. So a sick sink stops nobody else.
 *
 *   A sink is given a write when batch_records wait for it, when the flush interval is over, at a flush, and at close.
 *   A write takes everything that waits (up to a bound), so transactions grow under load by themselves.
 *   A failed write is tried again after pauses on timers: retry_attempts times with doubling pauses, then, degraded,
 *   every degraded_retry_ms. Meanwhile the journal holds what it lacks, up to journal_bytes. Without the journal a sick sink
 *   that would keep a healthy one from getting records loses the oldest that it lacks, counted.
 *
 *   1. durable_seq never goes back. written_seq does so only when a sink without durable_on_write fails: to durable_seq.
 *   2. A record accepted and not yet written to a sink is in the journal, at or behind the sink's written position. */
#ifndef TKS_PERSIST_WRITER_H
#define TKS_PERSIST_WRITER_H

#include "base/log.h"
#include "ingest/keeper.h"
#include "persist/gaps.h"
#include "persist/sink.h"

#define TKS__LANES 2

typedef struct tks__writer tks__writer;

typedef struct tks__writer_options {
  const tks_config *config; /* borrowed, like all pointers here */
  const tks__log *log;
  tks__keeper *keeper; /* and its journal */
  tks__gaps *gaps;
  uint64_t first_seq;
  /* Called on the loop's thread when sequence numbers approach the reserve; returns the new one, or the old on failure. */
  uint64_t (*reserve)(void *context, uint64_t last_seq, uint64_t reserved_seq);
  void *reserve_context;
  uint64_t reserved_seq;
  /* Called on the loop's thread with the calendar's time, whenever a sink was tended: once a minute or so. May be NULL. */
  void (*tended)(void *context, int64_t now_ns);
  void *tended_context;
} tks__writer_options;

/* Starts the loop and a worker for each sink (NULL where there is none). Takes over the sinks, in failure too: they are then
 * closed. */
int tks__writer_start(const tks__writer_options *options, tks__sink *sinks[TKS__LANES], tks__writer **writer,
                      tks_error *error);

/* Waits until all that was pushed before is durable in a sink (0: in all); see tks_flush. */
int tks__writer_flush(tks__writer *writer, uint32_t sink, int64_t timeout_ms, tks_error *error);

/* Makes every running flush return TKS_ECLOSED: a close wants to begin. */
void tks__writer_interrupt(tks__writer *writer);

/* No more pushes come. Writes all that is pending, closes the sinks, ends the threads, frees. With the journal it stops after limit_ms,
 * and what is left waits there; without, sick sinks are given up then. TKS_EUNWRITTEN when records were lost, with the
 * numbers in the message. *next_seq becomes the first sequence number not given out. */
int tks__writer_close(tks__writer *writer, uint32_t limit_ms, uint64_t *next_seq, tks_error *error);

uint64_t tks__writer_durable_seq(tks__writer *writer);

/* Of one sink; false: there is no such sink here. */
bool tks__writer_sink_durable_seq(tks__writer *writer, uint32_t sink, uint64_t *seq);

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

/* Fills the fields that the journal and the sinks know. */
void tks__writer_stats(tks__writer *writer, tks_store_stats *stats);

#endif
