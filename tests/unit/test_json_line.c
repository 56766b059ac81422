#include "persist/json_line.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/random.h"

#define T0 INT64_C(1768823511897268500)

static const tks__record plain = {.ts_ns = T0, .seq = 42, .bid = 1.08484, .ask = 1.08499};

static size_t format(const tks__record *r, const char *symbol, const char *source, char *line) {
  size_t length = tks__json_line_format(r, symbol, strlen(symbol), source, strlen(source), "default", line);
  cr_assert_leq(length, TKS__JSON_LINE_MAX);
  return length;
}

static void expect(const tks__record *r, const char *symbol, const char *source, const char *want) {
  char line[TKS__JSON_LINE_MAX + 1];
  size_t length = format(r, symbol, source, line);
  line[length] = 0;
  cr_assert_str_eq(line, want);
}

static void expect_same(const tks__json_fields *f, const tks__record *r, const char *symbol, const char *source) {
  cr_assert_eq(memcmp(&f->record, r, sizeof *r), 0);
  cr_assert_eq(f->symbol_length, strlen(symbol));
  cr_assert_arr_eq(f->symbol, symbol, strlen(symbol));
  cr_assert_eq(f->source_length, strlen(source));
  if (*source != 0) cr_assert_arr_eq(f->source, source, strlen(source));
}

Test(json_line, writes_the_documented_form) {
  expect(&plain, "EURUSD", "OANDA",
         "{\"broker_id\":\"default\",\"symbol\":\"EURUSD\",\"bid\":1.08484,\"ask\":1.08499,\"spread\":0.00015,"
         "\"timestamp\":\"2026-01-19T11:51:51.897268500Z\",\"lp\":\"OANDA\",\"seq\":42}\n");
  tks__record r = plain;
  r.ask = NAN;
  r.bid_size = 1e6;
  r.ask_size = 0.5;
  r.recv_ns = T0 + 1;
  r.flags = 0x80000001u;
  r.seq = UINT64_MAX;
  expect(&r, "EUR/USD", "",
         "{\"broker_id\":\"default\",\"symbol\":\"EUR/USD\",\"bid\":1.08484,\"ask\":null,\"spread\":null,"
         "\"timestamp\":\"2026-01-19T11:51:51.897268500Z\",\"lp\":\"\",\"seq\":18446744073709551615,"
         "\"bid_size\":1000000,\"ask_size\":0.5,\"recv_ns\":1768823511897268501,\"flags\":2147483649}\n");
}

static void expect_spread(double bid, double ask, const char *want) {
  tks__record r = plain;
  r.bid = bid;
  r.ask = ask;
  char line[TKS__JSON_LINE_MAX + 1];
  line[format(&r, "A", "", line)] = 0;
  const char *spread = strstr(line, "\"spread\":") + strlen("\"spread\":");
  cr_assert_eq(strncmp(spread, want, strlen(want)), 0, "%.30s, not %s", spread, want);
  cr_assert_eq(spread[strlen(want)], ',');
}

Test(json_line, rounds_the_spread_to_the_places_of_the_prices) {
  expect_spread(1.08484, 1.08499, "0.00015");
  expect_spread(1.1, 1.25, "0.15");
  expect_spread(1.5, 1.5, "0");
  expect_spread(1.5, 1.4, "-0.1");
  expect_spread(-37.63, -37.5, "0.13");
  expect_spread(100, 101, "1");
  expect_spread(2650.123, 2650.3, "0.177");
  expect_spread(1e-9, 3e-9, "2e-9");
  expect_spread(1e300, 2e300, "1e300");
  expect_spread(-1.7e308, 1.7e308, "null");
}

Test(json_line, escapes_names_and_keeps_negative_zero) {
  tks__record r = plain;
  r.bid = -0.0;
  r.ask = NAN;
  char line[TKS__JSON_LINE_MAX];
  tks__json_fields f;
  const char *symbol = "a\"b\\c/\xe6\x97\xa5", *source = "\\\"";
  size_t length = format(&r, symbol, source, line);
  cr_assert(tks__json_line_parse(line, length, &f));
  expect_same(&f, &r, symbol, source);
  char out[64];
  cr_assert_eq(tks__json_escape("a\n\x1f\"", 4, out), 15);
  cr_assert_str_eq(out, "a\\u000a\\u001f\\\"");
}

