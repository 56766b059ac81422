#include "support/exercise.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "query/arrow.h"
#include "support/stores.h"
#include "support/wait.h"

/* One fault can make a call fail twice (a connection is lost, and another one made); not more. */
enum { TRIES = 4, DAYS = 3, PIECE = 7, ROOM = EXERCISE_QUOTES + 64 };

static const char *const NAMES[EXERCISE_SYMBOLS] = {"EUR/USD", "B"};
static tks_quote read_back[ROOM];

/* ------------------------------------------------------------------- calls */

static bool tolerated(const exercise *x, int code) {
  for (const int *c = x->codes; *c != 0; c++)
    if (*c == code) return true;
  return false;
}

static int check_code(const exercise *x, const char *call, int code, const tks_error *error) {
  if (code >= 0) return code;
  cr_assert(!x->relented && x->fails(), "%s: %d, %s, though nothing fails", call, code, error->message);
  cr_assert(tolerated(x, code), "%s: %d, %s", call, code, error->message);
  cr_assert(error->code == code && error->message[0] != 0, "%s: %d, but the error says %d", call, code, error->code);
  return code;
}

/* Makes a call until it works, or as often as that must take. `code` is the last answer. */
#define ATTEMPT(x, code, call)                                                                          \
  do {                                                                                                  \
    tks_error error_ = {0};                                                                             \
    tks_error *error = &error_;                                                                         \
    (code) = -1;                                                                                        \
    for (int try_ = 0; try_ < ((x)->once ? TRIES : 1) && (code) < 0; try_++)                            \
      (code) = check_code(x, #call, (call), error);                                                     \
    cr_assert(!(x)->once || (code) >= 0, "%s: %d, %s, again and again", #call, (code), error->message); \
  } while (0)

static void check_stats(exercise *x) {
  tks_store_stats stats = store_stats(x->store);
  uint64_t durable;
  cr_assert(store_adds_up(&stats));
  cr_assert_eq(tks_durable_seq(x->store, &durable, NULL), TKS_OK);
  cr_assert_leq(durable, store_stats(x->store).last_seq);
  if (durable > x->durable) x->durable = durable;
}

/* -------------------------------------------------------------------- put */

tks_quote exercise_quote(uint64_t n) {
  return (tks_quote){
      /* Many share a time. The last day comes late in a session, so that another one must make room for it. */
      .ts_ns = STORE_NOON + (int64_t)(n / 3) * 1000 + (int64_t)(n % 32 < 24 ? n / 2 % 2 : DAYS - 1) * STORE_DAY_NS,
      .recv_ns = n % 5 == 0 ? 0 : (int64_t)n,
      .bid = 1 + (double)n / 7,
      .ask = 2 + (double)n / 7,
      .bid_size = (double)n / 3,
      .symbol = 1 + (uint32_t)(n % EXERCISE_SYMBOLS),
      .source = (uint32_t)(n % 4 == 0),
  };
}

void exercise_note(exercise *x, const tks_quote *quote) {
  cr_assert_lt(x->count, EXERCISE_QUOTES);
  cr_assert(x->count == 0 || quote->seq > x->quotes[x->count - 1].seq);
  x->quotes[x->count++] = *quote;
}

static void put_one(exercise *x) {
  tks_quote q = exercise_quote(x->count);
  int code;
  ATTEMPT(x, code, tks_put_quote(x->store, &q, &q.seq, error));
  if (code == TKS_OK) exercise_note(x, &q);
  else cr_assert_lt(code, 0);
}

static void put_many(exercise *x) {
  enum { MANY = 20 };
  tks_quote quotes[MANY];
  int32_t codes[MANY];
  for (size_t i = 0; i < MANY; i++) quotes[i] = exercise_quote(x->count + i);
  tks_put_result result;
  int code;
  ATTEMPT(x, code, tks_put_quotes(x->store, quotes, MANY, codes, &result, error));
  if (code < 0) return;
  uint64_t seq = result.first_seq;
  for (size_t i = 0; i < MANY; i++) {
    if (codes[i] == TKS_OK) {
      quotes[i].seq = seq++;
      exercise_note(x, &quotes[i]);
    } else {
      cr_assert(code == TKS_PARTIAL && tolerated(x, codes[i]), "%d", codes[i]);
    }
  }
  cr_assert(result.accepted == 0 || seq == result.last_seq + 1);
}

static void intern_names(exercise *x) {
  uint32_t id = 0;
  int code;
  for (uint32_t i = 0; i < EXERCISE_SYMBOLS; i++) {
    ATTEMPT(x, code, tks_symbol(x->store, NAMES[i], strlen(NAMES[i]), &id, error));
    cr_assert(code < 0 || id == i + 1);
  }
  ATTEMPT(x, code, tks_source(x->store, "X", 1, &id, error));
  cr_assert(code < 0 || id == 1);
}

/* ------------------------------------------------------------------- read */

static int by_time(const void *a, const void *b) {
  const tks_quote *x = a, *y = b;
  if (x->ts_ns != y->ts_ns) return x->ts_ns < y->ts_ns ? -1 : 1;
  return (x->seq > y->seq) - (x->seq < y->seq);
}

/* What a range answers, sorted. */
static size_t wanted(const exercise *x, const tks_range *range, tks_quote *quotes) {
  size_t n = 0;
  for (size_t i = 0; i < x->count; i++) {
    const tks_quote *q = &x->quotes[i];
    if (q->symbol == range->symbol && (range->source == 0 || q->source == range->source)) quotes[n++] = *q;
  }
  qsort(quotes, n, sizeof *quotes, by_time);
  if ((range->flags & TKS_RANGE_DESCENDING) != 0) {
    for (size_t i = 0; i < n / 2; i++) {
      tks_quote q = quotes[i];
      quotes[i] = quotes[n - 1 - i];
      quotes[n - 1 - i] = q;
    }
  }
  return n;
}

static bool same(const tks_quote *a, const tks_quote *b) { return memcmp(a, b, sizeof *a) == 0; }

/* What was read is what was accepted, but for `missing_max` records. */
static void compare(const exercise *x, const tks_range *range, size_t got, uint64_t missing_max) {
  static tks_quote want[EXERCISE_QUOTES];
  size_t n = wanted(x, range, want), i = 0;
  uint64_t missing = 0;
  for (size_t w = 0; w < n; w++) {
    if (i < got && same(&read_back[i], &want[w])) i++;
    else missing++;
  }
  cr_assert_eq(i, got, "%zu of %zu quotes were never accepted, or come twice or in another order", got - i, got);
  cr_assert_leq(missing, missing_max, "%llu of %zu quotes of symbol %u are missing", (unsigned long long)missing, n,
                range->symbol);
}

/* Reads a range to its end; false if it could not read all of it. */
static bool read_range(exercise *x, const tks_range *range, size_t *total) {
  tks_cursor *cursor = NULL;
  int code;
  *total = 0;
  ATTEMPT(x, code, tks_range_open(x->store, range, &cursor, error));
  if (code < 0) {
    cr_assert_null(cursor);
    return false;
  }
  size_t got;
  bool whole = true;
  do {
    tks_error error = {0};
    int failures = 0;
    do { /* what came before a failure is valid, and the next call goes on from there */
      cr_assert_leq(*total + PIECE, ROOM);
      code = check_code(x, "tks_cursor_next", tks_cursor_next(cursor, read_back + *total, PIECE, &got, &error), &error);
      *total += got;
      if (code == TKS_EDAYFILE) whole = false; /* the day is passed over */
    } while (code < 0 && ++failures < TRIES);
  } while (code == TKS_OK && got > 0);
  tks_cursor_close(cursor);
  cr_assert(!x->once || (whole && code == TKS_OK));
  return whole && code == TKS_OK;
}

/* Losses that this session cannot know of, and those of the one before. */
static uint64_t lost_so_far(const exercise *x) { return x->lacks[0] > x->lacks[1] ? x->lacks[0] : x->lacks[1]; }

static void read_ranges(exercise *x) {
  size_t total;
  for (uint32_t symbol = 1; symbol <= EXERCISE_SYMBOLS; symbol++) {
    tks_range range = store_range(symbol);
    range.flags = symbol == 1 ? 0 : TKS_RANGE_DESCENDING;
    range.source = symbol == 1; /* the odd ones have none */
    if (read_range(x, &range, &total)) compare(x, &range, total, lost_so_far(x));
  }
}

static uint64_t held_of(const exercise *x, uint32_t symbol) {
  uint64_t held = 0;
  for (size_t i = 0; i < x->count; i++) held += x->quotes[i].symbol == symbol;
  return held;
}

static void read_recent(exercise *x) {
  tks_quote quotes[40];
  size_t count, total;
  int code;
  uint64_t held = held_of(x, 1), others = held_of(x, 2);
  ATTEMPT(x, code, tks_recent(x->store, 1, 40, quotes, &count, error));
  if (code == TKS_OK && lost_so_far(x) == 0) cr_assert_eq(count, held < 40 ? held : 40, "%zu", count);
  /* A symbol has none where its name could not be written down. */
  if (others > lost_so_far(x)) ATTEMPT(x, code, tks_latest(x->store, 2, quotes, error));
  ATTEMPT(x, code, tks_latest_all(x->store, quotes, 40, &total, error));
  if (code == TKS_OK && lost_so_far(x) == 0) cr_assert_eq(total, (size_t)(held > 0) + (others > 0), "%zu", total);
}

static void list(exercise *x) {
  tks_symbol_info infos[EXERCISE_SYMBOLS];
  tks_day_info days[2 * DAYS];
  size_t total;
  uint64_t counted = 0;
  int code;
  ATTEMPT(x, code, tks_symbols(x->store, infos, EXERCISE_SYMBOLS, &total, error));
  if (code == TKS_OK) {
    for (size_t i = 0; i < total; i++) counted += infos[i].count;
    cr_assert(counted <= x->count && counted + lost_so_far(x) >= x->count, "%llu of %zu", (unsigned long long)counted,
              x->count);
  }
  ATTEMPT(x, code, tks_days(x->store, TKS_CHECK_FULL, days, 2 * DAYS, &total, error));
  if (code != TKS_OK) return;
  cr_assert_leq(total, 2 * DAYS);
  for (size_t i = 0; i < total; i++) {
    if (days[i].code == TKS_OK) continue;
    cr_assert(tolerated(x, days[i].code) && x->fails() && !x->relented, "%d: %s", days[i].code, days[i].message);
    cr_assert_neq(days[i].message[0], 0);
  }
}

/* An Arrow stream answers with an errno and goes on after it. False if it did not give all. */
static bool drain_stream(exercise *x, struct ArrowArrayStream *stream, int64_t *rows) {
  struct ArrowSchema schema = {0};
  int failures = 0, rc;
  bool whole = true;
  while ((rc = stream->get_schema(stream, &schema)) != 0 && ++failures < TRIES) cr_assert_neq(rc, 0);
  if (rc == 0) schema.release(&schema);
  for (;;) {
    struct ArrowArray batch = {0};
    rc = stream->get_next(stream, &batch);
    if (rc != 0) {
      const char *why = stream->get_last_error(stream);
      cr_assert(x->fails() && !x->relented, "%d: %s", rc, why == NULL ? "" : why);
      cr_assert_not_null(why);
      if (strncmp(why, "TKS_EDAYFILE", 12) == 0) whole = false;
      if (++failures >= TRIES) break; /* the schema may have used them up */
      continue;
    }
    if (batch.release == NULL) break;
    *rows += batch.length;
    batch.release(&batch);
  }
  stream->release(stream);
  return whole && rc == 0;
}

static void read_arrow(exercise *x) {
  tks_range range = store_range(2);
  struct ArrowArrayStream stream = {0};
  int64_t rows = 0, held = (int64_t)held_of(x, 2);
  int code;
  ATTEMPT(x, code, tks_range_arrow(x->store, &range, 16, &stream, error));
  if (code == TKS_OK && drain_stream(x, &stream, &rows))
    cr_assert(rows <= held && (uint64_t)(held - rows) <= lost_so_far(x), "%lld of %lld", (long long)rows,
              (long long)held);
  if (x->count == 0) return;
  rows = 0;
  ATTEMPT(x, code, tks_quotes_arrow(x->store, x->quotes, x->count, &stream, error));
  if (code == TKS_OK && drain_stream(x, &stream, &rows)) cr_assert_eq(rows, (int64_t)x->count);
}

/* --------------------------------------------------------------- sessions */

static tks_config config_of(const exercise *x, uint32_t backend) {
  tks_config config = store_config(backend);
  config.throttle_relative = 0; /* so that there is a table of sources */
  config.ring_records = 4;
  config.max_symbols = config.max_sources = 100;
  config.queue_records = 256;
  config.batch_records = 8;
  config.max_open_days = 2;
  config.read_connections = 2;
  config.page_cache_bytes = 65536;
  config.checkpoint_pages = 8;
  config.synchronous = x->synchronous;
  config.busy_timeout_ms = x->relented ? WAIT_LIMIT_S * 1000 : x->busy_timeout_ms;
  config.flush_interval_ms = 5;
  config.degraded_retry_ms = 5;
  config.sync_interval_ms = 5;
  if (!x->once && x->until_closed) config.close_limit_ms = 20;
  return config;
}

static void flush(exercise *x) {
  tks_error error = {0};
  bool steady = x->once || x->relented; /* else what fails for ever may begin while this waits */
  int code = TKS_ETIMEOUT;
  for (int i = 0; i < WAIT_LIMIT_S * 100 && code == TKS_ETIMEOUT && (i == 0 || !x->fails()); i++)
    code = tks_flush(x->store, steady ? WAIT_LIMIT_S * 1000 : 10, &error);
  bool patient = steady || !x->fails();
  cr_assert(code == TKS_OK || (!patient && code == TKS_ETIMEOUT), "%d: %s", code, error.message);
  check_stats(x);
  if (code == TKS_OK && x->count > 0) cr_assert_geq(x->durable, x->quotes[x->count - 1].seq);
}

static void use(exercise *x) {
  intern_names(x);
  for (int i = 0; i < 8; i++) put_one(x);
  flush(x);
  put_many(x);
  check_stats(x);
  read_ranges(x);
  flush(x);
  read_ranges(x);
  read_recent(x);
  list(x);
  read_arrow(x);
  for (int i = 0; i < 4; i++) put_one(x);
  list(x);
  flush(x);
  put_one(x);
}

/* "... sqlite lacks 12, json lacks 3 ..." */
static uint64_t lacking(const char *message, const char *what) {
  const char *found = strstr(message, what);
  return found == NULL ? 0 : strtoull(found + strlen(what), NULL, 10);
}

static void close_store(exercise *x) {
  tks_error error = {0};
  if (!x->once && x->until_closed && !x->relented) flush(x); /* there is little time to write */
  tks_store_stats stats = store_stats(x->store);
  cr_assert_eq(stats.dropped, 0);
  int code = tks_close(x->store, &error);
  x->store = NULL;
  if (code == TKS_OK || code == TKS_KEPT) return;
  bool patient = x->once || x->relented || !x->fails();
  cr_assert(!patient && code == TKS_EUNWRITTEN, "%d: %s", code, error.message);
  x->lacks[0] += lacking(error.message, "sqlite lacks ");
  x->lacks[1] += lacking(error.message, "json lacks ");
  cr_assert_gt(x->lacks[0] + x->lacks[1], 0, "%s", error.message);
  for (size_t i = 0; i < x->count; i++) x->may_lack[i] = x->may_lack[i] || x->quotes[i].seq > x->durable;
}

static void relent(exercise *x) {
  if (x->once || x->relented || !x->fails()) return;
  x->relent();
  x->relented = true;
}

static void open_store(exercise *x, uint32_t backend) {
  tks_config config = config_of(x, backend);
  int code;
  ATTEMPT(x, code, tks_open(x->dir, strlen(x->dir), &config, &x->store, error));
  if (code == TKS_OK) return;
  cr_assert_null(x->store);
  relent(x);
  x->store = store_open(x->dir, &config);
}

void exercise_run(exercise *x) {
  for (int s = 0; s < EXERCISE_SESSIONS; s++) {
    x->written_to |= x->backends[s];
    open_store(x, x->backends[s]);
    use(x);
    /* Else a fault that lasts may begin within close, which then takes all of its limit. */
    if (!x->once && !x->until_closed) {
      x->hold(true);
      relent(x);
    }
    close_store(x);
    x->hold(false);
    relent(x);
  }
}

/* -------------------------------------------------------------- reckoning */

static int damaged_files;

static int find_damaged(const char *path, const struct stat *st, int type, struct FTW *at) {
  (void)st;
  (void)type;
  (void)at;
  if (strstr(path, ".damaged-") == NULL) return 0;
  (void)fprintf(stderr, "%s\n", path);
  damaged_files++;
  return 0;
}

/* Read by hand. A sink that was written to in all sessions has everything; of two that took turns each has its own. */
static void check_disk(const exercise *x) {
  uint64_t rows = store_sqlite_rows(x->dir), lines = store_json_lines(x->dir);
  cr_assert_eq(store_sqlite_seqs(x->dir), rows, "rows are there twice");
  cr_assert_eq(store_json_seqs(x->dir), lines, "lines are there twice");
  bool turns = x->backends[0] != x->backends[1];
  if (turns) {
    /* What the first left in the journal without knowing whether it had written it is in both. */
    cr_assert(rows <= x->count && lines <= x->count && rows + lines + x->lacks[0] + x->lacks[1] >= x->count,
              "%llu and %llu of %zu", (unsigned long long)rows, (unsigned long long)lines, x->count);
    return;
  }
  if ((x->written_to & TKS_SQLITE) != 0) cr_assert(rows <= x->count && rows + x->lacks[0] >= x->count);
  if ((x->written_to & TKS_JSON) != 0) cr_assert(lines <= x->count && lines + x->lacks[1] >= x->count);
}

/* Nothing that was said to be durable is missing, whatever else was lost. */
static void check_durable(const exercise *x, const bool *found) {
  for (size_t i = 0; i < x->count; i++)
    cr_assert(found[i] || x->may_lack[i], "sequence %llu is missing; durable was %llu",
              (unsigned long long)x->quotes[i].seq, (unsigned long long)x->durable);
}

void exercise_reckon(exercise *x) {
  x->relent();
  x->relented = true;
  tks_config config = config_of(x, x->backends[EXERCISE_SESSIONS - 1]);
  config.close_limit_ms = WAIT_LIMIT_S * 1000;
  x->store = store_open(x->dir, &config);
  intern_names(x);
  flush(x);
  bool found[EXERCISE_QUOTES] = {false};
  for (uint32_t symbol = 1; symbol <= EXERCISE_SYMBOLS; symbol++) {
    tks_range range = store_range(symbol);
    size_t total;
    cr_assert(read_range(x, &range, &total));
    compare(x, &range, total, lost_so_far(x));
    for (size_t r = 0; r < total; r++)
      for (size_t i = 0; i < x->count; i++) found[i] |= x->quotes[i].seq == read_back[r].seq;
  }
  check_durable(x, found);
  list(x);
  close_store(x);
  check_disk(x);
  damaged_files = 0;
  (void)nftw(x->dir, find_damaged, 16, FTW_PHYS);
  cr_assert_eq(damaged_files, 0);
}
