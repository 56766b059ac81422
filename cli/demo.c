/* demo.c - tickstore demo: the main job of the store, shown and checked.
 *
 * A made-up market feeds a store from two threads while this one draws what happens; then the store is closed, asked
 * through the other subcommands, and its rows are counted by the sqlite3 shell, which must find what was accepted. */
#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/utc.h"
#include "demo_feed.h"
#include "demo_view.h"
#include "human.h"
#include "prometheus.h"
#include "shell.h"
#include "sql_days.h"

static const char help[] =
    "usage: tickstore demo [--seconds N] [--rate N] [--symbols N] [--store DIR | --keep] [--metrics FILE]\n\n"
    "Shows the main job: a live market (made up: bursts, repeats, late quotes, two sources) goes through a store,\n"
    "with a live view; then recent quotes, a range with its timing, the statistics, and the rows as the sqlite3 shell\n"
    "counts them. The exit code is 1 if it does not count exactly what was accepted.\n\n"
    "  --seconds N     how long the market is live, 1 to 3600; 8 without it\n"
    "  --rate N        quotes per second, on average, 10 to 10000000; 50000 without it\n"
    "  --symbols N     1 to 100000; 60 without it\n"
    "  --store DIR     use and keep this store; without it a temporary directory is used and removed\n"
    "  --keep          keep the temporary directory\n"
    "  --metrics FILE  write the live counters there each second, as Prometheus metrics\n"
    "  -h, --help      this text\n";

enum { SHOWN_SYMBOLS = 5, FLUSH_MS = 500, FLUSH_LIMIT_MS = 15000 };

typedef struct demo_run {
  const char *store;   /* the directory */
  const char *metrics; /* or NULL */
  int64_t seconds, rate, symbols;
  bool temporary, keep;
  bool metrics_failed;   /* the file could not be written; said so */
  bool opened;           /* there is a store to speak of */
  tks_store_stats stats; /* when all was written */
  int64_t first_ns;      /* wall clock at the start */
} demo_run;

static atomic_bool interrupted;

static void on_interrupt(int number) {
  atomic_store(&interrupted, true);
  signal(number, SIG_DFL); /* the second one ends the process */
}

/* ----------------------------------------------------------- temporary store */

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *place) {
  (void)status, (void)type, (void)place;
  return remove(path);
}

static bool make_temporary(char *path, size_t size) {
  const char *parent = getenv("TMPDIR");
  if (parent == NULL || parent[0] != '/') parent = "/tmp";
  if ((size_t)snprintf(path, size, "%s/tickstore-demo-XXXXXX", parent) < size && mkdtemp(path) != NULL) return true;
  cli_data_error("demo", "cannot make a directory in %s: %s", parent, strerror(errno));
  return false;
}

