/* listing.h - the store's symbols and days as arrays, and one symbol by its name. */
#ifndef CLI_LISTING_H
#define CLI_LISTING_H

#include "cli.h"

typedef struct symbol_list {
  tks_symbol_info *items; /* by name */
  size_t count;
  int code;        /* TKS_OK, or why a day was left out: see is_day_problem */
  tks_error error; /* and what about it */
} symbol_list;

typedef struct day_list {
  tks_day_info *items; /* by time, SQLite before JSON */
  size_t count;
} day_list;

/* Whether it is one day's file that cannot be read: damaged, or of a newer version. The other days can. */
static inline bool is_day_problem(int code) { return code == TKS_EDAYFILE || code == TKS_EFORMAT; }

/* Both say what is wrong and return false where there is nothing to work with. Free the items. */
bool list_symbols(const char *subcommand, tks_store *store, symbol_list *list);
bool list_days(const char *subcommand, tks_store *store, uint32_t check, day_list *list);

/* The symbol with its counts. False, after saying so and naming names that look alike, if the store has none. */
bool find_symbol(const char *subcommand, tks_store *store, const char *name, tks_symbol_info *symbol);

#endif
