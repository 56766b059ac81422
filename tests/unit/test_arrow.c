#include "query/arrow.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/faults.h"
#include "support/random.h"
#include "support/records.h"
#include "support/scratch.h"
#include "support/stores.h"

enum { TS, SYMBOL, BID, ASK, BID_SIZE, ASK_SIZE, SOURCE, SEQ, FLAGS, RECV, COLUMNS };

typedef struct ArrowArrayStream Stream;
typedef struct ArrowArray Batch;
typedef struct ArrowSchema Schema;

/* ---------------------------------------------------- reading a batch back */

static bool is_valid(const Batch *column, int64_t row) {
  const uint8_t *bits = column->buffers[0];
  row += column->offset;
  return bits == NULL || ((bits[row / 8] >> (row % 8)) & 1) != 0;
}

#define VALUE(column, type, row) (((const type *)(column)->buffers[1])[(row) + (column)->offset])

static bool word_is(const Batch *column, int64_t row, const char *want) {
  if (!is_valid(column, row)) return want == NULL;
  int32_t index = VALUE(column, int32_t, row);
  const Batch *words = column->dictionary;
  if (want == NULL || index < 0 || index >= words->length) return false;
  const int32_t *offsets = words->buffers[1];
  const char *bytes = words->buffers[2];
  size_t length = (size_t)(offsets[index + 1] - offsets[index]);
  return strlen(want) == length && memcmp(bytes + offsets[index], want, length) == 0;
}

static bool price_is(const Batch *column, int64_t row, double want) {
  double have = VALUE(column, double, row);
  return is_valid(column, row) == !isnan(want) && (isnan(want) ? isnan(have) : bits_of(have) == bits_of(want));
}

static bool row_is(const Batch *batch, int64_t row, const tks_quote *q, const char *symbol, const char *source) {
  Batch *const *c = batch->children;
  bool known = q->recv_ns != 0;
  return VALUE(c[TS], int64_t, row) == q->ts_ns && word_is(c[SYMBOL], row, symbol) && price_is(c[BID], row, q->bid) &&
         price_is(c[ASK], row, q->ask) && VALUE(c[BID_SIZE], double, row) == q->bid_size &&
         VALUE(c[ASK_SIZE], double, row) == q->ask_size && word_is(c[SOURCE], row, source) &&
         VALUE(c[SEQ], uint64_t, row) == q->seq && VALUE(c[FLAGS], uint32_t, row) == q->flags &&
         is_valid(c[RECV], row) == known && VALUE(c[RECV], int64_t, row) == (known ? q->recv_ns : INT64_MIN);
}

static int64_t nulls_of(const Batch *column) {
  int64_t nulls = 0;
  for (int64_t i = 0; i < column->length; i++) nulls += is_valid(column, i) ? 0 : 1;
  return nulls;
}

static void expect_sound(const Batch *batch) {
  cr_assert_eq(batch->n_children, COLUMNS);
  cr_assert_eq(batch->n_buffers, 1);
  cr_assert_null(batch->buffers[0]);
  for (int i = 0; i < COLUMNS; i++) {
    const Batch *c = batch->children[i];
    cr_assert_not_null(c->release);
    cr_assert_eq(c->length, batch->length);
    cr_assert_eq(c->n_buffers, 2);
    cr_assert(c->null_count == -1 || c->null_count == nulls_of(c), "column %d", i);
    cr_assert_eq(c->dictionary != NULL, i == SYMBOL || i == SOURCE);
  }
}

/* ------------------------------------------------------------ a made source */

/* Gives quotes of an array, some at a time, and errors where it is told to. */
typedef struct made {
  const tks_quote *quotes;
  size_t count, at;
  size_t most;     /* at a time */
  size_t fails_at; /* before this one, once for each of fails_left */
  int fails_with;
  int fails_left;
  int closed;
} made;

static int made_next(void *context, tks_quote *quotes, size_t capacity, size_t *count, tks_error *error) {
  made *m = context;
  size_t n = m->count - m->at;
  if (n > capacity) n = capacity;
  if (n > m->most) n = m->most;
  int code = TKS_OK;
  if (m->fails_left > 0 && m->at + n >= m->fails_at) {
    n = m->fails_at - m->at;
    m->fails_left--;
    code = m->fails_with;
    error->code = code;
    error->detail = code == TKS_EDAYFILE ? 11 : 0;
    strcpy(error->message, "made to fail");
  }
  if (n > 0) memcpy(quotes, m->quotes + m->at, n * sizeof *quotes);
  m->at += n;
  *count = n;
  return code;
}

