/* store.h - the composition root: what is opened, closed and called in which order. No stage knows another; they meet
 * here.
 *
 * A handle is a small shell that is never freed, so that a call that comes after close gets an answer instead of a crash.
 * Behind it stands the engine, which goes with close.
 *
 *   1. A call enters through a gate: it counts itself, then looks at the state. Close sets the state, then waits until every
 *      gate is empty (a full fence between the two on either side). So no call runs on an engine that is being taken down.
 *   2. Put passes throttle, journal and ring under the symbol's lock: a ring is in sequence order.
 *   3. The engine is taken down in the reverse order of its making: writer (which drains), keeper, manifest, pool, lock. */
#ifndef TKS_STORE_H
#define TKS_STORE_H

#include <stdatomic.h>

#include "base/log.h"
#include "ingest/symbols.h"
#include "persist/manifest.h"
#include "persist/writer.h"
#include "query/reader.h"
#include "query/recent.h"

/* Each of the first so many calling threads of the process has a gate to itself, the others share the last one. */
#define TKS__GATES 32

/* A gate of one thread is entered and left with plain stores; only the shared one needs read-modify-write. */
typedef struct tks__gate {
  _Alignas(64) _Atomic uint64_t inside;
  bool shared;
} tks__gate;

/* Why put refused, for the counters. */
typedef enum tks__refusal {
  TKS__REFUSED_SYMBOL,
  TKS__REFUSED_SOURCE,
  TKS__REFUSED_SIDES,
  TKS__REFUSED_PRICE,
  TKS__REFUSED_SIZE,
  TKS__REFUSED_TIME,
  TKS__REFUSED_CROSSED,
  TKS__REFUSED_MEMORY,
  TKS__REFUSALS,
} tks__refusal;

typedef struct tks__engine {
  /* what put reads */
  tks__journal *journal; /* NULL: read-only */
  tks__symbols symbols;
  tks__names sources;
  tks__throttle_rule throttle;
  int64_t earliest_ns;
  _Atomic int64_t latest_ns; /* event times up to here are known to be fine; beyond, the clock is looked at */
  tks_config config;

  tks__log log;
  tks__layout layout;
  tks__pool pool;
  tks__calendar *calendar;
  tks__latest_memory latest;
  tks__keeper *keeper; /* NULL: read-only, like the next two */
  tks__gaps *gaps;
  tks__writer *writer;
  tks__reader reader;
  tks__manifest manifest;
  int lock_fd; /* -1: none */
  char broker_id[TKS_NAME_MAX + 1];
  char journal_dir[TKS__PATH_MAX];

  _Atomic uint64_t refused[TKS__REFUSALS];
  _Atomic uint64_t blocked;
} tks__engine;

typedef enum tks__store_state { TKS__STORE_OPEN, TKS__STORE_CLOSING, TKS__STORE_CLOSED } tks__store_state;

struct tks_store {
  tks__gate gates[TKS__GATES];
  _Atomic uint32_t state; /* tks__store_state */
  uint32_t forks;         /* process-wide count of forks survived as a child, at open */
  tks__engine *engine;    /* valid inside a gate */
  struct tks_store *next; /* all shells ever made hang together, so that none counts as leaked */
};

int tks__store_open(const char *path, size_t length, const tks_config *config, tks_store **store, tks_error *error);
int tks__store_close(tks_store *store, tks_error *error);

/* TKS_OK: inside, call tks__store_leave with the same gate. Else TKS_ENULL, TKS_EFORK or TKS_ECLOSED. */
int tks__store_enter(tks_store *store, tks__gate **gate, tks_error *error);
void tks__store_leave(tks__gate *gate);

/* One quote through all stages. See tks_put_quote. `waited_out` (may be NULL): set when it found no room; set already, it does not wait for
 * block_limit_ms again. */
int tks__store_put(tks_store *store, const tks_quote *quote, uint64_t *seq, bool *waited_out, tks_error *error);

/* Refuses what tks__store_put would refuse for its values or time, counted likewise. */
int tks__store_check(tks_store *store, const tks_quote *quote, tks_error *error);

/* Inside, hints that this quote will be put soon: first what is kept of its symbol; when that is there, the line of its ring. */
void tks__store_prefetch_symbol(const tks_store *store, const tks_quote *quote);
void tks__store_prefetch_ring(const tks_store *store, const tks_quote *quote);

void tks__store_stats(tks_store *store, tks_store_stats *stats);

#endif
