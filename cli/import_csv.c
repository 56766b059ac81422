/* import_csv.c - CSV with a header that names its columns (RFC 4180: quotes, doubled quotes, line ends inside
 * quotes).
 *
 * A line without a quote, which is nearly every one, is split in one pass. A quoted field may go on over
 * several lines; if such a record turns out to be refused, only its first line is, for a stray quote must
 * not swallow the good lines after it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "import_lines.h"
#include "import_reader.h"

enum { COLUMNS_MAX = 256, UNQUOTED_MAX = 256 };

/* Times first, the most exact one first: the first that a header has is the one that counts. */
typedef enum role {
  TIME_NS,
  TIME_TEXT,
  TIME_US,
  TIME_MS,
  TIMESTAMP,
  BID,
  ASK,
  BID_SIZE,
  ASK_SIZE,
  SYMBOL,
  SOURCE,
  RECV_NS,
  FLAGS,
  ROLES,
  IGNORED, /* known, and of no use here */
} role;

static const struct {
  const char *name;
  role role;
} known[] = {
    {"timestamp_ns", TIME_NS},
    {"ts_ns", TIME_NS},
    {"time", TIME_TEXT},
    {"timestamp_us", TIME_US},
    {"timestamp_ms", TIME_MS},
    {"timestamp", TIMESTAMP},
    {"bid", BID},
    {"ask", ASK},
    {"bid_size", BID_SIZE},
    {"ask_size", ASK_SIZE},
    {"symbol", SYMBOL},
    {"source", SOURCE},
    {"lp", SOURCE},
    {"lp_source", SOURCE},
    {"recv_ns", RECV_NS},
    {"flags", FLAGS},
    {"spread", IGNORED},
    {"seq", IGNORED},
    {"id", IGNORED},
    {"created_at", IGNORED},
    {"broker_id", IGNORED},
};

typedef struct field {
  const char *text;
  size_t length;
  bool doubled; /* holds "" for each quote */
} field;

typedef struct csv_reader {
  import_line_reader by_line;
  int columns[ROLES]; /* index of each role's column, -1 if there is none */
  role time;
  size_t width; /* fields of the header */
  field fields[COLUMNS_MAX];
  char symbol[UNQUOTED_MAX];
  char source[UNQUOTED_MAX];
} csv_reader;

typedef enum split { SPLIT_OK, SPLIT_OPEN, SPLIT_MALFORMED } split;

static bool blank(char c) { return c == ' ' || c == '\t'; }

static void trim(field *f) {
  while (f->length > 0 && blank(f->text[0])) f->text++, f->length--;
  while (f->length > 0 && blank(f->text[f->length - 1])) f->length--;
}

static void keep(csv_reader *csv, size_t index, field f) {
  if (index < COLUMNS_MAX) csv->fields[index] = f;
}

static size_t split_plain(csv_reader *csv, const char *text, size_t length) {
  size_t count = 0;
  const char *end = text + length;
  for (const char *start = text;;) {
    const char *stop = start;
    while (stop < end && *stop != ',') stop++;
    field f = {start, (size_t)(stop - start), false};
    trim(&f);
    keep(csv, count++, f);
    if (stop == end) return count;
    start = stop + 1;
  }
}

/* A quoted field whose opening quote is before *at; leaves *at behind the closing one. */
static split quoted_field(const char **at, const char *end, field *f) {
  const char *start = *at, *p = start;
  f->doubled = false;
  for (;; p += 2) {
    p = p < end ? memchr(p, '"', (size_t)(end - p)) : NULL;
    if (p == NULL) return SPLIT_OPEN;
    if (p + 1 == end || p[1] != '"') break;
    f->doubled = true;
  }
  f->text = start;
  f->length = (size_t)(p - start);
  p++;
  while (p < end && blank(*p)) p++;
  *at = p;
  return p == end || *p == ',' ? SPLIT_OK : SPLIT_MALFORMED;
}

static split split_quoted(csv_reader *csv, const char *text, size_t length, size_t *count) {
  const char *at = text, *end = text + length;
  for (*count = 0;; at++) {
    field f = {at, 0, false};
    const char *p = at;
    while (p < end && blank(*p)) p++;
    if (p < end && *p == '"') {
      at = p + 1;
      split outcome = quoted_field(&at, end, &f);
      if (outcome != SPLIT_OK) return outcome;
    } else {
      while (at < end && *at != ',') at++;
      f.length = (size_t)(at - f.text);
      trim(&f);
    }
    keep(csv, (*count)++, f);
    if (at == end) return SPLIT_OK;
  }
}

