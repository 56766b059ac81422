#ifdef HAVE_ROCKSDB
#include <rocksdb/c.h>
#include <stdlib.h>
#include <string.h>

#include "rival.h"

typedef struct self {
  rocksdb_t *db;
  rocksdb_options_t *options;
  rocksdb_writeoptions_t *write;
  rocksdb_readoptions_t *read;
  rocksdb_writebatch_t *batch;
  size_t pending;
} self;

enum { BATCH = 10000 };

static void check(char *error, const char *what) {
  if (error != NULL) die("RocksDB, %s: %s", what, error);
}

static void *open_it(const char *path, const char **why) {
  (void)why;
  self *s = calloc(1, sizeof *s);
  char *error = NULL;
  if (s == NULL) die("out of memory");
  s->options = rocksdb_options_create();
  rocksdb_options_set_create_if_missing(s->options, 1);
  rocksdb_options_increase_parallelism(s->options, 2);
  rocksdb_options_set_compression(s->options, rocksdb_lz4_compression);
  s->db = rocksdb_open(s->options, path, &error);
  check(error, "open");
  s->write = rocksdb_writeoptions_create();
  rocksdb_writeoptions_set_sync(s->write, 1);
  s->read = rocksdb_readoptions_create();
  s->batch = rocksdb_writebatch_create();
  return s;
}

static void commit(self *s) {
  char *error = NULL;
  if (s->pending == 0) return;
  rocksdb_write(s->db, s->write, s->batch, &error);
  check(error, "write");
  rocksdb_writebatch_clear(s->batch);
  s->pending = 0;
}

static void write_it(void *context, const tick *ticks, size_t count) {
  self *s = context;
  for (size_t i = 0; i < count; i++) {
    char key[KEY_BYTES], value[VALUE_BYTES];
    key_write((unsigned char *)key, ticks[i].symbol, ticks[i].ts_ns, ticks[i].seq);
    memcpy(value, &ticks[i].bid, 8);
    memcpy(value + 8, &ticks[i].ask, 8);
    rocksdb_writebatch_put(s->batch, key, KEY_BYTES, value, VALUE_BYTES);
    if (++s->pending == BATCH) commit(s);
  }
}

static void flush_it(void *context) { commit(context); }

static void read_tick(const rocksdb_iterator_t *it, tick *out) {
  size_t key_length, value_length;
  const char *key = rocksdb_iter_key(it, &key_length), *value = rocksdb_iter_value(it, &value_length);
  key_read((const unsigned char *)key, (const unsigned char *)value, out);
}

static void end(rocksdb_iterator_t *it) {
  char *error = NULL;
  rocksdb_iter_get_error(it, &error);
  check(error, "read");
  rocksdb_iter_destroy(it);
}

static size_t recent_it(void *context, uint32_t symbol, size_t n, tick *out) {
  self *s = context;
  unsigned char key[KEY_BYTES];
  size_t count = 0;
  rocksdb_iterator_t *it = rocksdb_create_iterator(s->db, s->read);
  key_write(key, symbol + 1, 0, 0);
  for (rocksdb_iter_seek_for_prev(it, (const char *)key, KEY_BYTES); rocksdb_iter_valid(it) && count < n;
       rocksdb_iter_prev(it)) {
    read_tick(it, &out[count]);
    if (out[count].symbol != symbol) break;
    count++;
  }
  end(it);
  reverse_ticks(out, count);
  return count;
}

static size_t range_it(void *context, uint32_t symbol, int64_t from_ns, int64_t to_ns, tick *out, size_t capacity) {
  self *s = context;
  unsigned char key[KEY_BYTES];
  size_t count = 0;
  rocksdb_iterator_t *it = rocksdb_create_iterator(s->db, s->read);
  key_write(key, symbol, from_ns, 0);
  for (rocksdb_iter_seek(it, (const char *)key, KEY_BYTES); rocksdb_iter_valid(it) && count < capacity;
       rocksdb_iter_next(it)) {
    read_tick(it, &out[count]);
    if (out[count].symbol != symbol || out[count].ts_ns >= to_ns) break;
    count++;
  }
  end(it);
  return count;
}

static uint64_t scan_it(void *context, double *sum) {
  self *s = context;
  uint64_t count = 0;
  rocksdb_iterator_t *it = rocksdb_create_iterator(s->db, s->read);
  for (rocksdb_iter_seek_to_first(it); rocksdb_iter_valid(it); rocksdb_iter_next(it), count++) {
    tick t;
    read_tick(it, &t);
    *sum += t.bid;
  }
  end(it);
  return count;
}

static void close_it(void *context) {
  self *s = context;
  rocksdb_writebatch_destroy(s->batch);
  rocksdb_readoptions_destroy(s->read);
  rocksdb_writeoptions_destroy(s->write);
  rocksdb_close(s->db);
  rocksdb_options_destroy(s->options);
  free(s);
}

const rival rival_rocksdb = {
    .key = "rocksdb",
    .name = "RocksDB",
    .form = "key (symbol, time, sequence) big-endian, value two doubles; write batches of 10,000 with sync, LZ4, two "
            "background threads: each batch survives a power loss",
    .open = open_it,
    RIVAL_CALLS};
#else
typedef int no_rocksdb;
#endif
