/* import_recovery.c - the rows of interrupted imports by number. */
#include "import_recovery.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/name.h"
#include "base/utc.h"

enum { READ_RECORDS = 4096 };

typedef struct stored_row {
  int64_t ts_ns;
  double bid;
  double ask;
  uint32_t symbol; /* 0: no such row */
  uint32_t source;
} stored_row;

typedef struct chain_link {
  import_intent intent;
  uint64_t count; /* rows that got a number: k */
  uint64_t limit; /* numbers that it speaks of */
  stored_row *rows;
} chain_link;

typedef struct part {
  uint32_t symbol;
  int32_t day;
} part;

struct import_recovery {
  tks_store *store;
  char *root;
  tks_config limits; /* what the store accepts */
  part *parts;       /* read already */
  size_t part_count;
  size_t part_capacity;
  size_t last_part;
  uint64_t strange;
  uint64_t differing;
  size_t link_count;
  chain_link links[];
};

import_recovery *import_recovery_new(tks_store *store, const char *root, const import_intent *intents, size_t count) {
  import_recovery *r = calloc(1, sizeof *r + count * sizeof r->links[0]);
  if (r == NULL) return NULL;
  r->store = store;
  r->root = strdup(root);
  bool ok = r->root != NULL && tks_config_init(&r->limits, sizeof r->limits, TKS_PRESET_PRODUCTION, NULL) >= 0;
  r->link_count = count;
  for (size_t i = 0; i < count; i++) {
    chain_link *l = &r->links[i];
    l->intent = intents[i];
    if (intents[i].end_seq > intents[i].first_seq) l->limit = intents[i].end_seq - intents[i].first_seq;
    if (l->limit > IMPORT_WINDOW) l->limit = IMPORT_WINDOW;
    l->rows = calloc(l->limit + 1, sizeof *l->rows);
    ok = ok && l->rows != NULL;
  }
  if (ok) return r;
  import_recovery_free(r);
  return NULL;
}

void import_recovery_free(import_recovery *r) {
  if (r == NULL) return;
  for (size_t i = 0; i < r->link_count; i++) free(r->links[i].rows);
  free(r->parts);
  free(r->root);
  free(r);
}

/* ------------------------------------------------------------ what is stored */

static bool in_link(const chain_link *l, uint64_t seq) {
  return seq >= l->intent.first_seq && seq - l->intent.first_seq < l->limit;
}

static uint64_t note(import_recovery *r, const tks_quote *quote) {
  uint64_t noted = 0;
  for (size_t i = 0; i < r->link_count; i++) {
    chain_link *l = &r->links[i];
    if (!in_link(l, quote->seq)) continue;
    l->rows[quote->seq - l->intent.first_seq] =
        (stored_row){quote->ts_ns, quote->bid, quote->ask, quote->symbol, quote->source};
    if (l->intent.backend == TKS_DUAL) noted = 1;
  }
  return noted;
}

/* In dual mode SQLite counts: a day that only JSON has is not stored. */
static int day_counts(import_recovery *r, int32_t day, bool *counts, tks_error *error) {
  uint32_t wanted = 0;
  for (size_t i = 0; i < r->link_count; i++) wanted |= r->links[i].intent.backend & TKS_SQLITE;
  *counts = true;
  if (wanted == 0) return TKS_OK;
  int64_t start = tks__utc_day_start_ns(day);
  size_t total = 0;
  int code = tks_days(r->store, TKS_CHECK_QUICK, NULL, 0, &total, error);
  if (code < 0) return code;
  size_t capacity = total + 8;
  tks_day_info *days = calloc(capacity, sizeof *days);
  if (days == NULL) return TKS_ENOMEM;
  code = tks_days(r->store, TKS_CHECK_QUICK, days, capacity, &total, error);
  *counts = false;
  for (size_t i = 0; code >= 0 && i < total && i < capacity; i++)
    if (days[i].day_ns == start && days[i].sink == TKS_SQLITE) *counts = true;
  free(days);
  return code;
}

static int read_part(import_recovery *r, const part *p, uint64_t *dual, tks_error *error) {
  tks_range range = {.struct_size = sizeof range,
                     .symbol = p->symbol,
                     .from_ns = tks__utc_day_start_ns(p->day),
                     .to_ns = tks__utc_day_start_ns(p->day + 1),
                     .limit = TKS_NO_LIMIT};
  tks_cursor *cursor = NULL;
  int code = tks_range_open(r->store, &range, &cursor, error);
  tks_quote *quotes = calloc(READ_RECORDS, sizeof *quotes);
  if (quotes == NULL) code = TKS_ENOMEM;
  for (int tries = 0; code >= 0;) {
    size_t count = 0;
    code = tks_cursor_next(cursor, quotes, READ_RECORDS, &count, error);
    for (size_t i = 0; i < count; i++) *dual += note(r, &quotes[i]);
    if (code == TKS_EDEADLINE && tries++ < 100) code = TKS_OK;
    else if (code == TKS_EDAYFILE) code = TKS_OK; /* what was set aside is not stored any more */
    else if (count == 0) break;
  }
  tks_cursor_close(cursor);
  free(quotes);
  return code;
}

