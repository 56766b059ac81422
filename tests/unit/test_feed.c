/* Records in memory, read with SQL. */
#include "persist/feed.h"

#include <criterion/criterion.h>
#include <math.h>
#include <sqlite3.h>
#include <string.h>

#define NAN_ ((double)NAN)

static sqlite3 *db;
static tks__feed feed;
static const uint32_t symbol_ids[] = {0, 11, 12, 13};
static const uint32_t source_ids[] = {0, 21, 22};

static void set_up(void) {
  feed = (tks__feed){.symbol_ids = symbol_ids, .source_ids = source_ids};
  cr_assert_eq(sqlite3_open(":memory:", &db), SQLITE_OK);
  cr_assert_eq(tks__feed_attach(db, &feed), SQLITE_OK);
}

static void tear_down(void) { (void)sqlite3_close(db); }

TestSuite(feed, .init = set_up, .fini = tear_down);

/* All columns of all rows, as SQL literals. */
static const char *all_rows(void) {
  static char text[2000];
  text[0] = '\0';
  sqlite3_stmt *s = NULL;
  cr_assert_eq(sqlite3_prepare_v2(db,
                                  "SELECT group_concat(quote(symbol_id) || ' ' || quote(ts_ms) || ' ' ||"
                                  " quote(ts_sub_ns) || ' ' || quote(seq) || ' ' || quote(bid) || ' ' || quote(ask) ||"
                                  " ' ' || quote(source_id) || ' ' || quote(flags) || ' ' || quote(bid_size) || ' ' ||"
                                  " quote(ask_size) || ' ' || quote(recv_ns), '|') FROM tks_feed",
                                  -1, &s, NULL),
               SQLITE_OK, "%s", sqlite3_errmsg(db));
  cr_assert_eq(sqlite3_step(s), SQLITE_ROW);
  const char *found = (const char *)sqlite3_column_text(s, 0);
  if (found != NULL) (void)strncpy(text, found, sizeof text - 1);
  cr_assert_eq(sqlite3_finalize(s), SQLITE_OK);
  return text;
}

Test(feed, gives_what_is_there_when_the_statement_runs) {
  cr_assert_str_eq(all_rows(), "");
  const tks__record records[] = {
      {.ts_ns = 1500000001, .seq = 7, .bid = 1.5, .ask = NAN_, .symbol = 3, .source = 2, .flags = 0xffff0001},
      {.ts_ns = -1, .seq = 8, .bid = NAN_, .ask = -0.25, .bid_size = 2, .ask_size = 0.5, .symbol = 1, .recv_ns = -5},
  };
  const tks__record *const picked[] = {&records[0], &records[1]};
  feed.records = picked;
  feed.count = 1;
  cr_assert_str_eq(all_rows(), "13 1500 1 7 1.5 NULL 22 4294901761 0 0 NULL");
  feed.count = 2;
  cr_assert_str_eq(all_rows(), "13 1500 1 7 1.5 NULL 22 4294901761 0 0 NULL|"
                               "11 -1 999999 8 NULL -0.25 NULL 0 2 0.5 -5");
  feed.count = 0;
  cr_assert_str_eq(all_rows(), "");
}

Test(feed, is_in_no_file) {
  sqlite3_stmt *s = NULL;
  cr_assert_eq(sqlite3_prepare_v2(db, "SELECT COUNT(*) FROM sqlite_schema", -1, &s, NULL), SQLITE_OK);
  cr_assert_eq(sqlite3_step(s), SQLITE_ROW);
  cr_assert_eq(sqlite3_column_int(s, 0), 0);
  (void)sqlite3_finalize(s);
  cr_assert_eq(sqlite3_exec(db, "INSERT INTO tks_feed(seq) VALUES(1)", NULL, NULL, NULL), SQLITE_ERROR);
}
