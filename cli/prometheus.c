/* prometheus.c - metrics in Prometheus' text format. */
#include "prometheus.h"

#include <inttypes.h>

#include "base/decimal.h"
#include "disk.h"

static void family(FILE *file, const char *name, const char *type, const char *help) {
  fprintf(file, "# HELP tickstore_%s %s\n# TYPE tickstore_%s %s\n", name, help, name, type);
}

static void label_value(FILE *file, const char *value, size_t length) {
  for (size_t i = 0; i < length; i++) {
    if (value[i] == '\\' || value[i] == '"') fputc('\\', file);
    if (value[i] == '\n') fputs("\\n", file);
    else fputc(value[i], file);
  }
}

/* A family of one sample without labels. */
static void single(FILE *file, const char *name, const char *type, const char *help, uint64_t value) {
  family(file, name, type, help);
  fprintf(file, "tickstore_%s %" PRIu64 "\n", name, value);
}

/* Locale-free, so that the decimal point stays a point. */
static const char *real(double value, char text[TKS__DECIMAL_MAX]) {
  tks__decimal_format(value, text);
  return text;
}

static void single_real(FILE *file, const char *name, const char *type, const char *help, double value) {
  char text[TKS__DECIMAL_MAX];
  family(file, name, type, help);
  fprintf(file, "tickstore_%s %s\n", name, real(value, text));
}

/* --------------------------------------------------------------------- disk */

/* One field of every sink that has files, as one family. */
typedef struct disk_metric {
  const char *name, *help;
  size_t offset; /* of a uint64_t in disk_sink */
} disk_metric;

static const disk_metric disk_metrics[] = {
    {"disk_days", "UTC days that have files.", offsetof(disk_sink, days)},
    {"disk_damaged_days", "UTC days whose files cannot be read.", offsetof(disk_sink, damaged_days)},
    {"disk_files", "Files of all days.", offsetof(disk_sink, files)},
    {"disk_bytes", "Size of the files, write-ahead logs not included.", offsetof(disk_sink, bytes)},
    {"disk_wal_bytes", "Size of SQLite's write-ahead logs.", offsetof(disk_sink, wal_bytes)},
    {"disk_last_sequence", "Highest sequence number on disk.", offsetof(disk_sink, last_seq)},
};

static uint64_t field_of(const void *record, size_t offset) {
  return *(const uint64_t *)(const void *)((const char *)record + offset);
}

static void write_disk_metric(FILE *file, const cli_disk *disk, const disk_metric *metric) {
  family(file, metric->name, "gauge", metric->help);
  for (int i = 0; i < 2; i++) {
    const disk_sink *sink = &disk->sinks[i];
    uint64_t value = field_of(sink, metric->offset);
    bool unknown = sink->sink == TKS_JSON && metric->offset == offsetof(disk_sink, last_seq) && value == 0;
    if (sink->days == 0 || unknown) continue;
    fprintf(file, "tickstore_%s{sink=\"%s\"} %" PRIu64 "\n", metric->name, sink->name, value);
  }
}

static void write_symbol_counts(FILE *file, const symbol_list *symbols) {
  family(file, "symbol_quotes", "gauge", "Quotes on disk of one symbol.");
  for (size_t i = 0; i < symbols->count; i++) {
    const tks_symbol_info *symbol = &symbols->items[i];
    fputs("tickstore_symbol_quotes{symbol=\"", file);
    label_value(file, symbol->name, symbol->name_length);
    fprintf(file, "\"} %" PRIu64 "\n", symbol->count);
  }
}

void prometheus_disk(FILE *file, const symbol_list *symbols, const day_list *days, bool per_symbol) {
  cli_disk disk;
  disk_sum(&disk, symbols, days);
  family(file, "build_info", "gauge", "Always 1; the version is its label.");
  fprintf(file, "tickstore_build_info{version=\"%s\"} 1\n", tks_version_string());
  single(file, "disk_symbols", "gauge", "Symbols that have quotes on disk.", disk.symbols);
  single(file, "disk_quotes", "gauge", "Quotes on disk, each counted once.", disk.quotes);
  if (disk.quotes > 0) {
    single_real(file, "disk_first_quote_timestamp_seconds", "gauge", "Event time of the first quote on disk.",
                (double)disk.first_ns / 1e9);
    single_real(file, "disk_last_quote_timestamp_seconds", "gauge", "Event time of the last quote on disk.",
                (double)disk.last_ns / 1e9);
  }
  for (size_t i = 0; i < sizeof disk_metrics / sizeof disk_metrics[0]; i++) {
    if (days->count > 0) write_disk_metric(file, &disk, &disk_metrics[i]);
  }
  if (per_symbol && symbols->count > 0) write_symbol_counts(file, symbols);
}

