#include "persist/json_file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "persist/json_line.h"
#include "persist/layout.h"

#define WINDOW (8 * TKS__JSON_LINE_MAX)
#define ASIDE_MAX 1000

static bool parse_seq(const char *line, size_t length, uint64_t *seq) {
  tks__json_fields fields;
  if (length > TKS__JSON_LINE_MAX || !tks__json_line_parse(line, length, &fields)) return false;
  *seq = fields.record.seq;
  return true;
}

/* ------------------------------------------------------------------ opening */

/* Reads exactly; a file that is shorter than it was a moment ago has another writer. */
static int read_exactly(int fd, char *bytes, size_t length, int64_t offset) {
  size_t got;
  int rc = tks__fs_read_some(fd, bytes, length, offset, &got);
  return rc != 0 ? rc : got == length ? 0 : EIO;
}

/* Looks through one window from its back. True: found, *line_end is where the last good line ends. False: *left bytes
 * of the window are still to be looked at, as the end of an earlier window. */
static bool find_line(const char *window, size_t size, bool at_start, size_t *line_end, uint64_t *seq, size_t *left) {
  size_t stop = size;
  for (;;) {
    const char *newline = memrchr(window, '\n', stop);
    *left = 0;
    if (newline == NULL) return false;
    size_t end = (size_t)(newline - window) + 1;
    const char *before = memrchr(window, '\n', end - 1);
    size_t begin = before == NULL ? 0 : (size_t)(before - window) + 1;
    if (before == NULL && !at_start && end <= TKS__JSON_LINE_MAX) {
      *left = end; /* it begins in the window before */
      return false;
    }
    if (parse_seq(window + begin, end - begin, seq)) {
      *line_end = end;
      return true;
    }
    stop = end - 1;
  }
}

static int find_end(int fd, int64_t size, int64_t *length, uint64_t *seq) {
  char window[WINDOW];
  int64_t end = size;
  *length = 0;
  *seq = 0;
  while (end > 0) {
    size_t want = end < WINDOW ? (size_t)end : WINDOW, line_end, left;
    int64_t start = end - (int64_t)want;
    int rc = read_exactly(fd, window, want, start);
    if (rc != 0) return rc;
    if (find_line(window, want, start == 0, &line_end, seq, &left)) {
      *length = start + (int64_t)line_end;
      return 0;
    }
    end = start + (int64_t)left;
  }
  return 0;
}

/* Where in [from, to) the first such byte is; `to` if nowhere. */
static int find_byte(int fd, char byte, int64_t from, int64_t to, int64_t *at) {
  char window[WINDOW];
  while (from < to) {
    size_t want = to - from < WINDOW ? (size_t)(to - from) : WINDOW;
    int rc = read_exactly(fd, window, want, from);
    if (rc != 0) return rc;
    const char *found = memchr(window, byte, want);
    if (found != NULL) {
      *at = from + (found - window);
      return 0;
    }
    from += (int64_t)want;
  }
  *at = to;
  return 0;
}

static int has_newline(int fd, int64_t from, int64_t to, bool *found) {
  int64_t at;
  int rc = find_byte(fd, '\n', from, to, &at);
  *found = rc == 0 && at < to;
  return rc;
}

static int copy_bytes(int from_fd, int64_t from, int64_t to, int to_fd) {
  char window[WINDOW];
  for (int64_t at = from; at < to;) {
    size_t want = to - at < WINDOW ? (size_t)(to - at) : WINDOW;
    int rc = read_exactly(from_fd, window, want, at);
    if (rc == 0) rc = tks__fs_write_all(to_fd, window, want, at - from);
    if (rc != 0) return rc;
    at += (int64_t)want;
  }
  return tks__fs_sync(to_fd);
}

/* A crash cuts one line short. Whole lines that cannot be read are something else, perhaps somebody's work, and are not
 * ours to delete. */
