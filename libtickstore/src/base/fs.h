/* fs.h - the narrow door to files and directories. Every call here that can fail can be made to fail by a test.
 *
 * Calls return 0 or a positive errno value; EINTR is handled inside. Files are opened with O_CLOEXEC. */
#ifndef TKS_BASE_FS_H
#define TKS_BASE_FS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

int tks__fs_open(const char *path, int flags, mode_t mode, int *fd);
int tks__fs_close(int fd);
int tks__fs_write_all(int fd, const void *bytes, size_t length, int64_t offset); /* pwrite until all is written */
int tks__fs_read_some(int fd, void *bytes, size_t length, int64_t offset, size_t *got); /* fewer only at the end */
int tks__fs_truncate(int fd, int64_t length);
int tks__fs_sync(int fd);        /* fdatasync */
void tks__fs_start_sync(int fd); /* a hint: when many files are to be synced, start all, then sync each */
int tks__fs_size(const char *path, int64_t *size);      /* ENOENT when it is not there */
int tks__fs_mkdirs(const char *path, const char *root); /* creates what is missing below `root`, syncing each parent */
int tks__fs_sync_dir_of(const char *path);              /* the directory that holds `path` */
int tks__fs_allocate(int fd, int64_t length);           /* gives the file blocks of its own for all of `length` */

/* A file mapped for reading and writing, shared. */
int tks__fs_map(int fd, size_t length, void **memory);
/* Any part of a mapping. Waits for the disk; the next use of that part maps it anew. */
int tks__fs_map_sync(void *memory, size_t length);
void tks__fs_unmap(void *memory, size_t length);

int tks__fs_rename(const char *from, const char *to);
int tks__fs_remove(const char *path);

/* Writes `path` so that after a crash it holds either the old bytes or the new: temporary file, sync, rename, sync. */
int tks__fs_replace(const char *path, const void *bytes, size_t length);

/* Reads a whole file of at most `limit` bytes into *bytes (tks__free, with a terminating 0 behind them). EFBIG beyond. */
int tks__fs_read_file(const char *path, size_t limit, char **bytes, size_t *length);

/* Names in a directory, sorted, without "." and "..". A directory that is not there has none. */
typedef struct tks__fs_names {
  char **names;
  size_t count;
} tks__fs_names;
int tks__fs_list(const char *path, tks__fs_names *names);
void tks__fs_names_free(tks__fs_names *names);

/* What the file system of `path` has left for us, and has in all. total 0: it does not say. */
int tks__fs_room(const char *path, uint64_t *left, uint64_t *total);

/* Tells whether a directory is what it was: a change of its names changes the stamp, at the latest after a tick of the clock that the file
 * system takes its times from. */
typedef struct tks__fs_stamp {
  uint64_t device, inode;
  int64_t modified_ns, changed_ns;
} tks__fs_stamp;
int tks__fs_stamp_of(const char *path, tks__fs_stamp *stamp); /* ENOENT when it is not there */

/* Takes or drops the exclusive open-file-description lock of a file. EAGAIN: somebody else has it. */
int tks__fs_lock(int fd);
int tks__fs_unlock(int fd);

typedef enum tks__fs_op {
  TKS__FS_OPEN,
  TKS__FS_WRITE,
  TKS__FS_READ,
  TKS__FS_TRUNCATE,
  TKS__FS_SYNC,
  TKS__FS_MKDIR,
  TKS__FS_RENAME,
  TKS__FS_LIST,
  TKS__FS_ALLOCATE,
  TKS__FS_MAP,
  TKS__FS_REMOVE,
} tks__fs_op;

/* For tests: asked before each operation; a positive errno value makes it fail with that, 0 lets it go ahead. */
extern int (*_Atomic tks__fs_fault)(tks__fs_op op, const char *path_or_null);

#endif
