/* import_lean.c - Lean's tick files: milliseconds since midnight, bid, ask; no header; the day comes from
 * the file's name. */
#include <stdlib.h>
#include <string.h>

#include "base/utc.h"
#include "import_lines.h"
#include "import_reader.h"

enum { LEAN_FIELDS = 3, MS_DIGITS = 6 };

static bool parse_row(import_line_reader *lean, const char *text, size_t length, import_row *row,
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

import_reader *import_lean_reader(import_stream *stream, const import_meaning *meaning, import_reason *reason) {
  import_line_reader *lean = calloc(1, sizeof *lean);
  if (lean == NULL) {
    import_refuse(reason, "out of memory");
    return NULL;
  }
  import_line_reader_init(lean, stream, meaning);
  lean->parse = parse_row;
  return &lean->base;
}
