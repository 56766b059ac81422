#include "ingest/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/fs.h"
#include "base/memory.h"
#include "base/utc.h"
#include "ingest/helper.h"
#include "ingest/recovery.h"

#define FILE_SLOTS_MAX 32768u /* 2 MiB: some milliseconds at full speed, and little to hold when idle */
#define FILE_SLOTS_MIN 256u
#define MEMORY_SLOTS_MAX 16384u
#define MEMORY_SLOTS_MIN 16u
#define MEMORY_AHEAD 65536u
#define AHEAD_MIN 2u /* blocks ready before the producers get there */
#define AHEAD_MAX 32u
#define RESERVE_BYTES (UINT64_C(64) << 20) /* of the disk, or a sixteenth of a small one: not for the journal */
#define RESERVE_SEGMENTS 4u                /* but at least what it takes to write what is in one to the sinks */
#define RETRY_NS TKS__NS_PER_S             /* after a file could not be made, or a loss not be noted */
#define LOSS_NS (100 * TKS__NS_PER_MS)
#define PINNED_NS TKS__NS_PER_MS

struct tks__keeper {
  tks__journal journal;
  tks__keeper_options options;
  tks__recovery recovery;
  tks__name_log names;
  bool in_files;
  uint64_t session;
  uint64_t next_number;
  uint64_t slot_count;
  size_t segment_bytes;
  uint64_t blocks_allowed; /* as configured */
  uint64_t blocks_max;     /* with the recovered ones for as long as they are there */
  void *arena;             /* in memory: all slots there can be */
  size_t arena_bytes;
  uint64_t arena_used; /* segments made from it */

  /* the maker's */
  uint64_t first;     /* position of the first block that was not taken back */
  uint64_t ahead;     /* blocks to have ready */
  uint64_t tick_tail; /* tail at the last tick, for the pace */
  tks__segment *spares;
  uint64_t spare_count;
  int64_t retry_at_ns;
  bool running; /* not while the store is being opened: one block it must have */
  bool pinned;  /* a scan or a sync keeps a block from being taken back */
  tks__log_limiter file_limiter;

  /* the scribe's */
  bool old_dirty;      /* the names of earlier sessions may not be synced */
  uint64_t attempted;  /* positions below were synced, or it failed */
  uint64_t hole_start; /* of the failed part, if hole_end > released */
  uint64_t hole_end;
  int64_t sync_at_ns; /* 0: nothing to sync */
  int64_t loss_at_ns; /* not before */
  tks__log_limiter sync_limiter, full_limiter;

  /* shared */
  _Atomic bool dir_dirty;    /* files were made since the directory was synced */
  _Atomic bool tick;         /* the maker is to look at the pace */
  _Atomic bool loss_pending; /* something is to be written down */
  _Atomic bool armed;
  _Atomic uint64_t synced_seq; /* all up to here is synced in the journal, or was released */
  _Atomic uint64_t bytes;
  uint64_t first_position;
  uint64_t recovered, holes;
  tks__helper maker;
  tks__helper scribe;
  pthread_mutex_t passing; /* whoever has it sees a loss in the journal or noted, not on its way */
};

tks__journal *tks__keeper_journal(tks__keeper *keeper) { return &keeper->journal; }

static uint64_t tail_of(const tks__keeper *keeper) { return tks__journal_tail(&keeper->journal); }
static uint64_t room_end_of(const tks__keeper *keeper) {
  return atomic_load_explicit(&keeper->journal.room_end, memory_order_relaxed);
}
static uint64_t released_of(const tks__keeper *keeper) {
  return atomic_load_explicit(&keeper->journal.released, memory_order_acquire);
}

/* ----------------------------------------------------------------- spares */

static uint64_t blocks_in_use(const tks__keeper *keeper) {
  return (room_end_of(keeper) - keeper->first) >> keeper->journal.shift;
}

static void count_bytes(tks__keeper *keeper) {
  uint64_t files = keeper->in_files ? blocks_in_use(keeper) + keeper->spare_count : 0;
  atomic_store_explicit(&keeper->bytes, files * keeper->segment_bytes, memory_order_relaxed);
}

/* The fewest to have ready. */
static uint64_t least_ahead(const tks__keeper *keeper) {
  uint64_t blocks = keeper->in_files ? AHEAD_MIN : MEMORY_AHEAD / keeper->slot_count;
  return blocks > AHEAD_MIN ? blocks : AHEAD_MIN;
}

