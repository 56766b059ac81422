#include "ingest/ring.h"

#include <criterion/criterion.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "support/faults.h"
#include "support/random.h"
#include "support/records.h"
#include "support/threads.h"

#define SYMBOL 77

static tks__ring ring;
static tks__arena arena;

static void set_up(void) { memset(&ring, 0, sizeof ring); }

static void tear_down(void) {
  (void)allocations_work();
  tks__arena_free(&arena);
}

TestSuite(ring, .init = set_up, .fini = tear_down);

static void push(uint32_t size, uint64_t number) {
  tks__record record = record_of(number, SYMBOL);
  cr_assert(tks__ring_reserve(&ring, size, &arena));
  tks__ring_push(&ring, &record);
}

/* Numbers count from 1; `pushed` of them have gone in. With no writer at work all that is due must be there. */
static void check_last(uint32_t size, uint64_t pushed, size_t n, tks__record *records) {
  size_t expected = pushed < size ? (size_t)pushed : size;
  if (expected > n) expected = n;
  size_t count = tks__ring_last(&ring, size, SYMBOL, n, records);
  cr_assert_eq(count, expected, "size %u, %zu of %llu", size, n, (unsigned long long)pushed);
  for (size_t i = 0; i < count; i++) {
    cr_assert_eq(records[i].seq, pushed - count + 1 + i);
    cr_assert(record_is_whole(&records[i]), "size %u, record %llu", size, (unsigned long long)records[i].seq);
  }
}

Test(ring, an_empty_one_has_nothing) {
  tks__record record;
  cr_assert_eq(tks__ring_last(&ring, 10, SYMBOL, 1, &record), 0);
  cr_assert_eq(tks__ring_last(&ring, 10, SYMBOL, SIZE_MAX, &record), 0);
  cr_assert_eq(tks__ring_count(&ring, 10), 0);
  cr_assert(tks__ring_reserve(&ring, 10, &arena));
  cr_assert(tks__ring_reserve(&ring, 10, &arena), "asking twice is fine");
  cr_assert_eq(tks__ring_last(&ring, 10, SYMBOL, 1, &record), 0);
}

Test(ring, every_size_from_1_to_100_against_a_model) {
  tks__record records[110];
  for (uint32_t size = 1; size <= 100; size++) {
    for (uint64_t pushed = 1; pushed <= 2 * size + 40; pushed++) {
      push(size, pushed);
      const size_t wanted[] = {0, 1, size / 2, size - 1, size, size + 5};
      for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) check_last(size, pushed, wanted[i], records);
      cr_assert_eq(tks__ring_count(&ring, size), pushed < size ? pushed : size);
    }
    tks__arena_free(&arena);
    set_up();
  }
}

/* Sizes around the ends of chunks, many times round. */
Test(ring, wraps_at_the_ends_of_chunks) {
  static const uint32_t sizes[] = {127, 128, 129, 1022, 1023, 1024, 1025, 4095, 4096, 10000};
  tks__record *records = calloc(10001, sizeof *records);
  test_random random = random_new();
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    uint32_t size = sizes[i];
    for (uint64_t pushed = 1; pushed <= 3 * size + 3; pushed++) {
      push(size, pushed);
      if (random_below(&random, size / 8) == 0) check_last(size, pushed, random_below(&random, size + 1), records);
      if (pushed % (size + 1) < 2) check_last(size, pushed, size, records);
    }
    tks__arena_free(&arena);
    set_up();
  }
  free(records);
}

Test(ring, memory_follows_use) {
  const uint32_t size = 10000;
  uint64_t last_bytes = 0;
  for (uint64_t pushed = 1; pushed <= 3 * size; pushed++) {
    push(size, pushed);
    uint64_t bytes = ring.bytes;
    cr_assert_geq(bytes, last_bytes);
    if (pushed <= size) cr_assert_geq(bytes, pushed * sizeof(tks__ring_slot));
    /* At most twice what is held, and never more than all the slots there are. */
    cr_assert_leq(bytes, (pushed < 16 ? 16 : 2 * pushed) * sizeof(tks__ring_slot));
    cr_assert_leq(bytes, (size + 1) * sizeof(tks__ring_slot));
    last_bytes = bytes;
  }
  cr_assert_eq(last_bytes, (size + 1) * sizeof(tks__ring_slot));
}

