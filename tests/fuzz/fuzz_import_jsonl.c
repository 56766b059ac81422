/* JSON lines that are imported. */
#include "fuzz/import.h"

const unsigned fuzz_rounds = 20000;
const char *const fuzz_words[] = {
    "{", "}", "\n", "null", "\"symbol\":", "1e999", "[[[[", "\\u0000", "99999999999999999999", "\"flags\":-1", NULL};

void fuzz_seeds(void) {
  fuzz_seed_text("{\"broker_id\":\"default\",\"symbol\":\"EURUSD\",\"bid\":1.08484,\"ask\":1.08499,\"spread\":0.00015,"
                 "\"timestamp\":\"2026-01-19T11:51:51.897268500Z\",\"lp\":\"OANDA\",\"seq\":42}\n"
                 "{\"timestamp\":\"2026-01-19T11:51:51Z\",\"ask\":2,\"bid_size\":3,\"recv_ns\":4,\"flags\":65536}\r\n");
  fuzz_seed_text("\n[1]\n{}\n{\"bid\":\"x\"}\n{\"broker_id\":\"other\",\"bid\":99999999999999999999,"
                 "\"timestamp\":\"2026-01-19T11:51:51Z\"}");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const import_meaning meaning = IMPORT_MEANING(IMPORT_JSONL);
  return import_fuzz(import_jsonl_reader, &meaning, data, size);
}
