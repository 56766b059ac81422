/* What a crash, a failing disk or somebody's hand may leave in ROOT/journal. The store opens, or says clearly why it does not;
 * it never crashes, never gives a record twice, and one that opened can be used and opens again.
 *
 * The input changes the journal of a store that was copied while it was being written:
 *
 *   which file (1 byte), then how (1):
 *     0  patches: offset (4 bytes), length (1), bytes; a length of 0 cuts the file off there
 *     1  the rest of the input is the whole file
 *     2  the file is not there
 *     3  the rest is a file of another name
 *
 * A library without a journal has no such files, and then only strangers lie there. */
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/fuzz.h"

const unsigned fuzz_rounds = 300;
const char *const fuzz_words[] = {"EURUSD", "OANDA", "\xff\xff\xff\xff\xff\xff\xff\x7f", "\x40\x10", NULL};

enum { FILES_MAX = 8, RECORDS = 24, NAME_BYTES = 300 };

typedef struct copied_file {
  char name[NAME_BYTES]; /* journal/... */
  uint8_t *data;
  size_t size;
} copied_file;

static copied_file files[FILES_MAX];
static size_t file_count;
static char *manifest;
static size_t manifest_size;
static uint64_t first_seq;

static tks_config journal_config(void) {
  tks_config config = fuzz_config(TKS_SQLITE);
  config.journal = 1;
  config.journal_bytes = 1 << 20;
  return config;
}

static void copy_journal(void) {
  char path[PATH_MAX];
  (void)snprintf(path, sizeof path, "%s/journal", fuzz_dir());
  DIR *directory = opendir(path);
  if (directory == NULL) return;
  for (struct dirent *entry; (entry = readdir(directory)) != NULL && file_count < FILES_MAX;) {
    if (entry->d_name[0] == '.') continue;
    copied_file *f = &files[file_count];
    (void)snprintf(f->name, sizeof f->name, "journal/%s", entry->d_name);
    f->data = fuzz_read_file(f->name, &f->size);
    if (f->data != NULL) file_count++;
  }
  (void)closedir(directory);
}

/* Nothing is written to the sinks before it is copied: the writer is woken late. */
static void make_good(void) {
  if (manifest != NULL) return;
  fuzz_clear();
  tks_config config = journal_config();
  config.flush_interval_ms = 3600000;
  tks_store *store;
  FUZZ_CHECK(fuzz_open(&config, &store) == TKS_OK, "open");
  for (unsigned i = 0; i < RECORDS; i++) {
    uint64_t seq;
    FUZZ_CHECK(tks_put(store, FUZZ_SYMBOL, strlen(FUZZ_SYMBOL), 1, 2, "OANDA", 5, FUZZ_MIDNIGHT + i, &seq, NULL) ==
                   TKS_OK,
               "put");
    if (i == 0) first_seq = seq;
  }
  copy_journal();
  manifest = fuzz_read_file("store.json", &manifest_size);
  FUZZ_CHECK(manifest != NULL && tks_close(store, NULL) == TKS_OK, "close");
}

void fuzz_seeds(void) {
  make_good();
  fuzz_seed("", 0);
  for (uint8_t file = 0; file < (file_count > 0 ? file_count : 1); file++) {
    const uint8_t gone[] = {file, 2}, stranger[] = {file, 3, 'n', 'a', 'm', 'e', 's', 0, 1, 2, 3};
    const uint8_t header[] = {file, 0, 8, 0, 0, 0, 2, 0xff, 0xff}, cut[] = {file, 0, 0, 17, 0, 0, 0};
    const uint8_t slot[] = {file, 0, 0x40, 0x10, 0, 0, 4, 1, 2, 3, 4}, empty[] = {file, 1};
    fuzz_seed(gone, sizeof gone);
    fuzz_seed(stranger, sizeof stranger);
    fuzz_seed(header, sizeof header);
    fuzz_seed(cut, sizeof cut);
    fuzz_seed(slot, sizeof slot);
    fuzz_seed(empty, sizeof empty);
  }
}

