#include "base/config.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

static tks_config preset(int which) {
  tks_config config;
  memset(&config, 0xa5, sizeof config);
  cr_assert(tks__config_preset(&config, which));
  return config;
}

/* What the header and the README promise, field by field. */
Test(config, production_has_the_documented_defaults) {
  tks_config c = preset(TKS_PRESET_PRODUCTION);
  cr_assert_eq(c.struct_size, sizeof c);
  cr_assert_eq(c.backend, TKS_SQLITE);
  cr_assert_eq(c.read_only, 0);
  cr_assert_eq(c.ring_records, 10000);
  cr_assert_eq(c.queue_records, 10000);
  cr_assert_eq(c.queue_policy, TKS_QUEUE_DROP);
  cr_assert_eq(c.block_limit_ms, 1000);
  cr_assert_eq(c.batch_records, 500);
  cr_assert_eq(c.flush_interval_ms, 5000);
  cr_assert_eq(c.backlog_records, 1000000);
  cr_assert_eq(c.throttle_max_age_ms, 0);
  cr_assert_eq(c.throttle_relative, 0.00001);
  cr_assert_eq(c.crossed_policy, TKS_CROSSED_KEEP);
  cr_assert_eq(c.max_symbols, 1000000);
  cr_assert_eq(c.max_sources, 65535);
  cr_assert_eq(c.max_ahead_s, 86400);
  cr_assert_eq(c.min_time_ns, INT64_C(631152000000000000)); /* 1990-01-01T00:00:00Z */
  cr_assert_eq(c.retry_attempts, 3);
  cr_assert_eq(c.retry_pause_ms, 100);
  cr_assert_eq(c.degraded_retry_ms, 5000);
  cr_assert_eq(c.sync_interval_ms, 1000);
  cr_assert_eq(c.close_limit_ms, 30000);
  cr_assert_eq(c.late_close_s, 300);
  cr_assert_eq(c.max_open_days, 4);
  cr_assert_eq(c.synchronous, TKS_SYNC_FULL);
  cr_assert_eq(c.checkpoint_pages, 1000);
  cr_assert_eq(c.busy_timeout_ms, 5000);
  cr_assert_eq(c.temp_store_memory, 1);
  cr_assert_eq(c.page_cache_bytes, UINT64_C(64) << 20);
  cr_assert_eq(c.mmap_bytes, UINT64_C(256) << 20);
  cr_assert_eq(c.read_connections, 5);
  cr_assert_eq(c.connection_life_s, 3600);
  cr_assert_eq(c.read_deadline_ms, 10000);
  cr_assert_eq(c.log_level, TKS_LOG_WARN);
  cr_assert_null((void *)(uintptr_t)c.log);
  cr_assert_null(c.log_context);
  cr_assert_eq(c.broker_id_length, 7);
  cr_assert_eq(memcmp(c.broker_id, "default", 7), 0);
  cr_assert_eq(c.reserved0, 0);
  cr_assert_eq(c.reserved1, 0);
}

Test(config, presets_differ_where_they_say) {
  tks_config production = preset(TKS_PRESET_PRODUCTION), other = preset(TKS_PRESET_MIGRATION);
  cr_assert_eq(other.backend, TKS_DUAL);
  other.backend = production.backend;
  cr_assert_eq(memcmp(&other, &production, sizeof other), 0);

  other = preset(TKS_PRESET_DEVELOPMENT);
  cr_assert_eq(other.backend, TKS_JSON);
  cr_assert_eq(other.ring_records, 1000);
  cr_assert_eq(other.flush_interval_ms, 500);
  cr_assert_eq(other.log_level, TKS_LOG_DEBUG);
  other.backend = production.backend;
  other.ring_records = production.ring_records;
  other.flush_interval_ms = production.flush_interval_ms;
  other.log_level = production.log_level;
  cr_assert_eq(memcmp(&other, &production, sizeof other), 0);

  cr_assert_not(tks__config_preset(&other, -1));
  cr_assert_not(tks__config_preset(&other, 3));
}

Test(config, nothing_given_is_production) {
  tks_config production = preset(TKS_PRESET_PRODUCTION), taken;
  cr_assert_eq(tks__config_take(NULL, &taken, NULL), TKS_OK);
  cr_assert_eq(memcmp(&taken, &production, sizeof taken), 0);
  for (int i = 0; i < 3; i++) {
    tks_config given = preset(i);
    cr_assert_eq(tks__config_take(&given, &taken, NULL), TKS_OK);
    cr_assert_eq(memcmp(&taken, &given, sizeof taken), 0);
  }
}

/* ------------------------------------------------------------------ bounds */

typedef struct field {
  const char *name;
  size_t offset;
  bool wide;
  uint64_t low, high;
} field;

