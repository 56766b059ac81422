#include "persist/gaps.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/memory.h"
#include "support/faults.h"
#include "support/scratch.h"
#include "support/stores.h"
#include "support/threads.h"

static char *dir;
static char path[PATH_MAX];
static tks__layout layout;
static tks__names symbols;
static tks__gaps *gaps;
static const tks__log silent = {0};

static void set_up(void) {
  dir = scratch_new();
  cr_assert(tks__layout_init(&layout, dir, strlen(dir)));
  (void)snprintf(path, sizeof path, "%s/gaps.db", dir);
  cr_assert_eq(tks__names_init(&symbols, 100), TKS_OK);
  uint32_t id;
  cr_assert_eq(tks__names_intern(&symbols, "EURUSD", 6, &id), TKS_OK);
  gaps = tks__gaps_new(&layout, &symbols, &silent);
  cr_assert_not_null(gaps);
}

static void tear_down(void) {
  atomic_store(&tks__fs_fault, NULL);
  (void)allocations_work();
  tks__gaps_free(gaps);
  tks__names_deinit(&symbols);
  scratch_remove(dir);
}

TestSuite(gaps, .init = set_up, .fini = tear_down);

static tks__loss loss_of(uint64_t from, uint64_t to, uint32_t cause) {
  return (tks__loss){.from_seq = from,
                     .to_seq = to,
                     .records = to - from + 1,
                     .first_ns = STORE_NOON + (int64_t)from,
                     .last_ns = STORE_NOON + (int64_t)to,
                     .symbol = 1,
                     .cause = cause};
}

static void note(uint32_t sink, uint64_t from, uint64_t to, uint32_t cause) {
  const tks__loss loss = loss_of(from, to, cause);
  tks__gaps_note(gaps, sink, &loss);
}

static tks_gap rows[5000];
static size_t list_with(tks__gaps *unwritten, uint64_t since) {
  size_t total = 0;
  tks_error error;
  int code = tks__gaps_list(&layout, unwritten, &symbols, since, rows, sizeof rows / sizeof rows[0], &total, &error);
  cr_assert_eq(code, TKS_OK, "%d: %s", code, error.message);
  return total;
}

static size_t list(void) { return list_with(gaps, 0); }

static int list_code(tks__gaps *unwritten) {
  size_t total;
  return tks__gaps_list(&layout, unwritten, &symbols, 0, rows, 1, &total, NULL);
}

static bool is_row(size_t i, uint64_t from, uint64_t to, uint32_t sink, uint32_t cause) {
  return rows[i].from_seq == from && rows[i].to_seq == to && rows[i].records == to - from + 1 && rows[i].sink == sink &&
         rows[i].cause == cause && rows[i].first_ns == STORE_NOON + (int64_t)from &&
         rows[i].last_ns == STORE_NOON + (int64_t)to;
}

Test(gaps, nothing_lost_nothing_there) {
  cr_assert_eq(list(), 0);
  cr_assert_eq(list_with(NULL, 0), 0);
  cr_assert(tks__gaps_write(gaps));
  cr_assert_not(path_exists(path), "no file for nothing");
  fail_allocations();
  cr_assert_null(tks__gaps_new(&layout, &symbols, &silent));
  (void)allocations_work();
  tks__gaps_free(NULL);
}

Test(gaps, rows_are_listed_before_and_after_they_are_written) {
  note(0, 100, 109, TKS_GAP_FULL);
  note(0, 200, 200, TKS_GAP_JOURNAL);
  note(TKS_JSON, 50, 60, TKS_GAP_BACKLOG);
  for (int written = 0; written < 2; written++) {
    cr_assert_eq(list(), 3);
    cr_assert(is_row(0, 50, 60, TKS_JSON, TKS_GAP_BACKLOG), "in order of from_seq");
    cr_assert(is_row(1, 100, 109, 0, TKS_GAP_FULL));
    cr_assert(is_row(2, 200, 200, 0, TKS_GAP_JOURNAL));
    cr_assert_eq(rows[1].symbol, 1);
    cr_assert_eq(list_with(gaps, 61), 2);
    cr_assert_eq(list_with(gaps, 109), 2, "the one that reaches it");
    cr_assert_eq(list_with(gaps, 201), 0);
    cr_assert_eq(list_with(NULL, 0), written ? 3 : 0, "somebody else sees what is in the file");
    cr_assert(tks__gaps_write(gaps));
  }
  size_t total;
  memset(rows, 0, sizeof rows);
  cr_assert_eq(tks__gaps_list(&layout, gaps, &symbols, 0, rows, 1, &total, NULL), TKS_OK);
  cr_assert_eq(total, 3);
  cr_assert_eq(rows[0].from_seq, 50);
  cr_assert_eq(rows[1].from_seq, 0, "no more than there is room for");
  cr_assert_eq(tks__gaps_list(&layout, gaps, &symbols, UINT64_MAX, NULL, 0, &total, NULL), TKS_OK);
  cr_assert_eq(total, 0);
}

