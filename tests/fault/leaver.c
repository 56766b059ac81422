/* leaver.c - a process that leaves, or forks children that leave, while threads put into its open store.
 *
 *   leaver DIR WAY[:ROUNDS]
 *
 * Each thread notes in a mapped file, DIR.notes, what put gave it, after put returned. So the test knows, however the process ended, what
 * had been accepted. An alarm ends what would hang: the test then sees SIGALRM. */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fault/leaver.h"
#include "tickstore/tickstore.h"

#define LIMIT_S 60

/* Read by LeakSanitizer: a store that is open at the end still holds what it holds. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void) { return 1; }

/* Read by ThreadSanitizer: threads that still run at the end are what this is about. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void) { return "report_thread_leaks=0"; }

static tks_store *store;
static tks_cursor *cursor; /* opened before the forks */
static leaver_notes *notes;
static uint32_t symbol;
static pthread_t putters[LEAVER_THREADS];
static _Atomic bool stop;
static bool close_at_the_end;
static bool slowly; /* what is put while many children come and go must be read by the test */

static void require(int condition, int line) {
  if (condition) return;
  (void)fprintf(stderr, "leaver.c:%d\n", line);
  _exit(100);
}
#define REQUIRE(condition) require(condition, __LINE__)

/* ------------------------------------------------------------------ putting */

static void *put(void *argument) {
  leaver_thread *mine = argument;
  tks_quote quotes[8];
  while (!atomic_load(&stop)) {
    uint64_t n = atomic_load_explicit(&mine->count, memory_order_relaxed);
    if (n + 8 > LEAVER_NOTES) break;
    tks_put_result result;
    for (int i = 0; i < 8; i++) quotes[i] = leaver_quote(symbol, (uint32_t)(mine - notes->threads), n + (uint64_t)i);
    int code = n % 16 == 0 ? tks_put_quotes(store, quotes, 8, NULL, &result, NULL)
                           : tks_put_quote(store, &quotes[0], &result.first_seq, NULL);
    if (code == TKS_ECLOSED || (code == TKS_PARTIAL && result.first_bad_code == TKS_ECLOSED)) break;
    REQUIRE(code == TKS_OK);
    atomic_store_explicit(&mine->count, n + (n % 16 == 0 ? 8 : 1), memory_order_release);
    if (slowly && n % 16 == 0) (void)nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
  }
  return NULL;
}

static void start_putters(void) {
  for (int i = 0; i < LEAVER_THREADS; i++) REQUIRE(pthread_create(&putters[i], NULL, put, &notes->threads[i]) == 0);
}

static void stop_putters(void) {
  atomic_store(&stop, true);
  for (int i = 0; i < LEAVER_THREADS; i++) REQUIRE(pthread_join(putters[i], NULL) == 0);
}

/* Until every thread has put so many more. */
static void wait_for_puts(uint64_t more) {
  for (int i = 0; i < LEAVER_THREADS; i++) {
    uint64_t until = atomic_load(&notes->threads[i].count) + more;
    if (until > LEAVER_NOTES - 16) until = LEAVER_NOTES - 16;
    while (atomic_load(&notes->threads[i].count) < until) (void)nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
  }
}

/* ------------------------------------------------------------------- ends */

static void close_store(void) {
  REQUIRE(tks_close(store, NULL) == TKS_OK);
  notes->closed = 1;
}

/* Also run by exit, before the libraries' own ends, while threads go on putting. */
static void at_exit(void) {
  if (getpid() != notes->pid) return; /* children have their own */
  tks_store_stats stats = {.struct_size = sizeof stats};
  int want = notes->closed ? TKS_ECLOSED : TKS_OK;
  tks_quote quote;
  REQUIRE(tks_stats(store, &stats, NULL) == want);
  REQUIRE(tks_latest(store, symbol, &quote, NULL) == want);
  if (close_at_the_end) close_store();
  notes->ended = 1;
}

