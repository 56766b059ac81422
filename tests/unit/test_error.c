#include "base/error.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

Test(error, fail_fills_and_returns_the_code) {
  tks_error error;
  memset(&error, 0x5a, sizeof error);
  cr_assert_eq(tks__fail(&error, TKS_EPRICE, 7, "bid is %s (%d)", "inf", 3), TKS_EPRICE);
  cr_assert_eq(error.code, TKS_EPRICE);
  cr_assert_eq(error.detail, 7);
  cr_assert_str_eq(error.message, "bid is inf (3)");
}

Test(error, the_error_may_be_omitted) {
  cr_assert_eq(tks__fail(NULL, TKS_ESIZE, 0, "%s", "x"), TKS_ESIZE);
  cr_assert_eq(tks__fail_errno(NULL, ENOSPC, "%s", "x"), TKS_EDISKFULL);
}

Test(error, a_long_message_is_cut_and_terminated) {
  char text[1000];
  memset(text, 'a', sizeof text - 1);
  text[sizeof text - 1] = '\0';
  struct {
    tks_error error;
    char behind[64];
  } guarded;
  memset(&guarded, 0x5a, sizeof guarded);
  (void)tks__fail(&guarded.error, TKS_EIO, 0, "%s", text);
  cr_assert_eq(strlen(guarded.error.message), sizeof guarded.error.message - 1);
  (void)tks__fail_errno(&guarded.error, EIO, "%s", text);
  cr_assert_eq(strlen(guarded.error.message), sizeof guarded.error.message - 1);
  for (size_t i = 0; i < sizeof guarded.behind; i++) cr_assert_eq(guarded.behind[i], 0x5a);
}

Test(error, errno_becomes_a_code_and_a_reason) {
  static const struct {
    int errnum, code;
  } cases[] = {{ENOSPC, TKS_EDISKFULL}, {EDQUOT, TKS_EDISKFULL}, {ENOMEM, TKS_ENOMEM}, {EIO, TKS_EIO},
               {EACCES, TKS_EIO},       {ENOENT, TKS_EIO},       {EROFS, TKS_EIO}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    tks_error error;
    char expected[sizeof error.message];
    cr_assert_eq(tks__fail_errno(&error, cases[i].errnum, "cannot open %s", "x.db"), cases[i].code);
    cr_assert_eq(error.code, cases[i].code);
    cr_assert_eq(error.detail, cases[i].errnum);
    (void)snprintf(expected, sizeof expected, "cannot open x.db: %s", strerror(cases[i].errnum));
    cr_assert_str_eq(error.message, expected);
  }
}

/* At every length of the text before it, what there is room for of the reason is there, and no byte more. */
Test(error, the_reason_is_cut_to_what_is_left) {
  char text[sizeof((tks_error *)0)->message + 8];
  for (size_t length = 200; length < sizeof text; length++) {
    memset(text, 'a', length);
    text[length] = '\0';
    char whole[512];
    (void)snprintf(whole, sizeof whole, "%s: %s", text, strerror(EIO));
    tks_error error;
    (void)tks__fail_errno(&error, EIO, "%s", text);
    size_t expected = strlen(whole) < sizeof error.message ? strlen(whole) : sizeof error.message - 1;
    cr_assert_eq(strlen(error.message), expected, "%zu", length);
    cr_assert_eq(memcmp(error.message, whole, expected), 0, "%zu", length);
  }
}
