/* sql_days.h - the day files of a store, and connections to read them.
 *
 * Days that only JSON files hold are in the list too, so that a scan that would need them can say so.
 *
 * A connection with its prepared statement is kept when a scan ends, because a join scans the same days again and
 * again, with the same statement. Single-threaded. */
#ifndef CLI_SQL_DAYS_H
#define CLI_SQL_DAYS_H

#include <sqlite3.h>

#include "listing.h"

typedef struct sql_day {
  char *path;                /* NULL: held as JSON only */
  int64_t first_ns, last_ns; /* of the UTC day, inclusive */
  uint64_t bytes, wal_bytes, quotes, symbols;
  char *problem; /* why it is left out, NULL if it is not */
  bool reported; /* of a day without a path: a scan passed over it, and sql_days_report_json is to name it */
} sql_day;

/* An open day file and the statement that was last prepared on it. */
typedef struct sql_reader {
  size_t day;
  sqlite3 *db;
  sqlite3_stmt *statement;
  char *sql;
  struct sql_reader *next;
} sql_reader;

typedef struct sql_days {
  const char *subcommand; /* for messages */
  sql_day *items;         /* ascending */
  size_t count;
  uint64_t quotes;  /* of all */
  sql_reader *idle; /* most recently used first */
  size_t idle_count;
  bool damaged; /* a day was left out, or only a part of it was read */
} sql_days;

/* The days of the list, each once. False: no memory (said so). */
bool sql_days_init(sql_days *days, const char *subcommand, const char *root, const day_list *list);
void sql_days_deinit(sql_days *days);

/* A reader of a day with `sql` prepared and reset, or NULL with the SQLite code in *code. A day that cannot be read is
 * reported, one that is JSON only is remembered; both leave *code at SQLITE_OK: the scan goes on without it. */
sql_reader *sql_days_take(sql_days *days, size_t day, const char *sql, int *code);

/* Gives it back; after an error of its statement the code says which, and whether the scan may go on is returned. */
bool sql_days_give(sql_days *days, sql_reader *reader, int code);

/* Names the days that scans passed over because only JSON files hold them. */
void sql_days_report_json(const sql_days *days);

#endif
