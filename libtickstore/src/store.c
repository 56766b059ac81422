#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/error.h"
#include "base/forks.h"
#include "base/fs.h"
#include "base/memory.h"
#include "base/utc.h"
#include "ingest/validate.h"
#include "persist/json_sink.h"
#include "persist/sqlite_sink.h"

#define LEDGER_WAIT_MS 5000 /* the most that close waits for who reads gaps.db */

/* ------------------------------------------------------------------ fork */

static _Atomic uint32_t forks; /* how often this process came out of a fork as the child */
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

static void in_child(void) { atomic_fetch_add_explicit(&forks, 1, memory_order_relaxed); }
static void watch_forks(void) { (void)pthread_atfork(NULL, NULL, in_child); }

/* ----------------------------------------------------------------- gates */

static _Atomic uint32_t next_gate;
/* Which gate a thread uses. Initial-exec: one load instead of a call, also in a library loaded late (4 bytes fit its
 * surplus). */
static _Thread_local uint32_t my_gate __attribute__((tls_model("initial-exec")));

static uint32_t assign_gate(void) {
  uint32_t taken = atomic_load_explicit(&next_gate, memory_order_relaxed);
  while (taken < TKS__GATES - 1 && !atomic_compare_exchange_weak_explicit(&next_gate, &taken, taken + 1,
                                                                          memory_order_relaxed, memory_order_relaxed)) {
  }
  return taken + 1;
}

int tks__store_enter(tks_store *store, tks__gate **gate, tks_error *error) {
  if (store == NULL) return tks__fail(error, TKS_ENULL, 0, "store is NULL");
  if (store->forks != atomic_load_explicit(&forks, memory_order_relaxed))
    return tks__fail(
        error, TKS_EFORK, 0,
        "the store was opened before fork; exec, or open it in a process that does not come from such a fork");
  if (my_gate == 0) my_gate = assign_gate();
  tks__gate *g = *gate = &store->gates[my_gate - 1];
  if (g->shared) {
    atomic_fetch_add_explicit(&g->inside, 1, memory_order_seq_cst);
  } else {
    uint64_t inside = atomic_load_explicit(&g->inside, memory_order_relaxed);
    /* An exchange is a store and the full fence in one (invariant 1). */
    (void)atomic_exchange_explicit(&g->inside, inside + 1, memory_order_seq_cst);
  }
  if (atomic_load_explicit(&store->state, memory_order_seq_cst) == TKS__STORE_OPEN) return TKS_OK;
  tks__store_leave(g);
  return tks__fail(error, TKS_ECLOSED, 0, "the store is closed");
}

void tks__store_leave(tks__gate *gate) {
  /* Release: what was done inside is over for a close that sees the gate empty. A plain store where it can be: a locked
   * instruction would wait here until the record just written has left the store buffer, which is a cache miss. */
  if (gate->shared) atomic_fetch_sub_explicit(&gate->inside, 1, memory_order_release);
  else
    atomic_store_explicit(&gate->inside, atomic_load_explicit(&gate->inside, memory_order_relaxed) - 1,
                          memory_order_release);
}

/* ------------------------------------------------------------------- put */

static int refuse(tks__engine *engine, tks__refusal why, int code) {
  atomic_fetch_add_explicit(&engine->refused[why], 1, memory_order_relaxed);
  return code;
}

/* Also called by the writer now and then: a clock that is set back takes the window along. */
static void move_window(void *context, int64_t now_ns) {
  tks__engine *engine = context;
  int64_t latest_ns = now_ns + (int64_t)engine->config.max_ahead_s * TKS__NS_PER_S;
  atomic_store_explicit(&engine->latest_ns, latest_ns, memory_order_relaxed);
}

static int check_time(tks__engine *engine, int64_t ts_ns, tks_error *error) {
  if (ts_ns >= engine->earliest_ns) {
    move_window(engine, tks__clock_now_ns());
    if (ts_ns <= atomic_load_explicit(&engine->latest_ns, memory_order_relaxed)) return TKS_OK;
  }
  char text[TKS__UTC_TEXT_MAX];
  (void)tks__utc_format(ts_ns, text);
  return tks__fail(error, TKS_ETIME, 0, "ts_ns is %lld (%s), %s", (long long)ts_ns, text,
                   ts_ns < engine->earliest_ns ? "before min_time_ns" : "more than max_ahead_s in the future");
}

/* An id that may not be put: there is no such one, or its name is not in the journal, where a crash would leave its records to nobody.
 * TKS_OK: it is now. */
