#include "persist/dayfile.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/utc.h"
#include "support/faults.h"
#include "support/random.h"
#include "support/records.h"
#include "support/scratch.h"
#include "support/stores.h"
#include "support/sync_vfs.h"
#include "support/threads.h"

/* The day of the example queries. */
#define DAY "2026-01-20"
#define DAY_NS INT64_C(1768867200000000000)
#define FROM_MS INT64_C(1768900000000)
#define TO_MS INT64_C(1768903600000)

static char *dir;
static char path[TKS__PATH_MAX];
static tks__layout layout;
static tks__names symbols, sources;
static const tks__log log_to_nobody = {.level = TKS_LOG_OFF};
static tks__dayfile_options options;
static tks__dayfile *file;
static int32_t day;
static tks_error error;
static sqlite3 *writing; /* the connection that was opened last in this process, by whomever */

static int remember(sqlite3 *db, char **message, const struct sqlite3_api_routines *api) {
  (void)message;
  (void)api;
  writing = db;
  return SQLITE_OK;
}

static void set_up(void) {
  dir = scratch_new();
  cr_assert(tks__layout_init(&layout, dir, strlen(dir)));
  cr_assert_eq(tks__names_init(&symbols, 1000), TKS_OK);
  cr_assert_eq(tks__names_init(&sources, 1000), TKS_OK);
  cr_assert(tks__utc_parse_day(DAY, strlen(DAY), &day));
  tks__layout_day_file(&layout, day, path);
  options = (tks__dayfile_options){
      .layout = &layout,
      .symbols = &symbols,
      .sources = &sources,
      .log = &log_to_nobody,
      .synchronous = TKS_SYNC_FULL,
      .checkpoint_pages = 1000,
      .busy_timeout_ms = 5000,
      .temp_store_memory = 1,
      .page_cache_bytes = UINT64_C(64) << 20,
  };
  cr_assert_eq(sqlite3_auto_extension((void (*)(void))remember), SQLITE_OK);
}

static void tear_down(void) {
  (void)allocations_work();
  atomic_store(&tks__fs_fault, NULL);
  sync_vfs_fail_wal(0);
  tks__dayfile_discard(file);
  tks__names_deinit(&symbols);
  tks__names_deinit(&sources);
  scratch_remove(dir);
}

TestSuite(dayfile, .init = set_up, .fini = tear_down);

static uint32_t id_of(tks__names *names, const char *name) {
  uint32_t id;
  cr_assert_eq(tks__names_intern(names, name, strlen(name), &id), TKS_OK, "%s", name);
  return id;
}

static void open_day(void) {
  error = (tks_error){0};
  cr_assert_eq(tks__dayfile_open(&options, day, &file, &error), TKS_OK, "%s", error.message);
}

static void seal(void) {
  cr_assert(tks__dayfile_seal(file));
  file = NULL;
}

static void discard(void) {
  tks__dayfile_discard(file);
  file = NULL;
}

static int write_records(const tks__record *records, size_t count) {
  const tks__record **pointers = calloc(count, sizeof(void *));
  uint64_t last_seq = 0;
  for (size_t i = 0; i < count; i++) {
    pointers[i] = &records[i];
    if (records[i].seq > last_seq) last_seq = records[i].seq;
  }
  int code = tks__dayfile_write(file, pointers, count, last_seq, &error);
  free(pointers);
  return code;
}

static void must_write(const tks__record *records, size_t count) {
  cr_assert_eq(write_records(records, count), TKS_OK, "%s", error.message);
}

/* `count` records of one symbol, a second apart, from sequence number `seq` on. */
static int write_run(const char *symbol, uint64_t seq, size_t count) {
  tks__record *records = calloc(count, sizeof *records);
  for (size_t i = 0; i < count; i++)
    records[i] = (tks__record){.ts_ns = DAY_NS + (int64_t)(seq + i) % 86400 * TKS__NS_PER_S,
                               .seq = seq + i,
                               .bid = 1.5,
                               .ask = 1.75,
                               .symbol = id_of(&symbols, symbol)};
  int code = write_records(records, count);
  free(records);
  return code;
}

static bool beside_exists(const char *suffix) {
  char name[TKS__PATH_MAX + 16];
  (void)snprintf(name, sizeof name, "%s%s", path, suffix);
  return path_exists(name);
}

/* One value of the writing connection. */
static int64_t pragma(const char *name) {
  char sql[64];
  sqlite3_stmt *statement;
  (void)snprintf(sql, sizeof sql, "PRAGMA %s", name);
  cr_assert_eq(sqlite3_prepare_v2(writing, sql, -1, &statement, NULL), SQLITE_OK);
  cr_assert_eq(sqlite3_step(statement), SQLITE_ROW, "%s", name);
  int64_t value = sqlite3_column_int64(statement, 0);
  (void)sqlite3_finalize(statement);
  return value;
}

/* A second connection, as a user's. */
static sqlite3 *reader;

