/* json_days.h - the days of which JSON files may have lines that are not on stable storage, kept in ROOT/json.days: what a
 * crash may have left unfinished, so that the next writer need not look at every file of every day.
 *
 *   1. A day is in the file, synced, before the first line of that day is written.
 *   2. After a crash the files of these days are made good before they are read or written: a power loss may leave the lines
 *      that were not synced with holes, and what the kernel holds of a killed process is synced. */
#ifndef TKS_PERSIST_JSON_DAYS_H
#define TKS_PERSIST_JSON_DAYS_H

#include <stddef.h>
#include <stdint.h>

#include "base/log.h"
#include "persist/layout.h"

typedef struct tks__json_days {
  int32_t *days;
  size_t count, capacity;
  size_t left; /* the first so many could not be made good */
} tks__json_days;

/* Adds a day, durably. Returns 0 or an errno value. */
int tks__json_days_add(tks__json_days *days, const tks__layout *layout, int32_t day);

/* Nothing that was written since is unsynced any more. The file forgets the day when it is next written, but for one that could not
 * be made good. */
void tks__json_days_drop(tks__json_days *days, int32_t day);

/* Makes good what a crash left. Returns 0 or an errno value when it cannot be known what that is. Days that could not be made
 * good stay, and are tried again when the store is next opened. */
int tks__json_days_recover(tks__json_days *days, const tks__layout *layout, const tks__log *log);

/* Everything is synced: removes the file, unless there are days that could not be made good. */
void tks__json_days_clear(tks__json_days *days, const tks__layout *layout);

void tks__json_days_free(tks__json_days *days);

#endif
