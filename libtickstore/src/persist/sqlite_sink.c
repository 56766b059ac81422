/* A write goes through four steps: find the days that occur, pick one day's records, group them by symbol (so that a
 * transaction touches each symbol's pages once), hand them to the day file. A few day files stay open for late ticks. */
#include "persist/sqlite_sink.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/fs.h"
#include "base/memory.h"
#include "base/utc.h"

#define ENOUGH_ROOM_RECORDS 20000 /* who could write so many at once need not be careful any more */

typedef struct open_day {
  tks__dayfile *file;
  int64_t used_ns; /* monotonic, of the last write */
} open_day;

typedef struct sqlite_sink {
  tks__sink base;
  tks__sqlite_sink_options options;
  open_day *days; /* max_open_days of room */
  size_t open_count;
  int32_t *suspects; /* days of which a write or sync failed and was not made good */
  size_t suspect_count, suspect_capacity;
  bool all_suspect;  /* there was no memory to note which */
  bool swept;        /* at least once */
  int32_t *unsealed; /* days that are not open any more and that a reader kept from being sealed */
  size_t unsealed_count, unsealed_capacity;
  uint64_t given_seq; /* the highest that this store can have given out */
  bool careful;       /* the disk was full a moment ago */
  tks__log_limiter sweep_limiter;
  /* scratch, grown to the largest write */
  const tks__record **picked;
  size_t picked_capacity;
  const tks__record **grouped;
  size_t grouped_capacity;
  uint32_t *starts; /* by symbol id: count, then offset of its group; all zero between writes */
  size_t starts_capacity;
  uint32_t *touched;
  size_t touched_capacity;
} sqlite_sink;

static const tks__sink_ops OPS;

tks__sink *tks__sqlite_sink_new(const tks__sqlite_sink_options *options) {
  sqlite_sink *sink = tks__calloc(1, sizeof *sink);
  if (sink == NULL) return NULL;
  sink->days = tks__calloc(options->max_open_days, sizeof *sink->days);
  if (sink->days == NULL) {
    tks__free(sink);
    return NULL;
  }
  sink->base.ops = &OPS;
  sink->base.durable_on_write = options->dayfile.synchronous == TKS_SYNC_FULL;
  sink->options = *options;
  sink->given_seq = options->first_seq - 1;
  return &sink->base;
}

/* ------------------------------------------------------------- open days */

static void update_gauges(sqlite_sink *sink) {
  uint64_t wal = 0;
  for (size_t i = 0; i < sink->open_count; i++) wal += tks__dayfile_wal_bytes(sink->days[i].file);
  atomic_store_explicit(&sink->base.gauges.wal_bytes, wal, memory_order_relaxed);
  atomic_store_explicit(&sink->base.gauges.open_files, sink->open_count, memory_order_relaxed);
}

static void remove_day(sqlite_sink *sink, size_t index) { sink->days[index] = sink->days[--sink->open_count]; }

static size_t index_of(const sqlite_sink *sink, int32_t day) {
  size_t i = 0;
  while (i < sink->open_count && tks__dayfile_day(sink->days[i].file) != day) i++;
  return i;
}

static bool has_day(const int32_t *days, size_t count, int32_t day) {
  for (size_t i = 0; i < count; i++)
    if (days[i] == day) return true;
  return false;
}

static size_t drop_day(int32_t *days, size_t count, int32_t day) {
  size_t kept = 0;
  for (size_t i = 0; i < count; i++)
    if (days[i] != day) days[kept++] = days[i];
  return kept;
}

static bool is_listed(const sqlite_sink *sink, int32_t day) {
  return has_day(sink->suspects, sink->suspect_count, day);
}

static bool is_suspect(const sqlite_sink *sink, int32_t day) { return sink->all_suspect || is_listed(sink, day); }

static void note_suspect(sqlite_sink *sink, int32_t day) {
  if (is_listed(sink, day)) return;
  if (tks__grow((void **)&sink->suspects, &sink->suspect_capacity, sink->suspect_count + 1, sizeof *sink->suspects))
    sink->suspects[sink->suspect_count++] = day;
  else sink->all_suspect = true;
}

