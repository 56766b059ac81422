/* Sinks fail, hang and recover as the tests say; every wait is for a condition. All along an auditor reads the statistics
 * and checks the promise: for every sink, at every moment, accepted + recovered = written + backlog + lost + dropped. */
#include "persist/writer.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/fs.h"
#include "base/memory.h"
#include "base/utc.h"
#include "persist/gaps.h"
#include "persist/lane.h"
#include "support/fake_sink.h"
#include "support/faults.h"
#include "support/random.h"
#include "support/scratch.h"
#include "support/threads.h"
#include "support/wait.h"

#define FIRST_SEQ 1000
#define HOUR_MS 3600000u
#define LIMIT_MS (WAIT_LIMIT_S * 1000)

enum { SQLITE, JSON };

static fake_tape tapes[TKS__LANES];
static tks_config config;
static tks__writer_options options;
static const tks__log log_to_nobody = {.level = TKS_LOG_OFF};
static tks__writer *writer;
static tks__journal *journal;
static tks__keeper *keeper;
static tks__gaps *gaps;
static char *dir;
static tks__layout layout;
static char journal_dir[TKS__PATH_MAX];
static tks__symbols symbols;
static tks__names sources;
static uint64_t first_seq; /* of this session */
static uint64_t kept;      /* as tks__keeper_stop gives it */
static uint32_t backend;
static uint64_t next_seq; /* as tks__writer_close gives it */

static _Atomic uint64_t reserves; /* calls */
static _Atomic bool reserve_stingy;
static _Atomic bool reserve_wrong;
static _Atomic bool reserve_held; /* and with it the loop, which has published what it knew */

static uint64_t reserve(void *context, uint64_t last_seq, uint64_t reserved_seq) {
  (void)reserved_seq;
  atomic_fetch_add(&reserves, 1);
  while (atomic_load(&reserve_held)) linger_ms(1);
  if (context != &reserves || last_seq < FIRST_SEQ - 1) atomic_store(&reserve_wrong, true);
  return atomic_load(&reserve_stingy) ? 0 : UINT64_MAX;
}

/* ------------------------------------------------------------------- the auditor */

static pthread_t auditor;
static _Atomic bool audited;
static _Atomic uint64_t unbalanced;
static char imbalance[256]; /* the first */
static _Atomic uint64_t told_durable, told_in_journal;

static uint64_t total(const tks_store_stats *stats, const tks_sink_stats *sink) {
  return sink->written + sink->backlog + sink->lost + stats->dropped;
}

static void raise_to(_Atomic uint64_t *told, uint64_t now) {
  uint64_t before = atomic_load(told);
  while (before < now && !atomic_compare_exchange_weak(told, &before, now)) {
  }
}

static void check_order(const tks_store_stats *s, uint64_t durable, uint64_t in_journal) {
  bool ok = s->durable_seq >= durable && s->journal_seq >= in_journal && s->durable_seq <= s->journal_seq &&
            s->journal_seq <= s->last_seq && s->held <= s->accepted + s->recovered;
  for (int i = 0; i < TKS__LANES; i++) {
    const tks_sink_stats *sink = &s->sinks[i];
    if (sink->sink == 0) continue;
    ok =
        ok && s->durable_seq <= sink->durable_seq && sink->durable_seq <= sink->written_seq && sink->backlog <= s->held;
  }
  if (!ok && atomic_fetch_add(&unbalanced, 1) == 0)
    (void)snprintf(imbalance, sizeof imbalance,
                   "durable %llu (%llu before), journal %llu (%llu before), last %llu, held %llu; sinks: %llu of %llu, "
                   "%llu of %llu durable",
                   (unsigned long long)s->durable_seq, (unsigned long long)durable, (unsigned long long)s->journal_seq,
                   (unsigned long long)in_journal, (unsigned long long)s->last_seq, (unsigned long long)s->held,
                   (unsigned long long)s->sinks[0].durable_seq, (unsigned long long)s->sinks[0].written_seq,
                   (unsigned long long)s->sinks[1].durable_seq, (unsigned long long)s->sinks[1].written_seq);
}

static void audit(void) {
  uint64_t durable = atomic_load(&told_durable), in_journal = atomic_load(&told_in_journal);
  tks_store_stats stats = {0};
  tks__writer_stats(writer, &stats);
  check_order(&stats, durable, in_journal);
  raise_to(&told_durable, stats.durable_seq);
  raise_to(&told_in_journal, stats.journal_seq);
  for (int i = 0; i < TKS__LANES; i++) {
    if (stats.sinks[i].sink == 0 || total(&stats, &stats.sinks[i]) == stats.accepted + stats.recovered) continue;
    if (atomic_fetch_add(&unbalanced, 1) == 0)
      (void)snprintf(imbalance, sizeof imbalance,
                     "%llu accepted, %llu recovered, but %llu written + %llu backlog + %llu lost + %llu dropped",
                     (unsigned long long)stats.accepted, (unsigned long long)stats.recovered,
                     (unsigned long long)stats.sinks[i].written, (unsigned long long)stats.sinks[i].backlog,
                     (unsigned long long)stats.sinks[i].lost, (unsigned long long)stats.dropped);
  }
}

static void *audit_all_along(void *argument) {
  (void)argument;
  while (atomic_load(&audited)) {
    audit();
    linger_ms(1);
  }
  return NULL;
}

static void check_balance(void) {
  audit();
  cr_assert_eq(unbalanced, 0, "%s", imbalance);
}

/* ----------------------------------------------------------------- start and end */

static void set_up(void) {
  cr_assert(tks__config_preset(&config, TKS_PRESET_PRODUCTION));
  config.retry_pause_ms = 1;
  config.degraded_retry_ms = 5;
  config.sync_interval_ms = 5;
  config.flush_interval_ms = 20;
  config.journal = 0;
  first_seq = FIRST_SEQ;
  dir = scratch_new();
  cr_assert(tks__layout_init(&layout, dir, strlen(dir)));
  tks__layout_journal(&layout, journal_dir);
  options = (tks__writer_options){
      .config = &config,
      .log = &log_to_nobody,
      .first_seq = FIRST_SEQ,
      .reserve = reserve,
      .reserve_context = &reserves,
      .reserved_seq = UINT64_MAX,
  };
  for (int i = 0; i < TKS__LANES; i++) fake_tape_init(&tapes[i], FIRST_SEQ);
}

static void note_loss(void *context, const tks__loss *loss) {
  (void)context;
  tks__gaps_note(gaps, 0, loss);
}

static bool write_losses(void *context) {
  (void)context;
  return tks__gaps_write(gaps);
}

/* What the store prepares for the writer. */
static void start_keeper(void) {
  cr_assert_eq(tks__symbols_init(&symbols, 100), TKS_OK);
  cr_assert_eq(tks__names_init(&sources, 100), TKS_OK);
  uint32_t id;
  for (const char *name = "ABC"; *name != '\0'; name++)
    cr_assert_eq(tks__names_intern(&symbols.names, name, 1, &id), TKS_OK);
  gaps = tks__gaps_new(&layout, &symbols.names, &log_to_nobody);
  cr_assert_not_null(gaps);
  const tks__keeper_options keeper_options = {
      .config = &config,
      .log = &log_to_nobody,
      .dir = journal_dir,
      .root = layout.root,
      .store_id = "0123456789abcdef0123456789abcdef",
      .symbols = &symbols,
      .sources = &sources,
      .first_seq = first_seq,
      .note_loss = note_loss,
      .write_losses = write_losses,
  };
  tks_error error = {0};
  cr_assert_eq(tks__keeper_start(&keeper_options, &keeper, &error), TKS_OK, "%s", error.message);
  journal = tks__keeper_journal(keeper);
  options.keeper = keeper;
  options.gaps = gaps;
  options.first_seq = first_seq;
}

static void stop_keeper(void) {
  tks__keeper_stop(keeper, &kept);
  keeper = NULL;
  tks__gaps_free(gaps);
  tks__symbols_deinit(&symbols);
  tks__names_deinit(&sources);
}

