/* A disk that is full again and again, at random instants: while records are put, when a day begins, when the store is closed and
 * opened. In the end each sink has every record that was accepted, but for those of which put or close had said that they are lost.
 *
 * TKS_DISK_CYCLES sets how often (20). Where a small disk cannot be mounted the tests are skipped. */
#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/random.h"
#include "support/scratch.h"
#include "support/small_disk.h"
#include "support/stores.h"
#include "support/threads.h"

#define SYMBOLS 3
#define ROOM (12 << 20) /* when it is freed: for all that was put meanwhile */
#define TOO_MANY 50000  /* records that must have filled what little room there was */

static char *dir;
static char disk[PATH_MAX], root[PATH_MAX], ballast[PATH_MAX];
static tks_store *store;
static test_random dice;
static tks_config config;
static unsigned cycle;

/* Of every record put, by its number: its sequence number; 0 where put said that it is dropped. */
static uint64_t *seqs;
static size_t put_count, put_room, kept_count;
static uint64_t missing[2]; /* of each sink, as close said */

static void set_up(void) {
  dir = scratch_new();
  dice = random_new();
  small_disk_paths(dir, disk, root, ballast);
}

static void tear_down(void) {
  if (store != NULL) (void)tks_close(store, NULL);
  small_disk_unmount(disk);
  free(seqs);
  scratch_remove(dir);
}

TestSuite(disk_cycles, .init = set_up, .fini = tear_down);

/* ----------------------------------------------------------------- records */

/* All but seq follows from the number and from when it was put; the day goes on, with late ticks. */
static tks_quote quote_of(uint64_t number, unsigned day) {
  test_random random = {number};
  tks_quote q = {.recv_ns = (int64_t)(number << 16 | day)};
  q.symbol = 1 + (uint32_t)random_below(&random, SYMBOLS);
  if (random_below(&random, 50) == 0) day = (unsigned)random_below(&random, day + 1);
  q.ts_ns = STORE_MIDNIGHT + day * STORE_DAY_NS + (int64_t)(number / 3 % 80000000) * 1000000;
  q.bid = 1 + (double)random_below(&random, 1000000) / 1024;
  q.ask = q.bid + (double)random_below(&random, 1000) / 1000;
  q.bid_size = (double)random_below(&random, 1000);
  q.source = (uint32_t)random_below(&random, 2);
  return q;
}

static void put_some(size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (put_count == put_room) {
      put_room = put_room * 2 + 1024;
      seqs = realloc(seqs, put_room * sizeof *seqs);
      if (seqs == NULL) abort();
    }
    tks_quote q = quote_of(put_count, cycle / 8);
    uint64_t seq;
    int code = tks_put_quote(store, &q, &seq, NULL);
    cr_assert(code == TKS_OK || code == TKS_EQUEUEFULL, "%d", code);
    seqs[put_count++] = code == TKS_OK ? seq : 0;
    kept_count += code == TKS_OK;
  }
}

static void check_read(uint32_t symbol, uint8_t *seen, size_t *total) {
  tks_range range = store_range(symbol);
  size_t count, wrong = 0, twice = 0;
  tks_quote *quotes = store_read(store, &range, 5000, &count);
  for (size_t i = 0; i < count; i++) {
    uint64_t number = (uint64_t)quotes[i].recv_ns >> 16;
    tks_quote expected = quote_of(number, (unsigned)quotes[i].recv_ns & 0xffff);
    expected.seq = number < put_count ? seqs[number] : 0;
    if (expected.seq == 0 || memcmp(&quotes[i], &expected, sizeof expected) != 0) wrong++;
    else twice += seen[number]++ > 0;
  }
  free(quotes);
  cr_assert_eq(wrong, 0, "%zu of %zu records have not their content, or were dropped", wrong, count);
  cr_assert_eq(twice, 0, "%zu records are there twice", twice);
  *total += count;
}

/* Close counts a write that failed half way as not written, so some of what it names may be there. */
static bool is_enough(uint64_t count, uint64_t lacks) { return count <= kept_count && count + lacks >= kept_count; }

static void check_reading(void) {
  uint8_t *seen = calloc(put_count + 1, 1);
  size_t total = 0;
  if (seen == NULL) abort();
  for (uint32_t symbol = 1; symbol <= SYMBOLS; symbol++) check_read(symbol, seen, &total);
  free(seen);
  uint64_t lacks = missing[(config.backend & TKS_SQLITE) != 0 ? 0 : 1];
  cr_assert(is_enough(total, lacks), "%zu records are there, %llu said to be lost, %zu were accepted", total,
            (unsigned long long)lacks, kept_count);
}

/* ------------------------------------------------------------------- store */

static bool on(const tks_sink_stats *s) { return s->state != TKS_SINK_OFF; }

static bool is_sick(const tks_sink_stats *s) {
  return s->state == TKS_SINK_DEGRADED && s->last_error_code == TKS_EDISKFULL;
}

static bool written_or_sick(const tks_store_stats *stats, void *context) {
  (void)context;
  for (int i = 0; i < 2; i++)
    if (on(&stats->sinks[i]) && !is_sick(&stats->sinks[i]) && stats->sinks[i].backlog > 0) return false;
  return true;
}

static bool all_written(const tks_store_stats *stats, void *context) {
  (void)context;
  for (int i = 0; i < 2; i++)
    if (on(&stats->sinks[i]) && stats->sinks[i].state != TKS_SINK_OK) return false;
  return stats->durable_seq == stats->last_seq;
}

