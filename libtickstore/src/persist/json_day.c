#include "persist/json_day.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/memory.h"
#include "base/utc.h"
#include "persist/json_line.h"

#define WINDOW (64 * 1024)

/* One reading of one file. */
typedef struct reader {
  tks__json_day *out;
  size_t capacity;
  const tks__name *symbol;
  uint32_t symbol_id;
  int32_t day;
  tks__names *sources;
  uint32_t source_id; /* of the last line; runs of one source are common */
  size_t lines;
  bool ascending; /* by sequence so far, so that none can be there twice */
  bool in_order;  /* by time and sequence so far */
} reader;

static int compare_seqs(const void *a, const void *b) {
  const tks__record *x = a, *y = b;
  return (x->seq > y->seq) - (x->seq < y->seq);
}

static int compare_times(const void *a, const void *b) {
  const tks__record *x = a, *y = b;
  if (x->ts_ns != y->ts_ns) return x->ts_ns < y->ts_ns ? -1 : 1;
  return compare_seqs(a, b);
}

static int source_of(reader *r, const tks__json_fields *f, uint32_t *id) {
  *id = 0;
  if (f->source_length == 0) return TKS_OK;
  const tks__name *last = tks__names_get(r->sources, r->source_id);
  if (last == NULL || last->length != f->source_length || memcmp(last->text, f->source, f->source_length) != 0) {
    int rc = tks__names_intern(r->sources, f->source, f->source_length, &r->source_id);
    if (rc != TKS_OK) return rc;
  }
  *id = r->source_id;
  return TKS_OK;
}

static int add_record(reader *r, const tks__json_fields *f) {
  tks__json_day *out = r->out;
  uint32_t source;
  int rc = source_of(r, f, &source);
  if (rc != TKS_OK) return rc;
  if (!tks__grow((void **)&out->records, &r->capacity, out->count + 1, sizeof *out->records)) return TKS_ENOMEM;
  tks__record *record = &out->records[out->count];
  *record = f->record;
  record->symbol = r->symbol_id;
  record->source = source;
  if (out->count > 0) {
    r->ascending &= record[-1].seq < record->seq;
    r->in_order &= compare_times(record - 1, record) < 0;
  }
  out->count++;
  return TKS_OK;
}

/* A line of another symbol or day is somebody's copying error, and as little to be trusted as one that is no JSON. */
static bool belongs_here(const reader *r, const tks__json_fields *f) {
  return f->symbol_length == r->symbol->length && memcmp(f->symbol, r->symbol->text, f->symbol_length) == 0 &&
         tks__utc_day(f->record.ts_ns) == r->day;
}

static int read_line(reader *r, const char *line, size_t length) {
  tks__json_fields fields;
  r->lines++;
  if (length <= TKS__JSON_LINE_MAX && tks__json_line_parse(line, length, &fields) && belongs_here(r, &fields))
    return add_record(r, &fields);
  if (r->out->bad_lines++ == 0) r->out->first_bad = r->lines;
  return TKS_OK;
}

/* Reads the whole lines in `window` and moves the rest to its front. */
static int read_lines(reader *r, char *window, size_t *held) {
  char *line = window, *end = window + *held;
  for (char *newline; (newline = memchr(line, '\n', (size_t)(end - line))) != NULL; line = newline + 1) {
    int rc = read_line(r, line, (size_t)(newline - line) + 1);
    if (rc != TKS_OK) return rc;
  }
  *held = (size_t)(end - line);
  memmove(window, line, *held);
  return TKS_OK;
}

static int read_fd(reader *r, int fd, char *window, const char *path, tks_error *error) {
  size_t held = 0, got;
  int64_t offset = 0;
  for (;;) {
    /* A line that fills the window is no line of ours: all but its end is thrown away, which cannot be read either. */
    if (held == WINDOW) held = TKS__JSON_LINE_MAX + 1;
    int rc = tks__fs_read_some(fd, window + held, WINDOW - held, offset, &got);
    if (rc != 0) return tks__fail_errno(error, rc, "cannot read %s", path);
    if (got == 0) return TKS_OK; /* what is still held is being written */
    held += got;
    offset += (int64_t)got;
    rc = read_lines(r, window, &held);
    if (rc != TKS_OK)
      return tks__fail(error, rc, 0, "%s to read %s", rc == TKS_ETABLEFULL ? "too many sources are known" : "no memory",
                       path);
  }
}

static void sort_out(reader *r) {
  tks__json_day *out = r->out;
  if (!r->ascending) {
    qsort(out->records, out->count, sizeof *out->records, compare_seqs);
    size_t kept = 1;
    for (size_t i = 1; i < out->count; i++)
      if (out->records[i].seq != out->records[kept - 1].seq) out->records[kept++] = out->records[i];
    out->count = kept;
  }
  if (!r->ascending || !r->in_order) qsort(out->records, out->count, sizeof *out->records, compare_times);
}

static int read_path(reader *r, const char *path, tks_error *error) {
  int fd;
  int rc = tks__fs_open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0, &fd);
  if (rc == ENOENT) return TKS_OK;
  if (rc != 0) return tks__fail_errno(error, rc, "cannot open %s", path);
  char *window = tks__malloc(WINDOW);
  if (window == NULL) rc = tks__fail(error, TKS_ENOMEM, 0, "no memory to read %s", path);
  else rc = read_fd(r, fd, window, path, error);
  tks__free(window);
  (void)tks__fs_close(fd);
  return rc;
}

int tks__json_day_read(const tks__layout *layout, const tks__names *symbols, tks__names *sources, uint32_t symbol,
                       int32_t day, tks__json_day *out, tks_error *error) {
  *out = (tks__json_day){0};
  reader r = {.out = out,
              .symbol = tks__names_get(symbols, symbol),
              .symbol_id = symbol,
              .day = day,
              .sources = sources,
              .ascending = true,
              .in_order = true};
  if (r.symbol == NULL) return tks__fail(error, TKS_ESYMBOL, 0, "unknown symbol id %u", (unsigned)symbol);
  char path[TKS__PATH_MAX];
  tks__layout_json_file(layout, r.symbol->text, r.symbol->length, day, path);
  int rc = read_path(&r, path, error);
  if (rc != TKS_OK) {
    tks__json_day_free(out);
    return rc;
  }
  if (out->count > 1) sort_out(&r);
  if (out->bad_lines == 0) return TKS_OK;
  return tks__fail(error, TKS_EDAYFILE, 0, "%zu lines of %s cannot be read, the first is line %zu", out->bad_lines,
                   path, out->first_bad);
}

void tks__json_day_free(tks__json_day *day) {
  tks__free(day->records);
  *day = (tks__json_day){0};
}
