/* cli.c - what cli.h promises, but for the progress line (progress.c) and the dispatch (main.c). */
#include "cli.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/utc.h"

static void say(const char *subcommand, const char *format, va_list arguments) {
  cli_flush_stdout(); /* on a terminal the rows before a message must stand before it */
  fprintf(stderr, subcommand != NULL ? "tickstore %s: " : "tickstore: ", subcommand);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
}

int cli_usage_error(const char *subcommand, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  say(subcommand, format, arguments);
  va_end(arguments);
  return CLI_USAGE;
}

int cli_data_error(const char *subcommand, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  say(subcommand, format, arguments);
  va_end(arguments);
  return CLI_DATA;
}

/* The long option with this value, for messages; NULL for letters alone. */
static const char *option_name(const struct option *options, int value) {
  for (; options->name != NULL; options++) {
    if (options->val == value) return options->name;
  }
  return NULL;
}

static int option_error(int argc, char **argv, const struct option *options, int step) {
  const char *name = option_name(options, optopt);
  /* getopt reports an unknown long option as letter 0, and has then stepped past its word. */
  const char *word = optind > 0 && optind <= argc ? argv[optind - 1] : "";
  if (step == ':' && name != NULL && optopt > 255) return cli_usage_error(argv[0], "--%s needs an argument", name);
  if (step == ':')
    return cli_usage_error(argv[0], "-%c%s%s needs an argument", optopt, name ? ", --" : "", name ? name : "");
  if (optopt == 0) return cli_usage_error(argv[0], "unknown option %s; see tickstore %s --help", word, argv[0]);
  if (name != NULL) return cli_usage_error(argv[0], "--%s takes no argument", name);
  return cli_usage_error(argv[0], "unknown option -%c; see tickstore %s --help", optopt, argv[0]);
}

int cli_option(int argc, char **argv, const char *letters, const struct option *options, const char *help,
               int *exit_code) {
  opterr = 0;
  optopt = 0;
  int step = getopt_long(argc, argv, letters, options, NULL);
  if (step == 'h') {
    fputs(help, stdout);
    *exit_code = CLI_OK;
    return CLI_STOP;
  }
  if (step == '?' || step == ':') {
    *exit_code = option_error(argc, argv, options, step);
    return CLI_STOP;
  }
  return step;
}

const char *cli_store_path(const char *subcommand, const char *argument) {
  const char *path = argument != NULL ? argument : getenv("TICKSTORE_PATH");
  if (path != NULL && path[0] != '\0') return path;
  cli_usage_error(subcommand, "which store? give --store DIR or set TICKSTORE_PATH");
  return NULL;
}

/* Nanoseconds per unit; an empty unit is nanoseconds, 0 means that there is no such unit. */
static int64_t unit_ns(const char *unit) {
  if (unit[0] == '\0' || strcmp(unit, "ns") == 0) return 1;
  if (strcmp(unit, "us") == 0) return 1000;
  if (strcmp(unit, "ms") == 0) return TKS__NS_PER_MS;
  if (strcmp(unit, "s") == 0) return TKS__NS_PER_S;
  return 0;
}

static bool parse_integer_time(const char *text, int64_t *ts_ns) {
  const char *digits = text + (text[0] == '-' || text[0] == '+');
  if (digits[0] < '0' || digits[0] > '9') return false; /* strtoll would skip blanks */
  char *unit = NULL;
  errno = 0;
  long long number = strtoll(text, &unit, 10);
  if (errno != 0) return false;
  int64_t scale = unit_ns(unit);
  return scale != 0 && !__builtin_mul_overflow((int64_t)number, scale, ts_ns);
}

bool cli_parse_time(const char *text, int64_t *ts_ns) {
  size_t length = strlen(text);
  int32_t day = 0;
  if (tks__utc_parse(text, length, ts_ns)) return true;
  if (tks__utc_parse_day(text, length, &day)) {
    *ts_ns = tks__utc_day_start_ns(day);
    return true;
  }
  return parse_integer_time(text, ts_ns);
}

/* The same date in a year that is in range is a time: then it was the year. */
static bool wrong_year(const char *text) {
  char moved[64];
  int64_t ts_ns;
  size_t length = strlen(text);
  if (length < 10 || length >= sizeof moved || strspn(text, "0123456789") != 4) return false;
  long year = strtol(text, NULL, 10);
  bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
  (void)snprintf(moved, sizeof moved, "%s%s", leap ? "2000" : "2001", text + 4);
  return cli_parse_time(moved, &ts_ns);
}