/* --------------------------------------------------------------------- live */

typedef struct live_metric {
  const char *name, *type, *help;
  size_t offset; /* of a uint64_t in tks_store_stats or tks_sink_stats */
} live_metric;

#define STORE_FIELD(field) offsetof(tks_store_stats, field)
static const live_metric store_metrics[] = {
    {"quotes_received_total", "counter", "Quotes given to the store.", STORE_FIELD(received)},
    {"quotes_accepted_total", "counter", "Quotes that got a sequence number.", STORE_FIELD(accepted)},
    {"quotes_throttled_total", "counter", "Quotes skipped as repeats.", STORE_FIELD(throttled)},
    {"quotes_crossed_dropped_total", "counter", "Crossed quotes skipped by configuration.",
     STORE_FIELD(crossed_dropped)},
    {"quotes_dropped_total", "counter", "Quotes lost to every sink because the journal or queue was full.",
     STORE_FIELD(dropped)},
    {"quotes_recovered_total", "counter", "Quotes found in the journal at open.", STORE_FIELD(recovered)},
    {"puts_blocked_total", "counter", "Puts that had to wait for room.", STORE_FIELD(blocked)},
    {"puts_stalled_total", "counter", "Puts that waited for the next journal file.", STORE_FIELD(journal_stalls)},
    {"writer_wakeups_total", "counter", "Times that a put woke the writer.", STORE_FIELD(wakeups)},
    {"held_quotes", "gauge", "Quotes that some sink does not have durably.", STORE_FIELD(held)},
    {"journal_bytes", "gauge", "The journal's files on disk.", STORE_FIELD(journal_bytes)},
    {"journal_sequence", "gauge", "All up to this sequence number is synced in the journal, or durable.",
     STORE_FIELD(journal_seq)},
    {"last_sequence", "gauge", "The last sequence number given out.", STORE_FIELD(last_seq)},
    {"durable_sequence", "gauge", "All up to this sequence number is on stable storage.", STORE_FIELD(durable_seq)},
    {"symbols", "gauge", "Symbols interned.", STORE_FIELD(symbols)},
    {"sources", "gauge", "Sources interned.", STORE_FIELD(sources)},
    {"ring_quotes", "gauge", "Quotes held in the rings.", STORE_FIELD(ring_records)},
    {"ring_bytes", "gauge", "Memory allocated for the rings.", STORE_FIELD(ring_bytes)},
    {"read_connections", "gauge", "Reading connections open.", STORE_FIELD(read_connections)},
};

static const struct refusal {
  const char *reason;
  size_t offset;
} refusals[] = {
    {"symbol", STORE_FIELD(refused_symbol)},   {"source", STORE_FIELD(refused_source)},
    {"sides", STORE_FIELD(refused_sides)},     {"price", STORE_FIELD(refused_price)},
    {"size", STORE_FIELD(refused_size)},       {"time", STORE_FIELD(refused_time)},
    {"crossed", STORE_FIELD(refused_crossed)}, {"memory", STORE_FIELD(refused_memory)},
};

#define SINK_FIELD(field) offsetof(tks_sink_stats, field)
static const live_metric sink_metrics[] = {
    {"sink_written_quotes_total", "counter", "Quotes committed to the sink.", SINK_FIELD(written)},
    {"sink_lost_quotes_total", "counter", "Quotes that the sink will never hold.", SINK_FIELD(lost)},
    {"sink_batches_total", "counter", "Successful writes.", SINK_FIELD(batches)},
    {"sink_retries_total", "counter", "Writes tried again after a failure.", SINK_FIELD(retries)},
    {"sink_errors_total", "counter", "Writes that failed.", SINK_FIELD(errors)},
    {"sink_rotations_total", "counter", "Past day files sealed.", SINK_FIELD(rotations)},
    {"sink_backlog_quotes", "gauge", "Quotes accepted and not yet written.", SINK_FIELD(backlog)},
    {"sink_written_sequence", "gauge", "All up to this sequence number is written or lost.", SINK_FIELD(written_seq)},
    {"sink_durable_sequence", "gauge", "All up to this sequence number is on stable storage or lost.",
     SINK_FIELD(durable_seq)},
    {"sink_wal_bytes", "gauge", "Size of SQLite's write-ahead logs of all open day files.", SINK_FIELD(wal_bytes)},
    {"sink_open_files", "gauge", "Files open for writing.", SINK_FIELD(open_files)},
};

