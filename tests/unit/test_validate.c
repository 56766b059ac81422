#include "ingest/validate.h"

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <string.h>

#include "support/records.h"

static const tks_quote GOOD = {.ts_ns = 5, .bid = 1.25, .ask = 1.5, .bid_size = 3, .ask_size = 4, .symbol = 1};

static void check(double bid, double ask, double bid_size, double ask_size, int want, const char *message) {
  tks_quote quote = GOOD;
  tks_error error = {.code = 99};
  quote.bid = bid;
  quote.ask = ask;
  quote.bid_size = bid_size;
  quote.ask_size = ask_size;
  int code = tks__validate_values(&quote, &error);
  cr_assert_eq(code, want, "%g %g %g %g: %d", bid, ask, bid_size, ask_size, code);
  cr_assert_eq(tks__validate_values(&quote, NULL), want);
  cr_assert_eq(error.code, want == TKS_OK ? 99 : want);
  if (message != NULL) cr_assert_str_eq(error.message, message);
}

Test(validate, what_markets_do_is_fine) {
  check(1.25, 1.5, 3, 4, TKS_OK, NULL);
  check(NAN, 1.5, 0, 4, TKS_OK, NULL);
  check(1.25, NAN, 3, 0, TKS_OK, NULL);
  check(-37.63, -37.0, 1, 1, TKS_OK, NULL); /* oil in 2020 */
  check(1.5, 1.25, 1, 1, TKS_OK, NULL);     /* crossed */
  check(0, 0, 0, 0, TKS_OK, NULL);
  check(-0.0, 0, -0.0, -0.0, TKS_OK, NULL);
  check(DBL_MAX, -DBL_MAX, DBL_MAX, DBL_TRUE_MIN, TKS_OK, NULL);
  check(DBL_TRUE_MIN, -DBL_TRUE_MIN, 0, 0, TKS_OK, NULL);
}

Test(validate, each_fault_has_its_code_and_names_the_field_and_value) {
  check(NAN, NAN, 1, 1, TKS_ESIDES, "bid and ask are both NaN");
  check(-NAN, NAN, 1, 1, TKS_ESIDES, NULL);
  check(INFINITY, 1, 1, 1, TKS_EPRICE, "bid is inf");
  check(-INFINITY, 1, 1, 1, TKS_EPRICE, "bid is -inf");
  check(1, INFINITY, 1, 1, TKS_EPRICE, "ask is inf");
  check(NAN, -INFINITY, 1, 1, TKS_EPRICE, "ask is -inf");
  check(1, 1, -1, 1, TKS_ESIZE, "bid_size is -1");
  check(1, 1, 1, -DBL_TRUE_MIN, TKS_ESIZE, "ask_size is -4.94066e-324");
  check(1, 1, NAN, 1, TKS_ESIZE, "bid_size is nan");
  check(1, 1, 1, INFINITY, TKS_ESIZE, "ask_size is inf");
  check(1, 1, -INFINITY, 1, TKS_ESIZE, "bid_size is -inf");
  /* An absent side may still not have a size that is none. */
  check(NAN, 1, NAN, 1, TKS_ESIZE, NULL);
}

Test(validate, normalizing_keeps_every_bit_of_what_counts) {
  tks__record record;
  tks_quote quote = GOOD;
  quote.recv_ns = -7;
  quote.bid = double_of(UINT64_C(0x3ff0000000000001));
  quote.ask = double_of(UINT64_C(0x8000000000000001));
  quote.source = 3;
  quote.flags = 0xffffffff;
  quote.reserved = 77;
  quote.seq = 12345;
  tks__validate_normalize(&quote, &record);
  cr_assert_eq(record.ts_ns, 5);
  cr_assert_eq(record.recv_ns, -7);
  cr_assert_eq(bits_of(record.bid), UINT64_C(0x3ff0000000000001));
  cr_assert_eq(bits_of(record.ask), UINT64_C(0x8000000000000001));
  cr_assert_eq(record.symbol, 1);
  cr_assert_eq(record.source, 3);
  cr_assert_eq(record.flags, TKS_FLAG_USER_MASK | TKS_FLAG_CROSSED);
  cr_assert_eq(record.reserved, TKS__KIND_QUOTE);
  cr_assert_eq(record.seq, 0);
}

Test(validate, there_is_one_nan_and_no_negative_zero_size) {
  tks__record record;
  tks_quote quote = GOOD;
  static const uint64_t nans[] = {0x7ff8000000000001, 0xfff8000000000000, 0x7ff0000000000001, 0xffffffffffffffff};
  for (size_t i = 0; i < sizeof nans / sizeof nans[0]; i++) {
    memcpy(&quote.bid, &nans[i], sizeof quote.bid);
    quote.ask = quote.bid_size = quote.ask_size = -0.0;
    tks__validate_normalize(&quote, &record);
    cr_assert_eq(bits_of(record.ask), UINT64_C(1) << 63);
    cr_assert_eq(bits_of(record.bid), UINT64_C(0x7ff8000000000000));
    cr_assert_eq(bits_of(record.bid_size), 0);
    cr_assert_eq(bits_of(record.ask_size), 0);
  }
}

Test(validate, crossed_is_the_stores_to_say) {
  tks__record record;
  tks_quote quote = GOOD;
  quote.flags = TKS_FLAG_CROSSED | 0x00ff;
  tks__validate_normalize(&quote, &record);
  cr_assert_eq(record.flags, 0);
  quote.ask = quote.bid; /* locked, not crossed */
  tks__validate_normalize(&quote, &record);
  cr_assert_eq(record.flags, 0);
  quote.ask = nextafter(quote.bid, -1);
  tks__validate_normalize(&quote, &record);
  cr_assert_eq(record.flags, TKS_FLAG_CROSSED);
  quote.ask = NAN;
  tks__validate_normalize(&quote, &record);
  cr_assert_eq(record.flags, 0);
}
