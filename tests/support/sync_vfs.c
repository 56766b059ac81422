#include "support/sync_vfs.h"

#include <sqlite3.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static sqlite3_vfs watching;
static sqlite3_vfs *real;
static _Atomic uint64_t wal_syncs, db_syncs;
static _Atomic uint64_t wal_failures;
static void (*when_gone)(void);
static _Atomic bool wal_is_gone;

/* The real VFS has a table of methods for each way of locking; each gets a copy with another xSync. */
enum { TABLES = 8 };
static const sqlite3_io_methods *originals[TABLES];
static sqlite3_io_methods patched[TABLES];

/* Behind the real VFS's own file: what kind of file it is. */
static int *flags_of(sqlite3_file *file) { return (int *)(void *)((char *)file + real->szOsFile); }

static int watched_sync(sqlite3_file *file, int how) {
  int i = 0;
  while (&patched[i] != file->pMethods) i++;
  if ((*flags_of(file) & SQLITE_OPEN_WAL) != 0) {
    atomic_fetch_add(&wal_syncs, 1);
    uint64_t left = atomic_load(&wal_failures);
    if (left > 0) {
      atomic_store(&wal_failures, left - 1);
      return SQLITE_IOERR_FSYNC;
    }
  } else if ((*flags_of(file) & SQLITE_OPEN_MAIN_DB) != 0) {
    atomic_fetch_add(&db_syncs, 1);
  }
  return originals[i]->xSync(file, how);
}

static int watched_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *flags_out) {
  (void)vfs;
  int rc = real->xOpen(real, name, file, flags, flags_out);
  *flags_of(file) = flags;
  if (file->pMethods == NULL) return rc;
  int i = 0;
  while (i < TABLES && originals[i] != NULL && originals[i] != file->pMethods) i++;
  if (i == TABLES) abort();
  if (originals[i] == NULL) {
    originals[i] = file->pMethods;
    patched[i] = *file->pMethods;
    patched[i].xSync = watched_sync;
  }
  file->pMethods = &patched[i];
  return rc;
}

static bool is_wal(const char *name) {
  size_t length = name == NULL ? 0 : strlen(name);
  return length > 4 && strcmp(name + length - 4, "-wal") == 0;
}

static int watched_delete(sqlite3_vfs *vfs, const char *name, int sync_directory) {
  (void)vfs;
  if (is_wal(name)) atomic_store(&wal_is_gone, true);
  return real->xDelete(real, name, sync_directory);
}

static int watched_access(sqlite3_vfs *vfs, const char *name, int flags, int *out) {
  (void)vfs;
  if (when_gone != NULL && is_wal(name) && atomic_exchange(&wal_is_gone, false)) {
    void (*call)(void) = when_gone;
    when_gone = NULL;
    call();
  }
  return real->xAccess(real, name, flags, out);
}

void sync_vfs_install(void) {
  if (real != NULL) return;
  real = sqlite3_vfs_find(NULL);
  watching = *real;
  watching.zName = "watching";
  watching.szOsFile = real->szOsFile + 16;
  watching.xOpen = watched_open;
  watching.xDelete = watched_delete;
  watching.xAccess = watched_access;
  if (sqlite3_vfs_register(&watching, 1) != SQLITE_OK) abort();
}

uint64_t sync_vfs_wal_syncs(void) { return atomic_load(&wal_syncs); }
uint64_t sync_vfs_db_syncs(void) { return atomic_load(&db_syncs); }
void sync_vfs_fail_wal(uint64_t count) { atomic_store(&wal_failures, count); }

void sync_vfs_when_wal_is_gone(void (*call)(void)) {
  atomic_store(&wal_is_gone, false);
  when_gone = call;
}
