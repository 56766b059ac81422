/* kill_victim "SESSION DIRECTORY" REPORT - opens the store in DIRECTORY with the settings that REPORT has for session number
 * SESSION, puts records from several threads, notes there what put answered, closes if it is told to, and waits to be
 * killed. It never ends by itself but for a problem. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/kill_report.h"
#include "support/threads.h"

static kill_session *session;
static unsigned session_number;
static tks_store *store;
static uint32_t symbols[KILL_SYMBOLS + 1], sources[KILL_SOURCES + 1];

static void fail(const char *what, int code, const tks_error *error) {
  (void)snprintf(session->problem, sizeof session->problem, "%s: %d %s", what, code,
                 error != NULL ? error->message : tks_strerror(code));
  _exit(1);
}

static void intern(void) {
  char name[16];
  tks_error error;
  int code = TKS_OK;
  for (unsigned i = 1; i <= KILL_SYMBOLS && code == TKS_OK; i++)
    code = tks_symbol(store, name, kill_symbol(i, name), &symbols[i], &error);
  for (unsigned i = 1; i <= KILL_SOURCES && code == TKS_OK; i++)
    code = tks_source(store, name, kill_source(i, name), &sources[i], &error);
  if (code != TKS_OK) fail("interning", code, &error);
}

static tks_quote quote_of(unsigned thread, unsigned number) {
  tks_quote q = kill_quote(kill_name(session_number, thread, number));
  q.symbol = symbols[q.symbol];
  q.source = sources[q.source];
  return q;
}

static void say(unsigned thread, unsigned number, uint64_t what) {
  atomic_store_explicit(&session->said[thread][number], what, memory_order_release);
}

static unsigned put_one(unsigned thread, unsigned number) {
  tks_quote q = quote_of(thread, number);
  uint64_t seq;
  tks_error error;
  int code = tks_put_quote(store, &q, &seq, &error);
  if (code == TKS_OK) say(thread, number, seq);
  else if (code == TKS_EQUEUEFULL) say(thread, number, KILL_DROPPED);
  else fail("put", code, &error);
  return 1;
}

static unsigned put_array(unsigned thread, unsigned number, unsigned count) {
  tks_quote quotes[KILL_BATCH] = {0};
  int32_t codes[KILL_BATCH] = {0};
  tks_error error;
  for (unsigned i = 0; i < count; i++) quotes[i] = quote_of(thread, number + i);
  int code = tks_put_quotes(store, quotes, count, codes, NULL, &error);
  if (code != TKS_OK && code != TKS_PARTIAL) fail("put of an array", code, &error);
  for (unsigned i = 0; i < count; i++) {
    if (codes[i] != TKS_OK && codes[i] != TKS_EQUEUEFULL) fail("put in an array", codes[i], NULL);
    say(thread, number + i, codes[i] == TKS_OK ? KILL_UNKNOWN : KILL_DROPPED);
  }
  return count;
}

static void *produce(void *argument) {
  unsigned thread = *(const unsigned *)argument;
  const kill_settings *s = &session->settings;
  for (unsigned number = 0, since = 0; number < s->limit;) {
    unsigned left = s->limit - number;
    unsigned put =
        s->batch == 1 ? put_one(thread, number) : put_array(thread, number, left < s->batch ? left : s->batch);
    number += put;
    since += put;
    if (s->pause_every == 0 || since < s->pause_every) continue;
    since = 0;
    (void)usleep(300);
  }
  return NULL;
}

/* Asks what is durable, and every so often for more of it. */
static void *watch(void *argument) {
  (void)argument;
  uint64_t durable;
  for (unsigned i = 1;; i++) {
    int code = tks_durable_seq(store, &durable, NULL);
    if (code == TKS_ECLOSED) return NULL;
    if (code != TKS_OK) fail("durable_seq", code, NULL);
    atomic_store_explicit(&session->durable, durable, memory_order_release);
    if (session->settings.flush && i % 8 == 0) {
      code = tks_flush(store, 20, NULL);
      if (code != TKS_OK && code != TKS_ETIMEOUT && code != TKS_EUNWRITTEN && code != TKS_ECLOSED)
        fail("flush", code, NULL);
    }
    (void)usleep(500);
  }
}

static void enter(kill_phase phase) { atomic_store_explicit(&session->phase, phase, memory_order_release); }

int main(int count, char **arguments) {
  if (count != 3) return 100;
  char *dir;
  session_number = (unsigned)strtoul(arguments[1], &dir, 10);
  if (session_number >= KILL_SESSIONS || *dir++ != ' ') return 101;
  session = &kill_report_map(arguments[2], false)->sessions[session_number];
  tks_config config;
  tks_error error;
  kill_config(&session->settings, &config);
  enter(KILL_OPENING);
  int code = tks_open(dir, strlen(dir), &config, &store, &error);
  if (code != TKS_OK) fail("open", code, &error);
  intern();
  enter(KILL_PUTTING);
  unsigned numbers[KILL_THREADS];
  for (unsigned i = 0; i < KILL_THREADS; i++) numbers[i] = i;
  pthread_t watcher = start_thread(watch, NULL);
  run_threads(produce, numbers, session->settings.threads, sizeof *numbers);
  if (session->settings.close) {
    enter(KILL_CLOSING);
    code = tks_close(store, &error);
    atomic_store(&session->close_code, code);
    if (code < 0) fail("close", code, &error);
    join_thread(watcher);
    enter(KILL_CLOSED);
  }
  for (;;) (void)pause();
}