static sqlite3_stmt *query(const char *sql) {
  sqlite3_stmt *statement;
  if (reader == NULL) cr_assert_eq(sqlite3_open_v2(path, &reader, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
  cr_assert_eq(sqlite3_prepare_v2(reader, sql, -1, &statement, NULL), SQLITE_OK, "%s: %s", sql, sqlite3_errmsg(reader));
  return statement;
}

static void close_reader(void) {
  cr_assert_eq(sqlite3_close(reader), SQLITE_OK);
  reader = NULL;
}

/* All rows as text: columns parted by |, rows by line ends. */
static const char *table(const char *sql) {
  static char text[65536];
  size_t n = 0;
  text[0] = '\0';
  sqlite3_stmt *statement = query(sql);
  while (sqlite3_step(statement) == SQLITE_ROW) {
    for (int i = 0; i < sqlite3_column_count(statement); i++) {
      const unsigned char *value = sqlite3_column_text(statement, i);
      n += (size_t)snprintf(text + n, sizeof text - n, "%s%s", i > 0 ? "|" : "", value ? (const char *)value : "NULL");
    }
    n += (size_t)snprintf(text + n, sizeof text - n, "\n");
    cr_assert_lt(n, sizeof text);
  }
  (void)sqlite3_finalize(statement);
  return text;
}

/* -------------------------------------------------------------------- schema */

Test(dayfile, a_new_file_says_what_it_is) {
  open_day();
  cr_assert_eq(tks__dayfile_day(file), day);
  cr_assert_eq(tks__dayfile_last_seq(file), 0);
  cr_assert_str_eq(tks__dayfile_path(file), path);
  cr_assert_str_eq(table("PRAGMA application_id"), "1414222641\n");
  cr_assert_str_eq(table("PRAGMA user_version"), "1\n");
  cr_assert_str_eq(table("PRAGMA journal_mode"), "wal\n");
  cr_assert_str_eq(table("SELECT key, value FROM meta ORDER BY key"), "day|" DAY "\nlast_seq|0\n");
  cr_assert_str_eq(table("SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY type, name"),
                   "table|meta\ntable|quote\ntable|source\ntable|symbol\nview|ticks\n");
  close_reader();
}

Test(dayfile, the_view_has_the_columns_that_people_know) {
  open_day();
  cr_assert_str_eq(table("SELECT name FROM pragma_table_info('ticks')"),
                   "id\nsymbol\ntimestamp\nbid\nask\nspread\nlp_source\ncreated_at\ntimestamp_ns\nbid_size\nask_size\n"
                   "flags\n");
  close_reader();
}

/* An hour from FROM_MS to TO_MS, a quote a minute of each of two symbols, and some before and behind. */
static void write_example(void) {
  tks__record records[2 * 70];
  size_t n = 0;
  const char *const names[2] = {"EURUSD", "GBPUSD"};
  for (int s = 0; s < 2; s++)
    for (int i = -3; i < 67; i++, n++)
      records[n] = (tks__record){.ts_ns = FROM_MS * 1000000 + i * INT64_C(60000000000) + 123456,
                                 .recv_ns = FROM_MS * 1000000 + i * INT64_C(60000000000) + 2000000,
                                 .seq = n + 1,
                                 .bid = 1.5,
                                 .ask = 1.75,
                                 .bid_size = 100,
                                 .ask_size = 2.5,
                                 .symbol = id_of(&symbols, names[s]),
                                 .source = s == 0 ? id_of(&sources, "OANDA") : 0,
                                 .flags = 0x10000};
  must_write(records, n);
}

Test(dayfile, the_first_example_query) {
  open_day();
  write_example();
  for (int sealed = 0; sealed < 2; sealed++) {
    cr_assert_str_eq(table("SELECT symbol, COUNT(*), MIN(timestamp), MAX(timestamp) FROM ticks GROUP BY symbol"),
                     "EURUSD|70|1768899820000|1768903960000\nGBPUSD|70|1768899820000|1768903960000\n");
    close_reader();
    if (!sealed) seal();
  }
}

#define SECOND_QUERY "SELECT * FROM ticks WHERE symbol='EURUSD' AND timestamp BETWEEN 1768900000000 AND 1768903600000"

Test(dayfile, the_second_example_query) {
  open_day();
  write_example();
  /* BETWEEN has both ends: 0 to 60 minutes. */
  cr_assert_str_eq(table("SELECT COUNT(*), MIN(timestamp), MAX(timestamp) FROM (" SECOND_QUERY ")"),
                   "61|1768900000000|1768903600000\n");
  cr_assert_str_eq(table(SECOND_QUERY " LIMIT 1"),
                   "4|EURUSD|1768900000000|1.5|1.75|0.25|OANDA|1768900000002|1768900000000123456|100.0|2.5|65536\n");
  cr_assert_str_eq(table("SELECT lp_source FROM ticks WHERE symbol='GBPUSD' LIMIT 1"), "NULL\n");
  close_reader();
}

Test(dayfile, the_second_example_query_is_an_index_search) {
  open_day();
  write_example();
  for (int sealed = 0; sealed < 2; sealed++) {
    char plan[1024] = "";
    sqlite3_stmt *statement = query("EXPLAIN QUERY PLAN " SECOND_QUERY);
    while (sqlite3_step(statement) == SQLITE_ROW) {
      strcat(plan, (const char *)sqlite3_column_text(statement, 3));
      strcat(plan, "\n");
    }
    (void)sqlite3_finalize(statement);
    close_reader();
    cr_assert_not_null(strstr(plan, "SEARCH symbol USING COVERING INDEX"), "%s", plan);
    cr_assert_not_null(strstr(plan, "(name=?)"), "%s", plan);
    cr_assert_not_null(strstr(plan, "SEARCH quote USING PRIMARY KEY (symbol_id=? AND ts_ms>? AND ts_ms<?)"), "%s",
                       plan);
    cr_assert_not_null(strstr(plan, "SEARCH source USING INTEGER PRIMARY KEY"), "%s", plan);
    cr_assert_null(strstr(plan, "SCAN"), "%s", plan);
    if (!sealed) seal();
  }
}

Test(dayfile, symbols_are_counted) {
  open_day();
  uint32_t a = id_of(&symbols, "A"), b = id_of(&symbols, "B");
  (void)id_of(&symbols, "never quoted");
  const tks__record first[] = {{.ts_ns = DAY_NS + 50, .seq = 1, .bid = 1, .symbol = b},
                               {.ts_ns = DAY_NS + 20, .seq = 3, .bid = 1, .symbol = a},
                               {.ts_ns = DAY_NS + 90, .seq = 4, .bid = 1, .symbol = a},
                               {.ts_ns = DAY_NS + 70, .seq = 5, .bid = 1, .symbol = a}};
  const tks__record second[] = {{.ts_ns = DAY_NS + 10, .seq = 6, .bid = 1, .symbol = a},
                                {.ts_ns = DAY_NS + 60, .seq = 7, .bid = 1, .symbol = b}};
  must_write(first, 4);
  cr_assert_eq(tks__dayfile_last_seq(file), 5);
  must_write(second, 2);
  cr_assert_eq(tks__dayfile_last_seq(file), 7);
  cr_assert_str_eq(table("SELECT name, quotes, first_ns, last_ns FROM symbol ORDER BY name"),
                   "A|4|1768867200000000010|1768867200000000090\nB|2|1768867200000000050|1768867200000000060\n");
  cr_assert_str_eq(table("SELECT value FROM meta WHERE key = 'last_seq'"), "7\n");
  close_reader();
}

Test(dayfile, ids_are_the_files_own) {
  for (int i = 0; i < 100; i++) {
    char name[16];
    (void)snprintf(name, sizeof name, "S%d", i);
    (void)id_of(&symbols, name);
    (void)id_of(&sources, name);
  }
  open_day();
  tks__record record = {
      .ts_ns = DAY_NS, .seq = 1, .bid = 1, .symbol = id_of(&symbols, "S50"), .source = id_of(&sources, "S70")};
  must_write(&record, 1);
  discard();
  /* In another process the same names have other ids. */
  tks__names_deinit(&symbols);
  tks__names_deinit(&sources);
  cr_assert_eq(tks__names_init(&symbols, 1000), TKS_OK);
  cr_assert_eq(tks__names_init(&sources, 1000), TKS_OK);
  open_day();
  cr_assert_eq(tks__dayfile_last_seq(file), 1);
  record = (tks__record){
      .ts_ns = DAY_NS, .seq = 2, .bid = 2, .symbol = id_of(&symbols, "S50"), .source = id_of(&sources, "S70")};
  must_write(&record, 1);
  record = (tks__record){
      .ts_ns = DAY_NS, .seq = 3, .bid = 3, .symbol = id_of(&symbols, "S1"), .source = id_of(&sources, "S1")};
  must_write(&record, 1);
  cr_assert_str_eq(table("SELECT id, symbol, bid, lp_source FROM ticks ORDER BY id"),
                   "1|S50|1.0|S70\n2|S50|2.0|S70\n3|S1|3.0|S1\n");
  cr_assert_str_eq(table("SELECT COUNT(*) FROM symbol"), "2\n");
  cr_assert_str_eq(table("SELECT COUNT(*) FROM source"), "2\n");
  close_reader();
}

Test(dayfile, names_are_text_and_nothing_else) {
  static const char *const names[] = {"x'); DROP TABLE quote;--",
                                      "a\"b",
                                      "../../etc/passwd x",
                                      "%s%n",
                                      "\xc3\xa9\xe2\x82\xac",
                                      "NULL",
                                      "1",
                                      "1.0",
                                      " ",
                                      "?1",
                                      "EUR/USD",
                                      "eurusd",
                                      "EURUSD"};
  open_day();
  enum { COUNT = sizeof names / sizeof names[0] };
  for (uint64_t i = 0; i < COUNT; i++) {
    uint32_t symbol;
    if (tks__names_intern(&symbols, names[i], strlen(names[i]), &symbol) != TKS_OK) symbol = id_of(&symbols, "refused");
    tks__record record = {.ts_ns = DAY_NS,
                          .seq = i + 1,
                          .bid = 1,
                          .symbol = symbol,
                          .source = symbol <= COUNT ? id_of(&sources, "s") : 0};
    must_write(&record, 1);
    sqlite3_stmt *statement = query("SELECT symbol FROM ticks WHERE id = ?1");
    cr_assert_eq(sqlite3_bind_int64(statement, 1, (int64_t)i + 1), SQLITE_OK);
    cr_assert_eq(sqlite3_step(statement), SQLITE_ROW);
    const tks__name *name = tks__names_get(&symbols, symbol);
    cr_assert_eq(sqlite3_column_type(statement, 0), SQLITE_TEXT);
    cr_assert_eq(sqlite3_column_bytes(statement, 0), (int)name->length);
    cr_assert_arr_eq(sqlite3_column_text(statement, 0), name->text, name->length);
    (void)sqlite3_finalize(statement);
  }
  close_reader();
}

/* --------------------------------------------------------------------- values */

Test(dayfile, times_are_split_towards_the_past) {
  static const struct {
    int64_t ns, ms, sub;
  } cases[] = {{0, 0, 0},
               {1, 0, 1},
               {999999, 0, 999999},
               {1000000, 1, 0},
               {-1, -1, 999999},
               {-999999, -1, 1},
               {-1000000, -1, 0},
               {-1000001, -2, 999999},
               {INT64_MAX, INT64_C(9223372036854), 775807},
               {INT64_MIN, INT64_C(-9223372036855), 224192}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    cr_assert_eq(tks__ts_ms(cases[i].ns), cases[i].ms);
    cr_assert_eq(tks__ts_sub_ns(cases[i].ns), cases[i].sub);
  }
}

/* Many quotes share a millisecond, some a nanosecond. */
Test(dayfile, records_of_equal_time_are_never_merged) {
  open_day();
  tks__record records[300];
  for (uint64_t i = 0; i < 300; i++)
    records[i] =
        (tks__record){.ts_ns = DAY_NS + (int64_t)(i / 100), .seq = i + 1, .bid = 1, .symbol = id_of(&symbols, "X")};
  must_write(records, 300);
  cr_assert_str_eq(table("SELECT COUNT(*), COUNT(DISTINCT timestamp), COUNT(DISTINCT timestamp_ns) FROM ticks"),
                   "300|1|3\n");
  cr_assert_str_eq(
      table("SELECT COUNT(*) FROM (SELECT id, ROW_NUMBER() OVER (ORDER BY timestamp_ns, id) AS n FROM ticks)"
            " WHERE id <> n"),
      "0\n");
  close_reader();
}

static double read_double(sqlite3_stmt *statement, int column) {
  return sqlite3_column_type(statement, column) == SQLITE_NULL ? (double)NAN : sqlite3_column_double(statement, column);
}

static void check_doubles(const double *values, size_t count) {
  uint32_t symbol = id_of(&symbols, "X");
  tks__record *records = calloc(count, sizeof *records);
  for (size_t i = 0; i < count; i++) {
    double size = fabs(values[i]);
    if (isnan(size)) size = 0;
    records[i] = (tks__record){.ts_ns = DAY_NS + (int64_t)i,
                               .seq = i + 1,
                               .bid = values[i],
                               .ask = values[count - 1 - i],
                               .bid_size = size,
                               .ask_size = trunc(size),
                               .symbol = symbol};
  }
  open_day();
  must_write(records, count);
  for (int sealed = 0; sealed < 2; sealed++) {
    sqlite3_stmt *statement = query("SELECT bid, ask, bid_size, ask_size FROM ticks ORDER BY id");
    for (size_t i = 0; i < count; i++) {
      cr_assert_eq(sqlite3_step(statement), SQLITE_ROW);
      const double expected[4] = {records[i].bid, records[i].ask, records[i].bid_size, records[i].ask_size};
      for (int column = 0; column < 4; column++) {
        double got = read_double(statement, column);
        cr_assert_eq(sqlite3_column_type(statement, column) == SQLITE_NULL, isnan(expected[column]));
        if (isnan(expected[column])) continue;
        cr_assert_eq(sqlite3_column_type(statement, column), SQLITE_FLOAT);
        cr_assert_eq(bits_of(got), bits_of(expected[column]), "column %d: %a became %a", column, expected[column], got);
      }
    }
    cr_assert_eq(sqlite3_step(statement), SQLITE_DONE);
    (void)sqlite3_finalize(statement);
    close_reader();
    if (!sealed) seal();
  }
  free(records);
}

Test(dayfile, doubles_that_are_easily_lost) {
  static const double values[] = {0.0,
                                  -0.0,
                                  1,
                                  -1,
                                  -37,
                                  5e-324,
                                  -5e-324,
                                  2.2250738585072009e-308,
                                  2.2250738585072014e-308,
                                  1.7976931348623157e308,
                                  -1.7976931348623157e308,
                                  0.1,
                                  1.1,
                                  1.0 / 3,
                                  9007199254740991.0,
                                  9007199254740992.0,
                                  9007199254740994.0,
                                  9223372036854775807.0,
                                  -9223372036854775808.0,
                                  18446744073709551616.0,
                                  999999999999999.0,
                                  1e15,
                                  1e15 + 1,
                                  999999999999999.9,
                                  1e22,
                                  1e300,
                                  140737488355328.0,
                                  281474976710655.0,
                                  -140737488355329.0,
                                  127,
                                  128,
                                  32768,
                                  2147483648.0};
  check_doubles(values, sizeof values / sizeof values[0]);
}

Test(dayfile, an_absent_side_is_null) {
  const double values[] = {(double)NAN, 1.5, 2.5, (double)NAN, 3.5, 4.5};
  check_doubles(values, 6);
  cr_assert_str_eq(table("SELECT typeof(bid), typeof(ask), typeof(spread) FROM ticks WHERE id IN (1, 2, 3)"),
                   "null|real|null\nreal|real|real\nreal|null|null\n");
  close_reader();
}

Test(dayfile, random_doubles_come_back_bit_for_bit) {
  test_random random = random_new();
  enum { COUNT = 5000 };
  static double values[COUNT];
  for (size_t i = 0; i < COUNT; i++) {
    do {
      values[i] = double_of(random_next(&random));
    } while (!isfinite(values[i]));
    if (i % 4 == 0) values[i] = (double)(int64_t)random_next(&random) / (double)(1 + random_below(&random, 1 << 20));
    if (i % 4 == 1) values[i] = (double)random_below(&random, 2000000) / 100000;
  }
  check_doubles(values, COUNT);
}

Test(dayfile, the_other_fields_come_back_too) {
  open_day();
  const tks__record records[] = {
      {.ts_ns = DAY_NS, .recv_ns = 0, .seq = 1, .bid = 1, .symbol = id_of(&symbols, "X"), .flags = UINT32_MAX},
      {.ts_ns = DAY_NS, .recv_ns = -5, .seq = 2, .bid = 1, .symbol = id_of(&symbols, "X")},
      {.ts_ns = DAY_NS, .recv_ns = INT64_MAX, .seq = INT64_MAX, .bid = 1, .symbol = id_of(&symbols, "X"), .flags = 1},
  };
  must_write(records, 3);
  cr_assert_str_eq(table("SELECT seq, recv_ns, flags FROM quote ORDER BY seq"),
                   "1|NULL|4294967295\n2|-5|0\n9223372036854775807|9223372036854775807|1\n");
  cr_assert_str_eq(table("SELECT created_at FROM ticks WHERE id = 1"), "NULL\n");
  close_reader();
}

/* -------------------------------------------------------------- configuration */

/* Read on the writing connection itself: on another one the defaults would answer. */
Test(dayfile, the_writing_connection_is_configured) {
  options.synchronous = TKS_SYNC_NORMAL;
  options.checkpoint_pages = 77;
  options.busy_timeout_ms = 1234;
  options.temp_store_memory = 1;
  options.page_cache_bytes = 3 << 20;
  open_day();
  cr_assert_eq(pragma("synchronous"), 1);
  cr_assert_eq(pragma("wal_autocheckpoint"), 77);
  cr_assert_eq(pragma("busy_timeout"), 1234);
  cr_assert_eq(pragma("temp_store"), 2);
  cr_assert_eq(pragma("cache_size"), -3072);
  cr_assert_eq(pragma("mmap_size"), 0);
  cr_assert_eq(pragma("journal_size_limit"), 77 * 4096 * 4);
  seal();
  options.synchronous = TKS_SYNC_FULL;
  options.temp_store_memory = 0;
  options.page_cache_bytes = UINT64_C(1) << 36;
  options.checkpoint_pages = 1000000;
  open_day(); /* and one that was there before */
  cr_assert_eq(pragma("synchronous"), 2);
  cr_assert_eq(pragma("temp_store"), 1);
  cr_assert_eq(pragma("cache_size"), -(INT64_C(1) << 26));
  cr_assert_eq(pragma("wal_autocheckpoint"), 1000000);
  cr_assert_eq(pragma("journal_size_limit"), INT64_C(1000000) * 4096 * 4);
}

/* Maps are for readers, whatever the host made the default for its own connections. */
Test(dayfile, the_file_being_written_is_never_mapped) {
  cr_assert_eq(sqlite3_shutdown(), SQLITE_OK);
  cr_assert_eq(sqlite3_config(SQLITE_CONFIG_MMAP_SIZE, (sqlite3_int64)1 << 20, (sqlite3_int64)1 << 30), SQLITE_OK);
  cr_assert_eq(sqlite3_auto_extension((void (*)(void))remember), SQLITE_OK);
  open_day();
  cr_assert_eq(pragma("mmap_size"), 0);
  sqlite3 *other;
  cr_assert_eq(sqlite3_open(path, &other), SQLITE_OK);
  cr_assert_eq(pragma("mmap_size"), 1 << 20, "so the default is another");
  cr_assert_eq(sqlite3_close(other), SQLITE_OK);
}

Test(dayfile, full_syncs_every_commit_and_normal_none) {
  sync_vfs_install();
  open_day();
  for (uint64_t i = 1; i <= 5; i++) {
    uint64_t before = sync_vfs_wal_syncs();
    cr_assert_eq(write_run("X", i, 1), TKS_OK);
    cr_assert_gt(sync_vfs_wal_syncs(), before, "a commit survives power loss");
  }
  seal();
  options.synchronous = TKS_SYNC_NORMAL;
  open_day();
  cr_assert_eq(write_run("X", 6, 1), TKS_OK);
  uint64_t before = sync_vfs_wal_syncs();
  for (uint64_t i = 7; i <= 11; i++) cr_assert_eq(write_run("X", i, 1), TKS_OK);
  cr_assert_eq(sync_vfs_wal_syncs(), before);
  cr_assert_eq(tks__dayfile_sync(file, &error), TKS_OK, "%s", error.message);
  cr_assert_gt(sync_vfs_wal_syncs(), before, "the sync does what the commits left undone");
}

Test(dayfile, checkpoints_keep_the_log_small) {
  options.checkpoint_pages = 20;
  options.synchronous = TKS_SYNC_NORMAL;
  open_day();
  uint64_t most = 0;
  for (uint64_t i = 0; i < 300; i++) {
    cr_assert_eq(write_run("X", i * 50 + 1, 50), TKS_OK);
    if (tks__dayfile_wal_bytes(file) > most) most = tks__dayfile_wal_bytes(file);
  }
  cr_assert_gt(most, 0);
  cr_assert_leq(most, 100 * 4200);
  seal();
  options.checkpoint_pages = 1000000;
  open_day();
  for (uint64_t i = 300; i < 600; i++) cr_assert_eq(write_run("X", i * 50 + 1, 50), TKS_OK);
  cr_assert_gt(tks__dayfile_wal_bytes(file), 100 * 4200, "without them it grows");
}

/* ------------------------------------------------------------- seal and discard */

Test(dayfile, a_sealed_file_stands_alone) {
  open_day();
  cr_assert_eq(write_run("X", 1, 1000), TKS_OK);
  cr_assert(beside_exists("-wal"));
  cr_assert_gt(tks__dayfile_wal_bytes(file), 0);
  seal();
  cr_assert_not(beside_exists("-wal"));
  cr_assert_not(beside_exists("-shm"));
  cr_assert_str_eq(table("PRAGMA journal_mode"), "delete\n");
  cr_assert_str_eq(table("SELECT COUNT(*) FROM ticks"), "1000\n");
  cr_assert_str_eq(table("PRAGMA integrity_check"), "ok\n");
  close_reader();
  /* Its bytes alone are the whole day. */
  size_t length;
  char *bytes = read_file(path, &length);
  char copy[PATH_MAX];
  (void)snprintf(copy, sizeof copy, "%s/copy.db", dir);
  write_file(copy, bytes, length);
  free(bytes);
  cr_assert_eq(sqlite_integer(copy, "SELECT COUNT(*) FROM ticks"), 1000);
}

static int directory_syncs;

static int count_directory_syncs(tks__fs_op op, const char *of) {
  directory_syncs += op == TKS__FS_SYNC && of != NULL;
  return 0;
}

/* Or the journal by which it left WAL mode could be back after a power loss. */
Test(dayfile, a_seal_is_durable) {
  open_day();
  atomic_store(&tks__fs_fault, count_directory_syncs);
  seal();
  atomic_store(&tks__fs_fault, NULL);
  cr_assert_eq(directory_syncs, 1);
}

static int fail_directory_syncs(tks__fs_op op, const char *of) { return op == TKS__FS_SYNC && of != NULL ? EIO : 0; }

/* Else a second attempt would find it and take its name for synced. */
Test(dayfile, a_file_whose_name_cannot_be_synced_is_not_there) {
  open_day();
  seal(); /* the directories are there */
  day++;
  tks__layout_day_file(&layout, day, path);
  atomic_store(&tks__fs_fault, fail_directory_syncs);
  cr_assert_eq(tks__dayfile_open(&options, day, &file, &error), TKS_EIO, "%s", error.message);
  atomic_store(&tks__fs_fault, NULL);
  cr_assert_not(path_exists(path));
  open_day();
  cr_assert_eq(write_run("X", 1, 3), TKS_OK);
}

Test(dayfile, a_sealed_file_can_be_continued) {
  for (uint64_t i = 0; i < 5; i++) {
    open_day();
    cr_assert_eq(tks__dayfile_last_seq(file), i * 10);
    cr_assert_eq(write_run("X", i * 10 + 1, 10), TKS_OK);
    seal();
    cr_assert_not(beside_exists("-wal"));
    cr_assert_eq(sqlite_integer(path, "SELECT COUNT(*) FROM ticks"), (int64_t)(i + 1) * 10);
  }
}

Test(dayfile, a_reader_in_the_way_puts_the_seal_off) {
  open_day();
  cr_assert_eq(write_run("X", 1, 10), TKS_OK);
  sqlite3_stmt *statement = query("SELECT id FROM ticks");
  cr_assert_eq(sqlite3_step(statement), SQLITE_ROW);
  cr_assert_not(tks__dayfile_seal(file));
  cr_assert_eq(write_run("X", 11, 10), TKS_OK, "it goes on being written");
  int rows = 1;
  while (sqlite3_step(statement) == SQLITE_ROW) rows++;
  cr_assert_eq(rows, 10, "the reader sees what it saw");
  cr_assert_not(tks__dayfile_seal(file), "reset or not, it is still open");
  (void)sqlite3_finalize(statement);
  close_reader();
  seal();
  cr_assert_not(beside_exists("-wal"));
  cr_assert_eq(sqlite_integer(path, "SELECT COUNT(*) FROM ticks"), 20);
}

static int readers_in_between;

static void read_in_between(void) {
  sqlite3 *db;
  readers_in_between++;
  cr_assert_eq(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
  cr_assert_eq(sqlite3_exec(db, "SELECT value FROM meta", NULL, NULL, NULL), SQLITE_OK, "%s", sqlite3_errmsg(db));
  cr_assert_eq(sqlite3_close(db), SQLITE_OK);
  cr_assert(beside_exists("-wal"), "this is what it is about");
}

/* SQLite lets others at the file for a moment between the removal of the log and the header that says so. Who reads then begins a new
 * log, which nobody would remove. */
Test(dayfile, a_reader_that_comes_while_it_is_sealed_leaves_no_log) {
  sync_vfs_install();
  for (int readers = 1; readers <= 2; readers++) {
    open_day();
    cr_assert_eq(write_run("X", (uint64_t)readers * 10, 10), TKS_OK);
    sync_vfs_when_wal_is_gone(read_in_between);
    seal();
    cr_assert_eq(readers_in_between, readers);
    cr_assert_not(beside_exists("-wal"));
    cr_assert_not(beside_exists("-shm"));
    cr_assert_not(tks__dayfile_in_wal_mode(path));
    cr_assert_eq(sqlite_integer(path, "SELECT COUNT(*) FROM ticks"), readers * 10);
  }
}

/* SQLite's lock of a reader, as another process would find it. */
static bool is_locked(int fd) {
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0x40000000 + 2, .l_len = 510};
  cr_assert_eq(fcntl(fd, F_OFD_GETLK, &lock), 0);
  return lock.l_type != F_UNLCK;
}

/* A descriptor that the process closes takes its locks on the file along, whoever they are for. */
Test(dayfile, a_look_at_its_mode_leaves_readers_their_locks) {
  open_day();
  cr_assert_eq(write_run("X", 1, 10), TKS_OK);
  seal();
  int fd = open(path, O_RDWR | O_CLOEXEC);
  cr_assert_geq(fd, 0);
  sqlite3_stmt *statement = query("SELECT id FROM ticks");
  cr_assert_eq(sqlite3_step(statement), SQLITE_ROW);
  cr_assert(is_locked(fd));
  cr_assert_not(tks__dayfile_in_wal_mode(path));
  cr_assert(is_locked(fd));
  (void)sqlite3_finalize(statement);
  cr_assert_not(is_locked(fd));
  close_reader();
  (void)close(fd);
}

/* Whoever reads a sealed file keeps it from being written in WAL mode for as long. */
Test(dayfile, a_reader_in_the_way_puts_the_opening_off) {
  open_day();
  cr_assert_eq(write_run("X", 1, 10), TKS_OK);
  seal();
  sqlite3_stmt *statement = query("SELECT id FROM ticks");
  cr_assert_eq(sqlite3_step(statement), SQLITE_ROW);
  options.busy_timeout_ms = 1;
  cr_assert_eq(tks__dayfile_open(&options, day, &file, &error), TKS_ETIMEOUT);
  cr_assert_null(file);
  (void)sqlite3_finalize(statement);
  close_reader();
  open_day();
  cr_assert_eq(write_run("X", 11, 10), TKS_OK);
  seal();
}

Test(dayfile, a_discarded_file_keeps_what_was_committed) {
  open_day();
  cr_assert_eq(write_run("X", 1, 10), TKS_OK);
  discard();
  open_day();
  cr_assert_eq(tks__dayfile_last_seq(file), 10);
  cr_assert_eq(sqlite_integer(path, "SELECT COUNT(*) FROM ticks"), 10);
  tks__dayfile_discard(NULL);
}

static int32_t released[8];
static int releases;

static void release_readers(void *context, int32_t released_day) {
  cr_assert_eq(context, &releases);
  if (releases < 8) released[releases] = released_day;
  releases++;
}

Test(dayfile, readers_are_asked_to_let_go) {
  options.release_readers = release_readers;
  options.release_context = &releases;
  open_day();
  cr_assert_eq(releases, 1);
  seal();
  cr_assert_eq(releases, 2);
  cr_assert_eq(released[0], day);
  cr_assert_eq(released[1], day);
}

/* ---------------------------------------------------------------- what is not one */

static char parent[PATH_MAX];

static void make_parent(void) {
  (void)snprintf(parent, sizeof parent, "%s", path);
  *strrchr(parent, '/') = '\0';
  make_dirs(parent);
}

/* Opening is refused with `code`, the message names the file, and nothing on disk is changed. */
static void must_refuse(int code, const char *what) {
  uint64_t before = tree_digest(dir);
  error = (tks_error){0};
  cr_assert_eq(tks__dayfile_open(&options, day, &file, &error), code, "%s: %d %s", what, error.code, error.message);
  cr_assert_null(file);
  cr_assert_eq(error.code, code);
  cr_assert_not_null(strstr(error.message, path), "%s", error.message);
  cr_assert_eq(tree_digest(dir), before, "%s: something was changed", what);
  cr_assert_eq(tks__dayfile_open(&options, day, &file, NULL), code);
}

Test(dayfile, not_sqlite) {
  make_parent();
  char text[20000];
  memset(text, 'x', sizeof text);
  static const size_t lengths[] = {1, 15, 16, 99, 100, 511, 512, 1024, 4095, 4096, 20000};
  for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
    write_file(path, text, lengths[i]);
    must_refuse(TKS_EDAYFILE, "text");
  }
}

static void run_sql(const char *sql) {
  sqlite3 *db;
  char *message = NULL;
  cr_assert_eq(sqlite3_open(path, &db), SQLITE_OK);
  cr_assert_eq(sqlite3_exec(db, sql, NULL, NULL, &message), SQLITE_OK, "%s: %s", sql, message);
  cr_assert_eq(sqlite3_close(db), SQLITE_OK);
}

/* A file gets its name when its tables are there, so one without is not what the library left. */
Test(dayfile, empty) {
  make_parent();
  write_file(path, "", 0);
  must_refuse(TKS_EDAYFILE, "no bytes");
  run_sql("CREATE TABLE t(x); DROP TABLE t; VACUUM;");
  must_refuse(TKS_EDAYFILE, "no tables");
}

/* Its schema is of a format that this SQLite does not know. */
Test(dayfile, a_damaged_header) {
  enum { SCHEMA_FORMAT = 47 };
  open_day();
  cr_assert_eq(write_run("X", 1, 3), TKS_OK);
  seal();
  size_t length;
  char *bytes = read_file(path, &length);
  bytes[SCHEMA_FORMAT] = 9;
  write_file(path, bytes, length);
  free(bytes);
  must_refuse(TKS_EDAYFILE, "schema format 9");
  cr_assert_not_null(strstr(error.message, "not a day file: unsupported file format"), "%s", error.message);
}

/* What a crash left of an earlier attempt to make the file is in nobody's way. */
Test(dayfile, an_attempt_that_a_crash_ended) {
  char name[TKS__PATH_MAX + 16];
  make_parent();
  (void)snprintf(name, sizeof name, "%s.new", path);
  write_file(name, "half a file", 11);
  (void)snprintf(name, sizeof name, "%s.new-journal", path);
  write_file(name, "half a journal", 14);
  open_day();
  cr_assert_eq(write_run("X", 1, 3), TKS_OK);
  cr_assert_not(beside_exists(".new"));
  cr_assert_not(beside_exists(".new-journal"));
  seal();
  cr_assert_eq(sqlite_integer(path, "SELECT COUNT(*) FROM ticks"), 3);
}

Test(dayfile, another_day) {
  open_day();
  cr_assert_eq(write_run("X", 1, 3), TKS_OK);
  seal();
  size_t length;
  char *bytes = read_file(path, &length);
  day++;
  tks__layout_day_file(&layout, day, path);
  write_file(path, bytes, length);
  free(bytes);
  must_refuse(TKS_EDAYFILE, "yesterday's file");
  run_sql("DELETE FROM meta WHERE key = 'day';");
  must_refuse(TKS_EDAYFILE, "no day at all");
}

Test(dayfile, truncated) {
  open_day();
  cr_assert_eq(write_run("X", 1, 2000), TKS_OK);
  cr_assert_eq(write_run("Y", 2001, 2000), TKS_OK);
  seal();
  size_t length;
  char *bytes = read_file(path, &length);
  cr_assert_gt(length, 20 * 4096);
  for (size_t cut = 1; cut < length; cut += cut < 200 ? 33 : 1 + cut / 7) {
    write_file(path, bytes, cut);
    must_refuse(TKS_EDAYFILE, "truncated");
  }
  write_file(path, bytes, length - 1);
  must_refuse(TKS_EDAYFILE, "truncated by a byte");
  write_file(path, bytes, length - 4096);
  must_refuse(TKS_EDAYFILE, "truncated by a page");
  free(bytes);
}

Test(dayfile, other_tables) {
  make_parent();
  run_sql("CREATE TABLE ticks(id INTEGER PRIMARY KEY, symbol TEXT, bid REAL);");
  must_refuse(TKS_EDAYFILE, "other tables");
  run_sql("PRAGMA user_version=1;");
  must_refuse(TKS_EDAYFILE, "our version, other tables");
  run_sql("PRAGMA application_id=1414222641;");
  must_refuse(TKS_EDAYFILE, "our id, other tables");
  run_sql("CREATE TABLE meta(x); CREATE TABLE symbol(x); CREATE TABLE source(x); CREATE TABLE quote(x);");
  error = (tks_error){0};
  cr_assert_eq(tks__dayfile_open(&options, day, &file, &error), TKS_EDAYFILE, "our names, other columns: %d %s",
               error.code, error.message);
  run_sql("DROP TABLE ticks; CREATE VIEW ticks AS SELECT 1;");
  must_refuse(TKS_EDAYFILE, "all of our names");
  run_sql("DROP TABLE meta; CREATE TABLE meta(key, value); INSERT INTO meta VALUES('day', NULL);");
  must_refuse(TKS_EDAYFILE, "no day");
  run_sql("UPDATE meta SET value = '" DAY "';");
  cr_assert_eq(tks__dayfile_open(&options, day, &file, &error), TKS_EDAYFILE, "and our day");
  cr_assert_not_null(strstr(error.message, "not a day file"), "%s", error.message);
}

Test(dayfile, another_application) {
  make_parent();
  run_sql("PRAGMA application_id=5;");
  must_refuse(TKS_EDAYFILE, "somebody's empty file");
}

Test(dayfile, a_table_is_missing) {
  static const char *const tables[] = {"meta", "symbol", "source", "quote", "ticks"};
  for (int i = 0; i < 5; i++) {
    char sql[64];
    open_day();
    seal();
    (void)snprintf(sql, sizeof sql, "DROP %s %s;", i < 4 ? "TABLE" : "VIEW", tables[i]);
    run_sql(sql);
    must_refuse(TKS_EDAYFILE, tables[i]);
    (void)unlink(path);
  }
}

Test(dayfile, its_last_sequence_number_is_missing) {
  open_day();
  seal();
  run_sql("DELETE FROM meta WHERE key = 'last_seq';");
  cr_assert_eq(tks__dayfile_open(&options, day, &file, &error), TKS_EDAYFILE, "%s", error.message);
  run_sql("INSERT INTO meta VALUES('last_seq', -1);");
  cr_assert_eq(tks__dayfile_open(&options, day, &file, &error), TKS_EDAYFILE, "%s", error.message);
}

/* Ids beyond 32 bits, a row that has our sequence number already, an index that lets no second row in: what cannot be
 * written is damage, so that the sink sets the file aside and goes on. */
Test(dayfile, made_so_that_nothing_can_be_added) {
  static const char *const changes[] = {
      "UPDATE symbol SET id = -4294967295;",
      "UPDATE symbol SET id = 4294967297;",
      "UPDATE symbol SET id = 9223372036854775807;",
      "UPDATE symbol SET id = 9223372036854775807, name = 'Y';",
      "UPDATE quote SET seq = 11, ts_ms = ts_ms + 9000 WHERE seq = 2;",
      "DELETE FROM quote WHERE seq = 2; CREATE UNIQUE INDEX one ON quote(symbol_id);",
  };
  for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
    open_day();
    cr_assert_eq(write_run("X", 1, 2), TKS_OK);
    seal();
    run_sql(changes[i]);
    open_day();
    int code = write_run("X", 11, 2);
    cr_assert_eq(code, TKS_EDAYFILE, "%s: %d", changes[i], code);
    discard();
    (void)unlink(path);
  }
}

