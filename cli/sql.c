/* sql.c - tickstore sql: an SQL query over all days.
 *
 * The query runs on a connection in memory, in which `ticks` is the virtual table of sql_vtab.h, and `days` and
 * `symbols` are small tables filled beforehand, the latter if the query names it. An authorizer refuses everything but reading. */
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/utc.h"
#include "human.h"
#include "output.h"
#include "sql_vtab.h"

static const char help[] =
    "usage: tickstore sql [--store DIR] [--format table|csv|json] [--timing] \"SELECT ...\"\n"
    "       tickstore sql [--store DIR] - < FILE\n\n"
    "SQL (SQLite's) over all days of a store, for reading. One statement, or several separated by semicolons.\n\n"
    "  ticks    id, symbol, timestamp (Unix ms), bid, ask, spread, lp_source, created_at (Unix ms), timestamp_ns,\n"
    "           bid_size, ask_size, flags: as the view ticks of each day file\n"
    "  days     day, path, bytes, wal_bytes, quotes, symbols, problem\n"
    "  symbols  symbol, count, first_ns, last_ns\n\n"
    "Conditions on symbol and time (timestamp, timestamp_ns) read only what they need of the days that they need.\n"
    "A day that cannot be read, or that is held as JSON only, is named on stderr and left out; the exit code is 1.\n\n"
    "  --format FORMAT  table (on a terminal), csv (in a pipe) or json (an object per line); a BLOB is written in hex\n"
    "  --timing         rows and time of each statement on stderr\n"
    "  --store DIR      the store; without it TICKSTORE_PATH\n"
    "  -h, --help       this text\n";

enum { MAX_SQL_BYTES = 1 << 26 };

typedef struct sql_options {
  const char *store, *sql;
  bool timing;
  cli_format format;
} sql_options;

/* ------------------------------------------------------------- statements */

static int authorize(void *context, int action, const char *a, const char *b, const char *c, const char *d) {
  static const char *const pragmas[] = {"table_info", "table_xinfo", "table_list", "function_list", "compile_options"};
  (void)context, (void)b, (void)c, (void)d;
  switch (action) {
    case SQLITE_SELECT:
    case SQLITE_READ:
    case SQLITE_RECURSIVE:
    case SQLITE_FUNCTION: return SQLITE_OK; /* loading extensions is off by default */
    case SQLITE_PRAGMA:
      for (size_t i = 0; i < sizeof pragmas / sizeof pragmas[0]; i++) {
        if (sqlite3_stricmp(a, pragmas[i]) == 0) return SQLITE_OK;
      }
      return SQLITE_DENY;
    default: return SQLITE_DENY;
  }
}

static int sql_error(const char *subcommand, sqlite3 *db, int code) {
  if (code == SQLITE_AUTH) return cli_data_error(subcommand, "only reading is allowed: %s", sqlite3_errmsg(db));
  return cli_data_error(subcommand, "%s", sqlite3_errmsg(db));
}

static void write_cell(cli_output *output, sqlite3_stmt *statement, int column) {
  switch (sqlite3_column_type(statement, column)) {
    case SQLITE_NULL: output_null(output); break;
    case SQLITE_INTEGER: output_int(output, sqlite3_column_int64(statement, column)); break;
    case SQLITE_FLOAT: output_real(output, sqlite3_column_double(statement, column)); break;
    case SQLITE_BLOB: {
      const void *bytes = sqlite3_column_blob(statement, column);
      output_hex(output, bytes, (size_t)sqlite3_column_bytes(statement, column));
      break;
    }
    default: {
      const char *text = (const char *)sqlite3_column_text(statement, column);
      output_text(output, text != NULL ? text : "", (size_t)sqlite3_column_bytes(statement, column));
    }
  }
}

static void print_timing(uint64_t rows, int64_t elapsed_ns) {
  char count[HUMAN_MAX], time[HUMAN_MAX];
  cli_flush_stdout();
  fprintf(stderr, "%s row%s in %s\n", human_count(rows, count), rows == 1 ? "" : "s", human_duration(elapsed_ns, time));
}

/* Steps through one statement and prints its rows. Returns SQLite's last code, SQLITE_DONE if all is well. */
static int print_rows(sqlite3_stmt *statement, const char *const *names, int columns, const sql_options *options) {
  cli_output output;
  uint64_t rows = 0;
  int64_t started = cli_monotonic_ns();
  int code = sqlite3_step(statement);
  if (code != SQLITE_ROW && code != SQLITE_DONE) return code; /* before the header: an error has no table */
  if (!output_begin(&output, options->format, names, columns)) return SQLITE_NOMEM;
  for (; code == SQLITE_ROW && !output.failed; code = sqlite3_step(statement)) {
    for (int i = 0; i < columns; i++) write_cell(&output, statement, i);
    output_end_row(&output);
    rows++;
  }
  output_end(&output);
  if (options->timing) print_timing(rows, cli_monotonic_ns() - started);
  return code == SQLITE_ROW ? SQLITE_DONE : code; /* stdout takes no more: main says why */
}

