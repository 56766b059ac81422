/* spinlock.h - a word-sized lock for critical sections of some tens of nanoseconds.
 *
 * Uncontended it is one exchange and no system call. A waiter looks again after a microsecond or two: looking takes the lock's line, and
 * what it guards, from a holder who is about to come again, and moving them between processors costs more than the section itself. So
 * two that contend take turns of many sections each, and together lose little against one. After some looks it yields, so that a holder
 * who lost the processor gets it back. */
#ifndef TKS_BASE_SPINLOCK_H
#define TKS_BASE_SPINLOCK_H

#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>

typedef _Atomic uint32_t tks__spinlock; /* 0 = free; zero-initialised */

static inline void tks__spin_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ __volatile__("yield");
#endif
}

enum { TKS__SPIN_PAUSES = 64, TKS__SPIN_LOOKS = 16 };

static inline void tks__spinlock_acquire(tks__spinlock *lock) {
  /* Acquire: what the previous holder wrote is visible to this one. */
  if (atomic_exchange_explicit(lock, 1, memory_order_acquire) == 0) return;
  for (unsigned looks = 0;; looks++) {
    if (looks >= TKS__SPIN_LOOKS) (void)sched_yield();
    for (unsigned i = 0; i < TKS__SPIN_PAUSES; i++) tks__spin_pause();
    if (atomic_load_explicit(lock, memory_order_relaxed) == 0 &&
        atomic_exchange_explicit(lock, 1, memory_order_acquire) == 0)
      return;
  }
}

static inline void tks__spinlock_release(tks__spinlock *lock) {
  /* Release: pairs with the acquire above. */
  atomic_store_explicit(lock, 0, memory_order_release);
}

#endif
