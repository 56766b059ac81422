#include "base/fs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/memory.h"

int (*_Atomic tks__fs_fault)(tks__fs_op op, const char *path_or_null);

static int injected(tks__fs_op op, const char *path) {
  int (*fault)(tks__fs_op, const char *) = atomic_load_explicit(&tks__fs_fault, memory_order_relaxed);
  return fault != NULL ? fault(op, path) : 0;
}

/* ------------------------------------------------------------------- files */

int tks__fs_open(const char *path, int flags, mode_t mode, int *fd) {
  *fd = -1;
  int rc = injected(TKS__FS_OPEN, path);
  if (rc != 0) return rc;
  int opened;
  do {
    opened = open(path, flags | O_CLOEXEC, mode);
  } while (opened < 0 && errno == EINTR);
  if (opened < 0) return errno;
  *fd = opened;
  return 0;
}

int tks__fs_close(int fd) {
  /* On Linux the descriptor is gone after EINTR; closing it again could hit somebody else's. */
  return close(fd) == 0 || errno == EINTR ? 0 : errno;
}

int tks__fs_write_all(int fd, const void *bytes, size_t length, int64_t offset) {
  int rc = injected(TKS__FS_WRITE, NULL);
  if (rc != 0) return rc;
  const char *from = bytes;
  while (length > 0) {
    ssize_t n = pwrite(fd, from, length, (off_t)offset);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    if (n == 0) return EIO;
    from += n;
    length -= (size_t)n;
    offset += n;
  }
  return 0;
}

