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
  enum { STORE = 256, FORMAT };
  static const struct option known[] = {
      {"store", required_argument, NULL, STORE}, {"format", required_argument, NULL, FORMAT}, CLI_OPTION_HELP, {0}};
  const char *path = NULL;
  cli_format format = cli_default_format();
  int exit_code = CLI_OK;
  for (int option; (option = cli_option(argc, argv, ":h", known, help, &exit_code)) != -1;) {
    if (option == CLI_STOP) return exit_code;
    if (option == STORE) path = optarg;
    else if (!cli_parse_format(optarg, false, &format)) {
      return cli_usage_error(argv[0], "--format %s: not table, csv or json", optarg);
    }
  }
  if (optind < argc) return cli_usage_error(argv[0], "%s is one argument too many", argv[optind]);
  if ((path = cli_store_path(argv[0], path)) == NULL) return CLI_USAGE;
  tks_store *store = cli_open_for_reading(argv[0], path);
  if (store == NULL) return CLI_DATA;
  exit_code = print_symbols(argv[0], store, format);
  tks_close(store, NULL);
  return exit_code;
}