static void start(uint32_t sinks_wanted) {
  backend = sinks_wanted;
  start_keeper();
  tks__sink *sinks[TKS__LANES] = {NULL, NULL};
  if ((backend & TKS_SQLITE) != 0) sinks[SQLITE] = fake_sink_new(&tapes[SQLITE], TKS_SQLITE, true);
  if ((backend & TKS_JSON) != 0) sinks[JSON] = fake_sink_new(&tapes[JSON], TKS_JSON, false);
  tks_error error = {0};
  cr_assert_eq(tks__writer_start(&options, sinks, &writer, &error), TKS_OK, "%s", error.message);
  atomic_store(&audited, true);
  auditor = start_thread(audit_all_along, NULL);
}

static int close_writer(uint32_t limit_ms, tks_error *error) {
  atomic_store(&audited, false);
  join_thread(auditor);
  int code = tks__writer_close(writer, limit_ms, &next_seq, error);
  writer = NULL;
  stop_keeper();
  return code;
}

static void close_clean(void) {
  tks_error error = {0};
  cr_assert_eq(close_writer(LIMIT_MS, &error), TKS_OK, "%s", error.message);
}

static void tear_down(void) {
  (void)allocations_work();
  /* A test that failed in the middle must come to an end too. */
  atomic_store(&reserve_held, false);
  for (int i = 0; i < TKS__LANES; i++) {
    for (fake_op op = FAKE_WRITE; op < FAKE_OPS; op++) {
      fake_fail(&tapes[i], op, 0);
      fake_release(&tapes[i], op);
    }
  }
  if (writer != NULL) close_clean();
  FAKE_ABORT_UNLESS(unbalanced == 0, "%s", imbalance);
  for (int i = 0; i < TKS__LANES; i++) {
    if ((backend & (i == SQLITE ? TKS_SQLITE : TKS_JSON)) != 0)
      FAKE_ABORT_UNLESS(fake_is_sound(&tapes[i]), "%llu doubled, %llu out of order, %llu closes",
                        (unsigned long long)tapes[i].doubled, (unsigned long long)tapes[i].disorder,
                        (unsigned long long)tapes[i].calls[FAKE_CLOSE]);
    fake_tape_deinit(&tapes[i]);
  }
  scratch_remove(dir);
}

TestSuite(writer, .init = set_up, .fini = tear_down);

/* What put does under TKS_QUEUE_DROP: false if the record was dropped. */
static bool put_record(tks__record record) {
  for (;;) {
    if (tks__journal_push(journal, &record)) return true;
    if (tks__journal_can_grow(journal)) (void)tks__journal_wait(journal, tks__clock_monotonic_ns() + TKS__NS_PER_S);
    else if (tks__journal_lose(journal, record.symbol) != 0) return false;
  }
}

static uint64_t put(uint64_t count) {
  uint64_t pushed = 0;
  for (uint64_t i = 0; i < count; i++) pushed += put_record((tks__record){.ts_ns = (int64_t)i, .symbol = 1});
  return pushed;
}

/* Puts without dropping. */
static void put_patiently(uint64_t count) {
  for (uint64_t i = 0; i < count; i++) {
    tks__record record = {.ts_ns = (int64_t)i, .symbol = 1};
    while (!tks__journal_push(journal, &record))
      (void)tks__journal_wait(journal, tks__clock_monotonic_ns() + TKS__NS_PER_S);
  }
}

static tks_store_stats stats(void) {
  tks_store_stats s = {0};
  tks__writer_stats(writer, &s);
  return s;
}

static void flush(void) {
  tks_error error = {0};
  cr_assert_eq(tks__writer_flush(writer, 0, LIMIT_MS, &error), TKS_OK, "%s", error.message);
}

/* Where records may be lost while it waits. */
static void flush_what_is_left(void) {
  tks_error error = {0};
  int code = tks__writer_flush(writer, 0, LIMIT_MS, &error);
  cr_assert(code == TKS_OK || code == TKS_EUNWRITTEN, "%s", error.message);
}

static bool degraded(void *context) { return stats().sinks[*(int *)context].state == TKS_SINK_DEGRADED; }
static bool has_lost(void *context) { return stats().sinks[*(int *)context].lost > 0; }
static bool recovered(void *context) { return stats().sinks[*(int *)context].state == TKS_SINK_OK; }

static void wait_state(bool (*condition)(void *), int sink) {
  cr_assert(wait_until(condition, &sink), "state %u, %llu lost", stats().sinks[sink].state,
            (unsigned long long)stats().sinks[sink].lost);
}

/* ------------------------------------------------------------------ when all is well */

Test(writer, writes_everything_to_every_sink) {
  start(TKS_DUAL);
  put_patiently(rounds(100000));
  flush();
  tks_store_stats s = stats();
  cr_assert_eq(s.accepted, rounds(100000));
  cr_assert_eq(s.held, 0);
  cr_assert_eq(s.dropped, 0);
  cr_assert_eq(s.first_seq, FIRST_SEQ);
  cr_assert_eq(s.last_seq, FIRST_SEQ + s.accepted - 1);
  cr_assert_eq(s.durable_seq, s.last_seq);
  cr_assert_eq(s.durable_lag_ms, 0);
  cr_assert_eq(tks__writer_durable_seq(writer), s.last_seq);
  for (int i = 0; i < TKS__LANES; i++) {
    cr_assert_eq(s.sinks[i].written, s.accepted);
    cr_assert_eq(s.sinks[i].durable_seq, s.last_seq);
    cr_assert_eq(s.sinks[i].errors, 0);
    cr_assert_eq(fake_stored(&tapes[i]), s.accepted);
  }
  close_clean();
  cr_assert_eq(next_seq, FIRST_SEQ + rounds(100000));
}

Test(writer, is_closed_without_ever_a_record) {
  start(TKS_DUAL);
  flush();
  cr_assert_eq(tks__writer_durable_seq(writer), FIRST_SEQ - 1);
  close_clean();
  cr_assert_eq(next_seq, FIRST_SEQ);
  cr_assert_eq(fake_calls(&tapes[SQLITE], FAKE_WRITE), 0);
}

Test(writer, a_batch_goes_when_it_is_full) {
  config.batch_records = 100;
  config.flush_interval_ms = HOUR_MS;
  start(TKS_SQLITE);
  cr_assert_eq(put(99), 99);
  linger_ms(50);
  cr_assert_eq(fake_calls(&tapes[SQLITE], FAKE_WRITE), 0);
  cr_assert_eq(stats().sinks[SQLITE].backlog, 99);
  cr_assert_eq(put(1), 1);
  cr_assert(fake_wait_stored(&tapes[SQLITE], 100));
}

Test(writer, or_when_the_interval_is_over) {
  config.flush_interval_ms = 30;
  start(TKS_SQLITE);
  for (uint64_t i = 1; i <= 3; i++) {
    cr_assert_eq(put(1), 1);
    cr_assert(fake_wait_stored(&tapes[SQLITE], i));
  }
}

Test(writer, or_at_a_flush) {
  config.flush_interval_ms = HOUR_MS;
  start(TKS_DUAL);
  for (uint64_t i = 1; i <= 20; i++) {
    cr_assert_eq(put(3), 3);
    flush();
    cr_assert_eq(fake_stored(&tapes[SQLITE]), 3 * i);
    cr_assert_eq(fake_stored(&tapes[JSON]), 3 * i);
    cr_assert_eq(tks__writer_durable_seq(writer), FIRST_SEQ + 3 * i - 1);
  }
}

Test(writer, under_load_one_write_takes_what_has_come) {
  config.batch_records = 10;
  start(TKS_SQLITE);
  fake_hold(&tapes[SQLITE], FAKE_WRITE);
  cr_assert_eq(put(10), 10);
  cr_assert(fake_wait_begun(&tapes[SQLITE], FAKE_WRITE, 1));
  cr_assert_eq(put(5000), 5000);
  fake_release(&tapes[SQLITE], FAKE_WRITE);
  flush();
  cr_assert_eq(stats().sinks[SQLITE].batches, 2);
}

/* The promise of put: a wake-up, which is a system call, for a full batch or for the first record after idleness alone. */
Test(writer, producers_wake_it_once_a_batch) {
  config.queue_records = 32768;
  config.batch_records = 500;
  config.flush_interval_ms = HOUR_MS;
  start(TKS_SQLITE);
  cr_assert_eq(put(20000), 20000);
  cr_assert_leq(stats().wakeups, 2 * 20000 / 500 + 2);
}

