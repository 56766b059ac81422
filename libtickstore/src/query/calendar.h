/* calendar.h - which days there are, remembered directory by directory, so that a query that needs one day does not read the names of all.
 *
 *   1. What is remembered of a directory is used as long as its stamp is the one that was seen before it was read: days come and go by
 *      other hands too. So each answer costs one look at the directory, and no reading of it.
 *   2. A directory that changed a moment before it was read is not remembered: a further change within the same tick of the
 *      file system's clock would leave the stamp as it is.
 *   3. It holds so many directories at most; others take their places. */
#ifndef TKS_QUERY_CALENDAR_H
#define TKS_QUERY_CALENDAR_H

#include <pthread.h>

#include "base/fs.h"
#include "ingest/names.h"
#include "persist/layout.h"

#define TKS__CALENDAR_DIRS 256

typedef struct tks__calendar_dir {
  uint64_t key; /* 0: nothing */
  tks__fs_stamp stamp;
  tks__days numbers;
} tks__calendar_dir;

typedef struct tks__calendar {
  const tks__layout *layout; /* borrowed */
  int64_t (*now_ns)(void);   /* the calendar's time; another one in tests */
  pthread_mutex_t lock;
  tks__calendar_dir db[TKS__CALENDAR_DIRS];
  tks__calendar_dir json[TKS__CALENDAR_DIRS];
} tks__calendar;

/* NULL: no memory. */
tks__calendar *tks__calendar_new(const tks__layout *layout);
void tks__calendar_free(tks__calendar *calendar);

/* See tks__layout_list_db. Returns 0 or an errno value; the caller frees numbers->days with tks__free. */
int tks__calendar_db(tks__calendar *calendar, int year, int month, tks__days *numbers);

/* All days with a JSON file of this symbol; `id` is its id. */
int tks__calendar_json(tks__calendar *calendar, uint32_t id, const tks__name *name, tks__days *days);

#endif
