/* import_file.c - reads one input from where the ledger says to its end, with checkpoints on the way. */
#include "import_file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/name.h"
#include "base/utc.h"

enum {
  CHECKPOINT_ROWS = 200000,
  CHECKPOINT_NS = 250000000, /* the ends of small files share one */
  PROGRESS_ROWS = 1024,
  MARKS_MAX = CHECKPOINT_ROWS / IMPORT_ARRAY + 8,
  INTENTS_MAX = 32, /* imports of one file that were interrupted one after the other */
};

volatile int import_signal;

/* A place in the input, and the store's last sequence number when everything before it had been put. */
typedef struct mark {
  uint64_t position;
  import_digest digest;
  uint64_t number;
  import_counts counts; /* of this run */
  uint64_t last_seq;
} mark;

typedef struct job {
  import_run *run;
  const char *path;
  import_meaning meaning;
  char directory[TKS__NAME_FILE_MAX];
  char interpretation[512];
  import_stream stream;
  import_reader *reader;
  import_heads heads;
  import_entry entry;   /* where an earlier run ended; from the first checkpoint on, where this one is */
  import_counts before; /* this run: what the entry had counted when it began */
  bool continued;       /* an earlier run had begun it */
  bool was_complete;    /* and had ended it */
  bool separate;        /* the entry is the earlier run's: what comes after it gets its own */
  bool used_directory;  /* some row took its symbol from the directory */
  uint64_t start;       /* where this run began in the file */
  import_digest start_digest;
  size_t chain;                  /* intents of interrupted imports */
  bool intended;                 /* the ledger has the intent of this run */
  uint32_t backend;              /* of the store in this run */
  int64_t open_ids[INTENTS_MAX]; /* the file's intents in the ledger */
  size_t open_count;
  mark marks[MARKS_MAX]; /* since the last checkpoint, one an array */
  size_t mark_count;
} job;

static void clear_progress(const import_run *run) {
  if (run->progress.on) fputs("\r\033[K", stderr);
}

/* The file fails; the import goes on. */
static import_outcome problem(job *j, const char *text) {
  clear_progress(j->run);
  import_report_problem(j->path, text);
  j->run->report.failed++;
  return j->run->options.strict ? IMPORT_STOPPED : IMPORT_DONE;
}

static import_outcome fatal(job *j, const char *text) {
  snprintf(j->run->error, sizeof j->run->error, "%s", text);
  return IMPORT_FATAL;
}

/* ------------------------------------------------------------ what it means */

/* The day that a name starts with: YYYYMMDD and no further digit. */
static bool day_of_name(const char *name, int32_t *day) {
  int number = 0;
  for (int i = 0; i < 8; i++) {
    if (name[i] < '0' || name[i] > '9') return false;
    number = number * 10 + (name[i] - '0');
  }
  if (name[8] >= '0' && name[8] <= '9') return false;
  return tks__utc_day_from_date(number / 10000, number / 100 % 100, number % 100, day);
}

static const char *lean_day(const job *j, int32_t *day) {
  int32_t inner = 0;
  bool outer_has = day_of_name(import_base_name(j->path), day);
  bool inner_has = j->stream.inner[0] != '\0' && day_of_name(import_base_name(j->stream.inner), &inner);
  if (!outer_has && !inner_has) return "no day: the file's name must begin with YYYYMMDD";
  if (outer_has && inner_has && inner != *day) return "the day in the zip's name is not that of the file in it";
  if (!outer_has) *day = inner;
  return NULL;
}

static void directory_symbol(job *j) {
  const import_options *options = &j->run->options;
  bool json = options->format == IMPORT_LEGACY_JSON || options->format == IMPORT_JSONL;
  if (!json || options->symbol[0] != '\0' || !j->stream.regular) return;
  import_directory_name(j->path, j->directory, sizeof j->directory);
  size_t length = strlen(j->directory);
  char name[TKS_NAME_MAX];
  if (options->format == IMPORT_JSONL && tks__name_from_file(j->directory, name, &length)) {
    memcpy(j->directory, name, length);
    j->directory[length] = '\0';
  }
  j->meaning.directory = j->directory;
  j->meaning.directory_length = length;
}