Test(writer, sequence_numbers_are_reserved_in_time) {
  options.reserved_seq = FIRST_SEQ + 1000;
  start(TKS_SQLITE);
  put_patiently(5000);
  flush();
  cr_assert_eq(reserves, 1);
  cr_assert_not(reserve_wrong);
}

static void *put_and_count(void *argument) {
  uint64_t *count = argument;
  *count = put(*count);
  return NULL;
}

Test(writer, many_producers_that_drop) {
  enum { PRODUCERS = 4 };
  config.queue_records = 64;
  config.batch_records = 32;
  start(TKS_DUAL);
  uint64_t counts[PRODUCERS];
  for (int i = 0; i < PRODUCERS; i++) counts[i] = rounds(20000);
  run_threads(put_and_count, counts, PRODUCERS, sizeof counts[0]);
  uint64_t pushed = counts[0] + counts[1] + counts[2] + counts[3];
  flush();
  tks_store_stats s = stats();
  cr_assert_eq(s.accepted, PRODUCERS * rounds(20000));
  cr_assert_eq(s.dropped, s.accepted - pushed);
  cr_assert_eq(s.durable_seq, s.last_seq);
  for (int i = 0; i < TKS__LANES; i++) cr_assert_eq(fake_stored(&tapes[i]), pushed);
}

Test(writer, no_memory_to_start) {
  backend = TKS_DUAL;
  start_keeper();
  uint64_t n = 0;
  for (;; n++) {
    for (int i = 0; i < TKS__LANES; i++) {
      fake_tape_deinit(&tapes[i]);
      fake_tape_init(&tapes[i], FIRST_SEQ);
    }
    tks__sink *sinks[TKS__LANES] = {fake_sink_new(&tapes[SQLITE], TKS_SQLITE, true),
                                    fake_sink_new(&tapes[JSON], TKS_JSON, false)};
    tks_error error = {0};
    fail_allocation(n);
    int code = tks__writer_start(&options, sinks, &writer, &error);
    if (!allocations_work()) {
      cr_assert_eq(code, TKS_OK, "%s", error.message);
      break;
    }
    cr_assert_eq(code, TKS_ENOMEM);
    cr_assert_eq(error.code, TKS_ENOMEM);
    cr_assert_null(writer);
    for (int i = 0; i < TKS__LANES; i++) cr_assert(fake_is_sound(&tapes[i]), "closed once");
  }
  cr_assert_geq(n, 3);
  cr_assert_eq(tks__writer_close(writer, LIMIT_MS, &next_seq, NULL), TKS_OK);
  writer = NULL;
  stop_keeper();
}

/* ----------------------------------------------------------------------- flush */

Test(writer, a_flush_gives_up_at_its_limit) {
  config.degraded_retry_ms = HOUR_MS;
  start(TKS_DUAL);
  fake_hold(&tapes[JSON], FAKE_WRITE);
  cr_assert_eq(put(10), 10);
  tks_error error = {0};
  int64_t before = tks__clock_monotonic_ns();
  cr_assert_eq(tks__writer_flush(writer, 0, 30, &error), TKS_ETIMEOUT);
  cr_assert_geq(tks__clock_monotonic_ns() - before, 30 * TKS__NS_PER_MS);
  cr_assert_eq(error.code, TKS_ETIMEOUT);
  cr_assert_not_null(strstr(error.message, "json"), "%s", error.message);
  cr_assert_not_null(strstr(error.message, "999 of 1009"), "%s", error.message);
  cr_assert_eq(tks__writer_flush(writer, 0, 0, &error), TKS_ETIMEOUT);
  cr_assert_eq(tks__writer_flush(writer, 0, 0, NULL), TKS_ETIMEOUT);
  cr_assert(fake_wait_stored(&tapes[SQLITE], 10));
  fake_release(&tapes[JSON], FAKE_WRITE);
  cr_assert_eq(tks__writer_flush(writer, 0, -1, &error), TKS_OK);
  cr_assert_eq(tks__writer_flush(writer, 0, 0, &error), TKS_OK);
  cr_assert_eq(tks__writer_flush(writer, 0, INT64_MAX, &error), TKS_OK);
}

Test(writer, a_flush_names_the_last_error) {
  config.retry_pause_ms = 20000;
  start(TKS_DUAL);
  fake_fail(&tapes[SQLITE], FAKE_WRITE, FAKE_FOREVER);
  cr_assert_eq(put(10), 10);
  cr_assert(fake_wait_ended(&tapes[SQLITE], FAKE_WRITE, 1));
  tks_error error = {0};
  cr_assert_eq(tks__writer_flush(writer, 0, 50, &error), TKS_ETIMEOUT);
  cr_assert_not_null(strstr(error.message, "sqlite"), "%s", error.message);
  cr_assert_not_null(strstr(error.message, "fails"), "%s", error.message);
  cr_assert_eq(error.detail, 5);
  fake_fail(&tapes[SQLITE], FAKE_WRITE, 0);
  flush();
}

static bool has_failed_often_enough(void *context) { return stats().sinks[SQLITE].errors >= *(uint64_t *)context; }

/* It does not wait for a pause of the sink to be over. */
Test(writer, a_flush_gives_a_sick_sink_a_chance_at_once) {
  config.retry_pause_ms = 60000;
  config.degraded_retry_ms = HOUR_MS;
  start(TKS_SQLITE);
  fake_fail(&tapes[SQLITE], FAKE_WRITE, 5);
  cr_assert_eq(put(10), 10);
  for (uint64_t i = 1; i <= 4; i++) {
    cr_assert_eq(tks__writer_flush(writer, 0, 0, NULL), TKS_ETIMEOUT);
    cr_assert(wait_until(has_failed_often_enough, &i));
  }
  fake_fail(&tapes[SQLITE], FAKE_WRITE, 0);
  flush();
  cr_assert_eq(fake_stored(&tapes[SQLITE]), 10);
}

typedef struct flusher {
  int code;
  tks_error error;
} flusher;

static void *flush_forever(void *argument) {
  flusher *f = argument;
  f->code = tks__writer_flush(writer, 0, -1, &f->error);
  return NULL;
}

static bool somebody_flushes(void *context) {
  (void)context;
  return fake_calls(&tapes[SQLITE], FAKE_WRITE) > 0;
}

static bool json_has_failed_twice(void *context) {
  (void)context;
  return stats().sinks[JSON].errors >= 2;
}

Test(writer, a_flush_says_that_records_were_lost_meanwhile) {
  config.backlog_records = 16;
  config.queue_records = 16;
  config.batch_records = 16;
  config.retry_pause_ms = 60000;
  start(TKS_DUAL);
  fake_fail(&tapes[JSON], FAKE_WRITE, FAKE_FOREVER);
  cr_assert_eq(put(16), 16);
  cr_assert(fake_wait_ended(&tapes[JSON], FAKE_WRITE, 1));
  flusher f = {0};
  pthread_t thread = start_thread(flush_forever, &f);
  /* The second attempt comes of the flush alone. */
  cr_assert(wait_until(json_has_failed_twice, NULL));
  put_patiently(200);
  join_thread(thread);
  cr_assert_eq(f.code, TKS_EUNWRITTEN, "%d: %s", f.code, f.error.message);
  cr_assert_not_null(strstr(f.error.message, "the sinks lost "), "%s", f.error.message);
  fake_fail(&tapes[JSON], FAKE_WRITE, 0);
  flush_what_is_left();
  cr_assert_eq(fake_stored(&tapes[SQLITE]), 216);
  cr_assert_eq(close_writer(LIMIT_MS, NULL), TKS_EUNWRITTEN);
}

Test(writer, a_flush_can_be_interrupted) {
  config.flush_interval_ms = HOUR_MS;
  start(TKS_SQLITE);
  fake_hold(&tapes[SQLITE], FAKE_WRITE);
  cr_assert_eq(put(1), 1);
  flusher f = {0};
  pthread_t thread = start_thread(flush_forever, &f);
  cr_assert(wait_until(somebody_flushes, NULL));
  tks__writer_interrupt(writer);
  join_thread(thread);
  cr_assert_eq(f.code, TKS_ECLOSED);
  fake_release(&tapes[SQLITE], FAKE_WRITE);
  close_clean();
  cr_assert_eq(fake_stored(&tapes[SQLITE]), 1);
}

