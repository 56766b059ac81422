/* scratch.h - a directory of a test's own. */
#ifndef TKS_TESTS_SUPPORT_SCRATCH_H
#define TKS_TESTS_SUPPORT_SCRATCH_H

/* A new empty directory below TMPDIR; ends the process when there is none to be had. Free with scratch_remove. */
char *scratch_new(void);

/* Deletes it with all that is in it; NULL is fine. */
void scratch_remove(char *path);

/* Deletes what is in it. */
void scratch_clear(const char *path);

#endif
