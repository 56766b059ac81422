#include "ingest/name_log.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/fs.h"
#include "base/memory.h"
#include "support/faults.h"
#include "support/random.h"
#include "support/scratch.h"
#include "support/stores.h"
#include "support/threads.h"

static char *dir;
static char path[PATH_MAX];
static const tks__log silent = {0};

static void set_up(void) {
  dir = scratch_new();
  (void)snprintf(path, sizeof path, "%s/1.names", dir);
}

static void tear_down(void) {
  atomic_store(&tks__fs_fault, NULL);
  (void)allocations_work();
  scratch_remove(dir);
}

TestSuite(name_log, .init = set_up, .fini = tear_down);

typedef struct tables {
  tks__names symbols, sources;
} tables;

static void tables_init(tables *t, uint32_t max) {
  cr_assert_eq(tks__names_init(&t->symbols, max), TKS_OK);
  cr_assert_eq(tks__names_init(&t->sources, max), TKS_OK);
}

static void tables_deinit(tables *t) {
  tks__names_deinit(&t->symbols);
  tks__names_deinit(&t->sources);
}

static uint32_t intern(tks__names *names, const char *text) {
  uint32_t id = 0;
  cr_assert_eq(tks__names_intern(names, text, strlen(text), &id), TKS_OK, "%s", text);
  return id;
}

static uint32_t intern_number(tks__names *names, const char *prefix, uint32_t n) {
  char text[TKS_NAME_MAX];
  (void)snprintf(text, sizeof text, "%s%u", prefix, n);
  return intern(names, text);
}

static void open_log(tks__name_log *log, tables *t) {
  cr_assert_eq(tks__name_log_init(log, path, &t->symbols, &t->sources, &silent), 0);
}

/* Whether id `id` of the session that wrote the file leads to the same name in new tables. */
static bool leads(const tks__id_map *map, int kind, uint32_t id, const tks__names *old, const tks__names *now) {
  const tks__name *a = tks__names_get(old, id), *b = tks__names_get(now, tks__id_map_get(map, kind, id));
  return a != NULL && b != NULL && a->length == b->length && memcmp(a->text, b->text, a->length) == 0;
}

/* How many of the session's names the file does not lead to. */
static uint32_t missing(tables *old) {
  tables now;
  tables_init(&now, 100000);
  (void)intern(&now.symbols, "something else");
  (void)intern(&now.sources, "elsewhere");
  tks__id_map map;
  cr_assert_eq(tks__name_log_read(path, &now.symbols, &now.sources, &map, NULL), TKS_OK);
  uint32_t count = 0;
  for (uint32_t id = 1; id <= tks__names_count(&old->symbols); id++)
    count += !leads(&map, TKS__NAMED_SYMBOL, id, &old->symbols, &now.symbols);
  for (uint32_t id = 1; id <= tks__names_count(&old->sources); id++)
    count += !leads(&map, TKS__NAMED_SOURCE, id, &old->sources, &now.sources);
  cr_assert_eq(tks__id_map_get(&map, TKS__NAMED_SYMBOL, 0), 0);
  cr_assert_eq(tks__id_map_get(&map, TKS__NAMED_SYMBOL, UINT32_MAX), 0);
  tks__id_map_free(&map);
  tables_deinit(&now);
  return count;
}

Test(name_log, a_name_is_in_the_file_before_its_id_is_known) {
  tables t;
  tables_init(&t, 1000);
  (void)intern(&t.symbols, "EURUSD"); /* before there is a file */
  (void)intern(&t.sources, "bank");
  tks__name_log log;
  open_log(&log, &t);
  cr_assert_eq(missing(&t), 0);
  for (uint32_t i = 0; i < 100; i++) {
    (void)intern_number(&t.symbols, "S", i);
    cr_assert_eq(missing(&t), 0);
    if (i % 7 == 0) (void)intern_number(&t.sources, "source of that name, ", i);
    cr_assert_eq(missing(&t), 0);
  }
  char longest[TKS_NAME_MAX];
  memset(longest, 'x', sizeof longest);
  uint32_t id;
  cr_assert_eq(tks__names_intern(&t.symbols, longest, sizeof longest, &id), TKS_OK);
  cr_assert_eq(missing(&t), 0);
  cr_assert_eq(tks__name_log_sync(&log), 0);
  tks__name_log_deinit(&log, false);
  cr_assert(path_exists(path));
  (void)intern(&t.symbols, "nobody listens any more");
  cr_assert_eq(missing(&t), 1);
  tables_deinit(&t);
}

