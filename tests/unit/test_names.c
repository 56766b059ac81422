#include "ingest/names.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

static void tear_down(void) { atomic_store(&tks__memory_fault, NULL); }

TestSuite(names, .fini = tear_down);

static uint32_t intern(tks__names *names, const char *text) {
  uint32_t id = 0;
  cr_assert_eq(tks__names_intern(names, text, strlen(text), &id), TKS_OK, "%s", text);
  return id;
}

Test(names, ids_count_from_one_and_stay) {
  tks__names names;
  cr_assert_eq(tks__names_init(&names, 1000), TKS_OK);
  cr_assert_eq(tks__names_count(&names), 0);
  cr_assert_null(tks__names_get(&names, 0));
  cr_assert_null(tks__names_get(&names, 1));
  cr_assert_eq(tks__names_find(&names, "EURUSD", 6), 0);
  cr_assert_eq(intern(&names, "EURUSD"), 1);
  cr_assert_eq(intern(&names, "GBPUSD"), 2);
  cr_assert_eq(intern(&names, "EURUSD"), 1);
  cr_assert_eq(tks__names_find(&names, "GBPUSD", 6), 2);
  cr_assert_eq(tks__names_kept(&names), 2);
  cr_assert_eq(tks__names_find(&names, "GBPUS", 5), 0);
  const tks__name *name = tks__names_get(&names, 2);
  cr_assert_eq(name->length, 6);
  cr_assert_arr_eq(name->text, "GBPUSD", 6);
  cr_assert_null(tks__names_get(&names, 3));
  cr_assert_null(tks__names_get(&names, UINT32_MAX));
  tks__names_deinit(&names);
}

Test(names, refuses_bad_names) {
  tks__names names;
  uint32_t id = 7;
  char text[TKS_NAME_MAX + 1];
  memset(text, 'x', sizeof text);
  cr_assert_eq(tks__names_init(&names, 10), TKS_OK);
  cr_assert_eq(tks__names_intern(&names, "", 0, &id), TKS_ENAMEEMPTY);
  cr_assert_eq(tks__names_intern(&names, text, sizeof text, &id), TKS_ENAMELONG);
  cr_assert_eq(tks__names_find(&names, text, sizeof text), 0);
  cr_assert_eq(tks__names_find(&names, "", 0), 0);
  cr_assert_eq(tks__names_intern(&names, "..", 2, &id), TKS_ENAMEPATH);
  cr_assert_eq(tks__names_intern(&names, "\xff", 1, &id), TKS_ENAMEUTF8);
  cr_assert_eq(tks__names_intern(&names, "\n", 1, &id), TKS_ENAMECONTROL);
  cr_assert_eq(id, 7);
  cr_assert_eq(tks__names_count(&names), 0);
  cr_assert_eq(tks__names_intern(&names, text, TKS_NAME_MAX, &id), TKS_OK);
  tks__names_deinit(&names);
}

Test(names, is_bounded) {
  tks__names names;
  uint32_t id;
  cr_assert_eq(tks__names_init(&names, 2), TKS_OK);
  (void)intern(&names, "a");
  (void)intern(&names, "b");
  cr_assert_eq(tks__names_intern(&names, "c", 1, &id), TKS_ETABLEFULL);
  cr_assert_eq(intern(&names, "b"), 2, "known names are still found");
  tks__names_deinit(&names);
}

Test(names, holds_many) {
  enum { MANY = 300000 };
  tks__names names;
  char text[TKS_NAME_MAX + 1];
  cr_assert_eq(tks__names_init(&names, MANY), TKS_OK);
  for (uint32_t i = 1; i <= MANY; i++) {
    (void)snprintf(text, sizeof text, "%uSo11111111111111111111111111111111111111%u", i % 7, i);
    if (intern(&names, text) != i) cr_assert(false, "%s", text);
  }
  for (uint32_t i = 1; i <= MANY; i++) {
    (void)snprintf(text, sizeof text, "%uSo11111111111111111111111111111111111111%u", i % 7, i);
    if (tks__names_find(&names, text, strlen(text)) != i) cr_assert(false, "%s", text);
  }
  cr_assert_eq(tks__names_count(&names), MANY);
  tks__names_deinit(&names);
}

