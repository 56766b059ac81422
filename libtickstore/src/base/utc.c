#include "base/utc.h"

#include <stdio.h>
#include <string.h>

#define DAY_MIN (-106751) /* 1677-09-22, the first day that int64_t nanoseconds hold whole */
#define DAY_MAX 106750    /* 2262-04-10, the last one */

int32_t tks__utc_day(int64_t ts_ns) {
  int64_t day = ts_ns / TKS__NS_PER_DAY;
  return (int32_t)(day - (ts_ns % TKS__NS_PER_DAY < 0));
}

int64_t tks__utc_day_start_ns(int32_t day) {
  int64_t start;
  if (__builtin_mul_overflow((int64_t)day, TKS__NS_PER_DAY, &start)) return day < 0 ? INT64_MIN : INT64_MAX;
  return start;
}

/* Both directions count in eras of 400 years that begin on 1 March, so that the leap day is the last day of a year
 * (Howard Hinnant, "chrono-compatible low-level date algorithms"). */
void tks__utc_date(int32_t day, int *year, int *month, int *mday) {
  int64_t z = (int64_t)day + 719468;
  int64_t era = (z >= 0 ? z : z - 146096) / 146097;
  int64_t of_era = z - era * 146097;
  int64_t year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
  int64_t of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  int64_t from_march = (5 * of_year + 2) / 153;
  *mday = (int)(of_year - (153 * from_march + 2) / 5 + 1);
  *month = (int)(from_march < 10 ? from_march + 3 : from_march - 9);
  *year = (int)(year_of_era + era * 400 + (*month <= 2));
}

static int64_t day_of_date(int year, int month, int mday) {
  int64_t y = (int64_t)year - (month <= 2);
  int64_t era = (y >= 0 ? y : y - 399) / 400;
  int64_t year_of_era = y - era * 400;
  int64_t of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + mday - 1;
  int64_t of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
  return era * 146097 + of_era - 719468;
}

static bool date_exists(int year, int month, int mday) {
  static const int days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  if (month < 1 || month > 12 || mday < 1) return false;
  bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  return mday <= days[month - 1] + (month == 2 && leap);
}

bool tks__utc_day_from_date(int year, int month, int mday, int32_t *day) {
  if (!date_exists(year, month, mday)) return false;
  int64_t d = day_of_date(year, month, mday);
  if (d < DAY_MIN || d > DAY_MAX) return false;
  *day = (int32_t)d;
  return true;
}

/* -------------------------------------------------------------- formatting */

static char *put_number(char *to, uint32_t value, int width) {
  for (int i = width - 1; i >= 0; i--, value /= 10) to[i] = (char)('0' + value % 10);
  return to + width;
}

size_t tks__utc_format_day(int32_t day, char text[TKS__UTC_TEXT_MAX]) {
  int year, month, mday;
  tks__utc_date(day, &year, &month, &mday);
  if (year < 0 || year > 9999) return (size_t)snprintf(text, TKS__UTC_TEXT_MAX, "%04d-%02d-%02d", year, month, mday);
  char *p = put_number(text, (uint32_t)year, 4);
  *p++ = '-';
  p = put_number(p, (uint32_t)month, 2);
  *p++ = '-';
  p = put_number(p, (uint32_t)mday, 2);
  *p = 0;
  return (size_t)(p - text);
}

size_t tks__utc_format(int64_t ts_ns, char text[TKS__UTC_TEXT_MAX]) {
  int32_t day = tks__utc_day(ts_ns);
  int64_t of_day = ts_ns % TKS__NS_PER_DAY;
  if (of_day < 0) of_day += TKS__NS_PER_DAY;
  uint32_t seconds = (uint32_t)(of_day / TKS__NS_PER_S);
  char *p = text + tks__utc_format_day(day, text);
  *p++ = 'T';
  p = put_number(p, seconds / 3600, 2);
  *p++ = ':';
  p = put_number(p, seconds / 60 % 60, 2);
  *p++ = ':';
  p = put_number(p, seconds % 60, 2);
  *p++ = '.';
  p = put_number(p, (uint32_t)(of_day % TKS__NS_PER_S), 9);
  *p++ = 'Z';
  *p = 0;
  return (size_t)(p - text);
}

