#include "persist/json_sink.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/memory.h"
#include "base/utc.h"
#include "persist/json_day.h"
#include "support/faults.h"
#include "support/random.h"
#include "support/records.h"
#include "support/scratch.h"

#define NOON (INT64_C(1768824000) * TKS__NS_PER_S) /* 2026-01-19T12:00:00Z */
#define MANY_SYMBOLS 200

static char *scratch;
static tks__layout layout;
static tks__names symbols, sources;
static tks__sink *sink;
static tks_error error;
static int warnings;

static void on_log(void *context, int32_t level, const char *message, size_t length) {
  (void)context;
  (void)message;
  (void)length;
  warnings += level >= TKS_LOG_WARN;
}

static const tks__log test_log = {on_log, NULL, TKS_LOG_INFO};

static uint64_t first_seq = 1;

static void open_sink_idle(uint32_t late_close_s) {
  const tks__json_sink_options options = {
      .layout = &layout,
      .symbols = &symbols,
      .sources = &sources,
      .log = &test_log,
      .broker_id = "bro\"ker",
      .first_seq = first_seq,
      .late_close_s = late_close_s,
  };
  sink = tks__json_sink_new(&options);
  cr_assert_not_null(sink);
}

static void open_sink(void) { open_sink_idle(300); }

/* Leaves room for 64 files. */
static void open_narrow_sink(void) {
  struct rlimit limit;
  cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
  rlim_t usual = limit.rlim_cur;
  limit.rlim_cur = 256;
  cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
  open_sink();
  limit.rlim_cur = usual;
  cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static int close_sink(void) {
  int rc = sink->ops->close(sink, &error);
  sink = NULL;
  return rc;
}

static void set_up(void) {
  scratch = scratch_new();
  cr_assert(tks__layout_init(&layout, scratch, strlen(scratch)));
  cr_assert_eq(tks__names_init(&symbols, MANY_SYMBOLS), TKS_OK);
  cr_assert_eq(tks__names_init(&sources, 10), TKS_OK);
  for (int i = 0; i < MANY_SYMBOLS; i++) {
    char name[16];
    uint32_t id;
    int n = snprintf(name, sizeof name, i == 1 ? "EUR/USD" : "SYM%d", i);
    cr_assert_eq(tks__names_intern(&symbols, name, (size_t)n, &id), TKS_OK);
  }
  uint32_t id;
  cr_assert_eq(tks__names_intern(&sources, "OANDA", 5, &id), TKS_OK);
}

static void tear_down(void) {
  atomic_store(&tks__fs_fault, NULL);
  (void)allocations_work();
  if (sink != NULL) (void)close_sink();
  tks__names_deinit(&symbols);
  tks__names_deinit(&sources);
  scratch_remove(scratch);
}

TestSuite(json_sink, .init = set_up, .fini = tear_down);

/* ---------------------------------------------------------------- records */

/* Records with the numbers first.., spread over `symbol_count` symbols and the two days around midnight. */
static record_list *make_list(uint64_t first, size_t count, uint32_t symbol_count) {
  record_list *list = record_list_new(count);
  for (size_t i = 0; i < count; i++) {
    uint64_t seq = first + i;
    list->records[i] = (tks__record){.ts_ns = NOON + (seq % 7 < 5 ? 0 : TKS__NS_PER_DAY) + (int64_t)seq,
                                     .seq = seq,
                                     .bid = (double)seq / 100,
                                     .ask = seq % 11 == 0 ? (double)NAN : (double)seq / 100 + 0.01,
                                     .symbol = (uint32_t)(seq % symbol_count) + 1,
                                     .source = (uint32_t)(seq % 2),
                                     .recv_ns = (int64_t)seq};
  }
  return list;
}

static int write_lists(record_list *const *lists, size_t count) {
  return record_lists_write(sink, lists, count, &error);
}

static int write_one(record_list *list) { return write_lists(&list, 1); }

static int sync_sink(void) { return sink->ops->sync(sink, &error); }

static bool *found;
static uint64_t found_max;

static void note_record(const tks__record *r) {
  cr_assert_leq(r->seq, found_max);
  if (found[r->seq]) cr_assert(false, "sequence number %d is there twice", (int)r->seq);
  found[r->seq] = true;
  bool same = r->bid == (double)r->seq / 100 && r->recv_ns == (int64_t)r->seq &&
              (r->source != 0) == (r->seq % 2 != 0) && isnan(r->ask) == (r->seq % 11 == 0);
  if (!same) cr_assert(false, "record %d came back different", (int)r->seq);
}

/* Reads without deduplication: json_day_read would hide what is doubled. */
static void count_lines(const char *path, size_t *lines) {
  char *bytes;
  size_t length;
  cr_assert_eq(tks__fs_read_file(path, 1 << 28, &bytes, &length), 0);
  for (size_t i = 0; i < length; i++) *lines += bytes[i] == '\n';
  tks__free(bytes);
}

/* On disk are the records 1 to `last`, each exactly once, each in its file, and nothing else. */
static void expect_all(uint64_t last, uint32_t symbol_count) {
  found_max = last;
  found = calloc(last + 1, sizeof *found);
  size_t lines = 0, records = 0;
  for (uint32_t symbol = 1; symbol <= symbol_count; symbol++)
    for (int32_t day = tks__utc_day(NOON); day <= tks__utc_day(NOON) + 1; day++) {
      tks__json_day out;
      int rc = tks__json_day_read(&layout, &symbols, &sources, symbol, day, &out, &error);
      cr_assert_eq(rc, TKS_OK, "%s", error.message);
      for (size_t i = 0; i < out.count; i++) note_record(&out.records[i]);
      records += out.count;
      const tks__name *name = tks__names_get(&symbols, symbol);
      char path[TKS__PATH_MAX];
      tks__layout_json_file(&layout, name->text, name->length, day, path);
      if (out.count > 0) count_lines(path, &lines);
      tks__json_day_free(&out);
    }
  cr_assert_eq(records, last, "%zu records, not %d", records, (int)last);
  cr_assert_eq(lines, last, "%zu lines, not %d", lines, (int)last);
  free(found);
}

static uint64_t gauge(const _Atomic uint64_t *g) { return atomic_load(g); }

/* ------------------------------------------------------------------- tests */

Test(json_sink, writes_each_record_to_the_file_of_its_own_day) {
  open_sink();
  cr_assert_str_eq(sink->ops->name, "json");
  cr_assert_eq(sink->ops->id, TKS_JSON);
  cr_assert_not(sink->durable_on_write);
  record_list *lists[2] = {make_list(1, 500, 3), make_list(501, 250, 3)};
  cr_assert_eq(write_lists(lists, 2), TKS_OK);
  cr_assert_eq(write_lists(lists, 0), TKS_OK);
  cr_assert_eq(sync_sink(), TKS_OK);
  cr_assert_eq(gauge(&sink->gauges.open_files), 6);
  expect_all(750, 3);
  char path[4096];
  struct stat st;
  (void)snprintf(path, sizeof path, "%s/json/EUR%%2FUSD/2026-01-20.jsonl", scratch);
  cr_assert_eq(stat(path, &st), 0);
  cr_assert_eq(close_sink(), TKS_OK);
  expect_all(750, 3);
  free(lists[0]);
  free(lists[1]);
}

Test(json_sink, what_comes_again_is_written_once) {
  record_list *lists[3] = {make_list(1, 300, 5), make_list(301, 300, 5), make_list(601, 300, 5)};
  open_sink();
  for (size_t n = 1; n <= 3; n++) cr_assert_eq(write_lists(lists, n), TKS_OK);
  cr_assert_eq(warnings, 0, "a retry is nothing to be told");
  cr_assert_eq(close_sink(), TKS_OK);
  open_sink();
  cr_assert_eq(write_lists(lists, 3), TKS_OK);
  cr_assert_eq(close_sink(), TKS_OK);
  cr_assert_eq(warnings, 0, "nor is what an earlier sink was given");
  expect_all(900, 5);
  for (int i = 0; i < 3; i++) free(lists[i]);
}

static int write_count;

static int count_writes(tks__fs_op op, const char *path) {
  (void)path;
  write_count += op == TKS__FS_WRITE;
  return 0;
}

Test(json_sink, one_write_per_file_and_call) {
  record_list *list = make_list(1, 1000, 2);
  open_sink();
  cr_assert_eq(write_one(list), TKS_OK);
  free(list);
  list = make_list(1001, 1000, 2);
  atomic_store(&tks__fs_fault, count_writes);
  cr_assert_eq(write_one(list), TKS_OK);
  atomic_store(&tks__fs_fault, NULL);
  cr_assert_eq(write_count, 4, "two symbols, two days");
  free(list);
}

Test(json_sink, more_files_than_may_be_open) {
  open_narrow_sink();
  size_t count = 4 * MANY_SYMBOLS;
  record_list *first = make_list(1, count, MANY_SYMBOLS), *second = make_list(count + 1, count, MANY_SYMBOLS);
  record_list *both[2] = {first, second};
  cr_assert_eq(write_one(first), TKS_OK);
  cr_assert_leq(gauge(&sink->gauges.open_files), 64);
  cr_assert_eq(write_lists(both, 2), TKS_OK);
  cr_assert_eq(write_lists(both, 2), TKS_OK);
  cr_assert_eq(sync_sink(), TKS_OK);
  cr_assert_eq(warnings, 0);
  expect_all(2 * count, MANY_SYMBOLS);
  free(first);
  free(second);
}

Test(json_sink, makes_do_with_few_descriptors) {
  struct rlimit limit;
  int next = open("/dev/null", O_RDONLY);
  cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
  limit.rlim_cur = (rlim_t)next + 10;
  cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
  open_sink();
  record_list *list = make_list(1, 400, 100);
  cr_assert_eq(write_one(list), TKS_OK, "%s", error.message);
  cr_assert_eq(close_sink(), TKS_OK);
  expect_all(400, 100);
  free(list);
}

Test(json_sink, more_records_than_one_pass) {
  enum { MANY = 150000 };
  open_sink();
  record_list *lists[3] = {make_list(1, MANY, 3), make_list(MANY + 1, 0, 1), make_list(MANY + 1, 10, 3)};
  cr_assert_eq(write_lists(lists, 3), TKS_OK);
  cr_assert_eq(close_sink(), TKS_OK);
  expect_all(MANY + 10, 3);
  for (int i = 0; i < 3; i++) free(lists[i]);
}

Test(json_sink, one_sick_file_does_not_keep_the_others_from_being_written) {
  char path[TKS__PATH_MAX], dir[TKS__PATH_MAX];
  tks__layout_json_dir(&layout, "EUR/USD", 7, dir);
  tks__layout_json_file(&layout, "EUR/USD", 7, tks__utc_day(NOON), path);
  cr_assert_eq(tks__fs_mkdirs(dir, scratch), 0);
  cr_assert_eq(symlink("/nowhere/else", path), 0);
  open_sink();
  record_list *list = make_list(1, 100, 3);
  cr_assert_eq(write_one(list), TKS_EIO);
  cr_assert_not_null(strstr(error.message, "json/EUR%2FUSD/2026-01-19.jsonl: it is a symbolic link"), "%s",
                     error.message);
  tks__json_day out;
  cr_assert_eq(tks__json_day_read(&layout, &symbols, &sources, 3, tks__utc_day(NOON), &out, NULL), TKS_OK);
  cr_assert_gt(out.count, 0, "SYM2 is there");
  tks__json_day_free(&out);
  cr_assert_eq(unlink(path), 0);
  cr_assert_eq(mkdir(path, 0777), 0);
  cr_assert_eq(write_one(list), TKS_EIO);
  cr_assert_not_null(strstr(error.message, "it is not a regular file"), "%s", error.message);
  cr_assert_eq(rmdir(path), 0);
  cr_assert_eq(mkfifo(path, 0666), 0);
  error.message[0] = '\0';
  cr_assert_eq(write_one(list), TKS_EIO);
  cr_assert_not_null(strstr(error.message, "it is not a regular file"), "%s", error.message);
  cr_assert_eq(unlink(path), 0);
  cr_assert_eq(write_one(list), TKS_OK);
  cr_assert_eq(close_sink(), TKS_OK);
  expect_all(100, 3);
  free(list);
}

Test(json_sink, continues_behind_a_line_cut_by_a_crash) {
  record_list *first = make_list(1, 100, 2), *second = make_list(101, 100, 2);
  open_sink();
  cr_assert_eq(write_one(first), TKS_OK);
  cr_assert_eq(close_sink(), TKS_OK);
  char path[TKS__PATH_MAX];
  tks__layout_json_file(&layout, "SYM0", 4, tks__utc_day(NOON), path);
  FILE *f = fopen(path, "ab");
  (void)fputs("{\"broker_id\":\"default\",\"sym", f);
  (void)fclose(f);
  open_sink();
  cr_assert_eq(write_one(second), TKS_OK);
  cr_assert_eq(warnings, 1);
  cr_assert_eq(close_sink(), TKS_OK);
  expect_all(200, 2);
  free(first);
  free(second);
}

/* ------------------------------------------------------------- power losses */

static void make_hole(uint32_t symbol, int64_t ts_ns) {
  char path[TKS__PATH_MAX];
  const tks__name *name = tks__names_get(&symbols, symbol);
  tks__layout_json_file(&layout, name->text, name->length, tks__utc_day(ts_ns), path);
  int fd = open(path, O_RDWR);
  cr_assert_geq(fd, 0, "%s", path);
  cr_assert_eq(pwrite(fd, "\0\0\0", 3, 20), 3);
  (void)close(fd);
}

static bool days_are_noted(void) {
  char path[TKS__PATH_MAX];
  tks__layout_json_days(&layout, path);
  return access(path, F_OK) == 0;
}

/* The numbers below a file's last one are not there after a power loss: they must not be taken for stored. */
Test(json_sink, holes_are_filled_again) {
  record_list *batch = make_list(1, 400, 4);
  open_sink();
  cr_assert_eq(write_one(batch), TKS_OK);
  cr_assert(days_are_noted());
  tks__sink *crashed = sink;
  for (uint32_t symbol = 1; symbol <= 4; symbol += 2) make_hole(symbol, NOON);
  make_hole(2, NOON + TKS__NS_PER_DAY);
  open_sink();
  cr_assert_eq(write_one(batch), TKS_OK);
  cr_assert_eq(close_sink(), TKS_OK);
  cr_assert_not(days_are_noted());
  expect_all(400, 4);
  sink = crashed;
  cr_assert_eq(close_sink(), TKS_OK);
  free(batch);
}

static int refuse_file(tks__fs_op op, const char *path) {
  return op == TKS__FS_OPEN && path != NULL && strstr(path, "/SYM2/") != NULL ? EIO : 0;
}

/* Its day gets lines of another symbol meanwhile, and is closed. */
Test(json_sink, a_file_that_cannot_be_made_good_is_looked_at_again) {
  record_list *batch = make_list(1, 400, 4), *more = make_list(401, 7, 1);
  open_sink();
  cr_assert_eq(write_one(batch), TKS_OK);
  tks__sink *crashed = sink;
  make_hole(3, NOON);
  atomic_store(&tks__fs_fault, refuse_file);
  first_seq = 401;
  open_sink();
  cr_assert_eq(write_one(more), TKS_OK);
  cr_assert_eq(close_sink(), TKS_OK);
  cr_assert(days_are_noted());
  atomic_store(&tks__fs_fault, NULL);
  first_seq = 408;
  open_sink();
  cr_assert_eq(write_one(batch), TKS_OK);
  cr_assert_eq(close_sink(), TKS_OK);
  cr_assert_not(days_are_noted());
  expect_all(407, 4);
  sink = crashed;
  cr_assert_eq(close_sink(), TKS_OK);
  free(batch);
  free(more);
}

/* Days are noted on disk before their first line is; a note that fails fails the write. */
Test(json_sink, no_line_without_its_day_noted) {
  record_list *batch = make_list(1, 10, 1);
  char path[TKS__PATH_MAX];
  open_sink();
  tks__layout_json_days(&layout, path);
  cr_assert_eq(mkdir(path, 0700), 0); /* in its place */
  cr_assert_eq(write_one(batch), TKS_EIO);
  cr_assert_eq(rmdir(path), 0);
  cr_assert_eq(write_one(batch), TKS_OK);
  cr_assert(days_are_noted());
  cr_assert_eq(close_sink(), TKS_OK);
  expect_all(10, 1);
  free(batch);
}

/* ------------------------------------------------------------------ faults */

static int faults_left, fault_code = EIO;
static bool fault_hit;

static int fail_at_zero(tks__fs_op op, const char *path) {
  (void)op;
  (void)path;
  if (faults_left-- != 0) return 0;
  fault_hit = true;
  return fault_code;
}

/* One run: two writes and syncs, with files closed early if there are many symbols. The k-th call fails; each step is
 * tried until it succeeds, as the writer would. */
static bool run_with_fault(bool memory, int k, uint32_t symbol_count) {
  size_t count = symbol_count * 4;
  record_list *lists[2] = {make_list(1, count, symbol_count), make_list(count + 1, count, symbol_count)};
  open_narrow_sink();
  faults_left = k;
  fault_hit = false;
  if (memory) fail_allocation((uint64_t)k);
  else atomic_store(&tks__fs_fault, fail_at_zero);
  int failures = 0, rc;
  while ((rc = write_one(lists[0])) != TKS_OK) {
    cr_assert_eq(rc, memory ? TKS_ENOMEM : fault_code == ENOSPC ? TKS_EDISKFULL : TKS_EIO);
    cr_assert_gt(strlen(error.message), 10);
    cr_assert_lt(++failures, 3);
  }
  while (sync_sink() != TKS_OK) cr_assert_lt(++failures, 3);
  while (write_lists(lists, 2) != TKS_OK) cr_assert_lt(++failures, 3);
  while (sync_sink() != TKS_OK) cr_assert_lt(++failures, 3);
  atomic_store(&tks__fs_fault, NULL);
  bool hit = memory ? allocations_work() : fault_hit;
  cr_assert_leq(failures, hit, "one fault, one failure");
  cr_assert_eq(close_sink(), TKS_OK);
  expect_all(2 * count, symbol_count);
  cr_assert_eq(warnings, 0);
  free(lists[0]);
  free(lists[1]);
  scratch_clear(scratch);
  return hit;
}

Test(json_sink, every_failing_call_is_survived) {
  int k = 0;
  while (run_with_fault(false, k, 3)) k++;
  cr_assert_gt(k, 30);
  fault_code = ENOSPC;
  k = 0;
  while (run_with_fault(false, k, 3)) k++;
}

Test(json_sink, every_failing_call_is_survived_with_files_closed_early, .timeout = 300) {
  int k = 0;
  /* Not each of some thousands: small runs have tried each kind of call. */
  while (run_with_fault(false, k, 50)) k += 31;
  cr_assert_gt(k, 600);
}

Test(json_sink, every_failing_allocation_is_survived) {
  int k = 0;
  while (run_with_fault(true, k, 3)) k++;
  cr_assert_gt(k, 2);
  tks__json_sink_options options = {&layout, &symbols, &sources, &test_log, "b", 300};
  for (uint64_t i = 0; i < 3; i++) {
    fail_allocation(i);
    cr_assert_null(tks__json_sink_new(&options));
    cr_assert(allocations_work());
  }
}

/* Many faults of all kinds, also while failures are being mended, and sinks that give up in between. */
static test_random source;

static int fail_at_random(tks__fs_op op, const char *path) {
  (void)op;
  (void)path;
  return random_below(&source, 12) == 0 ? (random_below(&source, 2) ? EIO : ENOSPC) : 0;
}

Test(json_sink, random_faults_lose_and_double_nothing, .timeout = 300) {
  source = random_new();
  for (int round = 0; round < 25; round++) {
    uint64_t next = 1;
    size_t written = 0;
    record_list *lists[8];
    open_sink();
    for (size_t b = 0; b < 8; b++) {
      size_t count = random_below(&source, 300) + 1;
      lists[b] = make_list(next, count, 20);
      next += count;
      atomic_store(&tks__fs_fault, fail_at_random);
      int tries = 0;
      while (write_lists(lists + written, b + 1 - written) != TKS_OK)
        if (++tries == 200) atomic_store(&tks__fs_fault, NULL);
      atomic_store(&tks__fs_fault, fail_at_random);
      if (random_below(&source, 2)) (void)sync_sink();
      atomic_store(&tks__fs_fault, NULL);
      if (random_below(&source, 3)) written = b + 1;
      if (random_below(&source, 8) == 0) { /* a new session: what it is given again is not doubled */
        (void)close_sink();
        open_sink();
      }
    }
    cr_assert_eq(sync_sink(), TKS_OK, "%s", error.message);
    cr_assert_eq(close_sink(), TKS_OK);
    expect_all(next - 1, 20);
    for (size_t b = 0; b < 8; b++) free(lists[b]);
    scratch_clear(scratch);
  }
}

/* A real short write: the kernel takes a part of the lines and refuses the rest. */
Test(json_sink, a_full_disk_cuts_nothing_and_doubles_nothing) {
  (void)signal(SIGXFSZ, SIG_IGN);
  record_list *list = make_list(1, 300, 2);
  for (rlim_t bytes = 1; bytes < 12000; bytes += 997) {
    struct rlimit limit = {bytes, RLIM_INFINITY}, none = {RLIM_INFINITY, RLIM_INFINITY};
    open_sink();
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    cr_assert_neq(write_one(list), TKS_OK);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &none), 0);
    cr_assert_eq(write_one(list), TKS_OK);
    cr_assert_eq(close_sink(), TKS_OK);
    expect_all(300, 2);
    scratch_clear(scratch);
  }
  free(list);
}