/* The same for an integer: its sign, one digit and its unit. */
static bool wrong_number(const char *text) {
  char moved[16];
  int64_t ts_ns;
  const char *number = text + (text[0] == '-' || text[0] == '+');
  size_t digits = strspn(number, "0123456789");
  if (digits == 0 || strlen(number + digits) > 2) return false;
  (void)snprintf(moved, sizeof moved, "1%s", number + digits);
  return parse_integer_time(moved, &ts_ns);
}

const char *cli_time_problem(const char *text) {
  if (wrong_year(text) || wrong_number(text)) return "outside the times that can be given, 1677-09-22 to 2262-04-11";
  return "not a time (RFC 3339, a date, or an integer with ns, us, ms or s)";
}

bool cli_parse_count(const char *text, int64_t max, int64_t *count) {
  if (text[0] < '0' || text[0] > '9') return false;
  char *end = NULL;
  errno = 0;
  long long number = strtoll(text, &end, 10);
  if (errno != 0 || *end != '\0' || number < 1 || number > max) return false;
  *count = number;
  return true;
}

bool cli_parse_format(const char *text, bool prometheus, cli_format *format) {
  if (strcmp(text, "table") == 0) *format = CLI_TABLE;
  else if (strcmp(text, "csv") == 0) *format = CLI_CSV;
  else if (strcmp(text, "json") == 0) *format = CLI_JSON;
  else if (prometheus && strcmp(text, "prometheus") == 0) *format = CLI_PROMETHEUS;
  else return false;
  return true;
}

cli_format cli_default_format(void) { return isatty(STDOUT_FILENO) ? CLI_TABLE : CLI_CSV; }

bool cli_parse_report(int argc, char **argv, const char *help, const char *flag, bool prometheus, cli_report *report,
                      int *exit_code) {
  enum { STORE = 256, FORMAT, FLAG };
  const struct option known[] = {{"store", required_argument, NULL, STORE},
                                 {"format", required_argument, NULL, FORMAT},
                                 CLI_OPTION_HELP,
                                 {flag, no_argument, NULL, FLAG}, /* NULL: the end */
                                 {0}};
  *report = (cli_report){.format = cli_default_format()};
  for (int option; (option = cli_option(argc, argv, ":h", known, help, exit_code)) != -1;) {
    if (option == CLI_STOP) return false;
    if (option == STORE) report->store = optarg;
    else if (option == FLAG) report->flag = true;
    else if (!cli_parse_format(optarg, prometheus, &report->format)) {
      *exit_code = cli_usage_error(argv[0], "--format %s: not table, csv%s", optarg,
                                   prometheus ? ", json or prometheus" : " or json");
      return false;
    }
  }
  *exit_code = CLI_USAGE;
  if (optind < argc) {
    cli_usage_error(argv[0], "%s is one argument too many", argv[optind]);
    return false;
  }
  report->store = cli_store_path(argv[0], report->store);
  return report->store != NULL;
}

bool cli_color(FILE *stream) {
  const char *no_color = getenv("NO_COLOR");
  if (no_color != NULL && no_color[0] != '\0') return false;
  const char *terminal = getenv("TERM");
  return isatty(fileno(stream)) && (terminal == NULL || strcmp(terminal, "dumb") != 0);
}

static int stdout_errno; /* why the first write that failed did: a later flush may not say it again */

bool cli_stdout_open(void) {
  if (!ferror(stdout)) return true;
  if (stdout_errno == 0) stdout_errno = errno != 0 ? errno : EIO;
  return false;
}

void cli_flush_stdout(void) {
  errno = 0;
  if (fflush(stdout) != 0) cli_stdout_open();
}

int cli_finish_stdout(int exit_code) {
  cli_flush_stdout();
  if (cli_stdout_open()) return exit_code;
  if (stdout_errno == EPIPE) return exit_code; /* whoever closed the pipe has seen enough */
  return cli_data_error(NULL, "cannot write the output: %s", strerror(stdout_errno));
}

int64_t cli_monotonic_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * TKS__NS_PER_S + now.tv_nsec;
}

tks_store *cli_open_for_reading(const char *subcommand, const char *path) {
  tks_config config;
  tks_error error = {0};
  tks_store *store = NULL;
  int code = tks_config_init(&config, sizeof config, TKS_PRESET_PRODUCTION, &error);
  config.read_only = 1;
  if (code == TKS_OK) code = tks_open(path, strlen(path), &config, &store, &error);
  if (code == TKS_OK) return store;
  /* The library names the path where it can; a message without it would leave the user guessing. */
  if (strstr(error.message, path) != NULL) cli_data_error(subcommand, "%s", error.message);
  else cli_data_error(subcommand, "cannot open %s: %s", path, error.message[0] ? error.message : tks_strerror(code));
  return NULL;
}
