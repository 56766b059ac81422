/* import_stream.c - files, zips and pipes as one kind of byte stream with a running XXH3 digest. */
#include "import_stream.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>
#include <zip.h>

enum { CHUNK = 256 * 1024, POLL_MS = 200 };

static const volatile int *stop_flag; /* one import at a time per process */

static bool fail(import_stream *stream, const char *what, const char *why) {
  snprintf(stream->error, sizeof stream->error, "%s%s%s", what, why ? ": " : "", why ? why : "");
  stream->failed = true;
  return false;
}

static bool is_directory_entry(const char *name) {
  size_t length = strlen(name);
  return length > 0 && name[length - 1] == '/';
}

static bool ends_with_csv(const char *name) {
  size_t length = strlen(name);
  return length >= 4 && strcasecmp(name + length - 4, ".csv") == 0;
}

/* The one file in the zip or, among several, its one CSV. */
static bool choose_entry(import_stream *stream, zip_uint64_t *chosen) {
  zip_int64_t entries = zip_get_num_entries(stream->zip, 0);
  zip_uint64_t file = 0, csv = 0;
  size_t files = 0, csvs = 0;
  for (zip_uint64_t i = 0; i < (zip_uint64_t)(entries < 0 ? 0 : entries); i++) {
    const char *name = zip_get_name(stream->zip, i, 0);
    if (name == NULL || is_directory_entry(name)) continue;
    file = i;
    files++;
    if (ends_with_csv(name)) {
      csv = i;
      csvs++;
    }
  }
  if (csvs == 1) *chosen = csv;
  else if (files == 1) *chosen = file;
  else return fail(stream, files == 0 ? "the zip is empty" : "the zip holds several files, not one CSV", NULL);
  return true;
}

static bool open_zip(import_stream *stream, const char *path) {
  int code = 0;
  stream->zip = zip_open(path, ZIP_RDONLY, &code);
  if (stream->zip == NULL) {
    zip_error_t error;
    zip_error_init_with_code(&error, code);
    fail(stream, "cannot read the zip", zip_error_strerror(&error));
    zip_error_fini(&error);
    return false;
  }
  zip_uint64_t entry = 0;
  if (!choose_entry(stream, &entry)) return false;
  zip_stat_t status;
  zip_stat_init(&status);
  if (zip_stat_index(stream->zip, entry, 0, &status) == 0) {
    if (status.valid & ZIP_STAT_SIZE) stream->size = status.size;
    if (status.valid & ZIP_STAT_NAME) snprintf(stream->inner, sizeof stream->inner, "%s", status.name);
  }
  stream->zip_file = zip_fopen_index(stream->zip, entry, 0);
  if (stream->zip_file == NULL) return fail(stream, "cannot read the zip", zip_strerror(stream->zip));
  return true;
}

