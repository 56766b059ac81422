/* batch.h - a run of consecutive records on its way from the queue to the sinks, shared by them. */
#ifndef TKS_PERSIST_BATCH_H
#define TKS_PERSIST_BATCH_H

#include <stddef.h>
#include <stdint.h>

#include "base/record.h"

/* Immutable once filled. References are counted by the writer's loop thread alone; sinks only borrow. */
typedef struct tks__batch {
  uint32_t references;
  size_t reserved;   /* bytes, when it was mapped; 0: from the allocator */
  uint64_t last_seq; /* every sequence number up to here that is not in it or an earlier batch was reported lost */
  int64_t taken_ns;  /* monotonic; when it left the queue */
  size_t count;
  tks__record records[]; /* ascending by seq */
} tks__batch;

/* Room for `capacity` records, one reference. NULL: no memory. */
tks__batch *tks__batch_new(size_t capacity);
void tks__batch_retain(tks__batch *batch);
void tks__batch_release(tks__batch *batch);

#endif
