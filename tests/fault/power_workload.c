/* power_workload ROOT LOG - the half of the power loss test that uses a store: a few sessions with configurations of all kinds
 * and quotes of several days, with every write and sync below ROOT, every quote put and every durable sequence number that
 * it learned appended to LOG, whose first event says the seed and the number of the first quote.
 *
 * That event may also ask for a mapped file instead of a store, for the test of the simulator itself. */
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fault/power_workload/interpose.h"
#include "support/power.h"
#include "support/random.h"
#include "support/stores.h"
#include "support/wait.h"
#include "tickstore/tickstore.h"

static const char *root;
static uint64_t seed, next_number;
static uint32_t orders; /* of the log's first event */
static test_random chance;
static tks_store *store;
static tks_config config;
static uint32_t symbols[POWER_SYMBOLS];
static bool
    mixed; /* sessions differed in their backend: which sink has what cannot be told by reading, as in a dual one */

static void check(int code, const char *what, const tks_error *error) {
  if (code == TKS_OK) return;
  (void)fprintf(stderr, "power_workload: %s: %d: %s\n", what, code, error->message);
  abort();
}

static uint32_t one_of(const uint32_t *values, size_t count) { return values[random_below(&chance, count)]; }

#define ONE_OF(...) one_of((const uint32_t[]){__VA_ARGS__}, sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))

static void print_log(void *context, int32_t level, const char *message, size_t length) {
  (void)context;
  (void)fprintf(stderr, "%d %.*s\n", (int)level, (int)length, message);
}

/* Small everything, so that a few hundred quotes come by all the borders that there are. */
static void choose_config(uint32_t backend) {
  tks_error error;
  check(tks_config_init(&config, sizeof config, TKS_PRESET_PRODUCTION, &error), "tks_config_init", &error);
  config.backend = backend;
  config.throttle_relative = -1;
  config.ring_records = 64;
  config.queue_records = 4096;
  config.queue_policy = TKS_QUEUE_BLOCK;
  config.block_limit_ms = WAIT_LIMIT_S * 1000;
  config.close_limit_ms = WAIT_LIMIT_S * 1000;
  config.batch_records = ONE_OF(1, 7, 50, 500);
  config.flush_interval_ms = ONE_OF(1, 5, 50, 5000);
  config.sync_interval_ms = ONE_OF(1, 5, 20, 5000);
  config.synchronous = ONE_OF(TKS_SYNC_NORMAL, TKS_SYNC_FULL);
  config.checkpoint_pages = ONE_OF(1, 5, 20, 1000);
  config.max_open_days = ONE_OF(1, 2, 4);
  config.page_cache_bytes = ONE_OF(65536, 1 << 20);
  config.late_close_s = 1;
  config.journal = ONE_OF(0, 1);
  if ((orders & POWER_WITHOUT_JOURNAL) != 0) config.journal = 0;
  if ((orders & POWER_WITH_JOURNAL) != 0) config.journal = 1;
  config.journal_sync_ms = ONE_OF(1, 5, 1000);
  config.journal_bytes = 1 << 20;
  if (getenv("TKS_POWER_VERBOSE") != NULL) {
    config.log = print_log;
    config.log_level = TKS_LOG_DEBUG;
  }
}

/* The number is read before the note of it is made, so that whatever made it true stands before the note. */
static void note_durable(void) {
  tks_error error;
  uint64_t durable = 0;
  tks_store_stats stats = {.struct_size = sizeof stats};
  check(tks_durable_seq(store, &durable, &error), "tks_durable_seq", &error);
  check(tks_stats(store, &stats, &error), "tks_stats", &error);
  /* What the journal has on disk gets into the sinks when the store is opened again. */
  if (config.journal && stats.journal_seq > durable) durable = stats.journal_seq;
  interpose_note(POWER_DURABLE, config.backend, durable, 0, 1);
  for (uint32_t sink = TKS_SQLITE; sink <= TKS_JSON; sink++) {
    if ((config.backend & sink) != 0) interpose_note(POWER_DURABLE, sink, stats.sinks[sink - 1].durable_seq, 0, 0);
  }
}

static uint32_t source_id(const char *name) {
  tks_error error;
  uint32_t id = 0;
  if (name != NULL) check(tks_source(store, name, strlen(name), &id, &error), "tks_source", &error);
  return id;
}

static void put_some(size_t count) {
  tks_error error;
  interpose_note(POWER_INTENT, 0, 0, (int64_t)(next_number + count), 0);
  for (size_t i = 0; i < count; i++, next_number++) {
    unsigned symbol;
    const char *source;
    uint64_t seq;
    tks_quote quote = power_quote(seed, next_number, &symbol, &source);
    quote.symbol = symbols[symbol];
    quote.source = source_id(source);
    check(tks_put_quote(store, &quote, &seq, &error), "tks_put_quote", &error);
    interpose_note(POWER_PUT, 0, seq, (int64_t)next_number, random_below(&chance, 16) == 0);
  }
}

static void step(void) {
  tks_error error;
  put_some(1 + random_below(&chance, random_below(&chance, 4) == 0 ? 100 : 10));
  uint64_t dice = random_below(&chance, 16);
  if (dice == 0) check(tks_flush(store, WAIT_LIMIT_S * 1000, &error), "tks_flush", &error);
  if (dice < 8) linger_ms((unsigned)random_below(&chance, 3));
  note_durable();
}

