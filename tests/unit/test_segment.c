#include "ingest/segment.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
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
#define FILE_BYTES (TKS__SEGMENT_HEADER_BYTES + SLOTS * 64)
static const char ID[] = "0123456789abcdef0123456789abcdef";
static const char OTHER_ID[] = "0123456789abcdef0123456789abcdee";

static char *dir;
static char path[PATH_MAX];

static void set_up(void) {
  dir = scratch_new();
  (void)snprintf(path, sizeof path, "%s/1-1.segment", dir);
}

static void tear_down(void) {
  atomic_store(&tks__fs_fault, NULL);
  (void)allocations_work();
  scratch_remove(dir);
}

TestSuite(segment, .init = set_up, .fini = tear_down);

static tks__segment *create(void) {
  tks__segment *segment = NULL;
  cr_assert_eq(tks__segment_create(path, SLOTS, ID, 7, &segment), 0);
  return segment;
}

static tks__record put(tks__segment *segment, uint64_t i, uint64_t seq) {
  tks__record record = record_of(seq, 3);
  record.source = 1;
  record.flags = 0;
  tks__slot_store(&segment->slots[i], &record);
  return record;
}

static bool holds(const tks__segment *segment, uint64_t i, uint64_t seq) {
  tks__record record;
  uint64_t stamp = tks__slot_stamp(&segment->slots[i]);
  return stamp != 0 && tks__slot_load(&segment->slots[i], stamp, seq, &record) && record.recv_ns == (int64_t)seq;
}

Test(segment, a_new_file_has_all_its_blocks_and_is_empty) {
  tks__segment *segment = create();
  struct stat st;
  cr_assert_eq(stat(path, &st), 0);
  cr_assert_eq(st.st_size, FILE_BYTES);
  cr_assert_geq((int64_t)st.st_blocks * 512, FILE_BYTES, "no disk can fill up under a mapped page");
  for (uint64_t i = 0; i < SLOTS; i++) cr_assert_eq(tks__slot_stamp(&segment->slots[i]), 0);
  cr_assert_eq(tks__segment_head(segment)->base_seq, 0);
  cr_assert_eq((uintptr_t)segment->slots % 64, 0);
  tks__segment_touch(segment);
  tks__segment_close(segment, true);
  cr_assert_not(path_exists(path));
  tks__segment_close(NULL, true);
}

Test(segment, what_was_stored_is_found_without_any_sync) {
  tks__segment *segment = create();
  tks__segment_assign(segment, 1000);
  for (uint64_t i = 0; i < SLOTS; i += 3) (void)put(segment, i, 1000 + i);
  tks__segment_close(segment, false);
  cr_assert_eq(tks__segment_open(path, ID, &segment), 0);
  cr_assert_eq(segment->slot_count, SLOTS);
  const tks__segment_header *header = tks__segment_head(segment);
  cr_assert_eq(header->base_seq, 1000);
  cr_assert_eq(header->stale_seq, 0);
  cr_assert_eq(header->session, 7);
  for (uint64_t i = 0; i < SLOTS; i++) cr_assert_eq(holds(segment, i, 1000 + i), i % 3 == 0);
  tks__segment_close(segment, true);
}

Test(segment, a_second_use_remembers_the_first) {
  tks__segment *segment = create();
  tks__segment_assign(segment, 1000);
  (void)put(segment, 0, 1000);
  tks__segment_clear(segment, false);
  cr_assert_eq(tks__segment_head(segment)->base_seq, 0);
  cr_assert_eq(tks__segment_head(segment)->stale_seq, 1000);
  for (uint64_t i = 0; i < SLOTS; i++) cr_assert_eq(tks__slot_stamp(&segment->slots[i]), 0);
  tks__segment_assign(segment, 5000);
  cr_assert_eq(tks__segment_head(segment)->base_seq, 5000);
  cr_assert_eq(tks__segment_head(segment)->stale_seq, 1000);
  tks__segment_close(segment, false);
  cr_assert_eq(tks__segment_open(path, ID, &segment), 0, "the header is sound");
  tks__segment_close(segment, false);
}

