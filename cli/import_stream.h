/* import_stream.h - the bytes of an input, read once from front to back in bounded memory, and their digests.
 *
 * A stream is a regular file, the one CSV in a zip, standard input or another pipe. It keeps a window of
 * bytes that its reader looks at and consumes. The digest is over exactly what was consumed, of the
 * decompressed bytes, so that a position and its digest say how much of an input has been dealt with,
 * whatever the file is called.
 *
 * Invariants: data[begin, end) is read and not consumed; data[hashed, begin) is consumed and not yet in
 * the hash; position counts consumed bytes. */
#ifndef CLI_IMPORT_STREAM_H
#define CLI_IMPORT_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IMPORT_DIGEST_BYTES 16 /* XXH3, 128 bits, in canonical byte order */

typedef struct import_digest {
  unsigned char bytes[IMPORT_DIGEST_BYTES];
} import_digest;

typedef struct import_stream {
  char *data;
  size_t begin;
  size_t end;
  size_t hashed;
  size_t capacity;
  char last; /* the byte before data[begin], where begin is 0 */
  uint64_t position;
  uint64_t size;       /* of the decompressed input; UINT64_MAX if not known */
  uint64_t file_bytes; /* of the file; 0 if not known */
  bool regular;        /* has an identity: can be opened again and gives the same bytes */
  bool at_end;         /* the input has no more bytes than the window holds */
  bool interrupted;    /* a signal asked to stop while a pipe was waited for */
  bool failed;         /* error says why */
  int fd;              /* -1 if none */
  void *zip;           /* zip_t and zip_file_t */
  void *zip_file;
  void *hash;      /* XXH3_state_t */
  char inner[256]; /* name of the file inside a zip, else empty */
  char error[240];
} import_stream;

/* `path` may be "-". A file that starts like a zip is opened as one only if `zip`. On false, error says
 * why and nothing is left to close. `stop` is polled while a pipe has nothing to read; reading ends when
 * it becomes nonzero. */
bool import_stream_open(import_stream *stream, const char *path, bool zip, const volatile int *stop);
void import_stream_close(import_stream *stream);

/* Reads on; how many bytes were added, 0 at the end or on failure. Moves the window: pointers into it are
 * void. */
size_t import_stream_fill(import_stream *stream);

/* Fills until the window has `wanted` bytes or the input ends; how many it has. */
size_t import_stream_peek(import_stream *stream, size_t wanted);

void import_stream_consume(import_stream *stream, size_t bytes);

/* Consumes up to a position not before the present one; false if the input ends first. */
bool import_stream_skip_to(import_stream *stream, uint64_t position);

/* The byte before the present position; a line end where there is none. */
char import_stream_last(const import_stream *stream);

/* Consumes the byte order mark of UTF-8 if the window starts with one. */
void import_stream_skip_bom(import_stream *stream);

/* Of everything consumed so far. */
void import_stream_digest(import_stream *stream, import_digest *digest);
void import_digest_of(const void *data, size_t length, import_digest *digest);

/* How much of the file is read, in bytes of the file, for progress. */
uint64_t import_stream_progress(const import_stream *stream);

#endif
