#include "fault/power_workload/record.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/power.h"

#define DESCRIPTORS 4096
#define SECTOR 512
#define PAGE 4096
#define WORDS (SECTOR / sizeof(uint64_t))

/* ---------------------------------------------------------------- the log */

static record_writer write_log;
static int log_fd = -1;

void record_to(record_writer real_write, int fd) {
  write_log = real_write;
  log_fd = fd;
}

_Noreturn void record_impossible(const char *what, const char *path) {
  (void)fprintf(stderr, "power loss test: %s: %s\n", what, path);
  abort();
}

static void write_all(const void *bytes, size_t length) {
  const char *from = bytes;
  while (length > 0) {
    long n = write_log(log_fd, from, length);
    if (n <= 0) record_impossible("cannot write", "the log");
    from += n;
    length -= (size_t)n;
  }
}

void record_event(uint32_t kind, uint64_t file, uint64_t value, int64_t offset, const void *bytes, size_t length) {
  const power_event event = {.kind = kind, .length = (uint32_t)length, .file = file, .value = value, .offset = offset};
  write_all(&event, sizeof event);
  write_all(bytes, length);
}

/* ------------------------------------------------------------------- names */

typedef struct name {
  char *path; /* NULL: free */
  uint64_t file;
} name;

static char root[PATH_MAX];
static size_t root_length;
static name *names;
static size_t name_count;
static uint64_t last_file = POWER_ROOT;

static int64_t *sizes; /* by id */
static size_t size_room;

void record_root(const char *path) {
  root_length = strlen(path);
  memcpy(root, path, root_length + 1);
}

static bool ends_with(const char *text, const char *end) {
  size_t length = strlen(text), n = strlen(end);
  return length >= n && strcmp(text + length - n, end) == 0;
}

bool record_below(const char *path, const char **relative) {
  if (root_length == 0 || strncmp(path, root, root_length) != 0) return false;
  if (path[root_length] != '/' && path[root_length] != 0) return false;
  *relative = path + root_length + (path[root_length] == '/');
  return !ends_with(path, "-shm");
}

static name *find_name(const char *relative) {
  for (size_t i = 0; i < name_count; i++)
    if (names[i].path != NULL && strcmp(names[i].path, relative) == 0) return &names[i];
  return NULL;
}

uint64_t record_find(const char *relative) {
  if (*relative == 0) return POWER_ROOT;
  const name *n = find_name(relative);
  return n == NULL ? 0 : n->file;
}

/* The directory that a name is in, and its last component. */
static uint64_t parent_of(const char *relative, const char **last) {
  char path[PATH_MAX];
  const char *slash = strrchr(relative, '/');
  *last = slash == NULL ? relative : slash + 1;
  if (slash == NULL) return POWER_ROOT;
  memcpy(path, relative, (size_t)(slash - relative));
  path[slash - relative] = 0;
  uint64_t directory = record_find(path);
  if (directory == 0) record_impossible("a name in an unknown directory", relative);
  return directory;
}

static char *copy_of(const char *text) {
  char *copy = strdup(text);
  if (copy == NULL) record_impossible("no memory", text);
  return copy;
}

static void put_name(const char *relative, uint64_t file) {
  size_t i = 0;
  while (i < name_count && names[i].path != NULL) i++;
  if (i == name_count) {
    names = realloc(names, ++name_count * sizeof *names);
    if (names == NULL) record_impossible("no memory", relative);
  }
  names[i] = (name){copy_of(relative), file};
}

uint64_t record_add(const char *relative, bool directory) {
  const char *last;
  uint64_t parent = parent_of(relative, &last), file = ++last_file;
  put_name(relative, file);
  record_event(directory ? POWER_MKDIR : POWER_CREATE, file, parent, 0, last, strlen(last));
  return file;
}

static void drop_name(const char *relative) {
  name *n = find_name(relative);
  if (n == NULL) return;
  free(n->path);
  n->path = NULL;
}

void record_remove(const char *relative) {
  const char *last;
  uint64_t parent = parent_of(relative, &last);
  if (record_find(relative) == 0) record_impossible("an unknown file was removed", relative);
  drop_name(relative);
  record_event(POWER_UNLINK, 0, parent, 0, last, strlen(last));
}

static void rename_below(const char *from, const char *to) {
  size_t length = strlen(from);
  for (size_t i = 0; i < name_count; i++) {
    if (names[i].path == NULL || strncmp(names[i].path, from, length) != 0 || names[i].path[length] != '/') continue;
    char path[2 * PATH_MAX];
    (void)snprintf(path, sizeof path, "%s%s", to, names[i].path + length);
    free(names[i].path);
    names[i].path = copy_of(path);
  }
}

void record_rename(const char *from, const char *to) {
  const char *last_from, *last_to;
  uint64_t directory_from = parent_of(from, &last_from), directory_to = parent_of(to, &last_to);
  uint64_t file = record_find(from);
  if (file == 0) record_impossible("an unknown file was renamed", from);
  drop_name(to);
  drop_name(from);
  put_name(to, file);
  rename_below(from, to);
  char both[2 * PATH_MAX];
  int length = snprintf(both, sizeof both, "%s%c%s", last_from, 0, last_to);
  record_event(POWER_RENAME, file, directory_from, (int64_t)directory_to, both, (size_t)length);
}

static void path_in(uint64_t directory, const char *last, size_t length, char path[PATH_MAX]) {
  const char *parent = "";
  for (size_t i = 0; i < name_count; i++)
    if (names[i].path != NULL && names[i].file == directory) parent = names[i].path;
  (void)snprintf(path, PATH_MAX, "%s%s%.*s", parent, *parent == 0 ? "" : "/", (int)length, last);
}