static bool open_file(import_stream *stream, const char *path, bool zip) {
  bool standard_input = strcmp(path, "-") == 0;
  stream->fd = standard_input ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
  if (stream->fd < 0) return fail(stream, "cannot open", strerror(errno));
  struct stat status;
  if (fstat(stream->fd, &status) != 0) return fail(stream, "cannot open", strerror(errno));
  if (S_ISDIR(status.st_mode)) return fail(stream, "is a directory", NULL);
  if (standard_input || !S_ISREG(status.st_mode)) return true;
  stream->regular = true;
  stream->file_bytes = (uint64_t)status.st_size;
  char magic[4];
  if (zip && pread(stream->fd, magic, sizeof magic, 0) == 4 && magic[0] == 'P' && magic[1] == 'K' &&
      (magic[2] == 3 || magic[2] == 5))
    return open_zip(stream, path);
  stream->size = stream->file_bytes;
  posix_fadvise(stream->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
  return true;
}

bool import_stream_open(import_stream *stream, const char *path, bool zip, const volatile int *stop) {
  memset(stream, 0, sizeof *stream);
  stream->fd = -1;
  stream->size = UINT64_MAX;
  stop_flag = stop;
  if (!open_file(stream, path, zip)) goto failed;
  stream->capacity = 2 * CHUNK;
  stream->data = malloc(stream->capacity);
  stream->hash = XXH3_createState();
  if (stream->data == NULL || stream->hash == NULL) {
    fail(stream, "out of memory", NULL);
    goto failed;
  }
  XXH3_128bits_reset(stream->hash);
  return true;

failed:
  import_stream_close(stream);
  return false;
}

void import_stream_close(import_stream *stream) {
  if (stream->zip_file != NULL) zip_fclose(stream->zip_file);
  if (stream->zip != NULL) zip_discard(stream->zip);
  if (stream->fd > STDIN_FILENO) close(stream->fd);
  XXH3_freeState(stream->hash);
  free(stream->data);
  stream->zip_file = stream->zip = stream->hash = NULL;
  stream->data = NULL;
  stream->fd = -1;
}

/* A pipe may stay silent for ever, and a signal may come just before the read: so it is polled, not read
 * blindly. */
static ssize_t read_pipe(import_stream *stream, void *into, size_t room) {
  for (;;) {
    if (stop_flag != NULL && *stop_flag != 0) {
      stream->interrupted = true;
      return 0;
    }
    struct pollfd waited = {.fd = stream->fd, .events = POLLIN};
    int ready = poll(&waited, 1, POLL_MS);
    if (ready < 0 && errno != EINTR) return -1;
    if (ready <= 0) continue;
    ssize_t got = read(stream->fd, into, room);
    if (got >= 0 || (errno != EINTR && errno != EAGAIN)) return got;
  }
}

static ssize_t read_some(import_stream *stream, void *into, size_t room) {
  if (stream->zip_file != NULL) {
    ssize_t got = (ssize_t)zip_fread(stream->zip_file, into, room);
    if (got < 0) fail(stream, "cannot read the zip", zip_file_strerror(stream->zip_file));
    return got;
  }
  ssize_t got;
  do got = stream->regular ? read(stream->fd, into, room) : read_pipe(stream, into, room);
  while (got < 0 && errno == EINTR);
  if (got < 0) fail(stream, "cannot read", strerror(errno));
  return got;
}

static void hash_consumed(import_stream *stream) {
  if (stream->hashed == stream->begin) return;
  XXH3_128bits_update(stream->hash, stream->data + stream->hashed, stream->begin - stream->hashed);
  stream->hashed = stream->begin;
}

static bool make_room(import_stream *stream) {
  hash_consumed(stream);
  stream->last = import_stream_last(stream);
  memmove(stream->data, stream->data + stream->begin, stream->end - stream->begin);
  stream->end -= stream->begin;
  stream->begin = stream->hashed = 0;
  if (stream->capacity - stream->end >= CHUNK) return true;
  char *larger = realloc(stream->data, stream->capacity * 2);
  if (larger == NULL) return fail(stream, "out of memory", NULL);
  stream->data = larger;
  stream->capacity *= 2;
  return true;
}

size_t import_stream_fill(import_stream *stream) {
  if (stream->at_end || stream->failed || !make_room(stream)) return 0;
  ssize_t got = read_some(stream, stream->data + stream->end, CHUNK);
  if (got <= 0) {
    stream->at_end = true;
    return 0;
  }
  stream->end += (size_t)got;
  return (size_t)got;
}

size_t import_stream_peek(import_stream *stream, size_t wanted) {
  while (stream->end - stream->begin < wanted && import_stream_fill(stream) > 0) {
  }
  return stream->end - stream->begin;
}

void import_stream_consume(import_stream *stream, size_t bytes) {
  stream->begin += bytes;
  stream->position += bytes;
}

bool import_stream_skip_to(import_stream *stream, uint64_t position) {
  while (stream->position < position) {
    size_t have = stream->end - stream->begin;
    if (have == 0) {
      if (import_stream_fill(stream) == 0) return false;
      continue;
    }
    uint64_t missing = position - stream->position;
    import_stream_consume(stream, missing < have ? (size_t)missing : have);
  }
  return true;
}

char import_stream_last(const import_stream *stream) {
  if (stream->position == 0) return '\n';
  return stream->begin > 0 ? stream->data[stream->begin - 1] : stream->last;
}

void import_stream_skip_bom(import_stream *stream) {
  if (import_stream_peek(stream, 3) >= 3 && memcmp(stream->data + stream->begin, "\xef\xbb\xbf", 3) == 0)
    import_stream_consume(stream, 3);
}

static void canonical(XXH128_hash_t hash, import_digest *digest) {
  XXH128_canonical_t bytes;
  XXH128_canonicalFromHash(&bytes, hash);
  memcpy(digest->bytes, bytes.digest, sizeof digest->bytes);
}

void import_stream_digest(import_stream *stream, import_digest *digest) {
  hash_consumed(stream);
  canonical(XXH3_128bits_digest(stream->hash), digest);
}

void import_digest_of(const void *data, size_t length, import_digest *digest) {
  canonical(XXH3_128bits(data, length), digest);
}

uint64_t import_stream_progress(const import_stream *stream) {
  if (stream->zip == NULL || stream->size == 0 || stream->size == UINT64_MAX) return stream->position;
  return (uint64_t)((double)stream->position / (double)stream->size * (double)stream->file_bytes);
}