Test(writer, many_flushes_at_once) {
  config.flush_interval_ms = HOUR_MS;
  start(TKS_DUAL);
  flusher flushers[8] = {0};
  for (uint64_t round = 1; round <= 50; round++) {
    cr_assert_eq(put(10), 10);
    run_threads(flush_forever, flushers, 8, sizeof flushers[0]);
    for (int i = 0; i < 8; i++) cr_assert_eq(flushers[i].code, TKS_OK);
    cr_assert_eq(tks__writer_durable_seq(writer), FIRST_SEQ + round * 10 - 1);
  }
}

/* ------------------------------------------------------------------ sick sinks */

Test(writer, a_failed_write_is_retried_and_nothing_is_lost_or_doubled) {
  start(TKS_DUAL);
  fake_fail(&tapes[SQLITE], FAKE_WRITE, 3);
  fake_fail(&tapes[JSON], FAKE_WRITE, 2);
  put_patiently(3000);
  flush();
  tks_store_stats s = stats();
  cr_assert_eq(s.sinks[SQLITE].errors, 3);
  cr_assert_eq(s.sinks[JSON].errors, 2);
  for (int i = 0; i < TKS__LANES; i++) {
    cr_assert_eq(s.sinks[i].written, 3000);
    cr_assert_eq(s.sinks[i].state, TKS_SINK_OK);
    cr_assert_eq(fake_stored(&tapes[i]), 3000);
  }
}

Test(writer, a_degraded_sink_recovers_by_itself) {
  start(TKS_DUAL);
  fake_fail(&tapes[SQLITE], FAKE_WRITE, FAKE_FOREVER);
  put_patiently(2000);
  wait_state(degraded, SQLITE);
  cr_assert(fake_wait_stored(&tapes[JSON], 2000), "the other one goes on");
  put_patiently(2000);
  cr_assert(fake_wait_stored(&tapes[JSON], 4000));
  check_balance();
  cr_assert_geq(stats().sinks[SQLITE].errors, config.retry_attempts + 1);
  cr_assert_eq(stats().durable_seq, FIRST_SEQ - 1);
  fake_fail(&tapes[SQLITE], FAKE_WRITE, 0);
  wait_state(recovered, SQLITE);
  flush();
  cr_assert_eq(stats().sinks[SQLITE].written, 4000);
  cr_assert_eq(fake_stored(&tapes[SQLITE]), 4000);
  cr_assert_eq(stats().durable_seq, FIRST_SEQ + 3999);
}

/* Without the journal: how many records there is room for. */
static uint64_t capacity(void) {
  uint64_t block = journal->slot_mask + 1, records = (uint64_t)config.queue_records + config.backlog_records;
  return ((records + block - 1) / block + 1) * block;
}

static size_t ledger_rows;

/* Whether the ledger says of a sink what the statistics say. (What is being written at this moment may be missing.) */
static bool ledger_fits(void *context) {
  static tks_gap rows[4096];
  int sink = *(int *)context;
  size_t total = 0;
  if (tks__gaps_list(&layout, gaps, &symbols.names, 0, rows, 4096, &total, NULL) != TKS_OK) return false;
  cr_assert_leq(total, 4096);
  uint64_t records = 0, id = sink == SQLITE ? TKS_SQLITE : TKS_JSON, end = 0;
  ledger_rows = 0;
  for (size_t i = 0; i < total; i++) {
    if (rows[i].sink != id) continue;
    ledger_rows++;
    records += rows[i].records;
    cr_assert_gt(rows[i].from_seq, end, "row %zu: each is noted once", i);
    cr_assert_geq(rows[i].to_seq + 1 - rows[i].from_seq, rows[i].records);
    end = rows[i].to_seq;
  }
  return records == stats().sinks[sink].lost;
}

static void check_ledger(int sink) {
  cr_assert(wait_until(ledger_fits, &sink));
  cr_assert_geq(ledger_rows, 1);
}

Test(writer, a_sick_sink_loses_beyond_its_bound_and_the_other_does_not) {
  config.queue_records = 100;
  config.batch_records = 50;
  config.backlog_records = 500;
  start(TKS_DUAL);
  fake_fail(&tapes[JSON], FAKE_WRITE, FAKE_FOREVER);
  put_patiently(5000);
  cr_assert(fake_wait_stored(&tapes[SQLITE], 5000));
  wait_state(has_lost, JSON);
  check_balance();
  tks_store_stats s = stats();
  cr_assert_eq(s.dropped, 0);
  cr_assert_eq(s.sinks[SQLITE].lost, 0);
  cr_assert_leq(s.sinks[JSON].backlog, capacity());
  cr_assert_geq(s.sinks[JSON].backlog, 500, "%llu: no more than there has to be",
                (unsigned long long)s.sinks[JSON].backlog);
  check_ledger(JSON);
  cr_assert_eq(s.sinks[JSON].lost + s.sinks[JSON].backlog, 5000);
  fake_fail(&tapes[JSON], FAKE_WRITE, 0);
  flush_what_is_left();
  s = stats();
  cr_assert_eq(s.sinks[JSON].written, 5000 - s.sinks[JSON].lost);
  /* Failing writes get some of it done, too. */
  cr_assert_geq(fake_stored(&tapes[JSON]), s.sinks[JSON].written);
  cr_assert_eq(fake_stored(&tapes[SQLITE]), 5000);
  cr_assert_eq(s.durable_seq, s.last_seq);
  uint64_t lost = s.sinks[JSON].lost;
  char expected[64];
  (void)snprintf(expected, sizeof expected, "sqlite lacks 0, json lacks %llu", (unsigned long long)lost);
  tks_error error = {0};
  cr_assert_eq(close_writer(LIMIT_MS, &error), TKS_EUNWRITTEN);
  cr_assert_not_null(strstr(error.message, expected), "%s", error.message);
}

static bool json_has_failed_often(void *context) { return stats().sinks[JSON].errors >= *(uint64_t *)context; }

/* Called from within a scan, so that the keeper cannot take back what the sick sink lets go. */
static bool fill_and_look(void *context, const tks__record *record) {
  (void)record;
  while (stats().accepted < capacity()) (void)put(1);
  uint64_t errors = stats().sinks[JSON].errors + 20;
  /* Asserted outside: a test that ends in here would leave the scan open. */
  if (fake_wait_stored(&tapes[SQLITE], capacity()) && wait_until(json_has_failed_often, &errors))
    *(uint64_t *)context = stats().sinks[JSON].lost;
  return false;
}

Test(writer, a_sick_sink_loses_no_more_than_makes_room) {
  config.queue_records = 100;
  config.batch_records = 50;
  config.backlog_records = 500;
  start(TKS_DUAL);
  fake_fail(&tapes[JSON], FAKE_WRITE, FAKE_FOREVER);
  put_patiently(1);
  const tks__journal_filter all = {.from_ns = INT64_MIN, .to_ns = INT64_MAX, .max_seq = UINT64_MAX};
  uint64_t lost = UINT64_MAX;
  tks__journal_scan(journal, journal->live_from, &all, fill_and_look, &lost);
  cr_assert_gt(lost, 0);
  cr_assert_leq(lost, 2 * (journal->slot_mask + 1));
  fake_fail(&tapes[JSON], FAKE_WRITE, 0);
  flush_what_is_left();
  cr_assert_eq(close_writer(LIMIT_MS, NULL), TKS_EUNWRITTEN);
}

/* A disk that hangs is sick as well, though nothing has failed. */
Test(writer, a_sink_that_hangs_does_not_hold_up_the_other) {
  config.queue_records = 100;
  config.batch_records = 50;
  config.backlog_records = 200;
  start(TKS_DUAL);
  fake_hold(&tapes[SQLITE], FAKE_WRITE);
  put_patiently(5000);
  cr_assert(fake_wait_stored(&tapes[JSON], 5000));
  check_balance();
  cr_assert_eq(stats().dropped, 0);
  cr_assert_eq(stats().sinks[JSON].lost, 0);
  cr_assert_eq(fake_calls(&tapes[SQLITE], FAKE_WRITE), 1);
  fake_release(&tapes[SQLITE], FAKE_WRITE);
  flush_what_is_left();
  cr_assert_eq(fake_stored(&tapes[SQLITE]) + stats().sinks[SQLITE].lost, 5000);
  check_ledger(SQLITE);
  cr_assert_eq(close_writer(LIMIT_MS, NULL), TKS_EUNWRITTEN);
}

