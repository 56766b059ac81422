#include "ingest/journal.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <sched.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/memory.h"
#include "support/faults.h"
#include "support/random.h"
#include "support/records.h"
#include "support/threads.h"
#include "support/wait.h"

#define FIRST_SEQ 1000
#define BLOCK 16 /* slots */
#define LIMIT_NS (WAIT_LIMIT_S * INT64_C(1000000000))
#define SEGMENTS_MAX 16

static void tear_down(void) { (void)allocations_work(); }

TestSuite(journal, .fini = tear_down);

/* A journal in memory, with what the keeper does done by hand. */
typedef struct bench {
  tks__journal journal;
  tks__segment *segments[SEGMENTS_MAX]; /* all */
  tks__segment *spares[SEGMENTS_MAX];
  size_t count, spare_count;
  tks__slot *slots;
  uint64_t first; /* position of the first block that is in place */
  _Atomic uint32_t wakes, wants;
} bench;

static void on_wake(void *context) { atomic_fetch_add(&((bench *)context)->wakes, 1); }
static void on_want_room(void *context) { atomic_fetch_add(&((bench *)context)->wants, 1); }

static bench *bench_new(size_t segments) {
  bench *b = aligned_alloc(64, sizeof *b);
  memset(b, 0, sizeof *b);
  cr_assert_eq(tks__journal_init(&b->journal, BLOCK, segments), TKS_OK);
  b->journal.wake = on_wake;
  b->journal.want_room = on_want_room;
  b->journal.wake_context = b->journal.want_room_context = b;
  b->count = segments;
  b->slots = tks__reserve(segments * BLOCK * sizeof *b->slots);
  for (size_t i = 0; i < segments; i++)
    b->spares[b->spare_count++] = b->segments[i] = tks__segment_in_memory(b->slots + i * BLOCK, BLOCK);
  tks__journal_begin(&b->journal, BLOCK, FIRST_SEQ);
  atomic_init(&b->journal.released, BLOCK);
  atomic_init(&b->journal.recycled, BLOCK);
  b->first = BLOCK;
  return b;
}

static void bench_free(bench *b) {
  for (size_t i = 0; i < b->count; i++) tks__segment_close(b->segments[i], false);
  tks__unreserve(b->slots, b->count * BLOCK * sizeof *b->slots);
  tks__journal_deinit(&b->journal);
  free(b);
}

static bool add_block(bench *b) {
  if (b->spare_count == 0) return false;
  tks__journal_add(&b->journal, b->spares[--b->spare_count]);
  return true;
}

static bool take_back(bench *b) {
  if (b->first + BLOCK > atomic_load(&b->journal.released)) return false;
  tks__segment *segment = tks__journal_take_back(&b->journal, b->first);
  if (segment == NULL) return false;
  b->first += BLOCK;
  tks__segment_clear(segment, b->first % (2 * BLOCK) == 0);
  b->spares[b->spare_count++] = segment;
  return true;
}

/* What a slot can hold. */
static tks__record quote(uint64_t number, uint32_t symbol) {
  tks__record record = record_of(number, symbol);
  record.source &= 0xffff;
  record.flags &= 0xffff00ff;
  return record;
}

static bool is_whole(const tks__record *record) {
  tks__record expected = quote((uint64_t)record->recv_ns, record->symbol);
  expected.seq = record->seq;
  return memcmp(&expected, record, sizeof expected) == 0;
}

static uint64_t push(bench *b, uint64_t number) {
  tks__record record = quote(number, 5);
  cr_assert(tks__journal_push(&b->journal, &record));
  return record.seq;
}

static bool has_no_room(bench *b) {
  tks__record record = quote(1, 1);
  return !tks__journal_push(&b->journal, &record);
}

/* ------------------------------------------------------------ order and room */

Test(journal, gives_out_positions_and_keeps_order) {
  bench *b = bench_new(4);
  tks__record records[4 * BLOCK];
  tks__journal_part part;
  cr_assert(has_no_room(b), "no block yet");
  cr_assert(add_block(b) && add_block(b));
  tks__journal_read(&b->journal, BLOCK, 10, records, &part);
  cr_assert_eq(part.count, 0);
  cr_assert_eq(part.through, BLOCK);
  for (uint64_t i = 0; i < 2 * BLOCK; i++) cr_assert_eq(push(b, i), FIRST_SEQ + i);
  cr_assert(has_no_room(b));
  cr_assert_eq(tks__journal_tail(&b->journal), 3 * BLOCK, "a refused push takes no position");
  cr_assert_eq(tks__journal_end_seq(&b->journal), FIRST_SEQ + 2 * BLOCK);
  tks__journal_read(&b->journal, BLOCK, BLOCK + 3, records, &part);
  cr_assert_eq(part.count, BLOCK + 3);
  cr_assert_eq(part.through, 2 * BLOCK + 3);
  tks__journal_read(&b->journal, part.through, 100, records + BLOCK + 3, &part);
  cr_assert_eq(part.count, BLOCK - 3);
  for (uint64_t i = 0; i < 2 * BLOCK; i++) {
    cr_assert_eq(records[i].seq, FIRST_SEQ + i);
    cr_assert_eq(records[i].recv_ns, (int64_t)i);
    cr_assert(is_whole(&records[i]));
  }
  cr_assert_eq(part.holes + part.damaged, 0);
  /* The same place again: reading takes nothing away. */
  tks__journal_read(&b->journal, BLOCK, 1, records, &part);
  cr_assert_eq(part.count, 1);
  cr_assert_eq(records[0].seq, FIRST_SEQ);
  bench_free(b);
}

