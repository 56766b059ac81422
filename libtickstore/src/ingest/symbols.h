/* symbols.h - what the store keeps in memory for each symbol: its lock, throttle, ring and counters.
 *
 * Laid out flat by symbol id, in reserved address space: an id is found with one multiplication, and memory follows the
 * symbols in use. */
#ifndef TKS_INGEST_SYMBOLS_H
#define TKS_INGEST_SYMBOLS_H

#include "base/spinlock.h"
#include "ingest/names.h"
#include "ingest/ring.h"
#include "ingest/throttle.h"

typedef struct tks__symbol {
  _Alignas(64)
      tks__spinlock lock;    /* held while a record passes throttle, journal, ring: keeps a ring in sequence order */
  _Atomic uint64_t last_seq; /* of the last record that got a sequence number; 0 = none in this session */
  _Atomic uint64_t throttled;
  _Atomic uint64_t crossed_dropped;
  tks__throttle throttle;
  tks__ring ring;
} tks__symbol;

typedef struct tks__symbols {
  tks__names names;
  tks__symbol *entries; /* [0] unused */
  tks__arena arena;     /* of the rings */
} tks__symbols;

int tks__symbols_init(tks__symbols *symbols, uint32_t max);
void tks__symbols_deinit(tks__symbols *symbols);

/* NULL for an unknown id. */
static inline tks__symbol *tks__symbols_get(const tks__symbols *symbols, uint32_t id) {
  return id == 0 || id > tks__names_count(&symbols->names) ? NULL : &symbols->entries[id];
}

#endif
