/* disk.h - what a disk may hold when the power goes.
 *
 * At a moment of a log, every file has what its last sync made durable, and behind that the writes that followed. Of these any
 * may have reached the disk and any may not: the disk writes sectors of 512 bytes, each whole, in any order, and the kernel
 * hands it each as it was after any of the writes to it. A file's size and its truncations follow one another in order,
 * but independently of its bytes; what was never written reads as zeros. A name (new, moved, or gone) is sure only after a sync of its directory;
 * of those that are not sure the first few may be there. */
#ifndef TKS_TESTS_FAULT_DISK_H
#define TKS_TESTS_FAULT_DISK_H

#include <stdbool.h>
#include <stddef.h>

#include "support/power.h"
#include "support/random.h"

typedef struct power_entry {
  power_event head;
  const unsigned char *bytes;
} power_entry;

typedef struct power_log {
  char *bytes;
  power_entry *entries;
  size_t count;
} power_log;

/* Reads a log; ends the process if it is not whole. */
void power_log_read(power_log *log, const char *path);
void power_log_free(power_log *log);

/* A disk that says that it has synced something and has not. */
typedef enum power_lie {
  POWER_HONEST = 0,
  POWER_LIES_SQLITE = 1,      /* of day files, their logs and journals */
  POWER_LIES_JSON = 2,        /* of JSON files */
  POWER_LIES_JOURNAL = 4,     /* of what is in ROOT/journal */
  POWER_LIES_DIRECTORIES = 8, /* of names */
} power_lie;

/* Makes in the empty directory `target` what the disk holds if the power goes before event number `cut`. */
void power_disk_make(const power_log *log, size_t cut, unsigned lies, test_random *random, const char *target);

#endif
