/* threads.h - a few threads that start at the same moment, and how hard to drive them. */
#ifndef TKS_TESTS_SUPPORT_THREADS_H
#define TKS_TESTS_SUPPORT_THREADS_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

/* Starts `count` threads with `arguments` (count times `size` bytes) and waits until all have ended. */
void run_threads(void *(*main)(void *), void *arguments, size_t count, size_t size);

/* Ends the process when there is no thread to be had. */
pthread_t start_thread(void *(*main)(void *), void *argument);
void join_thread(pthread_t thread);

/* `n`, or an eighth of it where a sanitizer makes everything slow. */
uint64_t rounds(uint64_t n);

#endif