/* Quotes of earlier sessions that can be read now. Once this session's durable number is above theirs, they are durable. */
static void note_seen(uint32_t symbol) {
  tks_quote quotes[256];
  tks_error error;
  tks_cursor *cursor;
  size_t count = 0;
  const tks_range range = {.struct_size = sizeof range,
                           .symbol = symbol,
                           .from_ns = TKS_TIME_MIN,
                           .to_ns = TKS_TIME_MAX,
                           .limit = TKS_NO_LIMIT};
  check(tks_range_open(store, &range, &cursor, &error), "tks_range_open", &error);
  do {
    check(tks_cursor_next(cursor, quotes, 256, &count, &error), "tks_cursor_next", &error);
    for (size_t i = 0; i < count; i++)
      interpose_note(POWER_SEEN, config.backend, quotes[i].seq, (int64_t)power_number(quotes[i].recv_ns), 0);
  } while (count > 0);
  tks_cursor_close(cursor);
}

static void open_session(void) {
  tks_error error;
  interpose_note(POWER_SESSION, 0, config.backend, 0, 0);
  check(tks_open(root, strlen(root), &config, &store, &error), "tks_open", &error);
  for (unsigned i = 0; i < POWER_SYMBOLS; i++)
    check(tks_symbol(store, POWER_SYMBOL_NAMES[i], strlen(POWER_SYMBOL_NAMES[i]), &symbols[i], &error), "tks_symbol",
          &error);
  interpose_note(POWER_OPENED, 0, 0, 0, 1);
  if (!mixed && config.backend != TKS_DUAL)
    for (unsigned i = 0; i < POWER_SYMBOLS; i++) note_seen(symbols[i]);
  note_durable();
}

static void close_session(void) {
  tks_error error;
  int code = tks_close(store, &error);
  if (code < 0) check(code, "tks_close", &error);
  if (code == TKS_OK) interpose_note(POWER_CLOSED, 0, 0, 0, 1);
}

static void run_session(uint32_t backend, bool dies) {
  choose_config(backend);
  open_session();
  for (uint64_t steps = 1 + random_below(&chance, 25); steps > 0; steps--) step();
  /* Now and then long enough for past days to be sealed. */
  if (random_below(&chance, 10) == 0) linger_ms(1500);
  if (dies) interpose_die();
  close_session();
}

/* True if another process has written to this log before. */
static bool read_log(const char *log_path) {
  size_t length;
  char *log = read_file(log_path, &length);
  power_event e;
  uint32_t backend = 0;
  bool ended = false;
  for (size_t at = 0; at < length; at += sizeof e + e.length) {
    memcpy(&e, log + at, sizeof e);
    if (e.kind == POWER_SEED) {
      seed = e.value;
      orders = (uint32_t)e.file;
      mixed = (orders & POWER_MIXED) != 0;
      backend = orders & TKS_DUAL;
    }
    if ((e.kind == POWER_SEED || e.kind == POWER_INTENT) && (uint64_t)e.offset > next_number)
      next_number = (uint64_t)e.offset;
    ended |= e.kind == POWER_END;
    if (e.kind != POWER_SESSION) continue;
    mixed |= backend != 0 && backend != e.value;
    backend = (uint32_t)e.value;
  }
  free(log);
  if (backend != 0) orders = (orders & ~TKS_DUAL) | backend;
  chance = random_fork(&(test_random){seed}, length);
  return ended;
}

/* ROOT/file of four pages, mapped: pages 0 and 2 are written and page 0 synced; then all are written again. */
static int use_memory(void) {
  char path[4096];
  (void)snprintf(path, sizeof path, "%s/file", root);
  int fd = open(path, O_RDWR | O_CREAT, 0600), dir_fd = open(root, O_RDONLY | O_DIRECTORY);
  if (fd < 0 || dir_fd < 0 || posix_fallocate(fd, 0, 16384) != 0 || fsync(fd) != 0 || fsync(dir_fd) != 0) return 1;
  char *memory = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) return 2;
  memory[100] = memory[8292] = 'a';
  if (msync(memory, 4096, MS_SYNC) != 0) return 3;
  interpose_note(POWER_OPENED, 0, 0, 0, 0);
  for (int page = 0; page < 4; page++) memory[page * 4096 + 700] = 'b';
  interpose_note(POWER_CLOSED, 0, 0, 0, 1);
  if (munmap(memory, 16384) != 0 || close(fd) != 0 || close(dir_fd) != 0) return 4;
  interpose_stop();
  return 0;
}

int main(int count, char **arguments) {
  if (count != 3) return 100;
  root = arguments[1];
  if (read_log(arguments[2])) interpose_continue(root, arguments[2]);
  else interpose_start(root, arguments[2]);
  if ((orders & POWER_SIMULATOR) != 0) return use_memory();
  uint32_t backend = (orders & TKS_DUAL) != 0 ? orders & TKS_DUAL : ONE_OF(TKS_SQLITE, TKS_JSON, TKS_DUAL);
  for (uint64_t sessions = 1 + random_below(&chance, 4); sessions > 0; sessions--) {
    run_session(backend, sessions == 1 && random_below(&chance, 3) == 0);
    uint32_t before = backend;
    if (random_below(&chance, 3) == 0) backend = ONE_OF(TKS_SQLITE, TKS_JSON, TKS_DUAL);
    mixed |= backend != before;
  }
  interpose_stop();
  return 0;
}
