/* quotes.c - quotes as rows of a table, CSV or JSON. */
#include "quotes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/decimal.h"

static const char *const csv_columns[] = {"time", "symbol", "bid", "ask", "bid_size", "ask_size", "source", "seq"};
static const char *const json_columns[] = {"symbol", "bid",      "ask",      "spread",  "timestamp", "lp",
                                           "seq",    "bid_size", "ask_size", "recv_ns", "flags"};
enum { CSV_COLUMNS = 8, JSON_COLUMNS = 11 };

bool quotes_begin(cli_quotes *quotes, tks_store *store, cli_format format, const tks_symbol_info *symbol) {
  quotes->store = store;
  quotes->symbol = symbol->name;
  quotes->symbol_length = symbol->name_length;
  quotes->sources = NULL;
  quotes->source_count = 0;
  if (format == CLI_JSON) return output_begin(&quotes->output, format, json_columns, JSON_COLUMNS);
  return output_begin(&quotes->output, format, csv_columns, CSV_COLUMNS);
}

/* The name of a source id; asked of the store once per id, not once per row. */
static const quotes_source *source_of(cli_quotes *quotes, uint32_t id) {
  if (id >= quotes->source_count) {
    size_t count = (size_t)id + 16;
    quotes_source *grown = realloc(quotes->sources, count * sizeof *grown);
    if (grown == NULL) return NULL;
    memset(grown + quotes->source_count, 0, (count - quotes->source_count) * sizeof *grown);
    quotes->sources = grown;
    quotes->source_count = count;
  }
  quotes_source *source = &quotes->sources[id];
  if (source->length == 0 &&
      tks_source_name(quotes->store, id, source->name, sizeof source->name, &source->length, NULL) != TKS_OK) {
    return NULL;
  }
  return source;
}

static void write_source(cli_quotes *quotes, uint32_t id) {
  const quotes_source *source = id != 0 ? source_of(quotes, id) : NULL;
  output_text(&quotes->output, source != NULL ? source->name : "", source != NULL ? source->length : 0);
}

/* What a quote does not have to have is left out, as in the store's lines. */
static void write_json_extras(cli_output *output, const tks_quote *quote) {
  if (quote->bid_size != 0) output_real(output, quote->bid_size);
  else output_skip(output);
  if (quote->ask_size != 0) output_real(output, quote->ask_size);
  else output_skip(output);
  if (quote->recv_ns != 0) output_int(output, quote->recv_ns);
  else output_skip(output);
  if (quote->flags != 0) output_uint(output, quote->flags);
  else output_skip(output);
}

/* Digits after the point of a price's text; -1 where it has an exponent or is no number. */
static int places_of(double price) {
  char text[TKS__DECIMAL_MAX];
  size_t length = tks__decimal_format(price, text);
  if (strpbrk(text, "ein") != NULL) return -1;
  const char *point = strchr(text, '.');
  return point != NULL ? (int)(text + length - point) - 1 : 0;
}

/* 1.08499 - 1.08484 is 0.00014999999999987246 in doubles. As in the store's lines, the spread has no more places than
 * the prices. */
static double spread_of(const tks_quote *quote) {
  double spread = quote->ask - quote->bid, power = 1;
  int bid = places_of(quote->bid), ask = places_of(quote->ask);
  if (bid < 0 || ask < 0 || bid > 12 || ask > 12) return spread;
  for (int i = 0; i < bid || i < ask; i++) power *= 10;
  return fabs(spread * power) < 1e15 ? round(spread * power) / power : spread;
}

static void write_json(cli_quotes *quotes, const tks_quote *quote) {
  cli_output *output = &quotes->output;
  output_text(output, quotes->symbol, quotes->symbol_length);
  output_real(output, quote->bid);
  output_real(output, quote->ask);
  output_real(output, spread_of(quote));
  output_time(output, quote->ts_ns);
  write_source(quotes, quote->source);
  output_uint(output, quote->seq);
  write_json_extras(output, quote);
  output_end_row(output);
}

static void write_csv(cli_quotes *quotes, const tks_quote *quote) {
  cli_output *output = &quotes->output;
  output_time(output, quote->ts_ns);
  output_text(output, quotes->symbol, quotes->symbol_length);
  output_real(output, quote->bid);
  output_real(output, quote->ask);
  output_real(output, quote->bid_size);
  output_real(output, quote->ask_size);
  write_source(quotes, quote->source);
  output_uint(output, quote->seq);
  output_end_row(output);
}

bool quotes_write(cli_quotes *quotes, const tks_quote *rows, size_t count) {
  bool json = quotes->output.format == CLI_JSON;
  for (size_t i = 0; i < count && !quotes->output.failed; i++) {
    if (json) write_json(quotes, &rows[i]);
    else write_csv(quotes, &rows[i]);
  }
  return !quotes->output.failed;
}

void quotes_end(cli_quotes *quotes) {
  output_end(&quotes->output);
  free(quotes->sources);
}
