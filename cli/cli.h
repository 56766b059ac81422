/* cli.h - what the subcommands of tickstore share: exit codes, messages, the store they name, times and formats.
 *
 * The command uses the public API alone, and the pure text functions of src/base (decimal, utc, name). Each subcommand
 * is one file with one entry function, which gets its own argv (argv[0] is the subcommand's name) and returns the exit
 * code. Results go to stdout, everything else to stderr. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "tickstore/tickstore.h"

enum { CLI_OK = 0, CLI_DATA = 1, CLI_USAGE = 2 };

typedef enum cli_format { CLI_TABLE, CLI_CSV, CLI_JSON, CLI_PROMETHEUS } cli_format;

int cmd_import(int argc, char **argv);
int cmd_symbols(int argc, char **argv);
int cmd_stats(int argc, char **argv);
int cmd_recent(int argc, char **argv);
int cmd_range(int argc, char **argv);
int cmd_sql(int argc, char **argv);
int cmd_gaps(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_demo(int argc, char **argv);

/* Runs the subcommand that argv[0] names, as main does; the demo shows the others through it. */
int cli_run(int argc, char **argv);

/* One step of getopt_long with the manners of this command. Returns the option's value (optarg is its argument), -1
 * after the last one (optind is the first operand), or CLI_STOP once it has printed `help` for -h and --help or said
 * what is wrong; *exit_code is then what to return. `letters` begins with ":h". cli_run has reset getopt. */
#define CLI_STOP 0
#define CLI_OPTION_HELP \
  { "help", no_argument, NULL, 'h' }
int cli_option(int argc, char **argv, const char *letters, const struct option *options, const char *help,
               int *exit_code);

/* "tickstore SUBCOMMAND: text" on stderr, one line. Both return the exit code that fits. */
int cli_usage_error(const char *subcommand, const char *format, ...) __attribute__((format(printf, 2, 3)));
int cli_data_error(const char *subcommand, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The --store argument, else TICKSTORE_PATH; NULL (after saying so) if neither is there. */
const char *cli_store_path(const char *subcommand, const char *argument);

/* RFC 3339, a plain date (its midnight), or an integer with unit ns, us, ms or s (ns where there is none). */
bool cli_parse_time(const char *text, int64_t *ts_ns);

/* What is wrong with a text that cli_parse_time refuses: no time at all, or one that 64 bits of nanoseconds do not hold. */
const char *cli_time_problem(const char *text);

/* A whole number from 1 to `max`. */
bool cli_parse_count(const char *text, int64_t max, int64_t *count);

/* table, csv, json (and prometheus where `prometheus`); without --format: table on a terminal, else csv. */
bool cli_parse_format(const char *text, bool prometheus, cli_format *format);
cli_format cli_default_format(void);

/* What the subcommands take that report on a whole store: --store, --format and perhaps one flag of their own. */
typedef struct cli_report {
  const char *store;
  cli_format format;
  bool flag;
} cli_report;

/* `flag` is its name, NULL for none. False: done, *exit_code says how. */
bool cli_parse_report(int argc, char **argv, const char *help, const char *flag, bool prometheus, cli_report *report,
                      int *exit_code);

/* Whether stdout still takes something. Long outputs ask now and then, and end when it does not; main reports it at the
 * end through cli_finish_stdout, which returns the exit code: a full disk is a failure, a closed pipe is not. */
bool cli_stdout_open(void);
void cli_flush_stdout(void);
int cli_finish_stdout(int exit_code);

/* A terminal that wants colours: isatty and no NO_COLOR. */
bool cli_color(FILE *stream);

/* The system's monotonic clock, for durations. */
int64_t cli_monotonic_ns(void);

/* Opens for reading; on failure says why and returns NULL. */
tks_store *cli_open_for_reading(const char *subcommand, const char *path);

/* Progress on a stderr terminal only: a line redrawn at most ten times a second with rate and time left. */
typedef struct cli_progress {
  const char *label;
  uint64_t total; /* units of done; 0 = not known */
  int64_t started_ns;
  int64_t drawn_ns;
  bool on;
} cli_progress;
void cli_progress_start(cli_progress *progress, const char *label, uint64_t total);
void cli_progress_update(cli_progress *progress, uint64_t done, uint64_t rows);
void cli_progress_end(cli_progress *progress);

#endif
