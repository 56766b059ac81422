/* store.json: whatever it holds, a store opens or is refused with a code that says so; one that opened can be used, and
 * opens again. */
#include <stdlib.h>
#include <string.h>

#include "fuzz/fuzz.h"
#include "persist/manifest.h"

const unsigned fuzz_rounds = 8000;
const char *const fuzz_words[] = {"\"format\": 1",
                                  "\"format\": 2",
                                  "9223372036854775807",
                                  "18446744073709551615",
                                  "-1",
                                  "true",
                                  "null",
                                  "\"json\"",
                                  "\"dual\"",
                                  "\"next_seq\": 9223372036854775000",
                                  "\\\"",
                                  "\\u0001",
                                  "\xc3\xa9",
                                  "\"mixed\": true",
                                  NULL};

void fuzz_seeds(void) {
  fuzz_seed_text("{\"format\": 1, \"store_id\": \"0123456789abcdef0123456789abcdef\", \"backend\": \"sqlite\","
                 " \"mixed\": false, \"next_seq\": 1000, \"clean\": true}\n");
  fuzz_seed_text("{\"clean\": false, \"next_seq\": 4294967297, \"backend\": \"dual\", \"format\": 1,"
                 " \"store_id\": \"0123456789abcdef0123456789abcdef\"}");
  fuzz_seed_text("{\"format\": 1, \"store_id\": \"\\\"123456789abcdef\\\\123456789abcd\\n\\n\", \"backend\": \"json\","
                 " \"next_seq\": 5, \"clean\": true}");
  fuzz_seed_text("{\"format\": 1, \"store_id\": \"0123456789abcdef0123456789abcdef\", \"backend\": \"sqlite\","
                 " \"next_seq\": 9223372036854775807, \"clean\": true}");
}

static void check_rewritten(const tks__layout *layout, const tks__manifest *manifest) {
  tks__manifest again;
  bool missing;
  tks_error error = {0};
  FUZZ_CHECK(tks__manifest_write(layout, manifest, &error) == TKS_OK, "%s", error.message);
  FUZZ_CHECK(tks__manifest_read(layout, &again, &missing, &error) == TKS_OK, "%s", error.message);
  FUZZ_CHECK(again.next_seq == manifest->next_seq && again.backend == manifest->backend, "other numbers");
  FUZZ_CHECK(again.clean == manifest->clean && again.mixed == manifest->mixed, "other flags");
  FUZZ_CHECK(strcmp(again.store_id, manifest->store_id) == 0, "other id");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  fuzz_clear();
  fuzz_write_file("store.json", data, size);
  tks__layout layout;
  tks__manifest manifest;
  bool missing;
  FUZZ_CHECK(tks__layout_init(&layout, fuzz_dir(), strlen(fuzz_dir())), "layout");
  int code = tks__manifest_read(&layout, &manifest, &missing, NULL);
  FUZZ_CHECK(code == TKS_OK || (fuzz_is_refusal(code) && !missing), "%d", code);

  tks_config config = fuzz_config(code == TKS_OK ? manifest.backend : TKS_SQLITE);
  tks_store *store;
  for (int round = 0; round < 2; round++) {
    int opened = fuzz_open(&config, &store);
    /* The numbers that there are may be used up by the first. */
    bool at_end = round > 0 && code == TKS_OK && manifest.next_seq > TKS__NEXT_SEQ_MAX - 2 * TKS__SEQ_RESERVE;
    FUZZ_CHECK(opened == code || at_end, "%d, not %d", opened, code);
    if (opened != TKS_OK) return 0;
    fuzz_use(store);
    FUZZ_CHECK(tks_close(store, NULL) == TKS_OK, "close");
  }
  check_rewritten(&layout, &manifest);
  return 0;
}
