/* Times: what is read is written back as the same instant, and every instant can be written and read. */
#include <stdlib.h>
#include <string.h>

#include "base/utc.h"
#include "fuzz/fuzz.h"

const unsigned fuzz_rounds = 400000;
const char *const fuzz_words[] = {"Z",    "T",    "+05:30", "-23:59", "60", "24", "02-29",
                                  "9999", "0000", "1677",   "2262",   ".9", NULL};

void fuzz_seeds(void) {
  static const char *const texts[] = {"2026-01-19T11:51:51.897268500Z", "2024-02-29 00:00:00z",
                                      "1677-09-21T00:12:43Z",           "2262-04-11T23:47:16.854775807Z",
                                      "2016-12-31T23:59:60Z",           "2024-03-05",
                                      "2024-03-05T00:00:00+23:59",      "1970-01-01T00:00:00.1-00:00"};
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) fuzz_seed_text(texts[i]);
  static const int64_t times[] = {0, -1, INT64_MIN, INT64_MAX, FUZZ_MIDNIGHT, FUZZ_MIDNIGHT - 1};
  for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) fuzz_seed(&times[i], sizeof times[i]);
}

static void check_instant(int64_t ts_ns) {
  char text[TKS__UTC_TEXT_MAX];
  int64_t back;
  size_t length = tks__utc_format(ts_ns, text);
  FUZZ_CHECK(length == strlen(text) && tks__utc_parse(text, length, &back) && back == ts_ns, "%s", text);
  int32_t day = tks__utc_day(ts_ns), again;
  int year, month, mday;
  tks__utc_date(day, &year, &month, &mday);
  FUZZ_CHECK(tks__utc_day_start_ns(day) <= ts_ns, "day %d", day);
  FUZZ_CHECK(day == INT32_MAX || ts_ns - tks__utc_day_start_ns(day) < FUZZ_DAY_NS, "day %d", day);
  /* The first day of the range begins before it, so its date is none that can be given. */
  if (tks__utc_day_start_ns(day) != INT64_MIN)
    FUZZ_CHECK(tks__utc_day_from_date(year, month, mday, &again) ? again == day : day > 106750, "%s", text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  int64_t ts_ns;
  int32_t day;
  if (tks__utc_parse((const char *)data, size, &ts_ns)) check_instant(ts_ns);
  if (tks__utc_parse_day((const char *)data, size, &day)) {
    char text[TKS__UTC_TEXT_MAX];
    FUZZ_CHECK(tks__utc_format_day(day, text) == size && memcmp(text, data, size) == 0, "%s", text);
  }
  if (size == sizeof ts_ns) {
    memcpy(&ts_ns, data, sizeof ts_ns);
    check_instant(ts_ns);
  }
  return 0;
}
