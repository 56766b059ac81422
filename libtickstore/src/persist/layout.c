#include "persist/layout.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/memory.h"
#include "base/utc.h"

#define DAY_TEXT 10 /* bytes of YYYY-MM-DD */
#define DAY_FILE_PREFIX "ticks_"
#define DAY_FILE_SUFFIX ".db"
#define JSON_SUFFIX ".jsonl"
#define DAMAGED ".damaged-"
#define DAMAGED_MAX 100000

bool tks__layout_init(tks__layout *layout, const char *path, size_t length) {
  while (length > 1 && path[length - 1] == '/') length--;
  if (length == 0 || length >= sizeof layout->root || memchr(path, 0, length) != NULL) return false;
  memcpy(layout->root, path, length);
  layout->root[length] = 0;
  return true;
}

/* Nothing below the root is longer than what its size leaves room for, so these never cut. */
static void __attribute__((format(printf, 3, 4)))
below(const tks__layout *layout, char path[TKS__PATH_MAX], const char *format, ...) {
  size_t root = strlen(layout->root);
  memcpy(path, layout->root, root);
  if (path[root - 1] != '/') path[root++] = '/';
  va_list args;
  va_start(args, format);
  (void)vsnprintf(path + root, TKS__PATH_MAX - root, format, args);
  va_end(args);
}

void tks__layout_manifest(const tks__layout *layout, char path[TKS__PATH_MAX]) { below(layout, path, "store.json"); }

void tks__layout_journal(const tks__layout *layout, char path[TKS__PATH_MAX]) { below(layout, path, "journal"); }

void tks__layout_gaps(const tks__layout *layout, char path[TKS__PATH_MAX]) { below(layout, path, "gaps.db"); }
void tks__layout_gaps_pending(const tks__layout *layout, char path[TKS__PATH_MAX]) {
  below(layout, path, "gaps.pending.db");
}

void tks__layout_json_days(const tks__layout *layout, char path[TKS__PATH_MAX]) { below(layout, path, "json.days"); }

void tks__layout_lock(const tks__layout *layout, char path[TKS__PATH_MAX]) { below(layout, path, "lock"); }

void tks__layout_db_dir(const tks__layout *layout, int year, int month, char path[TKS__PATH_MAX]) {
  if (year == 0) below(layout, path, "db");
  else if (month == 0) below(layout, path, "db/%04d", year);
  else below(layout, path, "db/%04d/%02d", year, month);
}

void tks__layout_day_file(const tks__layout *layout, int32_t day, char path[TKS__PATH_MAX]) {
  char text[TKS__UTC_TEXT_MAX];
  int year, month, mday;
  (void)tks__utc_format_day(day, text);
  tks__utc_date(day, &year, &month, &mday);
  below(layout, path, "db/%04d/%02d/" DAY_FILE_PREFIX "%s" DAY_FILE_SUFFIX, year, month, text);
}

void tks__layout_json_dir(const tks__layout *layout, const char *symbol, size_t length, char path[TKS__PATH_MAX]) {
  char name[TKS__NAME_FILE_MAX];
  (void)tks__name_to_file(symbol, length, name);
  below(layout, path, "json/%s", name);
}

void tks__layout_json_file(const tks__layout *layout, const char *symbol, size_t length, int32_t day,
                           char path[TKS__PATH_MAX]) {
  char name[TKS__NAME_FILE_MAX], text[TKS__UTC_TEXT_MAX];
  (void)tks__name_to_file(symbol, length, name);
  (void)tks__utc_format_day(day, text);
  below(layout, path, "json/%s/%s" JSON_SUFFIX, name, text);
}

/* ---------------------------------------------------------- listing of days */

/* The days found so far. `failed` remembers the first error, so that callers may go on and look once. */
typedef struct collection {
  tks__days *days;
  size_t capacity;
  int32_t first, last;
  int failed;
} collection;

