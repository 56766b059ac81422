#include "persist/json_day.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/memory.h"
#include "base/utc.h"
#include "persist/json_line.h"
#include "support/faults.h"
#include "support/scratch.h"

#define T0 INT64_C(1768823511897268500)

static char *scratch;
static char path[TKS__PATH_MAX];
static tks__layout layout;
static tks__names symbols, sources;
static uint32_t symbol;
static int32_t day;
static tks__json_day out;

static void set_up(void) {
  scratch = scratch_new();
  cr_assert(tks__layout_init(&layout, scratch, strlen(scratch)));
  cr_assert_eq(tks__names_init(&symbols, 10), TKS_OK);
  cr_assert_eq(tks__names_init(&sources, 3), TKS_OK);
  cr_assert_eq(tks__names_intern(&symbols, "EUR/USD", 7, &symbol), TKS_OK);
  day = tks__utc_day(T0);
  tks__layout_json_dir(&layout, "EUR/USD", 7, path);
  cr_assert_eq(tks__fs_mkdirs(path, scratch), 0);
  tks__layout_json_file(&layout, "EUR/USD", 7, day, path);
}

static void tear_down(void) {
  atomic_store(&tks__fs_fault, NULL);
  (void)allocations_work();
  tks__names_deinit(&symbols);
  tks__names_deinit(&sources);
  scratch_remove(scratch);
}

TestSuite(json_day, .init = set_up, .fini = tear_down);

static int read_day(tks_error *error) {
  return tks__json_day_read(&layout, &symbols, &sources, symbol, day, &out, error);
}

static void add_text(const char *text, size_t length) {
  FILE *f = fopen(path, "ab");
  cr_assert_not_null(f);
  cr_assert_eq(fwrite(text, 1, length, f), length);
  (void)fclose(f);
}

static size_t make_line(char *line, uint64_t seq, int64_t ts_ns, const char *source) {
  tks__record r = {.ts_ns = ts_ns, .seq = seq, .bid = (double)seq, .ask = NAN, .recv_ns = 5};
  return tks__json_line_format(&r, "EUR/USD", 7, source, strlen(source), "default", line);
}

static void add_line(uint64_t seq, int64_t ts_ns, const char *source) {
  char line[TKS__JSON_LINE_MAX];
  add_text(line, make_line(line, seq, ts_ns, source));
}

static void expect_seqs(size_t count, const uint64_t *want) {
  cr_assert_eq(out.count, count, "%zu records, not %zu", out.count, count);
  for (size_t i = 0; i < count; i++)
    cr_assert_eq(out.records[i].seq, want[i], "[%zu] is %d", i, (int)out.records[i].seq);
}

Test(json_day, a_day_without_a_file_has_no_records) {
  cr_assert_eq(read_day(NULL), TKS_OK);
  cr_assert_eq(out.count, 0);
  add_text("", 0);
  cr_assert_eq(read_day(NULL), TKS_OK);
  cr_assert_eq(out.count, 0);
  tks__json_day_free(&out);
}

Test(json_day, reads_records_as_they_were) {
  add_line(7, T0, "OANDA");
  add_line(9, T0, "");
  add_line(12, T0 + 1, "FXCM");
  add_line(13, T0 + 2, "OANDA");
  cr_assert_eq(read_day(NULL), TKS_OK);
  expect_seqs(4, (uint64_t[]){7, 9, 12, 13});
  const tks__record *r = out.records;
  cr_assert_eq(r[0].symbol, symbol);
  cr_assert_eq(r[0].bid, 7);
  cr_assert(isnan(r[0].ask));
  cr_assert_eq(r[0].recv_ns, 5);
  cr_assert_eq(r[0].reserved, TKS__KIND_QUOTE);
  cr_assert_eq(r[0].source, tks__names_find(&sources, "OANDA", 5));
  cr_assert_eq(r[1].source, 0);
  cr_assert_eq(r[2].source, tks__names_find(&sources, "FXCM", 4));
  cr_assert_eq(r[3].source, r[0].source);
  tks__json_day_free(&out);
  cr_assert_null(out.records);
}

Test(json_day, orders_by_time_and_keeps_each_number_once) {
  add_line(1, T0 + 9, "");
  add_line(2, T0 + 3, "");
  add_line(3, T0 + 3, "");
  add_line(2, T0 + 3, "");
  add_line(5, T0 + 1, "");
  add_line(4, T0 + 3, "");
  add_line(1, T0 + 9, "");
  cr_assert_eq(read_day(NULL), TKS_OK);
  expect_seqs(5, (uint64_t[]){5, 2, 3, 4, 1});
  tks__json_day_free(&out);
}

