#include "ingest/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/memory.h"

#define BYTE_ORDER_MARK 0x01020304u
#define SLOTS_MAX (UINT64_C(1) << 24)
#define READ_BYTES ((size_t)1 << 16)

static const char MAGIC[8] = {'T', 'K', 'S', 'J', 'R', 'N', 'L', '1'};

static uint64_t magic_word(void) {
  uint64_t word;
  memcpy(&word, MAGIC, sizeof word);
  return word;
}

static uint64_t header_check(const tks__segment_header *header) {
  size_t from = offsetof(tks__segment_header, byte_order);
  return XXH3_64bits((const char *)header + from, offsetof(tks__segment_header, check) - from);
}

static tks__segment_header *head(tks__segment *segment) { return segment->memory; }

static size_t file_bytes(uint64_t slot_count) {
  return TKS__SEGMENT_HEADER_BYTES + (size_t)slot_count * sizeof(tks__slot);
}

/* Whole ones in a file that was cut short. */
static uint64_t slots_within(uint64_t size) {
  return size <= TKS__SEGMENT_HEADER_BYTES ? 0 : (size - TKS__SEGMENT_HEADER_BYTES) / sizeof(tks__slot);
}

static char *copy_path(const char *path) {
  size_t size = strlen(path) + 1;
  char *copy = tks__malloc(size);
  return copy != NULL ? memcpy(copy, path, size) : NULL;
}

tks__segment *tks__segment_in_memory(tks__slot *slots, uint64_t slot_count) {
  tks__segment *segment = tks__calloc(1, sizeof *segment);
  if (segment == NULL) return NULL;
  segment->slots = slots;
  segment->slot_count = slot_count;
  segment->bytes = (size_t)slot_count * sizeof(tks__slot);
  return segment;
}

/* Maps an open file as a segment; takes nothing over on failure. */
static int map_file(int fd, const char *path, uint64_t slot_count, tks__segment **out) {
  tks__segment *segment = tks__calloc(1, sizeof *segment);
  char *copy = copy_path(path);
  int rc = segment != NULL && copy != NULL ? 0 : ENOMEM;
  if (rc == 0) {
    segment->bytes = file_bytes(slot_count);
    rc = tks__fs_map(fd, segment->bytes, &segment->memory);
  }
  if (rc != 0) {
    tks__free(copy);
    tks__free(segment);
    return rc;
  }
  segment->path = copy;
  segment->slot_count = slot_count;
  segment->slots = (tks__slot *)((char *)segment->memory + TKS__SEGMENT_HEADER_BYTES);
  *out = segment;
  return 0;
}

int tks__segment_create(const char *path, uint64_t slot_count, const char *store_id, uint64_t session,
                        tks__segment **out) {
  int fd;
  int rc = tks__fs_open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0666, &fd);
  if (rc != 0) return rc;
  rc = tks__fs_allocate(fd, (int64_t)file_bytes(slot_count));
  tks__segment *segment = NULL;
  if (rc == 0) rc = map_file(fd, path, slot_count, &segment);
  int closed = tks__fs_close(fd);
  if (rc == 0 && closed != 0) {
    tks__segment_close(segment, false);
    rc = closed;
  }
  if (rc != 0) {
    (void)tks__fs_remove(path);
    return rc;
  }
  tks__segment_header *header = head(segment);
  header->byte_order = BYTE_ORDER_MARK;
  header->slot_bytes = sizeof(tks__slot);
  header->slot_count = slot_count;
  memcpy(header->store_id, store_id, sizeof header->store_id);
  header->session = session;
  header->check = header_check(header);
  /* Release: last of all, also for one who looks after a kill. */
  atomic_store_explicit(&header->magic, magic_word(), memory_order_release);
  *out = segment;
  return 0;
}

/* What the two say of a header: the number, or 0 where one of them does. False: they contradict each other. */
static bool base_of(const tks__segment_header *header, uint64_t *base_seq) {
  uint64_t base = atomic_load_explicit(&header->base_seq, memory_order_relaxed);
  uint64_t again = atomic_load_explicit(&header->base_again, memory_order_relaxed);
  *base_seq = base == again ? base : 0;
  return base == again || base == 0 || again == 0;
}

uint64_t tks__segment_base(const tks__segment *segment) {
  uint64_t base_seq;
  return base_of(tks__segment_head(segment), &base_seq) ? base_seq : 0;
}

