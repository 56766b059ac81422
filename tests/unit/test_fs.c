#include "base/fs.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/memory.h"
#include "support/scratch.h"

/* ---------------------------------------------------------- interrupted calls */

/* So many of the next calls end with EINTR: what a host's signals do on the threads that call in. */
static _Atomic int interrupts;

static bool is_interrupted(void) {
  int left = atomic_load(&interrupts);
  if (left == 0) return false;
  atomic_store(&interrupts, left - 1);
  errno = EINTR;
  return true;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
  return is_interrupted() ? -1 : syscall(SYS_pwrite64, fd, bytes, length, offset);
}

ssize_t pread(int fd, void *bytes, size_t length, off_t offset) {
  return is_interrupted() ? -1 : syscall(SYS_pread64, fd, bytes, length, offset);
}

int open(const char *path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  return is_interrupted() ? -1 : (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int fdatasync(int fd) { return is_interrupted() ? -1 : (int)syscall(SYS_fdatasync, fd); }
int fsync(int fd) { return is_interrupted() ? -1 : (int)syscall(SYS_fsync, fd); }
int ftruncate(int fd, off_t length) { return is_interrupted() ? -1 : (int)syscall(SYS_ftruncate, fd, length); }
int msync(void *memory, size_t length, int flags) {
  return is_interrupted() ? -1 : (int)syscall(SYS_msync, memory, length, flags);
}

static char *scratch;

static void set_up(void) { scratch = scratch_new(); }

static void tear_down(void) {
  atomic_store(&tks__fs_fault, NULL);
  atomic_store(&tks__memory_fault, NULL);
  scratch_remove(scratch);
}

TestSuite(fs, .init = set_up, .fini = tear_down);

static const char *at(const char *name) {
  static char paths[8][4096];
  static int next;
  char *path = paths[next++ % 8];
  (void)snprintf(path, sizeof paths[0], "%s/%s", scratch, name);
  return path;
}

Test(fs, writes_and_reads) {
  int fd;
  cr_assert_eq(tks__fs_open(at("a"), O_RDWR | O_CREAT | O_EXCL, 0666, &fd), 0);
  cr_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
  cr_assert_eq(tks__fs_write_all(fd, "hello world", 11, 0), 0);
  cr_assert_eq(tks__fs_write_all(fd, "W", 1, 6), 0);
  tks__fs_start_sync(fd);
  cr_assert_eq(tks__fs_sync(fd), 0);
  char bytes[32];
  size_t got;
  cr_assert_eq(tks__fs_read_some(fd, bytes, sizeof bytes, 6, &got), 0);
  cr_assert_eq(got, 5);
  cr_assert_arr_eq(bytes, "World", 5);
  cr_assert_eq(tks__fs_read_some(fd, bytes, sizeof bytes, 100, &got), 0);
  cr_assert_eq(got, 0);
  cr_assert_eq(tks__fs_truncate(fd, 5), 0);
  int64_t size;
  cr_assert_eq(tks__fs_size(at("a"), &size), 0);
  cr_assert_eq(size, 5);
  cr_assert_eq(tks__fs_close(fd), 0);
  cr_assert_eq(tks__fs_size(at("b"), &size), ENOENT);
  cr_assert_eq(tks__fs_open(at("b"), O_RDWR, 0, &fd), ENOENT);
}

static void interrupt_next(void) {
  cr_assert_eq(atomic_load(&interrupts), 0, "the call before was not interrupted");
  atomic_store(&interrupts, 3);
}

Test(fs, interrupted_calls_are_made_again) {
  int fd;
  char bytes[4] = "";
  size_t got;
  void *memory;
  interrupt_next();
  cr_assert_eq(tks__fs_open(at("a"), O_RDWR | O_CREAT, 0666, &fd), 0);
  interrupt_next();
  cr_assert_eq(tks__fs_write_all(fd, "abc", 4, 0), 0);
  interrupt_next();
  cr_assert_eq(tks__fs_sync(fd), 0);
  interrupt_next();
  cr_assert_eq(tks__fs_read_some(fd, bytes, 4, 0, &got), 0);
  cr_assert_eq(got, 4);
  cr_assert_str_eq(bytes, "abc");
  interrupt_next();
  cr_assert_eq(tks__fs_truncate(fd, 4096), 0);
  cr_assert_eq(tks__fs_map(fd, 4096, &memory), 0);
  interrupt_next();
  cr_assert_eq(tks__fs_map_sync(memory, 4096), 0);
  tks__fs_unmap(memory, 4096);
  (void)tks__fs_close(fd);
  interrupt_next();
  cr_assert_eq(tks__fs_sync_dir_of(at("a")), 0);
  cr_assert_eq(atomic_load(&interrupts), 0);
}

Test(fs, a_write_cut_short_is_an_error) {
  /* The limit lets the first part through and fails the rest. */
  (void)signal(SIGXFSZ, SIG_IGN);
  struct rlimit limit = {1000, 1000};
  int fd;
  cr_assert_eq(tks__fs_open(at("a"), O_RDWR | O_CREAT, 0666, &fd), 0);
  cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
  char bytes[1500] = {0};
  cr_assert_eq(tks__fs_write_all(fd, bytes, sizeof bytes, 0), EFBIG);
  int64_t size;
  cr_assert_eq(tks__fs_size(at("a"), &size), 0);
  cr_assert_eq(size, 1000);
  (void)tks__fs_close(fd);
}

Test(fs, makes_directories_below_the_root_only) {
  struct stat st;
  cr_assert_eq(tks__fs_mkdirs(at("x/y/z"), scratch), 0);
  cr_assert_eq(stat(at("x/y/z"), &st), 0);
  cr_assert(S_ISDIR(st.st_mode));
  cr_assert_eq(tks__fs_mkdirs(at("x/y/z"), scratch), 0, "again is fine");
  cr_assert_eq(tks__fs_mkdirs(at("x//w/"), at("")), 0);
  cr_assert_eq(stat(at("x/w"), &st), 0);
  cr_assert_eq(tks__fs_mkdirs(scratch, scratch), 0);
  cr_assert_eq(tks__fs_mkdirs("/elsewhere", scratch), EINVAL);
  cr_assert_eq(tks__fs_mkdirs(at("x"), at("xy")), EINVAL);
  cr_assert_eq(tks__fs_mkdirs(at("no/a"), at("no")), ENOENT, "the root is not made");
  cr_assert_eq(symlink("/nowhere", at("link")), 0);
  cr_assert_neq(tks__fs_mkdirs(at("link/a"), scratch), 0);
  int fd;
  cr_assert_eq(tks__fs_open(at("file"), O_RDWR | O_CREAT, 0666, &fd), 0);
  (void)tks__fs_close(fd);
  cr_assert_eq(tks__fs_mkdirs(at("file/a"), scratch), ENOTDIR);
}

static int fail_dir_sync(tks__fs_op op, const char *path) { return op == TKS__FS_SYNC && path != NULL ? EIO : 0; }

Test(fs, a_directory_that_cannot_be_synced_is_not_left_behind) {
  struct stat st;
  atomic_store(&tks__fs_fault, fail_dir_sync);
  cr_assert_eq(tks__fs_mkdirs(at("x"), scratch), EIO);
  cr_assert_neq(stat(at("x"), &st), 0);
  atomic_store(&tks__fs_fault, NULL);
  cr_assert_eq(tks__fs_mkdirs(at("x"), scratch), 0);
}

static int faults_left;

static int fail_at_zero(tks__fs_op op, const char *path) {
  (void)op;
  (void)path;
  return faults_left-- == 0 ? EIO : 0;
}

Test(fs, replace_leaves_the_old_bytes_or_the_new) {
  cr_assert_eq(tks__fs_replace(at("a"), "old", 3), 0);
  int step = 0;
  for (;; step++) {
    faults_left = step;
    atomic_store(&tks__fs_fault, fail_at_zero);
    int rc = tks__fs_replace(at("a"), "newer", 5);
    atomic_store(&tks__fs_fault, NULL);
    char *bytes;
    size_t length;
    cr_assert_eq(tks__fs_read_file(at("a"), 100, &bytes, &length), 0);
    cr_assert(strcmp(bytes, "old") == 0 || strcmp(bytes, "newer") == 0, "%s", bytes);
    tks__free(bytes);
    tks__fs_names names;
    cr_assert_eq(tks__fs_list(scratch, &names), 0);
    cr_assert_eq(names.count, 1, "no temporary file stays");
    tks__fs_names_free(&names);
    if (rc == 0) break;
    cr_assert_eq(tks__fs_replace(at("a"), "old", 3), 0);
  }
  cr_assert_geq(step, 5, "open, write, sync, rename, directory");
}

static bool no_memory(void) { return true; }

Test(fs, reads_whole_files) {
  char *bytes;
  size_t length;
  cr_assert_eq(tks__fs_read_file(at("a"), 10, &bytes, &length), ENOENT);
  cr_assert_eq(tks__fs_replace(at("a"), "0123456789", 10), 0);
  cr_assert_eq(tks__fs_read_file(at("a"), 9, &bytes, &length), EFBIG);
  cr_assert_eq(tks__fs_read_file(at("a"), 10, &bytes, &length), 0);
  cr_assert_eq(length, 10);
  cr_assert_str_eq(bytes, "0123456789");
  tks__free(bytes);
  cr_assert_eq(tks__fs_read_file(scratch, 10, &bytes, &length), EISDIR);
  cr_assert_eq(mkfifo(at("fifo"), 0666), 0);
  cr_assert_neq(tks__fs_read_file(at("fifo"), 10, &bytes, &length), 0);
  atomic_store(&tks__memory_fault, no_memory);
  cr_assert_eq(tks__fs_read_file(at("a"), 10, &bytes, &length), ENOMEM);
}

static int allocations_left;

static bool fail_allocation(void) { return allocations_left-- == 0; }

Test(fs, lists_sorted) {
  tks__fs_names names;
  cr_assert_eq(tks__fs_list(at("none"), &names), 0);
  cr_assert_eq(names.count, 0);
  const char *made[] = {"b", "a", "c", "aa"};
  for (int i = 0; i < 4; i++) cr_assert_eq(tks__fs_replace(at(made[i]), "", 0), 0);
  cr_assert_eq(tks__fs_list(scratch, &names), 0);
  cr_assert_eq(names.count, 4);
  const char *want[] = {"a", "aa", "b", "c"};
  for (int i = 0; i < 4; i++) cr_assert_str_eq(names.names[i], want[i]);
  tks__fs_names_free(&names);
  cr_assert_eq(tks__fs_list(at("a"), &names), ENOTDIR);
  atomic_store(&tks__memory_fault, fail_allocation);
  int rc = ENOMEM;
  for (int k = 0; rc == ENOMEM; k++) {
    allocations_left = k;
    rc = tks__fs_list(scratch, &names);
    cr_assert_eq(names.count, rc == 0 ? 4 : 0);
  }
  cr_assert_eq(rc, 0);
  tks__fs_names_free(&names);
}

Test(fs, locks_against_processes_and_handles) {
  int first, second;
  cr_assert_eq(tks__fs_open(at("lock"), O_RDWR | O_CREAT, 0666, &first), 0);
  cr_assert_eq(tks__fs_open(at("lock"), O_RDWR, 0, &second), 0);
  cr_assert_eq(tks__fs_lock(first), 0);
  cr_assert_eq(tks__fs_lock(first), 0, "ours already");
  cr_assert_eq(tks__fs_lock(second), EAGAIN);
  pid_t child = fork();
  if (child == 0) {
    int fd;
    (void)close(second);
    _exit(tks__fs_open(at("lock"), O_RDWR, 0, &fd) == 0 && tks__fs_lock(fd) == EAGAIN ? 0 : 1);
  }
  int status;
  cr_assert_eq(waitpid(child, &status, 0), child);
  cr_assert_eq(status, 0);
  /* A classic fcntl lock would be lost by this close. */
  int third;
  cr_assert_eq(tks__fs_open(at("lock"), O_RDWR, 0, &third), 0);
  (void)tks__fs_close(third);
  cr_assert_eq(tks__fs_lock(second), EAGAIN);
  cr_assert_eq(tks__fs_unlock(first), 0);
  cr_assert_eq(tks__fs_lock(second), 0);
  (void)tks__fs_close(first);
  (void)tks__fs_close(second);
}

static tks__fs_op failing;

static int fail_one_kind(tks__fs_op op, const char *path) {
  (void)path;
  return op == failing ? ENOSPC : 0;
}

Test(fs, every_operation_can_be_made_to_fail) {
  int fd;
  char byte = 0;
  size_t got;
  int64_t size;
  uint64_t left, total;
  tks__fs_stamp stamp;
  tks__fs_names names;
  cr_assert_eq(tks__fs_open(at("a"), O_RDWR | O_CREAT, 0666, &fd), 0);
  cr_assert_eq(tks__fs_room(scratch, &left, &total), 0);
  cr_assert_leq(left, total);
  cr_assert_eq(tks__fs_room(at("nothing"), &left, &total), ENOENT);
  atomic_store(&tks__fs_fault, fail_one_kind);
  int other;
  failing = TKS__FS_OPEN;
  cr_assert_eq(tks__fs_open(at("a"), O_RDWR, 0, &other), ENOSPC);
  cr_assert_eq(tks__fs_sync_dir_of(at("a")), ENOSPC);
  failing = TKS__FS_WRITE;
  cr_assert_eq(tks__fs_write_all(fd, &byte, 1, 0), ENOSPC);
  failing = TKS__FS_READ;
  cr_assert_eq(tks__fs_read_some(fd, &byte, 1, 0, &got), ENOSPC);
  cr_assert_eq(tks__fs_size(at("a"), &size), ENOSPC);
  cr_assert_eq(tks__fs_room(scratch, &left, &total), ENOSPC);
  cr_assert_eq(tks__fs_stamp_of(at("a"), &stamp), ENOSPC);
  failing = TKS__FS_TRUNCATE;
  cr_assert_eq(tks__fs_truncate(fd, 0), ENOSPC);
  failing = TKS__FS_SYNC;
  cr_assert_eq(tks__fs_sync(fd), ENOSPC);
  cr_assert_eq(tks__fs_sync_dir_of(at("a")), ENOSPC);
  failing = TKS__FS_MKDIR;
  cr_assert_eq(tks__fs_mkdirs(at("d"), scratch), ENOSPC);
  failing = TKS__FS_RENAME;
  cr_assert_eq(tks__fs_rename(at("a"), at("b")), ENOSPC);
  failing = TKS__FS_LIST;
  cr_assert_eq(tks__fs_list(scratch, &names), ENOSPC);
  (void)tks__fs_close(fd);
}
