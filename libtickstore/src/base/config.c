#include "base/config.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "base/error.h"

#define MIN_TIME_1990_NS (INT64_C(631152000) * 1000000000)
#define EARLIEST_DAY_NS (INT64_C(-106751) * 86400 * 1000000000) /* 1677-09-22, the first whole day there is */

static const tks_config PRODUCTION = {
    .struct_size = sizeof(tks_config),
    .backend = TKS_SQLITE,
    .ring_records = 10000,
    .queue_records = 10000,
    .queue_policy = TKS_QUEUE_DROP,
    .block_limit_ms = 1000,
    .batch_records = 500,
    .flush_interval_ms = 5000,
    .backlog_records = 1000000,
    .throttle_relative = 0.00001,
    .crossed_policy = TKS_CROSSED_KEEP,
    .max_symbols = 1000000,
    .max_sources = 65535,
    .max_ahead_s = 86400,
    .min_time_ns = MIN_TIME_1990_NS,
    .retry_attempts = 3,
    .retry_pause_ms = 100,
    .degraded_retry_ms = 5000,
    .sync_interval_ms = 1000,
    .close_limit_ms = 30000,
    .late_close_s = 300,
    .max_open_days = 4,
    .synchronous = TKS_SYNC_FULL,
    .checkpoint_pages = 1000,
    .busy_timeout_ms = 5000,
    .temp_store_memory = 1,
    .page_cache_bytes = UINT64_C(64) << 20,
    .mmap_bytes = UINT64_C(256) << 20,
    .read_connections = 5,
    .connection_life_s = 3600,
    .read_deadline_ms = 10000,
    .log_level = TKS_LOG_WARN,
    .broker_id = "default",
    .broker_id_length = 7,
    .journal = 1,
    .journal_sync_ms = 1000,
    .journal_bytes = UINT64_C(1) << 30,
};

bool tks__config_preset(tks_config *config, int preset) {
  *config = PRODUCTION;
  switch (preset) {
    case TKS_PRESET_PRODUCTION: return true;
    case TKS_PRESET_MIGRATION: config->backend = TKS_DUAL; return true;
    case TKS_PRESET_DEVELOPMENT:
      config->backend = TKS_JSON;
      config->ring_records = 1000;
      config->flush_interval_ms = 500;
      config->log_level = TKS_LOG_DEBUG;
      return true;
    default: return false;
  }
}

int tks__struct_check(const void *given, size_t size, size_t known, size_t smallest, const char *name,
                      tks_error *error) {
  if (size < smallest || size > (size_t)1 << 20)
    return tks__fail(error, TKS_ESTRUCT, 0, "struct_size of %s is %zu, expected %zu", name, size, known);
  for (size_t i = known; i < size; i++)
    if (((const unsigned char *)given)[i] != 0)
      return tks__fail(error, TKS_ESTRUCT, 0,
                       "%s is %zu bytes, this library knows %zu, and what follows those is not zero", name, size,
                       known);
  return TKS_OK;
}

typedef struct bounds {
  const char *name;
  size_t offset;
  uint64_t low, high;
  bool wide; /* uint64_t rather than uint32_t */
} bounds;

