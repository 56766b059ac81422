/* human.h - numbers for people: grouped counts, byte sizes, durations. */
#ifndef CLI_HUMAN_H
#define CLI_HUMAN_H

#include <stdint.h>

#define HUMAN_MAX 32

/* Each writes `text` and returns it. 1,234,567; 3.2 MB; 4.1 ms. */
const char *human_count(uint64_t count, char text[HUMAN_MAX]);
const char *human_bytes(uint64_t bytes, char text[HUMAN_MAX]);
const char *human_duration(int64_t duration_ns, char text[HUMAN_MAX]);

#endif
