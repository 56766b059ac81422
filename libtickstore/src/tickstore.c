/* Every exported function: check, enter the store, delegate, leave, report. */
#include "tickstore/tickstore.h"

#include <stddef.h>
#include <string.h>

#include "base/config.h"
#include "base/error.h"
#include "base/forks.h"
#include "base/memory.h"
#include "query/arrow.h"
#include "query/cursor.h"
#include "query/listing.h"
#include "query/recent.h"
#include "store.h"

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)

#define PREFETCH_AHEAD 8 /* quotes of an array whose ring lines are asked for in advance: about one memory latency */

struct tks_cursor {
  tks_store *store;
  tks__cursor cursor;
};

/* --------------------------------------------------------- version, codes */

uint32_t tks_version(void) { return TKS_VERSION_MAJOR * 1000000 + TKS_VERSION_MINOR * 1000 + TKS_VERSION_PATCH; }

const char *tks_version_string(void) {
  return TEXT(TKS_VERSION_MAJOR) "." TEXT(TKS_VERSION_MINOR) "." TEXT(TKS_VERSION_PATCH);
}

const char *tks_strerror(int code) { return tks__status_message(code); }

/* -------------------------------------------------------------- lifecycle */

static int null_argument(tks_error *error, const char *name) {
  return tks__fail(error, TKS_ENULL, 0, "%s is NULL", name);
}

int tks_config_init(tks_config *config, size_t size, int preset, tks_error *error) {
  if (config == NULL) return null_argument(error, "config");
  tks_config full;
  if (!tks__config_preset(&full, preset))
    return tks__fail(error, TKS_EINVAL, 0, "preset is %d, no such preset", preset);
  if (size < offsetof(tks_config, read_only) || size > (size_t)1 << 20)
    return tks__fail(error, TKS_ESTRUCT, 0, "size of tks_config is %zu, expected %zu", size, sizeof full);
  /* A newer caller's longer struct: what is not known here is left zero, which tks_open asks for. */
  memset(config, 0, size);
  full.struct_size = (uint32_t)size;
  memcpy(config, &full, size < sizeof full ? size : sizeof full);
  return TKS_OK;
}

int tks_open(const char *path, size_t path_length, const tks_config *config, tks_store **store, tks_error *error) {
  if (store == NULL) return null_argument(error, "store");
  *store = NULL;
  if (!tks__forks_open())
    return tks__fail(error, TKS_EFORK, 0, "this process was forked while a store was open: exec before opening one");
  int code = tks__store_open(path, path_length, config, store, error);
  if (code != TKS_OK) tks__forks_close();
  return code;
}

int tks_close(tks_store *store, tks_error *error) {
  int code = tks__store_close(store, error);
  /* Any other code tells how the closing went. */
  if (code != TKS_ENULL && code != TKS_EFORK && code != TKS_ECLOSED) tks__forks_close();
  return code;
}

static int need_writer(const tks_store *store, tks_error *error) {
  if (store->engine->writer != NULL) return TKS_OK;
  return tks__fail(error, TKS_EREADONLY, 0, "the store is open for reading only");
}

static int flush_sinks(tks_store *store, uint32_t sink, int64_t timeout_ms, tks_error *error) {
  tks__gate *gate;
  int code = tks__store_enter(store, &gate, error);
  if (code != TKS_OK) return code;
  code = need_writer(store, error);
  if (code == TKS_OK && timeout_ms < -1)
    code = tks__fail(error, TKS_EINVAL, 0, "timeout_ms is %lld", (long long)timeout_ms);
  if (code == TKS_OK) code = tks__writer_flush(store->engine->writer, sink, timeout_ms, error);
  tks__store_leave(gate);
  return code;
}

int tks_flush(tks_store *store, int64_t timeout_ms, tks_error *error) {
  return flush_sinks(store, 0, timeout_ms, error);
}

int tks_sink_flush(tks_store *store, uint32_t sink, int64_t timeout_ms, tks_error *error) {
  if (sink != TKS_SQLITE && sink != TKS_JSON) return tks__fail(error, TKS_EINVAL, 0, "sink is %u, no such sink", sink);
  return flush_sinks(store, sink, timeout_ms, error);
}

int tks_durable_seq(tks_store *store, uint64_t *seq, tks_error *error) {
  if (seq == NULL) return null_argument(error, "seq");
  tks__gate *gate;
  int code = tks__store_enter(store, &gate, error);
  if (code != TKS_OK) return code;
  code = need_writer(store, error);
  if (code == TKS_OK) *seq = tks__writer_durable_seq(store->engine->writer);
  tks__store_leave(gate);
  return code;
}

