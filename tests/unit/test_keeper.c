#include "ingest/keeper.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/memory.h"
#include "support/faults.h"
#include "support/records.h"
#include "support/scratch.h"
#include "support/stores.h"
#include "support/wait.h"

#define MIB (UINT64_C(1) << 20)
static const char ID[] = "0123456789abcdef0123456789abcdef";
static const tks__log silent = {0};

static char *root;
static char dir[PATH_MAX];
static tks__symbols symbols;
static tks__names sources;
static tks_config config;
static tks__keeper *keeper;
static tks__journal *journal;

/* What the keeper had written down. */
static pthread_mutex_t noted_lock = PTHREAD_MUTEX_INITIALIZER;
static tks__loss noted[64];
static size_t noted_count, notes;
static _Atomic uint64_t noted_records;
static _Atomic bool refuse_notes;

static void note_loss(void *context, const tks__loss *loss) {
  (void)context;
  (void)pthread_mutex_lock(&noted_lock);
  if (noted_count < 64) {
    noted[noted_count++] = *loss;
    atomic_fetch_add(&noted_records, loss->records);
  }
  (void)pthread_mutex_unlock(&noted_lock);
}

static bool write_losses(void *context) {
  (void)context;
  (void)pthread_mutex_lock(&noted_lock);
  notes++;
  (void)pthread_mutex_unlock(&noted_lock);
  return !atomic_load(&refuse_notes);
}

static void set_up(void) {
  root = scratch_new();
  (void)snprintf(dir, sizeof dir, "%s/journal", root);
  cr_assert_eq(tks__symbols_init(&symbols, 100), TKS_OK);
  cr_assert_eq(tks__names_init(&sources, 100), TKS_OK);
  config = store_config(TKS_SQLITE | TKS_JSON);
  config.journal = 1;
  config.journal_bytes = MIB;
  config.journal_sync_ms = 1;
}

static void tear_down(void) {
  atomic_store(&tks__fs_fault, NULL);
  (void)allocations_work();
  tks__symbols_deinit(&symbols);
  tks__names_deinit(&sources);
  scratch_remove(root);
}

TestSuite(keeper, .init = set_up, .fini = tear_down);

static uint64_t first_seq = 1000;
static _Atomic uint32_t wakes;
static void on_wake(void *context) {
  (void)context;
  atomic_fetch_add(&wakes, 1);
}

static int try_start_writing(bool (*write)(void *context), tks_error *error) {
  const tks__keeper_options options = {
      .config = &config,
      .log = &silent,
      .dir = dir,
      .root = root,
      .store_id = ID,
      .symbols = &symbols,
      .sources = &sources,
      .first_seq = first_seq,
      .note_loss = note_loss,
      .write_losses = write,
  };
  int code = tks__keeper_start(&options, &keeper, error);
  if (code != TKS_OK) return code;
  journal = tks__keeper_journal(keeper);
  journal->wake = on_wake;
  return code;
}

static int try_start(tks_error *error) { return try_start_writing(write_losses, error); }

static void start_writing(bool (*write)(void *context)) {
  tks_error error;
  int code = try_start_writing(write, &error);
  cr_assert_eq(code, TKS_OK, "%s", error.message);
}

static void start(void) { start_writing(write_losses); }

static uint64_t stop(void) {
  uint64_t kept = 77;
  first_seq = tks__journal_end_seq(journal) + 1000000;
  tks__keeper_stop(keeper, &kept);
  return kept;
}

/* A new process: its tables are empty. */
static void forget_names(void) {
  tks__symbols_deinit(&symbols);
  tks__names_deinit(&sources);
  cr_assert_eq(tks__symbols_init(&symbols, 100), TKS_OK);
  cr_assert_eq(tks__names_init(&sources, 100), TKS_OK);
}

static uint32_t symbol(const char *name) {
  uint32_t id;
  cr_assert_eq(tks__names_intern(&symbols.names, name, strlen(name), &id), TKS_OK);
  return id;
}

static bool try_push(uint64_t number) {
  tks__record record = record_of(number, symbol("EURUSD"));
  record.source = 0;
  record.flags = 0;
  return tks__journal_push(journal, &record);
}

static bool pushed_one(void *context) { return try_push(*(uint64_t *)context); }

static void push_while_there_is_room(void) {
  while (try_push(1)) {
  }
}

/* The keeper makes room as long as there may be more. */
static void push_many(uint64_t count) {
  for (uint64_t i = 0; i < count; i++) cr_assert(wait_until(pushed_one, &i), "record %llu", (unsigned long long)i);
}

