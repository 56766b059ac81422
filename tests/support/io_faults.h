/* io_faults.h - makes libc's calls on files fail, for this library and for SQLite alike: the executable's own definitions take
 * precedence over libc's, in shared libraries too. Only for files below one directory, and only where sites_ask says so.
 *
 * It defines libc's functions: included by exactly one source file of a test. */
#ifndef TKS_TESTS_SUPPORT_IO_FAULTS_H
#define TKS_TESTS_SUPPORT_IO_FAULTS_H

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/sites.h"

typedef enum io_call {
  IO_OPEN,
  IO_CLOSE,
  IO_READ,
  IO_WRITE,
  IO_TRUNCATE,
  IO_SYNC,
  IO_ALLOCATE,
  IO_MMAP,
  IO_MSYNC,
  IO_STAT,
  IO_ACCESS,
  IO_RENAME,
  IO_UNLINK,
  IO_MKDIR,
  IO_LIST,
  IO_LOCK,
  IO_EVENT,
  IO_CALLS,
} io_call;

enum { IO_SHORT = -1 }; /* not an errno value: a part is read or written */

/* What each may fail with. */
static const int io_errors[IO_CALLS][5] = {
    [IO_OPEN] = {EIO, EMFILE, ENOSPC, EINTR},
    [IO_CLOSE] = {EIO, EINTR, ENOSPC},
    [IO_READ] = {EIO, EINTR, IO_SHORT},
    [IO_WRITE] = {EIO, ENOSPC, EINTR, IO_SHORT},
    [IO_TRUNCATE] = {EIO, EINTR, ENOSPC},
    [IO_SYNC] = {EIO, ENOSPC, EINTR},
    [IO_ALLOCATE] = {ENOSPC, EIO, EINTR},
    [IO_MMAP] = {ENOMEM},
    [IO_MSYNC] = {EIO},
    [IO_STAT] = {EIO},
    [IO_ACCESS] = {EIO},
    [IO_RENAME] = {EIO, ENOSPC},
    [IO_UNLINK] = {EIO},
    [IO_MKDIR] = {EIO, ENOSPC},
    [IO_LIST] = {EIO, EMFILE, ENOMEM},
    [IO_LOCK] = {EIO, EINTR, ENOLCK},
    [IO_EVENT] = {EMFILE},
};

static const char *const io_names[IO_CALLS] = {
    "open", "close",  "read",   "write",  "ftruncate", "fsync",   "fallocate", "mmap",    "msync",
    "stat", "access", "rename", "unlink", "mkdir",     "readdir", "fcntl",     "eventfd",
};

enum { IO_FDS = 4096 };
static char io_root[4096]; /* calls on what lies elsewhere never fail */
static _Atomic unsigned char io_ours[IO_FDS];
static _Atomic unsigned io_choice; /* which of the errors */

static int io_error_count(io_call call) {
  int n = 0;
  while (n < 5 && io_errors[call][n] != 0) n++;
  return n;
}

static int io_error(io_call call) { return io_errors[call][atomic_load(&io_choice) % (unsigned)io_error_count(call)]; }

static bool io_is_ours(const char *path) {
  size_t n = strlen(io_root);
  return n > 0 && strncmp(path, io_root, n) == 0;
}

static bool io_fd_is_ours(int fd) { return fd >= 0 && fd < IO_FDS && atomic_load(&io_ours[fd]) != 0; }

static void io_set(int fd, bool ours) {
  if (fd >= 0 && fd < IO_FDS) atomic_store(&io_ours[fd], ours);
}

/* At a call on one of our files: true, it fails, with errno set. */
static bool io_fails(bool ours, io_call call) {
  static _Thread_local bool interrupted;
  if (!ours || !sites_ask((uint32_t)call)) return false;
  errno = io_error(call);
  /* All try again at once, SQLite too. Interrupted for ever they would never return: every second time, then. */
  interrupted = errno == EINTR && !interrupted;
  return errno != EINTR || interrupted;
}

