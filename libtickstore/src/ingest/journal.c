#include "ingest/journal.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/thread.h"

int tks__journal_init(tks__journal *journal, uint64_t slot_count, uint64_t blocks_max) {
  memset(journal, 0, sizeof *journal);
  while (UINT64_C(1) << journal->shift < slot_count) journal->shift++;
  journal->slot_mask = (UINT64_C(1) << journal->shift) - 1;
  uint64_t blocks = 4;
  while (blocks < blocks_max + 1) blocks *= 2;
  journal->block_mask = blocks - 1;
  journal->blocks = tks__calloc((size_t)blocks, sizeof *journal->blocks);
  if (journal->blocks == NULL) return TKS_ENOMEM;
  atomic_init(&journal->loss_cause, TKS_GAP_FULL);

  if (tks__condition_init(&journal->room) != 0) goto no_condition;
  if (pthread_mutex_init(&journal->lock, NULL) == 0) return TKS_OK;
  (void)pthread_cond_destroy(&journal->room);
no_condition:
  tks__free(journal->blocks);
  journal->blocks = NULL;
  return TKS_ENOMEM;
}

void tks__journal_deinit(tks__journal *journal) {
  (void)pthread_mutex_destroy(&journal->lock);
  (void)pthread_cond_destroy(&journal->room);
  tks__free(journal->blocks);
}

void tks__journal_begin(tks__journal *journal, uint64_t position, uint64_t first_seq) {
  journal->live_from = position;
  atomic_init(&journal->tail, position);
  atomic_init(&journal->room_end, position);
  atomic_init(&journal->wake_at, position);
  atomic_init(&journal->offset, first_seq - position);
}

/* ------------------------------------------------------------- producers */

/* Wakes the writer if position `p` is where it wants to be woken. `p` was claimed (seq_cst) before this load of wake_at, and the
 * writer stores wake_at before it looks at tail: one of the two sees the other. */
static void wake_if_due(tks__journal *journal, uint64_t p) {
  if (p < atomic_load_explicit(&journal->wake_at, memory_order_seq_cst)) return;
  if (atomic_exchange_explicit(&journal->wake_at, TKS__WAKE_NEVER, memory_order_seq_cst) == TKS__WAKE_NEVER) return;
  atomic_fetch_add_explicit(&journal->wakeups, 1, memory_order_relaxed);
  journal->wake(journal->wake_context);
}

bool tks__journal_push(tks__journal *journal, tks__record *record) {
  uint64_t p = atomic_load_explicit(&journal->tail, memory_order_relaxed);
  do {
    /* Acquire: the block's entry is complete (invariant 2). */
    if (p >= atomic_load_explicit(&journal->room_end, memory_order_acquire)) return false;
  } while (
      !atomic_compare_exchange_weak_explicit(&journal->tail, &p, p + 1, memory_order_seq_cst, memory_order_relaxed));
  const tks__block *block = tks__journal_block(journal, p);
  record->seq = p + block->offset;
  tks__slot_store(&block->slots[p & journal->slot_mask], record);
  /* Once a block: those behind it may have to be prepared. */
  if ((p & journal->slot_mask) == 0) journal->want_room(journal->want_room_context);
  wake_if_due(journal, p);
  return true;
}

static void extend_loss(tks__journal *journal, uint64_t seq, uint32_t symbol) {
  tks__loss *loss = &journal->loss;
  loss->last_ns = tks__clock_now_ns();
  if (loss->records == 0) {
    *loss = (tks__loss){
        .from_seq = seq,
        .first_ns = loss->last_ns,
        .last_ns = loss->last_ns,
        .symbol = symbol,
        .cause = atomic_load_explicit(&journal->loss_cause, memory_order_relaxed),
    };
  } else if (loss->symbol != symbol) {
    loss->symbol = 0;
  }
  loss->to_seq = seq;
  loss->records++;
}

