/* config.h - presets, and the check of every field. */
#ifndef TKS_BASE_CONFIG_H
#define TKS_BASE_CONFIG_H

#include <stdbool.h>

#include "tickstore/tickstore.h"

bool tks__config_preset(tks_config *config, int preset);

/* Copies a caller's configuration of any known size: a shorter one gets production defaults for the rest, a longer one
 * must be zero there. TKS_ESTRUCT or TKS_ECONFIG with the field and the value in the message. */
int tks__config_take(const tks_config *given, tks_config *config, tks_error *error);

/* The same rule for any sized struct: TKS_OK when `size` bytes at `given` can be read as `known` bytes. */
int tks__struct_check(const void *given, size_t size, size_t known, size_t smallest, const char *name,
                      tks_error *error);

#endif