static void release_all(void) {
  uint64_t tail = tks__journal_tail(journal);
  tks__journal_release(journal, tail, tail);
}

static tks__keeper_stats stats(void) {
  tks__keeper_stats s;
  tks__keeper_stats_get(keeper, &s);
  return s;
}

static uint64_t files(const char *suffix) {
  tks__fs_names names;
  cr_assert_eq(tks__fs_list(dir, &names), 0);
  uint64_t count = 0;
  for (size_t i = 0; i < names.count; i++) {
    size_t length = strlen(names.names[i]), n = strlen(suffix);
    count += length >= n && strcmp(names.names[i] + length - n, suffix) == 0;
  }
  tks__fs_names_free(&names);
  return count;
}

static int make_no_segment(tks__fs_op op, const char *path) {
  return op == TKS__FS_OPEN && strstr(path, ".segment") != NULL ? ENOSPC : 0;
}

static size_t note_count(void) {
  (void)pthread_mutex_lock(&noted_lock);
  size_t count = notes;
  (void)pthread_mutex_unlock(&noted_lock);
  return count;
}

static bool noted_more(void *context) { return note_count() > *(size_t *)context; }

/* As a kill leaves it: a copy of the directory while it is in use, put in its place after an orderly end. No file is being
 * made meanwhile: the keeper notes after it has made some. */
static void crash(void) {
  atomic_store(&tks__fs_fault, make_no_segment);
  size_t so_far = note_count();
  tks__keeper_note(keeper);
  cr_assert(wait_until(noted_more, &so_far));
  char command[4 * PATH_MAX];
  (void)snprintf(command, sizeof command, "cp -r '%s' '%s.kept'", dir, dir);
  cr_assert_eq(system(command), 0);
  atomic_store(&tks__fs_fault, NULL);
  (void)stop();
  (void)snprintf(command, sizeof command, "rm -rf '%s' && mv '%s.kept' '%s'", dir, dir, dir);
  cr_assert_eq(system(command), 0);
  forget_names();
}

/* ------------------------------------------------------------------ in order */

Test(keeper, an_orderly_session_leaves_nothing) {
  start();
  cr_assert_eq(files(".segment") > 0, true);
  cr_assert_eq(files(".names"), 1);
  push_many(1000);
  cr_assert_eq(stats().recovered, 0);
  release_all();
  cr_assert_eq(stop(), 0);
  cr_assert_eq(files(""), 0);
  start();
  cr_assert_eq(stop(), 0, "nothing was put");
  cr_assert_eq(files(""), 0);
}

static bool has_ahead(void *context) {
  return atomic_load(&journal->room_end) - tks__journal_tail(journal) >= *(uint64_t *)context;
}

static bool block_is_free(void *context) {
  (void)context;
  return atomic_load(&journal->recycled) >=
         tks__journal_tail(journal) / (journal->slot_mask + 1) * (journal->slot_mask + 1);
}

Test(keeper, keeps_ahead_and_uses_files_again) {
  start();
  uint64_t two_blocks = 2 * (journal->slot_mask + 1);
  for (uint64_t i = 0; i < 200; i++) {
    cr_assert(wait_until(has_ahead, &two_blocks));
    push_many(journal->slot_mask + 1);
    release_all();
    cr_assert(wait_until(block_is_free, NULL));
    cr_assert_leq(files(".segment"), MIB / (journal->slot_mask + 1) / 64);
  }
  cr_assert(path_exists(dir));
  cr_assert_eq(stop(), 0);
}

static bool is_full(void *context) {
  (void)context;
  push_while_there_is_room();
  return !tks__journal_can_grow(journal) && atomic_load(&journal->loss_cause) == TKS_GAP_FULL;
}

static bool all_noted(void *context) { return atomic_load(&noted_records) == *(uint64_t *)context; }

Test(keeper, never_takes_more_than_journal_bytes_and_says_what_is_lost) {
  start();
  cr_assert(wait_until(is_full, NULL));
  cr_assert_leq(stats().bytes, MIB);
  uint64_t segment_bytes = TKS__SEGMENT_HEADER_BYTES + (journal->slot_mask + 1) * 64;
  cr_assert_eq(files(".segment"), MIB / segment_bytes);
  for (int i = 0; i < 10; i++) cr_assert_neq(tks__journal_lose(journal, 1), 0);
  uint64_t lost = 10;
  cr_assert(wait_until(all_noted, &lost));
  (void)pthread_mutex_lock(&noted_lock);
  cr_assert_eq(noted[0].cause, TKS_GAP_FULL);
  cr_assert_eq(noted[noted_count - 1].to_seq, tks__journal_end_seq(journal) - 1);
  (void)pthread_mutex_unlock(&noted_lock);
  release_all();
  push_many(100);
  cr_assert_leq(stats().bytes, MIB);
  release_all();
  cr_assert_eq(stop(), 0);
  cr_assert_eq(files(""), 0);
}

