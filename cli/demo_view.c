/* demo_view.c - the demo's live view. */
#include "demo_view.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "base/decimal.h"
#include "human.h"

#define NS_PER_S INT64_C(1000000000)
#define REDRAW_NS INT64_C(100000000)
enum { BARS_MAX = 3 * DEMO_HISTORY + 1 }; /* a bar is three bytes of UTF-8 */
#define RATE_NS INT64_C(200000000)

static const char *const watched_names[DEMO_WATCHED] = {"EURUSD", "XAUUSD", "BTCUSD"};

void demo_view_start(demo_view *view, tks_store *store, int64_t seconds) {
  memset(view, 0, sizeof *view);
  view->store = store;
  view->seconds = seconds;
  view->started_ns = view->rate_ns = cli_monotonic_ns();
  view->terminal = isatty(STDOUT_FILENO);
  view->color = cli_color(stdout);
  for (int i = 0; i < DEMO_WATCHED; i++) {
    tks_symbol(store, watched_names[i], strlen(watched_names[i]), &view->watched[i], NULL);
  }
  if (view->terminal) fputs("\033[?25l", stdout); /* the cursor would flicker */
}

static void take_rate(demo_view *view, uint64_t received, int64_t now) {
  int64_t elapsed = now - view->rate_ns;
  if (elapsed < (view->terminal ? RATE_NS : NS_PER_S * 9 / 10)) return;
  view->rate = (double)(received - view->rate_received) * (double)NS_PER_S / (double)elapsed;
  view->rate_ns = now;
  view->rate_received = received;
  memmove(view->history, view->history + 1, (DEMO_HISTORY - 1) * sizeof view->history[0]);
  view->history[DEMO_HISTORY - 1] = view->rate;
}

/* ------------------------------------------------------------------ terminal */

/* "  label  value  remark" */
static void line(demo_view *view, const char *label, const char *value, const char *format, ...) {
  va_list arguments;
  printf("\r\033[K  %s%-10s%s%14s   ", view->color ? "\033[1m" : "", label, view->color ? "\033[0m" : "", value);
  va_start(arguments, format);
  vprintf(format, arguments);
  va_end(arguments);
  putchar('\n');
  view->lines++;
}

static const char *bars(const demo_view *view, char text[BARS_MAX]) {
  static const char *const levels[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  double top = 1;
  char *out = text;
  for (int i = 0; i < DEMO_HISTORY; i++) top = view->history[i] > top ? view->history[i] : top;
  for (int i = 0; i < DEMO_HISTORY; i++) {
    int level = (int)(view->history[i] / top * 8 + 0.5);
    out = stpcpy(out, levels[level > 0 || view->history[i] == 0 ? level : 1]);
  }
  *out = '\0';
  return text;
}

static void draw_quotes(demo_view *view) {
  printf("\r\033[K  ");
  for (int i = 0; i < DEMO_WATCHED; i++) {
    tks_quote quote;
    char bid[TKS__DECIMAL_MAX], ask[TKS__DECIMAL_MAX];
    if (tks_latest(view->store, view->watched[i], &quote, NULL) < 0) continue;
    tks__decimal_format(quote.bid, bid);
    tks__decimal_format(quote.ask, ask);
    printf("%s %s / %s    ", watched_names[i], bid, ask);
  }
  putchar('\n');
  view->lines++;
}

static void draw_counters(demo_view *view, const tks_store_stats *stats) {
  const tks_sink_stats *sink = &stats->sinks[0];
  char a[HUMAN_MAX], b[HUMAN_MAX], history[BARS_MAX];
  double share = stats->received > 0 ? 100 * (double)stats->throttled / (double)stats->received : 0;
  int64_t mean_ns = sink->batches > 0 ? (int64_t)(1000 * sink->flush_time_sum_us / sink->batches) : 0;
  line(view, "rate", human_count((uint64_t)view->rate, a), "quotes/s  %s", bars(view, history));
  line(view, "received", human_count(stats->received, a), "%s refused, %s dropped", human_count(stats->refused, b),
       human_count(stats->dropped, (char[HUMAN_MAX]){0}));
  line(view, "throttled", human_count(stats->throttled, a), "%.1f %% repeat what is stored", share);
  line(view, "accepted", human_count(stats->accepted, a), "up to sequence %" PRIu64, stats->last_seq);
  line(view, "journal", human_count(sink->backlog, a), "waiting for SQLite, %s on disk",
       human_bytes(stats->journal_bytes, b));
  line(view, "written", human_count(sink->written, a), "%s transactions, %s each on average",
       human_count(sink->batches, b), human_duration(mean_ns, (char[HUMAN_MAX]){0}));
  line(view, "durable", human_count(stats->durable_seq, a), "sequence; %" PRIu64 " ms behind", stats->durable_lag_ms);
  line(view, "WAL", human_bytes(sink->wal_bytes, a), "%" PRIu64 " day file%s open", sink->open_files,
       sink->open_files == 1 ? "" : "s");
}

static void draw_block(demo_view *view, const tks_store_stats *stats, int64_t now) {
  char time[HUMAN_MAX];
  if (view->lines > 0) printf("\033[%dA", view->lines);
  view->lines = 0;
  snprintf(time, sizeof time, "%.1f s", (double)(now - view->started_ns) / 1e9);
  line(view, "live", time, "of %" PRId64 " s", view->seconds);
  draw_counters(view, stats);
  draw_quotes(view);
}

/* ---------------------------------------------------------------- no terminal */

static void print_line(const demo_view *view, const tks_store_stats *stats, int64_t now) {
  char rate[HUMAN_MAX], received[HUMAN_MAX], throttled[HUMAN_MAX], written[HUMAN_MAX], wal[HUMAN_MAX];
  const tks_sink_stats *sink = &stats->sinks[0];
  printf("%4.1f s  %s/s  received %s  throttled %s  waiting %" PRIu64 "  written %s  durable %" PRIu64 " (%" PRIu64
         " ms behind)  WAL %s\n",
         (double)(now - view->started_ns) / 1e9, human_count((uint64_t)view->rate, rate),
         human_count(stats->received, received), human_count(stats->throttled, throttled), sink->backlog,
         human_count(sink->written, written), stats->durable_seq, stats->durable_lag_ms,
         human_bytes(sink->wal_bytes, wal));
}

void demo_view_update(demo_view *view, const tks_store_stats *stats, bool last) {
  int64_t now = cli_monotonic_ns();
  int64_t pause = view->terminal ? REDRAW_NS : NS_PER_S;
  if (view->drawn_ns == 0 && !view->terminal && !last) view->drawn_ns = now; /* nothing to tell in the first second */
  if (now - view->drawn_ns < pause && !last) return;
  view->drawn_ns = view->terminal ? now : view->drawn_ns + pause;
  take_rate(view, stats->received, now);
  if (view->terminal) draw_block(view, stats, now);
  else print_line(view, stats, now);
  if (view->terminal && last) fputs("\033[?25h", stdout);
  cli_flush_stdout();
}