static int syncs, sync_failures;

static int watch_syncs(tks__fs_op op, const char *path) {
  if (op != TKS__FS_SYNC || path != NULL) return 0;
  syncs++;
  if (sync_failures <= 0) return 0;
  sync_failures--;
  return EIO;
}

Test(json_sink, syncs_each_file_that_was_written_and_no_other) {
  record_list *list = make_list(1, 100, 3);
  open_sink();
  cr_assert_eq(write_one(list), TKS_OK);
  atomic_store(&tks__fs_fault, watch_syncs);
  cr_assert_eq(sync_sink(), TKS_OK);
  cr_assert_eq(syncs, 6);
  cr_assert_eq(sync_sink(), TKS_OK);
  cr_assert_eq(syncs, 6);
  free(list);
  list = make_list(101, 1, 3);
  cr_assert_eq(write_one(list), TKS_OK);
  sync_failures = 1;
  cr_assert_eq(sync_sink(), TKS_EIO);
  cr_assert_not_null(strstr(error.message, "cannot sync json/"), "%s", error.message);
  cr_assert_eq(sync_sink(), TKS_OK, "of lines that were written anew");
  cr_assert_eq(syncs, 8);
  free(list);
}

Test(json_sink, files_closed_early_are_synced_first) {
  record_list *list = make_list(1, 4 * MANY_SYMBOLS, MANY_SYMBOLS);
  open_narrow_sink();
  atomic_store(&tks__fs_fault, watch_syncs);
  cr_assert_eq(write_one(list), TKS_OK);
  cr_assert_eq(sync_sink(), TKS_OK);
  cr_assert_geq(syncs, MANY_SYMBOLS + 64);
  free(list);
}