static void __attribute__((destructor)) at_the_very_end(void) {
  if (store == NULL || notes == NULL || getpid() != notes->pid) return;
  tks_store_stats stats = {.struct_size = sizeof stats};
  REQUIRE(tks_stats(store, &stats, NULL) == (notes->closed ? TKS_ECLOSED : TKS_OK));
}

static void *exit_here(void *argument) {
  (void)argument;
  exit(0);
}

/* Set by the destructor of main's own data. */
static _Atomic bool main_is_gone;
static void note_gone(void *value) { atomic_store((_Atomic bool *)value, true); }

static void *close_when_main_is_gone(void *argument) {
  (void)argument;
  while (!atomic_load(&main_is_gone)) (void)nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
  wait_for_puts(50);
  stop_putters();
  close_store();
  return NULL; /* the last thread: the process ends */
}

/* ------------------------------------------------------------------ forks */

/* What each call answers in a child, by its place here. */
static int refused(const char *elsewhere) {
  tks_store *own = store;
  tks_error e;
  size_t n;
  uint64_t seq;
  uint32_t id;
  char name[TKS_NAME_MAX];
  tks_quote q = leaver_quote(symbol, 0, 0);
  tks_cursor *c;
  tks_store_stats stats = {.struct_size = sizeof stats};
  tks_symbol_info info;
  tks_day_info day;
  const tks_range all = {.struct_size = sizeof all, .symbol = symbol, .to_ns = TKS_TIME_MAX, .limit = 1};
  const int codes[] = {
      tks_put_quote(store, &q, NULL, &e),
      tks_put_quotes(store, &q, 1, NULL, NULL, &e),
      tks_put(store, "S1", 2, 1, 2, NULL, 0, LEAVER_NOON, NULL, &e),
      tks_symbol(store, "S1", 2, &id, &e),
      tks_source(store, "S1", 2, &id, &e),
      tks_symbol_name(store, 1, name, sizeof name, &n, &e),
      tks_recent(store, symbol, 1, &q, &n, &e),
      tks_latest(store, symbol, &q, &e),
      tks_latest_all(store, &q, 1, &n, &e),
      tks_range_open(store, &all, &c, &e),
      tks_cursor_next(cursor, &q, 1, &n, &e),
      tks_symbols(store, &info, 1, &n, &e),
      tks_days(store, TKS_CHECK_QUICK, &day, 1, &n, &e),
      tks_stats(store, &stats, &e),
      tks_flush(store, -1, &e),
      tks_durable_seq(store, &seq, &e),
      tks_close(store, &e),
      tks_open(elsewhere, strlen(elsewhere), NULL, &own, &e),
  };
  for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
    if (codes[i] != TKS_EFORK || e.code != TKS_EFORK) return 10 + (int)i;
  return own == NULL ? 0 : 9;
}

static int child_code;
static void child_at_exit(void) {
  if (tks_close(store, NULL) != TKS_EFORK) _exit(8);
  if (child_code != 0) _exit(child_code);
}

static void child(uint64_t number, const char *elsewhere) {
  (void)alarm(LIMIT_S);
  child_code = refused(elsewhere);
  tks_cursor_close(cursor); /* its memory is the child's own copy */
  if (number % 3 == 0) _exit(child_code);
  if (atexit(child_at_exit) != 0) _exit(7);
  if (number % 3 == 1) quick_exit(child_code);
  exit(child_code);
}

/* From the main thread and from one that puts nothing, while the others put. */
static void *fork_children(void *argument) {
  uint64_t rounds = *(uint64_t *)argument;
  char elsewhere[sizeof notes->dir + 16];
  (void)snprintf(elsewhere, sizeof elsewhere, "%s/elsewhere", notes->dir);
  for (uint64_t i = 0; i < rounds; i++) {
    wait_for_puts(1);
    pid_t pid = fork();
    REQUIRE(pid >= 0);
    if (pid == 0) child(i, elsewhere);
    int status;
    REQUIRE(waitpid(pid, &status, 0) == pid);
    if (status != 0) (void)fprintf(stderr, "child %llu ended with %#x\n", (unsigned long long)i, (unsigned)status);
    REQUIRE(status == 0);
    notes->rounds = i + 1;
  }
  REQUIRE(access(elsewhere, F_OK) != 0);
  return NULL;
}

