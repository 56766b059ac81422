/* names.h - interning: names to dense 32-bit ids and back.
 *
 * Any thread may look up and intern. Looking up an existing name or an id takes no lock; a new name takes the mutex.
 * Ids count from 1 and are never reused. Who watches the names says from when on records may bear an id: `kept`. */
#ifndef TKS_INGEST_NAMES_H
#define TKS_INGEST_NAMES_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "tickstore/tickstore.h"

typedef struct tks__name {
  uint32_t hash;
  uint32_t length;
  char text[TKS_NAME_MAX];
} tks__name;

typedef struct tks__names_index tks__names_index;

typedef struct tks__names {
  tks__name *entries; /* reserved for `max` + 1, [0] unused */
  uint32_t max;
  _Atomic uint32_t count;            /* ids 1..count are readable */
  _Atomic uint32_t kept;             /* ids 1..kept may be put; all of them where nobody watches */
  _Atomic(tks__names_index *) index; /* open-addressing table; replaced when it fills, old ones kept until deinit */
  pthread_mutex_t lock;
  void (*added)(void *context); /* under the lock: a name has an id that nobody has been told yet */
  void *added_context;
} tks__names;

int tks__names_init(tks__names *names, uint32_t max);
void tks__names_deinit(tks__names *names);

/* Has `added` called for every new name, before anybody gets its id; NULL: no more. It is up to the watcher to call tks__names_keep. */
void tks__names_watch(tks__names *names, void (*added)(void *), void *context);

/* Ids up to `id` may be put from now on. Never takes any back. */
void tks__names_keep(tks__names *names, uint32_t id);

/* TKS_OK, TKS_ENAME*, TKS_ETABLEFULL or TKS_ENOMEM. */
int tks__names_intern(tks__names *names, const char *text, size_t length, uint32_t *id);

/* 0 if the name was never interned. */
uint32_t tks__names_find(const tks__names *names, const char *text, size_t length);

/* NULL for an unknown id. The entry never changes and lives until deinit. */
const tks__name *tks__names_get(const tks__names *names, uint32_t id);

static inline uint32_t tks__names_count(const tks__names *names) {
  /* Acquire: pairs with the release in intern, so that entries up to the count are complete. */
  return atomic_load_explicit(&names->count, memory_order_acquire);
}

static inline uint32_t tks__names_kept(const tks__names *names) {
  /* Acquire: pairs with the release in keep; entries up to there are complete, and written down where that is asked for. */
  return atomic_load_explicit(&names->kept, memory_order_acquire);
}

#endif
