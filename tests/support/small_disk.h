/* small_disk.h - a tmpfs in a mount namespace of the test's own, with a ballast file that fills it and can be taken away. */
#ifndef TKS_TESTS_SUPPORT_SMALL_DISK_H
#define TKS_TESTS_SUPPORT_SMALL_DISK_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

/* Where they lie in a test's directory: the mount point (made), a store and the ballast below it. */
void small_disk_paths(const char *dir, char disk[PATH_MAX], char root[PATH_MAX], char ballast[PATH_MAX]);

/* Mounts one of so many mebibytes over the directory `path`; false (see errno) where such a mount is not allowed. For a process
 * with one thread. */
bool small_disk_mount(const char *path, unsigned mebibytes);

/* Once nothing below is open any more. */
void small_disk_unmount(const char *path);

/* Takes all room of the disk that `ballast` lies on but for `leave` bytes, with what it takes already. */
void small_disk_fill(const char *ballast, size_t leave);

/* Gives so many bytes back, or all. */
void small_disk_free(const char *ballast, size_t bytes);

#endif
