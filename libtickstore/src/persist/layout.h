/* layout.h - where things lie in a store's directory, and which days there are.
 *
 *   ROOT/store.json                          manifest
 *   ROOT/lock                                the writer's lock
 *   ROOT/json.days                           days of which JSON files may have unsynced lines; gone after a clean close
 *   ROOT/db/2026/01/ticks_2026-01-20.db      one SQLite file per UTC day
 *   ROOT/json/EURUSD/2026-01-20.jsonl        one JSON object per line, per symbol and UTC day
 *   ROOT/journal/                            what the sinks do not have yet (ingest/keeper.h)
 *   ROOT/gaps.db                             what was lost (gaps.h)
 *   ROOT/gaps.pending.db                     what could not be written there yet
 *   *.damaged-N                              files set aside because they could not be used; never read */
#ifndef TKS_PERSIST_LAYOUT_H
#define TKS_PERSIST_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/name.h"

#define TKS__PATH_MAX 4096

typedef struct tks__layout {
  char root[TKS__PATH_MAX - 320]; /* leaves room for the longest name below it */
} tks__layout;

/* False when the path is empty, holds a NUL, or is too long. */
bool tks__layout_init(tks__layout *layout, const char *path, size_t length);

void tks__layout_manifest(const tks__layout *layout, char path[TKS__PATH_MAX]);
void tks__layout_journal(const tks__layout *layout, char path[TKS__PATH_MAX]);
void tks__layout_gaps(const tks__layout *layout, char path[TKS__PATH_MAX]);
void tks__layout_gaps_pending(const tks__layout *layout, char path[TKS__PATH_MAX]);
void tks__layout_json_days(const tks__layout *layout, char path[TKS__PATH_MAX]);
void tks__layout_lock(const tks__layout *layout, char path[TKS__PATH_MAX]);
void tks__layout_db_dir(const tks__layout *layout, int year, int month, char path[TKS__PATH_MAX]); /* 0: of all */
void tks__layout_day_file(const tks__layout *layout, int32_t day, char path[TKS__PATH_MAX]);
void tks__layout_json_dir(const tks__layout *layout, const char *symbol, size_t length, char path[TKS__PATH_MAX]);
void tks__layout_json_file(const tks__layout *layout, const char *symbol, size_t length, int32_t day,
                           char path[TKS__PATH_MAX]);

/* Days found on disk, ascending, each once. Free with tks__free. */
typedef struct tks__days {
  int32_t *days;
  size_t count;
} tks__days;

/* Days with a SQLite file, within [first, last]. Returns 0 or an errno value. */
int tks__layout_list_days(const tks__layout *layout, int32_t first, int32_t last, tks__days *days);

/* What one directory below ROOT/db tells: the years (`year` 0), the months of a year (`month` 0), or the days of a month. */
int tks__layout_list_db(const tks__layout *layout, int year, int month, tks__days *numbers);

/* Days with a JSON file of this symbol (all symbols when `symbol` is NULL), within [first, last]. */
int tks__layout_list_json_days(const tks__layout *layout, const char *symbol, size_t length, int32_t first,
                               int32_t last, tks__days *days);

/* Renames a file that cannot be used to <path>.damaged-N, with N the first free number; `aside` is the new name.
 * Takes a -wal and a -journal along. Returns 0 or an errno value. */
int tks__layout_set_aside(const char *path, char aside[TKS__PATH_MAX]);

/* Whether there is a file of this name with a suffix, such as "-wal". */
bool tks__layout_has_beside(const char *path, const char *suffix);

/* Whether a damaged file was set aside for this path. */
bool tks__layout_has_damaged(const char *path);

#endif
