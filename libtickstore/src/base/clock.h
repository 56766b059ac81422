/* clock.h - the two clocks. Calendar time says which day it is, monotonic time drives every wait and timer. */
#ifndef TKS_BASE_CLOCK_H
#define TKS_BASE_CLOCK_H

#include <stdint.h>

int64_t tks__clock_now_ns(void);       /* CLOCK_REALTIME, or what a test has put in its place */
int64_t tks__clock_monotonic_ns(void); /* CLOCK_MONOTONIC, likewise */

/* CLOCK_REALTIME even then: what file systems date their changes by. */
int64_t tks__clock_files_ns(void);

/* For tests: replaces the calendar clock; NULL puts the real one back. */
extern int64_t (*_Atomic tks__clock_override)(void);

/* The same for the monotonic clock. What waits in the system with a limit (a condition, a timer of the loop) goes on by the real one: such a
 * test waits without limits. */
extern int64_t (*_Atomic tks__clock_monotonic_override)(void);

#endif
