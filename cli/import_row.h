/* import_row.h - one row of an input file on its way to the store, and the fields that rows are made of.
 *
 * Readers fill an import_row or say in an import_reason why they cannot. Field parsers are pure functions;
 * they name the field and show the value, shortened and without control characters. */
#ifndef CLI_IMPORT_ROW_H
#define CLI_IMPORT_ROW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tickstore/tickstore.h"

#define IMPORT_LINE_MAX (1024u * 1024u) /* bytes of one line or one CSV record; a longer one is refused */

typedef struct import_reason {
  char text[240];
} import_reason;

/* The names point into the reader's memory and hold until its next call. A length of 0: the row has none. */
typedef struct import_row {
  tks_quote quote; /* all but seq, symbol and source */
  const char *symbol;
  size_t symbol_length;
  const char *source;
  size_t source_length;
} import_row;

/* No sides, no sizes, no names. */
void import_row_init(import_row *row);

/* Always returns false, so that a parser can end with it. */
bool import_refuse(import_reason *reason, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define IMPORT_SHOWN_MAX 56
/* `text` between quotes, cut to a readable length; returns `shown`. */
const char *import_show(const char *text, size_t length, char shown[IMPORT_SHOWN_MAX]);

/* A decimal number times 10^digits, exactly: "62.2662" with 6 digits is 62,266,200. A half beyond the last
 * digit rounds up in magnitude. No exponent. False: not such a number, or out of range. */
bool import_scaled_integer(const char *text, size_t length, unsigned digits, int64_t *value);

/* A price: empty and NaN (in any case) are the absent side. Infinities and what overflows are refused. */
bool import_price(const char *field, const char *text, size_t length, double *value, import_reason *reason);

/* A size: empty is 0. Negative ones are left to the store to refuse. */
bool import_size(const char *field, const char *text, size_t length, double *value, import_reason *reason);

/* RFC 3339. */
bool import_time(const char *field, const char *text, size_t length, int64_t *ts_ns, import_reason *reason);

/* Why the store refused a row, in words that name its field and value. */
void import_explain(int code, const tks_quote *quote, import_reason *reason);

#endif
