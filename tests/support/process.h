/* process.h - another process that uses the library: started anew rather than forked, since a forked child of a process
 * with threads is no place to start some. */
#ifndef TKS_TESTS_SUPPORT_PROCESS_H
#define TKS_TESTS_SUPPORT_PROCESS_H

#include <sys/types.h>

typedef struct process {
  pid_t pid;
  int in, out; /* its standard input and output */
} process;

/* Starts `program`, which lies beside the running test, with up to two arguments (NULL: none). */
process process_start(const char *program, const char *first, const char *second);

/* Closes its input and waits for its end: its exit code, or -1 - the signal that ended it. */
int process_wait(process *p);

#endif
