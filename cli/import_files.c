/* import_files.c - walks the arguments with fts, which follows links and knows loops. */
#include "import_files.h"

#include <errno.h>
#include <fts.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "cli.h"

static const char *const endings[][3] = {
    [IMPORT_LEAN] = {".zip", ".csv", NULL},
    [IMPORT_LEGACY_JSON] = {".json", NULL},
    [IMPORT_CSV] = {".csv", NULL},
    [IMPORT_JSONL] = {".jsonl", NULL},
};

const char *import_base_name(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash != NULL ? slash + 1 : path;
}

void import_directory_name(const char *path, char *name, size_t capacity) {
  char *real = NULL;
  const char *end = strrchr(path, '/');
  if (end == NULL) { /* a bare file name: the directory that we are in */
    real = realpath(".", NULL);
    path = real != NULL ? real : "";
    end = path + strlen(path);
  }
  while (end > path && end[-1] == '/') end--;
  const char *start = end;
  while (start > path && start[-1] != '/') start--;
  size_t length = (size_t)(end - start);
  if (length >= capacity) length = 0; /* too long for a name in any case */
  memcpy(name, start, length);
  name[length] = '\0';
  free(real);
}

static bool has_ending(const char *name, import_format format) {
  size_t length = strlen(name);
  for (const char *const *ending = endings[format]; *ending != NULL; ending++) {
    size_t size = strlen(*ending);
    if (length > size && strcasecmp(name + length - size, *ending) == 0) return true;
  }
  return false;
}

static bool add(import_files *files, const char *path, uint64_t bytes) {
  if (files->count == files->capacity) {
    size_t capacity = files->capacity == 0 ? 64 : 2 * files->capacity;
    import_file *larger = realloc(files->items, capacity * sizeof *larger);
    if (larger == NULL) return false;
    files->items = larger;
    files->capacity = capacity;
  }
  char *copy = strdup(path);
  if (copy == NULL) return false;
  files->items[files->count++] = (import_file){copy, bytes};
  files->bytes += bytes;
  return true;
}

static int by_base_name(const void *a, const void *b) {
  const import_file *x = a, *y = b;
  int order = strcmp(import_base_name(x->path), import_base_name(y->path));
  return order != 0 ? order : strcmp(x->path, y->path);
}

static bool visit(import_files *files, const FTSENT *entry, import_format format) {
  switch (entry->fts_info) {
    case FTS_F:
      if (!has_ending(entry->fts_name, format)) return true;
      return add(files, entry->fts_path, (uint64_t)entry->fts_statp->st_size);
    case FTS_DNR:
    case FTS_ERR:
    case FTS_NS:
      cli_data_error("import", "%s: %s", entry->fts_path, strerror(entry->fts_errno));
      files->failed++;
      return true;
    default: return true;
  }
}

static bool is_same(const FTSENT *entry, const struct stat *root) {
  return entry->fts_info == FTS_D && entry->fts_statp->st_dev == root->st_dev &&
         entry->fts_statp->st_ino == root->st_ino;
}

/* The store itself may lie in the directory: it is left out. */
static bool walk(import_files *files, const char *directory, import_format format, const struct stat *root) {
  size_t first = files->count;
  char *copy = strdup(directory);
  FTS *tree = copy != NULL ? fts_open((char *[]){copy, NULL}, FTS_LOGICAL | FTS_NOCHDIR, NULL) : NULL;
  bool ok = tree != NULL;
  for (FTSENT *entry; ok && (entry = fts_read(tree)) != NULL;) {
    if (is_same(entry, root)) fts_set(tree, entry, FTS_SKIP);
    else ok = visit(files, entry, format);
  }
  if (tree != NULL) fts_close(tree);
  free(copy);
  if (files->count > first) qsort(files->items + first, files->count - first, sizeof *files->items, by_base_name);
  else if (ok) cli_data_error("import", "%s: no files that end in %s", directory, endings[format][0]);
  if (files->count == first) files->failed++;
  return ok;
}

/* Whether `path` is `root` or lies below it, links resolved. */
static bool inside(const char *path, const char *root) {
  char *real = realpath(path, NULL), *real_root = realpath(root, NULL);
  bool is_inside = false;
  if (real != NULL && real_root != NULL) {
    size_t length = strlen(real_root);
    is_inside = strncmp(real, real_root, length) == 0 && (real[length] == '/' || real[length] == '\0');
  }
  free(real);
  free(real_root);
  return is_inside;
}

static bool collect(import_files *files, const char *argument, import_format format, const char *root) {
  struct stat status, root_status = {0};
  if (strcmp(argument, "-") == 0) return add(files, argument, 0);
  if (stat(argument, &status) != 0) {
    cli_data_error("import", "%s: %s", argument, strerror(errno));
    files->failed++;
    return true;
  }
  if (S_ISDIR(status.st_mode)) {
    if (stat(root, &root_status) != 0) root_status = (struct stat){0}; /* a new store is nowhere yet */
    return walk(files, argument, format, &root_status);
  }
  return add(files, argument, S_ISREG(status.st_mode) ? (uint64_t)status.st_size : 0);
}

bool import_files_collect(import_files *files, char *const *arguments, int count, import_format format,
                          const char *root, int *exit_code) {
  *files = (import_files){0};
  for (int i = 0; i < count; i++) {
    if (inside(arguments[i], root)) {
      *exit_code = cli_usage_error("import", "%s lies inside the store that it would be imported into", arguments[i]);
      goto failed;
    }
    if (!collect(files, arguments[i], format, root)) {
      *exit_code = cli_data_error("import", "out of memory");
      goto failed;
    }
  }
  return true;

failed:
  import_files_free(files);
  return false;
}

void import_files_free(import_files *files) {
  for (size_t i = 0; i < files->count; i++) free(files->items[i].path);
  free(files->items);
  *files = (import_files){0};
}
