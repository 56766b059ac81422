/* symbols.c - tickstore symbols: every symbol with its count, first and last time. */
#include <stdlib.h>

#include "listing.h"
#include "output.h"

static const char help[] =
    "usage: tickstore symbols [--store DIR] [--format table|csv|json]\n\n"
    "Lists the symbols that have quotes, by name: how many, and the first and last time over all days.\n\n"
    "  --format FORMAT  table (on a terminal), csv (in a pipe) or json (an object per line)\n"
    "  --store DIR      the store; without it TICKSTORE_PATH\n"
    "  -h, --help       this text\n";

static int print_symbols(const char *subcommand, tks_store *store, cli_format format) {
  static const char *const columns[] = {"symbol", "count", "first", "last"};
  symbol_list list;
  cli_output output;
  if (!list_symbols(subcommand, store, &list)) return CLI_DATA;
  bool begun = output_begin(&output, format, columns, 4);
  for (size_t i = 0; begun && i < list.count; i++) {
    const tks_symbol_info *symbol = &list.items[i];
    output_text(&output, symbol->name, symbol->name_length);
    output_uint(&output, symbol->count);
    output_time(&output, symbol->first_ns);
    output_time(&output, symbol->last_ns);
    output_end_row(&output);
  }
  if (begun) output_end(&output);
  free(list.items);
  if (list.code < 0) return cli_data_error(subcommand, "%s", list.error.message);
  return begun ? CLI_OK : CLI_DATA;
}

int cmd_symbols(int argc, char **argv) {
  cli_report options;
  int exit_code = CLI_USAGE;
  if (!cli_parse_report(argc, argv, help, NULL, false, &options, &exit_code)) return exit_code;
  tks_store *store = cli_open_for_reading(argv[0], options.store);
  if (store == NULL) return CLI_DATA;
  exit_code = print_symbols(argv[0], store, options.format);
  tks_close(store, NULL);
  return exit_code;
}
