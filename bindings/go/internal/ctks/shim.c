#include "shim.h"

#include <stdlib.h>

#include "_cgo_export.h"

static tks_error *keep(const tks_error *error) {
  tks_error *kept = malloc(sizeof *kept);
  if (kept != NULL) *kept = *error;
  return kept;
}

static tks_go_number number(int code, uint64_t value, const tks_error *error) {
  return (tks_go_number){.value = value, .error = code < 0 ? keep(error) : NULL, .code = code};
}

tks_go_number tks_go_put_quote(tks_go_store store, tks_quote quote) {
  tks_error error;
  uint64_t seq = 0;
  int code = tks_put_quote((tks_store *)store, &quote, &seq, &error);
  return number(code, seq, &error);
}

tks_go_number tks_go_put(tks_go_store store, const char *symbol, size_t symbol_length, double bid, double ask,
                         const char *source, size_t source_length, int64_t ts_ns) {
  tks_error error;
  uint64_t seq = 0;
  int code = tks_put((tks_store *)store, symbol, symbol_length, bid, ask, source, source_length, ts_ns, &seq, &error);
  return number(code, seq, &error);
}

tks_go_batch tks_go_put_quotes(tks_go_store store, const tks_quote *quotes, size_t count, int32_t *codes) {
  tks_error error;
  tks_go_batch batch = {.error = NULL};
  batch.code = tks_put_quotes((tks_store *)store, quotes, count, codes, &batch.result, &error);
  if (batch.code < 0 || batch.code == TKS_PARTIAL) batch.error = keep(&error);
  return batch;
}

tks_go_quote tks_go_latest(tks_go_store store, uint32_t symbol) {
  tks_error error;
  tks_go_quote latest = {.error = NULL};
  latest.code = tks_latest((tks_store *)store, symbol, &latest.quote, &error);
  if (latest.code < 0) latest.error = keep(&error);
  return latest;
}

tks_go_number tks_go_durable_seq(tks_go_store store) {
  tks_error error;
  uint64_t seq = 0;
  int code = tks_durable_seq((tks_store *)store, &seq, &error);
  return number(code, seq, &error);
}

static void log_to_go(void *context, int32_t level, const char *message, size_t length) {
  tksGoLog((uintptr_t)context, level, (char *)message, length);
}

int tks_go_open(const char *path, size_t path_length, const tks_config *config, const char *broker_id,
                size_t broker_id_length, uintptr_t log_handle, tks_store **store, tks_error *error) {
  tks_config full = *config;
  if (broker_id_length > 0) {
    full.broker_id = broker_id;
    full.broker_id_length = broker_id_length;
  }
  if (log_handle != 0) {
    full.log = log_to_go;
    full.log_context = (void *)log_handle; /* a number that Go looks up, never a pointer */
  }
  return tks_open(path, path_length, &full, store, error);
}
