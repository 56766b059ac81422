/* human.c - numbers for people. */
#include "human.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const char *human_count(uint64_t count, char text[HUMAN_MAX]) {
  char digits[HUMAN_MAX];
  int length = snprintf(digits, sizeof digits, "%" PRIu64, count);
  char *out = text;
  for (int i = 0; i < length; i++) {
    if (i > 0 && (length - i) % 3 == 0) *out++ = ',';
    *out++ = digits[i];
  }
  *out = '\0';
  return text;
}

const char *human_bytes(uint64_t bytes, char text[HUMAN_MAX]) {
  static const char *const units[] = {"B", "KB", "MB", "GB", "TB", "PB"};
  double value = (double)bytes;
  size_t unit = 0;
  while (value >= 1000 && unit + 1 < sizeof units / sizeof units[0]) {
    value /= 1000;
    unit++;
  }
  snprintf(text, HUMAN_MAX, unit == 0 || value >= 99.95 ? "%.0f %s" : "%.1f %s", value, units[unit]);
  return text;
}

const char *human_duration(int64_t duration_ns, char text[HUMAN_MAX]) {
  double value = (double)duration_ns;
  if (value < 1e6) snprintf(text, HUMAN_MAX, "%.1f us", value / 1e3);
  else if (value < 1e9) snprintf(text, HUMAN_MAX, "%.1f ms", value / 1e6);
  else snprintf(text, HUMAN_MAX, "%.2f s", value / 1e9);
  return text;
}
