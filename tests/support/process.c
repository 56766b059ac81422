#include "support/process.h"

#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static void beside_test(const char *program, char path[PATH_MAX + 64]) {
  ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - 1);
  if (n < 0) abort();
  path[n] = 0;
  char *slash = strrchr(path, '/');
  (void)snprintf(slash + 1, 64, "%s", program);
}

/* Criterion tells its own workers by variables that must not reach a program linked with it. */
static char **plain_environment(void) {
  size_t count = 0, kept = 0;
  while (environ[count] != NULL) count++;
  char **plain = calloc(count + 1, sizeof *plain);
  if (plain == NULL) abort();
  for (size_t i = 0; i < count; i++)
    if (strncmp(environ[i], "BXF", 3) != 0) plain[kept++] = environ[i];
  return plain;
}

process process_start(const char *program, const char *first, const char *second) {
  char path[PATH_MAX + 64];
  int in[2], out[2];
  posix_spawn_file_actions_t actions;
  process p;
  char **environment = plain_environment();
  beside_test(program, path);
  char *const arguments[] = {path, (char *)(size_t)first, (char *)(size_t)second, NULL};
  if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0 || posix_spawn_file_actions_init(&actions) != 0 ||
      posix_spawn_file_actions_adddup2(&actions, in[0], 0) != 0 ||
      posix_spawn_file_actions_adddup2(&actions, out[1], 1) != 0 ||
      posix_spawn(&p.pid, path, &actions, NULL, arguments, environment) != 0) {
    perror(path);
    abort();
  }
  free(environment);
  (void)posix_spawn_file_actions_destroy(&actions);
  (void)close(in[0]);
  (void)close(out[1]);
  p.in = in[1];
  p.out = out[0];
  return p;
}

int process_wait(process *p) {
  int status;
  (void)close(p->in);
  if (waitpid(p->pid, &status, 0) != p->pid) abort();
  (void)close(p->out);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1 - WTERMSIG(status);
}
