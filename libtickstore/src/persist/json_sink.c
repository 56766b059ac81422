/* The JSON sink. It runs on its worker thread alone.
 *
 *   1. A file's lines have ascending sequence numbers, so the last one tells what is stored: a record is written if
 *      and only if its number is higher. That makes every retry harmless, also after the file was closed in between.
 *   2. Hence nothing may be written to a file behind records that failed: the first failure ends the pass, and the
 *      retry begins with the same records.
 *   3. A file with unsynced lines is never closed, whoever wants its place, before it was synced.
 *   4. A day is noted durably (json_days.h) before anything of it is written, so that after a crash its files are made
 *      good before invariant 1 is relied on.
 *   5. After a failed sync the writer hands over everything again that is not durable. A file that lost lines has a
 *      lower last number then, so they are written once more; what is still there is passed over. */
#include "persist/json_sink.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/utc.h"
#include "persist/json_days.h"
#include "persist/json_file.h"
#include "persist/json_line.h"

#define OPEN_FILES_MAX 512 /* or a quarter of what the process may have, if that is less */
#define OPEN_FILES_MIN 16
#define BUFFER_BYTES (256 * 1024)
#define PASS_RECORDS 65536 /* written in one pass; bounds the memory that grouping takes */
#define NONE UINT32_MAX

typedef struct open_file {
  tks__json_file file;
  uint32_t symbol;
  int32_t day;
  uint64_t turn;   /* of the sink's, when it was last written; the lowest is closed first */
  int64_t used_ns; /* monotonic */
} open_file;

/* A day with files written since it was last sealed. */
typedef struct active_day {
  int32_t day;
  int64_t used_ns; /* monotonic */
} active_day;

/* The records of one pass that go to one file, as a chain of items in order of sequence. */
typedef struct group {
  uint32_t symbol;
  int32_t day;
  uint32_t first;
  uint32_t last;
} group;

typedef struct item {
  const tks__record *record;
  uint32_t next;
} item;

typedef struct json_sink {
  tks__sink head;
  tks__json_sink_options options;
  char *broker_id; /* escaped */
  char *buffer;

  open_file files[OPEN_FILES_MAX];
  size_t file_count, file_max;
  uint64_t turn;
  active_day *days;
  size_t day_count, day_capacity;
  tks__json_days unsynced;
  bool recovered; /* what a crash left was made good */

  item *items;
  size_t item_count, item_capacity;
  group *groups;
  size_t group_count, group_capacity;
  uint32_t *slots; /* open addressing: index of a group + 1 */
  size_t slot_count, slot_capacity;

  uint64_t given_seq; /* the highest that this store can have given out */
} json_sink;

/* ------------------------------------------------------------------- paths */

static bool path_of(const json_sink *s, uint32_t symbol, int32_t day, char path[TKS__PATH_MAX]) {
  const tks__name *name = tks__names_get(s->options.symbols, symbol);
  if (name == NULL) return false;
  tks__layout_json_file(s->options.layout, name->text, name->length, day, path);
  return true;
}

/* Errors have little room: the store's directory is known to whoever reads them. */
static const char *below_root(const json_sink *s, const char *path) {
  path += strlen(s->options.layout->root);
  return *path == '/' ? path + 1 : path;
}

static int fail_file(const json_sink *s, tks_error *error, int errnum, const char *what, const char *path) {
  const char *name = below_root(s, path);
  if (errnum == ELOOP) return tks__fail(error, TKS_EIO, errnum, "cannot %s %s: it is a symbolic link", what, name);
  if (errnum == EISDIR || errnum == ENOTSUP)
    return tks__fail(error, TKS_EIO, errnum, "cannot %s %s: it is not a regular file", what, name);
  return tks__fail_errno(error, errnum, "cannot %s %s", what, name);
}

/* -------------------------------------------------------------- open files */

static void count_files(json_sink *s) {
  atomic_store_explicit(&s->head.gauges.open_files, s->file_count, memory_order_relaxed);
}

static int sync_file(json_sink *s, open_file *f, tks_error *error) {
  char path[TKS__PATH_MAX];
  if (!tks__json_file_is_dirty(&f->file)) return TKS_OK;
  if (!path_of(s, f->symbol, f->day, path)) return tks__fail(error, TKS_EINTERNAL, 0, "a file without a symbol");
  int rc = tks__json_file_sync(&f->file, path, s->options.layout->root, s->options.log);
  return rc == 0 ? TKS_OK : fail_file(s, error, rc, "sync", path);
}

static void forget_file(json_sink *s, open_file *f) {
  tks__json_file_close(&f->file);
  *f = s->files[--s->file_count];
  count_files(s);
}

static int close_file(json_sink *s, open_file *f, tks_error *error) {
  int rc = sync_file(s, f, error);
  if (rc == TKS_OK) forget_file(s, f);
  return rc;
}

