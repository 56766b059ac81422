/* decimal.h - doubles as decimal text and back, bit for bit and in any locale.
 *
 * Format gives the shortest text that reads back as the same double (an integer has no point; very large and very
 * small ones have an exponent). Parse accepts what JSON and CSV hold: optional sign, digits, point, exponent. */
#ifndef TKS_BASE_DECIMAL_H
#define TKS_BASE_DECIMAL_H

#include <stddef.h>

#define TKS__DECIMAL_MAX 32 /* bytes that any formatted double fits in, terminator included */

/* Writes `value` and a terminator; returns the length. NaN and infinities become "nan", "inf", "-inf". */
size_t tks__decimal_format(double value, char text[TKS__DECIMAL_MAX]);

typedef enum tks__decimal_status {
  TKS__DECIMAL_OK = 0,
  TKS__DECIMAL_SYNTAX = -1,   /* not a number, or something follows it */
  TKS__DECIMAL_OVERFLOW = -2, /* a number, but beyond the largest double (1e400) */
} tks__decimal_status;

/* Reads exactly `length` bytes as the nearest double. "nan" and "inf" are TKS__DECIMAL_SYNTAX. */
tks__decimal_status tks__decimal_parse(const char *text, size_t length, double *value);

#endif