Test(journal, has_place_for_all_blocks_there_may_be) {
  static const uint64_t counts[] = {1, 3, 4, 5, 8, 31, 32, 33, 1000};
  for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
    tks__journal *journal = aligned_alloc(64, sizeof *journal);
    cr_assert_eq(tks__journal_init(journal, 16384, counts[i]), TKS_OK);
    cr_assert_eq(journal->slot_mask, 16383);
    cr_assert_gt(journal->block_mask + 1, counts[i]);
    cr_assert_eq(journal->block_mask & (journal->block_mask + 1), 0);
    tks__journal_deinit(journal);
    fail_allocations();
    cr_assert_eq(tks__journal_init(journal, 16384, counts[i]), TKS_ENOMEM);
    cr_assert(allocations_work());
    free(journal);
  }
}

Test(journal, asks_for_room_once_a_block) {
  bench *b = bench_new(4);
  while (add_block(b)) {
  }
  for (uint64_t i = 0; i < 4 * BLOCK; i++) {
    (void)push(b, i);
    cr_assert_eq(b->wants, i / BLOCK + 1);
  }
  uint32_t wants = b->wants;
  tks__journal_release(&b->journal, 2 * BLOCK - 1, 5 * BLOCK);
  cr_assert_eq(b->wants, wants);
  tks__journal_release(&b->journal, 2 * BLOCK, 5 * BLOCK);
  cr_assert_eq(b->wants, wants + 1, "a block can be taken back");
  tks__journal_release(&b->journal, 2 * BLOCK + 1, 5 * BLOCK);
  cr_assert_eq(b->wants, wants + 1);
  cr_assert_eq(b->journal.read_to, 5 * BLOCK);
  bench_free(b);
}

/* ------------------------------------------------------------------- losses */

Test(journal, a_lost_record_has_a_sequence_number_and_no_position) {
  bench *b = bench_new(4);
  tks__record records[BLOCK];
  tks__journal_part part;
  tks__loss loss;
  cr_assert(add_block(b));
  cr_assert_eq(tks__journal_lose(&b->journal, 3), 0, "there is room");
  cr_assert_not(tks__journal_take_loss(&b->journal, &loss));
  for (uint64_t i = 0; i < BLOCK; i++) (void)push(b, i);
  uint32_t wants = b->wants;
  int64_t before_ns = tks__clock_now_ns();
  atomic_store(&b->journal.loss_cause, TKS_GAP_JOURNAL);
  for (uint64_t i = 0; i < 3; i++) cr_assert_eq(tks__journal_lose(&b->journal, 7), FIRST_SEQ + BLOCK + i);
  cr_assert_eq(b->wants, wants + 1, "the keeper hears of a run once");
  cr_assert_eq(tks__journal_tail(&b->journal), 2 * BLOCK);
  cr_assert_eq(tks__journal_end_seq(&b->journal), FIRST_SEQ + BLOCK + 3);
  cr_assert_eq(tks__journal_seq_at(&b->journal, 2 * BLOCK - 1), FIRST_SEQ + BLOCK - 1);
  cr_assert_eq(tks__journal_seq_at(&b->journal, 2 * BLOCK), FIRST_SEQ + BLOCK + 3,
               "all lower ones are in place or lost");
  tks__journal_counts counts = tks__journal_count(&b->journal);
  cr_assert_eq(counts.tail, 2 * BLOCK);
  cr_assert_eq(counts.end_seq, FIRST_SEQ + BLOCK + 3);
  cr_assert_eq(counts.dropped, 3);
  cr_assert(tks__journal_take_loss(&b->journal, &loss));
  cr_assert_eq(loss.from_seq, FIRST_SEQ + BLOCK);
  cr_assert_eq(loss.to_seq, FIRST_SEQ + BLOCK + 2);
  cr_assert_eq(loss.records, 3);
  cr_assert_eq(loss.symbol, 7);
  cr_assert_eq(loss.cause, TKS_GAP_JOURNAL);
  cr_assert(loss.first_ns >= before_ns && loss.first_ns <= loss.last_ns);
  cr_assert_not(tks__journal_take_loss(&b->journal, &loss), "once");
  /* The run goes on as a new one, of several symbols now. */
  atomic_store(&b->journal.loss_cause, TKS_GAP_FULL);
  (void)tks__journal_lose(&b->journal, 7);
  (void)tks__journal_lose(&b->journal, 8);
  (void)tks__journal_lose(&b->journal, 7);
  cr_assert_eq(b->wants, wants + 2);
  cr_assert(tks__journal_take_loss(&b->journal, &loss));
  cr_assert_eq(loss.from_seq, FIRST_SEQ + BLOCK + 3);
  cr_assert_eq(loss.records, 3);
  cr_assert_eq(loss.symbol, 0);
  cr_assert_eq(loss.cause, TKS_GAP_FULL);
  /* What comes behind is numbered on. */
  cr_assert(add_block(b));
  cr_assert_eq(tks__journal_lose(&b->journal, 7), 0);
  cr_assert_eq(push(b, 99), FIRST_SEQ + BLOCK + 6);
  tks__journal_read(&b->journal, 2 * BLOCK - 1, BLOCK, records, &part);
  cr_assert_eq(part.count, 2);
  cr_assert_eq(records[0].seq, FIRST_SEQ + BLOCK - 1);
  cr_assert_eq(records[1].seq, FIRST_SEQ + BLOCK + 6);
  bench_free(b);
}

/* ------------------------------------------------------------------- reading */

