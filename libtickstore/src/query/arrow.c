#include "query/arrow.h"

#include <errno.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"

#define SCRATCH_RECORDS 2048 /* read at once: 144 KB, so that taking them apart stays in the cache */
#define FIRST_CAPACITY 2048  /* of columns; they grow with what is really there */
#define DEFAULT_RECORDS 65536

enum { TS, SYMBOL, BID, ASK, BID_SIZE, ASK_SIZE, SOURCE, SEQ, FLAGS, RECV, COLUMNS };
enum { NO_DICTIONARY = -1, SYMBOLS, SOURCES, DICTIONARIES };

static const struct {
  const char *name;
  const char *format;
  size_t width;
  bool nullable;
  int dictionary;
} COLUMN[COLUMNS] = {
    [TS] = {"ts", "tsn:UTC", 8, false, NO_DICTIONARY},
    [SYMBOL] = {"symbol", "i", 4, false, SYMBOLS},
    [BID] = {"bid", "g", 8, true, NO_DICTIONARY},
    [ASK] = {"ask", "g", 8, true, NO_DICTIONARY},
    [BID_SIZE] = {"bid_size", "g", 8, false, NO_DICTIONARY},
    [ASK_SIZE] = {"ask_size", "g", 8, false, NO_DICTIONARY},
    [SOURCE] = {"source", "i", 4, true, SOURCES},
    [SEQ] = {"seq", "L", 8, false, NO_DICTIONARY},
    [FLAGS] = {"flags", "I", 4, false, NO_DICTIONARY},
    [RECV] = {"recv", "tsn:UTC", 8, true, NO_DICTIONARY},
};

/* ----------------------------------------------------------------- words */

/* The names behind a dictionary's indexes, as an utf8 array has them. Never changed once made. */
typedef struct words {
  _Atomic uint32_t holds;
  uint32_t count;
  int32_t *offsets; /* count + 1 */
  char *bytes;
} words;

static void words_drop(words *w) {
  /* Acquire-release: the last one to let go sees what all others did with it. */
  if (w == NULL || atomic_fetch_sub_explicit(&w->holds, 1, memory_order_acq_rel) != 1) return;
  tks__free(w->offsets);
  tks__free(w->bytes);
  tks__free(w);
}

/* Ids to indexes, in the order in which they first occur. */
typedef struct wordlist {
  uint32_t *slots; /* open addressing; 0 = free, else index + 1 */
  uint32_t slot_count;
  uint32_t *ids; /* by index */
  size_t ids_capacity;
  int32_t *offsets;
  size_t offsets_capacity;
  char *bytes;
  size_t bytes_capacity;
  uint32_t count;
  uint32_t last_id; /* 0 = none; ids count from 1 */
  int32_t last_index;
  words *made; /* of the first made->count names; NULL = none yet */
} wordlist;

static void wordlist_deinit(wordlist *l) {
  tks__free(l->slots);
  tks__free(l->ids);
  tks__free(l->offsets);
  tks__free(l->bytes);
  words_drop(l->made);
}

static uint32_t slot_of(const wordlist *l, uint32_t id) {
  uint32_t slot = (id * 2654435761u) & (l->slot_count - 1);
  while (l->slots[slot] != 0 && l->ids[l->slots[slot] - 1] != id) slot = (slot + 1) & (l->slot_count - 1);
  return slot;
}

/* Room for one name more, at most half full. */
static bool wordlist_grow(wordlist *l) {
  if (!tks__grow((void **)&l->ids, &l->ids_capacity, (size_t)l->count + 1, sizeof *l->ids) ||
      !tks__grow((void **)&l->offsets, &l->offsets_capacity, (size_t)l->count + 2, sizeof *l->offsets) ||
      !tks__grow((void **)&l->bytes, &l->bytes_capacity, ((size_t)l->count + 1) * TKS_NAME_MAX, 1))
    return false;
  if (l->slot_count / 2 > l->count) return true;
  uint32_t wanted = l->slot_count == 0 ? 16 : l->slot_count * 2;
  uint32_t *slots = tks__calloc(wanted, sizeof *slots);
  if (slots == NULL) return false;
  tks__free(l->slots);
  l->slots = slots;
  l->slot_count = wanted;
  for (uint32_t i = 0; i < l->count; i++) l->slots[slot_of(l, l->ids[i])] = i + 1;
  return true;
}