/* After a failure: what the file holds is learnt by opening it again, and made good there (see open_file). */
static void discard_failed(sqlite_sink *sink, int32_t day) {
  note_suspect(sink, day);
  size_t i = index_of(sink, day);
  if (i == sink->open_count) return;
  tks__dayfile_discard(sink->days[i].file);
  remove_day(sink, i);
}

static void clear_suspect(sqlite_sink *sink, int32_t day) {
  sink->suspect_count = drop_day(sink->suspects, sink->suspect_count, day);
}

static bool is_unsealed(const sqlite_sink *sink, int32_t day) {
  return has_day(sink->unsealed, sink->unsealed_count, day);
}

/* Its files tell only in part: whoever closes it last removes the log, and it is in WAL mode still. */
static void note_unsealed(sqlite_sink *sink, int32_t day) {
  if (is_unsealed(sink, day)) return;
  if (tks__grow((void **)&sink->unsealed, &sink->unsealed_capacity, sink->unsealed_count + 1, sizeof *sink->unsealed))
    sink->unsealed[sink->unsealed_count++] = day;
}

static void clear_unsealed(sqlite_sink *sink, int32_t day) {
  sink->unsealed_count = drop_day(sink->unsealed, sink->unsealed_count, day);
}

/* Closes a day as it is, where a reader in the way keeps it from being sealed. Nothing unsynced is let go. */
static int close_unsealed(sqlite_sink *sink, size_t index, tks_error *error) {
  tks__dayfile *file = sink->days[index].file;
  int code = sink->base.durable_on_write ? TKS_OK : tks__dayfile_sync(file, error);
  if (code != TKS_OK) {
    discard_failed(sink, tks__dayfile_day(file));
    return code;
  }
  tks__log_write(sink->options.dayfile.log, TKS_LOG_WARN, "closed %s unsealed: a reader has it open",
                 tks__dayfile_path(file));
  note_unsealed(sink, tks__dayfile_day(file));
  tks__dayfile_discard(file);
  remove_day(sink, index);
  return TKS_OK;
}

static bool seal_day(sqlite_sink *sink, size_t index) {
  int32_t day = tks__dayfile_day(sink->days[index].file);
  if (!tks__dayfile_seal(sink->days[index].file)) return false;
  clear_unsealed(sink, day);
  remove_day(sink, index);
  return true;
}

static int make_room(sqlite_sink *sink, tks_error *error) {
  if (sink->open_count < sink->options.max_open_days) return TKS_OK;
  size_t oldest = 0;
  for (size_t i = 1; i < sink->open_count; i++)
    if (sink->days[i].used_ns < sink->days[oldest].used_ns) oldest = i;
  /* Not a rotation: the day may get more. */
  return seal_day(sink, oldest) ? TKS_OK : close_unsealed(sink, oldest, error);
}

static int open_file(sqlite_sink *sink, int32_t day, tks__dayfile **file, tks_error *error) {
  size_t i = index_of(sink, day);
  if (i == sink->open_count) {
    tks__dayfile *opened;
    int code = make_room(sink, error);
    if (code == TKS_OK) code = tks__dayfile_open(&sink->options.dayfile, day, &opened, error);
    if (code != TKS_OK) return code;
    if (is_suspect(sink, day)) {
      code = tks__dayfile_settle(opened, error);
      if (code != TKS_OK) {
        tks__dayfile_discard(opened);
        return code;
      }
      clear_suspect(sink, day);
    }
    sink->days[i = sink->open_count++].file = opened;
  }
  sink->days[i].used_ns = tks__clock_monotonic_ns();
  *file = sink->days[i].file;
  return TKS_OK;
}

/* A file that is not a sound day file would hold up every record of its day, and those behind them. It is kept, under
 * another name, and the day goes on in a new file. */
