#include "base/utc.h"

#include <criterion/criterion.h>
#include <string.h>
#include <time.h>

static void expect_time(int64_t ts_ns, const char *want) {
  char text[TKS__UTC_TEXT_MAX];
  cr_assert_eq(tks__utc_format(ts_ns, text), strlen(want));
  cr_assert_str_eq(text, want);
  int64_t back = 1;
  cr_assert(tks__utc_parse(text, strlen(text), &back), "%s", text);
  cr_assert_eq(back, ts_ns, "%s", text);
}

static void reads(const char *text, int64_t want) {
  int64_t ts = 1;
  cr_assert(tks__utc_parse(text, strlen(text), &ts), "%s", text);
  cr_assert_eq(ts, want, "%s read as %lld", text, (long long)ts);
}

static void refuses(const char *text) {
  int64_t ts;
  cr_assert_not(tks__utc_parse(text, strlen(text), &ts), "%s", text);
}

Test(utc, times_become_text_and_back) {
  expect_time(0, "1970-01-01T00:00:00.000000000Z");
  expect_time(-1, "1969-12-31T23:59:59.999999999Z");
  expect_time(INT64_C(1768823511897268500), "2026-01-19T11:51:51.897268500Z");
  expect_time(INT64_C(951782400000000000), "2000-02-29T00:00:00.000000000Z");
  expect_time(INT64_MAX, "2262-04-11T23:47:16.854775807Z");
  expect_time(INT64_MIN, "1677-09-21T00:12:43.145224192Z");
  expect_time(INT64_MIN + 1, "1677-09-21T00:12:43.145224193Z");
}

Test(utc, reads_every_form_of_rfc_3339) {
  const int64_t t = INT64_C(1768823511) * TKS__NS_PER_S;
  reads("2026-01-19T11:51:51Z", t);
  reads("2026-01-19t11:51:51z", t);
  reads("2026-01-19 11:51:51Z", t);
  reads("2026-01-19T11:51:51.5Z", t + 500000000);
  reads("2026-01-19T11:51:51.000000001Z", t + 1);
  reads("2026-01-19T13:51:51+02:00", t);
  reads("2026-01-19T06:21:51-05:30", t);
  reads("2026-01-19T11:51:51-00:00", t);
  reads("2016-12-31T23:59:60Z", INT64_C(1483228800) * TKS__NS_PER_S);
  reads("2016-12-31T23:59:60.75Z", INT64_C(1483228800) * TKS__NS_PER_S);
  reads("2017-01-01T00:59:60+01:00", INT64_C(1483228800) * TKS__NS_PER_S);
  reads("2262-04-12T00:47:16.854775807+01:00", INT64_MAX);
}

Test(utc, refuses_what_is_no_time) {
  const char *bad[] = {"",
                       "2026-01-19",
                       "2026-01-19T11:51:51",
                       "2026-01-19T11:51:51.Z",
                       "2026-01-19T11:51:51.1234567890Z",
                       "2026-01-19T11:51:51,5Z",
                       "2026-1-19T11:51:51Z",
                       "2026-01-19T24:00:00Z",
                       "2026-01-19T11:60:51Z",
                       "2026-01-19T11:51:61Z",
                       "2026-02-29T11:51:51Z",
                       "2100-02-29T11:51:51Z",
                       "2026-04-31T11:51:51Z",
                       "2026-13-01T11:51:51Z",
                       "2026-00-01T11:51:51Z",
                       "2026-01-00T11:51:51Z",
                       "2026-01-19T11:51:51+2:00",
                       "2026-01-19T11:51:51+0200",
                       "2026-01-19T11:51:51+24:00",
                       "2026-01-19T11:51:51+02:60",
                       "2026-01-19T11:51:51+02:3",
                       "2026-01-19T11:51:51Z ",
                       " 2026-01-19T11:51:51Z",
                       "2026-01-19X11:51:51Z",
                       "-026-01-19T11:51:51Z",
                       "2262-04-11T23:47:16.854775808Z",
                       "1677-09-21T00:12:43.145224191Z",
                       "9999-12-31T23:59:59Z",
                       "0000-01-01T00:00:00Z"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) refuses(bad[i]);
  int64_t ts;
  cr_assert_not(tks__utc_parse("2026-01-19\0"
                               "11:51:51Z",
                               20, &ts),
                "a NUL separates nothing");
  cr_assert(tks__utc_parse("2026-01-19T11:51:51Zjunk", 20, &ts), "only the given bytes are read");
}

