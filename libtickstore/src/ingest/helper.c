#include "ingest/helper.h"

#include <errno.h>

#include "base/thread.h"

int tks__helper_init(tks__helper *helper, int64_t (*round)(void *context), void *context) {
  *helper = (tks__helper){.round = round, .context = context};
  int rc = tks__condition_init(&helper->changed);
  if (rc != 0) return rc;
  rc = pthread_mutex_init(&helper->lock, NULL);
  if (rc != 0) (void)pthread_cond_destroy(&helper->changed);
  return rc;
}

void tks__helper_deinit(tks__helper *helper) {
  (void)pthread_mutex_destroy(&helper->lock);
  (void)pthread_cond_destroy(&helper->changed);
}

static void *helper_main(void *argument) {
  tks__helper *helper = argument;
  (void)pthread_mutex_lock(&helper->lock);
  while (!helper->stopping) {
    helper->nudged = false;
    (void)pthread_mutex_unlock(&helper->lock);
    int64_t at_ns = helper->round(helper->context);
    (void)pthread_mutex_lock(&helper->lock);
    int rc = 0;
    while (!helper->nudged && !helper->stopping && rc != ETIMEDOUT)
      rc = tks__condition_wait(&helper->changed, &helper->lock, at_ns);
  }
  (void)pthread_mutex_unlock(&helper->lock);
  return NULL;
}

int tks__helper_start(tks__helper *helper) { return tks__thread_start(&helper->thread, helper_main, helper); }

void tks__helper_nudge(tks__helper *helper) {
  (void)pthread_mutex_lock(&helper->lock);
  helper->nudged = true;
  (void)pthread_cond_signal(&helper->changed);
  (void)pthread_mutex_unlock(&helper->lock);
}

void tks__helper_stop(tks__helper *helper) {
  (void)pthread_mutex_lock(&helper->lock);
  helper->stopping = true;
  (void)pthread_cond_signal(&helper->changed);
  (void)pthread_mutex_unlock(&helper->lock);
  (void)pthread_join(helper->thread, NULL);
}