static int made_name(void *context, bool symbol, uint32_t id, char *name, size_t *length, tks_error *error) {
  (void)context;
  if (id > 900000) {
    error->code = symbol ? TKS_ESYMBOL : TKS_ESOURCE;
    error->detail = 0;
    strcpy(error->message, "no such id");
    return error->code;
  }
  *length = (size_t)sprintf(name, "%s%u", symbol ? "S" : "source ", id);
  return TKS_OK;
}

static void made_close(void *context) { ((made *)context)->closed++; }

static Stream stream_of(made *m, uint32_t chunk) {
  const tks__arrow_source source = {.context = m, .next = made_next, .name = made_name, .close = made_close};
  if (m->most == 0) m->most = SIZE_MAX;
  Stream stream;
  cr_assert_eq(tks__arrow_stream(&source, chunk, &stream, NULL), TKS_OK);
  return stream;
}

/* Every kind of null, many sources, any number of symbols. */
static tks_quote *make_quotes(test_random *random, size_t count, uint32_t symbols, uint32_t sources) {
  tks_quote *quotes = calloc(count + 1, sizeof *quotes);
  for (size_t i = 0; i < count; i++) {
    tks_quote *q = &quotes[i];
    q->ts_ns = STORE_NOON + (int64_t)random_below(random, 1000000000);
    q->seq = i + 1;
    q->bid = random_below(random, 5) == 0 ? NAN : double_of(random_next(random) & ~(UINT64_C(1) << 62));
    q->ask = random_below(random, 5) == 0 ? NAN : -0.0;
    q->bid_size = (double)random_below(random, 100);
    q->ask_size = 0.1;
    q->flags = (uint32_t)random_next(random);
    q->recv_ns = random_below(random, 3) == 0 ? 0 : (int64_t)random_next(random);
    q->symbol = 1 + (uint32_t)random_below(random, symbols);
    q->source = sources == 0 ? 0 : (uint32_t)random_below(random, sources + 1);
  }
  return quotes;
}

static void expect_rows(const Batch *batch, const tks_quote *quotes) {
  expect_sound(batch);
  for (int64_t i = 0; i < batch->length; i++) {
    char symbol[80], source[80];
    sprintf(symbol, "S%u", quotes[i].symbol);
    sprintf(source, "source %u", quotes[i].source);
    cr_assert(row_is(batch, i, &quotes[i], symbol, quotes[i].source == 0 ? NULL : source), "row %d", (int)i);
  }
}

static void expect_end(Stream *stream) {
  Batch batch;
  for (int i = 0; i < 3; i++) {
    cr_assert_eq(stream->get_next(stream, &batch), 0);
    cr_assert_null(batch.release);
  }
}

static void expect_error(Stream *stream, int errnum, const char *start) {
  Batch batch;
  cr_assert_eq(stream->get_next(stream, &batch), errnum);
  cr_assert_null(batch.release);
  const char *text = stream->get_last_error(stream);
  cr_assert(text != NULL && strncmp(text, start, strlen(start)) == 0, "%s", text);
}

/* ------------------------------------------------------------------ tests */

Test(arrow, rows_come_back_in_chunks_of_any_size) {
  test_random random = random_new();
  const size_t counts[] = {1, 7, 8, 9, 2047, 2048, 2049, 10000};
  const uint32_t chunks[] = {1, 3, 8, 2048, 5000, 0, TKS_MAX_RECORDS};
  for (size_t k = 0; k < sizeof counts / sizeof counts[0]; k++) {
    size_t count = counts[k];
    tks_quote *quotes = make_quotes(&random, count, 3, k % 2 ? 40 : 0);
    for (size_t j = 0; j < sizeof chunks / sizeof chunks[0]; j++) {
      if (chunks[j] < 8 && count > 9) continue;
      made m = {.quotes = quotes, .count = count, .most = 1 + random_below(&random, 3000)};
      Stream stream = stream_of(&m, chunks[j]);
      size_t at = 0;
      while (at < count) {
        Batch batch;
        cr_assert_eq(stream.get_next(&stream, &batch), 0);
        cr_assert_not_null(batch.release);
        size_t want = chunks[j] == 0 ? 65536 : chunks[j];
        cr_assert_eq((size_t)batch.length, want < count - at ? want : count - at);
        expect_rows(&batch, quotes + at);
        at += (size_t)batch.length;
        batch.release(&batch);
        cr_assert_null(batch.release);
      }
      expect_end(&stream);
      cr_assert_eq(m.closed, 0);
      stream.release(&stream);
      cr_assert_null(stream.release);
      cr_assert_eq(m.closed, 1);
    }
    free(quotes);
  }
}