static int lose_lines(tks__fs_op op, const char *path) {
  if (op != TKS__FS_SYNC || path != NULL) return 0;
  atomic_store(&tks__fs_fault, NULL);
  char file[TKS__PATH_MAX];
  tks__layout_json_file(&layout, "EUR/USD", 7, tks__utc_day(NOON), file);
  (void)!truncate(file, 100);
  return EIO;
}

Test(json_sink, lines_lost_by_a_failed_sync_are_written_again) {
  record_list *list = make_list(1, 20, 1);
  for (size_t i = 0; i < list->count; i++) {
    list->records[i].symbol = 2;
    list->records[i].ts_ns = NOON;
  }
  open_sink();
  cr_assert_eq(write_one(list), TKS_OK);
  atomic_store(&tks__fs_fault, lose_lines);
  cr_assert_eq(sync_sink(), TKS_EIO);
  cr_assert_eq(write_one(list), TKS_OK, "as the writer does after a failed sync");
  cr_assert_eq(sync_sink(), TKS_OK);
  cr_assert_eq(close_sink(), TKS_OK);
  tks__json_day day;
  cr_assert_eq(tks__json_day_read(&layout, &symbols, &sources, 2, tks__utc_day(NOON), &day, &error), TKS_OK);
  cr_assert_eq(day.count, 20);
  tks__json_day_free(&day);
  free(list);
}

