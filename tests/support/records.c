#include "support/records.h"

#include <string.h>

#include "support/random.h"

uint64_t bits_of(double value) {
  uint64_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

double double_of(uint64_t bits) {
  double value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

tks__record record_of(uint64_t number, uint32_t symbol) {
  test_random random = {number ^ UINT64_C(0x7453)};
  tks__record record = {.recv_ns = (int64_t)number, .seq = number, .symbol = symbol, .reserved = TKS__KIND_QUOTE};
  record.ts_ns = (int64_t)random_next(&random);
  /* No NaNs: loading one into a register may change its bits. */
  record.bid = double_of(random_next(&random) & ~(UINT64_C(1) << 62));
  record.ask = double_of(random_next(&random) & ~(UINT64_C(1) << 62));
  record.bid_size = double_of(random_next(&random) & ~(UINT64_C(3) << 62));
  record.ask_size = double_of(random_next(&random) & ~(UINT64_C(3) << 62));
  record.source = (uint32_t)random_next(&random);
  record.flags = (uint32_t)random_next(&random);
  return record;
}

bool record_is_whole(const tks__record *record) {
  tks__record expected = record_of((uint64_t)record->recv_ns, record->symbol);
  expected.seq = record->seq;
  return memcmp(&expected, record, sizeof expected) == 0;
}
