/* Names: what is valid agrees with another UTF-8 decoder, becomes one plain directory entry, and comes back. */
#include <jansson.h>
#include <string.h>

#include "base/name.h"
#include "fuzz/fuzz.h"
#include "persist/layout.h"

const unsigned fuzz_rounds = 400000;
const char *const fuzz_words[] = {"..",           "/",        "\\",           "%", "%2F", "%2E", "\xc2\x80",
                                  "\xed\xa0\x80", "\xf4\x90", "\xe2\x82\xac", NULL};

void fuzz_seeds(void) {
  static const char *const texts[] = {
      "EURUSD", "EUR/USD",   "a/../b",    "..",  ".hidden",  "\xe2\x82\xac/\xf0\x9f\x92\xb6",
      "%41",    "EUR%2FUSD", "%2Ehidden", "A B", "\xc2\x9f", "a\\.\\b"};
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) fuzz_seed_text(texts[i]);
}

static bool has_control(const char *name, size_t length) {
  for (size_t i = 0; i < length; i++) {
    unsigned char c = (unsigned char)name[i];
    if (c < 0x20 || c == 0x7f) return true;
    if (c == 0xc2 && i + 1 < length && (unsigned char)name[i + 1] < 0xa0) return true;
  }
  return false;
}

static bool has_dots(const char *name, size_t length) {
  char text[TKS_NAME_MAX + 3] = "/";
  memcpy(text + 1, name, length);
  text[length + 1] = '/';
  text[length + 2] = 0;
  for (char *p = text; *p != 0; p++)
    if (*p == '\\') *p = '/';
  return strstr(text, "/./") != NULL || strstr(text, "/../") != NULL;
}

/* A second opinion, for names of a legal length without NUL. */
static bool is_valid(const char *name, size_t length) {
  json_t *decoded = json_stringn(name, length);
  json_decref(decoded);
  return decoded != NULL && !has_control(name, length) && !has_dots(name, length);
}

static void check_round_trip(const char *name, size_t length) {
  char file[TKS__NAME_FILE_MAX], back[TKS_NAME_MAX];
  size_t file_length = tks__name_to_file(name, length, file), back_length;
  FUZZ_CHECK(file_length == strlen(file) && file_length < sizeof file, "%zu", file_length);
  FUZZ_CHECK(file[0] != '.' && strchr(file, '/') == NULL && strchr(file, '\\') == NULL, "%s", file);
  FUZZ_CHECK(tks__name_from_file(file, back, &back_length), "%s", file);
  FUZZ_CHECK(back_length == length && memcmp(back, name, length) == 0, "%s", file);

  tks__layout layout;
  char path[TKS__PATH_MAX];
  FUZZ_CHECK(tks__layout_init(&layout, "/root/", 6), "root");
  tks__layout_json_file(&layout, name, length, 19787, path);
  const char *rest = path + strlen("/root/json/");
  FUZZ_CHECK(strncmp(path, "/root/json/", 11) == 0 && strncmp(rest, file, file_length) == 0, "%s", path);
  FUZZ_CHECK(strcmp(rest + file_length, "/2024-03-05.jsonl") == 0, "%s", path);
}

static void check_file(const char *text, size_t length) {
  char file[4 * TKS_NAME_MAX + 1], again[TKS__NAME_FILE_MAX], name[TKS_NAME_MAX];
  size_t name_length;
  if (length >= sizeof file) return;
  memcpy(file, text, length);
  file[length] = 0;
  if (!tks__name_from_file(file, name, &name_length)) return;
  FUZZ_CHECK(tks__name_check(name, name_length) == TKS_OK, "%s", file);
  (void)tks__name_to_file(name, name_length, again);
  FUZZ_CHECK(strcmp(again, file) == 0, "%s is not %s", again, file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const char *name = (const char *)data;
  int code = tks__name_check(name, size);
  if (size == 0) FUZZ_CHECK(code == TKS_ENAMEEMPTY, "%d", code);
  else if (size > TKS_NAME_MAX) FUZZ_CHECK(code == TKS_ENAMELONG, "%d", code);
  else FUZZ_CHECK((code == TKS_OK) == is_valid(name, size), "%d", code);
  if (code == TKS_OK) check_round_trip(name, size);
  check_file(name, size);
  return 0;
}
