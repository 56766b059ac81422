/* segment.h - a fixed number of slots: in a mapped file of ROOT/journal, or in memory.
 *
 *   ROOT/journal/S-N.segment     S: number of the session that made it, N: a running number
 *     0     header, one page (tks__segment_header)
 *     4096  slots of 64 bytes
 *
 * A header with base_seq 0 marks a segment that holds nothing. Each word of the header is stored whole, and in an order that a kill
 * between any two leaves no doubt: the magic last of all that never changes, base_again before base_seq. Whichever of the two is 0
 * says that nothing is in it yet, or any more. */
#ifndef TKS_INGEST_SEGMENT_H
#define TKS_INGEST_SEGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ingest/slot.h"

#define TKS__SEGMENT_HEADER_BYTES 4096
#define TKS__SEGMENT_PATH_MAX 4096

typedef struct tks__segment_header {
  _Atomic uint64_t magic; /* "TKSJRNL1"; 0: was never finished */
  uint32_t byte_order;    /* 0x01020304 as the machine stores it */
  uint32_t slot_bytes;
  uint64_t slot_count;
  char store_id[32];
  uint64_t session;
  uint64_t check;            /* of byte_order to session */
  _Atomic uint64_t base_seq; /* of the first slot; 0: free */
  _Atomic uint64_t base_again;
  uint64_t stale_seq; /* base_seq of its use before, whose records power loss may bring back; 0: none */
} tks__segment_header;

typedef struct tks__segment {
  struct tks__segment *next; /* in a list of spare ones */
  tks__slot *slots;
  uint64_t slot_count;
  void *memory; /* of the file: header and slots; NULL: slots only, somebody else's memory */
  size_t bytes;
  bool header_synced;
  bool keep_aside; /* instead of removing the file it is set aside: somebody may still make something of it */
  char *path;      /* NULL without a file */
} tks__segment;

/* In memory that the caller owns. NULL: no memory. */
tks__segment *tks__segment_in_memory(tks__slot *slots, uint64_t slot_count);

/* A new file, all its blocks allocated. Returns 0 or an errno value; nothing is left behind on failure. */
int tks__segment_create(const char *path, uint64_t slot_count, const char *store_id, uint64_t session,
                        tks__segment **segment);

/* What a crash left; of a file that was cut short the slots that are there, fewer than its header says. ENODATA: nothing was ever in
 * it; EBADMSG: not a segment, or its header is damaged; ENOMSG: of another store or machine. */
int tks__segment_open(const char *path, const char *store_id, tks__segment **segment);

static inline const tks__segment_header *tks__segment_head(const tks__segment *segment) { return segment->memory; }

/* The sequence number of the first slot; 0: nothing is in it. */
uint64_t tks__segment_base(const tks__segment *segment);

/* Makes its pages present, so that put meets no page fault. */
void tks__segment_touch(const tks__segment *segment);

/* Says which records will lie in it. */
void tks__segment_assign(tks__segment *segment, uint64_t base_seq);

/* Says that nothing lies in it, and empties the slots. `give_back`: memory goes back to the system until it is used again. */
void tks__segment_clear(tks__segment *segment, bool give_back);

/* Puts slots [first, end) and what is new in the header on stable storage. 0 or an errno value. */
int tks__segment_sync(tks__segment *segment, uint64_t first, uint64_t end);

/* Lets go of the memory, and of the file too. */
void tks__segment_close(tks__segment *segment, bool remove_file);

/* Renames a file of the journal to *.damaged, where nobody will touch it any more. 0 or an errno value. */
int tks__segment_set_aside(const char *path);

#endif