/* As a producer that was interrupted between claiming its place and filling it. */
static uint64_t claim(bench *b) { return atomic_fetch_add(&b->journal.tail, 1); }

static void fill(bench *b, uint64_t position, uint64_t number) {
  const tks__block *block = tks__journal_block(&b->journal, position);
  tks__record record = quote(number, 5);
  record.seq = position + block->offset;
  tks__slot_store(&block->slots[position & b->journal.slot_mask], &record);
}

static const tks__journal_filter ALL = {.from_ns = INT64_MIN, .to_ns = INT64_MAX, .max_seq = UINT64_MAX};

static bool count_visit(void *context, const tks__record *record) {
  (void)record;
  ++*(uint64_t *)context;
  return true;
}

static uint64_t count_scan(bench *b, uint64_t from, const tks__journal_filter *filter) {
  uint64_t count = 0;
  tks__journal_scan(&b->journal, from, filter, count_visit, &count);
  return count;
}

Test(journal, a_sink_stops_at_a_claimed_place_and_a_scan_passes_it) {
  bench *b = bench_new(2);
  tks__record records[BLOCK];
  tks__journal_part part;
  cr_assert(add_block(b));
  (void)push(b, 1);
  uint64_t claimed = claim(b);
  (void)push(b, 3);
  tks__journal_read(&b->journal, BLOCK, BLOCK, records, &part);
  cr_assert_eq(part.count, 1);
  cr_assert_eq(part.through, claimed);
  cr_assert_eq(count_scan(b, 0, &ALL), 2, "accepted are those that were put to the end");
  fill(b, claimed, 2);
  tks__journal_read(&b->journal, part.through, BLOCK, records, &part);
  cr_assert_eq(part.count, 2);
  cr_assert_eq(records[0].recv_ns, 2);
  cr_assert_eq(count_scan(b, 0, &ALL), 3);
  bench_free(b);
}

Test(journal, an_overwritten_record_is_passed_and_counted) {
  bench *b = bench_new(2);
  tks__record records[BLOCK];
  tks__journal_part part;
  cr_assert(add_block(b));
  for (uint64_t i = 0; i < 5; i++) (void)push(b, i);
  b->slots[tks__journal_block(&b->journal, BLOCK)->slots - b->slots + 2].body.bid += 1;
  tks__journal_read(&b->journal, BLOCK, BLOCK, records, &part);
  cr_assert_eq(part.count, 4);
  cr_assert_eq(part.damaged, 1);
  cr_assert_eq(part.holes, 0);
  cr_assert_eq(part.through, BLOCK + 5);
  cr_assert_eq(count_scan(b, 0, &ALL), 4);
  bench_free(b);
}

/* Two recovered segments before the live one: of other sizes, with holes, with ids of their own. */
Test(journal, recovered_blocks_have_holes_and_old_ids) {
  enum { SMALL = 4 };
  bench *b = bench_new(3);
  uint32_t symbols[] = {0, 0, 9, 0}, sources[] = {0, 4};
  tks__id_map ids = {.ids = {symbols, sources}, .counts = {4, 2}};
  tks__slot *slots = tks__reserve(4096);
  for (uint64_t i = 0; i < SMALL; i++) {
    tks__record record = quote(i, 2);
    record.seq = 500 + i;
    record.source = i == 1 ? 1 : 0;
    if (i == 3) record.symbol = 3; /* a name that nobody knows any more */
    if (i != 2) tks__slot_store(&slots[i], &record);
  }
  *tks__journal_block(&b->journal, BLOCK) =
      (tks__block){.offset = 500 - BLOCK, .slots = slots, .slot_count = SMALL, .ids = &ids};
  tks__journal_begin(&b->journal, 2 * BLOCK, FIRST_SEQ);
  cr_assert(add_block(b));
  cr_assert_eq(push(b, 77), FIRST_SEQ);
  tks__record records[2 * BLOCK];
  tks__journal_part part;
  tks__journal_read(&b->journal, BLOCK, 2 * BLOCK, records, &part);
  cr_assert_eq(part.count, 3);
  cr_assert_eq(part.holes, BLOCK - 2);
  cr_assert_eq(part.damaged, 0);
  cr_assert_eq(part.through, 2 * BLOCK + 1);
  cr_assert_eq(tks__journal_holes(&b->journal, BLOCK, 2 * BLOCK), part.holes, "what cannot be read is a hole here too");
  cr_assert_eq(records[0].seq, 500);
  cr_assert_eq(records[0].symbol, 9);
  cr_assert_eq(records[0].source, 0);
  cr_assert_eq(records[1].seq, 501);
  cr_assert_eq(records[1].source, 4);
  cr_assert_eq(records[2].seq, FIRST_SEQ);
  cr_assert_eq(records[2].symbol, 5, "live ids are what they say");
  tks__journal_filter of_nine = ALL;
  of_nine.symbol = 9;
  cr_assert_eq(count_scan(b, 0, &of_nine), 2, "by today's id");
  of_nine.symbol = 2;
  cr_assert_eq(count_scan(b, 0, &of_nine), 0);
  cr_assert_eq(tks__journal_seq_at(&b->journal, BLOCK + 1), 501);
  cr_assert_eq(tks__journal_seq_at(&b->journal, 2 * BLOCK), FIRST_SEQ);
  tks__unreserve(slots, 4096);
  bench_free(b);
}

/* The last block of a session that closed with records kept is not full, and the next session's numbers go on where its records
 * end: those of its empty places are given out again. */
