#include "support/threads.h"

#include <stdio.h>
#include <stdlib.h>

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif

uint64_t rounds(uint64_t n) {
#ifdef SANITIZED
  return n / 8 + 1;
#else
  return n;
#endif
}

pthread_t start_thread(void *(*main)(void *), void *argument) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, main, argument) != 0) {
    perror("pthread_create");
    abort();
  }
  return thread;
}

void join_thread(pthread_t thread) {
  if (pthread_join(thread, NULL) != 0) abort();
}

typedef struct starter {
  void *(*main)(void *);
  void *argument;
  pthread_barrier_t *barrier;
} starter;

static void *start_together(void *argument) {
  starter *s = argument;
  (void)pthread_barrier_wait(s->barrier);
  return s->main(s->argument);
}

void run_threads(void *(*main)(void *), void *arguments, size_t count, size_t size) {
  pthread_t *threads = calloc(count, sizeof *threads);
  starter *starters = calloc(count, sizeof *starters);
  pthread_barrier_t barrier;
  if (threads == NULL || starters == NULL || pthread_barrier_init(&barrier, NULL, (unsigned)count) != 0) abort();
  for (size_t i = 0; i < count; i++) {
    starters[i] = (starter){main, (char *)arguments + i * size, &barrier};
    threads[i] = start_thread(start_together, &starters[i]);
  }
  for (size_t i = 0; i < count; i++) join_thread(threads[i]);
  (void)pthread_barrier_destroy(&barrier);
  free(starters);
  free(threads);
}