static void push_spare(tks__keeper *keeper, tks__segment *segment) {
  segment->next = keeper->spares;
  keeper->spares = segment;
  keeper->spare_count++;
}

static tks__segment *pop_spare(tks__keeper *keeper) {
  tks__segment *segment = keeper->spares;
  keeper->spares = segment->next;
  keeper->spare_count--;
  return segment;
}

/* A journal that takes the last of the disk would keep the sinks from ever writing what is in it. While they keep up it has little, and
 * that it keeps. */
static bool leaves_disk_to_sinks(const tks__keeper *keeper) {
  uint64_t left, total, least = RESERVE_SEGMENTS * (uint64_t)keeper->segment_bytes;
  if (!keeper->running || blocks_in_use(keeper) <= AHEAD_MIN + 1) return false;
  if (tks__fs_room(keeper->options.dir, &left, &total) != 0 || total == 0) return false;
  uint64_t reserve = total / 16 < RESERVE_BYTES ? total / 16 : RESERVE_BYTES;
  return left < (reserve > least ? reserve : least) + keeper->segment_bytes;
}

static int make_file(tks__keeper *keeper, tks__segment **segment) {
  if (leaves_disk_to_sinks(keeper)) return ENOSPC;
  char path[TKS__SEGMENT_PATH_MAX];
  int n = snprintf(path, sizeof path, "%s/%llu-%llu.segment", keeper->options.dir, (unsigned long long)keeper->session,
                   (unsigned long long)keeper->next_number);
  if (n < 0 || (size_t)n >= sizeof path) return ENAMETOOLONG;
  keeper->next_number++;
  int rc = tks__segment_create(path, keeper->slot_count, keeper->options.store_id, keeper->session, segment);
  /* Release: seen by who sees a record in it (through the journal's room_end and tail). */
  if (rc == 0) atomic_store_explicit(&keeper->dir_dirty, true, memory_order_release);
  return rc;
}

static int make_segment(tks__keeper *keeper, tks__segment **segment) {
  if (keeper->in_files) return make_file(keeper, segment);
  tks__slot *slots = (tks__slot *)keeper->arena + keeper->arena_used * keeper->slot_count;
  *segment = tks__segment_in_memory(slots, keeper->slot_count);
  if (*segment == NULL) return ENOMEM;
  keeper->arena_used++;
  return 0;
}

/* ----------------------------------------------------------------- blocks */

/* 0, ENOBUFS when all that may be is in use, or why there is no further segment. */
static int add_block(tks__keeper *keeper) {
  tks__segment *segment;
  if (keeper->spares != NULL) {
    segment = pop_spare(keeper);
  } else {
    if (blocks_in_use(keeper) >= keeper->blocks_max) return ENOBUFS;
    /* What is lost until there is a file is lost for want of it. */
    if (keeper->in_files) atomic_store_explicit(&keeper->journal.loss_cause, TKS_GAP_JOURNAL, memory_order_relaxed);
    int rc = make_segment(keeper, &segment);
    if (rc != 0) return rc;
  }
  /* Memory that was given back has to be had again, too. */
  tks__segment_touch(segment);
  tks__journal_add(&keeper->journal, segment);
  return 0;
}

static void note_most(tks__keeper *keeper) {
  atomic_store_explicit(&keeper->journal.most, room_end_of(keeper) - keeper->first, memory_order_relaxed);
}

static void add_blocks(tks__keeper *keeper, int64_t now_ns) {
  tks__journal *journal = &keeper->journal;
  uint64_t block = journal->slot_mask + 1;
  uint64_t room = room_end_of(keeper) - tail_of(keeper);
  /* They are faster than was thought; or there was no room, and what comes free is not for blocks ahead of need. */
  if (keeper->retry_at_ns != 0) keeper->ahead = least_ahead(keeper);
  else if (room < block && keeper->ahead < AHEAD_MAX) keeper->ahead *= 2;
  int rc = 0;
  while (rc == 0 && room_end_of(keeper) - tail_of(keeper) < keeper->ahead * block) rc = add_block(keeper);
  keeper->retry_at_ns = 0;
  bool full = rc == ENOBUFS;
  /* Before can_grow says so. */
  if (full) note_most(keeper);
  if (rc != 0) atomic_store_explicit(&journal->loss_cause, full ? TKS_GAP_FULL : TKS_GAP_JOURNAL, memory_order_relaxed);
  /* A block that all sinks are done with comes back by itself, when the scan or the sync that pins it ends. */
  bool can_grow = rc == 0 || keeper->pinned;
  bool could_grow = atomic_exchange_explicit(&journal->can_grow, can_grow, memory_order_acq_rel);
  if (rc == 0) return;
  /* Whoever waits for the next block has to decide anew. */
  if (could_grow && !can_grow) tks__journal_release_waiters(journal);
  if (full) return; /* the sinks' progress makes room */
  keeper->retry_at_ns = now_ns + RETRY_NS;
  tks__log_limited(keeper->options.log, &keeper->file_limiter, TKS_LOG_ERROR,
                   "journal: cannot add a file: %s; there is room for %llu more records", strerror(rc),
                   (unsigned long long)(room_end_of(keeper) - tail_of(keeper)));
}