/* Fills what room there is, and drops some. `pushed` are there already. */
static void fill_up(uint64_t pushed, uint64_t to_drop) {
  while (pushed < capacity()) {
    tks__record record = {.symbol = 1};
    if (tks__journal_push(journal, &record)) pushed++;
    else (void)tks__journal_wait(journal, tks__clock_monotonic_ns() + TKS__NS_PER_S);
  }
  cr_assert_eq(put(to_drop), 0);
}

static bool loop_is_held(void *context) { return reserves > *(const uint64_t *)context; }

/* The loop has published what was durable some drops ago when there is room again, and a record to come. */
Test(writer, what_was_durable_stays_durable) {
  config.queue_records = 100;
  config.batch_records = 50;
  config.backlog_records = 200;
  options.reserved_seq = FIRST_SEQ;
  reserve_stingy = true;
  start(TKS_DUAL);
  uint32_t side = tks__journal_pin(journal); /* no block is taken back */
  fill_up(0, 5);
  flush();
  uint64_t before = reserves;
  reserve_held = true;
  cr_assert_neq(tks__journal_lose(journal, 1), 0);
  journal->wake(journal->wake_context);
  cr_assert(wait_until(loop_is_held, &before));
  for (int i = 0; i < 5; i++) cr_assert_neq(tks__journal_lose(journal, 1), 0);
  uint64_t durable = tks__writer_durable_seq(writer);
  cr_assert_eq(durable, FIRST_SEQ + capacity() + 10);
  cr_assert_eq(durable, stats().last_seq);
  tks__journal_unpin(journal, side);
  put_patiently(1);
  cr_assert_eq(tks__writer_durable_seq(writer), durable);
  cr_assert_eq(stats().durable_seq, durable);
  cr_assert_eq(stats().sinks[SQLITE].durable_seq, durable);
  cr_assert_geq(stats().sinks[SQLITE].written_seq, durable);
  reserve_held = false;
  flush();
  cr_assert_eq(stats().durable_seq, durable + 1);
}

/* A healthy but slow sink never loses: the room fills, and queue_policy applies. */
static void be_slow(int slow) {
  config.queue_records = 100;
  config.batch_records = 50;
  config.backlog_records = 200;
  config.degraded_retry_ms = HOUR_MS;
  start(TKS_DUAL);
  fake_hold(&tapes[slow], FAKE_WRITE);
  fill_up(0, 50);
  check_balance();
  tks_store_stats s = stats();
  cr_assert_eq(s.dropped, 50);
  cr_assert_eq(s.sinks[slow].backlog, capacity());
  cr_assert_eq(s.sinks[SQLITE].lost, 0);
  cr_assert_eq(s.sinks[JSON].lost, 0);
  fake_release(&tapes[slow], FAKE_WRITE);
  flush();
  cr_assert_eq(fake_stored(&tapes[SQLITE]), capacity());
  cr_assert_eq(fake_stored(&tapes[JSON]), capacity());
  cr_assert_eq(stats().held, 0);
  cr_assert_eq(stats().durable_seq, stats().last_seq, "though the last ones were dropped");
}

Test(writer, a_slow_first_sink_fills_the_room) { be_slow(SQLITE); }
Test(writer, a_slow_second_sink_fills_the_room) { be_slow(JSON); }

Test(writer, alone_and_sick_it_keeps_what_it_has_room_for) {
  config.queue_records = 100;
  config.batch_records = 50;
  config.backlog_records = 100;
  start(TKS_SQLITE);
  fake_fail(&tapes[SQLITE], FAKE_WRITE, FAKE_FOREVER);
  fill_up(0, 37);
  wait_state(degraded, SQLITE);
  check_balance();
  tks_store_stats s = stats();
  cr_assert_eq(s.accepted, capacity() + 37);
  cr_assert_eq(s.dropped, 37);
  cr_assert_eq(s.sinks[SQLITE].backlog, capacity());
  cr_assert_eq(s.sinks[SQLITE].lost, 0);
  /* A full disk is the usual reason; when there is room again all of it is written, without restart. */
  fake_fail(&tapes[SQLITE], FAKE_WRITE, 0);
  flush();
  cr_assert_eq(fake_stored(&tapes[SQLITE]), capacity());
  cr_assert_eq(stats().durable_seq, FIRST_SEQ + capacity() + 36);
  put_patiently(10);
  flush();
  cr_assert_eq(stats().sinks[SQLITE].written, capacity() + 10);
  cr_assert_eq(stats().durable_seq, stats().last_seq);
}

/* While a sink hangs and nothing has room, the loop has nothing to do: it must not spin. (Every round of it asks for
 * more sequence numbers here, which is how the test counts them.) */
Test(writer, does_not_spin_while_a_sink_hangs) {
  config.queue_records = 16;
  config.batch_records = 16;
  config.backlog_records = 16;
  options.reserved_seq = 0;
  atomic_store(&reserve_stingy, true);
  start(TKS_SQLITE);
  fake_hold(&tapes[SQLITE], FAKE_WRITE);
  fill_up(0, 1);
  linger_ms(50); /* by now it is sick */
  uint64_t before = reserves;
  linger_ms(300);
  cr_assert_leq(reserves - before, 50, "%llu rounds", (unsigned long long)(reserves - before));
  fake_release(&tapes[SQLITE], FAKE_WRITE);
}

Test(writer, a_failed_sync_is_made_good) {
  start(TKS_DUAL);
  put_patiently(1000);
  flush();
  fake_fail(&tapes[JSON], FAKE_SYNC, 3);
  put_patiently(3000);
  flush();
  tks_store_stats s = stats();
  cr_assert_eq(s.sinks[JSON].written, 4000);
  cr_assert_eq(s.sinks[JSON].errors, 3);
  cr_assert_eq(s.sinks[JSON].durable_seq, s.last_seq);
  cr_assert_eq(fake_stored(&tapes[JSON]), 4000);
  cr_assert_eq(fake_stored(&tapes[SQLITE]), 4000);
}

Test(writer, durable_waits_for_the_slowest_sink) {
  config.degraded_retry_ms = HOUR_MS;
  start(TKS_DUAL);
  fake_hold(&tapes[JSON], FAKE_SYNC);
  cr_assert_eq(put(10), 10);
  cr_assert_eq(tks__writer_flush(writer, 0, 0, NULL), TKS_ETIMEOUT);
  cr_assert(fake_wait_begun(&tapes[JSON], FAKE_SYNC, 1));
  cr_assert(fake_wait_stored(&tapes[SQLITE], 10));
  cr_assert_eq(tks__writer_durable_seq(writer), FIRST_SEQ - 1);
  cr_assert_eq(stats().sinks[JSON].written, 10);
  fake_release(&tapes[JSON], FAKE_SYNC);
  flush();
  cr_assert_eq(tks__writer_durable_seq(writer), FIRST_SEQ + 9);
}

/* The way of a record into a sink takes no memory. */
Test(writer, goes_on_after_no_memory) {
  config.queue_records = 1000;
  start(TKS_DUAL);
  fail_allocations();
  cr_assert_eq(put(1000), 1000);
  linger_ms(50);
  cr_assert(allocations_work());
  flush();
  cr_assert_eq(fake_stored(&tapes[SQLITE]), 1000);
  cr_assert_eq(fake_stored(&tapes[JSON]), 1000);
}

/* --------------------------------------------------------------------- pending */

static tks__pending pending_of(tks__pending_filter filter) {
  tks__pending pending;
  cr_assert_eq(tks__writer_pending(writer, &filter, &pending), TKS_OK);
  return pending;
}

static size_t count_pending(tks__pending_filter filter) {
  tks__pending pending = pending_of(filter);
  for (size_t i = 1; i < pending.count; i++) cr_assert_gt(pending.records[i].seq, pending.records[i - 1].seq);
  tks__free(pending.records);
  return pending.count;
}

static bool json_has_written_20(void *context) {
  (void)context;
  return stats().sinks[JSON].written == 20;
}

