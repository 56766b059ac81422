/* arrow.h - quotes as an Arrow C stream: record batches of columns, in the layout of the Arrow C data interface.
 *
 * A batch stands on a set of columns that is never changed once it is handed out, and is counted: every node of every
 * batch made of it (struct, child, dictionary) holds the batch, and the batch holds the columns. So nodes may be moved and
 * released in any order, on any thread, after the stream and the store are gone, and a second stream over the same rows
 * costs no copy.
 *
 *   1. A node that is released gives back exactly one hold, and releases the children and the dictionary that are still
 *      its own first.
 *   2. A stream that fails keeps what it has read: called again it goes on, and no row is lost or doubled.
 *   3. Rows that were read before an error are handed out before the error.
 *   4. Dictionaries of one stream only grow: an index means the same name in every batch. */
#ifndef TKS_QUERY_ARROW_H
#define TKS_QUERY_ARROW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tickstore/tickstore.h"

/* The definitions, as the Arrow C data interface gives them word by word. */
#ifndef ARROW_C_DATA_INTERFACE
#define ARROW_C_DATA_INTERFACE

#define ARROW_FLAG_DICTIONARY_ORDERED 1
#define ARROW_FLAG_NULLABLE 2
#define ARROW_FLAG_MAP_KEYS_SORTED 4

struct ArrowSchema {
  const char *format;
  const char *name;
  const char *metadata;
  int64_t flags;
  int64_t n_children;
  struct ArrowSchema **children;
  struct ArrowSchema *dictionary;
  void (*release)(struct ArrowSchema *);
  void *private_data;
};

struct ArrowArray {
  int64_t length;
  int64_t null_count;
  int64_t offset;
  int64_t n_buffers;
  int64_t n_children;
  const void **buffers;
  struct ArrowArray **children;
  struct ArrowArray *dictionary;
  void (*release)(struct ArrowArray *);
  void *private_data;
};

#endif

#ifndef ARROW_C_STREAM_INTERFACE
#define ARROW_C_STREAM_INTERFACE

struct ArrowArrayStream {
  int (*get_schema)(struct ArrowArrayStream *, struct ArrowSchema *out);
  int (*get_next)(struct ArrowArrayStream *, struct ArrowArray *out);
  const char *(*get_last_error)(struct ArrowArrayStream *);
  void (*release)(struct ArrowArrayStream *);
  void *private_data;
};

#endif

/* Gives the name of a symbol's or source's id; room for TKS_NAME_MAX bytes. */
typedef int (*tks__arrow_name_fn)(void *context, bool symbol, uint32_t id, char *name, size_t *length,
                                  tks_error *error);

/* Where a stream's rows come from. */
typedef struct tks__arrow_source {
  void *context;
  int (*next)(void *context, tks_quote *quotes, size_t capacity, size_t *count,
              tks_error *error); /* as tks_cursor_next */
  tks__arrow_name_fn name;
  void (*close)(void *context); /* once, when the stream is released */
} tks__arrow_source;

/* Makes `out` a stream over the source, which it owns from then on. Failed, the source is still the caller's. */
int tks__arrow_stream(const tks__arrow_source *source, uint32_t chunk_records, struct ArrowArrayStream *out,
                      tks_error *error);

/* Makes `out` a stream of one batch with a copy of `quotes`. `name` is used during the call only. */
int tks__arrow_quotes(tks__arrow_name_fn name, void *context, const tks_quote *quotes, size_t count,
                      struct ArrowArrayStream *out, tks_error *error);

/* See tks_arrow_share. */
int tks__arrow_share(const struct ArrowArray *batch, uint64_t first, uint64_t count, struct ArrowArrayStream *out,
                     tks_error *error);

#endif
