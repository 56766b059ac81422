/* doctor.c - tickstore doctor: checks every file of a store, and says what to do about what it finds.
 *
 * A problem (exit code 1) is a file that cannot be read as it should. A note is worth knowing, but needs nothing
 * done. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/utc.h"
#include "human.h"
#include "listing.h"
#include "output.h"

static const char help[] =
    "usage: tickstore doctor [--store DIR] [--full] [--format table|csv|json]\n\n"
    "Checks the store: every day's files with their status, whether a writer has it open, write-ahead logs left\n"
    "behind; and says what to do about each problem. The exit code is 1 if there is one.\n\n"
    "  --full           read every row too: SQLite's integrity check, counts against summaries, every JSON line\n"
    "  --format FORMAT  table (on a terminal), csv (in a pipe) or json (an object per line)\n"
    "  --store DIR      the store; without it TICKSTORE_PATH\n"
    "  -h, --help       this text\n";

typedef struct doctor_options {
  const char *store;
  bool full;
  cli_format format;
} doctor_options;

typedef enum writer_state { WRITER_NONE, WRITER_ACTIVE, WRITER_UNKNOWN } writer_state;

/* Whether a process holds the store's writer lock: asks about it without taking it. */
static writer_state find_writer(const char *store) {
  char path[4096];
  if ((size_t)snprintf(path, sizeof path, "%s/lock", store) >= sizeof path) return WRITER_UNKNOWN;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return errno == ENOENT ? WRITER_NONE : WRITER_UNKNOWN;
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  int asked = fcntl(fd, F_OFD_GETLK, &lock);
  close(fd);
  if (asked != 0) return WRITER_UNKNOWN;
  return lock.l_type == F_UNLCK ? WRITER_NONE : WRITER_ACTIVE;
}

static const char *sink_name(uint32_t sink) { return sink == TKS_JSON ? "json" : "sqlite"; }

static const char *status_of(const tks_day_info *day) {
  switch (day->code) {
    case TKS_OK: return "ok";
    case TKS_EFORMAT: return "newer format";
    case TKS_EDAYFILE: return "damaged";
    default: return "unreadable";
  }
}

static const char *advice_for(const tks_day_info *day) {
  switch (day->code) {
    case TKS_EFORMAT: return "read it with the newer version of tickstore that wrote it";
    case TKS_EIO: return "check the permissions of the file, then the disk (dmesg, smartctl)";
    default:
      return day->sink == TKS_JSON
                 ? "move the file out of the store; import --format jsonl takes its whole lines back in"
                 : "move the file out of the store; what is whole in it comes out with sqlite3 FILE .recover; then "
                   "import that day again";
  }
}

/* What JSON files hold is known only where they were read. */
static void write_known(cli_output *output, const tks_day_info *day, uint64_t value) {
  if (day->sink == TKS_JSON && value == 0) output_null(output);
  else output_uint(output, value);
}

static bool print_days(const day_list *days, cli_format format) {
  static const char *const columns[] = {"day",   "sink",  "status",    "quotes",  "symbols",
                                        "files", "bytes", "wal_bytes", "last_seq"};
  cli_output output;
  if (!output_begin(&output, format, columns, 9)) return false;
  for (size_t i = 0; i < days->count; i++) {
    const tks_day_info *day = &days->items[i];
    char text[TKS__UTC_TEXT_MAX];
    output_text(&output, text, tks__utc_format_day(tks__utc_day(day->day_ns), text));
    output_string(&output, sink_name(day->sink));
    output_string(&output, status_of(day));
    write_known(&output, day, day->count);
    output_uint(&output, day->symbols);
    output_uint(&output, day->files);
    output_uint(&output, day->bytes);
    output_uint(&output, day->wal_bytes);
    write_known(&output, day, day->last_seq);
    output_end_row(&output);
  }
  output_end(&output);
  cli_flush_stdout();
  return true;
}

/* The list has a day once per sink. */
static size_t distinct_days(const day_list *days) {
  size_t count = 0;
  for (size_t i = 0; i < days->count; i++) count += i == 0 || days->items[i].day_ns != days->items[i - 1].day_ns;
  return count;
}

static size_t report_problems(const char *subcommand, const day_list *days) {
  size_t problems = 0;
  for (size_t i = 0; i < days->count; i++) {
    const tks_day_info *day = &days->items[i];
    if (day->code >= 0) continue;
    problems++;
    cli_data_error(subcommand, "%s; to do: %s", day->message[0] ? day->message : tks_strerror(day->code),
                   advice_for(day));
  }
  return problems;
}

