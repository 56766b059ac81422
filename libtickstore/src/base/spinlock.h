/* spinlock.h - a word-sized lock for critical sections of some tens of nanoseconds.
 *
 * Uncontended it is one exchange and no system call. A waiter spins briefly, then yields, so that a holder who lost
 * the processor gets it back. */
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

static inline void tks__spinlock_acquire(tks__spinlock *lock) {
  for (unsigned tries = 0;; tries++) {
    /* Acquire: what the previous holder wrote is visible to this one. */
    if (atomic_exchange_explicit(lock, 1, memory_order_acquire) == 0) return;
    while (atomic_load_explicit(lock, memory_order_relaxed) != 0) {
      if (++tries < 100) tks__spin_pause();
      else (void)sched_yield();
    }
  }
}

static inline void tks__spinlock_release(tks__spinlock *lock) {
  /* Release: pairs with the acquire above. */
  atomic_store_explicit(lock, 0, memory_order_release);
}

#endif
