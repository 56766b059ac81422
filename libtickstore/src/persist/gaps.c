#include "persist/gaps.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/memory.h"
#include "persist/gap_file.h"

#define ROWS_MAX 4096   /* noted and not yet written; beyond, runs are joined */
#define ROWS_RESERVE 32 /* more than there are sinks and causes: beyond ROWS_MAX each finds one of its own to join */
#define BUSY_MS 100     /* while waiting for a reader, SQLite keeps other readers out; rows have another file */
#define LAST_BUSY_MS 1000

typedef struct row {
  tks_gap gap;
  bool dirty;
} row;

struct tks__gaps {
  const tks__layout *layout;
  const tks__names *symbols;
  const tks__log *log;
  pthread_mutex_t lock;
  row *rows; /* the last one of each sink stays after it was written: it may go on */
  size_t count;
  tks__log_limiter limiter; /* the rest is the writer's */
  bool owing;               /* the file could not be made, or rows are in the other one */
  bool tried_last;
  _Atomic int last_wait_ms; /* 0: it is not the last chance yet */
};

tks__gaps *tks__gaps_new(const tks__layout *layout, const tks__names *symbols, const tks__log *log) {
  tks__gaps *gaps = tks__calloc(1, sizeof *gaps);
  if (gaps == NULL) return NULL;
  gaps->layout = layout;
  gaps->symbols = symbols;
  gaps->log = log;
  gaps->rows = tks__calloc(ROWS_MAX + ROWS_RESERVE, sizeof *gaps->rows);
  if (gaps->rows != NULL && pthread_mutex_init(&gaps->lock, NULL) == 0) return gaps;
  tks__free(gaps->rows);
  tks__free(gaps);
  return NULL;
}

void tks__gaps_free(tks__gaps *gaps) {
  if (gaps == NULL) return;
  (void)pthread_mutex_destroy(&gaps->lock);
  tks__free(gaps->rows);
  tks__free(gaps);
}

/* The row that a loss is part of: one that ends where it begins or, when there are too many, any of its kind. */
static row *row_to_extend(tks__gaps *gaps, uint32_t sink, const tks__loss *loss) {
  for (size_t i = gaps->count; i-- > 0;) {
    const tks_gap *gap = &gaps->rows[i].gap;
    if (gap->sink != sink) continue;
    if (gap->cause == loss->cause && (gap->to_seq + 1 == loss->from_seq || gaps->count >= ROWS_MAX))
      return &gaps->rows[i];
    if (gaps->count < ROWS_MAX) return NULL;
  }
  return NULL;
}

/* Two losses may be found at once and begin alike; what tells them apart is when they were found. */
static void set_apart(const tks__gaps *gaps, tks_gap *gap) {
  for (size_t i = 0; i < gaps->count; i++) {
    if (!tks__gap_same(&gaps->rows[i].gap, gap)) continue;
    gap->first_ns++;
    if (gap->last_ns < gap->first_ns) gap->last_ns = gap->first_ns;
    i = (size_t)-1; /* from the first one again */
  }
}

void tks__gaps_note(tks__gaps *gaps, uint32_t sink, const tks__loss *loss) {
  (void)pthread_mutex_lock(&gaps->lock);
  row *last = row_to_extend(gaps, sink, loss);
  if (last != NULL) {
    if (loss->to_seq > last->gap.to_seq) last->gap.to_seq = loss->to_seq;
    last->gap.records += loss->records;
    last->gap.last_ns = loss->last_ns;
    if (last->gap.symbol != loss->symbol) last->gap.symbol = 0;
    last->dirty = true;
  } else {
    tks_gap gap = {
        .from_seq = loss->from_seq,
        .to_seq = loss->to_seq,
        .records = loss->records,
        .first_ns = loss->first_ns,
        .last_ns = loss->last_ns,
        .cause = loss->cause,
        .sink = sink,
        .symbol = loss->symbol,
    };
    set_apart(gaps, &gap);
    gaps->rows[gaps->count++] = (row){.gap = gap, .dirty = true};
  }
  (void)pthread_mutex_unlock(&gaps->lock);
}

/* --------------------------------------------------------------- writing */

