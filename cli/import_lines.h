/* import_lines.h - the lines of a stream, and records of several lines, in bounded memory.
 *
 * Lines end in LF or CR LF; the last one may end with the input. One of more than IMPORT_LINE_MAX bytes is
 * reported and thrown away as it is read. */
#ifndef CLI_IMPORT_LINES_H
#define CLI_IMPORT_LINES_H

#include "import_reader.h"
#include "import_row.h"
#include "import_stream.h"

typedef struct import_lines {
  import_stream *stream;
  uint64_t number;   /* of the record's first line, from 1 */
  uint64_t count;    /* lines in the record */
  size_t length;     /* bytes of the record in the window, line end included; 0 once it is consumed */
  size_t first;      /* of them, its first line */
  bool unterminated; /* the record ends with the input, not with a line end */
  bool too_long;     /* the record's rest is not in the window yet */
  bool held;         /* the record is not to be consumed */
} import_lines;

typedef enum import_line { IMPORT_LINE, IMPORT_LINE_TOO_LONG, IMPORT_LINE_END } import_line;

void import_lines_init(import_lines *lines, import_stream *stream);

/* Consumes the record and gives the next line, without its end, as the new one. The text holds until the
 * next call. */
import_line import_lines_next(import_lines *lines, const char **text, size_t *length);

/* Adds the following line to the record; false if there is none or it would become too long. */
bool import_lines_extend(import_lines *lines, const char **text, size_t *length);

/* Back to the record's first line. */
void import_lines_shrink(import_lines *lines);

/* The record was refused: if it ends with the input it stays unconsumed, for the file may be growing. */
void import_lines_hold_if_cut(import_lines *lines);

/* A good record that ends with the input may have lost the end of its last number, unless it is from a zip, which has
 * a checksum: remembered in the reader, or refused if its meaning is strict. */
bool import_lines_whole(const import_lines *lines, import_reader *reader, import_reason *reason);

void import_lines_commit(import_lines *lines);

/* The number of the last line consumed. */
uint64_t import_lines_done(const import_lines *lines);

/* Called when the stream has been moved behind line `number`. If it stands inside a line, which was
 * imported when it was the last one and had no end yet, the rest of that line is thrown away and true
 * returned. */
bool import_lines_resume(import_lines *lines, uint64_t number, char last);

/* The first part of a reader whose every record begins with a line, and that an earlier run may have taken the beginning of a line
 * for one. */
typedef struct import_line_reader {
  import_reader base;
  import_lines lines;
  bool cut_before; /* the last line of an earlier run went on: to be reported */
  /* Makes a row of a line that is not empty, and of those that it extends it by. */
  bool (*parse)(struct import_line_reader *reader, const char *text, size_t length, import_row *row,
                import_reason *reason);
} import_line_reader;

/* For one that is zero and was allocated with calloc: fills all but what is the format's own, and leaves the stream before the first
 * line. */
void import_line_reader_init(import_line_reader *reader, import_stream *stream, const import_meaning *meaning);

#endif
