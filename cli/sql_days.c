/* sql_days.c - the day files of a store, and connections to read them. */
#include "sql_days.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/utc.h"

enum {
  IDLE_READERS = 64,
  BUSY_TIMEOUT_MS = 5000,
  MMAP_BYTES = 256 << 20,
  NAMED_DAYS = 5,
  APPLICATION_ID = 0x544b5331,
  MAX_FORMAT = 1
};

/* -------------------------------------------------------------------- days */

static char *day_path(const char *root, int32_t day) {
  char date[TKS__UTC_TEXT_MAX];
  tks__utc_format_day(day, date);
  size_t length = strlen(root);
  while (length > 1 && root[length - 1] == '/') length--;
  char *path = NULL;
  int size = asprintf(&path, "%.*s/db/%.4s/%.2s/ticks_%s.db", (int)length, root, date, date + 5, date);
  return size < 0 ? NULL : path;
}

static bool add_day(sql_days *days, const char *root, const tks_day_info *info) {
  int32_t number = tks__utc_day(info->day_ns);
  bool json = info->sink == TKS_JSON;
  sql_day *day = &days->items[days->count];
  day->path = json ? NULL : day_path(root, number);
  day->first_ns = tks__utc_day_start_ns(number);
  day->last_ns = day->first_ns > INT64_MAX - TKS__NS_PER_DAY ? INT64_MAX : day->first_ns + TKS__NS_PER_DAY - 1;
  day->bytes = info->bytes;
  day->wal_bytes = info->wal_bytes;
  day->quotes = info->count;
  day->symbols = info->symbols;
  if (day->path == NULL && !json) return false;
  days->quotes += day->quotes;
  days->count++;
  if (json) day->problem = strdup("held as JSON only");
  else if (info->code < 0) day->problem = strdup(info->message[0] != '\0' ? info->message : tks_strerror(info->code));
  else return true;
  return day->problem != NULL;
}

bool sql_days_init(sql_days *days, const char *subcommand, const char *root, const day_list *list) {
  memset(days, 0, sizeof *days);
  days->subcommand = subcommand;
  days->items = calloc(list->count + 1, sizeof *days->items);
  bool whole = days->items != NULL;
  for (size_t i = 0; whole && i < list->count; i++) {
    const tks_day_info *info = &list->items[i];
    bool again = i > 0 && info[-1].day_ns == info->day_ns; /* SQLite comes before JSON */
    if (info->sink == TKS_SQLITE || !again) whole = add_day(days, root, info);
  }
  if (whole) return true;
  sql_days_deinit(days);
  cli_data_error(subcommand, "out of memory");
  return false;
}

static void report(sql_days *days, size_t number, const char *message) {
  sql_day *day = &days->items[number];
  days->damaged = true;
  if (day->reported) return;
  day->reported = true;
  if (strstr(message, strrchr(day->path, '/') + 1) != NULL) cli_data_error(days->subcommand, "%s", message);
  else cli_data_error(days->subcommand, "%s: %s", day->path, message);
}

void sql_days_report_json(const sql_days *days) {
  size_t left_out = 0;
  for (size_t i = 0; i < days->count; i++) {
    const sql_day *day = &days->items[i];
    char date[TKS__UTC_TEXT_MAX];
    if (day->path != NULL || !day->reported || ++left_out > NAMED_DAYS) continue;
    tks__utc_format_day(tks__utc_day(day->first_ns), date);
    cli_data_error(days->subcommand, "%s is held as JSON only and is not in sql's answer", date);
  }
  if (left_out > NAMED_DAYS) {
    cli_data_error(days->subcommand, "and %zu more days are held as JSON only, %zu in all; the table days lists them",
                   left_out - NAMED_DAYS, left_out);
  }
}

/* ----------------------------------------------------------------- readers */

static void free_reader(sql_reader *reader) {
  sqlite3_finalize(reader->statement);
  sqlite3_close(reader->db);
  free(reader->sql);
  free(reader);
}

