/* keeper.h - looks after the journal on two threads of its own. The maker prepares blocks ahead of the producers and takes back
 * what all sinks have; the scribe syncs, and has losses written down. So no producer waits for a disk that takes its time to sync.
 *
 *   ROOT/journal/S-N.segment   the records (segment.h)
 *   ROOT/journal/S.names       the names behind their ids (name_log.h)
 *
 * S numbers the sessions (openings) that wrote, N the segments of one. A store that was closed with everything written has an empty
 * ROOT/journal. After a crash the next session finds what is left and has the sinks read it first; files are removed when
 * all sinks have their records durably.
 *
 *   1. Only the maker adds and takes back blocks. The scribe pins (journal.h) what it syncs. Segments are spare, in a block, or gone.
 *   2. Only what some sink has read, or what is seen to be published, counts as synced; names are synced before records,
 *      and the directory before either counts.
 *   3. A sync that fails is not repeated over the same range: journal_seq stays behind until the sinks have it.
 *   4. Room that was given is not taken back: a producer may be about to use it. So blocks that a burst had prepared (up to 32 files of
 *      2 MiB) stay, empty, until the producers have passed them or the store is closed; only spare ones go when it is quiet. */
#ifndef TKS_INGEST_KEEPER_H
#define TKS_INGEST_KEEPER_H

#include "ingest/journal.h"

typedef struct tks__keeper tks__keeper;

typedef struct tks__keeper_options {
  const tks_config *config; /* borrowed, like all pointers here */
  const tks__log *log;
  const char *dir; /* ROOT/journal; without config->journal only what an earlier session left there is read */
  const char *root;
  const char *store_id; /* 32 characters */
  tks__symbols *symbols;
  tks__names *sources;
  uint64_t first_seq; /* of this session */
  /* Called by tks__keeper_start when an earlier session has left `records`, none below from_seq. On failure the keeper does not start, and
   * they stay. May be NULL. */
  int (*note_left)(void *context, uint64_t from_seq, uint64_t records, tks_error *error);
  /* Called to remember a loss, on the scribe's thread or that of tks__keeper_pass_loss; waits for nothing. */
  void (*note_loss)(void *context, const tks__loss *loss);
  /* Called on the scribe's thread to write down what was noted, here or elsewhere; false: ask again later. */
  bool (*write_losses)(void *context);
  void *note_context; /* of all three */
} tks__keeper_options;

/* Recovers what a crash left, prepares the first block and starts the threads. */
int tks__keeper_start(const tks__keeper_options *options, tks__keeper **keeper, tks_error *error);

tks__journal *tks__keeper_journal(tks__keeper *keeper);

/* Writer's loop: there are records that no sink has durably, so the clock of the next sync has to run. */
void tks__keeper_arm(tks__keeper *keeper);

/* Any thread: something was noted and wants to be written down. */
void tks__keeper_note(tks__keeper *keeper);

/* Any thread: has the producers' losses so far noted. */
void tks__keeper_pass_loss(tks__keeper *keeper);

/* After the writer has ended: removes the files of what all sinks have, syncs and keeps the rest. *kept: how many records no sink or
 * not every sink has. */
void tks__keeper_stop(tks__keeper *keeper, uint64_t *kept);

typedef struct tks__keeper_stats {
  uint64_t recovered;  /* records found at start */
  uint64_t holes;      /* positions of recovered blocks without one */
  uint64_t bytes;      /* of the files */
  uint64_t synced_seq; /* all up to here was synced or durable at the last sync */
  uint64_t first;      /* the first position of all, recovered ones included */
} tks__keeper_stats;
void tks__keeper_stats_get(const tks__keeper *keeper, tks__keeper_stats *stats);

/* Any thread: tries again to write down the names that could not be. 0 or an errno value. */
int tks__keeper_save_names(tks__keeper *keeper);

#endif