/* More at once than any column has room for at first, and so many that they get large pages. */
Test(arrow, an_array_of_many_quotes_is_one_batch) {
  enum { MANY = 40000 };
  test_random random = random_new();
  tks_quote *quotes = make_quotes(&random, MANY, 3, 5);
  Stream stream;
  Batch batch;
  cr_assert_eq(tks__arrow_quotes(made_name, NULL, quotes, MANY, &stream, NULL), TKS_OK);
  cr_assert_eq(stream.get_next(&stream, &batch), 0);
  cr_assert_eq(batch.length, MANY);
  expect_rows(&batch, quotes);
  batch.release(&batch);
  expect_end(&stream);
  stream.release(&stream);
  free(quotes);
}

Test(arrow, no_rows_are_a_schema_and_an_end) {
  made m = {0};
  Stream stream = stream_of(&m, 0);
  Schema schema;
  cr_assert_eq(stream.get_schema(&stream, &schema), 0);
  schema.release(&schema);
  expect_end(&stream);
  cr_assert_null(stream.get_last_error(&stream));
  stream.release(&stream);
}

Test(arrow, schema_says_what_the_header_says) {
  static const char *const want[COLUMNS][2] = {{"ts", "tsn:UTC"}, {"symbol", "i"},    {"bid", "g"},    {"ask", "g"},
                                               {"bid_size", "g"}, {"ask_size", "g"},  {"source", "i"}, {"seq", "L"},
                                               {"flags", "I"},    {"recv", "tsn:UTC"}};
  made m = {0};
  Stream stream = stream_of(&m, 0);
  Schema schema, moved;
  cr_assert_eq(stream.get_schema(&stream, &schema), 0);
  cr_assert_str_eq(schema.format, "+s");
  cr_assert_eq(schema.n_children, COLUMNS);
  for (int i = 0; i < COLUMNS; i++) {
    const Schema *c = schema.children[i];
    bool nullable = i == BID || i == ASK || i == SOURCE || i == RECV, dictionary = i == SYMBOL || i == SOURCE;
    cr_assert_str_eq(c->name, want[i][0]);
    cr_assert_str_eq(c->format, want[i][1]);
    cr_assert_eq(c->flags, nullable ? ARROW_FLAG_NULLABLE : 0);
    cr_assert_eq(c->dictionary != NULL, dictionary);
    if (dictionary) cr_assert_str_eq(c->dictionary->format, "u");
  }
  /* A child or a dictionary that was moved out outlives its parent and the stream. */
  moved = *schema.children[SOURCE];
  schema.children[SOURCE]->release = NULL;
  Schema words = *schema.children[SYMBOL]->dictionary;
  schema.children[SYMBOL]->dictionary->release = NULL;
  schema.release(&schema);
  cr_assert_null(schema.release);
  stream.release(&stream);
  cr_assert_str_eq(moved.name, "source");
  cr_assert_str_eq(moved.dictionary->format, "u");
  moved.release(&moved);
  cr_assert_str_eq(words.format, "u");
  words.release(&words);
}

static Batch batch_of(const tks_quote *quotes, size_t count) {
  made m = {.quotes = quotes, .count = count};
  Stream stream = stream_of(&m, TKS_MAX_RECORDS);
  Batch batch;
  cr_assert_eq(stream.get_next(&stream, &batch), 0);
  stream.release(&stream);
  cr_assert_eq((size_t)batch.length, count);
  return batch;
}

