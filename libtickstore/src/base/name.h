/* name.h - what makes a name of a symbol or source valid, and how it becomes a file name.
 *
 * A valid name is 1 to TKS_NAME_MAX bytes of UTF-8, has no control characters (U+0000-1F, U+007F-9F) and no component
 * between slashes or backslashes that is "." or "..". Inside file names every byte but A-Z a-z 0-9 - _ and . is
 * written %XX, and so is a leading dot, so that any valid name is one plain directory entry. */
#ifndef TKS_BASE_NAME_H
#define TKS_BASE_NAME_H

#include <stdbool.h>
#include <stddef.h>

#include "tickstore/tickstore.h"

#define TKS__NAME_FILE_MAX (3 * TKS_NAME_MAX + 1) /* with terminator */

/* TKS_OK or the TKS_ENAME* code. */
int tks__name_check(const char *name, size_t length);

/* Returns the length; `file` is terminated. */
size_t tks__name_to_file(const char *name, size_t length, char file[TKS__NAME_FILE_MAX]);

/* The way back; false if `file` is not what tks__name_to_file writes for a valid name. */
bool tks__name_from_file(const char *file, char name[TKS_NAME_MAX], size_t *length);

#endif
