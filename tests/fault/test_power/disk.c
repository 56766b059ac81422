#include "fault/test_power/disk.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/stores.h"

#define SECTOR 512

static void *grow(void *block, size_t count, size_t *room, size_t size) {
  if (count < *room) return block;
  *room = *room * 2 + 16;
  block = realloc(block, *room * size);
  if (block == NULL) abort();
  return block;
}

/* ----------------------------------------------------------------- the log */

void power_log_read(power_log *log, const char *path) {
  size_t length, room = 0;
  *log = (power_log){.bytes = read_file(path, &length)};
  for (size_t at = 0; at < length;) {
    log->entries = grow(log->entries, log->count, &room, sizeof *log->entries);
    power_entry *entry = &log->entries[log->count++];
    if (length - at < sizeof entry->head) abort();
    memcpy(&entry->head, log->bytes + at, sizeof entry->head);
    entry->bytes = (unsigned char *)log->bytes + at + sizeof entry->head;
    at += sizeof entry->head + entry->head.length;
    if (at > length) abort();
  }
  if (log->count == 0 || log->entries[log->count - 1].head.kind != POWER_END) abort();
}

void power_log_free(power_log *log) {
  free(log->bytes);
  free(log->entries);
  *log = (power_log){0};
}

/* ------------------------------------------------------------------- inodes */

/* What was done to a file and is not durable. */
typedef struct pending {
  size_t event;
  bool resize;
  int64_t offset; /* resize: the new size */
  size_t length;
  const unsigned char *bytes;
} pending;

typedef struct name {
  char text[256];
  uint64_t file; /* 0: taken away */
  size_t event;
} name;

typedef struct inode {
  bool directory;
  bool lied; /* its syncs are lies */
  unsigned char *bytes;
  int64_t size;
  size_t room;
  pending *pending;
  size_t pending_count, pending_room;
  name *names; /* durable ones */
  size_t name_count, name_room;
  name *changes;
  size_t change_count, change_room;
} inode;

typedef struct disk {
  inode *inodes;
  size_t count;
  unsigned lies;
} disk;

static void set_size(inode *file, int64_t size) {
  if ((size_t)size > file->room) {
    file->room = (size_t)size + (size_t)size / 2 + 4096;
    file->bytes = realloc(file->bytes, file->room);
    if (file->bytes == NULL) abort();
  }
  if (size > file->size) memset(file->bytes + file->size, 0, (size_t)(size - file->size));
  file->size = size;
}

static void write_bytes(inode *file, int64_t offset, const unsigned char *bytes, size_t length) {
  if (offset + (int64_t)length > file->size) set_size(file, offset + (int64_t)length);
  if (length > 0) memcpy(file->bytes + offset, bytes, length);
}

static void change_name(inode *directory, const name *change) {
  for (size_t i = 0; i < directory->name_count; i++)
    if (strcmp(directory->names[i].text, change->text) == 0) {
      directory->names[i] = directory->names[--directory->name_count];
      break;
    }
  if (change->file == 0) return;
  directory->names = grow(directory->names, directory->name_count, &directory->name_room, sizeof *directory->names);
  directory->names[directory->name_count++] = *change;
}

/* ------------------------------------------------------------ up to the cut */

static inode *inode_of(disk *d, uint64_t file) {
  while (d->count <= file) {
    d->inodes = realloc(d->inodes, (d->count + 1) * sizeof *d->inodes);
    if (d->inodes == NULL) abort();
    d->inodes[d->count++] = (inode){0};
  }
  return &d->inodes[file];
}

static void add_change(disk *d, uint64_t directory, const unsigned char *text, size_t length, uint64_t file,
                       size_t event) {
  inode *in = inode_of(d, directory);
  in->changes = grow(in->changes, in->change_count, &in->change_room, sizeof *in->changes);
  name *change = &in->changes[in->change_count++];
  *change = (name){.file = file, .event = event};
  if (length >= sizeof change->text) abort();
  memcpy(change->text, text, length);
}

static bool contains(const char *text, const char *part) { return strstr(text, part) != NULL; }

static bool is_journal(const disk *d, uint64_t directory) {
  const inode *root = &d->inodes[POWER_ROOT];
  for (size_t i = 0; i < root->change_count; i++)
    if (root->changes[i].file == directory && strcmp(root->changes[i].text, "journal") == 0) return true;
  for (size_t i = 0; i < root->name_count; i++)
    if (root->names[i].file == directory && strcmp(root->names[i].text, "journal") == 0) return true;
  return false;
}

static void add_file(disk *d, const power_entry *entry, size_t event) {
  inode *file = inode_of(d, entry->head.file);
  file->directory = entry->head.kind == POWER_MKDIR;
  add_change(d, entry->head.value, entry->bytes, entry->head.length, entry->head.file, event);
  const inode *in = inode_of(d, entry->head.value);
  const char *text = in->changes[in->change_count - 1].text;
  file = inode_of(d, entry->head.file);
  if (file->directory) file->lied = (d->lies & POWER_LIES_DIRECTORIES) != 0;
  else if (is_journal(d, entry->head.value)) file->lied = (d->lies & POWER_LIES_JOURNAL) != 0;
  else if (contains(text, ".jsonl")) file->lied = (d->lies & POWER_LIES_JSON) != 0;
  else if (contains(text, ".db") && contains(text, "ticks")) file->lied = (d->lies & POWER_LIES_SQLITE) != 0;
}

