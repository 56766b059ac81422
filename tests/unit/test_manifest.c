#include "persist/manifest.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "support/faults.h"
#include "support/scratch.h"
#include "support/stores.h"

static char *scratch;
static char path[TKS__PATH_MAX];
static tks__layout layout;

static void set_up(void) {
  scratch = scratch_new();
  cr_assert(tks__layout_init(&layout, scratch, strlen(scratch)));
  tks__layout_manifest(&layout, path);
}

static void tear_down(void) {
  atomic_store(&tks__fs_fault, NULL);
  (void)allocations_work();
  scratch_remove(scratch);
}

TestSuite(manifest, .init = set_up, .fini = tear_down);

Test(manifest, a_new_one_has_an_id_of_its_own) {
  tks__manifest a, b;
  tks__manifest_init(&a, TKS_DUAL);
  tks__manifest_init(&b, TKS_SQLITE);
  cr_assert_eq(a.next_seq, 1);
  cr_assert_eq(a.backend, TKS_DUAL);
  cr_assert(a.clean);
  cr_assert_eq(strlen(a.store_id), 32);
  cr_assert_eq(strspn(a.store_id, "0123456789abcdef"), 32);
  cr_assert_str_neq(a.store_id, b.store_id);
}

Test(manifest, comes_back_as_written) {
  static const uint64_t seqs[] = {1, 132127, UINT64_C(1) << 32, UINT64_C(1) << 62};
  for (uint32_t backend = TKS_SQLITE; backend <= TKS_DUAL; backend++) {
    for (size_t i = 0; i < sizeof seqs / sizeof seqs[0]; i++) {
      tks__manifest written, read;
      bool missing = true;
      tks__manifest_init(&written, backend);
      written.next_seq = seqs[i];
      written.clean = i % 2 == 0;
      cr_assert_eq(tks__manifest_write(&layout, &written, NULL), TKS_OK);
      cr_assert_eq(tks__manifest_read(&layout, &read, &missing, NULL), TKS_OK);
      cr_assert_not(missing);
      cr_assert_eq(read.next_seq, seqs[i]);
      cr_assert_eq(read.backend, backend);
      cr_assert_eq(read.clean, written.clean);
      cr_assert_str_eq(read.store_id, written.store_id);
    }
  }
}

/* The format on disk is documented; other versions of the library must read it. */
Test(manifest, is_the_documented_json) {
  tks__manifest m = {.next_seq = 132127, .backend = TKS_SQLITE, .clean = true};
  memcpy(m.store_id, "0123456789abcdef0123456789abcdef", 33);
  cr_assert_eq(tks__manifest_write(&layout, &m, NULL), TKS_OK);
  size_t length;
  char *text = read_file(path, &length);
  static const char *const fields[] = {"{\"format\": 1, ", "\"store_id\": \"0123456789abcdef0123456789abcdef\"",
                                       "\"backend\": \"sqlite\"", "\"next_seq\": 132127", "\"clean\": true}\n"};
  for (size_t k = 0; k < sizeof fields / sizeof fields[0]; k++) cr_assert_not_null(strstr(text, fields[k]), "%s", text);
  cr_assert_eq(strlen(text), length);
  free(text);
}

Test(manifest, missing) {
  tks__manifest m;
  bool missing = false;
  tks_error error;
  cr_assert_eq(tks__manifest_read(&layout, &m, &missing, &error), TKS_ENOTSTORE);
  cr_assert(missing);
  cr_assert_not_null(strstr(error.message, scratch), "%s", error.message);
  /* A file where the store's directory should be. */
  write_file(path, "", 0);
  tks__layout below;
  cr_assert(tks__layout_init(&below, path, strlen(path)));
  missing = false;
  cr_assert_eq(tks__manifest_read(&below, &m, &missing, NULL), TKS_ENOTSTORE);
  cr_assert(missing);
}

#define ID "\"store_id\": \"0123456789abcdef0123456789abcdef\""