static const char *sink_name(const tks_sink_stats *sink) { return sink->sink == TKS_JSON ? "json" : "sqlite"; }

static void write_sink_metric(FILE *file, const tks_store_stats *stats, const live_metric *metric) {
  family(file, metric->name, metric->type, metric->help);
  for (int i = 0; i < 2; i++) {
    const tks_sink_stats *sink = &stats->sinks[i];
    if (sink->state == TKS_SINK_OFF) continue;
    fprintf(file, "tickstore_%s{sink=\"%s\"} %" PRIu64 "\n", metric->name, sink_name(sink),
            field_of(sink, metric->offset));
  }
}

/* One sample per state, 1 for the one that holds: a number's meaning would have to be looked up. */
static void write_sink_state(FILE *file, const tks_store_stats *stats) {
  static const char *const states[] = {NULL, "ok", "retrying", "degraded"};
  family(file, "sink_state", "gauge", "1 for the state that the sink is in.");
  for (int i = 0; i < 2; i++) {
    const tks_sink_stats *sink = &stats->sinks[i];
    for (uint32_t state = TKS_SINK_OK; sink->state != TKS_SINK_OFF && state <= TKS_SINK_DEGRADED; state++) {
      fprintf(file, "tickstore_sink_state{sink=\"%s\",state=\"%s\"} %d\n", sink_name(sink), states[state],
              sink->state == state);
    }
  }
}

static void write_flush_histogram(FILE *file, const tks_sink_stats *sink) {
  static const char name[] = "tickstore_sink_flush_duration_seconds";
  char text[TKS__DECIMAL_MAX];
  uint64_t sum = 0;
  for (int i = 0; i < TKS_FLUSH_BUCKETS; i++) {
    sum += sink->flush_time_buckets[i];
    const char *bound = i + 1 < TKS_FLUSH_BUCKETS ? real((double)(UINT64_C(64) << i) / 1e6, text) : "+Inf";
    fprintf(file, "%s_bucket{sink=\"%s\",le=\"%s\"} %" PRIu64 "\n", name, sink_name(sink), bound, sum);
  }
  fprintf(file, "%s_sum{sink=\"%s\"} %s\n", name, sink_name(sink), real((double)sink->flush_time_sum_us / 1e6, text));
  fprintf(file, "%s_count{sink=\"%s\"} %" PRIu64 "\n", name, sink_name(sink), sum);
}

static void write_sinks(FILE *file, const tks_store_stats *stats) {
  char text[TKS__DECIMAL_MAX];
  for (size_t i = 0; i < sizeof sink_metrics / sizeof sink_metrics[0]; i++) {
    write_sink_metric(file, stats, &sink_metrics[i]);
  }
  write_sink_state(file, stats);
  family(file, "sink_last_error_timestamp_seconds", "gauge", "When a write last failed; 0 = never.");
  for (int i = 0; i < 2; i++) {
    if (stats->sinks[i].state == TKS_SINK_OFF) continue;
    fprintf(file, "tickstore_sink_last_error_timestamp_seconds{sink=\"%s\"} %s\n", sink_name(&stats->sinks[i]),
            real((double)stats->sinks[i].last_error_ns / 1e9, text));
  }
  family(file, "sink_flush_duration_seconds", "histogram", "Time that successful writes took.");
  for (int i = 0; i < 2; i++) {
    if (stats->sinks[i].state != TKS_SINK_OFF) write_flush_histogram(file, &stats->sinks[i]);
  }
}

void prometheus_live(FILE *file, const tks_store_stats *stats) {
  for (size_t i = 0; i < sizeof store_metrics / sizeof store_metrics[0]; i++) {
    const live_metric *metric = &store_metrics[i];
    single(file, metric->name, metric->type, metric->help, field_of(stats, metric->offset));
  }
  single_real(file, "durable_lag_seconds", "gauge", "Age of the oldest quote that is not durable; 0 if all are.",
              (double)stats->durable_lag_ms / 1e3);
  family(file, "quotes_refused_total", "counter", "Quotes refused, by the field that was wrong.");
  for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
    fprintf(file, "tickstore_quotes_refused_total{reason=\"%s\"} %" PRIu64 "\n", refusals[i].reason,
            field_of(stats, refusals[i].offset));
  }
  write_sinks(file, stats);
}
