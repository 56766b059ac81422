#include "base/log.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"

typedef struct heard {
  int count;
  int32_t level;
  size_t length;
  char text[2048];
} heard;

static void hear(void *context, int32_t level, const char *message, size_t length) {
  heard *h = context;
  h->count++;
  h->level = level;
  h->length = length;
  cr_assert_lt(length, sizeof h->text);
  cr_assert_eq(message[length], '\0');
  memcpy(h->text, message, length + 1);
}

Test(log, passes_the_message_on) {
  heard h = {0};
  const tks__log log = {hear, &h, TKS_LOG_DEBUG};
  tks__log_write(&log, TKS_LOG_INFO, "sealed %s after %d", "x.db", 5);
  cr_assert_eq(h.count, 1);
  cr_assert_eq(h.level, TKS_LOG_INFO);
  cr_assert_str_eq(h.text, "sealed x.db after 5");
  cr_assert_eq(h.length, strlen(h.text));
}

Test(log, filters_by_level) {
  for (int32_t level = TKS_LOG_DEBUG; level <= TKS_LOG_OFF; level++) {
    heard h = {0};
    const tks__log log = {hear, &h, level};
    tks__log_limiter limiters[TKS_LOG_OFF] = {0};
    for (int32_t of_message = TKS_LOG_DEBUG; of_message <= TKS_LOG_ERROR; of_message++) {
      h.count = 0;
      tks__log_write(&log, (tks_log_level)of_message, "x");
      cr_assert_eq(h.count, of_message >= level);
      tks__log_limited(&log, &limiters[of_message], (tks_log_level)of_message, "x");
      cr_assert_eq(h.count, of_message >= level ? 2 : 0);
    }
  }
}

Test(log, without_a_callback_says_nothing) {
  const tks__log log = {NULL, NULL, TKS_LOG_DEBUG};
  tks__log_limiter limiter = {0};
  tks__log_write(&log, TKS_LOG_ERROR, "x");
  tks__log_limited(&log, &limiter, TKS_LOG_ERROR, "x");
  cr_assert_eq(limiter.held, 0);
  cr_assert_eq(limiter.next_ns, 0);
}

Test(log, a_long_message_is_cut) {
  char text[2000];
  memset(text, 'a', sizeof text - 1);
  text[sizeof text - 1] = '\0';
  heard h = {0};
  const tks__log log = {hear, &h, TKS_LOG_DEBUG};
  tks__log_write(&log, TKS_LOG_WARN, "%s", text);
  cr_assert_eq(h.count, 1);
  cr_assert_eq(h.length, 511);
  tks__log_limiter limiter = {.held = 3};
  tks__log_limited(&log, &limiter, TKS_LOG_WARN, "%s", text);
  cr_assert_eq(h.count, 2);
  cr_assert_eq(h.length, 511);
  cr_assert_eq(strncmp(h.text, "(3 like it held back) aaa", 25), 0);
}

Test(log, holds_repeats_back_and_says_how_many) {
  heard h = {0};
  const tks__log log = {hear, &h, TKS_LOG_DEBUG};
  tks__log_limiter limiter = {0};
  int64_t before = tks__clock_monotonic_ns();
  tks__log_limited(&log, &limiter, TKS_LOG_WARN, "message %d", 1);
  cr_assert_eq(h.count, 1);
  cr_assert_str_eq(h.text, "message 1");
  cr_assert_geq(limiter.next_ns, before + INT64_C(10000000000));
  /* The time until the next one is far away, however slow this is. */
  limiter.next_ns = INT64_MAX;
  for (int i = 2; i <= 6; i++) tks__log_limited(&log, &limiter, TKS_LOG_WARN, "message %d", i);
  cr_assert_eq(h.count, 1);
  cr_assert_eq(limiter.held, 5);
  limiter.next_ns = tks__clock_monotonic_ns(); /* it is over now */
  tks__log_limited(&log, &limiter, TKS_LOG_WARN, "message %d", 7);
  cr_assert_eq(h.count, 2);
  cr_assert_str_eq(h.text, "(5 like it held back) message 7");
  cr_assert_eq(limiter.held, 0);
  limiter.next_ns = tks__clock_monotonic_ns();
  tks__log_limited(&log, &limiter, TKS_LOG_WARN, "message %d", 8);
  cr_assert_str_eq(h.text, "message 8");
}

/* A message that nobody would have seen is not one held back. */
Test(log, filtered_messages_are_not_counted) {
  heard h = {0};
  const tks__log log = {hear, &h, TKS_LOG_ERROR};
  tks__log_limiter limiter = {.next_ns = INT64_MAX};
  tks__log_limited(&log, &limiter, TKS_LOG_WARN, "x");
  cr_assert_eq(limiter.held, 0);
  tks__log_limited(&log, &limiter, TKS_LOG_ERROR, "x");
  cr_assert_eq(limiter.held, 1);
  cr_assert_eq(h.count, 0);
}