Test(journal, behind_a_recovered_block_come_the_numbers_of_this_session) {
  bench *b = bench_new(3);
  tks__id_map ids = {.ids = {(uint32_t[]){0, 7}, NULL}, .counts = {2, 0}};
  tks__slot *slots = tks__reserve(BLOCK * sizeof *slots);
  tks__record kept = quote(1, 1);
  kept.seq = FIRST_SEQ - 1;
  kept.source = 0;
  tks__slot_store(&slots[0], &kept);
  *tks__journal_block(&b->journal, BLOCK) =
      (tks__block){.offset = FIRST_SEQ - 1 - BLOCK, .slots = slots, .slot_count = BLOCK, .ids = &ids};
  tks__journal_begin(&b->journal, 2 * BLOCK, FIRST_SEQ);
  cr_assert(add_block(b));
  tks__record records[BLOCK];
  tks__journal_part part;
  tks__journal_read(&b->journal, BLOCK, BLOCK, records, &part);
  cr_assert_eq(part.count, 1);
  cr_assert_eq(part.through, 2 * BLOCK);
  cr_assert_eq(part.next_seq, FIRST_SEQ);
  tks__unreserve(slots, BLOCK * sizeof *slots);
  bench_free(b);
}

/* ------------------------------------------------------------------------ scan */

static bool stop_at_three(void *context, const tks__record *record) {
  (void)record;
  return ++*(uint64_t *)context < 3;
}

Test(journal, a_scan_filters_and_ends_when_told) {
  bench *b = bench_new(4);
  cr_assert(add_block(b));
  for (uint64_t i = 0; i < BLOCK; i++) {
    tks__record record = quote(i, 1 + (uint32_t)(i % 2));
    record.ts_ns = (int64_t)i * 10;
    cr_assert(tks__journal_push(&b->journal, &record));
  }
  tks__journal_filter filter = ALL;
  filter.symbol = 2;
  cr_assert_eq(count_scan(b, 0, &filter), BLOCK / 2);
  filter.symbol = 3;
  cr_assert_eq(count_scan(b, 0, &filter), 0);
  filter = ALL;
  filter.from_ns = 20;
  filter.to_ns = 50;
  cr_assert_eq(count_scan(b, 0, &filter), 3, "20, 30, 40");
  filter = ALL;
  filter.max_seq = FIRST_SEQ + 4;
  cr_assert_eq(count_scan(b, 0, &filter), 5);
  cr_assert_eq(count_scan(b, BLOCK + 10, &ALL), BLOCK - 10);
  cr_assert_eq(count_scan(b, 2 * BLOCK, &ALL), 0);
  uint64_t seen = 0;
  tks__journal_scan(&b->journal, 0, &ALL, stop_at_three, &seen);
  cr_assert_eq(seen, 3);
  cr_assert_eq(b->journal.pins[0] + b->journal.pins[1], 0);
  bench_free(b);
}

typedef struct held {
  bench *b;
  uint64_t seen;
  bool inner_refused, outer_refused;
} held;

static bool take_back_inside_inner(void *context, const tks__record *record) {
  (void)record;
  held *h = context;
  /* The scan began after the first attempt: that block is none of its business, but the outer scan is. */
  h->inner_refused = tks__journal_take_back(&h->b->journal, BLOCK) == NULL;
  return false;
}

static bool take_back_inside(void *context, const tks__record *record) {
  held *h = context;
  if (h->seen++ == 0) {
    h->outer_refused = tks__journal_take_back(&h->b->journal, BLOCK) == NULL;
    tks__journal_scan(&h->b->journal, 0, &ALL, take_back_inside_inner, h);
  }
  cr_assert(is_whole(record), "what is pinned stays");
  return true;
}

static bool take_back_in_new_scan(void *context, const tks__record *record) {
  held *h = context;
  cr_assert_geq(record->seq, FIRST_SEQ + BLOCK, "a scan that begins later leaves it out");
  return ++h->seen > 0;
}

static bool take_next_inside(void *context, const tks__record *record) {
  held *h = context;
  if (h->seen++ == 0) {
    cr_assert_not(take_back(h->b), "the second block is pinned");
    cr_assert_not(take_back(h->b), "at every attempt");
  }
  return is_whole(record);
}

Test(journal, a_scan_pins_the_blocks_it_may_walk) {
  bench *b = bench_new(4);
  for (int i = 0; i < 3; i++) cr_assert(add_block(b));
  for (uint64_t i = 0; i < 3 * BLOCK; i++) (void)push(b, i);
  tks__journal_release(&b->journal, 2 * BLOCK, 4 * BLOCK);
  held h = {.b = b};
  tks__journal_scan(&b->journal, 0, &ALL, take_back_inside, &h);
  cr_assert_eq(h.seen, 3 * BLOCK);
  cr_assert(h.outer_refused);
  cr_assert(h.inner_refused);
  cr_assert(take_back(b), "the scans are over");
  cr_assert_eq(b->first, 2 * BLOCK);
  h.seen = 0;
  tks__journal_scan(&b->journal, 0, &ALL, take_back_in_new_scan, &h);
  cr_assert_eq(h.seen, 2 * BLOCK);
  tks__journal_release(&b->journal, 3 * BLOCK, 4 * BLOCK);
  h.seen = 0;
  tks__journal_scan(&b->journal, 0, &ALL, take_next_inside, &h);
  cr_assert(take_back(b));
  cr_assert_eq(count_scan(b, 0, &ALL), BLOCK);
  cr_assert_not(take_back(b), "not released");
  bench_free(b);
}

static bool take_first_inside(void *context, const tks__record *record) {
  (void)record;
  held *h = context;
  /* Announced before this scan began, so nothing of it is walked here. */
  h->inner_refused = !take_back(h->b);
  return false;
}

