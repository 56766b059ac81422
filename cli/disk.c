/* disk.c - what a store has on disk. */
#include "disk.h"

#include <string.h>

static void add_day(disk_sink *sink, const tks_day_info *day) {
  sink->days++;
  sink->damaged_days += day->code < 0;
  sink->quotes += day->count;
  sink->files += day->files;
  sink->bytes += day->bytes;
  sink->wal_bytes += day->wal_bytes;
  if (day->last_seq > sink->last_seq) sink->last_seq = day->last_seq;
}

void disk_sum(cli_disk *disk, const symbol_list *symbols, const day_list *days) {
  memset(disk, 0, sizeof *disk);
  disk->sinks[0] = (disk_sink){.sink = TKS_SQLITE, .name = "sqlite"};
  disk->sinks[1] = (disk_sink){.sink = TKS_JSON, .name = "json"};
  for (size_t i = 0; i < days->count; i++) add_day(&disk->sinks[days->items[i].sink == TKS_JSON], &days->items[i]);
  disk->symbols = symbols->count;
  for (size_t i = 0; i < symbols->count; i++) {
    const tks_symbol_info *symbol = &symbols->items[i];
    if (disk->quotes == 0 || symbol->first_ns < disk->first_ns) disk->first_ns = symbol->first_ns;
    if (disk->quotes == 0 || symbol->last_ns > disk->last_ns) disk->last_ns = symbol->last_ns;
    disk->quotes += symbol->count;
  }
}
