#include "support/faults.h"

#include <stdatomic.h>
#include <stddef.h>

#include "base/memory.h"

static _Atomic int64_t countdown;
static _Atomic uint64_t failed;

static bool fail_one(void) {
  if (atomic_fetch_sub(&countdown, 1) != 0) return false;
  atomic_fetch_add(&failed, 1);
  return true;
}

static bool fail_every(void) {
  atomic_fetch_add(&failed, 1);
  return true;
}

void fail_allocation(uint64_t n) {
  atomic_store(&failed, 0);
  atomic_store(&countdown, (int64_t)n);
  atomic_store(&tks__memory_fault, fail_one);
}

void fail_allocations(void) {
  atomic_store(&failed, 0);
  atomic_store(&tks__memory_fault, fail_every);
}

bool allocations_work(void) {
  atomic_store(&tks__memory_fault, NULL);
  return atomic_load(&failed) > 0;
}