void sql_days_deinit(sql_days *days) {
  for (sql_reader *next, *reader = days->idle; reader != NULL; reader = next) {
    next = reader->next;
    free_reader(reader);
  }
  for (size_t i = 0; days->items != NULL && i < days->count; i++) {
    free(days->items[i].path);
    free(days->items[i].problem);
  }
  free(days->items);
  memset(days, 0, sizeof *days);
}

/* file:PATH?mode=ro, with what has a meaning in a URI escaped. */
static char *read_only_uri(const char *path) {
  static const char hex[] = "0123456789ABCDEF";
  char *uri = malloc(3 * strlen(path) + 32), *out = uri;
  if (uri == NULL) return NULL;
  out += sprintf(out, path[0] == '/' ? "file://" : "file:");
  for (const unsigned char *in = (const unsigned char *)path; *in != '\0'; in++) {
    if (*in == '?' || *in == '#' || *in == '%' || *in < 0x20 || *in >= 0x7f) {
      *out++ = '%';
      *out++ = hex[*in >> 4];
      *out++ = hex[*in & 15];
    } else {
      *out++ = (char)*in;
    }
  }
  memcpy(out, "?mode=ro", sizeof "?mode=ro");
  return uri;
}

static int open_day(const char *path, sqlite3 **db) {
  char *uri = read_only_uri(path);
  if (uri == NULL) return SQLITE_NOMEM;
  int code = sqlite3_open_v2(uri, db, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX, NULL);
  free(uri);
  if (code != SQLITE_OK) return code;
  char pragma[64];
  snprintf(pragma, sizeof pragma, "PRAGMA mmap_size = %d", MMAP_BYTES);
  sqlite3_busy_timeout(*db, BUSY_TIMEOUT_MS);
  sqlite3_exec(*db, pragma, NULL, NULL, NULL); /* only faster: of no matter if refused */
  return SQLITE_OK;
}

static bool ask(sqlite3 *db, const char *sql, sqlite3_stmt **statement, int *code) {
  *code = sqlite3_prepare_v2(db, sql, -1, statement, NULL);
  if (*code == SQLITE_OK) *code = sqlite3_step(*statement);
  return *code == SQLITE_ROW;
}

/* What an integer pragma or COUNT(*) says; -1, with *code not SQLITE_ROW, where it cannot be read. */
static int64_t ask_number(sqlite3 *db, const char *sql, int *code) {
  sqlite3_stmt *statement = NULL;
  int64_t value = ask(db, sql, &statement, code) ? sqlite3_column_int64(statement, 0) : -1;
  sqlite3_finalize(statement);
  return value;
}

/* The meta table's day, "" where there is none. */
static void ask_day(sqlite3 *db, char date[TKS__UTC_TEXT_MAX]) {
  sqlite3_stmt *statement = NULL;
  int code;
  bool found = ask(db, "SELECT value FROM meta WHERE key = 'day'", &statement, &code);
  const char *text = found ? (const char *)sqlite3_column_text(statement, 0) : NULL;
  snprintf(date, TKS__UTC_TEXT_MAX, "%s", text != NULL ? text : "");
  sqlite3_finalize(statement);
}

/* Whether an open file is that day's file, as the library asks too: `why` says what it is instead. False with an empty
 * `why`: SQLite cannot tell, for the reason in *code. */
