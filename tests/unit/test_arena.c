#include "ingest/arena.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "support/faults.h"
#include "support/random.h"

static tks__arena arena;

static void tear_down(void) {
  (void)allocations_work();
  tks__arena_free(&arena);
}

TestSuite(arena, .fini = tear_down);

typedef struct piece {
  unsigned char *bytes;
  size_t size;
  unsigned char mark;
} piece;

static void take(piece *p, test_random *dice) {
  /* Small ones, and now and then one that has a block of its own. */
  size_t lines = random_below(dice, 50) == 0 ? 1 + random_below(dice, 20000) : 1 + random_below(dice, 128);
  *p = (piece){.size = lines * 64, .mark = (unsigned char)random_below(dice, 256)};
  p->bytes = tks__arena_take(&arena, p->size);
  cr_assert_not_null(p->bytes);
  cr_assert_eq((uintptr_t)p->bytes % 64, 0);
  memset(p->bytes, p->mark, p->size);
}

static void check(const piece *p) {
  for (size_t i = 0; i < p->size; i++) cr_assert_eq(p->bytes[i], p->mark);
}

Test(arena, pieces_do_not_overlap) {
  enum { COUNT = 2000 };
  static piece pieces[COUNT];
  test_random dice = random_new();
  for (int i = 0; i < COUNT; i++) take(&pieces[i], &dice);
  for (int i = 0; i < COUNT; i++) check(&pieces[i]);
}

enum { THREADS = 4, EACH = 500 };
static piece shared[THREADS][EACH];
static test_random dices;

static void *take_many(void *argument) {
  piece *mine = argument;
  test_random dice = random_fork(&dices, (uint64_t)(mine - shared[0]));
  for (int i = 0; i < EACH; i++) take(&mine[i], &dice);
  return NULL;
}

Test(arena, any_thread_may_take) {
  dices = random_new();
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++) cr_assert_eq(pthread_create(&threads[i], NULL, take_many, shared[i]), 0);
  for (int i = 0; i < THREADS; i++) cr_assert_eq(pthread_join(threads[i], NULL), 0);
  for (int t = 0; t < THREADS; t++)
    for (int i = 0; i < EACH; i++) check(&shared[t][i]);
}

Test(arena, no_memory_takes_nothing_and_the_next_one_is_fine) {
  test_random dice = random_new();
  static piece pieces[400];
  int failed = 0;
  for (int i = 0; i < 400; i++) {
    size_t size = random_below(&dice, 10) == 0 ? (size_t)1 << 20 : 8192;
    fail_allocations();
    void *got = tks__arena_take(&arena, size);
    cr_assert_eq(allocations_work(), got == NULL);
    failed += got == NULL;
    take(&pieces[i], &dice);
  }
  for (int i = 0; i < 400; i++) check(&pieces[i]);
  cr_assert_gt(failed, 0);
}

Test(arena, freed_it_is_blank) {
  test_random dice = random_new();
  for (int round = 0; round < 3; round++) {
    piece pieces[100];
    for (int i = 0; i < 100; i++) take(&pieces[i], &dice);
    tks__arena_free(&arena);
    cr_assert_null(arena.blocks);
    cr_assert_eq(arena.left, 0);
  }
}
