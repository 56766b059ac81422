#include "base/memory.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

bool (*_Atomic tks__memory_fault)(void);

static bool injected(void) {
  bool (*fault)(void) = atomic_load_explicit(&tks__memory_fault, memory_order_relaxed);
  return fault != NULL && fault();
}

void *tks__malloc(size_t size) { return injected() ? NULL : malloc(size); }

void *tks__calloc(size_t count, size_t size) { return injected() ? NULL : calloc(count, size); }

void *tks__realloc_array(void *block, size_t count, size_t size) {
  return injected() ? NULL : reallocarray(block, count, size);
}

void *tks__aligned_alloc(size_t alignment, size_t size) {
  if (injected() || size > SIZE_MAX - alignment) return NULL;
  return aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
}

void tks__free(void *block) { free(block); }

void *tks__reserve(size_t size) {
  if (injected()) return NULL;
  void *block = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return block == MAP_FAILED ? NULL : block;
}

void tks__unreserve(void *block, size_t size) {
  if (block != NULL) (void)munmap(block, size);
}

void tks__prefer_large_pages(void *block, size_t size) {
#ifdef MADV_HUGEPAGE
  size_t before = -(uintptr_t)block % TKS__LARGE_PAGE;
  if (size < before + TKS__LARGE_PAGE) return;
  (void)madvise((char *)block + before, (size - before) / TKS__LARGE_PAGE * TKS__LARGE_PAGE, MADV_HUGEPAGE);
#else
  (void)block;
  (void)size;
#endif
}

bool tks__grow(void **items, size_t *capacity, size_t needed, size_t size) {
  if (needed <= *capacity) return true;
  size_t wanted = *capacity < 8 ? 8 : *capacity;
  while (wanted < needed) {
    if (wanted > SIZE_MAX / 2) return false;
    wanted *= 2;
  }
  void *grown = tks__realloc_array(*items, wanted, size);
  if (grown == NULL) return false;
  *items = grown;
  *capacity = wanted;
  return true;
}
