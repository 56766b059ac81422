#include "base/thread.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>

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
  cr_assert_eq(pthread_mutex_lock(&lock), 0);
  int rc = 0;
  while (rc == 0) rc = tks__condition_wait(&never, &lock, until_ns);
  cr_assert_eq(rc, ETIMEDOUT);
  cr_assert_geq(tks__clock_monotonic_ns(), until_ns);
  cr_assert_eq(pthread_mutex_unlock(&lock), 0);
  cr_assert_eq(pthread_cond_destroy(&never), 0);
}

typedef struct box {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  bool is_full;
} box;

static void *fill(void *argument) {
  box *b = argument;
  (void)pthread_mutex_lock(&b->lock);
  b->is_full = true;
  (void)pthread_cond_signal(&b->changed);
  (void)pthread_mutex_unlock(&b->lock);
  return NULL;
}

Test(thread, a_wait_ends_with_the_signal) {
  int64_t far_ns = tks__clock_monotonic_ns() + 3600 * TKS__NS_PER_S;
  const int64_t limits[] = {far_ns, INT64_MAX};
  for (size_t i = 0; i < 2; i++) {
    box b = {.lock = PTHREAD_MUTEX_INITIALIZER};
    cr_assert_eq(tks__condition_init(&b.changed), 0);
    cr_assert_eq(pthread_mutex_lock(&b.lock), 0);
    pthread_t thread;
    cr_assert_eq(tks__thread_start(&thread, fill, &b), 0);
    while (!b.is_full) cr_assert_eq(tks__condition_wait(&b.changed, &b.lock, limits[i]), 0);
    cr_assert_eq(pthread_mutex_unlock(&b.lock), 0);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_assert_eq(pthread_cond_destroy(&b.changed), 0);
  }
}
