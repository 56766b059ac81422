/* slot.h - a record as it lies in the journal: one cache line that tells by itself whether it is whole.
 *
 * The last word is the stamp: a checksum over everything else and the sequence number, and the caller's flags. It is
 * stored last, so a slot without a stamp was never finished, and one whose stamp does not fit its place was torn or is
 * what an earlier use of the file left behind. Bytes on disk are in the machine's order; the segment's header says so. */
#ifndef TKS_INGEST_SLOT_H
#define TKS_INGEST_SLOT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/record.h"

typedef struct tks__slot_body {
  int64_t ts_ns;
  int64_t recv_ns;
  double bid, ask, bid_size, ask_size;
  uint32_t symbol;
  uint16_t source;
  uint8_t kind;
  uint8_t flags; /* the library's: the low byte of a record's flags */
} tks__slot_body;

typedef struct tks__slot {
  _Alignas(64) tks__slot_body body;
  _Atomic uint64_t stamp; /* 48 bits of checksum, 16 bits of the caller's flags; 0: nothing here yet */
} tks__slot;

_Static_assert(sizeof(tks__slot_body) == 56 && sizeof(tks__slot) == 64, "a slot is one cache line");

static inline uint64_t tks__slot_make_stamp(const tks__slot_body *body, uint64_t seq, uint64_t user_flags) {
  uint64_t check = XXH3_64bits_withSeed(body, sizeof *body, seq ^ user_flags << 48) >> 16;
  /* 0 is the mark of an empty slot. */
  return (check != 0 ? check : 1) << 16 | user_flags;
}

static inline void tks__slot_store(tks__slot *slot, const tks__record *record) {
  const tks__slot_body body = {
      .ts_ns = record->ts_ns,
      .recv_ns = record->recv_ns,
      .bid = record->bid,
      .ask = record->ask,
      .bid_size = record->bid_size,
      .ask_size = record->ask_size,
      .symbol = record->symbol,
      .source = (uint16_t)record->source,
      .kind = (uint8_t)record->reserved,
      .flags = (uint8_t)record->flags,
  };
  uint64_t stamp = tks__slot_make_stamp(&body, record->seq, record->flags >> 16);
  slot->body = body;
  /* Release: whoever sees the stamp sees the record. */
  atomic_store_explicit(&slot->stamp, stamp, memory_order_release);
}

static inline uint64_t tks__slot_stamp(const tks__slot *slot) {
  /* Acquire: pairs with the release above. */
  return atomic_load_explicit(&slot->stamp, memory_order_acquire);
}

/* Copies what stands under a stamp that was seen; false: it is not what was once stored there. */
static inline bool tks__slot_load(const tks__slot *slot, uint64_t stamp, uint64_t seq, tks__record *record) {
  const tks__slot_body body = slot->body;
  *record = (tks__record){
      .ts_ns = body.ts_ns,
      .recv_ns = body.recv_ns,
      .seq = seq,
      .bid = body.bid,
      .ask = body.ask,
      .bid_size = body.bid_size,
      .ask_size = body.ask_size,
      .symbol = body.symbol,
      .source = body.source,
      .flags = (uint32_t)(stamp & 0xffff) << 16 | body.flags,
      .reserved = body.kind,
  };
  return tks__slot_make_stamp(&body, seq, stamp & 0xffff) == stamp;
}

#endif
