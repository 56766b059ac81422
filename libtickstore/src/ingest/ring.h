/* ring.h - the last records of one symbol, in memory.
 *
 * One writer at a time (under the symbol's lock), any number of readers at any time. Readers never block the writer and
 * the writer never waits for readers: a reader copies, then checks what may have been overwritten meanwhile.
 *
 *   1. Entry number i lies in slot i % slots. `head` is the number of entries ever published.
 *   2. Entry `head` may be half written at any moment; it overwrites entry head - slots. So after a copy that began at
 *      entry i, the copy is whole if, read after it, i > head - slots.
 *   3. Slots are atomic words with relaxed order: a torn record is possible, is detected by 2, and is no data race.
 *   4. There is one slot more than the ring's size, so that with no writer at work the full size is readable.
 *
 * Memory follows use: chunks are allocated as the ring first fills and never move: 16, 16, 32 slots, then from 64 to 256 by
 * quarters of an octave (16, 16, 16, 16, 32, ...), since that is where most of very many symbols stay, beyond by whole octaves
 * (256, 512, ...). */
#ifndef TKS_INGEST_RING_H
#define TKS_INGEST_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/record.h"
#include "ingest/arena.h"

#define TKS__RING_FIRST_CHUNK 16
#define TKS__RING_QUARTERS 2 /* octave (of 16 << octave slots) from which they come in four chunks: 64 slots */
#define TKS__RING_WHOLES 4   /* and from which they are whole again: 256 slots */
#define TKS__RING_CHUNKS 28  /* 256 << 17 slots suffice for rings of 16,777,216 */

/* One record without its symbol: one cache line. */
typedef struct tks__ring_slot {
  _Atomic uint64_t words[8];
} tks__ring_slot;

/* Zero-initialised. */
typedef struct tks__ring {
  _Atomic uint64_t head;
  _Atomic(tks__ring_slot *) next; /* writer: where the next entry goes; atomic only for tks__ring_prefetch */
  tks__ring_slot *chunk_end;      /* writer: where the chunk of `next` ends */
  _Atomic uint64_t bytes;         /* allocated */
  _Atomic(tks__ring_slot *) chunks[TKS__RING_CHUNKS];
} tks__ring;

/* Writer: makes sure that the next push has a slot, in memory of the arena. False: no memory. `size` and arena are the same at every call
 * on a ring, which ends with the arena. */
bool tks__ring_reserve(tks__ring *ring, uint32_t size, tks__arena *arena);

/* Anybody: asks for the cache line that the next push will write, ahead of the work before it. With many full rings that line
 * is in main memory, and the wait for it the largest part of a put. */
static inline void tks__ring_prefetch(const tks__ring *ring) {
  __builtin_prefetch(atomic_load_explicit(&ring->next, memory_order_relaxed), 1);
}

/* Writer: publishes a record. After a successful reserve. */
void tks__ring_push(tks__ring *ring, const tks__record *record);

/* Reader: the last n entries at most, oldest first, with `symbol` filled in. Returns how many: fewer where the writer comes round
 * meanwhile, 0 only while the ring is empty (or n is 0). */
size_t tks__ring_last(const tks__ring *ring, uint32_t size, uint32_t symbol, size_t n, tks__record *records);

/* How many entries a reader can have at most, now. */
size_t tks__ring_count(const tks__ring *ring, uint32_t size);

#endif