Test(ring, the_largest_ring_starts_small) {
  const uint32_t size = 16777216;
  tks__record records[50];
  for (uint64_t pushed = 1; pushed <= 50; pushed++) push(size, pushed);
  check_last(size, 50, 50, records);
  cr_assert_eq(ring.bytes, 64 * sizeof(tks__ring_slot));
}

/* Each allocation of a block fails a few times: nothing is lost, and the ring goes on when there is memory again. */
Test(ring, goes_on_after_no_memory) {
  tks__record *records = calloc(20001, sizeof *records);
  const uint32_t size = 20000;
  int failures = 0;
  for (uint64_t pushed = 1; pushed <= 2 * size; pushed++) {
    for (int i = 0; i < 3; i++) {
      fail_allocations();
      bool reserved = tks__ring_reserve(&ring, size, &arena);
      cr_assert_eq(allocations_work(), !reserved);
      if (reserved) break;
      failures++;
      check_last(size, pushed - 1, size, records);
    }
    push(size, pushed);
    if (pushed % 97 == 0) check_last(size, pushed, size, records);
  }
  cr_assert_eq(failures, 3 * 3, "a block for most chunks; those of 4096 and 8192 slots have their own");
  free(records);
}

/* ------------------------------------ what a writer does between a reader's two looks at the head, step by step */

/* A reader that is about to copy faults, once, on the page that its slots lie in; the writer's steps are then done in the handler. */
static struct {
  void *page;
  size_t page_size;
  uint32_t size;
  uint64_t pushed, more; /* entries before, and in the handler */
  bool half;             /* and half of one after those */
} interruption;

static void interrupt_reader(int signal_number) {
  const uint64_t slots = (uint64_t)interruption.size + 1, now = interruption.pushed + interruption.more;
  (void)signal_number;
  if (mprotect(interruption.page, interruption.page_size, PROT_READ | PROT_WRITE) != 0) abort();
  for (uint64_t i = 0; i < interruption.more; i++) push(interruption.size, interruption.pushed + 1 + i);
  tks__ring_slot *slot = (tks__ring_slot *)interruption.page + now % slots;
  for (int i = 0; i < 4 && interruption.half; i++) atomic_store(&slot->words[i], UINT64_MAX);
}

static void check_interrupted(uint64_t n) {
  const uint64_t size = interruption.size, now = interruption.pushed + interruption.more;
  tks__record records[TKS__RING_FIRST_CHUNK];
  for (uint64_t i = 1; i <= interruption.pushed; i++) push((uint32_t)size, i);
  /* Once: any other fault is one. */
  const struct sigaction action = {.sa_handler = interrupt_reader, .sa_flags = (int)SA_RESETHAND};
  if (sigaction(SIGSEGV, &action, NULL) != 0) abort();
  if (mprotect(interruption.page, interruption.page_size, PROT_NONE) != 0) abort();
  size_t count = tks__ring_last(&ring, (uint32_t)size, SYMBOL, n, records);
  /* Entries up to now - slots may be overwritten; those from there to the end that it saw first are what it can have. */
  uint64_t whole = now > size ? now - size : 0, end = interruption.pushed;
  if (whole >= end) { /* none: it tries again, for half as many */
    end = now;
    n = n > 1 ? n / 2 : 1;
  }
  uint64_t from = end > n ? end - n : 0;
  if (from < whole) from = whole;
  cr_assert_eq(count, end - from, "size %llu, %llu of %llu and %llu more: %zu", (unsigned long long)size,
               (unsigned long long)n, (unsigned long long)interruption.pushed, (unsigned long long)interruption.more,
               count);
  for (size_t i = 0; i < count; i++) {
    cr_assert_eq(records[i].seq, from + 1 + i);
    cr_assert(record_is_whole(&records[i]));
  }
}