static int set_aside(sqlite_sink *sink, int32_t day, const tks_error *why, tks_error *error) {
  char path[TKS__PATH_MAX], aside[TKS__PATH_MAX];
  tks__layout_day_file(sink->options.dayfile.layout, day, path);
  discard_failed(sink, day);
  clear_suspect(sink, day);
  const tks__dayfile_options *o = &sink->options.dayfile;
  if (o->release_readers != NULL) o->release_readers(o->release_context, day);
  int errnum = tks__layout_set_aside(path, aside);
  if (errnum != 0) return tks__fail_errno(error, errnum, "cannot set aside the damaged %s", path);
  tks__log_write(sink->options.dayfile.log, TKS_LOG_ERROR, "%s; set aside as %s", why->message, aside);
  return TKS_OK;
}

/* ----------------------------------------------------------------- write */

/* Collects the records of `day` that its file does not hold yet. They ascend, but for those that come a second time: a copy of a
 * journal file has records that another one has too. */
static size_t pick(sqlite_sink *sink, const tks__record *records, size_t count, int32_t day, uint64_t stored) {
  int64_t start = tks__utc_day_start_ns(day);
  int64_t end = tks__utc_day_start_ns(day + 1);
  size_t n = 0;
  for (size_t i = 0; i < count; i++) {
    const tks__record *r = &records[i];
    if (r->ts_ns < start || r->ts_ns >= end || r->seq <= stored) continue;
    sink->picked[n++] = r;
    stored = r->seq;
  }
  return n;
}

static int by_value(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}

/* Stable counting sort of picked[] by symbol into grouped[]. */
static bool group_by_symbol(sqlite_sink *sink, size_t count) {
  size_t touched = 0;
  for (size_t i = 0; i < count; i++) {
    uint32_t symbol = sink->picked[i]->symbol;
    if (symbol >= sink->starts_capacity) {
      size_t before = sink->starts_capacity;
      if (!tks__grow((void **)&sink->starts, &sink->starts_capacity, (size_t)symbol + 1, sizeof *sink->starts))
        goto no_memory;
      memset(sink->starts + before, 0, (sink->starts_capacity - before) * sizeof *sink->starts);
    }
    if (sink->starts[symbol]++ > 0) continue;
    if (!tks__grow((void **)&sink->touched, &sink->touched_capacity, touched + 1, sizeof *sink->touched)) {
      sink->starts[symbol] = 0;
      goto no_memory;
    }
    sink->touched[touched++] = symbol;
  }
  qsort(sink->touched, touched, sizeof *sink->touched, by_value);
  uint32_t start = 0;
  for (size_t i = 0; i < touched; i++) {
    uint32_t n = sink->starts[sink->touched[i]];
    sink->starts[sink->touched[i]] = start;
    start += n;
  }
  for (size_t i = 0; i < count; i++) sink->grouped[sink->starts[sink->picked[i]->symbol]++] = sink->picked[i];
  for (size_t i = 0; i < touched; i++) sink->starts[sink->touched[i]] = 0;
  return true;

no_memory:
  for (size_t i = 0; i < touched; i++) sink->starts[sink->touched[i]] = 0;
  return false;
}