/* A recovered file bears another session's number and is not used again. */
static void recycle(tks__keeper *keeper, tks__segment *segment, bool recovered) {
  bool surplus = keeper->spare_count >= keeper->ahead;
  if (recovered || (keeper->in_files && (surplus || leaves_disk_to_sinks(keeper)))) {
    tks__segment_close(segment, true);
    return;
  }
  tks__segment_clear(segment, surplus);
  push_spare(keeper, segment);
}

static void take_back_blocks(tks__keeper *keeper) {
  tks__journal *journal = &keeper->journal;
  uint64_t block = journal->slot_mask + 1;
  uint64_t released = released_of(keeper);
  keeper->pinned = false;
  while (keeper->first + block <= released && keeper->first + block <= room_end_of(keeper)) {
    /* Until add_blocks knows better: see tks__journal_can_grow. */
    atomic_store_explicit(&journal->can_grow, true, memory_order_release);
    tks__segment *segment = tks__journal_take_back(journal, keeper->first);
    if (segment == NULL) {
      keeper->pinned = true;
      break;
    }
    bool recovered = keeper->first < journal->live_from;
    if (recovered && keeper->blocks_max > keeper->blocks_allowed) keeper->blocks_max--;
    keeper->first += block;
    recycle(keeper, segment, recovered);
  }
}

/* ------------------------------------------------------------------- sync */

/* What the sinks have durably needs no sync, and no range is synced twice. */
static uint64_t sync_start(const tks__keeper *keeper, uint64_t released) {
  return keeper->attempted > released ? keeper->attempted : released;
}

/* The position up to which every slot is published, or was recovered. */
static uint64_t published_end(tks__keeper *keeper) {
  tks__journal *journal = &keeper->journal;
  uint32_t side = tks__journal_pin(journal);
  /* Behind the pin: what is not released yet stays in its block until the pin is gone. */
  uint64_t from = sync_start(keeper, released_of(keeper));
  uint64_t tail = tail_of(keeper);
  uint64_t p = atomic_load_explicit(&journal->read_to, memory_order_acquire);
  if (p < from) p = from;
  if (p < journal->live_from) p = journal->live_from;
  while (p < tail && tks__slot_stamp(&tks__journal_block(journal, p)->slots[p & journal->slot_mask]) != 0) p++;
  tks__journal_unpin(journal, side);
  return p;
}

/* A session that was killed may not have synced what it left. */
static int sync_old_names(tks__keeper *keeper) {
  int rc = 0;
  for (size_t i = 0; i < keeper->recovery.session_count && rc == 0; i++) {
    char path[TKS__SEGMENT_PATH_MAX];
    tks__name_log_path(keeper->options.dir, keeper->recovery.sessions[i]->session, path, sizeof path);
    int fd;
    rc = tks__fs_open(path, O_RDONLY | O_NONBLOCK, 0, &fd);
    if (rc == 0) {
      rc = tks__fs_sync(fd);
      (void)tks__fs_close(fd);
    } else if (rc == ENOENT) {
      rc = 0;
    }
  }
  return rc;
}

static int sync_dir(tks__keeper *keeper) {
  /* Cleared before: a file that is made meanwhile may not be covered. */
  if (!atomic_exchange_explicit(&keeper->dir_dirty, false, memory_order_acquire)) return 0;
  int rc = tks__fs_sync_dir_of(keeper->names.path);
  if (rc != 0) atomic_store_explicit(&keeper->dir_dirty, true, memory_order_relaxed);
  return rc;
}

