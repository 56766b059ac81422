/* A process that puts is killed with SIGKILL: while it opens, recovers, puts, closes. Whatever put had accepted is there
 * afterwards, once, whole and under its number, in each sink; without the journal, whatever was durable.
 *
 * TKS_KILLS sets how many kills there are in all (200). A failure names its store: TKS_TEST_SEED and TKS_KILL_FIRST=STORE begin
 * there again (with the same settings; the kills come when they come). TKS_KEEP=1 leaves the files. */
#include <criterion/criterion.h>
#include <errno.h>
#include <ftw.h>
#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "persist/dayfile.h"
#include "support/kill_report.h"
#include "support/process.h"
#include "support/random.h"
#include "support/records.h"
#include "support/scratch.h"
#include "support/stores.h"
#include "support/threads.h"

static char *disk_dir, *memory_dir; /* the latter for most stores: hundreds of them are no work for a disk */
static char root[PATH_MAX], report_path[PATH_MAX];
static kill_report *report;
static test_random dice;

/* The store at hand. */
static unsigned life, sessions;

/* What one way of reading the store found: sequence numbers, 0 where there is nothing. */
static struct {
  const char *way;
  uint64_t seqs[KILL_SESSIONS][KILL_THREADS][KILL_RECORDS];
  uint64_t count;
} found;

static void set_up(void) {
  dice = random_new();
  disk_dir = scratch_new();
  if (access("/dev/shm", W_OK) == 0) (void)setenv("TMPDIR", "/dev/shm", 1);
  memory_dir = scratch_new();
  (void)snprintf(report_path, sizeof report_path, "%s/report", memory_dir);
}

static void tear_down(void) {
  if (report != NULL) kill_report_unmap(report);
  if (getenv("TKS_KEEP") != NULL) return;
  scratch_remove(memory_dir);
  scratch_remove(disk_dir);
}

TestSuite(kill, .init = set_up, .fini = tear_down);

/* What the library says while a store is verified, for whoever looks for the reason. */
static char heard[4096];
static size_t heard_bytes;
static pthread_mutex_t heard_lock = PTHREAD_MUTEX_INITIALIZER;

static void listen(void *context, int32_t level, const char *message, size_t length) {
  (void)context;
  (void)level;
  (void)pthread_mutex_lock(&heard_lock);
  int n = snprintf(heard + heard_bytes, sizeof heard - heard_bytes, "  %.*s\n", (int)length, message);
  heard_bytes += n > 0 && (size_t)n < sizeof heard - heard_bytes ? (size_t)n : 0;
  (void)pthread_mutex_unlock(&heard_lock);
}

static int tell_file(const char *path, const struct stat *st, int type, struct FTW *at) {
  (void)at;
  if (type == FTW_F) (void)fprintf(stderr, "  %s: %lld bytes\n", path, (long long)st->st_size);
  return 0;
}

/* Criterion's own assertions are too slow to be asked of every record. */
#define CHECK(condition, ...)                \
  do {                                       \
    if (!(condition)) complain(__VA_ARGS__); \
  } while (0)

static void complain(const char *format, ...) {
  char what[1024], settings[1024];
  va_list arguments;
  va_start(arguments, format);
  (void)vsnprintf(what, sizeof what, format, arguments);
  va_end(arguments);
  for (unsigned i = 0; i < sessions; i++) {
    kill_settings_text(&report->sessions[i].settings, settings, sizeof settings);
    (void)fprintf(stderr, "session %u reached phase %u: %s\n", i, atomic_load(&report->sessions[i].phase), settings);
  }
  (void)fprintf(stderr, "the log of the last look:\n%.*sfiles:\n", (int)heard_bytes, heard);
  (void)nftw(root, tell_file, 16, FTW_PHYS);
  cr_assert_fail("store %u (%s), after %u sessions, %s: %s", life, root, sessions, found.way, what);
}

/* --------------------------------------------------------- what there is */

static void begin_reading(const char *way) {
  memset(&found, 0, sizeof found);
  found.way = way;
}

static bool same_price(double a, double b) { return (isnan(a) && isnan(b)) || bits_of(a) == bits_of(b); }

static bool same_but_seq(const tks_quote *a, const tks_quote *b) {
  return a->ts_ns == b->ts_ns && a->recv_ns == b->recv_ns && same_price(a->bid, b->bid) && same_price(a->ask, b->ask) &&
         a->bid_size == b->bid_size && a->ask_size == b->ask_size && a->symbol == b->symbol && a->source == b->source &&
         a->flags == b->flags && a->reserved == b->reserved;
}