static int write_day_once(sqlite_sink *sink, const tks__record *records, size_t count, int32_t day, tks_error *error) {
  tks__dayfile *file;
  int code = open_file(sink, day, &file, error);
  if (code != TKS_OK) return code;
  /* Every number in the file was handed over before, or is now. (After a failed sync what comes again comes in pieces, so
   * not only these records count.) A higher one is not of this store's making; records below it would be taken for stored
   * and be lost. */
  if (tks__dayfile_last_seq(file) > sink->given_seq) {
    code = tks__fail(error, TKS_EDAYFILE, 0,
                     "%s holds sequence numbers up to %llu, beyond this store's: not written by it",
                     tks__dayfile_path(file), (unsigned long long)tks__dayfile_last_seq(file));
    discard_failed(sink, day);
    return code;
  }
  /* A log that takes the last of a disk could never be copied into its file, which grows by that. So before anything is added to it
   * it is copied, and begins anew. (A reader may be in the way; that passes.) */
  if (sink->careful && (code = tks__dayfile_settle(file, error)) != TKS_OK && code != TKS_ETIMEOUT) {
    discard_failed(sink, day);
    return code;
  }
  size_t n = pick(sink, records, count, day, tks__dayfile_last_seq(file));
  if (n == 0) return TKS_OK; /* an earlier try had stored them */
  uint64_t last_seq = sink->picked[n - 1]->seq;
  if (!group_by_symbol(sink, n)) return tks__fail(error, TKS_ENOMEM, 0, "out of memory grouping a batch");
  code = tks__dayfile_write(file, sink->grouped, n, last_seq, error);
  if (code != TKS_OK) discard_failed(sink, day);
  return code;
}

static int write_day(sqlite_sink *sink, const tks__record *records, size_t count, int32_t day, tks_error *error) {
  tks_error first;
  int code = write_day_once(sink, records, count, day, &first);
  if (code == TKS_EDAYFILE) {
    code = set_aside(sink, day, &first, error);
    return code == TKS_OK ? write_day_once(sink, records, count, day, error) : code;
  }
  if (code != TKS_OK && error != NULL) *error = first;
  return code;
}

/* The next day after `after` that occurs; false at the end. One pass a day: nearly always there is one. */
static bool next_day(const tks__record *records, size_t count, int64_t after, int32_t *day) {
  int32_t best = INT32_MAX;
  int64_t start = 1, end = 0; /* of the day seen last */
  for (size_t i = 0; i < count; i++) {
    int64_t ts = records[i].ts_ns;
    if (ts >= start && ts < end) continue;
    int32_t d = tks__utc_day(ts);
    start = tks__utc_day_start_ns(d);
    end = tks__utc_day_start_ns(d + 1);
    if (d > after && d < best) best = d;
  }
  *day = best;
  return best != INT32_MAX;
}

static int sink_write(tks__sink *base, const tks__record *records, size_t count, tks_error *error) {
  sqlite_sink *sink = (sqlite_sink *)base;
  if (count == 0) return TKS_OK;
  if (!tks__grow((void **)&sink->picked, &sink->picked_capacity, count, sizeof(void *)) ||
      !tks__grow((void **)&sink->grouped, &sink->grouped_capacity, count, sizeof(void *)))
    return tks__fail(error, TKS_ENOMEM, 0, "out of memory writing a batch of %zu", count);
  uint64_t last = records[count - 1].seq;
  if (last > sink->given_seq) sink->given_seq = last;
  /* A day that fails does not hold up the others, unless all would fail alike. The whole comes again, and what is stored
   * by then is passed over. */
  int first = TKS_OK;
  int64_t after = INT64_MIN;
  for (int32_t day; first != TKS_ENOMEM && first != TKS_EDISKFULL && next_day(records, count, after, &day);
       after = day) {
    int code = write_day(sink, records, count, day, first == TKS_OK ? error : NULL);
    if (first == TKS_OK || code == TKS_ENOMEM || code == TKS_EDISKFULL) first = code == TKS_OK ? first : code;
  }
  if (first == TKS_EDISKFULL) sink->careful = true;
  else if (first == TKS_OK && count >= ENOUGH_ROOM_RECORDS) sink->careful = false;
  update_gauges(sink);
  return first;
}

static int sink_sync(tks__sink *base, tks_error *error) {
  sqlite_sink *sink = (sqlite_sink *)base;
  if (base->durable_on_write) return TKS_OK;
  for (size_t i = 0; i < sink->open_count; i++) {
    int code = tks__dayfile_sync(sink->days[i].file, error);
    if (code == TKS_OK) continue;
    discard_failed(sink, tks__dayfile_day(sink->days[i].file));
    return code;
  }
  return TKS_OK;
}

/* ---------------------------------------------------------------- tend */

