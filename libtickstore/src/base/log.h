/* log.h - messages to the caller's callback, filtered by level. Prints nothing itself. */
#ifndef TKS_BASE_LOG_H
#define TKS_BASE_LOG_H

#include <stdint.h>

#include "tickstore/tickstore.h"

typedef struct tks__log {
  tks_log_fn write; /* NULL: no log */
  void *context;
  int32_t level;
} tks__log;

void tks__log_write(const tks__log *log, tks_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Lets a repeated message through at most every 10 seconds and says how many were held back. One per message site and
 * owner; used by one thread. Zero-initialised. */
typedef struct tks__log_limiter {
  int64_t next_ns;
  uint64_t held;
} tks__log_limiter;

void tks__log_limited(const tks__log *log, tks__log_limiter *limiter, tks_log_level level, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
