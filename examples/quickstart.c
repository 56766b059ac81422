/* Puts two quotes, waits until they are durable, reads the last ones back. */
#include <stdio.h>
#include <tickstore/tickstore.h>

int main(void) {
  tks_error error;
  tks_store *store;
  if (tks_open("quotes", 6, NULL, &store, &error) != TKS_OK) goto failed;

  uint64_t seq;
  int64_t now = INT64_C(1768900000000000000); /* 2026-01-20T09:06:40Z, in nanoseconds */
  if (tks_put(store, "EURUSD", 6, 1.08484, 1.08499, "OANDA", 5, now, &seq, &error) < 0) goto failed;
  if (tks_put(store, "EURUSD", 6, 1.08491, 1.08505, "OANDA", 5, now + 1500000, &seq, &error) < 0) goto failed;
  if (tks_flush(store, 1000, &error) < 0) goto failed; /* accepted is not durable: this waits until it is */

  uint32_t eurusd;
  tks_quote last[100];
  size_t count;
  if (tks_symbol(store, "EURUSD", 6, &eurusd, &error) < 0) goto failed;
  if (tks_recent(store, eurusd, 100, last, &count, &error) < 0) goto failed;
  for (size_t i = 0; i < count; i++) printf("%lld %g %g\n", (long long)last[i].ts_ns, last[i].bid, last[i].ask);
  return tks_close(store, &error) == TKS_OK ? 0 : 1;

failed:
  fprintf(stderr, "%s\n", error.message);
  return 1;
}
