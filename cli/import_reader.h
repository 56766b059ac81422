/* import_reader.h - what the readers of the four formats share: rows one by one, with a position that a later
 * run can go on from.
 *
 * A reader looks at the record at the front of its stream's window and consumes it only when told so
 * (commit) or asked for the next one. So after next() the stream's position and digest still stand before
 * the record, and after commit() behind it: the two places a checkpoint may be taken. A broken last record
 * that the input ends in is never consumed: the file may still be growing. */
#ifndef CLI_IMPORT_READER_H
#define CLI_IMPORT_READER_H

#include "import_row.h"
#include "import_stream.h"

typedef enum import_format { IMPORT_LEAN, IMPORT_LEGACY_JSON, IMPORT_CSV, IMPORT_JSONL } import_format;

/* How the bytes of a file are to be understood. Names are checked before and may have length 0. */
typedef struct import_meaning {
  import_format format;
  const char *symbol; /* of rows that do not name their own */
  size_t symbol_length;
  const char *source; /* likewise */
  size_t source_length;
  const char *directory; /* of JSON records that name no symbol where --symbol is not given; "" if none */
  size_t directory_length;
  const char *broker_id; /* the store's; what differs from it is remarked upon */
  bool strict;           /* a last line without line end is refused */
  int64_t midnight_ns;   /* lean: what the times count from */
} import_meaning;

typedef enum import_step {
  IMPORT_ROW, /* *row is filled */
  IMPORT_BAD, /* *reason says why the record is refused; the next call goes on behind it */
  IMPORT_END, /* or the stream failed or was interrupted */
} import_step;

typedef struct import_reader import_reader;

struct import_reader {
  import_step (*next)(import_reader *reader, import_row *row, import_reason *reason);
  void (*commit)(import_reader *reader);                  /* the record that next gave is dealt with */
  void (*resume)(import_reader *reader, uint64_t number); /* the stream was moved behind record `number` */
  void (*free)(import_reader *reader);
  import_stream *stream;
  const import_meaning *meaning;
  const char *unit; /* "line" or "record" */
  uint64_t number;  /* of the record that next gave, from 1 */
  uint64_t done;    /* of the last one consumed: what resume is given in a later run */
  bool unended;     /* the last line has no line end and was taken */
  bool truncated;   /* the input ends inside a record or array */
  char note[240];   /* something worth saying once about the file, or empty */
};

/* Each reads what must stand at the start (CSV: the header) and leaves the stream behind it. NULL: reason
 * says why; then the file cannot be read at all. The stream and the meaning must outlive the reader. */
import_reader *import_lean_reader(import_stream *stream, const import_meaning *meaning, import_reason *reason);
import_reader *import_csv_reader(import_stream *stream, const import_meaning *meaning, import_reason *reason);
import_reader *import_jsonl_reader(import_stream *stream, const import_meaning *meaning, import_reason *reason);
import_reader *import_legacy_json_reader(import_stream *stream, const import_meaning *meaning, import_reason *reason);

#endif