int tks_sink_durable_seq(tks_store *store, uint32_t sink, uint64_t *seq, tks_error *error) {
  if (seq == NULL) return null_argument(error, "seq");
  tks__gate *gate;
  int code = tks__store_enter(store, &gate, error);
  if (code != TKS_OK) return code;
  code = need_writer(store, error);
  if (code == TKS_OK && !tks__writer_sink_durable_seq(store->engine->writer, sink, seq))
    code = tks__fail(error, TKS_EINVAL, 0, "sink is %u: not one that this store writes to", sink);
  tks__store_leave(gate);
  return code;
}

/* ------------------------------------------------------------------ names */

static int intern(tks__names *names, const char *what, const char *name, size_t length, uint32_t *id,
                  tks_error *error) {
  if (name == NULL && length > 0) return tks__fail(error, TKS_ENULL, 0, "name of the %s is NULL", what);
  int code = tks__names_intern(names, name, length, id);
  if (code == TKS_OK) return TKS_OK;
  if (code == TKS_ETABLEFULL)
    return tks__fail(error, code, 0, "cannot add %s %.*s: all %u are in use", what, (int)length, name, names->max);
  /* A name that is not valid text is not put into the message. */
  return tks__fail(error, code, 0, "%s of %zu bytes: %s", what, length, tks__status_message(code));
}

static int intern_in_store(tks_store *store, bool symbol, const char *name, size_t length, uint32_t *id,
                           tks_error *error) {
  if (id == NULL) return null_argument(error, "id");
  tks__gate *gate;
  int code = tks__store_enter(store, &gate, error);
  if (code != TKS_OK) return code;
  tks__engine *engine = store->engine;
  uint32_t found;
  code = intern(symbol ? &engine->symbols.names : &engine->sources, symbol ? "symbol" : "source", name, length, &found,
                error);
  if (code == TKS_OK) *id = found;
  tks__store_leave(gate);
  return code;
}

int tks_symbol(tks_store *store, const char *name, size_t length, uint32_t *id, tks_error *error) {
  return intern_in_store(store, true, name, length, id, error);
}

int tks_source(tks_store *store, const char *name, size_t length, uint32_t *id, tks_error *error) {
  return intern_in_store(store, false, name, length, id, error);
}

static int name_of(tks_store *store, bool symbol, uint32_t id, char *name, size_t capacity, size_t *length,
                   tks_error *error) {
  if (length == NULL) return null_argument(error, "length");
  if (name == NULL && capacity > 0) return null_argument(error, "name");
  tks__gate *gate;
  int code = tks__store_enter(store, &gate, error);
  if (code != TKS_OK) return code;
  const tks__name *found = tks__names_get(symbol ? &store->engine->symbols.names : &store->engine->sources, id);
  if (found == NULL) {
    code = tks__fail(error, symbol ? TKS_ESYMBOL : TKS_ESOURCE, 0, "%s is %u, no such id", symbol ? "symbol" : "source",
                     id);
  } else {
    *length = found->length;
    if (capacity > 0) memcpy(name, found->text, found->length < capacity ? found->length : capacity);
  }
  tks__store_leave(gate);
  return code;
}

int tks_symbol_name(tks_store *store, uint32_t id, char *name, size_t capacity, size_t *length, tks_error *error) {
  return name_of(store, true, id, name, capacity, length, error);
}

int tks_source_name(tks_store *store, uint32_t id, char *name, size_t capacity, size_t *length, tks_error *error) {
  return name_of(store, false, id, name, capacity, length, error);
}

int tks_symbols(tks_store *store, tks_symbol_info *symbols, size_t capacity, size_t *total, tks_error *error) {
  if (total == NULL) return null_argument(error, "total");
  if (symbols == NULL && capacity > 0) return null_argument(error, "symbols");
  tks__gate *gate;
  int code = tks__store_enter(store, &gate, error);
  if (code != TKS_OK) return code;
  code = tks__listing_names(&store->engine->reader, symbols, capacity, total, error);
  tks__store_leave(gate);
  return code;
}

/* ------------------------------------------------------------- publishing */

int tks_put_quote(tks_store *store, const tks_quote *quote, uint64_t *seq, tks_error *error) {
  if (seq != NULL) *seq = 0;
  if (quote == NULL) return null_argument(error, "quote");
  tks__gate *gate;
  int code = tks__store_enter(store, &gate, error);
  if (code != TKS_OK) return code;
  code = tks__store_put(store, quote, seq, NULL, error);
  tks__store_leave(gate);
  return code;
}