static __attribute__((cold)) int check_unkept(tks__engine *engine, bool symbol, uint32_t id, tks_error *error) {
  const char *what = symbol ? "symbol" : "source";
  const tks__names *names = symbol ? &engine->symbols.names : &engine->sources;
  int code;
  if (id == 0 || id > tks__names_count(names)) {
    code = tks__fail(error, symbol ? TKS_ESYMBOL : TKS_ESOURCE, 0, "%s is %u, no such id", what, id);
  } else {
    int errnum = tks__keeper_save_names(engine->keeper);
    if (errnum == 0 || id <= tks__names_kept(names)) return TKS_OK;
    code = tks__fail_errno(error, errnum, "cannot write the name of %s %u into the journal", what, id);
  }
  return refuse(engine, symbol ? TKS__REFUSED_SYMBOL : TKS__REFUSED_SOURCE, code);
}

/* Checks the quote and makes the record of it. */
static int validate(tks__engine *engine, const tks_quote *quote, tks__record *record, tks_error *error) {
  if (quote->source > tks__names_kept(&engine->sources)) {
    int known = check_unkept(engine, false, quote->source, error);
    if (known != TKS_OK) return known;
  }
  int code = tks__validate_values(quote, error);
  if (code != TKS_OK)
    return refuse(engine,
                  code == TKS_ESIDES  ? TKS__REFUSED_SIDES
                  : code == TKS_ESIZE ? TKS__REFUSED_SIZE
                                      : TKS__REFUSED_PRICE,
                  code);
  if (quote->ts_ns < engine->earliest_ns ||
      quote->ts_ns > atomic_load_explicit(&engine->latest_ns, memory_order_relaxed)) {
    code = check_time(engine, quote->ts_ns, error);
    if (code != TKS_OK) return refuse(engine, TKS__REFUSED_TIME, code);
  }
  if (quote->bid > quote->ask && engine->config.crossed_policy == TKS_CROSSED_REFUSE) {
    (void)tks__fail(error, TKS_ECROSSED, 0, "bid %.17g is above ask %.17g", quote->bid, quote->ask);
    return refuse(engine, TKS__REFUSED_CROSSED, TKS_ECROSSED);
  }
  tks__validate_normalize(quote, record);
  return TKS_OK;
}

/* Written under the symbol's lock only, read anywhere. */
static void count_up(_Atomic uint64_t *counter) {
  atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1, memory_order_relaxed);
}

enum { NO_ROOM = -1000 }; /* in the journal; not a status that leaves this file */

/* How long a put waits for the next block of the journal that the keeper is preparing, at most, before queue_policy applies. */
#define STALL_NS (2 * TKS__NS_PER_S)

/* Throttle, journal, ring, under the symbol's lock. `lose`: where there is no room, into the ring only. */
static int pass_stages(tks__engine *engine, tks__symbol *symbol, tks__record *record, bool lose) {
  tks__throttle_last *last = NULL;
  if (engine->throttle.relative >= 0) {
    bool known;
    last = tks__throttle_entry(&symbol->throttle, record->source, &known);
    if (last == NULL) return TKS_ENOMEM;
    if (known && tks__throttle_repeats(&engine->throttle, last, record)) {
      count_up(&symbol->throttled);
      return TKS_THROTTLED;
    }
  }
  if (!tks__ring_reserve(&symbol->ring, engine->config.ring_records, &engine->symbols.arena)) return TKS_ENOMEM;
  int code = TKS_OK;
  if (!tks__journal_push(engine->journal, record)) {
    if (!lose) return NO_ROOM;
    record->seq = tks__journal_lose(engine->journal, record->symbol);
    if (record->seq == 0) return NO_ROOM; /* there is again; the caller tries once more */
    code = TKS_EQUEUEFULL;
  } else if (last != NULL) {
    tks__throttle_note(last, record);
  }
  tks__ring_push(&symbol->ring, record);
  /* Release: a reader that sees it also finds the record pending or written (cursor.c, copy_pending). */
  atomic_store_explicit(&symbol->last_seq, record->seq, memory_order_release);
  return code;
}

static int pass_stages_locked(tks__engine *engine, tks__symbol *symbol, tks__record *record, bool lose) {
  tks__spinlock_acquire(&symbol->lock);
  int code = pass_stages(engine, symbol, record, lose);
  tks__spinlock_release(&symbol->lock);
  return code;
}

