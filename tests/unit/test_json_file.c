#include "persist/json_file.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
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
#include "persist/json_line.h"
#include "support/scratch.h"

static char *scratch;
static char path[4096];
static char logged[4][512];
static int log_count;
static int32_t log_level;

static void on_log(void *context, int32_t level, const char *message, size_t length) {
  (void)context;
  log_level = level;
  (void)snprintf(logged[log_count++ % 4], sizeof logged[0], "%.*s", (int)length, message);
}

static const tks__log test_log = {on_log, NULL, TKS_LOG_DEBUG};

static void set_up(void) {
  scratch = scratch_new();
  (void)snprintf(path, sizeof path, "%s/json/A/2026-01-19.jsonl", scratch);
}

static void tear_down(void) {
  atomic_store(&tks__fs_fault, NULL);
  scratch_remove(scratch);
}

TestSuite(json_file, .init = set_up, .fini = tear_down);

static size_t make_line(char *line, uint64_t seq) {
  tks__record r = {.ts_ns = INT64_C(1768823511897268500), .seq = seq, .bid = 1.08484, .ask = 1.08499};
  return tks__json_line_format(&r, "A", 1, "", 0, "default", line);
}

static int open_file(tks__json_file *f) { return tks__json_file_open(f, path, scratch, &test_log); }

static int sync_file(tks__json_file *f) { return tks__json_file_sync(f, path, scratch, &test_log); }

static int append_range(tks__json_file *f, uint64_t first, uint64_t last) {
  size_t capacity = (size_t)(last - first + 1) * TKS__JSON_LINE_MAX, length = 0;
  char *lines = malloc(capacity);
  for (uint64_t seq = first; seq <= last; seq++) length += make_line(lines + length, seq);
  int rc = tks__json_file_append(f, lines, length, last);
  free(lines);
  return rc;
}

/* The file holds the lines 1 to `last` and no byte more. */
static void expect_lines(uint64_t last) {
  char *bytes;
  size_t length, at = 0;
  cr_assert_eq(tks__fs_read_file(path, 1 << 28, &bytes, &length), 0);
  for (uint64_t seq = 1; seq <= last; seq++) {
    char line[TKS__JSON_LINE_MAX];
    size_t n = make_line(line, seq);
    if (length - at < n || memcmp(bytes + at, line, n) != 0) cr_assert(false, "line %d is wrong", (int)seq);
    at += n;
  }
  cr_assert_eq(at, length, "%zu bytes too many", length - at);
  tks__free(bytes);
}

static void write_raw(const char *bytes, size_t length) {
  FILE *f = fopen(path, "ab");
  cr_assert_not_null(f);
  cr_assert_eq(fwrite(bytes, 1, length, f), length);
  (void)fclose(f);
}

static void make_file(uint64_t last) {
  tks__json_file f;
  cr_assert_eq(open_file(&f), 0);
  if (last > 0) cr_assert_eq(append_range(&f, 1, last), 0);
  cr_assert_eq(sync_file(&f), 0);
  tks__json_file_close(&f);
}

static int64_t aside_size(int n) {
  char aside[4200];
  struct stat st;
  (void)snprintf(aside, sizeof aside, "%s.damaged-%d", path, n);
  return stat(aside, &st) == 0 ? st.st_size : -1;
}

Test(json_file, learns_its_end_again) {
  tks__json_file f;
  make_file(0);
  cr_assert_eq(open_file(&f), 0);
  cr_assert_eq(f.last_seq, 0);
  cr_assert_eq(append_range(&f, 1, 700), 0);
  cr_assert_eq(f.last_seq, 700);
  tks__json_file_close(&f);
  cr_assert_eq(open_file(&f), 0);
  cr_assert_eq(f.last_seq, 700);
  cr_assert_eq(f.synced, f.length);
  cr_assert_eq(append_range(&f, 701, 702), 0);
  tks__json_file_close(&f);
  expect_lines(702);
  cr_assert_eq(log_count, 0);
}

