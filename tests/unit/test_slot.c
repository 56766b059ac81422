#include "ingest/slot.h"

#include <criterion/criterion.h>
#include <string.h>

#include "support/random.h"
#include "support/records.h"
#include "support/threads.h"

/* A slot keeps what a record can hold: 16 bits of source, a byte of the library's flags, 16 of the caller's, a byte of kind. */
static tks__record storable(uint64_t number, uint32_t symbol) {
  tks__record record = record_of(number, symbol);
  record.source &= 0xffff;
  record.flags &= 0xffff00ff;
  record.reserved = (uint32_t)number & 0xff;
  return record;
}

Test(slot, gives_back_what_was_stored) {
  for (uint64_t n = 0; n < rounds(20000); n++) {
    tks__slot slot = {0};
    tks__record record = storable(n, (uint32_t)n + 1), out;
    cr_assert_eq(tks__slot_stamp(&slot), 0);
    tks__slot_store(&slot, &record);
    uint64_t stamp = tks__slot_stamp(&slot);
    cr_assert_neq(stamp, 0);
    cr_assert(tks__slot_load(&slot, stamp, record.seq, &out));
    cr_assert_eq(memcmp(&record, &out, sizeof out), 0, "record %llu", (unsigned long long)n);
  }
}

Test(slot, an_empty_or_all_ones_slot_holds_nothing) {
  tks__slot slot;
  tks__record out;
  memset((void *)&slot, 0, sizeof slot);
  cr_assert_eq(tks__slot_stamp(&slot), 0);
  memset((void *)&slot, 0xff, sizeof slot);
  for (uint64_t seq = 0; seq < 10000; seq++) cr_assert_not(tks__slot_load(&slot, UINT64_MAX, seq, &out));
}

Test(slot, every_flipped_bit_shows) {
  tks__slot slot = {0};
  tks__record record = storable(77, 5), out;
  tks__slot_store(&slot, &record);
  for (size_t bit = 0; bit < sizeof slot * 8; bit++) {
    ((unsigned char *)&slot)[bit / 8] ^= (unsigned char)(1u << bit % 8);
    cr_assert_not(tks__slot_load(&slot, tks__slot_stamp(&slot), record.seq, &out), "bit %zu", bit);
    ((unsigned char *)&slot)[bit / 8] ^= (unsigned char)(1u << bit % 8);
  }
  cr_assert(tks__slot_load(&slot, tks__slot_stamp(&slot), record.seq, &out));
}

/* What an earlier use of the file left behind is whole, but of another place. */
Test(slot, another_sequence_number_shows) {
  tks__slot slot = {0};
  tks__record record = storable(77, 5), out;
  record.seq = 1 << 20;
  tks__slot_store(&slot, &record);
  for (uint64_t seq = 0; seq < 2 << 20; seq++)
    cr_assert_eq(tks__slot_load(&slot, tks__slot_stamp(&slot), seq, &out), seq == record.seq);
}

/* Power loss may bring any mixture of two uses to the disk, in pieces of eight bytes. */
Test(slot, a_mixture_of_two_records_shows) {
  tks__slot a = {0}, b = {0};
  tks__record first = storable(1, 5), second = storable(2, 6), out;
  second.seq = first.seq = 1000;
  tks__slot_store(&a, &first);
  tks__slot_store(&b, &second);
  for (unsigned mask = 1; mask < 255; mask++) {
    tks__slot mixed;
    for (unsigned word = 0; word < 8; word++)
      memcpy((char *)&mixed + word * 8, (mask >> word & 1 ? (char *)&a : (char *)&b) + word * 8, 8);
    bool same_as_one = memcmp(&mixed, &a, 64) == 0 || memcmp(&mixed, &b, 64) == 0;
    cr_assert_eq(tks__slot_load(&mixed, tks__slot_stamp(&mixed), 1000, &out), same_as_one, "mask %x", mask);
  }
}

Test(slot, a_stamp_is_never_zero) {
  test_random random = random_new();
  for (uint64_t n = 0; n < rounds(2000000); n++) {
    tks__slot_body body = {.ts_ns = (int64_t)random_next(&random)};
    cr_assert_neq(tks__slot_make_stamp(&body, n, 0), 0);
  }
}
