#include "query/cursor.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/utc.h"

#define BUFFER_RECORDS 2048

/* ----------------------------------------------------------------- open */

static int by_time(const void *a, const void *b) {
  const tks__record *x = a, *y = b;
  if (x->ts_ns != y->ts_ns) return x->ts_ns < y->ts_ns ? -1 : 1;
  return x->seq < y->seq ? -1 : x->seq > y->seq;
}

static int by_time_descending(const void *a, const void *b) { return by_time(b, a); }

static int copy_pending(tks__cursor *cursor, const tks__reader *reader, const tks__cursor_spec *spec) {
  if (reader->writer == NULL) return TKS_OK;
  /* Nothing of this symbol is newer than what is durable: nothing can be pending. Spares the scan. */
  const tks__symbol *symbol = tks__symbols_get(reader->symbols, spec->symbol);
  if (atomic_load_explicit(&symbol->last_seq, memory_order_acquire) <= tks__writer_durable_seq(reader->writer))
    return TKS_OK;
  const tks__pending_filter filter = {
      .sink = reader->primary,
      .symbol = spec->symbol,
      .from_ns = spec->from_ns,
      .to_ns = spec->to_ns,
      .max_seq = spec->max_seq,
  };
  int code = tks__writer_pending(reader->writer, &filter, &cursor->pending);
  if (code != TKS_OK || cursor->pending.count == 0) return code;
  tks__pending *p = &cursor->pending;
  if (spec->source != 0) {
    size_t kept = 0;
    for (size_t i = 0; i < p->count; i++)
      if (p->records[i].source == spec->source) p->records[kept++] = p->records[i];
    p->count = kept;
  }
  qsort(p->records, p->count, sizeof *p->records, spec->descending ? by_time_descending : by_time);
  return TKS_OK;
}

/* Goes on with the next month's days. */
static int next_days(tks__cursor *cursor, const tks__reader *reader, tks_error *error) {
  tks__reader_days days;
  int code = tks__reader_walk_next(reader, &cursor->walk, &days, error);
  if (code != TKS_OK) return code;
  tks__free(cursor->days.days);
  cursor->days = days;
  cursor->day = 0;
  return TKS_OK;
}

int tks__cursor_init(tks__cursor *cursor, const tks__reader *reader, const tks__cursor_spec *spec, tks_error *error) {
  memset(cursor, 0, sizeof *cursor);
  cursor->left = spec->limit;
  cursor->stretch = (tks__stretch){
      .symbol = spec->symbol,
      .source = spec->source,
      .from_ns = spec->from_ns,
      .to_ns = spec->to_ns,
      .max_seq = spec->max_seq,
      .descending = spec->descending,
  };
  cursor->walk = (tks__reader_walk){.from_month = 1}; /* over */
  if (spec->from_ns >= spec->to_ns) return TKS_OK;
  /* Pending before disk: see invariant 1. */
  int code = copy_pending(cursor, reader, spec);
  if (code != TKS_OK) return tks__fail(error, code, 0, "out of memory opening a range");
  tks__reader_walk_begin(&cursor->walk, spec->symbol, tks__utc_day(spec->from_ns), tks__utc_day(spec->to_ns - 1),
                         spec->descending);
  code = next_days(cursor, reader, error);
  if (code != TKS_OK) tks__cursor_deinit(cursor);
  return code;
}

void tks__cursor_deinit(tks__cursor *cursor) {
  tks__json_day_free(&cursor->json);
  tks__free(cursor->days.days);
  tks__free(cursor->buffer);
  tks__free(cursor->pending.records);
}

/* ----------------------------------------------------------- the disk side */

static const tks__reader_day *current_day(const tks__cursor *cursor) {
  size_t i = cursor->stretch.descending ? cursor->days.count - 1 - cursor->day : cursor->day;
  return &cursor->days.days[i];
}

static bool is_wanted(const tks__stretch *t, const tks__record *r) {
  return r->ts_ns >= t->from_ns && r->ts_ns < t->to_ns && r->seq <= t->max_seq &&
         (t->source == 0 || r->source == t->source);
}

static void leave_day(tks__cursor *cursor) {
  tks__json_day_free(&cursor->json);
  cursor->json = (tks__json_day){0};
  cursor->json_at = 0;
  cursor->day_open = false;
  cursor->stretch.started = false;
  cursor->day++;
}

/* Puts what is left of the pending records in reading order, each once: one may be pending for SQLite and in a JSON file. */
static void sort_pending(tks__cursor *cursor) {
  tks__record *records = cursor->pending.records + cursor->pending_at;
  size_t count = cursor->pending.count - cursor->pending_at;
  if (count < 2) return;
  qsort(records, count, sizeof *records, cursor->stretch.descending ? by_time_descending : by_time);
  size_t kept = 1;
  for (size_t i = 1; i < count; i++)
    if (by_time(&records[i], &records[kept - 1]) != 0) records[kept++] = records[i];
  cursor->pending.count = cursor->pending_at + kept;
}

/* Of a day that is in both sinks, JSON's part goes to what is merged with the disk; what both have is seen once (invariant 1). */
static int merge_json_in(tks__cursor *cursor, const tks__reader *reader, int32_t day, tks_error *error) {
  tks__json_day json;
  const tks__stretch *t = &cursor->stretch;
  int code = tks__json_day_read(reader->layout, &reader->symbols->names, reader->sources, t->symbol, day, &json, error);
  if (code != TKS_OK && code != TKS_EDAYFILE) return code;
  tks__pending *p = &cursor->pending;
  if (!tks__grow((void **)&p->records, &p->capacity, p->count + json.count, sizeof *p->records)) {
    tks__json_day_free(&json);
    return tks__fail(error, TKS_ENOMEM, 0, "out of memory reading a range");
  }
  for (size_t i = 0; i < json.count; i++)
    if (is_wanted(t, &json.records[i])) p->records[p->count++] = json.records[i];
  tks__json_day_free(&json);
  sort_pending(cursor);
  return code;
}

