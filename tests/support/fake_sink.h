/* fake_sink.h - a sink that fails, hangs and forgets as a test tells it to, and keeps account of what it was given.
 *
 * The tape outlives the sink (which its close frees): a test scripts and reads the tape, from any thread. What a write
 * stored stays stored when the write then fails; what was not synced is forgotten when a sync fails. */
#ifndef TKS_TESTS_SUPPORT_FAKE_SINK_H
#define TKS_TESTS_SUPPORT_FAKE_SINK_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "persist/sink.h"

#define FAKE_FOREVER UINT64_MAX

typedef enum fake_op { FAKE_WRITE, FAKE_SYNC, FAKE_TEND, FAKE_CLOSE, FAKE_OPS } fake_op;

typedef struct fake_tape {
  pthread_mutex_t lock; /* guards all below */
  pthread_cond_t changed;
  /* script */
  uint64_t failures[FAKE_OPS]; /* so many calls fail from now on */
  int code;                    /* with this; TKS_EIO unless changed */
  bool hold[FAKE_OPS];         /* calls wait while this is set */
  /* account */
  uint64_t first_seq;
  uint64_t calls[FAKE_OPS]; /* begun */
  uint64_t ended[FAKE_OPS];
  uint64_t last_write_records; /* handed to the last write */
  int64_t tended_at_ns;        /* the time given to the last tend */
  uint8_t *state;              /* by seq - first_seq: see fake_sink.c */
  uint64_t capacity;
  uint64_t stored;   /* records that it has */
  uint64_t doubled;  /* records given again after a success that no failed sync took back */
  uint64_t disorder; /* records out of order within a write, empty writes, writes after close */
} fake_tape;

void fake_tape_init(fake_tape *tape, uint64_t first_seq);
void fake_tape_deinit(fake_tape *tape);

/* For a sink of the next session on the tape of one that was closed: it has what was stored, and may be given it again. */
void fake_tape_reopen(fake_tape *tape);

/* A sink on this tape; `id` is TKS_SQLITE or TKS_JSON. */
tks__sink *fake_sink_new(fake_tape *tape, uint32_t id, bool durable_on_write);

/* The next `count` calls of `op` fail; 0 ends it. */
void fake_fail(fake_tape *tape, fake_op op, uint64_t count);

void fake_hold(fake_tape *tape, fake_op op);
void fake_release(fake_tape *tape, fake_op op);

/* These wait for at most WAIT_LIMIT_S for so many calls to have begun, or ended, in all. */
bool fake_wait_begun(fake_tape *tape, fake_op op, uint64_t count);
bool fake_wait_ended(fake_tape *tape, fake_op op, uint64_t count);
bool fake_wait_stored(fake_tape *tape, uint64_t count);

uint64_t fake_calls(fake_tape *tape, fake_op op);
uint64_t fake_stored(fake_tape *tape);
bool fake_has(fake_tape *tape, uint64_t seq);

/* Nothing doubled, nothing out of order, closed once. */
bool fake_is_sound(fake_tape *tape);

/* Criterion prints a failed assertion of a .fini but counts the test as passed; a crash counts. */
#define FAKE_ABORT_UNLESS(condition, ...) \
  do {                                    \
    if (!(condition)) {                   \
      (void)fprintf(stderr, __VA_ARGS__); \
      (void)fputc('\n', stderr);          \
      abort();                            \
    }                                     \
  } while (0)

#endif