static int wordlist_add(wordlist *l, bool symbol, uint32_t id, tks__arrow_name_fn name, void *context,
                        tks_error *error) {
  if (!wordlist_grow(l)) return tks__fail(error, TKS_ENOMEM, 0, "out of memory for the names of a range");
  if (l->count == 0) l->offsets[0] = 0;
  size_t length;
  int code = name(context, symbol, id, l->bytes + l->offsets[l->count], &length, error);
  if (code != TKS_OK) return code;
  l->offsets[l->count + 1] = l->offsets[l->count] + (int32_t)length;
  l->ids[l->count] = id;
  l->slots[slot_of(l, id)] = l->count + 1;
  l->count++;
  return TKS_OK;
}

static int wordlist_index(wordlist *l, bool symbol, uint32_t id, tks__arrow_name_fn name, void *context, int32_t *index,
                          tks_error *error) {
  if (id != l->last_id || id == 0) {
    uint32_t found = l->slot_count == 0 ? 0 : l->slots[slot_of(l, id)];
    if (found == 0) {
      int code = wordlist_add(l, symbol, id, name, context, error);
      if (code != TKS_OK) return code;
      found = l->count;
    }
    l->last_id = id;
    l->last_index = (int32_t)found - 1;
  }
  *index = l->last_index;
  return TKS_OK;
}

/* The names up to now, shared with earlier batches as long as no new one came. */
static words *wordlist_make(wordlist *l) {
  if (l->made == NULL || l->made->count != l->count) {
    size_t used = l->count == 0 ? 0 : (size_t)l->offsets[l->count];
    words *w = tks__calloc(1, sizeof *w);
    if (w == NULL) return NULL;
    atomic_init(&w->holds, 1);
    w->count = l->count;
    w->offsets = tks__calloc((size_t)l->count + 1, sizeof *w->offsets);
    w->bytes = tks__malloc(used + 1);
    if (w->offsets == NULL || w->bytes == NULL) {
      words_drop(w);
      return NULL;
    }
    if (l->count > 0) {
      memcpy(w->offsets, l->offsets, ((size_t)l->count + 1) * sizeof *w->offsets);
      memcpy(w->bytes, l->bytes, used);
    }
    words_drop(l->made);
    l->made = w;
  }
  atomic_fetch_add_explicit(&l->made->holds, 1, memory_order_relaxed);
  return l->made;
}

/* --------------------------------------------------------------- columns */

typedef struct columns {
  _Atomic uint32_t holds;
  size_t count, capacity;
  void *block; /* holds all of them: */
  void *values[COLUMNS];
  uint8_t *valid[COLUMNS]; /* bit i of a nullable column: row i is not null */
  int64_t nulls[COLUMNS];
  words *dictionaries[DICTIONARIES]; /* set when it is finished */
} columns;

static columns *columns_new(void) {
  columns *c = tks__calloc(1, sizeof *c);
  if (c != NULL) atomic_init(&c->holds, 1);
  return c;
}

static void columns_drop(columns *c) {
  /* Acquire-release: as in words_drop. */
  if (c == NULL || atomic_fetch_sub_explicit(&c->holds, 1, memory_order_acq_rel) != 1) return;
  for (int i = 0; i < DICTIONARIES; i++) words_drop(c->dictionaries[i]);
  tks__free(c->block);
  tks__free(c);
}

/* To a cache line, which is what Arrow asks for. */
static size_t rounded(size_t bytes) { return (bytes + 63) / 64 * 64; }

/* All columns to the same capacity; false: nothing changed. They lie in one block, so that it can have large pages: memory that
 * somebody sees for the first time costs, in small ones, more than filling it. */