Test(gaps, a_run_that_goes_on_extends_its_row) {
  for (int write = 0; write < 2; write++) {
    uint64_t base = write ? 10000 : 1000;
    note(0, base, base + 9, TKS_GAP_FULL);
    if (write) cr_assert(tks__gaps_write(gaps));
    note(0, base + 10, base + 19, TKS_GAP_FULL);
    note(0, base + 21, base + 21, TKS_GAP_FULL);    /* one was put in between */
    note(0, base + 22, base + 23, TKS_GAP_JOURNAL); /* for another reason */
    if (write) cr_assert(tks__gaps_write(gaps));
    cr_assert_eq(list_with(gaps, base), 3);
    cr_assert(is_row(0, base, base + 19, 0, TKS_GAP_FULL));
    cr_assert(is_row(1, base + 21, base + 21, 0, TKS_GAP_FULL));
    cr_assert(is_row(2, base + 22, base + 23, 0, TKS_GAP_JOURNAL));
    cr_assert(tks__gaps_write(gaps));
    scratch_clear(dir);
  }
}

Test(gaps, runs_of_two_sinks_that_lose_in_turns_are_two_rows) {
  for (uint64_t i = 0; i < 20; i++) {
    note(TKS_SQLITE, 100 + i, 100 + i, TKS_GAP_BACKLOG);
    note(TKS_JSON, 100 + i, 100 + i, TKS_GAP_BACKLOG);
    if (i % 3 == 0) cr_assert(tks__gaps_write(gaps));
  }
  cr_assert(tks__gaps_write(gaps));
  cr_assert_eq(list_with(NULL, 0), 2);
  cr_assert(is_row(0, 100, 119, TKS_SQLITE, TKS_GAP_BACKLOG));
  cr_assert(is_row(1, 100, 119, TKS_JSON, TKS_GAP_BACKLOG));
}

Test(gaps, a_run_of_several_symbols_names_none) {
  tks__loss loss = loss_of(1, 1, TKS_GAP_FULL);
  tks__gaps_note(gaps, 0, &loss);
  loss = loss_of(2, 2, TKS_GAP_FULL);
  loss.symbol = 2;
  tks__gaps_note(gaps, 0, &loss);
  cr_assert_eq(list(), 1);
  cr_assert_eq(rows[0].symbol, 0);
  cr_assert(tks__gaps_write(gaps));
  cr_assert_eq(sqlite_integer(path, "SELECT count(*) FROM gaps WHERE symbol IS NULL"), 1);
}

