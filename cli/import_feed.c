/* import_feed.c - hands rows to the store in arrays, at the speed at which it writes them. */
#include "import_feed.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/utc.h"
#include "cli.h"

enum {
  BATCH_RECORDS = 8192, /* large transactions: one costs a page per symbol in it */
  BACKLOG_RECORDS = 262144,
  RING_RECORDS = 16, /* nobody asks this process for recent quotes */
  BLOCK_LIMIT_MS = 20000,
  PATIENCE_S = 60,        /* without a record written or made durable */
  SICK_PATIENCE_S = 15,   /* likewise while a sink is degraded: the next run goes on exactly */
  CLOSE_LIMIT_MS = 10000, /* likewise */
  WAIT_NS = 1000000,      /* at first; doubles while nothing is written */
  WAIT_MAX_NS = 64000000,
  FLUSH_SLICE_MS = 500,
  RECOVERY_LIMIT_MS = 600000,
};

static _Atomic bool aside; /* the library logs from its own threads */

/* What the store has to say at warn level, at once: a full disk must not look like a slow one. */
static void log_line(void *context, int32_t level, const char *message, size_t length) {
  (void)context;
  (void)level;
  if (strstr(message, "set aside as") != NULL) aside = true;
  fprintf(stderr, "%stickstore import: %.*s\n", isatty(STDERR_FILENO) ? "\r\033[K" : "", (int)length, message);
}

static bool fail(import_feed *feed, const char *what, const tks_error *error) {
  snprintf(feed->error, sizeof feed->error, "%s: %s", what, error->message);
  return false;
}

bool import_feed_open(import_feed *feed, const import_store *settings, import_report *report) {
  memset(feed, 0, sizeof *feed);
  feed->report = report;
  feed->root = settings->path;
  feed->backend = settings->backend;
  feed->capacity = IMPORT_ARRAY;
  tks_config config;
  tks_error error = {0};
  if (tks_config_init(&config, sizeof config, TKS_PRESET_PRODUCTION, &error) < 0)
    return fail(feed, settings->path, &error);
  config.backend = settings->backend;
  config.throttle_relative = settings->throttle;
  config.queue_policy = TKS_QUEUE_BLOCK;
  config.block_limit_ms = BLOCK_LIMIT_MS;
  config.batch_records = BATCH_RECORDS;
  config.ring_records = RING_RECORDS;
  config.close_limit_ms = CLOSE_LIMIT_MS;
  config.log_level = TKS_LOG_WARN;
  config.log = log_line;
  aside = false;
  if (settings->broker_id != NULL) {
    config.broker_id = settings->broker_id;
    config.broker_id_length = strlen(settings->broker_id);
  }
  if (tks_open(settings->path, strlen(settings->path), &config, &feed->store, &error) < 0)
    return fail(feed, settings->path, &error);
  /* What an interrupted session left in the journal has to be on disk: rows that are stored are looked for there. */
  if (tks_flush(feed->store, RECOVERY_LIMIT_MS, &error) >= 0) return true;
  fail(feed, "writing what the last session left", &error);
  tks_close(feed->store, NULL);
  feed->store = NULL;
  return false;
}

void import_feed_begin_file(import_feed *feed, const char *path, const char *unit) {
  feed->path = path;
  feed->unit = unit;
  memset(&feed->counts, 0, sizeof feed->counts);
}

/* The id of a name, from the table of names met before or from the store. */
static int intern(import_feed *feed, bool symbol, const char *text, size_t length, uint32_t *id, tks_error *error) {
  import_name *names = symbol ? feed->symbols : feed->sources;
  import_name *slot = &names[XXH3_64bits(text, length) % IMPORT_NAMES];
  if (slot->id == 0 || slot->length != length || memcmp(slot->text, text, length) != 0) {
    uint32_t made = 0;
    int code = symbol ? tks_symbol(feed->store, text, length, &made, error)
                      : tks_source(feed->store, text, length, &made, error);
    if (code < 0) return code;
    slot->id = made;
    slot->length = (uint32_t)length;
    memcpy(slot->text, text, length); /* a name that the store takes has at most TKS_NAME_MAX bytes */
  }
  *id = slot->id;
  return TKS_OK;
}

static bool is_name_refusal(int code) { return code <= TKS_ENAMEEMPTY && code >= TKS_ENAMEPATH; }

/* 1: the id is there; 0: the row is refused; -1: the import cannot go on. */
static int resolve(import_feed *feed, bool symbol, const char *text, size_t length, uint32_t *id, uint64_t number) {
  tks_error error = {0};
  int code = intern(feed, symbol, text, length, id, &error);
  if (code == TKS_OK) return 1;
  if (!is_name_refusal(code)) {
    fail(feed, "the store takes no more names", &error);
    return -1;
  }
  import_reason reason;
  char shown[IMPORT_SHOWN_MAX];
  import_refuse(&reason, "%s %s: %s", symbol ? "symbol" : "source", import_show(text, length, shown),
                tks_strerror(code));
  import_feed_refuse(feed, number, &reason);
  return 0;
}

