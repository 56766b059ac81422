/* error.h - filling the caller's tks_error. */
#ifndef TKS_BASE_ERROR_H
#define TKS_BASE_ERROR_H

#include "tickstore/tickstore.h"

/* The message of a status code; "unknown status" for others. A static string. */
const char *tks__status_message(int code);

/* Tells the compiler and the analyzer what holds: a call that reports a failure does not return TKS_OK. */
static inline int tks__is_failure(int code) {
  if (code == TKS_OK) __builtin_unreachable();
  return code;
}

/* Fills `error` (may be NULL) and returns `code`, so that a refusal is one statement. The message is cut to fit. */
#define tks__fail(...) tks__is_failure(tks__fill_error(__VA_ARGS__))
int tks__fill_error(tks_error *error, int code, int detail, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* The same for a failed system call: maps errno to TKS_EDISKFULL, TKS_ENOMEM or TKS_EIO; the message becomes
 * "<format>: <strerror>". */
#define tks__fail_errno(...) tks__is_failure(tks__fill_errno(__VA_ARGS__))
int tks__fill_errno(tks_error *error, int errnum, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