/* What was made ready for a burst is used up first, slowly; what comes back then is not kept. */
static bool is_trimmed(void *context) {
  for (uint64_t i = 0; i < (journal->slot_mask + 1) / 4 && try_push(i); i++) {
  }
  release_all();
  tks__keeper_arm(keeper);
  return stats().bytes <= *(uint64_t *)context;
}

Test(keeper, gives_spare_files_back_after_a_burst) {
  config.journal_bytes = 16 * MIB;
  start();
  cr_assert(wait_until(is_full, NULL));
  cr_assert_gt(stats().bytes, 15 * MIB);
  release_all();
  /* Two ahead, two spare, one in use. */
  uint64_t few = 5 * (TKS__SEGMENT_HEADER_BYTES + (journal->slot_mask + 1) * 64);
  cr_assert(wait_until(is_trimmed, &few));
  push_many(journal->slot_mask + 1);
  release_all();
  cr_assert_eq(stop(), 0);
  cr_assert_eq(files(""), 0);
}

Test(keeper, a_scan_delays_a_block_and_no_more) {
  start();
  atomic_fetch_add(&journal->pins[atomic_load(&journal->epoch) & 1], 1);
  uint32_t side = (uint32_t)(atomic_load(&journal->epoch) & 1);
  uint64_t block = journal->slot_mask + 1, first = stats().first;
  push_many(block);
  tks__slot *slots = tks__journal_block(journal, first)->slots;
  release_all();
  linger_ms(20);
  cr_assert_neq(tks__slot_stamp(&slots[0]), 0, "pinned");
  atomic_fetch_sub(&journal->pins[side], 1);
  push_many(3 * block);
  release_all();
  cr_assert(wait_until(block_is_free, NULL));
  cr_assert_eq(stop(), 0);
}

/* In a full journal, too, room that a scan holds up for a moment is worth waiting for. */
Test(keeper, a_scan_of_a_full_journal_makes_nobody_think_that_there_is_no_room) {
  start();
  cr_assert(wait_until(is_full, NULL));
  uint32_t side = tks__journal_pin(journal);
  tks__journal_release(journal, stats().first + journal->slot_mask + 1, tks__journal_tail(journal));
  for (int i = 0; i < 20; i++) {
    cr_assert(tks__journal_can_grow(journal), "after %d ms", i);
    linger_ms(1);
  }
  tks__journal_unpin(journal, side);
  push_many(journal->slot_mask + 1);
  cr_assert(wait_until(is_full, NULL));
  release_all();
  cr_assert_eq(stop(), 0);
}

/* ------------------------------------------------------------------- failures */

static _Atomic int failing_op, failing_errno = ENOSPC;
static _Atomic int64_t countdown;
static _Atomic uint64_t failures, calls[TKS__FS_REMOVE + 1];
static int fail_op(tks__fs_op op, const char *path) {
  (void)path;
  atomic_fetch_add(&calls[op], 1);
  if ((int)op != atomic_load(&failing_op)) return 0;
  atomic_fetch_add(&failures, 1);
  return atomic_load(&failing_errno);
}

static int fail_at_zero(tks__fs_op op, const char *path) {
  (void)op;
  (void)path;
  return atomic_fetch_sub(&countdown, 1) == 0 ? atomic_load(&failing_errno) : 0;
}

static bool failed_more(void *context) { return atomic_load(&failures) > *(uint64_t *)context; }

static bool cannot_grow(void *context) {
  (void)context;
  push_while_there_is_room();
  return !tks__journal_can_grow(journal) && atomic_load(&journal->loss_cause) == TKS_GAP_JOURNAL;
}

Test(keeper, a_file_that_cannot_be_made_is_a_loss_of_its_own_and_tried_again) {
  start();
  atomic_store(&failing_op, TKS__FS_ALLOCATE);
  atomic_store(&tks__fs_fault, fail_op);
  cr_assert(wait_until(cannot_grow, NULL));
  cr_assert_gt(failures, 0);
  cr_assert_neq(tks__journal_lose(journal, 1), 0);
  uint64_t one = 1;
  cr_assert(wait_until(all_noted, &one));
  (void)pthread_mutex_lock(&noted_lock);
  cr_assert_eq(noted[0].cause, TKS_GAP_JOURNAL);
  (void)pthread_mutex_unlock(&noted_lock);
  atomic_store(&tks__fs_fault, NULL);
  push_many(100); /* nobody releases anything: it tries by itself */
  release_all();
  cr_assert_eq(stop(), 0);
  cr_assert_eq(files(""), 0);
}

