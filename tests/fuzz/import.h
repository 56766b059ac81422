/* import.h - the part that the importers' targets share: reads the input to its end, then once more in two runs, of
 * which the second goes on where the first one stopped. Both must see the same rows. */
#ifndef TKS_TESTS_FUZZ_IMPORT_H
#define TKS_TESTS_FUZZ_IMPORT_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz/fuzz.h"
#include "import_reader.h"
#include "import_row.h"
#include "import_stream.h"

typedef import_reader *import_maker(import_stream *stream, const import_meaning *meaning, import_reason *reason);

typedef struct import_seen {
  uint64_t digest; /* of all that the row or the refusal holds */
  import_step step;
} import_seen;

typedef struct import_sight {
  import_seen *seen;
  size_t count, room;
  uint64_t position, number; /* where it ended, or stopped */
} import_sight;

static inline uint64_t import_fnv(uint64_t digest, const void *data, size_t size) {
  for (size_t i = 0; i < size; i++) digest = (digest ^ ((const uint8_t *)data)[i]) * UINT64_C(0x100000001b3);
  return digest;
}

static inline void import_see(import_sight *sight, const import_reader *reader, import_step step,
                              const import_row *row) {
  if (sight->count == sight->room) {
    sight->room = sight->room * 2 + 64;
    sight->seen = realloc(sight->seen, sight->room * sizeof *sight->seen);
    if (sight->seen == NULL) abort();
  }
  uint64_t digest = import_fnv(UINT64_C(0xcbf29ce484222325), &reader->number, sizeof reader->number);
  if (step == IMPORT_ROW) {
    tks_quote quote = row->quote;
    if (isnan(quote.bid)) quote.bid = NAN;
    if (isnan(quote.ask)) quote.ask = NAN;
    digest = import_fnv(digest, &quote, sizeof quote);
    digest = import_fnv(digest, row->symbol, row->symbol_length);
    digest = import_fnv(digest, row->source, row->source_length);
  }
  sight->seen[sight->count++] = (import_seen){digest, step};
}

/* Reads `steps` records from where `sight` stands. */
static inline void import_read(const char *path, import_maker *make, const import_meaning *meaning, size_t steps,
                               size_t size, import_sight *sight) {
  import_stream stream;
  import_reason reason = {""};
  FUZZ_CHECK(import_stream_open(&stream, path, false, NULL), "%s", stream.error);
  import_reader *reader = make(&stream, meaning, &reason);
  FUZZ_CHECK(reader != NULL || reason.text[0] != 0, "refused without a reason");
  if (reader != NULL) {
    if (sight->position > 0) {
      FUZZ_CHECK(import_stream_skip_to(&stream, sight->position), "the position is not there");
      reader->resume(reader, sight->number);
    }
    import_row row;
    import_step step = IMPORT_END;
    for (; steps > 0; steps--) {
      reason.text[0] = 0;
      import_row_init(&row);
      step = reader->next(reader, &row, &reason);
      if (step == IMPORT_END) break;
      FUZZ_CHECK(step == IMPORT_ROW || reason.text[0] != 0, "refused without a reason");
      import_see(sight, reader, step, &row);
      FUZZ_CHECK(sight->count <= size + 1, "more records than bytes");
      reader->commit(reader);
    }
    sight->position = stream.position;
    sight->number = reader->done;
    FUZZ_CHECK(stream.position <= size, "%llu", (unsigned long long)stream.position);
    reader->free(reader);
  }
  import_stream_close(&stream);
}

static inline int import_fuzz(import_maker *make, const import_meaning *meaning, const uint8_t *data, size_t size) {
  static int fd = -1;
  static char path[64];
  if (fd < 0) {
    fd = memfd_create("input", MFD_CLOEXEC);
    FUZZ_CHECK(fd >= 0, "no memory file");
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  }
  FUZZ_CHECK(ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size, "cannot write the input");
  import_sight whole = {0}, parts = {0};
  import_read(path, make, meaning, SIZE_MAX, size, &whole);
  /* Not behind the last one: if it was refused and ends with the input, it is told again. */
  if (whole.count > 1) {
    import_read(path, make, meaning, 1 + import_fnv(size, data, size) % (whole.count - 1), size, &parts);
    import_read(path, make, meaning, SIZE_MAX, size, &parts);
    /* Rubbish at the end of a legacy file whose array was closed before the place of resuming is taken for a record
     * that is still being written, and not refused. */
    bool rubbish = whole.seen[whole.count - 1].step == IMPORT_BAD && parts.count + 1 == whole.count;
    FUZZ_CHECK(parts.count == whole.count || (rubbish && meaning->format == IMPORT_LEGACY_JSON),
               "%zu records, %zu in two runs", whole.count, parts.count);
    for (size_t i = 0; i < parts.count; i++)
      FUZZ_CHECK(parts.seen[i].step == whole.seen[i].step && parts.seen[i].digest == whole.seen[i].digest,
                 "record %zu differs", i);
  }
  free(whole.seen);
  free(parts.seen);
  return 0;
}

#define IMPORT_MEANING(the_format)                                                                       \
  {                                                                                                      \
    .format = (the_format), .symbol = "EURUSD", .symbol_length = 6, .source = "", .directory = "EURUSD", \
    .directory_length = 6, .broker_id = "default", .midnight_ns = FUZZ_MIDNIGHT                          \
  }

#endif