/* Adds lines up to one with a quote: only that can close the field, so only then it is worth splitting again. */
static bool extend_to_quote(import_lines *lines, const char **text, size_t *length) {
  for (;;) {
    size_t before = *length;
    if (!import_lines_extend(lines, text, length)) return false;
    if (memchr(*text + before, '"', *length - before) != NULL) return true;
  }
}

/* Splits the record at hand, with as many more lines as its quotes need. */
static bool split_record(csv_reader *csv, const char *text, size_t length, size_t *count, import_reason *reason) {
  if (memchr(text, '"', length) == NULL) {
    *count = split_plain(csv, text, length);
    return true;
  }
  for (;;) {
    switch (split_quoted(csv, text, length, count)) {
      case SPLIT_OK: return true;
      case SPLIT_MALFORMED: return import_refuse(reason, "field %zu: text after the closing quote", *count + 1);
      case SPLIT_OPEN:
        if (!extend_to_quote(&csv->by_line.lines, &text, &length))
          return import_refuse(reason, "field %zu: no closing quote", *count + 1);
    }
  }
}

/* The text of a name without its doubled quotes; a name too long for `buffer` is too long for the store in
 * any case. */
static const char *unquote(const field *f, char buffer[UNQUOTED_MAX], size_t *length) {
  if (!f->doubled) {
    *length = f->length;
    return f->text;
  }
  size_t out = 0;
  for (size_t i = 0; i < f->length && out < UNQUOTED_MAX; i++) {
    buffer[out++] = f->text[i];
    if (f->text[i] == '"') i++;
  }
  *length = out;
  return buffer;
}

static const field *field_of(const csv_reader *csv, role r) {
  return csv->columns[r] < 0 ? NULL : &csv->fields[csv->columns[r]];
}

static bool integer_time(const char *name, const field *f, unsigned digits, int64_t *ts_ns, import_reason *reason) {
  if (import_scaled_integer(f->text, f->length, digits, ts_ns)) return true;
  char shown[IMPORT_SHOWN_MAX];
  return import_refuse(reason, "%s %s is not an integer in range", name, import_show(f->text, f->length, shown));
}

static bool convert_time(const csv_reader *csv, int64_t *ts_ns, import_reason *reason) {
  const field *f = field_of(csv, csv->time);
  switch (csv->time) {
    case TIME_NS: return integer_time("timestamp_ns", f, 0, ts_ns, reason);
    case TIME_US: return integer_time("timestamp_us", f, 3, ts_ns, reason);
    case TIME_MS: return integer_time("timestamp_ms", f, 6, ts_ns, reason);
    case TIME_TEXT: return import_time("time", f->text, f->length, ts_ns, reason);
    default: /* the column of the ticks view, in milliseconds, or other people's RFC 3339 */
      return import_scaled_integer(f->text, f->length, 6, ts_ns) ||
             import_time("timestamp", f->text, f->length, ts_ns, reason);
  }
}

/* recv_ns and flags come from the store's own exports; whoever wrote something else there means something
 * else. */
static void convert_extras(const csv_reader *csv, tks_quote *quote) {
  const field *f = field_of(csv, RECV_NS);
  if (f != NULL && !import_scaled_integer(f->text, f->length, 0, &quote->recv_ns)) quote->recv_ns = 0;
  int64_t flags = 0;
  f = field_of(csv, FLAGS);
  if (f != NULL && import_scaled_integer(f->text, f->length, 0, &flags))
    quote->flags = (uint32_t)flags & TKS_FLAG_USER_MASK;
}

static bool convert(csv_reader *csv, import_row *row, import_reason *reason) {
  tks_quote *quote = &row->quote;
  const field *bid = field_of(csv, BID), *ask = field_of(csv, ASK);
  if (!convert_time(csv, &quote->ts_ns, reason) || !import_price("bid", bid->text, bid->length, &quote->bid, reason) ||
      !import_price("ask", ask->text, ask->length, &quote->ask, reason))
    return false;
  const field *f = field_of(csv, BID_SIZE);
  if (f != NULL && !import_size("bid_size", f->text, f->length, &quote->bid_size, reason)) return false;
  f = field_of(csv, ASK_SIZE);
  if (f != NULL && !import_size("ask_size", f->text, f->length, &quote->ask_size, reason)) return false;
  f = field_of(csv, SYMBOL);
  if (f != NULL) row->symbol = unquote(f, csv->symbol, &row->symbol_length);
  f = field_of(csv, SOURCE);
  if (f != NULL) row->source = unquote(f, csv->source, &row->source_length);
  convert_extras(csv, quote);
  return true;
}

