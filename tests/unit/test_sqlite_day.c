#include "query/sqlite_day.h"

#include <criterion/criterion.h>
#include <limits.h>
#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/utc.h"
#include "persist/dayfile.h"
#include "support/faults.h"
#include "support/scratch.h"
#include "support/stores.h"

#define MANY 500

static char *dir;
static char path[PATH_MAX];
static tks__layout layout;
static tks__names symbols, sources;
static tks__log no_log;
static tks__pool pool;
static int32_t day;
static uint32_t eurusd, gbpusd, oanda, fxcm;
static tks__record records[MANY + 8];
static size_t count;

static uint32_t intern(tks__names *names, const char *name) {
  uint32_t id;
  cr_assert_eq(tks__names_intern(names, name, strlen(name), &id), TKS_OK);
  return id;
}

/* EURUSD: five to a nanosecond, sources alternating; GBPUSD: one quote. Sealed. */
static void make_file(void) {
  const tks__dayfile_options options = {.layout = &layout,
                                        .symbols = &symbols,
                                        .sources = &sources,
                                        .log = &no_log,
                                        .synchronous = TKS_SYNC_NORMAL,
                                        .checkpoint_pages = 1000,
                                        .page_cache_bytes = 1 << 20};
  tks__record all[MANY + 1];
  const tks__record *pointers[MANY + 1];
  for (size_t i = 0; i <= MANY; i++) {
    all[i] = (tks__record){.ts_ns = STORE_NOON + (int64_t)(i / 5) * 300000,
                           .seq = i + 1,
                           .bid = i % 7 == 0 ? (double)NAN : 1 + (double)i / 3,
                           .ask = i % 7 == 1 ? (double)NAN : 2000,
                           .bid_size = i % 2 ? 0.5 : 3,
                           .symbol = i < MANY ? eurusd : gbpusd,
                           .source = i % 3 == 0   ? 0
                                     : i % 3 == 1 ? oanda
                                                  : fxcm};
    pointers[i] = &all[i];
  }
  tks__dayfile *file;
  cr_assert_eq(tks__dayfile_open(&options, day, &file, NULL), TKS_OK);
  cr_assert_eq(tks__dayfile_write(file, pointers, MANY + 1, MANY + 1, NULL), TKS_OK);
  cr_assert(tks__dayfile_seal(file));
}

static void set_up(void) {
  dir = scratch_new();
  cr_assert(tks__layout_init(&layout, dir, strlen(dir)));
  cr_assert_eq(tks__names_init(&symbols, 10), TKS_OK);
  cr_assert_eq(tks__names_init(&sources, 10), TKS_OK);
  eurusd = intern(&symbols, "EURUSD");
  gbpusd = intern(&symbols, "GBPUSD");
  (void)intern(&sources, "never seen");
  oanda = intern(&sources, "OANDA");
  fxcm = intern(&sources, "FXCM");
  day = tks__utc_day(STORE_NOON);
  tks__layout_day_file(&layout, day, path);
  const tks__pool_options options = {
      .layout = &layout, .connections = 2, .life_s = 3600, .busy_timeout_ms = 1000, .deadline_ms = 60000};
  cr_assert_eq(tks__pool_init(&pool, &options), TKS_OK);
  make_file();
}

static void tear_down(void) {
  (void)allocations_work();
  tks__pool_deinit(&pool);
  tks__names_deinit(&symbols);
  tks__names_deinit(&sources);
  scratch_remove(dir);
}

TestSuite(sqlite_day, .init = set_up, .fini = tear_down);

static tks__stretch whole(void) {
  return (tks__stretch){.symbol = eurusd, .from_ns = INT64_MIN, .to_ns = INT64_MAX, .max_seq = UINT64_MAX};
}

/* From where `from` stands. */
static int read_some(const tks__stretch *from, size_t capacity) {
  tks__stretch stretch = *from;
  return tks__sqlite_day_read(&pool, day, &symbols, &sources, &stretch, records, capacity, &count, NULL);
}

static void change(const char *sql) {
  tks__pool_forget(&pool, day);
  sqlite3 *db;
  char *message = NULL;
  cr_assert_eq(sqlite3_open(path, &db), SQLITE_OK);
  cr_assert_eq(sqlite3_exec(db, sql, NULL, NULL, &message), SQLITE_OK, "%s", message);
  (void)sqlite3_close(db);
}

