/* interpose.h - the process's own open, write, mmap, fsync and the like, for this program and the shared libraries that it
 * uses. Below one root directory they do what libc's do and write down what they did; what makes something durable is
 * written down only. Everywhere else they are libc's.
 *
 * Memory that is mapped for writing has no calls to write down: what has changed in it is looked for at every sync, and
 * whenever the program says so. SQLite's -shm files are memory too, and are passed by. */
#ifndef TKS_TESTS_FAULT_INTERPOSE_H
#define TKS_TESTS_FAULT_INTERPOSE_H

#include <stdint.h>

/* Begins: appends to the log. What there is below `root` already is taken for durable. One thread, no files open there. */
void interpose_start(const char *root, const char *log_path);

/* Likewise, where an earlier process wrote the log and ended: nothing but what it synced is durable. */
void interpose_continue(const char *root, const char *log_path);

/* Appends a note: see power.h. Also looks for what has changed in mapped memory if `look`. */
void interpose_note(uint32_t kind, uint64_t file, uint64_t value, int64_t offset, int look);

/* Ends: the log is complete. */
void interpose_stop(void);

/* Likewise, and the process dies in the middle of whatever its threads are doing. */
_Noreturn void interpose_die(void);

#endif
