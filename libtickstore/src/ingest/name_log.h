/* name_log.h - the names behind the ids of a session, so that the records in the journal can be told apart after a crash.
 *
 *   ROOT/journal/S.names   entries of 80 bytes (tks__name_entry): of symbol n the 2n-2nd, of source n the 2n-1st
 *
 * A name is written before its id is handed out: so it is there before any record that uses it. The file has blocks of its own ahead of
 * what is written (places that are zero have no name yet), so that a full disk is met late. Where writing fails all the same, the id is
 * handed out, for who reads, but is not kept (tks__names_kept): put refuses it until the name could be written, which each such put, each
 * new name and the keeper try again. Each name has its place, so that writing all of them again, after a failed sync, never leaves one
 * out. Symbols and sources are interned on any thread. */
#ifndef TKS_INGEST_NAME_LOG_H
#define TKS_INGEST_NAME_LOG_H

#include <pthread.h>
#include <stdbool.h>

#include "base/log.h"
#include "ingest/names.h"

enum { TKS__NAMED_SYMBOL, TKS__NAMED_SOURCE, TKS__NAMED_KINDS };

typedef struct tks__name_entry {
  uint32_t id;
  uint8_t kind;
  uint8_t length;
  uint16_t zero;
  char text[TKS_NAME_MAX];
  uint64_t check; /* of all before */
} tks__name_entry;

_Static_assert(sizeof(tks__name_entry) == 80, "an entry of the names file");

typedef struct tks__name_log {
  tks__names *names[TKS__NAMED_KINDS];
  const tks__log *log;
  char *path;
  int fd;
  pthread_mutex_t lock;
  uint32_t saved[TKS__NAMED_KINDS]; /* ids up to here are in the file, and not to be written again */
  int64_t room;                     /* bytes that the file has blocks for */
  bool dirty;                       /* written since the last sync */
  tks__log_limiter limiter;
} tks__name_log;

/* Where a session's names are. */
void tks__name_log_path(const char *dir, uint64_t session, char *path, size_t size);

/* Makes the file, writes what is interned already, and hooks itself to both tables. 0 or an errno value. */
int tks__name_log_init(tks__name_log *log, const char *path, tks__names *symbols, tks__names *sources,
                       const tks__log *messages);

/* Writes what is not there yet, and says so to the tables. 0 or an errno value. */
int tks__name_log_save(tks__name_log *log);

/* Puts it on stable storage. */
int tks__name_log_sync(tks__name_log *log);

void tks__name_log_deinit(tks__name_log *log, bool remove_file);

/* Interns every sound entry of a file: ids[kind][old id] becomes the id it has now, 0 where there is none. The arrays have
 * counts[kind] entries and are the caller's to free. TKS_OK, TKS_EIO, TKS_ENOMEM, TKS_ETABLEFULL. */
typedef struct tks__id_map {
  uint32_t *ids[TKS__NAMED_KINDS];
  size_t counts[TKS__NAMED_KINDS];
} tks__id_map;
int tks__name_log_read(const char *path, tks__names *symbols, tks__names *sources, tks__id_map *map, tks_error *error);
void tks__id_map_free(tks__id_map *map);

static inline uint32_t tks__id_map_get(const tks__id_map *map, int kind, uint32_t id) {
  return id < map->counts[kind] ? map->ids[kind][id] : 0;
}

#endif
