/* import_file.h - one input on its way: opened, recognised, read to its end, and entered in the ledger.
 *
 * The life of an input: open -> recognise (the ledger's entries with the same beginning; the longest whose
 * digest is that of the same bytes here is where reading goes on) -> rows -> checkpoints -> end. */
#ifndef CLI_IMPORT_FILE_H
#define CLI_IMPORT_FILE_H

#include "cli.h"
#include "import_feed.h"
#include "import_files.h"
#include "import_ledger.h"
#include "import_options.h"

/* What all inputs of an import share. */
typedef struct import_run {
  import_options options;
  import_feed *feed;
  import_ledger ledger;
  import_report report;
  cli_progress progress;
  uint64_t bytes_done;   /* of the inputs before this one */
  uint64_t rows_flushed; /* rows read when everything was last made durable */
  int64_t flushed_ns;    /* and when that was */
  char error[400];       /* why the import cannot go on */
} import_run;

typedef enum import_outcome {
  IMPORT_DONE,    /* with this input; go on with the next */
  IMPORT_STOPPED, /* at a refused row under --strict */
  IMPORT_SIGNAL,  /* by a signal */
  IMPORT_FATAL,   /* run->error */
} import_outcome;

/* The signal that asked to stop; 0 if none. */
extern volatile int import_signal;

import_outcome import_file_run(import_run *run, const import_file *file);

/* Makes all that was read durable, then the ledger. False: run->error. */
bool import_run_checkpoint(import_run *run);

#endif
