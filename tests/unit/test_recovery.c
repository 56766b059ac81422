#include "ingest/recovery.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/memory.h"
#include "support/faults.h"
#include "support/records.h"
#include "support/scratch.h"
#include "support/stores.h"

#define SLOTS 256
static const char ID[] = "0123456789abcdef0123456789abcdef";
static const tks__log silent = {0};

static char *dir;
static tks__symbols symbols;
static tks__names sources;
static tks__recovery recovery;

static void set_up(void) {
  dir = scratch_new();
  cr_assert_eq(tks__symbols_init(&symbols, 100), TKS_OK);
  cr_assert_eq(tks__names_init(&sources, 100), TKS_OK);
}

static void tear_down(void) {
  atomic_store(&tks__fs_fault, NULL);
  (void)allocations_work();
  tks__recovery_free(&recovery);
  tks__symbols_deinit(&symbols);
  tks__names_deinit(&sources);
  scratch_remove(dir);
}

TestSuite(recovery, .init = set_up, .fini = tear_down);

static const char *file(const char *name) {
  static char paths[4][PATH_MAX];
  static int next;
  char *path = paths[next++ % 4];
  (void)snprintf(path, PATH_MAX, "%s/%s", dir, name);
  return path;
}

/* A session that is gone: symbols A, B, C and source "bank" under ids 1, 2, 3 and 1, or (odd) in another order. */
static void leave_names(uint64_t session) {
  tks__names old_symbols, old_sources;
  cr_assert_eq(tks__names_init(&old_symbols, 10), TKS_OK);
  cr_assert_eq(tks__names_init(&old_sources, 10), TKS_OK);
  char path[PATH_MAX];
  (void)snprintf(path, sizeof path, "%s/%llu.names", dir, (unsigned long long)session);
  tks__name_log log;
  cr_assert_eq(tks__name_log_init(&log, path, &old_symbols, &old_sources, &silent), 0);
  uint32_t id;
  const char *names = session % 2 == 0 ? "ABC" : "CBA";
  for (int i = 0; i < 3; i++) cr_assert_eq(tks__names_intern(&old_symbols, names + i, 1, &id), TKS_OK);
  cr_assert_eq(tks__names_intern(&old_sources, "bank", 4, &id), TKS_OK);
  tks__name_log_deinit(&log, false);
  tks__names_deinit(&old_symbols);
  tks__names_deinit(&old_sources);
}

static tks__record quote(uint64_t seq, uint32_t symbol) {
  tks__record record = record_of(seq, symbol);
  record.source = 1;
  record.flags = 0;
  return record;
}

/* A segment with records in slots [0, count), of symbols 1, 2, 3 in turn. */
static tks__segment *begin_segment(const char *name, uint64_t session, uint64_t base_seq, uint64_t count) {
  tks__segment *segment;
  cr_assert_eq(tks__segment_create(file(name), SLOTS, ID, session, &segment), 0);
  tks__segment_assign(segment, base_seq);
  for (uint64_t i = 0; i < count; i++) {
    tks__record record = quote(base_seq + i, 1 + (uint32_t)(i % 3));
    tks__slot_store(&segment->slots[i], &record);
  }
  return segment;
}

static void leave_segment(const char *name, uint64_t session, uint64_t base_seq, uint64_t count) {
  tks__segment_close(begin_segment(name, session, base_seq, count), false);
}

static int load(tks_error *error) {
  const tks__recovery_options options = {
      .dir = dir, .store_id = ID, .symbols = &symbols, .sources = &sources, .log = &silent};
  return tks__recovery_load(&options, &recovery, error);
}

static bool is_set_aside(const char *name) {
  char aside[PATH_MAX];
  (void)snprintf(aside, sizeof aside, "%s/%s.damaged", dir, name);
  struct stat st;
  return lstat(file(name), &st) != 0 && lstat(aside, &st) == 0;
}

Test(recovery, nothing_to_recover) {
  cr_assert_eq(load(NULL), TKS_OK);
  cr_assert_eq(recovery.count, 0);
  cr_assert_eq(recovery.last_session, 0);
  (void)rmdir(dir);
  cr_assert_eq(load(NULL), TKS_OK, "nor a directory");
}