/* NULL, or why the file cannot be understood. */
static const char *understand(job *j) {
  const import_options *options = &j->run->options;
  j->meaning = (import_meaning){.format = options->format,
                                .symbol = options->symbol,
                                .symbol_length = strlen(options->symbol),
                                .source = options->source,
                                .source_length = strlen(options->source),
                                .directory = "",
                                .broker_id = options->broker_id,
                                .strict = options->strict};
  directory_symbol(j);
  size_t used = (size_t)snprintf(j->interpretation, sizeof j->interpretation, "format=%s\nsymbol=%s\nsource=%s\n",
                                 options->format_name, options->symbol, options->source);
  if (options->format != IMPORT_LEAN) return NULL;
  int32_t day = 0;
  const char *wrong = lean_day(j, &day);
  if (wrong != NULL) return wrong;
  j->meaning.midnight_ns = tks__utc_day_start_ns(day) - options->utc_offset_s * TKS__NS_PER_S;
  char text[TKS__UTC_TEXT_MAX];
  tks__utc_format_day(day, text);
  snprintf(j->interpretation + used, sizeof j->interpretation - used, "day=%s\nutc_offset_s=%" PRId64 "\n", text,
           options->utc_offset_s);
  return NULL;
}

/* ------------------------------------------------------- open and recognise */

static bool make_reader(job *j, import_reason *reason) {
  static import_reader *(*const makers[])(import_stream *, const import_meaning *,
                                          import_reason *) = {[IMPORT_LEAN] = import_lean_reader,
                                                              [IMPORT_LEGACY_JSON] = import_legacy_json_reader,
                                                              [IMPORT_CSV] = import_csv_reader,
                                                              [IMPORT_JSONL] = import_jsonl_reader};
  j->reader = makers[j->meaning.format](&j->stream, &j->meaning, reason);
  if (j->stream.failed) import_refuse(reason, "%s", j->stream.error);
  return j->reader != NULL && !j->stream.failed;
}

static bool open_stream(job *j) {
  return import_stream_open(&j->stream, j->path, j->run->options.format == IMPORT_LEAN, &import_signal);
}

static void close_all(job *j) {
  if (j->reader != NULL) j->reader->free(j->reader);
  j->reader = NULL;
  import_recovery_free(j->run->feed->recovery);
  j->run->feed->recovery = NULL;
  import_stream_close(&j->stream);
}

/* Walks the stream over the entries' positions; the index of the last one that is in it, or -1. */
static int match(job *j, const import_entry *entries, size_t count) {
  int best = -1;
  for (size_t i = 0; i < count; i++) {
    import_digest digest;
    if (entries[i].position < j->stream.position) continue;
    if (!import_stream_skip_to(&j->stream, entries[i].position)) break;
    import_stream_digest(&j->stream, &digest);
    if (memcmp(digest.bytes, entries[i].digest.bytes, sizeof digest.bytes) == 0) best = (int)i;
  }
  return best;
}

/* Stands behind what was imported before: nearly always the walk ends there, else the input is opened anew. */
static bool stand_at(job *j, uint64_t position, import_reason *reason) {
  if (j->stream.position != position || j->stream.failed) {
    close_all(j);
    if (!open_stream(j)) return import_refuse(reason, "%s", j->stream.error);
    if (!make_reader(j, reason)) return false;
  }
  if (position == 0 || import_stream_skip_to(&j->stream, position)) return true;
  return import_refuse(reason, "%s", j->stream.failed ? j->stream.error : "changed while it was read");
}

static void go_on_from(job *j, const import_entry *entry) {
  j->entry = *entry;
  j->continued = true;
  j->was_complete = entry->complete;
  j->before = (import_counts){
      .read = entry->read, .stored = entry->stored, .throttled = entry->throttled, .refused = entry->refused};
  j->separate = entry->complete; /* the shorter file may come again */
  j->reader->resume(j->reader, entry->number);
}

