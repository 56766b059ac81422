/* The only file that knows jansson, and only for lines that somebody else has written or rearranged: what format
 * writes is read by a scanner that goes through the same fields in the same order. It is several times faster, and it
 * allocates nothing, so that a good line is never taken for a bad one because memory has run out. */
#include "persist/json_line.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

#include "base/decimal.h"
#include "base/name.h"
#include "base/utc.h"

/* -------------------------------------------------------------- formatting */

#define PUT(to, literal) put(to, literal, sizeof(literal) - 1)

static char *put(char *to, const char *bytes, size_t length) {
  memcpy(to, bytes, length);
  return to + length;
}

static char *put_unsigned(char *to, uint64_t value) {
  char reversed[20];
  size_t count = 0;
  do {
    reversed[count++] = (char)('0' + value % 10);
    value /= 10;
  } while (value != 0);
  while (count > 0) *to++ = reversed[--count];
  return to;
}

static char *put_signed(char *to, int64_t value) {
  if (value < 0) *to++ = '-';
  return put_unsigned(to, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

static char *put_escaped(char *to, const char *text, size_t length) {
  static const char hex[] = "0123456789abcdef";
  for (size_t i = 0; i < length; i++) {
    unsigned char c = (unsigned char)text[i];
    if (c >= 0x20 && c != '"' && c != '\\') {
      *to++ = text[i];
    } else if (c >= 0x20) {
      *to++ = '\\';
      *to++ = text[i];
    } else {
      to = PUT(to, "\\u00");
      *to++ = hex[c >> 4];
      *to++ = hex[c & 15];
    }
  }
  return to;
}

size_t tks__json_escape(const char *text, size_t length, char *out) {
  char *end = put_escaped(out, text, length);
  *end = 0;
  return (size_t)(end - out);
}

static char *put_double(char *to, double value) {
  char text[TKS__DECIMAL_MAX];
  to = put(to, text, tks__decimal_format(value, text));
  /* To most readers a bare -0 is an integer, and integers have no negative zero. */
  return value == 0 && signbit(value) ? PUT(to, ".0") : to;
}

static char *put_price(char *to, double value) { return isnan(value) ? PUT(to, "null") : put_double(to, value); }

/* Digits behind the point of a number as it was just written. */
static int places_of(const char *text, const char *end) {
  const char *point = NULL, *p = text;
  for (; p != end && *p != 'e'; p++)
    if (*p == '.') point = p;
  int places = point == NULL ? 0 : (int)(p - point) - 1;
  if (p == end || p[1] != '-') return places;
  int exponent = 0;
  for (p += 2; p != end; p++) exponent = exponent * 10 + (*p - '0');
  return places + exponent;
}

/* 1.08499 - 1.08484 is 0.00014999999999987246 in doubles. The spread is what people get by hand: it has no more
 * places than the prices have. Nothing is lost, since it is never read back. */
static double rounded_spread(double bid, int bid_places, double ask, int ask_places) {
  static const double powers[] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
  double spread = ask - bid;
  int places = bid_places > ask_places ? bid_places : ask_places;
  if (places > 15) return spread;
  double scaled = spread * powers[places];
  if (!(fabs(scaled) < 1e15)) return spread;
  return (double)(int64_t)(scaled + (scaled < 0 ? -0.5 : 0.5)) / powers[places];
}

static char *put_prices(char *to, double bid, double ask) {
  to = PUT(to, "\",\"bid\":");
  const char *bid_text = to;
  to = put_price(to, bid);
  int bid_places = places_of(bid_text, to);
  to = PUT(to, ",\"ask\":");
  const char *ask_text = to;
  to = put_price(to, ask);
  int ask_places = places_of(ask_text, to);
  to = PUT(to, ",\"spread\":");
  double spread = rounded_spread(bid, bid_places, ask, ask_places);
  return isfinite(spread) ? put_double(to, spread) : PUT(to, "null");
}

static bool is_set(double size) { return size != 0 || signbit(size); }

size_t tks__json_line_format(const tks__record *record, const char *symbol, size_t symbol_length, const char *source,
                             size_t source_length, const char *broker_id_escaped, char line[TKS__JSON_LINE_MAX]) {
  char *to = PUT(line, "{\"broker_id\":\"");
  to = put(to, broker_id_escaped, strlen(broker_id_escaped));
  to = PUT(to, "\",\"symbol\":\"");
  to = put_escaped(to, symbol, symbol_length);
  to = put_prices(to, record->bid, record->ask);
  to = PUT(to, ",\"timestamp\":\"");
  to += tks__utc_format(record->ts_ns, to);
  to = PUT(to, "\",\"lp\":\"");
  to = put_escaped(to, source, source_length);
  to = PUT(to, "\",\"seq\":");
  to = put_unsigned(to, record->seq);
  if (is_set(record->bid_size)) to = put_double(PUT(to, ",\"bid_size\":"), record->bid_size);
  if (is_set(record->ask_size)) to = put_double(PUT(to, ",\"ask_size\":"), record->ask_size);
  if (record->recv_ns != 0) to = put_signed(PUT(to, ",\"recv_ns\":"), record->recv_ns);
  if (record->flags != 0) to = put_unsigned(PUT(to, ",\"flags\":"), record->flags);
  to = PUT(to, "}\n");
  return (size_t)(to - line);
}

/* ---------------------------------------------------- reading our own lines */

typedef struct scanner {
  const char *at;
  const char *end;
} scanner;

#define SKIP(s, literal) skip(s, literal, sizeof(literal) - 1)

static bool skip(scanner *s, const char *text, size_t length) {
  if ((size_t)(s->end - s->at) < length || memcmp(s->at, text, length) != 0) return false;
  s->at += length;
  return true;
}

/* Up to and with the closing quote. Of the escapes only those that stand for themselves, which are all that valid
 * names need. */
static bool scan_name(scanner *s, char name[TKS_NAME_MAX], size_t *length) {
  size_t n = 0;
  for (; s->at != s->end && *s->at != '"'; s->at++) {
    if (*s->at == '\\' && (++s->at == s->end || (*s->at != '"' && *s->at != '\\'))) return false;
    if (n == TKS_NAME_MAX) return false;
    name[n++] = *s->at;
  }
  *length = n;
  return SKIP(s, "\"");
}

static bool skip_string(scanner *s) {
  for (; s->at != s->end && *s->at != '"'; s->at++) {
    if ((unsigned char)*s->at < 0x20) return false;
    if (*s->at == '\\' && ++s->at == s->end) return false;
  }
  return SKIP(s, "\"");
}

static bool scan_double(scanner *s, double *value) {
  const char *start = s->at;
  while (s->at != s->end && *s->at != ',' && *s->at != '}') s->at++;
  bool begins_well = start != s->at && (*start == '-' || (*start >= '0' && *start <= '9'));
  return begins_well && tks__decimal_parse(start, (size_t)(s->at - start), value) == TKS__DECIMAL_OK;
}

static bool scan_price(scanner *s, double *value) {
  if (!SKIP(s, "null")) return scan_double(s, value);
  *value = (double)NAN;
  return true;
}

static bool scan_unsigned(scanner *s, uint64_t *value) {
  const char *start = s->at;
  uint64_t n = 0;
  for (; s->at != s->end && *s->at >= '0' && *s->at <= '9'; s->at++)
    if (__builtin_mul_overflow(n, UINT64_C(10), &n) || __builtin_add_overflow(n, (uint64_t)(*s->at - '0'), &n))
      return false;
  *value = n;
  return s->at != start;
}

static bool scan_signed(scanner *s, int64_t *value) {
  bool negative = SKIP(s, "-");
  uint64_t n;
  if (!scan_unsigned(s, &n) || n > (uint64_t)INT64_MAX + negative) return false;
  *value = negative ? (int64_t)(0 - n) : (int64_t)n;
  return true;
}

static bool scan_time(scanner *s, int64_t *ts_ns) {
  const char *start = s->at;
  while (s->at != s->end && *s->at != '"') s->at++;
  return tks__utc_parse(start, (size_t)(s->at - start), ts_ns) && SKIP(s, "\"");
}

static bool scan_optional(scanner *s, tks__record *r) {
  if (SKIP(s, ",\"bid_size\":") && !scan_double(s, &r->bid_size)) return false;
  if (SKIP(s, ",\"ask_size\":") && !scan_double(s, &r->ask_size)) return false;
  if (SKIP(s, ",\"recv_ns\":") && !scan_signed(s, &r->recv_ns)) return false;
  uint64_t flags = 0;
  if (SKIP(s, ",\"flags\":") && !scan_unsigned(s, &flags)) return false;
  r->flags = (uint32_t)flags;
  return flags <= UINT32_MAX;
}

static bool scan_line(const char *line, size_t length, tks__json_fields *f) {
  scanner s = {line, line + length};
  tks__record *r = &f->record;
  double spread;
  return SKIP(&s, "{\"broker_id\":\"") && skip_string(&s) &&                          //
         SKIP(&s, ",\"symbol\":\"") && scan_name(&s, f->symbol, &f->symbol_length) && //
         SKIP(&s, ",\"bid\":") && scan_price(&s, &r->bid) &&                          //
         SKIP(&s, ",\"ask\":") && scan_price(&s, &r->ask) &&                          //
         SKIP(&s, ",\"spread\":") && scan_price(&s, &spread) &&                       //
         SKIP(&s, ",\"timestamp\":\"") && scan_time(&s, &r->ts_ns) &&                 //
         SKIP(&s, ",\"lp\":\"") && scan_name(&s, f->source, &f->source_length) &&     //
         SKIP(&s, ",\"seq\":") && scan_unsigned(&s, &r->seq) &&                       //
         scan_optional(&s, r) && SKIP(&s, "}") && (SKIP(&s, "\n") || true) && s.at == s.end;
}

/* ----------------------------------------------- reading anybody else's lines */

static bool get_name(const json_t *object, const char *key, char name[TKS_NAME_MAX], size_t *length) {
  const json_t *value = json_object_get(object, key);
  if (!json_is_string(value) || json_string_length(value) > TKS_NAME_MAX) return false;
  *length = json_string_length(value);
  memcpy(name, json_string_value(value), *length);
  return true;
}

static bool get_price(const json_t *object, const char *key, double *price) {
  const json_t *value = json_object_get(object, key);
  *price = json_is_null(value) ? (double)NAN : json_number_value(value);
  return json_is_null(value) || json_is_number(value);
}

static bool get_size(const json_t *object, const char *key, double *size) {
  const json_t *value = json_object_get(object, key);
  *size = json_number_value(value); /* 0 when it is not there */
  return value == NULL || json_is_number(value);
}

static bool get_integer(const json_t *object, const char *key, bool required, int64_t *n) {
  const json_t *value = json_object_get(object, key);
  *n = json_integer_value(value);
  return json_is_integer(value) || (value == NULL && !required);
}

static bool get_time(const json_t *object, const char *key, int64_t *ts_ns) {
  const json_t *value = json_object_get(object, key);
  return json_is_string(value) && tks__utc_parse(json_string_value(value), json_string_length(value), ts_ns);
}

static bool get_fields(const json_t *object, tks__json_fields *f) {
  tks__record *r = &f->record;
  double spread;
  int64_t seq, flags;
  if (!json_is_string(json_object_get(object, "broker_id")) ||
      !get_name(object, "symbol", f->symbol, &f->symbol_length) || !get_price(object, "bid", &r->bid) ||
      !get_price(object, "ask", &r->ask) || !get_price(object, "spread", &spread) ||
      !get_time(object, "timestamp", &r->ts_ns) || !get_name(object, "lp", f->source, &f->source_length) ||
      !get_integer(object, "seq", true, &seq) || !get_size(object, "bid_size", &r->bid_size) ||
      !get_size(object, "ask_size", &r->ask_size) || !get_integer(object, "recv_ns", false, &r->recv_ns) ||
      !get_integer(object, "flags", false, &flags) || seq < 0 || flags < 0 || flags > UINT32_MAX)
    return false;
  r->seq = (uint64_t)seq;
  r->flags = (uint32_t)flags;
  return true;
}

static bool parse_any(const char *line, size_t length, tks__json_fields *fields) {
  json_error_t ignored;
  json_t *object = json_loadb(line, length, JSON_REJECT_DUPLICATES, &ignored);
  bool ok = json_is_object(object) && get_fields(object, fields);
  json_decref(object);
  return ok;
}

/* What put would have refused was not written by us. */
static bool is_record(const tks__json_fields *f) {
  const tks__record *r = &f->record;
  return tks__name_check(f->symbol, f->symbol_length) == TKS_OK &&
         (f->source_length == 0 || tks__name_check(f->source, f->source_length) == TKS_OK) && r->seq != 0 &&
         r->seq <= INT64_MAX && !(isnan(r->bid) && isnan(r->ask)) && !isinf(r->bid) && !isinf(r->ask) &&
         r->bid_size >= 0 && r->ask_size >= 0 && isfinite(r->bid_size) && isfinite(r->ask_size);
}

bool tks__json_line_parse(const char *line, size_t length, tks__json_fields *fields) {
  memset(&fields->record, 0, sizeof fields->record);
  if (!scan_line(line, length, fields)) {
    memset(&fields->record, 0, sizeof fields->record);
    if (!parse_any(line, length, fields)) return false;
  }
  fields->record.reserved = TKS__KIND_QUOTE;
  return is_record(fields);
}