uint64_t tks__journal_lose(tks__journal *journal, uint32_t symbol) {
  tks__spinlock_acquire(&journal->room_lock);
  uint64_t end = atomic_load_explicit(&journal->room_end, memory_order_relaxed);
  if (atomic_load_explicit(&journal->tail, memory_order_relaxed) < end) {
    tks__spinlock_release(&journal->room_lock);
    return 0;
  }
  uint64_t offset = atomic_load_explicit(&journal->offset, memory_order_relaxed);
  bool first = journal->loss.records == 0;
  extend_loss(journal, end + offset, symbol);
  /* Release: pairs with tks__journal_end_seq. */
  atomic_store_explicit(&journal->offset, offset + 1, memory_order_release);
  journal->dropped++;
  tks__spinlock_release(&journal->room_lock);
  if (first) {
    /* The ledger hears of a run when it begins; how it went on, it asks for. */
    journal->want_room(journal->want_room_context);
    /* The writer may have looked before it was known that there is no more room. */
    wake_if_due(journal, TKS__WAKE_NEVER - 1);
  }
  return end + offset;
}

static bool has_room(const tks__journal *journal) {
  return atomic_load_explicit(&journal->tail, memory_order_seq_cst) <
         atomic_load_explicit(&journal->room_end, memory_order_seq_cst);
}

bool tks__journal_wait(tks__journal *journal, int64_t deadline_ns) {
  /* The keeper stores room_end, then looks at waiters; this stores waiters, then looks at room_end (both seq_cst). */
  atomic_fetch_add_explicit(&journal->waiters, 1, memory_order_seq_cst);
  journal->want_room(journal->want_room_context);
  wake_if_due(journal, TKS__WAKE_NEVER - 1);
  (void)pthread_mutex_lock(&journal->lock);
  bool room = has_room(journal);
  if (!room) {
    int rc = tks__condition_wait(&journal->room, &journal->lock, deadline_ns);
    /* Woken is reason enough to try again: the store may be closing. */
    room = rc != ETIMEDOUT || has_room(journal);
  }
  (void)pthread_mutex_unlock(&journal->lock);
  atomic_fetch_sub_explicit(&journal->waiters, 1, memory_order_seq_cst);
  return room;
}

void tks__journal_release_waiters(tks__journal *journal) {
  (void)pthread_mutex_lock(&journal->lock);
  (void)pthread_cond_broadcast(&journal->room);
  (void)pthread_mutex_unlock(&journal->lock);
}

/* --------------------------------------------------------------- reading */

/* The stamp of a position, 0 where there is nothing. */
static uint64_t stamp_at(const tks__journal *journal, const tks__block *block, uint64_t p) {
  uint64_t i = p & journal->slot_mask;
  return i < block->slot_count ? tks__slot_stamp(&block->slots[i]) : 0;
}

/* Gives a recovered record the ids that its names have now. */
static bool translate(const tks__id_map *ids, tks__record *record) {
  if (ids == NULL) return true;
  uint32_t source = record->source;
  record->symbol = tks__id_map_get(ids, TKS__NAMED_SYMBOL, record->symbol);
  if (source != 0) record->source = tks__id_map_get(ids, TKS__NAMED_SOURCE, source);
  return record->symbol != 0 && (source == 0 || record->source != 0);
}

static bool load(const tks__journal *journal, const tks__block *block, uint64_t p, uint64_t stamp,
                 tks__record *record) {
  return tks__slot_load(&block->slots[p & journal->slot_mask], stamp, p + block->offset, record) &&
         translate(block->ids, record);
}

/* The lowest number that a live record can have. There may be no room for one yet. */
static uint64_t first_live_seq(const tks__journal *journal) {
  uint64_t first = journal->live_from;
  /* Before room_end: it only grows, and if there is no block after that, the block's will be no lower. */
  uint64_t offset = atomic_load_explicit(&journal->offset, memory_order_acquire);
  bool is_there = first < atomic_load_explicit(&journal->room_end, memory_order_acquire);
  return first + (is_there ? tks__journal_block(journal, first)->offset : offset);
}