Test(writer, pending_are_those_accepted_and_not_written) {
  config.batch_records = 10;
  config.flush_interval_ms = HOUR_MS;
  config.degraded_retry_ms = HOUR_MS;
  start(TKS_DUAL);
  fake_hold(&tapes[SQLITE], FAKE_WRITE);
  for (int64_t i = 0; i < 10; i++) (void)put_record((tks__record){.ts_ns = i, .symbol = 1 + (uint32_t)i % 2});
  cr_assert(fake_wait_begun(&tapes[SQLITE], FAKE_WRITE, 1));
  cr_assert(fake_wait_stored(&tapes[JSON], 10));
  /* Ten with the worker, ten more that the other sink has, five that nobody has. */
  for (int64_t i = 10; i < 20; i++) (void)put_record((tks__record){.ts_ns = i, .symbol = 1 + (uint32_t)i % 2});
  cr_assert(wait_until(json_has_written_20, NULL));
  for (int64_t i = 20; i < 25; i++) (void)put_record((tks__record){.ts_ns = i, .symbol = 1 + (uint32_t)i % 2});
  tks__pending_filter all = {.sink = TKS_SQLITE, .from_ns = INT64_MIN, .to_ns = INT64_MAX, .max_seq = UINT64_MAX};
  tks__pending pending = pending_of(all);
  cr_assert_eq(pending.count, 25);
  for (size_t i = 0; i < 25; i++) {
    cr_assert_eq(pending.records[i].seq, FIRST_SEQ + i);
    cr_assert_eq(pending.records[i].ts_ns, (int64_t)i);
  }
  tks__free(pending.records);
  tks__pending_filter filter = all;
  filter.symbol = 2;
  cr_assert_eq(count_pending(filter), 12);
  filter.symbol = 3;
  cr_assert_eq(count_pending(filter), 0);
  filter = all;
  filter.from_ns = 5;
  filter.to_ns = 22;
  cr_assert_eq(count_pending(filter), 17, "from is in, to is not");
  filter = all;
  filter.max_seq = FIRST_SEQ + 20;
  cr_assert_eq(count_pending(filter), 21);
  filter = all;
  filter.sink = TKS_JSON;
  cr_assert_eq(count_pending(filter), 5);
  fake_release(&tapes[SQLITE], FAKE_WRITE);
  flush();
  cr_assert_eq(count_pending(all), 0);
  cr_assert_eq(count_pending(filter), 0);
}

Test(writer, pending_without_memory) {
  config.flush_interval_ms = HOUR_MS;
  start(TKS_SQLITE);
  cr_assert_eq(put(100), 100);
  tks__pending_filter all = {.sink = TKS_SQLITE, .from_ns = INT64_MIN, .to_ns = INT64_MAX, .max_seq = UINT64_MAX};
  tks__pending pending;
  for (uint64_t n = 0; n < 4; n++) {
    fail_allocation(n);
    cr_assert_eq(tks__writer_pending(writer, &all, &pending), TKS_ENOMEM);
    cr_assert(allocations_work());
    cr_assert_null(pending.records);
    cr_assert_eq(pending.count, 0);
  }
  cr_assert_eq(count_pending(all), 100);
}

/* What was put before, at every moment: pending, or already with the sink. */
Test(writer, no_record_is_ever_out_of_sight) {
  config.batch_records = 20;
  config.flush_interval_ms = 1;
  start(TKS_DUAL);
  test_random random = random_new();
  tks__pending_filter all = {.from_ns = INT64_MIN, .to_ns = INT64_MAX, .max_seq = UINT64_MAX};
  uint64_t pushed = 0;
  for (uint64_t round = 0; round < rounds(2000); round++) {
    int sink = (int)random_below(&random, 2);
    if (random_below(&random, 10) == 0) fake_fail(&tapes[sink], FAKE_WRITE, random_below(&random, 4));
    uint64_t count = random_below(&random, 50);
    put_patiently(count);
    pushed += count;
    all.sink = sink == SQLITE ? TKS_SQLITE : TKS_JSON;
    tks__pending pending = pending_of(all);
    uint64_t expected = pushed < 300 ? FIRST_SEQ : FIRST_SEQ + pushed - 300; /* looking at the last ones is enough */
    size_t at = 0;
    for (; expected < FIRST_SEQ + pushed; expected++) {
      while (at < pending.count && pending.records[at].seq < expected) at++;
      bool is_pending = at < pending.count && pending.records[at].seq == expected;
      cr_assert(is_pending || fake_has(&tapes[sink], expected), "%llu of %llu", (unsigned long long)expected,
                (unsigned long long)(FIRST_SEQ + pushed));
    }
    tks__free(pending.records);
  }
  for (int i = 0; i < TKS__LANES; i++) fake_fail(&tapes[i], FAKE_WRITE, 0);
  flush();
  cr_assert_eq(stats().dropped, 0);
  for (int i = 0; i < TKS__LANES; i++) cr_assert_eq(fake_stored(&tapes[i]), pushed);
}

/* ----------------------------------------------------------------------- close */

Test(writer, close_writes_what_waits) {
  config.batch_records = 10000;
  config.flush_interval_ms = HOUR_MS;
  start(TKS_DUAL);
  cr_assert_eq(put(9999), 9999); /* one short of a batch */
  close_clean();
  cr_assert_eq(next_seq, FIRST_SEQ + 9999);
  for (int i = 0; i < TKS__LANES; i++) {
    cr_assert_eq(fake_stored(&tapes[i]), 9999);
    cr_assert(fake_is_sound(&tapes[i]));
  }
}

Test(writer, close_writes_behind_a_running_write) {
  config.queue_records = 1000;
  config.batch_records = 100;
  config.backlog_records = 500;
  config.degraded_retry_ms = HOUR_MS;
  start(TKS_DUAL);
  fake_hold(&tapes[SQLITE], FAKE_WRITE);
  uint64_t pushed = put(3000);
  cr_assert_eq(pushed, capacity());
  fake_release(&tapes[SQLITE], FAKE_WRITE);
  close_clean();
  cr_assert_eq(fake_stored(&tapes[SQLITE]), pushed);
  cr_assert_eq(fake_stored(&tapes[JSON]), pushed);
}

/* The limit is for sick sinks: one that works is let finish. */
Test(writer, close_without_any_time_still_writes_to_healthy_sinks) {
  config.batch_records = 10000;
  config.flush_interval_ms = HOUR_MS;
  start(TKS_DUAL);
  cr_assert_eq(put(9000), 9000);
  tks_error error = {0};
  cr_assert_eq(close_writer(0, &error), TKS_OK, "%s", error.message);
  cr_assert_eq(fake_stored(&tapes[SQLITE]), 9000);
  cr_assert_eq(fake_stored(&tapes[JSON]), 9000);
}

Test(writer, close_retries_while_there_is_time) {
  config.retry_pause_ms = 5;
  config.degraded_retry_ms = HOUR_MS;
  config.retry_attempts = 1;
  start(TKS_DUAL);
  fake_fail(&tapes[SQLITE], FAKE_WRITE, 10);
  fake_fail(&tapes[JSON], FAKE_SYNC, 4);
  put_patiently(1000);
  close_clean();
  cr_assert_eq(fake_stored(&tapes[SQLITE]), 1000);
  cr_assert_eq(fake_stored(&tapes[JSON]), 1000);
}

static void check_lacks(int code, const tks_error *error, const char *expected) {
  cr_assert_eq(code, TKS_EUNWRITTEN);
  cr_assert_eq(error->code, TKS_EUNWRITTEN);
  cr_assert_not_null(strstr(error->message, expected), "%s", error->message);
  cr_assert_not_null(strstr(error->message, "fails"), "%s", error->message);
}

Test(writer, close_with_a_sick_sink_says_what_it_lacks) {
  start(TKS_DUAL);
  fake_fail(&tapes[JSON], FAKE_WRITE, FAKE_FOREVER);
  put_patiently(1234);
  wait_state(degraded, JSON);
  tks_error error = {0};
  int code = close_writer(20, &error);
  check_lacks(code, &error, "sqlite lacks 0, json lacks 1234 ");
  cr_assert_eq(fake_stored(&tapes[SQLITE]), 1234);
}