/* Killed between the two stores of the number: either of them at 0 says that nothing is in it. Two that differ are no such file. */
Test(segment, a_number_that_is_stored_by_half_is_none) {
  static const struct {
    uint64_t base_seq, base_again;
    int opens;
  } cases[] = {{1000, 1000, 0}, {0, 1000, ENODATA}, {1000, 0, ENODATA}, {0, 0, ENODATA}, {1000, 1001, EBADMSG}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    tks__segment *segment = create();
    tks__segment_header *header = segment->memory;
    header->base_seq = cases[i].base_seq;
    header->base_again = cases[i].base_again;
    cr_assert_eq(tks__segment_base(segment), cases[i].opens == 0 ? 1000 : 0, "case %zu", i);
    tks__segment_close(segment, false);
    int rc = tks__segment_open(path, ID, &segment);
    cr_assert_eq(rc, cases[i].opens, "case %zu: %d", i, rc);
    if (rc == 0) tks__segment_close(segment, false);
    cr_assert_eq(unlink(path), 0);
  }
}

Test(segment, in_memory) {
  tks__slot *slots = tks__reserve(SLOTS * sizeof *slots);
  cr_assert_not_null(slots);
  for (int give_back = 0; give_back < 2; give_back++) {
    tks__segment *segment = tks__segment_in_memory(slots, SLOTS);
    cr_assert_not_null(segment);
    tks__segment_touch(segment);
    tks__segment_assign(segment, 1000);
    (void)put(segment, 9, 1009);
    cr_assert(holds(segment, 9, 1009));
    cr_assert_eq(tks__segment_sync(segment, 0, SLOTS), 0);
    tks__segment_clear(segment, give_back != 0);
    for (uint64_t i = 0; i < SLOTS; i++) cr_assert_eq(tks__slot_stamp(&slots[i]), 0);
    tks__segment_close(segment, true);
  }
  fail_allocations();
  cr_assert_null(tks__segment_in_memory(slots, SLOTS));
  cr_assert(allocations_work());
  tks__unreserve(slots, SLOTS * sizeof *slots);
}

/* A segment may be smaller than a page; what lies behind it is another's. */
Test(segment, giving_memory_back_takes_none_of_the_neighbours) {
  enum { SMALL = 16 };
  tks__slot *slots = tks__reserve(8 * SMALL * sizeof *slots);
  tks__segment *segments[8];
  for (uint64_t i = 0; i < 8; i++) {
    segments[i] = tks__segment_in_memory(slots + i * SMALL, SMALL);
    (void)put(segments[i], 3, i);
  }
  for (uint64_t i = 0; i < 8; i++) {
    tks__segment_clear(segments[i], true);
    for (uint64_t j = 0; j < 8; j++) cr_assert_eq(holds(segments[j], 3, j), j > i);
  }
  for (uint64_t i = 0; i < 8; i++) tks__segment_close(segments[i], false);
  tks__unreserve(slots, 8 * SMALL * sizeof *slots);
}

/* ------------------------------------------------------------------- files that are none */

static char *sound_file(void) {
  tks__segment *segment = create();
  tks__segment_assign(segment, 1000);
  tks__segment_close(segment, false);
  size_t length;
  char *bytes = read_file(path, &length);
  cr_assert_eq(length, FILE_BYTES);
  return bytes;
}

static int open_it(void) {
  tks__segment *segment = NULL;
  int rc = tks__segment_open(path, ID, &segment);
  if (rc == 0) tks__segment_close(segment, false);
  return rc;
}

Test(segment, every_flipped_bit_of_the_header_shows) {
  char *bytes = sound_file();
  /* The stale number behind it only spares false alarms. */
  for (size_t bit = 0; bit < offsetof(tks__segment_header, stale_seq) * 8; bit++) {
    bytes[bit / 8] = (char)(bytes[bit / 8] ^ 1 << bit % 8);
    write_file(path, bytes, FILE_BYTES);
    int rc = open_it();
    cr_assert_eq(rc, EBADMSG, "bit %zu: %d", bit, rc);
    bytes[bit / 8] = (char)(bytes[bit / 8] ^ 1 << bit % 8);
  }
  write_file(path, bytes, FILE_BYTES);
  cr_assert_eq(open_it(), 0);
  free(bytes);
}

