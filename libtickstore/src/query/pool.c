#include "query/pool.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/fs.h"
#include "base/memory.h"
#include "base/thread.h"
#include "base/utc.h"
#include "persist/dayfile.h"

#define PROGRESS_STEPS 2000 /* virtual machine steps between two looks at the clock: some 50 us */

int tks__pool_init(tks__pool *pool, const tks__pool_options *options) {
  memset(pool, 0, sizeof *pool);
  pool->options = *options;
  pool->connections = tks__calloc(options->connections, sizeof *pool->connections);
  if (pool->connections == NULL) return TKS_ENOMEM;
  if (tks__condition_init(&pool->released) != 0) goto no_condition;
  if (pthread_mutex_init(&pool->lock, NULL) == 0) return TKS_OK;
  (void)pthread_cond_destroy(&pool->released);
no_condition:
  tks__free(pool->connections);
  return TKS_ENOMEM;
}

static void close_connection(tks__connection *connection) {
  for (int i = 0; i < TKS__POOL_STATEMENTS; i++) (void)sqlite3_finalize(connection->statements[i]);
  (void)sqlite3_close_v2(connection->db);
  tks__free(connection->sources);
  tks__free(connection);
}

void tks__pool_deinit(tks__pool *pool) {
  for (size_t i = 0; i < pool->count; i++) close_connection(pool->connections[i]);
  tks__free(pool->connections);
  (void)pthread_mutex_destroy(&pool->lock);
  (void)pthread_cond_destroy(&pool->released);
}

/* ----------------------------------------------------------- connections */

static int stop_when_late(void *context) {
  const tks__connection *connection = context;
  return tks__clock_monotonic_ns() > connection->deadline_ns;
}

static bool in_wal_mode(sqlite3 *db) {
  sqlite3_stmt *statement = NULL;
  bool wal = false;
  if (sqlite3_prepare_v2(db, "PRAGMA journal_mode", -1, &statement, NULL) == SQLITE_OK &&
      sqlite3_step(statement) == SQLITE_ROW)
    wal = strcmp((const char *)sqlite3_column_text(statement, 0), "wal") == 0;
  (void)sqlite3_finalize(statement);
  return wal;
}

static int configure(tks__connection *connection, const tks__pool_options *o, const char *path, tks_error *error) {
  sqlite3 *db = connection->db;
  (void)sqlite3_extended_result_codes(db, 1);
  (void)sqlite3_busy_timeout(db, (int)o->busy_timeout_ms);
  sqlite3_progress_handler(db, PROGRESS_STEPS, stop_when_late, connection);
  tks_error why = {0};
  int code = tks__dayfile_check(db, path, connection->day, &why);
  /* A crash left a rollback journal, which only a writer may play back; it does so soon after it opens the store. */
  if (code == TKS_EIO && (why.detail & 0xff) == SQLITE_READONLY)
    return tks__fail(error, TKS_EDAYFILE, why.detail,
                     "%s was being changed when its writer died; open the store for writing once to repair it", path);
  if (code == TKS_ETIMEOUT)
    return tks__fail(error, TKS_EDEADLINE, why.detail, "%s was locked for longer than %u ms", path, o->busy_timeout_ms);
  if (code != TKS_OK) {
    if (error != NULL) *error = why;
    return code;
  }
  /* A file that is still being written is not mapped: an input error under a mapping is a signal, not an error code. */
  uint64_t mmap_bytes = in_wal_mode(db) ? 0 : o->mmap_bytes;
  char sql[160];
  (void)snprintf(sql, sizeof sql, "PRAGMA query_only=1; PRAGMA mmap_size=%llu; PRAGMA temp_store=%s;",
                 (unsigned long long)mmap_bytes, o->temp_store_memory ? "MEMORY" : "FILE");
  int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);
  return rc == SQLITE_OK ? TKS_OK : tks__sqlite_fail(db, rc, "cannot configure", path, error);
}

/* *out is NULL when the day has no file. */
static int open_connection(const tks__pool *pool, int32_t day, tks__connection **out, tks_error *error) {
  *out = NULL;
  char path[TKS__PATH_MAX];
  tks__layout_day_file(pool->options.layout, day, path);
  int64_t size;
  int errnum = tks__fs_size(path, &size);
  if (errnum == ENOENT) return TKS_OK;
  if (errnum != 0) return tks__fail_errno(error, errnum, "cannot read %s", path);
  tks__connection *connection = tks__calloc(1, sizeof *connection);
  if (connection == NULL) return tks__fail(error, TKS_ENOMEM, 0, "out of memory opening %s", path);
  connection->day = day;
  connection->opened_ns = tks__clock_monotonic_ns();
  connection->deadline_ns = connection->opened_ns + pool->options.deadline_ms * TKS__NS_PER_MS;
  int rc = sqlite3_open_v2(path, &connection->db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL);
  int code = rc == SQLITE_OK ? configure(connection, &pool->options, path, error)
                             : tks__sqlite_fail(connection->db, rc, "cannot open", path, error);
  if (code != TKS_OK) {
    close_connection(connection);
    return code;
  }
  *out = connection;
  return TKS_OK;
}