/* With symbol and source as their numbers in kill_report.h. */
static void note(const tks_quote *q) {
  uint64_t session, thread, number;
  kill_name_parts(q->recv_ns, &session, &thread, &number);
  CHECK(session < sessions && thread < report->sessions[session].settings.threads &&
            number < report->sessions[session].settings.limit,
        "there is a record that nobody put: recv_ns %lld, seq %llu", (long long)q->recv_ns, (unsigned long long)q->seq);
  tks_quote expected = kill_quote(q->recv_ns);
  CHECK(same_but_seq(q, &expected), "record %llu of thread %llu in session %llu (seq %llu) has not its content",
        (unsigned long long)number, (unsigned long long)thread, (unsigned long long)session,
        (unsigned long long)q->seq);
  uint64_t *seq = &found.seqs[session][thread][number];
  CHECK(*seq == 0, "record %llu of thread %llu in session %llu is there twice: seq %llu and %llu",
        (unsigned long long)number, (unsigned long long)thread, (unsigned long long)session, (unsigned long long)*seq,
        (unsigned long long)q->seq);
  CHECK(q->seq != 0, "a record has no sequence number");
  *seq = q->seq;
  found.count++;
}

static uint32_t number_of(const char *text, const char *before) {
  size_t n = strlen(before);
  CHECK(text != NULL && strncmp(text, before, n) == 0, "a name of \"%s\"", text != NULL ? text : "(none)");
  return (uint32_t)strtoul(text + n, NULL, 10);
}

static void note_row(sqlite3_stmt *row) {
  const tks_quote q = {
      .seq = (uint64_t)sqlite3_column_int64(row, 0),
      .symbol = number_of((const char *)sqlite3_column_text(row, 1), "K/"),
      .ts_ns = sqlite3_column_int64(row, 2) * 1000000 + sqlite3_column_int64(row, 3),
      .bid = sqlite3_column_type(row, 4) == SQLITE_NULL ? (double)NAN : sqlite3_column_double(row, 4),
      .ask = sqlite3_column_type(row, 5) == SQLITE_NULL ? (double)NAN : sqlite3_column_double(row, 5),
      .source =
          sqlite3_column_type(row, 6) == SQLITE_NULL ? 0 : number_of((const char *)sqlite3_column_text(row, 6), "LP"),
      .flags = (uint32_t)sqlite3_column_int64(row, 7),
      .bid_size = sqlite3_column_double(row, 8),
      .ask_size = sqlite3_column_double(row, 9),
      .recv_ns = sqlite3_column_int64(row, 10),
  };
  note(&q);
}

static bool has_end(const char *text, const char *end) {
  size_t length = strlen(text), n = strlen(end);
  return length >= n && strcmp(text + length - n, end) == 0;
}

static int note_day_file(const char *path, const struct stat *st, int type, struct FTW *at) {
  (void)st;
  (void)at;
  if (type != FTW_F) return 0;
  CHECK(strstr(path, ".damaged") == NULL, "%s was set aside", path);
  /* A day file that was being made when its records were lost is left as it is. */
  if (!report->sessions[0].settings.journal && strstr(path, ".db.new") != NULL) return 0;
  CHECK(has_end(path, ".db"), "%s is left after close", path);
  CHECK(!tks__dayfile_in_wal_mode(path), "%s is not sealed by close", path);
  sqlite3 *db = NULL;
  sqlite3_stmt *rows = NULL;
  CHECK(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL) == SQLITE_OK, "cannot open %s", path);
  int rc = sqlite3_prepare_v2(db,
                              "SELECT q.seq, y.name, q.ts_ms, q.ts_sub_ns, q.bid, q.ask, s.name, q.flags, q.bid_size,"
                              " q.ask_size, q.recv_ns FROM quote q LEFT JOIN symbol y ON y.id = q.symbol_id"
                              " LEFT JOIN source s ON s.id = q.source_id",
                              -1, &rows, NULL);
  while (rc == SQLITE_OK && sqlite3_step(rows) == SQLITE_ROW) note_row(rows);
  rc = sqlite3_finalize(rows);
  CHECK(rc == SQLITE_OK, "%s: %s", path, sqlite3_errmsg(db));
  (void)sqlite3_close(db);
  return 0;
}