Test(name_log, the_file_can_be_removed_and_deinit_repeated) {
  tables t;
  tables_init(&t, 10);
  tks__name_log log;
  open_log(&log, &t);
  tks__name_log second;
  cr_assert_eq(tks__name_log_init(&second, path, &t.symbols, &t.sources, &silent), EEXIST);
  cr_assert(path_exists(path));
  tks__name_log_deinit(&second, true);
  tks__name_log_deinit(&log, true);
  tks__name_log_deinit(&log, true);
  cr_assert_not(path_exists(path));
  tables_deinit(&t);
}

/* ------------------------------------------------------------------- failures */

static _Atomic int64_t countdown;
static _Atomic int failing_op, failing_errno = ENOSPC;
static int fail_at_zero(tks__fs_op op, const char *file) {
  (void)file;
  int only = atomic_load(&failing_op);
  if (only >= 0 && (int)op != only) return 0;
  return atomic_fetch_sub(&countdown, 1) == 0 ? atomic_load(&failing_errno) : 0;
}

static int fail_all(tks__fs_op op, const char *file) {
  (void)file;
  return (int)op == atomic_load(&failing_op) ? ENOSPC : 0;
}

Test(name_log, a_full_disk_keeps_nobody_from_interning_and_is_made_good) {
  tables t;
  tables_init(&t, 1000);
  tks__name_log log;
  open_log(&log, &t);
  (void)intern(&t.symbols, "before");
  atomic_store(&failing_op, TKS__FS_WRITE);
  atomic_store(&tks__fs_fault, fail_all);
  cr_assert_eq(intern(&t.symbols, "one"), 2);
  cr_assert_eq(intern(&t.sources, "bank"), 1);
  cr_assert_eq(tks__name_log_save(&log), ENOSPC);
  cr_assert_eq(tks__name_log_sync(&log), ENOSPC, "what is not in the file is not synced");
  cr_assert_eq(tks__names_kept(&t.symbols), 1, "what is not in the file may not be put");
  cr_assert_eq(tks__names_kept(&t.sources), 0);
  atomic_store(&tks__fs_fault, NULL);
  cr_assert_eq(missing(&t), 2);
  cr_assert_eq(intern(&t.symbols, "two"), 3, "the next one takes the others along");
  cr_assert_eq(missing(&t), 0);
  cr_assert_eq(tks__names_kept(&t.symbols), 3);
  cr_assert_eq(tks__names_kept(&t.sources), 1);
  cr_assert_eq(tks__name_log_sync(&log), 0);
  tks__name_log_deinit(&log, true);
  tables_deinit(&t);
}

/* What is in the file stays allowed, also while it is written again after a failed sync. */
Test(name_log, what_was_kept_once_is_kept) {
  tables t;
  tables_init(&t, 1000);
  (void)intern(&t.symbols, "before there is a file");
  cr_assert_eq(tks__names_kept(&t.symbols), 1, "nobody asks for more than an id");
  tks__name_log log;
  open_log(&log, &t);
  (void)intern(&t.symbols, "another");
  atomic_store(&failing_op, TKS__FS_SYNC);
  atomic_store(&tks__fs_fault, fail_all);
  cr_assert_eq(tks__name_log_sync(&log), ENOSPC);
  atomic_store(&failing_op, TKS__FS_WRITE);
  cr_assert_eq(tks__name_log_save(&log), ENOSPC);
  cr_assert_eq(tks__names_kept(&t.symbols), 2);
  (void)intern(&t.symbols, "new");
  cr_assert_eq(tks__names_kept(&t.symbols), 2);
  atomic_store(&tks__fs_fault, NULL);
  cr_assert_eq(tks__name_log_save(&log), 0);
  cr_assert_eq(tks__names_kept(&t.symbols), 3);
  atomic_store(&tks__fs_fault, fail_all);
  (void)intern(&t.symbols, "the last");
  tks__name_log_deinit(&log, true);
  cr_assert_eq(tks__names_kept(&t.symbols), 4, "nobody listens any more");
  tables_deinit(&t);
}

