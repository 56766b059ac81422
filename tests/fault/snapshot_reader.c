/* snapshot_reader DAY_FILE SQL - another program that reads a day file with SQLite alone: begins a transaction, runs SQL,
 * which gives one integer, answers "r", and keeps its snapshot until its input ends. Then it runs SQL once more in the same
 * snapshot; exits with 0 if that gave the same. */
#include <sqlite3.h>
#include <unistd.h>

static int ask(sqlite3 *db, const char *sql, sqlite3_int64 *value) {
  sqlite3_stmt *statement = NULL;
  int rc = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);
  if (rc == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW) *value = sqlite3_column_int64(statement, 0);
  else rc = SQLITE_ERROR;
  (void)sqlite3_finalize(statement);
  return rc;
}

int main(int count, char **arguments) {
  sqlite3 *db;
  sqlite3_int64 before, after;
  char end;
  if (count != 3) return 100;
  if (sqlite3_open_v2(arguments[1], &db, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK) return 1;
  (void)sqlite3_busy_timeout(db, 60000);
  if (sqlite3_exec(db, "BEGIN", NULL, NULL, NULL) != SQLITE_OK || ask(db, arguments[2], &before) != SQLITE_OK) return 2;
  if (write(1, "r", 1) != 1) return 3;
  while (read(0, &end, 1) == 1) {
  }
  if (ask(db, arguments[2], &after) != SQLITE_OK || before != after) return 4;
  return sqlite3_close(db) == SQLITE_OK ? 0 : 5;
}