Test(arrow, parts_may_be_moved_and_released_in_any_order) {
  test_random random = random_new();
  tks_quote *quotes = make_quotes(&random, 3000, 1, 5);
  for (int round = 0; round < 50; round++) {
    Batch batch = batch_of(quotes, 3000);
    Batch parts[COLUMNS + 2];
    int count = 0;
    for (int i = 0; i < COLUMNS; i++) {
      if (random_below(&random, 2) == 0) continue;
      parts[count++] = *batch.children[i];
      batch.children[i]->release = NULL;
      if (i != SOURCE || random_below(&random, 2) == 0) continue;
      parts[count++] = *batch.children[i]->dictionary;
      batch.children[i]->dictionary->release = NULL;
    }
    parts[count++] = batch;
    while (count > 0) {
      int k = (int)random_below(&random, (uint64_t)count);
      Batch part = parts[k];
      parts[k] = parts[--count];
      /* What is left can still be read to its last byte. */
      if (part.n_buffers == 2) (void)VALUE(&part, int32_t, 2999);
      if (part.dictionary != NULL && part.dictionary->release != NULL) (void)word_is(&part, 2999, "x");
      part.release(&part);
      cr_assert_null(part.release);
    }
  }
  free(quotes);
}

static void *release_elsewhere(void *batch) {
  ((Batch *)batch)->release(batch);
  return NULL;
}

Test(arrow, parts_may_be_released_on_many_threads) {
  test_random random = random_new();
  tks_quote *quotes = make_quotes(&random, 500, 1, 5);
  for (int round = 0; round < 50; round++) {
    Batch batch = batch_of(quotes, 500), parts[COLUMNS];
    for (int i = 0; i < COLUMNS; i++) {
      parts[i] = *batch.children[i];
      batch.children[i]->release = NULL;
    }
    pthread_t threads[COLUMNS];
    for (int i = 0; i < COLUMNS; i++) cr_assert_eq(pthread_create(&threads[i], NULL, release_elsewhere, &parts[i]), 0);
    batch.release(&batch);
    for (int i = 0; i < COLUMNS; i++) cr_assert_eq(pthread_join(threads[i], NULL), 0);
  }
  free(quotes);
}

Test(arrow, an_index_means_the_same_name_in_every_batch) {
  enum { COUNT = 4000 };
  tks_quote *quotes = calloc(COUNT, sizeof *quotes);
  for (uint32_t i = 0; i < COUNT; i++)
    quotes[i] = (tks_quote){.ts_ns = i, .bid = 1, .symbol = 1 + i / 100 * 7919, .source = 1 + i % (1 + i / 10)};
  made m = {.quotes = quotes, .count = COUNT};
  Stream stream = stream_of(&m, 128);
  Batch batches[COUNT / 128 + 2];
  int count = 0;
  for (;; count++) {
    cr_assert_eq(stream.get_next(&stream, &batches[count]), 0);
    if (batches[count].release == NULL) break;
    expect_rows(&batches[count], quotes + (size_t)count * 128);
  }
  stream.release(&stream);
  const Batch *last = batches[count - 1].children[SOURCE]->dictionary;
  for (int i = 0; i < count; i++) {
    const Batch *words = batches[i].children[SOURCE]->dictionary;
    const int32_t *a = words->buffers[1], *b = last->buffers[1];
    cr_assert(words->length <= last->length);
    cr_assert_eq(memcmp(a, b, ((size_t)words->length + 1) * sizeof *a), 0);
    cr_assert_eq(memcmp(words->buffers[2], last->buffers[2], (size_t)a[words->length]), 0);
  }
  for (int i = 0; i < count; i++) batches[i].release(&batches[i]);
  free(quotes);
}

Test(arrow, rows_before_an_error_come_before_it) {
  test_random random = random_new();
  tks_quote *quotes = make_quotes(&random, 5000, 1, 2);
  const struct {
    int code, errnum;
    const char *text;
  } kinds[] = {
      {TKS_EDAYFILE, EIO, "TKS_EDAYFILE (11): made to fail"},
      {TKS_ENOMEM, ENOMEM, "TKS_ENOMEM: made to fail"},
      {TKS_ECLOSED, EBADF, "TKS_ECLOSED: made"},
      {TKS_EFORK, EPERM, "TKS_EFORK: made"},
      {TKS_EIO, EIO, "TKS_EIO: made"},
      {TKS_EDISKFULL, ENOSPC, "TKS_EDISKFULL: made"},
  };
  for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
    made m = {.quotes = quotes, .count = 5000, .fails_at = 3001, .fails_left = 2, .fails_with = kinds[k].code};
    Stream stream = stream_of(&m, TKS_MAX_RECORDS);
    Batch batch;
    cr_assert_eq(stream.get_next(&stream, &batch), 0);
    cr_assert_eq(batch.length, 3001);
    expect_rows(&batch, quotes);
    batch.release(&batch);
    expect_error(&stream, kinds[k].errnum, kinds[k].text);
    expect_error(&stream, kinds[k].errnum, kinds[k].text);
    /* And on, as the source does. */
    cr_assert_eq(stream.get_next(&stream, &batch), 0);
    cr_assert_eq(batch.length, 1999);
    expect_rows(&batch, quotes + 3001);
    batch.release(&batch);
    expect_end(&stream);
    stream.release(&stream);
  }
  free(quotes);
}