/* A write-ahead log belongs to its day file. Without a writer, one is there because the last writer died; with one, a
 * past day may still be open for late quotes. */
static void note_wals(const day_list *days, writer_state writer) {
  char bytes[HUMAN_MAX], text[TKS__UTC_TEXT_MAX];
  if (writer == WRITER_ACTIVE) return;
  for (size_t i = 0; i < days->count; i++) {
    const tks_day_info *day = &days->items[i];
    if (day->wal_bytes == 0) continue;
    tks__utc_format_day(tks__utc_day(day->day_ns), text);
    fprintf(stderr,
            "note: %s has %s of write-ahead log that no writer is working on: the last one ended without closing. "
            "Nothing is lost: readers see it, and the next writer takes it in. Until then, copy the -wal file with "
            "its day file.\n",
            text, human_bytes(day->wal_bytes, bytes));
  }
}

static int examine(const char *subcommand, tks_store *store, const doctor_options *options) {
  static const char *const writers[] = {"no writer has the store open", "a writer has the store open",
                                        "whether a writer has the store open could not be found out"};
  day_list days;
  char count[HUMAN_MAX];
  if (!list_days(subcommand, store, options->full ? TKS_CHECK_FULL : TKS_CHECK_QUICK, &days)) return CLI_DATA;
  writer_state writer = find_writer(options->store);
  bool printed = print_days(&days, options->format);
  note_wals(&days, writer);
  size_t checked = distinct_days(&days), problems = report_problems(subcommand, &days);
  fprintf(stderr, "%s: %s\n", options->store, writers[writer]);
  fprintf(stderr, "%s day%s checked%s, %s\n", human_count(checked, count), checked == 1 ? "" : "s",
          options->full ? " in full" : "; --full also reads every row",
          problems == 0 ? "no problem" : "problems found");
  free(days.items);
  return problems == 0 && printed ? CLI_OK : CLI_DATA;
}

/* tks_open has said what is wrong with the store as a whole; this adds what to do. */
static void advise_on_store(const char *subcommand, const char *path) {
  char file[4096];
  struct stat status;
  snprintf(file, sizeof file, "%s/store.json", path);
  if (stat(path, &status) != 0) cli_data_error(subcommand, "to do: check the path; nothing is there");
  else if (!S_ISDIR(status.st_mode)) cli_data_error(subcommand, "to do: a store is a directory; name that");
  else if (stat(file, &status) != 0)
    cli_data_error(subcommand, "to do: if this was a store, bring store.json back from a backup; the day files under "
                               "db/ can be read with sqlite3 without it");
  else if (access(file, R_OK) != 0) cli_data_error(subcommand, "to do: check the permissions of %s", file);
}

/* False: done, *exit_code says how. */
static bool parse_options(int argc, char **argv, doctor_options *options, int *exit_code) {
  enum { STORE = 256, FORMAT, FULL };
  static const struct option known[] = {{"store", required_argument, NULL, STORE},
                                        {"format", required_argument, NULL, FORMAT},
                                        {"full", no_argument, NULL, FULL},
                                        CLI_OPTION_HELP,
                                        {0}};
  *options = (doctor_options){.format = cli_default_format()};
  for (int option; (option = cli_option(argc, argv, ":h", known, help, exit_code)) != -1;) {
    if (option == CLI_STOP) return false;
    if (option == STORE) options->store = optarg;
    else if (option == FULL) options->full = true;
    else if (!cli_parse_format(optarg, false, &options->format)) {
      *exit_code = cli_usage_error(argv[0], "--format %s: not table, csv or json", optarg);
      return false;
    }
  }
  *exit_code = CLI_USAGE;
  if (optind < argc) {
    cli_usage_error(argv[0], "%s is one argument too many", argv[optind]);
    return false;
  }
  options->store = cli_store_path(argv[0], options->store);
  return options->store != NULL;
}

int cmd_doctor(int argc, char **argv) {
  doctor_options options;
  int exit_code = CLI_USAGE;
  if (!parse_options(argc, argv, &options, &exit_code)) return exit_code;
  tks_store *store = cli_open_for_reading(argv[0], options.store);
  if (store == NULL) {
    advise_on_store(argv[0], options.store);
    return CLI_DATA;
  }
  exit_code = examine(argv[0], store, &options);
  tks_close(store, NULL);
  return exit_code;
}