/* Somebody's trigger has no say in what becomes of a record. */
Test(dayfile, triggers_are_left_alone) {
  open_day();
  cr_assert_eq(write_run("X", 1, 2), TKS_OK);
  seal();
  run_sql("CREATE TRIGGER lose AFTER INSERT ON quote BEGIN DELETE FROM quote; END;");
  open_day();
  cr_assert_eq(write_run("X", 11, 2), TKS_OK);
  seal();
  cr_assert_str_eq(table("SELECT symbol, COUNT(*) FROM ticks GROUP BY symbol"), "X|4\n");
  close_reader();
}

/* A table of that name would stand before the one that rows are read from. */
Test(dayfile, a_table_by_the_name_of_the_feed) {
  static const char *const tables[] = {"CREATE TABLE tks_feed AS SELECT * FROM quote;",
                                       "CREATE VIEW TKS_Feed AS SELECT * FROM quote;"};
  for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
    open_day();
    cr_assert_eq(write_run("X", 1, 2), TKS_OK);
    seal();
    run_sql(tables[i]);
    must_refuse(TKS_EDAYFILE, tables[i]);
    (void)unlink(path);
  }
}

Test(dayfile, a_newer_format) {
  open_day();
  seal();
  run_sql("PRAGMA user_version=2;");
  must_refuse(TKS_EFORMAT, "format 2");
  cr_assert_not_null(strstr(error.message, "format 2"), "%s", error.message);
  run_sql("PRAGMA user_version=2147483647;");
  must_refuse(TKS_EFORMAT, "the highest format");
}