Test(recovery, several_sessions_in_order_with_ids_mapped_anew) {
  uint32_t id;
  cr_assert_eq(tks__names_intern(&symbols.names, "something", 9, &id), TKS_OK);
  cr_assert_eq(tks__names_intern(&sources, "other", 5, &id), TKS_OK);
  leave_names(9);
  leave_names(10);
  leave_segment("10-1.segment", 10, 5000, 7);
  leave_segment("9-2.segment", 9, 2000, SLOTS);
  leave_segment("9-1.segment", 9, 1000, 10);
  cr_assert_eq(load(NULL), TKS_OK);
  cr_assert_eq(recovery.count, 3);
  cr_assert_eq(recovery.records, SLOTS + 17);
  cr_assert_eq(recovery.last_session, 10);
  cr_assert_eq(recovery.slot_count, SLOTS);
  cr_assert_eq(recovery.session_count, 2);
  cr_assert_eq(recovery.torn.records, 0);
  static const uint64_t bases[] = {1000, 2000, 5000};
  for (size_t i = 0; i < 3; i++) {
    const tks__recovered_segment *found = &recovery.segments[i];
    cr_assert_eq(found->base_seq, bases[i]);
    const char *order = i < 2 ? "CBA" : "ABC";
    for (uint32_t old = 1; old <= 3; old++)
      cr_assert_eq(tks__id_map_get(found->ids, TKS__NAMED_SYMBOL, old),
                   tks__names_find(&symbols.names, &order[old - 1], 1));
    cr_assert_eq(tks__id_map_get(found->ids, TKS__NAMED_SOURCE, 1), tks__names_find(&sources, "bank", 4));
  }
  /* Slot 0 of session 10 is A's, and so is slot 3, slot 6: the last. */
  cr_assert_eq(symbols.entries[tks__names_find(&symbols.names, "A", 1)].last_seq, 5006);
  cr_assert_eq(symbols.entries[tks__names_find(&symbols.names, "C", 1)].last_seq, 5005);
}

Test(recovery, overlapping_segments_are_both_there_and_in_order) {
  leave_names(1);
  leave_segment("1-1.segment", 1, 1000, 100);
  leave_segment("1-2.segment", 1, 1000, 50);
  leave_segment("1-3.segment", 1, 1020, 50);
  cr_assert_eq(load(NULL), TKS_OK);
  cr_assert_eq(recovery.count, 3);
  cr_assert_eq(recovery.records, 200);
  cr_assert_eq(recovery.segments[2].base_seq, 1020);
}

Test(recovery, torn_and_stale_and_empty_slots) {
  leave_names(1);
  tks__segment *segment = begin_segment("1-1.segment", 1, 700, 20);
  tks__segment_clear(segment, false);
  tks__segment_assign(segment, 1000);
  for (uint64_t i = 0; i < 10; i++) {
    tks__record record = quote(1000 + i, 1);
    tks__slot_store(&segment->slots[i], &record);
  }
  segment->slots[3].body.ask += 1;           /* torn */
  atomic_store(&segment->slots[5].stamp, 0); /* never finished */
  segment->slots[6].body.symbol = 2;         /* torn */
  for (uint64_t i = 10; i < 20; i++) {       /* what power loss brought back of the use before */
    tks__record record = quote(700 + i, 1);
    tks__slot_store(&segment->slots[i], &record);
  }
  tks__record nameless = quote(1020, 99); /* whole, but nobody knows whose it is */
  tks__slot_store(&segment->slots[20], &nameless);
  nameless = quote(1021, 1);
  nameless.source = 7;
  tks__slot_store(&segment->slots[21], &nameless);
  tks__segment_close(segment, false);
  cr_assert_eq(load(NULL), TKS_OK);
  cr_assert_eq(recovery.records, 7);
  cr_assert_eq(recovery.torn.records, 4);
  cr_assert_eq(recovery.torn.from_seq, 1003);
  cr_assert_eq(recovery.torn.to_seq, 1021);
  cr_assert_eq(recovery.torn.cause, TKS_GAP_RECOVERY);
  cr_assert_gt(recovery.torn.first_ns, 0);
}