#define F32(field, low, high) \
  { #field, offsetof(tks_config, field), false, low, high }
#define F64(field, low, high) \
  { #field, offsetof(tks_config, field), true, low, high }

/* As the header says. */
static const field FIELDS[] = {
    F32(backend, 1, 3),
    F32(read_only, 0, 1),
    F32(ring_records, 1, 16777216),
    F32(queue_records, 16, 16777216),
    F32(queue_policy, 0, 1),
    F32(block_limit_ms, 1, 3600000),
    F32(flush_interval_ms, 1, 3600000),
    F32(backlog_records, 0, 268435456),
    F32(throttle_max_age_ms, 0, UINT32_MAX),
    F32(reserved0, 0, 0),
    F32(crossed_policy, 0, 2),
    F32(max_symbols, 1, 16777216),
    F32(max_sources, 1, 65535),
    F32(max_ahead_s, 0, UINT32_MAX),
    F32(retry_attempts, 0, 100),
    F32(retry_pause_ms, 1, 60000),
    F32(degraded_retry_ms, 1, 3600000),
    F32(sync_interval_ms, 1, 3600000),
    F32(close_limit_ms, 0, 86400000),
    F32(late_close_s, 1, 86400),
    F32(max_open_days, 1, 64),
    F32(synchronous, 1, 2),
    F32(checkpoint_pages, 1, 1000000),
    F32(busy_timeout_ms, 0, 3600000),
    F32(temp_store_memory, 0, 1),
    F32(reserved1, 0, 0),
    F64(page_cache_bytes, 65536, UINT64_C(1) << 36),
    F64(mmap_bytes, 0, UINT64_C(1) << 40),
    F32(read_connections, 1, 1000),
    F32(connection_life_s, 1, 86400),
    F32(read_deadline_ms, 1, 3600000),
    F32(log_level, 0, 4),
};

static int take_with(const field *f, uint64_t value, tks_error *error) {
  tks_config given = preset(TKS_PRESET_PRODUCTION), taken;
  given.batch_records = 16; /* fits the smallest queue */
  uint32_t narrow = (uint32_t)value;
  if (f->wide) memcpy((char *)&given + f->offset, &value, sizeof value);
  else memcpy((char *)&given + f->offset, &narrow, sizeof narrow);
  return tks__config_take(&given, &taken, error);
}

static void refuses(const field *f, uint64_t value) {
  tks_error error;
  char text[32];
  cr_assert_eq(take_with(f, value, &error), TKS_ECONFIG, "%s %llu", f->name, (unsigned long long)value);
  cr_assert_eq(error.code, TKS_ECONFIG);
  (void)snprintf(text, sizeof text, "%llu", (unsigned long long)value);
  cr_assert_not_null(strstr(error.message, f->name), "%s", error.message);
  cr_assert_not_null(strstr(error.message, text), "%s", error.message);
}

Test(config, bounds_hold_at_their_edges) {
  for (size_t i = 0; i < sizeof FIELDS / sizeof FIELDS[0]; i++) {
    const field *f = &FIELDS[i];
    cr_assert_eq(take_with(f, f->low, NULL), TKS_OK, "%s", f->name);
    cr_assert_eq(take_with(f, f->high, NULL), TKS_OK, "%s", f->name);
    if (f->low > 0) {
      refuses(f, f->low - 1);
      refuses(f, 0);
    }
    if (f->wide || f->high < UINT32_MAX) refuses(f, f->high + 1);
    if (f->wide) refuses(f, UINT64_MAX);
    else if (f->high < UINT32_MAX) refuses(f, UINT32_MAX);
  }
}

Test(config, batches_fit_into_the_queue) {
  tks_error error;
  tks_config given = preset(TKS_PRESET_PRODUCTION), taken;
  given.batch_records = given.queue_records = 16;
  cr_assert_eq(tks__config_take(&given, &taken, NULL), TKS_OK);
  given.batch_records = 17;
  cr_assert_eq(tks__config_take(&given, &taken, &error), TKS_ECONFIG);
  cr_assert_not_null(strstr(error.message, "batch_records is 17"), "%s", error.message);
  given.batch_records = 0;
  cr_assert_eq(tks__config_take(&given, &taken, &error), TKS_ECONFIG);
  cr_assert_not_null(strstr(error.message, "batch_records is 0"), "%s", error.message);
}

Test(config, throttle_threshold) {
  static const struct {
    double value;
    int code;
  } cases[] = {{0, 0},
               {-0.0, 0},
               {-1, 0},
               {-1e300, 0},
               {0.999999, 0},
               {1, TKS_ECONFIG},
               {NAN, TKS_ECONFIG},
               {INFINITY, TKS_ECONFIG}};
  tks_error error;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    tks_config given = preset(TKS_PRESET_PRODUCTION), taken;
    given.throttle_relative = cases[i].value;
    int code = tks__config_take(&given, &taken, &error);
    cr_assert_eq(code, cases[i].code, "%g", cases[i].value);
    if (code != TKS_OK) cr_assert_not_null(strstr(error.message, "throttle_relative is"), "%s", error.message);
  }
}

Test(config, the_earliest_day_that_can_be_stored) {
  tks_error error;
  tks_config given = preset(TKS_PRESET_PRODUCTION), taken;
  given.min_time_ns = INT64_C(-9223286400000000000); /* 1677-09-22 */
  cr_assert_eq(tks__config_take(&given, &taken, NULL), TKS_OK);
  given.min_time_ns--;
  cr_assert_eq(tks__config_take(&given, &taken, &error), TKS_ECONFIG);
  cr_assert_not_null(strstr(error.message, "min_time_ns is -9223286400000000001"), "%s", error.message);
  given.min_time_ns = INT64_MAX;
  cr_assert_eq(tks__config_take(&given, &taken, NULL), TKS_OK);
}

Test(config, broker_id) {
  tks_error error;
  tks_config given = preset(TKS_PRESET_PRODUCTION), taken;
  given.broker_id = NULL;
  cr_assert_eq(tks__config_take(&given, &taken, &error), TKS_ECONFIG);
  cr_assert_not_null(strstr(error.message, "broker_id"), "%s", error.message);
  given.broker_id_length = 0;
  cr_assert_eq(tks__config_take(&given, &taken, NULL), TKS_OK);
  given.broker_id = "x";
  given.broker_id_length = 65;
  cr_assert_eq(tks__config_take(&given, &taken, &error), TKS_ECONFIG);
  cr_assert_not_null(strstr(error.message, "broker_id_length is 65"), "%s", error.message);
}

/* ----------------------------------------------------------------- structs */

Test(config, an_older_callers_shorter_struct_gets_defaults_for_the_rest) {
  tks_config production = preset(TKS_PRESET_PRODUCTION);
  static const size_t ends[] = {offsetof(tks_config, read_only), offsetof(tks_config, queue_policy),
                                offsetof(tks_config, crossed_policy), offsetof(tks_config, log_level),
                                sizeof(tks_config)};
  for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
    tks_config given = preset(TKS_PRESET_PRODUCTION), taken;
    given.backend = TKS_DUAL;
    given.queue_records = 777;
    given.crossed_policy = TKS_CROSSED_DROP;
    given.read_connections = 9;
    given.log_level = TKS_LOG_OFF;
    /* Behind its end lies something else of the caller's. */
    memset((char *)&given + ends[i], 0xff, sizeof given - ends[i]);
    given.struct_size = (uint32_t)ends[i];
    cr_assert_eq(tks__config_take(&given, &taken, NULL), TKS_OK, "%zu", ends[i]);
    cr_assert_eq(taken.struct_size, sizeof taken);
    cr_assert_eq(taken.backend, TKS_DUAL);
    cr_assert_eq(taken.queue_records, i >= 1 ? 777 : production.queue_records);
    cr_assert_eq(taken.crossed_policy, i >= 3 ? TKS_CROSSED_DROP : production.crossed_policy);
    cr_assert_eq(taken.read_connections, i >= 3 ? 9 : production.read_connections);
    cr_assert_eq(taken.log_level, i >= 4 ? TKS_LOG_OFF : production.log_level);
  }
}

