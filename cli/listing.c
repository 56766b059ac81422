/* listing.c - the store's symbols and days, and one symbol by its name. */
#include "listing.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_GUESS = 4096, SUGGESTIONS = 3, FAR = 3 };

static bool out_of_memory(const char *subcommand) {
  cli_data_error(subcommand, "out of memory");
  return false;
}

/* Asking with a guessed capacity first: a listing reads every day file, and to ask for the number alone costs the
 * same. The number may grow in between where a writer is at work, hence the loop. */
bool list_symbols(const char *subcommand, tks_store *store, symbol_list *list) {
  size_t capacity = FIRST_GUESS;
  memset(list, 0, sizeof *list);
  for (;;) {
    free(list->items);
    list->items = calloc(capacity, sizeof *list->items);
    if (list->items == NULL) return out_of_memory(subcommand);
    list->code = tks_symbols(store, list->items, capacity, &list->count, &list->error);
    if (list->code < 0 && !is_day_problem(list->code)) break;
    if (list->count <= capacity) return true;
    capacity = list->count + FIRST_GUESS;
  }
  free(list->items);
  list->items = NULL;
  cli_data_error(subcommand, "%s", list->error.message);
  return false;
}

bool list_days(const char *subcommand, tks_store *store, uint32_t check, day_list *list) {
  size_t capacity = FIRST_GUESS;
  tks_error error = {0};
  memset(list, 0, sizeof *list);
  for (;;) {
    free(list->items);
    list->items = calloc(capacity, sizeof *list->items);
    if (list->items == NULL) return out_of_memory(subcommand);
    if (tks_days(store, check, list->items, capacity, &list->count, &error) < 0) break;
    if (list->count <= capacity) return true;
    capacity = list->count + FIRST_GUESS;
  }
  free(list->items);
  list->items = NULL;
  cli_data_error(subcommand, "%s", error.message);
  return false;
}

/* ------------------------------------------------------- names that look alike */

/* Folded for comparison: ASCII letters in one case, and no punctuation (EUR/USD, eur_usd and EURUSD are alike). */
static size_t fold(const char *name, size_t length, char *folded) {
  size_t out = 0;
  for (size_t i = 0; i < length && out < TKS_NAME_MAX; i++) {
    unsigned char byte = (unsigned char)name[i];
    if (byte >= 'a' && byte <= 'z') byte = (unsigned char)(byte - 'a' + 'A');
    bool plain = (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') || byte >= 0x80;
    if (plain) folded[out++] = (char)byte;
  }
  return out;
}

/* Levenshtein's distance: inserted, left out and changed bytes. */
static size_t distance(const char *a, size_t a_length, const char *b, size_t b_length) {
  size_t row[TKS_NAME_MAX + 1];
  for (size_t j = 0; j <= b_length; j++) row[j] = j;
  for (size_t i = 1; i <= a_length; i++) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b_length; j++) {
      size_t change = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      size_t shift = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
      row[j] = change < shift ? change : shift;
    }
  }
  return row[b_length];
}

/* How unlike two names are; FAR or more is not worth naming. A name that begins with the other is near. */
static size_t unlikeness(const char *wanted, size_t wanted_length, const tks_symbol_info *symbol) {
  char name[TKS_NAME_MAX];
  size_t length = fold(symbol->name, symbol->name_length, name);
  size_t shorter = length < wanted_length ? length : wanted_length;
  size_t far = distance(wanted, wanted_length, name, length);
  if (far >= FAR && shorter >= 3 && memcmp(wanted, name, shorter) == 0) return FAR - 1;
  return shorter <= 2 && far > 0 ? far + 1 : far;
}

/* The nearest names, nearest first, as "A, B or C"; empty if none is near. */
static void suggest(const symbol_list *list, const char *wanted, char *text, size_t size) {
  char folded[TKS_NAME_MAX];
  size_t length = fold(wanted, strlen(wanted), folded);
  size_t used = 0, named = 0;
  text[0] = '\0';
  for (size_t level = 0; level < FAR; level++) {
    for (size_t i = 0; i < list->count && named < SUGGESTIONS; i++) {
      const tks_symbol_info *symbol = &list->items[i];
      if (unlikeness(folded, length, symbol) != level) continue;
      int wrote =
          snprintf(text + used, size - used, "%s%.*s", named > 0 ? ", " : "", (int)symbol->name_length, symbol->name);
      if (wrote < 0 || (size_t)wrote >= size - used) return;
      used += (size_t)wrote;
      named++;
    }
  }
}

static void say_not_found(const char *subcommand, const symbol_list *list, const char *name) {
  char near[SUGGESTIONS * (TKS_NAME_MAX + 2) + 1];
  suggest(list, name, near, sizeof near);
  if (near[0] != '\0') cli_data_error(subcommand, "no symbol %s in this store; did you mean %s?", name, near);
  else if (list->count == 0) cli_data_error(subcommand, "no symbol %s: this store is empty", name);
  else cli_data_error(subcommand, "no symbol %s in this store; tickstore symbols lists all %zu", name, list->count);
  if (list->code != TKS_OK) cli_data_error(subcommand, "a day was left out: %s", list->error.message);
}

bool find_symbol(const char *subcommand, tks_store *store, const char *name, tks_symbol_info *symbol) {
  symbol_list list;
  if (!list_symbols(subcommand, store, &list)) return false;
  size_t length = strlen(name);
  bool found = false;
  for (size_t i = 0; i < list.count && !found; i++) {
    const tks_symbol_info *item = &list.items[i];
    found = item->name_length == length && memcmp(item->name, name, length) == 0;
    if (found) *symbol = *item;
  }
  if (!found) say_not_found(subcommand, &list, name);
  free(list.items);
  return found;
}
