/* recent.c - tickstore recent: the last quotes of a symbol, oldest first. */
#include <stdlib.h>

#include "listing.h"
#include "quotes.h"

static const char help[] =
    "usage: tickstore recent [--store DIR] SYMBOL [-n COUNT] [--format table|csv|json]\n\n"
    "The last COUNT quotes of a symbol, over as many days as needed: oldest first, newest last.\n\n"
    "  -n, --count COUNT  how many, 10 without it\n"
    "  --format FORMAT    table (on a terminal), csv (in a pipe; import reads it back) or json (an object per line)\n"
    "  --store DIR        the store; without it TICKSTORE_PATH\n"
    "  -h, --help         this text\n";

typedef struct recent_options {
  const char *store, *symbol;
  int64_t count;
  cli_format format;
} recent_options;

/* False: done, *exit_code says how. */
static bool parse_options(int argc, char **argv, recent_options *options, int *exit_code) {
  enum { STORE = 256, FORMAT };
  static const struct option known[] = {{"store", required_argument, NULL, STORE},
                                        {"format", required_argument, NULL, FORMAT},
                                        {"count", required_argument, NULL, 'n'},
                                        CLI_OPTION_HELP,
                                        {0}};
  *options = (recent_options){.count = 10, .format = cli_default_format()};
  *exit_code = CLI_USAGE;
  for (int option; (option = cli_option(argc, argv, ":hn:", known, help, exit_code)) != -1;) {
    if (option == CLI_STOP) return false;
    if (option == STORE) {
      options->store = optarg;
    } else if (option == 'n' && !cli_parse_count(optarg, TKS_MAX_RECORDS, &options->count)) {
      cli_usage_error(argv[0], "-n %s: not a count from 1 to %u", optarg, TKS_MAX_RECORDS);
      return false;
    } else if (option == FORMAT && !cli_parse_format(optarg, false, &options->format)) {
      cli_usage_error(argv[0], "--format %s: not table, csv or json", optarg);
      return false;
    }
  }
  if (argc - optind != 1) {
    cli_usage_error(argv[0], optind >= argc ? "which SYMBOL?" : "one SYMBOL at a time; %s is one too many",
                    argv[argc - 1]);
    return false;
  }
  options->symbol = argv[optind];
  options->store = cli_store_path(argv[0], options->store);
  return options->store != NULL;
}

enum { NAMED_DAYS = 5, BATCH = 1024 };

/* tks_recent tells the first damaged day; going the same way again, newest first, tells them all. */
static void name_damaged_days(const char *subcommand, tks_store *store, uint32_t symbol, size_t wanted) {
  static tks_quote rows[BATCH];
  tks_range range = {.struct_size = sizeof range,
                     .symbol = symbol,
                     .from_ns = TKS_TIME_MIN,
                     .to_ns = TKS_TIME_MAX,
                     .limit = (int64_t)wanted,
                     .flags = TKS_RANGE_DESCENDING};
  tks_error error = {0};
  tks_cursor *cursor = NULL;
  size_t damaged = 0, count = 1;
  int code = tks_range_open(store, &range, &cursor, &error);
  while (code >= 0 && count > 0) {
    code = tks_cursor_next(cursor, rows, BATCH, &count, &error);
    if (!is_day_problem(code)) continue;
    if (++damaged <= NAMED_DAYS) cli_data_error(subcommand, "%s", error.message);
    code = TKS_OK;
    count = 1;
  }
  tks_cursor_close(cursor);
  if (damaged > NAMED_DAYS) cli_data_error(subcommand, "and %zu more damaged days", damaged - NAMED_DAYS);
  if (code < 0) cli_data_error(subcommand, "%s", error.message);
}

static int print_recent(const char *subcommand, tks_store *store, const recent_options *options) {
  tks_symbol_info symbol;
  tks_error error = {0};
  cli_quotes quotes;
  if (!find_symbol(subcommand, store, options->symbol, &symbol)) return CLI_DATA;

  /* No more can come than there are: a huge -n must not ask for memory that nothing will fill. */
  size_t wanted = (uint64_t)options->count < symbol.count ? (size_t)options->count : (size_t)symbol.count;
  size_t count = 0;
  if (wanted == 0) wanted = 1;
  tks_quote *rows = malloc(wanted * sizeof *rows);
  if (rows == NULL) return cli_data_error(subcommand, "out of memory for %zu quotes", wanted);

  int code = tks_recent(store, symbol.id, wanted, rows, &count, &error);
  int exit_code = CLI_OK;
  if ((code >= 0 || is_day_problem(code)) && quotes_begin(&quotes, store, options->format, &symbol)) {
    quotes_write(&quotes, rows, count);
    quotes_end(&quotes);
  }
  if (code < 0) exit_code = CLI_DATA;
  if (is_day_problem(code)) name_damaged_days(subcommand, store, symbol.id, wanted);
  else if (code < 0) cli_data_error(subcommand, "%s", error.message);
  free(rows);
  return exit_code;
}

int cmd_recent(int argc, char **argv) {
  recent_options options;
  int exit_code = CLI_USAGE;
  if (!parse_options(argc, argv, &options, &exit_code)) return exit_code;
  tks_store *store = cli_open_for_reading(argv[0], options.store);
  if (store == NULL) return CLI_DATA;
  exit_code = print_recent(argv[0], store, &options);
  tks_close(store, NULL);
  return exit_code;
}