static int compare_turns(const void *a, const void *b) {
  const open_file *x = a, *y = b;
  return (x->turn > y->turn) - (x->turn < y->turn);
}

/* Closes the least recently written quarter at once: a file system syncs many files in little more time than one, if
 * it is told of all of them first. */
static int make_room(json_sink *s, tks_error *error) {
  qsort(s->files, s->file_count, sizeof s->files[0], compare_turns);
  size_t count = (s->file_count + 3) / 4;
  for (size_t i = 0; i < count; i++) tks__json_file_start_sync(&s->files[i].file);
  for (size_t i = count; i-- > 0;) {
    int rc = close_file(s, &s->files[i], error);
    if (rc != TKS_OK) return rc;
  }
  return TKS_OK;
}

static open_file *find_file(json_sink *s, uint32_t symbol, int32_t day) {
  for (size_t i = 0; i < s->file_count; i++)
    if (s->files[i].symbol == symbol && s->files[i].day == day) return &s->files[i];
  return NULL;
}

static bool touch_day(json_sink *s, int32_t day, int64_t now_ns) {
  for (size_t i = s->day_count; i-- > 0;)
    if (s->days[i].day == day) {
      s->days[i].used_ns = now_ns;
      return true;
    }
  if (!tks__grow((void **)&s->days, &s->day_capacity, s->day_count + 1, sizeof *s->days)) return false;
  s->days[s->day_count++] = (active_day){day, now_ns};
  return true;
}

static int open_new(json_sink *s, uint32_t symbol, int32_t day, const char *path, open_file **out, tks_error *error) {
  tks__json_file file;
  for (;;) {
    int rc = s->file_count >= s->file_max ? EMFILE
                                          : tks__json_file_open(&file, path, s->options.layout->root, s->options.log);
    if (rc == 0) break;
    bool no_room = (rc == EMFILE || rc == ENFILE) && s->file_count > 0;
    if (!no_room) return fail_file(s, error, rc, "open", path);
    rc = make_room(s, error);
    if (rc != TKS_OK) return rc;
  }
  *out = &s->files[s->file_count++];
  **out = (open_file){.file = file, .symbol = symbol, .day = day};
  count_files(s);
  return TKS_OK;
}

static int recover(json_sink *s) {
  if (s->recovered) return 0;
  int rc = tks__json_days_recover(&s->unsynced, s->options.layout, s->options.log);
  s->recovered = rc == 0;
  return rc;
}

/* Every number in a file was handed over before, or is now. A higher one is not of this store's making; records below it would be
 * taken for stored and be lost. So the file is kept under another name, and the day goes on in a new one. */
static int replace_foreign(json_sink *s, open_file **f, const char *path, tks_error *error) {
  char aside[TKS__PATH_MAX];
  unsigned long long last_seq = (*f)->file.last_seq;
  uint32_t symbol = (*f)->symbol;
  int32_t day = (*f)->day;
  forget_file(s, *f);
  int rc = tks__layout_set_aside(path, aside);
  if (rc != 0) return fail_file(s, error, rc, "set aside the foreign", path);
  tks__log_write(s->options.log, TKS_LOG_ERROR,
                 "%s holds sequence numbers up to %llu, beyond this store's: not written by it; set aside as %s", path,
                 last_seq, aside);
  return open_new(s, symbol, day, path, f, error);
}

/* The file of a group, open, in good shape, and marked as used. */
static int obtain_file(json_sink *s, const group *g, const char *path, open_file **out, tks_error *error) {
  int64_t now_ns = tks__clock_monotonic_ns();
  int noted = recover(s);
  if (noted == 0) noted = tks__json_days_add(&s->unsynced, s->options.layout, g->day);
  if (noted == 0 && !touch_day(s, g->day, now_ns)) noted = ENOMEM;
  if (noted != 0) return fail_file(s, error, noted, "note the day of", path);
  *out = find_file(s, g->symbol, g->day);
  if (*out == NULL) {
    int rc = open_new(s, g->symbol, g->day, path, out, error);
    if (rc != TKS_OK) return rc;
  } else if ((*out)->file.suspect) {
    int rc = tks__json_file_restore(&(*out)->file, path, s->options.layout->root, s->options.log);
    if (rc != 0) return fail_file(s, error, rc, "reopen", path);
  }
  if ((*out)->file.last_seq > s->given_seq) {
    int rc = replace_foreign(s, out, path, error);
    if (rc != TKS_OK) return rc;
  }
  (*out)->turn = ++s->turn;
  (*out)->used_ns = now_ns;
  return TKS_OK;
}

/* ---------------------------------------------------------------- grouping */