static void write_patched(const copied_file *f, fuzz_input *in) {
  uint8_t *bytes = malloc(f->size + 1);
  if (bytes == NULL) abort();
  memcpy(bytes, f->data, f->size);
  size_t size = f->size;
  while (in->left > 0 && f->size > 0) {
    size_t at = (size_t)fuzz_number(in, 4) % f->size, length = fuzz_byte(in);
    if (length == 0) size = at;
    for (size_t i = 0; i < length && in->left > 0 && at + i < f->size; i++) bytes[at + i] = fuzz_byte(in);
  }
  fuzz_write_file(f->name, bytes, size);
  free(bytes);
}

static void write_stranger(fuzz_input *in) {
  char name[64] = "journal/";
  for (size_t at = strlen(name); at < sizeof name - 1; at++) {
    uint8_t c = fuzz_byte(in);
    if (c <= ' ' || c == '/' || c >= 127) break;
    name[at] = (char)c;
  }
  if (strspn(name + 8, ".") == strlen(name + 8)) (void)strcpy(name, "journal/names");
  fuzz_write_file(name, in->at, in->left);
}

static bool make_journal(const uint8_t *data, size_t size) {
  fuzz_input in = {data, size};
  size_t chosen = file_count > 0 ? fuzz_byte(&in) % file_count : fuzz_byte(&in) * 0u;
  int how = fuzz_byte(&in) % 4;
  for (size_t i = 0; i < file_count; i++)
    if (i != chosen || how == 3 || size == 0) fuzz_write_file(files[i].name, files[i].data, files[i].size);
  if (size == 0) return true;
  if (how == 3 || file_count == 0) write_stranger(&in);
  else if (how == 0) write_patched(&files[chosen], &in);
  else if (how == 1) fuzz_write_file(files[chosen].name, in.at, in.left);
  return false;
}

/* Each number once; of an undamaged journal all that was accepted. */
static void check_recovered(tks_store *store, bool undamaged) {
  uint32_t symbol;
  FUZZ_CHECK(tks_symbol(store, FUZZ_SYMBOL, strlen(FUZZ_SYMBOL), &symbol, NULL) == TKS_OK, "symbol");
  const tks_range range = {.struct_size = sizeof range,
                           .symbol = symbol,
                           .from_ns = TKS_TIME_MIN,
                           .to_ns = TKS_TIME_MAX,
                           .limit = TKS_NO_LIMIT};
  tks_cursor *cursor;
  tks_quote quotes[2 * RECORDS];
  size_t count = 0, found = 0;
  FUZZ_CHECK(tks_range_open(store, &range, &cursor, NULL) == TKS_OK, "range");
  (void)tks_cursor_next(cursor, quotes, 2 * RECORDS, &count, NULL);
  tks_cursor_close(cursor);
  for (size_t i = 0; i < count; i++) {
    for (size_t k = 0; k < i; k++) FUZZ_CHECK(quotes[k].seq != quotes[i].seq, "number %zu is there twice", i);
    found += quotes[i].seq >= first_seq && quotes[i].seq < first_seq + RECORDS;
  }
  FUZZ_CHECK(!undamaged || file_count == 0 || found == RECORDS, "%zu of %d records came back", found, RECORDS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  make_good();
  fuzz_clear();
  fuzz_write_file("store.json", manifest, manifest_size);
  bool undamaged = make_journal(data, size);
  tks_config config = journal_config();
  tks_store *store;
  config.read_only = 1;
  if (fuzz_open(&config, &store) == TKS_OK) {
    (void)fuzz_read_all(store);
    FUZZ_CHECK(tks_close(store, NULL) == TKS_OK, "close");
  }
  config.read_only = 0;
  int code = fuzz_open(&config, &store);
  FUZZ_CHECK(code == TKS_OK || (!undamaged && fuzz_is_refusal(code)), "%d", code);
  if (code != TKS_OK) return 0;
  check_recovered(store, undamaged);
  fuzz_use(store);
  (void)fuzz_read_all(store);
  FUZZ_CHECK(tks_close(store, NULL) == TKS_OK, "close");
  FUZZ_CHECK(fuzz_open(&config, &store) == TKS_OK, "does not open again");
  check_recovered(store, undamaged);
  FUZZ_CHECK(tks_close(store, NULL) == TKS_OK, "close");
  return 0;
}