static bool columns_resize(columns *c, size_t capacity) {
  size_t bits = rounded((capacity + 7) / 8), size = 0;
  for (int i = 0; i < COLUMNS; i++) size += rounded(capacity * COLUMN[i].width) + (COLUMN[i].nullable ? bits : 0);
  bool large = size >= TKS__LARGE_PAGE;
  char *block = tks__aligned_alloc(large ? TKS__LARGE_PAGE : 64, size);
  if (block == NULL) return false;
  if (large) tks__prefer_large_pages(block, size);
  char *at = block;
  for (int i = 0; i < COLUMNS; i++) {
    if (c->count > 0) memcpy(at, c->values[i], c->count * COLUMN[i].width);
    c->values[i] = at;
    at += rounded(capacity * COLUMN[i].width);
    if (!COLUMN[i].nullable) continue;
    if (c->count > 0) memcpy(at, c->valid[i], (c->count + 7) / 8);
    c->valid[i] = (uint8_t *)at;
    at += bits;
  }
  tks__free(c->block);
  c->block = block;
  c->capacity = capacity;
  return true;
}

/* Room for `needed` rows: at least `first`, then twice as much each time, never more than `most`. */
static bool columns_reserve(columns *c, size_t needed, size_t first, size_t most) {
  if (needed <= c->capacity) return true;
  size_t wanted = c->capacity == 0 ? first : c->capacity * 2;
  if (wanted < needed) wanted = needed;
  return columns_resize(c, wanted < most ? wanted : most);
}

/* Appends to a bitmap, a byte at a time. */
typedef struct bit_writer {
  uint8_t *bits;
  size_t at;
  unsigned byte;
  size_t zeros; /* written */
} bit_writer;

static bit_writer bits_from(uint8_t *bits, size_t at) {
  return (bit_writer){.bits = bits, .at = at, .byte = at % 8 == 0 ? 0 : bits[at / 8] & ((1u << (at % 8)) - 1)};
}

static inline void bits_push(bit_writer *w, bool value) {
  w->byte |= (unsigned)value << (w->at % 8);
  w->zeros += !value;
  if (++w->at % 8 != 0) return;
  w->bits[w->at / 8 - 1] = (uint8_t)w->byte;
  w->byte = 0;
}

/* How many of those that were pushed are null. */
static int64_t bits_end(bit_writer *w) {
  if (w->at % 8 != 0) w->bits[w->at / 8] = (uint8_t)w->byte;
  return (int64_t)w->zeros;
}

static void append_price(columns *c, int column, const double *first, size_t count) {
  double *to = (double *)c->values[column] + c->count;
  bit_writer valid = bits_from(c->valid[column], c->count);
  for (size_t i = 0; i < count; i++) {
    double price = *(const double *)((const char *)first + i * sizeof(tks_quote));
    to[i] = price;
    bits_push(&valid, !isnan(price));
  }
  c->nulls[column] += bits_end(&valid);
}

/* One field of every quote, given that of the first. */
static void copy_8_bytes(uint64_t *restrict to, const void *first, size_t count) {
  const char *from = first;
  for (size_t i = 0; i < count; i++) memcpy(&to[i], from + i * sizeof(tks_quote), sizeof to[i]);
}

static void copy_4_bytes(uint32_t *restrict to, const void *first, size_t count) {
  const char *from = first;
  for (size_t i = 0; i < count; i++) memcpy(&to[i], from + i * sizeof(tks_quote), sizeof to[i]);
}

/* Everything but the dictionaries' indexes, which are in place. There is room. What stands below a null is what other
 * tools take for none: NaN, and the earliest time there is, NumPy's NaT. */
static void append_values(columns *c, const tks_quote *quotes, size_t count) {
  if (count == 0) return;
  copy_8_bytes((uint64_t *)c->values[TS] + c->count, &quotes->ts_ns, count);
  copy_8_bytes((uint64_t *)c->values[BID_SIZE] + c->count, &quotes->bid_size, count);
  copy_8_bytes((uint64_t *)c->values[ASK_SIZE] + c->count, &quotes->ask_size, count);
  copy_8_bytes((uint64_t *)c->values[SEQ] + c->count, &quotes->seq, count);
  copy_4_bytes((uint32_t *)c->values[FLAGS] + c->count, &quotes->flags, count);
  append_price(c, BID, &quotes->bid, count);
  append_price(c, ASK, &quotes->ask, count);
  int64_t *recv = (int64_t *)c->values[RECV] + c->count;
  bit_writer valid = bits_from(c->valid[RECV], c->count);
  for (size_t i = 0; i < count; i++) {
    bool known = quotes[i].recv_ns != 0;
    recv[i] = known ? quotes[i].recv_ns : INT64_MIN;
    bits_push(&valid, known);
  }
  c->nulls[RECV] += bits_end(&valid);
  c->count += count;
}