Test(arrow, a_deadline_that_got_on_goes_on) {
  test_random random = random_new();
  tks_quote *quotes = make_quotes(&random, 5000, 1, 2);
  made m = {.quotes = quotes, .count = 5000, .fails_at = 3001, .fails_left = 2, .fails_with = TKS_EDEADLINE};
  Stream stream = stream_of(&m, TKS_MAX_RECORDS);
  Batch batch;
  cr_assert_eq(stream.get_next(&stream, &batch), 0);
  cr_assert_eq(batch.length, 3001); /* the second deadline came with nothing read */
  batch.release(&batch);
  expect_error(&stream, ETIMEDOUT, "TKS_EDEADLINE: ");
  cr_assert_eq(stream.get_next(&stream, &batch), 0);
  cr_assert_eq(batch.length, 1999);
  batch.release(&batch);
  stream.release(&stream);
  free(quotes);
}

Test(arrow, a_name_that_cannot_be_had_is_an_error) {
  tks_quote quotes[3] = {{.symbol = 1, .bid = 1}, {.symbol = 1, .bid = 2, .source = 900001}, {.symbol = 1, .bid = 3}};
  made m = {.quotes = quotes, .count = 3};
  Stream stream = stream_of(&m, 0);
  expect_error(&stream, EIO, "TKS_ESOURCE: no such id");
  expect_error(&stream, EIO, "TKS_ESOURCE: no such id");
  stream.release(&stream);
}

Test(arrow, every_failed_allocation_is_reported_and_loses_no_row) {
  test_random random = random_new();
  enum { COUNT = 12000 };
  tks_quote *quotes = make_quotes(&random, COUNT, 20, 50);
  bool failed = true;
  uint64_t k = 0;
  for (; failed; k++) {
    made m = {.quotes = quotes, .count = COUNT, .most = 1000};
    const tks__arrow_source source = {.context = &m, .next = made_next, .name = made_name, .close = made_close};
    Stream stream;
    Schema schema;
    fail_allocation(k);
    int code = tks__arrow_stream(&source, 2500, &stream, NULL);
    if (code != TKS_OK) {
      cr_assert_eq(code, TKS_ENOMEM);
      cr_assert_null(stream.release);
      cr_assert_eq(m.closed, 0);
      failed = allocations_work();
      continue;
    }
    int got = stream.get_schema(&stream, &schema);
    cr_assert(got == 0 || got == ENOMEM);
    cr_assert_eq(got == 0, schema.release != NULL);
    if (got == 0) schema.release(&schema);
    size_t at = 0;
    int errors = 0;
    for (;;) {
      Batch batch;
      got = stream.get_next(&stream, &batch);
      if (got != 0) {
        cr_assert_eq(got, ENOMEM);
        cr_assert_not_null(strstr(stream.get_last_error(&stream), "TKS_ENOMEM: out of memory"));
        cr_assert_leq(++errors, 1);
        continue;
      }
      if (batch.release == NULL) break;
      expect_rows(&batch, quotes + at);
      at += (size_t)batch.length;
      batch.release(&batch);
    }
    cr_assert_eq(at, COUNT, "%zu rows when allocation %d failed", at, (int)k);
    stream.release(&stream);
    failed = allocations_work();
  }
  cr_assert_gt(k, 60);
  free(quotes);
}

