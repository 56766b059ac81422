#include "base/forks.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

static _Atomic uint32_t open_stores; /* in a child: what it was in the parent */
static _Atomic bool inherited;       /* a store was open when this process, or one it comes from, was forked */
static _Atomic int locks[64];        /* descriptor + 1, 0: none */
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* In the child's only thread. */
static void in_child(void) {
  if (atomic_exchange(&open_stores, 0) != 0) atomic_store(&inherited, true);
  for (size_t i = 0; i < sizeof locks / sizeof locks[0]; i++) {
    int lock = atomic_exchange(&locks[i], 0);
    if (lock != 0) (void)close(lock - 1);
  }
}

static void watch(void) { (void)pthread_atfork(NULL, NULL, in_child); }

bool tks__forks_open(void) {
  (void)pthread_once(&once, watch);
  if (atomic_load(&inherited)) return false;
  (void)atomic_fetch_add(&open_stores, 1);
  return true;
}

void tks__forks_close(void) { (void)atomic_fetch_sub(&open_stores, 1); }

static void replace_lock(int old, int new) {
  for (size_t i = 0; i < sizeof locks / sizeof locks[0]; i++) {
    int found = old;
    if (atomic_compare_exchange_strong(&locks[i], &found, new)) return;
  }
}

void tks__forks_note_lock(int fd) { replace_lock(0, fd + 1); }

void tks__forks_forget_lock(int fd) { replace_lock(fd + 1, 0); }