void tks__journal_read(const tks__journal *journal, uint64_t from, size_t max, tks__record *records,
                       tks__journal_part *part) {
  *part = (tks__journal_part){.through = from};
  uint64_t tail = tks__journal_tail(journal);
  for (uint64_t p = from; p < tail && part->count < max; part->through = ++p) {
    const tks__block *block = tks__journal_block(journal, p);
    bool recovered = p < journal->live_from;
    uint64_t stamp = stamp_at(journal, block, p);
    if (stamp == 0 && !recovered) break; /* a producer is between claiming its place and filling it */
    if (stamp != 0 && load(journal, block, p, stamp, &records[part->count])) part->count++;
    else if (recovered) part->holes++;
    else part->damaged++;
    part->next_seq = p + block->offset + 1;
  }
  /* The numbers of the empty places at the end of what was recovered may have been given out again. */
  if (part->through > from && part->through == journal->live_from) part->next_seq = first_live_seq(journal);
}

uint64_t tks__journal_holes(const tks__journal *journal, uint64_t from, uint64_t to) {
  uint64_t holes = 0;
  for (uint64_t p = from; p < to && p < journal->live_from; p++) {
    const tks__block *block = tks__journal_block(journal, p);
    uint64_t stamp = stamp_at(journal, block, p);
    tks__record record;
    holes += stamp == 0 || !load(journal, block, p, stamp, &record);
  }
  return holes;
}

uint32_t tks__journal_pin(tks__journal *journal) {
  for (;;) {
    uint64_t epoch = atomic_load_explicit(&journal->epoch, memory_order_seq_cst);
    uint32_t side = (uint32_t)(epoch & 1);
    atomic_fetch_add_explicit(&journal->pins[side], 1, memory_order_seq_cst);
    if (atomic_load_explicit(&journal->epoch, memory_order_seq_cst) == epoch) return side;
    atomic_fetch_sub_explicit(&journal->pins[side], 1, memory_order_seq_cst);
  }
}

void tks__journal_unpin(tks__journal *journal, uint32_t side) {
  /* Release: the keeper may empty what was read before. */
  atomic_fetch_sub_explicit(&journal->pins[side], 1, memory_order_release);
}

/* What may_pass leaves open. */
static bool passes(const tks__journal_filter *f, const tks__record *r) {
  return r->seq <= f->max_seq && (f->symbol == 0 || r->symbol == f->symbol);
}

/* Spares what is not wanted the checksum. What has a stamp does not change any more. */
static bool may_pass(const tks__journal *journal, const tks__block *block, uint64_t p, const tks__journal_filter *f) {
  const tks__slot_body *body = &block->slots[p & journal->slot_mask].body;
  if (body->ts_ns < f->from_ns || body->ts_ns >= f->to_ns) return false;
  return block->ids != NULL || f->symbol == 0 || body->symbol == f->symbol;
}

void tks__journal_scan(tks__journal *journal, uint64_t from, const tks__journal_filter *filter,
                       bool (*visit)(void *context, const tks__record *record), void *context) {
  uint32_t side = tks__journal_pin(journal);
  /* seq_cst, behind the pin: what is recycled from now on stays until the pin is gone (invariant 5). */
  uint64_t recycled = atomic_load_explicit(&journal->recycled, memory_order_seq_cst);
  uint64_t tail = tks__journal_tail(journal);
  for (uint64_t p = from > recycled ? from : recycled; p < tail; p++) {
    const tks__block *block = tks__journal_block(journal, p);
    /* A claimed slot that is not yet published belongs to a put that has not returned: not accepted yet. */
    uint64_t stamp = stamp_at(journal, block, p);
    tks__record record;
    if (stamp == 0 || !may_pass(journal, block, p, filter) || !load(journal, block, p, stamp, &record)) continue;
    if (passes(filter, &record) && !visit(context, &record)) break;
  }
  tks__journal_unpin(journal, side);
}