static int left;

static bool no_memory_at_zero(void) { return left-- == 0; }

Test(names, survives_lack_of_memory) {
  tks__names names;
  atomic_store(&tks__memory_fault, no_memory_at_zero);
  for (int k = 0; k < 2; k++) {
    left = k;
    cr_assert_eq(tks__names_init(&names, 1000), TKS_ENOMEM);
    tks__names_deinit(&names);
  }
  left = 2;
  cr_assert_eq(tks__names_init(&names, 1000), TKS_OK);
  left = 0;
  int refused = 0;
  for (int i = 0; i < 200; i++) {
    char text[16];
    uint32_t id = 0;
    int n = snprintf(text, sizeof text, "%d", i);
    int rc = tks__names_intern(&names, text, (size_t)n, &id);
    if (rc == TKS_ENOMEM) {
      refused++;
      cr_assert_eq(tks__names_find(&names, text, (size_t)n), 0);
      cr_assert_eq(tks__names_intern(&names, text, (size_t)n, &id), TKS_OK);
      left = 0;
    }
    cr_assert_eq(id, (uint32_t)i + 1);
  }
  cr_assert_eq(refused, 3, "64 slots became 128, 256, 512");
  tks__names_deinit(&names);
}

/* Eight threads intern the same 20,000 names in different orders, and 2,000 of their own each, while reading. */
enum { THREADS = 8, SHARED = 20000, OWN = 2000 };

typedef struct worker {
  tks__names *names;
  unsigned number;
  uint32_t ids[SHARED];
  uint64_t bad;
} worker;

static void check_entry(worker *w, uint32_t id, const char *text, size_t length) {
  const tks__name *name = tks__names_get(w->names, id);
  if (name == NULL || name->length != length || memcmp(name->text, text, length) != 0) w->bad++;
  if (tks__names_find(w->names, text, length) != id) w->bad++;
}

static void *work(void *argument) {
  worker *w = argument;
  char text[TKS_NAME_MAX + 1];
  for (uint32_t i = 0; i < SHARED; i++) {
    uint32_t n = (i * 7919 + w->number * 2503) % SHARED, id = 0;
    int length = snprintf(text, sizeof text, "SYMBOL%u", n);
    if (tks__names_intern(w->names, text, (size_t)length, &id) != TKS_OK) w->bad++;
    check_entry(w, id, text, (size_t)length);
    w->ids[n] = id;
    if (i % (SHARED / OWN) == 0) {
      length = snprintf(text, sizeof text, "own-%u-%u", w->number, i);
      if (tks__names_intern(w->names, text, (size_t)length, &id) != TKS_OK) w->bad++;
      check_entry(w, id, text, (size_t)length);
    }
    /* Whatever the count says is there must be whole. */
    const tks__name *last = tks__names_get(w->names, tks__names_count(w->names));
    if (last == NULL || last->length == 0 || last->length > TKS_NAME_MAX) w->bad++;
  }
  return NULL;
}

Test(names, threads_agree) {
  tks__names names;
  cr_assert_eq(tks__names_init(&names, SHARED + THREADS * OWN), TKS_OK);
  worker *workers = calloc(THREADS, sizeof *workers);
  pthread_t threads[THREADS];
  for (unsigned i = 0; i < THREADS; i++) {
    workers[i].names = &names;
    workers[i].number = i;
    cr_assert_eq(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
  }
  for (int i = 0; i < THREADS; i++) (void)pthread_join(threads[i], NULL);
  for (int i = 0; i < THREADS; i++) {
    cr_assert_eq(workers[i].bad, 0);
    cr_assert_arr_eq(workers[i].ids, workers[0].ids, sizeof workers[0].ids);
  }
  cr_assert_eq(tks__names_count(&names), SHARED + THREADS * OWN);
  free(workers);
  tks__names_deinit(&names);
}