/* ----------------------------------------------------------------- tending */

Test(json_sink, closes_past_days_when_they_are_idle) {
  record_list *list = make_list(1, 100, 3);
  open_sink_idle(0);
  cr_assert_eq(write_one(list), TKS_OK);
  cr_assert_eq(sink->ops->tend(sink, NOON, &error), TKS_OK);
  cr_assert_eq(gauge(&sink->gauges.open_files), 6, "neither day is over");
  cr_assert_eq(sink->ops->tend(sink, NOON + TKS__NS_PER_DAY, &error), TKS_OK);
  cr_assert_eq(gauge(&sink->gauges.open_files), 3);
  cr_assert_eq(gauge(&sink->gauges.rotations), 1, "a day is one rotation, however many files it has");
  cr_assert_eq(sink->ops->tend(sink, NOON + TKS__NS_PER_DAY, &error), TKS_OK);
  cr_assert_eq(gauge(&sink->gauges.rotations), 1);
  cr_assert_eq(sink->ops->tend(sink, NOON + 5 * TKS__NS_PER_DAY, &error), TKS_OK);
  cr_assert_eq(gauge(&sink->gauges.open_files), 0);
  cr_assert_eq(gauge(&sink->gauges.rotations), 2);
  cr_assert_eq(write_one(list), TKS_OK, "all of it is known from the files");
  cr_assert_eq(close_sink(), TKS_OK);
  expect_all(100, 3);
  free(list);
}

