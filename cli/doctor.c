/* doctor.c - tickstore doctor: checks every file of a store, and says what to do about what it finds.
 *
 * A problem (exit code 1) is a file that cannot be read as it should. A note is worth knowing, but needs nothing
 * done. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/name.h"
#include "base/utc.h"
#include "human.h"
#include "journal_left.h"
#include "listing.h"
#include "output.h"

static const char help[] =
    "usage: tickstore doctor [--store DIR] [--full] [--format table|csv|json]\n\n"
    "Checks the store: every day's files with their status, whether a writer has it open, write-ahead logs and a\n"
    "journal left behind, losses in the ledger, files that are not in place; and says what to do about each problem.\n"
    "The exit code is 1 if there is one.\n\n"
    "  --full           read every row too: SQLite's integrity check, counts against summaries, every JSON line, and\n"
    "                   whether SQLite and JSON of a day hold the same\n"
    "  --format FORMAT  table (on a terminal), csv (in a pipe) or json (an object per line)\n"
    "  --store DIR      the store; without it TICKSTORE_PATH\n"
    "  -h, --help       this text\n";

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

static bool day_file(const char *store, const tks_day_info *day, const char *suffix, char path[4096]) {
  char date[TKS__UTC_TEXT_MAX];
  tks__utc_format_day(tks__utc_day(day->day_ns), date);
  return (size_t)snprintf(path, 4096, "%s/db/%.4s/%.2s/ticks_%s.db%s", store, date, date + 5, date, suffix) < 4096;
}

/* Whether a writer died in the midst of changing the file: SQLite keeps readers out while there is a rollback journal with a header, and
 * the next writer plays it back. A file that was set aside is another matter. */
static bool needs_repair(const char *store, const tks_day_info *day) {
  static const unsigned char magic[8] = {0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7};
  char path[4096];
  unsigned char head[sizeof magic];
  if (day->sink != TKS_SQLITE || day->code != TKS_EDAYFILE) return false;
  if (!day_file(store, day, ".damaged-1", path) || access(path, F_OK) == 0) return false;
  if (!day_file(store, day, "-journal", path)) return false;
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return false;
  bool hot = pread(fd, head, sizeof head, 0) == (ssize_t)sizeof head && memcmp(head, magic, sizeof magic) == 0;
  close(fd);
  return hot;
}

static const char *status_of(const char *store, const tks_day_info *day) {
  if (needs_repair(store, day)) return "needs repair";
  switch (day->code) {
    case TKS_OK: return "ok";
    case TKS_EFORMAT: return "newer format";
    case TKS_EDAYFILE: return "damaged";
    default: return "unreadable";
  }
}

/* Whether a file's header says that a write-ahead log belongs to it. False if it cannot be read. */
static bool in_wal_mode(const char *path) {
  enum { READ_VERSION = 19, WAL = 2 };
  char version = 0;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  bool wal = fd >= 0 && pread(fd, &version, 1, READ_VERSION) == 1 && version == WAL;
  if (fd >= 0) close(fd);
  return wal;
}

/* SQLite reads a file with a log only with the log's index beside it, and makes that where it may. */
static bool log_needs_index(const char *store, const tks_day_info *day) {
  char date[TKS__UTC_TEXT_MAX], folder[4096], file[4096 + 64];
  if (day->sink != TKS_SQLITE || day->code != TKS_EIO) return false;
  tks__utc_format_day(tks__utc_day(day->day_ns), date);
  if ((size_t)snprintf(folder, sizeof folder, "%s/db/%.4s/%.2s", store, date, date + 5) >= sizeof folder) return false;
  (void)snprintf(file, sizeof file, "%s/ticks_%s.db", folder, date);
  if (!in_wal_mode(file)) return false;
  (void)snprintf(file, sizeof file, "%s/ticks_%s.db-shm", folder, date);
  return access(file, F_OK) != 0 && access(folder, W_OK) != 0;
}