/* Every length at which a crash can cut the last line, in a small file and in one of several windows. */
Test(json_file, cuts_what_a_crash_left) {
  char line[TKS__JSON_LINE_MAX];
  size_t length = make_line(line, 701);
  for (uint64_t last = 0; last <= 700; last += 700) {
    make_file(last);
    for (size_t n = 1; n < length; n++) {
      tks__json_file f;
      write_raw(line, n);
      log_count = 0;
      cr_assert_eq(open_file(&f), 0);
      cr_assert_eq(f.last_seq, last, "%zu bytes of a line", n);
      cr_assert_eq(log_count, 1);
      cr_assert_eq(log_level, TKS_LOG_WARN);
      char want[64];
      (void)snprintf(want, sizeof want, "cut %zu bytes", n);
      cr_assert_not_null(strstr(logged[0], want), "%s", logged[0]);
      tks__json_file_close(&f);
    }
    expect_lines(last);
  }
  cr_assert_eq(aside_size(1), -1);
}

Test(json_file, keeps_aside_whole_lines_that_cannot_be_read) {
  tks__json_file f;
  make_file(3);
  write_raw("{\"not\":\"ours\"}\n\n{\"cut", 20);
  cr_assert_eq(open_file(&f), 0);
  cr_assert_eq(f.last_seq, 3);
  cr_assert_not_null(strstr(logged[0], ".damaged-1"), "%s", logged[0]);
  tks__json_file_close(&f);
  expect_lines(3);
  cr_assert_eq(aside_size(1), 20);
  /* A long line, one longer than a window, NULs as a lost block leaves them, and many short lines. */
  enum { JUNK = 100000 };
  char *junk = calloc(1, JUNK);
  for (int kind = 0; kind < 4; kind++) {
    if (kind == 1) memset(junk, 'x', JUNK);
    if (kind == 2) memset(junk, '\n', JUNK);
    if (kind == 3)
      for (int i = 0; i < JUNK; i++) junk[i] = i % 5000 == 4999 ? '\n' : '{';
    junk[JUNK - 1] = '\n';
    write_raw(junk, JUNK);
    cr_assert_eq(open_file(&f), 0);
    cr_assert_eq(f.last_seq, 3);
    tks__json_file_close(&f);
    expect_lines(3);
    cr_assert_eq(aside_size(kind + 2), JUNK);
  }
  free(junk);
}

/* A power loss: zeros from some byte to some other, with whole lines behind them. */
Test(json_file, recovery_cuts_at_the_first_hole) {
  char line[TKS__JSON_LINE_MAX];
  size_t length = make_line(line, 1);
  for (size_t from = 0; from < 3 * length; from += 7) {
    (void)unlink(path);
    make_file(9); /* all of one length */
    int fd = open(path, O_RDWR);
    cr_assert_geq(fd, 0);
    char zeros[100] = {0};
    cr_assert_eq(pwrite(fd, zeros, sizeof zeros, (off_t)(5 * length + from)), sizeof zeros);
    (void)close(fd);
    cr_assert_eq(tks__json_file_recover(path, &test_log), 0);
    tks__json_file f;
    cr_assert_eq(open_file(&f), 0);
    cr_assert_eq(f.last_seq, 5 + from / length);
    tks__json_file_close(&f);
    expect_lines(5 + from / length);
  }
  cr_assert_eq(aside_size(1), -1, "not damage");
  cr_assert_eq(tks__json_file_recover("/nowhere/at/all", &test_log), ENOENT);
}

static int fail_syncs(tks__fs_op op, const char *p) {
  (void)p;
  return op == TKS__FS_SYNC ? EIO : 0;
}

/* A crash may have left whole lines that no sync has reached: they are not made good before one has. */
Test(json_file, recovery_is_over_when_the_lines_are_synced) {
  make_file(9);
  atomic_store(&tks__fs_fault, fail_syncs);
  cr_assert_eq(tks__json_file_recover(path, &test_log), EIO);
  atomic_store(&tks__fs_fault, NULL);
  cr_assert_eq(tks__json_file_recover(path, &test_log), 0);
  expect_lines(9);
}

static int faults_left;
static bool fault_hit;

static int fail_at_zero(tks__fs_op op, const char *p) {
  (void)op;
  (void)p;
  if (faults_left-- != 0) return 0;
  fault_hit = true;
  return EIO;
}

