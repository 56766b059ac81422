/* prometheus.h - metrics in Prometheus' text format 0.0.4.
 *
 * Families begin with tickstore_, carry base units (seconds, bytes), counters end in _total; each has its HELP and TYPE
 * once, before its samples. */
#ifndef CLI_PROMETHEUS_H
#define CLI_PROMETHEUS_H

#include "listing.h"

/* What is on disk; with `per_symbol` also one sample for each symbol. */
void prometheus_disk(FILE *file, const symbol_list *symbols, const day_list *days, bool per_symbol);

/* The live counters of a store that is open for writing. */
void prometheus_live(FILE *file, const tks_store_stats *stats);

#endif
