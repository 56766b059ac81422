#include "base/forks.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

static _Atomic uint32_t open_stores; /* in a child: what it was in the parent */
static _Atomic bool inherited;       /* a store was open when this process, or one it comes from, was forked */
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* In the child's only thread. */
static void in_child(void) {
  if (atomic_exchange(&open_stores, 0) != 0) atomic_store(&inherited, true);
}

static void watch(void) { (void)pthread_atfork(NULL, NULL, in_child); }

bool tks__forks_open(void) {
  (void)pthread_once(&once, watch);
  if (atomic_load(&inherited)) return false;
  (void)atomic_fetch_add(&open_stores, 1);
  return true;
}

void tks__forks_close(void) { (void)atomic_fetch_sub(&open_stores, 1); }
