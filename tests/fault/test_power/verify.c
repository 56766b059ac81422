#include "fault/test_power/verify.h"

#include <ftw.h>
#include <math.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "persist/json_line.h"
#include "support/records.h"
#include "support/stores.h"
#include "support/wait.h"

#define DAYS_MAX 500
#define MORE 40 /* quotes put into the reopened store */

/* -------------------------------------------------------------------- facts */

static power_fact *fact_of(power_facts *f, uint64_t number) {
  if (number >= f->room) {
    size_t room = (size_t)number * 2 + 256;
    f->quotes = realloc(f->quotes, room * sizeof *f->quotes);
    if (f->quotes == NULL) abort();
    memset(f->quotes + f->room, 0, (room - f->room) * sizeof *f->quotes);
    f->room = room;
  }
  return &f->quotes[number];
}

/* Of the running session, up to `seq`. */
static void mark(power_facts *f, uint32_t session, uint64_t first, uint64_t seq, uint32_t sinks) {
  for (uint64_t n = first; n < f->count; n++)
    if (f->quotes[n].session == session && f->quotes[n].seq != 0 && f->quotes[n].seq <= seq)
      f->quotes[n].must |= sinks & f->quotes[n].backend;
}

void power_facts_of(power_facts *f, const power_log *log, size_t cut) {
  *f = (power_facts){0};
  uint32_t session = 0;
  uint64_t first = 0;
  for (size_t i = 0; i < cut; i++) {
    const power_event *head = &log->entries[i].head;
    uint64_t number = (uint64_t)head->offset;
    if (head->kind == POWER_SEED) {
      f->seed = head->value;
      f->backend = (uint32_t)head->file & TKS_DUAL;
      f->mixed = (head->file & POWER_MIXED) != 0;
      first = number;
    }
    if (head->kind == POWER_SESSION) {
      f->mixed |= f->backend != 0 && f->backend != head->value;
      f->backend = (uint32_t)head->value;
      session++;
    }
    if (head->kind == POWER_BASE)
      *fact_of(f, number) = (power_fact){
          .seq = head->value, .must = (uint32_t)head->file & TKS_DUAL, .backend = (uint32_t)head->file >> 8};
    if (head->kind == POWER_PUT)
      *fact_of(f, number) = (power_fact){.seq = head->value, .session = session, .backend = f->backend};
    if (head->kind == POWER_SEEN) {
      power_fact *fact = fact_of(f, number);
      *fact = (power_fact){head->value, session, fact->must, (uint32_t)head->file};
      first = 0;
    }
    if ((head->kind == POWER_BASE || head->kind == POWER_PUT) && head->value > f->max_seq) f->max_seq = head->value;
    if (head->kind == POWER_BASE || head->kind == POWER_PUT) number++;
    if (head->kind == POWER_BASE || head->kind == POWER_PUT || head->kind == POWER_INTENT) {
      (void)fact_of(f, number);
      if (number > f->count) f->count = number;
    }
    if (head->kind == POWER_DURABLE) mark(f, session, first, head->value, (uint32_t)head->file);
    if (head->kind == POWER_CLOSED) mark(f, session, first, UINT64_MAX, f->backend);
  }
  for (size_t n = 0; n < f->count; n++) f->must += f->quotes[n].must != 0;
}

void power_facts_free(power_facts *f) {
  free(f->quotes);
  *f = (power_facts){0};
}

/* ------------------------------------------------------------- one reading */

/* Of one sink, or through the API. */
typedef struct reading {
  const power_facts *facts;
  const char *what;
  char *why;
  uint64_t *seqs; /* by number: found there, 0: not found */
  size_t room;
  uint64_t more; /* numbers from facts->count up to here were put after the loss */
  bool ok;
} reading;

static void __attribute__((format(printf, 2, 3))) fail(reading *r, const char *format, ...) {
  if (!r->ok) return; /* the first says most */
  r->ok = false;
  int n = snprintf(r->why, POWER_WHY, "%s: ", r->what);
  va_list arguments;
  va_start(arguments, format);
  (void)vsnprintf(r->why + n, POWER_WHY - (size_t)n, format, arguments);
  va_end(arguments);
}

static void begin(reading *r, const power_facts *facts, const char *what, uint64_t more, char *why) {
  *r = (reading){.facts = facts, .what = what, .why = why, .more = more, .ok = true};
  r->room = facts->count + MORE;
  r->seqs = calloc(r->room, sizeof *r->seqs);
  if (r->seqs == NULL) abort();
}

