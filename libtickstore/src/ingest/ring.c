#include "ingest/ring.h"

#include <string.h>

/* The chunk that slot `index` lies in, with its first slot and its length in a ring of `slots`. */
static unsigned chunk_of(uint64_t index, uint64_t slots, uint64_t *first, uint64_t *length) {
  unsigned chunk = 0;
  *first = 0;
  *length = TKS__RING_FIRST_CHUNK;
  if (index >= TKS__RING_FIRST_CHUNK) {
    unsigned octave = 63u - (unsigned)__builtin_clzll(index / TKS__RING_FIRST_CHUNK);
    *first = *length = (uint64_t)TKS__RING_FIRST_CHUNK << octave;
    if (octave < TKS__RING_QUARTERS) {
      chunk = 1 + octave;
    } else if (octave < TKS__RING_WHOLES) {
      *length /= 4;
      unsigned quarter = (unsigned)((index - *first) / *length);
      *first += quarter * *length;
      chunk = 1 + TKS__RING_QUARTERS + 4 * (octave - TKS__RING_QUARTERS) + quarter;
    } else {
      chunk = 1 + TKS__RING_QUARTERS + 4 * (TKS__RING_WHOLES - TKS__RING_QUARTERS) + (octave - TKS__RING_WHOLES);
    }
  }
  if (*first + *length > slots) *length = slots - *first;
  return chunk;
}

bool tks__ring_reserve(tks__ring *ring, uint32_t size, tks__arena *arena) {
  if (atomic_load_explicit(&ring->next, memory_order_relaxed) != ring->chunk_end) return true;
  uint64_t slots = (uint64_t)size + 1;
  uint64_t index = atomic_load_explicit(&ring->head, memory_order_relaxed) % slots;
  uint64_t first, length;
  unsigned chunk = chunk_of(index, slots, &first, &length);
  tks__ring_slot *start = atomic_load_explicit(&ring->chunks[chunk], memory_order_relaxed);
  if (start == NULL) {
    start = tks__arena_take(arena, length * sizeof(tks__ring_slot));
    if (start == NULL) return false;
    /* Relaxed: readers reach a chunk only through a head that was published (release) after this. */
    atomic_store_explicit(&ring->chunks[chunk], start, memory_order_relaxed);
    atomic_fetch_add_explicit(&ring->bytes, length * sizeof(tks__ring_slot), memory_order_relaxed);
  }
  atomic_store_explicit(&ring->next, start + (index - first), memory_order_relaxed);
  ring->chunk_end = start + length;
  return true;
}

static uint64_t word_of_double(double value) {
  uint64_t word;
  memcpy(&word, &value, sizeof word);
  return word;
}

static double double_of_word(uint64_t word) {
  double value;
  memcpy(&value, &word, sizeof value);
  return value;
}

static void store_slot(tks__ring_slot *slot, const tks__record *r) {
  const uint64_t words[8] = {
      (uint64_t)r->ts_ns,
      (uint64_t)r->recv_ns,
      r->seq,
      word_of_double(r->bid),
      word_of_double(r->ask),
      word_of_double(r->bid_size),
      word_of_double(r->ask_size),
      (uint64_t)r->flags << 32 | r->source,
  };
  for (int i = 0; i < 8; i++) atomic_store_explicit(&slot->words[i], words[i], memory_order_relaxed);
}

static void load_slot(const tks__ring_slot *slot, uint32_t symbol, tks__record *r) {
  uint64_t words[8];
  for (int i = 0; i < 8; i++) words[i] = atomic_load_explicit(&slot->words[i], memory_order_relaxed);
  r->ts_ns = (int64_t)words[0];
  r->recv_ns = (int64_t)words[1];
  r->seq = words[2];
  r->bid = double_of_word(words[3]);
  r->ask = double_of_word(words[4]);
  r->bid_size = double_of_word(words[5]);
  r->ask_size = double_of_word(words[6]);
  r->source = (uint32_t)words[7];
  r->flags = (uint32_t)(words[7] >> 32);
  r->symbol = symbol;
  r->reserved = TKS__KIND_QUOTE;
}

void tks__ring_push(tks__ring *ring, const tks__record *record) {
  uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
  /* Release: a reader that sees any word written below also sees `head` (invariant 2) once it has passed its acquire
   * fence. Compiles to nothing on x86. */
  atomic_thread_fence(memory_order_release);
  tks__ring_slot *slot = atomic_load_explicit(&ring->next, memory_order_relaxed);
  store_slot(slot, record);
  atomic_store_explicit(&ring->next, slot + 1, memory_order_relaxed);
  /* The line that this symbol's next record will fill: asked for now, it is there by then. With many full rings it lies in
   * main memory, and the wait for it would be the largest part of a put. (Behind a chunk's end the hint does nothing.) */
  __builtin_prefetch(slot + 1, 1);
  /* Release: publishes the slot, and the chunk it lies in. */
  atomic_store_explicit(&ring->head, head + 1, memory_order_release);
}

size_t tks__ring_count(const tks__ring *ring, uint32_t size) {
  uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
  return (size_t)(head < size ? head : size);
}

/* Copies entries [from, to) without regard to writers. */
static void copy_entries(const tks__ring *ring, uint64_t slots, uint32_t symbol, uint64_t from, uint64_t to,
                         tks__record *records) {
  uint64_t index = from % slots;
  while (from < to) {
    uint64_t first, length;
    unsigned chunk = chunk_of(index, slots, &first, &length);
    const tks__ring_slot *start = atomic_load_explicit(&ring->chunks[chunk], memory_order_relaxed);
    for (uint64_t offset = index - first; offset < length && from < to; offset++, from++)
      load_slot(&start[offset], symbol, records++);
    index = first + length == slots ? 0 : first + length;
  }
}

/* False: the writer came round the whole ring while this copied, and nothing is left. */
static bool copy_last(const tks__ring *ring, uint32_t size, uint32_t symbol, size_t n, tks__record *records,
                      size_t *copied) {
  uint64_t slots = (uint64_t)size + 1;
  /* Acquire: pairs with the release in push, so that every entry below is whole and its chunk is there. */
  uint64_t head = atomic_load_explicit(&ring->head, memory_order_acquire);
  uint64_t count = head < size ? head : size;
  if (count > n) count = n;
  uint64_t from = head - count;
  copy_entries(ring, slots, symbol, from, head, records);
  /* Acquire fence: if a word copied above came from a later entry, the load below sees a head that says so. */
  atomic_thread_fence(memory_order_acquire);
  uint64_t now = atomic_load_explicit(&ring->head, memory_order_relaxed);
  uint64_t oldest_whole = now >= slots ? now - slots + 1 : 0;
  /* What was overwritten meanwhile is older than the rest: leave it out. */
  uint64_t lost = oldest_whole > from ? oldest_whole - from : 0;
  *copied = (size_t)(lost < count ? count - lost : 0);
  if (lost > 0 && *copied > 0) memmove(records, records + lost, *copied * sizeof *records);
  return *copied > 0 || count == 0;
}

size_t tks__ring_last(const tks__ring *ring, uint32_t size, uint32_t symbol, size_t n, tks__record *records) {
  size_t copied;
  /* Without the newest record the caller would take an older one, from elsewhere, for it. Half as many are copied in half the
   * time, so this ends. */
  while (!copy_last(ring, size, symbol, n, records, &copied)) n = n > 1 ? n / 2 : 1;
  return copied;
}