/* Waits for room, outside the symbol's lock, and tries again; drops when the limit is over. */
static int put_waiting(tks_store *store, tks__symbol *symbol, tks__record *record, bool *waited_out, tks_error *error) {
  tks__engine *engine = store->engine;
  bool block = engine->config.queue_policy == TKS_QUEUE_BLOCK;
  int64_t limit_ns = block ? engine->config.block_limit_ms * TKS__NS_PER_MS : STALL_NS;
  if (block && waited_out != NULL && *waited_out) limit_ns = 0;
  uint64_t room_end = tks__journal_room_end(engine->journal);
  bool stalled =
      limit_ns > 0 && (block ? tks__journal_can_grow(engine->journal) : tks__journal_room_is_near(engine->journal));
  if (stalled) atomic_fetch_add_explicit(&engine->journal->stalls, 1, memory_order_relaxed);
  else if (block && limit_ns > 0) atomic_fetch_add_explicit(&engine->blocked, 1, memory_order_relaxed);
  int64_t deadline_ns = tks__clock_monotonic_ns() + limit_ns;
  int code = NO_ROOM;
  while (code == NO_ROOM) {
    bool worth_waiting = block || tks__journal_room_is_near(engine->journal);
    bool room = worth_waiting && tks__journal_wait(engine->journal, deadline_ns);
    if (worth_waiting && !room) tks__journal_give_up(engine->journal, room_end);
    if (atomic_load_explicit(&store->state, memory_order_relaxed) != TKS__STORE_OPEN)
      return tks__fail(error, TKS_ECLOSED, 0, "the store is being closed");
    code = pass_stages_locked(engine, symbol, record, !room);
  }
  if (waited_out != NULL && code == TKS_EQUEUEFULL) *waited_out = true;
  return code;
}

static int tell_full(const tks__engine *engine, tks_error *error) {
  bool failed = atomic_load_explicit(&engine->journal->loss_cause, memory_order_relaxed) == TKS_GAP_JOURNAL;
  if (failed)
    return tks__fail(error, TKS_EQUEUEFULL, 0, "the journal cannot be extended (see the log); kept in the ring only");
  if (engine->config.journal != 0)
    return tks__fail(error, TKS_EQUEUEFULL, 0,
                     "all %llu bytes of the journal wait for the sinks; kept in the ring only",
                     (unsigned long long)engine->config.journal_bytes);
  return tks__fail(error, TKS_EQUEUEFULL, 0,
                   "the queue of %u records is full, the writer is behind; kept in the ring only",
                   engine->config.queue_records);
}

int tks__store_put(tks_store *store, const tks_quote *quote, uint64_t *seq, bool *waited_out, tks_error *error) {
  tks__engine *engine = store->engine;
  if (engine->journal == NULL) return tks__fail(error, TKS_EREADONLY, 0, "the store is open for reading only");
  int code;
  if (quote->symbol == 0 || quote->symbol > tks__names_kept(&engine->symbols.names)) {
    code = check_unkept(engine, true, quote->symbol, error);
    if (code != TKS_OK) return code;
  }
  tks__symbol *symbol = &engine->symbols.entries[quote->symbol];
  tks__ring_prefetch(&symbol->ring);
  tks__record record;
  code = validate(engine, quote, &record, error);
  if (code != TKS_OK) return code;
  if ((record.flags & TKS_FLAG_CROSSED) != 0 && engine->config.crossed_policy == TKS_CROSSED_DROP) {
    atomic_fetch_add_explicit(&symbol->crossed_dropped, 1, memory_order_relaxed);
    return TKS_CROSSED_DROPPED;
  }
  code = pass_stages_locked(engine, symbol, &record, false);
  if (code == NO_ROOM) code = put_waiting(store, symbol, &record, waited_out, error);
  if (code == TKS_EQUEUEFULL) (void)tell_full(engine, error);
  if (code == TKS_ENOMEM) {
    (void)tks__fail(error, code, 0, "out of memory for the symbol's ring or throttle");
    return refuse(engine, TKS__REFUSED_MEMORY, code);
  }
  if (seq != NULL && (code == TKS_OK || code == TKS_EQUEUEFULL)) *seq = record.seq;
  return code;
}

int tks__store_check(tks_store *store, const tks_quote *quote, tks_error *error) {
  tks__record record;
  return validate(store->engine, quote, &record, error);
}

void tks__store_prefetch_symbol(const tks_store *store, const tks_quote *quote) {
  const tks__symbol *symbol = tks__symbols_get(&store->engine->symbols, quote->symbol);
  if (symbol == NULL) return;
  __builtin_prefetch(&symbol->lock, 1);
  __builtin_prefetch(&symbol->ring, 1);
}

void tks__store_prefetch_ring(const tks_store *store, const tks_quote *quote) {
  const tks__symbol *symbol = tks__symbols_get(&store->engine->symbols, quote->symbol);
  if (symbol != NULL) tks__ring_prefetch(&symbol->ring);
}

/* ------------------------------------------------------------------ open */

