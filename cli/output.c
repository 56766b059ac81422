/* output.c - rows of cells as table, CSV or JSON. */
#include "output.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/decimal.h"
#include "base/utc.h"

enum { HOLD_ROWS = 400, HOLD_BYTES = 1 << 20 };

/* Kinds of a held cell; numbers and words are written alike in CSV but not in JSON or a table. */
enum { KIND_NULL = 'n', KIND_NUMBER = '0', KIND_TEXT = 't' };

static void append(cli_output *output, const char *bytes, size_t length) {
  if (output->length + length > output->capacity) {
    size_t capacity = 2 * (output->length + length) + 1024;
    char *grown = realloc(output->buffer, capacity);
    if (grown == NULL) {
      output->failed = true;
      return;
    }
    output->buffer = grown;
    output->capacity = capacity;
  }
  memcpy(output->buffer + output->length, bytes, length);
  output->length += length;
}

static void append_byte(cli_output *output, char byte) { append(output, &byte, 1); }

/* ------------------------------------------------------------- CSV and JSON */

static bool needs_quotes(const char *text, size_t length) {
  for (size_t i = 0; i < length; i++) {
    if (text[i] == ',' || text[i] == '"' || text[i] == '\n' || text[i] == '\r') return true;
  }
  return length > 0 && (text[0] == ' ' || text[length - 1] == ' ');
}

static void append_csv(cli_output *output, const char *text, size_t length) {
  if (!needs_quotes(text, length)) {
    append(output, text, length);
    return;
  }
  append_byte(output, '"');
  for (size_t i = 0; i < length; i++) {
    if (text[i] == '"') append_byte(output, '"');
    append_byte(output, text[i]);
  }
  append_byte(output, '"');
}

/* Bytes of the UTF-8 sequence that begins the text: 1 to 4, or 0 if it is none (overlong, surrogate, cut off). */
static size_t utf8_sequence(const unsigned char *text, size_t length) {
  if (text[0] < 0x80) return 1;
  size_t size = text[0] >= 0xf0 ? 4 : text[0] >= 0xe0 ? 3 : 2;
  if (text[0] < 0xc2 || text[0] > 0xf4 || size > length) return 0;
  for (size_t i = 1; i < size; i++) {
    if ((text[i] & 0xc0) != 0x80) return 0;
  }
  if ((text[0] == 0xe0 && text[1] < 0xa0) || (text[0] == 0xed && text[1] > 0x9f)) return 0;
  if ((text[0] == 0xf0 && text[1] < 0x90) || (text[0] == 0xf4 && text[1] > 0x8f)) return 0;
  return size;
}

static void append_json_string(cli_output *output, const char *text, size_t length) {
  append_byte(output, '"');
  for (size_t i = 0; i < length; i++) {
    unsigned char byte = (unsigned char)text[i];
    if (byte == '"' || byte == '\\') {
      append_byte(output, '\\');
      append_byte(output, (char)byte);
    } else if (byte < 0x20 || byte == 0x7f) {
      char escape[8];
      append(output, escape, (size_t)snprintf(escape, sizeof escape, "\\u%04x", byte));
    } else if (byte < 0x80) {
      append_byte(output, (char)byte);
    } else {
      size_t size = utf8_sequence((const unsigned char *)text + i, length - i);
      if (size == 0) append(output, "\\ufffd", 6);
      else append(output, text + i, size);
      i += size > 0 ? size - 1 : 0;
    }
  }
  append_byte(output, '"');
}

static void json_cell(cli_output *output, int kind, const char *text, size_t length) {
  const char *name = output->names[output->column];
  append_byte(output, output->column == 0 ? '{' : ',');
  append_json_string(output, name, strlen(name));
  append_byte(output, ':');
  if (kind == KIND_NULL) append(output, "null", 4);
  else if (kind == KIND_NUMBER) append(output, text, length);
  else append_json_string(output, text, length);
}

static void csv_cell(cli_output *output, const char *text, size_t length) {
  if (output->column > 0) append_byte(output, ',');
  append_csv(output, text, length);
}

/* -------------------------------------------------------------------- table */

/* Characters, taking every UTF-8 sequence as one column wide. */
static int characters(const char *text, size_t length) {
  int count = 0;
  for (size_t i = 0; i < length; i++) count += (text[i] & 0xc0) != 0x80;
  return count;
}

/* Where a number's decimal point stands, or its end. */
static size_t point(const char *text, size_t length) {
  const char *found = memchr(text, '.', length);
  return found != NULL ? (size_t)(found - text) : length;
}

static void widen(output_column *column, int kind, const char *text, size_t length) {
  int left = characters(text, length), right = 0;
  if (kind == KIND_NUMBER) {
    left = (int)point(text, length);
    right = (int)length - left;
  }
  if (kind == KIND_TEXT) column->text = true;
  if (left > column->left) column->left = left;
  if (right > column->right) column->right = right;
}

static bool is_control(char byte) { return (unsigned char)byte < 0x20 || byte == 0x7f; }

/* U+0080 to U+009F: among them one that begins a control sequence, like ESC [. */
static bool is_wide_control(const char *text, size_t length) {
  return length >= 2 && (unsigned char)text[0] == 0xc2 && (unsigned char)text[1] >= 0x80 &&
         (unsigned char)text[1] < 0xa0;
}

/* Text in a table must neither break its line nor reach the terminal as a control sequence. */
static void table_cell(cli_output *output, int kind, const char *text, size_t length) {
  size_t start = output->length + 1;
  append_byte(output, (char)kind);
  for (size_t i = 0; i < length; i++) {
    bool wide = is_wide_control(text + i, length - i);
    append_byte(output, wide || is_control(text[i]) ? '?' : text[i]);
    i += wide;
  }
  append_byte(output, '\0');
  if (output->failed || output->flowing) return;
  widen(&output->widths[output->column], kind, output->buffer + start, length);
}