static int keep_aside(int fd, int64_t from, int64_t to, const char *path, const char *how, char aside[TKS__PATH_MAX]) {
  int copy = -1, rc = EEXIST;
  for (int n = 1; n <= ASIDE_MAX && rc == EEXIST; n++) {
    int length = snprintf(aside, TKS__PATH_MAX, "%s.%s-%d", path, how, n);
    if (length < 0 || length >= TKS__PATH_MAX) return ENAMETOOLONG;
    rc = tks__fs_open(aside, O_WRONLY | O_CREAT | O_EXCL, 0666, &copy);
  }
  if (rc != 0) return rc;
  rc = copy_bytes(fd, from, to, copy);
  int closed = tks__fs_close(copy);
  if (rc == 0) rc = closed;
  if (rc == 0) rc = tks__fs_sync_dir_of(aside);
  if (rc != 0) (void)unlink(aside);
  return rc;
}

/* `how`: the ending of the name that whole lines are kept under. */
static int cut(int fd, int64_t length, int64_t size, const char *path, const char *how, const tks__log *log) {
  bool lines;
  char aside[TKS__PATH_MAX];
  int rc = has_newline(fd, length, size, &lines);
  if (rc == 0 && lines) rc = keep_aside(fd, length, size, path, how, aside);
  if (rc != 0) return rc;
  rc = tks__fs_truncate(fd, length);
  if (rc != 0) {
    if (lines) (void)unlink(aside); /* or every attempt would leave one more copy */
    return rc;
  }
  /* Or what was cut off could be back after a power loss, with half of the next lines in it. */
  rc = tks__fs_sync(fd);
  if (rc != 0) return rc;
  long long bytes = (long long)(size - length);
  if (lines)
    tks__log_write(log, TKS_LOG_WARN, "%s: cut %lld bytes that cannot be read from its end, kept in %s", path, bytes,
                   aside);
  else tks__log_write(log, TKS_LOG_WARN, "%s: cut %lld bytes of a line that was never finished", path, bytes);
  return 0;
}

static int open_fd(const char *path, const char *root, int *fd) {
  /* O_NONBLOCK: opening must not wait, whatever stands in the file's place. */
  const int flags = O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK;
  int rc = tks__fs_open(path, flags, 0666, fd);
  if (rc != ENOENT) return rc;
  char dir[TKS__PATH_MAX];
  (void)snprintf(dir, sizeof dir, "%s", path);
  char *slash = strrchr(dir, '/');
  if (slash == NULL) return ENOENT;
  *slash = 0;
  rc = tks__fs_mkdirs(dir, root);
  return rc != 0 ? rc : tks__fs_open(path, flags, 0666, fd);
}

static int open_checked(tks__json_file *file, const char *path, const tks__log *log) {
  struct stat st;
  if (fstat(file->fd, &st) != 0) return errno;
  if (!S_ISREG(st.st_mode)) return ENOTSUP;
  /* Empty means that it was made just now, or by an attempt that failed before its directory was synced. */
  if (st.st_size == 0) return tks__fs_sync_dir_of(path);
  int rc = find_end(file->fd, st.st_size, &file->length, &file->last_seq);
  if (rc == 0 && file->length < st.st_size) rc = cut(file->fd, file->length, st.st_size, path, "damaged", log);
  file->synced = file->length;
  return rc;
}

int tks__json_file_open(tks__json_file *file, const char *path, const char *root, const tks__log *log) {
  *file = (tks__json_file){.fd = -1};
  int rc = open_fd(path, root, &file->fd);
  if (rc != 0) return rc;
  rc = open_checked(file, path, log);
  if (rc != 0) {
    (void)tks__fs_close(file->fd);
    *file = (tks__json_file){.fd = -1};
  }
  return rc;
}

static int recover_fd(int fd, const char *path, const tks__log *log) {
  struct stat st;
  if (fstat(fd, &st) != 0) return errno;
  if (!S_ISREG(st.st_mode)) return 0;
  int64_t hole, length = 0;
  uint64_t seq;
  int rc = find_byte(fd, 0, 0, st.st_size, &hole);
  if (rc == 0) rc = find_end(fd, hole, &length, &seq);
  if (rc == 0 && length < st.st_size)
    rc = cut(fd, length, st.st_size, path, hole < st.st_size ? "cut" : "damaged", log);
  return rc == 0 ? tks__fs_sync(fd) : rc;
}