static void interrupt_all(uint32_t size) {
  for (uint64_t pushed = 1; pushed <= 2 * size + 3; pushed++)
    for (uint64_t more = 0; more <= 2 * size + 3; more++)
      for (unsigned half = 0; half < 2; half++)
        for (uint64_t n = 1; n <= size; n++) {
          set_up();
          atomic_store(&ring.chunks[0], interruption.page);
          interruption.size = size;
          interruption.pushed = pushed;
          interruption.more = more;
          interruption.half = half;
          check_interrupted(n);
        }
}

Test(ring, a_reader_leaves_out_what_is_written_while_it_copies_and_no_more) {
  interruption.page_size = (size_t)sysconf(_SC_PAGESIZE);
  interruption.page = mmap(NULL, interruption.page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  cr_assert_neq(interruption.page, MAP_FAILED);
  for (uint32_t size = 1; size < TKS__RING_FIRST_CHUNK; size += size < 5 ? 1 : 5) interrupt_all(size);
  set_up(); /* the page is not the ring's to free */
  (void)munmap(interruption.page, interruption.page_size);
}

/* ------------------------------------------------------- readers against a writer */

typedef struct reader {
  uint32_t size;
  test_random random;
  uint64_t reads, records, torn, gaps, stepped_back, too_many, nothing;
} reader;

static _Atomic bool writing;
static _Atomic uint32_t readers_ready;

static void *read_ring(void *argument) {
  reader *r = argument;
  tks__record *records = calloc(r->size, sizeof *records);
  uint64_t newest = 0;
  bool last_round = false;
  atomic_fetch_add(&readers_ready, 1);
  while (!last_round) {
    last_round = !atomic_load(&writing);
    size_t n = 1 + random_below(&r->random, r->size);
    size_t count = tks__ring_last(&ring, r->size, SYMBOL, n, records);
    r->reads++;
    r->records += count;
    r->too_many += count > n;
    r->nothing += count == 0 && newest > 0;
    for (size_t i = 0; i < count; i++) {
      r->torn += !record_is_whole(&records[i]) || records[i].seq != (uint64_t)records[i].recv_ns;
      r->gaps += i > 0 && records[i].seq != records[i - 1].seq + 1;
    }
    if (count > 0) {
      r->stepped_back += records[count - 1].seq < newest;
      newest = records[count - 1].seq;
    }
  }
  free(records);
  return NULL;
}

static void race(uint32_t size, uint64_t pushes) {
  enum { READERS = 2 };
  reader readers[READERS] = {0};
  pthread_t threads[READERS];
  test_random random = random_new();
  atomic_store(&writing, true);
  atomic_store(&readers_ready, 0);
  for (int i = 0; i < READERS; i++) {
    readers[i].size = size;
    readers[i].random = random_fork(&random, (uint64_t)i);
    threads[i] = start_thread(read_ring, &readers[i]);
  }
  while (atomic_load(&readers_ready) < READERS) (void)sched_yield();
  for (uint64_t number = 1; number <= pushes; number++) push(size, number);
  atomic_store(&writing, false);
  for (int i = 0; i < READERS; i++) {
    join_thread(threads[i]);
    cr_assert_eq(readers[i].torn, 0, "size %u: %llu torn records came out", size, (unsigned long long)readers[i].torn);
    cr_assert_eq(readers[i].gaps, 0);
    cr_assert_eq(readers[i].stepped_back, 0);
    cr_assert_eq(readers[i].too_many, 0);
    cr_assert_eq(readers[i].nothing, 0, "a reader that is overtaken tries again");
    cr_assert_gt(readers[i].records, 0, "the last look, without a writer, sees something");
  }
}

Test(ring, no_torn_record_gets_out_of_the_smallest) { race(1, rounds(1000000)); }
Test(ring, no_torn_record_gets_out_of_a_small_one) { race(5, rounds(1000000)); }
Test(ring, no_torn_record_gets_out_of_a_middling_one) { race(64, rounds(1000000)); }
Test(ring, no_torn_record_gets_out_of_a_growing_one) { race(5000, rounds(1000000)); }