static void fork_from(uint64_t rounds, bool thread) {
  if (!thread) {
    (void)fork_children(&rounds);
    return;
  }
  pthread_t forker;
  REQUIRE(pthread_create(&forker, NULL, fork_children, &rounds) == 0);
  REQUIRE(pthread_join(forker, NULL) == 0);
}

/* -------------------------------------------------------------------- main */

static void set_up(const char *dir) {
  char path[4096];
  (void)snprintf(path, sizeof path, "%s.notes", dir);
  int fd = open(path, O_RDWR);
  REQUIRE(fd >= 0);
  notes = mmap(NULL, sizeof *notes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  REQUIRE(notes != MAP_FAILED);
  (void)close(fd);
  notes->pid = getpid();
  (void)snprintf(notes->dir, sizeof notes->dir, "%s", dir);
  tks_config config;
  REQUIRE(tks_config_init(&config, sizeof config, TKS_PRESET_MIGRATION, NULL) == TKS_OK);
  config.throttle_relative = -1;
  config.queue_policy = TKS_QUEUE_BLOCK; /* no record is dropped for want of room */
  config.block_limit_ms = 3600000;
  config.batch_records = 50;
  config.ring_records = 64;
  REQUIRE(tks_open(dir, strlen(dir), &config, &store, NULL) == TKS_OK);
  tks_store_stats stats = {.struct_size = sizeof stats};
  REQUIRE(tks_stats(store, &stats, NULL) == TKS_OK);
  notes->journaled = stats.journal_bytes > 0;
  REQUIRE(tks_symbol(store, "S1", 2, &symbol, NULL) == TKS_OK);
  const tks_range all = {.struct_size = sizeof all, .symbol = symbol, .to_ns = TKS_TIME_MAX, .limit = 1};
  REQUIRE(tks_range_open(store, &all, &cursor, NULL) == TKS_OK);
}

int main(int argc, char **argv) {
  REQUIRE(argc == 3);
  (void)alarm(LIMIT_S * 10);
  set_up(argv[1]);
  REQUIRE(atexit(at_exit) == 0);
  char way[64];
  uint64_t rounds = 0;
  REQUIRE(sscanf(argv[2], "%63[a-z_]:%lu", way, &rounds) >= 1);
  slowly = strncmp(way, "fork", 4) == 0;
  start_putters();
  wait_for_puts(20);
  if (slowly) {
    fork_from(rounds, strcmp(way, "fork_thread") == 0);
    stop_putters();
    close_store();
    return 0;
  }
  pthread_t other;
  pthread_key_t key;
  notes->durable_seq = 0;
  (void)tks_durable_seq(store, &notes->durable_seq, NULL);
  if (strcmp(way, "return") == 0) return 0;
  if (strcmp(way, "exit") == 0) exit(0);
  if (strcmp(way, "_exit") == 0) _exit(0);
  if (strcmp(way, "quick_exit") == 0) quick_exit(0);
  if (strcmp(way, "close_atexit") == 0) {
    close_at_the_end = true;
    exit(0);
  }
  if (strcmp(way, "close_return") == 0) {
    close_store();
    return 0;
  }
  if (strcmp(way, "thread_exit") == 0) {
    REQUIRE(pthread_create(&other, NULL, exit_here, NULL) == 0);
    (void)pause();
  }
  REQUIRE(strcmp(way, "main_exits") == 0);
  REQUIRE(pthread_key_create(&key, note_gone) == 0 && pthread_setspecific(key, &main_is_gone) == 0);
  REQUIRE(pthread_create(&other, NULL, close_when_main_is_gone, NULL) == 0);
  pthread_exit(NULL);
}