/* How many slots the header speaks of, if it is sound. */
static int read_header(int fd, const char *store_id, uint64_t *slot_count) {
  tks__segment_header header = {0};
  size_t got;
  uint64_t base_seq;
  int rc = tks__fs_read_some(fd, &header, sizeof header, 0, &got);
  if (rc != 0) return rc;
  uint64_t magic = atomic_load_explicit(&header.magic, memory_order_relaxed);
  if (magic == 0) return ENODATA;
  if (got < sizeof header || magic != magic_word()) return EBADMSG;
  /* Of the other byte order: neither its checksum nor what it is of can be read here. */
  if (header.byte_order == __builtin_bswap32(BYTE_ORDER_MARK)) return ENOMSG;
  if (header.check != header_check(&header)) return EBADMSG;
  if (header.byte_order != BYTE_ORDER_MARK || header.slot_bytes != sizeof(tks__slot)) return ENOMSG;
  if (header.slot_count == 0 || header.slot_count > SLOTS_MAX || (header.slot_count & (header.slot_count - 1)) != 0 ||
      !base_of(&header, &base_seq))
    return EBADMSG;
  if (memcmp(header.store_id, store_id, sizeof header.store_id) != 0) return ENOMSG;
  *slot_count = header.slot_count;
  return base_seq == 0 ? ENODATA : 0;
}

/* Reads what will be read through the mapping: there a block that the disk cannot read would kill the process. */
static int read_slots(int fd, uint64_t slot_count) {
  size_t size = READ_BYTES, got = size;
  char *window = tks__malloc(size);
  int rc = window != NULL ? 0 : ENOMEM;
  for (size_t at = TKS__SEGMENT_HEADER_BYTES; rc == 0 && got == size && at < file_bytes(slot_count); at += size)
    rc = tks__fs_read_some(fd, window, size, (int64_t)at, &got);
  tks__free(window);
  return rc;
}

int tks__segment_open(const char *path, const char *store_id, tks__segment **segment) {
  int fd;
  int rc = tks__fs_open(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK, 0, &fd);
  if (rc != 0) return rc;
  uint64_t slot_count = 0;
  int64_t size = 0;
  rc = read_header(fd, store_id, &slot_count);
  if (rc == 0) rc = tks__fs_size(path, &size);
  /* What is behind a file's end, mapped, would kill the process. */
  if (rc == 0 && (uint64_t)size < file_bytes(slot_count)) slot_count = slots_within((uint64_t)size);
  if (rc == 0 && slot_count == 0) rc = EBADMSG;
  if (rc == 0) rc = read_slots(fd, slot_count);
  if (rc == 0) rc = map_file(fd, path, slot_count, segment);
  (void)tks__fs_close(fd);
  return rc;
}

void tks__segment_touch(const tks__segment *segment) {
#ifdef MADV_POPULATE_WRITE
  char *memory = segment->memory != NULL ? segment->memory : (char *)segment->slots;
  /* Only a help: where the kernel does not know it, put takes the faults. */
  (void)madvise(memory, segment->bytes, MADV_POPULATE_WRITE);
#else
  (void)segment;
#endif
}

void tks__segment_assign(tks__segment *segment, uint64_t base_seq) {
  if (segment->memory == NULL) return;
  tks__segment_header *header = head(segment);
  uint64_t before = atomic_load_explicit(&header->base_seq, memory_order_relaxed);
  if (before != 0) header->stale_seq = before;
  /* Release, both: in this order also for one who looks after a kill. */
  atomic_store_explicit(&header->base_again, base_seq, memory_order_release);
  atomic_store_explicit(&header->base_seq, base_seq, memory_order_release);
  segment->header_synced = false;
}

/* The kernel would round up, into what is not this segment's. */
static bool is_whole_pages(const tks__segment *segment) {
  uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
  return (uintptr_t)segment->slots % page == 0 && segment->bytes % page == 0;
}

void tks__segment_clear(tks__segment *segment, bool give_back) {
  tks__segment_assign(segment, 0);
  /* Anonymous memory that is given back reads as zero again. */
  if (segment->memory == NULL && give_back && is_whole_pages(segment) &&
      madvise((void *)segment->slots, segment->bytes, MADV_DONTNEED) == 0)
    return;
  /* What was synced is not mapped for writing any more: all at once costs less than page by page. */
  tks__segment_touch(segment);
  memset((void *)segment->slots, 0, (size_t)segment->slot_count * sizeof(tks__slot));
}

int tks__segment_sync(tks__segment *segment, uint64_t first, uint64_t end) {
  if (segment->memory == NULL) return 0;
  if (!segment->header_synced) {
    int rc = tks__fs_map_sync(segment->memory, TKS__SEGMENT_HEADER_BYTES);
    if (rc != 0) return rc;
    segment->header_synced = true;
  }
  if (first == end) return 0;
  return tks__fs_map_sync(&segment->slots[first], (size_t)(end - first) * sizeof(tks__slot));
}

int tks__segment_set_aside(const char *path) {
  char aside[TKS__SEGMENT_PATH_MAX + 16];
  (void)snprintf(aside, sizeof aside, "%s.damaged", path);
  return tks__fs_rename(path, aside);
}

void tks__segment_close(tks__segment *segment, bool remove_file) {
  if (segment == NULL) return;
  if (segment->memory != NULL) tks__fs_unmap(segment->memory, segment->bytes);
  if (remove_file && segment->path != NULL)
    (void)(segment->keep_aside ? tks__segment_set_aside(segment->path) : tks__fs_remove(segment->path));
  tks__free(segment->path);
  tks__free(segment);
}
