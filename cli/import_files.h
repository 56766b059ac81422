/* import_files.h - the inputs of an import: files and "-" as given, directories as the files of their
 * format in them. */
#ifndef CLI_IMPORT_FILES_H
#define CLI_IMPORT_FILES_H

#include "import_reader.h"

typedef struct import_file {
  char *path;
  uint64_t bytes; /* 0 if not known */
} import_file;

typedef struct import_files {
  import_file *items;
  size_t count;
  size_t capacity;
  uint64_t bytes;  /* of all */
  uint64_t failed; /* could not be looked at, which was said */
} import_files;

/* Files given stay in their order. Those of a directory come by base name and then by path, so that a tree
 * of SYMBOL/DAY files is read day by day. `root` is the store: what lies inside it is refused, for it
 * would be imported into itself. False: out of memory, or such a file, which was said; *exit_code is then
 * set. */
bool import_files_collect(import_files *files, char *const *arguments, int count, import_format format,
                          const char *root, int *exit_code);
void import_files_free(import_files *files);

/* The base name of a path, and the name of the directory that it lies in ("" if the path has none). */
const char *import_base_name(const char *path);
void import_directory_name(const char *path, char *name, size_t capacity);

#endif
