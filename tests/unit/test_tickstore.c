/* The public face: every exported function, every status code, and what must hold around them. Nothing in here looks
 * behind tickstore.h. */
#include "tickstore/tickstore.h"

#include <criterion/criterion.h>
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/process.h"
#include "support/scratch.h"
#include "support/stores.h"
#include "support/threads.h"
#include "support/wait.h"

#define NAN_ ((double)NAN)
#define INF_ ((double)INFINITY)

#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#endif

static char *dir;
static tks_store *store;
static uint32_t eurusd, oanda;
static tks_error error;

static void set_up(void) { dir = scratch_new(); }

static void tear_down(void) {
  if (store != NULL) (void)tks_close(store, NULL);
  scratch_remove(dir);
}

static void open_with(const tks_config *config) {
  store = store_open(dir, config);
  eurusd = store_symbol(store, "EURUSD");
  oanda = store_source(store, "OANDA");
}

static void open_backend(uint32_t backend) {
  tks_config config = store_config(backend);
  open_with(&config);
}

static tks_quote good(void) {
  return (tks_quote){.ts_ns = STORE_NOON, .bid = 1.25, .ask = 1.5, .symbol = eurusd, .source = oanda};
}

TestSuite(tickstore, .init = set_up, .fini = tear_down);

/* --------------------------------------------------------- version, codes */

Test(tickstore, version) {
  cr_assert_eq(tks_version(), TKS_VERSION_MAJOR * 1000000u + TKS_VERSION_MINOR * 1000u + TKS_VERSION_PATCH);
  char text[64];
  (void)snprintf(text, sizeof text, "%d.%d.%d", TKS_VERSION_MAJOR, TKS_VERSION_MINOR, TKS_VERSION_PATCH);
  cr_assert_str_eq(tks_version_string(), text);
}

Test(tickstore, every_code_has_a_message_of_its_own) {
  static const struct {
    int code;
    const char *message;
  } codes[] = {
#define CODE(name, value, message) {TKS_##name, message},
      TKS_STATUS_MAP(CODE)
#undef CODE
  };
  size_t count = sizeof codes / sizeof codes[0];
  for (size_t i = 0; i < count; i++) {
    cr_assert_str_eq(tks_strerror(codes[i].code), codes[i].message);
    for (size_t k = 0; k < i; k++) cr_assert_str_neq(codes[k].message, codes[i].message);
  }
  static const int unknown[] = {5, 1000, -35, -1000, INT_MAX, INT_MIN};
  for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++)
    cr_assert_str_eq(tks_strerror(unknown[i]), "unknown status");
}

/* ------------------------------------------------------------ config_init */

Test(tickstore, config_init) {
  struct {
    tks_config config;
    char tail[40];
  } sized;
  cr_assert_eq(tks_config_init(NULL, sizeof(tks_config), TKS_PRESET_PRODUCTION, &error), TKS_ENULL);
  cr_assert_eq(error.code, TKS_ENULL);
  cr_assert_not_null(strstr(error.message, "config"));
  cr_assert_eq(tks_config_init(&sized.config, sizeof sized.config, 3, &error), TKS_EINVAL);
  cr_assert_not_null(strstr(error.message, "preset is 3"), "%s", error.message);
  cr_assert_eq(tks_config_init(&sized.config, 4, TKS_PRESET_PRODUCTION, &error), TKS_ESTRUCT);
  cr_assert_not_null(strstr(error.message, "4"), "%s", error.message);
  cr_assert_eq(tks_config_init(&sized.config, SIZE_MAX, TKS_PRESET_PRODUCTION, &error), TKS_ESTRUCT);

  /* An older caller's: nothing behind its end is touched. */
  memset(&sized, 0x5a, sizeof sized);
  size_t half = offsetof(tks_config, crossed_policy);
  cr_assert_eq(tks_config_init(&sized.config, half, TKS_PRESET_MIGRATION, NULL), TKS_OK);
  cr_assert_eq(sized.config.struct_size, half);
  cr_assert_eq(sized.config.backend, TKS_DUAL);
  for (size_t i = half; i < sizeof sized; i++) cr_assert_eq(((char *)&sized)[i], 0x5a, "byte %zu", i);
  store = store_open(dir, &sized.config);
  store_close(store);
  /* A newer caller's: what this library does not know is 0. */
  cr_assert_eq(tks_config_init(&sized.config, sizeof sized, TKS_PRESET_PRODUCTION, NULL), TKS_OK);
  cr_assert_eq(sized.config.struct_size, sizeof sized);
  for (size_t i = sizeof sized.config; i < sizeof sized; i++) cr_assert_eq(((char *)&sized)[i], 0);
  store = store_open(dir, &sized.config);
  store_close(store);
  sized.tail[39] = 1;
  cr_assert_eq(tks_open(dir, strlen(dir), &sized.config, &store, &error), TKS_ESTRUCT);
  cr_assert_null(store);
}

/* ------------------------------------------------ what one call can refuse */

static int put(double bid, double ask, double bid_size, double ask_size) {
  tks_quote q = good();
  q.bid = bid;
  q.ask = ask;
  q.bid_size = bid_size;
  q.ask_size = ask_size;
  return tks_put_quote(store, &q, NULL, &error);
}

static int put_at(int64_t ts_ns) {
  tks_quote q = good();
  q.ts_ns = ts_ns;
  return tks_put_quote(store, &q, NULL, &error);
}

static int put_symbol(uint32_t symbol, uint32_t source) {
  tks_quote q = good();
  q.symbol = symbol;
  q.source = source;
  return tks_put_quote(store, &q, NULL, &error);
}

static int symbol(const char *name, size_t length) {
  uint32_t id = 77;
  int code = tks_symbol(store, name, length, &id, &error);
  cr_assert_eq(id, 77);
  cr_assert_eq(tks_source(store, name, length, &id, &error), code);
  cr_assert_eq(tks_put(store, name, length, 1, 2, NULL, 0, STORE_NOON, NULL, &error), code);
  if (length > 0) cr_assert_eq(tks_put(store, "EURUSD", 6, 1, 2, name, length, STORE_NOON, NULL, &error), code);
  cr_assert_eq(tks_symbol(store, name, length, &id, &error), code);
  return code;
}

static int open_range(void (*change)(tks_range *)) {
  tks_range range = store_range(eurusd);
  tks_cursor *cursor = (tks_cursor *)&range;
  change(&range);
  int code = tks_range_open(store, &range, &cursor, &error);
  cr_assert_null(cursor);
  return code;
}

static int recent(uint32_t id, size_t n) {
  tks_quote quote;
  size_t count = 5;
  int code = tks_recent(store, id, n, &quote, &count, &error);
  cr_assert_eq(count, 0);
  return code;
}

#define REFUSES(name, body) \
  static int name(void) { return body; }
