/* utc.h - UTC days, and times as RFC 3339 text. Pure functions; proleptic Gregorian calendar, no leap seconds. */
#ifndef TKS_BASE_UTC_H
#define TKS_BASE_UTC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TKS__NS_PER_MS INT64_C(1000000)
#define TKS__NS_PER_S INT64_C(1000000000)
#define TKS__NS_PER_DAY (86400 * TKS__NS_PER_S)

/* Days since 1970-01-01 of a time; rounds towards the past for negative times. Fits int32_t for every int64_t. */
int32_t tks__utc_day(int64_t ts_ns);

/* Midnight of a day, clamped to the int64_t range. */
int64_t tks__utc_day_start_ns(int32_t day);

/* Calendar date of a day and back. month and day of month count from 1. from_date returns false for a date that does
 * not exist or lies outside the int64_t nanosecond range (1677-09-22 to 2262-04-10). */
void tks__utc_date(int32_t day, int *year, int *month, int *mday);
bool tks__utc_day_from_date(int year, int month, int mday, int32_t *day);

#define TKS__UTC_TEXT_MAX 40

/* 2026-01-19T11:51:51.897268500Z, always nine digits and Z; terminated; returns the length. */
size_t tks__utc_format(int64_t ts_ns, char text[TKS__UTC_TEXT_MAX]);

/* 2026-01-20, terminated. */
size_t tks__utc_format_day(int32_t day, char text[TKS__UTC_TEXT_MAX]);

/* Reads exactly `length` bytes of RFC 3339: date, T, t or a space, time, optional fraction of 1 to 9 digits, then Z, z
 * or +hh:mm / -hh:mm. A leap second 60 is read as the first instant of the next minute. False: not such a time, a date
 * that does not exist, more than 9 digits, or out of the int64_t range. */
bool tks__utc_parse(const char *text, size_t length, int64_t *ts_ns);

/* Reads YYYY-MM-DD. */
bool tks__utc_parse_day(const char *text, size_t length, int32_t *day);

#endif
