/* model.h - what a store must answer, worked out the slow way: every quote that was accepted, in an array. */
#ifndef TKS_TESTS_SUPPORT_MODEL_H
#define TKS_TESTS_SUPPORT_MODEL_H

#include <stdbool.h>
#include <stddef.h>

#include "support/random.h"
#include "tickstore/tickstore.h"

#define MODEL_DAYS 5

typedef struct model {
  tks_quote *quotes; /* in order of arrival */
  bool *dropped;     /* the queue was full: in the ring only */
  size_t count, room;
  size_t session; /* the first one put since the store was opened */
  uint32_t ring_records;
} model;

void model_deinit(model *m);

/* A quote on one of a few days, of which many share a millisecond or all of their time, some lack a side or the source,
 * some stand at the very ends of a day. */
tks_quote model_quote(test_random *random, uint32_t symbols, uint32_t sources);

/* Puts it and notes what became of it. */
void model_put(model *m, tks_store *store, tks_quote quote);

/* The store was closed and opened: rings are empty. */
void model_restarted(model *m);

/* A random range over the days above. */
tks_range model_range(test_random *random, uint32_t symbols, uint32_t sources);

/* These compare the store's answer with the model's, bit for bit, and end the test where they differ. */
void model_check_range(const model *m, tks_store *store, const tks_range *range, size_t capacity);
void model_check_recent(const model *m, tks_store *store, uint32_t symbol, size_t n);
void model_check_latest(const model *m, tks_store *store, uint32_t symbols);
void model_check_symbols(const model *m, tks_store *store, uint32_t symbols);

/* For a cursor that was opened when the model was `m`: reads it to its end and closes it. */
void model_check_cursor(const model *m, tks_cursor *cursor, const tks_range *range, size_t capacity);

#endif
