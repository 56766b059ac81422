#include "support/model.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support/records.h"
#include "support/stores.h"

void model_deinit(model *m) {
  free(m->quotes);
  free(m->dropped);
}

static double random_price(test_random *random) {
  if (random_below(random, 40) == 0) return -0.0;
  if (random_below(random, 2)) return (double)random_below(random, 1000) / 8;
  double price = double_of(random_next(random));
  return isfinite(price) ? price : 1;
}

tks_quote model_quote(test_random *random, uint32_t symbols, uint32_t sources) {
  tks_quote q = {.symbol = 1 + (uint32_t)random_below(random, symbols),
                 .source = (uint32_t)random_below(random, sources + 1),
                 .flags = (uint32_t)random_next(random) & TKS_FLAG_USER_MASK};
  q.ts_ns = STORE_MIDNIGHT + (int64_t)random_below(random, MODEL_DAYS) * STORE_DAY_NS;
  switch (random_below(random, 8)) {
    case 0: /* first and last instants */ break;
    case 1: q.ts_ns += STORE_DAY_NS - 1; break;
    case 2: /* anywhere */ q.ts_ns += (int64_t)(random_next(random) % (uint64_t)STORE_DAY_NS); break;
    default: /* few milliseconds, few nanoseconds within */
      q.ts_ns += (int64_t)random_below(random, 5) * 1000000 + (int64_t)random_below(random, 4) * 250000;
      break;
  }
  q.bid = random_price(random);
  q.ask = random_price(random);
  if (random_below(random, 10) == 0) q.bid = (double)NAN;
  else if (random_below(random, 10) == 0) q.ask = (double)NAN;
  if (random_below(random, 2)) q.bid_size = (double)random_below(random, 100);
  if (random_below(random, 2)) q.ask_size = (double)random_below(random, 1000) / 7;
  if (random_below(random, 2)) q.recv_ns = (int64_t)random_next(random);
  return q;
}

void model_put(model *m, tks_store *store, tks_quote quote) {
  if (m->count == m->room) {
    m->room = m->room * 2 + 256;
    m->quotes = realloc(m->quotes, m->room * sizeof *m->quotes);
    m->dropped = realloc(m->dropped, m->room * sizeof *m->dropped);
    if (m->quotes == NULL || m->dropped == NULL) abort();
  }
  int code = tks_put_quote(store, &quote, &quote.seq, NULL);
  cr_assert(code == TKS_OK || code == TKS_EQUEUEFULL, "%d", code);
  if (quote.bid > quote.ask) quote.flags |= TKS_FLAG_CROSSED;
  m->quotes[m->count] = quote;
  m->dropped[m->count++] = code == TKS_EQUEUEFULL;
}

void model_restarted(model *m) { m->session = m->count; }

tks_range model_range(test_random *random, uint32_t symbols, uint32_t sources) {
  tks_range range = store_range(1 + (uint32_t)random_below(random, symbols));
  if (random_below(random, 3) == 0) range.from_ns = model_quote(random, 1, 1).ts_ns;
  if (random_below(random, 3) == 0) range.to_ns = model_quote(random, 1, 1).ts_ns;
  if (range.from_ns > range.to_ns) {
    int64_t swapped = range.from_ns;
    range.from_ns = range.to_ns;
    range.to_ns = swapped;
  }
  if (random_below(random, 3) == 0) range.limit = 1 + (int64_t)random_below(random, 50);
  if (random_below(random, 3) == 0) range.source = (uint32_t)random_below(random, sources + 1);
  if (random_below(random, 2)) range.flags = TKS_RANGE_DESCENDING;
  return range;
}

/* ----------------------------------------------------------- expectations */

static int by_time(const void *a, const void *b) {
  const tks_quote *x = a, *y = b;
  if (x->ts_ns != y->ts_ns) return x->ts_ns < y->ts_ns ? -1 : 1;
  return x->seq < y->seq ? -1 : x->seq > y->seq;
}

static void reverse(tks_quote *quotes, size_t count) {
  for (size_t i = 0; i < count / 2; i++) {
    tks_quote swapped = quotes[i];
    quotes[i] = quotes[count - 1 - i];
    quotes[count - 1 - i] = swapped;
  }
}

/* Of the first `end` quotes. */
static tks_quote *expect_range(const model *m, size_t end, const tks_range *range, size_t *count) {
  tks_quote *want = malloc((end + 1) * sizeof *want);
  if (want == NULL) abort();
  size_t n = 0;
  for (size_t i = 0; i < end; i++) {
    const tks_quote *q = &m->quotes[i];
    if (!m->dropped[i] && q->symbol == range->symbol && q->ts_ns >= range->from_ns && q->ts_ns < range->to_ns &&
        (range->source == 0 || q->source == range->source))
      want[n++] = *q;
  }
  qsort(want, n, sizeof *want, by_time);
  if ((range->flags & TKS_RANGE_DESCENDING) != 0) reverse(want, n);
  *count = n > (uint64_t)range->limit ? (size_t)range->limit : n;
  return want;
}

/* The ring as it must be, and behind it what is older. */
static tks_quote *expect_recent(const model *m, uint32_t symbol, size_t n, size_t *count) {
  tks_quote *want = malloc((n + m->count + 1) * sizeof *want);
  if (want == NULL) abort();
  size_t ring = 0, first = m->count;
  for (size_t i = m->count; i-- > m->session && ring < m->ring_records && ring < n;) {
    if (m->quotes[i].symbol != symbol) continue;
    want[ring++] = m->quotes[i];
    first = i;
  }
  *count = ring;
  if (ring < n) {
    tks_range range = store_range(symbol);
    size_t older;
    range.flags = TKS_RANGE_DESCENDING;
    range.limit = (int64_t)(n - ring);
    tks_quote *behind = expect_range(m, ring > 0 ? first : m->count, &range, &older);
    memcpy(want + ring, behind, older * sizeof *want);
    *count += older;
    free(behind);
  }
  reverse(want, *count);
  return want;
}