#define IO_NEXT(name)            \
  static __typeof__(name) *next; \
  if (next == NULL) next = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

/* ------------------------------------------------------------ descriptors */

#define IO_DEFINE_OPEN(name)                                                       \
  int name(const char *path, int flags, ...) {                                     \
    IO_NEXT(name);                                                                 \
    va_list args;                                                                  \
    va_start(args, flags);                                                         \
    mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(args, mode_t) : 0; \
    va_end(args);                                                                  \
    bool ours = io_is_ours(path);                                                  \
    if (io_fails(ours, IO_OPEN)) return -1;                                        \
    int fd = next(path, flags, mode);                                              \
    io_set(fd, ours);                                                              \
    return fd;                                                                     \
  }
IO_DEFINE_OPEN(open)
IO_DEFINE_OPEN(open64)

/* The descriptor is gone whatever close says. */
int close(int fd) {
  IO_NEXT(close);
  bool ours = io_fd_is_ours(fd);
  bool fails = io_fails(ours, IO_CLOSE);
  int error = errno;
  io_set(fd, false);
  int rc = next(fd);
  if (!fails) return rc;
  errno = error;
  return -1;
}

/* A short one does at least a byte, so that whoever goes on comes to an end. */
#define IO_DEFINE_TRANSFER(name, call, type)                                       \
  ssize_t name(int fd, type bytes, size_t count, off_t offset) {                   \
    IO_NEXT(name);                                                                 \
    if (!io_fails(io_fd_is_ours(fd), call)) return next(fd, bytes, count, offset); \
    if (errno != IO_SHORT) return -1;                                              \
    return next(fd, bytes, count > 1 ? count / 2 : count, offset);                 \
  }
IO_DEFINE_TRANSFER(pread, IO_READ, void *)
IO_DEFINE_TRANSFER(pread64, IO_READ, void *)
IO_DEFINE_TRANSFER(pwrite, IO_WRITE, const void *)
IO_DEFINE_TRANSFER(pwrite64, IO_WRITE, const void *)

ssize_t read(int fd, void *bytes, size_t count) {
  IO_NEXT(read);
  if (!io_fails(io_fd_is_ours(fd), IO_READ)) return next(fd, bytes, count);
  return errno == IO_SHORT ? next(fd, bytes, count > 1 ? count / 2 : count) : -1;
}

ssize_t write(int fd, const void *bytes, size_t count) {
  IO_NEXT(write);
  if (!io_fails(io_fd_is_ours(fd), IO_WRITE)) return next(fd, bytes, count);
  return errno == IO_SHORT ? next(fd, bytes, count > 1 ? count / 2 : count) : -1;
}

#define IO_DEFINE_ON_FD(name, call, parameters, ...)                   \
  int name parameters {                                                \
    IO_NEXT(name);                                                     \
    return io_fails(io_fd_is_ours(fd), call) ? -1 : next(__VA_ARGS__); \
  }
IO_DEFINE_ON_FD(ftruncate, IO_TRUNCATE, (int fd, off_t length), fd, length)
IO_DEFINE_ON_FD(ftruncate64, IO_TRUNCATE, (int fd, off64_t length), fd, length)
IO_DEFINE_ON_FD(fsync, IO_SYNC, (int fd), fd)
IO_DEFINE_ON_FD(fdatasync, IO_SYNC, (int fd), fd)
IO_DEFINE_ON_FD(fallocate, IO_ALLOCATE, (int fd, int mode, off_t offset, off_t length), fd, mode, offset, length)
IO_DEFINE_ON_FD(fstat, IO_STAT, (int fd, struct stat *st), fd, st)
IO_DEFINE_ON_FD(fstat64, IO_STAT, (int fd, struct stat64 *st), fd, st)

/* Answers with the error itself. */
int posix_fallocate(int fd, off_t offset, off_t length) {
  IO_NEXT(posix_fallocate);
  return io_fails(io_fd_is_ours(fd), IO_ALLOCATE) ? errno : next(fd, offset, length);
}