static bool parse_row(import_line_reader *reader, const char *text, size_t length, import_row *row,
                      import_reason *reason) {
  csv_reader *csv = (csv_reader *)reader;
  size_t count = 0;
  if (!split_record(csv, text, length, &count, reason)) return false;
  if (count != csv->width)
    return import_refuse(reason, "%zu field%s where the header has %zu%s", count, count == 1 ? "" : "s", csv->width,
                         csv->by_line.lines.unterminated ? " (the line is cut off)" : "");
  return convert(csv, row, reason);
}

static role role_of(const char *name, size_t length) {
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
    if (strlen(known[i].name) == length && strncasecmp(known[i].name, name, length) == 0) return known[i].role;
  return ROLES;
}

static void remark_unknown(csv_reader *csv, const field *f, unsigned *unknown) {
  char shown[IMPORT_SHOWN_MAX];
  import_show(f->text, f->length, shown);
  size_t used = strlen(csv->by_line.base.note);
  if ((*unknown)++ == 0) snprintf(csv->by_line.base.note, sizeof csv->by_line.base.note, "ignored columns: %s", shown);
  else if (used + strlen(shown) + 8 < sizeof csv->by_line.base.note)
    snprintf(csv->by_line.base.note + used, sizeof csv->by_line.base.note - used, ", %s", shown);
}

static bool read_columns(csv_reader *csv, import_reason *reason) {
  unsigned unknown = 0;
  for (size_t i = 0; i < csv->width; i++) {
    const field *f = &csv->fields[i];
    role r = role_of(f->text, f->length);
    if (r == ROLES) remark_unknown(csv, f, &unknown);
    if (r >= ROLES) continue;
    if (csv->columns[r] >= 0) {
      char shown[IMPORT_SHOWN_MAX];
      return import_refuse(reason, "the header has a second column for %s", import_show(f->text, f->length, shown));
    }
    csv->columns[r] = (int)i;
  }
  csv->time = TIME_NS;
  while (csv->time <= TIMESTAMP && csv->columns[csv->time] < 0) csv->time++;
  if (csv->time > TIMESTAMP)
    return import_refuse(reason, "the header has no column timestamp_ns, timestamp_us, timestamp_ms or time");
  if (csv->columns[BID] < 0) return import_refuse(reason, "the header has no column bid");
  if (csv->columns[ASK] < 0) return import_refuse(reason, "the header has no column ask");
  if (csv->columns[SYMBOL] < 0 && csv->by_line.base.meaning->symbol_length == 0)
    return import_refuse(reason, "the header has no column symbol: name it with --symbol");
  return true;
}

static bool read_header(csv_reader *csv, import_reason *reason) {
  const char *text = NULL;
  size_t length = 0;
  import_line line = import_lines_next(&csv->by_line.lines, &text, &length);
  if (line == IMPORT_LINE_END) return import_refuse(reason, "%s", "the file is empty: a header line is needed");
  if (line == IMPORT_LINE_TOO_LONG) return import_refuse(reason, "%s", "the header is too long");
  if (!split_record(csv, text, length, &csv->width, reason)) return false;
  if (csv->width > COLUMNS_MAX) return import_refuse(reason, "the header has more than %d columns", COLUMNS_MAX);
  if (!read_columns(csv, reason)) return false;
  import_lines_commit(&csv->by_line.lines);
  return true;
}

import_reader *import_csv_reader(import_stream *stream, const import_meaning *meaning, import_reason *reason) {
  csv_reader *csv = calloc(1, sizeof *csv);
  if (csv == NULL) {
    import_refuse(reason, "out of memory");
    return NULL;
  }
  import_line_reader_init(&csv->by_line, stream, meaning);
  csv->by_line.parse = parse_row;
  for (int r = 0; r < ROLES; r++) csv->columns[r] = -1;
  if (read_header(csv, reason)) return &csv->by_line.base;
  free(csv);
  return NULL;
}
