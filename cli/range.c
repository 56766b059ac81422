/* range.c - tickstore range: the quotes of a symbol between two times, streamed. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "human.h"
#include "listing.h"
#include "quotes.h"

static const char help[] =
    "usage: tickstore range [--store DIR] SYMBOL [--from TIME] [--to TIME] [--limit COUNT] [--desc]\n"
    "                       [--source NAME] [--format table|csv|json] [--timing]\n\n"
    "The quotes of a symbol with from <= time < to, ordered by time, over any number of days.\n\n"
    "  --from TIME      the first time, inclusive; without it from the beginning\n"
    "  --to TIME        the end, exclusive; without it to the end\n"
    "                   RFC 3339 (2014-05-02T12:00:00Z), a date (its midnight UTC), or an integer with unit ns, us,\n"
    "                   ms or s (ns without)\n"
    "  --limit COUNT    at most so many\n"
    "  --desc           newest first\n"
    "  --source NAME    only this source (liquidity provider, venue)\n"
    "  --format FORMAT  table (on a terminal), csv (in a pipe; import reads it back) or json (an object per line)\n"
    "  --timing         rows, time and rate on stderr\n"
    "  --store DIR      the store; without it TICKSTORE_PATH\n"
    "  -h, --help       this text\n";

enum { BATCH = 4096 };

typedef struct range_options {
  const char *store, *symbol, *source;
  int64_t from_ns, to_ns, limit;
  bool descending, timing;
  cli_format format;
} range_options;

enum { STORE = 256, FROM, TO, LIMIT, DESC, SOURCE, FORMAT, TIMING };

static int take_option(const char *subcommand, range_options *options, int option) {
  switch (option) {
    case STORE: options->store = optarg; break;
    case DESC: options->descending = true; break;
    case SOURCE: options->source = optarg; break;
    case TIMING: options->timing = true; break;
    case FROM:
    case TO:
      if (cli_parse_time(optarg, option == FROM ? &options->from_ns : &options->to_ns)) break;
      return cli_usage_error(subcommand, "--%s %s: %s", option == FROM ? "from" : "to", optarg,
                             cli_time_problem(optarg));
    case LIMIT:
      if (cli_parse_count(optarg, TKS_NO_LIMIT, &options->limit)) break;
      return cli_usage_error(subcommand, "--limit %s: not a count of at least 1", optarg);
    default:
      if (cli_parse_format(optarg, false, &options->format)) break;
      return cli_usage_error(subcommand, "--format %s: not table, csv or json", optarg);
  }
  return CLI_OK;
}

/* False: done, *exit_code says how. */
static bool parse_options(int argc, char **argv, range_options *options, int *exit_code) {
  static const struct option known[] = {{"store", required_argument, NULL, STORE},
                                        {"from", required_argument, NULL, FROM},
                                        {"to", required_argument, NULL, TO},
                                        {"limit", required_argument, NULL, LIMIT},
                                        {"desc", no_argument, NULL, DESC},
                                        {"source", required_argument, NULL, SOURCE},
                                        {"format", required_argument, NULL, FORMAT},
                                        {"timing", no_argument, NULL, TIMING},
                                        CLI_OPTION_HELP,
                                        {0}};
  *options = (range_options){
      .from_ns = TKS_TIME_MIN, .to_ns = TKS_TIME_MAX, .limit = TKS_NO_LIMIT, .format = cli_default_format()};
  for (int option; (option = cli_option(argc, argv, ":h", known, help, exit_code)) != -1;) {
    if (option == CLI_STOP) return false;
    if ((*exit_code = take_option(argv[0], options, option)) != CLI_OK) return false;
  }
  *exit_code = CLI_USAGE;
  if (argc - optind != 1) {
    cli_usage_error(argv[0], optind >= argc ? "which SYMBOL?" : "one SYMBOL at a time; %s is one too many",
                    argv[argc - 1]);
    return false;
  }
  if (options->from_ns > options->to_ns) {
    cli_usage_error(argv[0], "--from is after --to");
    return false;
  }
  options->symbol = argv[optind];
  options->store = cli_store_path(argv[0], options->store);
  return options->store != NULL;
}

/* Writes all that the cursor gives. A day that cannot be read is said, and the days after it still come. */
static int stream(const char *subcommand, tks_cursor *cursor, cli_quotes *quotes, uint64_t *written) {
  int exit_code = CLI_OK;
  tks_quote *rows = malloc(BATCH * sizeof *rows);
  if (rows == NULL) return cli_data_error(subcommand, "out of memory");
  for (;;) {
    tks_error error = {0};
    size_t count = 0;
    int code = tks_cursor_next(cursor, rows, BATCH, &count, &error);
    bool partial = is_day_problem(code) || code == TKS_EDEADLINE;
    *written += code >= 0 || partial ? count : 0;
    if ((code >= 0 || partial) && !quotes_write(quotes, rows, count)) break;
    if (is_day_problem(code)) exit_code = cli_data_error(subcommand, "%s", error.message);
    if (code < 0 && !partial) {
      exit_code = cli_data_error(subcommand, "%s", error.message);
      break;
    }
    if (code >= 0 && count == 0) break;
  }
  free(rows);
  return exit_code;
}

static void print_timing(uint64_t rows, int64_t elapsed_ns) {
  char count[HUMAN_MAX], time[HUMAN_MAX], rate[HUMAN_MAX];
  double seconds = elapsed_ns > 0 ? (double)elapsed_ns / 1e9 : 1e-9;
  cli_flush_stdout();
  fprintf(stderr, "%s rows in %s, %s rows/s\n", human_count(rows, count), human_duration(elapsed_ns, time),
          human_count((uint64_t)((double)rows / seconds), rate));
}

static int print_range(const char *subcommand, tks_store *store, const range_options *options) {
  tks_symbol_info symbol;
  tks_error error = {0};
  tks_cursor *cursor = NULL;
  cli_quotes quotes;
  if (!find_symbol(subcommand, store, options->symbol, &symbol)) return CLI_DATA;
  tks_range range = {.struct_size = sizeof range,
                     .symbol = symbol.id,
                     .from_ns = options->from_ns,
                     .to_ns = options->to_ns,
                     .limit = options->limit,
                     .flags = options->descending ? TKS_RANGE_DESCENDING : 0};
  const char *source = options->source;
  if (source != NULL && tks_source(store, source, strlen(source), &range.source, &error) < 0) {
    return cli_usage_error(subcommand, "--source %s: %s", source, error.message);
  }

  int64_t started = cli_monotonic_ns();
  uint64_t rows = 0;
  if (tks_range_open(store, &range, &cursor, &error) < 0) return cli_data_error(subcommand, "%s", error.message);
  int exit_code = CLI_DATA;
  if (quotes_begin(&quotes, store, options->format, &symbol)) {
    exit_code = stream(subcommand, cursor, &quotes, &rows);
    quotes_end(&quotes);
  }
  tks_cursor_close(cursor);
  if (source != NULL && rows == 0) cli_data_error(subcommand, "note: no quotes of source %s there", source);
  if (options->timing) print_timing(rows, cli_monotonic_ns() - started);
  return exit_code;
}

int cmd_range(int argc, char **argv) {
  range_options options;
  int exit_code = CLI_USAGE;
  if (!parse_options(argc, argv, &options, &exit_code)) return exit_code;
  tks_store *store = cli_open_for_reading(argv[0], options.store);
  if (store == NULL) return CLI_DATA;
  exit_code = print_range(argv[0], store, &options);
  tks_close(store, NULL);
  return exit_code;
}
