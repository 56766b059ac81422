/* import_report.c - keeps the first refusals in order and prints the summary. */
#include "import_report.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "human.h"

void import_report_init(import_report *report, bool quiet) {
  memset(report, 0, sizeof *report);
  report->quiet = quiet;
  report->started_ns = cli_monotonic_ns();
}

void import_report_free(import_report *report) {
  for (unsigned i = 0; i < report->refusal_count; i++) free(report->refusals[i].path);
  report->refusal_count = 0;
}

/* The store refuses a whole array later than the reader refuses a row in it, so refusals do not come in
 * order. */
void import_report_refuse(import_report *report, const char *path, const char *unit, uint64_t number,
                          const import_reason *reason) {
  report->rows.refused++;
  unsigned at = report->refusal_count;
  while (at > 0 && report->refusals[at - 1].order == report->files && report->refusals[at - 1].number > number) at--;
  if (at == IMPORT_REASONS_MAX) return;
  char *copy = strdup(path);
  if (copy == NULL) return; /* counted, if not shown */
  if (report->refusal_count == IMPORT_REASONS_MAX) free(report->refusals[--report->refusal_count].path);
  memmove(report->refusals + at + 1, report->refusals + at, (report->refusal_count - at) * sizeof report->refusals[0]);
  report->refusals[at] = (import_refusal){report->files, number, unit, copy, *reason};
  report->refusal_count++;
}

void import_report_problem(const char *path, const char *text) {
  fprintf(stderr, "tickstore import: %s: %s\n", path, text);
}

void import_report_note(const import_report *report, const char *path, const char *text) {
  if (!report->quiet) fprintf(stderr, "tickstore import: note: %s: %s\n", path, text);
}

static double seconds_since(const import_report *report) {
  return (double)(cli_monotonic_ns() - report->started_ns) / 1e9;
}

static void text_refusals(const import_report *report, FILE *out) {
  if (report->rows.refused == 0) return;
  char count[HUMAN_MAX];
  fprintf(out, "refused rows: %s%s\n", human_count(report->rows.refused, count),
          report->rows.refused > report->refusal_count ? ", the first of them" : "");
  for (unsigned i = 0; i < report->refusal_count; i++) {
    const import_refusal *refusal = &report->refusals[i];
    fprintf(out, "  %s: %s %" PRIu64 ": %s\n", refusal->path, refusal->unit, refusal->number, refusal->reason.text);
  }
}

void import_report_text(const import_report *report, const char *store, const char *outcome, FILE *out) {
  char a[HUMAN_MAX], b[HUMAN_MAX], c[HUMAN_MAX], d[HUMAN_MAX];
  double seconds = seconds_since(report);
  text_refusals(report, out);
  fprintf(out, "import into %s %s: %s rows read, %s stored, %s throttled, %s refused", store, outcome,
          human_count(report->rows.read, a), human_count(report->rows.stored, b),
          human_count(report->rows.throttled, c), human_count(report->rows.refused, d));
  if (report->unwritten > 0) fprintf(out, ", %s not known to be on disk", human_count(report->unwritten, a));
  fprintf(out, " in %.1f s (%s rows/s)\n", seconds,
          human_count(seconds > 0 ? (uint64_t)((double)report->rows.read / seconds) : 0, a));
  fprintf(out, "files: %s given, %s imported", human_count(report->files, a), human_count(report->imported, b));
  if (report->continued > 0) fprintf(out, " (%s of them continued)", human_count(report->continued, a));
  fprintf(out, ", %s skipped as already imported", human_count(report->known, c));
  if (report->known_rows > 0) fprintf(out, " (%s rows stored earlier)", human_count(report->known_rows, d));
  if (report->rows.recovered > 0)
    fprintf(out, " (%s rows found stored by an interrupted import)", human_count(report->rows.recovered, d));
  if (report->doubtful > 0) fprintf(out, " (up to %s rows may be stored twice)", human_count(report->doubtful, d));
  if (report->truncated > 0) fprintf(out, ", %s cut off", human_count(report->truncated, a));
  if (report->failed > 0) fprintf(out, ", %s failed", human_count(report->failed, a));
  fputc('\n', out);
}

static json_t *json_refusals(const import_report *report) {
  json_t *list = json_array();
  for (unsigned i = 0; i < report->refusal_count; i++) {
    const import_refusal *refusal = &report->refusals[i];
    json_t *path = json_string(refusal->path); /* NULL where the name is not UTF-8 */
    json_array_append_new(list, json_pack("{s:o, s:I, s:s}", "file", path != NULL ? path : json_null(), refusal->unit,
                                          (json_int_t)refusal->number, "reason", refusal->reason.text));
  }
  return list;
}

static json_t *json_rows(const import_report *report) {
  const import_counts *rows = &report->rows;
  return json_pack("{s:I, s:I, s:I, s:I, s:I}", "read", (json_int_t)rows->read, "stored", (json_int_t)rows->stored,
                   "throttled", (json_int_t)rows->throttled, "refused", (json_int_t)rows->refused, "unwritten",
                   (json_int_t)report->unwritten);
}

static json_t *json_files(const import_report *report) {
  return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "given", (json_int_t)report->files, "imported",
                   (json_int_t)report->imported, "continued", (json_int_t)report->continued, "already_imported",
                   (json_int_t)report->known, "already_imported_rows", (json_int_t)report->known_rows, "truncated",
                   (json_int_t)report->truncated, "failed", (json_int_t)report->failed, "recovered_rows",
                   (json_int_t)report->rows.recovered, "doubtful_rows", (json_int_t)report->doubtful,
                   "without_final_line_end", (json_int_t)report->unended);
}

bool import_report_json(const import_report *report, const char *store, const char *outcome, FILE *out) {
  json_t *path = json_string(store); /* NULL where the name is not UTF-8 */
  json_t *object = json_pack("{s:o, s:s, s:o, s:o, s:f, s:o}", "store", path != NULL ? path : json_null(), "outcome",
                             outcome, "rows", json_rows(report), "files", json_files(report), "seconds",
                             seconds_since(report), "first_refusals", json_refusals(report));
  if (object == NULL) return false;
  bool ok = json_dumpf(object, out, JSON_INDENT(2)) == 0 && fputc('\n', out) != EOF && fflush(out) == 0;
  json_decref(object);
  return ok;
}