/* What lies in [from, to) of one block. The pin keeps its segment from being used for something else meanwhile. */
static int sync_part(tks__keeper *keeper, uint64_t from, uint64_t to) {
  tks__journal *journal = &keeper->journal;
  uint32_t side = tks__journal_pin(journal);
  int rc = 0;
  /* seq_cst, behind the pin. What was taken back the sinks have. */
  if (from >= atomic_load_explicit(&journal->recycled, memory_order_seq_cst)) {
    const tks__block *block = tks__journal_block(journal, from);
    uint64_t start = from & ~journal->slot_mask;
    uint64_t last = to - start < block->slot_count ? to - start : block->slot_count;
    if (from - start < last) rc = tks__segment_sync(block->segment, from - start, last);
  }
  tks__journal_unpin(journal, side);
  return rc;
}

static int sync_records(tks__keeper *keeper, uint64_t from, uint64_t to) {
  int rc = tks__name_log_sync(&keeper->names);
  if (rc == 0 && keeper->old_dirty) {
    rc = sync_old_names(keeper);
    if (rc == 0) keeper->old_dirty = false;
  }
  if (rc == 0) rc = sync_dir(keeper);
  while (rc == 0 && from < to) {
    uint64_t end = (from | keeper->journal.slot_mask) + 1;
    if (end > to) end = to;
    rc = sync_part(keeper, from, end);
    from = end;
  }
  return rc;
}

/* Pinned, and from what is released by now: the entry of a block that was taken back may be another one's, with higher numbers. */
static void publish_synced(tks__keeper *keeper, uint64_t position) {
  uint32_t side = tks__journal_pin(&keeper->journal);
  uint64_t released = released_of(keeper);
  if (position < released) position = released;
  atomic_store_explicit(&keeper->synced_seq, tks__journal_seq_at(&keeper->journal, position) - 1, memory_order_relaxed);
  tks__journal_unpin(&keeper->journal, side);
}

static void sync_journal(tks__keeper *keeper) {
  uint64_t released = released_of(keeper);
  uint64_t from = sync_start(keeper, released);
  uint64_t to = published_end(keeper);
  int rc = to > from ? sync_records(keeper, from, to) : 0;
  if (rc != 0) {
    if (keeper->hole_end <= released) keeper->hole_start = from;
    keeper->hole_end = to;
    tks__log_limited(keeper->options.log, &keeper->sync_limiter, TKS_LOG_ERROR,
                     "journal: cannot sync: %s; what was accepted since is safe from power loss when the sinks have it",
                     strerror(rc));
  }
  keeper->attempted = to;
  publish_synced(keeper, keeper->hole_end > released ? keeper->hole_start : to);
}

static void pace(tks__keeper *keeper) {
  uint64_t tail = tail_of(keeper);
  uint64_t used = (tail - keeper->tick_tail) >> keeper->journal.shift;
  keeper->tick_tail = tail;
  if (used < keeper->ahead / 4 && keeper->ahead / 2 >= least_ahead(keeper)) keeper->ahead /= 2;
  while (keeper->in_files && keeper->spare_count > keeper->ahead) tks__segment_close(pop_spare(keeper), true);
}

static void sync_when_due(tks__keeper *keeper, int64_t now_ns) {
  uint32_t interval_ms = keeper->options.config->journal_sync_ms;
  int64_t pause_ns = interval_ms > 0 ? interval_ms * TKS__NS_PER_MS : TKS__NS_PER_S;
  if (keeper->sync_at_ns == 0 && atomic_load_explicit(&keeper->armed, memory_order_acquire))
    keeper->sync_at_ns = now_ns + pause_ns;
  if (keeper->sync_at_ns == 0 || now_ns < keeper->sync_at_ns) return;
  if (keeper->in_files && interval_ms > 0) sync_journal(keeper);
  atomic_store_explicit(&keeper->tick, true, memory_order_relaxed);
  tks__helper_nudge(&keeper->maker);
  /* While a sink lacks something the clock goes on. Cleared before the look: a record that comes now arms it again. */
  atomic_store_explicit(&keeper->armed, false, memory_order_seq_cst);
  bool all_durable = released_of(keeper) == tail_of(keeper);
  keeper->sync_at_ns = all_durable ? 0 : now_ns + pause_ns;
}

/* ----------------------------------------------------------------- losses */

static bool pass_loss(tks__keeper *keeper, tks__loss *loss) {
  (void)pthread_mutex_lock(&keeper->passing);
  bool passed = tks__journal_take_loss(&keeper->journal, loss);
  if (passed) keeper->options.note_loss(keeper->options.note_context, loss);
  (void)pthread_mutex_unlock(&keeper->passing);
  return passed;
}