#define RANGE(name, change)                               \
  static void change_##name(tks_range *range) { change; } \
  static int name(void) { return open_range(change_##name); }

REFUSES(no_sides, put(NAN_, NAN_, 0, 0))
REFUSES(infinite_bid, put(INF_, 1, 0, 0))
REFUSES(infinite_ask, put(1, -INF_, 0, 0))
REFUSES(negative_size, put(1, 2, -2, 0))
REFUSES(nan_size, put(1, 2, 0, NAN_))
REFUSES(infinite_size, put(1, 2, INF_, 0))
REFUSES(year_1970, put_at(0))
REFUSES(just_before_1990, put_at(INT64_C(631152000000000000) - 1))
REFUSES(year_2262, put_at(INT64_MAX))
REFUSES(earliest_time, put_at(INT64_MIN))
REFUSES(symbol_0, put_symbol(0, 0))
REFUSES(symbol_never_given, put_symbol(eurusd + 1, 0))
REFUSES(symbol_huge, put_symbol(UINT32_MAX, 0))
REFUSES(source_never_given, put_symbol(eurusd, oanda + 1))
REFUSES(source_huge, put_symbol(eurusd, UINT32_MAX))
REFUSES(empty_name, symbol("", 0))
REFUSES(no_name, symbol(NULL, 0))
REFUSES(long_name, symbol("0123456789012345678901234567890123456789012345678901234567890123456789", 65))
REFUSES(megabyte_name, symbol(dir, 1 << 20)) /* not looked at */
REFUSES(nul_in_name, symbol("EUR\0USD", 7))
REFUSES(newline_in_name, symbol("EUR\nUSD", 7))
REFUSES(c1_in_name, symbol("EUR\xc2\x85", 5))
REFUSES(del_in_name, symbol("EUR\x7f", 4))
REFUSES(latin1_name, symbol("\xe9uro", 4))
REFUSES(overlong_name, symbol("\xc0\xaf", 2))
REFUSES(surrogate_name, symbol("\xed\xa0\x80", 3))
REFUSES(cut_off_name, symbol("\xe6\x97", 2))
REFUSES(dots, symbol("..", 2))
REFUSES(dot, symbol(".", 1))
REFUSES(up_and_away, symbol("../../etc/x", 11))
REFUSES(up_inside, symbol("a/../b", 6))
REFUSES(up_at_end, symbol("a/..", 4))
REFUSES(up_with_backslashes, symbol("..\\..\\x", 7))
REFUSES(recent_0, recent(eurusd, 0))
REFUSES(recent_huge, recent(eurusd, (size_t)TKS_MAX_RECORDS + 1))
REFUSES(recent_negative, recent(eurusd, (size_t)-1))
REFUSES(recent_symbol_0, recent(0, 1))
REFUSES(recent_symbol_unknown, recent(99, 1))
RANGE(range_limit_0, range->limit = 0)
RANGE(range_limit_negative, range->limit = -1)
RANGE(range_limit_very_negative, range->limit = INT64_MIN)
RANGE(range_backwards, (range->from_ns = 10, range->to_ns = 9))
RANGE(range_flags, range->flags = 2)
RANGE(range_symbol, range->symbol = 99)
RANGE(range_symbol_0, range->symbol = 0)
RANGE(range_source, range->source = 99)
RANGE(range_short, range->struct_size = sizeof *range - 1)
RANGE(range_size_0, range->struct_size = 0)
RANGE(range_size_huge, range->struct_size = UINT32_MAX)

static int latest_unknown(void) {
  tks_quote quote;
  return tks_latest(store, 99, &quote, &error);
}

static int latest_nothing(void) {
  tks_quote quote;
  return tks_latest(store, eurusd, &quote, &error);
}

static int symbol_name_unknown(void) {
  char name[64];
  size_t length = 5;
  int code = tks_symbol_name(store, 99, name, sizeof name, &length, &error);
  cr_assert_eq(length, 5);
  return code;
}

static int source_name_0(void) {
  size_t length = 5;
  int code = tks_source_name(store, 0, NULL, 0, &length, &error);
  cr_assert_eq(length, 5);
  return code;
}

static int flush_negative(void) { return tks_flush(store, -2, &error); }

static int flush_no_sink(void) { return tks_sink_flush(store, TKS_DUAL, 0, &error); }
static int sink_flush_negative(void) { return tks_sink_flush(store, TKS_JSON, -2, &error); }

static int durable_of_no_sink(void) {
  uint64_t seq = 5;
  int code = tks_sink_durable_seq(store, 4, &seq, &error);
  cr_assert_eq(seq, 5);
  return code;
}

static int days_check(void) {
  size_t total = 5;
  return tks_days(store, 2, NULL, 0, &total, &error);
}

static int too_many_quotes(void) {
  tks_put_result result;
  tks_quote q = good();
  return tks_put_quotes(store, &q, (size_t)TKS_MAX_RECORDS + 1, NULL, &result, &error);
}

static int stats_small(void) {
  tks_store_stats stats = {.struct_size = 4};
  return tks_stats(store, &stats, &error);
}

static int stats_huge(void) {
  tks_store_stats stats = {.struct_size = UINT32_MAX};
  return tks_stats(store, &stats, &error);
}

static int second_writer(void) {
  tks_store *second = store;
  tks_config config = store_config(TKS_SQLITE);
  int code = tks_open(dir, strlen(dir), &config, &second, &error);
  cr_assert_null(second);
  return code;
}

#define COUNTER(field) offsetof(tks_store_stats, field)

static const struct {
  const char *name;
  int (*provoke)(void);
  int code;
  const char *field, *value; /* both in the message */
  size_t counter;            /* 0: none moves */
} REFUSALS[] = {
    {"no sides", no_sides, TKS_ESIDES, "bid and ask", "NaN", COUNTER(refused_sides)},
    {"infinite bid", infinite_bid, TKS_EPRICE, "bid", "inf", COUNTER(refused_price)},
    {"infinite ask", infinite_ask, TKS_EPRICE, "ask", "-inf", COUNTER(refused_price)},
    {"negative size", negative_size, TKS_ESIZE, "bid_size", "-2", COUNTER(refused_size)},
    {"NaN size", nan_size, TKS_ESIZE, "ask_size", "nan", COUNTER(refused_size)},
    {"infinite size", infinite_size, TKS_ESIZE, "bid_size", "inf", COUNTER(refused_size)},
    {"1970", year_1970, TKS_ETIME, "ts_ns", "1970-01-01", COUNTER(refused_time)},
    {"1989", just_before_1990, TKS_ETIME, "ts_ns", "1989-12-31T23:59:59.999999999Z", COUNTER(refused_time)},
    {"2262", year_2262, TKS_ETIME, "ts_ns", "9223372036854775807", COUNTER(refused_time)},
    {"1677", earliest_time, TKS_ETIME, "ts_ns", "-9223372036854775808", COUNTER(refused_time)},
    {"symbol 0", symbol_0, TKS_ESYMBOL, "symbol", "0", COUNTER(refused_symbol)},
    {"symbol 2", symbol_never_given, TKS_ESYMBOL, "symbol", "2", COUNTER(refused_symbol)},
    {"symbol 4G", symbol_huge, TKS_ESYMBOL, "symbol", "4294967295", COUNTER(refused_symbol)},
    {"source 2", source_never_given, TKS_ESOURCE, "source", "2", COUNTER(refused_source)},
    {"source 4G", source_huge, TKS_ESOURCE, "source", "4294967295", COUNTER(refused_source)},
    {"empty name", empty_name, TKS_ENAMEEMPTY, "symbol", "0 bytes", 0},
    {"no name", no_name, TKS_ENAMEEMPTY, "symbol", "0 bytes", 0},
    {"long name", long_name, TKS_ENAMELONG, "symbol", "65", 0},
    {"1 MB name", megabyte_name, TKS_ENAMELONG, "symbol", "1048576", 0},
    {"NUL", nul_in_name, TKS_ENAMECONTROL, "symbol", "7 bytes", 0},
    {"newline", newline_in_name, TKS_ENAMECONTROL, "symbol", "7 bytes", 0},
    {"C1", c1_in_name, TKS_ENAMECONTROL, "symbol", "5 bytes", 0},
    {"DEL", del_in_name, TKS_ENAMECONTROL, "symbol", "4 bytes", 0},
    {"Latin-1", latin1_name, TKS_ENAMEUTF8, "symbol", "4 bytes", 0},
    {"overlong", overlong_name, TKS_ENAMEUTF8, "symbol", "2 bytes", 0},
    {"surrogate", surrogate_name, TKS_ENAMEUTF8, "symbol", "3 bytes", 0},
    {"cut off", cut_off_name, TKS_ENAMEUTF8, "symbol", "2 bytes", 0},
    {"..", dots, TKS_ENAMEPATH, "symbol", "2 bytes", 0},
    {".", dot, TKS_ENAMEPATH, "symbol", "1 bytes", 0},
    {"../../etc/x", up_and_away, TKS_ENAMEPATH, "symbol", "11 bytes", 0},
    {"a/../b", up_inside, TKS_ENAMEPATH, "symbol", "6 bytes", 0},
    {"a/..", up_at_end, TKS_ENAMEPATH, "symbol", "4 bytes", 0},
    {"..\\..\\x", up_with_backslashes, TKS_ENAMEPATH, "symbol", "7 bytes", 0},
    {"recent 0", recent_0, TKS_ELIMIT, "n is", "0", 0},
    {"recent 2G", recent_huge, TKS_ELIMIT, "n is", "2147483648", 0},
    {"recent -1", recent_negative, TKS_ELIMIT, "n is", "18446744073709551615", 0},
    {"recent symbol 0", recent_symbol_0, TKS_ESYMBOL, "symbol is", "0", 0},
    {"recent symbol 99", recent_symbol_unknown, TKS_ESYMBOL, "symbol is", "99", 0},
    {"range limit 0", range_limit_0, TKS_ELIMIT, "limit is", "0", 0},
    {"range limit -1", range_limit_negative, TKS_ELIMIT, "limit is", "-1", 0},
    {"range limit min", range_limit_very_negative, TKS_ELIMIT, "limit is", "-9223372036854775808", 0},
    {"range backwards", range_backwards, TKS_EINVAL, "from_ns is 10", "9", 0},
    {"range flags", range_flags, TKS_EINVAL, "flags", "0x2", 0},
    {"range symbol", range_symbol, TKS_ESYMBOL, "symbol", "99", 0},
    {"range symbol 0", range_symbol_0, TKS_ESYMBOL, "symbol", "0", 0},
    {"range source", range_source, TKS_ESOURCE, "source", "99", 0},
    {"range short", range_short, TKS_ESTRUCT, "tks_range", "39", 0},
    {"range size 0", range_size_0, TKS_ESTRUCT, "tks_range", "0", 0},
    {"range size 4G", range_size_huge, TKS_ESTRUCT, "tks_range", "4294967295", 0},
    {"latest unknown", latest_unknown, TKS_ESYMBOL, "symbol", "99", 0},
    {"latest nothing", latest_nothing, TKS_ENOTFOUND, "stored", "EURUSD", 0},
    {"name of symbol 99", symbol_name_unknown, TKS_ESYMBOL, "symbol", "99", 0},
    {"name of source 0", source_name_0, TKS_ESOURCE, "source", "0", 0},
    {"flush -2", flush_negative, TKS_EINVAL, "timeout_ms", "-2", 0},
    {"flush both as one", flush_no_sink, TKS_EINVAL, "sink is", "3", 0},
    {"flush sink -2", sink_flush_negative, TKS_EINVAL, "timeout_ms", "-2", 0},
    {"durable 4", durable_of_no_sink, TKS_EINVAL, "sink is", "4", 0},
    {"days 2", days_check, TKS_EINVAL, "check", "0x2", 0},
    {"2G quotes", too_many_quotes, TKS_ELIMIT, "count", "2147483648", 0},
    {"stats size 4", stats_small, TKS_ESTRUCT, "tks_store_stats", "4", 0},
    {"stats size 4G", stats_huge, TKS_ESTRUCT, "tks_store_stats", "4294967295", 0},
    {"second writer", second_writer, TKS_ELOCKED, "tks-", "writing", 0},
};

/* Each refusal: its code, a message that names field and value, its counter, and nothing else. */
Test(tickstore, refusals_have_codes_messages_and_no_effect) {
  tks_config config = store_config(TKS_DUAL);
  config.journal = 0; /* prepares its files in its own time */
  open_with(&config);
  uint64_t before = tree_digest(dir);
  for (size_t i = 0; i < sizeof REFUSALS / sizeof REFUSALS[0]; i++) {
    tks_store_stats old = store_stats(store), new;
    memset(&error, 0, sizeof error);
    int code = REFUSALS[i].provoke();
    const char *name = REFUSALS[i].name;
    cr_assert_eq(code, REFUSALS[i].code, "%s: %d, %s", name, code, error.message);
    cr_assert_eq(error.code, code, "%s", name);
    cr_assert_not_null(strstr(error.message, REFUSALS[i].field), "%s: %s", name, error.message);
    cr_assert_not_null(strstr(error.message, REFUSALS[i].value), "%s: %s", name, error.message);
    cr_assert_null(strchr(error.message, '\n'), "%s", name);
    new = store_stats(store);
    if (REFUSALS[i].counter != 0) {
      uint64_t count;
      memcpy(&count, (char *)&new + REFUSALS[i].counter, sizeof count);
      count--;
      memcpy((char *)&new + REFUSALS[i].counter, &count, sizeof count);
      new.refused--;
      new.received--;
    }
    cr_assert_eq(memcmp(&old, &new, sizeof old), 0, "%s changed the statistics", name);
  }
  cr_assert_eq(store_stats(store).symbols, 1);
  cr_assert_eq(store_stats(store).sources, 1);
  cr_assert_eq(tree_digest(dir), before);
  /* And it still works. */
  (void)store_put(store, eurusd, STORE_NOON, 1, 2);
  store_close(store);
  cr_assert_eq(store_sqlite_rows(dir), 1);
  cr_assert_eq(store_json_lines(dir), 1);
}

/* An error is written on negative returns only. */
Test(tickstore, errors_are_left_alone_when_nothing_went_wrong) {
  tks_error untouched;
  memset(&untouched, 0x33, sizeof untouched);
  tks_config config = store_config(TKS_SQLITE);
  config.throttle_relative = 0;
  config.crossed_policy = TKS_CROSSED_DROP;
  error = untouched;
  cr_assert_eq(tks_open(dir, strlen(dir), &config, &store, &error), TKS_OK);
  cr_assert_eq(memcmp(&error, &untouched, sizeof error), 0, "open: %s", error.message);
  cr_assert_eq(tks_symbol(store, "EURUSD", 6, &eurusd, &error), TKS_OK);
  tks_quote q = good(), back;
  q.source = 0;
  cr_assert_eq(tks_put_quote(store, &q, NULL, &error), TKS_OK);
  cr_assert_eq(tks_put_quote(store, &q, NULL, &error), TKS_THROTTLED);
  q.bid = 3;
  cr_assert_eq(tks_put_quote(store, &q, NULL, &error), TKS_CROSSED_DROPPED);
  cr_assert_eq(tks_flush(store, -1, &error), TKS_OK);
  cr_assert_eq(tks_latest(store, eurusd, &back, &error), TKS_OK);
  size_t total;
  cr_assert_eq(tks_latest_all(store, &back, 1, &total, &error), TKS_OK);
  cr_assert_eq(tks_recent(store, eurusd, 1, &back, &total, &error), TKS_OK);
  cr_assert_eq(tks_symbols(store, NULL, 0, &total, &error), TKS_OK);
  cr_assert_eq(tks_days(store, TKS_CHECK_FULL, NULL, 0, &total, &error), TKS_OK);
  cr_assert_eq(tks_close(store, &error), TKS_OK);
  cr_assert_eq(memcmp(&error, &untouched, sizeof error), 0, "%s", error.message);
}

/* ------------------------------------------------------------------- NULLs */

#define IS_NULL(call, name)                                                          \
  do {                                                                               \
    memset(&error, 0, sizeof error);                                                 \
    cr_assert_eq((call), TKS_ENULL, #call);                                          \
    cr_assert_eq(error.code, TKS_ENULL);                                             \
    cr_assert_not_null(strstr(error.message, name), "%s: %s", #call, error.message); \
  } while (0)

Test(tickstore, null_arguments) {
  open_backend(TKS_SQLITE);
  tks_quote q = good();
  tks_range range = store_range(eurusd);
  tks_cursor *cursor;
  tks_store_stats stats = {.struct_size = sizeof stats};
  tks_store *opened = store;
  uint64_t seq = 5;
  uint32_t id;
  size_t n = 1;
  char name[64];
  IS_NULL(tks_open(dir, 1, NULL, NULL, &error), "store");
  IS_NULL(tks_open(NULL, 1, NULL, &opened, &error), "path");
  cr_assert_null(opened);
  IS_NULL(tks_close(NULL, &error), "store");
  IS_NULL(tks_flush(NULL, 0, &error), "store");
  IS_NULL(tks_durable_seq(NULL, &seq, &error), "store");
  IS_NULL(tks_durable_seq(store, NULL, &error), "seq");
  IS_NULL(tks_sink_flush(NULL, TKS_SQLITE, 0, &error), "store");
  IS_NULL(tks_sink_durable_seq(NULL, TKS_SQLITE, &seq, &error), "store");
  IS_NULL(tks_sink_durable_seq(store, TKS_SQLITE, NULL, &error), "seq");
  IS_NULL(tks_symbol(NULL, "X", 1, &id, &error), "store");
  IS_NULL(tks_symbol(store, NULL, 1, &id, &error), "name");
  IS_NULL(tks_symbol(store, "X", 1, NULL, &error), "id");
  IS_NULL(tks_source(NULL, "X", 1, &id, &error), "store");
  IS_NULL(tks_source(store, NULL, 1, &id, &error), "name");
  IS_NULL(tks_source(store, "X", 1, NULL, &error), "id");
  IS_NULL(tks_symbol_name(NULL, 1, name, 64, &n, &error), "store");
  IS_NULL(tks_symbol_name(store, 1, NULL, 64, &n, &error), "name");
  IS_NULL(tks_symbol_name(store, 1, name, 64, NULL, &error), "length");
  IS_NULL(tks_source_name(NULL, 1, name, 64, &n, &error), "store");
  IS_NULL(tks_source_name(store, 1, NULL, 64, &n, &error), "name");
  IS_NULL(tks_source_name(store, 1, name, 64, NULL, &error), "length");
  IS_NULL(tks_symbols(NULL, NULL, 0, &n, &error), "store");
  IS_NULL(tks_symbols(store, NULL, 1, &n, &error), "symbols");
  IS_NULL(tks_symbols(store, NULL, 0, NULL, &error), "total");
  IS_NULL(tks_put_quote(NULL, &q, &seq, &error), "store");
  cr_assert_eq(seq, 0);
  IS_NULL(tks_put_quote(store, NULL, &seq, &error), "quote");
  IS_NULL(tks_put_quotes(NULL, &q, 1, NULL, NULL, &error), "store");
  IS_NULL(tks_put_quotes(store, NULL, 1, NULL, NULL, &error), "quotes");
  IS_NULL(tks_put(NULL, "X", 1, 1, 2, NULL, 0, STORE_NOON, NULL, &error), "store");
  IS_NULL(tks_put(store, NULL, 1, 1, 2, NULL, 0, STORE_NOON, NULL, &error), "symbol");
  IS_NULL(tks_put(store, "EURUSD", 6, 1, 2, NULL, 1, STORE_NOON, NULL, &error), "source");
  IS_NULL(tks_recent(NULL, 1, 1, &q, &n, &error), "store");
  IS_NULL(tks_recent(store, 1, 1, NULL, &n, &error), "quotes");
  IS_NULL(tks_recent(store, 1, 1, &q, NULL, &error), "count");
  IS_NULL(tks_latest(NULL, 1, &q, &error), "store");
  IS_NULL(tks_latest(store, 1, NULL, &error), "quote");
  IS_NULL(tks_latest_all(NULL, NULL, 0, &n, &error), "store");
  IS_NULL(tks_latest_all(store, NULL, 1, &n, &error), "quotes");
  IS_NULL(tks_latest_all(store, NULL, 0, NULL, &error), "total");
  IS_NULL(tks_range_open(NULL, &range, &cursor, &error), "store");
  IS_NULL(tks_range_open(store, NULL, &cursor, &error), "range");
  IS_NULL(tks_range_open(store, &range, NULL, &error), "cursor");
  IS_NULL(tks_cursor_next(NULL, &q, 1, &n, &error), "cursor");
  cr_assert_eq(tks_range_open(store, &range, &cursor, NULL), TKS_OK);
  IS_NULL(tks_cursor_next(cursor, NULL, 1, &n, &error), "quotes");
  IS_NULL(tks_cursor_next(cursor, &q, 1, NULL, &error), "count");
  cr_assert_eq(tks_cursor_next(cursor, &q, 0, &n, &error), TKS_ELIMIT);
  cr_assert_not_null(strstr(error.message, "capacity is 0"), "%s", error.message);
  cr_assert_eq(tks_cursor_next(cursor, &q, (size_t)TKS_MAX_RECORDS + 1, &n, &error), TKS_ELIMIT);
  tks_cursor_close(cursor);
  tks_cursor_close(NULL);
  IS_NULL(tks_stats(NULL, &stats, &error), "store");
  IS_NULL(tks_stats(store, NULL, &error), "stats");
  IS_NULL(tks_days(NULL, 0, NULL, 0, &n, &error), "store");
  IS_NULL(tks_days(store, 0, NULL, 1, &n, &error), "days");
  IS_NULL(tks_days(store, 0, NULL, 0, NULL, &error), "total");
  IS_NULL(tks_gaps(NULL, 0, NULL, 0, &n, &error), "store");
  IS_NULL(tks_gaps(store, 0, NULL, 1, &n, &error), "gaps");
  IS_NULL(tks_gaps(store, 0, NULL, 0, NULL, &error), "total");

  /* No call needs an error to write to. */
  cr_assert_eq(tks_open(NULL, 0, NULL, &opened, NULL), TKS_ENULL);
  cr_assert_eq(tks_put_quote(store, NULL, NULL, NULL), TKS_ENULL);
  cr_assert_eq(tks_close(NULL, NULL), TKS_ENULL);
  cr_assert_eq(store_stats(store).received, 0);
}

/* ----------------------------------------- one of each, on a handle of any kind */

static tks_cursor *cursor_of_store;

static int call_flush(tks_store *s) { return tks_flush(s, 0, &error); }
static int call_durable_seq(tks_store *s) { return tks_durable_seq(s, &(uint64_t){0}, &error); }
static int call_sink_flush(tks_store *s) { return tks_sink_flush(s, TKS_JSON, 0, &error); }
static int call_sink_durable_seq(tks_store *s) { return tks_sink_durable_seq(s, TKS_JSON, &(uint64_t){0}, &error); }
static int call_symbol(tks_store *s) { return tks_symbol(s, "EURUSD", 6, &(uint32_t){0}, &error); }
static int call_source(tks_store *s) { return tks_source(s, "OANDA", 5, &(uint32_t){0}, &error); }
static int call_symbol_name(tks_store *s) { return tks_symbol_name(s, 1, NULL, 0, &(size_t){0}, &error); }
static int call_source_name(tks_store *s) { return tks_source_name(s, 1, NULL, 0, &(size_t){0}, &error); }
static int call_symbols(tks_store *s) { return tks_symbols(s, NULL, 0, &(size_t){0}, &error); }
static int call_put_quote(tks_store *s) {
  tks_quote q = good();
  return tks_put_quote(s, &q, &(uint64_t){0}, &error);
}
static int call_put_quotes(tks_store *s) {
  tks_quote q = good();
  return tks_put_quotes(s, &q, 1, NULL, NULL, &error);
}
static int call_put(tks_store *s) { return tks_put(s, "EURUSD", 6, 1, 2, "", 0, STORE_NOON, NULL, &error); }
static int call_recent(tks_store *s) { return tks_recent(s, 1, 1, &(tks_quote){0}, &(size_t){0}, &error); }
static int call_latest(tks_store *s) { return tks_latest(s, 1, &(tks_quote){0}, &error); }
static int call_latest_all(tks_store *s) { return tks_latest_all(s, NULL, 0, &(size_t){0}, &error); }
static int call_range_open(tks_store *s) {
  tks_range range = store_range(1);
  tks_cursor *cursor;
  int code = tks_range_open(s, &range, &cursor, &error);
  tks_cursor_close(cursor);
  return code;
}
static int call_cursor_next(tks_store *s) {
  (void)s;
  return tks_cursor_next(cursor_of_store, &(tks_quote){0}, 1, &(size_t){0}, &error);
}
static int call_stats(tks_store *s) {
  tks_store_stats stats = {.struct_size = sizeof stats};
  return tks_stats(s, &stats, &error);
}
static int call_days(tks_store *s) { return tks_days(s, TKS_CHECK_FULL, NULL, 0, &(size_t){0}, &error); }

static int call_gaps(tks_store *s) { return tks_gaps(s, 0, NULL, 0, &(size_t){0}, &error); }

static const struct {
  const char *name;
  int (*call)(tks_store *store);
  bool writes;
} CALLS[] = {
    {"flush", call_flush, true},
    {"durable_seq", call_durable_seq, true},
    {"sink_flush", call_sink_flush, true},
    {"sink_durable_seq", call_sink_durable_seq, true},
    {"symbol", call_symbol, false},
    {"source", call_source, false},
    {"symbol_name", call_symbol_name, false},
    {"source_name", call_source_name, false},
    {"symbols", call_symbols, false},
    {"put_quote", call_put_quote, true},
    {"put_quotes", call_put_quotes, true},
    {"put", call_put, true},
    {"recent", call_recent, false},
    {"latest", call_latest, false},
    {"latest_all", call_latest_all, false},
    {"range_open", call_range_open, false},
    {"cursor_next", call_cursor_next, false},
    {"stats", call_stats, false},
    {"days", call_days, false},
    {"gaps", call_gaps, false},
};
#define CALL_COUNT (sizeof CALLS / sizeof CALLS[0])

static void open_with_cursor(void) {
  open_backend(TKS_DUAL);
  (void)store_put(store, eurusd, STORE_NOON, 1, 2);
  store_flush(store);
  tks_range range = store_range(eurusd);
  cr_assert_eq(tks_range_open(store, &range, &cursor_of_store, NULL), TKS_OK);
}

Test(tickstore, calls_after_close) {
  open_with_cursor();
  for (size_t i = 0; i < CALL_COUNT; i++)
    cr_assert_geq(CALLS[i].call(store), 0, "%s: %s", CALLS[i].name, error.message);
  store_close(store);
  uint64_t before = tree_digest(dir);
  for (int round = 0; round < 2; round++) {
    for (size_t i = 0; i < CALL_COUNT; i++) {
      memset(&error, 0, sizeof error);
      cr_assert_eq(CALLS[i].call(store), TKS_ECLOSED, "%s", CALLS[i].name);
      cr_assert_not_null(strstr(error.message, "closed"), "%s: %s", CALLS[i].name, error.message);
    }
    cr_assert_eq(tks_close(store, &error), TKS_ECLOSED);
    /* Another store that is opened meanwhile changes nothing for the closed handle. */
    tks_store *other = store_open(dir, NULL);
    store_close(other);
  }
  (void)before;
  tks_cursor_close(cursor_of_store);
}

Test(tickstore, every_call_refuses_in_a_forked_child) {
  open_with_cursor();
  pid_t child = fork();
  cr_assert_geq(child, 0);
  if (child == 0) {
    for (size_t i = 0; i < CALL_COUNT; i++) {
      error.code = 0;
      if (CALLS[i].call(store) != TKS_EFORK || error.code != TKS_EFORK) _exit((int)i + 1);
    }
    if (tks_close(store, &error) != TKS_EFORK) _exit(100);
    /* Nor may it open one, here or elsewhere. */
    tks_store *second = store;
    if (tks_open(dir, strlen(dir), NULL, &second, &error) != TKS_EFORK || second != NULL) _exit(101);
    if (strstr(error.message, "exec") == NULL) _exit(103);
    tks_cursor_close(cursor_of_store);
    if (tks_version() == 0 || tks_strerror(-1) == NULL) _exit(102);
    _exit(0);
  }
  int status;
  cr_assert_eq(waitpid(child, &status, 0), child);
  cr_assert(WIFEXITED(status), "signal %d", WTERMSIG(status));
  cr_assert_eq(WEXITSTATUS(status), 0, "%d", WEXITSTATUS(status));
  /* The parent is as it was. */
  for (size_t i = 0; i < CALL_COUNT; i++)
    cr_assert_geq(CALLS[i].call(store), 0, "%s: %s", CALLS[i].name, error.message);
  tks_cursor_close(cursor_of_store);
  store_close(store);
  cr_assert_eq(store_sqlite_rows(dir), 4);
  cr_assert_eq(store_json_seqs(dir), 4);
}

/* ------------------------------------------------------------- read-only */

Test(tickstore, a_read_only_store_reads_and_changes_nothing) {
  open_backend(TKS_DUAL);
  for (int i = 0; i < 10; i++) (void)store_put(store, eurusd, STORE_NOON + i, 1 + i, 20);
  store_close(store);
  uint64_t before = tree_digest(dir);
  tks_config config = store_config(TKS_JSON); /* what the store has counts, not this */
  config.read_only = 1;
  open_with(&config);
  tks_range range = store_range(eurusd);
  cr_assert_eq(tks_range_open(store, &range, &cursor_of_store, NULL), TKS_OK);
  for (size_t i = 0; i < CALL_COUNT; i++) {
    error.code = 0;
    int code = CALLS[i].call(store);
    cr_assert_eq(code, CALLS[i].writes ? TKS_EREADONLY : TKS_OK, "%s: %d", CALLS[i].name, code);
    if (CALLS[i].writes)
      cr_assert_not_null(strstr(error.message, "reading only"), "%s: %s", CALLS[i].name, error.message);
  }
  tks_cursor_close(cursor_of_store);
  size_t count;
  tks_quote *quotes = store_read(store, &range, 3, &count);
  cr_assert_eq(count, 10);
  for (size_t i = 0; i < count; i++) cr_assert_eq(quotes[i].bid, 1 + (double)i);
  free(quotes);
  tks_store_stats stats = store_stats(store);
  cr_assert_eq(stats.received, 0);
  cr_assert_eq(stats.symbols, 1);
  cr_assert_eq(stats.sinks[0].state, TKS_SINK_OFF);
  cr_assert_gt(stats.read_connections, 0);
  store_close(store);
  cr_assert_eq(tree_digest(dir), before);
}

Test(tickstore, a_read_only_store_must_exist) {
  tks_config config = store_config(TKS_SQLITE);
  config.read_only = 1;
  cr_assert_eq(tks_open(dir, strlen(dir), &config, &store, &error), TKS_ENOTSTORE);
  cr_assert_not_null(strstr(error.message, dir), "%s", error.message);
  char path[PATH_MAX];
  (void)snprintf(path, sizeof path, "%s/not/there", dir);
  cr_assert_eq(tks_open(path, strlen(path), &config, &store, &error), TKS_ENOTSTORE);
  cr_assert_null(store);
  (void)snprintf(path, sizeof path, "%s/not", dir);
  cr_assert_not(path_exists(path));
}

/* ---- beside a writer in another process, which writes when told to by a byte and answers with one */

static void tell(const process *writer, char order) {
  char answer;
  cr_assert_eq(write(writer->in, &order, 1), 1);
  cr_assert_eq(read(writer->out, &answer, 1), 1);
}

static void expect_count(size_t want) {
  tks_range range = store_range(eurusd);
  size_t count;
  tks_quote *quotes = store_read(store, &range, 33, &count);
  cr_assert_eq(count, want, "%zu", count);
  for (size_t i = 0; i < count; i++) cr_assert_eq(quotes[i].ts_ns, STORE_NOON + (int64_t)i);
  free(quotes);
}

Test(tickstore, reads_beside_a_writer_in_another_process) {
  process writer = process_start("other_process", dir, "write");
  char answer;
  cr_assert_eq(read(writer.out, &answer, 1), 1);
  tks_config config = store_config(TKS_SQLITE);
  cr_assert_eq(tks_open(dir, strlen(dir), &config, &store, &error), TKS_ELOCKED);
  cr_assert_null(store);
  config.read_only = 1;
  open_with(&config);
  expect_count(0);
  tell(&writer, 'f');
  expect_count(100);
  tell(&writer, 'f');
  expect_count(200);
  tell(&writer, 'p'); /* pending over there: not visible here */
  tks_quote recent_quotes[300];
  size_t count, total;
  cr_assert_eq(tks_recent(store, eurusd, 300, recent_quotes, &count, NULL), TKS_OK);
  cr_assert_geq(count, 200);
  tks_symbol_info info;
  cr_assert_eq(tks_symbols(store, &info, 1, &total, NULL), TKS_OK);
  cr_assert_eq(total, 1);
  cr_assert_geq(info.count, 200);
  tks_quote quote;
  cr_assert_eq(tks_latest(store, eurusd, &quote, NULL), TKS_OK);
  cr_assert_geq(quote.ts_ns, STORE_NOON + 199);
  tks_day_info days[2];
  cr_assert_eq(tks_days(store, TKS_CHECK_FULL, days, 2, &total, NULL), TKS_OK);
  cr_assert_eq(total, 2);
  for (int i = 0; i < 2; i++) {
    cr_assert_eq(days[i].code, TKS_OK, "%s", days[i].message);
    cr_assert_geq(days[i].count, 200);
  }
  cr_assert_eq(process_wait(&writer), 0);
  expect_count(300);
  store_close(store);
}

/* ------------------------------------------------------------------- lock */

static int open_elsewhere(void) {
  process p = process_start("other_process", dir, "open");
  return -process_wait(&p);
}

Test(tickstore, one_writer_at_a_time) {
  cr_assert_eq(open_elsewhere(), TKS_OK);
  open_backend(TKS_SQLITE);
  cr_assert_eq(open_elsewhere(), TKS_ELOCKED);
  /* A second try in this process opens and closes the lock's file; that must not drop the first one's lock. */
  for (int i = 0; i < 3; i++) {
    tks_store *second;
    cr_assert_eq(tks_open(dir, strlen(dir), NULL, &second, &error), TKS_ELOCKED);
    cr_assert_null(second);
    char path[PATH_MAX], name[PATH_MAX + 4]; /* nor by another name */
    (void)snprintf(path, sizeof path, "%s/link-%d", getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp", getpid());
    (void)snprintf(name, sizeof name, "%s///", path);
    cr_assert_eq(symlink(dir, path), 0);
    cr_assert_eq(tks_open(name, strlen(name), NULL, &second, &error), TKS_ELOCKED);
    cr_assert_eq(unlink(path), 0);
    cr_assert_eq(open_elsewhere(), TKS_ELOCKED);
  }
  (void)store_put(store, eurusd, STORE_NOON, 1, 2);
  store_close(store);
  cr_assert_eq(open_elsewhere(), TKS_OK);
  cr_assert_eq(store_sqlite_rows(dir), 1);
}

/* Ends the process by a code of its own where a step does not answer as it should. */
static void open_put_close(const char *path, int want) {
  tks_store *s = NULL;
  int code = tks_open(path, strlen(path), NULL, &s, NULL);
  if (code != want) _exit(1);
  if (code != TKS_OK) return;
  if (tks_put(s, "EURUSD", 6, 1, 2, NULL, 0, STORE_NOON, NULL, NULL) != TKS_OK) _exit(2);
  if (tks_flush(s, -1, NULL) != TKS_OK) _exit(3);
  if (tks_close(s, NULL) != TKS_OK) _exit(4);
  if (tks_flush(s, 0, NULL) != TKS_ECLOSED) _exit(5);
}

static void expect_child(pid_t child) {
  int status;
  cr_assert_eq(waitpid(child, &status, 0), child);
  cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%d", status);
}

#ifndef UNDER_TSAN /* which does not know threads that are started in a forked child */
Test(tickstore, a_child_forked_while_no_store_is_open_may_open_its_own) {
  open_backend(TKS_SQLITE);
  tks_store *unused;
  cr_assert_eq(tks_open("", 0, NULL, &unused, NULL), TKS_EINVAL); /* what failed does not count as open */
  cr_assert_eq(tks_close(NULL, NULL), TKS_ENULL);                 /* nor does this as closed */
  store_close(store);
  char *other = scratch_new();
  pid_t child = fork();
  cr_assert_geq(child, 0);
  if (child == 0) {
    if (tks_flush(store, 0, NULL) != TKS_EFORK) _exit(6);
    open_put_close(other, TKS_OK);
    _exit(0);
  }
  expect_child(child);
  cr_assert_eq(store_sqlite_rows(other), 1);
  scratch_remove(other);
}
#endif

/* SQLite's locks came with the child as the parent's threads held them; its own children have them too. */
Test(tickstore, a_child_forked_while_a_store_is_open_opens_none) {
  open_backend(TKS_SQLITE);
  char *other = scratch_new();
  for (int round = 0; round < 2; round++) {
    pid_t child = fork();
    cr_assert_geq(child, 0);
    if (child == 0) {
      open_put_close(other, TKS_EFORK);
      if (tks_close(store, NULL) != TKS_EFORK) _exit(6);
      open_put_close(other, TKS_EFORK);
      pid_t grandchild = fork();
      if (grandchild == 0) {
        open_put_close(other, TKS_EFORK);
        _exit(0);
      }
      int status;
      _exit(waitpid(grandchild, &status, 0) == grandchild && status == 0 ? 0 : 7);
    }
    expect_child(child);
    (void)store_put(store, eurusd, STORE_NOON + round, 1, 2); /* the parent goes on */
  }
  char path[PATH_MAX];
  (void)snprintf(path, sizeof path, "%s/store.json", other);
  cr_assert_not(path_exists(path));
  store_close(store);
  cr_assert_eq(store_sqlite_rows(dir), 2);
  scratch_remove(other);
}

/* A child that outlives its parent's close holds the lock's file open, not the lock. */
Test(tickstore, a_forked_child_does_not_keep_the_lock) {
  open_backend(TKS_SQLITE);
  int stop[2];
  cr_assert_eq(pipe(stop), 0);
  pid_t child = fork();
  cr_assert_geq(child, 0);
  if (child == 0) {
    char byte;
    (void)close(stop[1]);
    _exit(read(stop[0], &byte, 1) == 0 ? 0 : 1);
  }
  store_close(store);
  store = store_open(dir, NULL);
  store_close(store);
  (void)close(stop[1]);
  int status;
  cr_assert_eq(waitpid(child, &status, 0), child);
  cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* ------------------------------------------------------ what tks_open meets */

static int try_open(const char *path, size_t length, uint32_t backend) {
  tks_config config = store_config(backend);
  store = (tks_store *)&config;
  memset(&error, 0, sizeof error);
  int code = tks_open(path, length, &config, &store, &error);
  if (code != TKS_OK) {
    cr_assert_null(store);
    cr_assert_eq(error.code, code);
  }
  return code;
}

Test(tickstore, paths_that_are_none) {
  char long_path[5000];
  memset(long_path, 'x', sizeof long_path);
  cr_assert_eq(try_open("", 0, TKS_SQLITE), TKS_EINVAL);
  cr_assert_not_null(strstr(error.message, "path"));
  cr_assert_eq(try_open("/tmp/a\0b", 8, TKS_SQLITE), TKS_EINVAL);
  cr_assert_not_null(strstr(error.message, "NUL"));
  cr_assert_eq(try_open(long_path, sizeof long_path, TKS_SQLITE), TKS_EINVAL);
  cr_assert_not_null(strstr(error.message, "5000"));
  long_path[0] = '/';
  cr_assert_eq(try_open(long_path, 4000, TKS_SQLITE), TKS_EINVAL);
  char path[PATH_MAX];
  (void)snprintf(path, sizeof path, "%s/file", dir);
  write_file(path, "x", 1);
  cr_assert_eq(try_open(path, strlen(path), TKS_SQLITE), TKS_EIO);
  cr_assert_not_null(strstr(error.message, path), "%s", error.message);
  (void)snprintf(path, sizeof path, "%s/file/below", dir);
  cr_assert_eq(try_open(path, strlen(path), TKS_SQLITE), TKS_EIO);
}

/* Bytes behind the path's length are no part of it, and need not be there. */
Test(tickstore, strings_end_where_their_length_says) {
  size_t length = strlen(dir);
  char *path = malloc(length);
  memcpy(path, dir, length);
  tks_config config = store_config(TKS_SQLITE);
  config.max_symbols = config.max_sources = 1;
  cr_assert_eq(tks_open(path, length, &config, &store, &error), TKS_OK, "%s", error.message);
  free(path);
  uint32_t id;
  char *name = malloc(3);
  memcpy(name, "EUR", 3);
  cr_assert_eq(tks_symbol(store, name, 3, &id, NULL), TKS_OK);
  cr_assert_eq(tks_source(store, name, 3, &id, NULL), TKS_OK);
  memcpy(name, "USD", 3);
  cr_assert_eq(tks_symbol(store, name, 3, &id, &error), TKS_ETABLEFULL);
  cr_assert_str_eq(error.message, "cannot add symbol USD: all 1 are in use");
  cr_assert_eq(tks_source(store, name, 3, &id, &error), TKS_ETABLEFULL);
  cr_assert_str_eq(error.message, "cannot add source USD: all 1 are in use");
  cr_assert_eq(tks_put(store, name, 3, 1, 2, NULL, 0, STORE_NOON, NULL, &error), TKS_ETABLEFULL);
  cr_assert_eq(tks_put(store, "EUR", 3, 1, 2, name, 3, STORE_NOON, NULL, &error), TKS_ETABLEFULL);
  cr_assert_eq(store_stats(store).received, 0);
  free(name);
  char back[4] = "....";
  size_t n;
  cr_assert_eq(tks_symbol_name(store, 1, back, 2, &n, NULL), TKS_OK);
  cr_assert_eq(n, 3);
  cr_assert_eq(memcmp(back, "EU..", 4), 0);
  cr_assert_eq(tks_source_name(store, 1, back, 4, &n, NULL), TKS_OK);
  cr_assert_eq(memcmp(back, "EUR.", 4), 0);
}

Test(tickstore, a_foreign_directory_is_refused_and_left_alone) {
  char path[PATH_MAX];
  (void)snprintf(path, sizeof path, "%s/thesis.txt", dir);
  write_file(path, "years of work", 13);
  uint64_t before = tree_digest(dir);
  cr_assert_eq(try_open(dir, strlen(dir), TKS_DUAL), TKS_ENOTSTORE);
  cr_assert_not_null(strstr(error.message, "thesis.txt"), "%s", error.message);
  cr_assert_eq(tree_digest(dir), before, "something was left in the directory");
  cr_assert_eq(unlink(path), 0);
  /* What an open that was killed leaves is nobody's. */
  (void)snprintf(path, sizeof path, "%s/lock", dir);
  write_file(path, "", 0);
  (void)snprintf(path, sizeof path, "%s/store.json.new", dir);
  write_file(path, "{", 1);
  /* A store whose store.json was lost: its numbers would be given out again. */
  cr_assert_eq(try_open(dir, strlen(dir), TKS_SQLITE), TKS_OK);
  eurusd = store_symbol(store, "EURUSD");
  (void)store_put(store, eurusd, STORE_NOON, 1, 2);
  store_close(store);
  (void)snprintf(path, sizeof path, "%s/store.json", dir);
  cr_assert_eq(unlink(path), 0);
  before = tree_digest(dir);
  cr_assert_eq(try_open(dir, strlen(dir), TKS_SQLITE), TKS_ENOTSTORE);
  cr_assert_not_null(strstr(error.message, "store.json"), "%s", error.message);
  cr_assert_eq(tree_digest(dir), before);
}

Test(tickstore, a_manifest_that_is_not_ours_is_refused_and_left_alone) {
  static const struct {
    const char *text;
    int code;
  } cases[] = {{"{\"format\": 2, \"layout\": \"columns\"}", TKS_EFORMAT},
               {"", TKS_ENOTSTORE},
               {"junk", TKS_ENOTSTORE},
               {"{\"name\": \"my-app\", \"dependencies\": {}}", TKS_ENOTSTORE},
               {"\xff\xfe{\x00}", TKS_ENOTSTORE}};
  char path[PATH_MAX];
  (void)snprintf(path, sizeof path, "%s/store.json", dir);
  for (uint32_t read_only = 0; read_only < 2; read_only++) {
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
      write_file(path, cases[i].text, strlen(cases[i].text));
      uint64_t before = tree_digest(dir);
      tks_config config = store_config(TKS_SQLITE);
      config.read_only = read_only;
      int code = tks_open(dir, strlen(dir), &config, &store, &error);
      cr_assert_eq(code, cases[i].code, "%s: %d", cases[i].text, code);
      cr_assert_null(store);
      cr_assert_not_null(strstr(error.message, "store.json"), "%s", error.message);
      char lock[PATH_MAX];
      (void)snprintf(lock, sizeof lock, "%s/lock", dir);
      (void)unlink(lock); /* a writer may take the lock before it reads */
      cr_assert_eq(tree_digest(dir), before, "%s", cases[i].text);
      cr_assert_eq(tks_open(dir, strlen(dir), &config, &store, NULL), code);
      (void)unlink(lock);
    }
  }
}

Test(tickstore, a_relative_path_is_where_it_was_at_open) {
  char *elsewhere = scratch_new();
  cr_assert_eq(chdir(dir), 0);
  tks_config config = store_config(TKS_DUAL);
  cr_assert_eq(tks_open("here/deeper/", 12, &config, &store, &error), TKS_OK, "%s", error.message);
  eurusd = store_symbol(store, "EURUSD");
  cr_assert_eq(chdir(elsewhere), 0);
  (void)store_put(store, eurusd, STORE_NOON, 1, 2);
  store_flush(store);
  tks_range range = store_range(eurusd);
  size_t count;
  free(store_read(store, &range, 10, &count));
  cr_assert_eq(count, 1);
  store_close(store);
  cr_assert_eq(rmdir(elsewhere), 0, "something was written to the new working directory");
  free(elsewhere);
  char path[PATH_MAX];
  (void)snprintf(path, sizeof path, "%s/here/deeper", dir);
  cr_assert_eq(store_sqlite_rows(path), 1);
  cr_assert_eq(store_json_lines(path), 1);
  cr_assert_eq(chdir("/"), 0);
}

Test(tickstore, a_path_below_a_directory_that_is_gone) {
  char *gone = scratch_new();
  cr_assert_eq(chdir(gone), 0);
  cr_assert_eq(rmdir(gone), 0);
  free(gone);
  tks_config config = store_config(TKS_DUAL);
  cr_assert_eq(tks_open("here", 4, &config, &store, &error), TKS_EIO);
  cr_assert_not_null(strstr(error.message, "working directory"), "%s", error.message);
  cr_assert_null(store);
  cr_assert_eq(chdir("/"), 0);
}

Test(tickstore, the_root_is_a_path) {
  tks_config config = store_config(TKS_DUAL);
  config.read_only = 1;
  cr_assert_eq(tks_open("///", 3, &config, &store, &error), TKS_ENOTSTORE, "%s", error.message);
  cr_assert_null(store);
}

Test(tickstore, a_broker_without_a_name) {
  tks_config config = store_config(TKS_JSON);
  config.broker_id_length = 0;
  open_with(&config);
  (void)store_put(store, eurusd, STORE_NOON, 1, 2);
  store_close(store);
  cr_assert_eq(store_json_lines(dir), 1);
  open_with(&config);
  tks_range range = store_range(eurusd);
  size_t count;
  free(store_read(store, &range, 10, &count));
  cr_assert_eq(count, 1);
}

Test(tickstore, a_bad_configuration_creates_nothing) {
  char path[PATH_MAX];
  (void)snprintf(path, sizeof path, "%s/new", dir);
  tks_config config = store_config(TKS_SQLITE);
  config.read_connections = 0;
  cr_assert_eq(tks_open(path, strlen(path), &config, &store, &error), TKS_ECONFIG);
  cr_assert_not_null(strstr(error.message, "read_connections is 0"), "%s", error.message);
  config = store_config(TKS_SQLITE);
  config.broker_id = "bad\nbroker";
  config.broker_id_length = 10;
  cr_assert_eq(tks_open(path, strlen(path), &config, &store, &error), TKS_ECONFIG);
  cr_assert_not_null(strstr(error.message, "broker_id"), "%s", error.message);
  config = store_config(TKS_SQLITE);
  config.struct_size = 3;
  cr_assert_eq(tks_open(path, strlen(path), &config, &store, &error), TKS_ESTRUCT);
  cr_assert_not(path_exists(path));
}

/* ------------------------------------------------------------------- names */

Test(tickstore, names_and_ids) {
  open_backend(TKS_SQLITE);
  cr_assert_eq(eurusd, 1);
  cr_assert_eq(oanda, 1);
  cr_assert_eq(store_symbol(store, "EURUSD"), 1);
  cr_assert_eq(store_symbol(store, "eurusd"), 2);
  cr_assert_eq(store_symbol(store, "OANDA"), 3);
  cr_assert_eq(store_source(store, "EURUSD"), 2);
  char longest[TKS_NAME_MAX], name[TKS_NAME_MAX + 8];
  memset(longest, 'Z', sizeof longest);
  uint32_t id;
  size_t length;
  cr_assert_eq(tks_symbol(store, longest, sizeof longest, &id, NULL), TKS_OK);
  memset(name, '.', sizeof name);
  cr_assert_eq(tks_symbol_name(store, id, name, sizeof name, &length, NULL), TKS_OK);
  cr_assert_eq(length, TKS_NAME_MAX);
  cr_assert_eq(memcmp(name, longest, TKS_NAME_MAX), 0);
  cr_assert_eq(name[TKS_NAME_MAX], '.');
  cr_assert_eq(tks_source_name(store, 2, NULL, 0, &length, NULL), TKS_OK);
  cr_assert_eq(length, 6);
  cr_assert_eq(store_stats(store).symbols, 4);
  cr_assert_eq(store_stats(store).sources, 2);
}

/* Names that a file system, SQL or JSON could trip over, all the way to disk and back after a restart. */
Test(tickstore, strange_names_come_back) {
  static const char *const names[] = {"EUR/USD", "...",        ".hidden", "a b\"c'd", "x;DROP TABLE quote;--",
                                      "%2e%2e",  "\\\\srv\\x", "日経",    "🐕",        "nul",
                                      "-rf",     "100%",       "~",       "{}[]"};
  size_t many = sizeof names / sizeof names[0];
  open_backend(TKS_DUAL);
  for (size_t i = 0; i < many; i++)
    cr_assert_eq(tks_put(store, names[i], strlen(names[i]), (double)i + 1, 100, names[many - 1 - i],
                         strlen(names[many - 1 - i]), STORE_NOON + (int64_t)i, NULL, NULL),
                 TKS_OK);
  store_close(store);
  cr_assert_eq(store_sqlite_rows(dir), many);
  cr_assert_eq(store_json_lines(dir), many);
  for (uint32_t backend = TKS_SQLITE; backend <= TKS_JSON; backend++) {
    open_backend(backend);
    for (size_t i = 0; i < many; i++) {
      tks_range range = store_range(store_symbol(store, names[i]));
      size_t count, length;
      tks_quote *quotes = store_read(store, &range, 10, &count);
      cr_assert_eq(count, 1, "%s", names[i]);
      cr_assert_eq(quotes[0].bid, (double)i + 1);
      char source[TKS_NAME_MAX];
      cr_assert_eq(tks_source_name(store, quotes[0].source, source, sizeof source, &length, NULL), TKS_OK);
      cr_assert_eq(length, strlen(names[many - 1 - i]));
      cr_assert_eq(memcmp(source, names[many - 1 - i], length), 0);
      free(quotes);
    }
    store_close(store);
  }
}

/* -------------------------------------------------------------- publishing */

Test(tickstore, sequence_numbers_go_on_over_restarts) {
  uint64_t last = 0;
  for (int session = 0; session < 3; session++) {
    open_backend(TKS_SQLITE);
    tks_store_stats stats = store_stats(store);
    cr_assert_eq(stats.first_seq, last + 1);
    cr_assert_eq(stats.last_seq, last);
    for (int i = 0; i < 5; i++) {
      uint64_t seq = store_put(store, eurusd, STORE_NOON, 1 + i, 9);
      cr_assert_eq(seq, last + 1);
      last = seq;
    }
    uint64_t durable;
    store_flush(store);
    cr_assert_eq(tks_durable_seq(store, &durable, NULL), TKS_OK);
    cr_assert_eq(durable, last);
    store_close(store);
  }
  cr_assert_eq(store_sqlite_seqs(dir), 15);
}

Test(tickstore, the_seq_of_a_quote_that_is_not_accepted_is_0) {
  tks_config config = store_config(TKS_SQLITE);
  config.throttle_relative = 0;
  config.crossed_policy = TKS_CROSSED_DROP;
  open_with(&config);
  tks_quote q = good();
  uint64_t seq = 77;
  cr_assert_eq(tks_put_quote(store, &q, &seq, NULL), TKS_OK);
  cr_assert_eq(seq, 1);
  cr_assert_eq(tks_put_quote(store, &q, &seq, NULL), TKS_THROTTLED);
  cr_assert_eq(seq, 0);
  q.bid = 8;
  seq = 77;
  cr_assert_eq(tks_put_quote(store, &q, &seq, NULL), TKS_CROSSED_DROPPED);
  cr_assert_eq(seq, 0);
  q.bid = INF_;
  seq = 77;
  cr_assert_eq(tks_put_quote(store, &q, &seq, NULL), TKS_EPRICE);
  cr_assert_eq(seq, 0);
  seq = 77;
  cr_assert_eq(tks_put(store, "", 0, 1, 2, NULL, 0, STORE_NOON, &seq, NULL), TKS_ENAMEEMPTY);
  cr_assert_eq(seq, 0);
  seq = 77;
  cr_assert_eq(tks_put(store, "X", 1, 1, 2, NULL, 0, 0, &seq, NULL), TKS_ETIME);
  cr_assert_eq(seq, 0);
  tks_store_stats stats = store_stats(store);
  cr_assert_eq(stats.received, 5);
  cr_assert_eq(stats.accepted, 1);
  cr_assert_eq(stats.throttled, 1);
  cr_assert_eq(stats.crossed_dropped, 1);
  cr_assert_eq(stats.refused, 2);
}

Test(tickstore, put_quotes_tells_what_became_of_each) {
  tks_config config = store_config(TKS_SQLITE);
  config.throttle_relative = 0;
  config.crossed_policy = TKS_CROSSED_DROP;
  open_with(&config);
  tks_quote quotes[7];
  int32_t codes[7];
  tks_put_result result;
  for (int i = 0; i < 7; i++) quotes[i] = good();
  quotes[2].bid = 9;        /* crossed */
  quotes[3].bid_size = -5;  /* refused */
  quotes[4].bid = 1.125;    /* new */
  quotes[5].symbol = 12345; /* refused */
  quotes[6].ask_size = 3;   /* new */
  memset(&error, 0, sizeof error);
  cr_assert_eq(tks_put_quotes(store, quotes, 7, codes, &result, &error), TKS_PARTIAL);
  static const int32_t want[7] = {TKS_OK, TKS_THROTTLED, TKS_CROSSED_DROPPED, TKS_ESIZE, TKS_OK, TKS_ESYMBOL, TKS_OK};
  cr_assert_eq(memcmp(codes, want, sizeof want), 0);
  cr_assert_eq(result.accepted, 3);
  cr_assert_eq(result.throttled, 1);
  cr_assert_eq(result.crossed_dropped, 1);
  cr_assert_eq(result.refused, 2);
  cr_assert_eq(result.dropped, 0);
  cr_assert_eq(result.first_seq, 1);
  cr_assert_eq(result.last_seq, 3);
  cr_assert_eq(result.first_bad, 3);
  cr_assert_eq(result.first_bad_code, TKS_ESIZE);
  cr_assert_eq(error.code, TKS_ESIZE);
  cr_assert_not_null(strstr(error.message, "bid_size is -5"), "%s", error.message);
  /* Neither codes nor result nor error are needed; throttled ones are no reason for PARTIAL. */
  cr_assert_eq(tks_put_quotes(store, quotes, 7, NULL, NULL, NULL), TKS_PARTIAL);
  memset(&result, 0xff, sizeof result);
  quotes[0] = quotes[6];
  cr_assert_eq(tks_put_quotes(store, quotes, 1, NULL, &result, NULL), TKS_OK);
  cr_assert_eq(result.throttled, 1);
  cr_assert_eq(result.first_bad_code, 0);
  cr_assert_eq(result.first_seq, 0);
  memset(&result, 0xff, sizeof result);
  cr_assert_eq(tks_put_quotes(store, NULL, 0, NULL, &result, NULL), TKS_OK);
  tks_put_result zero = {0};
  cr_assert_eq(memcmp(&result, &zero, sizeof zero), 0);
}

/* So many that put looks ahead at symbols which may be none. */
Test(tickstore, put_quotes_of_symbols_that_are_none) {
  open_backend(TKS_SQLITE);
  enum { MANY = 100 };
  tks_quote quotes[MANY];
  int32_t codes[MANY];
  tks_put_result result;
  for (uint32_t i = 0; i < MANY; i++) {
    quotes[i] = good();
    quotes[i].symbol = i % 3 == 0 ? eurusd : i % 3 == 1 ? 0 : UINT32_MAX - i;
  }
  cr_assert_eq(tks_put_quotes(store, quotes, MANY, codes, &result, &error), TKS_PARTIAL);
  for (int i = 0; i < MANY; i++) cr_assert_eq(codes[i], i % 3 == 0 ? TKS_OK : TKS_ESYMBOL, "%d", i);
  cr_assert_eq(result.accepted, (MANY + 2) / 3);
  cr_assert_eq(result.refused, MANY - (MANY + 2) / 3);
  cr_assert_eq(result.first_bad, 1);
}

Test(tickstore, a_full_queue_drops_and_says_so) {
  tks_config config = store_config(TKS_DUAL);
  store_tiny_queue(&config);
  config.flush_interval_ms = 3600000;
  config.degraded_retry_ms = 3600000; /* a sink that a busy machine makes slow is not sick */
  open_with(&config);
  /* No record leaves the queue before 16 are in it; then it is a race. So many that some must find it full are not
   * needed: what is told must be what is. */
  uint64_t ok = 0, full = 0, seq, last = 0;
  for (int i = 0; i < 20000; i++) {
    tks_quote q = good();
    q.ts_ns += i;
    memset(&error, 0, sizeof error);
    int code = tks_put_quote(store, &q, &seq, &error);
    cr_assert(code == TKS_OK || code == TKS_EQUEUEFULL, "%d", code);
    cr_assert_eq(seq, last + 1);
    last = seq;
    ok += code == TKS_OK;
    full += code == TKS_EQUEUEFULL;
    if (code == TKS_EQUEUEFULL) cr_assert_not_null(strstr(error.message, "16"), "%s", error.message);
  }
  tks_store_stats stats = store_stats(store);
  cr_assert_eq(stats.accepted, 20000);
  cr_assert_eq(stats.dropped, full);
  cr_assert(store_adds_up(&stats));
  tks_quote recent_quotes[10];
  size_t count;
  cr_assert_eq(tks_recent(store, eurusd, 10, recent_quotes, &count, NULL), TKS_OK);
  cr_assert_eq(count, 10);
  cr_assert_eq(recent_quotes[9].seq, last); /* dropped or not */
  store_close(store);
  cr_assert_eq(store_sqlite_rows(dir), ok);
  cr_assert_eq(store_json_lines(dir), ok);
}

Test(tickstore, what_put_is_given_comes_back_bit_for_bit) {
  open_backend(TKS_DUAL);
  tks_quote given[] = {
      {.ts_ns = STORE_NOON, .bid = 0.1, .ask = 0.30000000000000004, .bid_size = 1e-300, .ask_size = 1e300},
      {.ts_ns = STORE_NOON + 1, .bid = -37.63, .ask = NAN_, .recv_ns = INT64_MIN, .flags = 0xffffffff},
      {.ts_ns = STORE_NOON + 2, .bid = NAN_, .ask = -0.0, .recv_ns = INT64_MAX, .ask_size = 3},
      {.ts_ns = STORE_NOON + 3, .bid = 4.9406564584124654e-324, .ask = 1.7976931348623157e308, .recv_ns = -1},
      {.ts_ns = STORE_NOON + 3, .bid = 2, .ask = 1, .bid_size = 9007199254740994.0, .seq = 999, .reserved = 7},
  };
  size_t many = sizeof given / sizeof given[0], count;
  for (size_t i = 0; i < many; i++) {
    given[i].symbol = eurusd;
    given[i].source = i % 2 ? oanda : 0;
    cr_assert_eq(tks_put_quote(store, &given[i], &given[i].seq, NULL), TKS_OK);
    given[i].reserved = 0;
  }
  given[1].flags = TKS_FLAG_USER_MASK;
  given[4].flags = TKS_FLAG_CROSSED;
  tks_range range = store_range(eurusd);
  for (int session = 0; session < 4; session++) { /* pending, SQLite, and after restarts SQLite, JSON */
    if (session == 1) store_flush(store);
    if (session >= 2) {
      store_close(store);
      open_backend(session == 2 ? TKS_SQLITE : TKS_JSON);
      cr_assert_eq(store_source(store, "OANDA"), oanda);
    }
    tks_quote *back = store_read(store, &range, 2, &count);
    cr_assert_eq(count, many);
    for (size_t i = 0; i < many; i++)
      cr_assert_eq(memcmp(&back[i], &given[i], sizeof given[i]), 0, "session %d, quote %zu", session, i);
    free(back);
    tks_quote recent_quotes[10];
    cr_assert_eq(tks_recent(store, eurusd, 10, recent_quotes, &count, NULL), TKS_OK);
    cr_assert_eq(count, many);
    for (size_t i = 0; i < many; i++) cr_assert_eq(memcmp(&recent_quotes[i], &given[i], sizeof given[i]), 0);
  }
}

/* ------------------------------------------------- sinks that cannot write */

static void block_sqlite(void) {
  char path[PATH_MAX];
  (void)snprintf(path, sizeof path, "%s/db/2024", dir);
  make_dirs(path);
  (void)snprintf(path, sizeof path, "%s/db/2024/03", dir);
  write_file(path, "in the way", 10);
}

static bool degraded(const tks_store_stats *stats, void *context) {
  (void)context;
  return stats->sinks[0].state == TKS_SINK_DEGRADED;
}

static void fail_to_write(bool journal) {
  tks_config config = store_config(TKS_DUAL);
  config.journal = journal;
  config.close_limit_ms = 50;
  open_with(&config);
  block_sqlite();
  for (int i = 0; i < 10; i++) (void)store_put(store, eurusd, STORE_NOON + i, 1, 2);
  cr_assert_eq(tks_flush(store, 0, &error), TKS_ETIMEOUT);
  cr_assert_eq(tks_flush(store, 20, &error), TKS_ETIMEOUT);
  cr_assert(store_wait(store, degraded, NULL));
  cr_assert_eq(tks_flush(store, 1, &error), TKS_ETIMEOUT);
  cr_assert_not_null(strstr(error.message, "sqlite"), "%s", error.message);
  cr_assert_not_null(strstr(error.message, "/db/2024/03"), "%s", error.message);
  tks_store_stats stats = store_stats(store);
  cr_assert(store_adds_up(&stats));
  cr_assert_eq(stats.sinks[0].written, 0);
  cr_assert_eq(stats.sinks[0].backlog, 10);
  cr_assert_geq(stats.sinks[0].errors, config.retry_attempts + 1);
  cr_assert_geq(stats.sinks[0].retries, config.retry_attempts);
  cr_assert_eq(stats.sinks[0].last_error_code, TKS_EIO);
  cr_assert_neq(stats.sinks[0].last_error[0], 0);
  cr_assert_gt(stats.sinks[0].last_error_ns, STORE_NOON);
  cr_assert_eq(stats.sinks[1].state, TKS_SINK_OK);
  /* Still to be seen, once each. */
  tks_range range = store_range(eurusd);
  size_t count;
  free(store_read(store, &range, 3, &count));
  cr_assert_eq(count, 10);
  if (journal) {
    cr_assert_eq(tks_close(store, &error), TKS_KEPT);
  } else {
    cr_assert_eq(tks_close(store, &error), TKS_EUNWRITTEN);
    cr_assert_not_null(strstr(error.message, "sqlite lacks 10"), "%s", error.message);
    cr_assert_not_null(strstr(error.message, "json lacks 0"), "%s", error.message);
  }
  cr_assert_eq(tks_close(store, &error), TKS_ECLOSED);
  cr_assert_eq(store_json_lines(dir), 10);
}

static bool journal_has_all(const tks_store_stats *stats, void *context) {
  (void)context;
  return stats->journal_seq == stats->last_seq;
}

/* Nobody asks for it: what no sink has is synced in the journal all the same, so that it survives a loss of power. */
Test(tickstore, the_journal_is_synced_by_itself) {
  tks_config config = store_config(TKS_SQLITE);
  config.journal = 1;
  config.journal_sync_ms = 10;
  config.close_limit_ms = 0;
  open_with(&config);
  block_sqlite();
  for (int i = 0; i < 10; i++) (void)store_put(store, eurusd, STORE_NOON + i, 1, 2);
  cr_assert(store_wait(store, journal_has_all, NULL));
  for (int i = 0; i < 10; i++) (void)store_put(store, eurusd, STORE_NOON + i, 1, 2);
  cr_assert(store_wait(store, journal_has_all, NULL), "again, for what came later");
  cr_assert_eq(store_stats(store).sinks[0].written, 0);
  cr_assert_eq(tks_close(store, &error), TKS_KEPT);
}

Test(tickstore, flush_and_close_tell_what_could_not_be_written) { fail_to_write(false); }
Test(tickstore, flush_and_close_tell_what_waits_in_the_journal) { fail_to_write(true); }

/* One sink writes, the other cannot: each is flushed, and tells what is durable, for itself. */
Test(tickstore, each_sink_is_flushed_for_itself) {
  tks_config config = store_config(TKS_DUAL);
  config.close_limit_ms = 50;
  open_with(&config);
  block_sqlite();
  uint64_t last = 0, seq = 99;
  for (int i = 0; i < 10; i++) last = store_put(store, eurusd, STORE_NOON + i, 1, 2);
  cr_assert_eq(tks_sink_flush(store, TKS_JSON, (int64_t)WAIT_LIMIT_S * 1000, &error), TKS_OK, "%s", error.message);
  cr_assert_eq(tks_sink_durable_seq(store, TKS_JSON, &seq, &error), TKS_OK);
  cr_assert_eq(seq, last);
  cr_assert_eq(tks_sink_flush(store, TKS_SQLITE, 20, &error), TKS_ETIMEOUT);
  cr_assert_eq(tks_sink_durable_seq(store, TKS_SQLITE, &seq, &error), TKS_OK);
  cr_assert_eq(seq, 0);
  cr_assert_eq(tks_durable_seq(store, &seq, &error), TKS_OK);
  cr_assert_eq(seq, 0, "the least of both");
  cr_assert_eq(tks_close(store, &error), TKS_KEPT);
  cr_assert_eq(store_json_lines(dir), 10);
}

/* Asked for a sink that the store does not write to. */
Test(tickstore, a_sink_that_is_off_has_nothing_durable) {
  open_backend(TKS_JSON);
  (void)store_put(store, eurusd, STORE_NOON, 1, 2);
  store_flush(store);
  uint64_t seq = 99;
  cr_assert_eq(tks_sink_durable_seq(store, TKS_SQLITE, &seq, &error), TKS_EINVAL);
  cr_assert_not_null(strstr(error.message, "sink is 1"), "%s", error.message);
  cr_assert_eq(seq, 99);
  cr_assert_eq(tks_sink_durable_seq(store, TKS_JSON, &seq, &error), TKS_OK);
  cr_assert_eq(seq, 1);
}

Test(tickstore, a_sink_without_room_loses_and_says_so) {
  tks_config config = store_config(TKS_DUAL);
  store_tiny_queue(&config);
  config.close_limit_ms = 50;
  open_with(&config);
  block_sqlite();
  int code = TKS_OK;
  for (int i = 0; i < 200; i++) {
    (void)store_put(store, eurusd, STORE_NOON + i, 1, 2);
    code = tks_flush(store, 0, &error);
    cr_assert(code == TKS_ETIMEOUT || code == TKS_EUNWRITTEN || code == TKS_OK, "%d", code);
    while (store_stats(store).sinks[1].backlog > 0) linger_ms(1);
  }
  tks_store_stats stats = store_stats(store);
  cr_assert(store_adds_up(&stats));
  cr_assert_gt(stats.sinks[0].lost, 0);
  cr_assert_eq(stats.sinks[0].lost + stats.sinks[0].backlog, 200);
  cr_assert_eq(stats.sinks[1].lost, 0);
  cr_assert_eq(tks_close(store, &error), TKS_EUNWRITTEN);
  cr_assert_not_null(strstr(error.message, "sqlite lacks 200"), "%s", error.message);
  cr_assert_eq(store_json_lines(dir), 200);
}

/* ------------------------------------------------------------------- stats */

Test(tickstore, stats_of_any_size) {
  open_backend(TKS_DUAL);
  (void)store_put(store, eurusd, STORE_NOON, 1, 2);
  store_flush(store);
  union {
    tks_store_stats stats;
    char bytes[sizeof(tks_store_stats) + 64];
  } sized;
  tks_store_stats full = store_stats(store);
  static const size_t sizes[] = {offsetof(tks_store_stats, received), offsetof(tks_store_stats, accepted),
                                 offsetof(tks_store_stats, sinks), sizeof(tks_store_stats),
                                 sizeof(tks_store_stats) + 64};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    memset(&sized, 0x77, sizeof sized);
    sized.stats.struct_size = (uint32_t)sizes[i];
    cr_assert_eq(tks_stats(store, &sized.stats, &error), TKS_OK, "%zu", sizes[i]);
    full.struct_size = (uint32_t)sizes[i];
    size_t known = sizes[i] < sizeof full ? sizes[i] : sizeof full;
    cr_assert_eq(memcmp(&sized, &full, known), 0, "%zu", sizes[i]);
    for (size_t k = known; k < sizes[i]; k++) cr_assert_eq(sized.bytes[k], 0);
    for (size_t k = sizes[i]; k < sizeof sized; k++) cr_assert_eq(sized.bytes[k], 0x77);
  }
}

Test(tickstore, stats_count_what_happened) {
  tks_config config = store_config(TKS_DUAL);
  config.throttle_relative = 0;
  open_with(&config);
  tks_store_stats stats = store_stats(store);
  cr_assert_eq(stats.backend, TKS_DUAL);
  cr_assert_eq(stats.received, 0);
  cr_assert_eq(stats.first_seq, 1);
  cr_assert_eq(stats.last_seq, 0);
  cr_assert_eq(stats.durable_lag_ms, 0);
  for (int i = 0; i < 40; i++) (void)call_put_quote(store); /* one accepted, 39 throttled */
  (void)store_put(store, eurusd, STORE_NOON - STORE_DAY_NS, 5, 6);
  (void)put(NAN_, NAN_, 0, 0);
  store_flush(store);
  stats = store_stats(store);
  cr_assert_eq(stats.received, 42);
  cr_assert_eq(stats.accepted, 2);
  cr_assert_eq(stats.throttled, 39);
  cr_assert_eq(stats.refused, 1);
  cr_assert_eq(stats.held, 0);
  cr_assert_eq(stats.last_seq, 2);
  cr_assert_eq(stats.durable_seq, 2);
  cr_assert_eq(stats.durable_lag_ms, 0);
  cr_assert_eq(stats.ring_records, 2);
  cr_assert_gt(stats.ring_bytes, 0);
  cr_assert(store_adds_up(&stats));
  for (int i = 0; i < 2; i++) {
    const tks_sink_stats *s = &stats.sinks[i];
    cr_assert_eq(s->sink, i == 0 ? TKS_SQLITE : TKS_JSON);
    cr_assert_eq(s->state, TKS_SINK_OK);
    cr_assert_eq(s->written, 2);
    cr_assert_eq(s->written_seq, 2);
    cr_assert_eq(s->durable_seq, 2);
    cr_assert_eq(s->open_files, 2);
    cr_assert_eq(s->errors, 0);
    uint64_t flushes = 0;
    for (int b = 0; b < TKS_FLUSH_BUCKETS; b++) flushes += s->flush_time_buckets[b];
    cr_assert_eq(flushes, s->batches);
    cr_assert_geq(s->batches, 1);
    cr_assert_geq(s->flush_time_sum_us, s->flush_time_max_us);
  }
  cr_assert_gt(stats.sinks[0].wal_bytes, 0);
  cr_assert_eq(stats.sinks[1].wal_bytes, 0);
}

/* -------------------------------------------------------------------- host */

static _Atomic int signals;

static void on_signal(int number) {
  (void)number;
  signals++;
}

/* The library's threads take no signals, whatever the host sends to the process. */
Test(tickstore, signals_stay_with_the_host) {
  struct sigaction action = {.sa_handler = on_signal}, after;
  cr_assert_eq(sigaction(SIGUSR1, &action, NULL), 0);
  open_backend(TKS_DUAL);
  cr_assert_eq(sigaction(SIGUSR1, NULL, &after), 0);
  cr_assert_eq((void *)(uintptr_t)after.sa_handler, (void *)(uintptr_t)on_signal);
  sigset_t blocked, before;
  (void)sigemptyset(&blocked);
  (void)sigaddset(&blocked, SIGUSR1);
  (void)pthread_sigmask(SIG_BLOCK, &blocked, &before);
  cr_assert_eq(kill(getpid(), SIGUSR1), 0);
  for (int i = 0; i < 1000; i++) (void)store_put(store, eurusd, STORE_NOON + i, 1, 2);
  store_flush(store);
  cr_assert_eq(signals, 0);
  (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
  cr_assert_eq(signals, 1);
  store_close(store);
}

typedef struct log_book {
  _Atomic int lines[5];
  _Atomic bool bad;
} log_book;

static void note_line(void *context, int32_t level, const char *message, size_t length) {
  log_book *book = context;
  if (level < 0 || level > 4 || strlen(message) != length || memchr(message, '\n', length) != NULL) book->bad = true;
  if (level >= 0 && level < 5) book->lines[level]++;
}

Test(tickstore, the_log_is_filtered_by_level) {
  log_book book = {0};
  tks_config config = store_config(TKS_SQLITE);
  config.log = note_line;
  config.log_context = &book;
  config.log_level = TKS_LOG_WARN;
  config.close_limit_ms = 1;
  open_with(&config);
  block_sqlite();
  (void)store_put(store, eurusd, STORE_NOON, 1, 2);
  cr_assert_eq(tks_flush(store, 1, NULL), TKS_ETIMEOUT);
  cr_assert(store_wait(store, degraded, NULL));
  cr_assert_eq(tks_close(store, NULL), TKS_KEPT);
  cr_assert_gt(book.lines[TKS_LOG_WARN], 0);
  cr_assert_gt(book.lines[TKS_LOG_ERROR], 0);
  cr_assert_eq(book.lines[TKS_LOG_DEBUG] + book.lines[TKS_LOG_INFO], 0);
  cr_assert_not(book.bad);
}