/* A copy of what is dirty. 0: nothing. NULL with more: no memory. */
static size_t copy_dirty(tks__gaps *gaps, tks_gap **copy) {
  *copy = NULL;
  (void)pthread_mutex_lock(&gaps->lock);
  size_t count = 0;
  for (size_t i = 0; i < gaps->count; i++) count += gaps->rows[i].dirty;
  if (count > 0) *copy = tks__calloc(count, sizeof **copy);
  if (*copy != NULL) {
    size_t n = 0;
    for (size_t i = 0; i < gaps->count; i++)
      if (gaps->rows[i].dirty) (*copy)[n++] = gaps->rows[i].gap;
  }
  (void)pthread_mutex_unlock(&gaps->lock);
  return count;
}

/* Whether this is the last row of its sink. */
static bool may_go_on(const tks__gaps *gaps, size_t index) {
  for (size_t i = index + 1; i < gaps->count; i++)
    if (gaps->rows[i].gap.sink == gaps->rows[index].gap.sink) return false;
  return true;
}

/* Rows that went on meanwhile stay dirty. All clean ones that cannot go on are let go. */
static void settle(tks__gaps *gaps, const tks_gap *written, size_t count) {
  (void)pthread_mutex_lock(&gaps->lock);
  for (size_t w = 0; w < count; w++)
    for (size_t i = 0; i < gaps->count; i++)
      if (tks__gap_same(&gaps->rows[i].gap, &written[w]) && gaps->rows[i].gap.to_seq == written[w].to_seq &&
          gaps->rows[i].gap.records == written[w].records)
        gaps->rows[i].dirty = false;
  size_t kept = 0;
  for (size_t i = 0; i < gaps->count; i++)
    if (gaps->rows[i].dirty || may_go_on(gaps, i)) gaps->rows[kept++] = gaps->rows[i];
  gaps->count = kept;
  (void)pthread_mutex_unlock(&gaps->lock);
}

/* A file that cannot be used must not keep what comes from being written down. */
static bool set_aside(const tks__gaps *gaps, const char *path, const char *why, char aside[TKS__PATH_MAX]) {
  int errnum = tks__layout_set_aside(path, aside);
  tks__log_write(gaps->log, TKS_LOG_ERROR, "the gap ledger %s cannot be used: %s; %s%s", path, why,
                 errnum == 0 ? "set aside as " : "it cannot be set aside: ", errnum == 0 ? aside : strerror(errnum));
  return errnum == 0;
}

/* A read that fails once, or gives less than it should, passes for damage. What was written already is not written twice. */
static int write_or_look_again(const tks__gap_writing *writing, int *taken, char why[TKS__GAP_WHY_MAX]) {
  int rc = tks__gap_file_write(writing, taken, why);
  bool is_sound = rc != SQLITE_OK ? !tks__gap_file_is_unusable(rc, writing->path)
                                  : writing->take_in == NULL || !tks__gap_file_is_unusable(*taken, writing->take_in);
  return is_sound ? rc : tks__gap_file_write(writing, taken, why);
}

/* One attempt, or two where the file has to be set aside first. */
static int write_file(const tks__gaps *gaps, tks__gap_writing *writing, int *taken, char why[TKS__GAP_WHY_MAX]) {
  int rc = write_or_look_again(writing, taken, why);
  char aside[TKS__PATH_MAX];
  if (!tks__gap_file_is_unusable(rc, writing->path) || !set_aside(gaps, writing->path, why, aside)) return rc;
  if (!tks__gap_file_is_damaged(rc)) {
    /* Somebody else's: what is in it can perhaps be read. */
    tks__gap_writing copy = *writing;
    copy.take_in = aside;
    copy.count = 0;
    (void)tks__gap_file_write(&copy, taken, why);
  }
  return tks__gap_file_write(writing, taken, why);
}

static void remove_pending(const char *path) {
  if (tks__fs_remove(path) == 0) (void)tks__fs_sync_dir_of(path);
}

