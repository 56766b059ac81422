/* pool.h - read-only connections to day files: a few, shared by all reading threads, each on one day at a time.
 *
 * A connection is used by one thread between acquire and release and holds no transaction outside a read. It is reopened
 * when its life is over, and closed early when the writer wants to seal its day (tks__pool_forget). */
#ifndef TKS_QUERY_POOL_H
#define TKS_QUERY_POOL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "persist/layout.h"

struct sqlite3;
struct sqlite3_stmt;

typedef struct tks__pool_options {
  const tks__layout *layout; /* borrowed */
  uint32_t connections;
  uint32_t life_s;
  uint32_t busy_timeout_ms;
  uint32_t deadline_ms; /* of one read, and of the wait for a connection */
  uint32_t temp_store_memory;
  uint64_t mmap_bytes;
} tks__pool_options;

enum { TKS__POOL_STATEMENTS = 6 };

typedef struct tks__taking tks__taking; /* sqlite_day.c */

typedef struct tks__connection {
  struct sqlite3 *db;
  struct sqlite3_stmt *statements[TKS__POOL_STATEMENTS]; /* prepared by who uses them, finalized by the pool */
  uint32_t *
      sources; /* source ids of the file to those of this process; 0 = not looked up; the reader's, freed by the pool */
  size_t sources_capacity;
  tks__taking *taking; /* the read that is running */
  bool takes;          /* its function is known to SQLite */
  int64_t opened_ns;   /* monotonic */
  int64_t used_ns;
  int64_t deadline_ns; /* of the running read */
  int32_t day;
  bool in_use;
  bool doomed; /* close at release */
} tks__connection;

typedef struct tks__pool {
  tks__pool_options options;
  pthread_mutex_t lock;
  pthread_cond_t released;
  tks__connection **connections; /* options.connections of room */
  size_t count;
  _Atomic uint64_t open;
} tks__pool;

int tks__pool_init(tks__pool *pool, const tks__pool_options *options);
void tks__pool_deinit(tks__pool *pool); /* no connection is in use */

/* A connection on a day's file, checked to be one, with its read deadline set. *connection is NULL (and the result TKS_OK) when the day has
 * no file. Waits while all are in use. TKS_EDAYFILE, TKS_EFORMAT, TKS_EDEADLINE, TKS_EIO, TKS_ENOMEM. */
int tks__pool_acquire(tks__pool *pool, int32_t day, tks__connection **connection, tks_error *error);

/* `broken`: an error was seen on it; it is closed. */
void tks__pool_release(tks__pool *pool, tks__connection *connection, bool broken);

/* Closes the idle connections on a day, and those in use as soon as they are released. */
void tks__pool_forget(tks__pool *pool, int32_t day);

#endif