Test(sqlite_day, reads_all_there_is) {
  tks__stretch s = whole();
  cr_assert_eq(read_some(&s, MANY + 8), TKS_OK);
  cr_assert_eq(count, MANY);
  for (size_t i = 0; i < count; i++) {
    const tks__record *r = &records[i];
    cr_assert_eq(r->seq, i + 1);
    cr_assert_eq(r->ts_ns, STORE_NOON + (int64_t)(i / 5) * 300000);
    cr_assert_eq(r->symbol, eurusd);
    cr_assert_eq(r->source, i % 3 == 0 ? 0 : i % 3 == 1 ? oanda : fxcm);
    cr_assert(i % 7 == 0 ? isnan(r->bid) : r->bid == 1 + (double)i / 3);
    cr_assert(i % 7 == 1 ? isnan(r->ask) : r->ask == 2000);
    cr_assert_eq(r->bid_size, i % 2 ? 0.5 : 3);
    cr_assert_eq(r->ask_size, 0);
    cr_assert_eq(r->recv_ns, 0);
    cr_assert_eq(r->reserved, TKS__KIND_QUOTE);
  }
  s.descending = true;
  cr_assert_eq(read_some(&s, MANY + 8), TKS_OK);
  cr_assert_eq(count, MANY);
  for (size_t i = 0; i < count; i++) cr_assert_eq(records[i].seq, MANY - i);
}

Test(sqlite_day, goes_on_behind_the_last_record) {
  for (int descending = 0; descending < 2; descending++) {
    for (size_t capacity = 1; capacity <= 64; capacity = capacity * 2 + 1) {
      tks__stretch s = whole();
      s.descending = descending;
      size_t total = 0;
      do {
        cr_assert_eq(read_some(&s, capacity), TKS_OK);
        for (size_t i = 0; i < count; i++) cr_assert_eq(records[i].seq, descending ? MANY - total - i : total + i + 1);
        total += count;
        s.started = true;
        s.ts_ns = records[count > 0 ? count - 1 : 0].ts_ns;
        s.seq = records[count > 0 ? count - 1 : 0].seq;
      } while (count == capacity);
      cr_assert_eq(total, MANY);
    }
  }
}

Test(sqlite_day, bounds_and_filters) {
  for (int descending = 0; descending < 2; descending++) {
    tks__stretch s = whole();
    s.descending = descending;
    s.from_ns = STORE_NOON + 300000;
    s.to_ns = STORE_NOON + 900000; /* excluded */
    cr_assert_eq(read_some(&s, MANY), TKS_OK);
    cr_assert_eq(count, 10);
    s.from_ns++;
    s.to_ns++;
    cr_assert_eq(read_some(&s, MANY), TKS_OK);
    cr_assert_eq(count, 10);
    s.to_ns = s.from_ns;
    cr_assert_eq(read_some(&s, MANY), TKS_OK);
    cr_assert_eq(count, 0);
    s = whole();
    s.descending = descending;
    s.max_seq = 77;
    cr_assert_eq(read_some(&s, MANY), TKS_OK);
    cr_assert_eq(count, 77);
    s.source = fxcm;
    cr_assert_eq(read_some(&s, MANY), TKS_OK);
    cr_assert_eq(count, 25);
    for (size_t i = 0; i < count; i++) cr_assert_eq(records[i].source, fxcm);
    s.source = 1; /* known here, not in the file */
    cr_assert_eq(read_some(&s, MANY), TKS_OK);
    cr_assert_eq(count, 0);
    s.source = 0;
    s.symbol = intern(&symbols, "XAUUSD");
    cr_assert_eq(read_some(&s, MANY), TKS_OK);
    cr_assert_eq(count, 0);
  }
  tks__stretch s = whole();
  cr_assert_eq(read_some(&s, 0), TKS_OK);
  cr_assert_eq(count, 0);
  cr_assert_eq(tks__sqlite_day_read(&pool, day + 1, &symbols, &sources, &s, records, MANY, &count, NULL), TKS_OK);
  cr_assert_eq(count, 0);
}

