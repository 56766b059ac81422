/* other_process DIRECTORY open|write|crash|orphan - a store in a process of its own, for the tests that need one.
 *
 *   open   opens the store for writing and closes it; exits with the code, negated
 *   write  opens it and answers "o"; for each byte p or f on its input puts 100 quotes (f: and flushes) and answers
 *          "w"; closes at the end of its input
 *   crash  puts 1,000 quotes and flushes, puts 2,000 more and kills itself
 *   orphan puts 100 quotes, forks a child that lives to the end of its input, and kills itself */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "support/stores.h"

static int64_t ts_ns = STORE_NOON;

static int put_many(tks_store *store, int count) {
  int code = TKS_OK;
  for (int i = 0; i < count && code == TKS_OK; i++)
    code = tks_put(store, "EURUSD", 6, 1, 2, "OANDA", 5, ts_ns++, NULL, NULL);
  return code;
}

static int serve(tks_store *store) {
  char order;
  if (write(1, "o", 1) != 1) return 1;
  while (read(0, &order, 1) == 1) {
    if (put_many(store, 100) != TKS_OK) return 2;
    if (order == 'f' && tks_flush(store, -1, NULL) != TKS_OK) return 3;
    if (write(1, "w", 1) != 1) return 4;
  }
  return -tks_close(store, NULL);
}

static int crash(tks_store *store) {
  uint64_t durable;
  if (put_many(store, 1000) != TKS_OK) return 1;
  if (tks_flush(store, -1, NULL) != TKS_OK || tks_durable_seq(store, &durable, NULL) != TKS_OK || durable != 1000)
    return 2;
  if (put_many(store, 2000) != TKS_OK) return 3;
  (void)raise(SIGKILL);
  return 4;
}

static int leave_orphan(tks_store *store) {
  if (put_many(store, 100) != TKS_OK) return 1;
  char byte = 0;
  int up[2];
  if (pipe(up) != 0) return 2;
  pid_t child = fork();
  if (child != 0) (void)close(up[1]);
  if (child == 0) _exit(write(up[1], &byte, 1) == 1 && read(0, &byte, 1) == 0 ? 0 : 1);
  /* Not before it runs: until then it holds what the fork gave it. */
  if (child > 0 && read(up[0], &byte, 1) == 1) (void)raise(SIGKILL);
  return 3;
}

int main(int count, char **arguments) {
  if (count != 3) return 100;
  const char *mode = arguments[2];
  tks_config config;
  tks_store *store;
  if (tks_config_init(&config, sizeof config, TKS_PRESET_MIGRATION, NULL) != TKS_OK) return 101;
  config.throttle_relative = -1;
  int code = tks_open(arguments[1], strlen(arguments[1]), &config, &store, NULL);
  if (code != TKS_OK) return -code;
  if (strcmp(mode, "write") == 0) return serve(store);
  if (strcmp(mode, "crash") == 0) return crash(store);
  if (strcmp(mode, "orphan") == 0) return leave_orphan(store);
  return -tks_close(store, NULL);
}
