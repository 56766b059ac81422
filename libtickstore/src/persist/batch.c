#include "persist/batch.h"

#include <stdbool.h>

#include "base/memory.h"

#define MAPPED_BYTES ((size_t)256 * 1024)

tks__batch *tks__batch_new(size_t capacity) {
  if (capacity > (SIZE_MAX - sizeof(tks__batch)) / sizeof(tks__record)) return NULL;
  size_t bytes = sizeof(tks__batch) + capacity * sizeof(tks__record);
  /* A large one is mapped, so that it goes back to the system when it is written: the allocator would keep what a burst took. */
  bool mapped = bytes >= MAPPED_BYTES;
  tks__batch *batch = mapped ? tks__reserve(bytes) : tks__malloc(bytes);
  if (batch == NULL) return NULL;
  batch->reserved = mapped ? bytes : 0;
  batch->references = 1;
  batch->last_seq = 0;
  batch->taken_ns = 0;
  batch->count = 0;
  return batch;
}

void tks__batch_retain(tks__batch *batch) { batch->references++; }

void tks__batch_release(tks__batch *batch) {
  if (--batch->references > 0) return;
  if (batch->reserved > 0) tks__unreserve(batch, batch->reserved);
  else tks__free(batch);
}