static void same(const tks_quote *got, const tks_quote *want, size_t count, size_t wanted, const char *what) {
  size_t n = count < wanted ? count : wanted;
  for (size_t i = 0; i < n; i++)
    if (memcmp(&got[i], &want[i], sizeof got[i]) != 0)
      cr_assert(false, "%s: [%zu] of %zu is seq %llu at %lld, not seq %llu at %lld", what, i, wanted,
                (unsigned long long)got[i].seq, (long long)got[i].ts_ns, (unsigned long long)want[i].seq,
                (long long)want[i].ts_ns);
  cr_assert_eq(count, wanted, "%s: %zu quotes, not %zu", what, count, wanted);
}

/* ------------------------------------------------------------------ checks */

void model_check_cursor(const model *m, tks_cursor *cursor, const tks_range *range, size_t capacity) {
  size_t wanted, count = 0, got;
  int code;
  tks_error error;
  tks_quote *want = expect_range(m, m->count, range, &wanted);
  tks_quote *quotes = malloc((wanted + 2 * capacity) * sizeof *quotes);
  if (quotes == NULL) abort();
  do {
    code = tks_cursor_next(cursor, quotes + count, capacity, &got, &error);
    cr_assert(code == TKS_OK || code == TKS_EDEADLINE, "%d: %s", code, error.message);
    count += got;
  } while ((code == TKS_EDEADLINE || got > 0) && count <= wanted);
  tks_cursor_close(cursor);
  same(quotes, want, count, wanted, "range");
  free(quotes);
  free(want);
}

void model_check_range(const model *m, tks_store *store, const tks_range *range, size_t capacity) {
  tks_cursor *cursor;
  tks_error error;
  int code = tks_range_open(store, range, &cursor, &error);
  cr_assert_eq(code, TKS_OK, "%d: %s", code, error.message);
  model_check_cursor(m, cursor, range, capacity);
}

void model_check_recent(const model *m, tks_store *store, uint32_t symbol, size_t n) {
  size_t wanted, count;
  tks_error error;
  tks_quote *want = expect_recent(m, symbol, n, &wanted);
  tks_quote *quotes = malloc(n * sizeof *quotes);
  if (quotes == NULL) abort();
  int code = tks_recent(store, symbol, n, quotes, &count, &error);
  cr_assert_eq(code, TKS_OK, "%d: %s", code, error.message);
  same(quotes, want, count, wanted, "recent");
  free(quotes);
  free(want);
}

void model_check_latest(const model *m, tks_store *store, uint32_t symbols) {
  tks_quote *want = malloc((symbols + 1) * sizeof *want), *quotes = malloc((symbols + 1) * sizeof *want);
  if (want == NULL || quotes == NULL) abort();
  size_t wanted = 0, total;
  for (uint32_t id = 1; id <= symbols; id++) {
    size_t count;
    tks_quote *one = expect_recent(m, id, 1, &count), quote;
    int code = tks_latest(store, id, &quote, NULL);
    cr_assert_eq(code, count > 0 ? TKS_OK : TKS_ENOTFOUND);
    if (count > 0) {
      same(&quote, one, 1, 1, "latest");
      want[wanted++] = one[0];
    }
    free(one);
  }
  cr_assert_eq(tks_latest_all(store, quotes, symbols, &total, NULL), TKS_OK);
  same(quotes, want, total, wanted, "latest_all");
  cr_assert_eq(tks_latest_all(store, NULL, 0, &total, NULL), TKS_OK);
  cr_assert_eq(total, wanted);
  free(quotes);
  free(want);
}

void model_check_symbols(const model *m, tks_store *store, uint32_t symbols) {
  tks_symbol_info *infos = calloc(symbols + 1, sizeof *infos);
  if (infos == NULL) abort();
  size_t total, wanted = 0, found = 0;
  cr_assert_eq(tks_symbols(store, infos, symbols + 1, &total, NULL), TKS_OK);
  for (uint32_t id = 1; id <= symbols; id++) {
    tks_range range = store_range(id);
    size_t count;
    tks_quote *quotes = expect_range(m, m->count, &range, &count);
    wanted += count > 0;
    for (size_t i = 0; i < total; i++) {
      const tks_symbol_info *info = &infos[i];
      if (info->id != id) continue;
      found++;
      cr_assert_eq(info->count, count, "symbol %u: %llu, not %zu", id, (unsigned long long)info->count, count);
      cr_assert_eq(info->first_ns, quotes[0].ts_ns);
      cr_assert_eq(info->last_ns, quotes[count - 1].ts_ns);
      char name[TKS_NAME_MAX];
      size_t length;
      cr_assert_eq(tks_symbol_name(store, id, name, sizeof name, &length, NULL), TKS_OK);
      cr_assert_eq(length, info->name_length);
      cr_assert_eq(memcmp(name, info->name, length), 0);
    }
    free(quotes);
  }
  cr_assert_eq(total, wanted);
  cr_assert_eq(found, wanted);
  for (size_t i = 1; i < total; i++) cr_assert_lt(strncmp(infos[i - 1].name, infos[i].name, TKS_NAME_MAX), 0);
  free(infos);
}