static int make_absolute(const char *path, size_t length, char out[TKS__PATH_MAX], size_t *out_length,
                         tks_error *error) {
  if (path == NULL) return tks__fail(error, TKS_ENULL, 0, "path is NULL");
  if (length == 0) return tks__fail(error, TKS_EINVAL, 0, "path is empty");
  if (memchr(path, '\0', length) != NULL) return tks__fail(error, TKS_EINVAL, 0, "path contains a NUL byte");
  size_t n = 0;
  /* The host may change its working directory while the store is open. */
  if (path[0] != '/') {
    if (getcwd(out, TKS__PATH_MAX) == NULL) return tks__fail_errno(error, errno, "cannot get the working directory");
    n = strlen(out);
    if (n + 1 < TKS__PATH_MAX) out[n++] = '/';
  }
  if (n + length >= TKS__PATH_MAX) return tks__fail(error, TKS_EINVAL, 0, "path of %zu bytes is too long", length);
  memcpy(out + n, path, length);
  n += length;
  while (n > 1 && out[n - 1] == '/') n--;
  out[n] = '\0';
  *out_length = n;
  return TKS_OK;
}

/* A directory without a manifest becomes a store only if there is nothing else in it: neither somebody's home directory,
 * nor a store whose manifest was lost and whose sequence numbers would be given out again. */
static int check_empty(const tks__layout *layout, tks_error *error) {
  tks__fs_names names;
  int errnum = tks__fs_list(layout->root, &names);
  if (errnum != 0) return tks__fail_errno(error, errnum, "cannot read %s", layout->root);
  int code = TKS_OK;
  for (size_t i = 0; i < names.count && code == TKS_OK; i++) {
    if (strcmp(names.names[i], "lock") == 0 || strncmp(names.names[i], "store.json", 10) == 0) continue;
    code = tks__fail(error, TKS_ENOTSTORE, 0, "%s holds %.64s but no store.json: not a store, and not empty",
                     layout->root, names.names[i]);
  }
  tks__fs_names_free(&names);
  return code;
}

/* Before the lock's file is made: a directory that is refused is left as it was. */
static int check_foreign(const tks__layout *layout, tks_error *error) {
  char path[TKS__PATH_MAX];
  int64_t size;
  tks__layout_manifest(layout, path);
  return tks__fs_size(path, &size) == ENOENT ? check_empty(layout, error) : TKS_OK;
}

static int take_lock(tks__engine *engine, tks_error *error) {
  char path[TKS__PATH_MAX];
  tks__layout_lock(&engine->layout, path);
  int errnum = tks__fs_open(path, O_RDWR | O_CREAT, 0644, &engine->lock_fd);
  if (errnum != 0) {
    engine->lock_fd = -1;
    return tks__fail_errno(error, errnum, "cannot open %s", path);
  }
  tks__forks_note_lock(engine->lock_fd);
  errnum = tks__fs_lock(engine->lock_fd);
  if (errnum == 0) return TKS_OK;
  if (errnum == EAGAIN)
    return tks__fail(error, TKS_ELOCKED, errnum, "%s is open for writing elsewhere", engine->layout.root);
  return tks__fail_errno(error, errnum, "cannot lock %s", path);
}

static void release_lock(tks__engine *engine) {
  if (engine->lock_fd < 0) return;
  tks__forks_forget_lock(engine->lock_fd);
  /* Explicitly: a child that is forked just now may hold the same open file description. */
  (void)tks__fs_unlock(engine->lock_fd);
  (void)tks__fs_close(engine->lock_fd);
}

static int open_manifest(tks__engine *engine, tks_error *error) {
  bool missing;
  tks_error why;
  int code = tks__manifest_read(&engine->layout, &engine->manifest, &missing, &why);
  if (missing && !engine->config.read_only) {
    code = check_empty(&engine->layout, &why);
    if (code == TKS_OK) tks__manifest_init(&engine->manifest, engine->config.backend);
  }
  if (code != TKS_OK) {
    if (error != NULL) *error = why;
    return code;
  }
  if (!engine->manifest.clean)
    tks__log_write(&engine->log, TKS_LOG_WARN, "%s was not closed; sequence numbers go on at %llu", engine->layout.root,
                   (unsigned long long)engine->manifest.next_seq);
  return TKS_OK;
}

/* Marks the store as in use, with a reserve of sequence numbers above anything given out until the next such call. */
static uint64_t write_reserve(void *context, uint64_t tail, uint64_t reserved_seq) {
  tks__engine *engine = context;
  tks__manifest manifest = engine->manifest;
  manifest.clean = false;
  manifest.next_seq = tail + TKS__SEQ_RESERVE;
  tks_error error;
  if (tks__manifest_write(&engine->layout, &manifest, &error) == TKS_OK) return manifest.next_seq;
  tks__log_write(&engine->log, TKS_LOG_ERROR, "%s", error.message);
  /* Not raised: tried again at once when the writer comes round. */
  return reserved_seq;
}

static void release_readers(void *context, int32_t day) {
  tks__engine *engine = context;
  tks__pool_forget(&engine->pool, day);
}

