/* main.c - the tickstore command: finds the subcommand and runs it. */
#include <signal.h>
#include <string.h>

#include "cli.h"

static const struct command {
  const char *name;
  int (*run)(int argc, char **argv);
  const char *summary;
} commands[] = {
    {"import", cmd_import, "read files of quotes into a store"},
    {"symbols", cmd_symbols, "list the symbols with counts and times"},
    {"recent", cmd_recent, "the last quotes of a symbol"},
    {"range", cmd_range, "the quotes of a symbol between two times"},
    {"sql", cmd_sql, "an SQL query over all days"},
    {"stats", cmd_stats, "what is on disk, also as Prometheus metrics"},
    {"gaps", cmd_gaps, "what was lost, when and why"},
    {"doctor", cmd_doctor, "check every file and say what to do"},
    {"demo", cmd_demo, "a live market through the store, in ten seconds"},
};
enum { COMMANDS = sizeof commands / sizeof commands[0] };

static const struct command *find_command(const char *name) {
  for (int i = 0; i < COMMANDS; i++) {
    if (strcmp(commands[i].name, name) == 0) return &commands[i];
  }
  return NULL;
}

static int print_help(void) {
  puts("tickstore - the capture store for market data\n\n"
       "usage: tickstore SUBCOMMAND [--store DIR] ...\n");
  for (int i = 0; i < COMMANDS; i++) printf("  %-9s %s\n", commands[i].name, commands[i].summary);
  puts("\n  help SUBCOMMAND, or SUBCOMMAND --help, tells its options; --version the version.\n\n"
       "The store is the directory of --store, else of the environment variable TICKSTORE_PATH.\n"
       "Times are RFC 3339 (2026-01-19T11:51:51.5Z), dates, or integers with a unit (1768823511500ms; ns without).\n"
       "Exit codes: 0 success, 1 a problem with the data, 2 wrong usage. See also: man tickstore");
  return CLI_OK;
}

int cli_run(int argc, char **argv) {
  const struct command *command = find_command(argv[0]);
  if (command == NULL) return cli_usage_error(NULL, "unknown subcommand %s; see tickstore --help", argv[0]);
  optind = 0; /* glibc: begin anew, for a second run in one process as well */
  return command->run(argc, argv);
}

static int help_on(const char *name) {
  char subcommand[32], option[] = "--help";
  if (strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) return print_help();
  if (find_command(name) == NULL) return cli_usage_error(NULL, "unknown subcommand %s; see tickstore --help", name);
  snprintf(subcommand, sizeof subcommand, "%s", name);
  return cli_run(2, (char *[]){subcommand, option, NULL});
}

static int dispatch(int argc, char **argv) {
  if (argc < 2) return print_help();
  const char *word = argv[1];
  if (strcmp(word, "help") == 0) return argc > 2 ? help_on(argv[2]) : print_help();
  if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) return print_help();
  if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0)
    return printf("tickstore %s\n", tks_version_string()), CLI_OK;
  if (word[0] == '-') return cli_usage_error(NULL, "unknown option %s; see tickstore --help", word);
  return cli_run(argc - 1, argv + 1);
}

int main(int argc, char **argv) {
  signal(SIGPIPE, SIG_IGN); /* a closed pipe must not kill a command that is writing to a store */
  return cli_finish_stdout(dispatch(argc, argv));
}