static bool slots_for(json_sink *s, size_t records) {
  size_t slots = 64;
  while (slots < 2 * records) slots *= 2;
  if (!tks__grow((void **)&s->slots, &s->slot_capacity, slots, sizeof *s->slots)) return false;
  memset(s->slots, 0, slots * sizeof *s->slots);
  s->slot_count = slots;
  return true;
}

static bool is_group(const group *g, uint32_t symbol, int32_t day) { return g->symbol == symbol && g->day == day; }

/* The group's index; NONE: no memory. */
static uint32_t group_of(json_sink *s, uint32_t symbol, int32_t day) {
  uint64_t hash = ((uint64_t)symbol << 32 | (uint32_t)day) * UINT64_C(0x9e3779b97f4a7c15);
  size_t mask = s->slot_count - 1, i = (size_t)(hash >> 32) & mask;
  for (; s->slots[i] != 0; i = (i + 1) & mask)
    if (is_group(&s->groups[s->slots[i] - 1], symbol, day)) return s->slots[i] - 1;
  if (!tks__grow((void **)&s->groups, &s->group_capacity, s->group_count + 1, sizeof *s->groups)) return NONE;
  s->groups[s->group_count] = (group){symbol, day, NONE, NONE};
  s->slots[i] = (uint32_t)++s->group_count;
  return s->slots[i] - 1;
}

static bool add_item(json_sink *s, const tks__record *record, uint32_t *latest) {
  int32_t day = tks__utc_day(record->ts_ns);
  uint32_t g = *latest;
  if (g == NONE || !is_group(&s->groups[g], record->symbol, day)) g = group_of(s, record->symbol, day);
  if (g == NONE) return false;
  uint32_t i = (uint32_t)s->item_count++;
  s->items[i] = (item){record, NONE};
  if (s->groups[g].first == NONE) s->groups[g].first = i;
  else s->items[s->groups[g].last].next = i;
  s->groups[g].last = i;
  *latest = g;
  return true;
}

/* Groups up to PASS_RECORDS records from *at on and moves it behind them. */
static bool group_pass(json_sink *s, const tks__record *records, size_t count, size_t *at) {
  size_t left = count - *at;
  if (left > PASS_RECORDS) left = PASS_RECORDS;
  s->item_count = s->group_count = 0;
  if (!slots_for(s, left) || !tks__grow((void **)&s->items, &s->item_capacity, left, sizeof *s->items)) return false;
  uint32_t latest = NONE;
  while (s->item_count < left)
    if (!add_item(s, &records[(*at)++], &latest)) return false;
  return true;
}

/* ----------------------------------------------------------------- writing */

static size_t format_record(const json_sink *s, const tks__record *r, const tks__name *symbol, char *line) {
  const tks__name *source = tks__names_get(s->options.sources, r->source);
  return tks__json_line_format(r, symbol->text, symbol->length, source == NULL ? "" : source->text,
                               source == NULL ? 0 : source->length, s->broker_id, line);
}

static int write_group(json_sink *s, const group *g, tks_error *error) {
  char path[TKS__PATH_MAX];
  const tks__name *symbol = tks__names_get(s->options.symbols, g->symbol);
  if (!path_of(s, g->symbol, g->day, path))
    return tks__fail(error, TKS_EINTERNAL, 0, "a record has the unknown symbol id %u", (unsigned)g->symbol);
  open_file *f = NULL;
  int rc = obtain_file(s, g, path, &f, error);
  if (rc != TKS_OK) return rc;
  assert(f != NULL);
  uint64_t last_seq = f->file.last_seq;
  size_t length = 0;
  for (uint32_t i = g->first; i != NONE;) {
    const tks__record *r = s->items[i].record;
    i = s->items[i].next;
    /* After a failure the same records come again; what is stored by then is passed over. */
    if (r->seq > last_seq) {
      length += format_record(s, r, symbol, s->buffer + length);
      last_seq = r->seq;
    }
    if (length > 0 && (i == NONE || length > BUFFER_BYTES - TKS__JSON_LINE_MAX)) {
      rc = tks__json_file_append(&f->file, s->buffer, length, last_seq);
      if (rc != 0) return fail_file(s, error, rc, "write", path);
      length = 0;
    }
  }
  return TKS_OK;
}

/* Goes on after a file that fails, since the others need not suffer for it; but not when all would fail alike. Open
 * files come first, so that none is closed just before its turn. */
static int write_groups(json_sink *s, tks_error *error) {
  int first = TKS_OK;
  for (int open = 1; open >= 0; open--)
    for (size_t i = 0; i < s->group_count; i++) {
      group *g = &s->groups[i];
      if (g->first == NONE || (open && find_file(s, g->symbol, g->day) == NULL)) continue;
      int rc = write_group(s, g, first == TKS_OK ? error : NULL);
      if (first == TKS_OK) first = rc;
      if (rc == TKS_ENOMEM || rc == TKS_EDISKFULL) return first;
      g->first = NONE;
    }
  return first;
}

