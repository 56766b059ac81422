/* quotes.h - quotes as rows.
 *
 * The CSV columns are those that `import --format csv` reads, so that what goes out comes back in the same; the JSON
 * keys are those of the store's own JSON lines. An absent side is an empty field or null. */
#ifndef CLI_QUOTES_H
#define CLI_QUOTES_H

#include "output.h"

typedef struct quotes_source {
  char name[TKS_NAME_MAX];
  size_t length; /* 0 = not looked up yet */
} quotes_source;

typedef struct cli_quotes {
  cli_output output;
  tks_store *store;
  const char *symbol; /* of every row */
  size_t symbol_length;
  quotes_source *sources; /* by id, as far as they were met */
  size_t source_count;
} cli_quotes;

/* False: no memory (said so). */
bool quotes_begin(cli_quotes *quotes, tks_store *store, cli_format format, const tks_symbol_info *symbol);

/* False once nothing more can be written: the caller may stop. */
bool quotes_write(cli_quotes *quotes, const tks_quote *rows, size_t count);

void quotes_end(cli_quotes *quotes);

#endif