int tks__fs_read_some(int fd, void *bytes, size_t length, int64_t offset, size_t *got) {
  int rc = injected(TKS__FS_READ, NULL);
  if (rc != 0) return rc;
  char *to = bytes;
  size_t done = 0;
  while (done < length) {
    ssize_t n = pread(fd, to + done, length - done, (off_t)(offset + (int64_t)done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    if (n == 0) break;
    done += (size_t)n;
  }
  *got = done;
  return 0;
}

int tks__fs_truncate(int fd, int64_t length) {
  int rc = injected(TKS__FS_TRUNCATE, NULL);
  if (rc != 0) return rc;
  while (ftruncate(fd, (off_t)length) != 0)
    if (errno != EINTR) return errno;
  return 0;
}

int tks__fs_sync(int fd) {
  int rc = injected(TKS__FS_SYNC, NULL);
  if (rc != 0) return rc;
  while (fdatasync(fd) != 0)
    if (errno != EINTR) return errno;
  return 0;
}

void tks__fs_start_sync(int fd) {
  /* Neither waits nor takes note of an error, which stays for fdatasync to report. */
  (void)sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}

int tks__fs_size(const char *path, int64_t *size) {
  int rc = injected(TKS__FS_READ, path);
  if (rc != 0) return rc;
  struct stat st;
  if (stat(path, &st) != 0) return errno;
  *size = st.st_size;
  return 0;
}

int tks__fs_room(const char *path, uint64_t *left, uint64_t *total) {
  int rc = injected(TKS__FS_READ, path);
  if (rc != 0) return rc;
  struct statvfs st;
  while (statvfs(path, &st) != 0)
    if (errno != EINTR) return errno;
  *left = (uint64_t)st.f_bavail * st.f_frsize;
  *total = (uint64_t)st.f_blocks * st.f_frsize;
  return 0;
}

int tks__fs_remove(const char *path) {
  int rc = injected(TKS__FS_REMOVE, path);
  if (rc != 0) return rc;
  return unlink(path) == 0 ? 0 : errno;
}

int tks__fs_allocate(int fd, int64_t length) {
  int rc = injected(TKS__FS_ALLOCATE, NULL);
  if (rc != 0) return rc;
  do {
    rc = posix_fallocate(fd, 0, (off_t)length);
  } while (rc == EINTR);
  return rc;
}

/* ---------------------------------------------------------------- mappings */

int tks__fs_map(int fd, size_t length, void **memory) {
  int rc = injected(TKS__FS_MAP, NULL);
  if (rc != 0) return rc;
  void *mapped = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (mapped == MAP_FAILED) return errno;
  /* A forked child has no business with it, and forks faster without. */
  (void)madvise(mapped, length, MADV_DONTFORK);
  *memory = mapped;
  return 0;
}

int tks__fs_map_sync(void *memory, size_t length) {
  int rc = injected(TKS__FS_SYNC, NULL);
  if (rc != 0) return rc;
  uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
  uintptr_t start = (uintptr_t)memory / page * page, end = (uintptr_t)memory + length;
  /* For each page that is mapped the kernel interrupts every processor that runs this process, to have it seen when it is written to
   * again: a producer would be interrupted some thousand times. Let go of before, whole pages go a few hundred at a time. They are
   * read from memory again when somebody looks. */
  if (end / page * page > start) (void)madvise((void *)start, end / page * page - start, MADV_DONTNEED);
  while (msync((void *)start, end - start, MS_SYNC) != 0)
    if (errno != EINTR) return errno;
  return 0;
}

void tks__fs_unmap(void *memory, size_t length) { (void)munmap(memory, length); }

int tks__fs_rename(const char *from, const char *to) {
  int rc = injected(TKS__FS_RENAME, from);
  if (rc != 0) return rc;
  return rename(from, to) == 0 ? 0 : errno;
}

/* ------------------------------------------------------------- directories */

static int sync_dir(const char *path) {
  int fd;
  int rc = tks__fs_open(path, O_RDONLY | O_DIRECTORY, 0, &fd);
  if (rc != 0) return rc;
  rc = injected(TKS__FS_SYNC, path);
  while (rc == 0 && fsync(fd) != 0)
    if (errno != EINTR) rc = errno;
  (void)tks__fs_close(fd);
  return rc == EINVAL ? 0 : rc; /* a file system that has nothing to sync here says EINVAL */
}

int tks__fs_sync_dir_of(const char *path) {
  const char *slash = strrchr(path, '/');
  if (slash == NULL) return sync_dir(".");
  if (slash == path) return sync_dir("/");
  char dir[PATH_MAX];
  size_t length = (size_t)(slash - path);
  if (length >= sizeof dir) return ENAMETOOLONG;
  memcpy(dir, path, length);
  dir[length] = 0;
  return sync_dir(dir);
}

static int make_dir(const char *path) {
  int rc = injected(TKS__FS_MKDIR, path);
  if (rc != 0) return rc;
  if (mkdir(path, 0777) != 0) {
    if (errno != EEXIST) return errno;
    struct stat st;
    if (stat(path, &st) != 0) return errno;
    return S_ISDIR(st.st_mode) ? 0 : ENOTDIR;
  }
  rc = tks__fs_sync_dir_of(path);
  /* Taken back, so that a second attempt does not find it and think that it had been synced. */
  if (rc != 0) (void)rmdir(path);
  return rc;
}

int tks__fs_mkdirs(const char *path, const char *root) {
  char dir[PATH_MAX];
  size_t length = strlen(path), i = strlen(root);
  if (length >= sizeof dir) return ENAMETOOLONG;
  while (i > 0 && root[i - 1] == '/') i--;
  if (strncmp(path, root, i) != 0 || (path[i] != '/' && path[i] != 0)) return EINVAL;
  memcpy(dir, path, length + 1);
  while (i < length) {
    while (dir[i] == '/') i++;
    size_t end = i + strcspn(dir + i, "/");
    if (end == i) break;
    char kept = dir[end];
    dir[end] = 0;
    int rc = make_dir(dir);
    if (rc != 0) return rc;
    dir[end] = kept;
    i = end;
  }
  return 0;
}

static int compare_names(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static int collect_names(DIR *dir, tks__fs_names *names) {
  size_t capacity = 0;
  for (;;) {
    errno = 0;
    const struct dirent *entry = readdir(dir);
    if (entry == NULL) return errno;
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    if (!tks__grow((void **)&names->names, &capacity, names->count + 1, sizeof *names->names)) return ENOMEM;
    size_t size = strlen(entry->d_name) + 1;
    char *copy = tks__malloc(size);
    if (copy == NULL) return ENOMEM;
    names->names[names->count++] = memcpy(copy, entry->d_name, size);
  }
}

int tks__fs_list(const char *path, tks__fs_names *names) {
  *names = (tks__fs_names){0};
  int rc = injected(TKS__FS_LIST, path);
  if (rc != 0) return rc;
  DIR *dir = opendir(path);
  if (dir == NULL) return errno == ENOENT ? 0 : errno;
  rc = collect_names(dir, names);
  (void)closedir(dir);
  if (rc != 0) {
    tks__fs_names_free(names);
    return rc;
  }
  if (names->count > 1) qsort(names->names, names->count, sizeof *names->names, compare_names);
  return 0;
}

void tks__fs_names_free(tks__fs_names *names) {
  for (size_t i = 0; i < names->count; i++) tks__free(names->names[i]);
  tks__free(names->names);
  *names = (tks__fs_names){0};
}

static int64_t ns_of(struct timespec t) { return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec; }

int tks__fs_stamp_of(const char *path, tks__fs_stamp *stamp) {
  int rc = injected(TKS__FS_READ, path);
  if (rc != 0) return rc;
  struct stat st;
  if (stat(path, &st) != 0) return errno;
  *stamp = (tks__fs_stamp){
      .device = st.st_dev, .inode = st.st_ino, .modified_ns = ns_of(st.st_mtim), .changed_ns = ns_of(st.st_ctim)};
  return 0;
}

/* ------------------------------------------------------------- whole files */

static int write_synced(const char *path, const void *bytes, size_t length) {
  int fd;
  int rc = tks__fs_open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0666, &fd);
  if (rc != 0) return rc;
  rc = tks__fs_write_all(fd, bytes, length, 0);
  if (rc == 0) rc = tks__fs_sync(fd);
  int closed = tks__fs_close(fd);
  return rc != 0 ? rc : closed;
}

int tks__fs_replace(const char *path, const void *bytes, size_t length) {
  char temporary[PATH_MAX];
  int n = snprintf(temporary, sizeof temporary, "%s.tmp", path);
  if (n < 0 || (size_t)n >= sizeof temporary) return ENAMETOOLONG;
  int rc = write_synced(temporary, bytes, length);
  if (rc == 0) rc = tks__fs_rename(temporary, path);
  if (rc != 0) {
    (void)unlink(temporary);
    return rc;
  }
  return tks__fs_sync_dir_of(path);
}

static int read_open_file(int fd, size_t limit, char **bytes, size_t *length) {
  struct stat st;
  if (fstat(fd, &st) != 0) return errno;
  if (!S_ISREG(st.st_mode)) return S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
  if ((uintmax_t)st.st_size > limit) return EFBIG;
  size_t size = (size_t)st.st_size;
  char *block = tks__malloc(size + 1);
  if (block == NULL) return ENOMEM;
  int rc = tks__fs_read_some(fd, block, size, 0, length);
  if (rc != 0) {
    tks__free(block);
    return rc;
  }
  block[*length] = 0;
  *bytes = block;
  return 0;
}

int tks__fs_read_file(const char *path, size_t limit, char **bytes, size_t *length) {
  int fd;
  /* O_NONBLOCK: a FIFO in its place must not make us wait for a writer. */
  int rc = tks__fs_open(path, O_RDONLY | O_NONBLOCK, 0, &fd);
  if (rc != 0) return rc;
  rc = read_open_file(fd, limit, bytes, length);
  (void)tks__fs_close(fd);
  return rc;
}

/* ------------------------------------------------------------------- locks */

/* Of the open file description: unlike fcntl's classic locks they do not vanish when any descriptor of the file is
 * closed somewhere in the process. */
static int set_lock(int fd, short type) {
  struct flock lock = {.l_type = type, .l_whence = SEEK_SET};
  while (fcntl(fd, F_OFD_SETLK, &lock) != 0) {
    if (errno == EACCES) return EAGAIN;
    if (errno != EINTR) return errno;
  }
  return 0;
}

int tks__fs_lock(int fd) { return set_lock(fd, F_WRLCK); }

int tks__fs_unlock(int fd) { return set_lock(fd, F_UNLCK); }