/* What earlier sessions left counts, but for the least that a session needs. */
Test(keeper, sessions_that_leave_records_share_journal_bytes) {
  config.journal_bytes = 1 << 20;
  uint64_t most = 0, kept = 0;
  for (int session = 0; session < 8; session++) {
    start();
    cr_assert(wait_until(is_full, NULL));
    uint64_t count = files(".segment");
    if (session == 0) most = count;
    cr_assert_leq(count, most + 2, "%llu in session %d", (unsigned long long)count, session);
    kept = stop();
    cr_assert_gt(kept, 0);
    forget_names();
  }
  /* The last ones had no room at all, until the sinks have what was left. */
  start();
  cr_assert_eq(stats().recovered, kept);
  cr_assert_not(try_push(1));
  uint64_t live = journal->live_from;
  cr_assert_eq(tks__journal_tail(journal), live);
  tks__record *records = calloc(kept + 1, sizeof *records);
  tks__journal_part part;
  tks__journal_read(journal, stats().first, kept + 1, records, &part);
  free(records);
  cr_assert_eq(part.count, kept);
  cr_assert_eq(part.through, live);
  cr_assert_eq(part.next_seq, first_seq);
  cr_assert_eq(tks__journal_lose(journal, 1), first_seq);
  release_all();
  push_many(journal->slot_mask + 1);
  cr_assert_eq(tks__journal_seq_at(journal, live), first_seq + 1);
  release_all();
  cr_assert_eq(stop(), 0);
  cr_assert_eq(files(""), 0);
}

/* One session may have left more than is allowed now: the next one can do its work all the same. */
Test(keeper, a_session_behind_a_larger_journal_has_room) {
  config.journal_bytes = 8 * MIB;
  config.journal_sync_ms = 0;
  start();
  cr_assert(wait_until(is_full, NULL));
  cr_assert_gt(stop(), 0);
  forget_names();
  config.journal_bytes = MIB;
  start();
  push_many(2 * (journal->slot_mask + 1));
  release_all();
  cr_assert_eq(stop(), 0);
}

/* Nothing is known of it, so nothing is held back. */
Test(keeper, a_disk_that_does_not_tell_its_room_is_used) {
  start();
  atomic_store(&failing_op, TKS__FS_READ);
  atomic_store(&tks__fs_fault, fail_op);
  cr_assert(wait_until(is_full, NULL));
  cr_assert_gt(failures, 0);
  cr_assert_eq(files(".segment"), MIB / (TKS__SEGMENT_HEADER_BYTES + (journal->slot_mask + 1) * 64));
  atomic_store(&tks__fs_fault, NULL);
  release_all();
  cr_assert_eq(stop(), 0);
}

/* The disk is for the sinks first: they cannot catch up on one that the journal has filled. */
Test(keeper, after_a_full_disk_it_takes_no_more_than_it_needs) {
  config.journal_bytes = 1 << 24;
  start();
  atomic_store(&failing_op, TKS__FS_ALLOCATE);
  atomic_store(&tks__fs_fault, fail_op);
  cr_assert(wait_until(cannot_grow, NULL));
  for (int i = 0; i < 8; i++) {
    uint64_t before = atomic_load(&failures);
    journal->want_room(journal->want_room_context);
    cr_assert(wait_until(failed_more, &before));
  }
  uint64_t before = files(".segment");
  atomic_store(&tks__fs_fault, NULL);
  push_many(1);
  cr_assert_leq(files(".segment"), before + 3);
  release_all();
  cr_assert_eq(stop(), 0);
}

static bool synced_all(void *context) {
  (void)context;
  tks__keeper_arm(keeper);
  return stats().synced_seq == tks__journal_end_seq(journal) - 1;
}

static bool synced_to(void *context) {
  tks__keeper_arm(keeper);
  return stats().synced_seq == *(uint64_t *)context;
}

static bool failed_some(void *context) {
  tks__keeper_arm(keeper);
  return atomic_load(&failures) > *(uint64_t *)context;
}

