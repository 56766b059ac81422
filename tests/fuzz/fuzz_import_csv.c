/* CSV files. */
#include "fuzz/import.h"

const unsigned fuzz_rounds = 20000;
const char *const fuzz_words[] = {",",
                                  "\"",
                                  "\"\"",
                                  "\n",
                                  "\r\n",
                                  ",,",
                                  "NaN",
                                  "timestamp_ns",
                                  "timestamp",
                                  "time",
                                  "ask",
                                  "bid_size",
                                  "\xef\xbb\xbf",
                                  "\"a\nb\"",
                                  "1709596800000",
                                  "1e400",
                                  "-0",
                                  "9223372036854775807",
                                  NULL};

void fuzz_seeds(void) {
  fuzz_seed_text("timestamp_ns,symbol,bid,ask,bid_size,ask_size,source,recv_ns,flags\n"
                 "1709596800000000001,EURUSD,1.1,1.2,,5,OANDA,7,65536\n1709596800000000002,GBPUSD,NaN,1.2,1,,,,\n");
  fuzz_seed_text("\xef\xbb\xbftime,bid,ask\r\n2024-03-05T00:00:00Z,1,2\r\n\r\n2024-03-05 00:00:01.5+01:00,,2\r\n");
  fuzz_seed_text(
      "timestamp, ask ,\"bid\",symbol\n1709596800000.25,2,\"1\",\"a\"\"b\"\n1709596800001,2,\"1,5\",\"c\nd\"\n"
      "1709596800002,\"2,1,x\n1709596800003,2,1,x");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const import_meaning meaning = IMPORT_MEANING(IMPORT_CSV);
  return import_fuzz(import_csv_reader, &meaning, data, size);
}
