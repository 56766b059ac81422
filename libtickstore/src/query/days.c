/* The health of what lies on disk, day by day (listing.h: tks__list_days). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/memory.h"
#include "base/utc.h"
#include "persist/json_day.h"
#include "query/listing.h"

typedef struct day_work {
  const tks__reader *reader;
  uint32_t check;
  tks_day_info *days;
  size_t count, capacity;
} day_work;

static tks_day_info *add_day(day_work *work, int32_t day, uint32_t sink) {
  if (!tks__grow((void **)&work->days, &work->capacity, work->count + 1, sizeof *work->days)) return NULL;
  tks_day_info *info = &work->days[work->count++];
  memset(info, 0, sizeof *info);
  info->day_ns = tks__utc_day_start_ns(day);
  info->sink = sink;
  return info;
}

static void set_problem(tks_day_info *info, int code, const char *message) {
  if (info->code != TKS_OK) return;
  info->code = code;
  (void)snprintf(info->message, sizeof info->message, "%.*s", (int)sizeof info->message - 1, message);
}

static uint64_t size_of(const char *path) {
  int64_t size = 0;
  return tks__fs_size(path, &size) == 0 && size > 0 ? (uint64_t)size : 0;
}

static void note_damaged(tks_day_info *info, const char *path) {
  if (!tks__layout_has_damaged(path)) return;
  const char *name = strrchr(path, '/');
  char message[sizeof info->message];
  (void)snprintf(message, sizeof message, "a damaged file was set aside: %.100s.damaged-1", name + 1);
  set_problem(info, TKS_EDAYFILE, message);
}

static bool check_sqlite_day(day_work *work, int32_t day) {
  tks_day_info *info = add_day(work, day, TKS_SQLITE);
  if (info == NULL) return false;
  char path[TKS__PATH_MAX];
  tks__layout_day_file(work->reader->layout, day, path);
  info->files = 1;
  info->bytes = size_of(path);
  note_damaged(info, path);
  tks_error error;
  tks__day_summary summary;
  int code = tks__sqlite_day_summary(work->reader->pool, day, &work->reader->symbols->names, &summary, &error);
  if (code == TKS_OK && (work->check & TKS_CHECK_FULL) != 0)
    code = tks__sqlite_day_verify(work->reader->pool, day, &error);
  if (code != TKS_OK) set_problem(info, code, error.message);
  for (size_t i = 0; i < summary.count; i++) info->count += summary.symbols[i].count;
  info->symbols = summary.count;
  info->last_seq = summary.last_seq;
  tks__free(summary.symbols);
  char wal[TKS__PATH_MAX + 8];
  (void)snprintf(wal, sizeof wal, "%s-wal", path);
  info->wal_bytes = size_of(wal);
  return true;
}

static tks_day_info *json_day_entry(day_work *work, int32_t day, size_t first) {
  int64_t day_ns = tks__utc_day_start_ns(day);
  for (size_t i = first; i < work->count; i++)
    if (work->days[i].day_ns == day_ns) return &work->days[i];
  return add_day(work, day, TKS_JSON);
}

static bool check_json_file(day_work *work, const tks__name *name, uint32_t symbol, int32_t day, size_t first) {
  tks_day_info *info = json_day_entry(work, day, first);
  if (info == NULL) return false;
  char path[TKS__PATH_MAX];
  tks__layout_json_file(work->reader->layout, name->text, name->length, day, path);
  info->files++;
  info->symbols++;
  info->bytes += size_of(path);
  note_damaged(info, path);
  if ((work->check & TKS_CHECK_FULL) == 0) return true;
  tks_error error;
  tks__json_day file;
  int code = tks__json_day_read(work->reader->layout, &work->reader->symbols->names, work->reader->sources, symbol, day,
                                &file, &error);
  if (code != TKS_OK) set_problem(info, code, error.message);
  if (code != TKS_OK && code != TKS_EDAYFILE) return true;
  info->count += file.count;
  for (size_t i = 0; i < file.count; i++)
    if (file.records[i].seq > info->last_seq) info->last_seq = file.records[i].seq;
  tks__json_day_free(&file);
  return true;
}

static int fail_to_list(const day_work *work, int errnum, tks_error *error) {
  return tks__fail_errno(error, errnum, "cannot list the days of %s", work->reader->layout->root);
}

static int check_json_days(day_work *work, tks_error *error) {
  char path[TKS__PATH_MAX];
  (void)snprintf(path, sizeof path, "%s/json", work->reader->layout->root);
  tks__fs_names dirs;
  int errnum = tks__fs_list(path, &dirs);
  if (errnum != 0) return fail_to_list(work, errnum, error);
  int code = TKS_OK;
  size_t first = work->count;
  for (size_t i = 0; i < dirs.count && errnum == 0; i++) {
    char text[TKS_NAME_MAX];
    size_t length;
    uint32_t symbol;
    tks__days days;
    tks__names *names = &work->reader->symbols->names;
    if (!tks__name_from_file(dirs.names[i], text, &length)) continue;
    code = tks__names_intern(names, text, length, &symbol);
    if (code != TKS_OK) break;
    errnum = tks__layout_list_json_days(work->reader->layout, text, length, INT32_MIN, INT32_MAX, &days);
    if (errnum != 0) break;
    for (size_t d = 0; d < days.count && errnum == 0; d++)
      if (!check_json_file(work, tks__names_get(names, symbol), symbol, days.days[d], first)) errnum = ENOMEM;
    tks__free(days.days);
  }
  tks__fs_names_free(&dirs);
  if (code != TKS_OK) return tks__fail(error, code, 0, "cannot list JSON files: %s", tks__status_message(code));
  return errnum == 0 ? TKS_OK : fail_to_list(work, errnum, error);
}

static int by_day(const void *a, const void *b) {
  const tks_day_info *x = a, *y = b;
  if (x->day_ns != y->day_ns) return x->day_ns < y->day_ns ? -1 : 1;
  return (x->sink > y->sink) - (x->sink < y->sink);
}

int tks__list_days(const tks__reader *reader, uint32_t check, tks_day_info *days, size_t capacity, size_t *total,
                   tks_error *error) {
  day_work work = {.reader = reader, .check = check};
  *total = 0;
  tks__days sqlite = {0};
  int errnum = tks__layout_list_days(reader->layout, INT32_MIN, INT32_MAX, &sqlite);
  for (size_t i = 0; i < sqlite.count && errnum == 0; i++)
    if (!check_sqlite_day(&work, sqlite.days[i])) errnum = ENOMEM;
  tks__free(sqlite.days);
  int code = errnum == 0 ? check_json_days(&work, error) : fail_to_list(&work, errnum, error);
  if (code == TKS_OK) {
    if (work.count > 0) qsort(work.days, work.count, sizeof *work.days, by_day);
    *total = work.count;
    size_t copied = work.count < capacity ? work.count : capacity;
    if (copied > 0) memcpy(days, work.days, copied * sizeof *days);
  }
  tks__free(work.days);
  return code;
}