static import_outcome recognise(job *j) {
  import_entry *entries = NULL;
  size_t count = 0;
  import_reason reason;
  if (!make_reader(j, &reason)) return problem(j, reason.text);
  if (!import_ledger_find(&j->run->ledger, j->interpretation, j->meaning.directory, &j->heads, &entries, &count))
    return fatal(j, j->run->ledger.error);
  if (count == 0) return IMPORT_DONE;
  uint64_t start = j->stream.position;
  int best = match(j, entries, count);
  bool ok = best >= 0 ? stand_at(j, entries[best].position, &reason)
                      : stand_at(j, j->stream.position == start ? start : 0, &reason);
  if (ok && best >= 0) go_on_from(j, &entries[best]);
  free(entries);
  return ok ? IMPORT_DONE : problem(j, reason.text);
}

/* ------------------------------------------------------------- checkpoints */

bool import_run_checkpoint(import_run *run) {
  if (!import_feed_flush(run->feed)) {
    snprintf(run->error, sizeof run->error, "%s", run->feed->error);
    return false;
  }
  if (!import_ledger_commit(&run->ledger)) {
    snprintf(run->error, sizeof run->error, "%s", run->ledger.error);
    return false;
  }
  run->rows_flushed = run->report.rows.read;
  run->flushed_ns = cli_monotonic_ns();
  return true;
}

static bool checkpoint_due(const import_run *run) {
  return run->report.rows.read - run->rows_flushed >= CHECKPOINT_ROWS ||
         cli_monotonic_ns() - run->flushed_ns >= CHECKPOINT_NS;
}

/* Where the stream stands. All rows before that must have been put. */
static void take_mark(job *j, mark *here) {
  tks_store_stats stats = {.struct_size = sizeof stats};
  tks_stats(j->run->feed->store, &stats, NULL);
  *here = (mark){.position = j->stream.position,
                 .number = j->reader->done,
                 .counts = j->run->feed->counts,
                 .last_seq = stats.last_seq};
  import_stream_digest(&j->stream, &here->digest);
}

static bool enter(job *j, const mark *here, bool complete) {
  import_entry *entry = &j->entry;
  if (j->separate && entry->position != here->position) {
    entry->id = 0;
    j->separate = false;
  }
  entry->position = here->position;
  entry->digest = here->digest;
  entry->complete = complete;
  entry->number = here->number;
  entry->read = j->before.read + here->counts.read + here->counts.recovered;
  entry->stored = j->before.stored + here->counts.stored + here->counts.recovered;
  entry->throttled = j->before.throttled + here->counts.throttled;
  entry->refused = j->before.refused + here->counts.refused;
  entry->last_seq = here->last_seq;
  if (import_ledger_put(&j->run->ledger, entry, j->interpretation, j->used_directory ? j->directory : "", &j->heads,
                        j->path))
    return true;
  fatal(j, j->run->ledger.error);
  return false;
}

static uint64_t last_seq(const job *j) {
  tks_store_stats stats = {.struct_size = sizeof stats};
  tks_stats(j->run->feed->store, &stats, NULL);
  return stats.last_seq;
}

static bool intend(job *j, import_intent *intent, bool at_once) {
  if (j->open_count == INTENTS_MAX) return true;
  if (!import_ledger_intend(&j->run->ledger, intent, at_once, j->interpretation, j->directory, &j->heads, j->path)) {
    fatal(j, j->run->ledger.error);
    return false;
  }
  j->open_ids[j->open_count++] = intent->id;
  return true;
}

/* Before the first row is put: where, and with which number. */
static bool intend_start(job *j) {
  if (j->intended || !j->stream.regular) return true;
  j->intended = true;
  import_intent intent = {.position = j->start,
                          .digest = j->start_digest,
                          .first_seq = last_seq(j) + 1,
                          .backend = j->backend,
                          .throttled = j->run->options.throttle >= 0};
  return intend(j, &intent, true);
}

/* With the next commit the file's intents are replaced by what is left of them behind `here`, and, where this run goes
 * on, by one of its own. */
static bool renew_intents(job *j, const mark *here, bool go_on) {
  for (size_t i = 0; i < j->open_count; i++) {
    if (import_ledger_settle(&j->run->ledger, j->open_ids[i])) continue;
    fatal(j, j->run->ledger.error);
    return false;
  }
  j->open_count = 0;
  const import_recovery *recovery = j->run->feed->recovery;
  import_intent intent;
  for (size_t i = 0; recovery != NULL && i < j->chain; i++) {
    if (!import_recovery_rest(recovery, i, &intent)) continue;
    intent.position = here->position;
    intent.digest = here->digest;
    if (!intend(j, &intent, false)) return false;
  }
  if (!go_on || !j->intended) return true;
  intent = (import_intent){.position = here->position,
                           .digest = here->digest,
                           .first_seq = here->last_seq + 1,
                           .backend = j->backend,
                           .throttled = j->run->options.throttle >= 0};
  return intend(j, &intent, false);
}

