/* unloader.c - a host that loads the shared library late and lets it go again, as plug-ins are.
 *
 *   unloader LIBRARY DIR ROUNDS
 *
 * Each round: dlopen, a store opened and used, then by turns closed before dlclose, left open across it, or closed afterwards by a handle that
 * is found by loading anew; threads that put meanwhile, in every second round, are let go before dlclose or go on through it. In the
 * end the count of every quote that was accepted goes to standard output. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tickstore/tickstore.h"

#define NOON INT64_C(1709640000000000000) /* of 2024-03-05 */
#define PUTS 40
#define LIMIT_S 500

static void require(int condition, int line) {
  if (condition) return;
  (void)fprintf(stderr, "unloader.c:%d: %s\n", line, dlerror());
  _exit(100);
}
#define REQUIRE(condition) require(condition, __LINE__)

typedef struct library {
  void *handle;
  int (*config_init)(tks_config *, size_t, int, tks_error *);
  int (*open)(const char *, size_t, const tks_config *, tks_store **, tks_error *);
  int (*close)(tks_store *, tks_error *);
  int (*symbol)(tks_store *, const char *, size_t, uint32_t *, tks_error *);
  int (*put_quote)(tks_store *, const tks_quote *, uint64_t *, tks_error *);
  int (*recent)(tks_store *, uint32_t, size_t, tks_quote *, size_t *, tks_error *);
} library;

/* POSIX's way to make a function of what dlsym finds. */
static void find(void *handle, const char *name, void *function) {
  *(void **)function = dlsym(handle, name);
  REQUIRE(*(void **)function != NULL);
}

static library load(const char *path) {
  library l = {.handle = dlopen(path, RTLD_NOW | RTLD_LOCAL)};
  REQUIRE(l.handle != NULL);
  find(l.handle, "tks_config_init", &l.config_init);
  find(l.handle, "tks_open", &l.open);
  find(l.handle, "tks_close", &l.close);
  find(l.handle, "tks_symbol", &l.symbol);
  find(l.handle, "tks_put_quote", &l.put_quote);
  find(l.handle, "tks_recent", &l.recent);
  return l;
}

typedef struct host {
  library lib;
  tks_store *store;
  uint32_t symbol;
  _Atomic uint64_t accepted;
  _Atomic bool closing;
} host;

static void open_store(host *h, const char *dir) {
  tks_config config;
  REQUIRE(h->lib.config_init(&config, sizeof config, TKS_PRESET_MIGRATION, NULL) == TKS_OK);
  config.throttle_relative = -1;
  config.queue_policy = TKS_QUEUE_BLOCK;
  REQUIRE(h->lib.open(dir, strlen(dir), &config, &h->store, NULL) == TKS_OK);
  REQUIRE(h->lib.symbol(h->store, "S1", 2, &h->symbol, NULL) == TKS_OK);
}

static bool put_one(host *h, int64_t n) {
  const tks_quote q = {.ts_ns = NOON + n, .bid = 1, .ask = 2, .symbol = h->symbol};
  int code = h->lib.put_quote(h->store, &q, NULL, NULL);
  REQUIRE(code == TKS_OK || (code == TKS_ECLOSED && atomic_load(&h->closing)));
  if (code == TKS_OK) (void)atomic_fetch_add(&h->accepted, 1);
  return code == TKS_OK;
}

static void *put_some(void *argument) {
  for (int i = 0; i < PUTS; i++) (void)put_one(argument, i);
  return NULL;
}

/* Until the store is closed, with no regard to what becomes of the library. */
static void *put_on(void *argument) {
  for (int i = 0; put_one(argument, i); i++) (void)usleep(50);
  return NULL;
}

static void close_store(host *h, library *lib) {
  atomic_store(&h->closing, true);
  REQUIRE(lib->close(h->store, NULL) == TKS_OK);
}

static void one_round(host *h, const char *path, const char *dir, int round) {
  atomic_store(&h->closing, false);
  h->lib = load(path);
  open_store(h, dir);
  pthread_t threads[2];
  bool threads_stay = round % 4 >= 2 && round % 3 != 0;
  for (int i = 0; i < 2; i++) REQUIRE(pthread_create(&threads[i], NULL, threads_stay ? put_on : put_some, h) == 0);
  (void)put_some(h);
  if (!threads_stay)
    for (int i = 0; i < 2; i++) REQUIRE(pthread_join(threads[i], NULL) == 0);
  if (round % 3 == 0) close_store(h, &h->lib);
  REQUIRE(dlclose(h->lib.handle) == 0);
  if (round % 3 == 0) return;
  /* Open across dlclose: the writer's threads run in the library, and a fork calls into it. */
  (void)usleep(round % 3 == 1 ? 100 : 0);
  library again = load(path);
  close_store(h, &again);
  if (threads_stay)
    for (int i = 0; i < 2; i++) REQUIRE(pthread_join(threads[i], NULL) == 0);
  tks_quote q;
  size_t n;
  REQUIRE(again.recent(h->store, 1, 1, &q, &n, NULL) == TKS_ECLOSED);
  REQUIRE(dlclose(again.handle) == 0);
}

int main(int argc, char **argv) {
  REQUIRE(argc == 4);
  (void)alarm(LIMIT_S);
  host h = {0};
  int rounds = atoi(argv[3]);
  for (int round = 0; round < rounds; round++) one_round(&h, argv[1], argv[2], round);
  /* And one left open and let go at the end of the process. */
  h.lib = load(argv[1]);
  open_store(&h, argv[2]);
  REQUIRE(dlclose(h.lib.handle) == 0);
  (void)printf("%llu\n", (unsigned long long)atomic_load(&h.accepted));
  return 0;
}