/* A header whose checksum holds, and that says something else. */
static int open_with(void (*change)(tks__segment_header *header)) {
  char *bytes = sound_file();
  tks__segment_header header;
  memcpy(&header, bytes, sizeof header);
  change(&header);
  size_t from = offsetof(tks__segment_header, byte_order);
  header.check = XXH3_64bits((const char *)&header + from, offsetof(tks__segment_header, check) - from);
  memcpy(bytes, &header, sizeof header);
  write_file(path, bytes, FILE_BYTES);
  free(bytes);
  int rc = open_it();
  cr_assert_eq(unlink(path), 0);
  return rc;
}

static void nothing(tks__segment_header *header) { (void)header; }
static void no_slots(tks__segment_header *header) { header->slot_count = 0; }
static void odd_slots(tks__segment_header *header) { header->slot_count = SLOTS - 1; }
static void more_slots(tks__segment_header *header) { header->slot_count = 2 * SLOTS; }
static void huge_slots(tks__segment_header *header) { header->slot_count = UINT64_C(1) << 63; }
static void overflowing_slots(tks__segment_header *header) { header->slot_count = UINT64_C(1) << 58; }
static void fewer_slots(tks__segment_header *header) { header->slot_count = SLOTS / 2; }
static void other_store(tks__segment_header *header) { memcpy(header->store_id, OTHER_ID, 32); }
static void other_order(tks__segment_header *header) { header->byte_order = 0x04030201; }
static void no_order(tks__segment_header *header) { header->byte_order = 7; }
static void other_slots(tks__segment_header *header) { header->slot_bytes = 128; }
static void other_version(tks__segment_header *header) { header->magic ^= 1; }

Test(segment, only_what_can_be_mapped_and_is_ours_opens) {
  cr_assert_eq(open_with(nothing), 0);
  cr_assert_eq(open_with(fewer_slots), 0, "a longer file does no harm");
  cr_assert_eq(open_with(no_slots), EBADMSG);
  cr_assert_eq(open_with(odd_slots), EBADMSG);
  cr_assert_eq(open_with(more_slots), 0, "nor does a shorter one");
  cr_assert_eq(open_with(huge_slots), EBADMSG);
  cr_assert_eq(open_with(overflowing_slots), EBADMSG);
  cr_assert_eq(open_with(other_version), EBADMSG);
  cr_assert_eq(open_with(other_store), ENOMSG);
  cr_assert_eq(open_with(other_order), ENOMSG);
  cr_assert_eq(open_with(no_order), ENOMSG);
  cr_assert_eq(open_with(other_slots), ENOMSG);
}

/* Of a file that was cut short what is there can be read, and no more is mapped. */
Test(segment, a_shorter_file) {
  char *bytes = sound_file();
  static const size_t lengths[] = {0, 1, 8, sizeof(tks__segment_header) - 1, 4095, 4096, 4159, 4160, FILE_BYTES - 1};
  for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
    write_file(path, bytes, lengths[i]);
    int expected = lengths[i] == 0 ? ENODATA : lengths[i] < 4160 ? EBADMSG : 0;
    tks__segment *segment;
    int rc = tks__segment_open(path, ID, &segment);
    cr_assert_eq(rc, expected, "%zu bytes", lengths[i]);
    if (rc != 0) continue;
    cr_assert_eq(segment->slot_count, (lengths[i] - 4096) / 64);
    cr_assert_eq(tks__segment_head(segment)->slot_count, SLOTS);
    cr_assert_leq(segment->bytes, lengths[i]);
    tks__segment_close(segment, false);
  }
  free(bytes);
}

Test(segment, follows_no_link_and_waits_for_no_fifo) {
  free(sound_file());
  char elsewhere[PATH_MAX];
  (void)snprintf(elsewhere, sizeof elsewhere, "%s/elsewhere", dir);
  cr_assert_eq(rename(path, elsewhere), 0);
  cr_assert_eq(open_it(), ENOENT);
  cr_assert_eq(symlink(elsewhere, path), 0);
  cr_assert_eq(open_it(), ELOOP);
  tks__segment *segment;
  cr_assert_neq(tks__segment_create(path, SLOTS, ID, 7, &segment), 0, "nor does it write through one");
  cr_assert_eq(unlink(path), 0);
  cr_assert_eq(mkfifo(path, 0600), 0);
  cr_assert_neq(open_it(), 0);
}

/* ------------------------------------------------------------------- failures */