Test(sqlite_day, sources_of_the_file_are_interned) {
  tks__names_deinit(&sources);
  cr_assert_eq(tks__names_init(&sources, 10), TKS_OK);
  tks__stretch s = whole();
  cr_assert_eq(read_some(&s, 3), TKS_OK);
  cr_assert_eq(records[0].source, 0);
  cr_assert_eq(records[1].source, tks__names_find(&sources, "OANDA", 5));
  cr_assert_eq(records[2].source, tks__names_find(&sources, "FXCM", 4));
  cr_assert_neq(records[1].source, 0);
}

/* Sources above 65,535: many sessions made them, each of names of its own. */
Test(sqlite_day, high_source_ids) {
  change("UPDATE quote SET source_id = 70000 WHERE source_id = (SELECT id FROM source WHERE name = 'OANDA');"
         "UPDATE source SET id = 70000 WHERE name = 'OANDA'");
  tks__stretch s = whole();
  cr_assert_eq(read_some(&s, MANY), TKS_OK);
  cr_assert_eq(count, MANY);
  for (size_t i = 0; i < count; i++)
    cr_assert_eq(records[i].source, i % 3 == 0 ? 0 : i % 3 == 1 ? oanda : fxcm, "%zu: %u", i, records[i].source);
  s.source = oanda;
  cr_assert_eq(read_some(&s, MANY), TKS_OK);
  cr_assert_eq(count, (MANY + 1) / 3);
}

#define TIMES 42

static void multiply_rows(void) {
  char many[4096];
  (void)snprintf(
      many, sizeof many,
      "INSERT INTO quote SELECT symbol_id, ts_ms + 1000 * (v + 1), ts_sub_ns, seq + 1000 * (v + 1), bid, ask,"
      " source_id, flags, bid_size, ask_size, recv_ns FROM quote,"
      " (WITH RECURSIVE n(v) AS (SELECT 0 UNION ALL SELECT v + 1 FROM n WHERE v < %d) SELECT v FROM n)",
      TIMES - 2);
  change(many);
}

/* The clock is past the deadline from the first look on: what was read until then counts, and what was passed over is passed over
 * for good. Ends, with all that the stretch asks for, in its order. */
static void read_late(tks__stretch s, size_t want) {
  tks_error error;
  tks__record *all = malloc((size_t)MANY * TIMES * sizeof *all);
  size_t total = 0, late = 0;
  int code;
  do {
    code = tks__sqlite_day_read(&pool, day, &symbols, &sources, &s, all + total, (size_t)MANY * TIMES - total, &count,
                                &error);
    cr_assert(code == TKS_OK || code == TKS_EDEADLINE, "%d", code);
    total += count;
    if (code == TKS_EDEADLINE) cr_assert_not_null(strstr(error.message, STORE_DAY), "%s", error.message);
    /* Each time it looks at some rows. */
    if (code == TKS_EDEADLINE && ++late > (size_t)MANY * TIMES) cr_assert(false, "it never ends");
  } while (code == TKS_EDEADLINE);
  cr_assert_eq(total, want, "%zu of %zu", total, want);
  cr_assert_gt(late, 0);
  for (size_t i = 1; i < total; i++) {
    bool later = all[i].ts_ns > all[i - 1].ts_ns || (all[i].ts_ns == all[i - 1].ts_ns && all[i].seq > all[i - 1].seq);
    cr_assert_eq(later, !s.descending);
  }
  free(all);
}

Test(sqlite_day, deadline) {
  multiply_rows();
  pool.options.deadline_ms = 0;
  for (int descending = 0; descending < 2; descending++) {
    tks__stretch s = whole();
    s.descending = descending;
    read_late(s, (size_t)MANY * TIMES);
    s.max_seq = MANY; /* of what came later nothing: in both orders it is passed over in one piece */
    read_late(s, MANY);
    s.max_seq = UINT64_MAX;
    s.source = oanda;
    read_late(s, (MANY + 1) / 3 * (size_t)TIMES);
  }
  cr_assert_eq(pool.count, 1); /* a late read is no reason to close it */
  tks__connection *c;
  cr_assert_eq(tks__pool_acquire(&pool, day, &c, NULL), TKS_OK);
  tks__pool_release(&pool, c, false);
}

