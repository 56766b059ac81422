#include "groups.h"
void bench_workloads(const options *o) { (void)o; }
