/* thread.h - how the library makes threads and what they wait on. */
#ifndef TKS_BASE_THREAD_H
#define TKS_BASE_THREAD_H

#include <pthread.h>

/* Starts a thread with all signals blocked: the host's signals are the host's. 0 or an errno value. */
int tks__thread_start(pthread_t *thread, void *(*run)(void *), void *argument);

/* A condition whose deadlines are of the monotonic clock. 0 or an errno value. */
int tks__condition_init(pthread_cond_t *condition);

#endif
