/* json_sink.h - the sink that appends JSON lines, one file per symbol and UTC day. */
#ifndef TKS_PERSIST_JSON_SINK_H
#define TKS_PERSIST_JSON_SINK_H

#include "base/log.h"
#include "ingest/names.h"
#include "persist/layout.h"
#include "persist/sink.h"

typedef struct tks__json_sink_options {
  const tks__layout *layout; /* borrowed for the sink's life, like all pointers here */
  const tks__names *symbols;
  const tks__names *sources;
  const tks__log *log;
  const char *broker_id; /* NUL-terminated, UTF-8 */
  uint64_t first_seq;    /* of this session: all lower numbers are earlier sessions' */
  uint32_t late_close_s; /* a past day's files are closed after this long without a record */
} tks__json_sink_options;

/* NULL: no memory. Touches no disk. */
tks__sink *tks__json_sink_new(const tks__json_sink_options *options);

#endif
