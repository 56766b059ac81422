/* gap_file.h - a file of the gap ledger: rows in SQLite. gaps.h says what is written where and when.
 *
 * Calls return SQLite's extended code. */
#ifndef TKS_PERSIST_GAP_FILE_H
#define TKS_PERSIST_GAP_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/name.h"
#include "ingest/names.h"
#include "tickstore/tickstore.h"

#define TKS__GAP_WHY_MAX 256

/* "full", "journal", "backlog", "close", "recovery" */
const char *tks__gap_cause_name(uint32_t cause);

/* Whether two rows are states of the same one: it grows in place. */
bool tks__gap_same(const tks_gap *a, const tks_gap *b);

/* Whether what was found after a crash is what was found after an earlier one: the journal still holds it. */
bool tks__gap_found_again(const tks_gap *a, const tks_gap *b);

typedef struct tks__gap_writing {
  const char *path;
  const char *take_in; /* a file of rows that become part of this one first; NULL: none. It may be missing */
  bool reserve;        /* a new file gets room for the first rows on a full disk */
  int busy_ms;
  const tks__names *symbols;
  const tks_gap *rows;
  size_t count;
} tks__gap_writing;

/* Opens the file or makes it, takes back what a crash interrupted, and writes the rows. *taken: what take_in came to. */
int tks__gap_file_write(const tks__gap_writing *writing, int *taken, char why[TKS__GAP_WHY_MAX]);

/* Whether the file as it is will never do: no ledger, or nothing that may be opened for writing. */
bool tks__gap_file_is_damaged(int rc);
bool tks__gap_file_is_unusable(int rc, const char *path);

typedef struct tks__gap_list {
  tks_gap *rows; /* tks__free */
  size_t count, capacity;
} tks__gap_list;
bool tks__gap_list_add(tks__gap_list *list, const tks_gap *gap);

/* Adds the rows that reach `since_seq`. Symbols are interned. On failure nothing is added. */
int tks__gap_file_read(const char *path, bool may_repair, tks__names *symbols, uint64_t since_seq, tks__gap_list *list,
                       char why[TKS__GAP_WHY_MAX]);

#endif