static int make_sinks(tks__engine *engine, tks__sink *sinks[TKS__LANES]) {
  const tks_config *c = &engine->config;
  sinks[0] = sinks[1] = NULL;
  if ((c->backend & TKS_SQLITE) != 0) {
    const tks__sqlite_sink_options options = {
        .dayfile =
            {
                .layout = &engine->layout,
                .symbols = &engine->symbols.names,
                .sources = &engine->sources,
                .log = &engine->log,
                .synchronous = c->synchronous,
                .checkpoint_pages = c->checkpoint_pages,
                .busy_timeout_ms = c->busy_timeout_ms,
                .temp_store_memory = c->temp_store_memory,
                .page_cache_bytes = c->page_cache_bytes,
                .release_readers = release_readers,
                .release_context = engine,
            },
        .first_seq = engine->manifest.next_seq,
        .after_crash = !engine->manifest.clean,
        .max_open_days = c->max_open_days,
        .late_close_s = c->late_close_s,
    };
    sinks[0] = tks__sqlite_sink_new(&options);
    if (sinks[0] == NULL) return TKS_ENOMEM;
  }
  if ((c->backend & TKS_JSON) != 0) {
    const tks__json_sink_options options = {
        .layout = &engine->layout,
        .symbols = &engine->symbols.names,
        .sources = &engine->sources,
        .log = &engine->log,
        .broker_id = engine->broker_id,
        .first_seq = engine->manifest.next_seq,
        .late_close_s = c->late_close_s,
    };
    sinks[1] = tks__json_sink_new(&options);
    if (sinks[1] == NULL) {
      if (sinks[0] != NULL) (void)sinks[0]->ops->close(sinks[0], NULL);
      return TKS_ENOMEM;
    }
  }
  return TKS_OK;
}

static void note_loss(void *context, const tks__loss *loss) {
  tks__engine *engine = context;
  tks__gaps_note(engine->gaps, 0, loss);
}

static bool write_losses(void *context) {
  tks__engine *engine = context;
  return tks__gaps_write(engine->gaps);
}

/* An earlier session wrote to a sink that this one does not have: what that lacked of the records in its journal, it may not get. Nobody
 * knows what it was, so the ledger says between which numbers. The row is on disk before the manifest forgets about that sink: an open
 * that is killed before leaves all as it was, and the same row is written by the next one. */
static int note_left_out(void *context, uint64_t from_seq, uint64_t records, tks_error *error) {
  tks__engine *engine = context;
  uint32_t left_out = engine->manifest.backend & ~engine->config.backend;
  if (left_out == 0) return TKS_OK;
  int64_t now_ns = tks__clock_now_ns();
  const tks__loss loss = {
      .from_seq = from_seq,
      .to_seq = engine->manifest.next_seq - 1,
      .first_ns = now_ns,
      .last_ns = now_ns,
      .cause = TKS_GAP_BACKEND,
  };
  const char *name = left_out == TKS_JSON ? "json" : "sqlite";
  tks__gaps_note(engine->gaps, left_out, &loss);
  if (!tks__gaps_write_now(engine->gaps))
    return tks__fail(error, TKS_EIO, 0,
                     "%s cannot be left out: what it lacks of %llu records that an earlier session left cannot be "
                     "written down in gaps.db, nor beside it (see the log)",
                     name, (unsigned long long)records);
  tks__log_write(&engine->log, TKS_LOG_ERROR,
                 "%s is left out now and does not get what it lacks of %llu records that an earlier session left", name,
                 (unsigned long long)records);
  return TKS_OK;
}

static int start_keeper(tks__engine *engine, tks_error *error) {
  engine->gaps = tks__gaps_new(&engine->layout, &engine->symbols.names, &engine->log);
  if (engine->gaps == NULL) return tks__fail(error, TKS_ENOMEM, 0, "out of memory for the gap ledger");
  (void)tks__gaps_open(engine->gaps);
  tks__layout_journal(&engine->layout, engine->journal_dir);
  const tks__keeper_options options = {
      .config = &engine->config,
      .log = &engine->log,
      .dir = engine->journal_dir,
      .root = engine->layout.root,
      .store_id = engine->manifest.store_id,
      .symbols = &engine->symbols,
      .sources = &engine->sources,
      .first_seq = engine->manifest.next_seq,
      .note_left = note_left_out,
      .note_loss = note_loss,
      .write_losses = write_losses,
      .note_context = engine,
  };
  int code = tks__keeper_start(&options, &engine->keeper, error);
  if (code != TKS_OK) {
    tks__gaps_free(engine->gaps);
    return code;
  }
  engine->journal = tks__keeper_journal(engine->keeper);
  return TKS_OK;
}

