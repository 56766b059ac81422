/* import_row.c - fields of import rows: exact numbers, absent sides, and refusals that name what they refuse. */
#include "import_row.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/decimal.h"
#include "base/utc.h"

void import_row_init(import_row *row) {
  memset(row, 0, sizeof *row);
  row->quote.bid = NAN;
  row->quote.ask = NAN;
}

bool import_refuse(import_reason *reason, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(reason->text, sizeof reason->text, format, arguments);
  va_end(arguments);
  return false;
}

const char *import_show(const char *text, size_t length, char shown[IMPORT_SHOWN_MAX]) {
  const size_t room = IMPORT_SHOWN_MAX - 6; /* two quotes, three dots, terminator */
  bool cut = length > room;
  if (cut) {
    length = room;
    while (length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80) length--; /* not inside a character */
  }
  char *out = shown;
  *out++ = '"';
  for (size_t i = 0; i < length; i++) {
    unsigned char byte = (unsigned char)text[i];
    *out++ = byte < 0x20 || byte == 0x7f ? '?' : (char)byte;
  }
  if (cut) {
    memcpy(out, "...", 3);
    out += 3;
  }
  *out++ = '"';
  *out = '\0';
  return shown;
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* value * 10 + digit, towards the sign's side so that INT64_MIN is in range too. */
static bool append_digit(int64_t *value, bool negative, char c) {
  int64_t digit = c - '0';
  return !__builtin_mul_overflow(*value, 10, value) &&
         !__builtin_add_overflow(*value, negative ? -digit : digit, value);
}

bool import_scaled_integer(const char *text, size_t length, unsigned digits, int64_t *value) {
  size_t i = 0;
  bool negative = length > 0 && text[0] == '-';
  if (negative || (length > 0 && text[0] == '+')) i++;
  int64_t result = 0;
  size_t seen = 0;
  for (; i < length && is_digit(text[i]); i++, seen++)
    if (!append_digit(&result, negative, text[i])) return false;
  unsigned fraction = 0;
  bool up = false;
  if (i < length && text[i] == '.') {
    for (i++; i < length && is_digit(text[i]); i++, seen++, fraction++) {
      if (fraction < digits && !append_digit(&result, negative, text[i])) return false;
      if (fraction == digits) up = text[i] >= '5';
    }
  }
  if (i != length || seen == 0 || text[length - 1] == '.') return false;
  for (; fraction < digits; fraction++)
    if (!append_digit(&result, negative, '0')) return false;
  if (up && __builtin_add_overflow(result, negative ? -1 : 1, &result)) return false;
  *value = result;
  return true;
}

static bool number(const char *field, const char *text, size_t length, double *value, import_reason *reason) {
  char shown[IMPORT_SHOWN_MAX];
  if (length > 0 && text[length - 1] == '.')
    return import_refuse(reason, "%s %s ends in a point: cut off?", field, import_show(text, length, shown));
  switch (tks__decimal_parse(text, length, value)) {
    case TKS__DECIMAL_OK: return true;
    case TKS__DECIMAL_OVERFLOW:
      return import_refuse(reason, "%s %s is beyond the largest double", field, import_show(text, length, shown));
    default: return import_refuse(reason, "%s %s is not a number", field, import_show(text, length, shown));
  }
}

bool import_price(const char *field, const char *text, size_t length, double *value, import_reason *reason) {
  if (length == 0 || (length == 3 && strncasecmp(text, "nan", 3) == 0)) {
    *value = NAN;
    return true;
  }
  return number(field, text, length, value, reason);
}

bool import_size(const char *field, const char *text, size_t length, double *value, import_reason *reason) {
  *value = 0;
  return length == 0 || number(field, text, length, value, reason);
}

bool import_time(const char *field, const char *text, size_t length, int64_t *ts_ns, import_reason *reason) {
  if (tks__utc_parse(text, length, ts_ns)) return true;
  char shown[IMPORT_SHOWN_MAX];
  return import_refuse(reason, "%s %s is not an RFC 3339 time", field, import_show(text, length, shown));
}

void import_explain(int code, const tks_quote *quote, import_reason *reason) {
  char text[TKS__DECIMAL_MAX], other[TKS__DECIMAL_MAX], time[TKS__UTC_TEXT_MAX];
  switch (code) {
    case TKS_ETIME:
      tks__utc_format(quote->ts_ns, time);
      import_refuse(reason, "time %s is outside the accepted window", time);
      return;
    case TKS_ESIDES: import_refuse(reason, "neither bid nor ask"); return;
    case TKS_EPRICE:
    case TKS_ECROSSED:
      tks__decimal_format(quote->bid, text);
      tks__decimal_format(quote->ask, other);
      import_refuse(reason, "bid %s, ask %s: %s", text, other, tks_strerror(code));
      return;
    case TKS_ESIZE:
      tks__decimal_format(quote->bid_size, text);
      tks__decimal_format(quote->ask_size, other);
      import_refuse(reason, "bid_size %s, ask_size %s: %s", text, other, tks_strerror(code));
      return;
    default: import_refuse(reason, "%s", tks_strerror(code));
  }
}
