/* criterion_tsan.c - lets Criterion start under ThreadSanitizer.
 *
 * Criterion shares an arena with its worker processes and maps it at an address it draws with rand_r:
 * 0x200000000000 + draw * 16 MiB. Under ThreadSanitizer nearly all of that range is shadow memory, so every draw fails
 * ("Could not initialize inheritable arena"). This definition stands before the C library's and only draws addresses in
 * 0x550000000000 to 0x568000000000, which every version of ThreadSanitizer on x86-64 leaves to the program; Criterion
 * still looks whether the place is free and draws again if not. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN 1
#endif

#if defined(UNDER_TSAN) && defined(__x86_64__)
#include <stdlib.h>

int rand_r(unsigned int *seed) {
  *seed = *seed * 1103515245u + 12345u;
  return (int)(0x350000u + (*seed >> 8) % 0x18000u);
}
#else
typedef int tks__criterion_tsan_is_not_needed;
#endif
