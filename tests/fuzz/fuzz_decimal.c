/* Decimal numbers: the grammar against a second one, the value against strtod, and the shortest text back. */
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/decimal.h"
#include "fuzz/fuzz.h"

const unsigned fuzz_rounds = 150000;
const char *const fuzz_words[] = {"e",
                                  "E",
                                  "e-",
                                  "e+",
                                  ".",
                                  "-",
                                  "+",
                                  "0000000000000000",
                                  "nan",
                                  "inf",
                                  "0x",
                                  "999",
                                  "e308",
                                  "e-324",
                                  "18446744073709551616",
                                  "4.9e-324",
                                  "1e400",
                                  "e9223372036854775808",
                                  NULL};

void fuzz_seeds(void) {
  static const char *const texts[] = {"0",
                                      "-0",
                                      "1.08484",
                                      "1e22",
                                      "123456789012345678901234567890",
                                      ".5",
                                      "5.",
                                      "1.7976931348623157e308",
                                      "2.2250738585072014e-308",
                                      "4.9e-324",
                                      "9007199254740993",
                                      "0.000000000000000000000000000000000000000000000001e40"};
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) fuzz_seed_text(texts[i]);
  static const double values[] = {0.1, 1.08499, -3e-310, 1e23, 5e-324, 123456.75};
  for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) fuzz_seed(&values[i], sizeof values[i]);
}

/* sign? (digits (. digits?)? | . digits) ([eE] sign? digits)? */
static bool is_number(const char *p) {
  static const char digits[] = "0123456789";
  if (*p == '-' || *p == '+') p++;
  size_t whole = strspn(p, digits), fraction = 0;
  p += whole;
  if (*p == '.') {
    fraction = strspn(++p, digits);
    p += fraction;
  }
  if (whole + fraction == 0) return false;
  if (*p == 'e' || *p == 'E') {
    p++;
    if (*p == '-' || *p == '+') p++;
    size_t exponent = strspn(p, digits);
    if (exponent == 0) return false;
    p += exponent;
  }
  return *p == 0;
}

static bool same_bits(double a, double b) { return memcmp(&a, &b, sizeof a) == 0; }

static void check_text(const uint8_t *data, size_t size) {
  char *text = malloc(size + 1);
  if (text == NULL) abort();
  memcpy(text, data, size);
  text[size] = 0;
  double value = 0;
  tks__decimal_status status = tks__decimal_parse((const char *)data, size, &value);
  bool number = strlen(text) == size && is_number(text);
  FUZZ_CHECK((status != TKS__DECIMAL_SYNTAX) == number, "%s: %d", text, status);
  if (number) {
    double expected = strtod(text, NULL);
    FUZZ_CHECK((status == TKS__DECIMAL_OVERFLOW) == (isinf(expected) != 0), "%s: %d", text, status);
    FUZZ_CHECK(status == TKS__DECIMAL_OVERFLOW || same_bits(value, expected), "%s: %a, not %a", text, value, expected);
  }
  free(text);
}

/* No text with one digit less reads back as the same number. */
static void check_shortest(double value, const char *text) {
  int significant = 0, zeros = 0;
  for (const char *p = text; *p != 0 && *p != 'e'; p++) {
    if (*p == '0') zeros += significant > 0;
    else if (*p >= '1' && *p <= '9') significant += zeros + 1, zeros = 0;
  }
  char shorter[64];
  if (significant < 2) return;
  (void)snprintf(shorter, sizeof shorter, "%.*e", significant - 2, value);
  FUZZ_CHECK(!same_bits(strtod(shorter, NULL), value), "%s would do for %s", shorter, text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  check_text(data, size);
  if (size != sizeof(double)) return 0;
  double value, back;
  memcpy(&value, data, sizeof value);
  char text[TKS__DECIMAL_MAX];
  size_t length = tks__decimal_format(value, text);
  FUZZ_CHECK(length == strlen(text) && length < sizeof text, "%zu", length);
  if (!isfinite(value)) return 0;
  FUZZ_CHECK(tks__decimal_parse(text, length, &back) == TKS__DECIMAL_OK && same_bits(back, value), "%s, %a", text,
             value);
  check_shortest(value, text);
  return 0;
}
