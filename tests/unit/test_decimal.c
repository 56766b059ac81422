#include "base/decimal.h"

#include <criterion/criterion.h>
#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/random.h"
#include "support/scratch.h"

static test_random source;

static uint64_t bits_of(double x) {
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

static double double_of(uint64_t bits) {
  double x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

static void round_trip(double x) {
  char text[TKS__DECIMAL_MAX];
  size_t length = tks__decimal_format(x, text);
  double back = 0;
  int rc = tks__decimal_parse(text, length, &back);
  if (length == strlen(text) && length < TKS__DECIMAL_MAX && rc == TKS__DECIMAL_OK && bits_of(back) == bits_of(x))
    return;
  cr_assert(false, "%a became \"%s\" (%zu bytes), which reads as %a (status %d)", x, text, length, back, rc);
}

static void expect(double x, const char *want) {
  char text[TKS__DECIMAL_MAX];
  cr_assert_eq(tks__decimal_format(x, text), strlen(want), "%s, not %s", text, want);
  cr_assert_str_eq(text, want);
}

static void reads(const char *text, double want) {
  double x = 12345;
  cr_assert_eq(tks__decimal_parse(text, strlen(text), &x), TKS__DECIMAL_OK, "%s", text);
  cr_assert_eq(bits_of(x), bits_of(want), "%s read as %a, not %a", text, x, want);
}

static void fails(const char *text, tks__decimal_status want) {
  double x = 12345;
  cr_assert_eq(tks__decimal_parse(text, strlen(text), &x), want, "\"%s\"", text);
  cr_assert_eq(x, 12345, "\"%s\" wrote a result", text);
}

Test(decimal, formats_prices_plainly) {
  expect(1.08484, "1.08484");
  expect(1.1, "1.1");
  expect(0.1 + 0.2, "0.30000000000000004");
  expect(100, "100");
  expect(1000000, "1000000");
  expect(999999999999999, "999999999999999");
  expect((double)9007199254740993, "9007199254740992");
  expect(-37.63, "-37.63");
  expect(0.00001, "0.00001");
  expect(0.0000001, "0.0000001");
  expect(2650.5, "2650.5");
  expect(123456.78125, "123456.78125");
}

Test(decimal, formats_extremes_with_an_exponent) {
  expect(1e-8, "1e-8");
  expect(1.5e-11, "1.5e-11");
  expect(-1.234e-9, "-1.234e-9");
  expect(1e17, "1e17");
  expect(1e16, "10000000000000000");
  expect(1e300, "1e300");
  expect(DBL_MAX, "1.7976931348623157e308");
  expect(DBL_MIN, "2.2250738585072014e-308");
  expect(5e-324, "5e-324");
  expect(1e-310, "1e-310");
  expect(0x1p-44, "5.684341886080802e-14");
}

Test(decimal, formats_what_is_no_number) {
  expect(0.0, "0");
  expect(-0.0, "-0");
  expect(NAN, "nan");
  expect(-NAN, "nan");
  expect(INFINITY, "inf");
  expect(-INFINITY, "-inf");
}

Test(decimal, reads_what_json_and_csv_hold) {
  reads("0", 0.0);
  reads("-0", -0.0);
  reads("-0.000e99999999999999999999", -0.0);
  reads("+1.5", 1.5);
  reads(".5", 0.5);
  reads("5.", 5);
  reads("1e5", 1e5);
  reads("1E+05", 1e5);
  reads("12345678901234567890", 12345678901234567890.0);
  reads("9007199254740993", 9007199254740992.0);
  reads("1e22", 1e22);
  reads("1e23", 1e23);
  reads("123456789012345678e-17", 1.23456789012345678);
  reads("4.9e-324", 5e-324);
  reads("2e-324", 0.0);
  reads("1e-400", 0.0);
  reads("-1e-999999999999999999999999", -0.0);
  reads("2.2250738585072011e-308", 0x0.fffffffffffffp-1022);
  reads("1.7976931348623158e308", DBL_MAX);
  reads("0.000000000000000000000000000000000000001e39", 1);
}

Test(decimal, refuses_what_is_no_number) {
  const char *bad[] = {"",      "-",     "+",   ".",    "-.",    "e5",  "1e",   "1e+",     "1e5.", "1.2.3",
                       " 1",    "1 ",    "1,5", "0x10", "nan",   "inf", "NaN",  "-inf",    "1f",   "--1",
                       "1e--5", "1_000", "1e ", "\n",   "1e5e5", "+-1", "1.e+", "infinity"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) fails(bad[i], TKS__DECIMAL_SYNTAX);
  double x;
  cr_assert_eq(tks__decimal_parse("1\0", 2, &x), TKS__DECIMAL_SYNTAX);
  cr_assert_eq(tks__decimal_parse("12345", 2, &x), TKS__DECIMAL_OK);
  cr_assert_eq(x, 12, "only the given bytes are read");
}

Test(decimal, tells_overflow) {
  fails("1e400", TKS__DECIMAL_OVERFLOW);
  fails("-1e309", TKS__DECIMAL_OVERFLOW);
  fails("1.7976931348623159e308", TKS__DECIMAL_OVERFLOW);
  fails("1e99999999999999999999999999", TKS__DECIMAL_OVERFLOW);
}

Test(decimal, reads_any_number_of_digits) {
  enum { ZEROS = 100000 };
  char *text = malloc(ZEROS + 64);
  cr_assert_not_null(text);
  memset(text, '0', ZEROS);
  text[0] = '1';
  (void)snprintf(text + ZEROS, 64, "e-%d", ZEROS - 1);
  reads(text, 1);
  text[0] = '.';
  (void)snprintf(text + ZEROS, 64, "15e%d", ZEROS);
  reads(text, 1.5);
  /* Halfway between 1 and its successor, and a hair above, which only the last digit tells. */
  const char *half = "1.00000000000000011102230246251565404236316680908203125";
  reads(half, 1);
  memset(text, '0', ZEROS);
  memcpy(text, half, strlen(half));
  text[ZEROS] = 0;
  reads(text, 1);
  text[ZEROS - 1] = '1';
  reads(text, 1 + DBL_EPSILON);
  free(text);
}

static void round_trip_many(int count) {
  for (int i = 0; i < count; i++) {
    double x = double_of(random_next(&source));
    if (isfinite(x)) round_trip(x);
    /* Prices: few digits, and sums of such, which have many. */
    double price = (double)(random_next(&source) % 100000000) / 1e5;
    round_trip(price);
    round_trip(-price);
    round_trip(price + 0.1);
    round_trip(price / 3e7);
    round_trip(double_of(random_next(&source) & UINT64_C(0x800fffffffffffff)));
  }
}

Test(decimal, random_doubles_round_trip) {
  source = random_new();
  round_trip_many(500000);
}

Test(decimal, edges_round_trip) {
  for (int e = -1074; e < 1024; e++) {
    double x = ldexp(1, e);
    round_trip(x);
    round_trip(nextafter(x, 0));
    round_trip(nextafter(x, INFINITY));
  }
  for (int e = -323; e <= 308; e++) {
    char text[16];
    (void)snprintf(text, sizeof text, "1e%d", e);
    round_trip(strtod(text, NULL));
    round_trip(nextafter(strtod(text, NULL), 0));
  }
}

/* Reading agrees with the C library's strtod, which is correctly rounded, on text that format would not write. */
Test(decimal, reads_like_strtod) {
  source = random_new();
  for (int i = 0; i < 1000000; i++) {
    char text[64];
    int digits = (int)(random_next(&source) % 18) + 1;
    uint64_t mantissa = random_next(&source);
    for (int d = digits; d < 20; d++) mantissa /= 10;
    int point = (int)(random_next(&source) % 40);
    (void)snprintf(text, sizeof text, "%llue%d", (unsigned long long)mantissa, point - 20);
    double x = 0;
    cr_assert_eq(tks__decimal_parse(text, strlen(text), &x), TKS__DECIMAL_OK);
    if (bits_of(x) != bits_of(strtod(text, NULL))) cr_assert(false, "%s read as %a", text, x);
  }
}

static const char *comma_locale(const char *scratch) {
  static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8",  "de_DE",      "fr_FR.UTF-8",
                                      "it_IT.UTF-8", "ru_RU.UTF-8", "pl_PL.UTF-8"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    const char *set = setlocale(LC_NUMERIC, names[i]);
    if (set != NULL && strcmp(localeconv()->decimal_point, ",") == 0) return set;
  }
  /* None installed: compile one for ourselves. */
  char command[4096];
  (void)snprintf(command, sizeof command, "localedef -i de_DE -f UTF-8 '%s/de_DE.UTF-8' >/dev/null 2>&1", scratch);
  if (system(command) != 0) return NULL;
  (void)setenv("LOCPATH", scratch, 1);
  const char *set = setlocale(LC_NUMERIC, "de_DE.UTF-8");
  return set != NULL && strcmp(localeconv()->decimal_point, ",") == 0 ? set : NULL;
}

Test(decimal, a_comma_locale_changes_nothing) {
  char *scratch = scratch_new();
  const char *name = comma_locale(scratch);
  if (name == NULL) {
    scratch_remove(scratch);
    cr_skip_test("no locale with a decimal comma here");
  }
  printf("under LC_NUMERIC=%s\n", name);
  expect(0.1 + 0.2, "0.30000000000000004");
  expect(1.08484, "1.08484");
  expect(1.7976931348623157e308, "1.7976931348623157e308");
  reads("2.2250738585072011e-308", 0x0.fffffffffffffp-1022);
  fails("1,5", TKS__DECIMAL_SYNTAX);
  source = random_new();
  round_trip_many(100000);
  scratch_remove(scratch);
}
