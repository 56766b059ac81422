/* fuzz.h - what the programs that feed hostile input have in common.
 *
 * A target is one file fuzz_<name>.c with LLVMFuzzerTestOneInput and the three definitions below. It is built twice:
 *
 *   fuzz_<name>       with driver.c, by any compiler: the seeds, the files it is given, and a fixed number of random
 *                     mutations of both. This is what `make test` runs.
 *   libfuzzer_<name>  with libFuzzer, where TICKSTORE_FUZZ is on (clang): `make fuzz FUZZ_SECONDS=60`.
 *
 * An input that once broke something is kept in corpus/<name>/, or becomes a seed. */
#ifndef TKS_TESTS_FUZZ_FUZZ_H
#define TKS_TESTS_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tickstore/tickstore.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Mutations in `make test`, such that they take about two seconds; an eighth of them where a sanitizer is slow. */
extern const unsigned fuzz_rounds;

/* What is worth inserting, ended by NULL. */
extern const char *const fuzz_words[];

/* Calls fuzz_seed for each input to begin with. */
void fuzz_seeds(void);
void fuzz_seed(const void *data, size_t size);
void fuzz_seed_text(const char *text);

/* Says what is wrong and aborts, which is what a fuzzer takes for a finding. */
#define FUZZ_CHECK(condition, ...)                                  \
  do {                                                              \
    if (!(condition)) fuzz_fail(#condition, __LINE__, __VA_ARGS__); \
  } while (0)
void fuzz_fail(const char *condition, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4), noreturn));

/* A directory of this process, in memory where the system offers that: nothing here is about durability. It is removed
 * at exit. */
const char *fuzz_dir(void);

/* Replaces what is there; parents are made. `name` is below fuzz_dir(). */
void fuzz_write_file(const char *name, const void *data, size_t size);

/* The whole content, to be freed; NULL if there is no such file. */
void *fuzz_read_file(const char *name, size_t *size);

/* Deletes everything below fuzz_dir(). */
void fuzz_clear(void);

/* ---- an input taken apart: at its end everything is 0 */

typedef struct fuzz_input {
  const uint8_t *at;
  size_t left;
} fuzz_input;

uint8_t fuzz_byte(fuzz_input *in);
uint64_t fuzz_number(fuzz_input *in, unsigned bytes); /* little endian, 1 to 8 bytes */
size_t fuzz_below(fuzz_input *in, size_t bound);      /* from one byte, or two for bounds above 256 */

/* ---- stores */

/* Whether `code` is one that tks_open may answer to what is on disk. */
bool fuzz_is_refusal(int code);

/* Settings that answer fast and never wait long. */
tks_config fuzz_config(uint32_t backend);

/* ROOT/store.json of a store that was closed well, or not. */
void fuzz_write_manifest(const char *backend, bool clean);

/* Opens fuzz_dir(). */
int fuzz_open(const tks_config *config, tks_store **store);

/* Everything that can be read from a store with hostile files: listing, days, ranges both ways, recent, latest, Arrow. Checks
 * that every call comes to an end, answers a documented code, and gives records in their order.
 * False: a day has a newer format, which a writer leaves alone and waits for. */
bool fuzz_read_all(tks_store *store);

/* Puts, flushes and reads back one record of the day that is under attack: a store that opened is a usable one. */
void fuzz_use(tks_store *store);

#define FUZZ_SYMBOL "EURUSD"
#define FUZZ_MIDNIGHT INT64_C(1709596800000000000) /* 2024-03-05 */
#define FUZZ_DAY_NS INT64_C(86400000000000)

#endif
