#include "persist/manifest.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/fs.h"
#include "base/memory.h"

#define MANIFEST_BYTES_MAX 65536

static const char *const BACKENDS[] = {[TKS_SQLITE] = "sqlite", [TKS_JSON] = "json", [TKS_DUAL] = "dual"};

void tks__manifest_init(tks__manifest *manifest, uint32_t backend) {
  *manifest = (tks__manifest){.next_seq = 1, .backend = backend, .clean = true};
  uint64_t words[2];
  /* An id only has to differ from other stores' ids. */
  if (getrandom(words, sizeof words, GRND_NONBLOCK) != (ssize_t)sizeof words) {
    words[0] = (uint64_t)tks__clock_now_ns();
    words[1] = (uint64_t)tks__clock_monotonic_ns();
  }
  (void)snprintf(manifest->store_id, sizeof manifest->store_id, "%016llx%016llx", (unsigned long long)words[0],
                 (unsigned long long)words[1]);
}

static uint32_t backend_of(const char *name) {
  for (uint32_t i = TKS_SQLITE; i <= TKS_DUAL; i++)
    if (name != NULL && strcmp(name, BACKENDS[i]) == 0) return i;
  return 0;
}

/* As init makes them. Anything else, and quotes above all, would make a manifest that cannot be read of the next one. */
static bool is_store_id(const char *text) {
  return text != NULL && strlen(text) == 32 && strspn(text, "0123456789abcdef") == 32;
}

static int parse(const char *path, const char *bytes, size_t length, tks__manifest *manifest, tks_error *error) {
  json_error_t why;
  json_t *root = json_loadb(bytes, length, JSON_REJECT_DUPLICATES, &why);
  if (root == NULL)
    return tks__fail(error, TKS_ENOTSTORE, 0, "%s is not JSON: %s at line %d", path, why.text, why.line);
  json_int_t format = json_integer_value(json_object_get(root, "format"));
  json_int_t next_seq = json_integer_value(json_object_get(root, "next_seq"));
  const json_t *clean = json_object_get(root, "clean");
  const char *store_id = json_string_value(json_object_get(root, "store_id"));
  manifest->backend = backend_of(json_string_value(json_object_get(root, "backend")));
  int code = TKS_OK;
  if (format > TKS__MANIFEST_FORMAT)
    code = tks__fail(error, TKS_EFORMAT, 0, "%s has format %lld, this library reads up to %d", path, (long long)format,
                     TKS__MANIFEST_FORMAT);
  else if (format < 1 || next_seq < 1 || !is_store_id(store_id) || manifest->backend == 0 || !json_is_boolean(clean))
    code = tks__fail(error, TKS_ENOTSTORE, 0, "%s lacks format, store_id, backend, next_seq or clean", path);
  else if (next_seq > TKS__NEXT_SEQ_MAX)
    code = tks__fail(error, TKS_ENOTSTORE, 0, "%s has next_seq %lld, which leaves no numbers for more records", path,
                     (long long)next_seq);
  if (code == TKS_OK) {
    memcpy(manifest->store_id, store_id, sizeof manifest->store_id);
    manifest->next_seq = (uint64_t)next_seq;
    manifest->clean = json_is_true(clean);
    manifest->mixed = json_is_true(json_object_get(root, "mixed"));
  }
  json_decref(root);
  return code;
}

int tks__manifest_read(const tks__layout *layout, tks__manifest *manifest, bool *missing, tks_error *error) {
  *manifest = (tks__manifest){0};
  char path[TKS__PATH_MAX];
  tks__layout_manifest(layout, path);
  char *bytes;
  size_t length;
  int errnum = tks__fs_read_file(path, MANIFEST_BYTES_MAX, &bytes, &length);
  *missing = errnum == ENOENT || errnum == ENOTDIR;
  if (*missing) return tks__fail(error, TKS_ENOTSTORE, errnum, "no store at %s", layout->root);
  if (errnum != 0) return tks__fail_errno(error, errnum, "cannot read %s", path);
  int code = parse(path, bytes, length, manifest, error);
  tks__free(bytes);
  return code;
}

int tks__manifest_write(const tks__layout *layout, const tks__manifest *manifest, tks_error *error) {
  char path[TKS__PATH_MAX];
  char text[320];
  tks__layout_manifest(layout, path);
  int n = snprintf(text, sizeof text,
                   "{\"format\": %d, \"store_id\": \"%s\", \"backend\": \"%s\", \"mixed\": %s, \"next_seq\": %llu,"
                   " \"clean\": %s}\n",
                   TKS__MANIFEST_FORMAT, manifest->store_id, BACKENDS[manifest->backend],
                   manifest->mixed ? "true" : "false", (unsigned long long)manifest->next_seq,
                   manifest->clean ? "true" : "false");
  int errnum = tks__fs_replace(path, text, (size_t)n);
  return errnum == 0 ? TKS_OK : tks__fail_errno(error, errnum, "cannot write %s", path);
}
