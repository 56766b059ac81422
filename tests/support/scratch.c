#include "support/scratch.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

char *scratch_new(void) {
  const char *parent = getenv("TMPDIR");
  if (parent == NULL || *parent == 0) parent = "/tmp";
  size_t size = strlen(parent) + sizeof "/tks-XXXXXX";
  char *path = malloc(size);
  if (path == NULL) abort();
  (void)snprintf(path, size, "%s/tks-XXXXXX", parent);
  if (mkdtemp(path) == NULL) {
    perror(path);
    abort();
  }
  return path;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at) {
  (void)st;
  (void)type;
  if (at->level > 0) (void)remove(path);
  return 0;
}

void scratch_clear(const char *path) { (void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS); }

void scratch_remove(char *path) {
  if (path == NULL) return;
  scratch_clear(path);
  (void)rmdir(path);
  free(path);
}