Test(gaps, plain_sql) {
  note(TKS_SQLITE, 100, 109, TKS_GAP_FULL);
  note(TKS_JSON, 200, 201, TKS_GAP_CLOSE);
  note(0, 300, 300, TKS_GAP_RECOVERY);
  cr_assert(tks__gaps_write(gaps));
  cr_assert_eq(sqlite_integer(path, "SELECT count(*) FROM gaps"), 3);
  cr_assert_eq(sqlite_integer(path, "SELECT records FROM gaps WHERE sink='sqlite' AND cause='full' AND symbol='EURUSD'"
                                    " AND from_seq=100 AND to_seq=109"),
               10);
  cr_assert_eq(sqlite_integer(path, "SELECT records FROM gaps WHERE sink='json' AND cause='close'"), 2);
  cr_assert_eq(sqlite_integer(path, "SELECT records FROM gaps WHERE sink='all' AND cause='recovery'"), 1);
  cr_assert_eq(sqlite_integer(path, "SELECT count(*) FROM gaps WHERE first_time LIKE '" STORE_DAY "T12:00:00.%Z'"), 3);
  cr_assert_eq(sqlite_integer(path, "PRAGMA application_id"), 0x544b5347);
  cr_assert_eq(sqlite_integer(path, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check='ok'"), 1);
}

Test(gaps, causes_have_names) {
  static const char *const names[] = {"unknown", "full",     "journal", "backlog",
                                      "close",   "recovery", "backend", "unknown"};
  for (uint32_t cause = 0; cause < sizeof names / sizeof *names; cause++)
    cr_assert_str_eq(tks__gap_cause_name(cause), names[cause]);
}

Test(gaps, symbols_are_told_by_name_to_another_process) {
  note(0, 1, 1, TKS_GAP_FULL);
  cr_assert(tks__gaps_write(gaps));
  tks__names others;
  cr_assert_eq(tks__names_init(&others, 2), TKS_OK);
  uint32_t id;
  cr_assert_eq(tks__names_intern(&others, "first", 5, &id), TKS_OK);
  size_t total;
  cr_assert_eq(tks__gaps_list(&layout, NULL, &others, 0, rows, 1, &total, NULL), TKS_OK);
  cr_assert_eq(rows[0].symbol, tks__names_find(&others, "EURUSD", 6));
  cr_assert_neq(rows[0].symbol, 0);
  tks__names_deinit(&others);
  cr_assert_eq(tks__names_init(&others, 1), TKS_OK);
  cr_assert_eq(tks__names_intern(&others, "first", 5, &id), TKS_OK);
  cr_assert_eq(tks__gaps_list(&layout, NULL, &others, 0, rows, 1, &total, NULL), TKS_OK, "a full table is no reason");
  cr_assert_eq(rows[0].symbol, 0);
  tks__names_deinit(&others);
}

/* Beyond what is held, runs are joined: nothing is left out of the sums, and no sink gets what another lost. */
Test(gaps, too_many_unwritten_runs_are_joined) {
  enum { RUNS = 5000 };
  for (uint64_t i = 0; i < RUNS; i++)
    note(i % 2 == 0 ? TKS_SQLITE : TKS_JSON, i * 10, i * 10 + 1, 1 + (uint32_t)(i / 2 % 5));
  size_t total = list();
  cr_assert_lt(total, RUNS);
  uint64_t records[3] = {0}, last = 0, ends = 0;
  for (size_t i = 0; i < total; i++) {
    records[rows[i].sink] += rows[i].records;
    if (rows[i].to_seq > last) last = rows[i].to_seq;
    ends += rows[i].to_seq;
    cr_assert_eq(rows[i].from_seq / 10 % 2, rows[i].sink == TKS_SQLITE ? 0 : 1);
  }
  cr_assert_eq(records[TKS_SQLITE], RUNS);
  cr_assert_eq(records[TKS_JSON], RUNS);
  cr_assert_eq(last, (RUNS - 1) * 10 + 1);
  uint64_t first = rows[0].from_seq;
  note(TKS_SQLITE, first, first, TKS_GAP_FULL); /* of before: it joins a row that ends behind it */
  cr_assert_eq(list(), total);
  uint64_t sum = 0;
  for (size_t i = 0; i < total; i++) {
    sum += rows[i].records;
    ends -= rows[i].to_seq;
  }
  cr_assert_eq(sum, 2 * RUNS + 1);
  cr_assert_eq(ends, 0, "no row ends earlier for it");
  cr_assert(tks__gaps_write(gaps));
  cr_assert_eq(list_with(NULL, 0), total);
}

/* ------------------------------------------------------------------- failures */

Test(gaps, a_locked_ledger_is_written_later) {
  note(0, 1, 1, TKS_GAP_FULL);
  cr_assert(tks__gaps_write(gaps));
  sqlite3 *other;
  cr_assert_eq(sqlite3_open(path, &other), SQLITE_OK);
  cr_assert_eq(sqlite3_exec(other, "BEGIN EXCLUSIVE", NULL, NULL, NULL), SQLITE_OK);
  note(0, 5, 5, TKS_GAP_FULL);
  cr_assert_not(tks__gaps_write(gaps));
  cr_assert_eq(list_code(gaps), TKS_EIO);
  cr_assert_eq(sqlite3_exec(other, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
  cr_assert_eq(list(), 2);
  cr_assert(tks__gaps_write(gaps));
  cr_assert_eq(list_with(NULL, 0), 2);
  cr_assert_eq(sqlite3_close(other), SQLITE_OK);
}

static void damage_with(const void *bytes, size_t length) { write_file(path, bytes, length); }

Test(gaps, a_damaged_ledger_is_set_aside_when_it_has_to_be_written) {
  char aside[PATH_MAX + 16];
  char garbage[8192];
  memset(garbage, 0x5a, sizeof garbage);
  for (int n = 1; n <= 3; n++) {
    if (n < 3) {
      damage_with(garbage, sizeof garbage);
    } else { /* a database with other tables */
      cr_assert_eq(unlink(path), 0);
      cr_assert_eq(sqlite_integer(path, "CREATE TABLE gap(a, b)"), -1);
      sqlite3 *db;
      cr_assert_eq(sqlite3_open(path, &db), SQLITE_OK);
      (void)sqlite3_exec(db, "CREATE TABLE gap(a, b)", NULL, NULL, NULL);
      cr_assert_eq(sqlite3_close(db), SQLITE_OK);
    }
    (void)snprintf(aside, sizeof aside, "%s.damaged-%d", path, n);
    cr_assert_eq(list_code(NULL), TKS_EDAYFILE);
    cr_assert_eq(list_code(gaps), TKS_EDAYFILE);
    cr_assert(tks__gaps_write(gaps), "nothing to write");
    cr_assert_not(path_exists(aside), "reading changes nothing");
    note(0, 100 * (uint64_t)n, 100 * (uint64_t)n, TKS_GAP_FULL);
    cr_assert(tks__gaps_write(gaps));
    cr_assert(path_exists(aside));
    cr_assert_eq(list_with(NULL, 0), 1);
    cr_assert(is_row(0, 100 * (uint64_t)n, 100 * (uint64_t)n, 0, TKS_GAP_FULL));
  }
}

static int fail_renames(tks__fs_op op, const char *file) {
  (void)file;
  return op == TKS__FS_RENAME ? EACCES : 0;
}

Test(gaps, a_damaged_ledger_that_cannot_be_set_aside_waits) {
  damage_with("no database, and longer than a header of one would have to be: a hundred bytes, and then some more, so.",
              103);
  note(0, 1, 1, TKS_GAP_FULL);
  atomic_store(&tks__fs_fault, fail_renames);
  cr_assert_not(tks__gaps_write(gaps));
  atomic_store(&tks__fs_fault, NULL);
  cr_assert(tks__gaps_write(gaps));
  cr_assert_eq(list_with(NULL, 0), 1);
}

/* What is left when the disk was full before the first row: an empty file, which is no damage. */
Test(gaps, an_empty_file_is_a_ledger_without_rows) {
  damage_with("", 0);
  cr_assert_eq(list_with(NULL, 0), 0);
  note(0, 1, 1, TKS_GAP_FULL);
  cr_assert_eq(list(), 1, "what waits is listed");
  cr_assert(tks__gaps_write(gaps));
  cr_assert_eq(list_with(NULL, 0), 1);
  cr_assert_eq(access(path, F_OK), 0);
}

/* A directory in its place that cannot be moved: nothing can be written; then it is gone. */
Test(gaps, what_cannot_be_written_is_written_when_it_can) {
  make_dirs(path);
  note(0, 1, 5, TKS_GAP_FULL);
  atomic_store(&tks__fs_fault, fail_renames);
  for (int i = 0; i < 3; i++) {
    cr_assert_not(tks__gaps_write(gaps));
    note(0, 6 + (uint64_t)i, 6 + (uint64_t)i, TKS_GAP_FULL);
  }
  atomic_store(&tks__fs_fault, NULL);
  cr_assert_eq(rmdir(path), 0);
  cr_assert(tks__gaps_write(gaps));
  cr_assert_eq(list_with(NULL, 0), 1);
  cr_assert(is_row(0, 1, 8, 0, TKS_GAP_FULL));
}

static bool file_beside(const char *suffix) {
  char name[PATH_MAX + 16];
  (void)snprintf(name, sizeof name, "%s%s", path, suffix);
  return path_exists(name);
}

static void run_sql(const char *file, const char *sql) {
  sqlite3 *db;
  char *why = NULL;
  cr_assert_eq(sqlite3_open(file, &db), SQLITE_OK);
  cr_assert_eq(sqlite3_exec(db, sql, NULL, NULL, &why), SQLITE_OK, "%s", why);
  cr_assert_eq(sqlite3_close(db), SQLITE_OK);
}

Test(gaps, opening_makes_a_ledger_without_rows) {
  cr_assert(tks__gaps_open(gaps));
  cr_assert_eq(sqlite_integer(path, "SELECT count(*) FROM gaps"), 0);
  cr_assert_geq(sqlite_integer(path, "PRAGMA freelist_count"), 8, "room for the first rows");
  cr_assert_eq(list_with(NULL, 0), 0);
  uint64_t before = tree_digest(dir);
  cr_assert(tks__gaps_open(gaps));
  cr_assert_eq(tree_digest(dir), before, "once");
}

Test(gaps, a_directory_in_place_of_the_ledger_is_set_aside) {
  make_dirs(path);
  cr_assert(tks__gaps_open(gaps));
  cr_assert(file_beside(".damaged-1"));
  note(0, 1, 1, TKS_GAP_FULL);
  cr_assert(tks__gaps_write(gaps));
  cr_assert_eq(list_with(NULL, 0), 1);
}

/* Made by another user, say by looking into a store that had none: what can be read of it goes into the new one. */
Test(gaps, a_ledger_that_may_not_be_written_is_set_aside) {
  note(0, 1, 1, TKS_GAP_FULL);
  cr_assert(tks__gaps_write(gaps));
  cr_assert_eq(chmod(path, 0444), 0);
  if (geteuid() == 0) cr_assert_eq(chmod(dir, 0777) | chown(dir, 65534, 65534) | seteuid(65534), 0);
  note(0, 5, 5, TKS_GAP_FULL);
  bool written = tks__gaps_write(gaps);
  if (getuid() == 0) cr_assert_eq(seteuid(0), 0);
  cr_assert(written);
  cr_assert(file_beside(".damaged-1"));
  cr_assert_eq(list_with(NULL, 0), 2);
}

static void hold(sqlite3 **reader) {
  cr_assert_eq(sqlite3_open(path, reader), SQLITE_OK);
  cr_assert_eq(sqlite3_exec(*reader, "BEGIN; SELECT count(*) FROM gap", NULL, NULL, NULL), SQLITE_OK);
}

static void renew(void) {
  tks__gaps_free(gaps);
  gaps = tks__gaps_new(&layout, &symbols, &silent);
  cr_assert_not_null(gaps);
}

/* Somebody who reads for long keeps the ledger from being written: nothing is lost by it. */
Test(gaps, a_reader_makes_rows_go_to_another_file) {
  cr_assert(tks__gaps_open(gaps));
  sqlite3 *reader;
  hold(&reader);
  note(TKS_JSON, 1, 1, TKS_GAP_FULL);
  cr_assert_not(tks__gaps_write(gaps), "to be tried again");
  cr_assert_eq(list_with(NULL, 0), 1, "for others to see, and safe from a crash");
  tks__gaps_last_chance(gaps, 1);
  note(TKS_JSON, 2, 3, TKS_GAP_FULL);
  note(0, 9, 9, TKS_GAP_FULL);
  cr_assert(tks__gaps_write(gaps), "written down, though not there");
  cr_assert(tks__gaps_write(gaps));
  cr_assert_eq(list_with(NULL, 0), 2);
  renew();
  cr_assert_not(tks__gaps_open(gaps), "still held");
  cr_assert_eq(sqlite3_close(reader), SQLITE_OK);
  cr_assert_eq(list(), 2);
  note(0, 20, 20, TKS_GAP_FULL);
  cr_assert(tks__gaps_write(gaps));
  cr_assert_eq(sqlite_integer(path, "SELECT count(*) FROM gap"), 3, "taken in");
  cr_assert_eq(list_with(NULL, 0), 3);
  cr_assert(is_row(0, 1, 3, TKS_JSON, TKS_GAP_FULL));
  char pending[PATH_MAX];
  tks__layout_gaps_pending(&layout, pending);
  cr_assert_not(path_exists(pending));
}

static int fail_removals(tks__fs_op op, const char *file) {
  (void)file;
  return op == TKS__FS_REMOVE ? EACCES : 0;
}

/* What was taken in, and could not be removed, is taken in again: a row that went on meanwhile is not set back. */
Test(gaps, rows_that_are_taken_in_twice) {
  cr_assert(tks__gaps_open(gaps));
  sqlite3 *reader;
  hold(&reader);
  note(0, 1, 1, TKS_GAP_FULL);
  cr_assert_not(tks__gaps_write(gaps));
  cr_assert_eq(sqlite3_close(reader), SQLITE_OK);
  atomic_store(&tks__fs_fault, fail_removals);
  cr_assert(tks__gaps_write(gaps));
  note(0, 2, 2, TKS_GAP_FULL);
  cr_assert(tks__gaps_write(gaps));
  cr_assert_eq(list_with(NULL, 0), 1);
  cr_assert(is_row(0, 1, 2, 0, TKS_GAP_FULL), "the later state of the two files");
  atomic_store(&tks__fs_fault, NULL);
  renew();
  cr_assert(tks__gaps_open(gaps));
  cr_assert_eq(list_with(NULL, 0), 1);
  cr_assert(is_row(0, 1, 2, 0, TKS_GAP_FULL));
}

Test(gaps, a_damaged_other_file_is_in_nobodys_way) {
  char pending[PATH_MAX], aside[PATH_MAX + 16];
  tks__layout_gaps_pending(&layout, pending);
  (void)snprintf(aside, sizeof aside, "%s.damaged-1", pending);
  write_file(pending,
             "no database, and longer than a header of one would have to be: a hundred bytes, and then more, so on.",
             100);
  cr_assert_eq(list_code(NULL), TKS_EDAYFILE);
  note(0, 1, 1, TKS_GAP_FULL);
  cr_assert(tks__gaps_write(gaps));
  cr_assert(path_exists(aside));
  cr_assert_eq(list_with(NULL, 0), 1);
}

/* What is in memory is told whatever the file says. */
Test(gaps, a_ledger_that_cannot_be_read_hides_nothing_else) {
  note(TKS_JSON, 1, 1, TKS_GAP_FULL);
  cr_assert(tks__gaps_write(gaps));
  note(0, 5, 6, TKS_GAP_FULL);
  cr_assert(tks__gaps_write(gaps));
  note(TKS_SQLITE, 9, 9, TKS_GAP_FULL);
  sqlite3 *other;
  cr_assert_eq(sqlite3_open(path, &other), SQLITE_OK);
  cr_assert_eq(sqlite3_exec(other, "BEGIN EXCLUSIVE", NULL, NULL, NULL), SQLITE_OK);
  size_t total = 0;
  tks_error error = {0};
  cr_assert_eq(tks__gaps_list(&layout, gaps, &symbols, 2, rows, 10, &total, &error), TKS_EIO);
  cr_assert(strstr(error.message, "gaps.db") != NULL, "%s", error.message);
  cr_assert_eq(total, 2);
  cr_assert(is_row(0, 5, 6, 0, TKS_GAP_FULL));
  cr_assert(is_row(1, 9, 9, TKS_SQLITE, TKS_GAP_FULL));
  cr_assert_eq(sqlite3_close(other), SQLITE_OK);
  cr_assert_eq(list(), 3);
}

/* ------------------------------------------------------------------- what tells rows apart */

Test(gaps, losses_that_begin_alike_are_rows_of_their_own) {
  for (uint64_t i = 0; i < 3; i++) { /* set aside after three crashes: nobody knows where they began */
    tks__loss loss = loss_of(1, 100 + 100 * i, TKS_GAP_RECOVERY);
    loss.records = 0;
    loss.first_ns += (int64_t)i * STORE_DAY_NS;
    tks__gaps_note(gaps, 0, &loss);
    if (i == 0) {
      loss.records = 7; /* and torn ones, found in the same nanosecond */
      tks__gaps_note(gaps, 0, &loss);
    }
    cr_assert_eq(list(), 2 + i);
    cr_assert(tks__gaps_write(gaps));
    cr_assert_eq(list_with(NULL, 0), 2 + i);
    renew();
  }
  note(0, 1, 5, TKS_GAP_FULL);
  cr_assert(tks__gaps_write(gaps));
  cr_assert_eq(list_with(NULL, 0), 5);
}

/* The journal keeps a damaged file for as long as a sink lacks some of it: the next opening finds the same damage. */
/* The clock may have stood still. */
Test(gaps, losses_that_begin_alike_at_one_instant) {
  for (uint64_t i = 0; i < 3; i++) {
    tks__loss loss = loss_of(1, 10, TKS_GAP_RECOVERY);
    loss.records += i;
    loss.last_ns = loss.first_ns;
    tks__gaps_note(gaps, 0, &loss);
  }
  cr_assert_eq(list(), 3);
  for (size_t i = 0; i < 3; i++) cr_assert_leq(rows[i].first_ns, rows[i].last_ns);
  cr_assert(tks__gaps_write(gaps));
  cr_assert_eq(list_with(NULL, 0), 3);
}

Test(gaps, what_is_found_again_is_one_row) {
  for (int i = 0; i < 3; i++) {
    tks__loss loss = loss_of(5, 9, TKS_GAP_RECOVERY);
    loss.first_ns += i * STORE_DAY_NS;
    tks__gaps_note(gaps, 0, &loss);
    cr_assert_eq(list(), 1);
    cr_assert(tks__gaps_write(gaps));
    cr_assert_eq(list_with(NULL, 0), 1);
    renew();
  }
  note(0, 5, 9, TKS_GAP_BACKEND);
  cr_assert_eq(list(), 2, "found as well, for another reason");
  note(TKS_JSON, 5, 9, TKS_GAP_BACKEND);
  cr_assert_eq(list(), 3, "or by another sink");
}

Test(gaps, a_ledger_of_the_older_form_goes_on) {
  run_sql(path, "PRAGMA application_id=0x544b5347; CREATE TABLE gap(from_seq INTEGER NOT NULL, sink INTEGER NOT NULL,"
                "to_seq INTEGER NOT NULL, records INTEGER NOT NULL, cause INTEGER NOT NULL, cause_name TEXT NOT NULL,"
                "symbol TEXT, first_ns INTEGER NOT NULL, last_ns INTEGER NOT NULL, PRIMARY KEY(from_seq, sink))"
                " WITHOUT ROWID; CREATE VIEW gaps AS SELECT from_seq FROM gap;"
                "INSERT INTO gap VALUES(10, 0, 11, 2, 1, 'full', 'EURUSD', 5, 6)");
  cr_assert_eq(list_with(NULL, 0), 1, "also by who may not change it");
  note(0, 10, 20, TKS_GAP_RECOVERY);
  cr_assert(tks__gaps_open(gaps));
  cr_assert(tks__gaps_write(gaps));
  cr_assert_not(file_beside(".damaged-1"));
  cr_assert_eq(list_with(NULL, 0), 2);
  cr_assert_eq(rows[0].records, 2);
  cr_assert_eq(rows[0].symbol, 1);
  cr_assert(is_row(1, 10, 20, 0, TKS_GAP_RECOVERY));
  cr_assert_eq(sqlite_integer(path, "SELECT count(*) FROM gaps WHERE symbol='EURUSD'"), 2, "the view too");
  cr_assert_eq(sqlite_integer(path, "SELECT count(*) FROM sqlite_master"), 2);
}

Test(gaps, no_memory_changes_nothing) {
  note(0, 1, 1, TKS_GAP_FULL);
  note(TKS_JSON, 1, 1, TKS_GAP_FULL);
  fail_allocations();
  cr_assert_not(tks__gaps_write(gaps));
  cr_assert_eq(list_code(gaps), TKS_ENOMEM);
  (void)allocations_work();
  cr_assert(tks__gaps_write(gaps));
  fail_allocations();
  cr_assert_eq(list_code(NULL), TKS_ENOMEM);
  (void)allocations_work();
  cr_assert_eq(list_with(NULL, 0), 2);
}

static const char *hidden;

static int fail_to_look(tks__fs_op op, const char *file) {
  return op == TKS__FS_READ && file != NULL && strstr(file, hidden) != NULL ? EIO : 0;
}

Test(gaps, a_file_that_cannot_be_looked_at_is_told_by_name) {
  note(0, 1, 1, TKS_GAP_FULL);
  cr_assert(tks__gaps_write(gaps));
  static const char *const names[] = {"gaps.db", "gaps.pending.db"};
  for (int i = 0; i < 2; i++) {
    hidden = names[i];
    atomic_store(&tks__fs_fault, fail_to_look);
    size_t total;
    tks_error error = {0};
    cr_assert_eq(tks__gaps_list(&layout, NULL, &symbols, 0, rows, 10, &total, &error), TKS_EIO);
    atomic_store(&tks__fs_fault, NULL);
    cr_assert_not_null(strstr(error.message, names[i]), "%s", error.message);
    cr_assert_eq(total, (size_t)i, "what the other one has is told");
  }
}

/* Our columns, and a rule that we never made: what it refuses goes to a new ledger. */
Test(gaps, a_ledger_that_refuses_a_row_is_set_aside) {
  run_sql(path, "PRAGMA user_version=1; CREATE TABLE gap(from_seq, sink, to_seq, records, cause, cause_name, symbol,"
                "first_ns, last_ns, CHECK(from_seq <> 7))");
  note(0, 1, 1, TKS_GAP_FULL);
  note(0, 7, 8, TKS_GAP_FULL);
  note(0, 20, 20, TKS_GAP_FULL);
  cr_assert(tks__gaps_write(gaps));
  cr_assert(file_beside(".damaged-1"));
  cr_assert_eq(list_with(NULL, 0), 3);
  cr_assert(is_row(1, 7, 8, 0, TKS_GAP_FULL));
}

/* A kill in the middle of a write leaves a hot journal: who may write takes it back, who may not says that he cannot. */
Test(gaps, an_interrupted_write_is_taken_back) {
  note(0, 1, 1, TKS_GAP_FULL);
  cr_assert(tks__gaps_write(gaps));
  sqlite3 *db;
  char journal[PATH_MAX + 16], copy[PATH_MAX + 16];
  (void)snprintf(journal, sizeof journal, "%s-journal", path);
  (void)snprintf(copy, sizeof copy, "%s-journal.copy", path);
  cr_assert_eq(sqlite3_open(path, &db), SQLITE_OK);
  cr_assert_eq(sqlite3_exec(db,
                            "PRAGMA cache_size=1; BEGIN IMMEDIATE; UPDATE gap SET records=99;"
                            "CREATE TABLE filler(x); INSERT INTO filler VALUES(zeroblob(1000000))",
                            NULL, NULL, NULL),
               SQLITE_OK);
  size_t length, db_length;
  char *bytes = read_file(journal, &length);
  char *db_bytes = read_file(path, &db_length);
  cr_assert_eq(sqlite3_close(db) == SQLITE_OK, true);
  write_file(path, db_bytes, db_length);
  write_file(journal, bytes, length);
  tks_error error = {0};
  size_t total;
  cr_assert_eq(tks__gaps_list(&layout, NULL, &symbols, 0, rows, 1, &total, &error), TKS_EIO, "what this is about");
  cr_assert(strstr(error.message, "open the store for writing") != NULL, "%s", error.message);
  for (int opened = 0; opened < 2; opened++) {
    write_file(path, db_bytes, db_length);
    write_file(journal, bytes, length);
    if (opened) cr_assert(tks__gaps_open(gaps));
    else cr_assert_eq(list(), 1);
    cr_assert_eq(list_with(NULL, 0), 1);
  }
  cr_assert(is_row(0, 1, 1, 0, TKS_GAP_FULL));
  cr_assert_eq(list_with(NULL, 0), 1);
  free(bytes);
  free(db_bytes);
}

/* ------------------------------------------------------------------- threads */

static _Atomic uint64_t next_seq = 1;
static void *note_many(void *argument) {
  uint32_t sink = *(uint32_t *)argument;
  for (uint64_t i = 0; i < rounds(400); i++) {
    uint64_t seq = atomic_fetch_add(&next_seq, 2);
    note(sink, seq, seq, TKS_GAP_BACKLOG);
    if (sink == 0 && i % 16 == 0) (void)tks__gaps_write(gaps);
    if (sink == 1 && i % 32 == 0) {
      size_t total;
      (void)tks__gaps_list(&layout, gaps, &symbols, 0, NULL, 0, &total, NULL);
    }
  }
  return NULL;
}

Test(gaps, noted_while_written_and_listed) {
  uint32_t sinks[] = {0, 1, 2};
  run_threads(note_many, sinks, 3, sizeof sinks[0]);
  while (!tks__gaps_write(gaps)) {
  }
  uint64_t records = 0;
  size_t total = list_with(NULL, 0);
  for (size_t i = 0; i < total; i++) records += rows[i].records;
  cr_assert_eq(records, 3 * rounds(400));
}

/* ------------------------------------------------- listing while others write */

static bool goes_on, looked;

/* As the listing looks for the ledger, somebody else writes it: it finds it as it was before (there is none), or with a row that went on. */
static int write_behind_its_back(tks__fs_op op, const char *of) {
  if (op != TKS__FS_READ || of == NULL || strcmp(of, path) != 0) return 0;
  atomic_store(&tks__fs_fault, NULL);
  if (goes_on) note(0, 110, 119, TKS_GAP_FULL);
  looked = tks__gaps_write(gaps);
  return goes_on ? 0 : ENOENT;
}

Test(gaps, a_row_that_is_written_down_meanwhile_is_listed_once) {
  note(0, 100, 109, TKS_GAP_FULL);
  atomic_store(&tks__fs_fault, write_behind_its_back);
  cr_assert_eq(list(), 1);
  cr_assert(looked);
  cr_assert(is_row(0, 100, 109, 0, TKS_GAP_FULL));
}

Test(gaps, a_row_that_goes_on_meanwhile_is_listed_once_as_the_file_has_it) {
  note(0, 100, 109, TKS_GAP_FULL);
  goes_on = true;
  atomic_store(&tks__fs_fault, write_behind_its_back);
  cr_assert_eq(list(), 1);
  cr_assert(looked);
  cr_assert(is_row(0, 100, 119, 0, TKS_GAP_FULL));
}

/* As the ledger is about to be written, what it is about to get grows, by records alone: joined runs may. */
static int join_one_more(tks__fs_op op, const char *of) {
  if (op != TKS__FS_READ || of == NULL || strstr(of, "gaps.pending.db") == NULL) return 0;
  atomic_store(&tks__fs_fault, NULL);
  note(0, 1, 1, TKS_GAP_FULL);
  return 0;
}

Test(gaps, a_row_that_grows_while_it_is_written_is_written_again) {
  enum { RUNS = 4096 };
  for (uint64_t i = 1; i <= RUNS; i++) note(0, 10 * i, 10 * i, TKS_GAP_FULL);
  atomic_store(&tks__fs_fault, join_one_more);
  cr_assert(tks__gaps_write(gaps));
  cr_assert(tks__gaps_write(gaps));
  cr_assert_eq(sqlite_integer(path, "SELECT sum(records) FROM gap"), RUNS + 1);
}
