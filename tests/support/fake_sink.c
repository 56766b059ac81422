#include "support/fake_sink.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/error.h"
#include "support/wait.h"

enum {
  STORED = 1,
  REPORTED = 2, /* a write that had it succeeded */
  SYNCED = 4,   /* on stable storage, whether reported or not */
  DURABLE = 8,  /* reported before a sync that succeeded: never to be given again */
};

typedef struct fake_sink {
  tks__sink base;
  fake_tape *tape;
} fake_sink;

void fake_tape_init(fake_tape *tape, uint64_t first_seq) {
  memset(tape, 0, sizeof *tape);
  tape->first_seq = first_seq;
  tape->code = TKS_EIO;
  pthread_condattr_t attributes;
  if (pthread_condattr_init(&attributes) != 0 || pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) != 0 ||
      pthread_cond_init(&tape->changed, &attributes) != 0 || pthread_mutex_init(&tape->lock, NULL) != 0)
    abort();
  (void)pthread_condattr_destroy(&attributes);
}

void fake_tape_deinit(fake_tape *tape) {
  (void)pthread_mutex_destroy(&tape->lock);
  (void)pthread_cond_destroy(&tape->changed);
  free(tape->state);
}

void fake_tape_reopen(fake_tape *tape) {
  for (uint64_t i = 0; i < tape->capacity; i++) tape->state[i] &= STORED | SYNCED;
  tape->calls[FAKE_CLOSE] = tape->ended[FAKE_CLOSE] = 0;
}

static void lock(fake_tape *tape) { (void)pthread_mutex_lock(&tape->lock); }
static void unlock(fake_tape *tape) { (void)pthread_mutex_unlock(&tape->lock); }

/* ------------------------------------------------------------------ the sink */

/* Returns with the lock held. */
static fake_tape *begin(tks__sink *sink, fake_op op, bool *fails) {
  fake_tape *tape = ((fake_sink *)sink)->tape;
  lock(tape);
  tape->disorder += tape->calls[FAKE_CLOSE] > 0;
  tape->calls[op]++;
  (void)pthread_cond_broadcast(&tape->changed);
  while (tape->hold[op]) (void)pthread_cond_wait(&tape->changed, &tape->lock);
  *fails = tape->failures[op] > 0;
  if (*fails && tape->failures[op] != FAKE_FOREVER) tape->failures[op]--;
  return tape;
}

static int end(fake_tape *tape, fake_op op, bool fails, tks_error *error) {
  static const char *const names[FAKE_OPS] = {"write", "sync", "tend", "close"};
  tape->ended[op]++;
  int code = fails ? tape->code : TKS_OK;
  uint64_t call = tape->calls[op];
  (void)pthread_cond_broadcast(&tape->changed);
  unlock(tape);
  return fails ? tks__fail(error, code, 5, "%s %llu fails", names[op], (unsigned long long)call) : TKS_OK;
}

static uint8_t *state_of(fake_tape *tape, uint64_t seq) {
  uint64_t index = seq - tape->first_seq;
  if (index >= tape->capacity) {
    uint64_t capacity = (index + 1024) * 2;
    tape->state = realloc(tape->state, capacity);
    if (tape->state == NULL) abort();
    memset(tape->state + tape->capacity, 0, capacity - tape->capacity);
    tape->capacity = capacity;
  }
  return &tape->state[index];
}

/* After any failure of a sink that is not durable on write, all that is not durable comes again. */
static void forget_reports(const tks__sink *sink, fake_tape *tape) {
  if (sink->durable_on_write) return;
  for (uint64_t i = 0; i < tape->capacity; i++)
    if ((tape->state[i] & DURABLE) == 0) tape->state[i] &= (uint8_t)~REPORTED;
}

static int fake_write(tks__sink *sink, const tks__record *records, size_t count, tks_error *error) {
  bool fails;
  fake_tape *tape = begin(sink, FAKE_WRITE, &fails);
  uint64_t last_seq = 0;
  tape->last_write_records = count;
  tape->disorder += count == 0;
  for (size_t i = 0; i < count; i++) {
    uint64_t seq = records[i].seq;
    tape->disorder += seq <= last_seq || seq < tape->first_seq;
    last_seq = seq;
    /* A failing write gets half of it done. */
    if (fails && i >= count / 2) continue;
    uint8_t *state = state_of(tape, seq);
    tape->doubled += (*state & REPORTED) != 0;
    tape->stored += (*state & STORED) == 0;
    *state |= STORED | (fails ? 0 : REPORTED);
  }
  if (fails) forget_reports(sink, tape);
  return end(tape, FAKE_WRITE, fails, error);
}