static const char *advice_for(const char *store, const tks_day_info *day) {
  if (needs_repair(store, day))
    return "leave the file and its -journal where they are and have the program that writes the store open it once: "
           "that repairs it, and nothing is lost";
  if (log_needs_index(store, day))
    return "its write-ahead log (-wal) needs an index (-shm), which is not there and can only be made in a directory "
           "that you may write to: make the directory writable, or have the log folded in by somebody who may write "
           "(sqlite3 FILE \"PRAGMA journal_mode = DELETE\")";
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

static bool print_days(const char *store, const day_list *days, cli_format format) {
  static const char *const columns[] = {"day",   "sink",  "status",    "quotes",  "symbols",
                                        "files", "bytes", "wal_bytes", "last_seq"};
  cli_output output;
  if (!output_begin(&output, format, columns, 9)) return false;
  for (size_t i = 0; i < days->count; i++) {
    const tks_day_info *day = &days->items[i];
    char text[TKS__UTC_TEXT_MAX];
    output_text(&output, text, tks__utc_format_day(tks__utc_day(day->day_ns), text));
    output_string(&output, sink_name(day->sink));
    output_string(&output, status_of(store, day));
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

static size_t report_problems(const char *subcommand, const char *store, const day_list *days) {
  size_t problems = 0;
  for (size_t i = 0; i < days->count; i++) {
    const tks_day_info *day = &days->items[i];
    if (day->code >= 0) continue;
    problems++;
    cli_data_error(subcommand, "%s; to do: %s", day->message[0] ? day->message : tks_strerror(day->code),
                   advice_for(store, day));
  }
  return problems;
}

/* store.json has been read by tks_open, so what it says is valid. */
static bool manifest_says(const char *store, const char *what) {
  char path[4096], text[4096];
  if ((size_t)snprintf(path, sizeof path, "%s/store.json", store) >= sizeof path) return false;
  FILE *file = fopen(path, "re");
  if (file == NULL) return false;
  size_t length = fread(text, 1, sizeof text - 1, file);
  fclose(file);
  text[length] = '\0';
  return strstr(text, what) != NULL;
}

/* Whether all writers wrote both. Once they have differed, each sink may hold what the other lacks, and readers take both. */
static bool always_dual(const char *store) {
  return manifest_says(store, "\"dual\"") && !manifest_says(store, "\"mixed\": true");
}

static bool was_closed(const char *store) { return manifest_says(store, "\"clean\": true"); }

/* A write-ahead log belongs to its day file. Without a writer, one is there because the last writer died; with one, a
 * past day may still be open for late quotes. */
static void note_wals(const char *store, const day_list *days, writer_state writer) {
  char bytes[HUMAN_MAX], text[TKS__UTC_TEXT_MAX];
  const char *known =
      was_closed(store)
          ? "that no writer is working on: somebody was reading when the last one closed the store. Nothing is lost: "
            "readers see it, and the next writer takes it in"
          : "that no writer is working on: the last one ended without closing. Nothing is lost: readers see it, "
            "and the next writer takes it in";
  const char *unknown = "that a writer may be working on. If none is, the last one ended without closing; nothing is "
                        "lost: readers see it, and the next writer takes it in";
  if (writer == WRITER_ACTIVE) return;
  for (size_t i = 0; i < days->count; i++) {
    const tks_day_info *day = &days->items[i];
    if (day->wal_bytes == 0) continue;
    tks__utc_format_day(tks__utc_day(day->day_ns), text);
    fprintf(stderr, "note: %s has %s of write-ahead log %s. Until then, copy the -wal file with its day file.\n", text,
            human_bytes(day->wal_bytes, bytes), writer == WRITER_NONE ? known : unknown);
  }
}

/* Readers see what the sinks have; what waits in the journal of a writer that is gone, nobody sees until the next one. */
static void note_journal(const char *store, const journal_left *left, writer_state writer) {
  char count[HUMAN_MAX];
  if (left->records > 0 && writer != WRITER_ACTIVE)
    fprintf(stderr,
            "note: %s/journal holds %s accepted quotes that may not be in the day files yet%s. Readers do not see "
            "those; the "
            "next program that opens the store for writing puts them in place. Until then, keep the files.\n",
            store, human_count(left->records, count),
            writer != WRITER_NONE ? ". If no writer has the store open, the last one ended without closing"
            : was_closed(store)   ? ": the last writer closed the store while a sink could not take them"
                                  : ": the last writer ended without closing");
  if (left->set_aside > 0)
    fprintf(
        stderr,
        "note: %s/journal has %s file%s that could not be used and were set aside as *.damaged; what they held may be "
        "missing (tickstore gaps)\n",
        store, human_count(left->set_aside, count), left->set_aside == 1 ? "" : "s");
  if (left->unreadable > 0)
    fprintf(stderr, "note: %s of the files in %s/journal could not be read: what waits there is not known\n",
            human_count(left->unreadable, count), store);
}

static void note_gaps(tks_store *store) {
  size_t total;
  char count[HUMAN_MAX];
  tks_error error;
  if (tks_gaps(store, 0, NULL, 0, &total, &error) != TKS_OK) fprintf(stderr, "note: %s\n", error.message);
  else if (total > 0)
    fprintf(stderr, "note: %s loss%s in the gap ledger: tickstore gaps lists %s\n", human_count(total, count),
            total == 1 ? " is" : "es are", total == 1 ? "it" : "them");
}

/* -------------------------------------------------------- SQLite against JSON */

/* Beside a writer one sink may be ahead of the other, and so may it be where the journal still has something for them; in a store that
 * was not always dual each may begin and end anywhere. Only a dual store `at_rest` must hold the same in both. Returns how many
 * problems there are. */
static size_t compare_sinks(const char *subcommand, const day_list *days, const char *store, bool at_rest) {
  bool must = always_dual(store) && at_rest;
  size_t problems = 0;
  for (size_t i = 1; i < days->count; i++) {
    const tks_day_info *sqlite = &days->items[i - 1], *json = &days->items[i];
    char date[TKS__UTC_TEXT_MAX], what[160];
    if (sqlite->day_ns != json->day_ns || sqlite->code < 0 || json->code < 0) continue;
    if (sqlite->count == json->count && sqlite->symbols == json->symbols) continue;
    tks__utc_format_day(tks__utc_day(json->day_ns), date);
    if (sqlite->count > json->count)
      snprintf(what, sizeof what, "json holds %" PRIu64 " of sqlite's %" PRIu64, json->count, sqlite->count);
    else if (sqlite->count < json->count)
      snprintf(what, sizeof what, "sqlite holds %" PRIu64 " of json's %" PRIu64, sqlite->count, json->count);
    else snprintf(what, sizeof what, "json holds %" PRIu64 " symbols, sqlite %" PRIu64, json->symbols, sqlite->symbols);
    if (must) {
      problems++;
      cli_data_error(subcommand, "%s: %s; to do: %s", date, what,
                     sqlite->count >= json->count
                         ? "do not rely on the JSON of that day; readers have what SQLite holds"
                         : "what reads SQLite alone (sql, sqlite3) lacks the rest; to have it there too, import that "
                           "day's JSON files (--format jsonl) into a new store");
    } else {
      fprintf(stderr, "note: %s: %s\n", date, what);
    }
  }
  return problems;
}

/* ----------------------------------------------------------- files in place */

/* What the walk through db/ and json/ finds; the first few are named. */
typedef struct file_walk {
  const char *store;
  bool tails; /* look at the end of every JSON file */
  size_t misplaced, cut;
} file_walk;

enum { NAMED_FILES = 10 };

static void note_misplaced(file_walk *walk, const char *path, const char *why) {
  if (++walk->misplaced <= NAMED_FILES) fprintf(stderr, "note: %s/%s %s\n", walk->store, path, why);
}

/* Whether the name is prefix + date + suffix; what follows (-wal, .damaged-1) is *rest. */
static bool dated(const char *name, const char *prefix, const char *suffix, const char **rest) {
  size_t before = strlen(prefix), after = strlen(suffix);
  int32_t day;
  if (strncmp(name, prefix, before) != 0 || strlen(name) < before + 10 + after) return false;
  if (!tks__utc_parse_day(name + before, 10, &day) || strncmp(name + before + 10, suffix, after) != 0) return false;
  *rest = name + before + 10 + after;
  return true;
}

static bool set_aside(const char *rest) {
  static const char mark[] = ".damaged-";
  return strncmp(rest, mark, sizeof mark - 1) == 0 && rest[sizeof mark - 1] >= '0' && rest[sizeof mark - 1] <= '9';
}

static bool digits(const char *name, size_t count) {
  return strlen(name) == count && strspn(name, "0123456789") == count;
}

/* `folder` is "db/2026/01", `path` the entry's. */
static void look_at_day_file(file_walk *walk, const char *folder, const char *path, const char *name) {
  static const char *const beside[] = {"-wal", "-shm", "-journal"};
  char file[4096 + 512];
  const char *rest;
  if (!dated(name, "ticks_", ".db", &rest)) {
    note_misplaced(walk, path, "is not a day file by its name; nobody reads it");
    return;
  }
  if (strncmp(folder + 3, name + 6, 4) != 0 || strncmp(folder + 8, name + 11, 2) != 0) {
    note_misplaced(walk, path, "is in the folder of another month, where nobody reads it; move it to its own");
    return;
  }
  if (rest[0] == '\0' || set_aside(rest) || strcmp(rest, ".new") == 0 || strcmp(rest, ".new-journal") == 0) return;
  for (size_t i = 0; i < sizeof beside / sizeof beside[0]; i++) {
    if (strcmp(rest, beside[i]) != 0) continue;
    snprintf(file, sizeof file, "%s/%.*s", walk->store, (int)(strlen(path) - strlen(rest)), path);
    if (access(file, F_OK) != 0 && errno == ENOENT) note_misplaced(walk, path, "has lost its day file");
    return;
  }
  note_misplaced(walk, path, "is not a day file by its name; nobody reads it");
}

static void look_at_tail(file_walk *walk, const char *path) {
  char file[4096 + 512], last = '\n';
  struct stat status;
  snprintf(file, sizeof file, "%s/%s", walk->store, path);
  int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return; /* tks_days has said so */
  bool cut = fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_size > 0 &&
             pread(fd, &last, 1, status.st_size - 1) == 1 && last != '\n';
  close(fd);
  if (!cut || ++walk->cut > NAMED_FILES) return;
  fprintf(stderr,
          "note: the last line of %s is cut off (it has no line end): readers pass over it, and the next writer cuts "
          "it away\n",
          file);
}

static void look_at_json_file(file_walk *walk, const char *path, const char *name) {
  const char *rest;
  if (!dated(name, "", ".jsonl", &rest) || (rest[0] != '\0' && !set_aside(rest)))
    note_misplaced(walk, path, "is not a JSON file of a day by its name; nobody reads it");
  else if (rest[0] == '\0' && walk->tails) look_at_tail(walk, path);
}

/* Every entry below `folder` (relative to the store) that is not in its place. `level` is how deep it lies below db/ or
 * json/: db/ has years, months and files, json/ symbols and files. */
static void walk_folder(file_walk *walk, const char *folder, bool json, int level) {
  char path[4096];
  if ((size_t)snprintf(path, sizeof path, "%s/%s", walk->store, folder) >= sizeof path) return;
  DIR *directory = opendir(path);
  if (directory == NULL) return;
  int files = json ? 1 : 2;
  for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
    const char *name = entry->d_name;
    char symbol[TKS_NAME_MAX];
    struct stat status;
    size_t length;
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) continue;
    if ((size_t)snprintf(path, sizeof path, "%s/%s", folder, name) >= sizeof path) continue;
    bool known = fstatat(dirfd(directory), name, &status, 0) == 0;
    bool is_folder = known && S_ISDIR(status.st_mode);
    if (!known) continue; /* gone meanwhile */
    if (level < files && !is_folder) note_misplaced(walk, path, "is not a directory of the store; nobody reads it");
    else if (level == files && is_folder) note_misplaced(walk, path, "is a directory where only files belong");
    else if (level == files && json) look_at_json_file(walk, path, name);
    else if (level == files) look_at_day_file(walk, folder, path, name);
    else if (json ? tks__name_from_file(name, symbol, &length) : digits(name, level == 0 ? 4 : 2))
      walk_folder(walk, path, json, level + 1);
    else note_misplaced(walk, path, "is not a directory of the store; nobody reads it");
  }
  closedir(directory);
}

static void note_files(const char *store, bool tails) {
  file_walk walk = {.store = store, .tails = tails};
  walk_folder(&walk, "db", false, 0);
  walk_folder(&walk, "json", true, 0);
  if (walk.misplaced > NAMED_FILES)
    fprintf(stderr, "note: and %zu more that are not in place\n", walk.misplaced - NAMED_FILES);
  if (walk.cut > NAMED_FILES)
    fprintf(stderr, "note: and %zu more JSON files whose last line is cut off\n", walk.cut - NAMED_FILES);
}

static int examine(const char *subcommand, tks_store *store, const cli_report *options) {
  bool full = options->flag;
  static const char *const writers[] = {"no writer has the store open", "a writer has the store open",
                                        "whether a writer has the store open could not be found out"};
  day_list days;
  char count[HUMAN_MAX];
  if (!list_days(subcommand, store, full ? TKS_CHECK_FULL : TKS_CHECK_QUICK, &days)) return CLI_DATA;
  writer_state writer = find_writer(options->store);
  bool printed = print_days(options->store, &days, options->format);
  note_wals(options->store, &days, writer);
  const journal_left left = journal_left_in(options->store);
  note_journal(options->store, &left, writer);
  note_gaps(store);
  note_files(options->store, full && writer == WRITER_NONE);
  size_t checked = distinct_days(&days), problems = report_problems(subcommand, options->store, &days);
  bool at_rest = writer == WRITER_NONE && left.records == 0 && left.unreadable == 0;
  if (full) problems += compare_sinks(subcommand, &days, options->store, at_rest);
  fprintf(stderr, "%s: %s\n", options->store, writers[writer]);
  fprintf(stderr, "%s day%s checked%s, %s\n", human_count(checked, count), checked == 1 ? "" : "s",
          full ? " in full" : "; --full also reads every row", problems == 0 ? "no problem" : "problems found");
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

int cmd_doctor(int argc, char **argv) {
  cli_report options;
  int exit_code = CLI_USAGE;
  if (!cli_parse_report(argc, argv, help, "full", false, &options, &exit_code)) return exit_code;
  tks_store *store = cli_open_for_reading(argv[0], options.store);
  if (store == NULL) {
    advise_on_store(argv[0], options.store);
    return CLI_DATA;
  }
  exit_code = examine(argv[0], store, &options);
  tks_close(store, NULL);
  return exit_code;
}