/* A crash, or a reader in the way, leaves a log or a journal beside a day file. One that was let go after a failure and got nothing
 * since is in WAL mode, though SQLite may have removed its log. So is a file of which a crash interrupted the sealing between the
 * one and the other; only its header tells. */
static bool may_be_unsealed(const sqlite_sink *sink, int32_t day, const char *path) {
  return tks__layout_has_beside(path, "-wal") || tks__layout_has_beside(path, "-shm") ||
         tks__layout_has_beside(path, "-journal") || is_listed(sink, day) || is_unsealed(sink, day) ||
         (sink->options.after_crash && !sink->swept && tks__dayfile_in_wal_mode(path));
}

/* Seals what is not open and not sealed. */
static void sweep(sqlite_sink *sink) {
  const tks__dayfile_options *o = &sink->options.dayfile;
  tks__days days;
  if (tks__layout_list_days(o->layout, INT32_MIN, INT32_MAX, &days) != 0) return;
  for (size_t i = 0; i < days.count; i++) {
    char path[TKS__PATH_MAX];
    tks__layout_day_file(o->layout, days.days[i], path);
    if (index_of(sink, days.days[i]) < sink->open_count) continue;
    if (!may_be_unsealed(sink, days.days[i], path)) continue;
    tks__dayfile *file;
    tks_error error;
    bool opened = tks__dayfile_open(o, days.days[i], &file, &error) == TKS_OK;
    bool sealed = opened && tks__dayfile_seal(file);
    if (sealed) {
      clear_suspect(sink, days.days[i]);
      clear_unsealed(sink, days.days[i]);
      continue;
    }
    note_unsealed(sink, days.days[i]);
    /* What a process that died had committed to the log may not be synced: it does not count before it is. */
    if (!is_listed(sink, days.days[i]) && (!opened || tks__dayfile_sync(file, NULL) != TKS_OK))
      note_suspect(sink, days.days[i]);
    if (opened) tks__dayfile_discard(file);
    else tks__log_limited(o->log, &sink->sweep_limiter, TKS_LOG_WARN, "%s", error.message);
  }
  tks__free(days.days);
  sink->swept = true;
}

static int sink_tend(tks__sink *base, int64_t now_ns, tks_error *error) {
  sqlite_sink *sink = (sqlite_sink *)base;
  (void)error;
  sweep(sink);
  int32_t today = tks__utc_day(now_ns);
  int64_t idle_before = tks__clock_monotonic_ns() - (int64_t)sink->options.late_close_s * TKS__NS_PER_S;
  for (size_t i = sink->open_count; i-- > 0;) {
    if (tks__dayfile_day(sink->days[i].file) >= today || sink->days[i].used_ns > idle_before) continue;
    if (seal_day(sink, i)) atomic_fetch_add_explicit(&base->gauges.rotations, 1, memory_order_relaxed);
  }
  update_gauges(sink);
  return TKS_OK;
}

static int sink_close(tks__sink *base, tks_error *error) {
  sqlite_sink *sink = (sqlite_sink *)base;
  int code = TKS_OK;
  /* A short session was never tended; and the reader in the way may have been one of our own, and is gone by now. */
  if (!sink->swept || sink->unsealed_count > 0) sweep(sink);
  while (sink->open_count > 0) {
    if (seal_day(sink, sink->open_count - 1)) continue;
    int one = close_unsealed(sink, sink->open_count - 1, code == TKS_OK ? error : NULL);
    if (code == TKS_OK) code = one;
  }
  tks__free(sink->suspects);
  tks__free(sink->unsealed);
  tks__free(sink->picked);
  tks__free(sink->grouped);
  tks__free(sink->starts);
  tks__free(sink->touched);
  tks__free(sink->days);
  tks__free(sink);
  return code;
}

static const tks__sink_ops OPS = {
    .name = "sqlite",
    .id = TKS_SQLITE,
    .write = sink_write,
    .sync = sink_sync,
    .tend = sink_tend,
    .close = sink_close,
};
