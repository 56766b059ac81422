#include "ingest/symbols.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "support/faults.h"
#include "support/records.h"

static void tear_down(void) { (void)allocations_work(); }

TestSuite(symbols, .fini = tear_down);

static uint32_t intern(tks__symbols *symbols, const char *name) {
  uint32_t id = 0;
  cr_assert_eq(tks__names_intern(&symbols->names, name, strlen(name), &id), TKS_OK);
  return id;
}

Test(symbols, an_id_finds_its_own_place) {
  tks__symbols symbols;
  cr_assert_eq(tks__symbols_init(&symbols, 1000), TKS_OK);
  cr_assert_null(tks__symbols_get(&symbols, 0));
  cr_assert_null(tks__symbols_get(&symbols, 1));
  uint32_t first = intern(&symbols, "EURUSD"), second = intern(&symbols, "GBPUSD");
  tks__symbol *a = tks__symbols_get(&symbols, first), *b = tks__symbols_get(&symbols, second);
  cr_assert_not_null(a);
  cr_assert_not_null(b);
  cr_assert_neq(a, b);
  cr_assert_eq((uintptr_t)a % 64, 0);
  cr_assert_eq((uintptr_t)b % 64, 0);
  cr_assert_null(tks__symbols_get(&symbols, second + 1));
  cr_assert_null(tks__symbols_get(&symbols, UINT32_MAX));
  tks__symbols_deinit(&symbols);
}

Test(symbols, a_new_one_is_blank) {
  tks__symbols symbols;
  cr_assert_eq(tks__symbols_init(&symbols, 10), TKS_OK);
  static const tks__symbol blank;
  cr_assert_eq(memcmp(tks__symbols_get(&symbols, intern(&symbols, "X")), &blank, sizeof blank), 0);
  tks__symbols_deinit(&symbols);
}

/* The sanitizer tells if a ring or a throttle is left behind. */
Test(symbols, deinit_frees_what_the_symbols_hold) {
  enum { COUNT = 2000 };
  tks__symbols symbols;
  cr_assert_eq(tks__symbols_init(&symbols, COUNT), TKS_OK);
  for (uint32_t i = 1; i <= COUNT; i++) {
    char name[16];
    (void)snprintf(name, sizeof name, "S%u", i);
    tks__symbol *symbol = tks__symbols_get(&symbols, intern(&symbols, name));
    for (uint64_t n = 1; n <= 20; n++) {
      tks__record record = record_of(n, i);
      bool known;
      cr_assert(tks__ring_reserve(&symbol->ring, 100, &symbols.arena));
      tks__ring_push(&symbol->ring, &record);
      cr_assert_not_null(tks__throttle_entry(&symbol->throttle, (uint32_t)n % 3, &known));
    }
  }
  for (uint32_t i = 1; i <= COUNT; i++) {
    tks__record records[20];
    cr_assert_eq(tks__ring_last(&tks__symbols_get(&symbols, i)->ring, 100, i, 20, records), 20);
    cr_assert(record_is_whole(&records[19]) && records[19].symbol == i);
  }
  tks__symbols_deinit(&symbols);
}

/* Address space, not memory: room for the most symbols there can be costs nothing. */
Test(symbols, the_largest_table) {
  tks__symbols symbols;
  cr_assert_eq(tks__symbols_init(&symbols, 16777216), TKS_OK);
  cr_assert_not_null(tks__symbols_get(&symbols, intern(&symbols, "X")));
  tks__symbols_deinit(&symbols);
}

/* Large pages are asked for behind the first one: of what is left there may be no whole one. */
Test(symbols, tables_around_a_large_page) {
  for (uint32_t max = 16000; max < 300000; max = max * 5 / 4) {
    tks__symbols symbols;
    cr_assert_eq(tks__symbols_init(&symbols, max), TKS_OK);
    symbols.entries[max].last_seq = 7;
    cr_assert_eq(symbols.entries[max - 1].last_seq, 0);
    tks__symbols_deinit(&symbols);
  }
}

Test(symbols, no_memory_leaves_nothing_behind) {
  for (uint64_t n = 0;; n++) {
    tks__symbols symbols;
    fail_allocation(n);
    int code = tks__symbols_init(&symbols, 100);
    if (!allocations_work()) {
      cr_assert_eq(code, TKS_OK);
      cr_assert_geq(n, 3, "names, their index and the symbols");
      tks__symbols_deinit(&symbols);
      break;
    }
    cr_assert_eq(code, TKS_ENOMEM);
  }
}