static int run_statement(const char *subcommand, sqlite3 *db, sqlite3_stmt *statement, const sql_options *options) {
  int columns = sqlite3_column_count(statement);
  const char **names = calloc((size_t)columns + 1, sizeof *names);
  if (names == NULL) return cli_data_error(subcommand, "out of memory");
  for (int i = 0; i < columns; i++) {
    names[i] = sqlite3_column_name(statement, i);
    if (names[i] == NULL) names[i] = "";
  }
  int code = columns > 0 ? print_rows(statement, names, columns, options) : sqlite3_step(statement);
  free(names);
  return code == SQLITE_DONE ? CLI_OK : sql_error(subcommand, db, code);
}

static int run_all(const char *subcommand, sqlite3 *db, const sql_options *options) {
  int exit_code = CLI_OK, done = 0;
  const char *sql = options->sql;
  while (exit_code == CLI_OK && *sql != '\0') {
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(db, sql, -1, &statement, &sql);
    if (code != SQLITE_OK) return sql_error(subcommand, db, code);
    if (statement == NULL) continue; /* blanks or a comment */
    if (done++ > 0 && options->format == CLI_TABLE) putchar('\n');
    exit_code = run_statement(subcommand, db, statement, options);
    sqlite3_finalize(statement);
  }
  if (exit_code == CLI_OK && done == 0) return cli_usage_error(subcommand, "there is no statement in the SQL text");
  return exit_code;
}

/* ------------------------------------------------------------ small tables */

static int fill_days(sqlite3 *db, const sql_days *days) {
  sqlite3_stmt *insert = NULL;
  sqlite3_exec(db,
               "CREATE TABLE days(day TEXT, path TEXT, bytes INTEGER, wal_bytes INTEGER, quotes INTEGER,"
               " symbols INTEGER, problem TEXT)",
               NULL, NULL, NULL);
  int code = sqlite3_prepare_v2(db, "INSERT INTO days VALUES(?, ?, ?, ?, ?, ?, ?)", -1, &insert, NULL);
  for (size_t i = 0; code == SQLITE_OK && i < days->count; i++) {
    const sql_day *day = &days->items[i];
    char text[TKS__UTC_TEXT_MAX];
    tks__utc_format_day(tks__utc_day(day->first_ns), text);
    sqlite3_bind_text(insert, 1, text, -1, SQLITE_TRANSIENT);
    sqlite3_bind_text(insert, 2, day->path, -1, SQLITE_STATIC); /* NULL for JSON, whose files are many */
    sqlite3_bind_int64(insert, 3, (sqlite3_int64)day->bytes);
    sqlite3_bind_int64(insert, 4, (sqlite3_int64)day->wal_bytes);
    if (day->path == NULL) sqlite3_bind_null(insert, 5); /* not known without reading the lines */
    else sqlite3_bind_int64(insert, 5, (sqlite3_int64)day->quotes);
    sqlite3_bind_int64(insert, 6, (sqlite3_int64)day->symbols);
    sqlite3_bind_text(insert, 7, day->problem, -1, SQLITE_STATIC);
    sqlite3_step(insert);
    code = sqlite3_reset(insert);
  }
  sqlite3_finalize(insert);
  return code;
}

static int insert_symbols(sqlite3 *db, const symbol_list *list) {
  sqlite3_stmt *insert = NULL;
  sqlite3_exec(db, "CREATE TABLE symbols(symbol TEXT PRIMARY KEY, count INTEGER, first_ns INTEGER, last_ns INTEGER)",
               NULL, NULL, NULL);
  int code = sqlite3_prepare_v2(db, "INSERT INTO symbols VALUES(?, ?, ?, ?)", -1, &insert, NULL);
  for (size_t i = 0; code == SQLITE_OK && i < list->count; i++) {
    const tks_symbol_info *symbol = &list->items[i];
    sqlite3_bind_text(insert, 1, symbol->name, (int)symbol->name_length, SQLITE_STATIC);
    sqlite3_bind_int64(insert, 2, (sqlite3_int64)symbol->count);
    sqlite3_bind_int64(insert, 3, symbol->first_ns);
    sqlite3_bind_int64(insert, 4, symbol->last_ns);
    sqlite3_step(insert);
    code = sqlite3_reset(insert);
  }
  sqlite3_finalize(insert);
  return code;
}

