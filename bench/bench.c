/* bench - what a store costs on this machine, in one run.
 *
 *   bench [--runs N] [--quick] [--groups put,read] [--ticks N] [--dir DIR] [--json FILE]
 *
 * A figure is measured once a run; what is printed is the median, the quartiles and the range over the runs. The groups print what they
 * did before they timed anything. A run in which a tick is lost ends the program with an error. */
#include "groups.h"

int main(int argc, char **argv) {
  static const struct {
    const char *name;
    void (*run)(const options *o);
  } groups[] = {
      /* First of all the one that looks at memory: what other groups freed and the heap kept would be counted wrongly. */
      {"rest", bench_rest},           {"put", bench_put},       {"producers", bench_producers},
      {"sustained", bench_sustained}, {"burst", bench_burst},   {"read", bench_read},
      {"days", bench_days},           {"growth", bench_growth}, {"workloads", bench_workloads},
  };
  options o;
  options_parse(argc, argv, "bench", "put,producers,sustained,burst,read,days,growth,rest,workloads", &o);
  report_open(&o, "bench");
  for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++)
    if (options_want(&o, groups[i].name)) groups[i].run(&o);
  report_close();
  return 0;
}