static int64_t blocks_bytes(void) {
  struct stat st;
  cr_assert_eq(stat(path, &st), 0);
  return (int64_t)st.st_blocks * 512;
}

/* A full disk is met when the room is used up, and not by each new name. */
Test(name_log, the_file_has_room_ahead) {
  tables t;
  tables_init(&t, 20000);
  tks__name_log log;
  open_log(&log, &t);
  cr_assert_geq(blocks_bytes(), 64 << 10);
  atomic_store(&failing_op, TKS__FS_ALLOCATE);
  atomic_store(&tks__fs_fault, fail_all);
  for (uint32_t i = 0; i < 400; i++) (void)intern_number(&t.symbols, "S", i);
  struct stat st;
  cr_assert_eq(stat(path, &st), 0);
  cr_assert_eq(st.st_size, 64 << 10, "within what was there from the beginning");
  for (uint32_t i = 400; i < 500; i++) (void)intern_number(&t.symbols, "S", i);
  cr_assert_eq(missing(&t), 0, "without room ahead there may still be some");
  cr_assert_eq(tks__names_kept(&t.symbols), 500);
  atomic_store(&tks__fs_fault, NULL);
  for (uint32_t i = 500; i < 10000; i++) {
    (void)intern_number(&t.symbols, "S", i);
    cr_assert_geq(blocks_bytes(), (2 * (int64_t)(i + 1) - 1) * 80);
  }
  cr_assert_leq(blocks_bytes(), 10000 * 2 * 80 * 2 + (64 << 10));
  (void)intern(&t.sources, "the first");
  cr_assert_eq(missing(&t), 0);
  tks__name_log_deinit(&log, true);
  tables_deinit(&t);
}

static _Atomic int syncs, writes;
static int count_ops(tks__fs_op op, const char *file) {
  (void)file;
  if (op == TKS__FS_SYNC) atomic_fetch_add(&syncs, 1);
  if (op == TKS__FS_WRITE) atomic_fetch_add(&writes, 1);
  return 0;
}

Test(name_log, syncs_only_what_is_new_and_writes_all_again_after_a_failed_one) {
  tables t;
  tables_init(&t, 1000);
  tks__name_log log;
  open_log(&log, &t);
  for (uint32_t i = 0; i < 5; i++) {
    (void)intern_number(&t.symbols, "S", i);
    (void)intern_number(&t.sources, "from ", i);
  }
  atomic_store(&tks__fs_fault, count_ops);
  cr_assert_eq(tks__name_log_sync(&log), 0);
  cr_assert_eq(syncs, 1);
  cr_assert_eq(tks__name_log_sync(&log), 0);
  cr_assert_eq(syncs, 1);
  cr_assert_eq(writes, 0);
  (void)intern(&t.symbols, "new");
  atomic_store(&failing_op, TKS__FS_SYNC);
  atomic_store(&tks__fs_fault, fail_all);
  cr_assert_eq(tks__name_log_sync(&log), ENOSPC);
  atomic_store(&writes, 0);
  atomic_store(&tks__fs_fault, count_ops);
  cr_assert_eq(tks__name_log_sync(&log), 0);
  cr_assert_eq(writes, 11, "the system may have given up what the failed sync was to write");
  cr_assert_eq(syncs, 2);
  cr_assert_eq(missing(&t), 0);
  tks__name_log_deinit(&log, true);
  tables_deinit(&t);
}

/* The process may be killed while it writes all again after a failed sync: at no moment does a name lack. */
Test(name_log, writing_all_again_leaves_no_name_out_at_any_moment) {
  for (int64_t killed_at = 0; killed_at < 20; killed_at++) {
    tables t;
    tables_init(&t, 1000);
    tks__name_log log;
    open_log(&log, &t);
    for (uint32_t i = 0; i < 6; i++) { /* sources between symbols */
      (void)intern_number(&t.symbols, "S", i);
      if (i % 2 == 0) (void)intern_number(&t.sources, "from ", i);
    }
    atomic_store(&failing_op, TKS__FS_SYNC);
    atomic_store(&tks__fs_fault, fail_all);
    cr_assert_eq(tks__name_log_sync(&log), ENOSPC);
    atomic_store(&failing_op, TKS__FS_WRITE);
    atomic_store(&countdown, killed_at);
    atomic_store(&tks__fs_fault, fail_at_zero);
    (void)tks__name_log_save(&log); /* goes no further than the call that fails */
    atomic_store(&tks__fs_fault, NULL);
    cr_assert_eq(missing(&t), 0, "after %lld writes", (long long)killed_at);
    tks__name_log_deinit(&log, true);
    tables_deinit(&t);
  }
}

