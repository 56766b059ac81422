/* journal.h - the log of accepted records, in the order in which they were accepted. Many producers; each sink reads it at its
 * own pace; what all sinks have durably is let go.
 *
 * It is a row of blocks of equal size, each a segment (segment.h): a mapped file, so that what was put survives the process, or,
 * without the journal, memory. The keeper (keeper.h) prepares blocks ahead of the producers and takes back those behind
 * the slowest sink. So put neither allocates nor makes a system call.
 *
 *   1. A position numbers a slot: block position >> shift, slot position & slot_mask. Positions have no gaps. Those below
 *      `live_from` were recovered from a crash and may be holes.
 *   2. One compare-and-swap of `tail` gives a record its position. Only positions below `room_end` are given out, and
 *      room_end moves (release) when the next block's entry in `blocks` is complete. The entry stays until every sink is past it.
 *   3. A record's sequence number is its position plus its block's offset. A record that is dropped takes a sequence number but no
 *      position: it raises `offset`, which the next block will have. That happens only while tail == room_end and
 *      under `room_lock`, as does moving room_end: so lost numbers lie between two blocks, in order.
 *   4. A slot holds its record when it has a stamp, stored last. Its segment was empty when it came into use.
 *   5. A reader that is not a sink (a scan, a sync) pins what it walks: a block is emptied only after all have ended that
 *      began before `recycled` passed it.
 *   6. Everything is in seq_cst order where a producer and the sleeping consumer must not miss each other (tail, wake_at;
 *      room_end, waiters), acquire/release elsewhere. */
#ifndef TKS_INGEST_JOURNAL_H
#define TKS_INGEST_JOURNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/spinlock.h"
#include "ingest/name_log.h"
#include "ingest/segment.h"
#include "ingest/symbols.h"

#define TKS__WAKE_NEVER UINT64_MAX

typedef struct tks__block {
  uint64_t offset; /* sequence number = position + offset */
  tks__slot *slots;
  uint64_t slot_count;    /* of a recovered one it may be less than the block has positions */
  const tks__id_map *ids; /* what the ids in it mean now; NULL: what they say */
  tks__segment *segment;
} tks__block;

/* A run of losses that nobody has written down yet. */
typedef struct tks__loss {
  uint64_t from_seq, to_seq; /* the first and the last one lost */
  uint64_t records;          /* how many of them were records */
  int64_t first_ns, last_ns; /* calendar time */
  uint32_t symbol;           /* 0: several */
  uint32_t cause;            /* tks_gap_cause */
} tks__loss;

typedef struct tks__journal {
  /* read by all, written at init */
  tks__block *blocks;
  uint64_t block_mask;
  uint64_t slot_mask;
  uint32_t shift;
  uint64_t live_from;
  void (*wake)(void *context); /* called by a producer: the writer should look */
  void *wake_context;
  void (*want_room)(void *context); /* called by a producer: the keeper should look */
  void *want_room_context;

  _Alignas(64) _Atomic uint64_t tail; /* next position; written by producers */

  _Alignas(64) _Atomic uint64_t room_end; /* written by the keeper */
  _Atomic uint64_t wake_at;               /* a producer that reaches this position wakes the writer, once */
  _Atomic uint32_t waiters;               /* producers waiting for room */
  _Atomic bool can_grow;                  /* there will be room soon, without anybody's help */
  _Atomic uint64_t given_up;              /* room_end while a producer last waited in vain */
  _Atomic uint64_t most;                  /* positions in use when no block could be added for there were so many */

  _Alignas(64) _Atomic uint64_t released; /* all sinks are past this; written by the writer's loop */
  _Atomic uint64_t read_to;               /* some sink has read up to here, so all before is published */
  _Atomic uint64_t recycled;              /* blocks below were taken back; written by the keeper */
  _Atomic uint64_t epoch;                 /* of scans; see pins */
  _Atomic uint32_t pins[2];
  _Atomic uint64_t wakeups;
  _Atomic uint64_t stalls;

  tks__spinlock room_lock;
  _Atomic uint64_t offset; /* of the block that comes next; under room_lock */
  uint64_t dropped;        /* the rest under room_lock */
  tks__loss loss;          /* records 0: none */
  _Atomic uint32_t loss_cause;

  pthread_mutex_t lock; /* for waiters only */
  pthread_cond_t room;
} tks__journal;

/* For the store: blocks for `blocks_max` segments of `slot_count` (a power of two) at a time. */
int tks__journal_init(tks__journal *journal, uint64_t slot_count, uint64_t blocks_max);
void tks__journal_deinit(tks__journal *journal);

/* Before there are producers: the recovered blocks are in place, live ones begin behind them, at `first_seq`. */
void tks__journal_begin(tks__journal *journal, uint64_t position, uint64_t first_seq);

static inline tks__block *tks__journal_block(const tks__journal *journal, uint64_t position) {
  return &journal->blocks[(position >> journal->shift) & journal->block_mask];
}

/* ------------------------------------------------------------- producers */

/* True, and record->seq set, when there was room. */
bool tks__journal_push(tks__journal *journal, tks__record *record);