static bool same_double(double a, double b) { return (isnan(a) && isnan(b)) || bits_of(a) == bits_of(b); }

static bool same_text(const char *a, const char *b) { return strcmp(a == NULL ? "" : a, b == NULL ? "" : b) == 0; }

static void found(reading *r, const tks_quote *q, const char *symbol, const char *source) {
  uint64_t n = power_number(q->recv_ns);
  if (n >= r->facts->count + r->more) {
    fail(r, "sequence number %llu holds quote %llu, which was never put", (unsigned long long)q->seq,
         (unsigned long long)n);
    return;
  }
  unsigned index;
  const char *expected_source;
  const tks_quote e = power_quote(r->facts->seed, n, &index, &expected_source);
  uint32_t flags = q->flags & TKS_FLAG_USER_MASK;
  if (e.ts_ns != q->ts_ns || !same_double(e.bid, q->bid) || !same_double(e.ask, q->ask) || flags != e.flags ||
      !same_double(e.bid_size, q->bid_size) || !same_double(e.ask_size, q->ask_size) ||
      strcmp(symbol, POWER_SYMBOL_NAMES[index]) != 0 || !same_text(source, expected_source))
    fail(r, "quote %llu has other contents", (unsigned long long)n);
  if (r->seqs[n] != 0)
    fail(r, "quote %llu is there twice, as %llu and %llu", (unsigned long long)n, (unsigned long long)r->seqs[n],
         (unsigned long long)q->seq);
  if (n < r->facts->count && r->facts->quotes[n].seq != 0 && r->facts->quotes[n].seq != q->seq)
    fail(r, "quote %llu has sequence number %llu, was given %llu", (unsigned long long)n, (unsigned long long)q->seq,
         (unsigned long long)r->facts->quotes[n].seq);
  r->seqs[n] = q->seq;
}

/* `sinks`: those of which all must have it for it to be found here. */
static bool finish(reading *r, uint32_t sinks, bool of_backend) {
  for (size_t n = 0; n < r->facts->count && r->ok; n++) {
    const power_fact *f = &r->facts->quotes[n];
    uint32_t needed = of_backend ? f->backend : sinks;
    if (f->must == 0 || (f->must & needed) != needed || r->seqs[n] != 0) continue;
    fail(r, "quote %zu, sequence number %llu, is lost", n, (unsigned long long)f->seq);
  }
  for (size_t n = r->facts->count; n < r->facts->count + r->more; n++)
    if (r->seqs[n] == 0) fail(r, "quote %zu, put after the loss, is not there", n);
  free(r->seqs);
  return r->ok;
}

/* --------------------------------------------------------- through the API */

static char *name_of(tks_store *store, uint32_t id, char name[TKS_NAME_MAX + 1]) {
  size_t length = 0;
  if (id != 0) (void)tks_source_name(store, id, name, TKS_NAME_MAX, &length, NULL);
  name[length] = 0;
  return name;
}

static void read_symbol(reading *r, tks_store *store, const char *symbol) {
  tks_quote quotes[256];
  tks_cursor *cursor;
  tks_error error;
  size_t count;
  uint32_t id;
  int code = tks_symbol(store, symbol, strlen(symbol), &id, &error);
  const tks_range range = store_range(id);
  if (code == TKS_OK) code = tks_range_open(store, &range, &cursor, &error);
  if (code != TKS_OK) {
    fail(r, "%s", error.message);
    return;
  }
  do {
    code = tks_cursor_next(cursor, quotes, 256, &count, &error);
    if (code != TKS_OK) fail(r, "%s", error.message);
    char name[TKS_NAME_MAX + 1];
    for (size_t i = 0; i < count; i++) found(r, &quotes[i], symbol, name_of(store, quotes[i].source, name));
  } while (code == TKS_OK && count > 0);
  tks_cursor_close(cursor);
}

static bool read_api(tks_store *store, const power_facts *facts, const char *what, uint64_t more, char *why) {
  reading r;
  begin(&r, facts, what, more, why);
  for (size_t i = 0; i < POWER_SYMBOLS; i++) read_symbol(&r, store, POWER_SYMBOL_NAMES[i]);
  return finish(&r, 0, true);
}

