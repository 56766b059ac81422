/* output.h - rows of cells on stdout: an aligned table, CSV (RFC 4180) or one JSON object per line.
 *
 * Rows are streamed. A table holds its first rows back to learn the columns' widths, then keeps these widths; so memory
 * is bounded for any number of rows. Numbers in a table stand right, with their decimal points in one line.
 * Cells are given in the order of the columns. */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include <stddef.h>

#include "cli.h"

typedef struct output_column {
  int left;  /* widest part before the decimal point, in characters; of text, the whole */
  int right; /* widest part from the decimal point on */
  bool text; /* a cell that is no number was seen: the column stands left */
} output_column;

typedef struct cli_output {
  cli_format format;
  int columns;
  int column;               /* the next cell's */
  const char *const *names; /* the caller's; must outlive the output */
  output_column *widths;    /* of a table */
  char *buffer;             /* CSV and JSON: the row; table: cells, each as kind byte, text, terminator */
  size_t length, capacity;
  size_t held;  /* rows held back in `buffer` */
  bool flowing; /* the header is out and the widths are fixed */
  bool color;
  bool failed; /* stdout takes no more, or no memory; rows are ignored from here on */
} cli_output;

/* `format` is CLI_TABLE, CLI_CSV or CLI_JSON. Writes the header. False: no memory (said so). */
bool output_begin(cli_output *output, cli_format format, const char *const *names, int columns);

void output_null(cli_output *output);
void output_skip(cli_output *output); /* leaves the key out of a JSON object; elsewhere as null */
void output_text(cli_output *output, const char *text, size_t length); /* JSON: what is not UTF-8 as U+FFFD */
void output_hex(cli_output *output, const void *bytes, size_t length); /* as text of hexadecimal digits */
void output_string(cli_output *output, const char *text);
void output_int(cli_output *output, int64_t value);
void output_uint(cli_output *output, uint64_t value);
void output_real(cli_output *output, double value); /* NaN is null */
void output_time(cli_output *output, int64_t ts_ns);
void output_end_row(cli_output *output);

/* Writes what is held back and frees. Whether stdout took it all is main's to find out. */
void output_end(cli_output *output);

#endif