/* ------------------------------------------------------ acquire, release */

static bool expired(const tks__pool *pool, const tks__connection *connection, int64_t now_ns) {
  return now_ns - connection->opened_ns > (int64_t)pool->options.life_s * TKS__NS_PER_S;
}

static void remove_at(tks__pool *pool, size_t index) {
  pool->connections[index] = pool->connections[--pool->count];
  atomic_store_explicit(&pool->open, pool->count, memory_order_relaxed);
}

/* Under the lock: an idle connection on the day, or else the room for a new one. `evicted` is to be closed by the caller,
 * outside the lock. False: all are in use. */
static bool choose(tks__pool *pool, int32_t day, int64_t now_ns, tks__connection **idle, tks__connection **evicted) {
  size_t oldest = SIZE_MAX;
  *idle = *evicted = NULL;
  for (size_t i = 0; i < pool->count; i++) {
    tks__connection *c = pool->connections[i];
    if (c->in_use) continue;
    if (c->day == day && !expired(pool, c, now_ns)) {
      c->in_use = true;
      *idle = c;
      return true;
    }
    /* An expired one of this day is the first to go; otherwise the one that has been idle longest. */
    if (c->day == day || oldest == SIZE_MAX ||
        (pool->connections[oldest]->day != day && c->used_ns < pool->connections[oldest]->used_ns))
      oldest = i;
  }
  bool same_day = oldest != SIZE_MAX && pool->connections[oldest]->day == day;
  if (pool->count < pool->options.connections && !same_day) return true;
  if (oldest == SIZE_MAX) return false;
  *evicted = pool->connections[oldest];
  remove_at(pool, oldest);
  return true;
}

int tks__pool_acquire(tks__pool *pool, int32_t day, tks__connection **out, tks_error *error) {
  *out = NULL;
  int64_t now_ns = tks__clock_monotonic_ns();
  int64_t deadline_ns = now_ns + pool->options.deadline_ms * TKS__NS_PER_MS;
  tks__connection *idle, *evicted;
  /* Holds the place of a connection that is being opened, so that the limit holds meanwhile. */
  tks__connection *place = NULL;
  (void)pthread_mutex_lock(&pool->lock);
  int rc = 0;
  bool found = choose(pool, day, now_ns, &idle, &evicted);
  while (!found && rc != ETIMEDOUT) {
    rc = tks__condition_wait(&pool->released, &pool->lock, deadline_ns);
    found = choose(pool, day, now_ns, &idle, &evicted);
  }
  if (found && idle == NULL) {
    place = tks__calloc(1, sizeof *place);
    if (place != NULL) {
      place->in_use = true;
      place->day = day;
      pool->connections[pool->count++] = place;
      atomic_store_explicit(&pool->open, pool->count, memory_order_relaxed);
    }
  }
  (void)pthread_mutex_unlock(&pool->lock);
  if (!found)
    return tks__fail(error, TKS_EDEADLINE, 0, "all %u reading connections were in use for %u ms",
                     pool->options.connections, pool->options.deadline_ms);
  if (evicted != NULL) close_connection(evicted);
  if (idle != NULL) {
    idle->deadline_ns = tks__clock_monotonic_ns() + pool->options.deadline_ms * TKS__NS_PER_MS;
    *out = idle;
    return TKS_OK;
  }
  if (place == NULL) return tks__fail(error, TKS_ENOMEM, 0, "out of memory opening a reading connection");

  tks__connection *opened;
  int code = open_connection(pool, day, &opened, error);
  (void)pthread_mutex_lock(&pool->lock);
  size_t i = 0;
  while (pool->connections[i] != place) i++;
  if (opened != NULL) {
    opened->in_use = true;
    opened->doomed = place->doomed;
    pool->connections[i] = opened;
  } else {
    remove_at(pool, i);
    (void)pthread_cond_signal(&pool->released);
  }
  (void)pthread_mutex_unlock(&pool->lock);
  tks__free(place);
  *out = opened;
  return code;
}

void tks__pool_release(tks__pool *pool, tks__connection *connection, bool broken) {
  if (connection == NULL) return;
  (void)pthread_mutex_lock(&pool->lock);
  bool discard = broken || connection->doomed;
  if (discard) {
    size_t i = 0;
    while (pool->connections[i] != connection) i++;
    remove_at(pool, i);
  } else {
    connection->in_use = false;
    connection->used_ns = tks__clock_monotonic_ns();
  }
  (void)pthread_cond_signal(&pool->released);
  (void)pthread_mutex_unlock(&pool->lock);
  if (discard) close_connection(connection);
}

void tks__pool_forget(tks__pool *pool, int32_t day) {
  (void)pthread_mutex_lock(&pool->lock);
  for (size_t i = pool->count; i-- > 0;) {
    tks__connection *c = pool->connections[i];
    if (c->day != day) continue;
    c->doomed = true;
    if (c->in_use) continue;
    remove_at(pool, i);
    close_connection(c);
  }
  (void)pthread_cond_broadcast(&pool->released);
  (void)pthread_mutex_unlock(&pool->lock);
}
