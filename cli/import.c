/* import.c - tickstore import: opens the store and its ledger, runs the inputs one after the other, reports. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "import_file.h"

static void take_signal(int number) { import_signal = number; }

/* The first signal asks to stop, a second one of its kind kills. */
enum { SIGNALS = 3 };
static const int signals[SIGNALS] = {SIGINT, SIGTERM, SIGHUP};

static void catch_signals(struct sigaction old[SIGNALS]) {
  struct sigaction action = {.sa_handler = take_signal, .sa_flags = (int)SA_RESETHAND};
  sigemptyset(&action.sa_mask);
  import_signal = 0;
  for (int i = 0; i < SIGNALS; i++) {
    sigaction(signals[i], NULL, &old[i]);
    /* nohup has SIGHUP ignored, and so it stays */
    if (signals[i] != SIGHUP || old[i].sa_handler != SIG_IGN) sigaction(signals[i], &action, NULL);
  }
}

static void release_signals(const struct sigaction old[SIGNALS]) {
  for (int i = 0; i < SIGNALS; i++) sigaction(signals[i], &old[i], NULL);
}

static bool has_directory(const char *root, const char *name) {
  char *path = NULL;
  struct stat status;
  if (asprintf(&path, "%s/%s", root, name) < 0) return false;
  bool has = stat(path, &status) == 0 && S_ISDIR(status.st_mode);
  free(path);
  return has;
}

static const char *backend_name(uint32_t backend) {
  return backend == TKS_DUAL ? "SQLite and JSON" : backend == TKS_JSON ? "JSON" : "SQLite";
}

/* What is asked for; else what the store has, so that no part of it falls behind; else SQLite. */
static uint32_t choose_backend(const import_options *options) {
  uint32_t has =
      (has_directory(options->store, "db") ? TKS_SQLITE : 0) | (has_directory(options->store, "json") ? TKS_JSON : 0);
  uint32_t chosen = options->backend != 0 ? options->backend : has != 0 ? has : TKS_SQLITE;
  if (options->quiet) return chosen;
  if (options->backend == 0 && has == TKS_JSON)
    fprintf(stderr, "tickstore import: note: %s has JSON files only, so this import writes JSON (see --backend)\n",
            options->store);
  else if (has & ~chosen)
    fprintf(stderr, "tickstore import: note: %s has %s files; this import adds to its %s files only\n", options->store,
            backend_name(has), backend_name(chosen));
  return chosen;
}

static bool open_run(import_run *run) {
  import_store settings = {run->options.store, choose_backend(&run->options), run->options.throttle,
                           run->options.broker_id};
  if (!import_feed_open(run->feed, &settings, &run->report)) {
    cli_data_error("import", "%s", run->feed->error);
    return false;
  }
  if (run->options.strict) run->feed->capacity = 1;
  tks_store_stats stats = {.struct_size = sizeof stats};
  tks_stats(run->feed->store, &stats, NULL);
  if (import_ledger_open(&run->ledger, run->options.store) && import_ledger_end_intents(&run->ledger, stats.first_seq))
    return true;
  cli_data_error("import", "%s", run->ledger.error);
  import_ledger_close(&run->ledger);
  import_feed_close(run->feed);
  return false;
}

static import_outcome run_files(import_run *run, const import_files *files) {
  import_outcome outcome = IMPORT_DONE;
  run->flushed_ns = cli_monotonic_ns();
  if (!run->options.quiet) cli_progress_start(&run->progress, "import", files->bytes);
  for (size_t i = 0; i < files->count && outcome == IMPORT_DONE; i++) outcome = import_file_run(run, &files->items[i]);
  if (outcome != IMPORT_FATAL && !import_run_checkpoint(run)) outcome = IMPORT_FATAL;
  cli_progress_end(&run->progress);
  return outcome;
}

static int report(import_run *run, import_outcome outcome) {
  static const char *const words[] = {"complete", "stopped", "interrupted", "failed"};
  import_report *r = &run->report;
  bool clean = outcome == IMPORT_DONE && r->rows.refused == 0 && r->failed == 0 && r->truncated == 0 && !r->set_aside;
  bool ok = true;
  if (run->options.report_json) ok = import_report_json(r, run->options.store, words[outcome], stdout);
  else if (!run->options.quiet || !clean) import_report_text(r, run->options.store, words[outcome], stderr);
  if (!ok) return cli_data_error("import", "cannot write the report");
  if (outcome == IMPORT_SIGNAL) return 128 + import_signal;
  return clean ? CLI_OK : CLI_DATA;
}

static void fail_run(import_run *run) {
  cli_data_error("import", "%s", run->error);
  tks_store_stats stats = {.struct_size = sizeof stats};
  if (tks_stats(run->feed->store, &stats, NULL) >= 0) import_ledger_end_intents(&run->ledger, stats.last_seq + 1);
  uint64_t uncertain = import_ledger_uncommitted_files(&run->ledger);
  run->report.imported -= uncertain < run->report.imported ? uncertain : run->report.imported;
  fputs("tickstore import: closing the store; give the same files again to go on\n", stderr);
}

/* After the close, which tells what the store could not write. */
static void count_unwritten(import_run *run) {
  uint64_t unwritten = run->feed->unwritten;
  if (unwritten > run->report.rows.stored) unwritten = run->report.rows.stored;
  run->report.unwritten = unwritten;
  run->report.rows.stored -= unwritten;
}

/* Closing comes before reporting: what the report calls stored is on disk. */
static int run_import(import_run *run, const import_files *files) {
  struct sigaction old[SIGNALS];
  import_report_init(&run->report, run->options.quiet);
  run->report.failed = files->failed;
  run->report.files = files->failed;
  if (files->count == 0) return report(run, IMPORT_DONE); /* no store is made for nothing */
  if (!open_run(run)) return CLI_DATA;
  catch_signals(old);
  import_outcome outcome = run_files(run, files);
  if (outcome == IMPORT_FATAL) fail_run(run);
  import_ledger_close(&run->ledger);
  if (!import_feed_close(run->feed)) {
    if (outcome != IMPORT_FATAL) cli_data_error("import", "%s", run->feed->error);
    outcome = IMPORT_FATAL;
  }
  count_unwritten(run);
  int exit_code = report(run, outcome);
  release_signals(old);
  import_report_free(&run->report);
  return exit_code;
}

int cmd_import(int argc, char **argv) {
  int exit_code = CLI_OK;
  import_run *run = calloc(1, sizeof *run);
  import_feed *feed = calloc(1, sizeof *feed);
  import_files files = {0};
  if (run == NULL || feed == NULL) {
    exit_code = cli_data_error("import", "out of memory");
    goto done;
  }
  run->feed = feed;
  if (!import_options_parse(&run->options, argc, argv, &exit_code)) goto done;
  if (!import_files_collect(&files, run->options.files, run->options.file_count, run->options.format,
                            run->options.store, &exit_code))
    goto done;
  exit_code = run_import(run, &files);

done:
  import_files_free(&files);
  free(feed);
  free(run);
  return exit_code;
}
