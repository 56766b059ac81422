#include "ingest/recovery.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/fs.h"
#include "base/memory.h"

#define PROGRESS_RECORDS 1000000

static void path_of(const tks__recovery_options *options, const char *name, char path[TKS__SEGMENT_PATH_MAX]) {
  (void)snprintf(path, TKS__SEGMENT_PATH_MAX, "%s/%s", options->dir, name);
}

/* -------------------------------------------------------------- sessions */

static tks__recovered_session *find_session(const tks__recovery *recovery, uint64_t session) {
  for (size_t i = 0; i < recovery->session_count; i++)
    if (recovery->sessions[i]->session == session) return recovery->sessions[i];
  return NULL;
}

static int session_of(const tks__recovery_options *options, tks__recovery *recovery, uint64_t session,
                      tks__recovered_session **out, tks_error *error) {
  *out = find_session(recovery, session);
  if (*out != NULL) return TKS_OK;
  tks__recovered_session *made = tks__calloc(1, sizeof *made);
  if (made == NULL || !tks__grow((void **)&recovery->sessions, &recovery->session_capacity, recovery->session_count + 1,
                                 sizeof *recovery->sessions)) {
    tks__free(made);
    return tks__fail(error, TKS_ENOMEM, 0, "out of memory recovering the journal");
  }
  made->session = session;
  char path[TKS__SEGMENT_PATH_MAX];
  tks__name_log_path(options->dir, session, path, sizeof path);
  int code = tks__name_log_read(path, &options->symbols->names, options->sources, &made->ids, error);
  if (code != TKS_OK) {
    tks__free(made);
    return code;
  }
  recovery->sessions[recovery->session_count++] = *out = made;
  return TKS_OK;
}

/* -------------------------------------------------------------- segments */

static void note_torn(tks__recovery *recovery, uint64_t seq) {
  tks__loss *torn = &recovery->torn;
  if (torn->records++ == 0) {
    torn->from_seq = seq;
    torn->first_ns = torn->last_ns = tks__clock_now_ns();
    torn->cause = TKS_GAP_RECOVERY;
  }
  /* Files are looked through in no order. */
  if (seq < torn->from_seq) torn->from_seq = seq;
  if (seq > torn->to_seq) torn->to_seq = seq;
}

static void note_missing(tks__recovery *recovery, uint64_t from_seq, uint64_t to_seq) {
  tks__loss *missing = &recovery->missing;
  bool first = missing->to_seq == 0;
  missing->first_ns = missing->last_ns = tks__clock_now_ns();
  missing->cause = TKS_GAP_RECOVERY;
  if (first || from_seq < missing->from_seq) missing->from_seq = from_seq;
  if (to_seq > missing->to_seq) missing->to_seq = to_seq;
}

static void note_record(tks__symbols *symbols, uint32_t id, uint64_t seq) {
  tks__symbol *symbol = &symbols->entries[id];
  if (seq > atomic_load_explicit(&symbol->last_seq, memory_order_relaxed))
    atomic_store_explicit(&symbol->last_seq, seq, memory_order_relaxed);
}

/* Counts what a segment holds. */
static void look_through(const tks__recovery_options *options, tks__recovery *recovery, tks__recovered_segment *found) {
  const tks__segment_header *head = tks__segment_head(found->segment);
  uint64_t stale_seq = head->stale_seq;
  if (found->segment->slot_count < head->slot_count)
    note_missing(recovery, found->base_seq + found->segment->slot_count, found->base_seq + head->slot_count - 1);
  for (uint64_t i = 0; i < found->segment->slot_count; i++) {
    const tks__slot *slot = &found->segment->slots[i];
    uint64_t stamp = tks__slot_stamp(slot);
    tks__record record;
    if (stamp == 0) continue;
    if (!tks__slot_load(slot, stamp, found->base_seq + i, &record)) {
      /* What the file held in its use before was written long since. */
      if (stale_seq == 0 || !tks__slot_load(slot, stamp, stale_seq + i, &record))
        note_torn(recovery, found->base_seq + i);
      continue;
    }
    uint32_t id = tks__id_map_get(found->ids, TKS__NAMED_SYMBOL, record.symbol);
    if (id == 0 || (record.source != 0 && tks__id_map_get(found->ids, TKS__NAMED_SOURCE, record.source) == 0)) {
      note_torn(recovery, found->base_seq + i);
      found->nameless++;
      continue;
    }
    note_record(options->symbols, id, record.seq);
    found->records++;
    if (++recovery->records % PROGRESS_RECORDS == 0)
      tks__log_write(options->log, TKS_LOG_INFO, "journal: found %llu records so far",
                     (unsigned long long)recovery->records);
  }
}

