/* stats.c - tickstore stats: what is on disk. */
#include <stdlib.h>
#include <string.h>

#include "disk.h"
#include "output.h"
#include "prometheus.h"

static const char help[] =
    "usage: tickstore stats [--store DIR] [--format table|csv|json|prometheus] [--per-symbol]\n\n"
    "What is on disk: symbols, quotes, the first and last time, and for each sink its days, files, bytes, the\n"
    "write-ahead logs' bytes and the highest sequence number.\n\n"
    "  --format FORMAT  table (on a terminal), csv (in a pipe), json (one object) or prometheus\n"
    "  --per-symbol     with prometheus: also one sample for each symbol\n"
    "  --store DIR      the store; without it TICKSTORE_PATH\n"
    "  -h, --help       this text\n";

/* The same facts in three shapes: table and CSV have a row per fact, JSON one object with a key per fact. */
typedef struct stats_facts {
  cli_output output;
  bool json;
} stats_facts;

enum { SINK_FACTS = 7, FACTS = 4 + 2 * SINK_FACTS };

/* clang-format off */
static const char *const json_names[FACTS] = {
    "symbols", "quotes", "first", "last",
    "sqlite_days", "sqlite_damaged_days", "sqlite_quotes", "sqlite_files", "sqlite_bytes", "sqlite_wal_bytes",
    "sqlite_last_seq",
    "json_days", "json_damaged_days", "json_quotes", "json_files", "json_bytes", "json_wal_bytes", "json_last_seq"};
/* clang-format on */
static const char *const row_names[] = {"name", "value"};

static void name_fact(stats_facts *facts, int fact) {
  if (!facts->json) output_string(&facts->output, json_names[fact]);
}

static void end_fact(stats_facts *facts) {
  if (!facts->json) output_end_row(&facts->output);
}

static void write_count(stats_facts *facts, int fact, bool known, uint64_t value) {
  name_fact(facts, fact);
  if (known) output_uint(&facts->output, value);
  else output_null(&facts->output);
  end_fact(facts);
}

static void write_time(stats_facts *facts, int fact, bool known, int64_t ts_ns) {
  name_fact(facts, fact);
  if (known) output_time(&facts->output, ts_ns);
  else output_null(&facts->output);
  end_fact(facts);
}

/* Quotes and last sequence number of JSON files cost reading every line, which stats does not do. */
static bool needs_reading(int sink_fact) { return sink_fact == 2 || sink_fact == SINK_FACTS - 1; }

static void write_sink(stats_facts *facts, int first_fact, const disk_sink *sink) {
  const uint64_t values[SINK_FACTS] = {sink->days,  sink->damaged_days, sink->quotes,  sink->files,
                                       sink->bytes, sink->wal_bytes,    sink->last_seq};
  /* A table is for eyes: a sink that is not there is not worth seven lines of zeros. */
  if (facts->output.format == CLI_TABLE && sink->days == 0) return;
  for (int i = 0; i < SINK_FACTS; i++) {
    bool counted = values[i] > 0 || sink->sink == TKS_SQLITE || sink->days == 0 || !needs_reading(i);
    write_count(facts, first_fact + i, counted, values[i]);
  }
}

static bool write_facts(const cli_disk *disk, cli_format format) {
  stats_facts facts = {.json = format == CLI_JSON};
  bool begun = facts.json ? output_begin(&facts.output, format, json_names, FACTS)
                          : output_begin(&facts.output, format, row_names, 2);
  if (!begun) return false;
  write_count(&facts, 0, true, disk->symbols);
  write_count(&facts, 1, true, disk->quotes);
  write_time(&facts, 2, disk->quotes > 0, disk->first_ns);
  write_time(&facts, 3, disk->quotes > 0, disk->last_ns);
  write_sink(&facts, 4, &disk->sinks[0]);
  write_sink(&facts, 4 + SINK_FACTS, &disk->sinks[1]);
  if (facts.json) output_end_row(&facts.output);
  output_end(&facts.output);
  return true;
}

static int print_stats(const char *subcommand, tks_store *store, const cli_report *options) {
  symbol_list symbols;
  day_list days;
  cli_disk disk;
  if (!list_symbols(subcommand, store, &symbols)) return CLI_DATA;
  if (!list_days(subcommand, store, TKS_CHECK_QUICK, &days)) {
    free(symbols.items);
    return CLI_DATA;
  }
  int exit_code = CLI_OK;
  disk_sum(&disk, &symbols, &days);
  if (options->format == CLI_PROMETHEUS) prometheus_disk(stdout, &symbols, &days, options->flag);
  else if (!write_facts(&disk, options->format)) exit_code = CLI_DATA;
  for (size_t i = 0; i < days.count; i++) {
    if (days.items[i].code < 0) exit_code = cli_data_error(subcommand, "%s", days.items[i].message);
  }
  free(days.items);
  free(symbols.items);
  return exit_code;
}

int cmd_stats(int argc, char **argv) {
  cli_report options;
  int exit_code = CLI_USAGE;
  if (!cli_parse_report(argc, argv, help, "per-symbol", true, &options, &exit_code)) return exit_code;
  tks_store *store = cli_open_for_reading(argv[0], options.store);
  if (store == NULL) return CLI_DATA;
  exit_code = print_stats(argv[0], store, &options);
  tks_close(store, NULL);
  return exit_code;
}