/* A size that is left out reads as 0, which is not the same. */
Test(json_line, a_size_of_negative_zero_is_kept) {
  tks__record r = plain;
  r.bid_size = -0.0;
  char line[TKS__JSON_LINE_MAX];
  size_t length = format(&r, "A", "B", line);
  tks__json_fields f;
  cr_assert(tks__json_line_parse(line, length, &f));
  cr_assert(signbit(f.record.bid_size) && !signbit(f.record.ask_size), "%.*s", (int)length, line);
}

Test(json_line, the_longest_line_fits) {
  char name[TKS_NAME_MAX + 1], broker[6 * TKS_NAME_MAX + 1], line[TKS__JSON_LINE_MAX];
  memset(name, '"', TKS_NAME_MAX);
  name[TKS_NAME_MAX] = 0;
  char control[TKS_NAME_MAX];
  memset(control, 1, sizeof control);
  (void)tks__json_escape(control, sizeof control, broker);
  tks__record r = {.ts_ns = INT64_MIN,
                   .recv_ns = INT64_MIN,
                   .seq = INT64_MAX,
                   .bid = -1.7976931348623157e308,
                   .ask = -2.2250738585072014e-308,
                   .bid_size = 1.7976931348623157e308,
                   .ask_size = 1.7976931348623157e308,
                   .flags = UINT32_MAX};
  size_t length = tks__json_line_format(&r, name, TKS_NAME_MAX, name, TKS_NAME_MAX, broker, line);
  cr_assert_leq(length, TKS__JSON_LINE_MAX);
  tks__json_fields f;
  cr_assert(tks__json_line_parse(line, length, &f));
  expect_same(&f, &r, name, name);
}

static double random_price(test_random *random) {
  if (random_next(random) % 2) return (double)(int64_t)(random_next(random) % 2000000000) / 1e5 - 5000;
  uint64_t bits = random_next(random);
  double x;
  memcpy(&x, &bits, sizeof x);
  return isfinite(x) ? x : 1;
}

/* What we wrote comes back bit for bit; jansson agrees that it is JSON, and reads the same after it was rearranged. */
Test(json_line, random_records_come_back) {
  test_random random = random_new();
  for (int i = 0; i < 100000; i++) {
    tks__record r = {.ts_ns = (int64_t)random_next(&random),
                     .seq = random_next(&random) >> 1 | 1,
                     .bid = random_price(&random),
                     .ask = random_price(&random),
                     .bid_size = fabs(random_price(&random)),
                     .ask_size = 0};
    if (i % 5 == 0) r.bid = (double)NAN;
    if (i % 7 == 0 && i % 5 != 0) r.ask = (double)NAN;
    if (i % 3 == 0) r.recv_ns = (int64_t)random_next(&random);
    if (i % 4 == 0) r.flags = (uint32_t)random_next(&random);
    char line[TKS__JSON_LINE_MAX];
    size_t length = format(&r, "EURUSD", "LP 1", line);
    tks__json_fields f;
    cr_assert(tks__json_line_parse(line, length, &f), "%.*s", (int)length, line);
    expect_same(&f, &r, "EURUSD", "LP 1");
    if (i % 10 != 0) continue;
    json_t *object = json_loadb(line, length, 0, NULL);
    char *sorted = json_dumps(object, JSON_SORT_KEYS | JSON_REAL_PRECISION(17));
    cr_assert(tks__json_line_parse(sorted, strlen(sorted), &f), "%s", sorted);
    expect_same(&f, &r, "EURUSD", "LP 1");
    free(sorted);
    json_decref(object);
  }
}

static void refuses(const char *line) {
  tks__json_fields f;
  cr_assert_not(tks__json_line_parse(line, strlen(line), &f), "%s", line);
}

#define LINE(symbol, bid, ask, time, rest)                                                                        \
  "{\"broker_id\":\"b\",\"symbol\":" symbol ",\"bid\":" bid ",\"ask\":" ask ",\"spread\":0.1,\"timestamp\":" time \
  ",\"lp\":\"\"" rest "}"
#define TIME "\"2026-01-19T11:51:51.897268500Z\""

