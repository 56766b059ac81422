/* A JSON day file, as a reader finds it and as a writer that goes on with it does. Nothing that could be read before is gone
 * after the writer has repaired it, and what it appends is there. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "fuzz/fuzz.h"
#include "persist/json_day.h"
#include "persist/json_file.h"
#include "persist/json_line.h"

const unsigned fuzz_rounds = 12000;
const char *const fuzz_words[] = {
    "\n",   "{",    "}\n",          "\"seq\":", "9223372036854775807", "\"seq\":18446744073709551615}\n",
    "null", "\r\n", "\"lp\":\"x\"", NULL};

#define NAME "json/" FUZZ_SYMBOL "/2024-03-05.jsonl"
#define LINE(ts, seq)                                                                          \
  "{\"broker_id\":\"default\",\"symbol\":\"EURUSD\",\"bid\":1.5,\"ask\":1.75,\"spread\":0.25," \
  "\"timestamp\":\"2024-03-05T" ts "Z\",\"lp\":\"OANDA\",\"seq\":" seq "}\n"
enum { DAY = 19787 };

void fuzz_seeds(void) {
  fuzz_seed_text(LINE("00:00:00", "1") LINE("00:00:01", "2") LINE("00:00:00.5", "3"));
  fuzz_seed_text(LINE("23:59:59.999999999", "9") LINE("00:00:01", "8") "rubbish\n" LINE("00:00:00", "8") "{\"broker");
  fuzz_seed_text("");
  char endless[70000];
  memset(endless, 'x', sizeof endless);
  memcpy(endless, LINE("00:00:00", "1"), strlen(LINE("00:00:00", "1")));
  memcpy(endless + sizeof endless - strlen("\n" LINE("00:00:09", "5")), "\n" LINE("00:00:09", "5"),
         strlen("\n" LINE("00:00:09", "5")));
  fuzz_seed(endless, sizeof endless);
}

static tks__names symbols, sources;
static tks__layout layout;
static uint32_t symbol;

static void set_up(void) {
  FUZZ_CHECK(tks__layout_init(&layout, fuzz_dir(), strlen(fuzz_dir())), "layout");
  FUZZ_CHECK(tks__names_init(&symbols, 16) == TKS_OK && tks__names_init(&sources, 60000) == TKS_OK, "names");
  FUZZ_CHECK(tks__names_intern(&symbols, FUZZ_SYMBOL, strlen(FUZZ_SYMBOL), &symbol) == TKS_OK, "symbol");
}

static tks__json_day read_day(void) {
  tks__json_day day;
  int code = tks__json_day_read(&layout, &symbols, &sources, symbol, DAY, &day, NULL);
  FUZZ_CHECK(code == TKS_OK || code == TKS_EDAYFILE || code == TKS_ETABLEFULL, "%d", code);
  FUZZ_CHECK((code == TKS_EDAYFILE) == (day.bad_lines > 0), "%d", code);
  for (size_t i = 0; i < day.count; i++) {
    const tks__record *r = &day.records[i];
    FUZZ_CHECK(r->symbol == symbol && r->ts_ns >= FUZZ_MIDNIGHT && r->ts_ns < FUZZ_MIDNIGHT + FUZZ_DAY_NS, "%zu", i);
    FUZZ_CHECK(i == 0 || r[-1].ts_ns < r->ts_ns || (r[-1].ts_ns == r->ts_ns && r[-1].seq < r->seq), "%zu", i);
  }
  return day;
}

/* Every record of `before` is in `after`. */
static void check_kept(const tks__json_day *before, const tks__json_day *after) {
  size_t at = 0;
  for (size_t i = 0; i < before->count; i++, at++) {
    while (at < after->count && memcmp(&after->records[at], &before->records[i], sizeof before->records[i]) != 0) at++;
    FUZZ_CHECK(at < after->count, "record %llu is gone", (unsigned long long)before->records[i].seq);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (symbol == 0) set_up();
  fuzz_clear();
  fuzz_write_file(NAME, data, size);
  tks__json_day before = read_day();

  char path[TKS__PATH_MAX], line[TKS__JSON_LINE_MAX];
  tks__layout_json_file(&layout, FUZZ_SYMBOL, strlen(FUZZ_SYMBOL), DAY, path);
  tks__json_file file;
  tks__log log = {0};
  FUZZ_CHECK(tks__json_file_open(&file, path, layout.root, &log) == 0, "cannot open");
  tks__json_day opened = read_day();
  FUZZ_CHECK(opened.count == before.count, "%zu records, %zu after opening", before.count, opened.count);
  check_kept(&before, &opened);

  /* Behind the last number that a line can have there is none. */
  const uint64_t seq = file.last_seq < INT64_MAX ? file.last_seq + 1 : INT64_MAX;
  const tks__record record = {.ts_ns = FUZZ_MIDNIGHT + 5, .seq = seq, .bid = 1, .ask = 2};
  size_t length = tks__json_line_format(&record, FUZZ_SYMBOL, strlen(FUZZ_SYMBOL), "", 0, "default", line);
  FUZZ_CHECK(tks__json_file_append(&file, line, length, record.seq) == 0, "cannot append");
  FUZZ_CHECK(tks__json_file_sync(&file, path, layout.root, &log) == 0, "cannot sync");
  tks__json_file_close(&file);
  tks__json_day after = read_day();
  FUZZ_CHECK(after.bad_lines <= before.bad_lines, "%zu bad lines, then %zu", before.bad_lines, after.bad_lines);
  bool found = false;
  for (size_t i = 0; i < after.count; i++) found |= after.records[i].seq == record.seq;
  FUZZ_CHECK(found, "what was appended is not there");
  tks__json_day_free(&before);
  tks__json_day_free(&opened);
  tks__json_day_free(&after);
  return 0;
}