static void note_losses(tks__keeper *keeper, int64_t now_ns) {
  if (now_ns < keeper->loss_at_ns) return;
  tks__loss loss;
  bool passed = pass_loss(keeper, &loss);
  bool pending = atomic_exchange_explicit(&keeper->loss_pending, false, memory_order_acquire);
  if (!passed && !pending) {
    keeper->loss_at_ns = 0;
    return;
  }
  if (passed)
    tks__log_limited(keeper->options.log, &keeper->full_limiter, TKS_LOG_ERROR,
                     "%s: %llu records dropped from sequence %llu on",
                     loss.cause == TKS_GAP_JOURNAL ? "journal could not be extended"
                     : keeper->in_files            ? "journal full"
                                                   : "queue full",
                     (unsigned long long)loss.records, (unsigned long long)loss.from_seq);
  bool written = keeper->options.write_losses(keeper->options.note_context);
  if (!written) atomic_store_explicit(&keeper->loss_pending, true, memory_order_relaxed);
  /* Often enough to know how it goes on, seldom enough to cost nothing. */
  keeper->loss_at_ns = now_ns + (written ? LOSS_NS : RETRY_NS);
}

/* ----------------------------------------------------------------- thread */

static int64_t earliest(int64_t a, int64_t b) { return b != 0 && b < a ? b : a; }

/* Looks after the room for the producers. It waits for no sync: whoever put would wait with it. */
static int64_t make(void *context) {
  tks__keeper *keeper = context;
  if (atomic_exchange_explicit(&keeper->tick, false, memory_order_relaxed)) pace(keeper);
  int64_t now_ns = tks__clock_monotonic_ns();
  take_back_blocks(keeper);
  add_blocks(keeper, now_ns);
  count_bytes(keeper);
  int64_t at = earliest(INT64_MAX, keeper->retry_at_ns);
  return keeper->pinned ? earliest(at, now_ns + PINNED_NS) : at;
}

/* Waits for the disk. */
static int64_t write_down(void *context) {
  tks__keeper *keeper = context;
  int64_t now_ns = tks__clock_monotonic_ns();
  sync_when_due(keeper, now_ns);
  note_losses(keeper, now_ns);
  return earliest(earliest(INT64_MAX, keeper->sync_at_ns), keeper->loss_at_ns);
}

static void want_room(void *context) {
  tks__keeper *keeper = context;
  tks__helper_nudge(&keeper->maker);
  /* Not by the maker: it may be in a call that does not return, and that is why. */
  if (tks__journal_is_losing(&keeper->journal)) tks__helper_nudge(&keeper->scribe);
}

void tks__keeper_note(tks__keeper *keeper) {
  atomic_store_explicit(&keeper->loss_pending, true, memory_order_release);
  tks__helper_nudge(&keeper->scribe);
}

void tks__keeper_pass_loss(tks__keeper *keeper) {
  tks__loss loss;
  if (pass_loss(keeper, &loss)) tks__keeper_note(keeper);
}

void tks__keeper_arm(tks__keeper *keeper) {
  if (atomic_load_explicit(&keeper->armed, memory_order_seq_cst)) return;
  atomic_store_explicit(&keeper->armed, true, memory_order_seq_cst);
  tks__helper_nudge(&keeper->scribe);
}

/* ------------------------------------------------------------------ start */

static uint64_t power_of_two_below(uint64_t n, uint64_t low, uint64_t high) {
  uint64_t power = low;
  while (power < high && power * 2 <= n) power *= 2;
  return power;
}

static void choose_sizes(tks__keeper *keeper) {
  const tks_config *c = keeper->options.config;
  if (keeper->in_files) {
    keeper->slot_count =
        power_of_two_below(c->journal_bytes / (16 * sizeof(tks__slot)), FILE_SLOTS_MIN, FILE_SLOTS_MAX);
    if (keeper->recovery.slot_count > keeper->slot_count) keeper->slot_count = keeper->recovery.slot_count;
    keeper->segment_bytes = TKS__SEGMENT_HEADER_BYTES + (size_t)keeper->slot_count * sizeof(tks__slot);
    keeper->blocks_max = c->journal_bytes / keeper->segment_bytes;
  } else {
    /* A journal that an earlier session left has its own size of blocks. */
    uint64_t records = (uint64_t)c->queue_records + c->backlog_records;
    keeper->slot_count = power_of_two_below(records / 8, MEMORY_SLOTS_MIN, MEMORY_SLOTS_MAX);
    if (keeper->recovery.slot_count > keeper->slot_count) keeper->slot_count = keeper->recovery.slot_count;
    keeper->segment_bytes = (size_t)keeper->slot_count * sizeof(tks__slot);
    keeper->blocks_max = (records + keeper->slot_count - 1) / keeper->slot_count + 1;
  }
  if (keeper->blocks_max < 2) keeper->blocks_max = 2;
  keeper->blocks_allowed = keeper->blocks_max;
  keeper->ahead = least_ahead(keeper);
}

