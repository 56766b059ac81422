#include "ingest/arena.h"

#include <stdbool.h>

#include "base/memory.h"

#define LARGE (TKS__LARGE_PAGE / 8) /* what is at least so large has a block of its own */

/* At the front of a block, in a cache line of its own. */
struct tks__arena_block {
  _Alignas(64) tks__arena_block *older;
};

/* Under the lock. */
static char *add_block(tks__arena *arena, size_t alignment, size_t size) {
  tks__arena_block *block = tks__aligned_alloc(alignment, size);
  if (block == NULL) return NULL;
  /* Before it is touched: where there is a small page already, no large one comes. */
  if (alignment == TKS__LARGE_PAGE) tks__prefer_large_pages(block, size);
  block->older = arena->blocks;
  arena->blocks = block;
  return (char *)(block + 1);
}

static bool add_shared_block(tks__arena *arena) {
  char *start = add_block(arena, arena->blocks == NULL ? 64 : TKS__LARGE_PAGE, TKS__LARGE_PAGE);
  if (start == NULL) return false;
  arena->next = start;
  arena->left = TKS__LARGE_PAGE - sizeof(tks__arena_block);
  return true;
}

void *tks__arena_take(tks__arena *arena, size_t size) {
  char *taken = NULL;
  tks__spinlock_acquire(&arena->lock);
  if (size >= LARGE) {
    taken = add_block(arena, 64, sizeof(tks__arena_block) + size);
  } else if (size <= arena->left || add_shared_block(arena)) {
    taken = arena->next;
    arena->next += size;
    arena->left -= size;
  }
  tks__spinlock_release(&arena->lock);
  return taken;
}

void tks__arena_free(tks__arena *arena) {
  while (arena->blocks != NULL) {
    tks__arena_block *older = arena->blocks->older;
    tks__free(arena->blocks);
    arena->blocks = older;
  }
  arena->next = NULL;
  arena->left = 0;
}
