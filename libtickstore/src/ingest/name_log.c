#include "ingest/name_log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/memory.h"

#define FILE_BYTES_MAX ((size_t)UINT32_MAX) /* both tables full */
#define ROOM_MIN ((int64_t)64 << 10)        /* some 400 symbols and as many sources */
#define ROOM_STEP_MAX ((int64_t)4 << 20)

void tks__name_log_path(const char *dir, uint64_t session, char *path, size_t size) {
  (void)snprintf(path, size, "%s/%llu.names", dir, (unsigned long long)session);
}

static uint64_t entry_check(const tks__name_entry *entry) {
  return XXH3_64bits(entry, offsetof(tks__name_entry, check));
}

/* Twice as much, up to a point. Where the disk refuses, the write tells. */
static void make_room(tks__name_log *log, int64_t end) {
  int64_t room = log->room;
  while (room < end) room += room < ROOM_STEP_MAX ? room : ROOM_STEP_MAX;
  if (tks__fs_allocate(log->fd, room) == 0) log->room = room;
}

static int put_entry(tks__name_log *log, int kind, uint32_t id) {
  const tks__name *name = tks__names_get(log->names[kind], id);
  tks__name_entry entry = {.id = id, .kind = (uint8_t)kind, .length = (uint8_t)name->length};
  memcpy(entry.text, name->text, name->length);
  entry.check = entry_check(&entry);
  int64_t place = ((int64_t)id - 1) * TKS__NAMED_KINDS + kind;
  int64_t at = place * (int64_t)sizeof entry;
  if (at + (int64_t)sizeof entry > log->room) make_room(log, at + (int64_t)sizeof entry);
  int rc = tks__fs_write_all(log->fd, &entry, sizeof entry, at);
  if (rc != 0) return rc;
  log->saved[kind] = id;
  tks__names_keep(log->names[kind], id);
  log->dirty = true;
  return 0;
}

int tks__name_log_save(tks__name_log *log) {
  (void)pthread_mutex_lock(&log->lock);
  int rc = 0;
  for (int kind = 0; kind < TKS__NAMED_KINDS && rc == 0; kind++) {
    uint32_t count = tks__names_count(log->names[kind]);
    for (uint32_t id = log->saved[kind] + 1; id <= count && rc == 0; id++) rc = put_entry(log, kind, id);
  }
  if (rc != 0)
    tks__log_limited(log->log, &log->limiter, TKS_LOG_ERROR,
                     "cannot write %s: %s; until that works, quotes of new symbols and sources are refused", log->path,
                     strerror(rc));
  (void)pthread_mutex_unlock(&log->lock);
  return rc;
}

static void on_new_name(void *context) { (void)tks__name_log_save(context); }

int tks__name_log_init(tks__name_log *log, const char *path, tks__names *symbols, tks__names *sources,
                       const tks__log *messages) {
  *log = (tks__name_log){.names = {symbols, sources}, .log = messages, .fd = -1};
  size_t size = strlen(path) + 1;
  log->path = tks__malloc(size);
  if (log->path == NULL) return ENOMEM;
  memcpy(log->path, path, size);
  int rc = pthread_mutex_init(&log->lock, NULL);
  if (rc != 0) goto no_lock;
  rc = tks__fs_open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0666, &log->fd);
  if (rc != 0) goto no_file;
  rc = tks__fs_allocate(log->fd, ROOM_MIN);
  if (rc != 0) goto no_names;
  log->room = ROOM_MIN;
  rc = tks__name_log_save(log);
  if (rc != 0) goto no_names;
  tks__names_watch(symbols, on_new_name, log);
  tks__names_watch(sources, on_new_name, log);
  return 0;

no_names:
  (void)tks__fs_close(log->fd);
  (void)tks__fs_remove(path);
no_file:
  (void)pthread_mutex_destroy(&log->lock);
no_lock:
  tks__free(log->path);
  *log = (tks__name_log){.fd = -1};
  return rc;
}

int tks__name_log_sync(tks__name_log *log) {
  int rc = tks__name_log_save(log);
  (void)pthread_mutex_lock(&log->lock);
  bool dirty = log->dirty;
  log->dirty = false;
  (void)pthread_mutex_unlock(&log->lock);
  if (rc == 0 && dirty) {
    rc = tks__fs_sync(log->fd);
    if (rc != 0) {
      /* What the failed sync was to write may have been given up by the system: all is written again. */
      (void)pthread_mutex_lock(&log->lock);
      memset(log->saved, 0, sizeof log->saved);
      log->dirty = true;
      (void)pthread_mutex_unlock(&log->lock);
    }
  }
  return rc;
}

void tks__name_log_deinit(tks__name_log *log, bool remove_file) {
  if (log->path == NULL) return;
  for (int kind = 0; kind < TKS__NAMED_KINDS; kind++) tks__names_watch(log->names[kind], NULL, NULL);
  (void)tks__fs_close(log->fd);
  if (remove_file) (void)tks__fs_remove(log->path);
  (void)pthread_mutex_destroy(&log->lock);
  tks__free(log->path);
  *log = (tks__name_log){.fd = -1};
}

/* ----------------------------------------------------------------- reading */

static int take_entry(const tks__name_entry *entry, tks__names *names, tks__id_map *map) {
  size_t before = map->counts[entry->kind], needed = (size_t)entry->id + 1;
  uint32_t **ids = &map->ids[entry->kind];
  if (needed > before) {
    uint32_t *grown = tks__realloc_array(*ids, needed + needed / 2, sizeof **ids);
    if (grown == NULL) return TKS_ENOMEM;
    memset(grown + before, 0, (needed + needed / 2 - before) * sizeof *grown);
    *ids = grown;
    map->counts[entry->kind] = needed + needed / 2;
  }
  return tks__names_intern(names, entry->text, entry->length, &(*ids)[entry->id]);
}

static bool is_sound(const tks__name_entry *entry) {
  return entry->check == entry_check(entry) && entry->kind < TKS__NAMED_KINDS && entry->id > 0 && entry->id <= 1u << 24;
}

int tks__name_log_read(const char *path, tks__names *symbols, tks__names *sources, tks__id_map *map, tks_error *error) {
  *map = (tks__id_map){0};
  char *bytes;
  size_t length;
  int errnum = tks__fs_read_file(path, FILE_BYTES_MAX, &bytes, &length);
  if (errnum == ENOENT) return TKS_OK;
  if (errnum != 0) return tks__fail_errno(error, errnum, "cannot read %s", path);
  int code = TKS_OK;
  for (size_t at = 0; at + sizeof(tks__name_entry) <= length && code == TKS_OK; at += sizeof(tks__name_entry)) {
    tks__name_entry entry;
    memcpy(&entry, bytes + at, sizeof entry);
    if (!is_sound(&entry))
      continue; /* a place without a name; or torn by power loss: its records were not synced either */
    code = take_entry(&entry, entry.kind == TKS__NAMED_SYMBOL ? symbols : sources, map);
    if (code == TKS_ETABLEFULL)
      (void)tks__fail(error, code, 0, "the journal's records have more names than max_symbols or max_sources allows");
    else if (code == TKS_ENOMEM) (void)tks__fail(error, code, 0, "out of memory reading %s", path);
    else code = TKS_OK; /* not a name: what uses it is reported as damaged */
  }
  tks__free(bytes);
  if (code != TKS_OK) tks__id_map_free(map);
  return code;
}

void tks__id_map_free(tks__id_map *map) {
  for (int kind = 0; kind < TKS__NAMED_KINDS; kind++) tks__free(map->ids[kind]);
  *map = (tks__id_map){0};
}
