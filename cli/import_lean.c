/* import_lean.c - Lean's tick files: milliseconds since midnight, bid, ask; no header; the day comes from
 * the file's name. */
#include <stdlib.h>
#include <string.h>

#include "base/utc.h"
#include "import_lines.h"
#include "import_reader.h"

typedef struct lean_reader {
  import_reader base;
  import_lines lines;
  bool cut_before; /* the last line of an earlier run went on: to be reported */
} lean_reader;

enum { LEAN_FIELDS = 3, MS_DIGITS = 6 };

static bool parse_row(const lean_reader *lean, const char *text, size_t length, import_row *row,
                      import_reason *reason) {
  const char *start[LEAN_FIELDS], *end = text + length;
  size_t size[LEAN_FIELDS], count = 0;
  for (const char *at = text;; at++) {
    const char *comma = memchr(at, ',', (size_t)(end - at));
    const char *stop = comma != NULL ? comma : end;
    if (count < LEAN_FIELDS) {
      start[count] = at;
      size[count] = (size_t)(stop - at);
    }
    count++;
    if (comma == NULL) break;
    at = comma;
  }
  if (count != LEAN_FIELDS)
    return import_refuse(reason, "%zu field%s where milliseconds, bid and ask are expected%s", count,
                         count == 1 ? "" : "s", lean->lines.unterminated ? " (the line is cut off)" : "");
  int64_t ns = 0;
  char shown[IMPORT_SHOWN_MAX];
  if (!import_scaled_integer(start[0], size[0], MS_DIGITS, &ns) || ns < 0 || ns >= TKS__NS_PER_DAY)
    return import_refuse(reason, "time %s is not milliseconds within a day", import_show(start[0], size[0], shown));
  row->quote.ts_ns = lean->base.meaning->midnight_ns + ns;
  return import_price("bid", start[1], size[1], &row->quote.bid, reason) &&
         import_price("ask", start[2], size[2], &row->quote.ask, reason);
}

static import_step lean_next(import_reader *reader, import_row *row, import_reason *reason) {
  lean_reader *lean = (lean_reader *)reader;
  if (lean->cut_before) {
    lean->cut_before = false;
    reader->number = reader->done;
    import_refuse(reason, "an earlier import took this line before it was complete");
    return IMPORT_BAD;
  }
  const char *text = NULL;
  size_t length = 0;
  import_line line;
  do line = import_lines_next(&lean->lines, &text, &length);
  while (line == IMPORT_LINE && length == 0);
  reader->done = import_lines_done(&lean->lines);
  if (line == IMPORT_LINE_END) return IMPORT_END;
  reader->number = lean->lines.number;
  if (line == IMPORT_LINE_TOO_LONG) {
    import_refuse(reason, "the line is longer than %u bytes", IMPORT_LINE_MAX);
    return IMPORT_BAD;
  }
  import_row_init(row);
  if (parse_row(lean, text, length, row, reason) && import_lines_whole(&lean->lines, reader, reason)) return IMPORT_ROW;
  import_lines_hold_if_cut(&lean->lines);
  return IMPORT_BAD;
}

static void lean_commit(import_reader *reader) {
  lean_reader *lean = (lean_reader *)reader;
  import_lines_commit(&lean->lines);
  reader->done = import_lines_done(&lean->lines);
}

static void lean_resume(import_reader *reader, uint64_t number) {
  lean_reader *lean = (lean_reader *)reader;
  reader->done = number;
  lean->cut_before = import_lines_resume(&lean->lines, number, import_stream_last(reader->stream));
}

static void lean_free(import_reader *reader) { free(reader); }

import_reader *import_lean_reader(import_stream *stream, const import_meaning *meaning, import_reason *reason) {
  lean_reader *lean = calloc(1, sizeof *lean);
  if (lean == NULL) {
    import_refuse(reason, "out of memory");
    return NULL;
  }
  lean->base = (import_reader){.next = lean_next,
                               .commit = lean_commit,
                               .resume = lean_resume,
                               .free = lean_free,
                               .stream = stream,
                               .meaning = meaning,
                               .unit = "line"};
  import_stream_skip_bom(stream);
  import_lines_init(&lean->lines, stream);
  return &lean->base;
}
