/* sql_days.h - the day files of a store, and connections to read them.
 *
 * A connection with its prepared statement is kept when a scan ends, because a join scans the same days again and
 * again, with the same statement. Single-threaded. */
#ifndef CLI_SQL_DAYS_H
#define CLI_SQL_DAYS_H

#include <sqlite3.h>

#include "listing.h"

typedef struct sql_day {
  char *path;
  int64_t first_ns, last_ns; /* of the UTC day, inclusive */
  uint64_t bytes, wal_bytes, quotes, symbols;
  bool empty;    /* made, but nothing was ever committed to it: no damage */
  char *problem; /* why it is left out, NULL if it is not */
  bool reported;
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

/* The SQLite days of the list. False: no memory (said so). */
bool sql_days_init(sql_days *days, const char *subcommand, const char *root, const day_list *list);
void sql_days_deinit(sql_days *days);

/* A reader of a day with `sql` prepared and reset, or NULL with the SQLite code in *code. A day that cannot be read is
 * reported, an empty one is passed over; both leave *code at SQLITE_OK: the scan goes on without it. */
sql_reader *sql_days_take(sql_days *days, size_t day, const char *sql, int *code);

/* Gives it back; after an error of its statement the code says which, and whether the scan may go on is returned. */
bool sql_days_give(sql_days *days, sql_reader *reader, int code);

#endif