/* What was dropped was counted when it was. */
Test(writer, close_counts_what_was_never_tried) {
  config.queue_records = 100;
  config.batch_records = 50;
  config.backlog_records = 100;
  start(TKS_SQLITE);
  fake_fail(&tapes[SQLITE], FAKE_WRITE, FAKE_FOREVER);
  fill_up(0, 11);
  uint64_t room = capacity();
  tks_error error = {0};
  int code = close_writer(20, &error);
  char expected[64];
  (void)snprintf(expected, sizeof expected, "sqlite lacks %llu ", (unsigned long long)room);
  check_lacks(code, &error, expected);
  cr_assert_eq(next_seq, FIRST_SEQ + room + 11);
  cr_assert_eq(kept, 0);
}

static int closed_code;
static tks_error closed_error;

static void *close_shortly(void *argument) {
  (void)argument;
  closed_code = close_writer(20, &closed_error);
  return NULL;
}

/* One sink hangs over the end of the limit with records behind it, the other has been given up by then. */
Test(writer, close_while_one_hangs_and_the_other_is_sick) {
  config.queue_records = 100;
  config.batch_records = 50;
  config.backlog_records = 100;
  config.degraded_retry_ms = HOUR_MS; /* hanging is not sick: it may fill the room */
  start(TKS_DUAL);
  fake_fail(&tapes[JSON], FAKE_WRITE, FAKE_FOREVER);
  fake_hold(&tapes[SQLITE], FAKE_WRITE);
  cr_assert_eq(put(50), 50);
  cr_assert(fake_wait_begun(&tapes[SQLITE], FAKE_WRITE, 1));
  cr_assert(fake_wait_ended(&tapes[JSON], FAKE_WRITE, 1));
  fill_up(50, 5);
  uint64_t room = capacity();
  pthread_t thread = start_thread(close_shortly, NULL);
  cr_assert(fake_wait_ended(&tapes[JSON], FAKE_CLOSE, 1));
  fake_release(&tapes[SQLITE], FAKE_WRITE);
  join_thread(thread);
  char expected[64];
  (void)snprintf(expected, sizeof expected, "sqlite lacks 0, json lacks %llu ", (unsigned long long)room);
  check_lacks(closed_code, &closed_error, expected);
  cr_assert_eq(fake_stored(&tapes[SQLITE]), room);
  cr_assert_eq(next_seq, FIRST_SEQ + room + 5);
}

/* The retries at close must not be cut short by an old error of a sink that is well again. */
Test(writer, close_names_the_error_of_the_sink_that_lacks) {
  start(TKS_DUAL);
  fake_fail(&tapes[SQLITE], FAKE_WRITE, 1);
  put_patiently(100);
  flush();
  cr_assert_eq(stats().sinks[SQLITE].errors, 1);
  fake_fail(&tapes[JSON], FAKE_SYNC, FAKE_FOREVER);
  fake_fail(&tapes[JSON], FAKE_WRITE, FAKE_FOREVER);
  put_patiently(10);
  tks_error error = {0};
  int code = close_writer(20, &error);
  check_lacks(code, &error, "sqlite lacks 0, json lacks 10 ");
  cr_assert_null(strstr(error.message, "write 1 fails"), "%s", error.message);
}

/* Slow is not sick. */
Test(writer, close_lets_a_slow_sink_finish) {
  config.degraded_retry_ms = HOUR_MS;
  start(TKS_DUAL);
  fake_hold(&tapes[SQLITE], FAKE_WRITE);
  put_patiently(500);
  cr_assert(fake_wait_begun(&tapes[SQLITE], FAKE_WRITE, 1));
  put_patiently(500);
  pthread_t thread = start_thread(close_shortly, NULL);
  cr_assert(fake_wait_ended(&tapes[JSON], FAKE_CLOSE, 1));
  linger_ms(50); /* beyond the limit */
  fake_release(&tapes[SQLITE], FAKE_WRITE);
  join_thread(thread);
  cr_assert_eq(closed_code, TKS_OK, "%s", closed_error.message);
  cr_assert_eq(fake_stored(&tapes[SQLITE]), 1000);
}

/* ----------------------------------------------------------------- each sink */

Test(writer, each_sink_is_flushed_for_itself) {
  config.degraded_retry_ms = HOUR_MS;
  start(TKS_DUAL);
  fake_hold(&tapes[JSON], FAKE_WRITE);
  put_patiently(10);
  tks_error error = {0};
  cr_assert_eq(tks__writer_flush(writer, TKS_SQLITE, LIMIT_MS, &error), TKS_OK, "%s", error.message);
  uint64_t seq = 0;
  cr_assert(tks__writer_sink_durable_seq(writer, TKS_SQLITE, &seq));
  cr_assert_eq(seq, FIRST_SEQ + 9);
  cr_assert(tks__writer_sink_durable_seq(writer, TKS_JSON, &seq));
  cr_assert_eq(seq, FIRST_SEQ - 1);
  cr_assert_eq(tks__writer_durable_seq(writer), FIRST_SEQ - 1);
  cr_assert_eq(tks__writer_flush(writer, TKS_JSON, 0, &error), TKS_ETIMEOUT);
  cr_assert_not_null(strstr(error.message, "json"), "%s", error.message);
  cr_assert_eq(tks__writer_flush(writer, 7, 0, &error), TKS_EINVAL);
  cr_assert_not(tks__writer_sink_durable_seq(writer, 7, &seq));
  fake_release(&tapes[JSON], FAKE_WRITE);
  cr_assert_eq(tks__writer_flush(writer, TKS_JSON, LIMIT_MS, &error), TKS_OK, "%s", error.message);
  cr_assert_eq(tks__writer_durable_seq(writer), FIRST_SEQ + 9);
}

Test(writer, a_sink_that_is_off_cannot_be_flushed) {
  start(TKS_JSON);
  uint64_t seq;
  cr_assert_eq(tks__writer_flush(writer, TKS_SQLITE, 0, NULL), TKS_EINVAL);
  cr_assert_not(tks__writer_sink_durable_seq(writer, TKS_SQLITE, &seq));
  cr_assert_eq(tks__writer_flush(writer, TKS_JSON, 0, NULL), TKS_OK);
  put_patiently(10);
  tks__pending_filter all = {.sink = TKS_SQLITE, .from_ns = INT64_MIN, .to_ns = INT64_MAX, .max_seq = UINT64_MAX};
  cr_assert_eq(count_pending(all), 0, "nothing will come there");
  cr_assert_eq(tks__writer_flush(writer, TKS_JSON, INT64_MAX, NULL), TKS_OK, "more milliseconds than there are");
}

Test(writer, nobody_is_woken_while_it_is_busy) {
  config.batch_records = 10;
  config.flush_interval_ms = HOUR_MS;
  config.degraded_retry_ms = HOUR_MS;
  start(TKS_SQLITE);
  fake_hold(&tapes[SQLITE], FAKE_WRITE);
  put_patiently(10);
  cr_assert(fake_wait_begun(&tapes[SQLITE], FAKE_WRITE, 1));
  uint64_t before = stats().wakeups;
  put_patiently(5000);
  cr_assert_leq(stats().wakeups, before + 1);
  fake_release(&tapes[SQLITE], FAKE_WRITE);
}

/* ------------------------------------------------------------- with the journal */

static void use_files(void) {
  config.journal = 1;
  config.journal_bytes = UINT64_C(1) << 20;
}

static bool has_journal_files(void) {
  tks__fs_names names;
  cr_assert_eq(tks__fs_list(journal_dir, &names), 0);
  bool has = names.count > 0;
  tks__fs_names_free(&names);
  return has;
}

/* The next session of the same store. */
static void start_again(bool json_fails) {
  first_seq = next_seq;
  for (int i = 0; i < TKS__LANES; i++) {
    for (fake_op op = FAKE_WRITE; op < FAKE_OPS; op++) {
      fake_fail(&tapes[i], op, 0);
      fake_release(&tapes[i], op);
    }
    fake_tape_reopen(&tapes[i]);
  }
  if (json_fails) fake_fail(&tapes[JSON], FAKE_WRITE, FAKE_FOREVER);
  start(backend);
}

static void close_with_nothing_left(void) {
  close_clean();
  cr_assert_eq(kept, 0);
  cr_assert_not(has_journal_files());
}

