#include "query/reader.h"

#include <errno.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/utc.h"

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

/* ------------------------------------------------------------------ walk */

static int32_t month_of(int32_t day) {
  int year, month, mday;
  tks__utc_date(day, &year, &month, &mday);
  return year * 12 + month - 1;
}

void tks__reader_walk_begin(tks__reader_walk *walk, uint32_t symbol, int32_t first, int32_t last, bool descending) {
  *walk = (tks__reader_walk){
      .symbol = symbol,
      .first = first,
      .last = last,
      .from_month = month_of(first),
      .to_month = month_of(last),
      .descending = descending,
  };
}

/* The entry that comes `i`th in reading order. */
static int32_t in_order(const tks__reader_walk *walk, const tks__days *numbers, size_t i) {
  return numbers->days[walk->descending ? numbers->count - 1 - i : i];
}

#define NO_MONTH INT32_MIN

static bool is_left(const tks__reader_walk *walk, int32_t month) {
  return month >= walk->from_month && month <= walk->to_month;
}

/* The first of them in reading order that is left; NO_MONTH: none. */
static int db_month(const tks__reader *reader, const tks__reader_walk *walk, int32_t *month) {
  tks__days years;
  *month = NO_MONTH;
  int rc = tks__calendar_db(reader->calendar, 0, 0, &years);
  for (size_t i = 0; i < years.count && rc == 0 && *month == NO_MONTH; i++) {
    int32_t year = in_order(walk, &years, i);
    if (year < walk->from_month / 12 || year > walk->to_month / 12) continue;
    tks__days months;
    rc = tks__calendar_db(reader->calendar, year, 0, &months);
    for (size_t k = 0; k < months.count && *month == NO_MONTH; k++) {
      int32_t m = year * 12 + in_order(walk, &months, k) - 1;
      if (is_left(walk, m)) *month = m;
    }
    tks__free(months.days);
  }
  tks__free(years.days);
  return rc;
}

static int32_t json_month(const tks__reader_walk *walk, const tks__days *json) {
  for (size_t i = 0; i < json->count; i++) {
    int32_t day = in_order(walk, json, i);
    if (day >= walk->first && day <= walk->last && is_left(walk, month_of(day))) return month_of(day);
  }
  return NO_MONTH;
}

/* Keeps the days of the walk that lie in a month. */
static void keep_month(const tks__reader_walk *walk, int32_t month, tks__days *days) {
  size_t kept = 0;
  for (size_t i = 0; i < days->count; i++) {
    int32_t day = days->days[i];
    if (day >= walk->first && day <= walk->last && month_of(day) == month) days->days[kept++] = day;
  }
  days->count = kept;
}

/* The next month with a directory or a file, which may turn out to have no day. */
static int walk_month(const tks__reader *reader, tks__reader_walk *walk, const tks__name *name, tks__reader_days *out) {
  tks__days sqlite = {0}, json;
  int32_t month, other;
  int rc = tks__calendar_json(reader->calendar, walk->symbol, name, &json);
  if (rc == 0) rc = db_month(reader, walk, &month);
  if (rc == 0) {
    other = json_month(walk, &json);
    if (month == NO_MONTH || (other != NO_MONTH && walk->descending == (other > month))) month = other;
    if (month != NO_MONTH) rc = tks__calendar_db(reader->calendar, month / 12, month % 12 + 1, &sqlite);
  }
  if (rc == 0) {
    keep_month(walk, month, &sqlite);
    keep_month(walk, month, &json);
    rc = merge(reader, &sqlite, &json, out) == TKS_OK ? 0 : ENOMEM;
  }
  if (rc == 0) {
    if (month == NO_MONTH) walk->to_month = walk->from_month - 1;
    else if (walk->descending) walk->to_month = month - 1;
    else walk->from_month = month + 1;
  }
  tks__free(sqlite.days);
  tks__free(json.days);
  return rc;
}

int tks__reader_walk_next(const tks__reader *reader, tks__reader_walk *walk, tks__reader_days *days, tks_error *error) {
  const tks__name *name = tks__names_get(&reader->symbols->names, walk->symbol);
  *days = (tks__reader_days){0};
  while (!tks__reader_walk_over(walk) && days->count == 0) {
    tks__free(days->days);
    *days = (tks__reader_days){0};
    int rc = walk_month(reader, walk, name, days);
    if (rc == ENOMEM) return tks__fail(error, TKS_ENOMEM, 0, "out of memory listing days");
    if (rc != 0) return tks__fail_errno(error, rc, "cannot list the days of %s", reader->layout->root);
  }
  return TKS_OK;
}

/* ------------------------------------------------------------------ rest */

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

bool tks__reader_go_on(int code, int *first, tks_error *error, const tks_error *why) {
  if (code == TKS_OK) return true;
  bool damage = code == TKS_EDAYFILE || code == TKS_EFORMAT;
  if (*first == TKS_OK || !damage) {
    *first = code;
    if (error != NULL) *error = *why;
  }
  return damage;
}

uint64_t tks__reader_max_seq(const tks__reader *reader) {
  return reader->journal != NULL ? tks__journal_end_seq(reader->journal) - 1 : INT64_MAX;
}
