/* rival.h - one way to keep ticks, as the side by side sees it: this store, or what its users would write otherwise. */
#ifndef BENCH_RIVAL_H
#define BENCH_RIVAL_H

#include <stddef.h>
#include <stdint.h>

#include "harness.h"

#define RIVAL_SYMBOLS 128

typedef struct tick {
  int64_t ts_ns;
  uint64_t seq;
  double bid;
  double ask;
  uint32_t symbol; /* 0 to RIVAL_SYMBOLS - 1 */
} tick;

/* The name that a symbol has where names are stored: at most 15 bytes. */
const char *rival_symbol(uint32_t symbol);

typedef struct rival {
  const char *key, *name;
  const char *form; /* what it is, how it commits, what survives a power loss when */
  /* NULL when it cannot be had here; *why says so then. Everything else ends the program when it fails. */
  void *(*open)(const char *path, const char **why);
  void (*write)(void *self, const tick *ticks, size_t count); /* each tick by itself where the way has such a call */
  void (*flush)(void *self);                                  /* all of it durable */
  size_t (*recent)(void *self, uint32_t symbol, size_t n, tick *out); /* oldest first */
  /* from <= ts < to, in order of time, copied out; how many. */
  size_t (*range)(void *self, uint32_t symbol, int64_t from_ns, int64_t to_ns, tick *out, size_t capacity);
  /* Everything, with the sum of all bids. */
  uint64_t (*scan)(void *self, double *sum);
  void (*close)(void *self);
} rival;

/* All but open, as each way names them in its file. */
#define RIVAL_CALLS \
  .write = write_it, .flush = flush_it, .recent = recent_it, .range = range_it, .scan = scan_it, .close = close_it

extern const rival rival_tickstore, rival_sqlite_usual, rival_sqlite_tight, rival_duckdb;
#ifdef HAVE_LMDB
extern const rival rival_lmdb;
#endif
#ifdef HAVE_ROCKSDB
extern const rival rival_rocksdb;
#endif

/* ------------------------------------------------------------ real ticks */

/* `count` ticks in order of time over some days, from `data`/fx-oanda/eurusd, each real tick given to all symbols with prices scaled and
 * the symbols in changing order; a random walk where there is no data. *real says which. Free with free. */
tick *ticks_load(const char *data, size_t count, bool *real);

/* ------------------------------------------- for those that batch by hand */

/* Collects ticks, hands them on by `capacity`, sorted by (symbol, time, sequence). */
typedef struct batch {
  tick *ticks;
  size_t count, capacity;
} batch;

void batch_init(batch *b, size_t capacity);
void batch_sort(batch *b);
void batch_free(batch *b);

/* A key for stores of ordered bytes: symbol, time and sequence, big-endian. And the two prices. */
enum { KEY_BYTES = 20, VALUE_BYTES = 16 };
void key_write(unsigned char key[KEY_BYTES], uint32_t symbol, int64_t ts_ns, uint64_t seq);
void key_read(const unsigned char *key, const unsigned char *value, tick *out);
void reverse_ticks(tick *ticks, size_t count);

#endif
