/* import_options.c - reads and checks the command line of import; everything wrong with it is found before
 * a file is opened. */
#include "import_options.h"

#include <math.h>
#include <string.h>

#include "base/decimal.h"
#include "base/name.h"
#include "cli.h"

static const char help[] =
    "usage: tickstore import [--store DIR] --format FORMAT [options] FILE|DIR|- ...\n\n"
    "Reads quotes from files into a store, which is created if need be. A directory stands for all files of the "
    "format\n"
    "in it, day by day; - is standard input.\n\n"
    "  --format csv          a header names the columns, in any order: one of timestamp_ns, timestamp_us, "
    "timestamp_ms,\n"
    "                        time (RFC 3339), then bid, ask and, where there are, bid_size, ask_size, symbol, source.\n"
    "                        An empty bid or ask, or NaN, is an absent side. Reads what range --format csv writes.\n"
    "  --format lean         Lean's tick zips (or the CSV in them): milliseconds since midnight, bid, ask. The day is "
    "in\n"
    "                        the file's name, YYYYMMDD_*. Needs --symbol.\n"
    "  --format legacy-json  SYMBOL/YYYY-MM-DD.json, each an array of {broker_id, symbol, bid, ask, timestamp, lp}. A\n"
    "                        record without symbol is of its directory's. Of a file that is cut off, all whole "
    "records.\n"
    "  --format jsonl        JSON lines as the store's JSON files have them\n\n"
    "  --store DIR           the store; without it TICKSTORE_PATH\n"
    "  --backend BACKEND     sqlite, json or dual. Without it what the store already has; a new store gets sqlite\n"
    "  --symbol NAME         of rows that do not name their own symbol\n"
    "  --source NAME         of rows that do not name their own source (liquidity provider, venue)\n"
    "  --utc-offset OFFSET   zone of the times in lean files, such as -05:00 (FXCM); without it UTC\n"
    "  --throttle SHARE      skip quotes neither of whose sides moved by this share (0: exact repeats); without it "
    "none\n"
    "  --broker-id NAME      the broker_id of JSON lines; without it \"default\"\n"
    "  --strict              stop at the first row that is refused; the rows before it are stored\n"
    "  --report FORMAT       text (on stderr) or json (on stdout): what was read, stored and refused\n"
    "  -q, --quiet           no progress, notes or summary; problems are still reported\n"
    "  -h, --help            this text\n\n"
    "A row that is refused is counted, the first ten are named with file and line, and the import goes on.\n\n"
    "A last line without a line end is taken as it stands, which is said; --strict refuses it, unless it is from a "
    "zip.\n\n"
    "A file is stored once: DIR/imports.db remembers what was read by content and position, so a copy or a renamed "
    "file\n"
    "is skipped and one that has grown goes on where it ended. An older, shorter copy of a file that has grown counts "
    "as\n"
    "new, if it was never imported at that length. Identical rows are never taken for repeats. The same bytes under\n"
    "another --symbol, --source, --utc-offset or day are another file. A pipe has no identity: what is read from - "
    "twice\n"
    "is stored twice.\n\n"
    "Ctrl-C stores what was read and ends. An import that was killed, or that met a full disk, is repeated by giving "
    "the\n"
    "same files again: rows that are stored already are known by their sequence numbers and passed over, each exactly\n"
    "once, in a dual store too. That cannot be done with --throttle, with another --backend, or where the file has\n"
    "changed: then a warning says how many rows at most may be stored twice. Where rows could not be written (a full\n"
    "disk) they wait in the store's journal, which is said; the next import or writer writes them.\n\n"
    "To import again after deleting day files, delete the files' rows from the table imports of DIR/imports.db (or "
    "the\n"
    "whole imports.db, if all day files are gone): what remains in the store would be stored twice. A broken "
    "imports.db\n"
    "stops the import before a row is stored: restore it, or move it away and give only files not imported yet.\n\n"
    "Exit codes: 0 all is stored; 1 a row was refused, a file is cut off or could not be read, a damaged day file was "
    "set\n"
    "aside, or the store could not be written; 2 wrong usage; 130 interrupted, 143 by SIGTERM, 129 by SIGHUP.\n";

static const char *const formats[] = {
    [IMPORT_LEAN] = "lean", [IMPORT_LEGACY_JSON] = "legacy-json", [IMPORT_CSV] = "csv", [IMPORT_JSONL] = "jsonl"};

enum { STORE = 256, BACKEND, FORMAT, SYMBOL, SOURCE, UTC_OFFSET, THROTTLE, BROKER_ID, STRICT, REPORT };

static bool take_format(import_options *options, const char *text) {
  for (unsigned i = 0; i < sizeof formats / sizeof formats[0]; i++) {
    if (strcmp(text, formats[i]) != 0) continue;
    options->format = (import_format)i;
    options->format_name = formats[i];
    return true;
  }
  return false;
}

static bool take_backend(import_options *options, const char *text) {
  if (strcmp(text, "sqlite") == 0) options->backend = TKS_SQLITE;
  else if (strcmp(text, "json") == 0) options->backend = TKS_JSON;
  else if (strcmp(text, "dual") == 0) options->backend = TKS_DUAL;
  else return false;
  return true;
}