/* The recovered segments become the first blocks. */
static uint64_t place_recovered(tks__keeper *keeper) {
  tks__journal *journal = &keeper->journal;
  uint64_t position = journal->slot_mask + 1;
  for (size_t i = 0; i < keeper->recovery.count; i++) {
    tks__recovered_segment *found = &keeper->recovery.segments[i];
    *tks__journal_block(journal, position) = (tks__block){
        .offset = found->base_seq - position,
        .slots = found->segment->slots,
        .slot_count = found->segment->slot_count,
        .ids = found->ids,
        .segment = found->segment,
    };
    found->segment = NULL;
    position += journal->slot_mask + 1;
  }
  return position;
}

static int open_files(tks__keeper *keeper, tks_error *error) {
  const tks__keeper_options *o = &keeper->options;
  int errnum = keeper->in_files ? tks__fs_mkdirs(o->dir, o->root) : 0;
  if (errnum != 0) return tks__fail_errno(error, errnum, "cannot create %s", o->dir);
  const tks__recovery_options options = {
      .dir = o->dir, .store_id = o->store_id, .symbols = o->symbols, .sources = o->sources, .log = o->log};
  int code = tks__recovery_load(&options, &keeper->recovery, error);
  if (code != TKS_OK) return code;
  if (!keeper->in_files) return TKS_OK;
  keeper->session = keeper->recovery.last_session + 1;
  char path[TKS__SEGMENT_PATH_MAX];
  tks__name_log_path(o->dir, keeper->session, path, sizeof path);
  errnum = tks__name_log_init(&keeper->names, path, &o->symbols->names, o->sources, o->log);
  if (errnum == 0) return TKS_OK;
  tks__recovery_free(&keeper->recovery);
  return tks__fail_errno(error, errnum, "cannot create %s", path);
}

static void tell_recovered(const tks__keeper *keeper) {
  const tks__recovery *r = &keeper->recovery;
  if (r->records > 0)
    tks__log_write(keeper->options.log, TKS_LOG_WARN, "journal: %llu accepted records were left by the last session",
                   (unsigned long long)r->records);
  if (r->torn.records > 0)
    tks__log_write(keeper->options.log, TKS_LOG_ERROR,
                   "journal: %llu records from sequence %llu on are torn or damaged and were left out",
                   (unsigned long long)r->torn.records, (unsigned long long)r->torn.from_seq);
  if (r->missing.to_seq > 0)
    tks__log_write(keeper->options.log, TKS_LOG_ERROR,
                   "journal: files were cut short or set aside; records from sequence %llu to %llu may be missing",
                   (unsigned long long)r->missing.from_seq, (unsigned long long)r->missing.to_seq);
}

/* How many of the recovered files are of the last session that left any. */
static uint64_t left_by_newest(const tks__recovery *recovery) {
  uint64_t newest = 0, count = 0;
  for (size_t i = 0; i < recovery->count; i++) {
    uint64_t session = tks__segment_head(recovery->segments[i].segment)->session;
    if (session > newest) count = 0;
    if (session >= newest) {
      newest = session;
      count++;
    }
  }
  return count;
}

/* What there may be of files when others than this session's use up what is allowed: the least that a session needs comes on top. But only
 * once, or a row of crashes while a sink is sick would take the whole disk, a few files each: where the last one had no more itself,
 * the sinks have to make room. */
static uint64_t most_with_recovered(const tks__keeper *keeper, uint64_t by_newest) {
  uint64_t most = keeper->recovery.count + AHEAD_MIN, bound = keeper->blocks_allowed + AHEAD_MIN;
  return most > bound && by_newest <= AHEAD_MIN ? bound : most;
}

