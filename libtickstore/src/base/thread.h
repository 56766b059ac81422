/* thread.h - how the library makes threads and what they wait on. */
#ifndef TKS_BASE_THREAD_H
#define TKS_BASE_THREAD_H

#include <pthread.h>
#include <stdint.h>

/* Starts a thread with all signals blocked: the host's signals are the host's. Where the system knows SCHED_BATCH it has that policy: its
 * waking up does not interrupt a thread of the host, which would be a put that takes a millisecond. 0 or an errno value. */
int tks__thread_start(pthread_t *thread, void *(*run)(void *), void *argument);

/* A condition that is waited for by the monotonic clock. 0 or an errno value. */
int tks__condition_init(pthread_cond_t *condition);

/* Waits, with the mutex held, for a signal or until a monotonic time (INT64_MAX: without a limit). ETIMEDOUT when that has
 * come. Like all conditions it may wake for no reason. */
int tks__condition_wait(pthread_cond_t *condition, pthread_mutex_t *mutex, int64_t until_ns);

#endif