static void tally(tks_put_result *result, size_t index, int code, uint64_t seq) {
  switch (code) {
    case TKS_OK:
      if (result->accepted++ == 0) result->first_seq = seq;
      result->last_seq = seq;
      return;
    case TKS_THROTTLED: result->throttled++; return;
    case TKS_CROSSED_DROPPED: result->crossed_dropped++; return;
    case TKS_EQUEUEFULL: result->dropped++; break;
    default: result->refused++; break;
  }
  if (result->first_bad_code != TKS_OK) return;
  result->first_bad_code = code;
  result->first_bad = index;
}

int tks_put_quotes(tks_store *store, const tks_quote *quotes, size_t count, int32_t *codes, tks_put_result *result,
                   tks_error *error) {
  tks_put_result sum = {0};
  if (result != NULL) *result = sum;
  if (quotes == NULL && count > 0) return null_argument(error, "quotes");
  if (count > TKS_MAX_RECORDS)
    return tks__fail(error, TKS_ELIMIT, 0, "count is %zu, at most %u", count, TKS_MAX_RECORDS);
  tks__gate *gate;
  int code = tks__store_enter(store, &gate, error);
  if (code != TKS_OK) return code;
  if (need_writer(store, error) != TKS_OK) {
    tks__store_leave(gate);
    return TKS_EREADONLY;
  }
  bool waited_out = false;
  for (size_t i = 0; i < count; i++) {
    uint64_t seq = 0;
    if (i + 2 * PREFETCH_AHEAD < count) tks__store_prefetch_symbol(store, &quotes[i + 2 * PREFETCH_AHEAD]);
    if (i + PREFETCH_AHEAD < count) tks__store_prefetch_ring(store, &quotes[i + PREFETCH_AHEAD]);
    /* Only the first bad one's message is kept. */
    int one = tks__store_put(store, &quotes[i], &seq, &waited_out, sum.first_bad_code == TKS_OK ? error : NULL);
    if (codes != NULL) codes[i] = one;
    tally(&sum, i, one, seq);
  }
  tks__store_leave(gate);
  if (result != NULL) *result = sum;
  return sum.first_bad_code == TKS_OK ? TKS_OK : TKS_PARTIAL;
}

int tks_put(tks_store *store, const char *symbol, size_t symbol_length, double bid, double ask, const char *source,
            size_t source_length, int64_t ts_ns, uint64_t *seq, tks_error *error) {
  if (seq != NULL) *seq = 0;
  tks__gate *gate;
  int code = tks__store_enter(store, &gate, error);
  if (code != TKS_OK) return code;
  tks_quote quote = {.ts_ns = ts_ns, .bid = bid, .ask = ask};
  code = need_writer(store, error);
  /* Before interning: what will be refused leaves no names behind. */
  if (code == TKS_OK) code = tks__store_check(store, &quote, error);
  if (code == TKS_OK)
    code = intern(&store->engine->symbols.names, "symbol", symbol, symbol_length, &quote.symbol, error);
  if (code == TKS_OK && source_length > 0)
    code = intern(&store->engine->sources, "source", source, source_length, &quote.source, error);
  if (code == TKS_OK) code = tks__store_put(store, &quote, seq, NULL, error);
  tks__store_leave(gate);
  return code;
}

/* ---------------------------------------------------------------- reading */

static int check_symbol(const tks__engine *engine, uint32_t id, tks_error *error) {
  if (tks__names_get(&engine->symbols.names, id) != NULL) return TKS_OK;
  return tks__fail(error, TKS_ESYMBOL, 0, "symbol is %u, no such id", id);
}

static int check_limit(size_t n, const char *name, tks_error *error) {
  if (n >= 1 && n <= TKS_MAX_RECORDS) return TKS_OK;
  return tks__fail(error, TKS_ELIMIT, 0, "%s is %zu, must be from 1 to %u", name, n, TKS_MAX_RECORDS);
}

int tks_recent(tks_store *store, uint32_t symbol, size_t n, tks_quote *quotes, size_t *count, tks_error *error) {
  if (quotes == NULL || count == NULL) return null_argument(error, quotes == NULL ? "quotes" : "count");
  *count = 0;
  tks__gate *gate;
  int code = tks__store_enter(store, &gate, error);
  if (code != TKS_OK) return code;
  code = check_symbol(store->engine, symbol, error);
  if (code == TKS_OK) code = check_limit(n, "n", error);
  if (code == TKS_OK) code = tks__recent(&store->engine->reader, symbol, n, quotes, count, error);
  tks__store_leave(gate);
  return code;
}