Test(json_file, a_failed_opening_changes_nothing_that_is_good) {
  for (int junk = 0; junk < 3; junk++) {
    scratch_clear(scratch);
    if (junk > 0) {
      make_file(5);
      write_raw(junk == 1 ? "{\"broker" : "junk\njunk", 8);
    }
    for (int k = 0;; k++) {
      tks__json_file f;
      faults_left = k;
      fault_hit = false;
      atomic_store(&tks__fs_fault, fail_at_zero);
      int rc = open_file(&f);
      atomic_store(&tks__fs_fault, NULL);
      cr_assert_eq(rc == 0, !fault_hit);
      if (rc != 0) continue;
      cr_assert_eq(f.last_seq, junk > 0 ? 5 : 0);
      tks__json_file_close(&f);
      expect_lines(junk > 0 ? 5 : 0);
      cr_assert_gt(k, 2);
      break;
    }
    cr_assert_eq(aside_size(1), junk == 2 ? 8 : -1);
    cr_assert_eq(aside_size(2), -1, "failed attempts leave no copies");
  }
}

Test(json_file, refuses_what_is_not_a_file) {
  tks__json_file f;
  make_file(1);
  cr_assert_eq(unlink(path), 0);
  cr_assert_eq(symlink("/nowhere", path), 0);
  cr_assert_eq(open_file(&f), ELOOP);
  cr_assert_eq(unlink(path), 0);
  cr_assert_eq(mkdir(path, 0777), 0);
  cr_assert_eq(open_file(&f), EISDIR);
  cr_assert_eq(rmdir(path), 0);
  cr_assert_eq(mkfifo(path, 0666), 0);
  cr_assert_eq(open_file(&f), ENOTSUP);
  cr_assert_eq(tks__json_file_recover(path, &test_log), 0, "no line of ours is in it");
}

Test(json_file, a_failed_recovery_is_made_again) {
  for (int k = 0;; k++) {
    scratch_clear(scratch);
    make_file(5);
    write_raw("{\"broker", 8);
    faults_left = k;
    fault_hit = false;
    atomic_store(&tks__fs_fault, fail_at_zero);
    int rc = tks__json_file_recover(path, &test_log);
    atomic_store(&tks__fs_fault, NULL);
    cr_assert_eq(rc, fault_hit ? EIO : 0);
    cr_assert_eq(tks__json_file_recover(path, &test_log), 0);
    expect_lines(5);
    if (rc == 0) {
      cr_assert_gt(k, 3);
      break;
    }
  }
}

static int cut_before_reading(tks__fs_op op, const char *p) {
  if (op != TKS__FS_READ || p != NULL) return 0;
  atomic_store(&tks__fs_fault, NULL);
  return truncate(path, 100) == 0 ? 0 : EBADF;
}

/* Nobody else has any business with it. */
Test(json_file, a_file_that_gets_shorter_while_it_is_read) {
  tks__json_file f;
  make_file(10);
  atomic_store(&tks__fs_fault, cut_before_reading);
  cr_assert_eq(open_file(&f), EIO);
  cr_assert_eq(open_file(&f), 0, "as it is now");
  cr_assert_eq(f.last_seq, 0);
  tks__json_file_close(&f);
}

static tks__fs_op failing;
static int failures;
static int writes;

static int fail_kind(tks__fs_op op, const char *p) {
  if (p != NULL) return 0;
  writes += op == TKS__FS_WRITE;
  if (op != failing || failures <= 0) return 0;
  failures--;
  return EIO;
}

/* The kernel writes the first part and refuses the rest, as on a full disk. */
Test(json_file, takes_back_a_write_that_was_cut_short) {
  tks__json_file f;
  (void)signal(SIGXFSZ, SIG_IGN);
  cr_assert_eq(open_file(&f), 0);
  cr_assert_eq(append_range(&f, 1, 10), 0);
  struct rlimit limit = {(rlim_t)f.length + 100, RLIM_INFINITY}, none = {RLIM_INFINITY, RLIM_INFINITY};
  cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
  cr_assert_eq(append_range(&f, 11, 20), EFBIG);
  expect_lines(10);
  /* The same when it cannot be taken back at once: until the next call readers see lines and the start of one. */
  failing = TKS__FS_TRUNCATE;
  failures = 1;
  atomic_store(&tks__fs_fault, fail_kind);
  cr_assert_eq(append_range(&f, 11, 20), EFBIG);
  cr_assert(f.torn);
  cr_assert_eq(f.last_seq, 10);
  failures = 1;
  cr_assert_eq(append_range(&f, 11, 20), EIO, "not behind a torn line");
  cr_assert_eq(setrlimit(RLIMIT_FSIZE, &none), 0);
  cr_assert_eq(append_range(&f, 11, 20), 0);
  expect_lines(20);
  tks__json_file_close(&f);
}

