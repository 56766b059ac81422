/* import_jsonl.c - JSON lines as the store's own JSON sink writes them. */
#include <stdlib.h>

#include "import_json.h"
#include "import_lines.h"

typedef struct jsonl_reader {
  import_reader base;
  import_lines lines;
  import_json json;
} jsonl_reader;

static bool is_blank(const char *text, size_t length) {
  for (size_t i = 0; i < length; i++)
    if (text[i] != ' ' && text[i] != '\t') return false;
  return true;
}

static import_step jsonl_next(import_reader *reader, import_row *row, import_reason *reason) {
  jsonl_reader *jsonl = (jsonl_reader *)reader;
  const char *text = NULL;
  size_t length = 0;
  import_line line;
  do line = import_lines_next(&jsonl->lines, &text, &length);
  while (line == IMPORT_LINE && is_blank(text, length));
  reader->done = import_lines_done(&jsonl->lines);
  if (line == IMPORT_LINE_END) return IMPORT_END;
  reader->number = jsonl->lines.number;
  if (line == IMPORT_LINE_TOO_LONG) {
    import_refuse(reason, "the line is longer than %u bytes", IMPORT_LINE_MAX);
    return IMPORT_BAD;
  }
  if (import_json_row(&jsonl->json, reader, text, length, row, reason)) return IMPORT_ROW;
  import_lines_hold_if_cut(&jsonl->lines);
  return IMPORT_BAD;
}

static void jsonl_commit(import_reader *reader) {
  jsonl_reader *jsonl = (jsonl_reader *)reader;
  import_lines_commit(&jsonl->lines);
  reader->done = import_lines_done(&jsonl->lines);
}

/* An object is complete or is not JSON, so a line that was taken cannot have gone on: nothing to report. */
static void jsonl_resume(import_reader *reader, uint64_t number) {
  jsonl_reader *jsonl = (jsonl_reader *)reader;
  reader->done = number;
  import_lines_resume(&jsonl->lines, number, import_stream_last(reader->stream));
}

static void jsonl_free(import_reader *reader) {
  import_json_free(&((jsonl_reader *)reader)->json);
  free(reader);
}

import_reader *import_jsonl_reader(import_stream *stream, const import_meaning *meaning, import_reason *reason) {
  jsonl_reader *jsonl = calloc(1, sizeof *jsonl);
  if (jsonl == NULL) {
    import_refuse(reason, "out of memory");
    return NULL;
  }
  jsonl->base = (import_reader){.next = jsonl_next,
                                .commit = jsonl_commit,
                                .resume = jsonl_resume,
                                .free = jsonl_free,
                                .stream = stream,
                                .meaning = meaning,
                                .unit = "line"};
  import_stream_skip_bom(stream);
  import_lines_init(&jsonl->lines, stream);
  return &jsonl->base;
}