Test(utc, days_round_towards_the_past) {
  cr_assert_eq(tks__utc_day(0), 0);
  cr_assert_eq(tks__utc_day(-1), -1);
  cr_assert_eq(tks__utc_day(-TKS__NS_PER_DAY), -1);
  cr_assert_eq(tks__utc_day(-TKS__NS_PER_DAY - 1), -2);
  cr_assert_eq(tks__utc_day(TKS__NS_PER_DAY - 1), 0);
  cr_assert_eq(tks__utc_day(TKS__NS_PER_DAY), 1);
  cr_assert_eq(tks__utc_day(INT64_MAX), 106751);
  cr_assert_eq(tks__utc_day(INT64_MIN), -106752);
  cr_assert_eq(tks__utc_day_start_ns(1), TKS__NS_PER_DAY);
  cr_assert_eq(tks__utc_day_start_ns(INT32_MAX), INT64_MAX);
  cr_assert_eq(tks__utc_day_start_ns(INT32_MIN), INT64_MIN);
  cr_assert_eq(tks__utc_day_start_ns(-106752), INT64_MIN);
}

Test(utc, every_day_agrees_with_the_c_library) {
  for (int32_t day = -106751; day <= 106750; day++) {
    time_t t = (time_t)day * 86400;
    struct tm tm;
    gmtime_r(&t, &tm);
    int year, month, mday;
    tks__utc_date(day, &year, &month, &mday);
    int32_t back = INT32_MIN;
    char text[TKS__UTC_TEXT_MAX];
    size_t length = tks__utc_format_day(day, text);
    int32_t read = INT32_MIN;
    if (year != tm.tm_year + 1900 || month != tm.tm_mon + 1 || mday != tm.tm_mday ||
        !tks__utc_day_from_date(year, month, mday, &back) || back != day || !tks__utc_parse_day(text, length, &read) ||
        read != day || tks__utc_day(tks__utc_day_start_ns(day)) != day)
      cr_assert(false, "day %d", day);
  }
}

Test(utc, refuses_dates_that_do_not_exist_or_do_not_fit) {
  int32_t day;
  cr_assert_not(tks__utc_day_from_date(2026, 2, 29, &day));
  cr_assert_not(tks__utc_day_from_date(2026, 0, 1, &day));
  cr_assert_not(tks__utc_day_from_date(2026, 1, 32, &day));
  cr_assert(tks__utc_day_from_date(1677, 9, 22, &day));
  cr_assert_not(tks__utc_day_from_date(1677, 9, 21, &day));
  cr_assert(tks__utc_day_from_date(2262, 4, 10, &day));
  cr_assert_not(tks__utc_day_from_date(2262, 4, 11, &day));
  cr_assert_not(tks__utc_day_from_date(INT32_MAX, 1, 1, &day));
  cr_assert_not(tks__utc_day_from_date(INT32_MIN, 1, 1, &day));
  const char *bad[] = {"", "2026-01-2", "2026-01-200", "2026/01/20", "2026-01-20 ", "2263-01-01", "1677-01-01"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    cr_assert_not(tks__utc_parse_day(bad[i], strlen(bad[i]), &day), "%s", bad[i]);
}

Test(utc, formats_any_day) {
  char text[TKS__UTC_TEXT_MAX];
  cr_assert_lt(tks__utc_format_day(INT32_MAX, text), TKS__UTC_TEXT_MAX);
  cr_assert_str_eq(text, "5881580-07-11");
  cr_assert_lt(tks__utc_format_day(INT32_MIN, text), TKS__UTC_TEXT_MAX);
}