int tks_latest(tks_store *store, uint32_t symbol, tks_quote *quote, tks_error *error) {
  if (quote == NULL) return null_argument(error, "quote");
  tks__gate *gate;
  int code = tks__store_enter(store, &gate, error);
  if (code != TKS_OK) return code;
  code = check_symbol(store->engine, symbol, error);
  if (code == TKS_OK) code = tks__latest(&store->engine->reader, symbol, quote, error);
  tks__store_leave(gate);
  return code;
}

int tks_latest_all(tks_store *store, tks_quote *quotes, size_t capacity, size_t *total, tks_error *error) {
  if (total == NULL) return null_argument(error, "total");
  if (quotes == NULL && capacity > 0) return null_argument(error, "quotes");
  tks__gate *gate;
  int code = tks__store_enter(store, &gate, error);
  if (code != TKS_OK) return code;
  code = tks__latest_all(&store->engine->reader, quotes, capacity, total, error);
  tks__store_leave(gate);
  return code;
}

static int check_range(const tks__engine *engine, const tks_range *range, tks_error *error) {
  int code = check_symbol(engine, range->symbol, error);
  if (code != TKS_OK) return code;
  if (range->source > tks__names_count(&engine->sources))
    return tks__fail(error, TKS_ESOURCE, 0, "source is %u, no such id", range->source);
  if (range->limit < 1)
    return tks__fail(error, TKS_ELIMIT, 0, "limit is %lld, must be at least 1", (long long)range->limit);
  if (range->from_ns > range->to_ns)
    return tks__fail(error, TKS_EINVAL, 0, "from_ns is %lld, after to_ns, %lld", (long long)range->from_ns,
                     (long long)range->to_ns);
  if ((range->flags & ~TKS_RANGE_DESCENDING) != 0)
    return tks__fail(error, TKS_EINVAL, 0, "flags are 0x%x, only TKS_RANGE_DESCENDING is known", range->flags);
  return TKS_OK;
}

static int open_cursor(tks_store *store, const tks_range *given, tks_cursor **out, tks_error *error) {
  int code = tks__struct_check(given, given->struct_size, sizeof *given, sizeof *given, "tks_range", error);
  if (code == TKS_OK) code = check_range(store->engine, given, error);
  if (code != TKS_OK) return code;
  tks_cursor *cursor = tks__malloc(sizeof *cursor);
  if (cursor == NULL) return tks__fail(error, TKS_ENOMEM, 0, "out of memory opening a range");
  const tks__cursor_spec spec = {
      .symbol = given->symbol,
      .source = given->source,
      .from_ns = given->from_ns,
      .to_ns = given->to_ns,
      .limit = given->limit,
      .max_seq = tks__reader_max_seq(&store->engine->reader),
      .descending = (given->flags & TKS_RANGE_DESCENDING) != 0,
  };
  cursor->store = store;
  code = tks__cursor_init(&cursor->cursor, &store->engine->reader, &spec, error);
  if (code != TKS_OK) {
    tks__free(cursor);
    return code;
  }
  *out = cursor;
  return TKS_OK;
}

int tks_range_open(tks_store *store, const tks_range *range, tks_cursor **cursor, tks_error *error) {
  if (range == NULL || cursor == NULL) return null_argument(error, range == NULL ? "range" : "cursor");
  *cursor = NULL;
  tks__gate *gate;
  int code = tks__store_enter(store, &gate, error);
  if (code != TKS_OK) return code;
  code = open_cursor(store, range, cursor, error);
  tks__store_leave(gate);
  return code;
}

int tks_cursor_next(tks_cursor *cursor, tks_quote *quotes, size_t capacity, size_t *count, tks_error *error) {
  if (cursor == NULL || quotes == NULL || count == NULL)
    return null_argument(error, cursor == NULL ? "cursor" : quotes == NULL ? "quotes" : "count");
  *count = 0;
  tks__gate *gate;
  int code = tks__store_enter(cursor->store, &gate, error);
  if (code != TKS_OK) return code;
  code = check_limit(capacity, "capacity", error);
  if (code == TKS_OK)
    code = tks__cursor_next(&cursor->cursor, &cursor->store->engine->reader, quotes, capacity, count, error);
  tks__store_leave(gate);
  return code;
}

void tks_cursor_close(tks_cursor *cursor) {
  if (cursor == NULL) return;
  tks__cursor_deinit(&cursor->cursor);
  tks__free(cursor);
}

static int cursor_next(void *cursor, tks_quote *quotes, size_t capacity, size_t *count, tks_error *error) {
  return tks_cursor_next(cursor, quotes, capacity, count, error);
}