/* Counts a record that found no room lost, and gives it a sequence number; 0: there is room again. */
uint64_t tks__journal_lose(tks__journal *journal, uint32_t symbol);

/* Waits until there may be room, at most until the monotonic deadline; false: there was none in time. */
bool tks__journal_wait(tks__journal *journal, int64_t deadline_ns);

/* Whether waiting a moment will do: the keeper is about to add a block, or has one to take back. */
static inline bool tks__journal_can_grow(const tks__journal *journal) {
  /* In this order: the keeper says that there will be room before it takes a block back. */
  uint64_t recycled = atomic_load_explicit(&journal->recycled, memory_order_acquire);
  return atomic_load_explicit(&journal->released, memory_order_acquire) > recycled + journal->slot_mask ||
         atomic_load_explicit(&journal->can_grow, memory_order_acquire);
}

static inline uint64_t tks__journal_room_end(const tks__journal *journal) {
  return atomic_load_explicit(&journal->room_end, memory_order_acquire);
}

/* Whether a producer that must not block waits all the same. Where one has waited in vain, the next does not until there was room
 * again: a disk that hangs would stop the host at each put. */
static inline bool tks__journal_room_is_near(const tks__journal *journal) {
  return tks__journal_can_grow(journal) &&
         atomic_load_explicit(&journal->given_up, memory_order_relaxed) != tks__journal_room_end(journal);
}

/* A producer has waited in vain since room_end was this. */
static inline void tks__journal_give_up(tks__journal *journal, uint64_t room_end) {
  atomic_store_explicit(&journal->given_up, room_end, memory_order_relaxed);
}

/* Any thread: lets every waiting producer go (they find the store closing). */
void tks__journal_release_waiters(tks__journal *journal);

/* ----------------------------------------------------------------- sinks */

typedef struct tks__journal_part {
  size_t count;      /* records copied */
  uint64_t through;  /* the position behind the last one looked at */
  uint64_t holes;    /* positions passed that never held an accepted record */
  uint64_t next_seq; /* the lowest that a record behind `through` can have; set when anything was passed */
  uint64_t damaged;  /* positions passed whose record was overwritten by somebody: lost */
} tks__journal_part;

/* Copies up to `max` records from position `from` on, up to the first that is not published. */
void tks__journal_read(const tks__journal *journal, uint64_t from, size_t max, tks__record *records,
                       tks__journal_part *part);

/* Positions in [from, to) that never held an accepted record. None is below what was released. */
uint64_t tks__journal_holes(const tks__journal *journal, uint64_t from, uint64_t to);

/* ----------------------------------------------------------- writer's loop */

/* Asks to be woken when a producer reaches `position`, or never. Look at tail again after this: what was pushed before it
 * wakes nobody. */
void tks__journal_wake_at(tks__journal *journal, uint64_t position);

/* All sinks are past `position` for good; one has read up to `read_to`. */
void tks__journal_release(tks__journal *journal, uint64_t position, uint64_t read_to);

/* The sequence number that the record at `position` has or will have: all lower ones lie before it or are lost. `position` is between
 * released and tail. */
uint64_t tks__journal_seq_at(tks__journal *journal, uint64_t position);

/* ------------------------------------------------------------- any thread */

typedef struct tks__journal_filter {
  uint32_t symbol; /* 0: all */
  int64_t from_ns; /* from <= ts_ns < to */
  int64_t to_ns;
  uint64_t max_seq;
} tks__journal_filter;

/* Calls `visit` for every record from position `from` on that passes, in order; false of it ends the scan. */
void tks__journal_scan(tks__journal *journal, uint64_t from, const tks__journal_filter *filter,
                       bool (*visit)(void *context, const tks__record *record), void *context);

/* Blocks at or behind `recycled`, looked at after the pin, stay as they are until unpin, which wants what pin returned. */
uint32_t tks__journal_pin(tks__journal *journal);
void tks__journal_unpin(tks__journal *journal, uint32_t side);

typedef struct tks__journal_counts {
  uint64_t tail;
  uint64_t end_seq; /* the next sequence number */
  uint64_t dropped;
} tks__journal_counts;
tks__journal_counts tks__journal_count(tks__journal *journal);

static inline uint64_t tks__journal_tail(const tks__journal *journal) {
  return atomic_load_explicit(&journal->tail, memory_order_seq_cst);
}

/* Every record with a sequence number below was given its position before this returns. */
static inline uint64_t tks__journal_end_seq(const tks__journal *journal) {
  uint64_t tail = tks__journal_tail(journal);
  return tail + atomic_load_explicit(&journal->offset, memory_order_acquire);
}

/* ----------------------------------------------------------------- keeper */

/* Adds a block behind the last one. */
void tks__journal_add(tks__journal *journal, tks__segment *segment);

/* Takes back the block at `position`, which lies below released; its segment is nobody's then, and still to be cleared. NULL: a
 * scan may be walking it, ask again later. */
tks__segment *tks__journal_take_back(tks__journal *journal, uint64_t position);

/* Moves the run of losses to *loss; false: there is none. */
bool tks__journal_take_loss(tks__journal *journal, tks__loss *loss);
bool tks__journal_is_losing(tks__journal *journal); /* there is one */

#endif
