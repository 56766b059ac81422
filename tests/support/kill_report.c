#include "support/kill_report.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "support/random.h"
#include "support/stores.h"

kill_report *kill_report_map(const char *path, bool fresh) {
  int fd = open(path, O_RDWR | O_CLOEXEC | (fresh ? O_CREAT | O_TRUNC : 0), 0666);
  if (fd < 0 || (fresh && ftruncate(fd, sizeof(kill_report)) != 0)) {
    perror(path);
    abort();
  }
  kill_report *report = mmap(NULL, sizeof *report, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  (void)close(fd);
  if (report == MAP_FAILED) {
    perror(path);
    abort();
  }
  return report;
}

void kill_report_unmap(kill_report *report) { (void)munmap(report, sizeof *report); }

int64_t kill_name(unsigned session, unsigned thread, unsigned number) {
  return (int64_t)(session + 1) << 32 | (int64_t)thread << 24 | number;
}

void kill_name_parts(int64_t name, uint64_t *session, uint64_t *thread, uint64_t *number) {
  *session = ((uint64_t)name >> 32) - 1;
  *thread = (uint64_t)name >> 24 & 0xff;
  *number = (uint64_t)name & 0xffffff;
}

tks_quote kill_quote(int64_t name) {
  test_random random = {(uint64_t)name};
  uint64_t session, thread, number;
  kill_name_parts(name, &session, &thread, &number);
  tks_quote q = {.recv_ns = name};
  q.symbol = 1 + (uint32_t)random_below(&random, KILL_SYMBOLS);
  q.source = (uint32_t)random_below(&random, KILL_SOURCES + 1);
  /* The days go on with the sessions; late ticks go to any of those before. Many records share their milliseconds. */
  int64_t day = 3 + (int64_t)session / 3;
  if (random_below(&random, 25) == 0) day = (int64_t)random_below(&random, (uint64_t)day);
  q.ts_ns = STORE_MIDNIGHT + day * STORE_DAY_NS + (int64_t)(number / 4) * 1000000;
  if (random_below(&random, 4) == 0) q.ts_ns += (int64_t)random_below(&random, 1000000);
  q.bid = (double)random_below(&random, 1000000) / 1024;
  q.ask = (double)random_below(&random, 1000000) / 1000;
  if (random_below(&random, 30) == 0) q.ask = (double)NAN;
  q.bid_size = (double)random_below(&random, 10000) / 8;
  q.ask_size = (double)random_below(&random, 3);
  if (random_below(&random, 3) == 0) q.flags = (uint32_t)random_next(&random) & TKS_FLAG_USER_MASK;
  if (q.bid > q.ask) q.flags |= TKS_FLAG_CROSSED;
  return q;
}

/* The slash must be encoded in a path. */
size_t kill_symbol(unsigned number, char *text) { return (size_t)snprintf(text, 16, "K/%u", number); }

size_t kill_source(unsigned number, char *text) { return (size_t)snprintf(text, 16, "LP%u", number); }

void kill_config(const kill_settings *settings, tks_config *config) {
  if (tks_config_init(config, sizeof *config, TKS_PRESET_PRODUCTION, NULL) != TKS_OK) abort();
  config->backend = settings->backend;
  config->throttle_relative = -1;
  config->ring_records = 64;
  config->retry_pause_ms = 1;
  config->degraded_retry_ms = 20;
  config->synchronous = settings->synchronous;
  config->batch_records = settings->batch_records;
  config->flush_interval_ms = settings->flush_interval_ms;
  config->sync_interval_ms = settings->sync_interval_ms;
  config->checkpoint_pages = settings->checkpoint_pages;
  config->max_open_days = settings->max_open_days;
  config->late_close_s = settings->late_close_s;
  config->queue_records = settings->queue_records;
  config->queue_policy = settings->queue_policy;
  config->close_limit_ms = settings->close_limit_ms;
  config->journal = settings->journal;
  config->journal_sync_ms = settings->journal_sync_ms;
  config->journal_bytes = settings->journal_bytes;
}

void kill_settings_text(const kill_settings *s, char *text, size_t size) {
  (void)snprintf(
      text, size,
      "backend %u, journal %u of %llu bytes synced every %u ms, synchronous %u, batch_records %u,"
      " flush_interval_ms %u, sync_interval_ms %u, checkpoint_pages %u, max_open_days %u, late_close_s %u,"
      " queue_records %u, queue_policy %u, close_limit_ms %u; %u threads put %u each, %u a call, pausing every"
      " %u,%s %s",
      s->backend, s->journal, (unsigned long long)s->journal_bytes, s->journal_sync_ms, s->synchronous,
      s->batch_records, s->flush_interval_ms, s->sync_interval_ms, s->checkpoint_pages, s->max_open_days,
      s->late_close_s, s->queue_records, s->queue_policy, s->close_limit_ms, s->threads, s->limit, s->batch,
      s->pause_every, s->flush ? " flushing," : "", s->close ? "then close" : "then wait");
}
