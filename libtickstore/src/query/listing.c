#include "query/listing.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/memory.h"
#include "base/utc.h"
#include "persist/json_day.h"
#include "query/cursor.h"

/* Up to which sequence number a file was counted: what is pending and above comes on top. */
typedef struct counted {
  uint64_t last_seq;
  int32_t day;
  uint32_t symbol; /* 0: all symbols of the day */
} counted;

typedef struct listing_work {
  const tks__reader *reader;
  tks__listing *listing;
  size_t capacity; /* of listing->symbols, in entries */
  counted *files;
  size_t file_count, file_capacity;
  size_t sorted;   /* the first so many of files: those of SQLite days, by day and symbol */
  size_t last_hit; /* in files */
} listing_work;

/* ------------------------------------------------------------- adding up */

static bool add_symbol(listing_work *work, const tks__day_symbol *s) {
  tks__listing *listing = work->listing;
  size_t before = work->capacity;
  if (!tks__grow((void **)&listing->symbols, &work->capacity, (size_t)s->symbol + 1, sizeof *listing->symbols))
    return false;
  memset(listing->symbols + before, 0, (work->capacity - before) * sizeof *listing->symbols);
  if (s->symbol > listing->max_id) listing->max_id = s->symbol;
  tks__day_symbol *sum = &listing->symbols[s->symbol];
  if (sum->count == 0 || s->first_ns < sum->first_ns) sum->first_ns = s->first_ns;
  if (sum->count == 0 || s->last_ns > sum->last_ns) sum->last_ns = s->last_ns;
  sum->count += s->count;
  sum->symbol = s->symbol;
  return true;
}

static bool note_file(listing_work *work, int32_t day, uint32_t symbol, uint64_t last_seq) {
  if (!tks__grow((void **)&work->files, &work->file_capacity, work->file_count + 1, sizeof *work->files)) return false;
  work->files[work->file_count++] = (counted){.last_seq = last_seq, .day = day, .symbol = symbol};
  return true;
}

static int no_memory(tks_error *error) { return tks__fail(error, TKS_ENOMEM, 0, "out of memory listing symbols"); }

static int has_json_file(const tks__reader *reader, uint32_t symbol, int32_t day, bool *has, tks_error *error) {
  const tks__name *name = tks__names_get(&reader->symbols->names, symbol);
  char path[TKS__PATH_MAX];
  int64_t size;
  tks__layout_json_file(reader->layout, name->text, name->length, day, path);
  int errnum = tks__fs_size(path, &size);
  *has = errnum == 0;
  if (errnum == 0 || errnum == ENOENT) return TKS_OK;
  return tks__fail_errno(error, errnum, "cannot look for %s", path);
}

static int add_sqlite_day(listing_work *work, const tks__reader_day *reader_day, tks_error *error) {
  int32_t day = reader_day->day;
  tks__day_summary summary;
  int code = tks__sqlite_day_summary(work->reader->pool, day, &work->reader->symbols->names, &summary, error);
  if (code != TKS_OK) return code;
  bool ok = note_file(work, day, 0, summary.last_seq);
  for (size_t i = 0; i < summary.count && ok && code == TKS_OK; i++) {
    uint32_t symbol = summary.symbols[i].symbol;
    bool counted_there = false;
    if (reader_day->also_json) code = has_json_file(work->reader, symbol, day, &counted_there, error);
    /* A symbol that JSON has on this day too is counted with both: see add_mixed. */
    if (code != TKS_OK || counted_there) continue;
    /* Its JSON file may appear at any moment now, and must not be counted on top. */
    if (reader_day->also_json) ok = note_file(work, day, symbol, summary.last_seq);
    if (ok) ok = add_symbol(work, &summary.symbols[i]);
  }
  tks__free(summary.symbols);
  if (!ok) return no_memory(error);
  if (code != TKS_OK) return code;
  return tks__reader_check_aside(work->reader, 0, &(tks__reader_day){.day = day, .sink = TKS_SQLITE}, error);
}

static int add_json_file(listing_work *work, uint32_t symbol, int32_t day, tks_error *error) {
  tks__json_day file;
  int code = tks__json_day_read(work->reader->layout, &work->reader->symbols->names, work->reader->sources, symbol, day,
                                &file, error);
  if (code != TKS_OK && code != TKS_EDAYFILE) return code;
  bool ok = true;
  if (file.count > 0) {
    uint64_t last_seq = 0;
    for (size_t i = 0; i < file.count; i++)
      if (file.records[i].seq > last_seq) last_seq = file.records[i].seq;
    ok = note_file(work, day, symbol, last_seq) && add_symbol(work, &(tks__day_symbol){
                                                                        .count = file.count,
                                                                        .first_ns = file.records[0].ts_ns,
                                                                        .last_ns = file.records[file.count - 1].ts_ns,
                                                                        .symbol = symbol,
                                                                    });
  }
  tks__json_day_free(&file);
  if (!ok) return no_memory(error);
  if (code != TKS_OK) return code;
  return tks__reader_check_aside(work->reader, symbol, &(tks__reader_day){.day = day, .sink = TKS_JSON}, error);
}