Test(json_line, refuses_what_is_no_record) {
  tks__json_fields f;
  const char *good = LINE("\"A\"", "1", "2", TIME, ",\"seq\":1");
  cr_assert(tks__json_line_parse(good, strlen(good), &f));
  refuses("");
  refuses("\n");
  refuses("{}");
  refuses("[1]");
  refuses("null");
  refuses(LINE("\"A\"", "1", "2", TIME, ",\"seq\":1") "x");
  refuses(LINE("\"A\"", "1", "2", TIME, ""));
  refuses(LINE("\"A\"", "1", "2", TIME, ",\"seq\":0"));
  refuses(LINE("\"A\"", "1", "2", TIME, ",\"seq\":-1"));
  refuses(LINE("\"A\"", "1", "2", TIME, ",\"seq\":1.5"));
  refuses(LINE("\"A\"", "1", "2", TIME, ",\"seq\":\"1\""));
  refuses(LINE("\"A\"", "1", "2", TIME, ",\"seq\":9223372036854775808")); /* no day file could hold it */
  refuses(LINE("\"A\"", "1", "2", TIME, ",\"seq\":18446744073709551616"));
  refuses(LINE("\"A\"", "1", "2", TIME, ",\"seq\":99999999999999999999"));
  refuses("{\"broker_id\":\"a\x01\",\"symbol\":\"A\",\"bid\":1,\"ask\":2,\"spread\":1,\"timestamp\":" TIME
          ",\"lp\":\"\",\"seq\":1}");
  refuses(LINE("\"A\"", "1", "2", TIME, ",\"seq\":1,\"seq\":2"));
  refuses(LINE("\"A\"", "null", "null", TIME, ",\"seq\":1"));
  refuses(LINE("\"A\"", "1e400", "2", TIME, ",\"seq\":1"));
  refuses(LINE("\"A\"", "\"1\"", "2", TIME, ",\"seq\":1"));
  refuses(LINE("\"A\"", "nan", "2", TIME, ",\"seq\":1"));
  refuses(LINE("\"A\"", "+1", "2", TIME, ",\"seq\":1"));
  refuses(LINE("\"A\"", "1", "2", "\"2026-02-30T11:51:51Z\"", ",\"seq\":1"));
  refuses(LINE("\"A\"", "1", "2", "1768823511", ",\"seq\":1"));
  refuses(LINE("\"\"", "1", "2", TIME, ",\"seq\":1"));
  refuses(LINE("\"..\"", "1", "2", TIME, ",\"seq\":1"));
  refuses(LINE("\"A\\u0000\"", "1", "2", TIME, ",\"seq\":1"));
  refuses(LINE("\"A\\n\"", "1", "2", TIME, ",\"seq\":1"));
  refuses(LINE("\"\xff\"", "1", "2", TIME, ",\"seq\":1"));
  refuses(LINE("7", "1", "2", TIME, ",\"seq\":1"));
  refuses(LINE("\"A\"", "1", "2", TIME, ",\"seq\":1,\"bid_size\":-1"));
  refuses(LINE("\"A\"", "1", "2", TIME, ",\"seq\":1,\"flags\":4294967296"));
  refuses(LINE("\"A\"", "1", "2", TIME, ",\"seq\":1,\"flags\":-1"));
  refuses(LINE("\"A\"", "1", "2", TIME, ",\"seq\":1,\"recv_ns\":9223372036854775808"));
  refuses(LINE("\"A\"", "1", "2", TIME, ",\"seq\":1,\"recv_ns\":\"1\""));
}

static void expect_no_parts(const tks__record *r, const char *symbol, const char *source, const char *broker) {
  char line[TKS__JSON_LINE_MAX];
  size_t length = tks__json_line_format(r, symbol, strlen(symbol), source, strlen(source), broker, line);
  tks__json_fields f;
  for (size_t n = 0; n < length - 1; n++) {
    char *exact = malloc(n + 1); /* so that a sanitizer sees any reading behind it */
    memcpy(exact, line, n);
    cr_assert_not(tks__json_line_parse(exact, n, &f), "%.*s", (int)n, line);
    free(exact);
  }
  cr_assert(tks__json_line_parse(line, length - 1, &f), "without its line end");
  expect_same(&f, r, symbol, source);
}

