/* validate.h - what makes a quote acceptable, names and times apart (those need the store's tables and clock). */
#ifndef TKS_INGEST_VALIDATE_H
#define TKS_INGEST_VALIDATE_H

#include "base/record.h"

/* TKS_OK, TKS_ESIDES, TKS_EPRICE or TKS_ESIZE. */
int tks__validate_values(const tks_quote *quote, tks_error *error);

/* The quote as it will be stored: one NaN for absent sides, no negative zero sizes, flags that the caller may set and the
 * one for bid > ask. */
void tks__validate_normalize(const tks_quote *quote, tks__record *record);

#endif