Test(json_file, a_failed_sync_is_never_taken_back_by_another) {
  tks__json_file f;
  make_file(10);
  cr_assert_eq(open_file(&f), 0);
  cr_assert_eq(append_range(&f, 11, 700), 0);
  failing = TKS__FS_SYNC;
  failures = 1;
  atomic_store(&tks__fs_fault, fail_kind);
  writes = 0;
  cr_assert_eq(sync_file(&f), EIO);
  cr_assert_gt(writes, 0, "the lines are written anew, or the next sync would have nothing to do");
  cr_assert_not(f.suspect);
  cr_assert_not(f.lost);
  cr_assert_lt(f.synced, f.length);
  cr_assert_eq(f.last_seq, 700);
  cr_assert_eq(sync_file(&f), 0);
  cr_assert_eq(f.synced, f.length);
  expect_lines(700);
  /* When even that fails the file stays suspect, until it succeeds. */
  cr_assert_eq(append_range(&f, 701, 710), 0);
  failing = TKS__FS_SYNC;
  failures = 1;
  atomic_store(&tks__fs_fault, fail_kind);
  cr_assert_eq(sync_file(&f), EIO);
  f.suspect = true;
  failing = TKS__FS_READ;
  failures = 2;
  cr_assert_eq(sync_file(&f), EIO);
  cr_assert_eq(f.fd, -1);
  tks__json_file_close(&f); /* as often as anybody likes */
  cr_assert(f.suspect);
  cr_assert_eq(tks__json_file_restore(&f, path, scratch, &test_log), EIO);
  cr_assert_eq(sync_file(&f), 0);
  cr_assert_eq(f.last_seq, 710);
  tks__json_file_close(&f);
  expect_lines(710);
}

static int zero_a_block_and_fail(tks__fs_op op, const char *p) {
  if (op != TKS__FS_SYNC || p != NULL) return 0;
  atomic_store(&tks__fs_fault, NULL);
  char zeros[3 * 8 * TKS__JSON_LINE_MAX] = {0}; /* more than it looks at in one piece */
  FILE *file = fopen(path, "r+b");
  (void)fseek(file, 8192, SEEK_SET);
  (void)fwrite(zeros, 1, sizeof zeros, file);
  (void)fclose(file);
  return EIO;
}

static int cut_and_fail(tks__fs_op op, const char *p) {
  if (op != TKS__FS_SYNC || p != NULL) return 0;
  atomic_store(&tks__fs_fault, NULL);
  (void)!truncate(path, 5000);
  return EIO;
}

/* Some file systems drop the pages that could not be written. */
Test(json_file, notices_lines_lost_by_a_failed_sync) {
  for (int kind = 0; kind < 2; kind++) {
    scratch_clear(scratch);
    tks__json_file f;
    make_file(10);
    cr_assert_eq(open_file(&f), 0);
    cr_assert_eq(append_range(&f, 11, 700), 0);
    log_count = 0;
    atomic_store(&tks__fs_fault, kind ? cut_and_fail : zero_a_block_and_fail);
    cr_assert_eq(sync_file(&f), EIO);
    cr_assert(f.lost);
    cr_assert_eq(log_level, TKS_LOG_ERROR);
    cr_assert_eq(append_range(&f, 701, 710), 0);
    failing = TKS__FS_SYNC;
    failures = 1;
    atomic_store(&tks__fs_fault, fail_kind);
    cr_assert_eq(sync_file(&f), EIO);
    cr_assert(f.lost, "a further failure that costs nothing does not bring them back");
    tks__json_file_close(&f);
  }
}