/* Giving one back does not fail: SQLite could not do anything about it. */
static bool io_takes_lock(int command, const struct flock *lock) {
  bool locks = command == F_SETLK || command == F_SETLKW || command == F_GETLK || command == F_OFD_SETLK;
  return locks && lock->l_type != F_UNLCK;
}

#define IO_DEFINE_FCNTL(name)                                                                                      \
  int name(int fd, int command, ...) {                                                                             \
    IO_NEXT(name);                                                                                                 \
    va_list args;                                                                                                  \
    va_start(args, command);                                                                                       \
    void *argument = va_arg(args, void *);                                                                         \
    va_end(args);                                                                                                  \
    return io_takes_lock(command, argument) && io_fails(io_fd_is_ours(fd), IO_LOCK) ? -1                           \
                                                                                    : next(fd, command, argument); \
  }
IO_DEFINE_FCNTL(fcntl)
IO_DEFINE_FCNTL(fcntl64)

#define IO_DEFINE_MMAP(name)                                                           \
  void *name(void *at, size_t size, int protection, int flags, int fd, off_t offset) { \
    IO_NEXT(name);                                                                     \
    if (fd >= 0 && io_fails(io_fd_is_ours(fd), IO_MMAP)) return MAP_FAILED;            \
    return next(at, size, protection, flags, fd, offset);                              \
  }
IO_DEFINE_MMAP(mmap)
IO_DEFINE_MMAP(mmap64)

int msync(void *at, size_t size, int flags) {
  IO_NEXT(msync);
  return io_fails(io_root[0] != 0, IO_MSYNC) ? -1 : next(at, size, flags);
}

int eventfd(unsigned count, int flags) {
  IO_NEXT(eventfd);
  return io_fails(io_root[0] != 0, IO_EVENT) ? -1 : next(count, flags);
}

/* ------------------------------------------------------------------- names */

#define IO_DEFINE_ON_PATH(name, call, parameters, ...)                \
  int name parameters {                                               \
    IO_NEXT(name);                                                    \
    return io_fails(io_is_ours(path), call) ? -1 : next(__VA_ARGS__); \
  }
IO_DEFINE_ON_PATH(stat, IO_STAT, (const char *path, struct stat *st), path, st)
IO_DEFINE_ON_PATH(stat64, IO_STAT, (const char *path, struct stat64 *st), path, st)
IO_DEFINE_ON_PATH(lstat, IO_STAT, (const char *path, struct stat *st), path, st)
IO_DEFINE_ON_PATH(lstat64, IO_STAT, (const char *path, struct stat64 *st), path, st)
IO_DEFINE_ON_PATH(access, IO_ACCESS, (const char *path, int mode), path, mode)
IO_DEFINE_ON_PATH(rename, IO_RENAME, (const char *path, const char *to), path, to)
IO_DEFINE_ON_PATH(unlink, IO_UNLINK, (const char *path), path)
IO_DEFINE_ON_PATH(mkdir, IO_MKDIR, (const char *path, mode_t mode), path, mode)

DIR *opendir(const char *path) {
  IO_NEXT(opendir);
  bool ours = io_is_ours(path);
  if (io_fails(ours, IO_LIST)) return NULL;
  DIR *dir = next(path);
  if (dir != NULL) io_set(dirfd(dir), ours);
  return dir;
}

struct dirent *readdir(DIR *dir) {
  IO_NEXT(readdir);
  return io_fails(io_fd_is_ours(dirfd(dir)), IO_LIST) ? NULL : next(dir);
}

int closedir(DIR *dir) {
  IO_NEXT(closedir);
  io_set(dirfd(dir), false);
  return next(dir);
}

/* -------------------------------------------------------------------- time */

/* So SQLite waits for locks, up to ten seconds for one: in vain, where what fails goes on failing. */
int usleep(useconds_t microseconds) {
  IO_NEXT(usleep);
  return next(sites_last() ? microseconds / 100 : microseconds);
}

#endif