/* ------------------------------------------------------------- filling them */

typedef struct filler {
  tks__arrow_name_fn name;
  void *context;
  wordlist lists[DICTIONARIES];
  columns *columns;  /* being filled; NULL = none */
  size_t last_count; /* of the columns before: room for as many is made at once */
} filler;

static void filler_deinit(filler *f) {
  for (int i = 0; i < DICTIONARIES; i++) wordlist_deinit(&f->lists[i]);
  columns_drop(f->columns);
}

/* Appends as many as it can, all if the result is TKS_OK. `most` bounds the capacity, not the count. */
static int append(filler *f, const tks_quote *quotes, size_t count, size_t most, size_t *appended, tks_error *error) {
  *appended = 0;
  if (f->columns == NULL) f->columns = columns_new();
  columns *c = f->columns;
  size_t first = f->last_count > FIRST_CAPACITY ? f->last_count : FIRST_CAPACITY;
  if (c == NULL || !columns_reserve(c, c->count + count, first, most))
    return tks__fail(error, TKS_ENOMEM, 0, "out of memory for the columns of a range");
  int32_t *symbols = (int32_t *)c->values[SYMBOL] + c->count, *sources = (int32_t *)c->values[SOURCE] + c->count;
  bit_writer valid = bits_from(c->valid[SOURCE], c->count);
  int code = TKS_OK;
  size_t i = 0;
  for (; i < count; i++) {
    bool known = quotes[i].source != 0;
    code = wordlist_index(&f->lists[SYMBOLS], true, quotes[i].symbol, f->name, f->context, &symbols[i], error);
    sources[i] = 0; /* below a null: some readers look */
    if (code == TKS_OK && known)
      code = wordlist_index(&f->lists[SOURCES], false, quotes[i].source, f->name, f->context, &sources[i], error);
    if (code != TKS_OK) break;
    bits_push(&valid, known);
  }
  c->nulls[SOURCE] += bits_end(&valid);
  append_values(c, quotes, i);
  *appended = i;
  return code;
}

/* The columns as they are, with their dictionaries: the caller's. NULL: no memory, nothing changed. */
static columns *finish(filler *f) {
  columns *c = f->columns;
  for (int i = 0; i < DICTIONARIES; i++) {
    words_drop(c->dictionaries[i]);
    c->dictionaries[i] = wordlist_make(&f->lists[i]);
    if (c->dictionaries[i] == NULL) return NULL;
  }
  /* What was reserved ahead goes back; without memory for that it stays. */
  if (c->capacity - c->count > c->capacity / 8) (void)columns_resize(c, c->count);
  f->columns = NULL;
  f->last_count = c->count;
  return c;
}

/* ----------------------------------------------------------------- batch */

/* The nodes of one batch, as the consumer sees them. */
typedef struct batch {
  _Atomic uint32_t holds; /* nodes that are not released */
  columns *columns;
  size_t first; /* row of the columns that is the batch's first */
  struct ArrowArray children[COLUMNS];
  struct ArrowArray *child_pointers[COLUMNS];
  struct ArrowArray dictionaries[DICTIONARIES];
  const void *struct_buffers[1];
  const void *buffers[COLUMNS][2];
  const void *dictionary_buffers[DICTIONARIES][3];
} batch;

static void batch_drop(batch *b) {
  /* Acquire-release: as in words_drop. */
  if (atomic_fetch_sub_explicit(&b->holds, 1, memory_order_acq_rel) != 1) return;
  columns_drop(b->columns);
  tks__free(b);
}

/* Of every node. `array` may stand anywhere, nodes are moved by copying them. */
static void release_array(struct ArrowArray *array) {
  for (int64_t i = 0; i < array->n_children; i++)
    if (array->children[i]->release != NULL) array->children[i]->release(array->children[i]);
  if (array->dictionary != NULL && array->dictionary->release != NULL) array->dictionary->release(array->dictionary);
  array->release = NULL;
  batch_drop(array->private_data);
}

