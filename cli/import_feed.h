/* import_feed.h - the way into the store: names to ids, arrays of quotes, and room in the queue before each
 * of them.
 *
 * Nothing may be dropped on the way. So an array is only given to the store when its whole length fits
 * into the queue; while it does not, or while a sink is in trouble, the feed waits, and gives up when
 * nothing has been written for a minute. The blocking queue policy behind it is a second line of defence. */
#ifndef CLI_IMPORT_FEED_H
#define CLI_IMPORT_FEED_H

#include "import_recovery.h"
#include "import_report.h"

enum { IMPORT_ARRAY = 4096 };

typedef struct import_name {
  uint32_t id; /* 0: free */
  uint32_t length;
  char text[TKS_NAME_MAX];
} import_name;

enum { IMPORT_NAMES = 1024 };

typedef struct import_feed {
  tks_store *store;
  import_report *report;
  size_t capacity; /* of the array: 1 where each row must be known to be in before the next is read */
  size_t count;
  tks_quote quotes[IMPORT_ARRAY];
  uint64_t numbers[IMPORT_ARRAY]; /* line or record of each */
  int32_t codes[IMPORT_ARRAY];
  import_name symbols[IMPORT_NAMES]; /* by hash of the name; a collision replaces */
  import_name sources[IMPORT_NAMES];
  const char *path; /* of the file being read, for refusals */
  const char *unit;
  import_recovery *recovery; /* rows that it knows are passed over; NULL: none */
  import_counts counts;      /* of this file in this run */
  const char *root;
  uint32_t backend;
  uint64_t unwritten; /* after a failed close: rows that are not on disk, or not known to be */
  char error[320];    /* why the import cannot go on */
} import_feed;

typedef struct import_store {
  const char *path;
  uint32_t backend;      /* TKS_SQLITE, TKS_JSON, TKS_DUAL */
  double throttle;       /* negative: off */
  const char *broker_id; /* NULL: the default */
} import_store;

/* Opens the store for writing; on false, feed->error says why. `report` gets the counts and refusals. */
bool import_feed_open(import_feed *feed, const import_store *settings, import_report *report);

/* Puts what the array holds, waits until all is durable and closes. False: feed->error says what was not
 * written. */
bool import_feed_close(import_feed *feed);

void import_feed_begin_file(import_feed *feed, const char *path, const char *unit);

/* Adds a row, whose names must be filled in (a source may be empty), and puts the array when it is full.
 * False: the import cannot go on. A row that is refused is counted and reported. */
bool import_feed_add(import_feed *feed, import_row *row, uint64_t number);

/* Counts and reports a row that the reader refused. */
void import_feed_refuse(import_feed *feed, uint64_t number, const import_reason *reason);

/* Puts what the array holds. */
bool import_feed_put(import_feed *feed);

/* Puts and waits until everything is on stable storage. */
bool import_feed_flush(import_feed *feed);

#endif