Test(keeper, syncs_what_is_published) {
  start();
  uint64_t tail = tks__journal_tail(journal), before = stats().synced_seq;
  cr_assert_eq(before, tks__journal_end_seq(journal) - 1);
  push_many(700);
  cr_assert(wait_until(synced_all, NULL));
  cr_assert_eq(stats().synced_seq, before + 700);
  atomic_fetch_add(&journal->tail, 1); /* claimed, and not filled */
  push_many(3);
  tks__keeper_arm(keeper);
  linger_ms(20);
  cr_assert_eq(stats().synced_seq, before + 700, "nothing behind a record that is not there yet");
  tks__journal_release(journal, tail + 704, tail + 704);
  cr_assert(wait_until(synced_all, NULL), "what the sinks have is safe");
  cr_assert_eq(stop(), 0);
}

Test(keeper, a_failed_sync_is_not_believed_when_a_later_one_succeeds) {
  start();
  push_many(10);
  cr_assert(wait_until(synced_all, NULL));
  uint64_t tail = tks__journal_tail(journal), before = stats().synced_seq, none = 0;
  atomic_store(&failing_op, TKS__FS_SYNC);
  atomic_store(&failing_errno, EIO);
  atomic_store(&tks__fs_fault, fail_op);
  push_many(10);
  cr_assert(wait_until(failed_some, &none));
  uint64_t once = atomic_load(&failures);
  push_many(10); /* one that fails behind it makes the hole longer */
  cr_assert(wait_until(failed_some, &once));
  atomic_store(&tks__fs_fault, NULL);
  push_many(10);
  tks__keeper_arm(keeper);
  linger_ms(30);
  cr_assert_eq(stats().synced_seq, before, "the system may have given up what it could not write");
  tks__journal_release(journal, tail + 10, tail + 30);
  uint64_t first_part = before + 10;
  cr_assert(wait_until(synced_to, &first_part), "not what failed later, while the sinks have the first part alone");
  tks__journal_release(journal, tail + 20, tail + 30);
  cr_assert(wait_until(synced_all, NULL), "the sinks have the part that failed");
  release_all();
  cr_assert_eq(stop(), 0);
}

/* A disk that takes its time: whoever syncs waits here until the test lets go. */
static _Atomic bool disk_hangs, disk_waited_for;

static int hang_in_sync(tks__fs_op op, const char *path) {
  (void)path;
  if (op != TKS__FS_SYNC) return 0;
  while (atomic_load(&disk_hangs)) {
    atomic_store(&disk_waited_for, true);
    linger_ms(1);
  }
  return 0;
}

static bool is_set(void *context) { return atomic_load((_Atomic bool *)context); }

Test(keeper, a_sync_that_takes_long_keeps_no_room_from_the_producers) {
  start();
  atomic_store(&disk_hangs, true);
  atomic_store(&tks__fs_fault, hang_in_sync);
  push_many(1);
  tks__keeper_arm(keeper);
  cr_assert(wait_until(is_set, &disk_waited_for));
  /* All that journal_bytes allows but for the block that is being synced, with the sinks taking records and without. */
  uint64_t block = journal->slot_mask + 1, blocks = MIB / (TKS__SEGMENT_HEADER_BYTES + block * sizeof(tks__slot));
  push_many((blocks - 1) * block);
  cr_assert_eq(tks__journal_count(journal).dropped, 0);
  atomic_store(&disk_hangs, false);
  release_all();
  push_many(10 * block);
  release_all();
  cr_assert_eq(stop(), 0);
}

/* A disk that syncs so many times and then takes its time. */
static _Atomic int syncs_allowed, syncs_done, waited_at = -1;

static int hang_after_some(tks__fs_op op, const char *path) {
  (void)path;
  if (op != TKS__FS_SYNC) return 0;
  while (atomic_load(&syncs_done) >= atomic_load(&syncs_allowed)) {
    atomic_store(&waited_at, atomic_load(&syncs_done));
    linger_ms(1);
  }
  atomic_fetch_add(&syncs_done, 1);
  return 0;
}

static bool waits_at(void *context) { return atomic_load(&waited_at) == *(int *)context; }

/* While it is at it, the entry of the block that it began with comes to stand for another one, whose numbers are higher by what was
 * lost: they say nothing of what was synced. */