Test(name_log, a_failed_start_leaves_nothing) {
  for (int memory = 0; memory < 2; memory++) {
    for (int64_t n = 0;; n++) {
      tables t;
      tables_init(&t, 1000);
      (void)intern(&t.symbols, "EURUSD");
      (void)intern(&t.sources, "bank");
      atomic_store(&countdown, n);
      atomic_store(&failing_op, -1);
      if (memory) fail_allocation((uint64_t)n);
      else atomic_store(&tks__fs_fault, fail_at_zero);
      tks__name_log log;
      int rc = tks__name_log_init(&log, path, &t.symbols, &t.sources, &silent);
      atomic_store(&tks__fs_fault, NULL);
      bool failed = memory ? allocations_work() : atomic_load(&countdown) < 0;
      if (!failed) {
        cr_assert_eq(rc, 0);
        cr_assert_gt(n, 0);
        tks__name_log_deinit(&log, true);
        tables_deinit(&t);
        break;
      }
      cr_assert_eq(rc, memory ? ENOMEM : ENOSPC);
      cr_assert_not(path_exists(path));
      (void)intern(&t.symbols, "and is not called");
      tables_deinit(&t);
    }
  }
}

/* ------------------------------------------------------------------- reading */

static char *written_file(tables *t, size_t *length) {
  tks__name_log log;
  open_log(&log, t);
  for (uint32_t i = 0; i < 20; i++) {
    (void)intern_number(&t->symbols, "S", i);
    (void)intern_number(&t->sources, "from ", i);
  }
  tks__name_log_deinit(&log, false);
  return read_file(path, length);
}

Test(name_log, a_damaged_or_missing_entry_costs_its_own_name_alone) {
  tables t;
  tables_init(&t, 1000);
  size_t length;
  char *bytes = written_file(&t, &length);
  cr_assert_gt(length, 40 * sizeof(tks__name_entry));
  for (size_t at = 40 * sizeof(tks__name_entry); at < length; at++) cr_assert_eq(bytes[at], 0);
  length = 40 * sizeof(tks__name_entry);
  for (size_t bit = 0; bit < 2 * sizeof(tks__name_entry) * 8; bit++) {
    size_t at = 10 * sizeof(tks__name_entry) + bit / 8;
    bytes[at] = (char)(bytes[at] ^ 1 << bit % 8);
    write_file(path, bytes, length);
    cr_assert_eq(missing(&t), 1, "bit %zu", bit);
    bytes[at] = (char)(bytes[at] ^ 1 << bit % 8);
  }
  memset(bytes + 10 * sizeof(tks__name_entry), 0, 4 * sizeof(tks__name_entry));
  write_file(path, bytes, length);
  cr_assert_eq(missing(&t), 4);
  for (size_t cut = 0; cut <= 3 * sizeof(tks__name_entry); cut += 16) {
    write_file(path, bytes, length - cut);
    cr_assert_eq(missing(&t), 4 + (cut + sizeof(tks__name_entry) - 1) / sizeof(tks__name_entry), "%zu bytes", cut);
  }
  cr_assert_eq(unlink(path), 0);
  cr_assert_eq(missing(&t), 40);
  free(bytes);
  tables_deinit(&t);
}

static void write_entry(uint32_t id, int kind, size_t said, const char *text, size_t length) {
  tks__name_entry entry = {.id = id, .kind = (uint8_t)kind, .length = (uint8_t)said};
  memcpy(entry.text, text, length);
  entry.check = XXH3_64bits(&entry, offsetof(tks__name_entry, check));
  write_file(path, &entry, sizeof entry);
}