Test(json_sink, a_past_day_stays_open_for_late_records) {
  record_list *list = make_list(1, 100, 3);
  open_sink();
  cr_assert_eq(write_one(list), TKS_OK);
  cr_assert_eq(sink->ops->tend(sink, NOON + 9 * TKS__NS_PER_DAY, &error), TKS_OK);
  cr_assert_eq(gauge(&sink->gauges.open_files), 6);
  cr_assert_eq(gauge(&sink->gauges.rotations), 0);
  free(list);
}

Test(json_sink, a_day_is_not_sealed_before_it_is_synced) {
  record_list *list = make_list(1, 100, 3);
  open_sink_idle(0);
  cr_assert_eq(write_one(list), TKS_OK);
  sync_failures = 1;
  atomic_store(&tks__fs_fault, watch_syncs);
  cr_assert_eq(sink->ops->tend(sink, NOON + TKS__NS_PER_DAY, &error), TKS_EIO);
  cr_assert_eq(gauge(&sink->gauges.rotations), 0);
  cr_assert_eq(sink->ops->tend(sink, NOON + TKS__NS_PER_DAY, &error), TKS_OK);
  cr_assert_eq(gauge(&sink->gauges.rotations), 1);
  cr_assert_eq(close_sink(), TKS_OK);
  expect_all(100, 3);
  free(list);
}

