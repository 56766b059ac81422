/* progress.c - the progress line of long commands: on a stderr terminal only, at most ten times a second. */
#include <inttypes.h>
#include <unistd.h>

#include "cli.h"
#include "human.h"

enum { REDRAW_NS = 100000000 };

void cli_progress_start(cli_progress *progress, const char *label, uint64_t total) {
  progress->label = label;
  progress->total = total;
  progress->started_ns = cli_monotonic_ns();
  progress->drawn_ns = progress->started_ns;
  progress->on = isatty(STDERR_FILENO);
}

static void draw_time_left(const cli_progress *progress, uint64_t done, double elapsed_s) {
  if (progress->total == 0 || done == 0 || elapsed_s < 1) return;
  double left_s = done >= progress->total ? 0 : elapsed_s * (double)(progress->total - done) / (double)done;
  if (left_s >= 90) fprintf(stderr, "  %.0f min left", left_s / 60);
  else fprintf(stderr, "  %.0f s left", left_s);
}

void cli_progress_update(cli_progress *progress, uint64_t done, uint64_t rows) {
  if (!progress->on) return;
  int64_t now = cli_monotonic_ns();
  if (now - progress->drawn_ns < REDRAW_NS) return;
  progress->drawn_ns = now;

  char count[HUMAN_MAX], rate[HUMAN_MAX];
  double elapsed_s = (double)(now - progress->started_ns) / 1e9;
  fprintf(stderr, "\r\033[K%s", progress->label);
  if (progress->total > 0) {
    double share = done >= progress->total ? 1 : (double)done / (double)progress->total;
    fprintf(stderr, " %3.0f %%", 100 * share);
  }
  fprintf(stderr, "  %s rows  %s rows/s", human_count(rows, count),
          human_count((uint64_t)((double)rows / elapsed_s), rate));
  draw_time_left(progress, done, elapsed_s);
  fflush(stderr);
}

void cli_progress_end(cli_progress *progress) {
  if (progress->on) fputs("\r\033[K", stderr);
  progress->on = false;
}
