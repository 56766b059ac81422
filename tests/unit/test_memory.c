#include "base/memory.h"

#include <criterion/criterion.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#include "support/faults.h"

#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#endif

/* Absurd sizes are asked for on purpose: the sanitizer's allocator answers NULL as the real one does. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "allocator_may_return_null=1"; }

static void tear_down(void) { (void)allocations_work(); }

TestSuite(memory, .fini = tear_down);

Test(memory, grow_starts_at_eight_and_doubles) {
  void *items = NULL;
  size_t capacity = 0;
  cr_assert(tks__grow(&items, &capacity, 0, 4));
  cr_assert_null(items);
  cr_assert(tks__grow(&items, &capacity, 1, 4));
  cr_assert_not_null(items);
  cr_assert_eq(capacity, 8);
  void *before = items;
  cr_assert(tks__grow(&items, &capacity, 8, 4));
  cr_assert_eq(items, before);
  cr_assert_eq(capacity, 8);
  cr_assert(tks__grow(&items, &capacity, 9, 4));
  cr_assert_eq(capacity, 16);
  cr_assert(tks__grow(&items, &capacity, 100, 4));
  cr_assert_eq(capacity, 128);
  cr_assert(tks__grow(&items, &capacity, 3, 4));
  cr_assert_eq(capacity, 128);
  tks__free(items);
}

Test(memory, grow_keeps_what_was_there) {
  uint64_t *items = NULL;
  size_t capacity = 0;
  for (size_t n = 0; n < 5000; n++) {
    cr_assert(tks__grow((void **)&items, &capacity, n + 1, sizeof *items));
    cr_assert_geq(capacity, n + 1);
    items[n] = n * n;
  }
  for (size_t n = 0; n < 5000; n++) cr_assert_eq(items[n], n * n);
  tks__free(items);
}

Test(memory, grow_without_memory_changes_nothing) {
  uint32_t *items = NULL;
  size_t capacity = 0;
  cr_assert(tks__grow((void **)&items, &capacity, 8, sizeof *items));
  for (uint32_t i = 0; i < 8; i++) items[i] = i;
  uint32_t *before = items;
  fail_allocations();
  cr_assert_not(tks__grow((void **)&items, &capacity, 9, sizeof *items));
  cr_assert(allocations_work());
  cr_assert_eq(items, before);
  cr_assert_eq(capacity, 8);
  for (uint32_t i = 0; i < 8; i++) cr_assert_eq(items[i], i);
  tks__free(items);
}

/* More elements than can be counted by doubling: no allocator is asked. */
Test(memory, grow_beyond_what_can_be_counted) {
  char *items = NULL;
  size_t capacity = 0;
  fail_allocation(UINT32_MAX);
  cr_assert_not(tks__grow((void **)&items, &capacity, SIZE_MAX, 1));
  cr_assert_not(tks__grow((void **)&items, &capacity, SIZE_MAX / 2 + 2, 1));
  cr_assert_null(items);
  cr_assert_eq(capacity, 0);
}

#ifndef UNDER_TSAN /* it reports every allocation of this kind */
Test(memory, products_that_overflow) {
  volatile size_t half = SIZE_MAX / 2 + 1;
  cr_assert_null(tks__calloc(half, 2));
  cr_assert_null(tks__calloc(half, half));
  cr_assert_null(tks__malloc(SIZE_MAX - 4096));
  void *block = tks__malloc(16);
  cr_assert_not_null(block);
  cr_assert_null(tks__realloc_array(block, half, 2));
  memset(block, 1, 16); /* still there */
  tks__free(block);

  uint64_t *items = NULL;
  size_t capacity = 0;
  cr_assert(tks__grow((void **)&items, &capacity, 8, sizeof *items));
  uint64_t *before = items;
  cr_assert_not(tks__grow((void **)&items, &capacity, SIZE_MAX / sizeof *items + 1, sizeof *items));
  cr_assert_eq(items, before);
  cr_assert_eq(capacity, 8);
  items[7] = 1;
  tks__free(items);
}
#endif

Test(memory, aligned) {
  for (size_t alignment = 16; alignment <= 4096; alignment *= 2) {
    for (size_t size = 1; size < 300; size += 37) {
      unsigned char *block = tks__aligned_alloc(alignment, size);
      cr_assert_not_null(block);
      cr_assert_eq((uintptr_t)block % alignment, 0);
      memset(block, 0xff, size);
      tks__free(block);
    }
  }
  /* Rounding up to the alignment must not wrap round to a few bytes. */
  for (size_t i = 0; i < 64; i++) cr_assert_null(tks__aligned_alloc(64, SIZE_MAX - i));
}

Test(memory, reserved_memory_reads_zero_and_follows_use) {
  size_t size = (size_t)1 << 36;
  unsigned char *block = tks__reserve(size);
  cr_assert_not_null(block);
  cr_assert_eq(block[0], 0);
  cr_assert_eq(block[size - 1], 0);
  block[size / 2] = 7;
  cr_assert_eq(block[size / 2], 7);
  cr_assert_eq(block[size / 2 + 1], 0);
  tks__unreserve(block, size);
  tks__unreserve(NULL, size);
  cr_assert_null(tks__reserve(SIZE_MAX - 8192));
}

/* It is advice: less than a large page has none in it. */
Test(memory, large_pages_where_one_fits) {
  size_t size = 4 * TKS__LARGE_PAGE;
  char *block = tks__reserve(size);
  cr_assert_not_null(block);
  tks__prefer_large_pages(block, 4096);
  tks__prefer_large_pages(block, size);
  for (size_t i = 0; i < size; i += 4096) cr_assert_eq(block[i], 0);
  tks__unreserve(block, size);
}

Test(memory, every_door_can_be_made_to_fail) {
  void *block = tks__malloc(8);
  fail_allocations();
  cr_assert_null(tks__malloc(1));
  cr_assert_null(tks__calloc(1, 1));
  cr_assert_null(tks__realloc_array(block, 2, 8));
  cr_assert_null(tks__aligned_alloc(64, 64));
  cr_assert_null(tks__reserve(4096));
  cr_assert(allocations_work());
  tks__free(block);
  tks__free(NULL);
  block = tks__calloc(3, 5);
  cr_assert_not_null(block);
  for (int i = 0; i < 15; i++) cr_assert_eq(((char *)block)[i], 0);
  tks__free(block);
}
