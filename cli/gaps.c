/* gaps.c - tickstore gaps: every loss of accepted quotes. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "output.h"

static const char help[] =
    "usage: tickstore gaps [--store DIR] [--since SEQUENCE] [--format table|csv|json]\n\n"
    "Lists what was accepted and lost: from and to which sequence number, how many quotes, of which symbol where it "
    "was\n"
    "one, in which sink, why and when. Exit code 1 when there is any. The same as the view gaps of gaps.db.\n\n"
    "  --since SEQUENCE  only those that reach this sequence number\n"
    "  --format FORMAT   table (on a terminal), csv (in a pipe) or json (an object per line)\n"
    "  --store DIR       the store; without it TICKSTORE_PATH\n"
    "  -h, --help        this text\n\n"
    "causes: full (the journal or queue was full), journal (it could not be extended), backlog (without the journal: "
    "a\n"
    "sick sink fell too far behind), close (likewise: not written in time), recovery (damaged by a loss of power),\n"
    "backend (a sink that was left out at an open after a crash)\n";

static const char *cause_name(uint32_t cause) {
  static const char *const names[] = {NULL, "full", "journal", "backlog", "close", "recovery", "backend"};
  return cause > 0 && cause < sizeof names / sizeof names[0] ? names[cause] : "unknown";
}

static void print_gap(cli_output *output, tks_store *store, const tks_gap *gap) {
  char name[TKS_NAME_MAX];
  size_t length = 0;
  output_uint(output, gap->from_seq);
  output_uint(output, gap->to_seq);
  output_uint(output, gap->records);
  if (gap->symbol != 0 && tks_symbol_name(store, gap->symbol, name, sizeof name, &length, NULL) >= 0)
    output_text(output, name, length);
  else output_null(output);
  output_string(output, gap->sink == TKS_SQLITE ? "sqlite" : gap->sink == TKS_JSON ? "json" : "all");
  output_string(output, cause_name(gap->cause));
  output_time(output, gap->first_ns);
  output_time(output, gap->last_ns);
  output_end_row(output);
}

static int print_gaps(const char *subcommand, tks_store *store, uint64_t since, cli_format format) {
  static const char *const columns[] = {"from_seq", "to_seq", "records", "symbol", "sink", "cause", "first", "last"};
  size_t total = 0, room = 0;
  tks_gap *gaps = NULL;
  tks_error error;
  int code;
  /* A writer may add some meanwhile. What can be read is listed, whatever else cannot. */
  while ((total = 0, code = tks_gaps(store, since, gaps, room, &total, &error)), total > room) {
    free(gaps);
    gaps = calloc(room = total + 16, sizeof *gaps);
    if (gaps == NULL) return cli_data_error(subcommand, "out of memory");
  }
  cli_output output;
  bool begun = (code >= 0 || total > 0) && output_begin(&output, format, columns, 8);
  for (size_t i = 0; begun && i < total; i++) print_gap(&output, store, &gaps[i]);
  if (begun) output_end(&output);
  free(gaps);
  if (code < 0) return cli_data_error(subcommand, "%s", error.message);
  return begun && total == 0 ? CLI_OK : CLI_DATA;
}

int cmd_gaps(int argc, char **argv) {
  enum { STORE = 256, SINCE, FORMAT };
  static const struct option known[] = {{"store", required_argument, NULL, STORE},
                                        {"since", required_argument, NULL, SINCE},
                                        {"format", required_argument, NULL, FORMAT},
                                        CLI_OPTION_HELP,
                                        {0}};
  const char *path = NULL;
  int64_t since = 0;
  cli_format format = cli_default_format();
  int exit_code = CLI_OK;
  for (int option; (option = cli_option(argc, argv, ":h", known, help, &exit_code)) != -1;) {
    if (option == CLI_STOP) return exit_code;
    if (option == STORE) path = optarg;
    else if (option == SINCE && strcmp(optarg, "0") != 0 && !cli_parse_count(optarg, INT64_MAX, &since)) {
      return cli_usage_error(argv[0], "--since %s: not a sequence number", optarg);
    } else if (option == FORMAT && !cli_parse_format(optarg, false, &format)) {
      return cli_usage_error(argv[0], "--format %s: not table, csv or json", optarg);
    }
  }
  if (optind < argc) return cli_usage_error(argv[0], "%s is one argument too many", argv[optind]);
  if ((path = cli_store_path(argv[0], path)) == NULL) return CLI_USAGE;
  tks_store *store = cli_open_for_reading(argv[0], path);
  if (store == NULL) return CLI_DATA;
  exit_code = print_gaps(argv[0], store, (uint64_t)since, format);
  tks_close(store, NULL);
  return exit_code;
}
