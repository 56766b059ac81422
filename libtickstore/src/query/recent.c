#include "query/recent.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "query/cursor.h"
#include "query/listing.h"

static size_t from_ring(const tks__reader *reader, uint32_t symbol, size_t n, tks__record *records) {
  if (reader->writer == NULL) return 0;
  const tks__symbol *s = tks__symbols_get(reader->symbols, symbol);
  return tks__ring_last(&s->ring, reader->ring_records, symbol, n, records);
}

static void reverse(tks__record *records, size_t count) {
  for (size_t i = 0; i < count / 2; i++) {
    tks__record swapped = records[i];
    records[i] = records[count - 1 - i];
    records[count - 1 - i] = swapped;
  }
}

/* Up to `n` records with seq <= max_seq, the newest ones, oldest first. */
static int from_disk(const tks__reader *reader, uint32_t symbol, uint64_t max_seq, size_t n, tks__record *records,
                     size_t *count, tks_error *error) {
  *count = 0;
  const tks__cursor_spec spec = {
      .symbol = symbol,
      .from_ns = TKS_TIME_MIN,
      .to_ns = TKS_TIME_MAX,
      .limit = (int64_t)n,
      .max_seq = max_seq,
      .descending = true,
  };
  tks__cursor cursor;
  int code = tks__cursor_init(&cursor, reader, &spec, error);
  if (code != TKS_OK) return code;
  int first = TKS_OK;
  /* A damaged day does not hide the days before it. */
  for (bool on = true; on && *count < n;) {
    size_t got;
    tks_error why;
    code = tks__cursor_next(&cursor, reader, records + *count, n - *count, &got, &why);
    *count += got;
    on = tks__reader_go_on(code, &first, error, &why) && (code != TKS_OK || got > 0);
  }
  tks__cursor_deinit(&cursor);
  reverse(records, *count);
  return first;
}

int tks__recent(const tks__reader *reader, uint32_t symbol, size_t n, tks__record *records, size_t *count,
                tks_error *error) {
  uint64_t max_seq = tks__reader_max_seq(reader);
  size_t ring = from_ring(reader, symbol, n, records);
  *count = ring;
  if (ring == n) return TKS_OK;
  if (ring > 0) max_seq = records[0].seq - 1;
  /* The older ones go before the ring's: read them behind, then turn both round. */
  memmove(records + (n - ring), records, ring * sizeof *records);
  size_t older;
  int code = from_disk(reader, symbol, max_seq, n - ring, records, &older, error);
  memmove(records + older, records + (n - ring), ring * sizeof *records);
  *count = older + ring;
  return code;
}

/* The first record that a range gives. */
static int first_of(const tks__reader *reader, const tks__cursor_spec *spec, tks__record *record, size_t *count,
                    tks_error *error) {
  tks__cursor cursor;
  int code = tks__cursor_init(&cursor, reader, spec, error);
  if (code != TKS_OK) return code;
  int first = TKS_OK;
  /* Damage is told before anything is given; the rest of the day is read by the next call. */
  for (bool on = true; on;) {
    tks_error why;
    code = tks__cursor_next(&cursor, reader, record, 1, count, &why);
    on = tks__reader_go_on(code, &first, error, &why) && code != TKS_OK;
  }
  tks__cursor_deinit(&cursor);
  return first;
}

int tks__latest(const tks__reader *reader, uint32_t symbol, tks__record *record, tks_error *error) {
  size_t count;
  tks_error why;
  int code = tks__recent(reader, symbol, 1, record, &count, &why);
  if (count == 1) return TKS_OK;
  if (code != TKS_OK && error != NULL) *error = why;
  if (code != TKS_OK) return code;
  const tks__name *name = tks__names_get(&reader->symbols->names, symbol);
  return tks__fail(error, TKS_ENOTFOUND, 0, "nothing is stored for %.*s", (int)name->length, name->text);
}

/* ------------------------------------------------------------ latest of all */

