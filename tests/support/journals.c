#include "support/journals.h"

#include <stdlib.h>
#include <string.h>

static void count_wake(void *context) { atomic_fetch_add(&((test_journal *)context)->wakes, 1); }
static void do_nothing(void *context) { (void)context; }

static tks__segment *new_segment(test_journal *t) {
  uint64_t slot_count = t->journal.slot_mask + 1;
  tks__slot *slots = aligned_alloc(64, slot_count * sizeof *slots);
  if (slots == NULL || t->count == sizeof t->segments / sizeof t->segments[0]) abort();
  memset((void *)slots, 0, slot_count * sizeof *slots);
  tks__segment *segment = tks__segment_in_memory(slots, slot_count);
  if (segment == NULL) abort();
  return t->segments[t->count++] = segment;
}

void journal_set_up(test_journal *t, uint64_t slot_count) {
  t->count = 0;
  atomic_init(&t->wakes, 0);
  if (tks__journal_init(&t->journal, slot_count, sizeof t->segments / sizeof t->segments[0]) != TKS_OK) abort();
  t->journal.wake = count_wake;
  t->journal.wake_context = t;
  t->journal.want_room = do_nothing;
}

void journal_add_recovered(test_journal *t, uint64_t base_seq, const tks__record *records, size_t count) {
  uint64_t position = (t->count + 1) * (t->journal.slot_mask + 1);
  tks__segment *segment = new_segment(t);
  *tks__journal_block(&t->journal, position) = (tks__block){
      .offset = base_seq - position,
      .slots = segment->slots,
      .slot_count = segment->slot_count,
      .segment = segment,
  };
  for (size_t i = 0; i < count; i++) tks__slot_store(&segment->slots[records[i].seq - base_seq], &records[i]);
}

void journal_go_live(test_journal *t, uint64_t first_seq) {
  uint64_t first = t->journal.slot_mask + 1, position = (t->count + 1) * first;
  tks__journal_begin(&t->journal, position, first_seq);
  atomic_init(&t->journal.wake_at, TKS__WAKE_NEVER);
  atomic_init(&t->journal.released, first);
  atomic_init(&t->journal.recycled, first);
  atomic_init(&t->journal.read_to, position);
  journal_grow(t);
}

void journal_tear_down(test_journal *t) {
  for (size_t i = 0; i < t->count; i++) {
    free((void *)t->segments[i]->slots);
    tks__segment_close(t->segments[i], false);
  }
  tks__journal_deinit(&t->journal);
}

void journal_grow(test_journal *t) { tks__journal_add(&t->journal, new_segment(t)); }

tks__slot *journal_slot(test_journal *t, uint64_t position) {
  return &tks__journal_block(&t->journal, position)->slots[position & t->journal.slot_mask];
}

static uint64_t offset_at(test_journal *t, uint64_t position) {
  return tks__journal_block(&t->journal, position)->offset;
}

uint64_t journal_put(test_journal *t, tks__record *record) {
  if (!tks__journal_push(&t->journal, record)) {
    journal_grow(t);
    if (!tks__journal_push(&t->journal, record)) abort();
  }
  return tks__journal_tail(&t->journal) - 1;
}

uint64_t journal_claim(test_journal *t) {
  if (tks__journal_tail(&t->journal) == atomic_load(&t->journal.room_end)) journal_grow(t);
  return atomic_fetch_add(&t->journal.tail, 1);
}

void journal_fill(test_journal *t, uint64_t position, const tks__record *record) {
  tks__record filled = *record;
  filled.seq = position + offset_at(t, position);
  tks__slot_store(journal_slot(t, position), &filled);
}