#define BOUNDS32(field, low, high) \
  { #field, offsetof(tks_config, field), (low), (high), false }
#define BOUNDS64(field, low, high) \
  { #field, offsetof(tks_config, field), (low), (high), true }

static const bounds BOUNDS[] = {
    BOUNDS32(backend, TKS_SQLITE, TKS_DUAL),
    BOUNDS32(read_only, 0, 1),
    BOUNDS32(ring_records, 1, 1u << 24),
    BOUNDS32(queue_records, 16, 1u << 24),
    BOUNDS32(queue_policy, TKS_QUEUE_DROP, TKS_QUEUE_BLOCK),
    BOUNDS32(block_limit_ms, 1, 3600000),
    BOUNDS32(batch_records, 1, 1u << 24),
    BOUNDS32(flush_interval_ms, 1, 3600000),
    BOUNDS32(backlog_records, 0, 1u << 28),
    BOUNDS32(throttle_max_age_ms, 0, UINT32_MAX),
    BOUNDS32(reserved0, 0, 0),
    BOUNDS32(crossed_policy, TKS_CROSSED_KEEP, TKS_CROSSED_REFUSE),
    BOUNDS32(max_symbols, 1, 1u << 24),
    BOUNDS32(max_sources, 1, 65535),
    BOUNDS32(max_ahead_s, 0, UINT32_MAX),
    BOUNDS32(retry_attempts, 0, 100),
    BOUNDS32(retry_pause_ms, 1, 60000),
    BOUNDS32(degraded_retry_ms, 1, 3600000),
    BOUNDS32(sync_interval_ms, 1, 3600000),
    BOUNDS32(close_limit_ms, 0, 86400000),
    BOUNDS32(late_close_s, 1, 86400),
    BOUNDS32(max_open_days, 1, 64),
    BOUNDS32(synchronous, TKS_SYNC_NORMAL, TKS_SYNC_FULL),
    BOUNDS32(checkpoint_pages, 1, 1000000),
    BOUNDS32(busy_timeout_ms, 0, 3600000),
    BOUNDS32(temp_store_memory, 0, 1),
    BOUNDS32(reserved1, 0, 0),
    BOUNDS64(page_cache_bytes, 65536, UINT64_C(1) << 36),
    BOUNDS64(mmap_bytes, 0, UINT64_C(1) << 40),
    BOUNDS32(read_connections, 1, 1000),
    BOUNDS32(connection_life_s, 1, 86400),
    BOUNDS32(read_deadline_ms, 1, 3600000),
    BOUNDS32(log_level, TKS_LOG_DEBUG, TKS_LOG_OFF),
    BOUNDS64(broker_id_length, 0, TKS_NAME_MAX),
    BOUNDS32(journal, 0, 1),
    BOUNDS32(journal_sync_ms, 0, 3600000),
    BOUNDS64(journal_bytes, UINT64_C(1) << 20, UINT64_C(1) << 40),
};

static int check_bounds(const tks_config *config, tks_error *error) {
  for (size_t i = 0; i < sizeof BOUNDS / sizeof BOUNDS[0]; i++) {
    const bounds *b = &BOUNDS[i];
    const char *field = (const char *)config + b->offset;
    uint64_t value;
    uint32_t narrow;
    if (b->wide) {
      memcpy(&value, field, sizeof value);
    } else {
      memcpy(&narrow, field, sizeof narrow);
      value = narrow;
    }
    if (value < b->low || value > b->high)
      return tks__fail(error, TKS_ECONFIG, 0, "%s is %llu, must be from %llu to %llu", b->name,
                       (unsigned long long)value, (unsigned long long)b->low, (unsigned long long)b->high);
  }
  if (config->batch_records > config->queue_records)
    return tks__fail(error, TKS_ECONFIG, 0, "batch_records is %u, more than queue_records, %u", config->batch_records,
                     config->queue_records);
  if (config->min_time_ns < EARLIEST_DAY_NS)
    return tks__fail(error, TKS_ECONFIG, 0, "min_time_ns is %lld, must be at least %lld",
                     (long long)config->min_time_ns, (long long)EARLIEST_DAY_NS);
  if (!isfinite(config->throttle_relative) || config->throttle_relative >= 1)
    return tks__fail(error, TKS_ECONFIG, 0, "throttle_relative is %g, must be below 1", config->throttle_relative);
  if (config->broker_id == NULL && config->broker_id_length > 0)
    return tks__fail(error, TKS_ECONFIG, 0, "broker_id is NULL, its length is not 0");
  return TKS_OK;
}

int tks__config_take(const tks_config *given, tks_config *config, tks_error *error) {
  *config = PRODUCTION;
  if (given == NULL) return TKS_OK;
  int code = tks__struct_check(given, given->struct_size, sizeof *config, offsetof(tks_config, read_only), "tks_config",
                               error);
  if (code != TKS_OK) return code;
  memcpy(config, given, given->struct_size < sizeof *config ? given->struct_size : sizeof *config);
  config->struct_size = sizeof *config;
  return check_bounds(config, error);
}