Test(keeper, a_sync_that_takes_long_promises_no_number_of_a_later_block) {
  start();
  atomic_store(&tks__fs_fault, hang_after_some);
  push_many(1);
  tks__keeper_arm(keeper);
  int none = 0, names_and_directory = 2;
  cr_assert(wait_until(waits_at, &none)); /* for the names: no block is pinned */
  uint64_t block = journal->slot_mask + 1, blocks = MIB / (TKS__SEGMENT_HEADER_BYTES + block * sizeof(tks__slot));
  uint64_t again = stats().first + (journal->block_mask + 1) * block, released = again - blocks * block;
  while (tks__journal_tail(journal) < released) {
    release_all();
    push_many(block - (tks__journal_tail(journal) & journal->slot_mask));
  }
  release_all();
  push_many(blocks * block);
  for (uint64_t i = 0; i < again; i++) cr_assert_neq(tks__journal_lose(journal, 1), 0);
  released += block;
  tks__journal_release(journal, released, again);
  cr_assert(wait_until(has_ahead, &block));
  atomic_store(&syncs_allowed, names_and_directory);
  cr_assert(wait_until(waits_at, &names_and_directory)); /* with the next sync */
  cr_assert_eq(stats().synced_seq, tks__journal_seq_at(journal, released) - 1);
  atomic_store(&syncs_allowed, INT_MAX);
  release_all();
  cr_assert_eq(stop(), 0);
}

static bool write_slowly(void *context) {
  (void)hang_in_sync(TKS__FS_SYNC, NULL);
  return write_losses(context);
}

Test(keeper, a_ledger_that_takes_long_keeps_no_room_from_the_producers) {
  start_writing(write_slowly);
  atomic_store(&disk_hangs, true);
  tks__keeper_note(keeper);
  cr_assert(wait_until(is_set, &disk_waited_for));
  uint64_t block = journal->slot_mask + 1, blocks = MIB / (TKS__SEGMENT_HEADER_BYTES + block * sizeof(tks__slot));
  push_many((blocks - 1) * block);
  for (int i = 0; i < 20; i++) {
    release_all();
    push_many(block);
  }
  cr_assert_eq(tks__journal_count(journal).dropped, 0);
  atomic_store(&disk_hangs, false);
  release_all();
  cr_assert_eq(stop(), 0);
}

Test(keeper, without_journal_sync_ms_nothing_is_synced) {
  config.journal_sync_ms = 0;
  start();
  atomic_store(&failing_op, -1);
  atomic_store(&tks__fs_fault, fail_op);
  push_many(100);
  tks__keeper_arm(keeper);
  linger_ms(20);
  cr_assert_eq(stats().synced_seq, tks__journal_seq_at(journal, stats().first) - 1);
  cr_assert_eq(calls[TKS__FS_SYNC], 0);
  release_all();
  cr_assert_eq(stop(), 0);
}

/* Each call and each allocation fails once at a start with something to recover: nothing is lost, nothing left over. */
Test(keeper, a_failed_start_loses_nothing) {
  start();
  push_many(300);
  crash();
  for (int memory = 0; memory < 2; memory++) {
    for (int64_t n = 0;; n++) {
      uint64_t before = files(".segment");
      atomic_store(&countdown, n);
      atomic_store(&failing_errno, EIO);
      if (memory) fail_allocation((uint64_t)n);
      else atomic_store(&tks__fs_fault, fail_at_zero);
      int code = try_start(NULL);
      if (code == TKS_OK) {
        cr_assert_eq(stats().recovered, 300);
        cr_assert_eq(stop(), 300, "nobody has read them");
      }
      atomic_store(&tks__fs_fault, NULL);
      bool failed = memory ? allocations_work() : atomic_load(&countdown) < 0;
      if (code != TKS_OK) {
        cr_assert(code == TKS_ENOMEM || code == TKS_EIO, "%d", code);
        cr_assert_eq(files(".segment"), before, "%s %lld", memory ? "allocation" : "call", (long long)n);
        forget_names();
        start();
        cr_assert_eq(stats().recovered, 300);
        cr_assert_eq(stop(), 300);
      }
      forget_names();
      if (!failed) {
        cr_assert_gt(n, 10);
        break;
      }
    }
  }
}

Test(keeper, a_failed_start_in_memory_leaves_nothing) {
  config.journal = 0;
  int code = TKS_ENOMEM;
  for (uint64_t n = 0; code != TKS_OK; n++) {
    fail_allocation(n);
    code = try_start(NULL);
    cr_assert_eq(code, allocations_work() ? TKS_ENOMEM : TKS_OK, "allocation %llu", (unsigned long long)n);
    cr_assert_lt(n, 100);
  }
  push_many(10);
  (void)stop();
  cr_assert_not(path_exists(dir));
}

/* --------------------------------------------------------------- what is left */