static void move_name(disk *d, const power_entry *entry, size_t event) {
  size_t from = strlen((const char *)entry->bytes);
  add_change(d, entry->head.value, entry->bytes, from, 0, event);
  add_change(d, (uint64_t)entry->head.offset, entry->bytes + from + 1, entry->head.length - from - 1, entry->head.file,
             event);
}

static pending *add_pending(inode *file) {
  file->pending = grow(file->pending, file->pending_count, &file->pending_room, sizeof *file->pending);
  return &file->pending[file->pending_count++];
}

static void apply(inode *file, const pending *p) {
  if (p->resize) set_size(file, p->offset);
  else write_bytes(file, p->offset, p->bytes, p->length);
}

static void sync_all(inode *file) {
  if (file->lied) return;
  for (size_t i = 0; i < file->pending_count; i++) apply(file, &file->pending[i]);
  file->pending_count = 0;
  for (size_t i = 0; i < file->change_count; i++) change_name(file, &file->changes[i]);
  file->change_count = 0;
}

/* The part of a write that lies in [from, to). */
static pending clip(const pending *p, int64_t from, int64_t to) {
  int64_t begin = p->offset > from ? p->offset : from, end = p->offset + (int64_t)p->length;
  if (end > to) end = to;
  pending part = {.event = p->event, .offset = begin, .length = end > begin ? (size_t)(end - begin) : 0};
  part.bytes = part.length > 0 ? p->bytes + (begin - p->offset) : NULL;
  return part;
}

/* Pages of the range, and the file's size, are durable; the rest stays as it was. */
static void sync_range(inode *file, int64_t offset, int64_t length) {
  if (file->lied) return;
  pending *old = file->pending;
  size_t count = file->pending_count;
  int64_t from = offset / 4096 * 4096, to = (offset + length + 4095) / 4096 * 4096;
  file->pending = NULL;
  file->pending_count = file->pending_room = 0;
  for (size_t i = 0; i < count; i++) {
    if (old[i].resize) {
      set_size(file, old[i].offset);
      continue;
    }
    const pending inside = clip(&old[i], from, to), before = clip(&old[i], 0, from),
                  after = clip(&old[i], to, INT64_MAX);
    int64_t end = old[i].offset + (int64_t)old[i].length;
    if (end > file->size) set_size(file, end);
    apply(file, &inside);
    if (before.length > 0) *add_pending(file) = before;
    if (after.length > 0) *add_pending(file) = after;
  }
  free(old);
}

static void follow(disk *d, const power_entry *entry, size_t event) {
  const power_event *head = &entry->head;
  inode *file = head->kind >= POWER_SEED ? NULL : inode_of(d, head->file);
  switch (head->kind) {
    case POWER_CREATE:
    case POWER_MKDIR: add_file(d, entry, event); break;
    case POWER_UNLINK: add_change(d, head->value, entry->bytes, head->length, 0, event); break;
    case POWER_RENAME: move_name(d, entry, event); break;
    case POWER_WRITE:
      *add_pending(file) =
          (pending){.event = event, .offset = head->offset, .length = head->length, .bytes = entry->bytes};
      break;
    case POWER_RESIZE: *add_pending(file) = (pending){.event = event, .resize = true, .offset = head->offset}; break;
    case POWER_SYNC: sync_all(file); break;
    case POWER_SYNC_RANGE: sync_range(file, head->offset, (int64_t)head->value); break;
    default: break;
  }
}

/* -------------------------------------------------------- what got there */

typedef enum fate {
  NOTHING,  /* only what is durable */
  ALL,      /* everything */
  IN_ORDER, /* up to some event */
  WRITES,   /* each write, or not */
  SECTORS,  /* each sector of each write, or not */
  FATES,
} fate;

typedef struct verdict {
  fate fate;
  size_t until;     /* IN_ORDER */
  uint64_t percent; /* WRITES, SECTORS */
} verdict;

static verdict choose(test_random *random, size_t cut) {
  static const uint64_t percents[] = {5, 50, 95};
  verdict v = {.fate = (fate)random_below(random, FATES), .percent = percents[random_below(random, 3)]};
  uint64_t back = random_below(random, 2) == 0 ? 30 : 1000;
  size_t steps = (size_t)random_below(random, back);
  v.until = steps > cut ? 0 : cut - steps;
  return v;
}

static bool arrives(const verdict *v, size_t event, test_random *random) {
  switch (v->fate) {
    case NOTHING: return false;
    case ALL: return true;
    case IN_ORDER: return event < v->until;
    default: return random_below(random, 100) < v->percent;
  }
}

