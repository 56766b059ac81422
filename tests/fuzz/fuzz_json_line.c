/* JSON lines: no line is too hostile to be read; one that is taken means the same to another JSON parser, and writing
 * what was understood gives a line that means the same again. */
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "base/name.h"
#include "fuzz/fuzz.h"
#include "persist/json_line.h"

const unsigned fuzz_rounds = 100000;
const char *const fuzz_words[] = {"null",
                                  "\"bid_size\":",
                                  "\"ask_size\":1e400",
                                  "\"recv_ns\":-9223372036854775808",
                                  "\"flags\":4294967296",
                                  "\\u0000",
                                  "\\ud800",
                                  "\"seq\":18446744073709551615",
                                  "\"\"",
                                  "\\\"",
                                  "1e999",
                                  "-0",
                                  "01",
                                  "+1",
                                  "1.",
                                  NULL};

void fuzz_seeds(void) {
  fuzz_seed_text(
      "{\"broker_id\":\"b\",\"symbol\":\"X\",\"bid\":1,\"ask\":2,\"spread\":1,\"timestamp\":\"2026-01-19T11:51:51Z\","
      "\"lp\":\"\",\"seq\":7,\"recv_ns\":9223372036854775808}\n");
  fuzz_seed_text("{\"broker_id\":\"default\",\"symbol\":\"EURUSD\",\"bid\":1.08484,\"ask\":1.08499,\"spread\":0.00015,"
                 "\"timestamp\":\"2026-01-19T11:51:51.897268500Z\",\"lp\":\"OANDA\",\"seq\":42}\n");
  fuzz_seed_text("{\"broker_id\":\"b\",\"symbol\":\"EUR/USD\",\"bid\":null,\"ask\":-0.0,\"spread\":null,"
                 "\"timestamp\":\"2026-01-19T11:51:51Z\",\"lp\":\"\",\"seq\":1,\"bid_size\":2,\"ask_size\":1e-7,"
                 "\"recv_ns\":-5,\"flags\":4294901761}\n");
  fuzz_seed_text(
      "{ \"seq\": 7, \"lp\": \"a\\u00e9\\\\\", \"timestamp\": \"2026-01-19 11:51:51.5+01:00\", \"spread\": 1,"
      " \"ask\": 3, \"bid\": 2, \"symbol\": \"\\\"\", \"broker_id\": \"\" }");
}

static bool same_price(double x, double y) { return (isnan(x) && isnan(y)) || memcmp(&x, &y, sizeof x) == 0; }

static void check_same(const tks__json_fields *a, const tks__json_fields *b, const char *line) {
  FUZZ_CHECK(a->record.ts_ns == b->record.ts_ns && a->record.seq == b->record.seq, "%s", line);
  FUZZ_CHECK(a->record.recv_ns == b->record.recv_ns && a->record.flags == b->record.flags, "%s", line);
  FUZZ_CHECK(same_price(a->record.bid, b->record.bid) && same_price(a->record.ask, b->record.ask), "%s", line);
  FUZZ_CHECK(same_price(a->record.bid_size, b->record.bid_size), "%s", line);
  FUZZ_CHECK(same_price(a->record.ask_size, b->record.ask_size), "%s", line);
  FUZZ_CHECK(a->symbol_length == b->symbol_length && memcmp(a->symbol, b->symbol, a->symbol_length) == 0, "%s", line);
  FUZZ_CHECK(a->source_length == b->source_length && memcmp(a->source, b->source, a->source_length) == 0, "%s", line);
}

/* Integers that only the scanner takes have the right sign and size all the same. */
static void check_integers(const uint8_t *data, size_t size, const tks__json_fields *f) {
  json_t *object = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, NULL);
  if (object == NULL) return;
  FUZZ_CHECK(json_number_value(json_object_get(object, "seq")) == (double)f->record.seq, "seq");
  FUZZ_CHECK(json_number_value(json_object_get(object, "recv_ns")) == (double)f->record.recv_ns, "recv_ns");
  FUZZ_CHECK(json_number_value(json_object_get(object, "flags")) == (double)f->record.flags, "flags");
  json_decref(object);
}

/* Where another parser takes the line too, both understand the same. */
static void check_against_jansson(const uint8_t *data, size_t size, const tks__json_fields *f) {
  json_t *object = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, NULL);
  if (object == NULL) return;
  const json_t *bid = json_object_get(object, "bid"), *seq = json_object_get(object, "seq");
  const json_t *symbol = json_object_get(object, "symbol"), *flags = json_object_get(object, "flags");
  FUZZ_CHECK(json_is_null(bid) ? isnan(f->record.bid) : json_number_value(bid) == f->record.bid, "bid");
  FUZZ_CHECK((uint64_t)json_integer_value(seq) == f->record.seq, "seq");
  FUZZ_CHECK((uint64_t)json_integer_value(flags) == f->record.flags, "flags");
  FUZZ_CHECK(json_string_length(symbol) == f->symbol_length, "symbol");
  FUZZ_CHECK(memcmp(json_string_value(symbol), f->symbol, f->symbol_length) == 0, "symbol");
  json_decref(object);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  tks__json_fields fields, again;
  if (!tks__json_line_parse((const char *)data, size, &fields)) return 0;
  FUZZ_CHECK(tks__name_check(fields.symbol, fields.symbol_length) == TKS_OK, "a symbol that is none");
  FUZZ_CHECK(fields.source_length == 0 || tks__name_check(fields.source, fields.source_length) == TKS_OK, "source");
  check_against_jansson(data, size, &fields);
  check_integers(data, size, &fields);
  char line[TKS__JSON_LINE_MAX + 1];
  size_t length = tks__json_line_format(&fields.record, fields.symbol, fields.symbol_length, fields.source,
                                        fields.source_length, "default", line);
  FUZZ_CHECK(length <= TKS__JSON_LINE_MAX && line[length - 1] == '\n', "%zu", length);
  line[length] = 0;
  FUZZ_CHECK(tks__json_line_parse(line, length, &again), "%s", line);
  check_same(&fields, &again, line);
  json_t *object = json_loadb(line, length, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);
  FUZZ_CHECK(object != NULL || fields.record.seq > INT64_MAX, "%s", line);
  json_decref(object);
  return 0;
}
