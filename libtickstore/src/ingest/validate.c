#include "ingest/validate.h"

#include <math.h>

#include "base/error.h"

int tks__validate_values(const tks_quote *q, tks_error *error) {
  if (isnan(q->bid) && isnan(q->ask)) return tks__fail(error, TKS_ESIDES, 0, "bid and ask are both NaN");
  if (isinf(q->bid) || isinf(q->ask))
    return tks__fail(error, TKS_EPRICE, 0, "%s is %g", isinf(q->bid) ? "bid" : "ask", isinf(q->bid) ? q->bid : q->ask);
  /* Written so that NaN fails. */
  if (!(q->bid_size >= 0 && q->bid_size <= __DBL_MAX__))
    return tks__fail(error, TKS_ESIZE, 0, "bid_size is %g", q->bid_size);
  if (!(q->ask_size >= 0 && q->ask_size <= __DBL_MAX__))
    return tks__fail(error, TKS_ESIZE, 0, "ask_size is %g", q->ask_size);
  return TKS_OK;
}

void tks__validate_normalize(const tks_quote *quote, tks__record *record) {
  *record = *quote;
  if (isnan(record->bid)) record->bid = (double)NAN;
  if (isnan(record->ask)) record->ask = (double)NAN;
  record->bid_size += 0.0; /* -0 becomes 0 */
  record->ask_size += 0.0;
  record->flags = (quote->flags & TKS_FLAG_USER_MASK) | (quote->bid > quote->ask ? TKS_FLAG_CROSSED : 0);
  record->reserved = TKS__KIND_QUOTE;
  record->seq = 0;
}
