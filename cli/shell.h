/* shell.h - the plain sqlite3 shell as a child process: a witness that is not ours. */
#ifndef CLI_SHELL_H
#define CLI_SHELL_H

#include <stddef.h>

typedef enum shell_status { SHELL_OK = 0, SHELL_MISSING = 1, SHELL_FAILED = 2 } shell_status;

/* Runs `sqlite3 FILE SQL` without a command line in between, so nothing needs quoting; what it prints on stdout comes
 * into `text`, terminated, cut at `size`. Its stderr is ours. */
shell_status shell_query(const char *file, const char *sql, char *text, size_t size);

#endif
