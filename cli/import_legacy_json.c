/* import_legacy_json.c - the legacy tick files: one JSON array of flat objects.
 *
 * The array is never loaded as a whole: objects are found one by one by their braces, so a file of any size
 * needs one window of memory, a file cut off in the middle gives all its whole records, and a broken record
 * costs itself alone. Where an object does not parse or has no end, reading goes on at the next place that
 * looks like the start of a record: a comma, an opening brace and a quote.
 *
 * A record is consumed together with the separators before it. So the position after the last record is
 * the same in [a,b], in [a,b and in [a,b,c]: a file that was cut off or has grown since goes on where it
 * was. */
#include <stdlib.h>
#include <string.h>

#include "import_json.h"

enum { OBJECT_MAX = 64 * 1024 }; /* a record is about 200 bytes */

typedef struct legacy_reader {
  import_reader base;
  import_json json;
  size_t length;   /* bytes of the record and the separators before it; 0 once it is consumed */
  bool discarding; /* its end is not in the window */
  bool closed;     /* the last bracket seen was a closing one */
} legacy_reader;

static const char *window(const import_stream *stream) { return stream->data + stream->begin; }
static size_t window_size(const import_stream *stream) { return stream->end - stream->begin; }

/* The byte at `offset` of the window, read on for where necessary; -1 at the end of input. */
static int byte_at(import_stream *stream, size_t offset) {
  if (offset >= window_size(stream) && import_stream_peek(stream, offset + 1) <= offset) return -1;
  return (unsigned char)window(stream)[offset];
}

