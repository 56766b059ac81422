#ifdef HAVE_LMDB
#include <lmdb.h>
#include <stdlib.h>
#include <string.h>

#include "rival.h"

typedef struct self {
  MDB_env *env;
  MDB_dbi dbi;
  batch batch;
} self;

static void check(int rc, const char *what) {
  if (rc != 0) die("LMDB, %s: %s", what, mdb_strerror(rc));
}

static void *open_it(const char *path, const char **why) {
  (void)why;
  self *s = calloc(1, sizeof *s);
  MDB_txn *txn;
  if (s == NULL) die("out of memory");
  check(mdb_env_create(&s->env), "create");
  check(mdb_env_set_mapsize(s->env, (size_t)16 << 30), "mapsize");
  check(mdb_env_open(s->env, path, 0, 0644), "open");
  check(mdb_txn_begin(s->env, NULL, 0, &txn), "begin");
  check(mdb_dbi_open(txn, NULL, 0, &s->dbi), "dbi");
  check(mdb_txn_commit(txn), "commit");
  batch_init(&s->batch, 10000);
  return s;
}

static void commit(self *s) {
  MDB_txn *txn;
  MDB_cursor *cursor;
  if (s->batch.count == 0) return;
  batch_sort(&s->batch);
  check(mdb_txn_begin(s->env, NULL, 0, &txn), "begin");
  check(mdb_cursor_open(txn, s->dbi, &cursor), "cursor");
  for (size_t i = 0; i < s->batch.count; i++) {
    const tick *t = &s->batch.ticks[i];
    unsigned char key[KEY_BYTES], value[VALUE_BYTES];
    key_write(key, t->symbol, t->ts_ns, t->seq);
    memcpy(value, &t->bid, 8);
    memcpy(value + 8, &t->ask, 8);
    MDB_val k = {KEY_BYTES, key}, v = {VALUE_BYTES, value};
    check(mdb_cursor_put(cursor, &k, &v, 0), "put");
  }
  mdb_cursor_close(cursor);
  check(mdb_txn_commit(txn), "commit");
  s->batch.count = 0;
}

static void write_it(void *context, const tick *ticks, size_t count) {
  self *s = context;
  for (size_t i = 0; i < count; i++) {
    s->batch.ticks[s->batch.count++] = ticks[i];
    if (s->batch.count == s->batch.capacity) commit(s);
  }
}

static void flush_it(void *context) { commit(context); }

static MDB_cursor *read_from(const self *s, MDB_txn **txn) {
  MDB_cursor *cursor;
  check(mdb_txn_begin(s->env, NULL, MDB_RDONLY, txn), "begin");
  check(mdb_cursor_open(*txn, s->dbi, &cursor), "cursor");
  return cursor;
}

static void read_end(MDB_cursor *cursor, MDB_txn *txn) {
  mdb_cursor_close(cursor);
  mdb_txn_abort(txn);
}

static size_t recent_it(void *context, uint32_t symbol, size_t n, tick *out) {
  MDB_txn *txn;
  MDB_cursor *cursor = read_from(context, &txn);
  unsigned char key[KEY_BYTES];
  key_write(key, symbol + 1, 0, 0);
  MDB_val k = {KEY_BYTES, key}, v;
  size_t count = 0;
  int rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
  rc = mdb_cursor_get(cursor, &k, &v, rc == 0 ? MDB_PREV : MDB_LAST);
  for (; rc == 0 && count < n; rc = mdb_cursor_get(cursor, &k, &v, MDB_PREV)) {
    key_read(k.mv_data, v.mv_data, &out[count]);
    if (out[count].symbol != symbol) break;
    count++;
  }
  read_end(cursor, txn);
  reverse_ticks(out, count);
  return count;
}

static size_t range_it(void *context, uint32_t symbol, int64_t from_ns, int64_t to_ns, tick *out, size_t capacity) {
  MDB_txn *txn;
  MDB_cursor *cursor = read_from(context, &txn);
  unsigned char key[KEY_BYTES];
  key_write(key, symbol, from_ns, 0);
  MDB_val k = {KEY_BYTES, key}, v;
  size_t count = 0;
  for (int rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE); rc == 0 && count < capacity;
       rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) {
    key_read(k.mv_data, v.mv_data, &out[count]);
    if (out[count].symbol != symbol || out[count].ts_ns >= to_ns) break;
    count++;
  }
  read_end(cursor, txn);
  return count;
}

static uint64_t scan_it(void *context, double *sum) {
  MDB_txn *txn;
  MDB_cursor *cursor = read_from(context, &txn);
  MDB_val k, v;
  uint64_t count = 0;
  for (; mdb_cursor_get(cursor, &k, &v, MDB_NEXT) == 0; count++) {
    tick t;
    key_read(k.mv_data, v.mv_data, &t);
    *sum += t.bid;
  }
  read_end(cursor, txn);
  return count;
}

static void close_it(void *context) {
  self *s = context;
  mdb_env_close(s->env);
  batch_free(&s->batch);
  free(s);
}

const rival rival_lmdb = {
    .key = "lmdb",
    .name = "LMDB",
    .form = "key (symbol, time, sequence) big-endian, value two doubles; transactions of 10,000 sorted by "
            "symbol, synced: each commit survives a power loss",
    .open = open_it,
    RIVAL_CALLS};
#else
typedef int no_lmdb;
#endif