/* The newest records on disk, or pending, of symbols that have nothing in their rings. */
struct tks__latest_known {
  size_t count, capacity;
  tks__record *records; /* by symbol */
};

static void free_known(tks__latest_known *known) {
  if (known == NULL) return;
  tks__free(known->records);
  tks__free(known);
}

void tks__latest_forget(tks__latest_memory *memory) {
  free_known(atomic_load_explicit(&memory->known, memory_order_relaxed));
  atomic_store_explicit(&memory->known, NULL, memory_order_relaxed);
}

static int no_memory(tks_error *error) {
  return tks__fail(error, TKS_ENOMEM, 0, "out of memory looking for the latest quotes");
}

/* What could be found is in *known in failure too, but for a failure of memory. */
static int look_up(const tks__reader *reader, const tks__listing *listing, tks__latest_known *known, tks_error *error) {
  int first = TKS_OK;
  for (uint32_t id = 1; id <= listing->max_id; id++) {
    tks__record record;
    if (listing->symbols[id].count == 0 || from_ring(reader, id, 1, &record) == 1) continue;
    const tks__cursor_spec spec = {
        .symbol = id,
        .from_ns = listing->symbols[id].last_ns,
        .to_ns = listing->symbols[id].last_ns + 1, /* it lies in a day that a file can be named by: before INT64_MAX */
        .limit = 1,
        .max_seq = tks__reader_max_seq(reader),
        .descending = true,
    };
    size_t count = 0;
    tks_error why;
    int code = first_of(reader, &spec, &record, &count, &why);
    (void)tks__reader_go_on(code, &first, error, &why);
    if (count == 0) continue;
    if (!tks__grow((void **)&known->records, &known->capacity, known->count + 1, sizeof record))
      return no_memory(error);
    known->records[known->count++] = record;
  }
  return first;
}

/* Keeps what was found out for the next call, unless another thread was first: one of the two is as good as the other. */
static bool keep(const tks__reader *reader, tks__latest_known *known) {
  tks__latest_known *none = NULL;
  /* Release: who sees it sees the records. */
  return reader->writer != NULL && atomic_compare_exchange_strong_explicit(&reader->latest->known, &none, known,
                                                                           memory_order_release, memory_order_relaxed);
}

static size_t merge_latest(const tks__reader *reader, const tks__latest_known *known, tks__record *records,
                           size_t capacity) {
  size_t total = 0, next = 0;
  uint32_t count = tks__names_count(&reader->symbols->names);
  for (uint32_t id = 1; id <= count; id++) {
    tks__record record;
    const tks__record *old = NULL;
    if (next < known->count && known->records[next].symbol == id) old = &known->records[next++];
    bool in_ring = from_ring(reader, id, 1, &record) == 1;
    if (!in_ring && old == NULL) continue;
    if (total < capacity) records[total] = in_ring ? record : *old;
    total++;
  }
  return total;
}

int tks__latest_all(const tks__reader *reader, tks__record *records, size_t capacity, size_t *total, tks_error *error) {
  *total = 0;
  tks__latest_known *known = NULL;
  /* Acquire: pairs with the release in keep. */
  if (reader->writer != NULL) known = atomic_load_explicit(&reader->latest->known, memory_order_acquire);
  if (known != NULL) {
    *total = merge_latest(reader, known, records, capacity);
    return TKS_OK;
  }
  known = tks__calloc(1, sizeof *known);
  if (known == NULL) return no_memory(error);
  tks__listing listing;
  tks_error why;
  int code = tks__list_symbols(reader, &listing, error);
  int read = look_up(reader, &listing, known, &why);
  bool listed = listing.symbols != NULL || code == TKS_OK;
  tks__listing_free(&listing);
  (void)tks__reader_go_on(read, &code, error, &why);
  if (listed && code != TKS_ENOMEM) *total = merge_latest(reader, known, records, capacity);
  if (code != TKS_OK || !keep(reader, known)) free_known(known);
  return code;
}
