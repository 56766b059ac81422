#include "query/calendar.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/utc.h"

#define SETTLED_NS (2 * TKS__NS_PER_S) /* the coarsest clock of a file system, with room */

tks__calendar *tks__calendar_new(const tks__layout *layout) {
  tks__calendar *calendar = tks__calloc(1, sizeof *calendar);
  if (calendar == NULL) return NULL;
  calendar->layout = layout;
  calendar->now_ns = tks__clock_files_ns;
  if (pthread_mutex_init(&calendar->lock, NULL) == 0) return calendar;
  tks__free(calendar);
  return NULL;
}

void tks__calendar_free(tks__calendar *calendar) {
  if (calendar == NULL) return;
  for (size_t i = 0; i < TKS__CALENDAR_DIRS; i++) {
    tks__free(calendar->db[i].numbers.days);
    tks__free(calendar->json[i].numbers.days);
  }
  (void)pthread_mutex_destroy(&calendar->lock);
  tks__free(calendar);
}

static bool same_stamp(const tks__fs_stamp *a, const tks__fs_stamp *b) {
  return a->device == b->device && a->inode == b->inode && a->modified_ns == b->modified_ns &&
         a->changed_ns == b->changed_ns;
}

static bool copy(const tks__days *from, tks__days *to) {
  *to = (tks__days){0};
  if (from->count == 0) return true;
  to->days = tks__malloc(from->count * sizeof *to->days);
  if (to->days == NULL) return false;
  memcpy(to->days, from->days, from->count * sizeof *to->days);
  to->count = from->count;
  return true;
}

/* Whether the directory is remembered as it is now; *rc is then 0, or ENOMEM. */
static bool recall(tks__calendar *calendar, const tks__calendar_dir *dir, uint64_t key, const tks__fs_stamp *stamp,
                   tks__days *numbers, int *rc) {
  (void)pthread_mutex_lock(&calendar->lock);
  bool known = dir->key == key && same_stamp(&dir->stamp, stamp);
  if (known) *rc = copy(&dir->numbers, numbers) ? 0 : ENOMEM;
  (void)pthread_mutex_unlock(&calendar->lock);
  return known;
}

/* `stamp` was seen before the numbers were read. */
static void remember(tks__calendar *calendar, tks__calendar_dir *dir, uint64_t key, const tks__fs_stamp *stamp,
                     const tks__days *numbers) {
  int64_t settled = calendar->now_ns() - SETTLED_NS;
  tks__days copied;
  if (stamp->modified_ns > settled || stamp->changed_ns > settled || !copy(numbers, &copied)) return;
  (void)pthread_mutex_lock(&calendar->lock);
  tks__free(dir->numbers.days);
  *dir = (tks__calendar_dir){.key = key, .stamp = *stamp, .numbers = copied};
  (void)pthread_mutex_unlock(&calendar->lock);
}

int tks__calendar_db(tks__calendar *calendar, int year, int month, tks__days *numbers) {
  /* Months that follow each other have places that do; a year's own is beside them. */
  uint64_t key = (uint64_t)year * 13 + (uint64_t)month + 1;
  tks__calendar_dir *dir = &calendar->db[key % TKS__CALENDAR_DIRS];
  *numbers = (tks__days){0};
  char path[TKS__PATH_MAX];
  tks__fs_stamp stamp;
  tks__layout_db_dir(calendar->layout, year, month, path);
  int rc = tks__fs_stamp_of(path, &stamp);
  if (rc == ENOENT) return 0;
  if (rc != 0 || recall(calendar, dir, key, &stamp, numbers, &rc)) return rc;
  rc = tks__layout_list_db(calendar->layout, year, month, numbers);
  if (rc == 0) remember(calendar, dir, key, &stamp, numbers);
  return rc;
}

int tks__calendar_json(tks__calendar *calendar, uint32_t id, const tks__name *name, tks__days *days) {
  tks__calendar_dir *dir = &calendar->json[id % TKS__CALENDAR_DIRS];
  *days = (tks__days){0};
  char path[TKS__PATH_MAX];
  tks__fs_stamp stamp;
  tks__layout_json_dir(calendar->layout, name->text, name->length, path);
  int rc = tks__fs_stamp_of(path, &stamp);
  if (rc == ENOENT || rc == ENOTDIR) return 0;
  if (rc != 0 || recall(calendar, dir, id, &stamp, days, &rc)) return rc;
  rc = tks__layout_list_json_days(calendar->layout, name->text, name->length, INT32_MIN, INT32_MAX, days);
  if (rc == 0) remember(calendar, dir, id, &stamp, days);
  return rc;
}