Test(journal, a_scan_that_began_later_does_not_keep_a_block) {
  bench *b = bench_new(4);
  for (int i = 0; i < 2; i++) cr_assert(add_block(b));
  for (uint64_t i = 0; i < 2 * BLOCK; i++) (void)push(b, i);
  tks__journal_release(&b->journal, 2 * BLOCK, 3 * BLOCK);
  atomic_fetch_add(&b->journal.pins[b->journal.epoch & 1], 1); /* somebody scans */
  cr_assert_not(take_back(b));
  atomic_fetch_sub(&b->journal.pins[(b->journal.epoch + 1) & 1], 1); /* and has ended */
  held h = {.b = b, .inner_refused = true};
  tks__journal_scan(&b->journal, 0, &ALL, take_first_inside, &h);
  cr_assert_not(h.inner_refused);
  bench_free(b);
}

/* ------------------------------------------------------------------- a model */

enum { MODEL_MAX = SEGMENTS_MAX * BLOCK };

typedef struct model {
  uint64_t first; /* position of the first that was not released */
  uint64_t count;
  uint64_t seqs[MODEL_MAX], numbers[MODEL_MAX];
  uint64_t next_seq;
  uint64_t dropped;
} model;

typedef struct scanned {
  const model *m;
  uint64_t next, before, wrong;
} scanned;

/* What was released and not taken back yet may still be seen, before the rest. */
static bool scan_visit(void *context, const tks__record *record) {
  scanned *s = context;
  if (s->m->count == 0 || record->seq < s->m->seqs[0]) {
    s->before++;
    s->wrong += s->next > 0;
  } else {
    s->wrong += s->next >= s->m->count || record->seq != s->m->seqs[s->next] ||
                (uint64_t)record->recv_ns != s->m->numbers[s->next] || !is_whole(record);
    s->next++;
  }
  return true;
}

static void check_model(bench *b, const model *m) {
  static tks__record records[MODEL_MAX];
  tks__journal_part part;
  tks__journal_read(&b->journal, m->first, MODEL_MAX, records, &part);
  cr_assert_eq(part.count, m->count);
  cr_assert_eq(part.through, m->first + m->count);
  for (uint64_t i = 0; i < m->count; i++) {
    cr_assert_eq(records[i].seq, m->seqs[i]);
    cr_assert_eq(records[i].recv_ns, (int64_t)m->numbers[i]);
    cr_assert(is_whole(&records[i]));
    cr_assert_eq(tks__journal_seq_at(&b->journal, m->first + i), m->seqs[i]);
  }
  scanned s = {.m = m};
  tks__journal_scan(&b->journal, 0, &ALL, scan_visit, &s);
  cr_assert_eq(s.wrong, 0);
  cr_assert_eq(s.next, m->count);
  cr_assert_eq(s.before, m->first - b->first);
  tks__journal_counts counts = tks__journal_count(&b->journal);
  cr_assert_eq(counts.end_seq, m->next_seq);
  cr_assert_eq(tks__journal_end_seq(&b->journal), m->next_seq);
  cr_assert_eq(counts.dropped, m->dropped);
}

Test(journal, random_operations_against_a_model) {
  static model m;
  test_random random = random_new();
  for (uint64_t round = 0; round < rounds(200); round++) {
    bench *b = bench_new(1 + random_below(&random, SEGMENTS_MAX));
    m = (model){.first = BLOCK, .next_seq = FIRST_SEQ};
    uint64_t number = 0, lost_noted = 0;
    for (int i = 0; i < 600; i++) {
      switch (random_below(&random, 12)) {
        case 0: (void)add_block(b); break;
        case 1: (void)take_back(b); break;
        case 2: {
          uint64_t n = random_below(&random, m.count + 1);
          m.first += n;
          m.count -= n;
          memmove(m.seqs, m.seqs + n, m.count * sizeof m.seqs[0]);
          memmove(m.numbers, m.numbers + n, m.count * sizeof m.numbers[0]);
          tks__journal_release(&b->journal, m.first, m.first + m.count);
          break;
        }
        case 3: {
          uint64_t seq = tks__journal_lose(&b->journal, 1);
          bool room = tks__journal_tail(&b->journal) < atomic_load(&b->journal.room_end);
          cr_assert_eq(seq, room ? 0 : m.next_seq);
          if (!room) m.next_seq++, m.dropped++;
          break;
        }
        case 4: {
          tks__loss loss;
          if (tks__journal_take_loss(&b->journal, &loss)) lost_noted += loss.records;
          break;
        }
        default: {
          tks__record record = quote(++number, 5);
          if (!tks__journal_push(&b->journal, &record)) break;
          cr_assert_eq(record.seq, m.next_seq);
          m.seqs[m.count] = m.next_seq++;
          m.numbers[m.count++] = number;
        }
      }
      if (i % 8 == 0) check_model(b, &m);
    }
    tks__loss loss;
    if (tks__journal_take_loss(&b->journal, &loss)) lost_noted += loss.records;
    cr_assert_eq(lost_noted, m.dropped);
    bench_free(b);
  }
}

/* --------------------------------------------------------------- many producers */

typedef struct producer {
  bench *b;
  uint32_t id; /* in `symbol` */
  bool blocking;
  uint64_t count;
  uint64_t pushed, lost, unordered;
} producer;

static _Atomic uint32_t producers_left;
static _Atomic bool keeping;

