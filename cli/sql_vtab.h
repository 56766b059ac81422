/* sql_vtab.h - the virtual table `ticks`: the `ticks` views of all day files as one table.
 *
 * Its columns are those of the view. Comparisons of symbol (=) and of timestamp and timestamp_ns (=, <, <=, >, >=,
 * BETWEEN) choose the days and go down into each day's query, as does an ORDER BY time; only the columns that the
 * statement needs are read. Everything that is pushed down is checked again by SQLite above: pushing down may be
 * coarse but must never lose a row. */
#ifndef CLI_SQL_VTAB_H
#define CLI_SQL_VTAB_H

#include "sql_days.h"

/* Makes `ticks` known to the connection; `days` must outlive it. Returns an SQLite code. */
int sql_vtab_register(sqlite3 *db, sql_days *days);

#endif
