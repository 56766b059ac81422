/* import_report.h - what an import did: counts, the first refusals with their place, and the summary in
 * text or JSON. */
#ifndef CLI_IMPORT_REPORT_H
#define CLI_IMPORT_REPORT_H

#include <stdio.h>

#include "import_row.h"

#define IMPORT_REASONS_MAX 10

typedef struct import_counts {
  uint64_t read;      /* stored + throttled + refused (+ unwritten) */
  uint64_t recovered; /* not in read: stored already by an import that was interrupted */
  uint64_t stored;
  uint64_t throttled;
  uint64_t refused;
} import_counts;

typedef struct import_refusal {
  uint64_t order; /* of the file in this run */
  uint64_t number;
  const char *unit;
  char *path;
  import_reason reason;
} import_refusal;

typedef struct import_report {
  bool quiet;
  uint64_t files;      /* given or found */
  uint64_t imported;   /* of them, gave at least one row in this run, or were read to their end without one */
  uint64_t known;      /* had been imported before and have nothing new */
  uint64_t continued;  /* of the imported ones, went on where an earlier run had stopped */
  uint64_t failed;     /* could not be read, at all or to the end */
  uint64_t truncated;  /* of the imported ones, end in the middle of a record or array */
  uint64_t known_rows; /* rows of earlier runs in known and continued files */
  uint64_t doubtful;   /* at most so many rows may be stored twice, which was said */
  uint64_t unended;    /* files whose last line has no line end and was taken */
  bool set_aside;      /* the store set a damaged file aside */
  import_counts rows;
  uint64_t unwritten; /* after a failure: accepted, but not known to be on disk; not in rows.stored */
  import_refusal refusals[IMPORT_REASONS_MAX]; /* the first by file and number */
  unsigned refusal_count;
  int64_t started_ns;
} import_report;

void import_report_init(import_report *report, bool quiet);
void import_report_free(import_report *report);

/* Counts a refused row and keeps its reason if it is among the first. */
void import_report_refuse(import_report *report, const char *path, const char *unit, uint64_t number,
                          const import_reason *reason);

/* "PATH: text" on stderr at once: a file that failed or was truncated, and (not if quiet) a note. */
void import_report_problem(const char *path, const char *text);
void import_report_note(const import_report *report, const char *path, const char *text);

/* The refusals and the summary. `outcome`: "complete", "interrupted", "stopped" or "failed". */
void import_report_text(const import_report *report, const char *store, const char *outcome, FILE *out);
bool import_report_json(const import_report *report, const char *store, const char *outcome, FILE *out);

#endif
