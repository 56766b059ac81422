/* record.h - what interpose.c tells of: which name and which descriptor is which file, what is mapped, and the log itself.
 * All of it under the one lock that interpose.c holds around each call, so that the log's order is that of the calls. */
#ifndef TKS_TESTS_FAULT_RECORD_H
#define TKS_TESTS_FAULT_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef long (*record_writer)(int fd, const void *bytes, unsigned long length);

/* libc's write, and the log's descriptor. */
void record_to(record_writer real_write, int fd);
void record_event(uint32_t kind, uint64_t file, uint64_t value, int64_t offset, const void *bytes, size_t length);

/* Ends the process, saying why: something was done that the log has no words for. */
_Noreturn void record_impossible(const char *what, const char *path);

/* ---- names: paths are relative to the root, without a slash in front; "" is the root itself */
void record_root(const char *path);
bool record_below(const char *path, const char **relative); /* false: not ours, or memory only */
uint64_t record_find(const char *relative);                 /* 0: no such name */
uint64_t record_add(const char *relative, bool directory);
void record_remove(const char *relative);
void record_rename(const char *from, const char *to);

/* Takes names and sizes from an event that an earlier process wrote. */
void record_replay(uint32_t kind, uint64_t file, uint64_t value, int64_t offset, const char *bytes, size_t length);

/* Calls for every name that is known. */
void record_each(void (*visit)(const char *relative, uint64_t file));

/* ---- descriptors */
void record_descriptor(int fd, uint64_t file, bool append);
uint64_t record_file_of(int fd); /* 0: not ours */
bool record_appends(int fd);
void record_resized(uint64_t file, int64_t size, bool tell);
int64_t record_size(uint64_t file);

/* ---- memory mapped for writing */
void record_map(void *address, size_t length, uint64_t file, int64_t offset);
void record_unmap(void *address, size_t length); /* all of a mapping, or nothing of it */
void record_look(uint64_t file);                 /* 0: all */
bool record_mapped(const void *address, size_t length, uint64_t *file, int64_t *offset);

#endif