static void *produce(void *argument) {
  producer *p = argument;
  uint64_t last_seq = 0;
  for (uint64_t number = 1; number <= p->count; number++) {
    tks__record record = quote(number, p->id);
    uint64_t lost_seq = 0;
    while (lost_seq == 0 && !tks__journal_push(&p->b->journal, &record)) {
      if (p->blocking) (void)tks__journal_wait(&p->b->journal, tks__clock_monotonic_ns() + LIMIT_NS);
      else lost_seq = tks__journal_lose(&p->b->journal, p->id);
    }
    if (lost_seq != 0) record.seq = lost_seq;
    p->lost += lost_seq != 0;
    p->pushed += lost_seq == 0;
    p->unordered += record.seq <= last_seq;
    last_seq = record.seq;
  }
  atomic_fetch_sub(&producers_left, 1);
  return NULL;
}

typedef struct keeping_result {
  bench *b;
  uint64_t lost, runs, disorder, last_lost;
} keeping_result;

static void *keep(void *argument) {
  keeping_result *k = argument;
  for (bool last = false; !last;) {
    last = !atomic_load(&keeping);
    while (take_back(k->b)) {
    }
    while (add_block(k->b)) {
    }
    tks__loss loss;
    if (tks__journal_take_loss(&k->b->journal, &loss)) {
      k->disorder += loss.from_seq <= k->last_lost || loss.to_seq < loss.from_seq ||
                     loss.to_seq - loss.from_seq + 1 < loss.records;
      k->last_lost = loss.to_seq;
      k->lost += loss.records;
      k->runs++;
    }
    (void)sched_yield();
  }
  return NULL;
}

static void drain_producers(size_t segments, bool blocking, uint64_t count) {
  enum { PRODUCERS = 4, MAX = 100 };
  bench *b = bench_new(segments);
  producer producers[PRODUCERS];
  pthread_t threads[PRODUCERS];
  uint64_t last_number[PRODUCERS] = {0}, received[PRODUCERS] = {0};
  uint64_t next_seq = FIRST_SEQ, total = 0, position = BLOCK, damaged = 0;
  test_random random = random_new();
  keeping_result kept = {.b = b};
  atomic_store(&keeping, true);
  atomic_store(&producers_left, PRODUCERS);
  pthread_t keeper = start_thread(keep, &kept);
  for (uint32_t i = 0; i < PRODUCERS; i++) {
    producers[i] = (producer){.b = b, .id = i, .blocking = blocking, .count = count};
    threads[i] = start_thread(produce, &producers[i]);
  }
  for (bool last_round = false; !last_round;) {
    last_round = atomic_load(&producers_left) == 0 && position == tks__journal_tail(&b->journal);
    static tks__record records[MAX];
    tks__journal_part part;
    tks__journal_read(&b->journal, position, 1 + random_below(&random, MAX), records, &part);
    position = part.through;
    damaged += part.damaged + part.holes;
    for (size_t i = 0; i < part.count; i++) {
      cr_assert(is_whole(&records[i]));
      cr_assert_geq(records[i].seq, next_seq);
      next_seq = records[i].seq + 1;
      cr_assert_gt((uint64_t)records[i].recv_ns, last_number[records[i].symbol], "a producer's own order is kept");
      last_number[records[i].symbol] = (uint64_t)records[i].recv_ns;
      received[records[i].symbol]++;
    }
    total += part.count;
    tks__journal_release(&b->journal, position, position);
    if (part.count == 0) (void)sched_yield();
  }
  uint64_t lost = 0;
  for (uint32_t i = 0; i < PRODUCERS; i++) {
    join_thread(threads[i]);
    cr_assert_eq(received[i], producers[i].pushed);
    cr_assert_eq(producers[i].pushed + producers[i].lost, count);
    cr_assert_eq(producers[i].unordered, 0);
    lost += producers[i].lost;
  }
  atomic_store(&keeping, false);
  join_thread(keeper);
  if (blocking) cr_assert_eq(lost, 0);
  tks__journal_counts counts = tks__journal_count(&b->journal);
  cr_assert_eq(damaged, 0);
  cr_assert_eq(counts.dropped, lost);
  cr_assert_eq(kept.lost, lost, "every loss is in a run");
  cr_assert_eq(kept.disorder, 0);
  cr_assert_eq(total + lost, counts.end_seq - FIRST_SEQ);
  cr_assert_eq(total + lost, PRODUCERS * count);
  bench_free(b);
}

Test(journal, many_producers_that_drop) { drain_producers(4, false, rounds(100000)); }
Test(journal, many_producers_that_drop_at_a_tiny_journal) { drain_producers(1, false, rounds(50000)); }
Test(journal, many_producers_that_wait) { drain_producers(4, true, rounds(50000)); }
Test(journal, many_producers_that_wait_at_a_tiny_journal) { drain_producers(1, true, rounds(20000)); }
Test(journal, many_producers_with_room) { drain_producers(16, false, rounds(100000)); }

/* --------------------------------------------------------------------- wake-up */

Test(journal, wakes_at_the_position_asked_for_and_once) {
  bench *b = bench_new(8);
  while (add_block(b)) {
  }
  (void)push(b, 1);
  cr_assert_eq(b->wakes, 1, "a new journal is asleep");
  (void)push(b, 2);
  cr_assert_eq(b->wakes, 1);
  tks__journal_wake_at(&b->journal, BLOCK + 5);
  for (uint64_t i = 2; i < 5; i++) (void)push(b, i);
  cr_assert_eq(b->wakes, 1);
  (void)push(b, 5);
  cr_assert_eq(b->wakes, 2);
  for (uint64_t i = 6; i < 20; i++) (void)push(b, i);
  cr_assert_eq(b->wakes, 2);
  tks__journal_wake_at(&b->journal, TKS__WAKE_NEVER);
  (void)push(b, 20);
  cr_assert_eq(b->wakes, 2);
  /* Asked for too late: the next one is beyond it. */
  tks__journal_wake_at(&b->journal, BLOCK + 3);
  (void)push(b, 21);
  cr_assert_eq(b->wakes, 3);
  cr_assert_eq(b->journal.wakeups, 3);
  bench_free(b);
}

