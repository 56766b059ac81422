/* clock.h - the two clocks. Calendar time says which day it is, monotonic time drives every wait and timer. */
#ifndef TKS_BASE_CLOCK_H
#define TKS_BASE_CLOCK_H

#include <stdint.h>

int64_t tks__clock_now_ns(void);       /* CLOCK_REALTIME, or what a test has put in its place */
int64_t tks__clock_monotonic_ns(void); /* CLOCK_MONOTONIC */

/* For tests: replaces the calendar clock; NULL puts the real one back. */
extern int64_t (*_Atomic tks__clock_override)(void);

#endif