static void collect_day(collection *c, int32_t day) {
  if (day < c->first || day > c->last || c->failed != 0) return;
  if (!tks__grow((void **)&c->days->days, &c->capacity, c->days->count + 1, sizeof *c->days->days)) {
    c->failed = ENOMEM;
    return;
  }
  c->days->days[c->days->count++] = day;
}

static bool day_of_file(const char *name, const char *prefix, const char *suffix, int32_t *day) {
  size_t before = strlen(prefix);
  return strlen(name) == before + DAY_TEXT + strlen(suffix) && memcmp(name, prefix, before) == 0 &&
         strcmp(name + before + DAY_TEXT, suffix) == 0 && tks__utc_parse_day(name + before, DAY_TEXT, day);
}

static bool is_number(const char *name, size_t width) {
  return strlen(name) == width && strspn(name, "0123456789") == width;
}

static int compare_days(const void *a, const void *b) {
  int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
  return (x > y) - (x < y);
}

static int finish(collection *c) {
  tks__days *days = c->days;
  if (c->failed != 0) {
    tks__free(days->days);
    *days = (tks__days){0};
    return c->failed;
  }
  if (days->count < 2) return 0;
  qsort(days->days, days->count, sizeof *days->days, compare_days);
  size_t kept = 1;
  for (size_t i = 1; i < days->count; i++)
    if (days->days[i] != days->days[kept - 1]) days->days[kept++] = days->days[i];
  days->count = kept;
  return 0;
}

/* What the name of something in ROOT/db, in a year or in a month stands for. */
static bool number_of(const char *name, int year, int month, int32_t *number) {
  if (year == 0 || month == 0) {
    *number = (int32_t)strtol(name, NULL, 10);
    return is_number(name, year == 0 ? 4 : 2) && *number > 0;
  }
  int y, m, mday;
  if (!day_of_file(name, DAY_FILE_PREFIX, DAY_FILE_SUFFIX, number)) return false;
  tks__utc_date(*number, &y, &m, &mday);
  return y == year && m == month;
}

int tks__layout_list_db(const tks__layout *layout, int year, int month, tks__days *numbers) {
  *numbers = (tks__days){0};
  collection c = {.days = numbers, .first = INT32_MIN, .last = INT32_MAX};
  char path[TKS__PATH_MAX];
  tks__fs_names names;
  tks__layout_db_dir(layout, year, month, path);
  c.failed = tks__fs_list(path, &names);
  if (c.failed == ENOTDIR && year != 0) c.failed = 0; /* a stray file named like a year or a month */
  for (size_t i = 0; i < names.count; i++) {
    int32_t number;
    if (number_of(names.names[i], year, month, &number)) collect_day(&c, number);
  }
  tks__fs_names_free(&names);
  return finish(&c);
}

static void collect_month(collection *c, const tks__layout *layout, int year, int month) {
  tks__days days;
  c->failed = tks__layout_list_db(layout, year, month, &days);
  for (size_t i = 0; i < days.count; i++) collect_day(c, days.days[i]);
  tks__free(days.days);
}

static void collect_year(collection *c, const tks__layout *layout, int year) {
  tks__days months;
  c->failed = tks__layout_list_db(layout, year, 0, &months);
  for (size_t i = 0; i < months.count && c->failed == 0; i++) collect_month(c, layout, year, months.days[i]);
  tks__free(months.days);
}

int tks__layout_list_days(const tks__layout *layout, int32_t first, int32_t last, tks__days *days) {
  *days = (tks__days){0};
  collection c = {.days = days, .first = first, .last = last};
  int first_year, last_year, month, mday;
  tks__utc_date(first, &first_year, &month, &mday);
  tks__utc_date(last, &last_year, &month, &mday);
  tks__days years;
  c.failed = tks__layout_list_db(layout, 0, 0, &years);
  for (size_t i = 0; i < years.count && c.failed == 0; i++)
    if (years.days[i] >= first_year && years.days[i] <= last_year) collect_year(&c, layout, years.days[i]);
  tks__free(years.days);
  return finish(&c);
}

