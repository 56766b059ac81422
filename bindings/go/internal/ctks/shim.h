/* shim.h - the calls that Go makes often, in the form that costs it least.
 *
 * Whatever Go passes to C by pointer moves to its heap (before Go 1.24), so quotes and results travel by value, and an
 * error is allocated only when there is one: it belongs to the caller, who frees it. NULL with a negative code means
 * that there was no memory for it. */
#ifndef TICKSTORE_GO_SHIM_H
#define TICKSTORE_GO_SHIM_H

#include <tickstore/tickstore.h>

/* A tks_store as a number: Go would check a pointer, and before Go 1.20 allocate for the check. */
typedef uintptr_t tks_go_store;

typedef struct tks_go_number {
  uint64_t value; /* sequence number */
  tks_error *error;
  int32_t code;
} tks_go_number;

typedef struct tks_go_quote {
  tks_quote quote;
  tks_error *error;
  int32_t code;
} tks_go_quote;

typedef struct tks_go_batch {
  tks_put_result result;
  tks_error *error;
  int32_t code;
} tks_go_batch;

tks_go_number tks_go_put_quote(tks_go_store store, tks_quote quote);
tks_go_number tks_go_put(tks_go_store store, const char *symbol, size_t symbol_length, double bid, double ask,
                         const char *source, size_t source_length, int64_t ts_ns);
tks_go_batch tks_go_put_quotes(tks_go_store store, const tks_quote *quotes, size_t count, int32_t *codes);
tks_go_quote tks_go_latest(tks_go_store store, uint32_t symbol);
tks_go_number tks_go_durable_seq(tks_go_store store);

/* tks_open with what Go cannot put into a tks_config itself. log_handle 0: no log. */
int tks_go_open(const char *path, size_t path_length, const tks_config *config, const char *broker_id,
                size_t broker_id_length, uintptr_t log_handle, tks_store **store, tks_error *error);

#endif