static int64_t time_of(const char *text) {
  struct tm t = {0};
  long ns = 0;
  int n = text == NULL ? 0
                       : sscanf(text, "%d-%d-%dT%d:%d:%d.%9ldZ", &t.tm_year, &t.tm_mon, &t.tm_mday, &t.tm_hour,
                                &t.tm_min, &t.tm_sec, &ns);
  CHECK(n == 7, "a timestamp of \"%s\"", text != NULL ? text : "(none)");
  t.tm_year -= 1900;
  t.tm_mon -= 1;
  return (int64_t)timegm(&t) * 1000000000 + ns;
}

static double price_of(const json_t *value) { return json_is_null(value) ? (double)NAN : json_number_value(value); }

static void note_line(const char *path, const char *line, size_t length) {
  json_t *o = json_loadb(line, length, JSON_REJECT_DUPLICATES, NULL);
  CHECK(json_is_object(o), "%s has a line that is no JSON: %.*s", path, (int)length, line);
  const char *lp = json_string_value(json_object_get(o, "lp"));
  const tks_quote q = {
      .seq = (uint64_t)json_integer_value(json_object_get(o, "seq")),
      .symbol = number_of(json_string_value(json_object_get(o, "symbol")), "K/"),
      .ts_ns = time_of(json_string_value(json_object_get(o, "timestamp"))),
      .bid = price_of(json_object_get(o, "bid")),
      .ask = price_of(json_object_get(o, "ask")),
      .source = lp != NULL && *lp == 0 ? 0 : number_of(lp, "LP"),
      .flags = (uint32_t)json_integer_value(json_object_get(o, "flags")),
      .bid_size = json_number_value(json_object_get(o, "bid_size")),
      .ask_size = json_number_value(json_object_get(o, "ask_size")),
      .recv_ns = json_integer_value(json_object_get(o, "recv_ns")),
  };
  json_decref(o);
  note(&q);
}

static int note_json_file(const char *path, const struct stat *st, int type, struct FTW *at) {
  (void)st;
  (void)at;
  if (type != FTW_F) return 0;
  CHECK(strstr(path, ".damaged") == NULL, "%s was set aside", path);
  if (!has_end(path, ".jsonl")) return 0;
  size_t length;
  char *text = read_file(path, &length), *line = text;
  for (char *end; (end = memchr(line, '\n', length - (size_t)(line - text))) != NULL; line = end + 1)
    note_line(path, line, (size_t)(end - line));
  /* Half a line is cut off when more is written to its file; with the journal, the rest of it at the least. */
  CHECK(line == text + length || !report->sessions[0].settings.journal, "%s ends in half a line after close", path);
  free(text);
  return 0;
}

/* ------------------------------------------------- what there ought to be */

