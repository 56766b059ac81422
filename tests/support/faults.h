/* faults.h - makes allocations fail, by way of tks__memory_fault. */
#ifndef TKS_TESTS_SUPPORT_FAULTS_H
#define TKS_TESTS_SUPPORT_FAULTS_H

#include <stdbool.h>
#include <stdint.h>

/* The n-th allocation from now (0: the next) fails, once. */
void fail_allocation(uint64_t n);

/* Every allocation fails until allocations_work. */
void fail_allocations(void);

/* Back to normal; true if one was made to fail since. */
bool allocations_work(void);

#endif
