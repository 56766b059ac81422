#include "base/name.h"

#include <criterion/criterion.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(const char *name, size_t length, int want) {
  cr_assert_eq(tks__name_check(name, length), want, "\"%.*s\": %d", (int)length, name, tks__name_check(name, length));
}

#define CHECK(text, want) check(text, sizeof(text) - 1, want)

Test(name, accepts_what_markets_use) {
  CHECK("EURUSD", TKS_OK);
  CHECK("EUR/USD", TKS_OK);
  CHECK("BRK.B", TKS_OK);
  CHECK("BTC-PERP 2026", TKS_OK);
  CHECK("...", TKS_OK);
  CHECK("a..b/c", TKS_OK);
  CHECK("/", TKS_OK);
  CHECK("\xe6\x97\xa5\xe7\xb5\x8c", TKS_OK);
  CHECK("\xf0\x9f\x90\x95", TKS_OK);
  CHECK("\xc2\xa0", TKS_OK);
  CHECK("\"'; DROP TABLE ticks", TKS_OK);
}

Test(name, refuses_by_code) {
  char longest[TKS_NAME_MAX + 1];
  memset(longest, 'x', sizeof longest);
  check(longest, TKS_NAME_MAX, TKS_OK);
  check(longest, TKS_NAME_MAX + 1, TKS_ENAMELONG);
  check(longest, SIZE_MAX, TKS_ENAMELONG);
  CHECK("", TKS_ENAMEEMPTY);
  check(NULL, 0, TKS_ENAMEEMPTY);
  CHECK("a\0b", TKS_ENAMECONTROL);
  CHECK("a\nb", TKS_ENAMECONTROL);
  CHECK("a\x7f", TKS_ENAMECONTROL);
  CHECK("a\xc2\x80", TKS_ENAMECONTROL);
  CHECK("a\xc2\x9f", TKS_ENAMECONTROL);
  CHECK("\x80", TKS_ENAMEUTF8);
  CHECK("\xff", TKS_ENAMEUTF8);
  CHECK("\xc0\xaf", TKS_ENAMEUTF8);         /* overlong slash */
  CHECK("\xe0\x80\xaf", TKS_ENAMEUTF8);     /* overlong slash */
  CHECK("\xf0\x80\x80\xaf", TKS_ENAMEUTF8); /* overlong slash */
  CHECK("\xed\xa0\x80", TKS_ENAMEUTF8);     /* surrogate */
  CHECK("\xf4\x90\x80\x80", TKS_ENAMEUTF8); /* above U+10FFFF */
  CHECK("\xe6\x97", TKS_ENAMEUTF8);         /* cut */
  CHECK("\xe6\x97y", TKS_ENAMEUTF8);
  CHECK(".", TKS_ENAMEPATH);
  CHECK("..", TKS_ENAMEPATH);
  CHECK("../../etc/x", TKS_ENAMEPATH);
  CHECK("a/..", TKS_ENAMEPATH);
  CHECK("a/./b", TKS_ENAMEPATH);
  CHECK("a\\..\\b", TKS_ENAMEPATH);
}

static void file_is(const char *name, const char *want) {
  char file[TKS__NAME_FILE_MAX];
  cr_assert_eq(tks__name_to_file(name, strlen(name), file), strlen(want));
  cr_assert_str_eq(file, want);
}

Test(name, becomes_one_directory_entry) {
  file_is("EURUSD", "EURUSD");
  file_is("EUR/USD", "EUR%2FUSD");
  file_is("BRK.B", "BRK.B");
  file_is(".hidden", "%2Ehidden");
  file_is("...", "%2E..");
  file_is("a b%", "a%20b%25");
  file_is("\xc3\xa9", "%C3%A9");
}

Test(name, from_file_is_the_strict_inverse) {
  const char *bad[] = {"",    ".",   "..",  ".hidden", "a b",    "%41",  "%2f", "a%",     "a%2",  "a%zz",    "a/b",
                       "%00", "%0A", "%C3", "%2E",     "%2E%2E", "%2E.", "a+b", "%2E%2F", "%2e.", "\xc3\xa9"};
  char name[TKS_NAME_MAX];
  size_t length;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    cr_assert_not(tks__name_from_file(bad[i], name, &length), "%s", bad[i]);
  char longest[TKS_NAME_MAX + 2];
  memset(longest, 'x', sizeof longest);
  longest[TKS_NAME_MAX + 1] = 0;
  cr_assert_not(tks__name_from_file(longest, name, &length));
  longest[TKS_NAME_MAX] = 0;
  cr_assert(tks__name_from_file(longest, name, &length));
  cr_assert_eq(length, TKS_NAME_MAX);
}

Test(name, every_valid_name_comes_back) {
  srand(42);
  int valid = 0;
  for (int i = 0; i < 1000000; i++) {
    char name[TKS_NAME_MAX], file[TKS__NAME_FILE_MAX], back[TKS_NAME_MAX];
    size_t length = (size_t)(rand() % 8) + 1, back_length = 0;
    for (size_t k = 0; k < length; k++) name[k] = (char)(rand() % (i % 2 ? 128 : 256));
    if (tks__name_check(name, length) != TKS_OK) continue;
    valid++;
    size_t n = tks__name_to_file(name, length, file);
    bool plain = n == strlen(file) && strchr(file, '/') == NULL && file[0] != '.';
    if (!plain || !tks__name_from_file(file, back, &back_length) || back_length != length ||
        memcmp(back, name, length) != 0)
      cr_assert(false, "%s", file);
  }
  cr_assert_gt(valid, 10000);
}