static void cursor_close(void *cursor) { tks_cursor_close(cursor); }

static int name_in_store(void *store, bool symbol, uint32_t id, char *name, size_t *length, tks_error *error) {
  return name_of(store, symbol, id, name, TKS_NAME_MAX, length, error);
}

static int name_in_cursor(void *cursor, bool symbol, uint32_t id, char *name, size_t *length, tks_error *error) {
  return name_in_store(((const tks_cursor *)cursor)->store, symbol, id, name, length, error);
}

int tks_range_arrow(tks_store *store, const tks_range *range, uint32_t chunk_records, struct ArrowArrayStream *out,
                    tks_error *error) {
  if (out == NULL) return null_argument(error, "out");
  out->release = NULL;
  if (chunk_records != 0) {
    int bad = check_limit(chunk_records, "chunk_records", error);
    if (bad != TKS_OK) return bad;
  }
  tks_cursor *cursor;
  int code = tks_range_open(store, range, &cursor, error);
  if (code != TKS_OK) return code;
  const tks__arrow_source source = {
      .context = cursor, .next = cursor_next, .name = name_in_cursor, .close = cursor_close};
  code = tks__arrow_stream(&source, chunk_records, out, error);
  if (code != TKS_OK) tks_cursor_close(cursor);
  return code;
}

int tks_quotes_arrow(tks_store *store, const tks_quote *quotes, size_t count, struct ArrowArrayStream *out,
                     tks_error *error) {
  if (out == NULL) return null_argument(error, "out");
  out->release = NULL;
  if (quotes == NULL && count > 0) return null_argument(error, "quotes");
  if (count > TKS_MAX_RECORDS)
    return tks__fail(error, TKS_ELIMIT, 0, "count is %zu, at most %u", count, TKS_MAX_RECORDS);
  tks__gate *gate;
  int code = tks__store_enter(store, &gate, error);
  if (code != TKS_OK) return code;
  code = tks__arrow_quotes(name_in_store, store, quotes, count, out, error);
  tks__store_leave(gate);
  return code;
}

int tks_arrow_share(const struct ArrowArray *batch, uint64_t first, uint64_t count, struct ArrowArrayStream *out,
                    tks_error *error) {
  if (out == NULL) return null_argument(error, "out");
  return tks__arrow_share(batch, first, count, out, error);
}

/* ----------------------------------------------------------------- health */

int tks_stats(tks_store *store, tks_store_stats *stats, tks_error *error) {
  if (stats == NULL) return null_argument(error, "stats");
  size_t size = stats->struct_size;
  int code = tks__struct_check(stats, size, size, offsetof(tks_store_stats, received), "tks_store_stats", error);
  if (code != TKS_OK) return code;
  tks__gate *gate;
  code = tks__store_enter(store, &gate, error);
  if (code != TKS_OK) return code;
  tks_store_stats full = {0};
  tks__store_stats(store, &full);
  tks__store_leave(gate);
  full.struct_size = (uint32_t)size;
  memset(stats, 0, size);
  memcpy(stats, &full, size < sizeof full ? size : sizeof full);
  return TKS_OK;
}

int tks_days(tks_store *store, uint32_t check, tks_day_info *days, size_t capacity, size_t *total, tks_error *error) {
  if (total == NULL) return null_argument(error, "total");
  if (days == NULL && capacity > 0) return null_argument(error, "days");
  if ((check & ~TKS_CHECK_FULL) != 0) return tks__fail(error, TKS_EINVAL, 0, "check is 0x%x, unknown", check);
  tks__gate *gate;
  int code = tks__store_enter(store, &gate, error);
  if (code != TKS_OK) return code;
  code = tks__list_days(&store->engine->reader, check, days, capacity, total, error);
  tks__store_leave(gate);
  return code;
}

int tks_gaps(tks_store *store, uint64_t since_seq, tks_gap *gaps, size_t capacity, size_t *total, tks_error *error) {
  if (total == NULL) return null_argument(error, "total");
  if (gaps == NULL && capacity > 0) return null_argument(error, "gaps");
  tks__gate *gate;
  int code = tks__store_enter(store, &gate, error);
  if (code != TKS_OK) return code;
  tks__engine *engine = store->engine;
  /* What the ledger has not heard of yet, so that who looks now finds it. */
  if (engine->keeper != NULL) tks__keeper_pass_loss(engine->keeper);
  code = tks__gaps_list(&engine->layout, engine->gaps, &engine->symbols.names, since_seq, gaps, capacity, total, error);
  tks__store_leave(gate);
  return code;
}