static int prepare(tks__keeper *keeper, tks_error *error) {
  choose_sizes(keeper);
  tks__journal *journal = &keeper->journal;
  if (tks__journal_init(journal, keeper->slot_count, keeper->blocks_max + keeper->recovery.count + 1) != TKS_OK)
    return tks__fail(error, TKS_ENOMEM, 0, "out of memory for the journal");
  journal->want_room = want_room;
  journal->want_room_context = keeper;
  uint64_t by_newest = left_by_newest(&keeper->recovery);
  uint64_t position = place_recovered(keeper);
  tks__journal_begin(journal, position, keeper->options.first_seq);
  keeper->first = keeper->first_position = journal->slot_mask + 1;
  keeper->recovered = keeper->recovery.records;
  keeper->holes = position - keeper->first - keeper->recovered;
  tks__loss *missing = &keeper->recovery.missing;
  if (missing->to_seq >= keeper->options.first_seq) missing->to_seq = keeper->options.first_seq - 1;
  keeper->tick_tail = position;
  /* What was recovered was written before, but nobody knows what of it was synced. */
  keeper->attempted = keeper->first;
  keeper->old_dirty = keeper->recovery.count > 0;
  atomic_init(&keeper->dir_dirty, keeper->recovery.count > 0);
  atomic_init(&journal->released, keeper->first);
  atomic_init(&journal->recycled, keeper->first);
  atomic_init(&journal->read_to, position);
  publish_synced(keeper, keeper->first);
  /* In memory what was recovered does not count. Files do, but for the least that a session needs. */
  if (!keeper->in_files) keeper->blocks_max += keeper->recovery.count;
  else if (keeper->blocks_max < keeper->recovery.count + AHEAD_MIN)
    keeper->blocks_max = most_with_recovered(keeper, by_newest);
  if (!keeper->in_files) {
    keeper->arena_bytes = (size_t)keeper->blocks_max * keeper->segment_bytes;
    keeper->arena = tks__reserve(keeper->arena_bytes);
    if (keeper->arena == NULL) return tks__fail(error, TKS_ENOMEM, 0, "out of memory for the queue");
  }
  int errnum = add_block(keeper);
  while (errnum == 0 && !keeper->in_files && room_end_of(keeper) - position < keeper->ahead * keeper->slot_count)
    errnum = add_block(keeper);
  if (errnum == ENOBUFS) note_most(keeper);
  atomic_store_explicit(&journal->can_grow, errnum == 0, memory_order_relaxed);
  keeper->running = true;
  count_bytes(keeper);
  if (errnum != 0 && errnum != ENOBUFS) return tks__fail_errno(error, errnum, "cannot prepare %s", keeper->options.dir);
  return TKS_OK;
}

static int init_helpers(tks__keeper *keeper) {
  int rc = tks__helper_init(&keeper->maker, make, keeper);
  if (rc != 0) return rc;
  rc = tks__helper_init(&keeper->scribe, write_down, keeper);
  if (rc != 0) tks__helper_deinit(&keeper->maker);
  return rc;
}

static void deinit_helpers(tks__keeper *keeper) {
  tks__helper_deinit(&keeper->scribe);
  tks__helper_deinit(&keeper->maker);
}

static int start_threads(tks__keeper *keeper) {
  int rc = init_helpers(keeper);
  if (rc != 0) return rc;
  rc = tks__helper_start(&keeper->maker);
  if (rc != 0) goto no_maker;
  rc = tks__helper_start(&keeper->scribe);
  if (rc == 0) return 0;
  tks__helper_stop(&keeper->maker);
no_maker:
  deinit_helpers(keeper);
  return rc;
}

/* Lets go of all segments; those from position `keep_from` to `keep_to` keep their files. */
static void close_segments(tks__keeper *keeper, uint64_t keep_from, uint64_t keep_to) {
  while (keeper->spares != NULL) tks__segment_close(pop_spare(keeper), true);
  tks__journal *journal = &keeper->journal;
  uint64_t block = journal->slot_mask + 1;
  for (uint64_t p = keeper->first; p < room_end_of(keeper); p += block)
    tks__segment_close(tks__journal_block(journal, p)->segment, p + block <= keep_from || p >= keep_to);
  tks__unreserve(keeper->arena, keeper->arena_bytes);
}

int tks__keeper_save_names(tks__keeper *keeper) { return keeper->in_files ? tks__name_log_save(&keeper->names) : 0; }

static void remove_old_names(const tks__keeper *keeper) {
  for (size_t i = 0; i < keeper->recovery.session_count; i++)
    tks__recovery_remove_names(keeper->options.dir, keeper->recovery.sessions[i]);
}

static void free_struct(tks__keeper *keeper) {
  (void)pthread_mutex_destroy(&keeper->passing);
  tks__free(keeper);
}

static void free_keeper(tks__keeper *keeper, bool remove_names) {
  tks__journal_deinit(&keeper->journal);
  tks__name_log_deinit(&keeper->names, remove_names);
  tks__recovery_free(&keeper->recovery);
  free_struct(keeper);
}