Test(json_line, no_part_of_a_line_is_a_line) {
  tks__record r = plain;
  r.recv_ns = -5;
  r.flags = 70;
  expect_no_parts(&r, "EURUSD", "OANDA", "default");
  expect_no_parts(&r, "EUR\"\\", "O\\", "a\\\"b");
}

/* In an order that is not ours, so that fields are looked for by name. */
Test(json_line, each_field_may_be_missing_or_not) {
  enum { FIELDS = 12, REQUIRED = 8 };
  static const char *const fields[FIELDS] = {"\"seq\":9",
                                             "\"broker_id\":\"b\"",
                                             "\"symbol\":\"S\"",
                                             "\"bid\":1.5",
                                             "\"ask\":1.75",
                                             "\"spread\":0.25",
                                             "\"timestamp\":\"2026-01-19T11:51:51Z\"",
                                             "\"lp\":\"L\"",
                                             "\"bid_size\":2",
                                             "\"ask_size\":3",
                                             "\"recv_ns\":-4",
                                             "\"flags\":65536"};
  for (int missing = 0; missing <= FIELDS; missing++) {
    char line[TKS__JSON_LINE_MAX] = "{\"more\":0";
    for (int i = 0; i < FIELDS; i++) {
      size_t at = strlen(line);
      if (i != missing) (void)snprintf(line + at, sizeof line - at, ",%s", fields[i]);
    }
    (void)strcat(line, "}\n");
    tks__json_fields f;
    cr_assert_eq(tks__json_line_parse(line, strlen(line), &f), missing >= REQUIRED, "%s", line);
  }
}

/* One field replaced, in our own order and in another one, which two different readers take. */
Test(json_line, each_field_is_checked_in_any_order) {
  enum { FIELDS = 12 };
  static const char *const good[FIELDS][2] = {
      {"broker_id", "\"b\""}, {"symbol", "\"S\""}, {"bid", "1.5"},
      {"ask", "1.75"},        {"spread", "0.25"},  {"timestamp", "\"2026-01-19T11:51:51Z\""},
      {"lp", "\"L\""},        {"seq", "9"},        {"bid_size", "2"},
      {"ask_size", "3"},      {"recv_ns", "-4"},   {"flags", "65536"},
  };
  static const struct {
    const char *field, *value;
    bool ok;
  } cases[] = {
      {"", "", true},
      {"broker_id", "7", false},
      {"symbol", "null", false},
      {"symbol", "\"\"", false},
      {"symbol", "\"a/../b\"", false},
      {"symbol", "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"", false},
      {"bid", "null", true},
      {"bid", "\"1.5\"", false},
      {"bid", "true", false},
      {"bid", "1e400", false},
      {"ask", "null", true},
      {"ask", "[]", false},
      {"spread", "null", true},
      {"spread", "\"\"", false},
      {"timestamp", "5", false},
      {"timestamp", "\"yesterday\"", false},
      {"lp", "\"\"", true},
      {"lp", "null", false},
      {"lp", "\"..\"", false},
      {"seq", "0", false},
      {"seq", "-9", false},
      {"seq", "1.5", false},
      {"bid_size", "-2", false},
      {"bid_size", "\"2\"", false},
      {"ask_size", "-3", false},
      {"ask_size", "null", false},
      {"ask_size", "1e999", false},
      {"recv_ns", "1.5", false},
      {"recv_ns", "9223372036854775808", false},
      {"flags", "4294967295", true},
      {"flags", "4294967296", false},
      {"flags", "-1", false},
      {"flags", "\"\"", false},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    for (int reversed = 0; reversed < 2; reversed++) {
      char line[TKS__JSON_LINE_MAX] = "{";
      for (int k = 0; k < FIELDS; k++) {
        const char *const *field = good[reversed ? FIELDS - 1 - k : k];
        const char *value = strcmp(field[0], cases[i].field) == 0 ? cases[i].value : field[1];
        size_t at = strlen(line);
        (void)snprintf(line + at, sizeof line - at, "%s\"%s\":%s", k > 0 ? "," : "", field[0], value);
      }
      (void)strcat(line, "}\n");
      tks__json_fields fields;
      cr_assert_eq(tks__json_line_parse(line, strlen(line), &fields), cases[i].ok, "%s", line);
    }
  }
}
