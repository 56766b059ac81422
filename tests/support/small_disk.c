#include "support/small_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/stores.h"

void small_disk_paths(const char *dir, char disk[PATH_MAX], char root[PATH_MAX], char ballast[PATH_MAX]) {
  (void)snprintf(disk, PATH_MAX, "%.3000s/disk", dir);
  (void)snprintf(root, PATH_MAX, "%.3000s/disk/store", dir);
  (void)snprintf(ballast, PATH_MAX, "%.3000s/disk/ballast", dir);
  make_dirs(disk);
}

static void map_ids(const char *path, unsigned inside, unsigned outside) {
  char text[64];
  int n = snprintf(text, sizeof text, "%u %u 1", inside, outside);
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;
  (void)!write(fd, text, (size_t)n);
  (void)close(fd);
}

static bool enter_namespace(void) {
  if (unshare(CLONE_NEWNS) == 0) return true;
  unsigned uid = getuid(), gid = getgid();
  if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return false;
  map_ids("/proc/self/setgroups", 0, 0);
  map_ids("/proc/self/uid_map", 0, uid);
  map_ids("/proc/self/gid_map", 0, gid);
  return true;
}

bool small_disk_mount(const char *path, unsigned mebibytes) {
  char size[32];
  (void)snprintf(size, sizeof size, "size=%um", mebibytes);
  return enter_namespace() && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
         mount("tmpfs", path, "tmpfs", 0, size) == 0;
}

void small_disk_unmount(const char *path) { (void)umount(path); }

void small_disk_fill(const char *ballast, size_t leave) {
  static char zeros[1 << 16];
  int fd = open(ballast, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  while (fd >= 0 && write(fd, zeros, sizeof zeros) > 0) {
  }
  if (errno != ENOSPC) {
    perror(ballast);
    abort();
  }
  (void)close(fd);
  if (leave > 0) small_disk_free(ballast, leave);
}

void small_disk_free(const char *ballast, size_t bytes) {
  struct stat st;
  if (stat(ballast, &st) != 0 || truncate(ballast, st.st_size > (off_t)bytes ? st.st_size - (off_t)bytes : 0) != 0) {
    perror(ballast);
    abort();
  }
}