static int open_day(tks__cursor *cursor, const tks__reader *reader, tks_error *error) {
  const tks__reader_day *day = current_day(cursor);
  int code = TKS_OK;
  if (day->sink == TKS_JSON) {
    code = tks__json_day_read(reader->layout, &reader->symbols->names, reader->sources, cursor->stretch.symbol,
                              day->day, &cursor->json, error);
    if (cursor->stretch.descending && cursor->json.count > 1)
      qsort(cursor->json.records, cursor->json.count, sizeof *cursor->json.records, by_time_descending);
    /* Nothing was read, and the next call tries again. A damaged day is open with what could be read of it. */
    if (code != TKS_OK && code != TKS_EDAYFILE) return code;
  } else if (day->also_json) {
    code = merge_json_in(cursor, reader, day->day, error);
    if (code != TKS_OK && code != TKS_EDAYFILE) return code;
  }
  cursor->day_open = true;
  /* Of a file that was set aside the caller learns once, and reads on in the new one. */
  return code == TKS_OK ? tks__reader_check_aside(reader, cursor->stretch.symbol, day, error) : code;
}

static size_t read_json(tks__cursor *cursor, tks__record *records, size_t capacity) {
  const tks__stretch *t = &cursor->stretch;
  size_t count = 0;
  while (count < capacity && cursor->json_at < cursor->json.count) {
    const tks__record *r = &cursor->json.records[cursor->json_at++];
    if (is_wanted(t, r)) records[count++] = *r;
  }
  return count;
}

/* Reads the next records of the open day, and leaves it at its end. */
static int read_disk(tks__cursor *cursor, const tks__reader *reader, tks__record *records, size_t capacity,
                     size_t *count, tks_error *error) {
  *count = 0;
  int code = TKS_OK;
  const tks__reader_day *day = current_day(cursor);
  if (day->sink == TKS_JSON) *count = read_json(cursor, records, capacity);
  else
    code = tks__sqlite_day_read(reader->pool, day->day, &reader->symbols->names, reader->sources, &cursor->stretch,
                                records, capacity, count, error);
  bool damaged = code == TKS_EDAYFILE || code == TKS_EFORMAT;
  if (damaged || (code == TKS_OK && *count < capacity && (day->sink == TKS_SQLITE || *count == 0))) leave_day(cursor);
  return code;
}

/* ----------------------------------------------------------------- merge */

static int fill_buffer(tks__cursor *cursor, const tks__reader *reader, tks_error *error) {
  if (cursor->buffer == NULL) {
    cursor->buffer = tks__malloc(BUFFER_RECORDS * sizeof *cursor->buffer);
    if (cursor->buffer == NULL) return tks__fail(error, TKS_ENOMEM, 0, "out of memory reading a range");
  }
  cursor->buffer_at = 0;
  return read_disk(cursor, reader, cursor->buffer, BUFFER_RECORDS, &cursor->buffer_count, error);
}

/* Takes the next record of both sides from what is in memory; false: the buffer must be filled first (or all is done). */
static bool merge_one(tks__cursor *cursor, tks__record *record) {
  bool disk = cursor->buffer_at < cursor->buffer_count;
  bool pending = cursor->pending_at < cursor->pending.count;
  if (!disk && !pending) return false;
  int order = 1; /* <0: disk first, >0: pending first */
  if (disk && pending) {
    order = by_time(&cursor->buffer[cursor->buffer_at], &cursor->pending.records[cursor->pending_at]);
    if (cursor->stretch.descending) order = -order;
  } else if (disk) {
    order = -1;
  }
  *record = order <= 0 ? cursor->buffer[cursor->buffer_at] : cursor->pending.records[cursor->pending_at];
  if (order <= 0) cursor->buffer_at++;
  if (order >= 0) cursor->pending_at++; /* equal keys: written since it was copied */
  return true;
}

int tks__cursor_next(tks__cursor *cursor, const tks__reader *reader, tks__record *records, size_t capacity,
                     size_t *count, tks_error *error) {
  size_t n = 0;
  int code = TKS_OK;
  if (cursor->left < INT64_MAX && capacity > (uint64_t)cursor->left) capacity = (size_t)cursor->left;
  while (n < capacity && code == TKS_OK) {
    bool buffered = cursor->buffer_at < cursor->buffer_count;
    bool disk_left = cursor->day < cursor->days.count;
    if (!buffered && !disk_left && !tks__reader_walk_over(&cursor->walk)) {
      code = next_days(cursor, reader, error);
      continue;
    }
    if (!buffered && disk_left && !cursor->day_open) {
      code = open_day(cursor, reader, error);
      continue;
    }
    if (!buffered && disk_left) {
      if (cursor->pending_at < cursor->pending.count) {
        code = fill_buffer(cursor, reader, error);
      } else {
        /* Nothing to merge with: straight into the caller's array. */
        size_t got;
        code = read_disk(cursor, reader, records + n, capacity - n, &got, error);
        n += got;
      }
      continue;
    }
    if (!merge_one(cursor, &records[n])) break;
    n++;
  }
  if (cursor->left < TKS_NO_LIMIT) cursor->left -= (int64_t)n;
  *count = n;
  return code;
}
