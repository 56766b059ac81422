/* recovery.h - what a crash left in ROOT/journal.
 *
 * Segments are looked through slot by slot: a slot whose stamp fits its place holds a record that put had accepted; an empty one
 * was never finished; anything else was torn by a loss of power, after the last sync, and is reported. Files that
 * are not sound segments are set aside as *.damaged, and reported. A file without a record is removed, but not before what was torn in it
 * has been noted.
 *
 * A record that is whole but whose name is not known (the session's names are gone or damaged) is reported like a torn one, for no sink can
 * take it; but it is not destroyed: when all else in its file is in the sinks, the file is set aside instead of removed, and so is what is
 * left of the names. */
#ifndef TKS_INGEST_RECOVERY_H
#define TKS_INGEST_RECOVERY_H

#include "base/log.h"
#include "ingest/journal.h"

typedef struct tks__recovered_segment {
  tks__segment *segment;
  const tks__id_map *ids;
  uint64_t base_seq;
  uint64_t records;
  uint64_t nameless; /* whole, but nobody knows whose they are */
} tks__recovered_segment;

typedef struct tks__recovered_session {
  uint64_t session;
  tks__id_map ids;
  bool nameless; /* names lack that records need */
} tks__recovered_session;

typedef struct tks__recovery {
  tks__recovered_segment *segments; /* in order of base_seq; each with at least one record */
  size_t count, capacity;
  tks__recovered_session **sessions;
  size_t session_count, session_capacity;
  uint64_t last_session; /* the highest number in use; 0: none */
  uint64_t records;
  uint64_t slot_count; /* of the largest segment; 0: none */
  tks__segment *spent; /* files without a record, mapped still */
  tks__loss torn;      /* records 0: none */
  /* Where more may have been: in files that were cut short or set aside. to_seq 0: nowhere; UINT64_MAX: nobody knows where. records is
   * 0, for nobody knows how many. */
  tks__loss missing;
} tks__recovery;

typedef struct tks__recovery_options {
  const char *dir;
  const char *store_id;
  tks__symbols *symbols; /* their last_seq is raised to what was found */
  tks__names *sources;
  const tks__log *log;
} tks__recovery_options;

/* TKS_OK, TKS_EIO, TKS_ENOMEM, TKS_ETABLEFULL; on failure nothing is held and nothing was removed. */
int tks__recovery_load(const tks__recovery_options *options, tks__recovery *recovery, tks_error *error);

/* Removes the files without a record: the loss of what was torn in them has been written down. */
void tks__recovery_discard(tks__recovery *recovery);

/* Nothing of a session is needed any more. */
void tks__recovery_remove_names(const char *dir, const tks__recovered_session *session);

/* Gives up what is still held: segments that were handed over have been set to NULL. */
void tks__recovery_free(tks__recovery *recovery);

#endif