Test(writer_journal, is_empty_after_a_clean_close, .init = set_up, .fini = tear_down) {
  use_files();
  start(TKS_DUAL);
  put_patiently(rounds(50000));
  cr_assert(has_journal_files());
  flush();
  close_with_nothing_left();
  for (int i = 0; i < TKS__LANES; i++) cr_assert_eq(fake_stored(&tapes[i]), rounds(50000));
}

static void keep_what_json_lacks(void) {
  use_files();
  start(TKS_DUAL);
  fake_fail(&tapes[JSON], FAKE_WRITE, FAKE_FOREVER);
  put_patiently(3000);
  cr_assert(fake_wait_stored(&tapes[SQLITE], 3000));
  wait_state(degraded, JSON);
  tks_error error = {0};
  cr_assert_eq(close_writer(20, &error), TKS_OK, "nothing is lost: %s", error.message);
  cr_assert_eq(kept, 3000);
  cr_assert_eq(next_seq, FIRST_SEQ + 3000);
}

static void check_both_have(uint64_t count) {
  tks_store_stats s = stats();
  for (int i = 0; i < TKS__LANES; i++) {
    cr_assert_eq(fake_stored(&tapes[i]), count);
    cr_assert_eq(s.sinks[i].lost, 0);
    cr_assert_eq(s.sinks[i].backlog, 0);
  }
  cr_assert_eq(s.durable_seq, s.last_seq);
}

static void both_get_the_rest(void) {
  start_again(false);
  put_patiently(100);
  flush();
  cr_assert_eq(stats().recovered, 3000);
  cr_assert_eq(stats().accepted, 100);
  check_both_have(3100);
  close_with_nothing_left();
}

Test(writer_journal, keeps_what_a_close_has_no_time_for, .init = set_up, .fini = tear_down) {
  keep_what_json_lacks();
  both_get_the_rest();
}

/* Again and again. */
Test(writer_journal, keeps_over_several_sessions, .init = set_up, .fini = tear_down) {
  keep_what_json_lacks();
  for (uint64_t i = 1; i <= 3; i++) {
    start_again(true);
    put_patiently(100);
    wait_state(degraded, JSON);
    cr_assert_eq(stats().recovered, 2900 + 100 * i);
    tks_error error = {0};
    cr_assert_eq(tks__writer_flush(writer, TKS_SQLITE, LIMIT_MS, &error), TKS_OK, "%s", error.message);
    cr_assert_eq(close_writer(20, &error), TKS_OK, "%s", error.message);
    cr_assert_eq(kept, 3000 + 100 * i);
  }
  start_again(false);
  flush();
  check_both_have(3300);
}

/* Journal switched off: what it held is written all the same. */
Test(writer_journal, is_read_by_a_session_without, .init = set_up, .fini = tear_down) {
  keep_what_json_lacks();
  config.journal = 0;
  both_get_the_rest();
}

Test(writer_journal, is_kept_by_a_session_without, .init = set_up, .fini = tear_down) {
  keep_what_json_lacks();
  config.journal = 0;
  start_again(true);
  put_patiently(100);
  wait_state(degraded, JSON);
  cr_assert(fake_wait_stored(&tapes[SQLITE], 3100));
  tks_error error = {0};
  int code = close_writer(20, &error);
  check_lacks(code, &error, "sqlite lacks 0, json lacks 100 ");
  cr_assert_eq(kept, 3000);
  start_again(false);
  flush();
  cr_assert_eq(stats().recovered, 3000);
  cr_assert_eq(fake_stored(&tapes[JSON]), 3000);
}

Test(writer_journal, lets_a_sick_sink_cost_the_other_nothing, .init = set_up, .fini = tear_down) {
  use_files();
  start(TKS_DUAL);
  fake_fail(&tapes[JSON], FAKE_WRITE, FAKE_FOREVER);
  cr_assert_eq(put(6000), 6000);
  wait_state(degraded, JSON);
  fake_hold(&tapes[JSON], FAKE_WRITE); /* and hangs */
  cr_assert_eq(put(6000), 6000);
  cr_assert(fake_wait_stored(&tapes[SQLITE], 12000));
  tks_store_stats s = stats();
  cr_assert_eq(s.dropped, 0);
  cr_assert_eq(s.sinks[JSON].lost, 0);
  cr_assert_eq(s.sinks[JSON].backlog, 12000);
  fake_fail(&tapes[JSON], FAKE_WRITE, 0);
  fake_release(&tapes[JSON], FAKE_WRITE);
  flush();
  check_both_have(12000);
}

/* Full is full: then the policy for all applies, and nothing that was accepted is lost. */
Test(writer_journal, when_full_drops_and_loses_nothing, .init = set_up, .fini = tear_down) {
  use_files();
  start(TKS_DUAL);
  fake_fail(&tapes[JSON], FAKE_WRITE, FAKE_FOREVER);
  uint64_t pushed = put(20000);
  cr_assert_lt(pushed, 20000);
  cr_assert(fake_wait_stored(&tapes[SQLITE], pushed));
  cr_assert_eq(stats().dropped, 20000 - pushed);
  cr_assert_eq(stats().sinks[JSON].lost, 0);
  fake_fail(&tapes[JSON], FAKE_WRITE, 0);
  flush();
  check_both_have(pushed);
}

Test(writer_journal, keeps_what_comes_after_a_hanging_write, .init = set_up, .fini = tear_down) {
  use_files();
  start(TKS_DUAL);
  fake_hold(&tapes[JSON], FAKE_WRITE);
  put_patiently(1000);
  cr_assert(fake_wait_begun(&tapes[JSON], FAKE_WRITE, 1));
  put_patiently(1000);
  cr_assert(fake_wait_stored(&tapes[SQLITE], 2000));
  pthread_t thread = start_thread(close_shortly, NULL);
  cr_assert(fake_wait_ended(&tapes[SQLITE], FAKE_CLOSE, 1));
  linger_ms(50); /* beyond the limit */
  fake_release(&tapes[JSON], FAKE_WRITE);
  join_thread(thread);
  cr_assert_eq(closed_code, TKS_OK, "%s", closed_error.message);
  cr_assert_lt(fake_stored(&tapes[JSON]), 2000);
  cr_assert_gt(kept, 0);
  start_again(false);
  flush();
  cr_assert_geq(stats().recovered, kept);
  check_both_have(2000);
}

/* A producer dies between taking its place and filling it: a hole for ever. */
Test(writer_journal, passes_a_hole_in_the_next_session, .init = set_up, .fini = tear_down) {
  use_files();
  start(TKS_DUAL);
  put_patiently(10);
  (void)atomic_fetch_add(&journal->tail, 1);
  put_patiently(10);
  cr_assert(fake_wait_stored(&tapes[SQLITE], 10));
  tks_error error = {0};
  cr_assert_eq(close_writer(20, &error), TKS_OK, "%s", error.message);
  cr_assert_eq(kept, 10, "%llu", (unsigned long long)kept);
  start_again(false);
  put_patiently(5);
  flush();
  check_both_have(25);
  cr_assert_not(fake_has(&tapes[JSON], FIRST_SEQ + 10));
}

/* Somebody scribbles into the file. */
Test(writer_journal, does_not_write_what_was_overwritten, .init = set_up, .fini = tear_down) {
  use_files();
  config.flush_interval_ms = HOUR_MS;
  start(TKS_DUAL);
  put_patiently(10);
  int fd = open(tks__journal_block(journal, journal->live_from)->segment->path, O_WRONLY);
  cr_assert_geq(fd, 0);
  off_t at = (off_t)(TKS__SEGMENT_HEADER_BYTES + 4 * sizeof(tks__slot) + offsetof(tks__slot_body, bid));
  cr_assert_eq(pwrite(fd, "scribble", 8, at), 8);
  (void)close(fd);
  tks_error error = {0};
  cr_assert_eq(tks__writer_flush(writer, 0, LIMIT_MS, &error), TKS_EUNWRITTEN, "%s", error.message);
  for (int i = 0; i < TKS__LANES; i++) {
    cr_assert_eq(stats().sinks[i].lost, 1);
    cr_assert_eq(stats().sinks[i].written, 9);
    cr_assert_not(fake_has(&tapes[i], FIRST_SEQ + 4));
    check_ledger(i);
  }
  cr_assert_eq(tks__writer_durable_seq(writer), FIRST_SEQ + 9);
  cr_assert_eq(close_writer(LIMIT_MS, &error), TKS_EUNWRITTEN);
}
