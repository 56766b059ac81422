#include "query/recent.h"

#include <string.h>

#include "base/error.h"
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
  int first_code = TKS_OK;
  tks_error later;
  while (*count < n) {
    size_t got;
    code = tks__cursor_next(&cursor, reader, records + *count, n - *count, &got, first_code == TKS_OK ? error : &later);
    *count += got;
    /* A damaged day is told, but does not hide the days before it. */
    if (code != TKS_OK && first_code == TKS_OK) first_code = code;
    if (code != TKS_OK && code != TKS_EDAYFILE && code != TKS_EFORMAT) break;
    if (code == TKS_OK && got == 0) break;
  }
  tks__cursor_deinit(&cursor);
  reverse(records, *count);
  return first_code;
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
  code = tks__cursor_next(&cursor, reader, record, 1, count, error);
  /* Part of the day was set aside; the rest is read by the next call. */
  if (code == TKS_EDAYFILE && *count == 0) (void)tks__cursor_next(&cursor, reader, record, 1, count, NULL);
  tks__cursor_deinit(&cursor);
  return code;
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

int tks__latest_all(const tks__reader *reader, tks__record *records, size_t capacity, size_t *total, tks_error *error) {
  tks__listing listing;
  int code = tks__list_symbols(reader, &listing, error);
  *total = 0;
  tks_error later;
  for (uint32_t id = 1; id <= listing.max_id; id++) {
    tks__record record;
    bool found = from_ring(reader, id, 1, &record) == 1;
    if (!found && listing.symbols[id].count > 0) {
      const tks__cursor_spec spec = {
          .symbol = id,
          .from_ns = listing.symbols[id].last_ns,
          .to_ns = listing.symbols[id].last_ns + 1,
          .limit = 1,
          .max_seq = tks__reader_max_seq(reader),
          .descending = true,
      };
      size_t count = 0;
      int read = first_of(reader, &spec, &record, &count, code == TKS_OK ? error : &later);
      if (read != TKS_OK && code == TKS_OK) code = read;
      found = count == 1;
    }
    if (found && (*total)++ < capacity) records[*total - 1] = record;
  }
  tks__listing_free(&listing);
  return code;
}
