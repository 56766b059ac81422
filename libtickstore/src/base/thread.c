#include "base/thread.h"

#include <sched.h>
#include <signal.h>
#include <time.h>

#include "base/utc.h"

int tks__thread_start(pthread_t *thread, void *(*run)(void *), void *argument) {
  /* A thread inherits its creator's mask; there is no moment in which it has another. */
  sigset_t all, before;
  (void)sigfillset(&all);
  (void)pthread_sigmask(SIG_SETMASK, &all, &before);
  int rc = pthread_create(thread, NULL, run, argument);
  (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
#ifdef SCHED_BATCH
  /* Only a help. A host that runs with a policy of its own keeps it. */
  int policy;
  struct sched_param parameters;
  if (rc == 0 && pthread_getschedparam(*thread, &policy, &parameters) == 0 && policy == SCHED_OTHER)
    (void)pthread_setschedparam(*thread, SCHED_BATCH, &parameters);
#endif
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

int tks__condition_wait(pthread_cond_t *condition, pthread_mutex_t *mutex, int64_t until_ns) {
  if (until_ns == INT64_MAX) return pthread_cond_wait(condition, mutex);
  const struct timespec until = {.tv_sec = until_ns / TKS__NS_PER_S, .tv_nsec = until_ns % TKS__NS_PER_S};
  return pthread_cond_timedwait(condition, mutex, &until);
}
