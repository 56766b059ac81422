/* sink.h - what a place that records are written to must be able to do.
 *
 * All four operations run on the sink's own worker thread, one at a time, so a sink needs no locks of its own for what
 * only they touch. Counters that other threads read are atomics in tks__sink_gauges.
 *
 *   write   stores every record, given in ascending order of sequence. On failure the same records come again, perhaps with
 *           more behind them: what had been stored already must not be stored twice (the sequence number is the key).
 *   sync    puts everything written so far on stable storage. A sink whose write already did sets durable_on_write.
 *           After any failure of a sink without it, everything not durable comes again through write, before a sync.
 *   tend    housekeeping: seals past days without late ticks, closes what has been idle. Called now and then,
 *           with the calendar time.
 *   close   seals and closes everything, frees the sink. What was written and cannot be sealed stays readable. */
#ifndef TKS_PERSIST_SINK_H
#define TKS_PERSIST_SINK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/record.h"
#include "tickstore/tickstore.h"

typedef struct tks__sink tks__sink;

typedef struct tks__sink_ops {
  const char *name;
  uint32_t id; /* TKS_SQLITE or TKS_JSON */
  int (*write)(tks__sink *sink, const tks__record *records, size_t count, tks_error *error);
  int (*sync)(tks__sink *sink, tks_error *error);
  int (*tend)(tks__sink *sink, int64_t now_ns, tks_error *error);
  int (*close)(tks__sink *sink, tks_error *error);
} tks__sink_ops;

typedef struct tks__sink_gauges {
  _Atomic uint64_t rotations;
  _Atomic uint64_t wal_bytes;
  _Atomic uint64_t open_files;
} tks__sink_gauges;

/* The head of every sink; the sink's own struct starts with it. */
struct tks__sink {
  const tks__sink_ops *ops;
  bool durable_on_write;
  tks__sink_gauges gauges;
};

#endif