static int by_value(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

static void check_unique(void) {
  uint64_t *all = malloc((found.count + 1) * sizeof *all);
  if (all == NULL) abort();
  size_t n = 0;
  const uint64_t *seqs = &found.seqs[0][0][0];
  for (size_t i = 0; i < sizeof found.seqs / sizeof *seqs; i++)
    if (seqs[i] != 0) all[n++] = seqs[i];
  qsort(all, n, sizeof *all, by_value);
  for (size_t i = 1; i < n; i++)
    CHECK(all[i] != all[i - 1], "two records have sequence number %llu", (unsigned long long)all[i]);
  free(all);
}

/* Whether this record has to be there. */
static bool is_promised(const kill_session *s, uint64_t said, uint64_t durable) {
  if ((said & KILL_DROPPED) != 0) return false;
  if (s->settings.journal || atomic_load(&s->phase) == KILL_CLOSED) return true;
  return (said & KILL_UNKNOWN) == 0 && said <= durable;
}

static void check_record(unsigned session, unsigned thread, unsigned number, uint64_t said, uint64_t durable) {
  uint64_t seq = found.seqs[session][thread][number];
  CHECK((said & KILL_DROPPED) == 0 || seq == 0, "record %u of thread %u in session %u was dropped, and is there",
        number, thread, session);
  CHECK(seq != 0 || !is_promised(&report->sessions[session], said, durable),
        "record %u of thread %u in session %u (seq %llu, durable %llu) is lost", number, thread, session,
        (unsigned long long)KILL_SEQ(said), (unsigned long long)durable);
  CHECK(seq == 0 || (said & KILL_UNKNOWN) != 0 || seq == said,
        "record %u of thread %u in session %u is there as %llu, put said %llu", number, thread, session,
        (unsigned long long)seq, (unsigned long long)said);
}

/* Widens what is known of a session's numbers, which never go down within a thread. */
static void check_ascends(unsigned session, unsigned thread, unsigned number, uint64_t seq, uint64_t *last,
                          uint64_t *lowest, uint64_t *highest) {
  if (seq == 0) return;
  CHECK(seq > *last, "record %u of thread %u in session %u has number %llu, an earlier one %llu", number, thread,
        session, (unsigned long long)seq, (unsigned long long)*last);
  *last = seq;
  if (seq < *lowest) *lowest = seq;
  if (seq > *highest) *highest = seq;
}

static void check_thread(unsigned session, unsigned thread, uint64_t *lowest, uint64_t *highest) {
  const kill_session *s = &report->sessions[session];
  /* Of its own session alone: a later one, without the journal, does not know what an earlier one lost. */
  uint64_t durable = atomic_load(&s->durable);
  unsigned limit = s->settings.limit, reported = limit;
  while (reported > 0 && atomic_load(&s->said[thread][reported - 1]) == 0) reported--;
  uint64_t last = 0;
  for (unsigned i = 0; i < limit; i++) {
    uint64_t said = atomic_load(&s->said[thread][i]), seq = found.seqs[session][thread][i];
    if (i < reported) check_record(session, thread, i, said, durable);
    /* What one call that had not returned may have done. */
    CHECK(i < reported + s->settings.batch || seq == 0, "record %u of thread %u in session %u is there, put were %u", i,
          thread, session, reported);
    check_ascends(session, thread, i, seq != 0 ? seq : KILL_SEQ(said), &last, lowest, highest);
  }
}

static void check_found(void) {
  uint64_t before = 0;
  for (unsigned i = 0; i < sessions; i++) {
    uint64_t lowest = UINT64_MAX, highest = before;
    for (unsigned k = 0; k < report->sessions[i].settings.threads; k++) check_thread(i, k, &lowest, &highest);
    CHECK(lowest > before, "session %u gave number %llu, one before it %llu", i, (unsigned long long)lowest,
          (unsigned long long)before);
    before = highest;
  }
  check_unique();
}

/* ------------------------------------------------------ the store, opened */

static void read_ranges(tks_store *store, size_t capacity) {
  char name[16];
  uint32_t ids[KILL_SYMBOLS + 1], sources[KILL_SOURCES + 1];
  begin_reading("read by the library");
  for (unsigned i = 1; i <= KILL_SOURCES; i++) {
    (void)kill_source(i, name);
    sources[i] = store_source(store, name);
  }
  for (unsigned i = 1; i <= KILL_SYMBOLS; i++) {
    (void)kill_symbol(i, name);
    ids[i] = store_symbol(store, name);
    tks_range range = store_range(ids[i]);
    size_t count;
    tks_quote *quotes = store_read(store, &range, capacity, &count);
    for (size_t k = 0; k < count; k++) {
      CHECK(k == 0 || quotes[k].ts_ns > quotes[k - 1].ts_ns ||
                (quotes[k].ts_ns == quotes[k - 1].ts_ns && quotes[k].seq > quotes[k - 1].seq),
            "a range is out of order at %llu", (unsigned long long)quotes[k].seq);
      CHECK(quotes[k].symbol == ids[i], "a record of another symbol in a range");
      quotes[k].symbol = i;
      uint32_t source = KILL_SOURCES;
      while (source > 0 && sources[source] != quotes[k].source) source--;
      CHECK(source > 0 || quotes[k].source == 0, "a source that nobody gave");
      quotes[k].source = source;
      note(&quotes[k]);
    }
    free(quotes);
  }
  check_found();
}

static void check_symbols(tks_store *store) {
  tks_symbol_info infos[KILL_SYMBOLS];
  size_t total;
  uint64_t count = 0;
  cr_assert_eq(tks_symbols(store, infos, KILL_SYMBOLS, &total, NULL), TKS_OK);
  for (size_t i = 0; i < total; i++) count += infos[i].count;
  CHECK(count == found.count, "the symbols count %llu records, there are %llu", (unsigned long long)count,
        (unsigned long long)found.count);
}

static void check_days(tks_store *store) {
  tks_day_info days[64];
  size_t total;
  cr_assert_eq(tks_days(store, TKS_CHECK_FULL, days, 64, &total, NULL), TKS_OK);
  for (size_t i = 0; i < total; i++) CHECK(days[i].code == TKS_OK, "a day is damaged: %s", days[i].message);
}

static int count_file(const char *path, const struct stat *st, int type, struct FTW *at) {
  (void)st;
  (void)at;
  CHECK(type == FTW_D || type == FTW_DP, "%s is left after close", path);
  return 0;
}

static void verify(void) {
  char path[PATH_MAX + 16];
  kill_settings settings = report->sessions[sessions - 1].settings;
  settings.close_limit_ms = 30000;
  tks_config config;
  kill_config(&settings, &config);
  heard_bytes = 0;
  config.log = listen;
  config.log_level = TKS_LOG_INFO;
  tks_store *store = store_open(root, &config);
  read_ranges(store, 1 + (size_t)random_below(&dice, 3000));
  check_symbols(store);
  store_flush(store);
  check_days(store);
  store_close(store);
  (void)snprintf(path, sizeof path, "%s/journal", root);
  (void)nftw(path, count_file, 16, FTW_PHYS);
  if ((settings.backend & TKS_SQLITE) != 0) {
    begin_reading("read with SQLite alone");
    (void)snprintf(path, sizeof path, "%s/db", root);
    (void)nftw(path, note_day_file, 16, FTW_PHYS);
    check_found();
  }
  if ((settings.backend & TKS_JSON) != 0) {
    begin_reading("read from JSON lines");
    (void)snprintf(path, sizeof path, "%s/json", root);
    (void)nftw(path, note_json_file, 16, FTW_PHYS);
    check_found();
  }
}

/* ----------------------------------------------------------------- killing */

static void sleep_us(uint64_t us) {
  (void)nanosleep(&(struct timespec){.tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000) * 1000}, NULL);
}