Test(dayfile, a_directory_in_its_place) {
  make_parent();
  make_dirs(path);
  must_refuse(TKS_EIO, "a directory");
}

/* Whatever single page is overwritten, the file is refused or works: it never ends the process. */
Test(dayfile, damaged_anywhere) {
  test_random random = random_new();
  open_day();
  for (uint64_t i = 0; i < 20; i++) cr_assert_eq(write_run(i % 2 ? "X" : "Y", i * 100 + 1, 100), TKS_OK);
  seal();
  size_t length;
  char *bytes = read_file(path, &length);
  char *damaged = malloc(length);
  for (uint64_t round = 0; round < rounds(150); round++) {
    memcpy(damaged, bytes, length);
    size_t at = random_below(&random, length / 4096) * 4096 + random_below(&random, 2) * random_below(&random, 4000);
    size_t n = 1 + random_below(&random, 64);
    for (size_t i = at; i < at + n && i < length; i++) damaged[i] = (char)random_next(&random);
    write_file(path, damaged, length);
    error = (tks_error){0};
    int code = tks__dayfile_open(&options, day, &file, &error);
    if (code == TKS_OK) {
      code = write_run("X", 100001, 50);
      discard();
    }
    cr_assert(code == TKS_OK || code == TKS_EDAYFILE || code == TKS_EFORMAT || code == TKS_EIO, "%d: %s", code,
              error.message);
    scratch_clear(parent);
    make_parent();
  }
  free(damaged);
  free(bytes);
}