static uint64_t count_json(const import_recovery *r, const part *p) {
  char name[TKS_NAME_MAX], directory[TKS__NAME_FILE_MAX], day[TKS__UTC_TEXT_MAX];
  size_t length = 0;
  if (tks_symbol_name(r->store, p->symbol, name, sizeof name, &length, NULL) < 0) return 0;
  tks__name_to_file(name, length, directory);
  tks__utc_format_day(p->day, day);
  char *path = NULL;
  if (asprintf(&path, "%s/json/%s/%s.jsonl", r->root, directory, day) < 0) return 0;
  FILE *file = fopen(path, "r");
  free(path);
  if (file == NULL) return 0;
  char *line = NULL;
  size_t capacity = 0;
  uint64_t found = 0;
  while (getline(&line, &capacity, file) > 0) {
    const char *at = strstr(line, ",\"seq\":");
    uint64_t seq = at != NULL && strchr(at, '\n') != NULL ? strtoull(at + 7, NULL, 10) : 0;
    bool in = false;
    for (size_t i = 0; i < r->link_count; i++)
      in = in || (r->links[i].intent.backend == TKS_DUAL && in_link(&r->links[i], seq));
    found += in;
  }
  free(line);
  (void)fclose(file);
  return found;
}

static bool any_dual(const import_recovery *r) {
  for (size_t i = 0; i < r->link_count; i++)
    if (r->links[i].intent.backend == TKS_DUAL) return true;
  return false;
}

static bool know_part(import_recovery *r, const tks_quote *quote, char *error, size_t capacity) {
  part p = {quote->symbol, tks__utc_day(quote->ts_ns)};
  if (r->last_part < r->part_count && memcmp(&r->parts[r->last_part], &p, sizeof p) == 0) return true;
  for (size_t i = 0; i < r->part_count; i++) {
    if (memcmp(&r->parts[i], &p, sizeof p) != 0) continue;
    r->last_part = i;
    return true;
  }
  tks_error why = {0};
  bool counts = false;
  uint64_t dual = 0;
  int code = day_counts(r, p.day, &counts, &why);
  if (code >= 0 && counts) code = read_part(r, &p, &dual, &why);
  if (code >= 0 && r->part_count == r->part_capacity) {
    size_t larger = r->part_capacity == 0 ? 64 : 2 * r->part_capacity;
    part *moved = realloc(r->parts, larger * sizeof *moved);
    if (moved == NULL) code = TKS_ENOMEM;
    else r->parts = moved, r->part_capacity = larger;
  }
  if (code < 0) {
    snprintf(error, capacity, "cannot find what an interrupted import had stored: %s",
             why.message[0] != '\0' ? why.message : tks_strerror(code));
    return false;
  }
  if (any_dual(r)) {
    uint64_t json = count_json(r, &p);
    r->differing += json > dual ? json - dual : dual - json;
  }
  r->last_part = r->part_count;
  r->parts[r->part_count++] = p;
  return true;
}

/* ---------------------------------------------------------------------- rows */

/* Whether the store gives such a row a number; import keeps crossed ones. */
static bool acceptable(const import_recovery *r, const tks_quote *q) {
  if ((isnan(q->bid) && isnan(q->ask)) || isinf(q->bid) || isinf(q->ask)) return false;
  if (!(q->bid_size >= 0) || !(q->ask_size >= 0) || isinf(q->bid_size) || isinf(q->ask_size)) return false;
  struct timespec now;
  (void)clock_gettime(CLOCK_REALTIME, &now);
  int64_t latest = ((int64_t)now.tv_sec + r->limits.max_ahead_s) * TKS__NS_PER_S + now.tv_nsec;
  return q->ts_ns >= r->limits.min_time_ns && q->ts_ns <= latest;
}

static bool same_price(double a, double b) { return a == b || (isnan(a) && isnan(b)); }

static bool same(const stored_row *row, const tks_quote *q) {
  return row->symbol == q->symbol && row->ts_ns == q->ts_ns && row->source == q->source &&
         same_price(row->bid, q->bid) && same_price(row->ask, q->ask);
}

int import_recovery_stored(import_recovery *r, const tks_quote *quote, char *error, size_t capacity) {
  if (!acceptable(r, quote)) return 0;
  if (!know_part(r, quote, error, capacity)) return -1;
  for (size_t i = 0; i < r->link_count; i++) {
    chain_link *l = &r->links[i];
    if (l->count >= l->limit) continue;
    const stored_row *row = &l->rows[l->count++];
    if (row->symbol == 0) continue;
    if (same(row, quote)) return 1;
    r->strange++;
  }
  return 0;
}

bool import_recovery_over(const import_recovery *r) {
  for (size_t i = 0; i < r->link_count; i++)
    if (r->links[i].count < r->links[i].limit) return false;
  return true;
}

uint64_t import_recovery_strange(const import_recovery *r) { return r->strange; }

uint64_t import_recovery_differing(const import_recovery *r) { return r->differing; }

bool import_recovery_rest(const import_recovery *r, size_t index, import_intent *intent) {
  const chain_link *l = &r->links[index];
  if (l->count >= l->limit) return false;
  *intent = l->intent;
  intent->id = 0;
  intent->first_seq += l->count;
  intent->end_seq = l->intent.first_seq + l->limit;
  return true;
}