static bool two_digits(const char *text, int64_t *value) {
  if (text[0] < '0' || text[0] > '9' || text[1] < '0' || text[1] > '9') return false;
  *value = (text[0] - '0') * 10 + (text[1] - '0');
  return true;
}

/* Z, +hh:mm or -hh:mm, at most 14 hours as on any clock. */
static bool take_offset(import_options *options, const char *text) {
  int64_t hours = 0, minutes = 0;
  if (strcmp(text, "Z") == 0) {
    options->utc_offset_s = 0;
    return true;
  }
  if (strlen(text) != 6 || (text[0] != '+' && text[0] != '-') || text[3] != ':') return false;
  if (!two_digits(text + 1, &hours) || !two_digits(text + 4, &minutes)) return false;
  if (minutes > 59 || hours * 60 + minutes > 14 * 60) return false;
  options->utc_offset_s = (hours * 60 + minutes) * (text[0] == '-' ? -60 : 60);
  return true;
}

static bool take_throttle(import_options *options, const char *text) {
  return tks__decimal_parse(text, strlen(text), &options->throttle) == TKS__DECIMAL_OK && options->throttle >= 0;
}

static bool take_name(const char **name, const char *option, const char *text, int *exit_code) {
  int code = tks__name_check(text, strlen(text));
  *name = text;
  if (code != TKS_OK) *exit_code = cli_usage_error("import", "--%s %s: %s", option, text, tks_strerror(code));
  return code == TKS_OK;
}

static bool bad_value(const char *option, const char *allowed, int *exit_code) {
  *exit_code = cli_usage_error("import", "--%s %s: not %s", option, optarg, allowed);
  return false;
}

static bool take_option(import_options *options, int option, int *exit_code) {
  switch (option) {
    case STORE: options->store = optarg; return true;
    case STRICT: options->strict = true; return true;
    case 'q': options->quiet = true; return true;
    case SYMBOL: return take_name(&options->symbol, "symbol", optarg, exit_code);
    case SOURCE: return take_name(&options->source, "source", optarg, exit_code);
    case BROKER_ID: return take_name(&options->broker_id, "broker-id", optarg, exit_code);
    case BACKEND: return take_backend(options, optarg) || bad_value("backend", "sqlite, json or dual", exit_code);
    case FORMAT:
      return take_format(options, optarg) || bad_value("format", "csv, lean, legacy-json or jsonl", exit_code);
    case UTC_OFFSET: return take_offset(options, optarg) || bad_value("utc-offset", "like -05:00", exit_code);
    case THROTTLE: return take_throttle(options, optarg) || bad_value("throttle", "a share of at least 0", exit_code);
    default:
      options->report_json = strcmp(optarg, "json") == 0;
      return options->report_json || strcmp(optarg, "text") == 0 || bad_value("report", "text or json", exit_code);
  }
}

/* What only shows when all options are known. */
static const char *conflict(const import_options *options, bool offset) {
  if (options->format_name == NULL) return "which --format? csv, lean, legacy-json or jsonl";
  if (options->file_count == 0) return "which files? - is standard input";
  if (options->format == IMPORT_LEAN && options->symbol[0] == '\0') return "--format lean needs --symbol";
  if (options->format != IMPORT_LEAN && offset) return "--utc-offset goes with --format lean only";
  int inputs = 0;
  for (int i = 0; i < options->file_count; i++) inputs += strcmp(options->files[i], "-") == 0;
  if (inputs > 0 && options->format == IMPORT_LEAN) return "--format lean needs files: their names hold the day";
  return inputs > 1 ? "- is given twice: standard input can be read once" : NULL;
}

bool import_options_parse(import_options *options, int argc, char **argv, int *exit_code) {
  static const struct option known[] = {{"store", required_argument, NULL, STORE},
                                        {"backend", required_argument, NULL, BACKEND},
                                        {"format", required_argument, NULL, FORMAT},
                                        {"symbol", required_argument, NULL, SYMBOL},
                                        {"source", required_argument, NULL, SOURCE},
                                        {"utc-offset", required_argument, NULL, UTC_OFFSET},
                                        {"throttle", required_argument, NULL, THROTTLE},
                                        {"broker-id", required_argument, NULL, BROKER_ID},
                                        {"strict", no_argument, NULL, STRICT},
                                        {"report", required_argument, NULL, REPORT},
                                        {"quiet", no_argument, NULL, 'q'},
                                        CLI_OPTION_HELP,
                                        {0}};
  *options = (import_options){.symbol = "", .source = "", .broker_id = "default", .throttle = -1};
  bool offset = false;
  for (int option; (option = cli_option(argc, argv, ":hq", known, help, exit_code)) != -1;) {
    if (option == CLI_STOP || !take_option(options, option, exit_code)) return false;
    offset = offset || option == UTC_OFFSET;
  }
  options->files = argv + optind;
  options->file_count = argc - optind;
  const char *wrong = conflict(options, offset);
  *exit_code = CLI_USAGE;
  if (wrong != NULL) cli_usage_error("import", "%s", wrong);
  return wrong == NULL && (options->store = cli_store_path("import", options->store)) != NULL;
}
