#include "persist/json_days.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/fs.h"
#include "base/memory.h"
#include "base/utc.h"
#include "persist/json_file.h"

#define DAY_TEXT 10 /* bytes of YYYY-MM-DD */
#define LIST_BYTES_MAX (1 << 24)

static int write_list(const tks__json_days *d, const tks__layout *layout) {
  char path[TKS__PATH_MAX];
  char *text = tks__malloc(d->count * (DAY_TEXT + 1) + TKS__UTC_TEXT_MAX);
  if (text == NULL) return ENOMEM;
  size_t length = 0;
  for (size_t i = 0; i < d->count; i++) {
    length += tks__utc_format_day(d->days[i], text + length);
    text[length++] = '\n';
  }
  tks__layout_json_days(layout, path);
  int rc = tks__fs_replace(path, text, length);
  tks__free(text);
  return rc;
}

static bool has_day(const tks__json_days *d, int32_t day) {
  for (size_t i = d->count; i-- > 0;)
    if (d->days[i] == day) return true;
  return false;
}

static int remember(tks__json_days *d, int32_t day) {
  if (!tks__grow((void **)&d->days, &d->capacity, d->count + 1, sizeof *d->days)) return ENOMEM;
  d->days[d->count++] = day;
  return 0;
}

int tks__json_days_add(tks__json_days *d, const tks__layout *layout, int32_t day) {
  if (has_day(d, day)) return 0;
  int rc = remember(d, day);
  if (rc != 0) return rc;
  rc = write_list(d, layout);
  if (rc != 0) d->count--; /* not known to be there: written again at the next try */
  return rc;
}

void tks__json_days_drop(tks__json_days *d, int32_t day) {
  size_t kept = d->left;
  for (size_t i = d->left; i < d->count; i++)
    if (d->days[i] != day) d->days[kept++] = d->days[i];
  d->count = kept;
}

/* ---------------------------------------------------------------- recovery */

static int read_list(tks__json_days *d, const tks__layout *layout) {
  char path[TKS__PATH_MAX];
  char *text;
  size_t length;
  tks__layout_json_days(layout, path);
  int rc = tks__fs_read_file(path, LIST_BYTES_MAX, &text, &length);
  if (rc != 0) return rc == ENOENT ? 0 : rc;
  for (size_t at = 0; at + DAY_TEXT <= length && rc == 0; at += DAY_TEXT + 1) {
    int32_t day;
    if (tks__utc_parse_day(text + at, DAY_TEXT, &day) && !has_day(d, day)) rc = remember(d, day);
  }
  tks__free(text);
  return rc;
}

static bool recover_day(const tks__layout *layout, const tks__fs_names *symbols, int32_t day, const tks__log *log) {
  bool ok = true;
  for (size_t i = 0; i < symbols->count; i++) {
    char name[TKS_NAME_MAX], path[TKS__PATH_MAX];
    size_t length;
    if (!tks__name_from_file(symbols->names[i], name, &length)) continue;
    tks__layout_json_file(layout, name, length, day, path);
    int rc = tks__json_file_recover(path, log);
    if (rc == 0 || rc == ENOENT || rc == ENOTDIR) continue;
    tks__log_write(log, TKS_LOG_ERROR, "cannot make good what a crash left of %s: %s", path, strerror(rc));
    ok = false;
  }
  return ok;
}

int tks__json_days_recover(tks__json_days *d, const tks__layout *layout, const tks__log *log) {
  int rc = read_list(d, layout);
  if (rc != 0 || d->count == 0) return rc;
  char path[TKS__PATH_MAX];
  tks__fs_names symbols;
  (void)snprintf(path, sizeof path, "%s/json", layout->root);
  rc = tks__fs_list(path, &symbols);
  if (rc != 0) return rc;
  size_t kept = 0;
  for (size_t i = 0; i < d->count; i++)
    if (!recover_day(layout, &symbols, d->days[i], log)) d->days[kept++] = d->days[i];
  d->count = d->left = kept;
  tks__fs_names_free(&symbols);
  return 0;
}

void tks__json_days_clear(tks__json_days *d, const tks__layout *layout) {
  char path[TKS__PATH_MAX];
  if (d->count > 0) return;
  tks__layout_json_days(layout, path);
  /* Not synced: should the name come back, some sound files are looked at once more. */
  (void)tks__fs_remove(path);
}

void tks__json_days_free(tks__json_days *d) {
  tks__free(d->days);
  *d = (tks__json_days){0};
}