Test(recovery, what_is_no_sound_segment_is_set_aside) {
  leave_names(1);
  leave_segment("1-1.segment", 1, 1000, 10);
  write_file(file("1-2.segment"), ID, 16);
  write_file(file("1-3.segment"), "TKSJRNL1", 8);
  write_file(file("1-4.segment"), "something else", 14);
  tks__segment *segment;
  cr_assert_eq(tks__segment_create(file("1-5.segment"), SLOTS, "another store, of thirty-two byte", 1, &segment), 0);
  tks__segment_close(segment, false);
  leave_segment("1-6.segment", 1, 3000, 10);
  size_t length;
  char *bytes = read_file(file("1-6.segment"), &length);
  bytes[offsetof(tks__segment_header, session)] ^= 1;
  write_file(file("1-6.segment"), bytes, length);
  free(bytes);
  cr_assert_eq(symlink("1-1.segment", file("1-7.segment")), 0);
  cr_assert_eq(mkfifo(file("1-8.segment"), 0600), 0);
  cr_assert_eq(mkdir(file("1-9.segment"), 0700), 0);
  tks_error error;
  cr_assert_eq(load(&error), TKS_OK, "%s", error.message);
  cr_assert_eq(recovery.count, 1);
  cr_assert_eq(recovery.records, 10);
  cr_assert_eq(recovery.torn.records, 0);
  cr_assert_eq(recovery.missing.from_seq, 1, "nobody knows what was in them");
  cr_assert_eq(recovery.missing.to_seq, UINT64_MAX);
  cr_assert_eq(recovery.missing.records, 0);
  cr_assert_eq(recovery.missing.cause, TKS_GAP_RECOVERY);
  for (char n = '2'; n <= '9'; n++) {
    char name[] = "1-?.segment";
    name[2] = n;
    cr_assert(is_set_aside(name), "%s", name);
  }
}

Test(recovery, other_files_are_no_loss) {
  leave_names(1);
  tks__segment *segment;
  cr_assert_eq(tks__segment_create(file("1-5.segment"), SLOTS, "another store, of thirty-two byte", 1, &segment), 0);
  tks__segment_close(segment, false);
  cr_assert_eq(mkdir(file("1-9.segment"), 0700), 0);
  cr_assert_eq(load(NULL), TKS_OK);
  cr_assert_eq(recovery.missing.to_seq, 0);
}

/* What is left of it is recovered; what may have been behind is told. */
Test(recovery, a_file_that_was_cut_short) {
  leave_names(1);
  leave_segment("1-1.segment", 1, 1000, SLOTS);
  leave_segment("1-2.segment", 1, 2000, SLOTS);
  leave_segment("1-3.segment", 1, 3000, SLOTS);
  cr_assert_eq(truncate(file("1-2.segment"), TKS__SEGMENT_HEADER_BYTES + 100 * 64 + 30), 0);
  cr_assert_eq(truncate(file("1-3.segment"), TKS__SEGMENT_HEADER_BYTES + 64), 0);
  cr_assert_eq(load(NULL), TKS_OK);
  cr_assert_eq(recovery.count, 3);
  cr_assert_eq(recovery.records, SLOTS + 100 + 1);
  cr_assert_eq(recovery.slot_count, SLOTS);
  cr_assert_eq(recovery.segments[1].segment->slot_count, 100);
  cr_assert_eq(recovery.torn.records, 0);
  cr_assert_eq(recovery.missing.from_seq, 2100);
  cr_assert_eq(recovery.missing.to_seq, 3000 + SLOTS - 1);
  cr_assert_eq(recovery.missing.records, 0);
}

/* Files are looked through by name, in which 10 comes before 9: what is told of spans both all the same. */
Test(recovery, losses_in_files_of_any_order) {
  leave_names(9);
  leave_names(10);
  static const struct {
    const char *name;
    uint64_t session, base_seq;
  } files[] = {{"10-1.segment", 10, 5000}, {"9-1.segment", 9, 1000}};
  for (int i = 0; i < 2; i++) {
    tks__segment *segment = begin_segment(files[i].name, files[i].session, files[i].base_seq, 20);
    segment->slots[3].body.bid += 1;
    tks__segment_close(segment, false);
    cr_assert_eq(truncate(file(files[i].name), TKS__SEGMENT_HEADER_BYTES + 10 * 64), 0);
  }
  cr_assert_eq(load(NULL), TKS_OK);
  cr_assert_eq(recovery.records, 18);
  cr_assert_eq(recovery.torn.records, 2);
  cr_assert_eq(recovery.torn.from_seq, 1003);
  cr_assert_eq(recovery.torn.to_seq, 5003);
  cr_assert_eq(recovery.missing.from_seq, 1010);
  cr_assert_eq(recovery.missing.to_seq, 5000 + SLOTS - 1);
}

static int fail_renames(tks__fs_op op, const char *path) {
  (void)path;
  return op == TKS__FS_RENAME ? EACCES : 0;
}

/* It stays where it is, and is told of again. */
Test(recovery, a_file_that_cannot_be_set_aside) {
  leave_names(1);
  leave_segment("1-1.segment", 1, 1000, 10);
  write_file(file("1-2.segment"), "something else", 14);
  atomic_store(&tks__fs_fault, fail_renames);
  cr_assert_eq(load(NULL), TKS_OK);
  cr_assert_eq(recovery.records, 10);
  cr_assert_eq(recovery.missing.to_seq, UINT64_MAX);
  cr_assert(path_exists(file("1-2.segment")));
  tks__recovery_free(&recovery);
  atomic_store(&tks__fs_fault, NULL);
  cr_assert_eq(load(NULL), TKS_OK);
  cr_assert_eq(recovery.missing.to_seq, UINT64_MAX);
  cr_assert(is_set_aside("1-2.segment"));
}

