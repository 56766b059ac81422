#include "support/records.h"

#include <stdlib.h>
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

record_list *record_list_new(size_t count) {
  record_list *list = calloc(1, sizeof *list + count * sizeof list->records[0]);
  if (list == NULL) abort();
  list->count = count;
  return list;
}

int record_lists_write(tks__sink *sink, record_list *const *lists, size_t count, tks_error *error) {
  size_t total = 0;
  for (size_t i = 0; i < count; i++) total += lists[i]->count;
  record_list *all = record_list_new(total);
  total = 0;
  for (size_t i = 0; i < count; i++) {
    memcpy(all->records + total, lists[i]->records, lists[i]->count * sizeof all->records[0]);
    total += lists[i]->count;
  }
  int code = sink->ops->write(sink, all->records, total, error);
  free(all);
  return code;
}