/* ----------------------------------------------------------------- summary */

Test(sqlite_day, summary) {
  tks__day_summary summary;
  cr_assert_eq(tks__sqlite_day_summary(&pool, day, &symbols, &summary, NULL), TKS_OK);
  cr_assert_eq(summary.count, 2);
  cr_assert_eq(summary.last_seq, MANY + 1);
  for (size_t i = 0; i < 2; i++) {
    const tks__day_symbol *s = &summary.symbols[i];
    bool eur = s->symbol == eurusd;
    cr_assert(eur || s->symbol == gbpusd);
    cr_assert_eq(s->count, eur ? MANY : 1);
    cr_assert_eq(s->first_ns, eur ? STORE_NOON : STORE_NOON + MANY / 5 * 300000);
    cr_assert_eq(s->last_ns, STORE_NOON + (MANY / 5 - eur) * 300000);
  }
  tks__free(summary.symbols);
  cr_assert_eq(tks__sqlite_day_summary(&pool, day + 1, &symbols, &summary, NULL), TKS_OK);
  cr_assert_eq(summary.count, 0);
  cr_assert_eq(summary.last_seq, 0);
}

/* Names in the file that no put would have let in, and a table that is full. */
Test(sqlite_day, summary_of_strange_names) {
  tks__day_summary summary;
  change("INSERT INTO symbol(name, quotes, first_ns, last_ns) SELECT v.column1, 3, first_ns, last_ns FROM symbol,"
         " (VALUES('..'), (''), (x'ff'), ('NEW')) v WHERE id = 1; INSERT INTO symbol(name) VALUES('NOTHING')");
  cr_assert_eq(tks__sqlite_day_summary(&pool, day, &symbols, &summary, NULL), TKS_OK);
  cr_assert_eq(summary.count, 3);
  cr_assert_neq(tks__names_find(&symbols, "NEW", 3), 0);
  tks__free(summary.symbols);
}

#define SYMBOL_WITHOUT_NAMES                                                                                         \
  "ALTER TABLE symbol RENAME TO old; CREATE TABLE symbol(id INTEGER PRIMARY KEY, name TEXT, quotes INTEGER NOT NULL" \
  " DEFAULT 0, first_ns INTEGER, last_ns INTEGER); INSERT INTO symbol SELECT * FROM old; DROP TABLE old;"

/* A table that somebody made anew, without its constraints. */
Test(sqlite_day, names_that_are_null) {
  change("PRAGMA legacy_alter_table = ON;" SYMBOL_WITHOUT_NAMES
         "INSERT INTO symbol(quotes, first_ns, last_ns) SELECT 3, first_ns, last_ns FROM symbol WHERE id = 1;"
         "ALTER TABLE source RENAME TO old; CREATE TABLE source(id INTEGER PRIMARY KEY, name TEXT);"
         "INSERT INTO source SELECT id, CASE WHEN name = 'OANDA' THEN NULL ELSE name END FROM old; DROP TABLE old");
  tks__day_summary summary;
  tks_error error;
  cr_assert_eq(tks__sqlite_day_summary(&pool, day, &symbols, &summary, &error), TKS_OK, "%s", error.message);
  cr_assert_eq(summary.count, 2);
  tks__free(summary.symbols);
  tks__stretch s = whole();
  cr_assert_eq(read_some(&s, MANY), TKS_OK);
  cr_assert_eq(count, MANY);
  for (size_t i = 0; i < count; i++) cr_assert_eq(records[i].source, i % 3 == 2 ? fxcm : 0, "%zu", i);
}

/* So many that SQLite looks at the clock among them. */
Test(sqlite_day, summary_deadline) {
  change("INSERT INTO symbol(name) WITH RECURSIVE n(v) AS (SELECT 0 UNION ALL SELECT v + 1 FROM n WHERE v < 20000)"
         " SELECT 'S' || v FROM n");
  pool.options.deadline_ms = 0;
  tks__day_summary summary;
  tks_error error;
  cr_assert_eq(tks__sqlite_day_summary(&pool, day, &symbols, &summary, &error), TKS_EDEADLINE);
  cr_assert_not_null(strstr(error.message, STORE_DAY), "%s", error.message);
  cr_assert_eq(summary.count, 0);
  cr_assert_null(summary.symbols);
  cr_assert_eq(pool.count, 1); /* no reason to close it */
  pool.options.deadline_ms = 60000;
  cr_assert_eq(tks__sqlite_day_summary(&pool, day, &symbols, &summary, &error), TKS_OK);
  cr_assert_eq(summary.count, 2);
  tks__free(summary.symbols);
}