static void make_dictionary(batch *b, int i) {
  const words *w = b->columns->dictionaries[i];
  b->dictionary_buffers[i][1] = w->offsets;
  b->dictionary_buffers[i][2] = w->bytes;
  b->dictionaries[i] = (struct ArrowArray){
      .length = w->count,
      .n_buffers = 3,
      .buffers = b->dictionary_buffers[i],
      .release = release_array,
      .private_data = b,
  };
}

static void make_child(batch *b, int i, size_t first, size_t count) {
  const columns *c = b->columns;
  bool whole = first == 0 && count == c->count;
  b->buffers[i][0] = c->nulls[i] > 0 ? c->valid[i] : NULL;
  b->buffers[i][1] = c->values[i];
  b->child_pointers[i] = &b->children[i];
  b->children[i] = (struct ArrowArray){
      .length = (int64_t)count,
      .null_count = whole || c->nulls[i] == 0 ? c->nulls[i] : -1,
      .offset = (int64_t)first,
      .n_buffers = 2,
      .buffers = b->buffers[i],
      .dictionary = COLUMN[i].dictionary == NO_DICTIONARY ? NULL : &b->dictionaries[COLUMN[i].dictionary],
      .release = release_array,
      .private_data = b,
  };
}

/* Rows [first, first + count) of the columns; takes over the caller's hold on them, unless there is no memory. */
static bool make_batch(columns *c, size_t first, size_t count, struct ArrowArray *out) {
  batch *b = tks__calloc(1, sizeof *b);
  if (b == NULL) return false;
  atomic_init(&b->holds, 1 + COLUMNS + DICTIONARIES);
  b->columns = c;
  b->first = first;
  for (int i = 0; i < DICTIONARIES; i++) make_dictionary(b, i);
  for (int i = 0; i < COLUMNS; i++) make_child(b, i, first, count);
  *out = (struct ArrowArray){
      .length = (int64_t)count,
      .n_buffers = 1,
      .n_children = COLUMNS,
      .buffers = b->struct_buffers,
      .children = b->child_pointers,
      .release = release_array,
      .private_data = b,
  };
  return true;
}

/* ---------------------------------------------------------------- schema */

typedef struct schema {
  _Atomic uint32_t holds;
  struct ArrowSchema children[COLUMNS];
  struct ArrowSchema *child_pointers[COLUMNS];
  struct ArrowSchema dictionaries[DICTIONARIES];
} schema;

static void release_schema(struct ArrowSchema *node) {
  for (int64_t i = 0; i < node->n_children; i++)
    if (node->children[i]->release != NULL) node->children[i]->release(node->children[i]);
  if (node->dictionary != NULL && node->dictionary->release != NULL) node->dictionary->release(node->dictionary);
  node->release = NULL;
  schema *s = node->private_data;
  /* Acquire-release: as in words_drop. */
  if (atomic_fetch_sub_explicit(&s->holds, 1, memory_order_acq_rel) == 1) tks__free(s);
}

static bool make_schema(struct ArrowSchema *out) {
  schema *s = tks__calloc(1, sizeof *s);
  if (s == NULL) return false;
  atomic_init(&s->holds, 1 + COLUMNS + DICTIONARIES);
  for (int i = 0; i < DICTIONARIES; i++)
    s->dictionaries[i] = (struct ArrowSchema){.format = "u", .name = "", .release = release_schema, .private_data = s};
  for (int i = 0; i < COLUMNS; i++) {
    s->child_pointers[i] = &s->children[i];
    s->children[i] = (struct ArrowSchema){
        .format = COLUMN[i].format,
        .name = COLUMN[i].name,
        .flags = COLUMN[i].nullable ? ARROW_FLAG_NULLABLE : 0,
        .dictionary = COLUMN[i].dictionary == NO_DICTIONARY ? NULL : &s->dictionaries[COLUMN[i].dictionary],
        .release = release_schema,
        .private_data = s,
    };
  }
  *out = (struct ArrowSchema){
      .format = "+s",
      .name = "",
      .n_children = COLUMNS,
      .children = s->child_pointers,
      .release = release_schema,
      .private_data = s,
  };
  return true;
}