static _Atomic int64_t countdown;
static _Atomic int fault_errno;
static int fail_at_zero(tks__fs_op op, const char *file) {
  (void)op;
  (void)file;
  return atomic_fetch_sub(&countdown, 1) == 0 ? atomic_load(&fault_errno) : 0;
}

/* Arms the n-th call or allocation; false once `n` is beyond the last one. */
static void arm(int64_t n, bool memory) {
  if (memory) {
    fail_allocation((uint64_t)n);
    return;
  }
  atomic_store(&fault_errno, ENOSPC);
  atomic_store(&countdown, n);
  atomic_store(&tks__fs_fault, fail_at_zero);
}

static bool disarm(bool memory) {
  if (memory) return allocations_work();
  atomic_store(&tks__fs_fault, NULL);
  return atomic_load(&countdown) < 0;
}

Test(segment, a_failed_creation_leaves_nothing) {
  for (int memory = 0; memory < 2; memory++) {
    for (int64_t n = 0;; n++) {
      tks__segment *segment;
      arm(n, memory);
      int rc = tks__segment_create(path, SLOTS, ID, 7, &segment);
      if (!disarm(memory)) {
        cr_assert_eq(rc, 0);
        cr_assert_gt(n, 1);
        tks__segment_close(segment, true);
        break;
      }
      cr_assert_eq(rc, memory ? ENOMEM : ENOSPC);
      cr_assert_not(path_exists(path));
    }
  }
  tks__segment *segment = create(), *second;
  cr_assert_eq(tks__segment_create(path, SLOTS, ID, 7, &second), EEXIST);
  cr_assert(path_exists(path), "and what was there stays");
  tks__segment_close(segment, true);
}

Test(segment, a_failed_opening_changes_nothing) {
  free(sound_file());
  for (int memory = 0; memory < 2; memory++) {
    for (int64_t n = 0;; n++) {
      uint64_t before = tree_digest(dir);
      tks__segment *segment;
      arm(n, memory);
      int rc = tks__segment_open(path, ID, &segment);
      if (!disarm(memory)) {
        cr_assert_eq(rc, 0);
        cr_assert_gt(n, 1);
        tks__segment_close(segment, false);
        break;
      }
      cr_assert_eq(rc, memory ? ENOMEM : ENOSPC);
      cr_assert_eq(tree_digest(dir), before);
    }
  }
}

/* Through a mapping a block that the disk cannot read is no error but the end of the process. */
static _Atomic int64_t reads;
static int fail_the_records(tks__fs_op op, const char *file) {
  return op == TKS__FS_READ && file == NULL && atomic_fetch_add(&reads, 1) > 0 ? EIO : 0;
}

Test(segment, what_cannot_be_read_is_not_mapped) {
  free(sound_file());
  atomic_store(&tks__fs_fault, fail_the_records);
  tks__segment *segment;
  cr_assert_eq(tks__segment_open(path, ID, &segment), EIO);
  atomic_store(&tks__fs_fault, NULL);
  cr_assert_eq(tks__segment_open(path, ID, &segment), 0);
  tks__segment_close(segment, false);
}

static _Atomic int syncs;
static int count_syncs(tks__fs_op op, const char *file) {
  (void)file;
  if (op == TKS__FS_SYNC) atomic_fetch_add(&syncs, 1);
  return 0;
}

Test(segment, a_header_is_synced_with_its_first_records_and_when_it_changed) {
  tks__segment *segment = create();
  tks__segment_assign(segment, 1000);
  atomic_store(&tks__fs_fault, count_syncs);
  cr_assert_eq(tks__segment_sync(segment, 0, 10), 0);
  cr_assert_eq(syncs, 2);
  cr_assert_eq(tks__segment_sync(segment, 10, SLOTS), 0);
  cr_assert_eq(syncs, 3);
  tks__segment_clear(segment, false);
  tks__segment_assign(segment, 2000);
  cr_assert_eq(tks__segment_sync(segment, 0, 0), 0);
  cr_assert_eq(syncs, 4);
  tks__segment_clear(segment, false);
  tks__segment_assign(segment, 3000);
  for (int64_t n = 0; n < 2; n++) {
    arm(n, false);
    cr_assert_eq(tks__segment_sync(segment, 0, 10), ENOSPC);
    (void)disarm(false);
    cr_assert_eq(segment->header_synced, n == 1, "what failed does not count");
  }
  tks__segment_close(segment, true);
}
