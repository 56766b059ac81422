/* driver.c - runs a target without libFuzzer.
 *
 *   fuzz_<name> [--rounds N] [FILE|DIRECTORY ...]   seeds, these files, and N random mutations of them
 *   fuzz_<name> --write-seeds DIRECTORY             writes the seeds there for libFuzzer, and DIRECTORY.dict
 *
 * The random numbers are always the same ones, so that a test gives the same answer every time; TKS_TEST_SEED chooses
 * others. An input that ends the process is left in TMPDIR/crash-fuzz_<name>. */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz/fuzz.h"
#include "support/random.h"

#if defined(__has_feature)
#define HAS_FEATURE(name) __has_feature(name)
#else
#define HAS_FEATURE(name) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || HAS_FEATURE(address_sanitizer) || \
    HAS_FEATURE(thread_sanitizer)
enum { SHARE = 8 };
#else
enum { SHARE = 1 };
#endif

enum { INPUT_MAX = 128 * 1024, HANG_S = 120 };

typedef struct seed {
  uint8_t *data;
  size_t size;
} seed;

static seed *seeds;
static size_t seed_count;
static const char *program;

/* The input at hand, for the one who looks for what went wrong. */
static const uint8_t *current;
static size_t current_size;
static unsigned current_round;

void fuzz_seed(const void *data, size_t size) {
  seeds = realloc(seeds, (seed_count + 1) * sizeof *seeds);
  uint8_t *copy = malloc(size + 1);
  if (seeds == NULL || copy == NULL) abort();
  memcpy(copy, data, size);
  seeds[seed_count++] = (seed){copy, size};
}

/* ------------------------------------------------------------------ findings */

static void leave_input(void) {
  char path[PATH_MAX];
  const char *directory = getenv("TMPDIR");
  (void)snprintf(path, sizeof path, "%s/crash-%s", directory != NULL ? directory : "/tmp", program);
  FILE *file = fopen(path, "wbe");
  if (file != NULL) {
    (void)fwrite(current, 1, current_size, file);
    (void)fclose(file);
  }
  (void)fprintf(stderr, "%s: broke in round %u; the input, %zu bytes, is in %s\n", program, current_round, current_size,
                path);
}

static void on_signal(int number) {
  if (number == SIGALRM) (void)fprintf(stderr, "%s: hangs\n", program);
  leave_input();
  (void)signal(number, SIG_DFL);
  (void)raise(number);
}

/* Sanitizers that end the process themselves call this first. */
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static void watch(void) {
  static const int fatal[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGALRM};
  bool sanitized = __sanitizer_set_death_callback != NULL;
  if (sanitized) __sanitizer_set_death_callback(leave_input);
  for (size_t i = 0; i < sizeof fatal / sizeof fatal[0]; i++)
    if (!sanitized || fatal[i] == SIGABRT || fatal[i] == SIGALRM) (void)signal(fatal[i], on_signal);
}

static void run(const uint8_t *data, size_t size) {
  /* A copy of its own size, so that a byte read behind it is seen. */
  uint8_t *copy = malloc(size > 0 ? size : 1);
  if (copy == NULL) abort();
  memcpy(copy, data, size);
  current = copy;
  current_size = size;
  (void)alarm(HANG_S); /* ends a hang; no input is ever near it */
  (void)LLVMFuzzerTestOneInput(copy, size);
  free(copy);
}

/* ----------------------------------------------------------------- mutations */

static size_t erase(uint8_t *data, size_t size, size_t at, size_t count) {
  if (count > size - at) count = size - at;
  memmove(data + at, data + at + count, size - at - count);
  return size - count;
}

static size_t insert(uint8_t *data, size_t size, size_t at, const void *bytes, size_t count) {
  if (count > INPUT_MAX - size) count = INPUT_MAX - size;
  memmove(data + at + count, data + at, size - at);
  memcpy(data + at, bytes, count);
  return size + count;
}

static size_t insert_word(test_random *random, uint8_t *data, size_t size, size_t at) {
  size_t words = 0;
  while (fuzz_words[words] != NULL) words++;
  if (words == 0) return size;
  const char *word = fuzz_words[random_below(random, words)];
  size_t length = strlen(word);
  if (random_below(random, 2) == 0 || length > size - at) return insert(data, size, at, word, length);
  memcpy(data + at, word, length);
  return size;
}

static void set_number(test_random *random, uint8_t *data, size_t size, size_t at) {
  static const uint64_t edges[] = {0,     1,     127,       128,        255,       256,
                                   32767, 65535, INT32_MAX, UINT32_MAX, INT64_MAX, UINT64_MAX};
  uint64_t value = edges[random_below(random, sizeof edges / sizeof edges[0])];
  if (random_below(random, 4) == 0) value += random_below(random, 3);
  bool big = random_below(random, 2) == 0;
  size_t width = (size_t)1 << random_below(random, 4);
  for (size_t i = 0; i < width && at + i < size; i++)
    data[at + i] = (uint8_t)(value >> (8 * (big ? width - 1 - i : i)));
}

