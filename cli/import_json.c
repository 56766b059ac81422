/* import_json.c - reads one object with jansson and turns its members into a row. */
#include "import_json.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

static const char *kind(const json_t *value) {
  switch (json_typeof(value)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "an array";
    case JSON_STRING: return "text";
    case JSON_TRUE:
    case JSON_FALSE: return "true or false";
    default: return "a number";
  }
}

/* Absent and null alike leave *value as it is. */
static bool number(const json_t *object, const char *name, double *value, import_reason *reason) {
  const json_t *member = json_object_get(object, name);
  if (member == NULL || json_is_null(member)) return true;
  if (!json_is_number(member)) return import_refuse(reason, "%s is %s, not a number", name, kind(member));
  *value = json_number_value(member);
  return true;
}

static bool integer(const json_t *object, const char *name, int64_t *value, import_reason *reason) {
  const json_t *member = json_object_get(object, name);
  if (member == NULL || json_is_null(member)) return true;
  if (!json_is_integer(member)) return import_refuse(reason, "%s is not an integer in range", name);
  *value = json_integer_value(member);
  return true;
}

static bool text_member(const json_t *object, const char *name, const char **text, size_t *length,
                        import_reason *reason) {
  const json_t *member = json_object_get(object, name);
  if (member == NULL || json_is_null(member)) return true;
  if (!json_is_string(member)) return import_refuse(reason, "%s is %s, not text", name, kind(member));
  *text = json_string_value(member);
  *length = json_string_length(member);
  return true;
}

static bool timestamp(const json_t *object, int64_t *ts_ns, import_reason *reason) {
  const char *text = NULL;
  size_t length = 0;
  if (!text_member(object, "timestamp", &text, &length, reason)) return false;
  if (text == NULL) return import_refuse(reason, "no timestamp");
  return import_time("timestamp", text, length, ts_ns, reason);
}

/* A store has one broker_id; records of others lose theirs, which is said once a file. */
static bool check_broker(const json_t *object, import_reader *reader, import_reason *reason) {
  const char *broker = NULL;
  size_t length = 0;
  if (!text_member(object, "broker_id", &broker, &length, reason)) return false;
  if (broker == NULL || reader->note[0] != '\0' || strcmp(broker, reader->meaning->broker_id) == 0) return true;
  char shown[IMPORT_SHOWN_MAX];
  snprintf(reader->note, sizeof reader->note, "broker_id %s is not kept: this import writes \"%s\" (see --broker-id)",
           import_show(broker, length, shown), reader->meaning->broker_id);
  return true;
}

static bool convert(const json_t *object, import_row *row, import_reason *reason) {
  tks_quote *quote = &row->quote;
  int64_t flags = 0;
  if (!timestamp(object, &quote->ts_ns, reason) || !number(object, "bid", &quote->bid, reason) ||
      !number(object, "ask", &quote->ask, reason) || !number(object, "bid_size", &quote->bid_size, reason) ||
      !number(object, "ask_size", &quote->ask_size, reason) || !integer(object, "recv_ns", &quote->recv_ns, reason) ||
      !integer(object, "flags", &flags, reason) ||
      !text_member(object, "symbol", &row->symbol, &row->symbol_length, reason) ||
      !text_member(object, "lp", &row->source, &row->source_length, reason))
    return false;
  quote->flags = (uint32_t)flags & TKS_FLAG_USER_MASK;
  return true;
}

/* jansson refuses integers beyond 64 bits unless all integers are to be doubles: a second try, since
 * prices may be written so. */
static json_t *load(const char *text, size_t length, json_error_t *error) {
  json_t *object = json_loadb(text, length, 0, error);
  if (object == NULL && json_error_code(error) == json_error_numeric_overflow)
    object = json_loadb(text, length, JSON_DECODE_INT_AS_REAL, error);
  return object;
}

bool import_json_row(import_json *json, import_reader *reader, const char *text, size_t length, import_row *row,
                     import_reason *reason) {
  import_row_init(row);
  import_json_free(json);
  json_error_t error;
  json_t *object = load(text, length, &error);
  json->object = object;
  if (object == NULL) {
    if (json_error_code(&error) == json_error_numeric_overflow)
      return import_refuse(reason, "a number is beyond the largest double");
    return import_refuse(reason, "not JSON: %s", error.text);
  }
  if (!json_is_object(object)) return import_refuse(reason, "not an object but %s", kind(object));
  return check_broker(object, reader, reason) && convert(object, row, reason);
}

void import_json_free(import_json *json) {
  json_decref(json->object);
  json->object = NULL;
}