static void leave_store(const demo_run *demo) {
  bool removed = demo->temporary && !demo->keep;
  if (removed) nftw(demo->store, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
  if (!demo->opened) return;
  if (removed) printf("\nThe temporary store %s is removed; --keep would keep it.\n", demo->store);
  else printf("\nThe store is kept: tickstore stats --store %s\n", demo->store);
}

/* --------------------------------------------------------------------- live */

static void on_log(void *context, int32_t level, const char *message, size_t length) {
  (void)context, (void)level;
  fprintf(stderr, "tickstore demo: %.*s\n", (int)length, message);
}

/* As in production, but for two things: a full journal makes the market wait, because the demo checks that every quote
 * arrives; and it is flushed twice a second, because somebody is looking. */
static tks_store *open_store(const char *path) {
  tks_config config;
  tks_error error = {0};
  tks_store *store = NULL;
  int code = tks_config_init(&config, sizeof config, TKS_PRESET_PRODUCTION, &error);
  config.queue_policy = TKS_QUEUE_BLOCK;
  config.block_limit_ms = 10000;
  config.flush_interval_ms = FLUSH_MS;
  config.log = on_log;
  if (code >= 0) code = tks_open(path, strlen(path), &config, &store, &error);
  if (code < 0) cli_data_error("demo", "%s", error.message);
  return store;
}

/* Through a second file and a rename: whoever reads FILE never sees half of it. False: errno says why not. */
static bool replace_metrics(const char *path, const tks_store_stats *stats) {
  char temporary[4096];
  errno = ENAMETOOLONG;
  if ((size_t)snprintf(temporary, sizeof temporary, "%s.new", path) >= sizeof temporary) return false;
  FILE *file = fopen(temporary, "w");
  if (file == NULL) return false;
  errno = 0;
  prometheus_live(file, stats);
  bool whole = ferror(file) == 0;
  int why = errno != 0 ? errno : EIO;
  if (fclose(file) != 0 && whole) {
    whole = false;
    why = errno;
  }
  if (whole && rename(temporary, path) == 0) return true;
  if (whole) why = errno;
  unlink(temporary);
  errno = why;
  return false;
}

/* The first failure is said; what could not be written in between may still come in the end. */
static void write_metrics(demo_run *demo) {
  if (demo->metrics == NULL || replace_metrics(demo->metrics, &demo->stats)) return;
  if (!demo->metrics_failed)
    cli_data_error("demo", "cannot write the metrics to %s: %s", demo->metrics, strerror(errno));
  demo->metrics_failed = true;
}

static void take_stats(tks_store *store, tks_store_stats *stats) {
  memset(stats, 0, sizeof *stats);
  stats->struct_size = sizeof *stats;
  tks_stats(store, stats, NULL);
}

static void watch(demo_run *demo, tks_store *store, demo_feed *feeds) {
  static const struct timespec moment = {.tv_nsec = 20000000};
  demo_view view;
  int64_t metrics_ns = 0;
  demo_view_start(&view, store, demo->seconds);
  while (!demo_feeds_done(feeds)) {
    nanosleep(&moment, NULL);
    take_stats(store, &demo->stats);
    demo_view_update(&view, &demo->stats, false);
    if (demo->metrics != NULL && cli_monotonic_ns() - metrics_ns >= TKS__NS_PER_S) {
      metrics_ns = cli_monotonic_ns();
      write_metrics(demo);
    }
  }
  demo_feeds_join(feeds);
  take_stats(store, &demo->stats);
  demo_view_update(&view, &demo->stats, true);
}

/* How long the last 100 quotes take while they are in memory: the mean of many calls. */
static void time_recent(tks_store *store) {
  enum { CALLS = 2000, QUOTES = 100 };
  tks_quote quotes[QUOTES];
  uint32_t symbol = 0;
  size_t count = 0;
  char each[HUMAN_MAX];
  if (tks_symbol(store, "EURUSD", 6, &symbol, NULL) < 0) return;
  int64_t started = cli_monotonic_ns();
  for (int i = 0; i < CALLS; i++) {
    if (tks_recent(store, symbol, QUOTES, quotes, &count, NULL) < 0) return;
  }
  human_duration((cli_monotonic_ns() - started) / CALLS, each);
  printf("\nThe last %zu quotes of EURUSD from memory: %s a call.\n", count, each);
}

static bool run_market(demo_run *demo) {
  demo_feed feeds[MARKET_FEEDS];
  tks_error error = {0};
  char time[HUMAN_MAX];
  tks_store *store = open_store(demo->store);
  if (store == NULL) return false;
  take_stats(store, &demo->stats);
  write_metrics(demo);
  if (demo->metrics_failed) { /* better now than after the market */
    tks_close(store, NULL);
    return false;
  }
  demo->opened = true;
  demo_plan plan = {.store = store,
                    .symbols = (uint32_t)demo->symbols,
                    .rate = (double)demo->rate,
                    .seconds = demo->seconds,
                    .stop = &interrupted};
  bool fine = demo_feeds_start(feeds, &plan);
  if (fine) {
    watch(demo, store, feeds);
    time_recent(store);
    if (tks_flush(store, FLUSH_LIMIT_MS, &error) < 0) cli_data_error("demo", "flush: %s", error.message);
    take_stats(store, &demo->stats);
    write_metrics(demo);
  }
  int64_t started = cli_monotonic_ns();
  if (tks_close(store, &error) < 0) {
    cli_data_error("demo", "close: %s", error.message);
    return false;
  }
  if (fine)
    printf("Closed, everything written and sealed, in %s.\n", human_duration(cli_monotonic_ns() - started, time));
  return fine;
}

/* ---------------------------------------------------------------- afterwards */

/* Shows the command as the user would type it, and runs it. */
static int show(const char **argv) {
  int argc = 0;
  printf("\n$ tickstore");
  for (; argv[argc] != NULL; argc++) printf(strchr(argv[argc], ' ') != NULL ? " \"%s\"" : " %s", argv[argc]);
  putchar('\n');
  int exit_code = cli_run(argc, (char **)argv);
  cli_flush_stdout();
  return exit_code;
}

static int show_reads(const demo_run *demo) {
  static const char sql[] =
      "SELECT lp_source, COUNT(*) AS quotes, COUNT(DISTINCT symbol) AS symbols FROM ticks GROUP BY lp_source";
  char from[TKS__UTC_TEXT_MAX];
  const char *store = demo->store;
  tks__utc_format(demo->first_ns, from);
  int failed = 0;
  failed |= show((const char *[]){"recent", "--store", store, "EURUSD", "-n", "5", "--format", "table", NULL});
  failed |= show((const char *[]){"range", "--store", store, demo->symbols > 30 ? "XAUUSD" : "EURUSD", "--from", from,
                                  "--limit", "5", "--format", "table", "--timing", NULL});
  failed |= show((const char *[]){"stats", "--store", store, "--format", "table", NULL});
  failed |= show((const char *[]){"sql", "--store", store, "--format", "table", "--timing", sql, NULL});
  return failed;
}

/* A whole range through the library, without printing it. */
static bool time_range(tks_store *store) {
  enum { BATCH = 4096 };
  tks_range range = {
      .struct_size = sizeof range, .from_ns = TKS_TIME_MIN, .to_ns = TKS_TIME_MAX, .limit = TKS_NO_LIMIT};
  tks_cursor *cursor = NULL;
  tks_quote *quotes = malloc(BATCH * sizeof *quotes);
  size_t count = 1;
  uint64_t rows = 0;
  char text[HUMAN_MAX], time[HUMAN_MAX], rate[HUMAN_MAX];
  int64_t started = cli_monotonic_ns();
  int code = quotes == NULL ? TKS_ENOMEM : tks_symbol(store, "EURUSD", 6, &range.symbol, NULL);
  if (code >= 0) code = tks_range_open(store, &range, &cursor, NULL);
  for (; code >= 0 && count > 0; rows += count) code = tks_cursor_next(cursor, quotes, BATCH, &count, NULL);
  tks_cursor_close(cursor);
  free(quotes);
  int64_t elapsed = cli_monotonic_ns() - started;
  if (code < 0) return false;
  printf("\nAll of EURUSD as a range, read from disk: %s quotes in %s, %s/s.\n", human_count(rows, text),
         human_duration(elapsed, time), human_count((uint64_t)((double)rows / ((double)(elapsed + 1) / 1e9)), rate));
  return true;
}

/* The first lines of what the shell says about one day, and how many more there are. */
static void show_shell(const char *file) {
  static const char sql[] =
      "SELECT symbol, COUNT(*), MIN(timestamp), MAX(timestamp) FROM ticks GROUP BY symbol ORDER BY 2 DESC";
  static char text[1 << 16];
  printf("\n$ sqlite3 %s \"%s\"\n", file, sql);
  cli_flush_stdout();
  if (shell_query(file, sql, text, sizeof text) != SHELL_OK) return;
  char *line = text;
  size_t more = 0;
  for (int i = 0; *line != '\0'; i++) {
    size_t length = strcspn(line, "\n");
    if (i < SHOWN_SYMBOLS) printf("%.*s\n", (int)length, line);
    else more++;
    line += length + (line[length] == '\n');
  }
  if (more > 0) printf("... and %zu more symbols\n", more);
}

/* The rows of this run in all day files, as the sqlite3 shell counts them. */
static shell_status count_rows(const demo_run *demo, const sql_days *days, uint64_t *rows) {
  char sql[128], text[64];
  snprintf(sql, sizeof sql, "SELECT COUNT(*) FROM ticks WHERE id BETWEEN %" PRIu64 " AND %" PRIu64,
           demo->stats.first_seq, demo->stats.last_seq);
  *rows = 0;
  printf("\n$ sqlite3 FILE \"%s\"\n", sql);
  for (size_t i = 0; i < days->count; i++) {
    if (days->items[i].path == NULL) continue; /* JSON only: not of this run */
    cli_flush_stdout();
    shell_status status = shell_query(days->items[i].path, sql, text, sizeof text);
    if (status != SHELL_OK) return status;
    uint64_t count = strtoull(text, NULL, 10);
    *rows += count;
    if (count > 0) printf("%s: %" PRIu64 "\n", strrchr(days->items[i].path, '/') + 1, count);
  }
  return SHELL_OK;
}

static int judge(const demo_run *demo, shell_status status, uint64_t rows) {
  char accepted[HUMAN_MAX], counted[HUMAN_MAX];
  uint64_t expected = demo->stats.accepted - demo->stats.dropped - demo->stats.sinks[0].lost;
  if (status == SHELL_MISSING) {
    printf("There is no sqlite3 shell on this machine, so nobody else counted. (apt install sqlite3)\n");
    return CLI_OK;
  }
  if (status == SHELL_FAILED) return cli_data_error("demo", "the sqlite3 shell failed");
  human_count(demo->stats.accepted, accepted);
  human_count(rows, counted);
  if (rows == demo->stats.accepted) {
    printf("\nOK: %s quotes were accepted, and sqlite3 counts %s rows: every one is there, once.\n", accepted, counted);
    return CLI_OK;
  }
  if (rows == expected) printf("\nThe difference is counted as dropped or lost: nothing is missing silently.\n");
  return cli_data_error("demo", "%s quotes were accepted, but sqlite3 counts %s rows", accepted, counted);
}

static const char *largest_day(const sql_days *days) {
  const sql_day *largest = NULL;
  for (size_t i = 0; i < days->count; i++) {
    if (days->items[i].path == NULL) continue;
    if (largest == NULL || days->items[i].quotes > largest->quotes) largest = &days->items[i];
  }
  return largest != NULL ? largest->path : NULL;
}

static int check(const demo_run *demo) {
  day_list list;
  sql_days days;
  uint64_t rows = 0;
  tks_store *store = cli_open_for_reading("demo", demo->store);
  if (store == NULL) return CLI_DATA;
  bool timed = time_range(store);
  bool ready = list_days("demo", store, TKS_CHECK_QUICK, &list);
  tks_close(store, NULL);
  if (!ready) return CLI_DATA;
  ready = sql_days_init(&days, "demo", demo->store, &list);
  free(list.items);
  if (!ready) return CLI_DATA;
  if (largest_day(&days) != NULL) show_shell(largest_day(&days));
  shell_status status = count_rows(demo, &days, &rows);
  sql_days_deinit(&days);
  int exit_code = judge(demo, status, rows);
  return timed ? exit_code : CLI_DATA;
}

/* ------------------------------------------------------------------ command */

/* False: done, *exit_code says how. */
static bool parse_options(int argc, char **argv, demo_run *demo, int *exit_code) {
  enum { STORE = 256, SECONDS, RATE, SYMBOLS, KEEP, METRICS };
  static const struct option known[] = {{"store", required_argument, NULL, STORE},
                                        {"seconds", required_argument, NULL, SECONDS},
                                        {"rate", required_argument, NULL, RATE},
                                        {"symbols", required_argument, NULL, SYMBOLS},
                                        {"keep", no_argument, NULL, KEEP},
                                        {"metrics", required_argument, NULL, METRICS},
                                        CLI_OPTION_HELP,
                                        {0}};
  for (int option; (option = cli_option(argc, argv, ":h", known, help, exit_code)) != -1;) {
    if (option == CLI_STOP) return false;
    *exit_code = CLI_USAGE;
    if (option == STORE) demo->store = optarg;
    else if (option == KEEP) demo->keep = true;
    else if (option == METRICS) demo->metrics = optarg;
    else if (option == SECONDS && !cli_parse_count(optarg, 3600, &demo->seconds))
      return cli_usage_error(argv[0], "--seconds %s: not a number from 1 to 3600", optarg), false;
    else if (option == RATE && (!cli_parse_count(optarg, 10000000, &demo->rate) || demo->rate < 10))
      return cli_usage_error(argv[0], "--rate %s: not a number from 10 to 10000000", optarg), false;
    else if (option == SYMBOLS && !cli_parse_count(optarg, MARKET_MAX_SYMBOLS, &demo->symbols))
      return cli_usage_error(argv[0], "--symbols %s: not a number from 1 to %u", optarg, MARKET_MAX_SYMBOLS), false;
  }
  *exit_code = CLI_USAGE;
  if (optind < argc) return cli_usage_error(argv[0], "%s is one argument too many", argv[optind]), false;
  return true;
}

static int run(demo_run *demo) {
  printf("A market of %" PRId64 " symbols and %u sources, %" PRId64 " quotes a second on average, into %s\n\n",
         demo->symbols, MARKET_FEEDS, demo->rate, demo->store);
  cli_flush_stdout();
  if (!run_market(demo)) return CLI_DATA;
  int failed = show_reads(demo);
  int exit_code = check(demo);
  return failed != 0 || demo->metrics_failed ? CLI_DATA : exit_code;
}

int cmd_demo(int argc, char **argv) {
  char temporary[4096];
  struct timespec now;
  int exit_code = CLI_OK;
  demo_run demo = {.seconds = 8, .rate = 50000, .symbols = 60};
  if (!parse_options(argc, argv, &demo, &exit_code)) return exit_code;
  if (demo.store == NULL) {
    if (!make_temporary(temporary, sizeof temporary)) return CLI_DATA;
    demo.store = temporary;
    demo.temporary = true;
  }
  clock_gettime(CLOCK_REALTIME, &now);
  demo.first_ns = (int64_t)now.tv_sec * TKS__NS_PER_S + now.tv_nsec;
  signal(SIGINT, on_interrupt);
  signal(SIGTERM, on_interrupt);
  exit_code = run(&demo);
  leave_store(&demo);
  return exit_code;
}