/* Before the threads start, so that one thread at a time writes losses. */
static bool note_found(tks__keeper *keeper) {
  const tks__keeper_options *o = &keeper->options;
  const tks__recovery *r = &keeper->recovery;
  bool is_torn = r->torn.records > 0, is_missing = r->missing.to_seq > 0, written = true;
  if (is_torn || is_missing) {
    if (is_torn) o->note_loss(o->note_context, &r->torn);
    if (is_missing) o->note_loss(o->note_context, &r->missing);
    written = o->write_losses(o->note_context);
  }
  atomic_init(&keeper->loss_pending, !written);
  return written;
}

static int note_left(tks__keeper *keeper, tks_error *error) {
  const tks__keeper_options *o = &keeper->options;
  if (keeper->recovered == 0 || o->note_left == NULL) return TKS_OK;
  return o->note_left(o->note_context, tks__journal_seq_at(&keeper->journal, keeper->first), keeper->recovered, error);
}

int tks__keeper_start(const tks__keeper_options *options, tks__keeper **out, tks_error *error) {
  *out = NULL;
  tks__keeper *keeper = tks__aligned_alloc(64, sizeof *keeper);
  if (keeper == NULL) return tks__fail(error, TKS_ENOMEM, 0, "out of memory for the journal");
  memset(keeper, 0, sizeof *keeper);
  keeper->options = *options;
  keeper->in_files = options->config->journal != 0;
  int errnum = pthread_mutex_init(&keeper->passing, NULL);
  if (errnum != 0) {
    tks__free(keeper);
    return tks__fail_errno(error, errnum, "cannot create a lock");
  }
  int code = open_files(keeper, error);
  if (code != TKS_OK) {
    free_struct(keeper);
    return code;
  }
  code = prepare(keeper, error);
  bool written = true;
  if (code == TKS_OK) {
    tell_recovered(keeper);
    written = note_found(keeper);
    code = note_left(keeper, error);
  }
  if (code == TKS_OK) {
    int rc = start_threads(keeper);
    if (rc != 0) code = tks__fail_errno(error, rc, "cannot start a thread");
  }
  if (code == TKS_OK) {
    if (written) tks__recovery_discard(&keeper->recovery);
    *out = keeper;
    return TKS_OK;
  }
  if (keeper->journal.blocks != NULL) {
    /* What was recovered stays for the next attempt. */
    close_segments(keeper, keeper->first, keeper->journal.live_from);
    free_keeper(keeper, true);
  } else {
    tks__name_log_deinit(&keeper->names, true);
    tks__recovery_free(&keeper->recovery);
    free_struct(keeper);
  }
  return code;
}

/* ------------------------------------------------------------------- stop */

static uint64_t count_records(const tks__keeper *keeper, uint64_t from, uint64_t to) {
  const tks__journal *journal = &keeper->journal;
  uint64_t count = 0;
  for (uint64_t p = from; p < to; p++) {
    const tks__block *block = tks__journal_block(journal, p);
    uint64_t i = p & journal->slot_mask;
    count += i < block->slot_count && tks__slot_stamp(&block->slots[i]) != 0;
  }
  return count;
}

void tks__keeper_stop(tks__keeper *keeper, uint64_t *kept) {
  tks__helper_stop(&keeper->scribe);
  tks__helper_stop(&keeper->maker);
  keeper->loss_at_ns = 0;
  note_losses(keeper, tks__clock_monotonic_ns());
  if (!atomic_load_explicit(&keeper->loss_pending, memory_order_relaxed)) tks__recovery_discard(&keeper->recovery);

  uint64_t released = released_of(keeper);
  uint64_t tail = keeper->in_files ? tail_of(keeper) : keeper->journal.live_from;
  *kept = count_records(keeper, released, tail);
  if (*kept > 0 && keeper->in_files && keeper->options.config->journal_sync_ms > 0) sync_journal(keeper);
  close_segments(keeper, released, *kept > 0 ? tail : 0);
  deinit_helpers(keeper);
  if (*kept == 0) remove_old_names(keeper);
  free_keeper(keeper, *kept == 0);
}

void tks__keeper_stats_get(const tks__keeper *keeper, tks__keeper_stats *stats) {
  *stats = (tks__keeper_stats){
      .recovered = keeper->recovered,
      .holes = keeper->holes,
      .bytes = atomic_load_explicit(&keeper->bytes, memory_order_relaxed),
      .synced_seq = atomic_load_explicit(&keeper->synced_seq, memory_order_relaxed),
      .first = keeper->first_position,
  };
}
