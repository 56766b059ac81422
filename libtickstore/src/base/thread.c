#include "base/thread.h"

#include <signal.h>
#include <time.h>

int tks__thread_start(pthread_t *thread, void *(*run)(void *), void *argument) {
  /* A thread inherits its creator's mask; there is no moment in which it has another. */
  sigset_t all, before;
  (void)sigfillset(&all);
  (void)pthread_sigmask(SIG_SETMASK, &all, &before);
  int rc = pthread_create(thread, NULL, run, argument);
  (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
  return rc;
}

int tks__condition_init(pthread_cond_t *condition) {
  pthread_condattr_t attributes;
  int rc = pthread_condattr_init(&attributes);
  if (rc != 0) return rc;
  (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  rc = pthread_cond_init(condition, &attributes);
  (void)pthread_condattr_destroy(&attributes);
  return rc;
}