static bool is_day_file(sqlite3 *db, const sql_day *day, char *why, size_t size, int *code) {
  static const char tables[] = "SELECT COUNT(*) FROM sqlite_schema WHERE (type, name) IN (VALUES('table', 'meta'),"
                               " ('table', 'symbol'), ('table', 'source'), ('table', 'quote'), ('view', 'ticks'))";
  char date[TKS__UTC_TEXT_MAX], found[TKS__UTC_TEXT_MAX];
  struct stat status;
  why[0] = '\0';
  int64_t id = ask_number(db, "PRAGMA application_id", code);
  if (*code != SQLITE_ROW) return false;
  int64_t named = ask_number(db, tables, code);
  if (*code != SQLITE_ROW) return false;
  int64_t format = ask_number(db, "PRAGMA user_version", code);
  if (*code != SQLITE_ROW) return false;
  *code = SQLITE_OK;
  tks__utc_format_day(tks__utc_day(day->first_ns), date);
  ask_day(db, found);
  if (id != APPLICATION_ID && stat(day->path, &status) == 0 && status.st_size == 0)
    snprintf(why, size, "damaged: the file is empty");
  else if (id != APPLICATION_ID) snprintf(why, size, "not a day file: application_id is 0x%" PRIx64, (uint64_t)id);
  else if (format > MAX_FORMAT)
    snprintf(why, size, "of format %" PRId64 ", which is newer than this program reads", format);
  else if (named != 5) snprintf(why, size, "damaged: tables or the view ticks are missing");
  else if (strcmp(found, date) != 0)
    snprintf(why, size, "damaged: by its meta table it is the file of %s", found[0] != '\0' ? found : "no day");
  return why[0] == '\0';
}

/* These concern the query as a whole; any other failure is that of one day. */
static bool stops_scan(int code) { return (code & 0xff) == SQLITE_NOMEM || (code & 0xff) == SQLITE_INTERRUPT; }

static sql_reader *take_idle(sql_days *days, size_t day) {
  for (sql_reader **link = &days->idle; *link != NULL; link = &(*link)->next) {
    sql_reader *reader = *link;
    if (reader->day != day) continue;
    *link = reader->next;
    days->idle_count--;
    return reader;
  }
  return NULL;
}

static int prepare(sql_reader *reader, const char *sql) {
  if (reader->sql != NULL && strcmp(reader->sql, sql) == 0) return SQLITE_OK;
  sqlite3_finalize(reader->statement);
  free(reader->sql);
  reader->statement = NULL;
  reader->sql = strdup(sql);
  if (reader->sql == NULL) return SQLITE_NOMEM;
  return sqlite3_prepare_v2(reader->db, sql, -1, &reader->statement, NULL);
}

sql_reader *sql_days_take(sql_days *days, size_t day, const char *sql, int *code) {
  *code = SQLITE_OK;
  char why[128] = "";
  if (days->items[day].path == NULL) {
    days->items[day].reported = true;
    days->damaged = true;
    return NULL;
  }
  if (days->items[day].problem != NULL) {
    report(days, day, days->items[day].problem);
    return NULL;
  }
  sql_reader *reader = take_idle(days, day);
  if (reader == NULL && (reader = calloc(1, sizeof *reader)) == NULL) {
    *code = SQLITE_NOMEM;
    return NULL;
  }
  reader->day = day;
  bool ours = true;
  if (reader->db == NULL && (*code = open_day(days->items[day].path, &reader->db)) == SQLITE_OK)
    ours = is_day_file(reader->db, &days->items[day], why, sizeof why, code);
  if (*code == SQLITE_OK && ours) *code = prepare(reader, sql);
  if (*code == SQLITE_OK && ours) return reader;

  if (!stops_scan(*code)) {
    report(days, day, why[0] != '\0' ? why : reader->db != NULL ? sqlite3_errmsg(reader->db) : sqlite3_errstr(*code));
    *code = SQLITE_OK;
  }
  free_reader(reader);
  return NULL;
}

bool sql_days_give(sql_days *days, sql_reader *reader, int code) {
  bool whole = code == SQLITE_OK || code == SQLITE_ROW || code == SQLITE_DONE;
  if (!whole && !stops_scan(code)) report(days, reader->day, sqlite3_errmsg(reader->db));
  if (!whole || days->idle_count >= IDLE_READERS) {
    free_reader(reader);
  } else {
    sqlite3_reset(reader->statement); /* ends its read transaction: the writer's log may be reused */
    sqlite3_clear_bindings(reader->statement);
    reader->next = days->idle;
    days->idle = reader;
    days->idle_count++;
  }
  return whole || !stops_scan(code);
}
