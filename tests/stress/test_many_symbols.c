/* Tens of thousands of symbols are normal: memory follows the ticks that are held, not symbols times ring size. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/scratch.h"
#include "support/stores.h"
#include "support/threads.h"

#define SYMBOLS 30000
#define TICKS 100
#define LIMIT_KB (400 * 1024)

static long status_kb(const char *field) {
  char line[256];
  long kb = -1;
  FILE *f = fopen("/proc/self/status", "r");
  cr_assert_not_null(f);
  while (fgets(line, sizeof line, f) != NULL)
    if (strncmp(line, field, strlen(field)) == 0) kb = strtol(line + strlen(field) + 1, NULL, 10);
  (void)fclose(f);
  return kb;
}

Test(many_symbols, stay_within_their_memory) {
  if (rounds(8) != 8) cr_skip_test("sanitizers take memory of their own");
  char *dir = scratch_new(), name[32];
  tks_config config;
  cr_assert_eq(tks_config_init(&config, sizeof config, TKS_PRESET_PRODUCTION, NULL), TKS_OK);
  config.queue_policy = TKS_QUEUE_BLOCK;
  config.block_limit_ms = 3600000;
  tks_store *store = store_open(dir, &config);
  for (uint32_t i = 1; i <= SYMBOLS; i++) {
    (void)snprintf(name, sizeof name, "So1%08x1111pump", i * 2654435761u);
    cr_assert_eq(store_symbol(store, name), i);
  }
  for (int64_t tick = 0; tick < TICKS; tick++)
    for (uint32_t i = 1; i <= SYMBOLS; i++)
      (void)store_put(store, i, STORE_NOON + tick * 1000000 + i, 1 + (double)tick, 2 + (double)tick);
  tks_store_stats stats = store_stats(store);
  cr_assert_eq(stats.accepted, (uint64_t)SYMBOLS * TICKS);
  cr_assert_eq(stats.ring_records, (uint64_t)SYMBOLS * TICKS);
  /* What is on its way to the disk has a bound of its own (backlog_records) and depends on how fast the disk is. */
  long on_the_way = status_kb("VmRSS");
  store_flush(store);
  long now = status_kb("VmRSS");
  (void)fprintf(stderr, "%d symbols with %d ticks each: %ld MB resident (%ld MB while writing), rings %llu MB\n",
                SYMBOLS, TICKS, now / 1024, on_the_way / 1024, (unsigned long long)(stats.ring_bytes >> 20));
  cr_assert_lt(now, LIMIT_KB);
  tks_quote quotes[TICKS];
  size_t count;
  for (uint32_t i = 1; i <= SYMBOLS; i += 997) {
    cr_assert_eq(tks_recent(store, i, TICKS, quotes, &count, NULL), TKS_OK);
    cr_assert_eq(count, TICKS);
    for (size_t k = 0; k < count; k++) cr_assert_eq(quotes[k].bid, 1 + (double)k);
  }
  store_close(store);
  cr_assert_eq(store_sqlite_rows(dir), (uint64_t)SYMBOLS * TICKS);
  scratch_remove(dir);
}
