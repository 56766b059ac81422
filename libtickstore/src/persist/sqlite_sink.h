/* sqlite_sink.h - the sink that writes day files, each record into the file of its own event time's UTC day. */
#ifndef TKS_PERSIST_SQLITE_SINK_H
#define TKS_PERSIST_SQLITE_SINK_H

#include "persist/dayfile.h"
#include "persist/sink.h"

typedef struct tks__sqlite_sink_options {
  tks__dayfile_options dayfile;
  uint64_t first_seq; /* of this session: all lower numbers are earlier sessions' */
  uint32_t max_open_days;
  uint32_t late_close_s; /* a past day is sealed after this long without a record */
  bool after_crash; /* the last writer did not close the store: the first tend, or close, looks into all day files */
} tks__sqlite_sink_options;

/* NULL: no memory. Touches no disk. */
tks__sink *tks__sqlite_sink_new(const tks__sqlite_sink_options *options);

#endif
