/* journals.h - a journal in memory without a keeper: it grows when the test says so, and its slots can be tampered with. */
#ifndef TKS_TESTS_SUPPORT_JOURNALS_H
#define TKS_TESTS_SUPPORT_JOURNALS_H

#include "ingest/journal.h"

typedef struct test_journal {
  tks__journal journal;
  tks__segment *segments[16384]; /* all that were ever added */
  size_t count;
  _Atomic uint64_t wakes;
} test_journal;

/* Blocks of `slot_count` records (a power of two); the first position is slot_count. Ends the process without memory.
 * Recovered blocks may be added before journal_go_live, which gives the first live record `first_seq` and adds a block. */
void journal_set_up(test_journal *t, uint64_t slot_count);
void journal_add_recovered(test_journal *t, uint64_t base_seq, const tks__record *records, size_t count);
void journal_go_live(test_journal *t, uint64_t first_seq);
void journal_tear_down(test_journal *t);

void journal_grow(test_journal *t);

/* Pushes a record; grows where there is no room. Its position. */
uint64_t journal_put(test_journal *t, tks__record *record);

/* Where the record of a position lies. */
tks__slot *journal_slot(test_journal *t, uint64_t position);

/* A producer that was interrupted: it has its position and has not stored its record. */
uint64_t journal_claim(test_journal *t);
void journal_fill(test_journal *t, uint64_t position, const tks__record *record);

#endif