static bool enter_end(job *j, bool complete) {
  mark here;
  take_mark(j, &here);
  if (complete) {
    import_recovery_free(j->run->feed->recovery);
    j->run->feed->recovery = NULL;
  }
  return enter(j, &here, complete) && renew_intents(j, &here, false);
}

/* How many rows of an intent the store may hold: by the days' highest numbers, where they tell. */
static uint64_t most_stored(const job *j, const import_intent *intent) {
  uint64_t limit = intent->end_seq > intent->first_seq ? intent->end_seq - intent->first_seq : 0;
  if (limit > IMPORT_WINDOW) limit = IMPORT_WINDOW;
  size_t total = 0;
  tks_store *store = j->run->feed->store;
  if (intent->backend != TKS_SQLITE || tks_days(store, TKS_CHECK_QUICK, NULL, 0, &total, NULL) < 0) return limit;
  tks_day_info *days = calloc(total + 1, sizeof *days);
  uint64_t most = 0;
  if (days == NULL || tks_days(store, TKS_CHECK_QUICK, days, total + 1, &total, NULL) < 0) most = limit;
  for (size_t i = 0; days != NULL && i < total && most < limit; i++) {
    if (days[i].sink != TKS_SQLITE || days[i].last_seq < intent->first_seq) continue;
    uint64_t here = days[i].last_seq - intent->first_seq + 1;
    if (here > most) most = here < limit ? here : limit;
  }
  free(days);
  return most;
}

static void doubt(job *j, uint64_t rows, const char *why) {
  if (rows == 0) return;
  char text[200];
  snprintf(text, sizeof text,
           "warning: an import of it was interrupted, and %s: up to %" PRIu64 " rows may be stored twice", why, rows);
  clear_progress(j->run);
  import_report_problem(j->path, text);
  j->run->report.doubtful += rows;
}

/* Where an interrupted import of this file left intents, its rows will be known by their numbers. */
static import_outcome begin(job *j) {
  import_run *run = j->run;
  import_intent *intents = NULL;
  size_t count = 0;
  tks_store_stats stats = {.struct_size = sizeof stats};
  tks_stats(run->feed->store, &stats, NULL);
  j->backend = stats.backend;
  j->start = j->stream.position;
  import_stream_digest(&j->stream, &j->start_digest);
  if (!import_ledger_intents(&run->ledger, j->interpretation, j->directory, &j->heads, j->path, j->start,
                             &j->start_digest, &intents, &count))
    return fatal(j, run->ledger.error);
  if (count == 0) return IMPORT_DONE;
  j->continued = true;
  bool throttled = run->options.throttle >= 0, other = false;
  uint64_t most = 0;
  for (size_t i = 0; i < count; i++) {
    throttled = throttled || intents[i].throttled;
    other = other || intents[i].backend != j->backend;
    most += most_stored(j, &intents[i]);
    if (j->open_count < INTENTS_MAX - 1) j->open_ids[j->open_count++] = intents[i].id;
  }
  if (throttled || other || count > INTENTS_MAX - 2) {
    doubt(j, most,
          throttled ? "with --throttle it is not known which rows it had stored"
          : other   ? "it wrote to another --backend"
                    : "that happened too often");
  } else {
    run->feed->recovery = import_recovery_new(run->feed->store, run->options.store, intents, count);
    j->chain = count;
    if (run->feed->recovery == NULL) fatal(j, "out of memory");
  }
  free(intents);
  return run->error[0] != '\0' ? IMPORT_FATAL : IMPORT_DONE;
}

