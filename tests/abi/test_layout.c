/* test_layout.c - the layout of the public structs on 64-bit Linux: sizes and offsets are part of the ABI.
 *
 * Every line holds at compile time. Fields are only ever added at the end of the structs that carry their own size
 * (tks_config, tks_range, tks_store_stats); any other change here breaks callers that are already built. */
#include <criterion/criterion.h>

#include "tickstore/tickstore.h"

#define SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), "size of " #type)
#define OFFSET(type, field, bytes) _Static_assert(offsetof(type, field) == (bytes), #type "." #field)

_Static_assert(sizeof(void *) == 8, "the figures below are those of a 64-bit machine");

SIZE(tks_error, 256);
OFFSET(tks_error, code, 0);
OFFSET(tks_error, detail, 4);
OFFSET(tks_error, message, 8);

SIZE(tks_quote, 72);
OFFSET(tks_quote, ts_ns, 0);
OFFSET(tks_quote, recv_ns, 8);
OFFSET(tks_quote, seq, 16);
OFFSET(tks_quote, bid, 24);
OFFSET(tks_quote, ask, 32);
OFFSET(tks_quote, bid_size, 40);
OFFSET(tks_quote, ask_size, 48);
OFFSET(tks_quote, symbol, 56);
OFFSET(tks_quote, source, 60);
OFFSET(tks_quote, flags, 64);
OFFSET(tks_quote, reserved, 68);

SIZE(tks_config, 208);
OFFSET(tks_config, struct_size, 0);
OFFSET(tks_config, backend, 4);
OFFSET(tks_config, read_only, 8);
OFFSET(tks_config, ring_records, 12);
OFFSET(tks_config, queue_records, 16);
OFFSET(tks_config, queue_policy, 20);
OFFSET(tks_config, block_limit_ms, 24);
OFFSET(tks_config, batch_records, 28);
OFFSET(tks_config, flush_interval_ms, 32);
OFFSET(tks_config, backlog_records, 36);
OFFSET(tks_config, throttle_max_age_ms, 40);
OFFSET(tks_config, throttle_relative, 48);
OFFSET(tks_config, crossed_policy, 56);
OFFSET(tks_config, max_symbols, 60);
OFFSET(tks_config, max_sources, 64);
OFFSET(tks_config, max_ahead_s, 68);
OFFSET(tks_config, min_time_ns, 72);
OFFSET(tks_config, retry_attempts, 80);
OFFSET(tks_config, retry_pause_ms, 84);
OFFSET(tks_config, degraded_retry_ms, 88);
OFFSET(tks_config, sync_interval_ms, 92);
OFFSET(tks_config, close_limit_ms, 96);
OFFSET(tks_config, late_close_s, 100);
OFFSET(tks_config, max_open_days, 104);
OFFSET(tks_config, synchronous, 108);
OFFSET(tks_config, checkpoint_pages, 112);
OFFSET(tks_config, busy_timeout_ms, 116);
OFFSET(tks_config, temp_store_memory, 120);
OFFSET(tks_config, page_cache_bytes, 128);
OFFSET(tks_config, mmap_bytes, 136);
OFFSET(tks_config, read_connections, 144);
OFFSET(tks_config, connection_life_s, 148);
OFFSET(tks_config, read_deadline_ms, 152);
OFFSET(tks_config, log_level, 156);
OFFSET(tks_config, log, 160);
OFFSET(tks_config, log_context, 168);
OFFSET(tks_config, broker_id, 176);
OFFSET(tks_config, broker_id_length, 184);
OFFSET(tks_config, journal, 192);
OFFSET(tks_config, journal_sync_ms, 196);
OFFSET(tks_config, journal_bytes, 200);

SIZE(tks_symbol_info, 96);
OFFSET(tks_symbol_info, count, 0);
OFFSET(tks_symbol_info, first_ns, 8);
OFFSET(tks_symbol_info, last_ns, 16);
OFFSET(tks_symbol_info, id, 24);
OFFSET(tks_symbol_info, name_length, 28);
OFFSET(tks_symbol_info, name, 32);

SIZE(tks_put_result, 72);
OFFSET(tks_put_result, accepted, 0);
OFFSET(tks_put_result, throttled, 8);
OFFSET(tks_put_result, crossed_dropped, 16);
OFFSET(tks_put_result, refused, 24);
OFFSET(tks_put_result, dropped, 32);
OFFSET(tks_put_result, first_seq, 40);
OFFSET(tks_put_result, last_seq, 48);
OFFSET(tks_put_result, first_bad, 56);
OFFSET(tks_put_result, first_bad_code, 64);
OFFSET(tks_put_result, reserved, 68);

SIZE(tks_range, 40);
OFFSET(tks_range, struct_size, 0);
OFFSET(tks_range, symbol, 4);
OFFSET(tks_range, from_ns, 8);
OFFSET(tks_range, to_ns, 16);
OFFSET(tks_range, limit, 24);
OFFSET(tks_range, flags, 32);
OFFSET(tks_range, source, 36);

