/* records.h - records whose every field follows from their number, so that a torn or mixed-up one shows. */
#ifndef TKS_TESTS_SUPPORT_RECORDS_H
#define TKS_TESTS_SUPPORT_RECORDS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/record.h"

/* `number` stands in seq until something else is put there; recv_ns holds it for good. */
tks__record record_of(uint64_t number, uint32_t symbol);

/* Whether all fields but seq are those of record_of(recv_ns, symbol), bit for bit. */
bool record_is_whole(const tks__record *record);

/* A double by its bits, and back. */
uint64_t bits_of(double value);
double double_of(uint64_t bits);

#endif
