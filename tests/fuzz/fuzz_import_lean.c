/* Lean's tick files. */
#include "fuzz/import.h"

const unsigned fuzz_rounds = 20000;
const char *const fuzz_words[] = {",", "\n",  "\r\n",  "86399999.999999", "-1",
                                  ".", "NaN", "1e400", "\xef\xbb\xbf",    NULL};

void fuzz_seeds(void) {
  fuzz_seed_text("1000,1.1,1.2\n1000.5,1.1,1.2\r\n\n86399999,,1\n");
  fuzz_seed_text("\xef\xbb\xbf"
                 "0,1,2\n5,3\n6,1,2,3\n7,NaN,2");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const import_meaning meaning = IMPORT_MEANING(IMPORT_LEAN);
  return import_fuzz(import_lean_reader, &meaning, data, size);
}