Test(arrow, shares_hold_the_same_memory) {
  test_random random = random_new();
  tks_quote *quotes = make_quotes(&random, 3000, 2, 5);
  Batch whole = batch_of(quotes, 3000), part, part_of_part;
  Stream a, b, c, d;
  cr_assert_eq(tks_arrow_share(&whole, 0, 3000, &a, NULL), TKS_OK);
  cr_assert_eq(tks_arrow_share(&whole, 0, 7, &d, NULL), TKS_OK);
  cr_assert_eq(tks_arrow_share(&whole, 101, 2000, &b, NULL), TKS_OK);
  const void *bids = whole.children[BID]->buffers[1];
  whole.release(&whole);
  cr_assert_eq(b.get_next(&b, &part), 0);
  expect_rows(&part, quotes + 101);
  cr_assert_eq(part.children[BID]->buffers[1], bids);
  cr_assert_eq(part.children[BID]->offset, 101);
  expect_end(&b);
  b.release(&b);
  cr_assert_eq(tks_arrow_share(&part, 3, 5, &c, NULL), TKS_OK);
  part.release(&part);
  cr_assert_eq(c.get_next(&c, &part_of_part), 0);
  c.release(&c);
  cr_assert_eq(part_of_part.length, 5);
  expect_rows(&part_of_part, quotes + 104);
  part_of_part.release(&part_of_part);
  cr_assert_eq(d.get_next(&d, &part), 0);
  d.release(&d);
  cr_assert_eq(part.length, 7);
  expect_rows(&part, quotes);
  part.release(&part);
  cr_assert_eq(a.get_next(&a, &whole), 0);
  a.release(&a);
  cr_assert_eq(whole.length, 3000);
  expect_rows(&whole, quotes);
  whole.release(&whole);
  free(quotes);
}

Test(arrow, shares_of_nothing_and_of_strangers) {
  tks_error error;
  tks_quote quotes[2] = {{.symbol = 1, .bid = 1}, {.symbol = 1, .bid = 2}};
  Stream s;
  cr_assert_eq(tks_arrow_share(NULL, 0, 0, NULL, &error), TKS_ENULL);
  cr_assert_eq(tks_arrow_share(NULL, 0, 0, &s, &error), TKS_OK);
  expect_end(&s);
  s.release(&s);
  cr_assert_eq(tks_arrow_share(NULL, 0, 1, &s, &error), TKS_ELIMIT);
  cr_assert_eq(tks_arrow_share(NULL, 1, 0, &s, &error), TKS_ELIMIT);
  cr_assert_null(s.release);
  Batch batch = batch_of(quotes, 2);
  cr_assert_eq(tks_arrow_share(&batch, 2, 0, &s, &error), TKS_OK);
  expect_end(&s);
  s.release(&s);
  cr_assert_eq(tks_arrow_share(&batch, 3, 0, &s, &error), TKS_ELIMIT);
  cr_assert_eq(tks_arrow_share(&batch, 1, 2, &s, &error), TKS_ELIMIT);
  cr_assert_eq(tks_arrow_share(&batch, 1, UINT64_MAX, &s, &error), TKS_ELIMIT);
  cr_assert_eq(tks_arrow_share(batch.children[0], 0, 1, &s, &error), TKS_EINVAL);
  for (uint64_t k = 0;; k++) {
    fail_allocation(k);
    int code = tks_arrow_share(&batch, 0, 2, &s, &error);
    if (!allocations_work() && code == TKS_OK) break;
    cr_assert_eq(code, TKS_ENOMEM);
    cr_assert_null(s.release);
  }
  s.release(&s); /* never read */
  batch.release(&batch);
  cr_assert_eq(tks_arrow_share(&batch, 0, 1, &s, &error), TKS_EINVAL);
}

/* ------------------------------------------------------------ with a store */

static char *dir;
static tks_store *store;
static uint32_t symbol, source;

static void set_up(void) {
  dir = scratch_new();
  tks_config config = store_config(TKS_SQLITE);
  config.queue_policy = TKS_QUEUE_BLOCK;
  config.ring_records = 100;
  store = store_open(dir, &config);
  symbol = store_symbol(store, "EUR/USD");
  source = store_source(store, "OANDA");
}

static void tear_down(void) {
  (void)allocations_work();
  if (store != NULL) store_close(store);
  scratch_remove(dir);
}

TestSuite(arrow_store, .init = set_up, .fini = tear_down);

static void put_days(int days, int each) {
  for (int i = 0; i < days * each; i++) {
    tks_quote q = {.ts_ns = STORE_NOON + STORE_DAY_NS * (i / each) + i,
                   .bid = i % 5 == 0 ? NAN : 1 + i * 1e-5,
                   .ask = i % 5 == 1 ? NAN : 1.1 + i * 1e-5,
                   .bid_size = i,
                   .recv_ns = i % 3,
                   .flags = 0x70000u,
                   .symbol = symbol,
                   .source = i % 2 ? source : 0};
    cr_assert_eq(tks_put_quote(store, &q, NULL, NULL), TKS_OK);
  }
}

