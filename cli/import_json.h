/* import_json.h - one JSON object as a row: the form that legacy files and the store's own JSON lines share. */
#ifndef CLI_IMPORT_JSON_H
#define CLI_IMPORT_JSON_H

#include "import_reader.h"

/* Holds the strings of the row last parsed. Zero it at first; import_json_free at the end. */
typedef struct import_json {
  void *object; /* json_t */
} import_json;

/* {"broker_id","symbol","bid","ask","spread","timestamp","lp"} and, where present, bid_size, ask_size,
 * recv_ns and flags. bid or ask null or missing: that side is absent. What is not listed is ignored. */
bool import_json_row(import_json *json, import_reader *reader, const char *text, size_t length, import_row *row,
                     import_reason *reason);

void import_json_free(import_json *json);

#endif
