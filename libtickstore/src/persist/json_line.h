/* json_line.h - one record as one line of JSON, and back.
 *
 *   {"broker_id":"default","symbol":"EURUSD","bid":1.08484,"ask":1.08499,"spread":0.00015,
 *    "timestamp":"2026-01-19T11:51:51.897268500Z","lp":"OANDA","seq":42}
 *
 * on one line, in this order, closed by \n. An absent side and its spread are null; lp is "" without a source. Only where
 * they are not zero there follow "bid_size", "ask_size", "recv_ns" (integer) and "flags" (integer). */
#ifndef TKS_PERSIST_JSON_LINE_H
#define TKS_PERSIST_JSON_LINE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/record.h"
#include "tickstore/tickstore.h"

/* The longest line there can be: three names of 64 bytes with every byte escaped as \u00XX, numbers, keys. */
#define TKS__JSON_LINE_MAX 2048

/* Writes the line with its \n, no terminator; returns its length. Locale-independent. */
size_t tks__json_line_format(const tks__record *record, const char *symbol, size_t symbol_length, const char *source,
                             size_t source_length, const char *broker_id_escaped, char line[TKS__JSON_LINE_MAX]);

/* Escapes a string for use between JSON quotes; returns the length, `out` is terminated. Room: 6 * length + 1. */
size_t tks__json_escape(const char *text, size_t length, char *out);

/* What a line says, names not yet interned. */
typedef struct tks__json_fields {
  tks__record record; /* symbol and source are 0 */
  char symbol[TKS_NAME_MAX];
  size_t symbol_length;
  char source[TKS_NAME_MAX];
  size_t source_length;
} tks__json_fields;

/* Reads one line (with or without its \n). False: not a line that format writes (bad JSON, missing or mistyped field,
 * invalid name, no time). */
bool tks__json_line_parse(const char *line, size_t length, tks__json_fields *fields);

#endif