/* ----------------------------------------------------------------- parsing */

/* What is left to read. A step that fails returns false, and the text is not a time. */
typedef struct reader {
  const char *at;
  const char *end;
} reader;

static bool read_number(reader *r, int width, int *value) {
  if (r->end - r->at < width) return false;
  int n = 0;
  for (int i = 0; i < width; i++) {
    char c = r->at[i];
    if (c < '0' || c > '9') return false;
    n = n * 10 + (c - '0');
  }
  r->at += width;
  *value = n;
  return true;
}

static bool read_one_of(reader *r, const char *set, char *found) {
  if (r->at == r->end || *r->at == 0 || strchr(set, *r->at) == NULL) return false;
  *found = *r->at++;
  return true;
}

static bool read_date(reader *r, int64_t *day) {
  int year, month, mday;
  char c;
  if (!read_number(r, 4, &year) || !read_one_of(r, "-", &c) || !read_number(r, 2, &month) || !read_one_of(r, "-", &c) ||
      !read_number(r, 2, &mday) || !date_exists(year, month, mday))
    return false;
  *day = day_of_date(year, month, mday);
  return true;
}

static bool read_fraction(reader *r, int64_t *ns) {
  char c;
  *ns = 0;
  if (!read_one_of(r, ".", &c)) return true;
  int digits = 0, value;
  for (; digits < 9 && read_number(r, 1, &value); digits++) *ns = *ns * 10 + value;
  if (digits == 0) return false;
  for (; digits < 9; digits++) *ns *= 10;
  return true; /* a tenth digit is not a zone, so it is refused there */
}

static bool read_zone(reader *r, int64_t *offset_s) {
  char c;
  *offset_s = 0;
  if (read_one_of(r, "Zz", &c)) return true;
  int hours, minutes;
  char colon;
  if (!read_one_of(r, "+-", &c) || !read_number(r, 2, &hours) || !read_one_of(r, ":", &colon) ||
      !read_number(r, 2, &minutes) || hours > 23 || minutes > 59)
    return false;
  *offset_s = (c == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
  return true;
}

bool tks__utc_parse(const char *text, size_t length, int64_t *ts_ns) {
  reader r = {text, text + length};
  int64_t day, fraction_ns, offset_s;
  int hour, minute, second;
  char c;
  if (!read_date(&r, &day) || !read_one_of(&r, "Tt ", &c) || !read_number(&r, 2, &hour) || !read_one_of(&r, ":", &c) ||
      !read_number(&r, 2, &minute) || !read_one_of(&r, ":", &c) || !read_number(&r, 2, &second) ||
      !read_fraction(&r, &fraction_ns) || !read_zone(&r, &offset_s) || r.at != r.end || hour > 23 || minute > 59 ||
      second > 60)
    return false;
  if (second == 60) fraction_ns = 0; /* the whole leap second is one instant */
  int64_t seconds = day * 86400 + hour * 3600 + minute * 60 + second - offset_s;
  if (seconds < 0 && fraction_ns > 0) {
    /* Towards zero, so that the product does not overflow where the sum would not. */
    seconds++;
    fraction_ns -= TKS__NS_PER_S;
  }
  int64_t ns;
  return !__builtin_mul_overflow(seconds, TKS__NS_PER_S, &ns) && !__builtin_add_overflow(ns, fraction_ns, ts_ns);
}

bool tks__utc_parse_day(const char *text, size_t length, int32_t *day) {
  reader r = {text, text + length};
  int64_t d;
  if (!read_date(&r, &d) || r.at != r.end || d < DAY_MIN || d > DAY_MAX) return false;
  *day = (int32_t)d;
  return true;
}