/* ------------------------------------------------------------------ verify */

static void verify_says(const char *sql, const char *message) {
  tks_error error = {0};
  scratch_clear(dir);
  tks__pool_forget(&pool, day);
  make_file();
  cr_assert_eq(tks__sqlite_day_verify(&pool, day, &error), TKS_OK, "%s", error.message);
  change(sql);
  int code = tks__sqlite_day_verify(&pool, day, &error);
  cr_assert_eq(code, TKS_EDAYFILE, "%s: %d", sql, code);
  cr_assert_not_null(strstr(error.message, message), "%s: %s", sql, error.message);
  cr_assert_not_null(strstr(error.message, "ticks_" STORE_DAY), "%s", error.message);
}

Test(sqlite_day, verify) {
  verify_says("DELETE FROM quote WHERE seq = 7", "summaries");
  verify_says("UPDATE symbol SET quotes = quotes + 1 WHERE id = 1", "summaries");
  verify_says("UPDATE symbol SET first_ns = first_ns - 1", "summaries");
  verify_says("UPDATE symbol SET last_ns = NULL", "summaries");
  verify_says(
      "UPDATE symbol SET first_ns = NULL, last_ns = NULL, quotes = NULL WHERE 0; UPDATE quote SET symbol_id = 99 "
      "WHERE seq = 3; UPDATE symbol SET quotes = quotes - 1 WHERE id = 1; UPDATE symbol SET quotes = 1 WHERE id = 99",
      "symbols do not match");
  verify_says("UPDATE meta SET value = 5 WHERE key = 'last_seq'", "sequence numbers");
  verify_says("DELETE FROM meta WHERE key = 'last_seq'", "sequence numbers");
  verify_says("UPDATE meta SET value = NULL WHERE key = 'last_seq'", "sequence numbers");
  cr_assert_eq(tks__sqlite_day_verify(&pool, day + 1, NULL), TKS_OK);
  write_file(path, "spoilt", 6);
  tks__pool_forget(&pool, day);
  cr_assert_eq(tks__sqlite_day_verify(&pool, day, NULL), TKS_EDAYFILE);
}

Test(sqlite_day, other_columns) {
  tks_error error;
  tks__day_summary summary;
  tks__stretch s = whole();
  change("ALTER TABLE quote RENAME COLUMN bid_size TO size_of_bid");
  cr_assert_eq(tks__sqlite_day_read(&pool, day, &symbols, &sources, &s, records, MANY, &count, &error), TKS_EDAYFILE);
  cr_assert_eq(count, 0);
  cr_assert_not_null(strstr(error.message, "not a day file"), "%s", error.message);
  cr_assert_eq(pool.count, 0);
  change("ALTER TABLE symbol RENAME COLUMN quotes TO n");
  cr_assert_eq(tks__sqlite_day_summary(&pool, day, &symbols, &summary, &error), TKS_EDAYFILE);
  cr_assert_eq(summary.count, 0);
  cr_assert_eq(tks__sqlite_day_verify(&pool, day, &error), TKS_EDAYFILE);
  cr_assert_not_null(strstr(error.message, STORE_DAY), "%s", error.message);
}

/* Values that no put has written: no crash, whatever comes out. */
Test(sqlite_day, nonsense_in_the_rows) {
  change(
      "UPDATE quote SET bid = 'text', ask = x'00', source_id = -1 WHERE seq = 10;"
      "UPDATE quote SET source_id = 9223372036854775807, flags = -1 WHERE seq = 11;"
      "UPDATE quote SET source_id = 65535 WHERE seq = 12;"
      "UPDATE source SET name = x'c0af' WHERE name = 'OANDA'; UPDATE meta SET value = 'many' WHERE key = 'last_seq'");
  tks__stretch s = whole();
  tks__day_summary summary;
  cr_assert_eq(read_some(&s, MANY), TKS_OK);
  cr_assert_eq(count, MANY);
  cr_assert_eq(tks__sqlite_day_summary(&pool, day, &symbols, &summary, NULL), TKS_OK);
  tks__free(summary.symbols);
  (void)tks__sqlite_day_verify(&pool, day, NULL);
}

