/* Names and their ids.
 *
 *   1. An entry is written before the count says that it is there, and the count before any slot of the index holds
 *      its id. So whoever gets an id, from a slot or from another thread, may read its entry.
 *   2. A slot goes from 0 to an id once and never changes again; a bigger index is complete before it is published.
 *   3. A reader may still be walking an index that has been replaced: all of them live until deinit. They double, so
 *      together they are no bigger than the last one. */
#include "ingest/names.h"

#include <stdbool.h>
#include <string.h>

#include "base/memory.h"
#include "base/name.h"

#define FIRST_SLOTS 64

struct tks__names_index {
  tks__names_index *older;
  uint32_t mask; /* slots - 1 */
  _Atomic uint32_t slots[];
};

static uint32_t hash_of(const char *text, size_t length) {
  const uint64_t k = UINT64_C(0x9e3779b97f4a7c15);
  uint64_t h = length * k;
  for (; length >= 8; length -= 8, text += 8) {
    uint64_t word;
    memcpy(&word, text, 8);
    h = (h ^ word) * k;
    h ^= h >> 32;
  }
  uint64_t word = 0;
  memcpy(&word, text, length);
  h = (h ^ word) * k;
  h ^= h >> 29;
  h *= UINT64_C(0xbf58476d1ce4e5b9);
  return (uint32_t)(h >> 32);
}

static tks__names_index *index_new(uint32_t slots) {
  tks__names_index *index = tks__calloc(1, sizeof *index + (size_t)slots * sizeof index->slots[0]);
  if (index != NULL) index->mask = slots - 1;
  return index;
}

static bool entries_size(uint32_t max, size_t *size) {
  return !__builtin_mul_overflow((size_t)max + 1, sizeof(tks__name), size);
}

int tks__names_init(tks__names *names, uint32_t max) {
  memset(names, 0, sizeof *names);
  names->max = max;
  size_t size;
  if (!entries_size(max, &size)) return TKS_ENOMEM;
  names->entries = tks__reserve(size);
  if (names->entries == NULL) return TKS_ENOMEM;
  tks__names_index *index = index_new(FIRST_SLOTS);
  if (index == NULL) goto no_index;
  if (pthread_mutex_init(&names->lock, NULL) != 0) goto no_lock;
  atomic_init(&names->index, index);
  atomic_init(&names->count, 0);
  atomic_init(&names->kept, 0);
  return TKS_OK;

no_lock:
  tks__free(index);
no_index:
  tks__unreserve(names->entries, size);
  names->entries = NULL;
  return TKS_ENOMEM;
}

void tks__names_deinit(tks__names *names) {
  if (names->entries == NULL) return;
  tks__names_index *index = atomic_load_explicit(&names->index, memory_order_relaxed);
  while (index != NULL) {
    tks__names_index *older = index->older;
    tks__free(index);
    index = older;
  }
  (void)pthread_mutex_destroy(&names->lock);
  size_t size;
  if (entries_size(names->max, &size)) tks__unreserve(names->entries, size);
  names->entries = NULL;
}

static uint32_t find_hashed(const tks__names *names, const char *text, size_t length, uint32_t hash) {
  /* Acquire: pairs with the release in grow, so that the slots of a new index are there. */
  const tks__names_index *index = atomic_load_explicit(&names->index, memory_order_acquire);
  for (uint32_t i = hash & index->mask;; i = (i + 1) & index->mask) {
    /* Acquire: pairs with the release in add, so that the entry is there. */
    uint32_t id = atomic_load_explicit(&index->slots[i], memory_order_acquire);
    if (id == 0) return 0;
    const tks__name *entry = &names->entries[id];
    if (entry->hash == hash && entry->length == length && memcmp(entry->text, text, length) == 0) return id;
  }
}

static void index_put(tks__names_index *index, uint32_t hash, uint32_t id, memory_order order) {
  uint32_t i = hash & index->mask;
  while (atomic_load_explicit(&index->slots[i], memory_order_relaxed) != 0) i = (i + 1) & index->mask;
  atomic_store_explicit(&index->slots[i], id, order);
}

/* Makes room for one more at a load of at most a half. Under the lock. */
static bool grow(tks__names *names, uint32_t count) {
  tks__names_index *old = atomic_load_explicit(&names->index, memory_order_relaxed);
  uint64_t slots = (uint64_t)old->mask + 1;
  if (((uint64_t)count + 1) * 2 <= slots) return true;
  if (slots * 2 > UINT32_MAX) return false;
  tks__names_index *index = index_new((uint32_t)(slots * 2));
  if (index == NULL) return false;
  index->older = old;
  for (uint32_t id = 1; id <= count; id++) index_put(index, names->entries[id].hash, id, memory_order_relaxed);
  /* Release: the slots above become visible with the index. */
  atomic_store_explicit(&names->index, index, memory_order_release);
  return true;
}

/* Under the lock. */
static int add(tks__names *names, const char *text, size_t length, uint32_t hash, uint32_t *id) {
  *id = find_hashed(names, text, length, hash);
  if (*id != 0) return TKS_OK;
  uint32_t count = atomic_load_explicit(&names->count, memory_order_relaxed);
  if (count >= names->max) return TKS_ETABLEFULL;
  if (!grow(names, count)) return TKS_ENOMEM;
  tks__name *entry = &names->entries[count + 1];
  entry->hash = hash;
  entry->length = (uint32_t)length;
  memcpy(entry->text, text, length);
  /* Release: the entry becomes visible with the count; see invariant 1 for the order of the two stores. */
  atomic_store_explicit(&names->count, count + 1, memory_order_release);
  if (names->added != NULL) names->added(names->added_context);
  else tks__names_keep(names, count + 1);
  index_put(atomic_load_explicit(&names->index, memory_order_relaxed), hash, count + 1, memory_order_release);
  *id = count + 1;
  return TKS_OK;
}

void tks__names_keep(tks__names *names, uint32_t id) {
  uint32_t kept = atomic_load_explicit(&names->kept, memory_order_relaxed);
  /* Release: what was done for these ids is done for whoever sees them kept. */
  while (kept < id &&
         !atomic_compare_exchange_weak_explicit(&names->kept, &kept, id, memory_order_release, memory_order_relaxed)) {
  }
}

void tks__names_watch(tks__names *names, void (*added)(void *), void *context) {
  (void)pthread_mutex_lock(&names->lock);
  names->added = added;
  names->added_context = context;
  if (added == NULL) tks__names_keep(names, tks__names_count(names));
  (void)pthread_mutex_unlock(&names->lock);
}

int tks__names_intern(tks__names *names, const char *text, size_t length, uint32_t *id) {
  if (length == 0) return TKS_ENAMEEMPTY;
  if (length > TKS_NAME_MAX) return TKS_ENAMELONG;
  uint32_t hash = hash_of(text, length);
  uint32_t found = find_hashed(names, text, length, hash);
  if (found == 0) {
    int rc = tks__name_check(text, length);
    if (rc != TKS_OK) return rc;
    (void)pthread_mutex_lock(&names->lock);
    rc = add(names, text, length, hash, &found);
    (void)pthread_mutex_unlock(&names->lock);
    if (rc != TKS_OK) return rc;
  }
  *id = found;
  return TKS_OK;
}

uint32_t tks__names_find(const tks__names *names, const char *text, size_t length) {
  if (length == 0 || length > TKS_NAME_MAX) return 0;
  return find_hashed(names, text, length, hash_of(text, length));
}

const tks__name *tks__names_get(const tks__names *names, uint32_t id) {
  return id == 0 || id > tks__names_count(names) ? NULL : &names->entries[id];
}