/* *kept: records that wait in the journal for the next open. False: losses are written down nowhere. */
static bool stop_keeper(tks__engine *engine, int ledger_wait_ms, uint64_t *kept) {
  tks__gaps_last_chance(engine->gaps, ledger_wait_ms);
  tks__keeper_stop(engine->keeper, kept);
  bool told = tks__gaps_write(engine->gaps);
  if (!told)
    tks__log_write(&engine->log, TKS_LOG_ERROR,
                   "gaps.db could not be written: what was lost is told by this log alone");
  tks__gaps_free(engine->gaps);
  return told;
}

static int start_writer(tks__engine *engine, tks_error *error) {
  tks__sink *sinks[TKS__LANES];
  int code = make_sinks(engine, sinks);
  if (code != TKS_OK) return tks__fail(error, code, 0, "out of memory opening the sinks");
  /* What a crash left is made good before anybody reads: logs folded in, journals played back. */
  for (int i = 0; i < TKS__LANES; i++)
    if (sinks[i] != NULL) (void)sinks[i]->ops->tend(sinks[i], tks__clock_now_ns(), NULL);
  const tks__writer_options options = {
      .config = &engine->config,
      .log = &engine->log,
      .keeper = engine->keeper,
      .gaps = engine->gaps,
      .first_seq = engine->manifest.next_seq,
      .reserve = write_reserve,
      .reserve_context = engine,
      .reserved_seq = engine->manifest.next_seq + TKS__SEQ_RESERVE,
      .tended = move_window,
      .tended_context = engine,
  };
  return tks__writer_start(&options, sinks, &engine->writer, error);
}

static int write_in_use(const tks__engine *engine, tks_error *error) {
  tks__manifest in_use = engine->manifest;
  in_use.clean = false;
  in_use.next_seq += TKS__SEQ_RESERVE;
  return tks__manifest_write(&engine->layout, &in_use, error);
}

/* After what a sink that is left out lacks has been noted, before anything is written to one that is new. */
static int change_backend(tks__engine *engine, tks_error *error) {
  if (engine->manifest.backend == engine->config.backend) return TKS_OK;
  engine->manifest.backend = engine->config.backend;
  engine->manifest.mixed = true;
  return write_in_use(engine, error);
}

static int start_writing(tks__engine *engine, tks_error *error) {
  int code = write_in_use(engine, error);
  if (code != TKS_OK) return code;
  code = start_keeper(engine, error);
  if (code != TKS_OK) return code;
  code = change_backend(engine, error);
  if (code == TKS_OK) code = start_writer(engine, error);
  uint64_t kept;
  if (code != TKS_OK) (void)stop_keeper(engine, 0, &kept);
  return code;
}

static int open_names(tks__engine *engine, tks_error *error) {
  int code = tks__symbols_init(&engine->symbols, engine->config.max_symbols);
  if (code != TKS_OK) return tks__fail(error, code, 0, "out of memory for %u symbols", engine->config.max_symbols);
  code = tks__names_init(&engine->sources, engine->config.max_sources);
  if (code == TKS_OK) return TKS_OK;
  tks__symbols_deinit(&engine->symbols);
  return tks__fail(error, code, 0, "out of memory for %u sources", engine->config.max_sources);
}

static int open_pool(tks__engine *engine, tks_error *error) {
  const tks_config *c = &engine->config;
  const tks__pool_options options = {
      .layout = &engine->layout,
      .connections = c->read_connections,
      .life_s = c->connection_life_s,
      .busy_timeout_ms = c->busy_timeout_ms,
      .deadline_ms = c->read_deadline_ms,
      .temp_store_memory = c->temp_store_memory,
      .mmap_bytes = c->mmap_bytes,
  };
  int code = tks__pool_init(&engine->pool, &options);
  if (code != TKS_OK) return tks__fail(error, code, 0, "out of memory for reading connections");
  engine->calendar = tks__calendar_new(&engine->layout);
  if (engine->calendar != NULL) return TKS_OK;
  tks__pool_deinit(&engine->pool);
  return tks__fail(error, TKS_ENOMEM, 0, "out of memory for the calendar of day files");
}

static void close_pool(tks__engine *engine) {
  tks__latest_forget(&engine->latest);
  tks__calendar_free(engine->calendar);
  tks__pool_deinit(&engine->pool);
}

static void connect_reader(tks__engine *engine) {
  uint32_t backend = engine->config.read_only ? engine->manifest.backend : engine->config.backend;
  engine->reader = (tks__reader){
      .layout = &engine->layout,
      .pool = &engine->pool,
      .calendar = engine->calendar,
      .latest = &engine->latest,
      .symbols = &engine->symbols,
      .sources = &engine->sources,
      .writer = engine->writer,
      .journal = engine->journal,
      .mixed = engine->manifest.mixed,
      .primary = (backend & TKS_SQLITE) != 0 ? TKS_SQLITE : TKS_JSON,
      .ring_records = engine->config.ring_records,
  };
}

