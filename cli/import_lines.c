/* import_lines.c - splits a stream into lines with memchr over the window. */
#include "import_lines.h"

#include <stdlib.h>
#include <string.h>

void import_lines_init(import_lines *lines, import_stream *stream) {
  memset(lines, 0, sizeof *lines);
  lines->stream = stream;
}

/* Bytes of the line that starts `offset` bytes into the window, its LF included; 0 if it is longer than
 * `limit`. Without LF before the end of input: what there is, and *cut. */
static size_t measure(import_stream *stream, size_t offset, size_t limit, bool *cut) {
  size_t scanned = offset;
  *cut = false;
  for (;;) {
    const char *start = stream->data + stream->begin;
    size_t have = stream->end - stream->begin;
    const char *end = have > scanned ? memchr(start + scanned, '\n', have - scanned) : NULL;
    size_t length = end != NULL ? (size_t)(end - start) + 1 - offset : have - offset;
    if (length > limit) return 0;
    if (end != NULL) return length;
    scanned = have;
    if (import_stream_fill(stream) > 0) continue;
    *cut = true;
    return length;
  }
}

static void present(const import_lines *lines, const char **text, size_t *length) {
  const char *start = lines->stream->data + lines->stream->begin;
  size_t bytes = lines->length;
  if (!lines->unterminated) {
    bytes--;
    if (bytes > 0 && start[bytes - 1] == '\r') bytes--;
  }
  *text = start;
  *length = bytes;
}

/* Throws away up to and including the next LF. */
static void discard_line(import_stream *stream) {
  for (;;) {
    const char *start = stream->data + stream->begin;
    size_t have = stream->end - stream->begin;
    const char *end = have > 0 ? memchr(start, '\n', have) : NULL;
    import_stream_consume(stream, end != NULL ? (size_t)(end - start) + 1 : have);
    if (end != NULL || import_stream_fill(stream) == 0) return;
  }
}

void import_lines_commit(import_lines *lines) {
  if (lines->held) return;
  if (lines->too_long) discard_line(lines->stream);
  else import_stream_consume(lines->stream, lines->length);
  lines->too_long = false;
  lines->length = 0;
}

import_line import_lines_next(import_lines *lines, const char **text, size_t *length) {
  if (lines->held) return IMPORT_LINE_END;
  import_lines_commit(lines);
  lines->number += lines->count;
  lines->count = 0;
  if (lines->number == 0) lines->number = 1;
  size_t bytes = measure(lines->stream, 0, IMPORT_LINE_MAX, &lines->unterminated);
  if (bytes == 0 && lines->unterminated) return IMPORT_LINE_END;
  lines->count = 1;
  if (bytes == 0) {
    lines->too_long = true;
    return IMPORT_LINE_TOO_LONG;
  }
  lines->length = lines->first = bytes;
  present(lines, text, length);
  return IMPORT_LINE;
}

bool import_lines_extend(import_lines *lines, const char **text, size_t *length) {
  if (lines->unterminated) return false;
  bool cut = false;
  size_t bytes = measure(lines->stream, lines->length, IMPORT_LINE_MAX - lines->length, &cut);
  if (bytes == 0) return false;
  lines->length += bytes;
  lines->unterminated = cut;
  lines->count++;
  present(lines, text, length);
  return true;
}

void import_lines_shrink(import_lines *lines) {
  if (lines->count > 1) lines->unterminated = false;
  lines->length = lines->first;
  lines->count = 1;
}

void import_lines_hold_if_cut(import_lines *lines) {
  if (lines->unterminated) lines->held = true;
}

bool import_lines_whole(const import_lines *lines, import_reader *reader, import_reason *reason) {
  if (!lines->unterminated || lines->stream->zip != NULL) return true;
  if (reader->meaning->strict)
    return import_refuse(reason, "the last line has no line end, so its last number may be cut off");
  reader->unended = true;
  return true;
}

uint64_t import_lines_done(const import_lines *lines) {
  bool consumed = lines->length == 0 && !lines->too_long;
  return consumed ? lines->number + lines->count - 1 : lines->number - 1;
}

bool import_lines_resume(import_lines *lines, uint64_t number, char last) {
  lines->number = number + 1;
  lines->count = 0;
  lines->length = 0;
  if (last == '\n' || import_stream_peek(lines->stream, 1) == 0) return false;
  const char *next = lines->stream->data + lines->stream->begin;
  bool grown = *next != '\n' && *next != '\r';
  discard_line(lines->stream);
  return grown;
}

/* ------------------------------------------------------------------ reader */

static import_step reader_next(import_reader *base, import_row *row, import_reason *reason) {
  import_line_reader *reader = (import_line_reader *)base;
  if (reader->cut_before) {
    reader->cut_before = false;
    base->number = base->done;
    import_refuse(reason, "an earlier import took this line before it was complete");
    return IMPORT_BAD;
  }
  const char *text = NULL;
  size_t length = 0;
  import_line line;
  do line = import_lines_next(&reader->lines, &text, &length);
  while (line == IMPORT_LINE && length == 0);
  base->done = import_lines_done(&reader->lines);
  if (line == IMPORT_LINE_END) return IMPORT_END;
  base->number = reader->lines.number;
  if (line == IMPORT_LINE_TOO_LONG) {
    import_refuse(reason, "the line is longer than %u bytes", IMPORT_LINE_MAX);
    return IMPORT_BAD;
  }
  import_row_init(row);
  if (reader->parse(reader, text, length, row, reason) && import_lines_whole(&reader->lines, base, reason))
    return IMPORT_ROW;
  import_lines_shrink(&reader->lines);
  import_lines_hold_if_cut(&reader->lines);
  return IMPORT_BAD;
}

static void reader_commit(import_reader *base) {
  import_line_reader *reader = (import_line_reader *)base;
  import_lines_commit(&reader->lines);
  base->done = import_lines_done(&reader->lines);
}

static void reader_resume(import_reader *base, uint64_t number) {
  import_line_reader *reader = (import_line_reader *)base;
  base->done = number;
  reader->cut_before = import_lines_resume(&reader->lines, number, import_stream_last(base->stream));
}

static void reader_free(import_reader *base) { free(base); }

void import_line_reader_init(import_line_reader *reader, import_stream *stream, const import_meaning *meaning) {
  reader->base = (import_reader){.next = reader_next,
                                 .commit = reader_commit,
                                 .resume = reader_resume,
                                 .free = reader_free,
                                 .stream = stream,
                                 .meaning = meaning,
                                 .unit = "line"};
  import_stream_skip_bom(stream);
  import_lines_init(&reader->lines, stream);
}
