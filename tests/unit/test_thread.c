#include "base/thread.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
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

#ifdef SCHED_BATCH
static void *wait_for_release(void *release) {
  while (!atomic_load((atomic_bool *)release)) (void)sched_yield();
  return NULL;
}

static int policy_of_a_thread(void) {
  atomic_bool release = false;
  pthread_t thread;
  int policy = -1;
  struct sched_param parameters;
  cr_assert_eq(tks__thread_start(&thread, wait_for_release, &release), 0);
  cr_assert_eq(pthread_getschedparam(thread, &policy, &parameters), 0);
  atomic_store(&release, true);
  cr_assert_eq(pthread_join(thread, NULL), 0);
  return policy;
}

Test(thread, does_not_interrupt_the_host) {
  cr_assert_eq(policy_of_a_thread(), SCHED_BATCH);
  int policy;
  struct sched_param parameters;
  cr_assert_eq(pthread_getschedparam(pthread_self(), &policy, &parameters), 0);
  cr_assert_eq(policy, SCHED_OTHER);
  /* What the host has chosen for itself stays. */
  if (pthread_setschedparam(pthread_self(), SCHED_IDLE, &parameters) != 0) return;
  cr_assert_eq(policy_of_a_thread(), SCHED_IDLE);
}
#endif

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