static void set_aside(const tks__recovery_options *options, const char *path, const char *why) {
  int rc = tks__segment_set_aside(path);
  tks__log_write(options->log, TKS_LOG_ERROR, "journal: %s: %s; %s", path, why,
                 rc == 0 ? "set aside as *.damaged" : "left where it is");
}

static void set_spent(tks__recovery *recovery, tks__segment *segment) {
  segment->next = recovery->spent;
  recovery->spent = segment;
}

static void keep_nameless(const tks__recovery_options *options, const tks__recovered_segment *found,
                          tks__recovered_session *session) {
  if (found->nameless == 0) return;
  found->segment->keep_aside = true;
  session->nameless = true;
  tks__log_write(options->log, TKS_LOG_ERROR,
                 "journal: %s: the names of %llu sound records are not in %llu.names; both files are set aside as "
                 "*.damaged when the sinks have the rest",
                 found->segment->path, (unsigned long long)found->nameless, (unsigned long long)session->session);
}

static int add_segment(const tks__recovery_options *options, tks__recovery *recovery, tks__segment *segment,
                       tks_error *error) {
  if (!tks__grow((void **)&recovery->segments, &recovery->capacity, recovery->count + 1, sizeof *recovery->segments))
    return tks__fail(error, TKS_ENOMEM, 0, "out of memory recovering the journal");
  tks__recovered_session *session;
  int code = session_of(options, recovery, tks__segment_head(segment)->session, &session, error);
  if (code != TKS_OK) return code;
  tks__recovered_segment found = {.segment = segment, .ids = &session->ids, .base_seq = tks__segment_base(segment)};
  look_through(options, recovery, &found);
  keep_nameless(options, &found, session);
  if (found.records == 0) {
    set_spent(recovery, segment);
    return TKS_OK;
  }
  recovery->segments[recovery->count++] = found;
  uint64_t slot_count = tks__segment_head(segment)->slot_count;
  if (slot_count > recovery->slot_count) recovery->slot_count = slot_count;
  return TKS_OK;
}

/* NULL: another attempt may well succeed, so the file stays and the store does not open without it. */
static const char *why_unusable(int errnum) {
  switch (errnum) {
    case EBADMSG: return "not a sound segment";
    case ENOMSG: return "a segment of another store or machine";
    case ELOOP: return "a symbolic link";
    case EISDIR:
    case ESPIPE: /* a FIFO */
    case ENXIO: /* a socket */ return "not a file";
    default: return NULL;
  }
}

static int take_file(const tks__recovery_options *options, tks__recovery *recovery, const char *name,
                     tks_error *error) {
  char path[TKS__SEGMENT_PATH_MAX];
  path_of(options, name, path);
  tks__segment *segment;
  int rc = tks__segment_open(path, options->store_id, &segment);
  const char *unusable = why_unusable(rc);
  if (unusable != NULL) {
    set_aside(options, path, unusable);
    if (rc == EBADMSG) note_missing(recovery, 1, UINT64_MAX);
    return TKS_OK;
  }
  if (rc == ENODATA) {
    /* It never held a record, or all sinks have what it held; but of one without a byte nobody can tell. */
    int64_t size;
    if (tks__fs_size(path, &size) == 0 && size == 0)
      tks__log_write(options->log, TKS_LOG_WARN,
                     "journal: %s is empty and was removed: the last session died while making it, or somebody cut it",
                     path);
    (void)tks__fs_remove(path);
    return TKS_OK;
  }
  if (rc != 0) return tks__fail_errno(error, rc, "cannot read the journal's %s", name);
  int code = add_segment(options, recovery, segment, error);
  if (code != TKS_OK) tks__segment_close(segment, false);
  return code;
}

