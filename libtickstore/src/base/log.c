#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/utc.h"

#define LINE_MAX_BYTES 512
#define LIMIT_NS (10 * TKS__NS_PER_S)

static void emit(const tks__log *log, tks_log_level level, char *line, int length) {
  if (length < 0) return;
  if (length >= LINE_MAX_BYTES) length = LINE_MAX_BYTES - 1;
  log->write(log->context, (int32_t)level, line, (size_t)length);
}

void tks__log_write(const tks__log *log, tks_log_level level, const char *format, ...) {
  if (log->write == NULL || (int32_t)level < log->level) return;
  char line[LINE_MAX_BYTES];
  va_list args;
  va_start(args, format);
  int n = vsnprintf(line, sizeof line, format, args);
  va_end(args);
  emit(log, level, line, n);
}

void tks__log_limited(const tks__log *log, tks__log_limiter *limiter, tks_log_level level, const char *format, ...) {
  if (log->write == NULL || (int32_t)level < log->level) return;
  int64_t now = tks__clock_monotonic_ns();
  if (now < limiter->next_ns) {
    limiter->held++;
    return;
  }
  char line[LINE_MAX_BYTES];
  int n = 0;
  if (limiter->held > 0)
    n = snprintf(line, sizeof line, "(%llu like it held back) ", (unsigned long long)limiter->held);
  va_list args;
  va_start(args, format);
  int m = vsnprintf(line + n, sizeof line - (size_t)n, format, args);
  va_end(args);
  emit(log, level, line, m < 0 ? n : n + m);
  limiter->next_ns = now + LIMIT_NS;
  limiter->held = 0;
}
