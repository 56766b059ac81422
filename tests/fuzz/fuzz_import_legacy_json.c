/* The legacy tick files. */
#include "fuzz/import.h"

const unsigned fuzz_rounds = 20000;
const char *const fuzz_words[] = {
    "[", "]", "{", "}", ",", ",{\"", "\"", "\\", "\\\"", "null", "}{", ",\n  {\n    \"bid\"", NULL};

void fuzz_seeds(void) {
  fuzz_seed_text("[\n  {\"broker_id\":\"default\",\"symbol\":\"EURUSD\",\"bid\":1.1,\"ask\":1.2,"
                 "\"timestamp\":\"2026-01-19T11:51:51.5Z\",\"lp\":\"OANDA\"},\n"
                 "  {\"bid\":1,\"ask\":null,\"timestamp\":\"2026-01-19T11:51:52Z\",\"lp\":\"a}{\\\"b\"}\n]\n");
  fuzz_seed_text("[{\"bid\":1,\"timestamp\":\"2026-01-19T11:51:52Z\"}, x {\"ask\":2, {\"bid\":{\"y\":1}},"
                 " {\"ask\":3,\"timestamp\":\"2026-01-19T11:51:52Z\"}][{\"ask\":3,\"timest");
  fuzz_seed_text(" [] ");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const import_meaning meaning = IMPORT_MEANING(IMPORT_LEGACY_JSON);
  return import_fuzz(import_legacy_json_reader, &meaning, data, size);
}