static void check_recovered(uint64_t from_seq, uint64_t count) {
  static tks__record records[100000];
  tks__journal_part part;
  tks__journal_read(journal, stats().first, count, records, &part);
  cr_assert_eq(part.count, count);
  for (uint64_t i = 0; i < count; i++) {
    cr_assert_eq(records[i].seq, from_seq + i);
    cr_assert_eq(records[i].recv_ns, (int64_t)i);
    cr_assert_eq(records[i].symbol, tks__names_find(&symbols.names, "EURUSD", 6));
  }
  cr_assert_eq(stats().recovered, count);
}

Test(keeper, what_no_sink_has_at_the_end_is_there_the_next_time) {
  for (int crashed = 0; crashed < 2; crashed++) {
    uint64_t from = first_seq;
    start();
    push_many(2500);
    if (crashed) crash();
    else cr_assert_eq(stop(), 2500);
    forget_names();
    (void)symbol("another");
    start();
    check_recovered(from, 2500);
    cr_assert_eq(stats().recovered + stats().holes, journal->live_from - stats().first);
    push_many(10);
    tks__journal_release(journal, stats().first + 1300, tks__journal_tail(journal));
    cr_assert_eq(stop(), 1210, "of both sessions");
    forget_names();
    start();
    cr_assert_eq(stats().recovered, 2510 - 1024, "files go when all of them is durable");
    release_all();
    cr_assert_eq(stop(), 0);
    cr_assert_eq(files(""), 0);
  }
}

/* Somebody removed the names that it left: what there is to sync is synced. */
Test(keeper, names_of_an_earlier_session_that_are_gone) {
  start();
  push_many(100);
  crash();
  forget_names();
  start();
  char path[PATH_MAX + 16];
  (void)snprintf(path, sizeof path, "%s/1.names", dir);
  cr_assert_eq(unlink(path), 0);
  push_many(10);
  cr_assert(wait_until(synced_all, NULL));
  release_all();
  cr_assert_eq(stop(), 0);
}

static bool no_old_segment(void *context) {
  const char *session = context;
  tks__fs_names names;
  cr_assert_eq(tks__fs_list(dir, &names), 0);
  size_t old = 0;
  for (size_t i = 0; i < names.count; i++)
    old += strncmp(names.names[i], session, strlen(session)) == 0 && strstr(names.names[i], ".segment") != NULL;
  tks__fs_names_free(&names);
  return old == 0;
}

/* Its header bears its own session's number: new records in it would be read by the names of that one. */
Test(keeper, a_recovered_file_is_not_used_again) {
  start();
  push_many(300);
  crash();
  forget_names();
  (void)symbol("another");
  start();
  char session[] = "1-";
  cr_assert_not(no_old_segment(session));
  push_many(10);
  release_all();
  cr_assert(wait_until(no_old_segment, session));
  cr_assert_eq(stop(), 0);
}

/* The session before may have been killed before its sync. */
Test(keeper, recovered_records_do_not_count_as_synced_until_they_are) {
  start();
  push_many(300);
  crash();
  config.journal_sync_ms = 3600000;
  start();
  cr_assert_eq(stats().synced_seq, tks__journal_seq_at(journal, stats().first) - 1);
  cr_assert_eq(stop(), 300);
  forget_names();
  config.journal_sync_ms = 1;
  start();
  uint64_t none = 0;
  cr_assert(wait_until(synced_all, NULL));
  cr_assert_eq(stop(), 300);
  forget_names();
  atomic_store(&failing_op, -1);
  atomic_store(&failing_errno, EIO);
  start();
  atomic_store(&failing_op, TKS__FS_SYNC);
  atomic_store(&tks__fs_fault, fail_op);
  cr_assert(wait_until(failed_some, &none));
  release_all();
  atomic_store(&tks__fs_fault, NULL);
  cr_assert_eq(stop(), 0);
}

Test(keeper, reopened_without_a_journal_after_a_crash) {
  uint64_t from = first_seq;
  start();
  push_many(300);
  crash();
  config.journal = 0;
  config.queue_records = 16; /* its own blocks would be smaller than those of the files */
  config.backlog_records = 0;
  start();
  check_recovered(from, 300);
  push_many(20);
  cr_assert_eq(stop(), 300, "what was in memory alone is not kept");
  forget_names();
  start();
  check_recovered(from, 300);
  cr_assert_eq(stats().bytes, 0);
  release_all();
  cr_assert_eq(stop(), 0);
  cr_assert_eq(files(""), 0);
}

