#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *tks__status_message(int code) {
  switch (code) {
#define CASE(name, value, message) \
  case TKS_##name: return message;
    TKS_STATUS_MAP(CASE)
#undef CASE
    default: return "unknown status";
  }
}

int tks__fill_error(tks_error *error, int code, int detail, const char *format, ...) {
  if (error == NULL) return code;
  error->code = code;
  error->detail = detail;
  va_list args;
  va_start(args, format);
  (void)vsnprintf(error->message, sizeof error->message, format, args);
  va_end(args);
  return code;
}

static int code_of_errno(int errnum) {
  switch (errnum) {
    case ENOSPC:
    case EDQUOT: return TKS_EDISKFULL;
    case ENOMEM: return TKS_ENOMEM;
    default: return TKS_EIO;
  }
}

int tks__fill_errno(tks_error *error, int errnum, const char *format, ...) {
  int code = code_of_errno(errnum);
  if (error == NULL) return code;
  error->code = code;
  error->detail = errnum;
  va_list args;
  va_start(args, format);
  int n = vsnprintf(error->message, sizeof error->message, format, args);
  va_end(args);
  if (n >= 0 && (size_t)n < sizeof error->message) {
    char text[96];
    /* The GNU strerror_r may return a static string instead of filling `text`. */
    const char *why = strerror_r(errnum, text, sizeof text);
    (void)snprintf(error->message + n, sizeof error->message - (size_t)n, ": %s", why);
  }
  return code;
}