typedef struct sleeper {
  bench *b;
  sem_t semaphore;
  _Atomic uint64_t received;
  uint64_t expected;
  uint64_t batch; /* how many are worth waking for */
  bool missed;
} sleeper;

static void post(void *context) { (void)sem_post(&((sleeper *)context)->semaphore); }

static bool sleep_until_posted(sem_t *semaphore) {
  struct timespec until;
  (void)clock_gettime(CLOCK_REALTIME, &until);
  until.tv_sec += WAIT_LIMIT_S;
  int rc;
  do {
    rc = sem_timedwait(semaphore, &until);
  } while (rc != 0 && errno == EINTR);
  return rc == 0;
}

/* The consumer as the writer is: takes all, says where it wants to be woken, looks again, sleeps. */
static void *consume_sleeping(void *argument) {
  sleeper *s = argument;
  tks__journal *journal = &s->b->journal;
  static tks__record records[64];
  uint64_t position = BLOCK;
  while (position - BLOCK < s->expected && !s->missed) {
    tks__journal_part part;
    do {
      tks__journal_read(journal, position, 64, records, &part);
      position = part.through;
    } while (part.count > 0);
    tks__journal_release(journal, position, position);
    atomic_store(&s->received, position - BLOCK);
    uint64_t left = s->expected - (position - BLOCK);
    uint64_t at = position + (left < s->batch ? left : s->batch) - 1;
    tks__journal_wake_at(journal, at);
    if (left == 0 || tks__journal_tail(journal) > at) {
      (void)sched_yield(); /* a claimed position may still be being filled */
      continue;
    }
    s->missed = !sleep_until_posted(&s->semaphore);
  }
  return NULL;
}

static void *produce_for_sleeper(void *argument) {
  producer *p = argument;
  sleeper *s = p->b->journal.wake_context;
  for (uint64_t number = 1; number <= p->count; number++) {
    tks__record record = quote(number, p->id);
    while (!tks__journal_push(&p->b->journal, &record)) {
      /* Every wait is one more who may wake the consumer. */
      if (number % 2 == 0) (void)tks__journal_wait(&p->b->journal, tks__clock_monotonic_ns() + 1000000);
      else (void)sched_yield();
    }
    /* Let it fall asleep now and then: all that was pushed so far has been taken. */
    for (int i = 0; number % 4 == 0 && i < 20 && atomic_load(&s->received) < tks__journal_tail(&p->b->journal) - BLOCK;
         i++)
      (void)sched_yield();
  }
  return NULL;
}

static void race_sleeper(uint64_t batch, uint64_t count) {
  enum { PRODUCERS = 2 };
  bench *b = bench_new(8);
  sleeper s = {.b = b, .expected = PRODUCERS * count, .batch = batch};
  cr_assert_eq(sem_init(&s.semaphore, 0, 0), 0);
  b->journal.wake = post;
  b->journal.wake_context = &s;
  keeping_result kept = {.b = b};
  atomic_store(&keeping, true);
  pthread_t keeper = start_thread(keep, &kept);
  pthread_t consumer = start_thread(consume_sleeping, &s);
  producer producers[PRODUCERS];
  for (uint32_t i = 0; i < PRODUCERS; i++) producers[i] = (producer){.b = b, .id = i, .count = count};
  run_threads(produce_for_sleeper, producers, PRODUCERS, sizeof producers[0]);
  join_thread(consumer);
  atomic_store(&keeping, false);
  join_thread(keeper);
  cr_assert_not(s.missed, "slept through %llu of %llu", (unsigned long long)(s.expected - s.received),
                (unsigned long long)s.expected);
  cr_assert_eq(s.received, s.expected);
  (void)sem_destroy(&s.semaphore);
  bench_free(b);
}

Test(journal, no_wake_up_is_missed_record_by_record) { race_sleeper(1, rounds(50000)); }
Test(journal, no_wake_up_is_missed_batch_by_batch) { race_sleeper(7, rounds(100000)); }

/* --------------------------------------------------------------------- waiting */

static void fill_up(bench *b) {
  cr_assert(add_block(b));
  for (uint64_t i = 0; i < BLOCK; i++) (void)push(b, i);
}

Test(journal, a_wait_ends_at_its_deadline) {
  bench *b = bench_new(2);
  cr_assert(add_block(b));
  cr_assert(tks__journal_wait(&b->journal, tks__clock_monotonic_ns() + LIMIT_NS), "there is room");
  cr_assert(tks__journal_wait(&b->journal, 0), "there is room, however late");
  for (uint64_t i = 0; i < BLOCK; i++) (void)push(b, i);
  int64_t deadline = tks__clock_monotonic_ns() + 20000000;
  while (tks__journal_wait(&b->journal, deadline)) {
    /* woken for no reason, which is allowed */
  }
  cr_assert_geq(tks__clock_monotonic_ns(), deadline, "not before");
  while (tks__journal_wait(&b->journal, 0)) {
  }
  cr_assert_eq(b->journal.waiters, 0);
  bench_free(b);
}

typedef struct waiter {
  bench *b;
  bool result;
} waiter;