static int write_passes(json_sink *s, const tks__record *records, size_t count, tks_error *error) {
  for (size_t at = 0; at < count;) {
    if (!group_pass(s, records, count, &at)) return tks__fail(error, TKS_ENOMEM, 0, "no memory to write JSON lines");
    int rc = write_groups(s, error);
    if (rc != TKS_OK) return rc;
  }
  return TKS_OK;
}

static int sink_write(tks__sink *sink, const tks__record *records, size_t count, tks_error *error) {
  json_sink *s = (json_sink *)sink;
  if (count > 0 && records[count - 1].seq > s->given_seq) s->given_seq = records[count - 1].seq;
  return write_passes(s, records, count, error);
}

static int sink_sync(tks__sink *sink, tks_error *error) {
  json_sink *s = (json_sink *)sink;
  int first = TKS_OK;
  for (size_t i = 0; i < s->file_count; i++) tks__json_file_start_sync(&s->files[i].file);
  for (size_t i = 0; i < s->file_count; i++) {
    int rc = sync_file(s, &s->files[i], first == TKS_OK ? error : NULL);
    if (first == TKS_OK) first = rc;
  }
  return first;
}

/* ------------------------------------------------------------ housekeeping */

static bool has_open_file(const json_sink *s, int32_t day) {
  for (size_t i = 0; i < s->file_count; i++)
    if (s->files[i].day == day) return true;
  return false;
}

static void seal_days(json_sink *s, int32_t today, int64_t idle_since_ns) {
  for (size_t i = s->day_count; i-- > 0;) {
    const active_day *d = &s->days[i];
    if (d->day >= today || d->used_ns > idle_since_ns || has_open_file(s, d->day)) continue;
    tks__json_days_drop(&s->unsynced, d->day);
    s->days[i] = s->days[--s->day_count];
    atomic_fetch_add_explicit(&s->head.gauges.rotations, 1, memory_order_relaxed);
  }
}

static int sink_tend(tks__sink *sink, int64_t now_ns, tks_error *error) {
  json_sink *s = (json_sink *)sink;
  (void)recover(s); /* if not now, then before the first line is written */
  int32_t today = tks__utc_day(now_ns);
  int64_t idle_since_ns = tks__clock_monotonic_ns() - (int64_t)s->options.late_close_s * TKS__NS_PER_S;
  int first = TKS_OK;
  for (size_t i = s->file_count; i-- > 0;) {
    open_file *f = &s->files[i];
    if (f->day >= today || f->used_ns > idle_since_ns) continue;
    int rc = close_file(s, f, first == TKS_OK ? error : NULL);
    if (first == TKS_OK) first = rc;
  }
  seal_days(s, today, idle_since_ns);
  return first;
}

static void free_sink(json_sink *s) {
  tks__free(s->slots);
  tks__free(s->groups);
  tks__free(s->items);
  tks__free(s->days);
  tks__json_days_free(&s->unsynced);
  tks__free(s->buffer);
  tks__free(s->broker_id);
  tks__free(s);
}

static int sink_close(tks__sink *sink, tks_error *error) {
  json_sink *s = (json_sink *)sink;
  int rc = sink_sync(sink, error);
  while (s->file_count > 0) forget_file(s, &s->files[s->file_count - 1]);
  if (rc == TKS_OK) {
    for (size_t i = 0; i < s->day_count; i++) tks__json_days_drop(&s->unsynced, s->days[i].day);
    if (s->recovered) tks__json_days_clear(&s->unsynced, s->options.layout);
  }
  free_sink(s);
  return rc;
}

static size_t files_allowed(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur / 4 < OPEN_FILES_MIN) return OPEN_FILES_MIN;
  return limit.rlim_cur / 4 < OPEN_FILES_MAX ? (size_t)(limit.rlim_cur / 4) : OPEN_FILES_MAX;
}

tks__sink *tks__json_sink_new(const tks__json_sink_options *options) {
  static const tks__sink_ops ops = {"json", TKS_JSON, sink_write, sink_sync, sink_tend, sink_close};
  json_sink *s = tks__calloc(1, sizeof *s);
  if (s == NULL) return NULL;
  s->head.ops = &ops;
  s->head.durable_on_write = false;
  s->options = *options;
  s->given_seq = options->first_seq - 1;
  s->file_max = files_allowed();
  size_t length = strlen(options->broker_id);
  assert(length <= TKS_NAME_MAX); /* or a line might not fit in TKS__JSON_LINE_MAX */
  s->broker_id = tks__malloc(6 * length + 1);
  s->buffer = tks__malloc(BUFFER_BYTES);
  if (s->broker_id == NULL || s->buffer == NULL) {
    free_sink(s);
    return NULL;
  }
  (void)tks__json_escape(options->broker_id, length, s->broker_id);
  return &s->head;
}