static int fill_symbols(sqlite3 *db, tks_store *store, sql_days *days) {
  symbol_list list;
  if (!list_symbols(days->subcommand, store, &list)) return SQLITE_NOMEM;
  int code = insert_symbols(db, &list);
  if (list.code < 0) {
    days->damaged = true;
    cli_data_error(days->subcommand, "%s", list.error.message);
  }
  free(list.items);
  return code;
}

/* --------------------------------------------------------------- the query */

/* `symbols` costs a look into every day file, so it is filled only where the text names it: at worst in vain. */
static int query(const char *subcommand, tks_store *store, sql_days *days, const sql_options *options) {
  sqlite3 *db = NULL;
  int code = sqlite3_open_v2(":memory:", &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
  if (code == SQLITE_OK) code = sql_vtab_register(db, days);
  if (code == SQLITE_OK) code = fill_days(db, days);
  if (code == SQLITE_OK && strcasestr(options->sql, "symbols") != NULL) code = fill_symbols(db, store, days);
  if (code == SQLITE_OK) code = sqlite3_set_authorizer(db, authorize, NULL);
  int exit_code = code == SQLITE_OK ? run_all(subcommand, db, options) : sql_error(subcommand, db, code);
  sqlite3_close(db);
  sql_days_report_json(days);
  return exit_code == CLI_OK && days->damaged ? CLI_DATA : exit_code;
}

static int run_query(const char *subcommand, tks_store *store, const sql_options *options) {
  day_list list;
  sql_days days;
  if (!list_days(subcommand, store, TKS_CHECK_QUICK, &list)) return CLI_DATA;
  bool ready = sql_days_init(&days, subcommand, options->store, &list);
  free(list.items);
  if (!ready) return CLI_DATA;
  int exit_code = query(subcommand, store, &days, options);
  sql_days_deinit(&days);
  return exit_code;
}

/* ----------------------------------------------------------------- command */

static char *read_stdin(const char *subcommand) {
  size_t length = 0, capacity = 1 << 16;
  char *text = malloc(capacity);
  while (text != NULL) {
    length += fread(text + length, 1, capacity - length - 1, stdin);
    text[length] = '\0';
    if (feof(stdin)) return text;
    if (ferror(stdin) || capacity >= MAX_SQL_BYTES) break;
    if (length + 1 < capacity) continue;
    char *grown = realloc(text, capacity *= 2);
    if (grown == NULL) break;
    text = grown;
  }
  free(text);
  cli_data_error(subcommand, "cannot read the SQL text from standard input");
  return NULL;
}

/* False: done, *exit_code says how. */
static bool parse_options(int argc, char **argv, sql_options *options, int *exit_code) {
  enum { STORE = 256, FORMAT, TIMING };
  static const struct option known[] = {{"store", required_argument, NULL, STORE},
                                        {"format", required_argument, NULL, FORMAT},
                                        {"timing", no_argument, NULL, TIMING},
                                        CLI_OPTION_HELP,
                                        {0}};
  *options = (sql_options){.format = cli_default_format()};
  for (int option; (option = cli_option(argc, argv, ":h", known, help, exit_code)) != -1;) {
    if (option == CLI_STOP) return false;
    if (option == STORE) options->store = optarg;
    else if (option == TIMING) options->timing = true;
    else if (!cli_parse_format(optarg, false, &options->format)) {
      *exit_code = cli_usage_error(argv[0], "--format %s: not table, csv or json", optarg);
      return false;
    }
  }
  *exit_code = CLI_USAGE;
  if (argc - optind != 1) {
    cli_usage_error(argv[0],
                    optind >= argc ? "which query? give it as one argument, or - for standard input"
                                   : "one query, in quotes; %s is one argument too many",
                    argv[argc - 1]);
    return false;
  }
  options->sql = argv[optind];
  options->store = cli_store_path(argv[0], options->store);
  return options->store != NULL;
}

int cmd_sql(int argc, char **argv) {
  sql_options options;
  int exit_code = CLI_USAGE;
  if (!parse_options(argc, argv, &options, &exit_code)) return exit_code;
  char *text = NULL;
  if (strcmp(options.sql, "-") == 0 && (options.sql = text = read_stdin(argv[0])) == NULL) return CLI_DATA;
  tks_store *store = cli_open_for_reading(argv[0], options.store);
  exit_code = CLI_DATA;
  if (store != NULL) exit_code = run_query(argv[0], store, &options);
  tks_close(store, NULL);
  free(text);
  return exit_code;
}
