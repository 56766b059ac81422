#include "support/sites.h"

#include <execinfo.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SITES = 8192, SLOTS = 4 * SITES, SKIPPED = 2, FRAMES = sizeof((site *)NULL)->frames / sizeof(void *) };

typedef enum state { RESTING, LEARNING, WAITING, HELD, FAILING } state;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards all below but `now` */
static site sites[SITES];
static size_t count;
static uint32_t slots[SLOTS]; /* open addressing: an index + 1 */
static size_t target;
static uint64_t calls_left, failed;
static sites_mode mode;
static _Atomic int now = RESTING;
static _Atomic uint32_t target_depth;

static _Thread_local bool inside; /* what unwinding itself asks for is none of ours */

/* The first backtrace loads a library, which had better not happen inside an allocator. */
__attribute__((constructor)) static void warm_up(void) {
  void *frames[2];
  (void)backtrace(frames, 2);
}

static uint64_t hash_of(uint32_t kind, void *const *frames, int n) {
  uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ kind;
  for (int i = 0; i < n; i++) {
    hash = (hash ^ (uint64_t)(uintptr_t)frames[i]) * UINT64_C(0x9e3779b97f4a7c15);
    hash ^= hash >> 29;
  }
  return hash;
}

/* Under the lock: where the place is in `slots`, or is to be. */
static size_t slot_of(uint64_t hash) {
  size_t i = (size_t)(hash % SLOTS);
  while (slots[i] != 0 && sites[slots[i] - 1].hash != hash) i = (i + 1) % SLOTS;
  return i;
}

static void learn(uint64_t hash, uint32_t kind, uint32_t depth, void *const *frames, int n) {
  size_t i = slot_of(hash);
  if (slots[i] == 0) {
    if (count == SITES) abort();
    site *s = &sites[count];
    *s = (site){.hash = hash, .kind = kind, .depth = depth, .frame_count = n};
    memcpy(s->frames, frames, (size_t)n * sizeof *frames);
    slots[i] = (uint32_t)++count;
  }
  sites[slots[i] - 1].calls++;
}

/* Under the lock. */
static bool decide(uint64_t hash, uint32_t kind, uint32_t depth, void *const *frames, int n) {
  switch (atomic_load(&now)) {
    case LEARNING: learn(hash, kind, depth, frames, n); return false;
    case WAITING:
      if (sites[target].hash != hash || --calls_left > 0) return false;
      atomic_store(&now, mode == SITES_ONCE ? RESTING : FAILING);
      return true;
    case FAILING: return mode == SITES_ALL_KINDS || sites[target].kind == kind;
    default: return false;
  }
}

bool sites_ask(uint32_t kind) {
  int state_now = atomic_load_explicit(&now, memory_order_relaxed);
  if (inside || state_now == RESTING || state_now == HELD) return false;
  /* Unwinding takes long, and what fails for ever is told by its kind. Where the stack ends in its page depends on the calls on it alone:
   * most are told apart by that. */
  uint32_t depth = (uint32_t)((uintptr_t)__builtin_frame_address(0) & 0xfff);
  if (state_now == WAITING && depth != atomic_load_explicit(&target_depth, memory_order_relaxed)) return false;
  inside = true;
  void *frames[FRAMES + SKIPPED];
  int n = state_now == FAILING ? 0 : backtrace(frames, FRAMES + SKIPPED) - SKIPPED;
  if (n < 0) n = 0;
  uint64_t hash = hash_of(kind, frames + SKIPPED, n);
  (void)pthread_mutex_lock(&lock);
  bool fails = decide(hash, kind, depth, frames + SKIPPED, n);
  failed += fails;
  (void)pthread_mutex_unlock(&lock);
  inside = false;
  return fails;
}

static void enter(state next, size_t index, uint64_t nth, sites_mode how) {
  (void)pthread_mutex_lock(&lock);
  target = index;
  calls_left = nth;
  if (next == WAITING) atomic_store(&target_depth, sites[index].depth);
  mode = how;
  failed = 0;
  atomic_store(&now, next);
  (void)pthread_mutex_unlock(&lock);
}

void sites_learn(void) { enter(LEARNING, 0, 0, SITES_ONCE); }
void sites_fail(size_t index, uint64_t nth, sites_mode how) { enter(WAITING, index, nth, how); }

void sites_hold(bool hold) {
  int from = hold ? WAITING : HELD;
  (void)atomic_compare_exchange_strong(&now, &from, hold ? HELD : WAITING);
}

uint64_t sites_failed(void) {
  (void)pthread_mutex_lock(&lock);
  uint64_t n = failed;
  (void)pthread_mutex_unlock(&lock);
  return n;
}

uint64_t sites_rest(void) {
  atomic_store(&now, RESTING);
  return sites_failed();
}

bool sites_last(void) { return atomic_load(&now) == FAILING; }

size_t sites_count(void) { return count; }
const site *sites_get(size_t index) { return &sites[index]; }

void sites_print(size_t index) {
  (void)fprintf(stderr, "place %zu, kind %u:\n", index, sites[index].kind);
  backtrace_symbols_fd(sites[index].frames, sites[index].frame_count, STDERR_FILENO);
}
