#include "fuzz/fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/scratch.h"

void fuzz_fail(const char *condition, int line, const char *format, ...) {
  (void)fprintf(stderr, "line %d: %s does not hold: ", line, condition);
  va_list args;
  va_start(args, format);
  (void)vfprintf(stderr, format, args);
  va_end(args);
  (void)fputc('\n', stderr);
  abort();
}

/* Under libFuzzer nobody asks for seeds: they lie in its corpus. */
__attribute__((weak)) void fuzz_seed(const void *data, size_t size) {
  (void)data;
  (void)size;
}

void fuzz_seed_text(const char *text) { fuzz_seed(text, strlen(text)); }

/* ------------------------------------------------------------------- files */

static char *directory;

static void remove_directory(void) {
  scratch_remove(directory);
  directory = NULL;
}

const char *fuzz_dir(void) {
  if (directory != NULL) return directory;
  const char *parent = getenv("TMPDIR");
  char *before = parent != NULL ? strdup(parent) : NULL;
  if (access("/dev/shm", R_OK | W_OK | X_OK) == 0) (void)setenv("TMPDIR", "/dev/shm", 1);
  directory = scratch_new();
  if (before != NULL) (void)setenv("TMPDIR", before, 1);
  else (void)unsetenv("TMPDIR");
  free(before);
  (void)atexit(remove_directory);
  return directory;
}

static void path_of(const char *name, char path[PATH_MAX]) {
  int n = snprintf(path, PATH_MAX, "%s/%s", fuzz_dir(), name);
  FUZZ_CHECK(n > 0 && n < PATH_MAX, "%s", name);
}

static void make_parents(char *path) {
  for (char *slash = path + strlen(directory) + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
    *slash = 0;
    FUZZ_CHECK(mkdir(path, 0700) == 0 || errno == EEXIST, "%s: %s", path, strerror(errno));
    *slash = '/';
  }
}

void fuzz_write_file(const char *name, const void *data, size_t size) {
  char path[PATH_MAX];
  path_of(name, path);
  make_parents(path);
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  FUZZ_CHECK(fd >= 0, "%s: %s", path, strerror(errno));
  for (size_t done = 0; done < size;) {
    ssize_t wrote = write(fd, (const char *)data + done, size - done);
    FUZZ_CHECK(wrote > 0, "%s: %s", path, strerror(errno));
    done += (size_t)wrote;
  }
  (void)close(fd);
}

void *fuzz_read_file(const char *name, size_t *size) {
  char path[PATH_MAX];
  path_of(name, path);
  FILE *file = fopen(path, "rbe");
  if (file == NULL) return NULL;
  struct stat st;
  FUZZ_CHECK(fstat(fileno(file), &st) == 0, "%s", path);
  *size = (size_t)st.st_size;
  void *bytes = malloc(*size + 1);
  FUZZ_CHECK(bytes != NULL && fread(bytes, 1, *size, file) == *size, "%s", path);
  (void)fclose(file);
  return bytes;
}

void fuzz_clear(void) { scratch_clear(fuzz_dir()); }

/* ------------------------------------------------------------------- input */

uint64_t fuzz_number(fuzz_input *in, unsigned bytes) {
  uint64_t value = 0;
  for (unsigned i = 0; i < bytes && in->left > 0; i++, in->left--) value |= (uint64_t)*in->at++ << (8 * i);
  return value;
}

uint8_t fuzz_byte(fuzz_input *in) { return (uint8_t)fuzz_number(in, 1); }

size_t fuzz_below(fuzz_input *in, size_t bound) { return (size_t)fuzz_number(in, bound > 256 ? 2 : 1) % bound; }