static bool all_sick(const tks_store_stats *stats) {
  return (!on(&stats->sinks[0]) || is_sick(&stats->sinks[0])) && (!on(&stats->sinks[1]) || is_sick(&stats->sinks[1]));
}

static void until_sick(void) {
  tks_store_stats stats;
  size_t before = put_count;
  do {
    put_some(200);
    (void)tks_flush(store, 0, NULL);
    cr_assert(store_wait(store, written_or_sick, NULL));
    stats = store_stats(store);
    cr_assert(store_adds_up(&stats));
    cr_assert_lt(put_count - before, TOO_MANY, "a full disk takes it all");
  } while (!all_sick(&stats));
}

/* False: the disk is too full even for that. */
static bool open_store(void) {
  static const char *const names[SYMBOLS] = {"A", "B", "C"};
  config.checkpoint_pages = 5 + (uint32_t)random_below(&dice, 100);
  config.close_limit_ms = (uint32_t)random_below(&dice, 2) * 20;
  tks_error error;
  int code = tks_open(root, strlen(root), &config, &store, &error);
  cr_assert(code == TKS_OK || code == TKS_EDISKFULL, "%d: %s", code, error.message);
  if (code != TKS_OK) return false;
  for (uint32_t i = 0; i < SYMBOLS; i++) cr_assert_eq(store_symbol(store, names[i]), i + 1);
  cr_assert_eq(store_source(store, "X"), 1);
  return true;
}

static uint64_t number_after(const char *text, const char *words) {
  const char *found = strstr(text, words);
  return found != NULL ? strtoull(found + strlen(words), NULL, 10) : 0;
}

/* With the journal nothing is lost by closing; without it, close says how much. */
static void close_store(void) {
  tks_error error = {0};
  int code = tks_close(store, &error);
  store = NULL;
  cr_assert(code == TKS_OK || code == (config.journal ? TKS_KEPT : TKS_EUNWRITTEN), "%d: %s", code, error.message);
  if (code != TKS_EUNWRITTEN) return;
  uint64_t lacks[2] = {number_after(error.message, "sqlite lacks "), number_after(error.message, "json lacks ")};
  cr_assert_gt(lacks[0] + lacks[1], 0, "%s", error.message);
  for (int i = 0; i < 2; i++) missing[i] += lacks[i];
}

static void free_disk(void) {
  small_disk_free(ballast, ROOM);
  if (store == NULL) cr_assert(open_store());
  cr_assert(store_wait(store, all_written, NULL));
  tks_store_stats stats = store_stats(store);
  cr_assert(store_adds_up(&stats));
  for (int i = 0; i < 2; i++) cr_assert_eq(stats.sinks[i].lost, 0);
}

/* ------------------------------------------------------------------ cycles */

static void one_cycle(void) {
  put_some((size_t)random_below(&dice, 200));
  if (random_below(&dice, 2)) (void)tks_flush(store, (int64_t)random_below(&dice, 20), NULL);
  small_disk_fill(ballast, (size_t)random_below(&dice, 3) * random_below(&dice, 30000));
  if (random_below(&dice, 2)) until_sick();
  put_some((size_t)random_below(&dice, 500));
  if (random_below(&dice, 4) == 0) {
    close_store();
    if (random_below(&dice, 2) && open_store()) put_some((size_t)random_below(&dice, 500));
  }
  free_disk();
  if (random_below(&dice, 8) == 0) check_reading();
}

static void fill_again_and_again(uint32_t backend, uint32_t journal) {
  const char *given = getenv("TKS_DISK_CYCLES");
  uint64_t cycles = given != NULL && *given != 0 ? strtoull(given, NULL, 10) : rounds(20);
  if (!small_disk_mount(disk, 40 + (unsigned)cycles)) cr_skip_test("a tmpfs cannot be mounted: %s", strerror(errno));
  config = store_config(backend);
  config.journal = journal;
  config.journal_bytes = 1 << 20;
  config.flush_interval_ms = 10;
  cr_assert(open_store());
  for (cycle = 0; cycle < cycles; cycle++) one_cycle();
  check_reading();
  config.close_limit_ms = 30000;
  store_close(store);
  store = NULL;
  if ((backend & TKS_SQLITE) != 0) {
    uint64_t rows = store_sqlite_rows(root);
    cr_assert(is_enough(rows, missing[0]), "%llu rows", (unsigned long long)rows);
    cr_assert_eq(store_sqlite_seqs(root), rows);
  }
  if ((backend & TKS_JSON) != 0) {
    uint64_t lines = store_json_lines(root);
    cr_assert(is_enough(lines, missing[1]), "%llu lines", (unsigned long long)lines);
    cr_assert_eq(store_json_seqs(root), lines);
  }
}

Test(disk_cycles, sqlite) { fill_again_and_again(TKS_SQLITE, 1); }
Test(disk_cycles, json) { fill_again_and_again(TKS_JSON, 1); }
Test(disk_cycles, dual) { fill_again_and_again(TKS_DUAL, 1); }
Test(disk_cycles, sqlite_without_the_journal) { fill_again_and_again(TKS_SQLITE, 0); }
Test(disk_cycles, json_without_the_journal) { fill_again_and_again(TKS_JSON, 0); }
Test(disk_cycles, dual_without_the_journal) { fill_again_and_again(TKS_DUAL, 0); }
