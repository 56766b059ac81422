/* json_file.h - one JSON day file, open for appending.
 *
 *   1. The file holds whole lines up to `length`; the last of them has the sequence number `last_seq`.
 *   2. What lies behind `length` is the rest of a failed or interrupted write. Opening cuts it off, and so does the
 *      next append after a failed one (`torn`).
 *   3. Up to `synced` it is on stable storage, or was there before it was opened.
 *   4. After a failed sync the kernel may have dropped what it could not write, and takes the pages for clean: another
 *      sync would report a success that is none. So the file is `suspect` until it was opened again, the lines
 *      behind `synced` were read back, found whole, and written once more. */
#ifndef TKS_PERSIST_JSON_FILE_H
#define TKS_PERSIST_JSON_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"

typedef struct tks__json_file {
  int fd; /* -1: not open, which together with `suspect` means: to be opened again */
  bool torn;
  bool suspect;
  bool lost; /* lines written after the last sync were not there when they were read back */
  int64_t length;
  int64_t synced;
  uint64_t last_seq; /* 0: no lines */
} tks__json_file;

/* All return 0 or an errno value. `path` lies below `root`; missing directories between them are made. */

/* Opens or creates the file, and cuts off what is behind its last line that can be read. Should there be whole lines
 * among that, they are kept in <path>.damaged-N. ELOOP: a symbolic link; EISDIR, ENOTSUP: something else that is not a
 * file. */
int tks__json_file_open(tks__json_file *file, const char *path, const char *root, const tks__log *log);

/* Makes good what a crash left of a file, which is not open: lines that were not synced may have holes, which read as zeros,
 * with whole lines behind them. From the first hole on everything is cut off, and kept in <path>.cut-N if there are whole
 * lines in it; so is what opening would cut off. The rest is synced. ENOENT: there is no such file. */
int tks__json_file_recover(const char *path, const tks__log *log);

/* Makes a suspect file usable again. Does nothing to others. */
int tks__json_file_restore(tks__json_file *file, const char *path, const char *root, const tks__log *log);

/* Appends whole lines, of which the last has the sequence number `last_seq`: all of them or, on failure, none. Not
 * for suspect files. */
int tks__json_file_append(tks__json_file *file, const char *lines, size_t length, uint64_t last_seq);

/* Puts everything appended on stable storage. A failure is final for what it was about; the next call may succeed
 * because the lines have been written anew. */
int tks__json_file_sync(tks__json_file *file, const char *path, const char *root, const tks__log *log);

/* Whether there is something to sync. */
bool tks__json_file_is_dirty(const tks__json_file *file);

/* A hint that a sync will follow: of many files, start all before syncing each. */
void tks__json_file_start_sync(const tks__json_file *file);

void tks__json_file_close(tks__json_file *file);

#endif