static bool check_days(tks_store *store, const char *what, char *why) {
  tks_day_info days[DAYS_MAX];
  tks_error error;
  size_t total;
  int code = tks_days(store, TKS_CHECK_FULL, days, DAYS_MAX, &total, &error);
  if (code != TKS_OK || total > DAYS_MAX) {
    (void)snprintf(why, POWER_WHY, "%s: tks_days: %s", what, code != TKS_OK ? error.message : "too many days");
    return false;
  }
  for (size_t i = 0; i < total; i++)
    if (days[i].code != TKS_OK) {
      (void)snprintf(why, POWER_WHY, "%s: a day is not sound: %s", what, days[i].message);
      return false;
    }
  return true;
}

static bool put_more(tks_store *store, const power_facts *facts, char *why) {
  tks_error error;
  for (uint64_t n = facts->count; n < facts->count + MORE; n++) {
    unsigned symbol;
    const char *source;
    uint64_t seq = 0;
    tks_quote quote = power_quote(facts->seed, n, &symbol, &source);
    const char *name = POWER_SYMBOL_NAMES[symbol];
    int code = tks_symbol(store, name, strlen(name), &quote.symbol, &error);
    if (code == TKS_OK && source != NULL) code = tks_source(store, source, strlen(source), &quote.source, &error);
    if (code == TKS_OK) code = tks_put_quote(store, &quote, &seq, &error);
    if (code != TKS_OK) {
      (void)snprintf(why, POWER_WHY, "put after the loss: %s", error.message);
      return false;
    }
    if (seq > facts->max_seq) continue;
    (void)snprintf(why, POWER_WHY, "sequence number %llu was given out before the loss", (unsigned long long)seq);
    return false;
  }
  return true;
}

static bool flush(tks_store *store, const char *what, char *why) {
  tks_error error;
  if (tks_flush(store, (int64_t)WAIT_LIMIT_S * 1000, &error) == TKS_OK) return true;
  (void)snprintf(why, POWER_WHY, "%s: %s", what, error.message);
  return false;
}

static char last_log[256];

static void keep_log(void *context, int32_t level, const char *message, size_t length) {
  (void)context;
  if (getenv("TKS_POWER_VERBOSE") != NULL) (void)fprintf(stderr, "%d %.*s\n", (int)level, (int)length, message);
  (void)snprintf(last_log, sizeof last_log, "%s", message);
}

static bool use_store(tks_store *store, const power_facts *facts, char *why) {
  return flush(store, "flush after opening", why) && read_api(store, facts, "read after opening", 0, why) &&
         check_days(store, "after opening", why) && put_more(store, facts, why) &&
         flush(store, "flush after writing", why) && read_api(store, facts, "read after writing", MORE, why);
}

static bool use(const char *dir, const power_facts *facts, char *why) {
  tks_config config = store_config(facts->backend != 0 ? facts->backend : TKS_SQLITE);
  tks_store *store;
  tks_error error;
  config.ring_records = 16;
  config.journal_bytes = 1 << 20;
  config.sync_interval_ms = 1;
  config.log = keep_log;
  config.log_level = TKS_LOG_DEBUG;
  if (tks_open(dir, strlen(dir), &config, &store, &error) != TKS_OK) {
    (void)snprintf(why, POWER_WHY, "open: %s", error.message);
    return false;
  }
  bool ok = use_store(store, facts, why);
  int code = tks_close(store, &error);
  if (ok && code != TKS_OK) (void)snprintf(why, POWER_WHY, "close: %d: %s", code, code < 0 ? error.message : "");
  return ok && code == TKS_OK;
}

/* ------------------------------------------------------------------- files */

static reading *current; /* nftw knows no context */

static bool ends_with(const char *text, const char *end) {
  size_t length = strlen(text), n = strlen(end);
  return length >= n && strcmp(text + length - n, end) == 0;
}

static void check_integrity(const char *path, sqlite3 *db) {
  sqlite3_stmt *statement = NULL;
  const char *answer = "no answer";
  if (sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &statement, NULL) == SQLITE_OK &&
      sqlite3_step(statement) == SQLITE_ROW)
    answer = (const char *)sqlite3_column_text(statement, 0);
  if (strcmp(answer, "ok") != 0) fail(current, "%s: integrity_check: %s", path, answer);
  (void)sqlite3_finalize(statement);
}