static void report_recovery(job *j) {
  const import_recovery *recovery = j->run->feed->recovery;
  if (recovery == NULL) return;
  doubt(j, import_recovery_strange(recovery), "the file has changed since");
  if (import_recovery_differing(recovery) == 0) return;
  char text[160];
  snprintf(text, sizeof text,
           "warning: an import of it was interrupted, and %" PRIu64
           " rows of it are in only one of SQLite and JSON; SQLite was taken as the truth",
           import_recovery_differing(recovery));
  clear_progress(j->run);
  import_report_problem(j->path, text);
}

/* After each array, for salvage. The record that the array ended with is dealt with. */
static void mark_array(job *j) {
  const import_counts *now = &j->run->feed->counts;
  uint64_t last = j->mark_count > 0 ? j->marks[j->mark_count - 1].counts.read : 0;
  if (now->read - last < IMPORT_ARRAY || j->mark_count == MARKS_MAX) return;
  j->reader->commit(j->reader);
  take_mark(j, &j->marks[j->mark_count++]);
}

/* The store takes no more (its disk is full, say). Without throttling the intent tells the next run exactly what is
 * stored. With it, what the store did make durable is entered, so that it will not be stored again. What a sink has reported lost counts as settled there, so then nothing is entered. */
static void salvage(job *j) {
  tks_store_stats stats = {.struct_size = sizeof stats};
  if (!j->stream.regular || j->run->options.throttle < 0) return;
  if (tks_stats(j->run->feed->store, &stats, NULL) < 0) return;
  if (stats.dropped + stats.sinks[0].lost + stats.sinks[1].lost > 0) return;
  while (j->mark_count > 0 && j->marks[j->mark_count - 1].last_seq > stats.durable_seq) j->mark_count--;
  if (j->mark_count == 0) return;
  char error[sizeof j->run->error]; /* the first one is the one to tell */
  memcpy(error, j->run->error, sizeof error);
  const mark *here = &j->marks[j->mark_count - 1];
  if (enter(j, here, false) && renew_intents(j, here, true)) import_ledger_commit(&j->run->ledger);
  memcpy(j->run->error, error, sizeof error);
}

/* Within a large file. */
static bool checkpoint(job *j) {
  if (j->run->report.rows.read - j->run->rows_flushed < CHECKPOINT_ROWS) return true;
  if (!import_feed_put(j->run->feed)) {
    fatal(j, j->run->feed->error);
    return false;
  }
  j->reader->commit(j->reader);
  if (j->stream.regular) {
    mark here;
    take_mark(j, &here);
    if (!enter(j, &here, false) || !renew_intents(j, &here, true)) return false;
  }
  if (!import_run_checkpoint(j->run)) return false;
  j->mark_count = 0;
  return true;
}

/* -------------------------------------------------------------------- rows */

static bool name_row(job *j, import_row *row, import_reason *reason) {
  const import_meaning *meaning = &j->meaning;
  if (row->source_length == 0) {
    row->source = meaning->source;
    row->source_length = meaning->source_length;
  }
  if (row->symbol_length > 0) return true;
  if (meaning->symbol_length > 0) {
    row->symbol = meaning->symbol;
    row->symbol_length = meaning->symbol_length;
    return true;
  }
  row->symbol = meaning->directory;
  row->symbol_length = meaning->directory_length;
  if (row->symbol_length == 0) return import_refuse(reason, "no symbol");
  j->used_directory = true;
  return true;
}

static void show_progress(job *j) {
  cli_progress_update(&j->run->progress, j->run->bytes_done + import_stream_progress(&j->stream),
                      j->run->report.rows.read);
}

/* One record; IMPORT_DONE: go on. *end: there is none. */
static import_outcome take(job *j, bool *end) {
  import_row row;
  import_reason reason;
  import_feed *feed = j->run->feed;
  import_step step = j->reader->next(j->reader, &row, &reason);
  /* A record that a failing or interrupted input ends with may be half of one. */
  *end = step == IMPORT_END || j->stream.failed || j->stream.interrupted;
  if (*end) return IMPORT_DONE;
  if (step == IMPORT_ROW && !name_row(j, &row, &reason)) step = IMPORT_BAD;
  if (step == IMPORT_ROW && !intend_start(j)) return IMPORT_FATAL;
  if (step == IMPORT_BAD) import_feed_refuse(feed, j->reader->number, &reason);
  else if (!import_feed_add(feed, &row, j->reader->number)) return fatal(j, feed->error);
  return j->run->options.strict && feed->counts.refused > 0 ? IMPORT_STOPPED : IMPORT_DONE;
}