/* ---------------------------------------------------------------- stream */

typedef struct stream {
  tks__arrow_source source; /* next NULL: only what is finished */
  filler filler;
  uint32_t chunk_records;
  tks_quote *scratch; /* read, from `at` to `got` not yet appended */
  size_t at, got;
  bool done; /* the source is at its end */
  int held;  /* an error of the source, to be reported behind the rows that came before it: */
  tks_error held_error;
  columns *finished; /* ready to be handed out, rows [first, first + count) */
  size_t first, count;
  tks_error error; /* the last one reported */
  char text[sizeof((tks_error *)0)->message + 64];
} stream;

static int errno_of(int code) {
  switch (code) {
    case TKS_ENOMEM: return ENOMEM;
    case TKS_ECLOSED: return EBADF;
    case TKS_EFORK: return EPERM;
    case TKS_EDEADLINE: return ETIMEDOUT;
    case TKS_EDISKFULL: return ENOSPC;
    case TKS_ENULL:
    case TKS_EINVAL: return EINVAL;
    default: return EIO;
  }
}

static const char *name_of(int code) {
  switch (code) {
#define CASE(name, value, message) \
  case TKS_##name: return "TKS_" #name;
    TKS_STATUS_MAP(CASE)
#undef CASE
    default: return "TKS_EUNKNOWN";
  }
}

/* The status stands in front, because the stream's own result can only be an errno. */
static int report(stream *s, int code) {
  if (s->error.detail != 0)
    (void)snprintf(s->text, sizeof s->text, "%s (%d): %s", name_of(code), s->error.detail, s->error.message);
  else (void)snprintf(s->text, sizeof s->text, "%s: %s", name_of(code), s->error.message);
  return errno_of(code);
}

static int read_more(stream *s) {
  if (s->scratch == NULL) {
    s->scratch = tks__malloc(SCRATCH_RECORDS * sizeof *s->scratch);
    if (s->scratch == NULL) return tks__fail(&s->error, TKS_ENOMEM, 0, "out of memory reading a range");
  }
  size_t room = s->chunk_records - (s->filler.columns == NULL ? 0 : s->filler.columns->count);
  size_t capacity = room < SCRATCH_RECORDS ? room : SCRATCH_RECORDS;
  s->at = s->got = 0;
  int code = s->source.next(s->source.context, s->scratch, capacity, &s->got, &s->held_error);
  if (code == TKS_EDEADLINE && s->got > 0) code = TKS_OK; /* it got on: it goes on */
  s->held = code;
  s->done = code == TKS_OK && s->got == 0;
  return TKS_OK;
}

/* Until the chunk is full or the source has no more (for now). */
static int fill(stream *s) {
  int code = TKS_OK;
  while (code == TKS_OK && (s->filler.columns == NULL || s->filler.columns->count < s->chunk_records)) {
    if (s->at < s->got) {
      size_t appended;
      code = append(&s->filler, s->scratch + s->at, s->got - s->at, s->chunk_records, &appended, &s->error);
      s->at += appended;
    } else if (s->done || s->held != TKS_OK) {
      break;
    } else {
      code = read_more(s);
    }
  }
  return code;
}

/* Has the next rows in `finished`; TKS_OK and NULL at the end. */
static int prepare(stream *s) {
  if (s->finished != NULL || s->source.next == NULL) return TKS_OK;
  int code = fill(s);
  if (code != TKS_OK) return code;
  if (s->filler.columns != NULL) {
    columns *c = finish(&s->filler);
    if (c == NULL) return tks__fail(&s->error, TKS_ENOMEM, 0, "out of memory for the columns of a range");
    s->finished = c;
    s->first = 0;
    s->count = c->count;
    return TKS_OK;
  }
  code = s->held;
  s->held = TKS_OK;
  if (code != TKS_OK) s->error = s->held_error;
  return code;
}

