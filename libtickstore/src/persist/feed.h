/* feed.h - records in memory as a table of an SQLite connection, so that one INSERT ... SELECT takes a whole batch: no statement to
 * bind, step and reset for each row, which costs more than the row itself.
 *
 * The table is called `tks_feed` and has the columns of a day file's table `quote`. Only the connection that it was made for sees it. */
#ifndef TKS_PERSIST_FEED_H
#define TKS_PERSIST_FEED_H

#include <stddef.h>
#include <stdint.h>

#include "base/record.h"

struct sqlite3;

typedef struct tks__feed {
  const tks__record *const *records;
  size_t count;
  const uint32_t *symbol_ids; /* by the process's symbol id: the file's */
  const uint32_t *source_ids; /* likewise; 0: none */
} tks__feed;

/* Makes the table; what `feed` holds when a statement runs is what it reads. `feed` is borrowed for the connection's life. An SQLite
 * code. */
int tks__feed_attach(struct sqlite3 *db, tks__feed *feed);

#endif