static void collect_json_dir(collection *c, const char *path) {
  tks__fs_names files;
  c->failed = tks__fs_list(path, &files);
  if (c->failed == ENOTDIR) c->failed = 0;
  for (size_t i = 0; i < files.count; i++) {
    int32_t day;
    if (day_of_file(files.names[i], "", JSON_SUFFIX, &day)) collect_day(c, day);
  }
  tks__fs_names_free(&files);
}

int tks__layout_list_json_days(const tks__layout *layout, const char *symbol, size_t length, int32_t first,
                               int32_t last, tks__days *days) {
  *days = (tks__days){0};
  collection c = {.days = days, .first = first, .last = last};
  char path[TKS__PATH_MAX];
  if (symbol != NULL) {
    tks__layout_json_dir(layout, symbol, length, path);
    collect_json_dir(&c, path);
    return finish(&c);
  }
  tks__fs_names symbols;
  below(layout, path, "json");
  c.failed = tks__fs_list(path, &symbols);
  for (size_t i = 0; i < symbols.count && c.failed == 0; i++) {
    char name[TKS_NAME_MAX];
    size_t name_length;
    if (!tks__name_from_file(symbols.names[i], name, &name_length)) continue;
    tks__layout_json_dir(layout, name, name_length, path);
    collect_json_dir(&c, path);
  }
  tks__fs_names_free(&symbols);
  return finish(&c);
}

/* ------------------------------------------------------------ files beside */

static int beside(const char *path, const char *suffix, char out[TKS__PATH_MAX]) {
  int n = snprintf(out, TKS__PATH_MAX, "%s%s", path, suffix);
  return n < 0 || n >= TKS__PATH_MAX ? ENAMETOOLONG : 0;
}

bool tks__layout_has_beside(const char *path, const char *suffix) {
  char other[TKS__PATH_MAX];
  int64_t size;
  return beside(path, suffix, other) == 0 && tks__fs_size(other, &size) == 0;
}

static int free_name(const char *path, char aside[TKS__PATH_MAX]) {
  for (int n = 1; n <= DAMAGED_MAX; n++) {
    char suffix[32];
    int64_t size;
    (void)snprintf(suffix, sizeof suffix, DAMAGED "%d", n);
    int rc = beside(path, suffix, aside);
    if (rc != 0) return rc;
    rc = tks__fs_size(aside, &size);
    if (rc == ENOENT) return 0;
    if (rc != 0) return rc;
  }
  return EEXIST;
}

static int move_beside(const char *path, const char *aside, const char *suffix) {
  char from[TKS__PATH_MAX], to[TKS__PATH_MAX];
  int rc = beside(path, suffix, from);
  if (rc == 0) rc = beside(aside, suffix, to);
  return rc == 0 ? tks__fs_rename(from, to) : rc;
}

int tks__layout_set_aside(const char *path, char aside[TKS__PATH_MAX]) {
  /* The logs first: left behind by a crash they would be played back into the new file that takes this one's place. */
  static const char *const logs[] = {"-wal", "-journal"};
  enum { LOGS = sizeof logs / sizeof logs[0] };
  bool had[LOGS] = {false};
  int rc = free_name(path, aside);
  for (int i = 0; i < LOGS && rc == 0; i++) {
    rc = move_beside(path, aside, logs[i]);
    had[i] = rc == 0;
    if (rc == ENOENT) rc = 0;
  }
  if (rc == 0) rc = tks__fs_rename(path, aside);
  if (rc == 0) return tks__fs_sync_dir_of(path);
  for (int i = 0; i < LOGS; i++)
    if (had[i]) (void)move_beside(aside, path, logs[i]);
  return rc;
}

bool tks__layout_has_damaged(const char *path) {
  /* The first one set aside has number 1; asked on every day that is read, so one look must do. */
  return tks__layout_has_beside(path, DAMAGED "1");
}