static int write_ledger(const tks__gaps *gaps, int busy_ms, const tks_gap *rows, size_t count,
                        char why[TKS__GAP_WHY_MAX]) {
  char path[TKS__PATH_MAX], pending[TKS__PATH_MAX], aside[TKS__PATH_MAX];
  tks__layout_gaps(gaps->layout, path);
  tks__layout_gaps_pending(gaps->layout, pending);
  int64_t size;
  bool waits = tks__fs_size(pending, &size) != ENOENT;
  tks__gap_writing writing = {
      .path = path,
      .take_in = waits ? pending : NULL,
      .reserve = true,
      .busy_ms = busy_ms,
      .symbols = gaps->symbols,
      .rows = rows,
      .count = count,
  };
  int taken = SQLITE_OK;
  int rc = write_file(gaps, &writing, &taken, why);
  if (rc != SQLITE_OK || !waits) return rc;
  if (taken == SQLITE_OK) remove_pending(pending);
  else if (tks__gap_file_is_unusable(taken, pending)) (void)set_aside(gaps, pending, sqlite3_errstr(taken), aside);
  return rc;
}

/* Where the ledger itself cannot be written now, which may be for as long as somebody reads it. */
static int write_pending(const tks__gaps *gaps, const tks_gap *rows, size_t count) {
  char path[TKS__PATH_MAX], why[TKS__GAP_WHY_MAX];
  tks__layout_gaps_pending(gaps->layout, path);
  tks__gap_writing writing = {.path = path, .busy_ms = BUSY_MS, .symbols = gaps->symbols, .rows = rows, .count = count};
  int taken;
  return write_file(gaps, &writing, &taken, why);
}

/* Rows that did not get into the ledger. True: they are as safe as they can be, and nobody will try again. */
static bool put_off(tks__gaps *gaps, bool last, const tks_gap *rows, size_t count, const char *why) {
  gaps->owing = true;
  gaps->tried_last = last;
  bool kept = count == 0 || write_pending(gaps, rows, count) == SQLITE_OK;
  if (last && kept) settle(gaps, rows, count);
  char what[TKS__GAP_WHY_MAX + 128];
  (void)snprintf(what, sizeof what, "cannot write the gap ledger gaps.db: %s; %zu rows wait%s", why, count,
                 count == 0 ? ""
                 : kept     ? " in gaps.pending.db, until it can be, or for the next open"
                            : " in memory alone");
  if (last) tks__log_write(gaps->log, kept ? TKS_LOG_WARN : TKS_LOG_ERROR, "%s", what);
  else tks__log_limited(gaps->log, &gaps->limiter, TKS_LOG_ERROR, "%s", what);
  return last && kept;
}

static bool write_with(tks__gaps *gaps, const tks_gap *rows, size_t count) {
  int wait_ms = atomic_load_explicit(&gaps->last_wait_ms, memory_order_relaxed);
  bool last = wait_ms > 0;
  char why[TKS__GAP_WHY_MAX];
  int rc = write_ledger(gaps, last ? wait_ms : BUSY_MS, rows, count, why);
  if (rc != SQLITE_OK) return put_off(gaps, last, rows, count, why);
  settle(gaps, rows, count);
  gaps->owing = false;
  return true;
}

bool tks__gaps_open(tks__gaps *gaps) { return write_with(gaps, NULL, 0); }

void tks__gaps_last_chance(tks__gaps *gaps, int wait_ms) {
  atomic_store_explicit(&gaps->last_wait_ms, wait_ms < LAST_BUSY_MS ? LAST_BUSY_MS : wait_ms, memory_order_relaxed);
}

bool tks__gaps_write(tks__gaps *gaps) {
  tks_gap *rows;
  size_t count = copy_dirty(gaps, &rows);
  if (count == 0 && (!gaps->owing || gaps->tried_last)) return true;
  if (count > 0 && rows == NULL) return false;
  bool done = write_with(gaps, rows, count);
  tks__free(rows);
  return done;
}

bool tks__gaps_write_now(tks__gaps *gaps) {
  tks__gaps_last_chance(gaps, 0);
  bool written = tks__gaps_write(gaps);
  atomic_store_explicit(&gaps->last_wait_ms, 0, memory_order_relaxed);
  gaps->tried_last = false;
  return written;
}

/* --------------------------------------------------------------- reading */