static import_outcome read_rows(job *j) {
  bool end = false;
  for (uint64_t i = 1; !end; i++) {
    if (import_signal != 0) return IMPORT_SIGNAL;
    import_outcome outcome = take(j, &end);
    if (outcome != IMPORT_DONE) return outcome;
    if (j->run->feed->count == 0) mark_array(j);
    if (i % PROGRESS_ROWS != 0) continue;
    show_progress(j);
    if (!checkpoint(j)) return IMPORT_FATAL;
  }
  return j->stream.interrupted ? IMPORT_SIGNAL : IMPORT_DONE;
}

/* --------------------------------------------------------------------- end */

static void report_truncated(job *j) {
  char text[96];
  snprintf(text, sizeof text, "cut off: ends in the middle, after record %" PRIu64, j->reader->done);
  clear_progress(j->run);
  import_report_problem(j->path, text);
  j->run->report.truncated++;
}

static void count_file(job *j) {
  import_report *report = &j->run->report;
  const import_counts *counts = &j->run->feed->counts;
  bool nothing_new = j->continued && j->was_complete && counts->read + counts->recovered == 0;
  report->known_rows += j->before.stored;
  if (nothing_new) {
    report->known++;
  } else {
    report->imported++;
    if (j->continued) report->continued++;
  }
  if (j->reader->truncated) report_truncated(j);
  if (j->reader->unended) {
    report->unended++;
    clear_progress(j->run);
    import_report_note(report, j->path, "last line has no line end; taken as it stands");
  }
  if (j->reader->note[0] == '\0') return;
  clear_progress(j->run);
  import_report_note(report, j->path, j->reader->note);
}

/* After the last row, whatever ended the rows: puts the rest of the array and enters the file. */
static import_outcome finish(job *j, import_outcome outcome) {
  import_feed *feed = j->run->feed;
  if (outcome == IMPORT_FATAL) return outcome;
  if (!import_feed_put(feed)) return fatal(j, feed->error);
  if (outcome != IMPORT_STOPPED && !j->stream.failed && !j->stream.interrupted) j->reader->commit(j->reader);
  bool ended = outcome == IMPORT_DONE && !j->stream.failed;
  report_recovery(j);
  bool news = feed->counts.read + feed->counts.recovered > 0 || (ended && j->continued && !j->was_complete);
  if (j->stream.regular && news && !enter_end(j, ended)) return IMPORT_FATAL;
  if (j->stream.failed) outcome = problem(j, j->stream.error);
  else if (outcome == IMPORT_DONE) count_file(j);
  if (outcome == IMPORT_DONE && j->reader->truncated && j->run->options.strict) outcome = IMPORT_STOPPED;
  if (checkpoint_due(j->run) && !import_run_checkpoint(j->run)) return IMPORT_FATAL;
  return outcome;
}

static import_outcome run_open(job *j) {
  const char *wrong = understand(j);
  import_reason reason;
  if (wrong != NULL) return problem(j, wrong);
  if (j->stream.regular) {
    import_heads_take(&j->heads, &j->stream);
    import_outcome outcome = recognise(j);
    if (outcome != IMPORT_DONE || j->reader == NULL) return outcome;
  } else if (!make_reader(j, &reason)) {
    return problem(j, reason.text);
  }
  import_feed_begin_file(j->run->feed, j->path, j->reader->unit);
  if (j->stream.regular && begin(j) != IMPORT_DONE) return IMPORT_FATAL;
  import_outcome outcome = finish(j, read_rows(j));
  if (outcome == IMPORT_FATAL) salvage(j);
  return outcome;
}

import_outcome import_file_run(import_run *run, const import_file *file) {
  job *j = calloc(1, sizeof *j);
  if (j == NULL) {
    snprintf(run->error, sizeof run->error, "out of memory");
    return IMPORT_FATAL;
  }
  j->run = run;
  j->path = file->path;
  run->report.files++;
  import_outcome outcome = open_stream(j) ? run_open(j) : problem(j, j->stream.error);
  close_all(j);
  free(j);
  run->bytes_done += file->bytes;
  return outcome;
}
