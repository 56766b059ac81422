#include "journal_left.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "ingest/segment.h"

static bool ends_with(const char *name, const char *suffix) {
  size_t length = strlen(name), n = strlen(suffix);
  return length > n && strcmp(name + length - n, suffix) == 0;
}

/* Slots in use, behind the header; a file that is ready for use and a free one have none. */
static bool count_slots(FILE *file, uint64_t *records) {
  char header[TKS__SEGMENT_HEADER_BYTES];
  tks__segment_header head;
  if (fread(header, 1, sizeof header, file) < sizeof header) return !ferror(file);
  memcpy(&head, header, sizeof head);
  if (atomic_load(&head.magic) == 0 || atomic_load(&head.base_seq) == 0 || atomic_load(&head.base_again) == 0)
    return true;
  tks__slot slot;
  while (fread(&slot, sizeof slot, 1, file) == 1) *records += tks__slot_stamp(&slot) != 0;
  return !ferror(file);
}

static void look_at(const char *folder, const char *name, journal_left *left) {
  char path[4096];
  if ((size_t)snprintf(path, sizeof path, "%s/%s", folder, name) >= sizeof path) return;
  FILE *file = fopen(path, "re");
  if (file == NULL || !count_slots(file, &left->records)) left->unreadable++;
  if (file != NULL) fclose(file);
}

journal_left journal_left_in(const char *store) {
  journal_left left = {0};
  char folder[4096];
  if ((size_t)snprintf(folder, sizeof folder, "%s/journal", store) >= sizeof folder) return left;
  DIR *directory = opendir(folder);
  if (directory == NULL) return left;
  for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
    if (ends_with(entry->d_name, ".segment")) look_at(folder, entry->d_name, &left);
    left.set_aside += ends_with(entry->d_name, ".segment.damaged");
  }
  closedir(directory);
  return left;
}