/* Reads stream and cursor side by side. */
static void expect_same(const tks_range *range, uint32_t chunk) {
  size_t count, at = 0;
  tks_quote *quotes = store_read(store, range, 1000, &count);
  Stream stream;
  cr_assert_eq(tks_range_arrow(store, range, chunk, &stream, NULL), TKS_OK);
  for (;;) {
    Batch batch;
    cr_assert_eq(stream.get_next(&stream, &batch), 0);
    if (batch.release == NULL) break;
    expect_sound(&batch);
    for (int64_t i = 0; i < batch.length; i++, at++)
      cr_assert(row_is(&batch, i, &quotes[at], "EUR/USD", quotes[at].source ? "OANDA" : NULL), "row %zu", at);
    batch.release(&batch);
  }
  cr_assert_eq(at, count);
  stream.release(&stream);
  free(quotes);
}

Test(arrow_store, gives_what_the_cursor_gives) {
  put_days(3, 3000);
  for (int flushed = 0; flushed < 2; flushed++) {
    tks_range range = store_range(symbol);
    expect_same(&range, 0);
    expect_same(&range, 1000);
    range.flags = TKS_RANGE_DESCENDING;
    range.limit = 4567;
    expect_same(&range, 1024);
    range.source = source;
    range.from_ns = STORE_NOON + 100;
    expect_same(&range, TKS_MAX_RECORDS);
    range.to_ns = range.from_ns;
    expect_same(&range, 1);
    store_flush(store);
  }
}

Test(arrow_store, batches_outlive_stream_and_store) {
  put_days(2, 3000);
  tks_range range = store_range(symbol);
  Stream stream;
  Batch first, second;
  cr_assert_eq(tks_range_arrow(store, &range, 1000, &stream, NULL), TKS_OK);
  cr_assert_eq(stream.get_next(&stream, &first), 0);
  cr_assert_eq(stream.get_next(&stream, &second), 0);
  store_close(store);
  store = NULL;
  expect_error(&stream, EBADF, "TKS_ECLOSED: the store is closed");
  stream.release(&stream);
  cr_assert(word_is(first.children[SYMBOL], 999, "EUR/USD"));
  first.release(&first);
  cr_assert(word_is(second.children[SOURCE], 1, "OANDA"));
  cr_assert_eq(VALUE(second.children[BID_SIZE], double, 999), 1999);
  second.release(&second);
}

Test(arrow_store, a_forked_child_gets_an_error) {
  put_days(1, 3000);
  tks_range range = store_range(symbol);
  Stream stream;
  cr_assert_eq(tks_range_arrow(store, &range, 1000, &stream, NULL), TKS_OK);
  pid_t child = fork();
  if (child == 0) {
    Batch batch;
    _exit(stream.get_next(&stream, &batch) == EPERM ? 0 : 1);
  }
  int status;
  cr_assert_eq(waitpid(child, &status, 0), child);
  cr_assert_eq(status, 0);
  stream.release(&stream);
}

Test(arrow_store, a_damaged_day_is_reported_in_its_place) {
  put_days(3, 3000);
  store_flush(store);
  store_close(store);
  char path[PATH_MAX], junk[4096];
  memset(junk, 'j', sizeof junk);
  store_day_path(dir, "2024-03-06", path);
  write_file(path, junk, sizeof junk);
  tks_config config = store_config(TKS_SQLITE);
  config.read_only = 1;
  store = store_open(dir, &config);
  symbol = store_symbol(store, "EUR/USD");
  tks_range range = store_range(symbol);
  Stream stream;
  Batch batch;
  cr_assert_eq(tks_range_arrow(store, &range, TKS_MAX_RECORDS, &stream, NULL), TKS_OK);
  cr_assert_eq(stream.get_next(&stream, &batch), 0);
  cr_assert_eq(batch.length, 3000);
  batch.release(&batch);
  expect_error(&stream, EIO, "TKS_EDAYFILE");
  cr_assert_not_null(strstr(stream.get_last_error(&stream), "2024-03-06"));
  cr_assert_eq(stream.get_next(&stream, &batch), 0);
  cr_assert_eq(batch.length, 3000);
  cr_assert_eq(VALUE(batch.children[TS], int64_t, 0), STORE_NOON + 2 * STORE_DAY_NS + 6000);
  batch.release(&batch);
  expect_end(&stream);
  stream.release(&stream);
}