Test(json_day, a_line_being_written_is_not_bad) {
  char line[TKS__JSON_LINE_MAX];
  add_line(1, T0, "");
  size_t length = make_line(line, 2, T0 + 1, "");
  for (size_t n = 1; n < length; n++) {
    cr_assert_eq(truncate(path, 0), 0);
    add_line(1, T0, "");
    add_text(line, n);
    cr_assert_eq(read_day(NULL), TKS_OK);
    expect_seqs(1, (uint64_t[]){1});
    tks__json_day_free(&out);
  }
}

Test(json_day, counts_bad_lines_and_keeps_the_good_ones) {
  tks_error error;
  char line[TKS__JSON_LINE_MAX];
  add_line(1, T0, "");
  add_text("junk\n", 5);
  add_line(2, T0 + 1, "");
  add_line(3, T0 + TKS__NS_PER_DAY, ""); /* of another day */
  tks__record r = {.ts_ns = T0 + 1, .seq = 4, .bid = 1, .ask = 2};
  add_text(line, tks__json_line_format(&r, "GBPUSD", 6, "", 0, "default", line));
  add_text(line, tks__json_line_format(&r, "GBP/USD", 7, "", 0, "default", line));
  add_text("\n", 1);
  char *junk = malloc(300000);
  memset(junk, 'x', 300000);
  junk[70000] = junk[299999] = '\n';
  add_text(junk, 300000);
  free(junk);
  add_line(6, T0 + 2, "");
  cr_assert_eq(read_day(&error), TKS_EDAYFILE);
  expect_seqs(3, (uint64_t[]){1, 2, 6});
  cr_assert_eq(out.bad_lines, 7);
  cr_assert_eq(out.first_bad, 2);
  cr_assert_not_null(strstr(error.message, "7 lines"), "%s", error.message);
  tks__json_day_free(&out);
}

Test(json_day, lines_may_lie_across_any_border) {
  enum { MANY = 5000 };
  char *lines = malloc((MANY + 10) * 256);
  size_t length = 0;
  for (uint64_t seq = 1; seq <= MANY; seq++)
    length += make_line(lines + length, seq, T0 + (int64_t)seq, seq % 3 ? "OANDA" : "");
  add_text(lines, length);
  free(lines);
  cr_assert_eq(read_day(NULL), TKS_OK);
  cr_assert_eq(out.count, MANY);
  for (size_t i = 0; i < MANY; i++)
    if (out.records[i].seq != i + 1 || out.records[i].bid != (double)(i + 1)) cr_assert(false, "record %zu", i);
  tks__json_day_free(&out);
}

Test(json_day, refuses_what_is_not_a_file) {
  tks_error error;
  cr_assert_eq(symlink("/dev/zero", path), 0);
  cr_assert_eq(read_day(&error), TKS_EIO);
  cr_assert_eq(unlink(path), 0);
  cr_assert_eq(mkdir(path, 0777), 0);
  cr_assert_eq(read_day(&error), TKS_EIO);
  cr_assert_eq(rmdir(path), 0);
  symbol = 99;
  cr_assert_eq(read_day(&error), TKS_ESYMBOL);
}

Test(json_day, too_many_sources_is_an_error_of_its_own) {
  tks_error error;
  const char *names[] = {"A", "B", "C", "D"};
  for (int i = 0; i < 4; i++) add_line((uint64_t)i + 1, T0 + i, names[i]);
  cr_assert_eq(read_day(&error), TKS_ETABLEFULL);
  cr_assert_eq(out.count, 0);
}

static int faults_left;

static int fail_at_zero(tks__fs_op op, const char *p) {
  (void)op;
  (void)p;
  return faults_left-- == 0 ? EIO : 0;
}

Test(json_day, every_failure_is_reported) {
  for (uint64_t i = 1; i <= 500; i++) add_line(i, T0 + (int64_t)(i * 7 % 100), i % 2 ? "A" : "B");
  for (int memory = 0; memory < 2; memory++) {
    int rc = 1;
    for (int k = 0; rc != TKS_OK; k++) {
      faults_left = k;
      if (memory) fail_allocation((uint64_t)k);
      else atomic_store(&tks__fs_fault, fail_at_zero);
      rc = read_day(NULL);
      atomic_store(&tks__fs_fault, NULL);
      (void)allocations_work();
      cr_assert(rc == TKS_OK || rc == (memory ? TKS_ENOMEM : TKS_EIO), "%d", rc);
      cr_assert_eq(out.count, rc == TKS_OK ? 500 : 0);
      tks__json_day_free(&out);
    }
  }
}
