/* arena.h - memory for the rings' chunks, cut from blocks of one large page each and given back all at once.
 *
 * With very many symbols each put goes to another place of a large memory, and what it waits for is the translation of its address more
 * than the memory itself: a third of a put with 30,000 symbols. Hence large pages, from the second block on: a store with few
 * records takes no more than they need. */
#ifndef TKS_INGEST_ARENA_H
#define TKS_INGEST_ARENA_H

#include <stddef.h>

#include "base/spinlock.h"

typedef struct tks__arena_block tks__arena_block;

/* Zero-initialised. */
typedef struct tks__arena {
  tks__spinlock lock;
  char *next; /* in the newest block: what is left of it */
  size_t left;
  tks__arena_block *blocks;
} tks__arena;

/* Any thread: `size` bytes (a multiple of 64), aligned to 64, not zeroed. NULL: no memory. */
void *tks__arena_take(tks__arena *arena, size_t size);

void tks__arena_free(tks__arena *arena);

#endif