tks__journal_counts tks__journal_count(tks__journal *journal) {
  tks__spinlock_acquire(&journal->room_lock);
  uint64_t tail = tks__journal_tail(journal);
  const tks__journal_counts counts = {
      .tail = tail,
      .end_seq = tail + atomic_load_explicit(&journal->offset, memory_order_relaxed),
      .dropped = journal->dropped,
  };
  tks__spinlock_release(&journal->room_lock);
  return counts;
}

/* ----------------------------------------------------------- writer's loop */

void tks__journal_wake_at(tks__journal *journal, uint64_t position) {
  atomic_store_explicit(&journal->wake_at, position, memory_order_seq_cst);
}

void tks__journal_release(tks__journal *journal, uint64_t position, uint64_t read_to) {
  uint64_t before = atomic_load_explicit(&journal->released, memory_order_relaxed);
  atomic_store_explicit(&journal->read_to, read_to, memory_order_release);
  /* Release: the sinks' reading of what lies below is over. */
  atomic_store_explicit(&journal->released, position, memory_order_release);
  if (before >> journal->shift != position >> journal->shift) journal->want_room(journal->want_room_context);
}

uint64_t tks__journal_seq_at(tks__journal *journal, uint64_t position) {
  tks__spinlock_acquire(&journal->room_lock);
  bool given = position < atomic_load_explicit(&journal->room_end, memory_order_relaxed);
  uint64_t offset = given ? tks__journal_block(journal, position)->offset
                          : atomic_load_explicit(&journal->offset, memory_order_relaxed);
  tks__spinlock_release(&journal->room_lock);
  return position + offset;
}

/* ----------------------------------------------------------------- keeper */

void tks__journal_add(tks__journal *journal, tks__segment *segment) {
  tks__spinlock_acquire(&journal->room_lock);
  uint64_t base = atomic_load_explicit(&journal->room_end, memory_order_relaxed);
  uint64_t offset = atomic_load_explicit(&journal->offset, memory_order_relaxed);
  *tks__journal_block(journal, base) =
      (tks__block){.offset = offset, .slots = segment->slots, .slot_count = segment->slot_count, .segment = segment};
  tks__segment_assign(segment, base + offset);
  /* seq_cst: see tks__journal_wait. */
  atomic_store_explicit(&journal->room_end, base + journal->slot_mask + 1, memory_order_seq_cst);
  tks__spinlock_release(&journal->room_lock);
  if (atomic_load_explicit(&journal->waiters, memory_order_seq_cst) > 0) tks__journal_release_waiters(journal);
}

tks__segment *tks__journal_take_back(tks__journal *journal, uint64_t position) {
  uint64_t end = position + journal->slot_mask + 1;
  if (atomic_load_explicit(&journal->recycled, memory_order_relaxed) < end) {
    atomic_store_explicit(&journal->recycled, end, memory_order_seq_cst);
    /* Scans that begin from now on count on the other side and see `recycled`. */
    atomic_fetch_add_explicit(&journal->epoch, 1, memory_order_seq_cst);
  }
  /* The side of those that began before; older ones were waited for when the block before was taken back. */
  uint64_t epoch = atomic_load_explicit(&journal->epoch, memory_order_seq_cst);
  if (atomic_load_explicit(&journal->pins[(epoch + 1) & 1], memory_order_seq_cst) != 0) return NULL;
  tks__block *block = tks__journal_block(journal, position);
  tks__segment *segment = block->segment;
  block->segment = NULL;
  return segment;
}

bool tks__journal_take_loss(tks__journal *journal, tks__loss *loss) {
  tks__spinlock_acquire(&journal->room_lock);
  *loss = journal->loss;
  journal->loss.records = 0;
  tks__spinlock_release(&journal->room_lock);
  return loss->records > 0;
}

bool tks__journal_is_losing(tks__journal *journal) {
  tks__spinlock_acquire(&journal->room_lock);
  bool losing = journal->loss.records > 0;
  tks__spinlock_release(&journal->room_lock);
  return losing;
}
