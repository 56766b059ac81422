/* groups.h - the groups of figures that the program bench knows; each is one file, or two in one. */
#ifndef BENCH_GROUPS_H
#define BENCH_GROUPS_H

#include "harness.h"

void bench_put(const options *o);       /* put.c: one producer, with the journal and without */
void bench_producers(const options *o); /* producers.c: two at once */
void bench_sustained(const options *o); /* sustained.c: until the last tick is durable, rows counted */
void bench_burst(const options *o);     /* sustained.c: many ticks at full put speed */
void bench_read(const options *o);      /* read.c: rings and a live day */
void bench_days(const options *o);      /* days.c: many day files */
void bench_growth(const options *o);    /* days.c: the same calls with more symbols */
void bench_rest(const options *o);      /* rest.c: memory, idleness, recovery */
void bench_workloads(const options *o); /* workloads.c: the four classic SQLite workloads */

#endif