/* ------------------------------------------------------------------- failures */

Test(dayfile, locked_by_another_writer) {
  options.busy_timeout_ms = 0;
  open_day();
  cr_assert_eq(write_run("X", 1, 1), TKS_OK);
  sqlite3 *db;
  cr_assert_eq(sqlite3_open(path, &db), SQLITE_OK);
  cr_assert_eq(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
  cr_assert_eq(write_run("X", 2, 1), TKS_ETIMEOUT, "%s", error.message);
  discard();
  cr_assert_eq(sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
  cr_assert_eq(sqlite3_close(db), SQLITE_OK);
  open_day();
  cr_assert_eq(tks__dayfile_last_seq(file), 1);
  cr_assert_eq(write_run("X", 2, 1), TKS_OK);
}

/* After a COMMIT whose sync failed nobody knows what the file holds but the file. Its last number tells: what is repeated
 * is there once. */
Test(dayfile, a_commit_that_fails_to_sync) {
  sync_vfs_install();
  open_day();
  cr_assert_eq(write_run("X", 1, 10), TKS_OK);
  for (uint64_t i = 0; i < 5; i++) {
    uint64_t next = tks__dayfile_last_seq(file) + 1;
    sync_vfs_fail_wal(1);
    cr_assert_eq(write_run("X", next, 10), TKS_EIO, "%s", error.message);
    sync_vfs_fail_wal(0);
    cr_assert_eq(error.detail, SQLITE_IOERR_FSYNC);
    discard();
    open_day();
    uint64_t held = tks__dayfile_last_seq(file);
    cr_assert(held == next - 1 || held == next + 9, "%llu", (unsigned long long)held);
    if (held < next + 9) cr_assert_eq(write_run("X", held + 1, (size_t)(next + 9 - held)), TKS_OK);
  }
  cr_assert_str_eq(table("SELECT COUNT(*), COUNT(DISTINCT id), MIN(id), MAX(id) FROM ticks"), "60|60|1|60\n");
  cr_assert_str_eq(table("SELECT quotes FROM symbol"), "60\n");
  close_reader();
}

Test(dayfile, a_sync_that_fails) {
  sync_vfs_install();
  options.synchronous = TKS_SYNC_NORMAL;
  open_day();
  cr_assert_eq(tks__dayfile_sync(file, &error), TKS_OK);
  cr_assert_eq(write_run("X", 1, 10), TKS_OK);
  sync_vfs_fail_wal(1);
  cr_assert_eq(tks__dayfile_sync(file, &error), TKS_EIO);
  cr_assert_not_null(strstr(error.message, path), "%s", error.message);
}

/* What is in the log alone is not copied past a reader that needs the file as it was. */
Test(dayfile, a_reader_keeps_the_log_from_being_copied) {
  options.synchronous = TKS_SYNC_NORMAL;
  open_day();
  cr_assert_eq(write_run("X", 1, 10), TKS_OK);
  sqlite3_stmt *statement = query("SELECT seq FROM quote");
  cr_assert_eq(sqlite3_step(statement), SQLITE_ROW);
  cr_assert_eq(write_run("X", 11, 10), TKS_OK);
  cr_assert_eq(tks__dayfile_settle(file, &error), TKS_ETIMEOUT);
  cr_assert_not_null(strstr(error.message, "a reader"), "%s", error.message);
  (void)sqlite3_finalize(statement);
  close_reader();
  cr_assert_eq(tks__dayfile_settle(file, &error), TKS_OK, "%s", error.message);
}

Test(dayfile, sqlites_errors_have_codes_of_ours) {
  static const struct {
    int rc, code;
  } cases[] = {
      {SQLITE_FULL, TKS_EDISKFULL},   {SQLITE_NOMEM, TKS_ENOMEM},        {SQLITE_CONSTRAINT_UNIQUE, TKS_EDAYFILE},
      {SQLITE_CORRUPT, TKS_EDAYFILE}, {SQLITE_NOTADB, TKS_EDAYFILE},     {SQLITE_BUSY_SNAPSHOT, TKS_ETIMEOUT},
      {SQLITE_LOCKED, TKS_ETIMEOUT},  {SQLITE_INTERRUPT, TKS_EDEADLINE}, {SQLITE_IOERR_READ, TKS_EIO},
      {SQLITE_CANTOPEN, TKS_EIO}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    cr_assert_eq(tks__sqlite_fail(NULL, cases[i].rc, "cannot read", "PATH", &error), cases[i].code, "%d", cases[i].rc);
    cr_assert_eq(error.detail, cases[i].rc);
    cr_assert_not_null(strstr(error.message, "cannot read PATH: "), "%s", error.message);
  }
}

/* The same number twice is refused by the key, and nothing of its transaction is kept. */
Test(dayfile, a_failed_transaction_leaves_nothing) {
  open_day();
  cr_assert_eq(write_run("X", 1, 10), TKS_OK);
  tks__record records[3] = {{.ts_ns = DAY_NS, .seq = 20, .bid = 1, .symbol = id_of(&symbols, "NEW")},
                            {.ts_ns = DAY_NS, .seq = 21, .bid = 1, .symbol = id_of(&symbols, "NEW")},
                            {.ts_ns = DAY_NS, .seq = 21, .bid = 1, .symbol = id_of(&symbols, "NEW")}};
  cr_assert_eq(write_records(records, 3), TKS_EDAYFILE);
  cr_assert_eq(tks__dayfile_last_seq(file), 10);
  discard();
  open_day();
  cr_assert_eq(tks__dayfile_last_seq(file), 10);
  cr_assert_str_eq(table("SELECT symbol, COUNT(*) FROM ticks GROUP BY symbol"), "X|10\n");
  cr_assert_str_eq(table("SELECT name FROM symbol"), "X\n");
  close_reader();
}

Test(dayfile, no_memory) {
  for (uint64_t n = 0;; n++) {
    fail_allocation(n);
    int code = tks__dayfile_open(&options, day, &file, &error);
    if (!allocations_work()) {
      cr_assert_eq(code, TKS_OK);
      break;
    }
    cr_assert_eq(code, TKS_ENOMEM, "%d %s", code, error.message);
    cr_assert_null(file);
  }
  /* The tables of ids are the writer's own memory. */
  uint64_t written = 0;
  for (uint64_t n = 0; written < 3; n++) {
    tks__record record = {.ts_ns = DAY_NS,
                          .seq = tks__dayfile_last_seq(file) + 1,
                          .bid = 1,
                          .symbol = id_of(&symbols, "A"),
                          .source = id_of(&sources, "B")};
    fail_allocation(n);
    int code = write_records(&record, 1);
    bool failed = allocations_work();
    cr_assert_eq(code, failed ? TKS_ENOMEM : TKS_OK);
    written += !failed;
    if (!failed) continue;
    discard();
    open_day();
    cr_assert_eq(tks__dayfile_last_seq(file), 0);
  }
  cr_assert_eq(sqlite_integer(path, "SELECT COUNT(*) FROM ticks"), 3);
}

static tks__fs_op failing_op;

static int fail_op(tks__fs_op op, const char *name) {
  (void)name;
  return op == failing_op ? ENOSPC : 0;
}

Test(dayfile, no_directory_for_it) {
  failing_op = TKS__FS_MKDIR;
  atomic_store(&tks__fs_fault, fail_op);
  cr_assert_eq(tks__dayfile_open(&options, day, &file, &error), TKS_EDISKFULL);
  failing_op = TKS__FS_SYNC;
  cr_assert_eq(tks__dayfile_open(&options, day, &file, &error), TKS_EDISKFULL, "%s", error.message);
  failing_op = TKS__FS_RENAME;
  cr_assert_eq(tks__dayfile_open(&options, day, &file, &error), TKS_EDISKFULL, "%s", error.message);
  cr_assert_not(path_exists(path));
  cr_assert_not(beside_exists(".new"));
  atomic_store(&tks__fs_fault, NULL);
  open_day();
  cr_assert_eq(write_run("X", 1, 1), TKS_OK);
}