/* A file that is not there, or empty, has no rows: not even the first one could be written. */
static int read_file(const char *path, bool may_repair, tks__names *symbols, uint64_t since_seq, tks__gap_list *list,
                     tks_error *error) {
  int64_t size;
  int errnum = tks__fs_size(path, &size);
  if (errnum == ENOENT || (errnum == 0 && size == 0)) return TKS_OK;
  if (errnum != 0) return tks__fail_errno(error, errnum, "cannot read %s", path);
  char why[TKS__GAP_WHY_MAX];
  int rc = tks__gap_file_read(path, may_repair, symbols, since_seq, list, why);
  /* Taken in by the ledger meanwhile, which is read after this. */
  if (rc == SQLITE_OK || ((rc & 0xff) == SQLITE_CANTOPEN && tks__fs_size(path, &size) == ENOENT)) return TKS_OK;
  int code = (rc & 0xff) == SQLITE_NOMEM ? TKS_ENOMEM : tks__gap_file_is_damaged(rc) ? TKS_EDAYFILE : TKS_EIO;
  return tks__fail(error, code, rc, "cannot read %s: %s", path, why);
}

static int read_files(const tks__layout *layout, bool may_repair, tks__names *symbols, uint64_t since_seq,
                      tks__gap_list *list, tks_error *error) {
  char path[TKS__PATH_MAX];
  tks_error first = {0};
  tks__layout_gaps_pending(layout, path);
  int pending = read_file(path, may_repair, symbols, since_seq, list, &first);
  tks__layout_gaps(layout, path);
  int code = read_file(path, may_repair, symbols, since_seq, list, error);
  if (code != TKS_OK || pending == TKS_OK) return code;
  if (error != NULL) *error = first;
  return pending;
}

/* Written ones too: the file may not be readable now. */
static bool add_held(tks__gaps *gaps, uint64_t since_seq, tks__gap_list *list) {
  bool ok = true;
  (void)pthread_mutex_lock(&gaps->lock);
  for (size_t i = 0; i < gaps->count && ok; i++)
    if (gaps->rows[i].gap.to_seq >= since_seq) ok = tks__gap_list_add(list, &gaps->rows[i].gap);
  (void)pthread_mutex_unlock(&gaps->lock);
  return ok;
}

static int compare(uint64_t a, uint64_t b) { return (a > b) - (a < b); }

static int in_order(const void *a, const void *b) {
  const tks_gap *x = a, *y = b;
  int order = compare(x->from_seq, y->from_seq);
  if (order == 0) order = compare(x->sink, y->sink);
  if (order == 0) order = compare(x->cause, y->cause);
  return order != 0 ? order : (x->first_ns > y->first_ns) - (x->first_ns < y->first_ns);
}

/* Sorts, and of a row that is there twice keeps the later state: a row only grows. */
static void put_in_order(tks__gap_list *list) {
  if (list->count < 2) return;
  qsort(list->rows, list->count, sizeof *list->rows, in_order);
  size_t kept = 1;
  for (size_t i = 1; i < list->count; i++) {
    tks_gap *last = &list->rows[kept - 1];
    const tks_gap *next = &list->rows[i];
    if (tks__gap_found_again(last, next)) continue;
    if (!tks__gap_same(last, next)) list->rows[kept++] = *next;
    else if (next->records > last->records || next->to_seq > last->to_seq) *last = *next;
  }
  list->count = kept;
}

int tks__gaps_list(const tks__layout *layout, tks__gaps *gaps, tks__names *symbols, uint64_t since_seq, tks_gap *rows,
                   size_t capacity, size_t *total, tks_error *error) {
  tks__gap_list list = {0};
  /* From memory to the ledger, as rows go: what is written down in between is seen twice, never missed. */
  int code = gaps == NULL || add_held(gaps, since_seq, &list)
                 ? read_files(layout, gaps != NULL, symbols, since_seq, &list, error)
                 : tks__fail(error, TKS_ENOMEM, 0, "out of memory listing gaps");
  if (code == TKS_OK || code == TKS_EIO || code == TKS_EDAYFILE) {
    put_in_order(&list);
    *total = list.count;
    if (capacity > list.count) capacity = list.count;
    if (capacity > 0) memcpy(rows, list.rows, capacity * sizeof *rows);
  }
  tks__free(list.rows);
  return code;
}
