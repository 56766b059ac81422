/* Readers cannot fill the disk: however slow, many or forgotten the store's own readers are, a day's write-ahead log stays
 * small. A foreign program that keeps a snapshot makes it grow: that shows in the statistics, holds up nobody, and is
 * over when the program is gone. */
#include <criterion/criterion.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/process.h"
#include "support/random.h"
#include "support/scratch.h"
#include "support/stores.h"
#include "support/threads.h"
#include "support/wait.h"

#define CHUNK 5000 /* records between two flushes: no transaction is larger */
#define CHECKPOINT_PAGES 100
#define FRAME 4120 /* of a log: a page with its header */
/* docs/durability.md: four times checkpoint_pages, and one transaction, of which a page holds 30 records at the least. */
#define BOUND ((uint64_t)(4 * CHECKPOINT_PAGES + CHUNK / 30) * FRAME)

static char *dir;
static tks_store *store;
static char day[PATH_MAX];
static uint64_t put_count;
static uint64_t most; /* that the log ever took */

static void set_up(void) {
  if (access("/dev/shm", W_OK) == 0) (void)setenv("TMPDIR", "/dev/shm", 1);
  dir = scratch_new();
  store_day_path(dir, STORE_DAY, day);
  tks_config config = store_config(TKS_SQLITE);
  config.checkpoint_pages = CHECKPOINT_PAGES;
  config.queue_records = 2 * CHUNK;
  config.queue_policy = TKS_QUEUE_BLOCK;
  config.synchronous = TKS_SYNC_NORMAL;
  config.read_deadline_ms = 100;
  store = store_open(dir, &config);
  cr_assert_eq(store_symbol(store, "A"), 1);
}

static void tear_down(void) {
  if (store != NULL) (void)tks_close(store, NULL);
  scratch_remove(dir);
}

TestSuite(readers, .init = set_up, .fini = tear_down);

static uint64_t log_bytes(void) {
  tks_store_stats stats = store_stats(store);
  return stats.sinks[0].wal_bytes;
}

static void put_chunk(void) {
  for (int i = 0; i < CHUNK; i++, put_count++)
    (void)store_put(store, 1, STORE_MIDNIGHT + (int64_t)put_count * 50000, 1.5 + (double)(put_count % 1000), 2000);
  store_flush(store);
  uint64_t bytes = log_bytes();
  if (bytes > most) most = bytes;
}

/* ------------------------------------------------------------- our readers */

typedef struct reader {
  size_t capacity;
  unsigned pause_ms;
  uint64_t read, rounds, late, bad;
  int code;
} reader;

static _Atomic bool stop;

/* Reads all there is, over and over. */
static void *read_on(void *argument) {
  reader *r = argument;
  tks_quote *quotes = malloc(r->capacity * sizeof *quotes);
  if (quotes == NULL) abort();
  for (; !atomic_load(&stop); r->rounds++) {
    tks_range range = store_range(1);
    tks_cursor *cursor;
    size_t count = 0;
    int code = tks_range_open(store, &range, &cursor, NULL);
    do {
      if (code == TKS_OK) code = tks_cursor_next(cursor, quotes, r->capacity, &count, NULL);
      r->read += count;
      r->late += code == TKS_EDEADLINE;
      if (code == TKS_EDEADLINE) code = TKS_OK, count = 1;
      if (r->pause_ms > 0) linger_ms(r->pause_ms);
    } while (code == TKS_OK && count > 0 && !atomic_load(&stop));
    tks_cursor_close(cursor);
    if (code == TKS_OK) continue;
    r->bad++;
    r->code = code;
  }
  free(quotes);
  return NULL;
}

Test(readers, ours_keep_the_log_within_its_bound) {
  tks_range range = store_range(1);
  tks_cursor *forgotten;
  tks_quote quotes[10];
  size_t count;
  put_chunk();
  range.to_ns = STORE_MIDNIGHT + (int64_t)put_count * 50000;
  cr_assert_eq(tks_range_open(store, &range, &forgotten, NULL), TKS_OK);
  cr_assert_eq(tks_cursor_next(forgotten, quotes, 10, &count, NULL), TKS_OK);
  cr_assert_eq(count, 10);
  reader readers[] = {
      {.capacity = 100, .pause_ms = 10}, {.capacity = 1000}, {.capacity = 2000000}, {.capacity = 50000}};
  enum { READERS = sizeof readers / sizeof *readers };
  pthread_t threads[READERS];
  atomic_store(&stop, false);
  for (int i = 0; i < READERS; i++) threads[i] = start_thread(read_on, &readers[i]);
  for (uint64_t i = rounds(1000000) / CHUNK; i > 0; i--) put_chunk();
  atomic_store(&stop, true);
  for (int i = 0; i < READERS; i++) join_thread(threads[i]);
  for (int i = 0; i < READERS; i++) cr_assert_eq(readers[i].bad, 0, "a read failed with %d", readers[i].code);
  (void)fprintf(stderr, "the log took up to %llu bytes\n", (unsigned long long)most);
  /* Four times that: a machine so busy that a read takes seconds makes the log double, once or twice. Without its bound it
   * takes what the day file does. */
  cr_assert_leq(most, 4 * BOUND, "the log took %llu bytes, its bound is %llu", (unsigned long long)most,
                (unsigned long long)BOUND);
  /* The one that was forgotten goes on where it was. */
  uint64_t left = CHUNK - 10;
  do {
    cr_assert_eq(tks_cursor_next(forgotten, quotes, 10, &count, NULL), TKS_OK);
    left -= count;
  } while (count > 0);
  cr_assert_eq(left, 0);
  tks_cursor_close(forgotten);
}

/* ---------------------------------------------------------- a foreign one */

static uint64_t file_bytes(const char *path) {
  size_t length;
  free(read_file(path, &length));
  return length;
}

Test(readers, a_foreign_snapshot_is_seen_and_got_over) {
  char log[PATH_MAX + 8], answer;
  (void)snprintf(log, sizeof log, "%s-wal", day);
  put_chunk();
  process other = process_start("snapshot_reader", day, "SELECT COUNT(*) FROM quote");
  cr_assert_eq(read(other.out, &answer, 1), 1);
  for (int i = 0; i < 60; i++) put_chunk(); /* nobody waits for it */
  cr_assert_gt(most, BOUND);
  cr_assert_eq(log_bytes(), file_bytes(log), "the statistics say what it takes");
  tks_range range = store_range(1);
  size_t count;
  free(store_read(store, &range, 10000, &count));
  cr_assert_eq(count, put_count);
  cr_assert_eq(process_wait(&other), 0);
  /* The next transactions find the log free, begin it anew, and cut it to its bound. */
  for (int i = 0; i < 10; i++) put_chunk();
  cr_assert_leq(log_bytes(), BOUND, "the log still takes %llu bytes", (unsigned long long)log_bytes());
  cr_assert_eq(log_bytes(), file_bytes(log));
  store_close(store);
  store = NULL;
  cr_assert_eq(sqlite_integer(day, "SELECT COUNT(*) FROM quote"), (int64_t)put_count);
}