static int fake_sync(tks__sink *sink, tks_error *error) {
  bool fails;
  fake_tape *tape = begin(sink, FAKE_SYNC, &fails);
  for (uint64_t i = 0; i < tape->capacity; i++) {
    uint8_t *state = &tape->state[i];
    if (!fails && (*state & STORED) != 0) *state |= SYNCED;
    if (!fails && (*state & REPORTED) != 0) *state |= DURABLE;
    if (!fails || (*state & DURABLE) != 0) continue;
    *state &= (uint8_t)~REPORTED;
    /* Every third one reached the disk all the same. */
    if ((*state & SYNCED) != 0 || i % 3 == 0) continue;
    tape->stored -= (*state & STORED) != 0;
    *state = 0;
  }
  return end(tape, FAKE_SYNC, fails, error);
}

static int fake_tend(tks__sink *sink, int64_t now_ns, tks_error *error) {
  bool fails;
  fake_tape *tape = begin(sink, FAKE_TEND, &fails);
  tape->tended_at_ns = now_ns;
  if (fails) forget_reports(sink, tape);
  return end(tape, FAKE_TEND, fails, error);
}

static int fake_close(tks__sink *sink, tks_error *error) {
  bool fails;
  fake_tape *tape = begin(sink, FAKE_CLOSE, &fails);
  free(sink);
  return end(tape, FAKE_CLOSE, fails, error);
}

static const tks__sink_ops SQLITE_OPS = {"sqlite", TKS_SQLITE, fake_write, fake_sync, fake_tend, fake_close};
static const tks__sink_ops JSON_OPS = {"json", TKS_JSON, fake_write, fake_sync, fake_tend, fake_close};

tks__sink *fake_sink_new(fake_tape *tape, uint32_t id, bool durable_on_write) {
  fake_sink *sink = calloc(1, sizeof *sink);
  if (sink == NULL) abort();
  sink->base.ops = id == TKS_SQLITE ? &SQLITE_OPS : &JSON_OPS;
  sink->base.durable_on_write = durable_on_write;
  sink->tape = tape;
  return &sink->base;
}

/* ------------------------------------------------------------------ the tape */

void fake_fail(fake_tape *tape, fake_op op, uint64_t count) {
  lock(tape);
  tape->failures[op] = count;
  unlock(tape);
}

static void set_hold(fake_tape *tape, fake_op op, bool hold) {
  lock(tape);
  tape->hold[op] = hold;
  (void)pthread_cond_broadcast(&tape->changed);
  unlock(tape);
}

void fake_hold(fake_tape *tape, fake_op op) { set_hold(tape, op, true); }
void fake_release(fake_tape *tape, fake_op op) { set_hold(tape, op, false); }

static bool wait_for(fake_tape *tape, const uint64_t *value, uint64_t count) {
  struct timespec until;
  (void)clock_gettime(CLOCK_MONOTONIC, &until);
  until.tv_sec += WAIT_LIMIT_S;
  lock(tape);
  int rc = 0;
  while (*value < count && rc != ETIMEDOUT) rc = pthread_cond_timedwait(&tape->changed, &tape->lock, &until);
  bool reached = *value >= count;
  unlock(tape);
  return reached;
}

bool fake_wait_begun(fake_tape *tape, fake_op op, uint64_t count) { return wait_for(tape, &tape->calls[op], count); }
bool fake_wait_ended(fake_tape *tape, fake_op op, uint64_t count) { return wait_for(tape, &tape->ended[op], count); }
bool fake_wait_stored(fake_tape *tape, uint64_t count) { return wait_for(tape, &tape->stored, count); }

uint64_t fake_calls(fake_tape *tape, fake_op op) {
  lock(tape);
  uint64_t calls = tape->calls[op];
  unlock(tape);
  return calls;
}

uint64_t fake_stored(fake_tape *tape) {
  lock(tape);
  uint64_t stored = tape->stored;
  unlock(tape);
  return stored;
}

bool fake_has(fake_tape *tape, uint64_t seq) {
  lock(tape);
  bool has = seq - tape->first_seq < tape->capacity && (tape->state[seq - tape->first_seq] & STORED) != 0;
  unlock(tape);
  return has;
}

bool fake_is_sound(fake_tape *tape) {
  lock(tape);
  bool sound = tape->doubled == 0 && tape->disorder == 0 && tape->calls[FAKE_CLOSE] == 1;
  unlock(tape);
  return sound;
}