static bool has_ended(const process *victim) {
  siginfo_t info = {0};
  return waitid(P_PID, (id_t)victim->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == victim->pid;
}

static process start_victim(void) {
  char first[PATH_MAX + 16];
  found.way = "being killed";
  (void)snprintf(first, sizeof first, "%u %s", sessions, root);
  return process_start("kill_victim", first, report_path);
}

static void wait_for_phase(const process *victim, uint32_t phase) {
  const kill_session *s = &report->sessions[sessions];
  while (atomic_load_explicit(&s->phase, memory_order_acquire) < phase && !has_ended(victim)) sleep_us(20);
}

static void kill_victim(process *victim) {
  const kill_session *s = &report->sessions[sessions];
  (void)kill(victim->pid, SIGKILL);
  int end = process_wait(victim);
  sessions++;
  CHECK(end == -1 - SIGKILL, "the victim ended by itself with %d: %s", end, s->problem);
}

static uint64_t pick(test_random *random, const uint64_t *choices, size_t count) {
  return choices[random_below(random, count)];
}
#define PICK(random, ...) \
  pick(random, (const uint64_t[]){__VA_ARGS__}, sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))

static kill_settings roll_settings(test_random *random, uint32_t backend, bool journal) {
  kill_settings s = {.backend = backend, .journal = journal, .late_close_s = 1};
  s.journal_bytes = PICK(random, 1 << 20, 1 << 20, 3 << 20, 64 << 20);
  s.journal_sync_ms = (uint32_t)PICK(random, 0, 1, 50, 1000);
  s.synchronous = (uint32_t)PICK(random, TKS_SYNC_NORMAL, TKS_SYNC_FULL);
  s.queue_records = UINT32_C(16) << random_below(random, 11);
  s.batch_records = 1 + (uint32_t)random_below(random, s.queue_records);
  s.queue_policy = (uint32_t)PICK(random, TKS_QUEUE_DROP, TKS_QUEUE_BLOCK);
  s.flush_interval_ms = (uint32_t)PICK(random, 1, 10, 100, 3600000);
  s.sync_interval_ms = (uint32_t)PICK(random, 1, 20, 1000);
  s.checkpoint_pages = (uint32_t)PICK(random, 1, 10, 1000);
  s.max_open_days = 1 + (uint32_t)random_below(random, 4);
  s.close_limit_ms = journal ? (uint32_t)PICK(random, 0, 1, 30000) : 30000;
  s.threads = 1 + (uint32_t)random_below(random, KILL_THREADS);
  s.limit = (uint32_t)PICK(random, 20, 200, 2000, KILL_RECORDS);
  s.pause_every = (uint32_t)PICK(random, 0, 0, 20, 200);
  s.batch = random_below(random, 3) == 0 ? 2 + (uint32_t)random_below(random, KILL_BATCH - 1) : 1;
  s.flush = (uint32_t)random_below(random, 2);
  s.close = (uint32_t)random_below(random, 2);
  return s;
}

