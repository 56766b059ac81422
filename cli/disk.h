/* disk.h - what a store has on disk, summed up over its days. */
#ifndef CLI_DISK_H
#define CLI_DISK_H

#include "listing.h"

typedef struct disk_sink {
  uint32_t sink; /* TKS_SQLITE or TKS_JSON */
  const char *name;
  uint64_t days, damaged_days, quotes, files, bytes, wal_bytes, last_seq;
} disk_sink;

typedef struct cli_disk {
  disk_sink sinks[2];        /* SQLite, JSON */
  uint64_t symbols, quotes;  /* by the symbols' own counts: each quote once, whatever sinks hold it */
  int64_t first_ns, last_ns; /* meaningful if quotes > 0 */
} cli_disk;

void disk_sum(cli_disk *disk, const symbol_list *symbols, const day_list *days);

#endif
