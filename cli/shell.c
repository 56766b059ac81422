/* shell.c - the plain sqlite3 shell as a child process. */
#include "shell.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* The child gets the pipe as its stdout, and the closed-pipe signal back that main ignores. Returns 0 or errno. */
static int spawn(const char *file, const char *sql, int output, pid_t *child) {
  const char *argv[] = {"sqlite3", "-batch", "-readonly", file, sql, NULL};
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  sigset_t defaults;
  sigemptyset(&defaults);
  sigaddset(&defaults, SIGPIPE);
  if (posix_spawn_file_actions_init(&actions) != 0) return ENOMEM;
  if (posix_spawnattr_init(&attributes) != 0) {
    posix_spawn_file_actions_destroy(&actions);
    return ENOMEM;
  }
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
  int code = posix_spawnp(child, argv[0], &actions, &attributes, (char **)argv, environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  return code;
}

/* Reads to the end even when `text` is full: the child must not be left writing to nobody. */
static void read_all(int input, char *text, size_t size) {
  char rest[4096];
  size_t length = 0;
  for (;;) {
    size_t room = size - 1 - length;
    ssize_t got = room > 0 ? read(input, text + length, room) : read(input, rest, sizeof rest);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    if (room > 0) length += (size_t)got;
  }
  text[length] = '\0';
}

shell_status shell_query(const char *file, const char *sql, char *text, size_t size) {
  int ends[2], status = 0;
  pid_t child = 0;
  text[0] = '\0';
  if (pipe2(ends, O_CLOEXEC) != 0) return SHELL_FAILED;
  int code = spawn(file, sql, ends[1], &child);
  close(ends[1]);
  if (code == 0) read_all(ends[0], text, size);
  close(ends[0]);
  if (code != 0) return code == ENOENT ? SHELL_MISSING : SHELL_FAILED;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return SHELL_FAILED;
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? SHELL_OK : SHELL_FAILED;
}