Test(keeper, torn_records_are_noted_and_their_file_stays_until_they_are) {
  start();
  push_many(2);
  journal->blocks[1].slots[0].body.bid += 1;
  journal->blocks[1].slots[1].body.bid += 1;
  crash();
  atomic_store(&refuse_notes, true);
  start();
  cr_assert_eq(stats().recovered, 0);
  cr_assert_eq(noted_records, 2);
  cr_assert_eq(noted[0].cause, TKS_GAP_RECOVERY);
  cr_assert_eq(stop(), 0);
  forget_names();
  uint64_t left = files(".segment");
  cr_assert_eq(left > 0, true);
  atomic_store(&refuse_notes, false);
  start();
  cr_assert_eq(noted_records, 4);
  cr_assert_eq(stop(), 0);
  cr_assert_eq(files(""), 0);
}

Test(keeper, what_a_file_set_aside_may_have_held_is_noted) {
  start();
  push_many(2);
  crash();
  char path[PATH_MAX + 16];
  (void)snprintf(path, sizeof path, "%s/7-1.segment", dir);
  write_file(path, "TKSJRNL1 and no more", 20);
  start();
  cr_assert_eq(stats().recovered, 2);
  cr_assert_eq(noted_count, 1);
  cr_assert_eq(noted[0].cause, TKS_GAP_RECOVERY);
  cr_assert_eq(noted[0].records, 0, "nobody knows");
  cr_assert_eq(noted[0].from_seq, 1);
  cr_assert_eq(noted[0].to_seq, first_seq - 1, "what this session gives out is not meant");
  (void)stop();
}

Test(keeper, a_note_that_was_refused_is_tried_again_until_the_end) {
  start();
  atomic_store(&refuse_notes, true);
  tks__keeper_note(keeper);
  size_t one = 1;
  cr_assert(wait_until(noted_more, &one));
  size_t so_far = note_count();
  cr_assert_eq(stop(), 0);
  cr_assert_gt(notes, so_far, "at the end once more, without delay");
  cr_assert_eq(noted_count, 0);
}

/* ------------------------------------------------------------------- in memory */

#ifdef MADV_POPULATE_WRITE
static void expect_pages(uint64_t position) {
  enum { PAGES = 8 };
  unsigned char in_core[PAGES];
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  const tks__block *block = tks__journal_block(journal, position);
  cr_assert_geq(block->slot_count * sizeof(tks__slot), PAGES * page);
  cr_assert_eq(mincore((void *)block->slots, PAGES * page, in_core), 0);
  for (int i = 0; i < PAGES; i++) cr_assert(in_core[i] & 1, "page %d", i);
}

/* A put that meets a page fault takes longer than a thousand others. Without the journal, too, and again when memory that was given
 * back after a burst comes into use. */
Test(keeper, blocks_have_their_pages_before_a_producer_gets_there) {
  config.journal = 0;
  config.queue_records = config.backlog_records = 100000;
  start();
  uint64_t block = journal->slot_mask + 1, two_blocks = 2 * block;
  void *probe = mmap(NULL, block * sizeof(tks__slot), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  cr_assert_neq(probe, MAP_FAILED);
  bool known = madvise(probe, block * sizeof(tks__slot), MADV_POPULATE_WRITE) == 0;
  (void)munmap(probe, block * sizeof(tks__slot));
  if (!known) cr_skip_test("this kernel cannot populate memory");
  for (int round = 0; round < 3; round++) {
    cr_assert(wait_until(has_ahead, &two_blocks));
    for (uint64_t p = tks__journal_tail(journal); p < atomic_load(&journal->room_end); p += block) expect_pages(p);
    cr_assert(wait_until(is_full, NULL));
    release_all(); /* more than is kept ready: most of it goes back to the system */
  }
  (void)stop();
}
#endif

Test(keeper, in_memory_there_is_room_for_queue_and_backlog_and_no_file) {
  static const uint32_t sizes[][2] = {{16, 0}, {16, 100}, {1000, 0}, {10000, 100000}};
  config.journal = 0;
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    config.queue_records = sizes[i][0];
    config.backlog_records = sizes[i][1];
    uint64_t room = (uint64_t)config.queue_records + config.backlog_records;
    start();
    push_many(room);
    cr_assert(wait_until(is_full, NULL));
    cr_assert_leq(tks__journal_tail(journal) - stats().first, room + 2 * (journal->slot_mask + 1));
    for (int round = 0; round < 3; round++) {
      release_all();
      push_many(room);
    }
    cr_assert_eq(stats().bytes, 0);
    cr_assert_eq(tks__keeper_save_names(keeper), 0, "there are none to write down");
    cr_assert_eq(stop(), 0);
    cr_assert_not(path_exists(dir));
  }
}
