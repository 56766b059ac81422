/* manifest.h - ROOT/store.json: what a store is, and from where its next sequence numbers may be taken.
 *
 *   {"format": 1, "store_id": "9f0c...", "backend": "sqlite", "mixed": false, "next_seq": 132127, "clean": true}
 *
 * While a writer has the store, next_seq is a reserve far above anything given out and clean is false. A clean close writes
 * the exact next number. After a crash numbering goes on at the reserve, so no number is ever given out twice, without
 * reading a single day file at open. */
#ifndef TKS_PERSIST_MANIFEST_H
#define TKS_PERSIST_MANIFEST_H

#include <stdbool.h>
#include <stdint.h>

#include "persist/layout.h"
#include "tickstore/tickstore.h"

#define TKS__MANIFEST_FORMAT 1
#define TKS__SEQ_RESERVE (UINT64_C(1) << 32)

/* No store gets here by writing. Above it lies room for reserves, so that the sums of sequence numbers never overflow. */
#define TKS__NEXT_SEQ_MAX (INT64_C(1) << 62)

typedef struct tks__manifest {
  uint64_t next_seq;
  uint32_t backend; /* TKS_SQLITE, TKS_JSON or TKS_DUAL: what the last writer wrote */
  bool mixed;       /* writers have differed in their backend: neither sink alone holds everything */
  bool clean;
  char store_id[33]; /* 32 hex digits */
} tks__manifest;

/* TKS_ENOTSTORE when the file is not there (*missing) or cannot be understood; TKS_EFORMAT; TKS_EIO. */
int tks__manifest_read(const tks__layout *layout, tks__manifest *manifest, bool *missing, tks_error *error);

/* Replaces the file, crash-safe. */
int tks__manifest_write(const tks__layout *layout, const tks__manifest *manifest, tks_error *error);

/* A fresh one for a new store, with a random id. */
void tks__manifest_init(tks__manifest *manifest, uint32_t backend);

#endif
