#include "fault/power_workload/interpose.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fault/power_workload/record.h"
#include "support/power.h"
#include "support/stores.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool started;

/* libc's own function of a name. */
#define REAL(name, type, ...)                                                  \
  static type (*real_##name)(__VA_ARGS__);                                     \
  static inline void find_##name(void) {                                       \
    if (real_##name == NULL) *(void **)&real_##name = dlsym(RTLD_NEXT, #name); \
  }

REAL(openat64, int, int, const char *, int, ...)
REAL(close, int, int)
REAL(write, ssize_t, int, const void *, size_t)
REAL(writev, ssize_t, int, const struct iovec *, int)
REAL(pwrite64, ssize_t, int, const void *, size_t, off64_t)
REAL(pwritev64, ssize_t, int, const struct iovec *, int, off64_t)
REAL(ftruncate64, int, int, off64_t)
REAL(truncate64, int, const char *, off64_t)
REAL(fallocate64, int, int, int, off64_t, off64_t)
REAL(posix_fallocate64, int, int, off64_t, off64_t)
REAL(fsync, int, int)
REAL(fdatasync, int, int)
REAL(syncfs, int, int)
REAL(rename, int, const char *, const char *)
REAL(renameat2, int, int, const char *, int, const char *, unsigned)
REAL(link, int, const char *, const char *)
REAL(unlink, int, const char *)
REAL(unlinkat, int, int, const char *, int)
REAL(rmdir, int, const char *)
REAL(remove, int, const char *)
REAL(mkdir, int, const char *, mode_t)
REAL(mmap64, void *, void *, size_t, int, int, int, off64_t)
REAL(munmap, int, void *, size_t)
REAL(msync, int, void *, size_t, int)

/* Enters a call that may be ours: true with the lock held if the recording has started. */
static bool begin(void) {
  if (!started) return false;
  (void)pthread_mutex_lock(&lock);
  return true;
}

static void end(void) {
  int errnum = errno;
  (void)pthread_mutex_unlock(&lock);
  errno = errnum;
}

/* What is not written down here must not happen below the root. */
static void refuse(const char *what, const char *path) {
  const char *relative;
  if (started && record_below(path, &relative)) record_impossible(what, path);
}

/* ------------------------------------------------------------------ opening */

static void note_opened(int fd, const char *relative, uint64_t before, int flags) {
  uint64_t file = before;
  if (file == 0) {
    if ((flags & O_CREAT) == 0) record_impossible("an unknown file was opened", relative);
    file = record_add(relative, false);
    record_resized(file, 0, false);
  } else if ((flags & O_TRUNC) != 0) {
    record_resized(file, 0, true);
  }
  record_descriptor(fd, file, (flags & O_APPEND) != 0);
}

static int open_logged(int directory, const char *path, int flags, mode_t mode) {
  find_openat64();
  const char *relative;
  if (!begin()) return real_openat64(directory, path, flags, mode);
  bool ours = record_below(path, &relative);
  uint64_t before = ours ? record_find(relative) : 0;
  int fd = real_openat64(directory, path, flags, mode);
  if (fd >= 0) record_descriptor(fd, 0, false);
  if (ours && fd >= 0) note_opened(fd, relative, before, flags);
  end();
  return fd;
}

static mode_t mode_of(int flags, va_list arguments) {
  return (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(arguments, mode_t) : 0;
}

#define OPEN_AT(directory)                 \
  va_list arguments;                       \
  va_start(arguments, flags);              \
  mode_t mode = mode_of(flags, arguments); \
  va_end(arguments);                       \
  return open_logged(directory, path, flags, mode)

int open(const char *path, int flags, ...) { OPEN_AT(AT_FDCWD); }
int open64(const char *path, int flags, ...) { OPEN_AT(AT_FDCWD); }
int openat(int directory, const char *path, int flags, ...) { OPEN_AT(directory); }
int openat64(int directory, const char *path, int flags, ...) { OPEN_AT(directory); }
int creat(const char *path, mode_t mode) { return open_logged(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return creat(path, mode); }

/* What a compiler that fortifies makes of the above. */
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __open_2(const char *path, int flags) { return open_logged(AT_FDCWD, path, flags, 0); }
int __open64_2(const char *path, int flags) { return open_logged(AT_FDCWD, path, flags, 0); }

int close(int fd) {
  find_close();
  if (!begin()) return real_close(fd);
  record_descriptor(fd, 0, false);
  int rc = real_close(fd);
  end();
  return rc;
}

/* ------------------------------------------------------------------ writing */

static void note_written(uint64_t file, int64_t offset, const void *bytes, size_t length) {
  record_event(POWER_WRITE, file, 0, offset, bytes, length);
  if (offset + (int64_t)length > record_size(file)) record_resized(file, offset + (int64_t)length, false);
}

static void note_written_parts(uint64_t file, int64_t offset, const struct iovec *parts, size_t length) {
  for (size_t i = 0; length > 0; i++) {
    size_t n = parts[i].iov_len < length ? parts[i].iov_len : length;
    note_written(file, offset, parts[i].iov_base, n);
    offset += (int64_t)n;
    length -= n;
  }
}

/* Where a write without an offset goes. */
static int64_t place_of(int fd, uint64_t file) {
  return record_appends(fd) ? record_size(file) : lseek(fd, 0, SEEK_CUR);
}

ssize_t write(int fd, const void *bytes, size_t length) {
  find_write();
  if (record_file_of(fd) == 0 || !begin()) return real_write(fd, bytes, length);
  uint64_t file = record_file_of(fd);
  int64_t place = place_of(fd, file);
  ssize_t n = real_write(fd, bytes, length);
  if (n > 0) note_written(file, place, bytes, (size_t)n);
  end();
  return n;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
  find_writev();
  if (record_file_of(fd) == 0 || !begin()) return real_writev(fd, parts, count);
  uint64_t file = record_file_of(fd);
  int64_t place = place_of(fd, file);
  ssize_t n = real_writev(fd, parts, count);
  if (n > 0) note_written_parts(file, place, parts, (size_t)n);
  end();
  return n;
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
  find_pwrite64();
  if (record_file_of(fd) == 0 || !begin()) return real_pwrite64(fd, bytes, length, offset);
  ssize_t n = real_pwrite64(fd, bytes, length, offset);
  if (n > 0) note_written(record_file_of(fd), offset, bytes, (size_t)n);
  end();
  return n;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) { return pwrite64(fd, bytes, length, offset); }

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) {
  find_pwritev64();
  if (record_file_of(fd) == 0 || !begin()) return real_pwritev64(fd, parts, count, offset);
  ssize_t n = real_pwritev64(fd, parts, count, offset);
  if (n > 0) note_written_parts(record_file_of(fd), offset, parts, (size_t)n);
  end();
  return n;
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
  return pwritev64(fd, parts, count, offset);
}

int ftruncate64(int fd, off64_t length) {
  find_ftruncate64();
  if (record_file_of(fd) == 0 || !begin()) return real_ftruncate64(fd, length);
  uint64_t file = record_file_of(fd);
  record_look(file);
  int rc = real_ftruncate64(fd, length);
  if (rc == 0) record_resized(file, length, true);
  end();
  return rc;
}

int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

int truncate64(const char *path, off64_t length) {
  find_truncate64();
  refuse("truncate by name", path);
  return real_truncate64(path, length);
}

int truncate(const char *path, off_t length) { return truncate64(path, length); }

static void note_allocated(uint64_t file, int64_t end_of_range) {
  if (end_of_range > record_size(file)) record_resized(file, end_of_range, true);
}

int fallocate64(int fd, int mode, off64_t offset, off64_t length) {
  find_fallocate64();
  if (record_file_of(fd) == 0 || !begin()) return real_fallocate64(fd, mode, offset, length);
  if ((mode & ~FALLOC_FL_KEEP_SIZE) != 0) record_impossible("fallocate of a kind that the log does not know", "");
  int rc = real_fallocate64(fd, mode, offset, length);
  if (rc == 0 && mode == 0) note_allocated(record_file_of(fd), offset + length);
  end();
  return rc;
}

int fallocate(int fd, int mode, off_t offset, off_t length) { return fallocate64(fd, mode, offset, length); }

int posix_fallocate64(int fd, off64_t offset, off64_t length) {
  find_posix_fallocate64();
  if (record_file_of(fd) == 0 || !begin()) return real_posix_fallocate64(fd, offset, length);
  int rc = real_posix_fallocate64(fd, offset, length);
  if (rc == 0) note_allocated(record_file_of(fd), offset + length);
  end();
  return rc;
}

int posix_fallocate(int fd, off_t offset, off_t length) { return posix_fallocate64(fd, offset, length); }

/* ------------------------------------------------------------------ syncing */

/* Nothing need reach the real disk: the power is never really lost. */
static bool sync_logged(int fd) {
  if (record_file_of(fd) == 0 || !begin()) return false;
  record_look(0);
  record_event(POWER_SYNC, record_file_of(fd), 0, 0, NULL, 0);
  end();
  return true;
}

int fsync(int fd) {
  find_fsync();
  return sync_logged(fd) ? 0 : real_fsync(fd);
}

int fdatasync(int fd) {
  find_fdatasync();
  return sync_logged(fd) ? 0 : real_fdatasync(fd);
}

int syncfs(int fd) {
  find_syncfs();
  if (record_file_of(fd) != 0) record_impossible("syncfs", "");
  return real_syncfs(fd);
}

int msync(void *address, size_t length, int flags) {
  find_msync();
  uint64_t file;
  int64_t offset;
  if (!begin()) return real_msync(address, length, flags);
  bool ours = record_mapped(address, length, &file, &offset);
  if (ours && (flags & MS_SYNC) != 0) {
    record_look(0);
    record_event(POWER_SYNC_RANGE, file, length, offset, NULL, 0);
  }
  end();
  return ours ? 0 : real_msync(address, length, flags);
}

/* -------------------------------------------------------------------- names */

int rename(const char *from, const char *to) {
  find_rename();
  const char *relative_from, *relative_to;
  if (!begin()) return real_rename(from, to);
  bool ours = record_below(from, &relative_from);
  if (ours != record_below(to, &relative_to)) record_impossible("a file was moved across the root", from);
  int rc = real_rename(from, to);
  if (rc == 0 && ours) record_rename(relative_from, relative_to);
  end();
  return rc;
}

int renameat2(int directory_from, const char *from, int directory_to, const char *to, unsigned flags) {
  find_renameat2();
  if (flags == 0 && from[0] == '/' && to[0] == '/') return rename(from, to);
  refuse("renameat2 with flags", from);
  return real_renameat2(directory_from, from, directory_to, to, flags);
}

int renameat(int directory_from, const char *from, int directory_to, const char *to) {
  return renameat2(directory_from, from, directory_to, to, 0);
}

int link(const char *from, const char *to) {
  find_link();
  refuse("a hard link", from);
  return real_link(from, to);
}

static int remove_logged(const char *path, int (*real)(const char *)) {
  const char *relative;
  if (!begin()) return real(path);
  bool ours = record_below(path, &relative);
  int rc = real(path);
  if (rc == 0 && ours) record_remove(relative);
  end();
  return rc;
}

int unlink(const char *path) {
  find_unlink();
  return remove_logged(path, real_unlink);
}

int rmdir(const char *path) {
  find_rmdir();
  return remove_logged(path, real_rmdir);
}

int remove(const char *path) {
  find_remove();
  return remove_logged(path, real_remove);
}

int unlinkat(int directory, const char *path, int flags) {
  find_unlinkat();
  if (path[0] == '/') return (flags & AT_REMOVEDIR) != 0 ? rmdir(path) : unlink(path);
  return real_unlinkat(directory, path, flags);
}

int mkdir(const char *path, mode_t mode) {
  find_mkdir();
  const char *relative;
  if (!begin()) return real_mkdir(path, mode);
  bool ours = record_below(path, &relative);
  int rc = real_mkdir(path, mode);
  if (rc == 0 && ours) (void)record_add(relative, true);
  end();
  return rc;
}

/* ------------------------------------------------------------------- memory */

void *mmap64(void *address, size_t length, int protection, int flags, int fd, off64_t offset) {
  find_mmap64();
  if (!begin()) return real_mmap64(address, length, protection, flags, fd, offset);
  bool ours = (flags & MAP_ANONYMOUS) == 0 && record_file_of(fd) != 0 && (flags & MAP_TYPE) != MAP_PRIVATE &&
              (protection & PROT_WRITE) != 0;
  if ((flags & MAP_FIXED) != 0) record_unmap(address, length);
  void *memory = real_mmap64(address, length, protection, flags, fd, offset);
  if (memory != MAP_FAILED && ours) record_map(memory, length, record_file_of(fd), offset);
  end();
  return memory;
}

void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset) {
  return mmap64(address, length, protection, flags, fd, offset);
}

int munmap(void *address, size_t length) {
  find_munmap();
  if (!begin()) return real_munmap(address, length);
  record_unmap(address, length);
  int rc = real_munmap(address, length);
  end();
  return rc;
}

/* -------------------------------------------------------- beginning and end */

static uint64_t last_told = POWER_ROOT;

/* What a file holds, as written but not as synced. */
static void tell_contents(const char *path, uint64_t file) {
  char bytes[65536];
  int fd = real_openat64(AT_FDCWD, path, O_RDONLY);
  if (fd < 0) record_impossible("cannot read", path);
  int64_t offset = 0;
  for (ssize_t n; (n = read(fd, bytes, sizeof bytes)) > 0; offset += n)
    record_event(POWER_WRITE, file, 0, offset, bytes, (size_t)n);
  (void)real_close(fd);
  record_resized(file, offset, true);
}

static int tell_existing(const char *path, const struct stat *st, int type, struct FTW *at) {
  (void)st;
  const char *relative;
  if (at->level == 0 || !record_below(path, &relative)) return 0;
  uint64_t file = record_add(relative, type == FTW_D);
  if (type == FTW_F) tell_contents(path, file);
  last_told = file;
  return 0;
}

static void open_log(const char *root, const char *log_path) {
  find_openat64();
  find_write();
  find_close();
  int fd = real_openat64(AT_FDCWD, log_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) record_impossible("cannot open", log_path);
  record_to(real_write, fd);
  record_root(root);
}

static const char *root_path;

static void tell_again(const char *relative, uint64_t file) {
  char path[PATH_MAX];
  struct stat st;
  (void)snprintf(path, sizeof path, "%s/%s", root_path, relative);
  if (stat(path, &st) != 0) record_impossible("a file is gone", path);
  if (S_ISREG(st.st_mode)) tell_contents(path, file);
}

void interpose_continue(const char *root, const char *log_path) {
  size_t length;
  char *log = read_file(log_path, &length);
  open_log(root, log_path);
  for (size_t at = 0; at < length;) {
    power_event e;
    memcpy(&e, log + at, sizeof e);
    at += sizeof e;
    record_replay(e.kind, e.file, e.value, e.offset, log + at, e.length);
    at += e.length;
  }
  free(log);
  /* Mapped memory may have changed until the very end, and is in the file then. */
  root_path = root;
  record_each(tell_again);
  started = true;
}

void interpose_start(const char *root, const char *log_path) {
  open_log(root, log_path);
  if (nftw(root, tell_existing, 16, FTW_PHYS) != 0) record_impossible("cannot read", root);
  for (uint64_t file = POWER_ROOT; file <= last_told; file++) record_event(POWER_SYNC, file, 0, 0, NULL, 0);
  started = true;
}

void interpose_note(uint32_t kind, uint64_t file, uint64_t value, int64_t offset, int look) {
  (void)pthread_mutex_lock(&lock);
  if (look) record_look(0);
  record_event(kind, file, value, offset, NULL, 0);
  (void)pthread_mutex_unlock(&lock);
}

void interpose_stop(void) {
  interpose_note(POWER_END, 0, 0, 0, 1);
  started = false;
}

_Noreturn void interpose_die(void) {
  (void)pthread_mutex_lock(&lock); /* for good */
  record_look(0);
  record_event(POWER_END, 0, 0, 0, NULL, 0);
  _exit(0);
}