static void print_spaces(int count) {
  if (count > 0) printf("%*s", count, "");
}

static void print_cell(const output_column *column, int kind, const char *text, bool last) {
  size_t length = strlen(text);
  int width = column->left + column->right;
  if (kind == KIND_NUMBER && !column->text) {
    size_t left = point(text, length);
    print_spaces(column->left - (int)left);
    fwrite(text, 1, length, stdout);
    if (!last) print_spaces(column->right - (int)(length - left));
  } else {
    int used = characters(text, length);
    if (!column->text) print_spaces(width - used);
    fwrite(text, 1, length, stdout);
    if (column->text && !last) print_spaces(width - used);
  }
  if (!last) fputs("  ", stdout);
}

static void print_header(cli_output *output) {
  for (int i = 0; i < output->columns; i++) {
    output_column *column = &output->widths[i];
    int lacking = characters(output->names[i], strlen(output->names[i])) - column->left - column->right;
    if (lacking > 0) column->left += lacking;
  }
  if (output->color) fputs("\033[1m", stdout);
  for (int i = 0; i < output->columns; i++) {
    print_cell(&output->widths[i], KIND_NULL, output->names[i], i + 1 == output->columns);
  }
  fputs(output->color ? "\033[0m\n" : "\n", stdout);
}

static void print_held(cli_output *output) {
  if (!output->flowing) print_header(output);
  output->flowing = true;
  const char *cell = output->buffer;
  for (size_t row = 0; row < output->held; row++) {
    for (int i = 0; i < output->columns; i++) {
      print_cell(&output->widths[i], cell[0], cell + 1, i + 1 == output->columns);
      cell += strlen(cell + 1) + 2;
    }
    putchar('\n');
  }
  output->held = 0;
  output->length = 0;
  output->failed = output->failed || !cli_stdout_open();
}

/* ---------------------------------------------------------------- interface */

static void cell(cli_output *output, int kind, const char *text, size_t length) {
  if (output->failed || output->column >= output->columns) return;
  if (output->format == CLI_TABLE) table_cell(output, kind, text, length);
  else if (output->format == CLI_JSON) json_cell(output, kind, text, length);
  else csv_cell(output, text, length);
  output->column++;
}

bool output_begin(cli_output *output, cli_format format, const char *const *names, int columns) {
  memset(output, 0, sizeof *output);
  output->format = format;
  output->names = names;
  output->columns = columns;
  output->color = cli_color(stdout);
  if (format == CLI_TABLE) {
    output->widths = calloc((size_t)columns + 1, sizeof *output->widths);
    if (output->widths == NULL) {
      cli_data_error(NULL, "out of memory");
      return false;
    }
  } else if (format == CLI_CSV) {
    for (int i = 0; i < columns; i++) output_string(output, names[i]);
    output_end_row(output);
  }
  return true;
}

void output_null(cli_output *output) { cell(output, KIND_NULL, "", 0); }

void output_skip(cli_output *output) {
  if (output->format == CLI_JSON) output->column++;
  else output_null(output);
}

void output_text(cli_output *output, const char *text, size_t length) { cell(output, KIND_TEXT, text, length); }

void output_hex(cli_output *output, const void *bytes, size_t length) {
  static const char digits[] = "0123456789abcdef";
  const unsigned char *from = bytes;
  char *text = malloc(2 * length + 1);
  if (text == NULL) {
    output->failed = true;
    return;
  }
  for (size_t i = 0; i < length; i++) {
    text[2 * i] = digits[from[i] >> 4];
    text[2 * i + 1] = digits[from[i] & 15];
  }
  output_text(output, text, 2 * length);
  free(text);
}

void output_string(cli_output *output, const char *text) { output_text(output, text, strlen(text)); }

void output_int(cli_output *output, int64_t value) {
  char text[24];
  cell(output, KIND_NUMBER, text, (size_t)snprintf(text, sizeof text, "%" PRId64, value));
}

void output_uint(cli_output *output, uint64_t value) {
  char text[24];
  cell(output, KIND_NUMBER, text, (size_t)snprintf(text, sizeof text, "%" PRIu64, value));
}

void output_real(cli_output *output, double value) {
  char text[TKS__DECIMAL_MAX];
  size_t length = tks__decimal_format(value, text);
  if (__builtin_isnan(value)) output_null(output);
  else if (__builtin_isinf(value)) output_text(output, text, length); /* no JSON number can say it */
  else cell(output, KIND_NUMBER, text, length);
}

void output_time(cli_output *output, int64_t ts_ns) {
  char text[TKS__UTC_TEXT_MAX];
  output_text(output, text, tks__utc_format(ts_ns, text));
}

void output_end_row(cli_output *output) {
  output->column = 0;
  if (output->failed) return;
  if (output->format == CLI_TABLE) {
    output->held++;
    if (output->flowing || output->held >= HOLD_ROWS || output->length >= HOLD_BYTES) print_held(output);
    return;
  }
  append(output, output->format == CLI_JSON ? "}\n" : "\n", output->format == CLI_JSON ? 2 : 1);
  if (output->failed) return;
  fwrite(output->buffer, 1, output->length, stdout);
  output->failed = !cli_stdout_open();
  output->length = 0;
}

void output_end(cli_output *output) {
  if (output->format == CLI_TABLE && (!output->failed || output->held > 0)) print_held(output);
  free(output->widths);
  free(output->buffer);
}
