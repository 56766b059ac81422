/* demo_view.h - the demo's live view: on a terminal a block that is redrawn, elsewhere a plain line per second. */
#ifndef CLI_DEMO_VIEW_H
#define CLI_DEMO_VIEW_H

#include "cli.h"

enum { DEMO_HISTORY = 40, DEMO_WATCHED = 3 };

typedef struct demo_view {
  tks_store *store;
  int64_t seconds;    /* planned */
  int64_t started_ns; /* monotonic */
  int64_t drawn_ns;   /* 0 = not yet */
  int64_t rate_ns;    /* when the rate was last taken */
  uint64_t rate_received;
  double rate;                  /* quotes received per second */
  double history[DEMO_HISTORY]; /* of the rate, the newest last */
  uint32_t watched[DEMO_WATCHED];
  int lines; /* of the block on the terminal */
  bool terminal, color;
} demo_view;

void demo_view_start(demo_view *view, tks_store *store, int64_t seconds);

/* Call often; draws when it is time. `last` draws in any case. */
void demo_view_update(demo_view *view, const tks_store_stats *stats, bool last);

#endif
