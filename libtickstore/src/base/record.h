/* record.h - what flows through the pipeline.
 *
 * A record has the layout of tks_quote; its `reserved` field holds the record's kind. The pipeline up to the sinks
 * looks only at ts_ns, seq, symbol and source, so that another kind costs one encoder per sink. */
#ifndef TKS_BASE_RECORD_H
#define TKS_BASE_RECORD_H

#include "tickstore/tickstore.h"

typedef tks_quote tks__record;

enum { TKS__KIND_QUOTE = 0 };

_Static_assert(sizeof(tks__record) == 72, "a record is nine words");

#endif