static int read_text(const char *text, size_t length, tks_error *error) {
  tks__manifest m;
  bool missing = true;
  write_file(path, text, length);
  int code = tks__manifest_read(&layout, &m, &missing, error);
  cr_assert_not(missing);
  return code;
}

Test(manifest, anything_else_is_no_store) {
  static const char *const texts[] = {
      "",
      "\n",
      "null",
      "{",
      "{}",
      "[]",
      "[1, 2]",
      "not json at all",
      "\xff\xfe\x00",
      "{" ID ", \"backend\": \"sqlite\", \"next_seq\": 5, \"clean\": true}",
      "{\"format\": 1, \"backend\": \"sqlite\", \"next_seq\": 5, \"clean\": true}",
      "{\"format\": 1, " ID ", \"next_seq\": 5, \"clean\": true}",
      "{\"format\": 1, " ID ", \"backend\": \"sqlite\", \"clean\": true}",
      "{\"format\": 1, " ID ", \"backend\": \"sqlite\", \"next_seq\": 5}",
      "{\"format\": 0, " ID ", \"backend\": \"sqlite\", \"next_seq\": 5, \"clean\": true}",
      "{\"format\": -1, " ID ", \"backend\": \"sqlite\", \"next_seq\": 5, \"clean\": true}",
      "{\"format\": \"1\", " ID ", \"backend\": \"sqlite\", \"next_seq\": 5, \"clean\": true}",
      "{\"format\": 1, " ID ", \"backend\": \"parquet\", \"next_seq\": 5, \"clean\": true}",
      "{\"format\": 1, " ID ", \"backend\": 1, \"next_seq\": 5, \"clean\": true}",
      "{\"format\": 1, " ID ", \"backend\": \"sqlite\", \"next_seq\": 0, \"clean\": true}",
      "{\"format\": 1, " ID ", \"backend\": \"sqlite\", \"next_seq\": -5, \"clean\": true}",
      "{\"format\": 1, " ID ", \"backend\": \"sqlite\", \"next_seq\": 5.5, \"clean\": true}",
      "{\"format\": 1, " ID ", \"backend\": \"sqlite\", \"next_seq\": 9223372036854775808, \"clean\": true}",
      "{\"format\": 1, " ID ", \"backend\": \"sqlite\", \"next_seq\": 5, \"clean\": 1}",
      /* Written back as it is, either of these would leave a store that cannot be opened again. */
      "{\"format\": 1, \"store_id\": \"\\\"123456789abcdef0123456789abcdef\", \"backend\": \"sqlite\", \"next_seq\": 5,"
      " \"clean\": true}",
      "{\"format\": 1, " ID ", \"backend\": \"sqlite\", \"next_seq\": 9223372036854775807, \"clean\": true}",
      "{\"format\": 1, \"store_id\": \"short\", \"backend\": \"sqlite\", \"next_seq\": 5, \"clean\": true}",
      "{\"format\": 1, " ID ", \"backend\": \"sqlite\", \"next_seq\": 5, \"next_seq\": 7, \"clean\": true}",
      "{\"format\": 1, " ID ", \"backend\": \"sqlite\", \"next_seq\": 5, \"clean\": true",
  };
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
    tks_error error;
    int code = read_text(texts[i], strlen(texts[i]), &error);
    cr_assert_eq(code, TKS_ENOTSTORE, "%s: %d", texts[i], code);
    cr_assert_not_null(strstr(error.message, "store.json"), "%s", error.message);
  }
  char *big = calloc(1, 1 << 20);
  cr_assert_neq(read_text(big, 1 << 20, NULL), TKS_OK);
  free(big);
}