static char told[512];

static void note_line(void *context, int32_t level, const char *message, size_t length) {
  (void)context;
  if (level == TKS_LOG_WARN) (void)snprintf(told, sizeof told, "%.*s", (int)length, message);
}

static int fail_looks(tks__fs_op op, const char *path) { return op == TKS__FS_READ && path != NULL ? EIO : 0; }

Test(recovery, a_file_without_a_byte_is_told) {
  write_file(file("1-7.segment"), "", 0);
  const tks__log log = {.write = note_line, .level = TKS_LOG_WARN};
  const tks__recovery_options options = {
      .dir = dir, .store_id = ID, .symbols = &symbols, .sources = &sources, .log = &log};
  cr_assert_eq(tks__recovery_load(&options, &recovery, NULL), TKS_OK);
  cr_assert_not_null(strstr(told, "1-7.segment is empty"), "%s", told);
  cr_assert_not(path_exists(file("1-7.segment")));
  write_file(file("1-8.segment"), "", 0);
  atomic_store(&tks__fs_fault, fail_looks);
  cr_assert_eq(tks__recovery_load(&options, &recovery, NULL), TKS_OK);
  cr_assert_null(strstr(told, "1-8.segment"), "nobody knows that it was");
}

Test(recovery, free_and_recordless_files_go_once_the_loss_is_noted) {
  leave_names(1);
  leave_names(2);
  tks__segment *segment = begin_segment("1-1.segment", 1, 1000, 2);
  segment->slots[0].body.bid += 1;
  segment->slots[1].body.bid += 1;
  tks__segment_close(segment, false);
  segment = begin_segment("1-2.segment", 1, 2000, 10);
  tks__segment_clear(segment, false);
  tks__segment_close(segment, false);
  cr_assert_eq(load(NULL), TKS_OK);
  cr_assert_eq(recovery.count, 0);
  cr_assert_eq(recovery.torn.records, 2);
  tks__recovery_free(&recovery);
  cr_assert(path_exists(file("1-1.segment")), "nobody has noted it");
  cr_assert_eq(load(NULL), TKS_OK);
  cr_assert_eq(recovery.torn.records, 2, "told again");
  tks__recovery_discard(&recovery);
  cr_assert_not(path_exists(file("1-1.segment")));
  cr_assert_not(path_exists(file("1-2.segment")));
  cr_assert_not(path_exists(file("1.names")));
  cr_assert_not(path_exists(file("2.names")));
}

Test(recovery, without_names_the_records_are_a_loss_that_is_told) {
  leave_segment("3-1.segment", 3, 1000, 10);
  cr_assert_eq(load(NULL), TKS_OK);
  cr_assert_eq(recovery.count, 0);
  cr_assert_eq(recovery.torn.records, 10);
  cr_assert_eq(recovery.torn.from_seq, 1000);
  cr_assert_eq(recovery.torn.to_seq, 1009);
  size_t length, later;
  char *before = read_file(file("3-1.segment"), &length);
  tks__recovery_discard(&recovery);
  cr_assert(is_set_aside("3-1.segment"), "but they are not destroyed");
  char *after = read_file(file("3-1.segment.damaged"), &later);
  cr_assert(length == later && memcmp(before, after, length) == 0);
  free(before);
  free(after);
  tks__recovery_free(&recovery);
  cr_assert_eq(load(NULL), TKS_OK);
  cr_assert_eq(recovery.torn.records, 0, "told once");
}

Test(recovery, torn_names_cost_their_own_records_alone) {
  leave_names(2);
  leave_segment("2-1.segment", 2, 1000, 9);
  size_t length;
  char *bytes = read_file(file("2.names"), &length);
  memset(bytes + 2 * sizeof(tks__name_entry), 0x5a, 40); /* of symbol 2, which is B */
  write_file(file("2.names"), bytes, length);
  free(bytes);
  cr_assert_eq(load(NULL), TKS_OK);
  cr_assert_eq(recovery.records, 6);
  cr_assert_eq(recovery.torn.records, 3);
  cr_assert_eq(tks__names_find(&symbols.names, "B", 1), 0);
  cr_assert_eq(recovery.segments[0].nameless, 3);
  cr_assert(path_exists(file("2-1.segment")), "the sinks do not have the six yet");
  cr_assert(path_exists(file("2.names")));
  tks__segment_close(recovery.segments[0].segment, true);
  recovery.segments[0].segment = NULL;
  cr_assert(is_set_aside("2-1.segment"));
  tks__recovery_remove_names(dir, recovery.sessions[0]);
  cr_assert(is_set_aside("2.names"));
}