void import_feed_refuse(import_feed *feed, uint64_t number, const import_reason *reason) {
  feed->counts.read++;
  feed->counts.refused++;
  feed->report->rows.read++;
  import_report_refuse(feed->report, feed->path, feed->unit, number, reason);
}

bool import_feed_add(import_feed *feed, import_row *row, uint64_t number) {
  tks_quote *quote = &row->quote;
  int symbol = resolve(feed, true, row->symbol, row->symbol_length, &quote->symbol, number);
  if (symbol <= 0) return symbol == 0;
  if (row->source_length > 0) {
    int source = resolve(feed, false, row->source, row->source_length, &quote->source, number);
    if (source <= 0) return source == 0;
  }
  if (feed->recovery != NULL) {
    int stored = import_recovery_stored(feed->recovery, quote, feed->error, sizeof feed->error);
    if (stored < 0) return false;
    feed->counts.recovered += stored > 0;
    feed->report->rows.recovered += stored > 0;
    if (stored > 0) return true;
  }
  feed->quotes[feed->count] = *quote;
  feed->numbers[feed->count++] = number;
  return feed->count < feed->capacity || import_feed_put(feed);
}

/* What stands against putting another array; NULL if nothing does. *fatal: waiting will not help. */
static const char *obstacle(const tks_store_stats *stats, bool *fatal) {
  *fatal = false;
  for (int i = 0; i < 2; i++) {
    const tks_sink_stats *sink = &stats->sinks[i];
    if (sink->state == TKS_SINK_OFF) continue;
    *fatal = sink->lost > 0;
    if (sink->lost > 0 || sink->state == TKS_SINK_DEGRADED)
      return sink->last_error[0] != '\0' ? sink->last_error : "the disk takes nothing";
    if (sink->backlog > BACKLOG_RECORDS / 2) return "the disk is too slow";
  }
  return NULL;
}

static bool is_degraded(const tks_store_stats *stats) {
  return stats->sinks[0].state == TKS_SINK_DEGRADED || stats->sinks[1].state == TKS_SINK_DEGRADED;
}

static int64_t patience(const tks_store_stats *stats) {
  return (is_degraded(stats) ? SICK_PATIENCE_S : PATIENCE_S) * TKS__NS_PER_S;
}

static uint64_t progress_of(const tks_store_stats *stats) {
  return stats->sinks[0].written + stats->sinks[1].written + stats->durable_seq;
}

/* Waits until the store has room for an array and no trouble. */
static bool wait_for_room(import_feed *feed) {
  uint64_t progress = 0;
  int64_t since = 0;
  bool said = false;
  for (long pause = WAIT_NS;; pause = pause < WAIT_MAX_NS ? 2 * pause : pause) {
    tks_store_stats stats = {.struct_size = sizeof stats};
    tks_error error = {0};
    if (tks_stats(feed->store, &stats, &error) < 0) return fail(feed, "cannot ask the store", &error);
    bool fatal = false;
    const char *why = obstacle(&stats, &fatal);
    if (why == NULL) return true;
    int64_t now = cli_monotonic_ns();
    if (since == 0 || progress_of(&stats) != progress) {
      since = now;
      pause = WAIT_NS;
    }
    progress = progress_of(&stats);
    if (!said && is_degraded(&stats)) {
      fprintf(stderr, "tickstore import: %s; waiting up to %d s\n", why, SICK_PATIENCE_S);
      said = true;
    }
    if (fatal || now - since > patience(&stats)) {
      snprintf(feed->error, sizeof feed->error, "the store cannot write: %s", why);
      return false;
    }
    nanosleep(&(struct timespec){.tv_nsec = pause}, NULL);
  }
}

static void explain_refused(import_feed *feed) {
  for (size_t i = 0; i < feed->count; i++) {
    if (feed->codes[i] >= 0 || feed->codes[i] == TKS_EQUEUEFULL) continue;
    import_reason reason;
    import_explain(feed->codes[i], &feed->quotes[i], &reason);
    import_report_refuse(feed->report, feed->path, feed->unit, feed->numbers[i], &reason);
  }
}

static void count(import_feed *feed, const tks_put_result *result) {
  import_counts *totals = &feed->report->rows;
  uint64_t throttled = result->throttled + result->crossed_dropped;
  /* What there was no room for will be read again. */
  uint64_t taken = feed->count - result->dropped;
  feed->counts.read += taken;
  feed->counts.stored += result->accepted;
  feed->counts.throttled += throttled;
  feed->counts.refused += result->refused;
  totals->read += taken;
  totals->stored += result->accepted;
  totals->throttled += throttled;
}

bool import_feed_put(import_feed *feed) {
  if (feed->count == 0) return true;
  if (!wait_for_room(feed)) return false;
  tks_put_result result = {0};
  tks_error error = {0};
  int code = tks_put_quotes(feed->store, feed->quotes, feed->count, feed->codes, &result, &error);
  if (code < 0) return fail(feed, "the store takes no quotes", &error);
  count(feed, &result);
  if (result.refused > 0) explain_refused(feed);
  feed->count = 0;
  if (result.dropped == 0) return true;
  tks_store_stats stats = {.struct_size = sizeof stats};
  bool fatal;
  tks_stats(feed->store, &stats, NULL);
  const char *why = obstacle(&stats, &fatal);
  snprintf(feed->error, sizeof feed->error, "the store had no room for %" PRIu64 " rows within %d s: %s",
           result.dropped, BLOCK_LIMIT_MS / 1000, why != NULL ? why : error.message);
  return false;
}

