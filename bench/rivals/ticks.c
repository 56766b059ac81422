#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "rival.h"

enum { DAYS = 5 };

typedef struct raw {
  int64_t ts_ns;
  double bid, ask;
} raw;

static int by_name(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }
static int is_day(const struct dirent *entry) { return strstr(entry->d_name, "_quote.zip") != NULL; }

static int64_t day_of_name(const char *name) {
  struct {
    int year, month, day;
  } t;
  if (sscanf(name, "%4d%2d%2d", &t.year, &t.month, &t.day) != 3) return 0;
  int y = t.month <= 2 ? t.year - 1 : t.year; /* days of the civil calendar, years beginning in March */
  int64_t era = y / 400, of_era = y % 400;
  int64_t of_year = (153 * ((t.month + 9) % 12) + 2) / 5 + t.day - 1;
  return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static size_t load_day(const char *folder, const char *name, raw *out, size_t capacity) {
  char command[1024], line[128];
  (void)snprintf(command, sizeof command, "unzip -p '%s/%s'", folder, name);
  FILE *file = popen(command, "r");
  size_t count = 0;
  int64_t midnight = day_of_name(name) * INT64_C(86400000000000);
  while (file != NULL && count < capacity && fgets(line, sizeof line, file) != NULL) {
    char *at;
    double ms = strtod(line, &at);
    if (*at != ',') continue;
    double bid = strtod(at + 1, &at), ask = strtod(at + (*at == ','), NULL);
    out[count++] = (raw){midnight + (int64_t)(ms * 1e6), bid, ask};
  }
  if (file != NULL) (void)pclose(file);
  return count;
}

static size_t load_real(const char *data, raw *out, size_t capacity) {
  char folder[512];
  struct dirent **entries;
  (void)snprintf(folder, sizeof folder, "%s/fx-oanda/eurusd", data);
  int n = scandir(folder, &entries, is_day, by_name);
  size_t count = 0;
  int whole_days = 0;
  for (int i = 0; i < n; i++) {
    if (whole_days < DAYS) {
      size_t got = load_day(folder, entries[i]->d_name, out + count, capacity - count);
      count += got;
      whole_days += got > 10000; /* a Sunday has few */
    }
    free(entries[i]);
  }
  if (n >= 0) free(entries);
  return count;
}

static size_t random_walk(raw *out, size_t capacity) {
  xorshift random = {.state = 42};
  double price = 1.1;
  size_t count = capacity < 300000 ? capacity : 300000;
  for (size_t i = 0; i < count; i++) {
    price += ((double)xorshift_below(&random, 7) - 3) * 1e-5;
    out[i] = (raw){INT64_C(1398902400000000000) + (int64_t)i * (DAYS * INT64_C(86400000000000) / 300000), price,
                   price + 1e-4};
  }
  return count;
}

tick *ticks_load(const char *data, size_t count, bool *real) {
  enum { CAPACITY = 2000000 };
  raw *rows = calloc(CAPACITY, sizeof *rows);
  tick *ticks = calloc(count, sizeof *ticks);
  if (rows == NULL || ticks == NULL) die("out of memory");
  size_t have = data != NULL ? load_real(data, rows, CAPACITY) : 0,
         rounds = (count + RIVAL_SYMBOLS - 1) / RIVAL_SYMBOLS;
  *real = have > 0;
  if (have == 0) have = random_walk(rows, CAPACITY);
  xorshift random = {.state = 7};
  uint32_t order[RIVAL_SYMBOLS];
  for (uint32_t i = 0; i < RIVAL_SYMBOLS; i++) order[i] = i;
  size_t made = 0;
  for (size_t round = 0; round < rounds; round++) {
    const raw *row = &rows[round * have / rounds]; /* evenly over the days */
    for (uint32_t i = 0; i < RIVAL_SYMBOLS && made < count; i++) {
      uint32_t other = i + xorshift_below(&random, RIVAL_SYMBOLS - i), symbol = order[other];
      order[other] = order[i];
      order[i] = symbol;
      double scale = 1 + (double)symbol / 16;
      ticks[made] = (tick){row->ts_ns + i, made + 1, row->bid * scale, row->ask * scale, symbol};
      made++;
    }
  }
  free(rows);
  return ticks;
}

const char *rival_symbol(uint32_t symbol) {
  static char names[RIVAL_SYMBOLS][16];
  if (names[symbol][0] == '\0') (void)snprintf(names[symbol], 16, "EURUSD%03u", symbol);
  return names[symbol];
}

/* ----------------------------------------------------------------- batch */

void batch_init(batch *b, size_t capacity) {
  *b = (batch){.ticks = calloc(capacity, sizeof(tick)), .capacity = capacity};
  if (b->ticks == NULL) die("out of memory");
}

void batch_free(batch *b) { free(b->ticks); }

/* A counting sort: ticks come in order of time already, and comparing costs more than moving. */
void batch_sort(batch *b) {
  static tick *sorted;
  static size_t room;
  size_t at[RIVAL_SYMBOLS + 1] = {0};
  if (room < b->count) {
    free(sorted);
    room = b->capacity;
    sorted = calloc(room, sizeof *sorted);
    if (sorted == NULL) die("out of memory");
  }
  for (size_t i = 0; i < b->count; i++) at[b->ticks[i].symbol + 1]++;
  for (int s = 0; s < RIVAL_SYMBOLS; s++) at[s + 1] += at[s];
  for (size_t i = 0; i < b->count; i++) sorted[at[b->ticks[i].symbol]++] = b->ticks[i];
  memcpy(b->ticks, sorted, b->count * sizeof *sorted);
}

/* ------------------------------------------------------------------- key */

static void put_big_endian(unsigned char *out, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; i++) out[i] = (unsigned char)(value >> (8 * (bytes - 1 - i)));
}

static uint64_t get_big_endian(const unsigned char *in, int bytes) {
  uint64_t value = 0;
  for (int i = 0; i < bytes; i++) value = value << 8 | in[i];
  return value;
}

void key_write(unsigned char key[KEY_BYTES], uint32_t symbol, int64_t ts_ns, uint64_t seq) {
  put_big_endian(key, symbol, 4);
  put_big_endian(key + 4, (uint64_t)ts_ns, 8); /* not before 1970 here */
  put_big_endian(key + 12, seq, 8);
}

void key_read(const unsigned char *key, const unsigned char *value, tick *out) {
  out->symbol = (uint32_t)get_big_endian(key, 4);
  out->ts_ns = (int64_t)get_big_endian(key + 4, 8);
  out->seq = get_big_endian(key + 12, 8);
  memcpy(&out->bid, value, 8);
  memcpy(&out->ask, value + 8, 8);
}

void reverse_ticks(tick *ticks, size_t count) {
  for (size_t i = 0; i < count / 2; i++) {
    tick swap = ticks[i];
    ticks[i] = ticks[count - 1 - i];
    ticks[count - 1 - i] = swap;
  }
}
