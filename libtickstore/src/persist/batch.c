#include "persist/batch.h"

#include "base/memory.h"

tks__batch *tks__batch_new(size_t capacity) {
  if (capacity > (SIZE_MAX - sizeof(tks__batch)) / sizeof(tks__record)) return NULL;
  tks__batch *batch = tks__malloc(sizeof *batch + capacity * sizeof(tks__record));
  if (batch == NULL) return NULL;
  batch->references = 1;
  batch->last_seq = 0;
  batch->taken_ns = 0;
  batch->count = 0;
  return batch;
}

void tks__batch_retain(tks__batch *batch) { batch->references++; }

void tks__batch_release(tks__batch *batch) {
  if (--batch->references == 0) tks__free(batch);
}
