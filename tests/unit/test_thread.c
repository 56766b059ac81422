#include "base/thread.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <time.h>

#include "base/clock.h"
#include "base/utc.h"

static void *read_mask(void *mask) {
  (void)pthread_sigmask(SIG_SETMASK, NULL, mask);
  return NULL;
}

Test(thread, blocks_all_signals_and_leaves_the_creators_alone) {
  sigset_t wanted, inside, after;
  (void)sigemptyset(&wanted);
  (void)sigaddset(&wanted, SIGUSR2);
  cr_assert_eq(pthread_sigmask(SIG_SETMASK, &wanted, NULL), 0);
  pthread_t thread;
  cr_assert_eq(tks__thread_start(&thread, read_mask, &inside), 0);
  cr_assert_eq(pthread_join(thread, NULL), 0);
  cr_assert_eq(pthread_sigmask(SIG_SETMASK, NULL, &after), 0);
  static const int SIGNALS[] = {SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGCHLD, SIGPIPE};
  for (size_t i = 0; i < sizeof SIGNALS / sizeof SIGNALS[0]; i++) {
    cr_assert_eq(sigismember(&inside, SIGNALS[i]), 1, "signal %d", SIGNALS[i]);
    cr_assert_eq(sigismember(&after, SIGNALS[i]), SIGNALS[i] == SIGUSR2, "signal %d", SIGNALS[i]);
  }
}

/* By the calendar, the deadline would have been over for years. */
Test(thread, a_condition_waits_by_the_monotonic_clock) {
  pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t never;
  cr_assert_eq(tks__condition_init(&never), 0);
  int64_t until_ns = tks__clock_monotonic_ns() + 20 * TKS__NS_PER_MS;
  const struct timespec until = {.tv_sec = until_ns / TKS__NS_PER_S, .tv_nsec = until_ns % TKS__NS_PER_S};
  cr_assert_eq(pthread_mutex_lock(&lock), 0);
  int rc = 0;
  while (rc == 0) rc = pthread_cond_timedwait(&never, &lock, &until);
  cr_assert_eq(rc, ETIMEDOUT);
  cr_assert_geq(tks__clock_monotonic_ns(), until_ns);
  cr_assert_eq(pthread_mutex_unlock(&lock), 0);
  cr_assert_eq(pthread_cond_destroy(&never), 0);
}
