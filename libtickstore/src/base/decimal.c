/* Doubles as text. Neither direction depends on the locale: printf and strtod exchange digits and exponents only,
 * never a decimal point, so there is nothing that LC_NUMERIC could turn into a comma. */
#include "base/decimal.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Every power of ten that a double holds exactly. */
#define EXACT_POWERS 22
static const double powers[EXACT_POWERS + 1] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                                1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/* Outside these decimal exponents a number is written with an e. */
#define PLAIN_MIN (-7)
#define PLAIN_MAX 16

#define DIGITS_MAX 17

/* A positive number: text[0].text[1]text[2]... * 10^exponent, without trailing zeros. */
typedef struct digits {
  char text[DIGITS_MAX + 1];
  int count;
  int exponent;
} digits;

static void strip_zeros(digits *n) {
  while (n->count > 1 && n->text[n->count - 1] == '0') n->count--;
}

static void digits_of_integer(uint64_t value, int scale, digits *n) {
  char reversed[20];
  int count = 0;
  for (; value != 0; value /= 10) reversed[count++] = (char)('0' + value % 10);
  for (int i = 0; i < count; i++) n->text[i] = reversed[count - 1 - i];
  n->count = count;
  n->exponent = count - 1 - scale;
  strip_zeros(n);
}

/* Finds the digits of what people call a price. Two decimals of at most 15 digits never share a double, and r and
 * 10^d are exact, so the correctly rounded r / 10^d equals x only if r * 10^-d reads back as x; the smallest such
 * d gives the shortest text. The product is off by less than 0.2 below 10^15, so r is the only candidate. */
static bool short_digits(double x, digits *n) {
  if (x < 1e-12) return false;
  for (int d = 0; d <= EXACT_POWERS; d++) {
    double scaled = x * powers[d];
    if (scaled >= 1e15) return false;
    int64_t r = (int64_t)(scaled + 0.5);
    if ((double)r / powers[d] == x) {
      digits_of_integer((uint64_t)r, d, n);
      return true;
    }
  }
  return false;
}

static double read_back(const digits *n) {
  char text[DIGITS_MAX + 16];
  (void)snprintf(text, sizeof text, "%.*se%d", n->count, n->text, n->exponent - (n->count - 1));
  return strtod(text, NULL);
}

static void rounded_digits(double x, int precision, digits *n) {
  char raw[64];
  (void)snprintf(raw, sizeof raw, "%.*e", precision - 1, x);
  const char *p = raw;
  n->count = 0;
  /* Whatever stands for the point in this locale is skipped. */
  for (; *p != 'e'; p++)
    if (*p >= '0' && *p <= '9' && n->count < DIGITS_MAX) n->text[n->count++] = *p;
  n->exponent = (int)strtol(p + 1, NULL, 10);
}

/* A power of two has a gap above it that is twice the gap below, so the 16 digits nearest to it may read back as its
 * lower neighbour while the next ones up, though further away, are its own. */
static bool next_up_reads_back(double x, digits *n) {
  int exponent;
  if (frexp(x, &exponent) != 0.5 || n->text[n->count - 1] == '9') return false;
  n->text[n->count - 1]++;
  return read_back(n) == x;
}

static void any_digits(double x, digits *n) {
  /* Below DBL_MIN a double has fewer than 15 digits of its own. */
  for (int precision = x < DBL_MIN ? 1 : 15; precision < DIGITS_MAX; precision++) {
    rounded_digits(x, precision, n);
    bool found = read_back(n) == x || (precision == DIGITS_MAX - 1 && next_up_reads_back(x, n));
    if (found) {
      strip_zeros(n);
      return;
    }
  }
  rounded_digits(x, DIGITS_MAX, n);
  strip_zeros(n);
}

static char *put(char *to, const char *bytes, int count) {
  memcpy(to, bytes, (size_t)count);
  return to + count;
}

static char *put_zeros(char *to, int count) {
  memset(to, '0', (size_t)count);
  return to + count;
}

static char *lay_out_plain(const digits *n, char *to) {
  if (n->exponent < 0) {
    to = put(to, "0.", 2);
    to = put_zeros(to, -n->exponent - 1);
    return put(to, n->text, n->count);
  }
  int whole = n->exponent + 1;
  if (n->count <= whole) {
    to = put(to, n->text, n->count);
    return put_zeros(to, whole - n->count);
  }
  to = put(to, n->text, whole);
  *to++ = '.';
  return put(to, n->text + whole, n->count - whole);
}

static char *lay_out_exponent(const digits *n, char *to) {
  *to++ = n->text[0];
  if (n->count > 1) {
    *to++ = '.';
    to = put(to, n->text + 1, n->count - 1);
  }
  *to++ = 'e';
  int exponent = n->exponent;
  if (exponent < 0) {
    *to++ = '-';
    exponent = -exponent;
  }
  if (exponent >= 100) *to++ = (char)('0' + exponent / 100);
  if (exponent >= 10) *to++ = (char)('0' + exponent / 10 % 10);
  *to++ = (char)('0' + exponent % 10);
  return to;
}