/* One symbol's day that is in both sinks: counted by reading it, since neither summary is complete. */
static int add_mixed(listing_work *work, uint32_t symbol, int32_t day, tks_error *error) {
  tks__reader on_disk = *work->reader;
  on_disk.writer = NULL; /* what is pending is added at the end */
  const tks__cursor_spec spec = {
      .symbol = symbol,
      .from_ns = tks__utc_day_start_ns(day),
      .to_ns = tks__utc_day_start_ns(day + 1),
      .limit = TKS_NO_LIMIT,
      .max_seq = INT64_MAX,
  };
  tks__day_symbol sum = {.symbol = symbol, .first_ns = INT64_MAX, .last_ns = INT64_MIN};
  uint64_t last_seq = 0;
  tks__cursor cursor;
  int code = tks__cursor_init(&cursor, &on_disk, &spec, error);
  if (code != TKS_OK) return code;
  tks__record records[128];
  int first = TKS_OK;
  /* Where one of the files is damaged there is still the other: what a range gives is counted. */
  for (bool on = true; on;) {
    size_t count;
    tks_error why;
    code = tks__cursor_next(&cursor, &on_disk, records, sizeof records / sizeof records[0], &count, &why);
    for (size_t i = 0; i < count; i++) {
      sum.count++;
      if (records[i].ts_ns < sum.first_ns) sum.first_ns = records[i].ts_ns;
      if (records[i].ts_ns > sum.last_ns) sum.last_ns = records[i].ts_ns;
      if (records[i].seq > last_seq) last_seq = records[i].seq;
    }
    on = tks__reader_go_on(code, &first, error, &why) && (code != TKS_OK || count > 0);
  }
  tks__cursor_deinit(&cursor);
  bool ok = sum.count == 0 || (note_file(work, day, symbol, last_seq) && add_symbol(work, &sum));
  return ok ? first : no_memory(error);
}

/* Calls `visit` for every JSON file of every symbol, until it says otherwise than 0. */
static int for_json_symbols(const tks__reader *reader, int (*visit)(void *context, uint32_t symbol, int32_t day),
                            void *context, tks_error *error) {
  char path[TKS__PATH_MAX];
  (void)snprintf(path, sizeof path, "%s/json", reader->layout->root);
  tks__fs_names dirs;
  int errnum = tks__fs_list(path, &dirs);
  int code = TKS_OK;
  bool on = errnum == 0;
  for (size_t i = 0; i < dirs.count && on; i++) {
    char name[TKS_NAME_MAX];
    size_t length;
    uint32_t symbol;
    tks__days days;
    if (!tks__name_from_file(dirs.names[i], name, &length)) continue;
    code = tks__names_intern(&reader->symbols->names, name, length, &symbol);
    if (code != TKS_OK) break;
    errnum = tks__layout_list_json_days(reader->layout, name, length, INT32_MIN, INT32_MAX, &days);
    on = errnum == 0;
    for (size_t d = 0; d < days.count && on; d++) on = visit(context, symbol, days.days[d]) == 0;
    tks__free(days.days);
  }
  tks__fs_names_free(&dirs);
  if (code != TKS_OK) return tks__fail(error, code, 0, "cannot list JSON files: %s", tks__status_message(code));
  return errnum != 0 ? tks__fail_errno(error, errnum, "cannot list JSON files") : TKS_OK;
}

typedef struct json_visit {
  listing_work *work;
  const tks__reader_days *days;
  int *first;
  tks_error *error;
} json_visit;

static const tks__reader_day *find_day(const tks__reader_days *days, int32_t day) {
  size_t low = 0, high = days->count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (days->days[middle].day < day) low = middle + 1;
    else high = middle;
  }
  return low < days->count && days->days[low].day == day ? &days->days[low] : NULL;
}

static int by_file(const void *a, const void *b) {
  const counted *x = a, *y = b;
  if (x->day != y->day) return x->day < y->day ? -1 : 1;
  return (x->symbol > y->symbol) - (x->symbol < y->symbol);
}

/* Counted from SQLite's summary, when it had no JSON file yet. */
static bool is_counted(const listing_work *work, uint32_t symbol, int32_t day) {
  const counted key = {.day = day, .symbol = symbol};
  return work->sorted > 0 && bsearch(&key, work->files, work->sorted, sizeof key, by_file) != NULL;
}

static int visit_json(void *context, uint32_t symbol, int32_t day) {
  json_visit *v = context;
  const tks__reader_day *found = find_day(v->days, day);
  if (found == NULL || (found->sink != TKS_JSON && !found->also_json)) return 0;
  if (found->also_json && is_counted(v->work, symbol, day)) return 0;
  tks_error this_error;
  int code = found->also_json ? add_mixed(v->work, symbol, day, &this_error)
                              : add_json_file(v->work, symbol, day, &this_error);
  return tks__reader_go_on(code, v->first, v->error, &this_error) ? 0 : -1;
}