/* Entries whose checksum holds, written by somebody else. */
Test(name_log, entries_that_make_no_sense_are_left_out) {
  static const struct {
    uint32_t id;
    int kind;
    size_t said;
    const char *text;
  } bad[] = {
      {0, 0, 1, "a"},          {(1u << 24) + 1, 0, 1, "a"},
      {UINT32_MAX, 0, 1, "a"}, {1, 2, 1, "a"},
      {1, 255, 1, "a"},        {1, 0, 0, "a"},
      {1, 0, 255, "a"},        {1, 0, 65, "a"},
      {1, 0, 2, ".."},         {1, 1, 1, "\n"},
      {1, 0, 1, "\xff"},
  };
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    tables now;
    tables_init(&now, 10);
    tks__id_map map;
    write_entry(bad[i].id, bad[i].kind, bad[i].said, bad[i].text, strlen(bad[i].text));
    cr_assert_eq(tks__name_log_read(path, &now.symbols, &now.sources, &map, NULL), TKS_OK, "entry %zu", i);
    cr_assert_eq(tks__names_count(&now.symbols) + tks__names_count(&now.sources), 0, "entry %zu", i);
    for (int kind = 0; kind < TKS__NAMED_KINDS; kind++) cr_assert_eq(tks__id_map_get(&map, kind, 1), 0);
    tks__id_map_free(&map);
    tables_deinit(&now);
  }
}

Test(name_log, reading_fails_whole) {
  atomic_store(&failing_errno, EIO);
  tables t;
  tables_init(&t, 1000);
  size_t length;
  free(written_file(&t, &length));
  tables_deinit(&t);
  tks__id_map map;
  tks_error error;
  tables small;
  tables_init(&small, 19);
  cr_assert_eq(tks__name_log_read(path, &small.symbols, &small.sources, &map, &error), TKS_ETABLEFULL);
  cr_assert_not_null(strstr(error.message, "max_symbols"));
  tables_deinit(&small);
  for (int memory = 0; memory < 2; memory++) {
    for (int64_t n = 0;; n++) {
      tables now;
      tables_init(&now, 100);
      atomic_store(&countdown, n);
      atomic_store(&failing_op, -1);
      if (memory) fail_allocation((uint64_t)n);
      else atomic_store(&tks__fs_fault, fail_at_zero);
      int code = tks__name_log_read(path, &now.symbols, &now.sources, &map, NULL);
      atomic_store(&tks__fs_fault, NULL);
      bool failed = memory ? allocations_work() : atomic_load(&countdown) < 0;
      if (code == TKS_OK) tks__id_map_free(&map);
      tables_deinit(&now);
      cr_assert_eq(code, !failed ? TKS_OK : memory ? TKS_ENOMEM : TKS_EIO, "%lld", (long long)n);
      if (!failed) break;
    }
  }
  cr_assert_eq(unlink(path), 0);
  cr_assert_eq(mkfifo(path, 0600), 0);
  tables_init(&small, 10);
  cr_assert_eq(tks__name_log_read(path, &small.symbols, &small.sources, &map, NULL), TKS_EIO);
  tables_deinit(&small);
}

/* ------------------------------------------------------------------- threads */

typedef struct interner {
  tks__name_log *log;
  tables *t;
  uint32_t id;
} interner;

static void *intern_many(void *argument) {
  interner *i = argument;
  for (uint32_t n = 0; n < (uint32_t)rounds(2000); n++) {
    (void)intern_number(n % 3 == 0 ? &i->t->sources : &i->t->symbols, "N", n * 4 + (n % 2 == 0 ? i->id : 0));
    if (i->id == 0 && n % 16 == 0) (void)tks__name_log_sync(i->log);
  }
  return NULL;
}

static int fail_some_syncs(tks__fs_op op, const char *file) {
  (void)file;
  return op == TKS__FS_SYNC && atomic_fetch_add(&syncs, 1) % 3 == 0 ? EIO : 0;
}

Test(name_log, many_threads_intern_while_syncs_fail) {
  tables t;
  tables_init(&t, 100000);
  tks__name_log log;
  open_log(&log, &t);
  atomic_store(&tks__fs_fault, fail_some_syncs);
  interner interners[4];
  for (uint32_t i = 0; i < 4; i++) interners[i] = (interner){&log, &t, i};
  run_threads(intern_many, interners, 4, sizeof interners[0]);
  atomic_store(&tks__fs_fault, NULL);
  cr_assert_eq(tks__name_log_sync(&log), 0);
  cr_assert_eq(missing(&t), 0);
  tks__name_log_deinit(&log, true);
  tables_deinit(&t);
}
