/* helper.h - a thread that does its rounds: when it is nudged, and at the time that its last round asked for. */
#ifndef TKS_INGEST_HELPER_H
#define TKS_INGEST_HELPER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct tks__helper {
  int64_t (*round)(void *context); /* returns when to do the next (monotonic); INT64_MAX: when nudged */
  void *context;
  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t changed;
  bool nudged, stopping; /* under lock */
} tks__helper;

/* It can be nudged from here on. 0 or an errno value. */
int tks__helper_init(tks__helper *helper, int64_t (*round)(void *context), void *context);
void tks__helper_deinit(tks__helper *helper);

/* Starts the thread, which begins with a round. 0 or an errno value. */
int tks__helper_start(tks__helper *helper);

/* Any thread: there is something to do. */
void tks__helper_nudge(tks__helper *helper);

/* Ends the thread after the round that it is at. */
void tks__helper_stop(tks__helper *helper);

#endif
