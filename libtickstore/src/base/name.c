#include "base/name.h"

#include <stdint.h>
#include <string.h>

/* Length of the UTF-8 sequence at `s`, 0 if it is not one: no overlong forms, no surrogates, nothing above U+10FFFF. */
static size_t sequence_length(const unsigned char *s, size_t left) {
  if (s[0] < 0x80) return 1;
  size_t length;
  unsigned char low = 0x80, high = 0xbf; /* what the second byte may be */
  if (s[0] >= 0xc2 && s[0] <= 0xdf) {
    length = 2;
  } else if (s[0] >= 0xe0 && s[0] <= 0xef) {
    length = 3;
    if (s[0] == 0xe0) low = 0xa0;
    if (s[0] == 0xed) high = 0x9f;
  } else if (s[0] >= 0xf0 && s[0] <= 0xf4) {
    length = 4;
    if (s[0] == 0xf0) low = 0x90;
    if (s[0] == 0xf4) high = 0x8f;
  } else {
    return 0;
  }
  if (left < length || s[1] < low || s[1] > high) return 0;
  for (size_t i = 2; i < length; i++)
    if (s[i] < 0x80 || s[i] > 0xbf) return 0;
  return length;
}

static bool is_control(const unsigned char *s, size_t length) {
  return s[0] < 0x20 || s[0] == 0x7f || (length == 2 && s[0] == 0xc2 && s[1] < 0xa0);
}

static bool is_dots(const char *component, size_t length) {
  return (length == 1 || length == 2) && component[0] == '.' && component[length - 1] == '.';
}

int tks__name_check(const char *name, size_t length) {
  if (length == 0) return TKS_ENAMEEMPTY;
  if (length > TKS_NAME_MAX) return TKS_ENAMELONG;
  const unsigned char *s = (const unsigned char *)name;
  size_t component = 0;
  bool dots = false;
  for (size_t i = 0; i < length;) {
    size_t n = sequence_length(s + i, length - i);
    if (n == 0) return TKS_ENAMEUTF8;
    if (is_control(s + i, n)) return TKS_ENAMECONTROL;
    if (name[i] == '/' || name[i] == '\\') {
      dots |= is_dots(name + component, i - component);
      component = i + 1;
    }
    i += n;
  }
  dots |= is_dots(name + component, length - component);
  return dots ? TKS_ENAMEPATH : TKS_OK;
}

static bool is_plain(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
}

size_t tks__name_to_file(const char *name, size_t length, char file[TKS__NAME_FILE_MAX]) {
  static const char hex[] = "0123456789ABCDEF";
  char *to = file;
  for (size_t i = 0; i < length; i++) {
    unsigned char c = (unsigned char)name[i];
    if (is_plain(name[i]) && !(i == 0 && c == '.')) {
      *to++ = name[i];
    } else {
      *to++ = '%';
      *to++ = hex[c >> 4];
      *to++ = hex[c & 15];
    }
  }
  *to = 0;
  return (size_t)(to - file);
}

static int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool tks__name_from_file(const char *file, char name[TKS_NAME_MAX], size_t *length) {
  size_t n = 0;
  for (const char *p = file; *p != 0; n++) {
    if (n == TKS_NAME_MAX) return false;
    if (*p != '%') {
      name[n] = *p++;
      continue;
    }
    int high = hex_value(p[1]);
    int low = high < 0 ? -1 : hex_value(p[2]);
    if (low < 0) return false;
    name[n] = (char)(high * 16 + low);
    p += 3;
  }
  /* One name has one file: %41 for A, or a bare space, is somebody else's. */
  char again[TKS__NAME_FILE_MAX];
  if (tks__name_check(name, n) != TKS_OK) return false;
  (void)tks__name_to_file(name, n, again);
  if (strcmp(file, again) != 0) return false;
  *length = n;
  return true;
}