static bool is_space(int c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

typedef enum measured { MEASURED, ENDLESS, CUT_OFF } measured;

/* Bytes of the object whose opening brace is at `offset`: up to the brace that closes it. */
static measured measure(import_stream *stream, size_t offset, size_t *length) {
  unsigned depth = 0;
  bool string = false;
  for (size_t i = offset;; i++) {
    if (i - offset >= OBJECT_MAX) return ENDLESS;
    int c = byte_at(stream, i);
    if (c < 0) return CUT_OFF;
    if (string) {
      if (c == '\\') i++;
      else if (c == '"') string = false;
    } else if (c == '"') {
      string = true;
    } else if (c == '{') {
      depth++;
    } else if (c == '}' && --depth == 0) {
      *length = i + 1 - offset;
      return MEASURED;
    }
  }
}

/* The offset of the next `{` with a comma before and a quote behind it; 0 if there is none in [offset, end). */
static size_t find_start(const import_stream *stream, size_t offset, size_t end) {
  const char *text = window(stream);
  for (size_t i = offset; i < end; i++) {
    const char *brace = memchr(text + i, '{', end - i);
    if (brace == NULL) return 0;
    i = (size_t)(brace - text);
    size_t before = i, behind = i + 1;
    while (before > offset && is_space(text[before - 1])) before--;
    while (behind < end && is_space(text[behind])) behind++;
    if (before > offset && text[before - 1] == ',' && behind < end && text[behind] == '"') return i;
  }
  return 0;
}

/* Consumes up to the next start of a record, or to the end. */
static void discard(legacy_reader *legacy) {
  import_stream *stream = legacy->base.stream;
  size_t start = 0;
  while ((start = find_start(stream, 0, window_size(stream))) == 0) {
    /* The pattern may lie across the window's end: some of the tail stays. */
    size_t have = window_size(stream), tail = have < 64 ? have : 64;
    import_stream_consume(stream, have - tail);
    if (import_stream_fill(stream) > 0) continue;
    import_stream_consume(stream, window_size(stream));
    legacy->base.truncated = true;
    return;
  }
  import_stream_consume(stream, start);
}

static void legacy_commit(import_reader *reader) {
  legacy_reader *legacy = (legacy_reader *)reader;
  import_stream_consume(reader->stream, legacy->length);
  if (legacy->discarding) discard(legacy);
  legacy->discarding = false;
  legacy->length = 0;
  reader->done = reader->number;
}

/* Leaves *offset at the first byte of the next record; that byte, or -1 at the end of input. */
static int skip_separators(legacy_reader *legacy, size_t *offset) {
  import_stream *stream = legacy->base.stream;
  *offset = 0;
  for (;; (*offset)++) {
    if (*offset >= OBJECT_MAX) {
      import_stream_consume(stream, *offset);
      *offset = 0;
    }
    int c = byte_at(stream, *offset);
    if (c == '[') legacy->closed = false;
    else if (c == ']') legacy->closed = true;
    else if (c != ',' && !is_space(c)) return c;
  }
}

/* The record at `offset` has no sensible end at `end`: it goes as far as the next start. */
static import_step broken(legacy_reader *legacy, size_t offset, size_t end, bool endless) {
  size_t start = find_start(legacy->base.stream, offset + 1, end);
  legacy->discarding = start == 0 && endless;
  legacy->length = legacy->discarding ? offset + 1 : start != 0 ? start : end;
  return IMPORT_BAD;
}

/* The input ends inside a record that is not followed by another one. */
static import_step cut_off(legacy_reader *legacy) {
  legacy->base.number--;
  legacy->base.truncated = true;
  return IMPORT_END;
}

static import_step read_object(legacy_reader *legacy, size_t offset, import_row *row, import_reason *reason) {
  import_stream *stream = legacy->base.stream;
  size_t length = 0;
  switch (measure(stream, offset, &length)) {
    case MEASURED:
      if (!import_json_row(&legacy->json, &legacy->base, window(stream) + offset, length, row, reason)) {
        broken(legacy, offset, offset + length, false);
        return IMPORT_BAD;
      }
      legacy->length = offset + length;
      return IMPORT_ROW;
    case ENDLESS:
      import_refuse(reason, "no closing brace within %d bytes", OBJECT_MAX);
      return broken(legacy, offset, window_size(stream), true);
    default:
      if (find_start(stream, offset + 1, window_size(stream)) == 0) return cut_off(legacy);
      import_refuse(reason, "no closing brace");
      return broken(legacy, offset, window_size(stream), false);
  }
}

/* Neither a record nor what stands between records: up to the next brace. */
static import_step read_junk(legacy_reader *legacy, size_t offset, import_reason *reason) {
  import_stream *stream = legacy->base.stream;
  size_t end = offset;
  int c;
  do c = byte_at(stream, ++end);
  while (c >= 0 && c != '{' && end - offset < OBJECT_MAX);
  if (c < 0 && !legacy->closed) return cut_off(legacy);
  char shown[IMPORT_SHOWN_MAX];
  import_refuse(reason, "%s is not a record", import_show(window(stream) + offset, end - offset, shown));
  legacy->length = end;
  return IMPORT_BAD;
}

static import_step legacy_next(import_reader *reader, import_row *row, import_reason *reason) {
  legacy_reader *legacy = (legacy_reader *)reader;
  legacy_commit(reader);
  size_t offset = 0;
  int c = skip_separators(legacy, &offset);
  if (c < 0) {
    reader->truncated = reader->truncated || !legacy->closed;
    return IMPORT_END;
  }
  reader->number++;
  return c == '{' ? read_object(legacy, offset, row, reason) : read_junk(legacy, offset, reason);
}

static void legacy_resume(import_reader *reader, uint64_t number) { reader->number = reader->done = number; }

static void legacy_free(import_reader *reader) {
  import_json_free(&((legacy_reader *)reader)->json);
  free(reader);
}

static bool read_opening(import_stream *stream, import_reason *reason) {
  import_stream_skip_bom(stream);
  int c;
  while (is_space(c = byte_at(stream, 0))) import_stream_consume(stream, 1);
  if (c < 0) return import_refuse(reason, "the file is empty: an array is needed");
  if (c == '{') return import_refuse(reason, "no array but an object: if it has one a line, say --format jsonl");
  if (c != '[') return import_refuse(reason, "does not start with the [ of a JSON array");
  import_stream_consume(stream, 1);
  return true;
}

import_reader *import_legacy_json_reader(import_stream *stream, const import_meaning *meaning, import_reason *reason) {
  legacy_reader *legacy = calloc(1, sizeof *legacy);
  if (legacy == NULL) {
    import_refuse(reason, "out of memory");
    return NULL;
  }
  legacy->base = (import_reader){.next = legacy_next,
                                 .commit = legacy_commit,
                                 .resume = legacy_resume,
                                 .free = legacy_free,
                                 .stream = stream,
                                 .meaning = meaning,
                                 .unit = "record"};
  if (read_opening(stream, reason)) return &legacy->base;
  free(legacy);
  return NULL;
}