SIZE(tks_sink_stats, 400);
OFFSET(tks_sink_stats, sink, 0);
OFFSET(tks_sink_stats, state, 4);
OFFSET(tks_sink_stats, written, 8);
OFFSET(tks_sink_stats, lost, 16);
OFFSET(tks_sink_stats, backlog, 24);
OFFSET(tks_sink_stats, batches, 32);
OFFSET(tks_sink_stats, retries, 40);
OFFSET(tks_sink_stats, errors, 48);
OFFSET(tks_sink_stats, rotations, 56);
OFFSET(tks_sink_stats, written_seq, 64);
OFFSET(tks_sink_stats, durable_seq, 72);
OFFSET(tks_sink_stats, wal_bytes, 80);
OFFSET(tks_sink_stats, open_files, 88);
OFFSET(tks_sink_stats, last_error_ns, 96);
OFFSET(tks_sink_stats, last_error_code, 104);
OFFSET(tks_sink_stats, last_error_detail, 108);
OFFSET(tks_sink_stats, flush_time_sum_us, 112);
OFFSET(tks_sink_stats, flush_time_max_us, 120);
OFFSET(tks_sink_stats, flush_time_buckets, 128);
OFFSET(tks_sink_stats, last_error, 272);

SIZE(tks_store_stats, 1048);
OFFSET(tks_store_stats, struct_size, 0);
OFFSET(tks_store_stats, backend, 4);
OFFSET(tks_store_stats, received, 8);
OFFSET(tks_store_stats, accepted, 16);
OFFSET(tks_store_stats, throttled, 24);
OFFSET(tks_store_stats, crossed_dropped, 32);
OFFSET(tks_store_stats, refused, 40);
OFFSET(tks_store_stats, refused_symbol, 48);
OFFSET(tks_store_stats, refused_source, 56);
OFFSET(tks_store_stats, refused_sides, 64);
OFFSET(tks_store_stats, refused_price, 72);
OFFSET(tks_store_stats, refused_size, 80);
OFFSET(tks_store_stats, refused_time, 88);
OFFSET(tks_store_stats, refused_crossed, 96);
OFFSET(tks_store_stats, refused_memory, 104);
OFFSET(tks_store_stats, dropped, 112);
OFFSET(tks_store_stats, blocked, 120);
OFFSET(tks_store_stats, held, 128);
OFFSET(tks_store_stats, wakeups, 136);
OFFSET(tks_store_stats, first_seq, 144);
OFFSET(tks_store_stats, last_seq, 152);
OFFSET(tks_store_stats, durable_seq, 160);
OFFSET(tks_store_stats, durable_lag_ms, 168);
OFFSET(tks_store_stats, symbols, 176);
OFFSET(tks_store_stats, sources, 184);
OFFSET(tks_store_stats, ring_records, 192);
OFFSET(tks_store_stats, ring_bytes, 200);
OFFSET(tks_store_stats, read_connections, 208);
OFFSET(tks_store_stats, sinks, 216);
OFFSET(tks_store_stats, recovered, 1016);
OFFSET(tks_store_stats, journal_bytes, 1024);
OFFSET(tks_store_stats, journal_seq, 1032);
OFFSET(tks_store_stats, journal_stalls, 1040);

SIZE(tks_gap, 72);
OFFSET(tks_gap, from_seq, 0);
OFFSET(tks_gap, to_seq, 8);
OFFSET(tks_gap, records, 16);
OFFSET(tks_gap, first_ns, 24);
OFFSET(tks_gap, last_ns, 32);
OFFSET(tks_gap, cause, 40);
OFFSET(tks_gap, sink, 44);
OFFSET(tks_gap, symbol, 48);
OFFSET(tks_gap, reserved, 52);
OFFSET(tks_gap, reserved1, 56);

SIZE(tks_day_info, 216);
OFFSET(tks_day_info, day_ns, 0);
OFFSET(tks_day_info, sink, 8);
OFFSET(tks_day_info, code, 12);
OFFSET(tks_day_info, count, 16);
OFFSET(tks_day_info, symbols, 24);
OFFSET(tks_day_info, files, 32);
OFFSET(tks_day_info, bytes, 40);
OFFSET(tks_day_info, wal_bytes, 48);
OFFSET(tks_day_info, last_seq, 56);
OFFSET(tks_day_info, message, 64);

Test(layout, of_enums) {
  /* Structs hold codes and policies as fixed-width integers; the enums only name the values. */
  cr_assert_eq(sizeof(tks_status), sizeof(int));
  cr_assert_eq(TKS_OK, 0);
  cr_assert_eq(TKS_STATUS_MIN_, TKS_EINTERNAL);
}

Test(layout, size_of_config_is_known_to_the_library) {
  tks_config config;
  cr_assert_eq(tks_config_init(&config, sizeof config, TKS_PRESET_PRODUCTION, NULL), TKS_OK);
  cr_assert_eq(config.struct_size, sizeof config);
}