/* One victim from start to end: half of them while they put, the others where it is narrow. */
static void one_kill(test_random *random, uint32_t backend, bool journal) {
  kill_session *s = &report->sessions[sessions];
  s->settings = roll_settings(random, backend, journal);
  static const kill_phase moments[] = {KILL_STARTED, KILL_OPENING, KILL_OPENING, KILL_CLOSING,
                                       KILL_PUTTING, KILL_PUTTING, KILL_PUTTING, KILL_PUTTING};
  kill_phase moment = moments[random_below(random, sizeof moments / sizeof *moments)];
  if (moment == KILL_CLOSING) s->settings.close = 1;
  process victim = start_victim();
  wait_for_phase(&victim, moment);
  sleep_us(random_below(random, UINT64_C(1) << random_below(random, 16)));
  kill_victim(&victim);
}

static void new_life(unsigned number) {
  life = number;
  sessions = 0;
  if (report != NULL) kill_report_unmap(report);
  report = kill_report_map(report_path, true);
  (void)snprintf(root, sizeof root, "%s/%u", life % 8 == 7 ? disk_dir : memory_dir, life);
}

static void end_life(void) {
  if (getenv("TKS_KEEP") != NULL) return;
  scratch_clear(root);
  (void)rmdir(root);
}

static uint64_t number_from(const char *variable, uint64_t otherwise) {
  const char *text = getenv(variable);
  return text != NULL && *text != 0 ? strtoull(text, NULL, 10) : otherwise;
}

/* Several kills of each store in a row, with a look at it after some. */
static void kill_many(uint32_t backend, bool journal, uint64_t part, uint64_t of) {
  uint64_t kills = (number_from("TKS_KILLS", rounds(200)) * part + of - 1) / of;
  unsigned number = (unsigned)number_from("TKS_KILL_FIRST", 0);
  for (uint64_t done = 0; done < kills; number++) {
    test_random random = random_fork(&dice, number);
    new_life(number);
    for (unsigned left = 1 + (unsigned)random_below(&random, KILL_SESSIONS); left > 0 && done < kills; left--, done++) {
      one_kill(&random, backend, journal);
      if (left == 1 || done + 1 == kills || random_below(&random, 3) == 0) verify();
    }
    end_life();
  }
}

Test(kill, sqlite) { kill_many(TKS_SQLITE, true, 1, 4); }
Test(kill, json) { kill_many(TKS_JSON, true, 1, 4); }
Test(kill, dual) { kill_many(TKS_DUAL, true, 1, 4); }
Test(kill, sqlite_without_the_journal) { kill_many(TKS_SQLITE, false, 1, 12); }
Test(kill, json_without_the_journal) { kill_many(TKS_JSON, false, 1, 12); }
Test(kill, dual_without_the_journal) { kill_many(TKS_DUAL, false, 1, 12); }

/* ---------------------------------------------------- without any chance */

/* Records that no sink can have yet, since nothing is due for an hour. */
static void kill_with_all_waiting(uint32_t backend, bool journal) {
  new_life(backend);
  report->sessions[0].settings = (kill_settings){
      .backend = backend,
      .journal = journal,
      .journal_bytes = 4 << 20,
      .journal_sync_ms = 0,
      .synchronous = TKS_SYNC_FULL,
      .queue_records = 4096,
      .batch_records = 4096,
      .flush_interval_ms = 3600000,
      .sync_interval_ms = 1000,
      .checkpoint_pages = 1000,
      .max_open_days = 4,
      .late_close_s = 300,
      .close_limit_ms = 30000,
      .threads = 2,
      .limit = 500,
      .batch = 1,
  };
  process victim = start_victim();
  const kill_session *s = &report->sessions[0];
  while (!has_ended(&victim) && (atomic_load(&s->said[0][499]) == 0 || atomic_load(&s->said[1][499]) == 0))
    sleep_us(20);
  kill_victim(&victim);
  verify();
}

Test(kill, what_only_the_journal_has_is_not_lost) {
  for (uint32_t backend = TKS_SQLITE; backend <= TKS_DUAL; backend++) {
    kill_with_all_waiting(backend, true);
    cr_assert_eq(found.count, 1000);
    end_life();
  }
}

/* That the kill is one: what was in memory alone is gone. */
Test(kill, without_the_journal_it_is_lost) {
  for (uint32_t backend = TKS_SQLITE; backend <= TKS_DUAL; backend++) {
    kill_with_all_waiting(backend, false);
    cr_assert_eq(found.count, 0);
    end_life();
  }
}
