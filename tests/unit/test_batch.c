#include "persist/batch.h"

#include <criterion/criterion.h>
#include <stdint.h>

#include "support/faults.h"

static void tear_down(void) { (void)allocations_work(); }

TestSuite(batch, .fini = tear_down);

Test(batch, is_empty_with_room) {
  tks__batch *batch = tks__batch_new(1000);
  cr_assert_not_null(batch);
  cr_assert_eq(batch->count, 0);
  cr_assert_eq(batch->references, 1);
  cr_assert_eq(batch->last_seq, 0);
  for (size_t i = 0; i < 1000; i++) batch->records[i] = (tks__record){.seq = i};
  tks__batch_release(batch);
}

Test(batch, lives_as_long_as_a_reference) {
  tks__batch *batch = tks__batch_new(1);
  tks__batch_retain(batch);
  tks__batch_retain(batch);
  tks__batch_release(batch);
  tks__batch_release(batch);
  batch->records[0].seq = 5; /* the sanitizer would tell */
  cr_assert_eq(batch->references, 1);
  tks__batch_release(batch);
}

Test(batch, room_for_none_is_fine) {
  tks__batch *batch = tks__batch_new(0);
  cr_assert_not_null(batch);
  tks__batch_release(batch);
}

Test(batch, no_memory) {
  fail_allocations();
  cr_assert_null(tks__batch_new(10));
  cr_assert(allocations_work());
  /* A product that would wrap round to something small. */
  fail_allocation(UINT32_MAX);
  cr_assert_null(tks__batch_new(SIZE_MAX / sizeof(tks__record)));
  cr_assert_null(tks__batch_new(SIZE_MAX / sizeof(tks__record) + 1));
  cr_assert_null(tks__batch_new(SIZE_MAX));
}