bool import_feed_flush(import_feed *feed) {
  if (!import_feed_put(feed)) return false;
  uint64_t durable = 0;
  int64_t since = cli_monotonic_ns();
  for (;;) {
    tks_error error = {0};
    int code = tks_flush(feed->store, FLUSH_SLICE_MS, &error);
    if (code >= 0) return true;
    uint64_t now_durable = 0;
    int64_t now = cli_monotonic_ns();
    tks_durable_seq(feed->store, &now_durable, NULL);
    if (now_durable != durable) since = now;
    durable = now_durable;
    tks_store_stats stats = {.struct_size = sizeof stats};
    tks_stats(feed->store, &stats, NULL);
    if (code != TKS_ETIMEOUT || now - since > patience(&stats))
      return fail(feed, "what was read is not all on disk", &error);
  }
}

/* "... sqlite lacks 12, json lacks 7 ...": the larger one. */
static uint64_t lacking(const char *message) {
  static const char word[] = " lacks ";
  uint64_t most = 0;
  for (const char *at = strstr(message, word); at != NULL; at = strstr(at + 1, word)) {
    uint64_t number = strtoull(at + sizeof word - 1, NULL, 10);
    if (number > most) most = number;
  }
  return most;
}

/* Adds how many of a symbol's rows have numbers in (after, last]. */
static bool count_symbol(tks_store *store, uint32_t symbol, uint64_t after, uint64_t last, tks_quote *quotes,
                         uint64_t *found) {
  tks_range range = {.struct_size = sizeof range,
                     .symbol = symbol,
                     .from_ns = TKS_TIME_MIN,
                     .to_ns = TKS_TIME_MAX,
                     .limit = TKS_NO_LIMIT};
  tks_cursor *cursor = NULL;
  int code = tks_range_open(store, &range, &cursor, NULL);
  for (size_t count = 1; code >= 0 && count > 0;) {
    code = tks_cursor_next(cursor, quotes, IMPORT_ARRAY, &count, NULL);
    for (size_t i = 0; i < count; i++) *found += quotes[i].seq > after && quotes[i].seq <= last;
    if (code == TKS_EDEADLINE) code = TKS_OK, count = 1;
  }
  tks_cursor_close(cursor);
  return code >= 0;
}

/* What a store that could not write all of (after, last] holds of it. False: cannot be read. */
static bool count_stored(import_feed *feed, uint64_t after, uint64_t last, uint64_t *found) {
  tks_config config;
  tks_store *store = NULL;
  if (tks_config_init(&config, sizeof config, TKS_PRESET_PRODUCTION, NULL) < 0) return false;
  config.backend = feed->backend;
  config.read_only = 1;
  if (tks_open(feed->root, strlen(feed->root), &config, &store, NULL) < 0) return false;
  size_t total = 0;
  bool ok = tks_symbols(store, NULL, 0, &total, NULL) >= 0;
  tks_symbol_info *symbols = ok ? calloc(total + 1, sizeof *symbols) : NULL;
  ok = symbols != NULL && tks_symbols(store, symbols, total, &total, NULL) >= 0;
  *found = 0;
  for (size_t i = 0; ok && i < total; i++) ok = count_symbol(store, symbols[i].id, after, last, feed->quotes, found);
  free(symbols);
  tks_close(store, NULL);
  return ok;
}

bool import_feed_close(import_feed *feed) {
  if (feed->store == NULL) return true;
  tks_error error = {0};
  tks_store_stats stats = {.struct_size = sizeof stats};
  tks_stats(feed->store, &stats, NULL);
  bool lost = stats.dropped + stats.sinks[0].lost + stats.sinks[1].lost > 0;
  uint64_t after = lost ? stats.first_seq - 1 : stats.durable_seq, found = 0;
  if (after + 1 < stats.first_seq) after = stats.first_seq - 1;
  int code = tks_close(feed->store, &error);
  feed->store = NULL;
  feed->report->set_aside = aside;
  feed->unwritten = code == TKS_EUNWRITTEN ? lacking(error.message) : 0;
  /* A transaction a day: of a batch that failed, some days may be there. */
  if (code == TKS_EUNWRITTEN && feed->backend != TKS_DUAL && count_stored(feed, after, stats.last_seq, &found))
    feed->unwritten = stats.last_seq - after - found;
  if (code == TKS_KEPT) {
    if (count_stored(feed, stats.first_seq - 1, stats.last_seq, &found))
      feed->unwritten = stats.accepted - stats.dropped - found;
    error = (tks_error){.message = "rows wait in its journal, and are written when it is opened for writing again"};
    return fail(feed, "closing the store", &error);
  }
  return code >= 0 || fail(feed, "closing the store", &error);
}
