/* memory.h - the one door to the allocator, so that tests can make each allocation fail. */
#ifndef TKS_BASE_MEMORY_H
#define TKS_BASE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

/* NULL when there is no memory or count * size overflows. Free with tks__free. */
void *tks__malloc(size_t size);
void *tks__calloc(size_t count, size_t size);
void *tks__realloc_array(void *block, size_t count, size_t size);
void *tks__aligned_alloc(size_t alignment, size_t size); /* not zeroed */
void tks__free(void *block);

/* Address space for `size` zero bytes, given memory page by page as it is touched. NULL on failure. */
void *tks__reserve(size_t size);
void tks__unreserve(void *block, size_t size);

/* A hint: this memory is read and written all over, in large pages it needs fewer address translations. Only whole large pages within the
 * block are meant. */
#define TKS__LARGE_PAGE ((size_t)2 << 20)
void tks__prefer_large_pages(void *block, size_t size);

/* Grows *items (of `size` bytes each) so that `needed` fit, at least doubling. False: no memory, nothing changed. */
bool tks__grow(void **items, size_t *capacity, size_t needed, size_t size);

/* For tests: called before each allocation; true makes it fail. NULL (the default) never fails one. */
extern bool (*_Atomic tks__memory_fault)(void);

#endif
