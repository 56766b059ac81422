#include "query/reader.h"

#include "base/error.h"
#include "base/memory.h"

/* Both lists ascend; where a day is in both, the primary wins, or both are read. */
static int merge(const tks__reader *reader, const tks__days *sqlite, const tks__days *json, tks__reader_days *out) {
  out->days = tks__calloc(sqlite->count + json->count + 1, sizeof *out->days);
  if (out->days == NULL) return TKS_ENOMEM;
  size_t s = 0, j = 0;
  while (s < sqlite->count || j < json->count) {
    bool has_sqlite = s < sqlite->count && (j == json->count || sqlite->days[s] <= json->days[j]);
    bool has_json = j < json->count && (s == sqlite->count || json->days[j] <= sqlite->days[s]);
    bool both = has_sqlite && has_json;
    tks__reader_day *day = &out->days[out->count++];
    day->day = has_sqlite ? sqlite->days[s] : json->days[j];
    day->also_json = both && reader->mixed;
    day->sink = both && !reader->mixed ? reader->primary : has_sqlite ? TKS_SQLITE : TKS_JSON;
    s += has_sqlite;
    j += has_json;
  }
  return TKS_OK;
}

int tks__reader_list(const tks__reader *reader, uint32_t symbol, int32_t first, int32_t last, tks__reader_days *out,
                     tks_error *error) {
  *out = (tks__reader_days){0};
  tks__days sqlite = {0}, json = {0};
  const tks__name *name = symbol != 0 ? tks__names_get(&reader->symbols->names, symbol) : NULL;
  int errnum = tks__layout_list_days(reader->layout, first, last, &sqlite);
  if (errnum == 0)
    errnum = tks__layout_list_json_days(reader->layout, name != NULL ? name->text : NULL,
                                        name != NULL ? name->length : 0, first, last, &json);
  int code = errnum != 0 ? tks__fail_errno(error, errnum, "cannot list the days of %s", reader->layout->root)
                         : merge(reader, &sqlite, &json, out);
  if (code == TKS_ENOMEM) (void)tks__fail(error, TKS_ENOMEM, 0, "out of memory listing days");
  tks__free(sqlite.days);
  tks__free(json.days);
  return code;
}

int tks__reader_check_aside(const tks__reader *reader, uint32_t symbol, const tks__reader_day *day, tks_error *error) {
  char path[TKS__PATH_MAX];
  if (day->sink == TKS_SQLITE) {
    tks__layout_day_file(reader->layout, day->day, path);
  } else {
    const tks__name *name = tks__names_get(&reader->symbols->names, symbol);
    tks__layout_json_file(reader->layout, name->text, name->length, day->day, path);
  }
  if (!tks__layout_has_damaged(path)) return TKS_OK;
  return tks__fail(error, TKS_EDAYFILE, 0, "a damaged file of this day was set aside as %s.damaged-1; the rest follows",
                   path);
}

uint64_t tks__reader_max_seq(const tks__reader *reader) {
  return reader->journal != NULL ? tks__journal_end_seq(reader->journal) - 1 : INT64_MAX;
}