/* After a crash the journal gives again what the sink may have, the first of it alone to begin with. */
Test(json_sink, what_an_earlier_session_wrote_may_come_again) {
  record_list *lists[3] = {make_list(1, 100, 3), make_list(101, 100, 3), make_list(201, 100, 3)};
  open_sink();
  cr_assert_eq(write_lists(lists, 2), TKS_OK);
  cr_assert_eq(close_sink(), TKS_OK);
  first_seq = 301;
  open_sink();
  for (int i = 0; i < 3; i++) cr_assert_eq(write_one(lists[i]), TKS_OK, "%s", error.message);
  cr_assert_eq(close_sink(), TKS_OK);
  expect_all(300, 3);
  for (int i = 0; i < 3; i++) free(lists[i]);
}

/* What a close could not sync counts as left by a crash. */
Test(json_sink, a_close_that_fails_keeps_the_days_noted) {
  record_list *list = make_list(1, 100, 3);
  open_sink();
  cr_assert_eq(write_one(list), TKS_OK);
  sync_failures = INT_MAX;
  atomic_store(&tks__fs_fault, watch_syncs);
  cr_assert_eq(close_sink(), TKS_EIO);
  atomic_store(&tks__fs_fault, NULL);
  cr_assert(days_are_noted());
  open_sink();
  cr_assert_eq(write_one(list), TKS_OK);
  cr_assert_eq(close_sink(), TKS_OK);
  cr_assert_not(days_are_noted());
  expect_all(100, 3);
  free(list);
}