static void *wait_for_room(void *argument) {
  waiter *w = argument;
  w->result = tks__journal_wait(&w->b->journal, tks__clock_monotonic_ns() + LIMIT_NS);
  return NULL;
}

static bool all_wait(void *context) { return atomic_load(&((bench *)context)->journal.waiters) == 3; }

static void end_waits(void (*end)(bench *b)) {
  bench *b = bench_new(2);
  fill_up(b);
  waiter waiters[3];
  pthread_t threads[3];
  for (int i = 0; i < 3; i++) {
    waiters[i] = (waiter){.b = b};
    threads[i] = start_thread(wait_for_room, &waiters[i]);
  }
  cr_assert(wait_until(all_wait, b));
  linger_ms(20);
  end(b);
  for (int i = 0; i < 3; i++) {
    join_thread(threads[i]);
    cr_assert(waiters[i].result);
  }
  cr_assert_eq(b->journal.waiters, 0);
  bench_free(b);
}

static void add_one(bench *b) { cr_assert(add_block(b)); }

/* One of them may have counted itself and not yet begun to wait when the first broadcast goes out. */
static void release(bench *b) {
  for (int i = 0; i < 1000 && atomic_load(&b->journal.waiters) > 0; i++) {
    tks__journal_release_waiters(&b->journal);
    linger_ms(5);
  }
}

Test(journal, room_ends_every_wait) { end_waits(add_one); }
Test(journal, waiters_can_be_released) { end_waits(release); }

Test(journal, who_waits_for_room_wakes_the_writer_and_the_keeper) {
  bench *b = bench_new(2);
  fill_up(b);
  atomic_store(&b->wakes, 0);
  atomic_store(&b->wants, 0);
  tks__journal_wake_at(&b->journal, BLOCK + 1000); /* would never come */
  (void)tks__journal_wait(&b->journal, 0);
  cr_assert_eq(b->wakes, 1);
  cr_assert_eq(b->wants, 1);
  (void)tks__journal_wait(&b->journal, 0);
  cr_assert_eq(b->wakes, 1);
  tks__journal_wake_at(&b->journal, TKS__WAKE_NEVER); /* it knows, and cannot help it */
  (void)tks__journal_wait(&b->journal, 0);
  cr_assert_eq(b->wakes, 1);
  cr_assert_eq(b->wants, 3);
  bench_free(b);
}

/* ------------------------------------------------------------- scans and recycling */

/* One producer, one sink, one keeper, and one that scans: what had been pushed before the scan is either released or seen,
 * in order and whole, however fast the blocks behind it are emptied. */
typedef struct watched {
  bench *b;
  _Atomic uint64_t pushed_through;
  _Atomic uint64_t released_through; /* sequence number; stored before it is released */
  _Atomic bool done;
  uint64_t count, first, last, wrong;
} watched;

static void *produce_watched(void *argument) {
  watched *w = argument;
  uint64_t count = rounds(300000);
  for (uint64_t number = 1; number <= count;) {
    tks__record record = quote(number, 9);
    if (!tks__journal_push(&w->b->journal, &record)) {
      (void)sched_yield();
      continue;
    }
    atomic_store(&w->pushed_through, record.seq);
    number++;
  }
  atomic_store(&w->done, true);
  return NULL;
}

static void *consume_watched(void *argument) {
  watched *w = argument;
  test_random random = random_new();
  static tks__record records[64];
  uint64_t position = BLOCK;
  for (bool last_round = false; !last_round;) {
    last_round = atomic_load(&w->done) && position == tks__journal_tail(&w->b->journal);
    tks__journal_part part;
    tks__journal_read(&w->b->journal, position, 1 + random_below(&random, 64), records, &part);
    position = part.through;
    if (part.count > 0) atomic_store(&w->released_through, records[part.count - 1].seq);
    tks__journal_release(&w->b->journal, position, position);
    if (part.count == 0) (void)sched_yield();
  }
  return NULL;
}

static bool watch_visit(void *context, const tks__record *record) {
  watched *w = context;
  if (w->count++ == 0) w->first = record->seq;
  w->wrong += w->count > 1 && record->seq != w->last + 1;
  w->wrong += !is_whole(record);
  w->last = record->seq;
  return true;
}

Test(journal, a_scan_sees_all_that_is_not_released) {
  bench *b = bench_new(4);
  watched w = {.b = b, .pushed_through = FIRST_SEQ - 1, .released_through = FIRST_SEQ - 1};
  keeping_result kept = {.b = b};
  atomic_store(&keeping, true);
  pthread_t keeper = start_thread(keep, &kept);
  pthread_t producer_thread = start_thread(produce_watched, &w);
  pthread_t consumer_thread = start_thread(consume_watched, &w);
  uint64_t scans = 0;
  for (bool last_round = false; !last_round; scans++) {
    last_round = atomic_load(&w.done);
    uint64_t pushed = atomic_load(&w.pushed_through);
    w.count = w.wrong = 0;
    tks__journal_scan(&b->journal, 0, &ALL, watch_visit, &w);
    uint64_t released = atomic_load(&w.released_through);
    cr_assert_eq(w.wrong, 0, "scan %llu", (unsigned long long)scans);
    if (w.count == 0) {
      cr_assert_geq(released, pushed);
    } else {
      cr_assert_leq(w.first, released + 1);
      cr_assert_geq(w.last, pushed);
    }
  }
  join_thread(producer_thread);
  join_thread(consumer_thread);
  atomic_store(&keeping, false);
  join_thread(keeper);
  cr_assert_eq(b->journal.pins[0] + b->journal.pins[1], 0);
  bench_free(b);
}