static int prepare(tks__engine *engine, const char *path, size_t length, const tks_config *config, tks_error *error) {
  int code = tks__config_take(config, &engine->config, error);
  if (code != TKS_OK) return code;
  char absolute[TKS__PATH_MAX];
  code = make_absolute(path, length, absolute, &length, error);
  if (code != TKS_OK) return code;
  if (!tks__layout_init(&engine->layout, absolute, length))
    return tks__fail(error, TKS_EINVAL, 0, "path of %zu bytes is too long", length);
  if (engine->config.broker_id_length > 0) {
    int bad = tks__name_check(engine->config.broker_id, (size_t)engine->config.broker_id_length);
    if (bad != TKS_OK) return tks__fail(error, TKS_ECONFIG, bad, "broker_id: %s", tks__status_message(bad));
    memcpy(engine->broker_id, engine->config.broker_id, (size_t)engine->config.broker_id_length);
  }
  engine->config.broker_id = engine->broker_id;
  engine->log = (tks__log){
      .write = engine->config.log, .context = engine->config.log_context, .level = (int32_t)engine->config.log_level};
  engine->throttle = (tks__throttle_rule){.relative = engine->config.throttle_relative,
                                          .max_age_ns = engine->config.throttle_max_age_ms * TKS__NS_PER_MS};
  engine->earliest_ns = engine->config.min_time_ns;
  atomic_init(&engine->latest_ns, INT64_MIN);
  engine->lock_fd = -1;
  return TKS_OK;
}

/* Each step's failure undoes exactly the steps before it. */
static int open_engine(tks__engine *engine, tks_error *error) {
  int code = TKS_OK;
  if (!engine->config.read_only) {
    int errnum = tks__fs_mkdirs(engine->layout.root, "");
    if (errnum != 0) return tks__fail_errno(error, errnum, "cannot create %s", engine->layout.root);
    code = check_foreign(&engine->layout, error);
    if (code != TKS_OK) return code;
    code = take_lock(engine, error);
    if (code != TKS_OK) goto no_lock;
  }
  code = open_manifest(engine, error);
  if (code != TKS_OK) goto no_lock;
  code = open_names(engine, error);
  if (code != TKS_OK) goto no_lock;
  code = open_pool(engine, error);
  if (code != TKS_OK) goto no_pool;
  if (!engine->config.read_only) {
    code = start_writing(engine, error);
    if (code != TKS_OK) goto no_writer;
  }
  connect_reader(engine);
  return TKS_OK;

no_writer:
  close_pool(engine);
no_pool:
  tks__names_deinit(&engine->sources);
  tks__symbols_deinit(&engine->symbols);
no_lock:
  release_lock(engine);
  return code;
}

static pthread_mutex_t shells_lock = PTHREAD_MUTEX_INITIALIZER;
static tks_store *shells;

int tks__store_open(const char *path, size_t length, const tks_config *config, tks_store **out, tks_error *error) {
  *out = NULL;
  (void)pthread_once(&fork_once, watch_forks);
  tks_store *store = tks__aligned_alloc(_Alignof(tks_store), sizeof *store);
  tks__engine *engine = tks__calloc(1, sizeof *engine);
  int code =
      store != NULL && engine != NULL ? TKS_OK : tks__fail(error, TKS_ENOMEM, 0, "out of memory opening a store");
  if (code == TKS_OK) code = prepare(engine, path, length, config, error);
  if (code == TKS_OK) code = open_engine(engine, error);
  if (code != TKS_OK) {
    tks__free(engine);
    tks__free(store);
    return code;
  }
  memset(store, 0, sizeof *store);
  store->gates[TKS__GATES - 1].shared = true;
  store->engine = engine;
  store->forks = atomic_load_explicit(&forks, memory_order_relaxed);
  (void)pthread_mutex_lock(&shells_lock);
  store->next = shells;
  shells = store;
  (void)pthread_mutex_unlock(&shells_lock);
  *out = store;
  return TKS_OK;
}

/* ----------------------------------------------------------------- close */

static void wait_until_empty(tks_store *store) {
  for (int i = 0; i < TKS__GATES; i++) {
    /* Acquire: pairs with the release in tks__store_leave. */
    while (atomic_load_explicit(&store->gates[i].inside, memory_order_seq_cst) != 0) {
      /* Those that wait for room or for durability see the closing state. Again and again: one may begin to wait just
       * after it was called. */
      if (store->engine->writer != NULL) {
        tks__journal_release_waiters(store->engine->journal);
        tks__writer_interrupt(store->engine->writer);
      }
      (void)nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
    }
  }
}

/* What is left of close_limit_ms, but not for ever: rows have another file to go to. */
static int ledger_wait_ms(const tks__engine *engine, int64_t began_ns) {
  int64_t left_ms = engine->config.close_limit_ms - (tks__clock_monotonic_ns() - began_ns) / TKS__NS_PER_MS;
  return left_ms < 0 ? 0 : left_ms > LEDGER_WAIT_MS ? LEDGER_WAIT_MS : (int)left_ms;
}