size_t tks__decimal_format(double value, char text[TKS__DECIMAL_MAX]) {
  char *end = text;
  if (isnan(value)) {
    end = put(end, "nan", 3);
  } else {
    if (signbit(value)) *end++ = '-';
    double x = fabs(value);
    digits n;
    if (x == 0) {
      *end++ = '0';
    } else if (isinf(x)) {
      end = put(end, "inf", 3);
    } else {
      if (!short_digits(x, &n)) any_digits(x, &n);
      bool plain = n.exponent >= PLAIN_MIN && n.exponent <= PLAIN_MAX;
      end = plain ? lay_out_plain(&n, end) : lay_out_exponent(&n, end);
    }
  }
  *end = 0;
  return (size_t)(end - text);
}

/* ----------------------------------------------------------------- parsing */

/* No double needs more than 768 digits to be told from its neighbours; of those behind them it matters only whether
 * all are zero. */
#define KEPT_MAX 800

/* Exponents saturate far beyond any double and far below int64_t. */
#define EXPONENT_LIMIT (INT64_C(1) << 60)

/* sign digits * 10^exponent, without leading zeros. */
typedef struct number {
  bool negative;
  bool inexact; /* a digit that is not 0 was left out behind the kept ones */
  int kept;
  uint64_t mantissa; /* of the kept digits; meaningful while they are at most 19 */
  int64_t exponent;
  char text[KEPT_MAX];
} number;

static void add_digit(number *n, char c, bool fraction) {
  if (n->kept == 0 && c == '0') {
    n->exponent -= fraction;
    return;
  }
  if (n->kept == KEPT_MAX) {
    n->inexact |= c != '0';
    n->exponent += !fraction;
    return;
  }
  n->text[n->kept++] = c;
  n->mantissa = n->mantissa * 10 + (uint64_t)(c - '0');
  n->exponent -= fraction;
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static const char *scan_exponent(const char *p, const char *end, number *n) {
  bool negative = p != end && *p == '-';
  if (p != end && (*p == '-' || *p == '+')) p++;
  if (p == end || !is_digit(*p)) return NULL;
  int64_t exponent = 0;
  for (; p != end && is_digit(*p); p++)
    if (exponent < EXPONENT_LIMIT / 16) exponent = exponent * 10 + (*p - '0');
  n->exponent += negative ? -exponent : exponent;
  return p;
}

static bool scan(const char *text, size_t length, number *n) {
  n->negative = n->inexact = false;
  n->kept = 0;
  n->mantissa = 0;
  n->exponent = 0;
  const char *p = text, *end = text + length;
  if (p != end && (*p == '-' || *p == '+')) n->negative = *p++ == '-';
  const char *start = p;
  for (; p != end && is_digit(*p); p++) add_digit(n, *p, false);
  size_t seen = (size_t)(p - start);
  if (p != end && *p == '.') {
    start = ++p;
    for (; p != end && is_digit(*p); p++) add_digit(n, *p, true);
    seen += (size_t)(p - start);
  }
  if (seen == 0) return false;
  if (p != end && (*p == 'e' || *p == 'E')) p = scan_exponent(p + 1, end, n);
  return p == end;
}

/* Both operands are exact, so the one rounding is the right one. */
static bool exact_value(const number *n, double *value) {
  if (n->kept > 19 || n->mantissa > (UINT64_C(1) << 53)) return false;
  if (n->mantissa == 0) {
    *value = 0;
    return true;
  }
  if (n->exponent < -EXACT_POWERS || n->exponent > EXACT_POWERS) return false;
  double m = (double)n->mantissa;
  *value = n->exponent < 0 ? m / powers[-n->exponent] : m * powers[n->exponent];
  return true;
}

static double any_value(number *n) {
  char text[KEPT_MAX + 32];
  int64_t exponent = n->exponent;
  size_t kept = (size_t)n->kept;
  memcpy(text, n->text, kept);
  if (n->inexact) {
    text[kept++] = '1';
    exponent--;
  }
  if (exponent > 100000) exponent = 100000;
  if (exponent < -100000) exponent = -100000;
  (void)snprintf(text + kept, sizeof text - kept, "e%d", (int)exponent);
  return strtod(text, NULL);
}

tks__decimal_status tks__decimal_parse(const char *text, size_t length, double *value) {
  number n;
  if (!scan(text, length, &n)) return TKS__DECIMAL_SYNTAX;
  double x;
  if (!exact_value(&n, &x)) x = any_value(&n);
  if (isinf(x)) return TKS__DECIMAL_OVERFLOW;
  *value = n.negative ? -x : x;
  return TKS__DECIMAL_OK;
}