/* Killed between the one and the other, names that nobody else needs still follow their records. */
Test(recovery, names_follow_what_was_set_aside) {
  for (uint64_t session = 1; session <= 4; session++) leave_names(session);
  leave_segment("1-1.segment", 1, 1000, 9);
  cr_assert_eq(rename(file("1-1.segment"), file("1-1.segment.damaged")), 0); /* by the recovery before */
  leave_segment("2-1.segment", 2, 2000, 9);
  write_file(file("2-1.segment"), "something else", 14); /* set aside now */
  tks__segment *segment = begin_segment("3-1.segment", 3, 3000, 0);
  tks__record nameless = quote(3000, 99);
  tks__slot_store(&segment->slots[0], &nameless);
  tks__segment_close(segment, false);
  cr_assert_eq(load(NULL), TKS_OK);
  cr_assert_eq(recovery.count, 0);
  cr_assert(is_set_aside("1.names"));
  cr_assert(is_set_aside("2.names"));
  cr_assert(is_set_aside("3.names"));
  cr_assert_not(path_exists(file("4.names")));
  cr_assert_not(path_exists(file("4.names.damaged")));
}

Test(recovery, numbers_of_files_set_aside_are_not_used_again) {
  write_file(file("41-1.segment.damaged"), "", 0);
  write_file(file("18446744073709551615-1.segment.damaged"), "", 0);
  cr_assert_eq(load(NULL), TKS_OK);
  cr_assert_eq(recovery.last_session, 41);
}

/* ------------------------------------------------------------------- failures */

Test(recovery, a_full_table_loses_nothing) {
  leave_names(1);
  leave_segment("1-1.segment", 1, 1000, 10);
  tks__symbols_deinit(&symbols);
  cr_assert_eq(tks__symbols_init(&symbols, 2), TKS_OK);
  uint64_t before = tree_digest(dir);
  cr_assert_eq(load(NULL), TKS_ETABLEFULL);
  cr_assert_eq(tree_digest(dir), before);
  tks__symbols_deinit(&symbols);
  cr_assert_eq(tks__symbols_init(&symbols, 3), TKS_OK);
  cr_assert_eq(load(NULL), TKS_OK);
  cr_assert_eq(recovery.records, 10);
}

static _Atomic int64_t countdown;
static int fail_at_zero(tks__fs_op op, const char *path) {
  (void)op;
  (void)path;
  return atomic_fetch_sub(&countdown, 1) == 0 ? EIO : 0;
}

/* Each call and each allocation fails once: what was left is still there afterwards, and found by the next attempt. */
Test(recovery, a_failed_attempt_loses_nothing) {
  for (int memory = 0; memory < 2; memory++) {
    for (int64_t n = 0;; n++) {
      scratch_clear(dir);
      leave_names(1);
      leave_names(2);
      leave_names(3);
      leave_segment("1-1.segment", 1, 1000, 10);
      tks__segment *torn = begin_segment("1-2.segment", 1, 2000, 1);
      torn->slots[0].body.bid += 1;
      tks__segment_close(torn, false);
      for (char i = '0'; i <= '9'; i++) {
        char name[] = "2-?.segment";
        name[2] = i;
        leave_segment(name, 2, 3000 + (uint64_t)i * SLOTS, 5);
      }
      uint64_t before = tree_digest(dir);
      atomic_store(&countdown, n);
      if (memory) fail_allocation((uint64_t)n);
      else atomic_store(&tks__fs_fault, fail_at_zero);
      int code = load(NULL);
      atomic_store(&tks__fs_fault, NULL);
      bool failed = memory ? allocations_work() : atomic_load(&countdown) < 0;
      if (code != TKS_OK) {
        cr_assert_eq(code, memory ? TKS_ENOMEM : TKS_EIO);
        cr_assert_null(recovery.segments);
        cr_assert_null(recovery.spent);
        cr_assert_eq(tree_digest(dir), before, "%s %lld", memory ? "allocation" : "call", (long long)n);
        cr_assert_eq(load(NULL), TKS_OK);
      }
      cr_assert_eq(recovery.records, 60);
      cr_assert_eq(recovery.torn.records, 1);
      tks__recovery_free(&recovery);
      if (!failed) {
        cr_assert_gt(n, 20);
        break;
      }
    }
  }
}
