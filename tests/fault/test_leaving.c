/* A process leaves in every way there is while threads put into its open store, or forks children that do: nothing crashes, nothing hangs,
 * and what put accepted and the store promised to keep is there exactly once, in each sink.
 *
 * TKS_RACES is the number of rounds in all (500; the long run 20,000). */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fault/leaver.h"
#include "support/process.h"
#include "support/scratch.h"
#include "support/stores.h"
#include "support/threads.h"

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN 1
#endif

static char *scratch;
static char dir[PATH_MAX], notes_path[PATH_MAX + 16];
static leaver_notes *notes;

static uint64_t share(uint64_t of_500) {
  const char *races = getenv("TKS_RACES");
  uint64_t n = races != NULL && *races != 0 ? strtoull(races, NULL, 10) : 500;
  uint64_t mine = rounds(n * of_500 / 500);
  return mine > 0 ? mine : 1;
}

static void set_up(void) {
  scratch = scratch_new();
  (void)snprintf(dir, sizeof dir, "%s/store", scratch);
  (void)snprintf(notes_path, sizeof notes_path, "%s.notes", dir);
}

static void tear_down(void) { scratch_remove(scratch); }

TestSuite(leaving, .init = set_up, .fini = tear_down);

static void fresh_notes(void) {
  scratch_clear(scratch);
  int fd = open(notes_path, O_RDWR | O_CREAT | O_TRUNC, 0644);
  cr_assert_geq(fd, 0);
  cr_assert_eq(ftruncate(fd, sizeof *notes), 0);
  notes = mmap(NULL, sizeof *notes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  cr_assert(notes != MAP_FAILED);
  (void)close(fd);
}

static void leave(const char *way) {
  fresh_notes();
  process p = process_start("leaver", dir, way);
  int code = process_wait(&p);
  cr_assert_eq(code, 0, "%s: %d%s", way, code, code == -1 - SIGALRM ? " (hung)" : "");
}

/* How often each accepted quote was found: [thread][n]. */
static uint8_t *found[LEAVER_THREADS];

static void note_found(double bid) {
  uint64_t number = (uint64_t)bid;
  uint64_t n = number / LEAVER_THREADS;
  cr_assert_lt(n, LEAVER_NOTES, "%f", bid);
  uint8_t *times = &found[number % LEAVER_THREADS][n];
  cr_assert_eq(*times, 0, "thread %u, quote %u is there twice", (unsigned)(number % LEAVER_THREADS), (unsigned)n);
  *times = 1;
}

/* Whatever was accepted is there if `all`; what lies there is no quote that was never put, and none is there twice. */
static void check_found(const char *way, const char *where, bool all) {
  for (int t = 0; t < LEAVER_THREADS; t++) {
    uint64_t accepted = atomic_load(&notes->threads[t].count), have = 0;
    cr_assert_gt(accepted, 0);
    for (uint64_t n = 0; n < LEAVER_NOTES; n++) have += n < accepted && found[t][n];
    if (all) cr_assert_eq(have, accepted, "%s, %s: %u of %u", way, where, (unsigned)have, (unsigned)accepted);
    /* At most one array was on its way in, not yet noted. */
    for (uint64_t n = accepted + 8; n < LEAVER_NOTES; n++) cr_assert_eq(found[t][n], 0, "%s, %s: %u", way, where, t);
  }
}

static uint64_t durable_found;

static void note_record(uint64_t seq, double bid) {
  note_found(bid);
  durable_found += seq <= notes->durable_seq;
}

static void read_sqlite(void) {
  tks_config config = store_config(TKS_SQLITE);
  config.read_only = 1;
  tks_store *store = store_open(dir, &config);
  tks_range range = store_range(store_symbol(store, "S1"));
  size_t count;
  tks_quote *quotes = store_read(store, &range, 4096, &count);
  for (size_t i = 0; i < count; i++) note_record(quotes[i].seq, quotes[i].bid);
  free(quotes);
  store_close(store);
}

static void read_json(void) {
  char path[PATH_MAX];
  store_json_path(dir, "S1", STORE_DAY, path);
  if (!path_exists(path)) return; /* nothing was written yet */
  size_t length;
  char *text = read_file(path, &length);
  for (char *line = text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
    *end = 0;
    const char *seq = strstr(line, "\"seq\":"), *bid = strstr(line, "\"bid\":");
    cr_assert(seq != NULL && bid != NULL, "%s", line);
    note_record(strtoull(seq + 6, NULL, 10), strtod(bid + 6, NULL));
  }
  free(text);
}

static void check_sink(const char *way, const char *name, void (*read_all)(void), bool all) {
  for (int t = 0; t < LEAVER_THREADS; t++) {
    found[t] = calloc(LEAVER_NOTES, 1);
    cr_assert_not_null(found[t]);
  }
  durable_found = 0;
  read_all();
  /* Sequence numbers of a fresh store begin at 1, and none was dropped. */
  cr_assert_eq(durable_found, notes->durable_seq, "%s, %s: of %u durable %u are there", way, name,
               (unsigned)notes->durable_seq, (unsigned)durable_found);
  check_found(way, name, all);
  for (int t = 0; t < LEAVER_THREADS; t++) free(found[t]);
}

/* Opened for writing once, the store makes good what the process left. Then each sink is read. */
static void check_store(const char *way) {
  bool all = notes->closed || notes->journaled;
  tks_config config = store_config(TKS_DUAL);
  store_close(store_open(dir, &config));
  cr_assert_eq(store_sqlite_rows(dir), store_sqlite_seqs(dir), "%s", way);
  cr_assert_eq(store_json_lines(dir), store_json_seqs(dir), "%s", way);
  if (all) cr_assert_eq(store_sqlite_rows(dir), store_json_lines(dir), "%s", way);
  check_sink(way, "sqlite", read_sqlite, all);
  check_sink(way, "json", read_json, all);
  cr_assert_eq(munmap(notes, sizeof *notes), 0);
}

static void leave_often(const char *way, bool closes, bool ends) {
  for (uint64_t n = share(15); n-- > 0;) {
    leave(way);
    cr_assert_eq(notes->closed, closes, "%s", way);
    cr_assert_eq(notes->ended, ends, "%s", way);
    check_store(way);
  }
}

Test(leaving, main_returns_while_threads_put) { leave_often("return", false, true); }
Test(leaving, exit_while_threads_put) { leave_often("exit", false, true); }
Test(leaving, exit_by_another_thread) { leave_often("thread_exit", false, true); }
Test(leaving, underscore_exit) { leave_often("_exit", false, false); }
Test(leaving, quick_exit) { leave_often("quick_exit", false, false); }
Test(leaving, close_in_an_exit_handler_while_threads_put) { leave_often("close_atexit", true, true); }
Test(leaving, close_while_threads_put_then_return) { leave_often("close_return", true, true); }

#ifndef UNDER_TSAN /* which does not survive its main thread */
/* The library's threads do not keep the process once the store is closed. */
Test(leaving, main_ends_before_the_others) { leave_often("main_exits", true, true); }
#endif

/* ------------------------------------------------------------------ forks */

static void fork_often(const char *way, uint64_t children) {
  char text[64];
  (void)snprintf(text, sizeof text, "%s:%lu", way, (unsigned long)children);
  leave(text);
  cr_assert_eq(notes->rounds, children);
  cr_assert_eq(notes->closed, 1);
  check_store(way);
}

Test(leaving, children_of_the_main_thread) {
  for (int i = 0; i < 4; i++) fork_often("fork", share(25));
}

Test(leaving, children_of_another_thread) {
  for (int i = 0; i < 4; i++) fork_often("fork_thread", share(25));
}
