/* kill_report.h - what a process that will be killed (fault/kill_victim) shares with the test that kills it: its settings
 * and, record by record, what put answered. The file is mapped by both, so that a report costs a store to memory, changes
 * no timing, and is there after SIGKILL. */
#ifndef TKS_TESTS_SUPPORT_KILL_REPORT_H
#define TKS_TESTS_SUPPORT_KILL_REPORT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tickstore/tickstore.h"

#define KILL_SESSIONS 8   /* victims of one store, one after the other */
#define KILL_THREADS 4    /* producers of each */
#define KILL_RECORDS 8192 /* of each producer */
#define KILL_BATCH 16     /* at most so many in one tks_put_quotes */
#define KILL_SYMBOLS 7
#define KILL_SOURCES 3

typedef enum kill_phase {
  KILL_STARTED, /* the process may not even run yet */
  KILL_OPENING,
  KILL_PUTTING,
  KILL_CLOSING,
  KILL_CLOSED, /* then it waits to be killed */
} kill_phase;

typedef struct kill_settings {
  uint32_t backend, journal, journal_sync_ms, synchronous;
  uint32_t batch_records, flush_interval_ms, sync_interval_ms, checkpoint_pages, max_open_days, late_close_s;
  uint32_t queue_records, queue_policy, close_limit_ms;
  uint64_t journal_bytes;
  uint32_t threads;     /* producers */
  uint32_t limit;       /* records of each */
  uint32_t pause_every; /* each producer sleeps a little after so many; 0 = never */
  uint32_t batch;       /* records a call: 1 is tks_put_quote */
  uint32_t flush;       /* flush every few milliseconds */
  uint32_t close;       /* close when all are put; else wait to be killed */
} kill_settings;

/* What is said of a record: its sequence number, and of some */
#define KILL_DROPPED (UINT64_C(1) << 63) /* put answered TKS_EQUEUEFULL: no sink may have it */
#define KILL_UNKNOWN (UINT64_C(1) << 62) /* accepted in an array: its number was not told */
#define KILL_SEQ(said) ((said) & ~(KILL_DROPPED | KILL_UNKNOWN))

typedef struct kill_session {
  kill_settings settings; /* by the test, before the start */
  _Atomic uint32_t phase; /* kill_phase */
  _Atomic uint64_t durable;
  _Atomic int32_t close_code;
  char problem[512];                                 /* what should not have happened; the victim then exits with 1 */
  _Atomic uint64_t said[KILL_THREADS][KILL_RECORDS]; /* 0: put has not returned */
} kill_session;

typedef struct kill_report {
  kill_session sessions[KILL_SESSIONS];
} kill_report;

/* Maps the file, made and zeroed when `fresh`; ends the process when that cannot be done. */
kill_report *kill_report_map(const char *path, bool fresh);
void kill_report_unmap(kill_report *report);

/* A record's receive time names it; every other field follows from that. */
int64_t kill_name(unsigned session, unsigned thread, unsigned number);
void kill_name_parts(int64_t name, uint64_t *session, uint64_t *thread, uint64_t *number);

/* As the store has to give it back but for `seq`; symbol and source are 1 to KILL_SYMBOLS and 0 to KILL_SOURCES. */
tks_quote kill_quote(int64_t name);

/* Names of symbol and source numbers; `text` has room for 16 bytes. Returns the length. */
size_t kill_symbol(unsigned number, char *text);
size_t kill_source(unsigned number, char *text);

void kill_config(const kill_settings *settings, tks_config *config);

/* All settings in one line, for a failed test to print. */
void kill_settings_text(const kill_settings *settings, char *text, size_t size);

#endif
