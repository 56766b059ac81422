/* import_options.h - the command line of import. */
#ifndef CLI_IMPORT_OPTIONS_H
#define CLI_IMPORT_OPTIONS_H

#include "import_reader.h"

typedef struct import_options {
  const char *store;
  uint32_t backend; /* 0: not said */
  import_format format;
  const char *format_name;
  const char *symbol; /* "" if not said, like the following two */
  const char *source;
  const char *broker_id;
  int64_t utc_offset_s;
  double throttle; /* negative: off */
  bool strict;
  bool quiet;
  bool report_json;
  char *const *files;
  int file_count;
} import_options;

/* False: done (help, or a usage error, which was said); *exit_code says how. */
bool import_options_parse(import_options *options, int argc, char **argv, int *exit_code);

#endif