static void copy_sectors(inode *to, const inode *from, const pending *p, const verdict *v, test_random *random) {
  bool whole = v->fate != SECTORS && arrives(v, p->event, random);
  /* The last one that arrived in order may have arrived in part. */
  bool torn = v->fate == IN_ORDER && p->event + 1 == v->until;
  int64_t end = p->offset + (int64_t)p->length;
  for (int64_t at = p->offset / SECTOR * SECTOR; at < end; at += SECTOR) {
    bool got = v->fate == SECTORS ? random_below(random, 100) < v->percent : whole;
    if (torn && random_below(random, 2) == 0) got = false;
    int64_t stop = at + SECTOR < from->size ? at + SECTOR : from->size;
    if (got && stop > at) write_bytes(to, at, from->bytes + at, (size_t)(stop - at));
  }
}

/* How many of the changes of the size got there. */
static size_t count_sizes(const inode *file, const verdict *v, test_random *random) {
  size_t last = 0;
  for (size_t i = 0; i < file->pending_count; i++)
    if (arrives(v, file->pending[i].event, random)) last = i + 1;
  return v->fate > IN_ORDER && file->pending_count > 0 ? (size_t)random_below(random, file->pending_count + 1) : last;
}

/* `file` becomes what the disk has of it. Two copies: what the kernel had, and what got to the disk. */
static void settle(inode *file, const verdict *v, test_random *random) {
  inode kernel = {0}, there = {0};
  write_bytes(&kernel, 0, file->bytes, (size_t)file->size);
  write_bytes(&there, 0, file->bytes, (size_t)file->size);
  size_t sizes = count_sizes(file, v, random);
  int64_t size = file->size;
  for (size_t i = 0; i < file->pending_count; i++) {
    const pending *p = &file->pending[i];
    apply(&kernel, p);
    if (p->resize) {
      int64_t kept = (p->offset + SECTOR - 1) / SECTOR * SECTOR;
      /* Sectors that the file gave back are not its own any more. */
      if (i < sizes && kept < there.size) set_size(&there, kept);
    } else {
      copy_sectors(&there, &kernel, p, v, random);
    }
    if (i < sizes) size = kernel.size;
  }
  set_size(&there, size);
  free(kernel.bytes);
  free(file->bytes);
  file->bytes = there.bytes;
  file->size = size;
}

static void settle_names(inode *directory, const verdict *v, test_random *random) {
  size_t count = 0;
  if (v->fate == ALL) count = directory->change_count;
  if (v->fate == IN_ORDER)
    while (count < directory->change_count && directory->changes[count].event < v->until) count++;
  if (v->fate > IN_ORDER) {
    count = (size_t)random_below(random, directory->change_count + 1);
    /* One that moved is in one place. */
    while (count > 0 && count < directory->change_count &&
           directory->changes[count].event == directory->changes[count - 1].event)
      count++;
  }
  for (size_t i = 0; i < count; i++) change_name(directory, &directory->changes[i]);
}

/* ------------------------------------------------------------------ making */

static void make_file(const inode *file, const char *path) {
  int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0 || (file->size > 0 && pwrite(fd, file->bytes, (size_t)file->size, 0) != file->size)) {
    perror(path);
    abort();
  }
  (void)close(fd);
}

static void make_directory(const disk *d, const inode *directory, const char *path) {
  for (size_t i = 0; i < directory->name_count; i++) {
    char below[PATH_MAX];
    if ((size_t)snprintf(below, sizeof below, "%s/%s", path, directory->names[i].text) >= sizeof below) abort();
    const inode *file = &d->inodes[directory->names[i].file];
    if (!file->directory) {
      make_file(file, below);
      continue;
    }
    if (mkdir(below, 0700) != 0) abort();
    make_directory(d, file, below);
  }
}

static void free_disk(disk *d) {
  for (size_t i = 0; i < d->count; i++) {
    free(d->inodes[i].bytes);
    free(d->inodes[i].pending);
    free(d->inodes[i].names);
    free(d->inodes[i].changes);
  }
  free(d->inodes);
}

void power_disk_make(const power_log *log, size_t cut, unsigned lies, test_random *random, const char *target) {
  disk d = {.lies = lies};
  inode *root = inode_of(&d, POWER_ROOT);
  root->directory = true;
  root->lied = (lies & POWER_LIES_DIRECTORIES) != 0;
  for (size_t i = 0; i < cut; i++) follow(&d, &log->entries[i], i);
  /* One fate for all, or each its own. */
  bool alike = random_below(random, 2) == 0;
  verdict common = choose(random, cut);
  for (size_t i = POWER_ROOT; i < d.count; i++) {
    verdict v = alike ? common : choose(random, cut);
    if (d.inodes[i].directory) settle_names(&d.inodes[i], &v, random);
    else settle(&d.inodes[i], &v, random);
  }
  make_directory(&d, &d.inodes[POWER_ROOT], target);
  free_disk(&d);
}