Test(config, a_newer_callers_longer_struct_needs_a_zero_tail) {
  struct {
    tks_config config;
    uint64_t newer[3];
  } given = {.config = preset(TKS_PRESET_PRODUCTION)};
  tks_config taken;
  tks_error error;
  given.config.struct_size = sizeof given;
  given.config.queue_records = 777;
  cr_assert_eq(tks__config_take(&given.config, &taken, NULL), TKS_OK);
  cr_assert_eq(taken.queue_records, 777);
  cr_assert_eq(taken.struct_size, sizeof taken);
  for (size_t i = 0; i < sizeof given.newer; i++) {
    ((char *)given.newer)[i] = 1;
    cr_assert_eq(tks__config_take(&given.config, &taken, &error), TKS_ESTRUCT, "byte %zu", i);
    cr_assert_not_null(strstr(error.message, "tks_config"), "%s", error.message);
    ((char *)given.newer)[i] = 0;
  }
}

Test(config, sizes_that_no_caller_has) {
  static const uint32_t sizes[] = {0, 1, 4, offsetof(tks_config, read_only) - 1, (1u << 20) + 1, UINT32_MAX};
  tks_error error;
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    tks_config given = preset(TKS_PRESET_PRODUCTION), taken;
    given.struct_size = sizes[i];
    cr_assert_eq(tks__config_take(&given, &taken, &error), TKS_ESTRUCT, "%u", sizes[i]);
    char text[32];
    (void)snprintf(text, sizeof text, "%u", sizes[i]);
    cr_assert_not_null(strstr(error.message, "struct_size of tks_config"), "%s", error.message);
    cr_assert_not_null(strstr(error.message, text), "%s", error.message);
  }
}