static int by_base_seq(const void *a, const void *b) {
  const tks__recovered_segment *x = a, *y = b;
  return (x->base_seq > y->base_seq) - (x->base_seq < y->base_seq);
}

static bool has_suffix(const char *name, const char *suffix) {
  size_t length = strlen(name), n = strlen(suffix);
  return length > n && strcmp(name + length - n, suffix) == 0;
}

void tks__recovery_remove_names(const char *dir, const tks__recovered_session *session) {
  char path[TKS__SEGMENT_PATH_MAX];
  tks__name_log_path(dir, session->session, path, sizeof path);
  (void)(session->nameless ? tks__segment_set_aside(path) : tks__fs_remove(path));
}

/* Records of that session are in a file that was set aside: now, or by an earlier recovery. */
static bool has_aside(const tks__recovery_options *options, const tks__fs_names *names, uint64_t session) {
  bool found = false;
  for (size_t i = 0; i < names->count && !found; i++) {
    if (strtoull(names->names[i], NULL, 10) != session) continue;
    char path[TKS__SEGMENT_PATH_MAX + 16];
    (void)snprintf(path, sizeof path, "%s/%s.damaged", options->dir, names->names[i]);
    int64_t size;
    found = has_suffix(names->names[i], ".segment.damaged") ||
            (has_suffix(names->names[i], ".segment") && tks__fs_size(path, &size) == 0);
  }
  return found;
}

/* Names of sessions of which no records are left are of no use. */
static void remove_names(const tks__recovery_options *options, const tks__recovery *recovery,
                         const tks__fs_names *names) {
  for (size_t i = 0; i < names->count; i++) {
    if (!has_suffix(names->names[i], ".names")) continue;
    bool used = false;
    tks__recovered_session gone = {.session = strtoull(names->names[i], NULL, 10)};
    for (size_t s = 0; s < recovery->count && !used; s++)
      used = tks__segment_head(recovery->segments[s].segment)->session == gone.session;
    if (used) continue;
    const tks__recovered_session *known = find_session(recovery, gone.session);
    gone.nameless = (known != NULL && known->nameless) || has_aside(options, names, gone.session);
    tks__recovery_remove_names(options->dir, &gone);
  }
}

int tks__recovery_load(const tks__recovery_options *options, tks__recovery *recovery, tks_error *error) {
  *recovery = (tks__recovery){0};
  tks__fs_names names;
  int errnum = tks__fs_list(options->dir, &names);
  if (errnum != 0) return tks__fail_errno(error, errnum, "cannot read %s", options->dir);
  int code = TKS_OK;
  for (size_t i = 0; i < names.count && code == TKS_OK; i++) {
    /* Files that were set aside count as well: a number is not used twice. */
    uint64_t session = strtoull(names.names[i], NULL, 10);
    if (session > recovery->last_session && session < UINT64_MAX / 2) recovery->last_session = session;
    if (has_suffix(names.names[i], ".segment")) code = take_file(options, recovery, names.names[i], error);
  }
  if (code == TKS_OK) {
    if (recovery->count > 1) qsort(recovery->segments, recovery->count, sizeof *recovery->segments, by_base_seq);
    remove_names(options, recovery, &names);
  } else {
    tks__recovery_free(recovery);
  }
  tks__fs_names_free(&names);
  return code;
}

static void close_spent(tks__recovery *recovery, bool remove_files) {
  while (recovery->spent != NULL) {
    tks__segment *next = recovery->spent->next;
    tks__segment_close(recovery->spent, remove_files);
    recovery->spent = next;
  }
}

void tks__recovery_discard(tks__recovery *recovery) { close_spent(recovery, true); }

void tks__recovery_free(tks__recovery *recovery) {
  close_spent(recovery, false);
  for (size_t i = 0; i < recovery->count; i++) tks__segment_close(recovery->segments[i].segment, false);
  for (size_t i = 0; i < recovery->session_count; i++) {
    tks__id_map_free(&recovery->sessions[i]->ids);
    tks__free(recovery->sessions[i]);
  }
  tks__free(recovery->segments);
  tks__free(recovery->sessions);
  *recovery = (tks__recovery){0};
}