static int close_engine(tks__engine *engine, tks_error *error) {
  int code = TKS_OK;
  if (engine->writer != NULL) {
    int64_t began_ns = tks__clock_monotonic_ns();
    uint64_t next_seq;
    code = tks__writer_close(engine->writer, engine->config.close_limit_ms, &next_seq, error);
    uint64_t kept;
    bool told = stop_keeper(engine, ledger_wait_ms(engine, began_ns), &kept);
    if (code == TKS_OK && !told)
      code = tks__fail(error, TKS_EIO, 0, "closed, but records were lost that could not be written to gaps.db");
    if (code == TKS_OK && kept > 0) {
      code = TKS_KEPT;
      tks__log_write(&engine->log, TKS_LOG_WARN, "closed with %llu records that wait in the journal for the next open",
                     (unsigned long long)kept);
    }
    engine->manifest.next_seq = next_seq;
    engine->manifest.clean = true;
    tks_error manifest_error;
    /* Not fatal: the reserve written at open still keeps sequence numbers apart. */
    if (tks__manifest_write(&engine->layout, &engine->manifest, &manifest_error) != TKS_OK)
      tks__log_write(&engine->log, TKS_LOG_WARN, "%s", manifest_error.message);
  }
  close_pool(engine);
  tks__names_deinit(&engine->sources);
  tks__symbols_deinit(&engine->symbols);
  release_lock(engine);
  tks__free(engine);
  return code;
}

int tks__store_close(tks_store *store, tks_error *error) {
  if (store == NULL) return tks__fail(error, TKS_ENULL, 0, "store is NULL");
  if (store->forks != atomic_load_explicit(&forks, memory_order_relaxed))
    return tks__fail(error, TKS_EFORK, 0, "the store was opened before fork and belongs to the parent");
  uint32_t open = TKS__STORE_OPEN;
  if (!atomic_compare_exchange_strong(&store->state, &open, TKS__STORE_CLOSING))
    return tks__fail(error, TKS_ECLOSED, 0, "the store is already closed");
  wait_until_empty(store);
  int code = close_engine(store->engine, error);
  store->engine = NULL;
  atomic_store(&store->state, TKS__STORE_CLOSED);
  return code;
}

/* ----------------------------------------------------------------- stats */

static void sum_symbols(const tks__engine *engine, tks_store_stats *stats) {
  uint32_t count = tks__names_count(&engine->symbols.names);
  stats->symbols = count;
  for (uint32_t id = 1; id <= count; id++) {
    const tks__symbol *s = &engine->symbols.entries[id];
    stats->throttled += atomic_load_explicit(&s->throttled, memory_order_relaxed);
    stats->crossed_dropped += atomic_load_explicit(&s->crossed_dropped, memory_order_relaxed);
    stats->ring_bytes += atomic_load_explicit(&s->ring.bytes, memory_order_relaxed);
    stats->ring_records += tks__ring_count(&s->ring, engine->config.ring_records);
  }
}

static void sum_refusals(const tks__engine *engine, tks_store_stats *stats) {
  uint64_t *fields[TKS__REFUSALS] = {
      [TKS__REFUSED_SYMBOL] = &stats->refused_symbol,   [TKS__REFUSED_SOURCE] = &stats->refused_source,
      [TKS__REFUSED_SIDES] = &stats->refused_sides,     [TKS__REFUSED_PRICE] = &stats->refused_price,
      [TKS__REFUSED_SIZE] = &stats->refused_size,       [TKS__REFUSED_TIME] = &stats->refused_time,
      [TKS__REFUSED_CROSSED] = &stats->refused_crossed, [TKS__REFUSED_MEMORY] = &stats->refused_memory,
  };
  for (int i = 0; i < TKS__REFUSALS; i++) {
    *fields[i] = atomic_load_explicit(&engine->refused[i], memory_order_relaxed);
    stats->refused += *fields[i];
  }
}

void tks__store_stats(tks_store *store, tks_store_stats *stats) {
  tks__engine *engine = store->engine;
  stats->backend = engine->writer != NULL ? engine->config.backend : engine->manifest.backend;
  if (engine->writer != NULL) tks__writer_stats(engine->writer, stats);
  sum_symbols(engine, stats);
  sum_refusals(engine, stats);
  stats->sources = tks__names_count(&engine->sources);
  stats->blocked = atomic_load_explicit(&engine->blocked, memory_order_relaxed);
  stats->read_connections = atomic_load_explicit(&engine->pool.open, memory_order_relaxed);
  stats->received = stats->accepted + stats->throttled + stats->crossed_dropped + stats->refused;
}