Test(arrow_store, refuses_what_a_cursor_refuses) {
  tks_error error;
  Stream stream;
  tks_range range = store_range(symbol);
  cr_assert_eq(tks_range_arrow(store, &range, 0, NULL, &error), TKS_ENULL);
  cr_assert_eq(tks_range_arrow(store, NULL, 0, &stream, &error), TKS_ENULL);
  cr_assert_eq(tks_range_arrow(NULL, &range, 0, &stream, &error), TKS_ENULL);
  cr_assert_null(stream.release);
  cr_assert_eq(tks_range_arrow(store, &range, TKS_MAX_RECORDS + 1u, &stream, &error), TKS_ELIMIT);
  range.symbol = 99;
  cr_assert_eq(tks_range_arrow(store, &range, 0, &stream, &error), TKS_ESYMBOL);
  range = store_range(symbol);
  range.limit = 0;
  cr_assert_eq(tks_range_arrow(store, &range, 0, &stream, &error), TKS_ELIMIT);
  range.limit = 1;
  range.struct_size = 3;
  cr_assert_eq(tks_range_arrow(store, &range, 0, &stream, &error), TKS_ESTRUCT);
  cr_assert_null(stream.release);
}

Test(arrow_store, opening_survives_every_failed_allocation) {
  put_days(2, 100);
  tks_range range = store_range(symbol);
  bool failed = true;
  for (uint64_t k = 0; failed; k++) {
    Stream stream;
    fail_allocation(k);
    int code = tks_range_arrow(store, &range, 0, &stream, NULL);
    failed = allocations_work();
    cr_assert(code == TKS_ENOMEM || code == TKS_OK, "%d", code);
    cr_assert_eq(code == TKS_OK, stream.release != NULL);
    if (code == TKS_OK) stream.release(&stream);
  }
}

Test(arrow_store, arrays_of_quotes_become_a_batch) {
  put_days(1, 50);
  uint32_t other = store_symbol(store, "GBP/USD");
  store_put(store, other, STORE_NOON, 2, 3);
  tks_quote quotes[60];
  size_t count;
  tks_error error;
  Stream stream;
  Batch batch;
  cr_assert_eq(tks_latest_all(store, quotes, 60, &count, NULL), TKS_OK);
  cr_assert_eq(count, 2);
  cr_assert_eq(tks_quotes_arrow(store, quotes, count, &stream, NULL), TKS_OK);
  cr_assert_eq(stream.get_next(&stream, &batch), 0);
  expect_sound(&batch);
  cr_assert(row_is(&batch, 0, &quotes[0], "EUR/USD", "OANDA"));
  cr_assert(row_is(&batch, 1, &quotes[1], "GBP/USD", NULL));
  batch.release(&batch);
  expect_end(&stream);
  stream.release(&stream);

  cr_assert_eq(tks_quotes_arrow(store, NULL, 0, &stream, NULL), TKS_OK);
  expect_end(&stream);
  stream.release(&stream);
  cr_assert_eq(tks_quotes_arrow(store, NULL, 1, &stream, &error), TKS_ENULL);
  cr_assert_eq(tks_quotes_arrow(store, quotes, 1, NULL, &error), TKS_ENULL);
  cr_assert_eq(tks_quotes_arrow(store, quotes, (size_t)TKS_MAX_RECORDS + 1, &stream, &error), TKS_ELIMIT);
  for (int i = 1; i >= 0; i--) {
    const tks_quote kept = quotes[i];
    quotes[i].symbol = 99;
    cr_assert_eq(tks_quotes_arrow(store, quotes, 2, &stream, &error), TKS_ESYMBOL);
    quotes[i].symbol = 0;
    cr_assert_eq(tks_quotes_arrow(store, quotes, 2, &stream, &error), TKS_ESYMBOL);
    quotes[i] = kept;
  }
  quotes[1].symbol = other;
  quotes[1].source = 99;
  cr_assert_eq(tks_quotes_arrow(store, quotes, 2, &stream, &error), TKS_ESOURCE);
  cr_assert_null(stream.release);
  quotes[1].source = 0;
  bool failed = true;
  for (uint64_t k = 0; failed; k++) {
    fail_allocation(k);
    int code = tks_quotes_arrow(store, quotes, 2, &stream, &error);
    failed = allocations_work();
    cr_assert_eq(code, failed ? TKS_ENOMEM : TKS_OK);
    if (code == TKS_OK) stream.release(&stream);
  }
  store_close(store);
  cr_assert_eq(tks_quotes_arrow(store, quotes, 0, &stream, &error), TKS_ECLOSED);
  store = NULL;
}