static int stream_next(struct ArrowArrayStream *self, struct ArrowArray *out) {
  stream *s = self->private_data;
  out->release = NULL;
  int code = prepare(s);
  if (code == TKS_OK && s->finished != NULL) {
    if (make_batch(s->finished, s->first, s->count, out)) s->finished = NULL;
    else code = tks__fail(&s->error, TKS_ENOMEM, 0, "out of memory for a batch of a range");
  }
  if (code != TKS_OK) return report(s, code);
  s->text[0] = '\0';
  return 0;
}

static int stream_schema(struct ArrowArrayStream *self, struct ArrowSchema *out) {
  stream *s = self->private_data;
  out->release = NULL;
  if (!make_schema(out)) {
    return report(s, tks__fail(&s->error, TKS_ENOMEM, 0, "out of memory for the schema of a range"));
  }
  return 0;
}

static const char *stream_last_error(struct ArrowArrayStream *self) {
  stream *s = self->private_data;
  return s->text[0] != '\0' ? s->text : NULL;
}

static void stream_release(struct ArrowArrayStream *self) {
  stream *s = self->private_data;
  if (s->source.close != NULL) s->source.close(s->source.context);
  filler_deinit(&s->filler);
  columns_drop(s->finished);
  tks__free(s->scratch);
  tks__free(s);
  self->release = NULL;
}

static stream *stream_new(struct ArrowArrayStream *out, tks_error *error) {
  out->release = NULL;
  stream *s = tks__calloc(1, sizeof *s);
  if (s == NULL) {
    (void)tks__fail(error, TKS_ENOMEM, 0, "out of memory opening a stream");
    return NULL;
  }
  *out = (struct ArrowArrayStream){
      .get_schema = stream_schema,
      .get_next = stream_next,
      .get_last_error = stream_last_error,
      .release = stream_release,
      .private_data = s,
  };
  return s;
}

int tks__arrow_stream(const tks__arrow_source *source, uint32_t chunk_records, struct ArrowArrayStream *out,
                      tks_error *error) {
  stream *s = stream_new(out, error);
  if (s == NULL) return TKS_ENOMEM;
  s->source = *source;
  s->filler.name = source->name;
  s->filler.context = source->context;
  s->chunk_records = chunk_records != 0 ? chunk_records : DEFAULT_RECORDS;
  return TKS_OK;
}

int tks__arrow_quotes(tks__arrow_name_fn name, void *context, const tks_quote *quotes, size_t count,
                      struct ArrowArrayStream *out, tks_error *error) {
  stream *s = stream_new(out, error);
  if (s == NULL) return TKS_ENOMEM;
  s->filler.name = name;
  s->filler.context = context;
  size_t appended;
  int code = count > 0 ? append(&s->filler, quotes, count, count, &appended, error) : TKS_OK;
  if (code == TKS_OK && count > 0) {
    s->finished = finish(&s->filler);
    s->count = count;
    if (s->finished == NULL) code = tks__fail(error, TKS_ENOMEM, 0, "out of memory for the columns of quotes");
  }
  if (code != TKS_OK) stream_release(out);
  return code;
}

int tks__arrow_share(const struct ArrowArray *array, uint64_t first, uint64_t count, struct ArrowArrayStream *out,
                     tks_error *error) {
  out->release = NULL;
  columns *c = NULL;
  if (array != NULL) {
    if (array->release != release_array || array->n_children != COLUMNS)
      return tks__fail(error, TKS_EINVAL, 0, "batch is released or not one of this library");
    if (first > (uint64_t)array->length || count > (uint64_t)array->length - first)
      return tks__fail(error, TKS_ELIMIT, 0, "rows %llu and %llu more, the batch has %lld", (unsigned long long)first,
                       (unsigned long long)count, (long long)array->length);
    const batch *b = array->private_data;
    c = b->columns;
    first += b->first; /* it may itself be a share */
  } else if (first != 0 || count != 0) {
    return tks__fail(error, TKS_ELIMIT, 0, "rows without a batch");
  }
  stream *s = stream_new(out, error);
  if (s == NULL) return TKS_ENOMEM;
  if (c == NULL || count == 0) return TKS_OK;
  /* Relaxed: the caller's batch holds the columns meanwhile. */
  atomic_fetch_add_explicit(&c->holds, 1, memory_order_relaxed);
  s->finished = c;
  s->first = (size_t)first;
  s->count = (size_t)count;
  return TKS_OK;
}