static int fail_renames(tks__fs_op op, const char *path) {
  return op == TKS__FS_RENAME && strstr(path, ".jsonl") != NULL ? EACCES : 0;
}

/* Nothing is written behind what is not ours. */
Test(json_sink, a_file_of_another_store_that_cannot_be_moved_waits) {
  record_list *lists[2] = {make_list(1001, 100, 1), make_list(1, 100, 1)};
  open_sink();
  cr_assert_eq(write_one(lists[0]), TKS_OK);
  cr_assert_eq(close_sink(), TKS_OK);
  open_sink();
  atomic_store(&tks__fs_fault, fail_renames);
  cr_assert_eq(write_one(lists[1]), TKS_EIO);
  cr_assert_not_null(strstr(error.message, "set aside"), "%s", error.message);
  atomic_store(&tks__fs_fault, NULL);
  cr_assert_eq(write_one(lists[1]), TKS_OK);
  cr_assert_eq(close_sink(), TKS_OK);
  expect_all(100, 1);
  for (int i = 0; i < 2; i++) free(lists[i]);
}

/* What a copied file claims to hold must not pass for this store's own records. */
Test(json_sink, a_file_of_another_store_swallows_nothing) {
  record_list *lists[3] = {make_list(1001, 100, 1), make_list(1, 100, 1), make_list(101, 100, 1)};
  open_sink();
  cr_assert_eq(write_one(lists[0]), TKS_OK);
  cr_assert_eq(close_sink(), TKS_OK);
  open_sink();
  cr_assert_eq(write_one(lists[1]), TKS_OK);
  cr_assert_eq(write_one(lists[2]), TKS_OK);
  cr_assert_eq(close_sink(), TKS_OK);
  expect_all(200, 1);
  char path[TKS__PATH_MAX], aside[TKS__PATH_MAX + 16];
  tks__layout_json_file(&layout, "SYM0", 4, tks__utc_day(NOON), path);
  (void)snprintf(aside, sizeof aside, "%s.damaged-1", path);
  size_t lines = 0;
  count_lines(aside, &lines);
  cr_assert_gt(lines, 60);
  cr_assert_gt(warnings, 0);
  for (int i = 0; i < 3; i++) free(lists[i]);
}