void record_replay(uint32_t kind, uint64_t file, uint64_t value, int64_t offset, const char *bytes, size_t length) {
  char path[PATH_MAX], to[PATH_MAX];
  int64_t end = offset + (int64_t)length;
  if (kind == POWER_CREATE || kind == POWER_MKDIR) {
    path_in(value, bytes, length, path);
    put_name(path, file);
    if (file > last_file) last_file = file;
  } else if (kind == POWER_UNLINK) {
    path_in(value, bytes, length, path);
    drop_name(path);
  } else if (kind == POWER_RENAME) {
    size_t from = strlen(bytes);
    path_in(value, bytes, from, path);
    path_in((uint64_t)offset, bytes + from + 1, length - from - 1, to);
    drop_name(to);
    drop_name(path);
    put_name(to, file);
    rename_below(path, to);
  } else if (kind == POWER_RESIZE || (kind == POWER_WRITE && end > record_size(file))) {
    record_resized(file, kind == POWER_RESIZE ? offset : end, false);
  }
}

void record_each(void (*visit)(const char *relative, uint64_t file)) {
  for (size_t i = 0; i < name_count; i++)
    if (names[i].path != NULL) visit(names[i].path, names[i].file);
}

/* ------------------------------------------------------------- descriptors */

static struct {
  uint64_t file;
  bool append;
} descriptors[DESCRIPTORS];

void record_descriptor(int fd, uint64_t file, bool append) {
  if (fd < 0) return;
  if (fd >= DESCRIPTORS) record_impossible("too many descriptors", "");
  descriptors[fd].file = file;
  descriptors[fd].append = append;
}

uint64_t record_file_of(int fd) { return fd >= 0 && fd < DESCRIPTORS ? descriptors[fd].file : 0; }
bool record_appends(int fd) { return descriptors[fd].append; }

void record_resized(uint64_t file, int64_t size, bool tell) {
  if (file >= size_room) {
    size_t room = (size_t)file * 2 + 64;
    sizes = realloc(sizes, room * sizeof *sizes);
    if (sizes == NULL) record_impossible("no memory", "");
    memset(sizes + size_room, 0, (room - size_room) * sizeof *sizes);
    size_room = room;
  }
  sizes[file] = size;
  if (tell) record_event(POWER_RESIZE, file, 0, size, NULL, 0);
}

int64_t record_size(uint64_t file) { return file < size_room ? sizes[file] : 0; }

/* ------------------------------------------------------------------ memory */

typedef struct mapping {
  volatile uint64_t *memory;
  uint64_t *known; /* what the log says of it */
  size_t length;
  uint64_t file;
  int64_t offset;
} mapping;

static mapping *maps;
static size_t map_count;

/* Other threads write to the memory meanwhile, as they do while a kernel writes a page out. */
__attribute__((no_sanitize("thread", "address"))) static bool copy_if_changed(const volatile uint64_t *memory,
                                                                              uint64_t *known) {
  bool changed = false;
  for (size_t i = 0; i < WORDS; i++) {
    uint64_t word = memory[i];
    changed |= word != known[i];
    known[i] = word;
  }
  return changed;
}

/* As much of it as the file has. */
static size_t known_end(const mapping *m) {
  int64_t size = record_size(m->file) - m->offset;
  return size < 0 ? 0 : (size_t)size < m->length ? (size_t)size : m->length;
}

void record_map(void *address, size_t length, uint64_t file, int64_t offset) {
  maps = realloc(maps, (map_count + 1) * sizeof *maps);
  mapping m = {.memory = address, .length = length, .file = file, .offset = offset};
  m.known = calloc(1, (length + PAGE - 1) / PAGE * PAGE);
  if (maps == NULL || m.known == NULL) record_impossible("no memory", "");
  /* What the file holds by now was told when it got there. */
  for (size_t at = 0; at < known_end(&m); at += SECTOR)
    (void)copy_if_changed(m.memory + at / sizeof(uint64_t), m.known + at / sizeof(uint64_t));
  maps[map_count++] = m;
}

static void look_at(const mapping *m) {
  size_t end = known_end(m);
  for (size_t at = 0; at < end; at += SECTOR) {
    uint64_t *known = m->known + at / sizeof(uint64_t);
    if (!copy_if_changed(m->memory + at / sizeof(uint64_t), known)) continue;
    record_event(POWER_WRITE, m->file, 0, m->offset + (int64_t)at, known, end - at < SECTOR ? end - at : SECTOR);
  }
}

void record_look(uint64_t file) {
  for (size_t i = 0; i < map_count; i++)
    if (file == 0 || maps[i].file == file) look_at(&maps[i]);
}

void record_unmap(void *address, size_t length) {
  const char *begin = address, *end = begin + length;
  for (size_t i = map_count; i-- > 0;) {
    const char *from = (const char *)(uintptr_t)maps[i].memory, *to = from + maps[i].length;
    if (to <= begin || from >= end) continue;
    if (from < begin || (size_t)(end - from) < maps[i].length) record_impossible("a mapping is unmapped in parts", "");
    look_at(&maps[i]);
    free(maps[i].known);
    maps[i] = maps[--map_count];
  }
}

bool record_mapped(const void *address, size_t length, uint64_t *file, int64_t *offset) {
  for (size_t i = 0; i < map_count; i++) {
    const char *from = (const char *)(uintptr_t)maps[i].memory, *at = address;
    if (at < from || at >= from + maps[i].length) continue;
    if ((size_t)(at - from) + length > (maps[i].length + PAGE - 1) / PAGE * PAGE)
      record_impossible("a sync reaches beyond its mapping", "");
    *file = maps[i].file;
    *offset = maps[i].offset + (at - from);
    return true;
  }
  return false;
}