/* A file of the symbol's own tells more than its day's: on a mixed day there are both. */
static uint64_t counted_up_to(listing_work *work, const tks__record *r) {
  int32_t day = tks__utc_day(r->ts_ns);
  uint64_t last_seq = 0;
  size_t start = work->last_hit;
  for (size_t k = 0; k < work->file_count; k++) {
    size_t i = (start + k) % work->file_count;
    const counted *file = &work->files[i];
    if (file->day != day || (file->symbol != 0 && file->symbol != r->symbol)) continue;
    last_seq = file->last_seq;
    work->last_hit = i;
    if (file->symbol != 0 || !work->reader->mixed) break;
  }
  return last_seq;
}

static bool add_pending(listing_work *work, const tks__pending *pending) {
  for (size_t i = 0; i < pending->count; i++) {
    const tks__record *r = &pending->records[i];
    if (r->seq <= counted_up_to(work, r)) continue;
    if (!add_symbol(work,
                    &(tks__day_symbol){.count = 1, .first_ns = r->ts_ns, .last_ns = r->ts_ns, .symbol = r->symbol}))
      return false;
  }
  return true;
}

static int list_impl(listing_work *work, tks_error *error) {
  const tks__reader *reader = work->reader;
  /* Pending before disk: what is written in between is then counted on disk, and passed over here. */
  tks__pending pending = {0};
  if (reader->writer != NULL) {
    const tks__pending_filter all = {
        .sink = reader->primary, .from_ns = TKS_TIME_MIN, .to_ns = TKS_TIME_MAX, .max_seq = INT64_MAX};
    if (tks__writer_pending(reader->writer, &all, &pending) != TKS_OK) return no_memory(error);
  }
  tks__reader_days days;
  int first = TKS_OK;
  int code = tks__reader_list(reader, 0, INT32_MIN, INT32_MAX, &days, error);
  if (code == TKS_OK) {
    tks_error this_error;
    bool on = true;
    for (size_t i = 0; i < days.count && on; i++)
      if (days.days[i].sink == TKS_SQLITE)
        on = tks__reader_go_on(add_sqlite_day(work, &days.days[i], &this_error), &first, error, &this_error);
    work->sorted = work->file_count;
    if (work->sorted > 1) qsort(work->files, work->sorted, sizeof *work->files, by_file);
    json_visit visit = {.work = work, .days = &days, .first = &first, .error = error};
    if (on) {
      int listed = for_json_symbols(reader, visit_json, &visit, &this_error);
      (void)tks__reader_go_on(listed, &first, error, &this_error);
    }
    code = first;
  }
  if ((code == TKS_OK || code == TKS_EDAYFILE || code == TKS_EFORMAT) && !add_pending(work, &pending))
    code = no_memory(error);
  tks__free(days.days);
  tks__free(pending.records);
  return code;
}

int tks__list_symbols(const tks__reader *reader, tks__listing *listing, tks_error *error) {
  *listing = (tks__listing){0};
  listing_work work = {.reader = reader, .listing = listing};
  int code = list_impl(&work, error);
  /* Symbols of this session whose records were all lost to the sinks are not listed, but have an entry. */
  uint32_t known = tks__names_count(&reader->symbols->names);
  bool listed = code == TKS_OK || code == TKS_EDAYFILE || code == TKS_EFORMAT;
  if (listed && known > listing->max_id && !add_symbol(&work, &(tks__day_symbol){.count = 0, .symbol = known}))
    code = no_memory(error);
  tks__free(work.files);
  listed = listed && code != TKS_ENOMEM;
  if (!listed) tks__listing_free(listing);
  return code;
}

void tks__listing_free(tks__listing *listing) {
  tks__free(listing->symbols);
  *listing = (tks__listing){0};
}

/* ----------------------------------------------------------------- names */

static int by_name(const void *a, const void *b) {
  const tks_symbol_info *x = a, *y = b;
  uint32_t shorter = x->name_length < y->name_length ? x->name_length : y->name_length;
  int order = memcmp(x->name, y->name, shorter);
  return order != 0 ? order : (x->name_length > y->name_length) - (x->name_length < y->name_length);
}

int tks__listing_names(const tks__reader *reader, tks_symbol_info *symbols, size_t capacity, size_t *total,
                       tks_error *error) {
  *total = 0;
  tks__listing listing;
  int code = tks__list_symbols(reader, &listing, error);
  tks_symbol_info *all = tks__calloc((size_t)listing.max_id + 1, sizeof *all);
  if (all == NULL) {
    tks__listing_free(&listing);
    return no_memory(error);
  }
  for (uint32_t id = 1; id <= listing.max_id; id++) {
    const tks__day_symbol *s = &listing.symbols[id];
    if (s->count == 0) continue;
    const tks__name *name = tks__names_get(&reader->symbols->names, id);
    tks_symbol_info *info = &all[(*total)++];
    *info = (tks_symbol_info){
        .count = s->count, .first_ns = s->first_ns, .last_ns = s->last_ns, .id = id, .name_length = name->length};
    memcpy(info->name, name->text, name->length);
  }
  qsort(all, *total, sizeof *all, by_name);
  size_t copied = *total < capacity ? *total : capacity;
  if (copied > 0) memcpy(symbols, all, copied * sizeof *all);
  tks__free(all);
  tks__listing_free(&listing);
  return code;
}
