/* stores.h - stores under test: made to answer fast, filled, read back, and counted without the library. */
#ifndef TKS_TESTS_SUPPORT_STORES_H
#define TKS_TESTS_SUPPORT_STORES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tickstore/tickstore.h"

#define STORE_DAY_NS INT64_C(86400000000000)
#define STORE_DAY "2024-03-05"                      /* the day that tests write to, where any day will do */
#define STORE_MIDNIGHT INT64_C(1709596800000000000) /* its beginning */
#define STORE_NOON (STORE_MIDNIGHT + STORE_DAY_NS / 2)

/* Production defaults, but nothing is throttled and retries come soon. */
tks_config store_config(uint32_t backend);

/* No journal, and a queue that two blocks of 16 records fill. */
void store_tiny_queue(tks_config *config);

/* These end the test when they fail. */
tks_store *store_open(const char *dir, const tks_config *config);
void store_close(tks_store *store);
void store_flush(tks_store *store);
uint32_t store_symbol(tks_store *store, const char *name);
uint32_t store_source(tks_store *store, const char *name);
uint64_t store_put(tks_store *store, uint32_t symbol, int64_t ts_ns, double bid, double ask);
tks_store_stats store_stats(tks_store *store);

/* A range over everything of a symbol. */
tks_range store_range(uint32_t symbol);

/* Reads a range to its end in pieces of `capacity`; free() the result. Ends the test on any code but TKS_OK. */
tks_quote *store_read(tks_store *store, const tks_range *range, size_t capacity, size_t *count);

/* Ditto, but goes on after TKS_EDAYFILE and TKS_EDEADLINE and counts the former; another code goes to *code and ends it. */
tks_quote *store_read_on(tks_store *store, const tks_range *range, size_t capacity, size_t *count, size_t *damaged,
                         int *code);

/* Waits until a condition on the statistics holds; false after WAIT_LIMIT_S. */
bool store_wait(tks_store *store, bool (*condition)(const tks_store_stats *stats, void *context), void *context);

/* accepted + recovered = written + backlog + lost + dropped, for each sink that is on; says on stderr what does not
 * fit. */
bool store_adds_up(const tks_store_stats *stats);

/* ---- what lies on disk, looked at without the library */

/* ROOT/db/2024/03/ticks_2024-03-05.db and the like; `path` has room for PATH_MAX. */
void store_day_path(const char *dir, const char *day, char *path);
/* What lies there is no day file any more. */
void store_spoil_day(const char *dir, const char *day);
void store_json_path(const char *dir, const char *symbol, const char *day, char *path);

/* SELECT ... that gives one integer, on one file; -1 if it fails. */
int64_t sqlite_integer(const char *path, const char *sql);

/* Rows of the ticks views, and lines of the JSON files, over all days; files set aside are left out. */
uint64_t store_sqlite_rows(const char *dir);
uint64_t store_json_lines(const char *dir);

/* Distinct sequence numbers of the same; equal to the above if nothing is there twice. */
uint64_t store_sqlite_seqs(const char *dir);
uint64_t store_json_seqs(const char *dir);

/* Of all names and contents below a directory: equal before and after if nothing changed. */
uint64_t tree_digest(const char *dir);

bool path_exists(const char *path);
void write_file(const char *path, const void *bytes, size_t length);
char *read_file(const char *path, size_t *length); /* free() */
void make_dirs(const char *path);                  /* with its parents */

#endif