static double price_of(sqlite3_stmt *s, int column) {
  return sqlite3_column_type(s, column) == SQLITE_NULL ? NAN : sqlite3_column_double(s, column);
}

static void read_rows(const char *path, sqlite3 *db) {
  sqlite3_stmt *s = NULL;
  int rc = sqlite3_prepare_v2(db,
                              "SELECT q.seq, y.name, q.ts_ms * 1000000 + q.ts_sub_ns, q.bid, q.ask, q.bid_size,"
                              " q.ask_size, o.name, q.flags, q.recv_ns FROM quote q JOIN symbol y ON y.id = q.symbol_id"
                              " LEFT JOIN source o ON o.id = q.source_id",
                              -1, &s, NULL);
  while (rc == SQLITE_OK && (rc = sqlite3_step(s)) == SQLITE_ROW) {
    const tks_quote q = {.seq = (uint64_t)sqlite3_column_int64(s, 0),
                         .ts_ns = sqlite3_column_int64(s, 2),
                         .bid = price_of(s, 3),
                         .ask = price_of(s, 4),
                         .bid_size = sqlite3_column_double(s, 5),
                         .ask_size = sqlite3_column_double(s, 6),
                         .flags = (uint32_t)sqlite3_column_int64(s, 8),
                         .recv_ns = sqlite3_column_int64(s, 9)};
    found(current, &q, (const char *)sqlite3_column_text(s, 1), (const char *)sqlite3_column_text(s, 7));
    rc = SQLITE_OK;
  }
  if (rc != SQLITE_DONE) fail(current, "%s: %s", path, sqlite3_errmsg(db));
  (void)sqlite3_finalize(s);
}

static int read_database(const char *path, const struct stat *st, int type, struct FTW *at) {
  (void)st;
  (void)at;
  if (type != FTW_F) return 0;
  if (strstr(path, ".damaged-") != NULL) fail(current, "%s was set aside; %s", path, last_log);
  if (!ends_with(path, ".db")) return 0;
  sqlite3 *db = NULL;
  if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK) {
    fail(current, "%s: %s", path, sqlite3_errmsg(db));
  } else {
    check_integrity(path, db);
    read_rows(path, db);
  }
  (void)sqlite3_close(db);
  return 0;
}

static void read_line(const char *path, size_t number, const char *line, size_t length) {
  tks__json_fields f;
  if (!tks__json_line_parse(line, length, &f)) {
    fail(current, "%s: line %zu cannot be read", path, number);
    return;
  }
  tks_quote q;
  _Static_assert(sizeof q == sizeof f.record, "a record is a quote");
  memcpy(&q, &f.record, sizeof q);
  char symbol[TKS_NAME_MAX + 1] = {0}, source[TKS_NAME_MAX + 1] = {0};
  memcpy(symbol, f.symbol, f.symbol_length);
  memcpy(source, f.source, f.source_length);
  found(current, &q, symbol, source);
}

static int read_json(const char *path, const struct stat *st, int type, struct FTW *at) {
  (void)st;
  (void)at;
  if (type != FTW_F || !ends_with(path, ".jsonl")) return 0;
  size_t length, number = 0;
  char *text = read_file(path, &length), *line = text;
  for (char *end; (end = memchr(line, '\n', length - (size_t)(line - text))) != NULL; line = end + 1)
    read_line(path, ++number, line, (size_t)(end - line) + 1);
  free(text);
  return 0;
}

static bool read_sink(const char *dir, const power_facts *facts, uint32_t sink, char *why) {
  bool writes = ((facts->backend != 0 ? facts->backend : TKS_SQLITE) & sink) != 0;
  char path[4096];
  reading r;
  (void)snprintf(path, sizeof path, "%s/%s", dir, sink == TKS_SQLITE ? "db" : "json");
  begin(&r, facts, sink == TKS_SQLITE ? "SQLite" : "JSON", writes ? MORE : 0, why);
  current = &r;
  (void)nftw(path, sink == TKS_SQLITE ? read_database : read_json, 16, FTW_PHYS);
  return finish(&r, sink, false);
}

bool power_verify(const char *dir, const power_facts *facts, char why[POWER_WHY]) {
  *why = 0;
  return use(dir, facts, why) && read_sink(dir, facts, TKS_SQLITE, why) && read_sink(dir, facts, TKS_JSON, why);
}