int tks__json_file_recover(const char *path, const tks__log *log) {
  int fd;
  int rc = tks__fs_open(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK, 0, &fd);
  if (rc != 0) return rc;
  rc = recover_fd(fd, path, log);
  int closed = tks__fs_close(fd);
  return rc != 0 ? rc : closed;
}

/* --------------------------------------------------------------- restoring */

/* Writes the lines behind `from` once more, so that the kernel has them to write. */
static int write_anew(const tks__json_file *file, int64_t from, bool *bad) {
  char window[WINDOW];
  for (int64_t at = from; at < file->length;) {
    int64_t left = file->length - at;
    size_t want = left < WINDOW ? (size_t)left : WINDOW;
    int rc = read_exactly(file->fd, window, want, at);
    if (rc == 0) rc = tks__fs_write_all(file->fd, window, want, at);
    if (rc != 0) return rc;
    const char *line = window;
    for (const char *end; (end = memchr(line, '\n', want - (size_t)(line - window))) != NULL; line = end + 1) {
      uint64_t seq;
      *bad |= !parse_seq(line, (size_t)(end - line) + 1, &seq);
    }
    if (line == window) *bad = true;
    at += line == window ? (int64_t)want : line - window; /* a line cut by the window is read again as a whole */
  }
  return 0;
}

int tks__json_file_restore(tks__json_file *file, const char *path, const char *root, const tks__log *log) {
  if (!file->suspect) return 0;
  if (file->fd >= 0) (void)tks__fs_close(file->fd);
  file->fd = -1;
  tks__json_file again;
  int rc = tks__json_file_open(&again, path, root, log);
  if (rc != 0) return rc;
  bool lost = again.length < file->length || again.last_seq < file->last_seq;
  again.synced = file->synced < again.length ? file->synced : again.length;
  rc = write_anew(&again, again.synced, &lost);
  if (rc != 0) {
    (void)tks__fs_close(again.fd);
    return rc;
  }
  if (lost)
    tks__log_write(log, TKS_LOG_ERROR,
                   "%s: lines behind byte %lld are lost after a failed sync; the last sequence number is %llu, "
                   "was %llu",
                   path, (long long)again.synced, (unsigned long long)again.last_seq,
                   (unsigned long long)file->last_seq);
  again.lost = lost || file->lost;
  *file = again;
  return 0;
}

/* --------------------------------------------------------------- appending */

static int settle(tks__json_file *file) {
  if (!file->torn) return 0;
  int rc = tks__fs_truncate(file->fd, file->length);
  file->torn = rc != 0;
  return rc;
}

int tks__json_file_append(tks__json_file *file, const char *lines, size_t length, uint64_t last_seq) {
  assert(file->fd >= 0 && !file->suspect);
  int rc = settle(file);
  if (rc != 0) return rc;
  rc = tks__fs_write_all(file->fd, lines, length, file->length);
  if (rc != 0) {
    file->torn = true;
    (void)settle(file);
    return rc;
  }
  file->length += (int64_t)length;
  file->last_seq = last_seq;
  return 0;
}

int tks__json_file_sync(tks__json_file *file, const char *path, const char *root, const tks__log *log) {
  int rc = tks__json_file_restore(file, path, root, log);
  if (rc != 0) return rc;
  if (file->synced == file->length) return 0;
  rc = tks__fs_sync(file->fd);
  if (rc == 0) {
    file->synced = file->length;
    return 0;
  }
  file->suspect = true;
  (void)tks__json_file_restore(file, path, root, log);
  return rc;
}

bool tks__json_file_is_dirty(const tks__json_file *file) { return file->suspect || file->synced < file->length; }

void tks__json_file_start_sync(const tks__json_file *file) {
  if (!file->suspect && file->synced < file->length) tks__fs_start_sync(file->fd);
}

void tks__json_file_close(tks__json_file *file) {
  if (file->fd < 0) return;
  (void)settle(file);
  (void)tks__fs_close(file->fd);
  file->fd = -1;
}
