/* records.h - records whose every field follows from their number, so that a torn or mixed-up one shows. */
#ifndef TKS_TESTS_SUPPORT_RECORDS_H
#define TKS_TESTS_SUPPORT_RECORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/record.h"
#include "persist/sink.h"

/* `number` stands in seq until something else is put there; recv_ns holds it for good. */
tks__record record_of(uint64_t number, uint32_t symbol);

/* Whether all fields but seq are those of record_of(recv_ns, symbol), bit for bit. */
bool record_is_whole(const tks__record *record);

/* Some records. */
typedef struct record_list {
  size_t count;
  tks__record records[];
} record_list;

record_list *record_list_new(size_t count); /* free() */

/* Gives a sink several lists in one write. */
int record_lists_write(tks__sink *sink, record_list *const *lists, size_t count, tks_error *error);

/* A double by its bits, and back. */
uint64_t bits_of(double value);
double double_of(uint64_t bits);

#endif
