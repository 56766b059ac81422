#include "ingest/symbols.h"

#include <string.h>

#include "base/memory.h"

static size_t entries_bytes(const tks__symbols *symbols) {
  return ((size_t)symbols->names.max + 1) * sizeof(tks__symbol);
}

int tks__symbols_init(tks__symbols *symbols, uint32_t max) {
  memset(symbols, 0, sizeof *symbols);
  int code = tks__names_init(&symbols->names, max);
  if (code != TKS_OK) return code;
  symbols->entries = tks__reserve(entries_bytes(symbols));
  if (symbols->entries == NULL) {
    tks__names_deinit(&symbols->names);
    return TKS_ENOMEM;
  }
  /* Behind the first page, so that few symbols take little. */
  if (entries_bytes(symbols) > TKS__LARGE_PAGE)
    tks__prefer_large_pages((char *)symbols->entries + TKS__LARGE_PAGE, entries_bytes(symbols) - TKS__LARGE_PAGE);
  return TKS_OK;
}

void tks__symbols_deinit(tks__symbols *symbols) {
  uint32_t count = tks__names_count(&symbols->names);
  for (uint32_t id = 1; id <= count; id++) tks__throttle_deinit(&symbols->entries[id].throttle);
  tks__arena_free(&symbols->arena);
  tks__unreserve(symbols->entries, entries_bytes(symbols));
  tks__names_deinit(&symbols->names);
}