static size_t mutate_once(test_random *random, uint8_t *data, size_t size) {
  uint8_t bytes[64];
  size_t at = size > 0 ? random_below(random, size) : 0, count = 1 + random_below(random, sizeof bytes);
  switch (random_below(random, size > 0 ? 10 : 2)) {
    case 0:
      for (size_t i = 0; i < count; i++) bytes[i] = (uint8_t)random_next(random);
      return insert(data, size, at, bytes, count);
    case 1: return insert_word(random, data, size, at);
    case 2: data[at] ^= (uint8_t)(1 << random_below(random, 8)); return size;
    case 3: data[at] = (uint8_t)random_next(random); return size;
    case 4: set_number(random, data, size, at); return size;
    case 5: return erase(data, size, at, count);
    case 6: return random_below(random, 4) == 0 ? at : erase(data, size, at, 1); /* cut off */
    case 7: /* something from another place, or from another seed */
    case 8: {
      const seed *other = &seeds[random_below(random, seed_count)];
      if (other->size == 0) return size;
      size_t from = random_below(random, other->size), room = other->size - from;
      if (room > count && random_below(random, 4) != 0) room = count;
      return insert(data, size, at, other->data + from, room);
    }
    default:
      if (data[at] >= '0' && data[at] <= '9') data[at] = (uint8_t)('0' + random_below(random, 10));
      else data[at] = (uint8_t)(data[at] + 1);
      return size;
  }
}

static void mutate_all(unsigned rounds) {
  const char *given = getenv("TKS_TEST_SEED");
  test_random start = {given != NULL && *given != 0 ? strtoull(given, NULL, 0) : 1};
  (void)fprintf(stderr, "TKS_TEST_SEED=%llu\n", (unsigned long long)start.state);
  uint8_t *data = malloc(INPUT_MAX);
  if (data == NULL || seed_count == 0) abort();
  for (current_round = 1; current_round <= rounds; current_round++) {
    test_random random = random_fork(&start, current_round);
    const seed *from = &seeds[random_below(&random, seed_count)];
    size_t size = from->size < INPUT_MAX ? from->size : INPUT_MAX;
    memcpy(data, from->data, size);
    for (uint64_t n = 1 + random_below(&random, 8); n > 0; n--) size = mutate_once(&random, data, size);
    run(data, size);
  }
  free(data);
}

/* --------------------------------------------------------------------- files */

static void add_file(const char *path) {
  FILE *file = fopen(path, "rbe");
  if (file == NULL) {
    perror(path);
    exit(2);
  }
  uint8_t *bytes = malloc(INPUT_MAX);
  if (bytes == NULL) abort();
  fuzz_seed(bytes, fread(bytes, 1, INPUT_MAX, file));
  free(bytes);
  (void)fclose(file);
}

static int by_name(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

static int is_visible(const struct dirent *entry) { return entry->d_name[0] != '.'; }

/* A file, or the files of a directory in the order of their names; a directory that is not there has none. */
static void add_path(const char *path) {
  struct dirent **entries;
  int count = scandir(path, &entries, is_visible, by_name);
  if (count < 0 && errno == ENOTDIR) add_file(path);
  for (int i = 0; i < count; i++) {
    char name[PATH_MAX];
    (void)snprintf(name, sizeof name, "%s/%s", path, entries[i]->d_name);
    add_file(name);
    free(entries[i]);
  }
  if (count >= 0) free(entries);
}

static FILE *create(const char *path) {
  FILE *file = fopen(path, "wbe");
  if (file == NULL) {
    perror(path);
    exit(2);
  }
  return file;
}

static int write_seeds(const char *directory) {
  char path[PATH_MAX];
  (void)mkdir(directory, 0777);
  for (size_t i = 0; i < seed_count; i++) {
    (void)snprintf(path, sizeof path, "%s/seed-%03zu", directory, i);
    FILE *file = create(path);
    (void)fwrite(seeds[i].data, 1, seeds[i].size, file);
    (void)fclose(file);
  }
  (void)snprintf(path, sizeof path, "%s.dict", directory);
  FILE *file = create(path);
  for (const char *const *word = fuzz_words; *word != NULL; word++) {
    (void)fputc('"', file);
    for (const char *p = *word; *p != 0; p++) (void)fprintf(file, "\\x%02x", (unsigned)(unsigned char)*p);
    (void)fputs("\"\n", file);
  }
  return fclose(file) == 0 ? 0 : 2;
}

int main(int argc, char **argv) {
  program = strrchr(argv[0], '/') != NULL ? strrchr(argv[0], '/') + 1 : argv[0];
  fuzz_seeds();
  if (argc == 3 && strcmp(argv[1], "--write-seeds") == 0) return write_seeds(argv[2]);
  unsigned rounds = fuzz_rounds / SHARE;
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], "--rounds") == 0 && i + 1 < argc) rounds = (unsigned)strtoul(argv[++i], NULL, 10);
    else add_path(argv[i]);
  }
  watch();
  for (size_t i = 0; i < seed_count; i++) run(seeds[i].data, seeds[i].size);
  if (rounds > 0) mutate_all(rounds);
  (void)alarm(0);
  (void)printf("%s: %zu inputs and %u mutations of them, nothing found\n", program, seed_count, rounds);
  for (size_t i = 0; i < seed_count; i++) free(seeds[i].data);
  free(seeds);
  return 0;
}