Test(manifest, a_newer_format_is_told_apart_from_junk) {
  static const char *const texts[] = {
      "{\"format\": 2, " ID ", \"backend\": \"sqlite\", \"next_seq\": 5, \"clean\": true}",
      "{\"format\": 2}",
      "{\"format\": 9223372036854775807, \"whatever\": [1, 2, {}]}",
  };
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
    tks_error error;
    cr_assert_eq(read_text(texts[i], strlen(texts[i]), &error), TKS_EFORMAT, "%s", texts[i]);
    cr_assert_not_null(strstr(error.message, "format"), "%s", error.message);
  }
}

/* A later version of this format may add fields. */
Test(manifest, unknown_fields_are_fine) {
  static const char text[] =
      "\n {\"new\": {\"a\": [1]}, \"clean\": false, \"next_seq\": 5, \"backend\": \"dual\", " ID ", \"format\": 1} \n";
  cr_assert_eq(read_text(text, strlen(text), NULL), TKS_OK);
}

Test(manifest, what_is_not_a_file_is_an_error) {
  tks__manifest m;
  bool missing = true;
  cr_assert_eq(mkdir(path, 0777), 0);
  cr_assert_eq(tks__manifest_read(&layout, &m, &missing, NULL), TKS_EIO);
  cr_assert_not(missing);
  cr_assert_eq(rmdir(path), 0);
  cr_assert_eq(mkfifo(path, 0666), 0);
  cr_assert_eq(tks__manifest_read(&layout, &m, &missing, NULL), TKS_EIO);
}

static int countdown, with;

static int fail_at_zero(tks__fs_op op, const char *p) {
  (void)op;
  (void)p;
  return countdown-- == 0 ? with : 0;
}

/* Whatever fails, the file holds the old manifest or the new one. */
Test(manifest, every_failure_leaves_a_whole_file) {
  static const struct {
    int errnum, code;
  } faults[] = {{EIO, TKS_EIO}, {ENOSPC, TKS_EDISKFULL}, {EDQUOT, TKS_EDISKFULL}, {EACCES, TKS_EIO}};
  tks__manifest old, new, read;
  bool missing;
  tks__manifest_init(&old, TKS_SQLITE);
  for (size_t f = 0; f < sizeof faults / sizeof faults[0]; f++) {
    int code = -1, steps = 0;
    for (; code != TKS_OK; steps++) {
      tks_error error;
      cr_assert_eq(tks__manifest_write(&layout, &old, NULL), TKS_OK);
      new = old;
      new.next_seq = 99;
      countdown = steps;
      with = faults[f].errnum;
      atomic_store(&tks__fs_fault, fail_at_zero);
      code = tks__manifest_write(&layout, &new, &error);
      atomic_store(&tks__fs_fault, NULL);
      cr_assert(code == TKS_OK || code == faults[f].code, "%d", code);
      if (code != TKS_OK) {
        cr_assert_not_null(strstr(error.message, "store.json"), "%s", error.message);
        cr_assert_eq(error.detail, faults[f].errnum);
      }
      cr_assert_eq(tks__manifest_read(&layout, &read, &missing, NULL), TKS_OK);
      cr_assert(read.next_seq == 99 || (code != TKS_OK && read.next_seq == old.next_seq));
      cr_assert_str_eq(read.store_id, old.store_id);
    }
    cr_assert_geq(steps, 4);
  }
}

Test(manifest, every_failure_to_read_is_reported) {
  tks__manifest m;
  bool missing;
  tks__manifest_init(&m, TKS_SQLITE);
  cr_assert_eq(tks__manifest_write(&layout, &m, NULL), TKS_OK);
  int code = -1;
  for (int k = 0; code != TKS_OK; k++) {
    countdown = k;
    with = EIO;
    atomic_store(&tks__fs_fault, fail_at_zero);
    code = tks__manifest_read(&layout, &m, &missing, NULL);
    atomic_store(&tks__fs_fault, NULL);
    cr_assert(code == TKS_OK || (code == TKS_EIO && !missing), "%d", code);
  }
  fail_allocation(0);
  cr_assert_eq(tks__manifest_read(&layout, &m, &missing, NULL), TKS_ENOMEM);
  cr_assert(allocations_work());
}