/* A time or a sequence number that was never written is damage: a reader that goes on behind such a row would come by it
 * again and again. */
Test(sqlite_day, nonsense_in_the_key) {
  static const struct {
    const char *change;
    bool seen; /* by a range; the others lie beyond any */
  } cases[] = {
      {"ts_sub_ns = ts_sub_ns + 1000000", true}, {"ts_sub_ns = -1", true},    {"ts_sub_ns = 0.5", true},
      {"ts_ms = ts_ms + 86400000", true},        {"ts_ms = ts_ms / 2", true}, {"seq = -7", true},
      {"ts_ms = ts_ms || 'x'", false},           {"seq = 7 || 'x'", true},    {"ts_ms = 9223372036854775807", false},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    cr_assert_eq(remove(path), 0);
    make_file();
    char sql[128];
    (void)snprintf(sql, sizeof sql, "UPDATE quote SET %s WHERE seq = 7", cases[i].change);
    change(sql);
    for (int descending = 0; descending < 2; descending++) {
      tks__stretch s = whole();
      s.descending = descending != 0;
      int code = TKS_OK;
      for (size_t n = 0; code == TKS_OK && (n == 0 || count > 0); n++) {
        code = read_some(&s, 1);
        cr_assert(n <= MANY, "%s: goes on and on", sql);
        s.started = true;
        s.ts_ns = records[0].ts_ns;
        s.seq = records[0].seq;
      }
      cr_assert_eq(code, cases[i].seen ? TKS_EDAYFILE : TKS_OK, "%s: %d", sql, code);
    }
    cr_assert_eq(tks__sqlite_day_verify(&pool, day, NULL), TKS_EDAYFILE, "%s", sql);
  }
}

Test(sqlite_day, every_allocation_may_fail) {
  for (uint64_t n = 0;; n++) {
    tks__pool_forget(&pool, day);
    tks__stretch s = whole();
    tks__day_summary summary = {0};
    fail_allocation(n);
    int code = read_some(&s, MANY);
    if (code == TKS_OK) code = tks__sqlite_day_summary(&pool, day, &symbols, &summary, NULL);
    bool failed = allocations_work();
    cr_assert_eq(code, failed ? TKS_ENOMEM : TKS_OK, "%d", code);
    tks__free(summary.symbols);
    if (!failed) break;
  }
}

/* So many that the next name makes the table's index grow. */
static void fill(tks__names *names) {
  tks__names_deinit(names);
  cr_assert_eq(tks__names_init(names, 1000), TKS_OK);
  for (int i = 0; i < 32; i++) {
    char name[16];
    (void)snprintf(name, sizeof name, "name %d", i);
    (void)intern(names, name);
  }
}

/* A record without its source, or a list without a symbol, would be taken for the whole. */
Test(sqlite_day, names_that_find_no_memory) {
  for (int of_symbols = 0; of_symbols < 2; of_symbols++) {
    uint64_t n = 0;
    for (bool failed = true; failed; n++) {
      tks__pool_forget(&pool, day);
      fill(of_symbols ? &symbols : &sources);
      tks__stretch s = whole();
      tks__day_summary summary = {0};
      fail_allocation(n);
      int code = of_symbols ? tks__sqlite_day_summary(&pool, day, &symbols, &summary, NULL) : read_some(&s, MANY);
      failed = allocations_work();
      cr_assert_eq(code, failed ? TKS_ENOMEM : TKS_OK, "%d", code);
      if (of_symbols && !failed) cr_assert_eq(summary.count, 2);
      for (size_t i = 0; i < count && !of_symbols; i++) cr_assert_eq(records[i].source != 0, i % 3 != 0, "%zu", i);
      tks__free(summary.symbols);
    }
    cr_assert_gt(n, 3);
  }
}
